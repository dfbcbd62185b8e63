//! A Hub on loopback, at two origins: the API, and the content network that large files are redirected to.
//!
//! It speaks the part of the protocol that downloads need, keeps everything in memory, writes down every request, and
//! goes wrong where a test asks for it ([`Fault`]).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use jamph_quantizer::base::hash;
use serde_json::json;

/// Files of a page of the listing; small, so that tests see several.
const PAGE: usize = 3;

/// Bytes of a piece of a body.
const PIECE: usize = 4096;

/// A running Hub. Stops when dropped.
pub struct Hub {
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

/// A repository. All its revisions have the same files.
#[derive(Clone, Default)]
pub struct Repo {
    pub files: BTreeMap<String, File>,
    pub gated: bool,
    /// Only this token may see it.
    pub private_to: Option<String>,
}

/// A file. Those in LFS are redirected to the content network.
#[derive(Clone)]
pub struct File {
    pub bytes: Bytes,
    pub lfs: bool,
    sha256: String,
    blob: String,
}

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Info,
    Tree,
    Resolve,
    Cdn,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The answer is this status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Nothing more is sent after so many bytes of the body.
    Stall(usize),
    /// The body ends, in good order, after so many bytes.
    Short(usize),
    /// One byte of the body is another.
    Flip,
    /// The content has another tag from now on.
    NewEtag,
    /// `Range` is ignored.
    NoRanges,
    /// The answer redirects to the content network.
    ToCdn,
    /// The next page is said to be at the content network.
    PageAtCdn,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub on: On,
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub authorization: Option<String>,
}

struct Shared {
    api: String,
    cdn: String,
    repos: Mutex<HashMap<String, Repo>>,
    faults: Mutex<Vec<(On, u32, Fault)>>,
    seen: Mutex<Vec<Seen>>,
    /// Bytes of bodies that the content network sent.
    sent: AtomicU64,
    /// Counts the changes of tags.
    tags: AtomicU64,
}

impl Hub {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listen = || runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let (api, cdn) = (listen(), listen());
        let origin = |l: &tokio::net::TcpListener| format!("http://{}", l.local_addr().unwrap());
        let shared = Arc::new(Shared {
            api: origin(&api),
            cdn: origin(&cdn),
            repos: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            sent: AtomicU64::new(0),
            tags: AtomicU64::new(0),
        });
        let routes = Router::new()
            .route("/api/models/{owner}/{name}/revision/{revision}", get(info))
            .route("/api/models/{owner}/{name}/tree/{revision}", get(tree))
            .route("/{owner}/{name}/resolve/{revision}/{*path}", get(resolve))
            .with_state(shared.clone());
        runtime.spawn(async { axum::serve(api, routes).await.unwrap() });
        let content = Router::new().fallback(content).with_state(shared.clone());
        runtime.spawn(async { axum::serve(cdn, content).await.unwrap() });
        Hub { shared, _runtime: runtime }
    }

    /// What clients know as `HF_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.shared.api
    }

    pub fn add(&self, id: &str, repo: Repo) {
        self.shared.repos.lock().unwrap().insert(id.to_owned(), repo);
    }

    /// The next so many requests there go wrong.
    pub fn fault(&self, on: On, times: u32, fault: Fault) {
        self.shared.faults.lock().unwrap().push((on, times, fault));
    }

    pub fn heal(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
        self.shared.sent.store(0, Ordering::Relaxed);
    }

    /// Bytes that the content network sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Repo {
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, File)>) -> Self {
        let files = files.into_iter().map(|(path, file)| (path.to_owned(), file)).collect();
        Repo { files, ..Repo::default() }
    }

    /// The commit that every revision means.
    pub fn commit(&self) -> String {
        let all: Vec<u8> =
            self.files.iter().flat_map(|(p, f)| [p.as_bytes(), f.blob.as_bytes()].concat()).collect();
        hash::git_blob(&all)
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
        // What git has of a file in LFS is a pointer to it.
        let pointer = || {
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {}\n", bytes.len())
        };
        let blob = if lfs { hash::git_blob(pointer().as_bytes()) } else { hash::git_blob(&bytes) };
        File { bytes: bytes.into(), lfs, sha256, blob }
    }
}

type Shed = State<Arc<Shared>>;

impl Shared {
    /// Writes the request down; gives the fault that strikes it.
    fn arrive(&self, on: On, uri: &Uri, headers: &HeaderMap) -> Option<Fault> {
        let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().push(Seen {
            on,
            path: uri.path().to_owned(),
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            authorization: text(header::AUTHORIZATION),
        });
        let mut faults = self.faults.lock().unwrap();
        let (_, times, fault) = faults.iter_mut().find(|(at, times, _)| *at == on && *times > 0)?;
        *times -= 1;
        if matches!(fault, Fault::NewEtag) {
            self.tags.fetch_add(1, Ordering::Relaxed);
        }
        Some(fault.clone())
    }

    /// The repository, if whoever asks may see it at this revision.
    #[allow(clippy::result_large_err, reason = "a response, made once")]
    fn find(&self, id: &str, revision: &str, headers: &HeaderMap) -> Result<Repo, Response> {
        let repo = self.repos.lock().unwrap().get(id).cloned();
        let token = headers.get(header::AUTHORIZATION).map(|v| v.to_str().unwrap().to_owned());
        let visible = |repo: &Repo| match &repo.private_to {
            None => true,
            Some(owner) => token == Some(format!("Bearer {owner}")),
        };
        let Some(repo) = repo.filter(visible) else {
            // As the real one: who is not signed in is told so.
            let status = if token.is_some() { 404 } else { 401 };
            return Err(refuse(status, "RepoNotFound"));
        };
        if ["main", "refs/pr/1"].contains(&revision) || revision == repo.commit() {
            Ok(repo)
        } else {
            Err(refuse(404, "RevisionNotFound"))
        }
    }

    fn etag(&self, file: &File) -> String {
        format!("\"{}-{}\"", file.sha256, self.tags.load(Ordering::Relaxed))
    }
}

fn refuse(status: u16, code: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [("x-error-code", code)], code).into_response()
}

/// An answer that stands in for the ordinary one.
fn instead(shared: &Shared, fault: Option<&Fault>) -> Option<Response> {
    match fault? {
        Fault::Status(status, headers) => {
            let mut response = StatusCode::from_u16(*status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            Some(response)
        }
        Fault::ToCdn => {
            let to = [(header::LOCATION, format!("{}/elsewhere", shared.cdn))];
            Some((StatusCode::TEMPORARY_REDIRECT, to).into_response())
        }
        _ => None,
    }
}

async fn info(
    State(shared): Shed,
    Path((owner, name, revision)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let fault = shared.arrive(On::Info, &uri, &headers);
    if let Some(response) = instead(&shared, fault.as_ref()) {
        return response;
    }
    let id = format!("{owner}/{name}");
    match shared.find(&id, &revision, &headers) {
        Err(response) => response,
        Ok(repo) => {
            let gated = if repo.gated { json!("manual") } else { json!(false) };
            let private = repo.private_to.is_some();
            axum::Json(json!({"id": id, "sha": repo.commit(), "gated": gated, "private": private}))
                .into_response()
        }
    }
}

async fn tree(
    State(shared): Shed,
    Path((owner, name, revision)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let fault = shared.arrive(On::Tree, &uri, &headers);
    if let Some(response) = instead(&shared, fault.as_ref()) {
        return response;
    }
    let repo = match shared.find(&format!("{owner}/{name}"), &revision, &headers) {
        Err(response) => return response,
        Ok(repo) => repo,
    };
    if !query.get("recursive").is_some_and(|r| ["1", "true", "True"].contains(&r.as_str())) {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let from: usize = query.get("cursor").map_or(0, |c| c.parse().unwrap());
    let entry = |(path, file): (&String, &File)| {
        let size = file.bytes.len();
        let mut entry = json!({"type": "file", "oid": file.blob, "size": size, "path": path});
        if file.lfs {
            entry["lfs"] = json!({"oid": file.sha256, "size": size, "pointerSize": 134});
        }
        entry
    };
    let mut page = vec![json!({"type": "directory", "oid": "0".repeat(40), "size": 0, "path": "a-folder"})];
    page.extend(repo.files.iter().skip(from).take(PAGE).map(entry));
    let mut response = axum::Json(page).into_response();
    if from + PAGE < repo.files.len() {
        let origin = if matches!(fault, Some(Fault::PageAtCdn)) { &shared.cdn } else { &shared.api };
        let link = format!("<{origin}{}?recursive=1&cursor={}>; rel=\"next\"", uri.path(), from + PAGE);
        response.headers_mut().insert(header::LINK, link.parse().unwrap());
    }
    response
}

async fn resolve(
    State(shared): Shed,
    Path((owner, name, revision, path)): Path<(String, String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let fault = shared.arrive(On::Resolve, &uri, &headers);
    if let Some(response) = instead(&shared, fault.as_ref()) {
        return response;
    }
    let repo = match shared.find(&format!("{owner}/{name}"), &revision, &headers) {
        Err(response) => return response,
        Ok(repo) => repo,
    };
    if repo.gated {
        return refuse(if headers.contains_key(header::AUTHORIZATION) { 403 } else { 401 }, "GatedRepo");
    }
    let Some(file) = repo.files.get(&path) else { return refuse(404, "EntryNotFound") };
    let mut response = if file.lfs {
        let place = format!("{}/{owner}/{name}/{path}?signature=secret", shared.cdn);
        (StatusCode::FOUND, [(header::LOCATION, place)]).into_response()
    } else {
        body(&shared, file, fault.as_ref(), &headers).0
    };
    let mut put = |name: &'static str, value: String| {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
    };
    put("x-repo-commit", repo.commit());
    if file.lfs {
        put("x-linked-size", file.bytes.len().to_string());
        put("x-linked-etag", format!("\"{}\"", file.sha256));
    }
    response
}

/// The content network: `/{owner}/{name}/{path}?signature=secret`.
async fn content(State(shared): Shed, uri: Uri, headers: HeaderMap) -> Response {
    let fault = shared.arrive(On::Cdn, &uri, &headers);
    if let Some(response) = instead(&shared, fault.as_ref()) {
        return response;
    }
    let mut parts = uri.path().trim_start_matches('/').splitn(3, '/');
    let mut next = || parts.next().unwrap_or_default();
    let (id, path) = (format!("{}/{}", next(), next()), next());
    let file = shared.repos.lock().unwrap().get(&id).and_then(|repo| repo.files.get(path).cloned());
    let Some(file) = file.filter(|_| uri.query() == Some("signature=secret")) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let (response, sent) = body(&shared, &file, fault.as_ref(), &headers);
    shared.sent.fetch_add(sent as u64, Ordering::Relaxed);
    response
}

/// A file's bytes, or the range of them that is asked for, as far as the fault lets them through.
fn body(shared: &Shared, file: &File, fault: Option<&Fault>, headers: &HeaderMap) -> (Response, usize) {
    let etag = shared.etag(file);
    let range = headers
        .get(header::RANGE)
        .filter(|_| !matches!(fault, Some(Fault::NoRanges)))
        .filter(|_| headers.get(header::IF_RANGE).is_none_or(|tag| tag.to_str().unwrap() == etag))
        .map(|value| parse_range(value.to_str().unwrap(), file.bytes.len()));
    let mut bytes = match range.clone() {
        None => file.bytes.clone(),
        Some(Some(range)) => file.bytes.slice(range),
        Some(None) => return (StatusCode::RANGE_NOT_SATISFIABLE.into_response(), 0),
    };
    let mut length = bytes.len();
    if let Some(Fault::Flip) = fault {
        let mut flipped = bytes.to_vec();
        flipped[length / 2] ^= 1;
        bytes = flipped.into();
    }
    if let Some(Fault::Cut(n) | Fault::Stall(n) | Fault::Short(n)) = fault {
        bytes.truncate(*n);
    }
    if let Some(Fault::Short(_)) = fault {
        length = bytes.len();
    }
    let sent = bytes.len();
    let pieces: Vec<io::Result<Bytes>> =
        (0..sent).step_by(PIECE).map(|at| Ok(bytes.slice(at..sent.min(at + PIECE)))).collect();
    let pieces = stream::iter(pieces);
    let body = match fault {
        Some(Fault::Cut(_)) => {
            // A moment, so that what was sent before arrives before the connection is gone.
            let cut = stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Err(io::ErrorKind::ConnectionReset.into())
            });
            Body::from_stream(pieces.chain(cut))
        }
        Some(Fault::Stall(_)) => Body::from_stream(pieces.chain(stream::pending())),
        _ => Body::from_stream(pieces),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::ETAG, etag.parse().unwrap());
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Some(Some(Range { start, end })) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let value = format!("bytes {start}-{}/{}", end - 1, file.bytes.len());
        response.headers_mut().insert(header::CONTENT_RANGE, value.parse().unwrap());
    }
    (response, sent)
}

fn parse_range(value: &str, size: usize) -> Option<Range<usize>> {
    let (first, last) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let end = last.parse::<usize>().map_or(size, |last| size.min(last + 1));
    (first < end).then_some(first..end)
}
