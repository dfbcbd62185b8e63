//! What is published: files with what they are known by, and the commit that brings them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::rights::Destination;
use super::select::RemoteFile;
use super::upload::{Transport, Uploaded};
use crate::base::hash;

/// Largest file that goes into a commit itself, where the Hub wants that. All others go to its store.
const LARGEST_INLINE: u64 = 10 << 20;

/// First bytes of a file, by which the Hub tells text from other content.
const SAMPLE: u64 = 512;

/// Files for one commit.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where they go.
    pub to: Destination,
    /// The commit that the caller looked at when it made the files. Where others have changed one of these paths since
    /// then, nothing is published. `None`: what is there is replaced, whatever it is.
    pub parent: Option<String>,
    /// First line of the commit's message.
    pub summary: String,
    /// The rest of the message.
    pub description: String,
    /// What the repository is to have.
    pub files: Vec<PublishFile>,
    /// Paths that it is not to have any more.
    pub delete: Vec<String>,
    /// Which of the files is the model card; the Hub checks its front matter first.
    pub card: Option<String>,
    /// Tags of `-hf repository:TAG`, and the file that each is to give.
    pub tags: Vec<(String, String)>,
    /// How large files are sent.
    pub transport: Transport,
}

/// A file and its path in the repository.
#[derive(Clone, Debug)]
pub struct PublishFile {
    /// Path in the repository.
    pub path: String,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Text(Vec<u8>),
    /// A file of this machine.
    File {
        /// Where it is.
        path: PathBuf,
        /// Bytes.
        size: u64,
        /// In hexadecimal.
        sha256: String,
    },
    /// What the Hub's store has already.
    Uploaded(Uploaded),
}

/// A file of a publication, with all that the Hub may know it by.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) path: &'a str,
    pub(super) content: &'a Content,
    pub(super) size: u64,
    pub(super) sha256: String,
    /// Git's name, where the file is small enough to be in git itself.
    pub(super) blob: Option<String>,
    /// Its first bytes; none of what is in the store.
    pub(super) sample: Vec<u8>,
}

impl<'a> Item<'a> {
    fn new(file: &'a PublishFile) -> Result<Self, HubError> {
        let PublishFile { path, content } = file;
        let whole = |bytes: &[u8]| {
            let sample = bytes[..bytes.len().min(SAMPLE as usize)].to_vec();
            (Some(hash::git_blob(bytes)), sample)
        };
        let (size, sha256, (blob, sample)) = match content {
            Content::Text(bytes) => (bytes.len() as u64, hash::sha256(bytes), whole(bytes)),
            Content::File { path: local, size, sha256 } => {
                let known = match *size <= LARGEST_INLINE {
                    true => whole(&read_whole(local, *size, sha256)?),
                    false => (None, first_bytes(local, *size)?),
                };
                (*size, sha256.clone(), known)
            }
            Content::Uploaded(Uploaded { size, sha256, .. }) => (*size, sha256.clone(), (None, Vec::new())),
        };
        Ok(Item { path, content, size, sha256, blob, sample })
    }

    /// Whether the repository's file has this content.
    pub(super) fn is(&self, remote: &RemoteFile) -> bool {
        let same = match &remote.sha256 {
            Some(sha256) => *sha256 == self.sha256,
            None => self.blob.as_ref() == Some(&remote.blob),
        };
        same && remote.size == self.size
    }

    /// Whether the bytes are in the Hub's store already.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self.content, Content::Uploaded(_))
    }

    /// Whether it may go into the commit itself.
    pub(super) fn fits_inline(&self) -> bool {
        !self.is_stored() && self.size <= LARGEST_INLINE
    }

    /// Its bytes, for the commit itself.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, HubError> {
        match self.content {
            Content::Text(bytes) => Ok(bytes.clone()),
            Content::File { path, .. } => read_whole(path, self.size, &self.sha256),
            Content::Uploaded(_) => unreachable!("what is stored is never inline"),
        }
    }
}

/// The files of a publication.
///
/// # Errors
/// [`HubError::Twice`], and files that cannot be read or are not what they were.
pub(super) fn items(publication: &Publication) -> Result<Vec<Item<'_>>, HubError> {
    let mut seen = HashSet::new();
    let paths = publication.files.iter().map(|f| &f.path).chain(&publication.delete);
    if let Some(path) = paths.into_iter().find(|path| !seen.insert(path.as_str())) {
        return Err(HubError::Twice { repo: publication.to.repo.clone(), path: path.clone() });
    }
    publication.files.iter().map(Item::new).collect()
}

fn read_whole(path: &Path, size: u64, sha256: &str) -> Result<Vec<u8>, HubError> {
    let bytes = fs::read(path).map_err(|source| HubError::Io { path: path.to_owned(), source })?;
    match bytes.len() as u64 == size && hash::sha256(&bytes) == sha256 {
        true => Ok(bytes),
        false => Err(HubError::Altered { path: path.to_owned() }),
    }
}

fn first_bytes(path: &Path, size: u64) -> Result<Vec<u8>, HubError> {
    let mut sample = Vec::new();
    let mut read = || {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        file.take(SAMPLE).read_to_end(&mut sample)?;
        Ok(found)
    };
    match read().map_err(|source| HubError::Io { path: path.to_owned(), source })? {
        found if found == size => Ok(sample),
        _ => Err(HubError::Altered { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::repo_id::RepoId;

    fn publication(files: Vec<(&str, Content)>, delete: &[&str]) -> Publication {
        let file = |(path, content): (&str, Content)| PublishFile { path: path.to_owned(), content };
        let repo = RepoId::parse("o/n").unwrap();
        Publication {
            to: Destination { repo, private: false, create_pr: false },
            parent: None,
            summary: String::new(),
            description: String::new(),
            files: files.into_iter().map(file).collect(),
            delete: delete.iter().map(ToString::to_string).collect(),
            card: None,
            tags: Vec::new(),
            transport: Transport::Auto,
        }
    }

    #[test]
    fn content_is_known_by_either_name() {
        let text = publication(vec![("a", Content::Text(b"hello\n".to_vec()))], &[]);
        let item = &items(&text).unwrap()[0];
        let remote = |size, sha256: Option<&str>, blob: &str| RemoteFile {
            path: "a".to_owned(),
            size,
            sha256: sha256.map(str::to_owned),
            blob: blob.to_owned(),
        };
        // `git hash-object` and `sha256sum` of it.
        let (blob, sha256) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        for (size, large, git, same) in [
            (6, None, blob, true),
            (7, None, blob, false),
            (6, Some(sha256), "", true),
            (6, Some(blob), blob, false),
            (6, None, sha256, false),
        ] {
            assert_eq!(item.is(&remote(size, large, git)), same, "{size} {large:?} {git}");
        }
    }

    #[test]
    fn one_path_has_one_content() {
        let text = || Content::Text(Vec::new());
        let twice = |p: &Publication| matches!(items(p), Err(HubError::Twice { path, .. }) if path == "a");
        assert!(twice(&publication(vec![("a", text()), ("a", text())], &[])));
        assert!(twice(&publication(vec![("a", text())], &["a"])));
        assert!(!twice(&publication(vec![("a", text())], &["b"])));
    }

    #[test]
    fn a_file_that_is_another_by_now_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("x");
        fs::write(&local, "abc").unwrap();
        let check = |size, sha256: String| {
            let file = Content::File { path: local.clone(), size, sha256 };
            items(&publication(vec![("a", file)], &[])).map(drop)
        };
        assert!(check(3, hash::sha256(b"abc")).is_ok());
        for (size, sha256) in
            [(4, hash::sha256(b"abc")), (3, hash::sha256(b"abd")), (LARGEST_INLINE + 1, String::new())]
        {
            assert!(matches!(check(size, sha256), Err(HubError::Altered { .. })));
        }
    }
}
