//! Changes: what a file would be uploaded as, and commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::Caller;
use super::attributes;
use super::repo::{Commit, Content, Entry};
use super::{Answer, Shared, no};

const ATTRIBUTES: &str = ".gitattributes";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preupload {
    files: Vec<Coming>,
    git_ignore: Option<String>,
    git_attributes: Option<String>,
}

#[derive(Deserialize)]
struct Coming {
    path: String,
    size: u64,
}

/// A line of a commit.
#[derive(Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "camelCase")]
enum Line {
    Header(Header),
    File(Regular),
    LfsFile(Large),
    DeletedFile(Gone),
    DeletedFolder(Gone),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Header {
    summary: String,
    #[serde(default)]
    description: Option<String>,
    parent_commit: Option<String>,
}

#[derive(Deserialize)]
struct Regular {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Large {
    path: String,
    algo: String,
    oid: String,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Gone {
    path: String,
}

/// `POST /api/models/{id}/preupload/{revision}[?create_pr=1]`
pub(super) async fn preupload(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    Json(asked): Json<Preupload>,
) -> Answer {
    let id = format!("{owner}/{name}");
    let commit = may_change(&shared, &id, &revision, &caller, query.contains_key("create_pr"))?;
    let attributes = asked.git_attributes.unwrap_or_else(|| text(&commit, ATTRIBUTES));
    let ignore = asked.git_ignore.unwrap_or_else(|| text(&commit, ".gitignore"));
    let files: Vec<Value> = asked
        .files
        .iter()
        .map(|file| {
            let lfs = file.size > 0 && attributes::is_lfs(&attributes, &file.path, file.size);
            let mut answer = json!({"path": file.path, "uploadMode": if lfs { "lfs" } else { "regular" },
                "shouldIgnore": attributes::is_ignored(&ignore, &file.path)});
            if let Some(entry) = commit.files.get(&file.path) {
                answer["oid"] = json!(entry.oid());
            }
            answer
        })
        .collect();
    Ok(Json(json!({"files": files, "commitOid": commit.id})).into_response())
}

/// The commit that a change starts from, if the token may make one.
fn may_change(shared: &Shared, id: &str, revision: &str, caller: &Caller, create_pr: bool) -> Answer<Commit> {
    let (_, commit) = shared.find(id, revision, caller)?;
    let proposes = create_pr || revision.starts_with("refs/pr/");
    if caller.may_write(id) || proposes && caller.may_propose() {
        Ok(commit)
    } else {
        Err(caller.refused("You don't have write access to this repository").into())
    }
}

/// A small text of a commit; empty where it is not there.
fn text(commit: &Commit, path: &str) -> String {
    match commit.files.get(path).map(|entry| &entry.content) {
        Some(Content::Memory(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// `POST /api/models/{id}/commit/{revision}[?create_pr=1]`
pub(super) async fn commit(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Answer {
    const STALE: &str = "A commit has happened since. Please refresh and try again.";
    let refused = |status, text: &str| Err(said(status, text).into());
    let id = format!("{owner}/{name}");
    let create_pr = query.contains_key("create_pr");
    let mut base = may_change(&shared, &id, &revision, &caller, create_pr)?;
    let lines: Result<Vec<Line>, _> =
        body.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(serde_json::from_slice).collect();
    let mut lines = match lines {
        Err(error) => return refused(400, &format!("malformed commit: {error}")),
        Ok(lines) => lines.into_iter(),
    };
    let Some(Line::Header(header)) = lines.next() else {
        return refused(400, "the first line is no header");
    };
    if header.summary.is_empty() {
        return refused(400, "\"summary\" is required");
    }
    if let Some(parent) = &header.parent_commit {
        if create_pr {
            (_, base) = shared.find(&id, parent, &caller)?;
        } else if parent.len() < 7 || !base.id.starts_with(parent) {
            return refused(412, STALE);
        }
    }
    let mut files = base.files.clone();
    for line in lines {
        apply(&shared, &mut files, line)?;
    }
    let mut repos = shared.repos.lock().unwrap();
    let repository = repos.get_mut(&id).ok_or_else(|| no(404, "RepoNotFound"))?;
    let (number, proposal) = repository.next_pull_request();
    let reference = if create_pr { &proposal } else { &revision };
    // Somebody else was faster while this one was read.
    let head = repository.refs.get(reference);
    if !create_pr && head != Some(&base.id) {
        return if head.is_some() { refused(412, STALE) } else { Err(no(404, "RevisionNotFound")) };
    }
    let description = header.description.unwrap_or_default();
    let made = repository.commit(reference, Some(base.id), files, &header.summary, &description);
    let mut answer = json!({"success": true, "commitOid": made.id, "hookOutput": "",
        "commitUrl": format!("{}/{id}/commit/{}", shared.api, made.id)});
    if create_pr {
        answer["pullRequestUrl"] = json!(format!("{}/{id}/discussions/{number}", shared.api));
    }
    Ok(Json(answer).into_response())
}

fn apply(shared: &Shared, files: &mut BTreeMap<String, Entry>, line: Line) -> Answer<()> {
    let refused = |status, text: String| Err(said(status, &text).into());
    match line {
        Line::Header(_) => return refused(400, "a second header".to_owned()),
        Line::File(file) => {
            let bytes = match file.encoding.as_deref() {
                Some("base64") => STANDARD.decode(&file.content).ok(),
                None | Some("utf-8") => Some(file.content.into_bytes()),
                Some(_) => None,
            };
            let Some(bytes) = bytes else { return refused(400, format!("{}: no such encoding", file.path)) };
            if bytes.len() as u64 > attributes::LARGE {
                return refused(400, format!("{}: larger than 10 MiB, use LFS", file.path));
            }
            insert(files, &file.path, Entry::regular(bytes))?;
        }
        Line::LfsFile(file) => {
            let Some(entry) = shared.object(&file.oid).filter(|_| file.algo == "sha256") else {
                return refused(400, format!("{}: the LFS object {} does not exist", file.path, file.oid));
            };
            if file.size.is_some_and(|size| size != entry.size) {
                return refused(400, format!("{}: the LFS object has {} bytes", file.path, entry.size));
            }
            insert(files, &file.path, entry)?;
            let attributes = files.get(ATTRIBUTES).map(|entry| match &entry.content {
                Content::Memory(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            });
            let mut attributes = attributes.unwrap_or_default();
            if !attributes::has_rule(&attributes, &file.path) {
                attributes.push_str(&attributes::rule(&file.path));
                files.insert(ATTRIBUTES.to_owned(), Entry::regular(attributes.into()));
            }
        }
        Line::DeletedFile(gone) => {
            if files.remove(&gone.path).is_none() {
                return refused(404, format!("{}: no such file", gone.path));
            }
        }
        Line::DeletedFolder(gone) => {
            let folder = format!("{}/", gone.path.trim_end_matches('/'));
            files.retain(|path, _| !path.starts_with(&folder));
        }
    }
    Ok(())
}

/// Paths are relative, and a file is no folder.
fn insert(files: &mut BTreeMap<String, Entry>, path: &str, entry: Entry) -> Answer<()> {
    let sound = !path.split('/').any(|part| ["", ".", "..", ".git"].contains(&part)) && !path.contains('\\');
    if !sound {
        return Err(said(400, &format!("{path}: not a path")).into());
    }
    files.insert(path.to_owned(), entry);
    Ok(())
}

/// A refusal in words.
fn said(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    let plain = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let header = if plain { text } else { "refused" }.to_owned();
    (status, [("x-error-message", header)], Json(json!({"error": text}))).into_response()
}
