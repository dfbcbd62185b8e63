//! Large files on their way up: the LFS batch, its parts, and the check afterwards.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::Caller;
use super::repo::Entry;
use super::{Answer, Shared, no, refuse};

/// What every answer of the batch is.
const LFS_JSON: &str = "application/vnd.git-lfs+json";

#[derive(Deserialize)]
pub(super) struct Batch {
    operation: String,
    #[serde(default)]
    transfers: Vec<String>,
    objects: Vec<Object>,
    r#ref: Option<Ref>,
}

#[derive(Deserialize)]
struct Ref {
    name: String,
}

#[derive(Deserialize)]
pub(super) struct Object {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
pub(super) struct Completion {
    oid: String,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    part_number: u64,
    etag: String,
}

impl Shared {
    /// A large file that this Hub has, wherever it is.
    pub(super) fn object(&self, sha256: &str) -> Option<Entry> {
        self.xet.object(sha256).or_else(|| self.store.object(sha256)).or_else(|| {
            let repos = self.repos.lock().unwrap();
            let mut files = repos.values().flat_map(|r| r.commits.iter().flat_map(|c| c.files.values()));
            files.find(|f| f.lfs && f.sha256 == sha256).cloned()
        })
    }
}

/// `POST /{id}.git/info/lfs/objects/batch`
pub(super) async fn batch(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Path((owner, git)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Answer {
    let id = format!("{owner}/{}", git.trim_end_matches(".git"));
    let asked: Batch = serde_json::from_slice(&body).map_err(|_| no(400, "BadRequest"))?;
    shared.find(&id, "main", &caller)?;
    // Without a branch, or with a pull request's, it is for a proposal.
    let proposes = asked.r#ref.is_none_or(|r| r.name.starts_with("refs/pr/"));
    if !(caller.may_write(&id) || proposes && caller.may_propose()) {
        return Err(caller.refused("You don't have write access to this repository").into());
    }
    if asked.operation != "upload" {
        return Err(no(400, "OnlyUploads"));
    }
    let xet = shared.xet.is_on() && asked.transfers.iter().any(|t| t == "xet");
    let actions = |object: &Object| if xet { by_xet(&shared, &id) } else { by_http(&shared, &id, object) };
    let mut multipart = false;
    let objects: Vec<Value> = asked
        .objects
        .iter()
        .map(|object| {
            let mut answer = json!({"oid": object.oid, "size": object.size});
            if object.oid.len() != 64 {
                answer["error"] = json!({"code": 422, "message": "not a sha256"});
            } else if shared.object(&object.oid).is_none() {
                answer["actions"] = actions(object);
                multipart |= answer["actions"]["upload"]["header"]["chunk_size"].is_string();
            }
            answer
        })
        .collect();
    let transfer = match (xet, multipart) {
        (true, _) => "xet",
        (false, true) => "multipart",
        (false, false) => "basic",
    };
    let answer = json!({"transfer": transfer, "objects": objects, "hash_algo": "sha256"});
    Ok(([(header::CONTENT_TYPE, LFS_JSON)], answer.to_string()).into_response())
}

fn by_xet(shared: &Shared, id: &str) -> Value {
    let given = shared.xet.give(true);
    let header = json!({"X-Xet-Cas-Url": shared.cas, "X-Xet-Access-Token": given.token,
        "X-Xet-Token-Expiration": given.expires.to_string(), "X-Xet-Session-Id": "loopback"});
    json!({"upload": {"href": format!("{}/api/models/{id}/xet-write-token/main", shared.api), "header": header}})
}

fn by_http(shared: &Shared, id: &str, object: &Object) -> Value {
    let chunk = shared.settings.part.filter(|part| object.size > *part);
    let (number, upload) = shared.store.expect(&object.oid, object.size, chunk);
    let verify = json!({"href": format!("{}/{id}.git/info/lfs/verify", shared.api)});
    let place = |part: u64| format!("{}/lfs/{number}/{part}?X-Amz-Signature=secret", shared.cdn);
    let upload = match chunk {
        None => json!({"href": place(1)}),
        Some(chunk) => {
            // In order: npm's client takes them as they come.
            let mut header: BTreeMap<String, String> =
                (1..=upload.parts()).map(|part| (format!("{part:05}"), place(part))).collect();
            header.insert("chunk_size".to_owned(), chunk.to_string());
            json!({"href": format!("{}/api/lfs/complete?upload={number}", shared.api), "header": header})
        }
    };
    json!({"upload": upload, "verify": verify})
}

/// `PUT {cdn}/lfs/{upload}/{part}`
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path((number, part)): Path<(usize, u64)>,
    body: Body,
) -> Answer {
    let tag = shared.store.put(number, part, body).await?;
    Ok([(header::ETAG, tag)].into_response())
}

/// `POST /api/lfs/complete?upload=…`; the address is signed, so that it needs no token.
pub(super) async fn complete(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, usize>>,
    body: axum::body::Bytes,
) -> Answer {
    let asked: Completion = serde_json::from_slice(&body).map_err(|_| no(400, "BadRequest"))?;
    let number = query.get("upload").copied().unwrap_or_default();
    let parts: Vec<(u64, String)> = asked.parts.into_iter().map(|p| (p.part_number, p.etag)).collect();
    shared.store.complete(number, &asked.oid, &parts)?;
    Ok(Json(json!({"success": true})).into_response())
}

/// `POST /{id}.git/info/lfs/verify`
pub(super) async fn verify(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    body: axum::body::Bytes,
) -> Response {
    let Ok(asked) = serde_json::from_slice::<Object>(&body) else { return refuse(400, "BadRequest") };
    if !caller.is_somebody() {
        return caller.refused("Invalid username or password.");
    }
    match shared.object(&asked.oid) {
        Some(entry) if entry.size == asked.size => StatusCode::OK.into_response(),
        Some(_) => refuse(422, "SizeMismatch"),
        None => refuse(404, "ObjectNotFound"),
    }
}
