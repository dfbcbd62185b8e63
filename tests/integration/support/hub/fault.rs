//! What goes wrong at the Hub, and the log of what came: one guard in front of every origin.
//!
//! The guard writes each request down, counts its bytes, and applies the fault that was asked for at that place, so that
//! the handlers behind it know only how a sound Hub answers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use super::Shared;

/// Where a fault strikes: what a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum On {
    Info,
    Tree,
    Resolve,
    /// The content network: downloads of large files.
    Cdn,
    Whoami,
    Create,
    Delete,
    ValidateYaml,
    Preupload,
    WriteToken,
    ReadToken,
    /// The LFS batch.
    Batch,
    /// The bytes of an LFS object, or of one part of it, on their way to the object store.
    Part,
    /// The parts of an LFS object are all there.
    Complete,
    Verify,
    Commit,
    /// The CAS: chunks on their way up.
    Xorb,
    /// The CAS: which chunks make which file, on its way up.
    Shard,
    /// The CAS: which chunks make a file.
    Reconstruction,
    /// The CAS: chunks on their way down.
    Term,
    /// The CAS: all else.
    Cas,
    /// GitHub's identity tokens.
    IdToken,
    /// An identity token for a token of the Hub.
    Exchange,
    /// Anything else of the Hub's API.
    Other,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The answer is this status, with these headers; what was asked is not done.
    Status(u16, Vec<(&'static str, String)>),
    /// The answer is 409, with what the Hub says while it creates another repository of the owner; nothing is done.
    Busy,
    /// What was asked is done, but the answer is this status.
    After(u16),
    /// What was asked is done, but the connection is cut instead of an answer.
    Lost,
    /// The connection is cut after so many bytes of the body: of the request's where it brings one, else of the answer's.
    Cut(usize),
    /// Nothing more is read or sent after so many bytes of the body.
    Stall(usize),
    /// The answer waits so long.
    Late(Duration),
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
    /// Every address of the content network that was given until now has expired.
    Expire,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub on: On,
    pub origin: Origin,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub authorization: Option<String>,
}

/// Whom a request reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `HF_ENDPOINT`.
    Hub,
    /// The content network and the object store of LFS.
    Cdn,
    /// Xet's store.
    Cas,
    /// GitHub, which gives identity tokens.
    Ci,
}

struct Strike {
    on: On,
    /// Part of the path, where only some requests are meant.
    path: Option<String>,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// The faults to come, and what was seen.
#[derive(Default)]
pub(super) struct Log {
    strikes: Mutex<Vec<Strike>>,
    seen: Mutex<Vec<Seen>>,
    sent: AtomicU64,
    received: AtomicU64,
    /// Counts the changes of tags.
    tags: AtomicU64,
    /// Counts the expiries of the content network's addresses.
    pub(super) expiries: AtomicU64,
}

impl Log {
    pub(super) fn fault(&self, on: On, path: Option<&str>, skip: u32, times: u32, fault: Fault) {
        let path = path.map(str::to_owned);
        self.strikes.lock().unwrap().push(Strike { on, path, skip, times, fault });
    }

    pub(super) fn heal(&self) {
        self.strikes.lock().unwrap().clear();
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn forget(&self) {
        self.seen.lock().unwrap().clear();
        self.sent.store(0, Ordering::Relaxed);
        self.received.store(0, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The tag of content with this hash, as the tags are now.
    pub(super) fn etag(&self, hash: &str) -> String {
        match self.tags.load(Ordering::Relaxed) {
            0 => format!("\"{hash}\""),
            n => format!("\"{hash}-{n}\""),
        }
    }

    /// Writes the request down; gives the fault that strikes it.
    fn arrive(&self, seen: Seen) -> Option<Fault> {
        let mut strikes = self.strikes.lock().unwrap();
        let strike = strikes.iter_mut().find(|s| {
            s.on == seen.on && s.times > 0 && s.path.as_ref().is_none_or(|part| seen.path.contains(part))
        });
        self.seen.lock().unwrap().push(seen);
        let strike = strike?;
        if strike.skip > 0 {
            strike.skip -= 1;
            return None;
        }
        strike.times -= 1;
        match strike.fault {
            Fault::NewEtag => _ = self.tags.fetch_add(1, Ordering::Relaxed),
            Fault::Expire => _ = self.expiries.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
        Some(strike.fault.clone())
    }
}

/// The fault of a request, for the few that a handler must know.
#[derive(Clone)]
pub(super) struct Struck(pub(super) Option<Fault>);

/// Stands in front of an origin.
pub(super) async fn guard(
    State((shared, origin)): State<(Arc<Shared>, Origin)>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?").to_owned());
    let on = place(origin, request.method(), request.uri().path());
    let authorization = text(header::AUTHORIZATION);
    let fault = shared.log.arrive(Seen {
        on,
        origin,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        range: text(header::RANGE),
        if_range: text(header::IF_RANGE),
        authorization: authorization.clone(),
    });
    let brings = [Method::POST, Method::PUT].contains(request.method());
    if matches!(on, On::Xorb | On::Part) {
        let (parts, body) = request.into_parts();
        request = Request::from_parts(parts, counted(shared.clone(), body));
    }
    match &fault {
        Some(Fault::Status(status, headers)) => {
            read_up_to(request.into_body(), usize::MAX).await;
            let mut response = StatusCode::from_u16(*status).unwrap().into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return response;
        }
        Some(Fault::Busy) => {
            read_up_to(request.into_body(), usize::MAX).await;
            let error = "Cannot create repo: another conflicting operation is in progress";
            return (StatusCode::CONFLICT, axum::Json(json!({ "error": error }))).into_response();
        }
        Some(Fault::ToCdn) => {
            let to = [(header::LOCATION, format!("{}/elsewhere", shared.cdn))];
            return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
        }
        Some(Fault::Cut(n)) if brings => {
            read_up_to(request.into_body(), *n).await;
            return cut();
        }
        Some(Fault::Stall(n)) if brings => {
            read_up_to(request.into_body(), *n).await;
            return std::future::pending().await;
        }
        Some(Fault::Late(wait)) => tokio::time::sleep(*wait).await,
        _ => {}
    }
    if origin == Origin::Hub {
        match shared.accounts.caller(authorization.as_deref()) {
            Ok(caller) => _ = request.extensions_mut().insert(caller),
            Err(refused) => return refused.into_response(),
        }
    }
    let content = on != On::Cdn || request.method() == Method::GET;
    request.extensions_mut().insert(Struck(fault.clone()));
    let response = next.run(request).await;
    if matches!(on, On::Create | On::Delete | On::Commit) {
        shared.save();
    }
    match fault {
        Some(Fault::After(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Lost) => cut(),
        fault if content => damaged(&shared, on, response, fault.as_ref()),
        _ => response,
    }
}

/// What a request is for.
fn place(origin: Origin, method: &Method, path: &str) -> On {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (origin, parts.as_slice()) {
        (Origin::Ci, _) => On::IdToken,
        (Origin::Cdn, _) => {
            if method == Method::PUT {
                On::Part
            } else {
                On::Cdn
            }
        }
        (Origin::Cas, ["v1", "xorbs", ..] | ["simulation", "xorb-uploads", ..]) => On::Xorb,
        (Origin::Cas, ["v1" | "v2", "shards"]) => On::Shard,
        (Origin::Cas, ["v1" | "v2", "reconstructions", ..]) => On::Reconstruction,
        (Origin::Cas, ["v1", "fetch_term" | "get_xorb", ..]) => On::Term,
        (Origin::Cas, _) => On::Cas,
        (_, ["api", "whoami-v2"]) => On::Whoami,
        (_, ["api", "repos", "create"]) => On::Create,
        (_, ["api", "repos", "delete"]) => On::Delete,
        (_, ["api", "validate-yaml"]) => On::ValidateYaml,
        (_, ["api", "lfs", "complete"]) => On::Complete,
        (_, ["oauth", "token"]) => On::Exchange,
        (_, ["api", "models", _, _, what, ..]) => match *what {
            "revision" => On::Info,
            "tree" => On::Tree,
            "preupload" => On::Preupload,
            "commit" => On::Commit,
            "xet-write-token" => On::WriteToken,
            "xet-read-token" => On::ReadToken,
            _ => On::Other,
        },
        (_, ["api", "models", _, _]) => On::Info,
        (_, [_, _, "resolve", ..]) => On::Resolve,
        (_, [_, _, "info", "lfs", "objects", "batch"]) => On::Batch,
        (_, [_, _, "info", "lfs", "verify"]) => On::Verify,
        _ => On::Other,
    }
}

/// Reads so many bytes of a body, and drops them.
async fn read_up_to(body: Body, most: usize) {
    let mut body = body.into_data_stream();
    let mut read = 0;
    while read < most {
        let Some(Ok(piece)) = body.next().await else { return };
        read += piece.len();
    }
}

/// A body whose bytes are counted as they come.
fn counted(shared: Arc<Shared>, body: Body) -> Body {
    Body::from_stream(body.into_data_stream().inspect(move |piece| {
        let bytes = piece.as_ref().map_or(0, |p| p.len() as u64);
        shared.log.received.fetch_add(bytes, Ordering::Relaxed);
    }))
}

/// No answer: the connection ends.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, io::Error>(io::ErrorKind::ConnectionReset.into()) });
    let mut response = Response::new(Body::from_stream(broken));
    response.headers_mut().insert(header::CONTENT_LENGTH, 1.into());
    response
}

/// An answer as far as the fault lets its body through.
fn damaged(shared: &Shared, on: On, response: Response, fault: Option<&Fault>) -> Response {
    let whole = [StatusCode::OK, StatusCode::PARTIAL_CONTENT].contains(&response.status());
    let length = length(&response);
    let most = match fault {
        Some(Fault::Cut(n) | Fault::Stall(n) | Fault::Short(n)) if whole => Some(*n),
        _ => None,
    };
    if on == On::Cdn && whole {
        let sent = length.unwrap_or(0).min(most.unwrap_or(usize::MAX));
        shared.log.sent.fetch_add(sent as u64, Ordering::Relaxed);
    }
    let flip = matches!(fault, Some(Fault::Flip)) && whole;
    if most.is_none() && !flip {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut at = 0;
    let flipped = length.map(|length| length / 2).filter(|_| flip);
    let pieces = body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(io::Error::other)?;
        let range = at..at + piece.len();
        at = range.end;
        let piece = match most {
            Some(most) => piece.slice(..piece.len().min(most.saturating_sub(range.start))),
            None => piece,
        };
        Ok(match flipped.filter(|f| range.contains(f)) {
            Some(place) => {
                let mut bytes = piece.to_vec();
                bytes[place - range.start] ^= 1;
                bytes.into()
            }
            None => piece,
        })
    });
    // Nothing is read past the end, so that a cut comes when its bytes were sent.
    let mut left = most;
    let pieces = pieces.take_while(move |piece: &io::Result<Bytes>| {
        let go_on = left != Some(0);
        left = left.map(|left| left.saturating_sub(piece.as_ref().map_or(0, Bytes::len)));
        std::future::ready(go_on)
    });
    let body = match fault {
        Some(Fault::Cut(_)) => {
            // A moment, so that what was sent before arrives before the connection is gone.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(io::ErrorKind::ConnectionReset.into())
            });
            Body::from_stream(pieces.chain(cut))
        }
        Some(Fault::Stall(_)) => Body::from_stream(pieces.chain(stream::pending())),
        _ => Body::from_stream(pieces),
    };
    if let Some(Fault::Short(n)) = fault {
        let shorter = length.unwrap_or(0).min(*n);
        parts.headers.insert(header::CONTENT_LENGTH, shorter.into());
    }
    Response::from_parts(parts, body)
}

fn length(response: &Response) -> Option<usize> {
    let said = || response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    said().or_else(|| usize::try_from(response.body().size_hint().exact()?).ok())
}
