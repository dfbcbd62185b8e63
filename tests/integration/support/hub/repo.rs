//! Repositories: commits, what refers to them, and the files of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use axum::body::Bytes;
use jamph_quantizer::base::hash;
use serde::{Deserialize, Serialize};

/// A repository to start from: one commit.
#[derive(Clone, Default)]
pub struct Repo {
    pub files: BTreeMap<String, File>,
    pub gated: bool,
    /// Only this token may see it, and those who may write there.
    pub private_to: Option<String>,
}

/// A file to start from. Those in LFS are redirected to the content network.
#[derive(Clone)]
pub struct File {
    pub bytes: Bytes,
    pub lfs: bool,
    sha256: String,
    blob: String,
}

/// A repository as it is.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Repository {
    pub(super) private: bool,
    pub(super) private_to: Option<String>,
    pub(super) gated: bool,
    /// Tokens that were let through the gate.
    pub(super) granted: BTreeSet<String>,
    /// Every commit, in the order they were made.
    pub(super) commits: Vec<Commit>,
    /// `main`, `refs/pr/1`, …
    pub(super) refs: BTreeMap<String, String>,
}

/// A state of the files.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Commit {
    pub id: String,
    pub parent: Option<String>,
    pub summary: String,
    pub description: String,
    pub files: BTreeMap<String, Entry>,
}

/// A file of a commit.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Entry {
    pub size: u64,
    pub lfs: bool,
    pub sha256: String,
    /// What git calls the blob: the file, or the pointer to it.
    pub blob: String,
    /// What Xet calls the file.
    pub xet: Option<String>,
    pub(super) content: Content,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    Memory(#[serde(with = "in_base64")] Bytes),
    Disk(PathBuf),
    /// In Xet's store, under the hash.
    Xet(String),
}

impl Repo {
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, File)>) -> Self {
        let files = files.into_iter().map(|(path, file)| (path.to_owned(), file)).collect();
        Repo { files, ..Repo::default() }
    }

    /// The commit that `main` means at first.
    pub fn commit(&self) -> String {
        id(None, 0, self.files.iter().map(|(path, file)| (path, &file.blob)))
    }

    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        self.files.iter().map(|(path, file)| (path.clone(), file.entry())).collect()
    }
}

impl File {
    pub fn small(bytes: impl Into<Vec<u8>>) -> Self {
        File::new(bytes.into(), false)
    }

    pub fn large(bytes: impl Into<Vec<u8>>) -> Self {
        File::new(bytes.into(), true)
    }

    fn new(bytes: Vec<u8>, lfs: bool) -> Self {
        let sha256 = hash::sha256(&bytes);
        let blob = if lfs { pointer_blob(&sha256, bytes.len() as u64) } else { hash::git_blob(&bytes) };
        File { bytes: bytes.into(), lfs, sha256, blob }
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            size: self.bytes.len() as u64,
            lfs: self.lfs,
            sha256: self.sha256.clone(),
            blob: self.blob.clone(),
            xet: None,
            content: Content::Memory(self.bytes.clone()),
        }
    }
}

impl Entry {
    /// A file in git itself.
    pub(super) fn regular(bytes: Vec<u8>) -> Self {
        File::small(bytes).entry()
    }

    /// A file in LFS.
    pub(super) fn lfs(sha256: &str, size: u64, content: Content) -> Self {
        let xet = match &content {
            Content::Xet(hash) => Some(hash.clone()),
            Content::Memory(_) | Content::Disk(_) => None,
        };
        let blob = pointer_blob(sha256, size);
        Entry { size, lfs: true, sha256: sha256.to_owned(), blob, xet, content }
    }

    /// The file as git has it: itself, or the pointer to it.
    pub(super) fn in_git(&self) -> Entry {
        if self.lfs { Entry::regular(pointer(&self.sha256, self.size).into()) } else { self.clone() }
    }

    /// What `preupload` calls the content.
    pub(super) fn oid(&self) -> &str {
        if self.lfs { &self.sha256 } else { &self.blob }
    }
}

impl Repository {
    /// A repository of one commit.
    pub(super) fn new(files: BTreeMap<String, Entry>, summary: &str) -> Self {
        let mut repository = Repository {
            private: false,
            private_to: None,
            gated: false,
            granted: BTreeSet::new(),
            commits: Vec::new(),
            refs: BTreeMap::new(),
        };
        repository.commit("main", None, files, summary, "");
        repository
    }

    /// The commit that a revision means: a branch, a pull request's, or (the first digits of) a hash.
    pub(super) fn find(&self, revision: &str) -> Option<&Commit> {
        let revision = match revision {
            "HEAD" => "main",
            other => other.strip_prefix("refs/heads/").unwrap_or(other),
        };
        let id = self.refs.get(revision).map_or(revision, String::as_str);
        let digits = id.len() >= 7 && id.bytes().all(|b| b.is_ascii_hexdigit());
        self.commits.iter().find(|c| digits && c.id.starts_with(id))
    }

    /// Makes a commit and lets the reference mean it.
    pub(super) fn commit(
        &mut self,
        reference: &str,
        parent: Option<String>,
        files: BTreeMap<String, Entry>,
        summary: &str,
        description: &str,
    ) -> &Commit {
        let entries = files.iter().map(|(path, entry)| (path, &entry.blob));
        let id = id(parent.as_deref(), self.commits.len(), entries);
        self.refs.insert(reference.to_owned(), id.clone());
        let (summary, description) = (summary.to_owned(), description.to_owned());
        self.commits.push(Commit { id, parent, summary, description, files });
        &self.commits[self.commits.len() - 1]
    }

    /// The name of the next pull request.
    pub(super) fn next_pull_request(&self) -> (usize, String) {
        let taken = self.refs.keys().filter_map(|r| r.strip_prefix("refs/pr/")?.parse::<usize>().ok());
        let number = taken.max().unwrap_or(0) + 1;
        (number, format!("refs/pr/{number}"))
    }
}

/// What git has of a file in LFS: a pointer to it.
fn pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

fn pointer_blob(sha256: &str, size: u64) -> String {
    hash::git_blob(pointer(sha256, size).as_bytes())
}

/// A hash that changes with the files, with what came before, and from one commit to the next.
fn id<'a>(
    parent: Option<&str>,
    number: usize,
    files: impl Iterator<Item = (&'a String, &'a String)>,
) -> String {
    let mut all = format!("{}{number}\n", parent.unwrap_or_default()).into_bytes();
    for (path, blob) in files {
        all.extend([path.as_bytes(), b" ", blob.as_bytes(), b"\n"].concat());
    }
    hash::git_blob(&all)
}

/// Bytes as text, for a Hub that keeps what came.
mod in_base64 {
    use axum::body::Bytes;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(bytes).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map(Bytes::from).map_err(de::Error::custom)
    }
}
