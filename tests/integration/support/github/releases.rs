//! Releases, their assets with digests, commits of tags, and source archives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use jamph_quantizer::base::hash;
use serde_json::{Value, json};

use super::{GitHub, Shared};

/// A release to be made.
#[derive(Clone, Debug)]
pub struct Release {
    pub(super) tag: String,
    pub(super) commit: String,
    pub(super) assets: Vec<Asset>,
}

#[derive(Clone, Debug)]
pub(super) struct Asset {
    name: String,
    bytes: Vec<u8>,
    digest: Option<String>,
}

impl Release {
    /// A release without files.
    pub fn new(tag: &str, commit: &str) -> Self {
        Release { tag: tag.to_owned(), commit: commit.to_owned(), assets: Vec::new() }
    }

    /// Adds a file.
    #[must_use]
    pub fn asset(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let digest = Some(format!("sha256:{}", hash::sha256(&bytes)));
        self.assets.push(Asset { name: name.to_owned(), bytes, digest });
        self
    }

    /// What the API states of the last file, in place of the truth.
    #[must_use]
    pub fn stating(mut self, digest: Option<&str>) -> Self {
        self.assets.last_mut().unwrap().digest = digest.map(str::to_owned);
        self
    }
}

#[derive(Default)]
pub(super) struct Releases {
    repos: Mutex<BTreeMap<String, Repository>>,
    /// Assets by their id, which counts from 1.
    assets: Mutex<Vec<Asset>>,
    /// Other files by name.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

#[derive(Default)]
struct Repository {
    releases: BTreeMap<String, (Release, usize)>,
    latest: Option<String>,
    sources: BTreeMap<String, Vec<u8>>,
}

impl GitHub {
    /// Makes a release, or replaces that of its tag.
    pub fn release(&self, repo: &str, release: Release) {
        let releases = &self.shared.releases;
        let mut assets = releases.assets.lock().unwrap();
        let first = assets.len() + 1;
        assets.extend(release.assets.iter().cloned());
        let mut repos = releases.repos.lock().unwrap();
        repos.entry(repo.to_owned()).or_default().releases.insert(release.tag.clone(), (release, first));
    }

    /// Calls a release the latest.
    pub fn latest(&self, repo: &str, tag: &str) {
        self.shared.releases.repos.lock().unwrap().entry(repo.to_owned()).or_default().latest =
            Some(tag.to_owned());
    }

    /// What the source archive of a commit is from now on.
    pub fn source(&self, repo: &str, commit: &str, archive: impl Into<Vec<u8>>) {
        let mut repos = self.shared.releases.repos.lock().unwrap();
        repos.entry(repo.to_owned()).or_default().sources.insert(commit.to_owned(), archive.into());
    }

    /// Serves a file; gives its address.
    pub fn file(&self, name: &str, bytes: impl Into<Vec<u8>>) -> String {
        self.shared.releases.files.lock().unwrap().insert(name.to_owned(), bytes.into());
        format!("{}/files/{name}", self.shared.content)
    }
}

/// The endpoints of the API.
pub(super) fn api(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/repos/{owner}/{repo}/releases/latest", get(latest))
        .route("/repos/{owner}/{repo}/releases/tags/{tag}", get(tagged))
        .route("/repos/{owner}/{repo}/releases/assets/{id}", get(asset))
        .route("/repos/{owner}/{repo}/commits/{reference}", get(commit))
        .route("/repos/{owner}/{repo}/tarball/{reference}", get(tarball))
}

/// What the API redirects to.
pub(super) fn content(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/download/{id}", get(asset_content))
        .route("/{owner}/{repo}/legacy.tar.gz/{commit}", get(source_content))
        .route("/files/{name}", get(file))
}

type At<T> = Path<T>;

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response()
}

fn answer(shared: &Shared, repo: &str, (release, first): &(Release, usize)) -> Response {
    let asset = |(i, asset): (usize, &Asset)| {
        let id = first + i;
        let mut json = json!({
            "id": id, "name": asset.name, "size": asset.bytes.len(), "state": "uploaded",
            "url": format!("{}/repos/{repo}/releases/assets/{id}", shared.api),
            "browser_download_url": format!("{}/download/{id}", shared.content),
        });
        json["digest"] = asset.digest.clone().into();
        json
    };
    let assets: Vec<Value> = release.assets.iter().enumerate().map(asset).collect();
    let is_build = release.tag.starts_with('b');
    Json(json!({ "id": first, "tag_name": release.tag, "draft": false, "prerelease": is_build,
                 "target_commitish": release.commit, "assets": assets }))
    .into_response()
}

async fn latest(State(shared): State<Arc<Shared>>, Path((owner, name)): At<(String, String)>) -> Response {
    let repo = format!("{owner}/{name}");
    let repos = shared.releases.repos.lock().unwrap();
    let found = repos.get(&repo).and_then(|r| r.releases.get(r.latest.as_ref()?));
    found.map_or_else(not_found, |release| answer(&shared, &repo, release))
}

async fn tagged(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, tag)): At<(String, String, String)>,
) -> Response {
    let repo = format!("{owner}/{name}");
    if let Some(found) = super::attachments::tagged(&shared, &repo, &tag) {
        return found;
    }
    let repos = shared.releases.repos.lock().unwrap();
    let found = repos.get(&repo).and_then(|r| r.releases.get(&tag));
    found.map_or_else(not_found, |release| answer(&shared, &repo, release))
}

/// The content is elsewhere, for who accepts bytes.
async fn asset(
    State(shared): State<Arc<Shared>>,
    Path((_, _, id)): At<(String, String, usize)>,
    headers: HeaderMap,
) -> Response {
    let wants_bytes = headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/octet-stream");
    if shared.releases.assets.lock().unwrap().len() < id || !wants_bytes {
        return not_found();
    }
    let to = format!("{}/download/{id}?sig=abcdef", shared.content);
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

async fn asset_content(State(shared): State<Arc<Shared>>, Path(id): At<usize>) -> Response {
    let assets = shared.releases.assets.lock().unwrap();
    assets.get(id - 1).map_or_else(not_found, |asset| asset.bytes.clone().into_response())
}

/// The commit of a tag, or of itself; as text where that is asked for.
async fn commit(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, reference)): At<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let repos = shared.releases.repos.lock().unwrap();
    let found = repos.get(&format!("{owner}/{name}")).and_then(|repo| find(repo, &reference));
    let as_text = headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/vnd.github.sha");
    match found {
        Some(sha) if as_text => sha.into_response(),
        Some(sha) => Json(json!({ "sha": sha })).into_response(),
        None => {
            let message = json!({ "message": format!("No commit found for SHA: {reference}") });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(message)).into_response()
        }
    }
}

fn find(repo: &Repository, reference: &str) -> Option<String> {
    let of_tag = repo.releases.get(reference).map(|(release, _)| release.commit.clone());
    of_tag.or_else(|| repo.sources.contains_key(reference).then(|| reference.to_owned()))
}

async fn tarball(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, reference)): At<(String, String, String)>,
) -> Response {
    let repos = shared.releases.repos.lock().unwrap();
    match repos.get(&format!("{owner}/{name}")).and_then(|repo| find(repo, &reference)) {
        Some(commit) => {
            let to = format!("{}/{owner}/{name}/legacy.tar.gz/{commit}", shared.content);
            (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
        }
        None => not_found(),
    }
}

async fn source_content(
    State(shared): State<Arc<Shared>>,
    Path((owner, name, commit)): At<(String, String, String)>,
) -> Response {
    let repos = shared.releases.repos.lock().unwrap();
    let found = repos.get(&format!("{owner}/{name}")).and_then(|repo| repo.sources.get(&commit));
    found.map_or_else(not_found, |bytes| bytes.clone().into_response())
}

async fn file(State(shared): State<Arc<Shared>>, Path(name): At<String>) -> Response {
    let files = shared.releases.files.lock().unwrap();
    files.get(&name).map_or_else(not_found, |bytes| bytes.clone().into_response())
}
