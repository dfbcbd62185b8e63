//! GitHub on loopback, at two origins: the API, and where it redirects to for content.
//!
//! It speaks what the documentation of the REST API says of the endpoints that are used, writes every request down
//! ([`Seen`]), and goes wrong where a test asks for it ([`Fault`]). One file a subject, each with its own state and
//! its own `routes`: `guard` (what goes wrong, the log, tokens), `releases` (tags, assets, source archives), `archive`
//! (tar files, honest and hostile). A further subject adds a field to [`Shared`] and a line to [`serve`].

#![allow(dead_code, reason = "offers more than any one of its users needs")]

pub mod archive;
mod attachments;
mod guard;
mod notes;
mod releases;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;

pub use guard::{Fault, Origin, Seen};
pub use notes::STRANGER;
pub use releases::Release;

/// A running GitHub. Stops when dropped.
pub struct GitHub {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
}

/// What every handler sees.
struct Shared {
    /// Origin of the API, without a slash at its end.
    api: String,
    /// Origin of what it redirects to.
    content: String,
    guard: guard::Guard,
    releases: releases::Releases,
    notes: notes::Notes,
    attachments: attachments::Attachments,
}

impl GitHub {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shared = runtime.block_on(serve());
        GitHub { shared, runtime }
    }

    /// What clients know as `GITHUB_API_URL`.
    pub fn api(&self) -> &str {
        &self.shared.api
    }

    /// Where assets and archives are.
    pub fn content(&self) -> &str {
        &self.shared.content
    }

    /// Gives a token. From the first one on, tokens that were not given are refused; none at all still reads.
    pub fn token(&self, name: &str) -> String {
        self.shared.guard.give(name)
    }

    /// The next so many requests whose path has this in it go wrong.
    pub fn fault(&self, path: &str, times: u32, fault: Fault) {
        self.shared.guard.fault(path, times, fault);
    }

    /// The same, for requests of one method.
    pub fn fault_on(&self, method: &str, path: &str, times: u32, fault: Fault) {
        self.shared.guard.fault(&format!("{method} {path}"), times, fault);
    }

    /// Every request that came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.guard.seen()
    }

    /// How many requests came whose path has this in it.
    pub fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(path)).count()
    }

    /// Forgets what came.
    pub fn forget(&self) {
        self.shared.guard.forget();
    }

    /// Requests that took a token to another origin than the API's; there must be none.
    pub fn leaks(&self) -> Vec<Seen> {
        let elsewhere = self.seen().into_iter().filter(|seen| seen.origin != Origin::Api);
        elsewhere.filter(|seen| seen.authorization.is_some()).collect()
    }
}

async fn serve() -> Arc<Shared> {
    let listen = async || TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (api, content) = (listen().await, listen().await);
    let origin = |l: &TcpListener| format!("http://{}", l.local_addr().unwrap());
    let shared = Arc::new(Shared {
        api: origin(&api),
        content: origin(&content),
        guard: guard::Guard::default(),
        releases: releases::Releases::default(),
        notes: notes::Notes::default(),
        attachments: attachments::Attachments::default(),
    });
    let behind = |router: Router<Arc<Shared>>, at: Origin| {
        let guard = from_fn_with_state((shared.clone(), at), guard::guard);
        router.layer(guard).with_state(shared.clone())
    };
    let endpoints = || attachments::routes(notes::routes(releases::api(Router::new())));
    // GitHub's own is at the top of a host, that of an Enterprise below a path; uploads are beside it.
    let endpoints = endpoints().nest("/api/v3", endpoints());
    let files = releases::content(Router::new());
    for (listener, router) in
        [(api, behind(endpoints, Origin::Api)), (content, behind(files, Origin::Content))]
    {
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    }
    shared
}
