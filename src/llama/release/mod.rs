//! llama.cpp's releases on GitHub, and archives from elsewhere.
//!
//! In: a tag, a commit or an address. Out: the files of a release with the SHA-256 that GitHub states, the commit of a
//! tag, archives on the disk. Refuses: to send the token to any origin but the API's.
//!
//! `/releases/latest` is a release with three numbers whose only file, `nightly-tag.txt`, names the `b#####` tag that
//! has the programs. The functions block; they start a runtime of their own and must not be called inside one.

mod http;

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;

use self::http::Client;
pub(crate) use self::http::Downloaded;
pub use self::http::Patience;
use super::REPOSITORY;
use crate::base::cancel::Cancel;
use crate::base::http::{is_loopback, shown};
use crate::base::repo_id::is_commit;
use crate::base::token::Token;
use crate::event::Observer;

/// Largest archive that is downloaded: those with every GPU library are about 1 GB.
const LARGEST: u64 = 4 << 30;

/// The file of a release with three numbers that names the tag with its programs.
const NIGHTLY: &str = "nightly-tag.txt";

const JSON: &str = "application/vnd.github+json";
const SHA: &str = "application/vnd.github.sha";
const BYTES: &str = "application/octet-stream";

/// Why GitHub, or whoever has an archive, did not give it.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// No address of an API or of an archive.
    #[error("`{url}` is no https address")]
    Address {
        /// What it is.
        url: String,
    },
    /// No connections can be made.
    #[error("cannot prepare connections")]
    Connections(#[source] reqwest::Error),
    /// The asynchronous runtime did not start.
    #[error("cannot start the runtime for connections")]
    Runtime(#[source] io::Error),
    /// It is needed from the network, which may not be used.
    #[error("{what} is not in the cache, and the network may not be used")]
    Offline {
        /// What is needed.
        what: String,
    },
    /// It is not there.
    #[error("there is no {what} at `{url}`")]
    NotFound {
        /// What was asked for.
        what: String,
        /// Where.
        url: String,
    },
    /// GitHub refuses the token.
    #[error("GitHub refuses the token of GITHUB_TOKEN")]
    Token,
    /// There is no archive at an address that the user named.
    #[error("there is no archive at `{url}`")]
    NoArchive {
        /// The address.
        url: String,
    },
    /// Too many requests.
    #[error("GitHub's rate limit is used up")]
    Limited {
        /// Whether a token was sent.
        signed_in: bool,
    },
    /// Another status.
    #[error("`{url}` answers with status {status}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// The connection broke.
    #[error("cannot reach `{url}`")]
    Connection {
        /// The address.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// Nothing came any more.
    #[error("`{url}` sent nothing for {seconds} s")]
    Stalled {
        /// The address.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// An answer that no server of the kind gives.
    #[error("`{url}`: {why}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An answer that is no JSON, or another one.
    #[error("cannot read what `{url}` answers")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The tag of the programs is named by no release.
    #[error("the release `{release}` names no tag with its programs")]
    NoNightly {
        /// The release.
        release: String,
    },
    /// A tag means another commit than it has to.
    #[error("`{tag}` is the commit {found}, and it has to be {expected}")]
    Moved {
        /// The tag.
        tag: String,
        /// What was asked for or recorded.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A release has no programs for this system, or none that can be checked.
    #[error("the release `{tag}` {why}")]
    NoPrograms {
        /// The release.
        tag: String,
        /// What is missing.
        why: &'static str,
    },
    /// What came is not what GitHub states.
    #[error("`{name}` has the SHA-256 {found}, and GitHub states {stated}")]
    Digest {
        /// The file.
        name: String,
        /// What the API says.
        stated: String,
        /// What came.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
}

impl ReleaseError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ReleaseError::Limited { signed_in: false } => {
                "set GITHUB_TOKEN; any token raises the limit".to_owned()
            }
            ReleaseError::Limited { .. } => "try again in an hour".to_owned(),
            ReleaseError::Token => "correct or unset GITHUB_TOKEN; reading releases needs none".to_owned(),
            ReleaseError::NotFound { .. } => {
                format!("https://github.com/{REPOSITORY}/releases lists what there is")
            }
            ReleaseError::Digest { .. } => {
                "it was damaged on the way or replaced; try again, and tell llama.cpp's maintainers if it stays"
                    .to_owned()
            }
            ReleaseError::Offline { .. } => {
                "run once without HF_HUB_OFFLINE, or name a `source` that is on this machine".to_owned()
            }
            ReleaseError::NoArchive { .. }
            | ReleaseError::Connection { .. }
            | ReleaseError::Stalled { .. }
            | ReleaseError::Status { .. } => {
                "`llama_cpp.source` takes a folder or an archive that is on this machine".to_owned()
            }
            _ => return None,
        })
    }
}

/// A release.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Release {
    pub(super) tag_name: String,
    #[serde(default)]
    pub(super) assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asset {
    pub(super) name: String,
    url: String,
    /// `sha256:` and 64 digits; GitHub has none for files from before 2025.
    #[serde(default)]
    digest: Option<String>,
}

impl Asset {
    /// The SHA-256 that GitHub states.
    pub(super) fn sha256(&self) -> Option<&str> {
        let digits = self.digest.as_deref()?.strip_prefix("sha256:")?;
        let is_hash = digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then_some(digits)
    }
}

/// How GitHub is reached, and who listens.
pub(super) struct GitHub<'a> {
    runtime: tokio::runtime::Runtime,
    client: Client<'a>,
    api: Url,
}

impl<'a> GitHub<'a> {
    pub(super) fn new(
        api: &str,
        token: Option<&Token>,
        patience: Patience,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, ReleaseError> {
        let api = address(api)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ReleaseError::Runtime)?;
        Ok(GitHub { runtime, client: Client::new(&api, token, patience, observer, cancel)?, api })
    }

    /// The release that has a tag.
    pub(super) fn release(&self, tag: &str) -> Result<Release, ReleaseError> {
        self.json(&["releases", "tags", tag], &format!("release `{tag}`"))
    }

    /// What GitHub calls the latest release.
    pub(super) fn latest(&self) -> Result<Release, ReleaseError> {
        self.json(&["releases", "latest"], "latest release")
    }

    /// The tag that has a release's programs: its own, or that which its `nightly-tag.txt` names.
    pub(super) fn tag_of(&self, release: &Release) -> Result<String, ReleaseError> {
        if is_build_tag(&release.tag_name) {
            return Ok(release.tag_name.clone());
        }
        let none = || ReleaseError::NoNightly { release: release.tag_name.clone() };
        let asset = release.assets.iter().find(|a| a.name == NIGHTLY).ok_or_else(none)?;
        let url = address(&asset.url)?;
        let text = self.runtime.block_on(self.client.text(&url, BYTES, NIGHTLY))?;
        let found = crate::base::hash::sha256(text.as_bytes());
        if let Some(stated) = asset.sha256().filter(|stated| *stated != found) {
            return Err(ReleaseError::Digest { name: NIGHTLY.to_owned(), stated: stated.to_owned(), found });
        }
        let tag = text.trim();
        if is_build_tag(tag) { Ok(tag.to_owned()) } else { Err(none()) }
    }

    /// The commit of a tag.
    pub(super) fn commit(&self, tag: &str) -> Result<String, ReleaseError> {
        let url = self.url(&["commits", tag]);
        let text = self.runtime.block_on(self.client.text(&url, SHA, &format!("commit of `{tag}`")))?;
        let commit = text.trim();
        match is_commit(commit) {
            true => Ok(commit.to_owned()),
            false => Err(ReleaseError::Protocol { url: shown(&url), why: "the answer is no commit" }),
        }
    }

    /// Brings a file of a release, compared with what GitHub states of it.
    pub(super) fn asset(&self, asset: &Asset, into: &Path) -> Result<Downloaded, ReleaseError> {
        let url = address(&asset.url)?;
        let came = self.runtime.block_on(self.client.download(&url, BYTES, &asset.name, into, LARGEST))?;
        match asset.sha256() {
            Some(stated) if stated != came.sha256 => Err(ReleaseError::Digest {
                name: asset.name.clone(),
                stated: stated.to_owned(),
                found: came.sha256,
            }),
            _ => Ok(came),
        }
    }

    /// Brings the source of a commit.
    pub(super) fn source(&self, commit: &str, into: &Path) -> Result<Downloaded, ReleaseError> {
        let url = self.url(&["tarball", commit]);
        let what = format!("source of {}", commit.get(..9).unwrap_or(commit));
        self.runtime.block_on(self.client.download(&url, JSON, &what, into, LARGEST))
    }

    /// Brings an archive from anywhere.
    pub(super) fn archive(&self, url: &str, into: &Path) -> Result<Downloaded, ReleaseError> {
        let url = address(url)?;
        let name = url.path_segments().and_then(|mut s| s.next_back()).unwrap_or_default().to_owned();
        let what = format!("archive `{name}`");
        let came = self.runtime.block_on(self.client.download(&url, "*/*", &what, into, LARGEST));
        came.map_err(|error| match error {
            ReleaseError::NotFound { url, .. } => ReleaseError::NoArchive { url },
            error => error,
        })
    }

    fn url(&self, below: &[&str]) -> Url {
        let mut url = self.api.clone();
        let mut segments = url.path_segments_mut().expect("http addresses have paths");
        segments.pop_if_empty().push("repos").extend(REPOSITORY.split('/')).extend(below);
        drop(segments);
        url
    }

    fn json(&self, below: &[&str], what: &str) -> Result<Release, ReleaseError> {
        let url = self.url(below);
        let text = self.runtime.block_on(self.client.text(&url, JSON, what))?;
        serde_json::from_str(&text).map_err(|source| ReleaseError::Answer { url: shown(&url), source })
    }
}

/// Whether it is a tag that has programs: `b` and a number.
pub(super) fn is_build_tag(tag: &str) -> bool {
    tag.strip_prefix('b').is_some_and(|n| (1..=8).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The name of a release's archive for this system; none where llama.cpp publishes none that is a tar file.
pub(super) fn archive_name(tag: &str, os: &str, arch: &str) -> Option<String> {
    let system = match (os, arch) {
        ("linux", "x86_64") => "ubuntu-x64",
        ("linux", "aarch64") => "ubuntu-arm64",
        ("macos", "x86_64") => "macos-x64",
        ("macos", "aarch64") => "macos-arm64",
        _ => return None,
    };
    Some(format!("llama-{tag}-bin-{system}.tar.gz"))
}

/// An address that may be asked: https, or http on this machine.
fn address(text: &str) -> Result<Url, ReleaseError> {
    let url = Url::parse(text).map_err(|_| ReleaseError::Address { url: "?".to_owned() })?;
    let plain = url.username().is_empty() && url.password().is_none();
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    if plain && safe { Ok(url) } else { Err(ReleaseError::Address { url: shown(&url) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives() {
        assert_eq!(
            archive_name("b11312", "linux", "x86_64").as_deref(),
            Some("llama-b11312-bin-ubuntu-x64.tar.gz")
        );
        assert_eq!(
            archive_name("b11312", "macos", "aarch64").as_deref(),
            Some("llama-b11312-bin-macos-arm64.tar.gz")
        );
        assert_eq!(archive_name("b11312", "windows", "x86_64"), None);
    }

    #[test]
    fn tags_with_programs() {
        for (tag, is) in [("b1", true), ("b11312", true), ("v0.5.0", false), ("b", false), ("b1/../2", false)]
        {
            assert_eq!(is_build_tag(tag), is, "{tag}");
        }
    }

    #[test]
    fn digests_are_sha256() {
        let asset =
            |digest: &str| Asset { name: String::new(), url: String::new(), digest: Some(digest.to_owned()) };
        let digits = "0".repeat(64);
        assert_eq!(asset(&format!("sha256:{digits}")).sha256(), Some(&*digits));
        for digest in ["", "sha256:", "sha256:0", "sha512:0", &digits] {
            assert_eq!(asset(digest).sha256(), None, "{digest}");
        }
    }

    #[test]
    fn addresses_hold_no_secrets() {
        assert!(address("https://api.github.com").is_ok() && address("http://127.0.0.1:1/x").is_ok());
        for bad in ["", "file:///etc/passwd", "http://example.org/", "https://me:secret@host/"] {
            let error = address(bad).unwrap_err().to_string();
            assert!(error.contains("no https address") && !error.contains("secret"), "{error}");
        }
    }
}
