//! Names of repositories on the Hub and of their commits, as text that others wrote.
//!
//! In goes text, out comes a [`RepoId`] whose parts are plain names: safe as names of folders and in URLs. What the Hub
//! could not have is refused with the rule that it breaks.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::quote::quote;

/// A repository on the Hub, `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId(Arc<str>);

/// Why a text names no repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RepoIdError {
    /// Not of the form `owner/name`.
    #[error("{} is not of the form `owner/name`", quote(.text))]
    Form {
        /// The text.
        text: String,
    },
    /// A part that the Hub does not allow.
    #[error("{} is no name on the Hub: {why}", quote(.text))]
    Name {
        /// The owner or the name.
        text: String,
        /// The rule.
        why: &'static str,
    },
}

impl RepoIdError {
    /// What to write instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            RepoIdError::Form { text } if text.contains('/') && text.len() < 100 => {
                Some(format!("for a folder, write `./{text}`"))
            }
            RepoIdError::Form { .. } => Some("write `owner/name`, or `./folder` for a folder".to_owned()),
            RepoIdError::Name { .. } => None,
        }
    }
}

impl RepoId {
    /// Reads `owner/name` by the rules of `huggingface_hub`'s `validate_repo_id`, with an owner always.
    ///
    /// # Errors
    /// Another form, or a part that the Hub does not allow.
    pub fn parse(text: &str) -> Result<Self, RepoIdError> {
        let form = || RepoIdError::Form { text: text.to_owned() };
        let (owner, name) = text.split_once('/').ok_or_else(form)?;
        if name.contains('/') || owner.is_empty() || name.is_empty() {
            return Err(form());
        }
        check_name(owner)?;
        check_name(name)?;
        Ok(RepoId(text.into()))
    }

    /// The user or organisation.
    pub fn owner(&self) -> &str {
        self.parts().0
    }

    /// The repository's own name.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("parsing saw to it")
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Checks one part of a repository's id, or the name of a user or organisation.
///
/// # Errors
/// The rule that it breaks.
pub fn check_name(text: &str) -> Result<(), RepoIdError> {
    let why = if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        "only letters, digits, `-`, `_` and `.` are allowed"
    } else if text.len() > 96 {
        "at most 96 characters are allowed"
    } else if text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        "it cannot begin or end with `-` or `.`"
    } else if text.contains("--") || text.contains("..") {
        "`--` and `..` are not allowed"
    } else if text.ends_with(".git") {
        "it cannot end with `.git`"
    } else if text.is_empty() {
        "it is empty"
    } else {
        return Ok(());
    };
    Err(RepoIdError::Name { text: text.to_owned(), why })
}

/// Whether this is a commit's full hash, which never comes to mean anything else.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_an_owner_and_a_name() {
        let repo = RepoId::parse("Qwen/Qwen2.5-0.5B").unwrap();
        assert_eq!((repo.owner(), repo.name()), ("Qwen", "Qwen2.5-0.5B"));
        assert_eq!(repo.to_string(), "Qwen/Qwen2.5-0.5B");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (text, message) in [
            ("gpt2", "`gpt2` is not of the form `owner/name`"),
            ("a/b/c", "`a/b/c` is not of the form `owner/name`"),
            ("a/", "`a/` is not of the form `owner/name`"),
            ("/b", "`/b` is not of the form `owner/name`"),
            ("../b", "`..` is no name on the Hub: it cannot begin or end with `-` or `.`"),
            ("a/..", "`..` is no name on the Hub: it cannot begin or end with `-` or `.`"),
            ("a/.b", "`.b` is no name on the Hub: it cannot begin or end with `-` or `.`"),
            ("a--b/c", "`a--b` is no name on the Hub: `--` and `..` are not allowed"),
            ("a/x.git", "`x.git` is no name on the Hub: it cannot end with `.git`"),
            ("a/ü", "`ü` is no name on the Hub: only letters, digits, `-`, `_` and `.` are allowed"),
        ] {
            assert_eq!(RepoId::parse(text).unwrap_err().to_string(), message);
        }
        assert!(RepoId::parse(&format!("a/{}", "x".repeat(96))).is_ok());
        assert!(RepoId::parse(&format!("a/{}", "x".repeat(97))).is_err());
    }
}
