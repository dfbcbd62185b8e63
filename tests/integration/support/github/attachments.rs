//! Files that are attached to releases: a release that takes them, by its number or its tag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Json, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use jamph_quantizer::base::hash;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::SignedIn;
use super::{GitHub, Shared};

/// Where the numbers of these releases begin, so that they are none of the others.
const FIRST: u64 = 1_000_000;

/// The release that a file is of, its name, and what is in it.
type Attached = (u64, String, Vec<u8>);

#[derive(Default)]
pub(super) struct Attachments {
    /// Tags by number.
    tags: Mutex<BTreeMap<u64, String>>,
    /// Files by number.
    files: Mutex<BTreeMap<u64, Attached>>,
    /// Where the releases say that they take files, in place of the truth.
    elsewhere: Mutex<Option<String>>,
}

impl GitHub {
    /// Publishes a release that takes files; gives its number.
    pub fn publish_release(&self, tag: &str) -> u64 {
        let mut tags = self.shared.attachments.tags.lock().unwrap();
        let id = FIRST + tags.len() as u64;
        tags.insert(id, tag.to_owned());
        id
    }

    /// From now on, releases say that they take files here.
    pub fn take_files_at(&self, url: &str) {
        *self.shared.attachments.elsewhere.lock().unwrap() = Some(url.to_owned());
    }

    /// The files of a release, by name.
    pub fn attached(&self, id: u64) -> BTreeMap<String, Vec<u8>> {
        let files = self.shared.attachments.files.lock().unwrap();
        files.values().filter(|f| f.0 == id).map(|(_, name, bytes)| (name.clone(), bytes.clone())).collect()
    }
}

/// `tagged` is for tags that are not of these releases.
pub(super) fn routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/repos/{owner}/{repo}/releases/{id}", get(release))
        .route("/repos/{owner}/{repo}/releases/{id}/assets", get(list))
        .route("/repos/{owner}/{repo}/releases/assets/{id}", delete(remove))
        .route("/uploads/repos/{owner}/{repo}/releases/{id}/assets", post(upload))
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response()
}

/// A release by its tag, where it takes files.
pub(super) fn tagged(shared: &Shared, repo: &str, tag: &str) -> Option<Response> {
    let id = *shared.attachments.tags.lock().unwrap().iter().find(|(_, t)| *t == tag)?.0;
    Some(answer(shared, repo, id))
}

fn answer(shared: &Shared, repo: &str, id: u64) -> Response {
    let tags = shared.attachments.tags.lock().unwrap();
    let Some(tag) = tags.get(&id) else { return not_found() };
    let api = &shared.api;
    let elsewhere = shared.attachments.elsewhere.lock().unwrap().clone();
    let upload = elsewhere.unwrap_or_else(|| format!("{api}/uploads"));
    Json(json!({
        "id": id, "tag_name": tag, "html_url": format!("{api}/{repo}/releases/tag/{tag}"),
        "upload_url": format!("{upload}/repos/{repo}/releases/{id}/assets{{?name,label}}"),
    }))
    .into_response()
}

async fn release(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, id)): Path<(String, String, u64)>,
) -> Response {
    answer(&shared, &format!("{owner}/{repo}"), id)
}

fn shown(id: u64, name: &str, bytes: &[u8]) -> Value {
    json!({ "id": id, "name": name, "size": bytes.len(), "state": "uploaded",
            "digest": format!("sha256:{}", hash::sha256(bytes)) })
}

#[derive(Deserialize)]
struct Page {
    per_page: usize,
    page: usize,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Path((_, _, release)): Path<(String, String, u64)>,
    Query(page): Query<Page>,
) -> Response {
    let files = shared.attachments.files.lock().unwrap();
    let of = files.iter().filter(|(_, f)| f.0 == release).map(|(id, f)| shown(*id, &f.1, &f.2));
    Json(of.skip((page.page - 1) * page.per_page).take(page.per_page).collect::<Value>()).into_response()
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    Path((_, _, release)): Path<(String, String, u64)>,
    Query(Named { name }): Query<Named>,
    Extension(signed): Extension<SignedIn>,
    bytes: Bytes,
) -> Response {
    let mut files = shared.attachments.files.lock().unwrap();
    if !signed.0 || files.values().any(|f| f.0 == release && f.1 == name) {
        let message = json!({ "message": "Validation Failed", "errors": [{ "code": "already_exists" }] });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(message)).into_response();
    }
    let id = files.keys().next_back().map_or(FIRST, |last| last + 1);
    let json = shown(id, &name, &bytes);
    files.insert(id, (release, name, bytes.to_vec()));
    (StatusCode::CREATED, Json(json)).into_response()
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Path((_, _, id)): Path<(String, String, u64)>,
    Extension(signed): Extension<SignedIn>,
) -> Response {
    let removed = shared.attachments.files.lock().unwrap().remove(&id).filter(|_| signed.0);
    if removed.is_some() { StatusCode::NO_CONTENT.into_response() } else { not_found() }
}
