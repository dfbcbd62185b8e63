//! A Hub on loopback that takes uploads and serves downloads, at four origins: the Hub itself, the content network (with
//! the object store of LFS), Xet's store, and GitHub's identity tokens.
//!
//! It speaks what spec and clients agree on: repositories with commits and pull requests, tokens with roles, preupload,
//! Xet, LFS in one request or in parts, commits that refuse a stale parent and files whose bytes are not there. It writes
//! every request down ([`Seen`]), goes wrong where a test asks for it ([`Fault`], [`On`]), and forgets everything when it
//! is dropped. `tests/peers` holds it against clients that this project did not write.
//!
//! One file a subject: `fault` (what goes wrong, the log), `accounts` (tokens), `repo` (commits), `read` (listings and
//! downloads), `commit` (changes), `lfs`, `xet`, `store` (bytes), `card` and `attributes` (rules about files).

#![allow(dead_code, reason = "offers more than any one of its users needs")]

mod accounts;
mod attributes;
mod card;
mod commit;
mod fault;
mod lfs;
mod read;
mod repo;
mod store;
mod xet;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash;
use tokio::net::TcpListener;

use accounts::Accounts;
pub use accounts::{Role, Workflow};
pub use fault::{Fault, On, Origin, Seen};
pub use repo::{Commit, Entry, File, Repo};
use repo::{Content, Repository};
use store::Store;
use xet::Xet;

/// A running Hub. Stops when dropped.
pub struct Hub {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
    _folder: Option<tempfile::TempDir>,
}

/// How a Hub is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port of the Hub's own origin; 0 for any.
    pub port: u16,
    /// Whether it has Xet.
    pub xet: bool,
    /// Seconds that a token for Xet's store lives.
    pub xet_lifetime: Duration,
    /// LFS objects that are larger come in parts of so many bytes; none for never.
    pub part: Option<u64>,
    /// Files of a page of the listing; small, so that tests see several.
    pub page: usize,
    /// Where everything is kept, for the next Hub there; none for a folder that goes away with the Hub.
    pub folder: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            port: 0,
            xet: true,
            xet_lifetime: Duration::from_secs(3600),
            part: Some(5 << 20),
            page: 3,
            folder: None,
        }
    }
}

/// What every handler sees.
struct Shared {
    settings: Settings,
    api: String,
    cdn: String,
    cas: String,
    workflow: Workflow,
    repos: Mutex<BTreeMap<String, Repository>>,
    accounts: Accounts,
    log: fault::Log,
    store: Store,
    xet: Xet,
}

impl Hub {
    pub fn start() -> Self {
        Hub::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let own = settings.folder.is_none().then(|| tempfile::tempdir().unwrap());
        let folder = settings.folder.clone().unwrap_or_else(|| own.as_ref().unwrap().path().to_owned());
        let shared = runtime.block_on(serve(settings, &folder));
        Hub { shared, runtime, _folder: own }
    }

    /// What clients know as `HF_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.shared.api
    }

    /// The origin of the content network and of LFS's object store.
    pub fn cdn(&self) -> &str {
        &self.shared.cdn
    }

    /// The origin of Xet's store.
    pub fn cas(&self) -> &str {
        &self.shared.cas
    }

    /// Where a workflow gets its identity.
    pub fn workflow(&self) -> &Workflow {
        &self.shared.workflow
    }
}

/// Who may do what.
impl Hub {
    /// Gives a token. From the first one on, tokens that were not given are refused.
    pub fn token(&self, name: &str, role: Role) -> String {
        let digits = hash::git_blob(format!("{name} {role:?}").as_bytes());
        let token = format!("hf_{}", &digits[..34]);
        self.shared.accounts.add(&token, name, &[], role);
        token
    }

    /// Takes this token for one of a member of these organizations.
    pub fn member(&self, token: &str, name: &str, organizations: &[&str], role: Role) {
        self.shared.accounts.add(token, name, organizations, role);
    }

    /// The token is refused from now on.
    pub fn revoke(&self, token: &str) {
        self.revoke_after(token, 0);
    }

    /// The token is good for so many more requests to the Hub.
    pub fn revoke_after(&self, token: &str, requests: u32) {
        self.shared.accounts.revoke_after(token, requests);
    }

    /// The repository takes the workflow for its publisher.
    pub fn trust(&self, repo: &str) {
        self.shared.accounts.trust(repo);
    }

    /// The tokens that were given for an identity end.
    pub fn expire_exchanged(&self) {
        self.shared.accounts.expire_exchanged();
    }

    /// How long tokens for Xet's store live that are given from now on.
    pub fn xet_lifetime(&self, lifetime: Duration) {
        self.shared.xet.set_lifetime(lifetime);
    }

    /// Puts a gate before a repository.
    pub fn gate(&self, repo: &str) {
        self.change(repo, |r| r.gated = true);
    }

    /// Hides a repository from all but its owner.
    pub fn hide(&self, repo: &str) {
        self.change(repo, |r| r.private = true);
    }

    /// Lets a token through the gate of a repository.
    pub fn let_in(&self, repo: &str, token: &str) {
        self.change(repo, |r| _ = r.granted.insert(token.to_owned()));
    }
}

/// What is there.
impl Hub {
    /// A repository of one commit; what was under the name before is gone.
    pub fn add(&self, id: &str, repo: Repo) {
        let mut repository = Repository::new(repo.entries(), "initial commit");
        repository.gated = repo.gated;
        repository.private_to = repo.private_to;
        self.shared.repos.lock().unwrap().insert(id.to_owned(), repository);
        self.shared.save();
    }

    /// A repository with a copy of a folder's files, which stay where they are.
    pub fn add_folder(&self, id: &str, folder: &Path) -> std::io::Result<()> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(inside) = folders.pop() {
            for found in fs::read_dir(inside)? {
                let path = found?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let parts = path.strip_prefix(folder).unwrap().iter().map(|p| p.to_string_lossy());
                let name = parts.collect::<Vec<_>>().join("/");
                let size = path.metadata()?.len();
                let entry = if attributes::is_lfs(attributes::DEFAULT, &name, size) {
                    let sha256 = hash::sha256_file(&path, &Cancel::new())?;
                    Entry::lfs(&sha256, size, Content::Disk(path))
                } else {
                    Entry::regular(fs::read(&path)?)
                };
                files.insert(name, entry);
            }
        }
        self.shared.repos.lock().unwrap().insert(id.to_owned(), Repository::new(files, "initial commit"));
        self.shared.save();
        Ok(())
    }

    /// Somebody else commits to `main`; gives the commit. `None` deletes a file.
    pub fn push<'a>(&self, id: &str, changes: impl IntoIterator<Item = (&'a str, Option<File>)>) -> String {
        let made = self.change(id, |repository| {
            let head = repository.find("main").unwrap().clone();
            let mut files = head.files;
            for (path, file) in changes {
                match file {
                    Some(file) => _ = files.insert(path.to_owned(), file.entry()),
                    None => _ = files.remove(path),
                }
            }
            repository.commit("main", Some(head.id), files, "somebody else's commit", "").id.clone()
        });
        self.shared.save();
        made
    }

    /// Another name (`refs/pr/1`, a branch) for what `main` means now.
    pub fn refer(&self, id: &str, reference: &str) {
        self.change(id, |r| {
            let head = r.refs["main"].clone();
            r.refs.insert(reference.to_owned(), head);
        });
    }

    pub fn exists(&self, id: &str) -> bool {
        self.shared.repos.lock().unwrap().contains_key(id)
    }

    pub fn is_private(&self, id: &str) -> bool {
        self.change(id, |r| r.private || r.private_to.is_some())
    }

    /// The names of all repositories.
    pub fn repos(&self) -> Vec<String> {
        self.shared.repos.lock().unwrap().keys().cloned().collect()
    }

    /// Every commit of `main`, the first one first.
    pub fn history(&self, id: &str) -> Vec<Commit> {
        self.history_of(id, "main")
    }

    /// Every commit that leads to a revision, the first one first.
    pub fn history_of(&self, id: &str, revision: &str) -> Vec<Commit> {
        self.change(id, |r| {
            let mut commits = Vec::new();
            let mut at = r.find(revision).cloned();
            while let Some(commit) = at {
                at = commit.parent.as_deref().and_then(|parent| r.find(parent)).cloned();
                commits.push(commit);
            }
            commits.reverse();
            commits
        })
    }

    /// The commit that `main` means.
    pub fn head(&self, id: &str) -> Commit {
        self.history(id).pop().expect("a repository has a commit")
    }

    /// The revisions of the pull requests, in order.
    pub fn pull_requests(&self, id: &str) -> Vec<String> {
        self.change(id, |r| r.refs.keys().filter(|name| name.starts_with("refs/pr/")).cloned().collect())
    }

    /// A file's bytes at `main`.
    pub fn read(&self, id: &str, path: &str) -> Vec<u8> {
        self.read_at(id, "main", path)
    }

    pub fn read_at(&self, id: &str, revision: &str, path: &str) -> Vec<u8> {
        let commit = self.history_of(id, revision).pop().expect("the revision is there");
        let entry = commit.files.get(path).unwrap_or_else(|| panic!("no {path} in {id}"));
        self.runtime.block_on(self.shared.bytes(entry))
    }

    fn change<T>(&self, id: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        let mut repos = self.shared.repos.lock().unwrap();
        change(repos.get_mut(id).unwrap_or_else(|| panic!("no repository {id}")))
    }
}

/// What goes wrong, and what was seen.
impl Hub {
    /// The next so many requests there go wrong.
    pub fn fault(&self, on: On, times: u32, fault: Fault) {
        self.shared.log.fault(on, None, 0, times, fault);
    }

    /// After so many sound requests there, so many go wrong.
    pub fn fault_after(&self, on: On, skip: u32, times: u32, fault: Fault) {
        self.shared.log.fault(on, None, skip, times, fault);
    }

    /// The next so many requests there go wrong whose path has this in it.
    pub fn fault_at(&self, on: On, path: &str, times: u32, fault: Fault) {
        self.shared.log.fault(on, Some(path), 0, times, fault);
    }

    pub fn heal(&self) {
        self.shared.log.heal();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.log.seen()
    }

    /// How many requests came there.
    pub fn count(&self, on: On) -> usize {
        self.seen().iter().filter(|s| s.on == on).count()
    }

    /// Requests that took a token of the Hub's to another origin; there must be none.
    pub fn leaks(&self) -> Vec<Seen> {
        let tokens = self.shared.accounts.tokens();
        let holds = |text: &Option<String>| {
            text.as_ref().is_some_and(|text| tokens.iter().any(|t| text.contains(t)) || text.contains("hf_"))
        };
        let elsewhere = self.seen().into_iter().filter(|s| s.origin != Origin::Hub);
        elsewhere
            .filter(|s| holds(&s.authorization) || holds(&s.query) || holds(&Some(s.path.clone())))
            .collect()
    }

    pub fn forget(&self) {
        self.shared.log.forget();
    }

    /// Bytes that the content network sent.
    pub fn sent(&self) -> u64 {
        self.shared.log.sent()
    }

    /// Bytes of large files that came: chunks at Xet's store, and objects or parts of them at LFS's.
    pub fn received(&self) -> u64 {
        self.shared.log.received()
    }
}

impl Shared {
    /// Keeps the repositories where they are to be kept.
    fn save(&self) {
        let Some(folder) = &self.settings.folder else { return };
        let repos = self.repos.lock().unwrap();
        let coming = folder.join("repos.json.coming");
        fs::write(&coming, serde_json::to_vec(&*repos).unwrap()).unwrap();
        fs::rename(coming, folder.join("repos.json")).unwrap();
    }
}

/// The repositories that a Hub left in this folder.
fn kept(folder: &Path) -> BTreeMap<String, Repository> {
    match fs::read(folder.join("repos.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("repos.json is of a loopback Hub"),
        Err(_) => BTreeMap::new(),
    }
}

async fn serve(settings: Settings, folder: &Path) -> Arc<Shared> {
    let listen = async |port| TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (api, cdn, cas, ci) =
        (listen(settings.port).await, listen(0).await, listen(0).await, listen(0).await);
    let origin = |l: &TcpListener| format!("http://{}", l.local_addr().unwrap());
    let cas_folder = folder.join("cas");
    let shared = Arc::new(Shared {
        api: origin(&api),
        cdn: origin(&cdn),
        cas: origin(&cas),
        workflow: Workflow {
            request_url: format!("{}/identity?api-version=2.0", origin(&ci)),
            request_token: "github-runner".to_owned(),
        },
        repos: Mutex::new(kept(folder)),
        accounts: Accounts::default(),
        log: fault::Log::default(),
        store: Store::new(folder).unwrap(),
        xet: Xet::start(settings.xet.then_some(cas_folder.as_path()), settings.xet_lifetime).await,
        settings,
    });
    let model = "/api/models/{owner}/{name}";
    let hub = Router::new()
        .route("/api/whoami-v2", get(accounts::whoami))
        .route("/api/repos/create", post(accounts::create))
        .route("/api/repos/delete", delete(accounts::delete))
        .route("/oauth/token", post(accounts::exchange))
        .route("/api/validate-yaml", post(card::validate))
        .route(model, get(read::info))
        .route(&format!("{model}/refs"), get(read::refs))
        .route(&format!("{model}/revision/{{revision}}"), get(read::info))
        .route(&format!("{model}/revision/{{revision}}/{{*path}}"), get(read::info))
        .route(&format!("{model}/tree/{{revision}}"), get(read::tree))
        .route(&format!("{model}/tree/{{revision}}/{{*path}}"), get(read::tree))
        .route(&format!("{model}/paths-info/{{revision}}"), post(read::paths_info))
        .route(&format!("{model}/xet-read-token/{{revision}}"), get(read::read_token))
        .route(&format!("{model}/xet-write-token/{{revision}}"), get(read::write_token))
        .route(&format!("{model}/discussions"), get(read::discussions))
        .route(&format!("{model}/preupload/{{revision}}"), post(commit::preupload))
        .route(&format!("{model}/commit/{{revision}}"), post(commit::commit))
        .route("/{owner}/{name}/resolve/{revision}/{*path}", get(read::resolve))
        .route("/{owner}/{name}/raw/{revision}/{*path}", get(read::raw))
        .route("/{owner}/{name}/info/lfs/objects/batch", post(lfs::batch))
        .route("/{owner}/{name}/info/lfs/verify", post(lfs::verify))
        .route("/api/lfs/complete", post(lfs::complete))
        .fallback(async || StatusCode::NOT_FOUND);
    let network = Router::new()
        .route("/{owner}/{name}/{revision}/{*path}", get(read::content))
        .route("/lfs/{upload}/{part}", put(lfs::put))
        .fallback(async || StatusCode::FORBIDDEN);
    let store = Router::new().fallback(xet::forward);
    let ci_routes = Router::new().route("/identity", get(accounts::identity));
    for (listener, origin, routes) in [
        (api, Origin::Hub, hub),
        (cdn, Origin::Cdn, network),
        (cas, Origin::Cas, store),
        (ci, Origin::Ci, ci_routes),
    ] {
        let guarded = routes
            .layer(DefaultBodyLimit::disable())
            .layer(from_fn_with_state((shared.clone(), origin), fault::guard))
            .with_state(shared.clone());
        tokio::spawn(async { axum::serve(listener, guarded).await.unwrap() });
    }
    shared
}

/// What was asked for, or the refusal.
type Answer<T = Response> = Result<T, Refused>;

/// A refusal; boxed, since a response is large.
struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Refused(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

fn no(status: u16, code: &'static str) -> Refused {
    refuse(status, code).into()
}

fn refuse(status: u16, code: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [("x-error-code", code)], code).into_response()
}
