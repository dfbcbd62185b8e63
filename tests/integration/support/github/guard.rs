//! What goes wrong at GitHub, the log of what came, and tokens: one guard in front of both origins.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jamph_quantizer::base::hash;
use serde_json::{Value, json};

use super::Shared;

/// Longest body of a request that is written down.
const LONGEST: usize = 64 << 20;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The answer is this status, with these headers; what was asked is not done.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// What was asked is done, but the connection is cut instead of an answer.
    Lost,
    /// The connection is cut after so many bytes of the answer.
    Cut(usize),
    /// The answer ends, in good order, after so many bytes.
    Short(usize),
    /// One byte of the answer is another.
    Flip,
    /// The answer waits so long.
    Late(Duration),
}

/// Whom a request reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `GITHUB_API_URL`.
    Api,
    /// Where it redirects to.
    Content,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub origin: Origin,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub authorization: Option<String>,
    /// What it brought, where that is JSON.
    pub json: Option<Value>,
}

struct Strike {
    path: String,
    times: u32,
    fault: Fault,
}

#[derive(Default)]
pub(super) struct Guard {
    tokens: Mutex<BTreeSet<String>>,
    strikes: Mutex<Vec<Strike>>,
    seen: Mutex<Vec<Seen>>,
}

impl Guard {
    pub(super) fn give(&self, name: &str) -> String {
        let token = format!("ghs_{}", &hash::git_blob(name.as_bytes())[..36]);
        self.tokens.lock().unwrap().insert(token.clone());
        token
    }

    pub(super) fn fault(&self, path: &str, times: u32, fault: Fault) {
        self.strikes.lock().unwrap().push(Strike { path: path.to_owned(), times, fault });
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// Writes the request down; gives the fault that strikes it.
    fn arrive(&self, seen: Seen) -> Option<Fault> {
        let mut strikes = self.strikes.lock().unwrap();
        let struck = |s: &&mut Strike| match s.path.split_once(' ') {
            Some((method, path)) => seen.method == method && seen.path.contains(path),
            None => seen.path.contains(&s.path),
        };
        let strike = strikes.iter_mut().filter(|s| s.times > 0).find(struck);
        self.seen.lock().unwrap().push(seen);
        let strike = strike?;
        strike.times -= 1;
        Some(strike.fault.clone())
    }

    /// Whether a token is one that was given; reading needs none.
    fn admits(&self, authorization: Option<&str>) -> bool {
        let tokens = self.tokens.lock().unwrap();
        let Some(sent) = authorization else { return true };
        let sent = sent.strip_prefix("Bearer ").or_else(|| sent.strip_prefix("token ")).unwrap_or(sent);
        tokens.is_empty() || tokens.contains(sent)
    }
}

/// The token of a request, for handlers that need one to change something.
#[derive(Clone)]
pub(super) struct SignedIn(pub(super) bool);

/// Stands in front of an origin.
pub(super) async fn guard(
    State((shared, origin)): State<(Arc<Shared>, Origin)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let text = |name: HeaderName| parts.headers.get(name).map(|v| v.to_str().unwrap_or("?").to_owned());
    let authorization = text(header::AUTHORIZATION);
    let bytes = axum::body::to_bytes(body, LONGEST).await.unwrap_or_default();
    let fault = shared.guard.arrive(Seen {
        origin,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        authorization: authorization.clone(),
        json: serde_json::from_slice(&bytes).ok(),
    });
    match &fault {
        Some(Fault::Status(status, headers)) => {
            let mut response = StatusCode::from_u16(*status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return response;
        }
        Some(Fault::Late(wait)) => tokio::time::sleep(*wait).await,
        _ => {}
    }
    if origin == Origin::Api && !shared.guard.admits(authorization.as_deref()) {
        return (StatusCode::UNAUTHORIZED, axum::Json(json!({ "message": "Bad credentials" })))
            .into_response();
    }
    parts.extensions.insert(SignedIn(authorization.is_some()));
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    match fault {
        Some(Fault::Lost) => cut(Bytes::new()),
        Some(Fault::Cut(n)) => cut(whole(response).await.1.slice(..n)),
        Some(Fault::Short(n)) => {
            let (mut parts, body) = whole(response).await;
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(body.slice(..n)))
        }
        Some(Fault::Flip) => {
            let (parts, body) = whole(response).await;
            let mut bytes = body.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Response::from_parts(parts, Body::from(bytes))
        }
        _ => response,
    }
}

async fn whole(response: Response) -> (Parts, Bytes) {
    let (parts, body) = response.into_parts();
    (parts, axum::body::to_bytes(body, usize::MAX).await.unwrap())
}

/// An answer that breaks after these bytes.
fn cut(bytes: Bytes) -> Response {
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    Body::from_stream(stream::iter([Ok(bytes), Err(broken)])).into_response()
}
