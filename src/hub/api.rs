//! What the Hub's API tells of a repository: the commit of a revision, and the files of a commit.

use serde::Deserialize;
use serde_json::Value;

use super::address::shown;
use super::client::{Client, Subject};
use super::error::HubError;
use super::select::RemoteFile;
use super::wire;
use crate::base::repo_id::{RepoId, is_commit};

/// Most pages of a listing that are read; a page has up to a thousand files.
const PAGES: usize = 200;

/// A revision, as the Hub resolves it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pinned {
    pub(super) commit: String,
    pub(super) gated: bool,
    pub(super) private: bool,
}

#[derive(Deserialize)]
struct RawInfo {
    sha: String,
    #[serde(default)]
    private: bool,
    /// `false`, `"auto"` or `"manual"`.
    #[serde(default)]
    gated: Value,
}

#[derive(Deserialize)]
struct RawEntry {
    r#type: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    path: String,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    oid: String,
    size: u64,
}

/// The commit that a revision means now.
pub(super) async fn pin(client: &Client<'_>, repo: &RepoId, revision: &str) -> Result<Pinned, HubError> {
    let url = client.url(&["api", "models", repo.owner(), repo.name(), "revision", revision]);
    let subject = Subject { repo, revision, path: None };
    let (info, _, url): (RawInfo, _, _) = client.json(subject, &url).await?;
    if !is_commit(&info.sha) {
        return Err(HubError::Protocol { url: shown(&url), why: "the commit is no hash" });
    }
    let gated = !matches!(info.gated, Value::Null | Value::Bool(false));
    Ok(Pinned { commit: info.sha, gated, private: info.private })
}

/// Every file of a commit.
pub(super) async fn tree(
    client: &Client<'_>,
    repo: &RepoId,
    commit: &str,
) -> Result<Vec<RemoteFile>, HubError> {
    let mut url = client.url(&["api", "models", repo.owner(), repo.name(), "tree", commit]);
    url.set_query(Some("recursive=1"));
    let subject = Subject { repo, revision: commit, path: None };
    let mut files = Vec::new();
    for _ in 0..PAGES {
        let (entries, headers, here): (Vec<RawEntry>, _, _) = client.json(subject, &url).await?;
        for entry in entries.into_iter().filter(|e| e.r#type == "file") {
            files.push(file(entry).ok_or(HubError::Protocol {
                url: shown(&here),
                why: "a file of the listing has a malformed hash",
            })?);
        }
        let Some(link) = wire::text(&headers, "link").and_then(wire::next_link) else { return Ok(files) };
        url = client.page(&here, link).ok_or(HubError::Protocol {
            url: shown(&here),
            why: "the next page of the listing is at another origin",
        })?;
    }
    Err(HubError::Protocol { url: shown(&url), why: "the listing has too many pages" })
}

fn file(entry: RawEntry) -> Option<RemoteFile> {
    let is_hash = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let RawEntry { oid: blob, size, path, lfs, .. } = entry;
    let (size, sha256) = lfs.map_or((size, None), |lfs| (lfs.size, Some(lfs.oid)));
    let sound = match &sha256 {
        Some(sha256) => is_hash(sha256, 64),
        None => is_hash(&blob, 40),
    };
    sound.then_some(RemoteFile { path, size, sha256, blob })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let (sha1, sha256) = ("a".repeat(40), "b".repeat(64));
        let parse = |json: Value| file(serde_json::from_value(json).unwrap());
        let small =
            parse(serde_json::json!({"type":"file","oid":sha1,"size":5,"path":"config.json"})).unwrap();
        assert_eq!((small.size, small.sha256, small.blob), (5, None, sha1.clone()));
        let json = serde_json::json!({"type":"file","oid":sha1,"size":9,"path":"model.safetensors",
            "lfs":{"oid":sha256,"size":9,"pointerSize":135},"xetHash":"c"});
        let large = parse(json).unwrap();
        assert_eq!((large.size, large.sha256), (9, Some(sha256)));
        assert!(parse(serde_json::json!({"type":"file","oid":"../x","size":5,"path":"a"})).is_none());
        let json =
            serde_json::json!({"type":"file","oid":sha1,"size":1,"path":"a","lfs":{"oid":"x","size":1}});
        assert!(parse(json).is_none());
    }
}
