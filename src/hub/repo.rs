//! Names of repositories, revisions and files, as text that others wrote.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest name the Hub gives a repository or an owner.
const LONGEST: usize = 96;

/// A model repository, `owner/name`. Both are plain names, safe as folder names and in URLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId(Arc<str>);

/// Why a text names no repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RepoIdError {
    #[error("`{0}` is not of the form `owner/name`")]
    Form(String),
    #[error(
        "`{0}`: names on the Hub have 1 to 96 letters, digits, `-`, `_` and `.`, no `--` or `..`, and neither begin nor end with `-` or `.`"
    )]
    Name(String),
    #[error("`{0}` has an empty revision after the `@`")]
    Revision(String),
}

impl RepoId {
    /// Parses `owner/name`.
    ///
    /// # Errors
    /// [`RepoIdError`] where the Hub could not have a repository of this name.
    pub fn parse(text: &str) -> Result<Self, RepoIdError> {
        let Some((owner, name)) = text.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            return Err(RepoIdError::Form(text.to_owned()));
        };
        if !plain(owner) || !plain(name) {
            return Err(RepoIdError::Name(text.to_owned()));
        }
        Ok(RepoId(text.into()))
    }

    /// Parses `owner/name[@revision]`.
    ///
    /// # Errors
    /// As [`RepoId::parse`], and for an empty revision.
    pub fn parse_with_revision(text: &str) -> Result<(Self, Option<String>), RepoIdError> {
        match text.split_once('@') {
            None => Ok((Self::parse(text)?, None)),
            Some((_, "")) => Err(RepoIdError::Revision(text.to_owned())),
            Some((repo, revision)) => Ok((Self::parse(repo)?, Some(revision.to_owned()))),
        }
    }

    /// The user or organisation.
    pub fn owner(&self) -> &str {
        self.parts().0
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("parsing saw to it")
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Hub's rule for names (`validate_repo_id` of huggingface_hub).
fn plain(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
        && !name.contains("--")
        && !name.contains("..")
}

/// Whether this is a commit's full hash, which never comes to mean anything else.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a path of a repository can be written below a folder, on every system: relative, plain components,
/// nothing that a system reads as something else.
pub(super) fn is_safe_path(path: &str) -> bool {
    /// Longest path that is written.
    const LONGEST: usize = 512;
    path.len() <= LONGEST && path.split('/').all(is_safe_component)
}

fn is_safe_component(part: &str) -> bool {
    /// Names that Windows gives to devices, with any extension.
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt"));
    !part.is_empty()
        && !part.starts_with('.')
        && !part.ends_with(['.', ' '])
        && !part.contains(['\\', ':', '<', '>', '"', '|', '?', '*'])
        && !part.contains(char::is_control)
        && !DEVICES.contains(&stem.as_str())
        && !(numbered && stem.ends_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        let (repo, revision) = RepoId::parse_with_revision("Qwen/Qwen2.5-0.5B@refs/pr/1").unwrap();
        assert_eq!((repo.owner(), repo.name()), ("Qwen", "Qwen2.5-0.5B"));
        assert_eq!(revision.as_deref(), Some("refs/pr/1"));
        assert_eq!(repo.to_string(), "Qwen/Qwen2.5-0.5B");
        assert_eq!(RepoId::parse_with_revision("a/b").unwrap().1, None);
        for bad in
            ["gpt2", "a/b/c", "", "/", "a/", "/b", "../b", "a/..", "a/.b", "a/b.", "a--b/c", "a/b c", "a/ü"]
        {
            assert!(RepoId::parse(bad).is_err(), "{bad}");
        }
        assert!(RepoId::parse(&format!("a/{}", "x".repeat(97))).is_err());
        assert!(RepoId::parse_with_revision("a/b@").is_err());
    }

    #[test]
    fn hostile_paths() {
        for good in
            ["config.json", "additional_chat_templates/tool use.jinja", "a/b/c", "console.json", "com.json"]
        {
            assert!(is_safe_path(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//b",
            "a/",
            ".",
            "./a",
            ".git/config",
            "a\\b",
            "..\\x",
            "C:x",
            "C:\\x",
            "nul.json",
            "COM1",
            "lpt9.txt",
            "a\0b",
            "a\nb",
            "a.",
            "a ",
            "x:stream",
        ] {
            assert!(!is_safe_path(bad), "{bad:?}");
        }
        assert!(!is_safe_path(&"x".repeat(513)));
    }
}
