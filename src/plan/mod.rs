//! What is to be made and why: the models that were asked for, and for each output whether it is up to date, in its
//! folder or where it is published; and whether its quality is what was asked for. [`matrix`] is the same as jobs of a
//! workflow. Pure.

pub mod matrix;
mod quality;

use std::fmt;

use thiserror::Error;

pub use self::quality::{Shortfall, shortfalls};
use crate::card::metadata::{MetadataError, QuantizationMetadata, Stale, Wanted};
use crate::config::Model;
use crate::hub::RemoteFile;

/// What happens to an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is published, and what would be made now.
    Published,
    /// It is in its folder, and what would be made now.
    Keep,
    /// It is made.
    Make(Why),
}

/// Why an output is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is there.
    New,
    /// The user said so.
    Forced,
    /// Its metadata is not readable.
    Unreadable(String),
    /// Its metadata says that something changed.
    Stale(Stale),
    /// The file is not there or does not have the size that its metadata states.
    Damaged,
    /// It is published, but nobody measured it as is asked for now, and it is not here.
    Unmeasured,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::New => f.write_str("new"),
            Why::Forced => f.write_str("forced"),
            Why::Unreadable(why) => f.write_str(why),
            Why::Stale(stale) => stale.fmt(f),
            Why::Damaged => f.write_str("the file is missing or was changed"),
            Why::Unmeasured => f.write_str("published, but not measured yet"),
        }
    }
}

/// Decides on one output. `found` is the metadata beside it, `size` the size of the file itself.
pub fn decide(
    found: Option<Result<&QuantizationMetadata, &MetadataError>>,
    size: Option<u64>,
    wanted: &Wanted<'_>,
    force: bool,
) -> Decision {
    let why = match found {
        _ if force => Why::Forced,
        None if size.is_none() => Why::New,
        // A file without metadata is none that a run finished.
        None => Why::Damaged,
        Some(Err(error)) => Why::Unreadable(error.to_string()),
        Some(Ok(metadata)) => match metadata.up_to_date(wanted) {
            Ok(output) if Some(output.size) == size => return Decision::Keep,
            Ok(_) => Why::Damaged,
            Err(stale) => Why::Stale(stale),
        },
    };
    Decision::Make(why)
}

/// Whether an output is published as it would be made now. `found` is the metadata of the repository, `files` are those
/// of its head: they must be there with the sizes and hashes that the metadata states.
///
/// # Errors
/// Why it is not.
pub fn published(
    found: Option<Result<&QuantizationMetadata, &str>>,
    files: &[RemoteFile],
    wanted: &Wanted<'_>,
) -> Result<(), Why> {
    let metadata = match found {
        None => return Err(Why::New),
        Some(Err(error)) => return Err(Why::Unreadable(error.to_owned())),
        Some(Ok(metadata)) => metadata,
    };
    match metadata.up_to_date(wanted) {
        Ok(output) if output.is_in(files) => Ok(()),
        Ok(_) => Err(Why::Damaged),
        Err(Stale::NotListed(_)) => Err(Why::New),
        Err(stale) => Err(Why::Stale(stale)),
    }
}

/// Nothing in a models.yaml is what `--only` names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no model is called `{only}`, only {}", there.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))]
pub struct NoSuchModel {
    /// What was asked for.
    pub only: String,
    /// The names that there are.
    pub there: Vec<String>,
}

/// The models that `--only` leaves: by name, source, or the source's own name.
///
/// # Errors
/// [`NoSuchModel`] if that is none.
pub fn select(models: Vec<Model>, only: Option<&str>) -> Result<Vec<Model>, NoSuchModel> {
    let Some(only) = only else { return Ok(models) };
    let is = |m: &Model| {
        m.name.eq_ignore_ascii_case(only)
            || m.source.to_string() == only
            || m.source.repo().is_some_and(|r| r.to_string() == only)
            || m.source.name() == Some(only)
    };
    let there = models.iter().map(|m| m.name.clone()).collect();
    let selected: Vec<Model> = models.into_iter().filter(is).collect();
    if selected.is_empty() { Err(NoSuchModel { only: only.to_owned(), there }) } else { Ok(selected) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::metadata::{FORMAT_VERSION, Output, Program, Recipe, Run, Source};

    fn metadata(method: &str) -> QuantizationMetadata {
        QuantizationMetadata {
            format_version: FORMAT_VERSION,
            program: Program { name: "x".to_owned(), version: "1".to_owned(), recipe_version: 1 },
            reference: "r".to_owned(),
            source: Source { name: "m".to_owned(), commit: Some("c".to_owned()), ..Source::default() },
            outputs: vec![Output {
                file: "f".to_owned(),
                size: 7,
                recipe: Recipe { method: method.to_owned(), ..Recipe::default() },
                ..Output::default()
            }],
            run: Run::default(),
        }
    }

    #[test]
    fn an_output_is_published_only_if_its_file_is_there_with_its_bytes() {
        let mut now = metadata("Q8_0");
        now.outputs[0].sha256 = Some("h".to_owned());
        let wanted = Wanted {
            file: "f",
            recipe: &now.outputs[0].recipe,
            source: &now.source,
            reference: "r",
            recipe_version: 1,
        };
        let file = |size, sha256: &str| RemoteFile {
            path: "f".to_owned(),
            size,
            sha256: Some(sha256.to_owned()),
            blob: String::new(),
        };
        let check = |files: &[RemoteFile]| published(Some(Ok(&now)), files, &wanted);
        assert_eq!(check(&[file(7, "h")]), Ok(()));
        for files in [&[][..], &[file(8, "h")], &[file(7, "i")]] {
            assert_eq!(check(files), Err(Why::Damaged));
        }
        let other = Wanted { file: "g", ..wanted };
        assert_eq!(published(Some(Ok(&now)), &[file(7, "h")], &other), Err(Why::New));
        let other = Wanted { recipe_version: 2, ..wanted };
        assert!(matches!(published(Some(Ok(&now)), &[file(7, "h")], &other), Err(Why::Stale(_))));
        assert_eq!(published(None, &[], &wanted), Err(Why::New));
        assert!(matches!(published(Some(Err("x")), &[], &wanted), Err(Why::Unreadable(_))));
    }

    #[test]
    fn an_output_is_kept_only_if_everything_fits() {
        let now = metadata("Q8_0");
        let wanted = Wanted {
            file: "f",
            recipe: &now.outputs[0].recipe,
            source: &now.source,
            reference: "r",
            recipe_version: 1,
        };
        let other = metadata("Q4_0");
        let broken = MetadataError::NoVersion;
        assert_eq!(decide(Some(Ok(&now)), Some(7), &wanted, false), Decision::Keep);
        assert_eq!(decide(Some(Ok(&now)), Some(7), &wanted, true), Decision::Make(Why::Forced));
        assert_eq!(decide(Some(Ok(&now)), Some(8), &wanted, false), Decision::Make(Why::Damaged));
        assert_eq!(decide(Some(Ok(&now)), None, &wanted, false), Decision::Make(Why::Damaged));
        assert_eq!(decide(None, None, &wanted, false), Decision::Make(Why::New));
        assert_eq!(decide(None, Some(7), &wanted, false), Decision::Make(Why::Damaged));
        let stale = Decision::Make(Why::Stale(Stale::Recipe));
        assert_eq!(decide(Some(Ok(&other)), Some(7), &wanted, false), stale);
        let unreadable = decide(Some(Err(&broken)), Some(7), &wanted, false);
        assert!(matches!(unreadable, Decision::Make(Why::Unreadable(_))));
    }
}
