//! Where a model comes from: a repository on the Hub, or a folder.
//!
//! In goes text from a models.yaml or the command line, out comes a [`Source`]. Names are checked by the Hub's own
//! rules, so that one that cannot exist is refused here and none can leave its place in a path or a URL. No file is
//! looked at.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::base::quote::quote;
use crate::base::repo_id::{RepoId, RepoIdError};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A repository on the Hub.
    Hub {
        /// `owner/name`.
        repo: RepoId,
        /// A branch, tag or commit; the Hub's default branch if it is not said.
        revision: Option<Revision>,
    },
    /// A folder in the Hugging Face layout.
    Folder(PathBuf),
}

impl Source {
    /// Reads `owner/name[@revision]`, or a path that starts with `.`, `/`, `\` or a drive.
    ///
    /// # Errors
    /// It is neither; a name or revision that the Hub does not allow.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.trim().is_empty() {
            return Err(SourceError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(SourceError::Control);
        }
        if looks_like_path(text) {
            return Ok(Source::Folder(PathBuf::from(text)));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(SourceError::Url { scheme: scheme.to_owned() });
        }
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(Revision::parse(revision)?)),
            None => (text, None),
        };
        Ok(Source::Hub { repo: RepoId::parse(repo)?, revision })
    }

    /// As [`Source::parse`], but a text that names something on disk is a folder.
    ///
    /// # Errors
    /// Those of [`Source::parse`].
    pub fn parse_with(text: &str, exists: impl FnOnce(&Path) -> bool) -> Result<Self, SourceError> {
        if !text.trim().is_empty() && !text.chars().any(char::is_control) && exists(Path::new(text)) {
            return Ok(Source::Folder(PathBuf::from(text)));
        }
        Source::parse(text)
    }

    /// The same source with its path relative to `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            // `./x` beside `a/models.yaml` is `a/x`; only the `.` goes, which never means another place.
            Source::Folder(path) => {
                let path: PathBuf =
                    folder.join(path).components().filter(|c| *c != Component::CurDir).collect();
                Source::Folder(if path.as_os_str().is_empty() { PathBuf::from(".") } else { path })
            }
            hub @ Source::Hub { .. } => hub,
        }
    }

    /// The model's own name: of the repository, or of the folder where that has one (`.` and `/` have none).
    pub fn name(&self) -> Option<&str> {
        match self {
            Source::Hub { repo, .. } => Some(repo.name()),
            Source::Folder(path) => path.file_name()?.to_str(),
        }
    }

    /// The repository, if it is one.
    pub fn repo(&self) -> Option<&RepoId> {
        match self {
            Source::Hub { repo, .. } => Some(repo),
            Source::Folder(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Hub { repo, revision: None } => write!(f, "{repo}"),
            Source::Hub { repo, revision: Some(revision) } => write!(f, "{repo}@{revision}"),
            Source::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

fn looks_like_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes[0], b'.' | b'/' | b'\\') || (bytes[0].is_ascii_alphabetic() && bytes.get(1) == Some(&b':'))
}

/// Why a text is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing but white space.
    #[error("a source is empty")]
    Empty,
    /// A control character, such as a line break.
    #[error("a source holds a control character")]
    Control,
    /// A URL.
    #[error("a source is not a `{scheme}` URL")]
    Url {
        /// What stands before `://`.
        scheme: String,
    },
    /// No name of a repository.
    #[error(transparent)]
    Repo(#[from] RepoIdError),
    /// A revision that git does not allow.
    #[error("{} is no revision: {why}", quote(.text))]
    Revision {
        /// The text after `@`.
        text: String,
        /// The rule.
        why: &'static str,
    },
}

impl SourceError {
    /// What to write instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            SourceError::Url { .. } => Some("write `owner/name`, as the Hub's page shows it".to_owned()),
            SourceError::Repo(error) => error.hint(),
            SourceError::Empty => Some("write `owner/name`, or `./folder` for a folder".to_owned()),
            _ => None,
        }
    }
}

/// A branch, tag, pull request (`refs/pr/1`) or commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    /// Reads a revision by the rules of `git check-ref-format`.
    ///
    /// # Errors
    /// A text that no branch, tag or commit can have.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > 255 {
            "at most 255 characters are allowed"
        } else if text.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\%#".contains(c)) {
            "it holds a character that git or a URL does not allow"
        } else if text.contains("..") || text.contains("@{") || text.contains("//") {
            "`..`, `//` and `@{` are not allowed"
        } else if text.starts_with(['-', '/', '.']) || text.ends_with(['/', '.']) || text.ends_with(".lock") {
            "it begins or ends as no git reference can"
        } else {
            return Ok(Revision(text.to_owned()));
        };
        Err(SourceError::Revision { text: text.to_owned(), why })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_folders_are_told_apart() {
        let hub = |repo: &str, revision: Option<&str>| Source::Hub {
            repo: RepoId::parse(repo).unwrap(),
            revision: revision.map(|text| Revision::parse(text).unwrap()),
        };
        for (text, source) in [
            ("Qwen/Qwen2.5-0.5B", hub("Qwen/Qwen2.5-0.5B", None)),
            ("a/b@refs/pr/1", hub("a/b", Some("refs/pr/1"))),
            ("./models/x", Source::Folder("./models/x".into())),
            ("../x", Source::Folder("../x".into())),
            ("/srv/x@y", Source::Folder("/srv/x@y".into())),
            (r"C:\models\x", Source::Folder(r"C:\models\x".into())),
        ] {
            assert_eq!(Source::parse(text), Ok(source), "{text}");
        }
        assert_eq!(Source::parse_with("a/b", |_| true), Ok(Source::Folder("a/b".into())));
        assert_eq!(Source::parse("./x/tiny").unwrap().name(), Some("tiny"));
        assert_eq!(Source::parse(".").unwrap().name(), None);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (text, message) in [
            ("", "a source is empty"),
            ("a/..", "`..` is no name on the Hub: it cannot begin or end with `-` or `.`"),
            ("a/b@", "`` is no revision: it is empty"),
            ("a/b@../../x", "`../../x` is no revision: `..`, `//` and `@{` are not allowed"),
            ("a/b@x y", "`x y` is no revision: it holds a character that git or a URL does not allow"),
            ("https://huggingface.co/a/b", "a source is not a `https` URL"),
            ("a/b\nc", "a source holds a control character"),
        ] {
            assert_eq!(Source::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
