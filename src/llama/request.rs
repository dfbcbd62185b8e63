//! Which llama.cpp is asked for: what a models.yaml or a command line said, checked.

use std::path::PathBuf;

use thiserror::Error;

use super::{DEFAULT_COMMIT, DEFAULT_TAG, SECURITY_MINIMUM};
use crate::config::{LlamaCpp, LlamaSource};

/// Which llama.cpp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The programs of a folder, as they are.
    Installed(PathBuf),
    /// A release on GitHub: its own programs, or its source.
    Release {
        /// `b11312`, or `v0.5.0`, which stands for one of the former.
        tag: String,
        /// What the tag has to be; what is recorded for it if it is not said.
        commit: Option<String>,
        /// Build it for this processor alone.
        native: bool,
    },
    /// A commit on GitHub, built.
    Commit {
        /// All 40 digits.
        commit: String,
        /// Build it for this processor alone.
        native: bool,
    },
    /// Another source, built.
    Source {
        /// Where it is.
        source: Source,
        /// The folder in it that is llama.cpp's.
        subfolder: Option<String>,
        /// What the user says that it is.
        tag: Option<String>,
        /// What the user says that it is.
        commit: Option<String>,
        /// Build it for this processor alone.
        native: bool,
    },
}

/// Where a source is that is not asked of GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder, or an archive.
    Path(PathBuf),
    /// An archive to download.
    Url(String),
}

/// Why a request is refused.
#[derive(Debug, Error)]
pub enum RequestError {
    /// It has security holes.
    #[error("llama.cpp `{tag}` has known security holes (CVE-2026-33298, CVE-2026-27940)")]
    Insecure {
        /// The release.
        tag: String,
    },
    /// It would be a step back that nobody asked for.
    #[error("the latest release is `{latest}`, and `{known}` is in use")]
    Downgrade {
        /// What GitHub calls the latest.
        latest: String,
        /// The newest that is known.
        known: String,
    },
}

impl RequestError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            RequestError::Insecure { .. } => {
                format!("take b{SECURITY_MINIMUM} or later; {DEFAULT_TAG} is what is built in")
            }
            RequestError::Downgrade { latest, .. } => {
                format!("name `{latest}` itself if an older one is meant")
            }
        })
    }
}

impl Request {
    /// What a models.yaml asks for; what is built in where it asks for nothing.
    ///
    /// # Errors
    /// It is below the security minimum.
    pub fn new(wanted: Option<&LlamaCpp>) -> Result<Self, RequestError> {
        let LlamaCpp { tag, commit, source, subfolder, native, installed, python: _ } =
            wanted.cloned().unwrap_or_default();
        tag.as_deref().map_or(Ok(()), secure)?;
        if let Some(folder) = installed {
            return Ok(Request::Installed(folder));
        }
        Ok(match (source, tag, commit) {
            (Some(source), tag, commit) => {
                let source = match source {
                    LlamaSource::Path(path) => Source::Path(path),
                    LlamaSource::Url(url) => Source::Url(url),
                };
                Request::Source { source, subfolder, tag, commit, native }
            }
            (None, Some(tag), commit) => Request::release(&tag, commit, native),
            (None, None, Some(commit)) => Request::Commit { commit, native },
            (None, None, None) => Request::release(DEFAULT_TAG, None, native),
        })
    }

    /// A release, and the commit that it has to be where that is built in.
    pub(super) fn release(tag: &str, commit: Option<String>, native: bool) -> Self {
        let commit = commit.or_else(|| (tag == DEFAULT_TAG).then(|| DEFAULT_COMMIT.to_owned()));
        Request::Release { tag: tag.to_owned(), commit, native }
    }
}

/// The number of a release (`b11312`).
pub(super) fn number(tag: &str) -> Option<u32> {
    tag.strip_prefix('b')?.parse().ok()
}

/// Refuses releases below the security minimum. Those with three numbers (`v0.5.0`) all came after it.
pub(super) fn secure(tag: &str) -> Result<(), RequestError> {
    match number(tag) {
        Some(n) if n < SECURITY_MINIMUM => Err(RequestError::Insecure { tag: tag.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let ask = |wanted: LlamaCpp| Request::new(Some(&wanted));
        let tagged = |tag: &str| LlamaCpp { tag: Some(tag.to_owned()), ..LlamaCpp::default() };
        let built_in = Request::Release {
            tag: DEFAULT_TAG.to_owned(),
            commit: Some(DEFAULT_COMMIT.to_owned()),
            native: false,
        };
        assert_eq!(Request::new(None).unwrap(), built_in);
        assert_eq!(ask(tagged(DEFAULT_TAG)).unwrap(), built_in);
        let other = Request::Release { tag: "b11429".to_owned(), commit: None, native: false };
        assert_eq!(ask(tagged("b11429")).unwrap(), other);
        assert!(ask(tagged("v0.5.0")).is_ok());
        let installed = LlamaCpp { installed: Some("x".into()), ..LlamaCpp::default() };
        assert_eq!(ask(installed).unwrap(), Request::Installed("x".into()));
    }

    #[test]
    fn releases_with_holes_are_refused() {
        for (tag, fits) in [("b8145", false), ("b1", false), ("b8146", true), ("v0.1.0", true)] {
            assert_eq!(secure(tag).is_ok(), fits, "{tag}");
        }
        let source = LlamaCpp {
            tag: Some("b100".to_owned()),
            source: Some(LlamaSource::Path("x.tar.gz".into())),
            ..LlamaCpp::default()
        };
        let refused = Request::new(Some(&source)).unwrap_err();
        assert!(refused.hint().is_some_and(|hint| hint.contains("b8146")), "{refused}");
    }
}
