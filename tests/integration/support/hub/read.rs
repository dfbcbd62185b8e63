//! What a repository has, and its files.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::accounts::{Caller, pairs};
use super::fault::{Fault, Struck};
use super::repo::{Commit, Entry, Repository};
use super::{Answer, Shared, card, no};

/// What npm's client asks for when it wants to know where a file of Xet's is.
const XET_INFO: &str = "application/vnd.xet-fileinfo+json";

/// How Xet calls the headers of a token.
const TOKEN_HEADERS: [&str; 3] = ["x-xet-cas-url", "x-xet-access-token", "x-xet-token-expiration"];

/// Where a repository and a revision are in a path.
type At = Path<HashMap<String, String>>;

fn id(at: &At) -> String {
    format!("{}/{}", at["owner"], at["name"])
}

/// The revision and the path in it. `refs/pr/1` may come with its slashes escaped or as it is.
fn place(at: &At) -> (String, &str) {
    let revision = at.get("revision").map_or("main", String::as_str);
    let path = at.get("path").map_or("", String::as_str);
    let mut parts = path.splitn(3, '/');
    match (revision, parts.next(), parts.next()) {
        ("refs", Some(kind), Some(name)) => (format!("refs/{kind}/{name}"), parts.next().unwrap_or_default()),
        _ => (revision.to_owned(), path),
    }
}

fn revision(at: &At) -> String {
    place(at).0
}

impl Shared {
    /// The repository at the revision, if whoever asks may see it.
    pub(super) fn find(&self, id: &str, revision: &str, caller: &Caller) -> Answer<(Repository, Commit)> {
        let repository = self.repos.lock().unwrap().get(id).filter(|r| caller.sees(id, r)).cloned();
        let Some(repository) = repository else {
            // As the real one: who is not signed in is told so.
            return Err(no(if caller.is_somebody() { 404 } else { 401 }, "RepoNotFound"));
        };
        match repository.find(revision).cloned() {
            Some(commit) => Ok((repository, commit)),
            None => Err(no(404, "RevisionNotFound")),
        }
    }

    /// The commit at the revision, if whoever asks may read its files.
    fn open(&self, id: &str, revision: &str, caller: &Caller) -> Answer<Commit> {
        let (repository, commit) = self.find(id, revision, caller)?;
        match caller.is_let_in(id, &repository) {
            true => Ok(commit),
            false => Err(no(if caller.is_somebody() { 403 } else { 401 }, "GatedRepo")),
        }
    }
}

/// `GET /api/models/{id}/discussions`: the pull requests, all of them open.
pub(super) async fn discussions(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
) -> Answer {
    let id = id(&at);
    let (repository, _) = shared.find(&id, "main", &caller)?;
    let requests = repository.refs.keys().filter_map(|name| {
        let (number, commit) = (name.strip_prefix("refs/pr/")?.parse::<u64>().ok()?, repository.find(name)?);
        Some(json!({"num": number, "title": commit.summary, "status": "open", "isPullRequest": true,
            "repo": {"type": "model", "name": id}, "createdAt": "2026-01-01T00:00:00.000Z"}))
    });
    let list: Vec<Value> = requests.collect();
    Ok(Json(json!({"count": list.len(), "start": 0, "discussions": list})).into_response())
}

/// `GET /api/models/{id}[/revision/{revision}]`
pub(super) async fn info(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
) -> Answer {
    let id = id(&at);
    let (repository, commit) = shared.find(&id, &revision(&at), &caller)?;
    let siblings: Vec<Value> = commit.files.keys().map(|path| json!({"rfilename": path})).collect();
    let gated = if repository.gated { json!("manual") } else { json!(false) };
    let card = match commit.files.get("README.md") {
        Some(entry) => {
            card::front_matter(&String::from_utf8_lossy(&shared.bytes(entry).await)).ok().flatten()
        }
        None => None,
    };
    let tags = card.as_ref().and_then(|c| c.get("tags")).cloned().unwrap_or_else(|| json!([]));
    let used: u64 = commit.files.values().map(|f| f.size).sum();
    let about = json!({
        "_id": commit.id.get(..24), "id": id, "modelId": id, "author": at["owner"], "sha": commit.id,
        "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repository.private || repository.private_to.is_some(), "gated": gated, "disabled": false,
        "downloads": 0, "likes": 0, "tags": tags, "cardData": card, "siblings": siblings, "usedStorage": used,
    });
    Ok(Json(about).into_response())
}

/// `GET /api/models/{id}/refs[?include_prs=1]`
pub(super) async fn refs(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let (repository, _) = shared.find(&id(&at), "main", &caller)?;
    let (proposals, branches): (Vec<_>, Vec<_>) =
        repository.refs.iter().partition(|(name, _)| name.starts_with("refs/pr/"));
    let branch = |(name, commit): (&String, &String)| {
        json!({"name": name, "ref": format!("refs/heads/{name}"),
        "targetCommit": commit})
    };
    let proposal =
        |(name, commit): (&String, &String)| json!({"name": name, "ref": name, "targetCommit": commit});
    let branches: Vec<Value> = branches.into_iter().map(branch).collect();
    let mut answer = json!({"branches": branches, "converts": [], "tags": []});
    if query.contains_key("include_prs") {
        answer["pullRequests"] = proposals.into_iter().map(proposal).collect();
    }
    Ok(Json(answer).into_response())
}

/// `GET /api/models/{id}/tree/{revision}[/{folder}]?recursive=&expand=&cursor=`
pub(super) async fn tree(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(Struck(fault)): Extension<Struck>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
) -> Answer {
    let (_, commit) = shared.find(&id(&at), &revision(&at), &caller)?;
    let recursive = query.get("recursive").is_some_and(|r| ["1", "true", "True"].contains(&r.as_str()));
    let from: usize = query.get("cursor").map_or(0, |c| c.parse().unwrap());
    let folder = match place(&at).1 {
        "" => String::new(),
        path => format!("{path}/"),
    };
    let inside: Vec<(&String, &Entry)> =
        commit.files.iter().filter(|(p, _)| p.starts_with(&folder)).collect();
    if inside.is_empty() && !folder.is_empty() {
        return Err(no(404, "EntryNotFound"));
    }
    // Folders come with the first page.
    let mut page = Vec::new();
    let folders: BTreeSet<&str> = inside
        .iter()
        .flat_map(|(path, _)| path.match_indices('/').map(|(end, _)| &path[..end]))
        .filter(|path| path.len() > folder.len() && (recursive || !path[folder.len()..].contains('/')))
        .collect();
    if from == 0 {
        page.extend(folders.into_iter().map(directory));
    }
    let files: Vec<_> =
        inside.into_iter().filter(|(p, _)| recursive || !p[folder.len()..].contains('/')).collect();
    page.extend(
        files.iter().skip(from).take(shared.settings.page).map(|(path, entry)| describe(path, entry)),
    );
    let mut response = Json(page).into_response();
    let next = from + shared.settings.page;
    if next < files.len() {
        let origin = if matches!(fault, Some(Fault::PageAtCdn)) { &shared.cdn } else { &shared.api };
        let link = format!("<{origin}{}?recursive={recursive}&cursor={next}>; rel=\"next\"", uri.path());
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    Ok(response)
}

/// `POST /api/models/{id}/paths-info/{revision}`, a form or JSON
pub(super) async fn paths_info(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
    body: Bytes,
) -> Answer {
    let (_, commit) = shared.find(&id(&at), &revision(&at), &caller)?;
    let paths: Vec<String> = match serde_json::from_slice::<Value>(&body) {
        Ok(asked) => serde_json::from_value(asked["paths"].clone()).unwrap_or_default(),
        Err(_) => {
            pairs(&body).into_iter().filter(|(name, _)| name == "paths").map(|(_, path)| path).collect()
        }
    };
    let found = paths.iter().filter_map(|path| match commit.files.get(path) {
        Some(entry) => Some(describe(path, entry)),
        None => commit.files.keys().any(|f| f.starts_with(&format!("{path}/"))).then(|| directory(path)),
    });
    Ok(Json(found.collect::<Vec<Value>>()).into_response())
}

fn directory(path: &str) -> Value {
    json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": path})
}

fn describe(path: &str, entry: &Entry) -> Value {
    let mut described = json!({"type": "file", "oid": entry.blob, "size": entry.size, "path": path});
    if entry.lfs {
        described["lfs"] = json!({"oid": entry.sha256, "size": entry.size, "pointerSize": 134});
    }
    if let Some(hash) = &entry.xet {
        described["xetHash"] = json!(hash);
    }
    described
}

/// `GET /{id}/resolve/{revision}/{path}`
pub(super) async fn resolve(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(struck): Extension<Struck>,
    at: At,
    headers: HeaderMap,
) -> Answer {
    let (id, (revision, path)) = (id(&at), place(&at));
    let commit = shared.open(&id, &revision, &caller)?;
    let entry = commit.files.get(path).ok_or_else(|| no(404, "EntryNotFound"))?;
    let read_token = format!("{}/api/models/{id}/xet-read-token/{}", shared.api, commit.id);
    let wants_xet = headers.get(header::ACCEPT).is_some_and(|a| a.to_str().unwrap().contains(XET_INFO));
    let mut response = match &entry.xet {
        Some(hash) if wants_xet => {
            let info = json!({"hash": hash, "refreshUrl": read_token,
                "reconstructionUrl": format!("{}/v1/reconstructions/{hash}", shared.cas)});
            ([(header::CONTENT_TYPE, XET_INFO)], info.to_string()).into_response()
        }
        _ if entry.lfs => {
            let age = shared.log.expiries.load(Ordering::Relaxed);
            let place = format!("{}/{id}/{}/{}?signature=secret-{age}", shared.cdn, commit.id, escape(path));
            (StatusCode::FOUND, [(header::LOCATION, place)]).into_response()
        }
        _ => shared.body(entry, &entry.blob, &struck, &headers).await,
    };
    let mut put = |name: &'static str, value: String| {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
    };
    put("x-repo-commit", commit.id.clone());
    if entry.lfs {
        put("x-linked-size", entry.size.to_string());
        put("x-linked-etag", format!("\"{}\"", entry.sha256));
    }
    if let Some(hash) = &entry.xet {
        put("x-xet-hash", hash.clone());
        let info = format!("{}/v1/reconstructions/{hash}", shared.cas);
        put("link", format!("<{read_token}>; rel=\"xet-auth\", <{info}>; rel=\"xet-reconstruction-info\""));
    }
    Ok(response)
}

/// `GET /{id}/raw/{revision}/{path}`: what git has.
pub(super) async fn raw(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Extension(struck): Extension<Struck>,
    at: At,
    headers: HeaderMap,
) -> Answer {
    let (revision, path) = place(&at);
    let commit = shared.open(&id(&at), &revision, &caller)?;
    let entry = commit.files.get(path).map(Entry::in_git).ok_or_else(|| no(404, "EntryNotFound"))?;
    Ok(shared.body(&entry, &entry.blob, &struck, &headers).await)
}

/// The content network: `/{id}/{commit}/{path}?signature=…`
pub(super) async fn content(
    State(shared): State<Arc<Shared>>,
    Extension(struck): Extension<Struck>,
    at: At,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let signature = format!("signature=secret-{}", shared.log.expiries.load(Ordering::Relaxed));
    let entry = {
        let repos = shared.repos.lock().unwrap();
        let commit = repos.get(&id(&at)).and_then(|r| r.find(&at["revision"]));
        commit.and_then(|commit| commit.files.get(&at["path"]).cloned())
    };
    match entry.filter(|_| uri.query() == Some(&signature)) {
        None => StatusCode::FORBIDDEN.into_response(),
        Some(entry) => shared.body(&entry, &entry.sha256, &struck, &headers).await,
    }
}

fn escape(path: &str) -> String {
    let escaped = path.bytes().map(|b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(b).to_string()
        }
        other => format!("%{other:02X}"),
    });
    escaped.collect()
}

/// `GET /api/models/{id}/xet-read-token/{revision}`
pub(super) async fn read_token(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
) -> Answer {
    shared.open(&id(&at), &revision(&at), &caller)?;
    token(&shared, false)
}

/// `GET /api/models/{id}/xet-write-token/{revision}[?create_pr=1]`
pub(super) async fn write_token(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let id = id(&at);
    // A pull request that is to come has no revision yet; clients then write what they have (`None`).
    let proposes = query.contains_key("create_pr") || revision(&at).starts_with("refs/pr/");
    let looked_up = if proposes { "main".to_owned() } else { revision(&at) };
    shared.find(&id, &looked_up, &caller)?;
    if !(caller.may_write(&id) || proposes && caller.may_propose()) {
        return Err(caller.refused("You don't have write access to this repository").into());
    }
    token(&shared, true)
}

fn token(shared: &Shared, write: bool) -> Answer {
    if !shared.xet.is_on() {
        return Err(no(404, "XetNotEnabled"));
    }
    let given = shared.xet.give(write);
    let [url, token, expires] = TOKEN_HEADERS;
    let headers =
        [(url, shared.cas.clone()), (token, given.token.clone()), (expires, given.expires.to_string())];
    let body = json!({"accessToken": given.token, "exp": given.expires, "casUrl": shared.cas});
    Ok((headers, Json(body)).into_response())
}
