//! What was quantized, and whether that is the same as what would be quantized now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stale::Stale;
use crate::base::file_name::is_licence;

/// What was quantized: a commit on the Hub, or the files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Name of the model: the repository's or the folder's.
    pub name: String,
    /// `owner/name` on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The revision that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The commit that the revision was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files that were read, sorted by path.
    #[serde(default)]
    pub files: Vec<SourceFile>,
    /// Architecture, as `general.architecture` names it.
    pub architecture: String,
    /// Parameters of the model.
    pub parameters: u64,
}

/// One file of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFile {
    /// Path within the source, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Time of its last change in nanoseconds since 1970, for files of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<i64>,
    /// SHA-256 in hex, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl SourceFile {
    /// Whether it may decide bytes, and is not only read by people.
    pub fn decides_bytes(&self) -> bool {
        !is_for_people(&self.path)
    }
}

impl Source {
    /// Whether this is the same source: the same commit of the same repository, or files of the same size and hash (or
    /// time of change, where one side has no hash) under the same name, which becomes part of the bytes. What stands
    /// beside the model for people, its card and its licence, makes no other model.
    ///
    /// # Errors
    /// [`Stale::Source`] names the first difference.
    pub fn same_as(&self, now: &Source) -> Result<(), Stale> {
        let changed = |what: String| Err(Stale::Source(what));
        if self.name != now.name {
            return changed(format!("name `{}`, now `{}`", self.name, now.name));
        }
        if self.repo != now.repo {
            return changed("another repository".to_owned());
        }
        if let (Some(was), Some(is)) = (&self.commit, &now.commit) {
            // Another commit may be one of the card alone.
            if was == is {
                return Ok(());
            }
        }
        let decides = |f: &&SourceFile| f.decides_bytes();
        if !self.files.iter().any(|f| decides(&f)) {
            return changed("neither commit nor files are known".to_owned());
        }
        for file in now.files.iter().filter(decides) {
            let Some(was) = self.files.iter().find(|f| f.path == file.path) else {
                return changed(format!("`{}` is new", file.path));
            };
            let same = match (&was.sha256, &file.sha256) {
                (Some(a), Some(b)) => a == b,
                _ => was.modified_ns.is_some() && was.modified_ns == file.modified_ns,
            };
            if was.size != file.size || !same {
                return changed(format!("`{}` is another file", file.path));
            }
        }
        match self.files.iter().filter(decides).find(|f| !now.files.iter().any(|n| n.path == f.path)) {
            Some(gone) => changed(format!("`{}` is gone", gone.path)),
            None => Ok(()),
        }
    }
}

/// Whether a file of a source is read by people only.
fn is_for_people(path: &str) -> bool {
    path.ends_with(".md") || is_licence(path)
}
