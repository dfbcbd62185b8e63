//! What a publication left on the Hub, as data to be kept.

use serde::{Deserialize, Serialize};

/// The receipt's own format; a reader refuses a higher one.
pub const RECEIPT_FORMAT: u32 = 1;

/// What a publication left on the Hub. Compared with what the Hub shows before it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`RECEIPT_FORMAT`].
    pub format_version: u32,
    /// Address of the Hub.
    pub endpoint: String,
    /// `owner/name`.
    pub repo: String,
    /// Whether only its owner sees it.
    pub private: bool,
    /// The commit that has all of the files: the one made, or the head where there was nothing to commit.
    pub commit: String,
    /// Where a person sees it.
    pub url: String,
    /// The pull request that proposes the commit.
    pub pull_request: Option<PullRequest>,
    /// The commit that it stands on; `None` where there was nothing to commit.
    pub parent: Option<String>,
    /// Every file of the publication.
    pub files: Vec<ReceiptFile>,
    /// Paths that were removed.
    pub deleted: Vec<String>,
    /// What the tags of `-hf repository:TAG` give.
    pub tags: Vec<ReceiptTag>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
}

/// A pull request on the Hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// Where a person sees it.
    pub url: String,
}

/// A file of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFile {
    /// Path in the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
    /// What had to be done for it.
    pub state: FileState,
}

/// What had to be done for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Its bytes were sent.
    Sent,
    /// Its bytes were there, under another path; the commit names them.
    AlreadyThere,
    /// It was there, the same.
    Unchanged,
}

/// A tag of llama.cpp's `-hf repository:TAG`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptTag {
    /// The tag: a method.
    pub tag: String,
    /// The file that was made by this method.
    pub file: String,
    /// The file that llama.cpp takes for it; `None`: it finds none.
    pub gives: Option<String>,
}
