//! The cache's folders and the small notes in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::select::RemoteFile;
use crate::base::atomic;
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::repo_id::{RepoId, is_commit};

/// The part of the cache that belongs to one repository.
#[derive(Clone, Debug)]
pub(super) struct Store {
    repo: RepoId,
    root: PathBuf,
}

/// The files of a checkpoint at one commit. Complete: what is not here is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) files: Vec<RemoteFile>,
    /// Whether its users must accept terms.
    pub(super) gated: bool,
    pub(super) private: bool,
}

impl Store {
    pub(super) fn new(cache: &Path, repo: &RepoId) -> Self {
        // A name has no `--`, so that no two repositories share a folder.
        let root = cache.join("hub").join(format!("{}--{}", repo.owner(), repo.name()));
        Store { repo: repo.clone(), root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whole files of a commit.
    pub(super) fn folder(&self, commit: &str) -> PathBuf {
        self.root.join(commit).join(self.repo.name())
    }

    /// Unfinished files of a commit.
    pub(super) fn partial(&self, commit: &str) -> PathBuf {
        self.root.join(commit).join(".partial")
    }

    /// The first bytes of a shard, up to the end of its header.
    pub(super) fn header(&self, commit: &str, shard: &str) -> PathBuf {
        self.root.join(commit).join(".headers").join(shard)
    }

    /// Keeps other processes out until it is dropped.
    pub(super) fn lock(&self, cancel: &Cancel) -> Result<FileLock, HubError> {
        let path = self.root.join(".lock");
        FileLock::acquire(&path, cancel).map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => HubError::Cancelled { repo: self.repo.clone() },
            _ => HubError::Io { path, source },
        })
    }

    /// The commit that a revision last meant.
    pub(super) fn commit(&self, revision: &str) -> Result<Option<String>, HubError> {
        let text = read(&self.reference(revision))?;
        let commit = text.and_then(|bytes| String::from_utf8(bytes).ok()).map(|t| t.trim().to_owned());
        Ok(commit.filter(|c| is_commit(c)))
    }

    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        write(&self.reference(revision), commit.as_bytes())
    }

    pub(super) fn listing(&self, commit: &str) -> Result<Option<Listing>, HubError> {
        // A damaged one is asked for again.
        Ok(read(&self.listing_path(commit))?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    pub(super) fn set_listing(&self, commit: &str, listing: &Listing) -> Result<(), HubError> {
        let json = serde_json::to_vec_pretty(listing).expect("strings and numbers are JSON");
        write(&self.listing_path(commit), &json)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.root.join(commit).join("listing.json")
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.root.join("refs").join(escaped(revision))
    }
}

/// A revision as a file name: letters, digits and a few signs stay, all else becomes `%XX`.
fn escaped(revision: &str) -> String {
    let mut name = String::new();
    for (i, byte) in revision.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(byte as char),
            b'.' if i > 0 => name.push('.'),
            // Capitals too: case does not count everywhere, but it does in git.
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, HubError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HubError::Io { path: path.to_owned(), source }),
    }
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    atomic::write(path, bytes).map_err(|source| HubError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_file_names() {
        assert_eq!(escaped("main"), "main");
        assert_eq!(escaped("v1.0"), "v1.0");
        assert_eq!(escaped("refs/pr/1"), "refs%2fpr%2f1");
        assert_eq!(escaped(".."), "%2e.");
        assert_ne!(escaped("Main").to_lowercase(), escaped("main"));
    }

    #[test]
    fn a_damaged_reference_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), &RepoId::parse("o/n").unwrap());
        assert_eq!(store.commit("main").unwrap(), None);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        store.set_commit("main", commit).unwrap();
        assert_eq!(store.commit("main").unwrap().as_deref(), Some(commit));
        store.set_commit("main", "../../elsewhere").unwrap();
        assert_eq!(store.commit("main").unwrap(), None);
    }
}
