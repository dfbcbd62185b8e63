//! Requests to GitHub and to whoever has an archive: who gets the token, when to try again.
//!
//! The token goes to the API's origin and nowhere else; redirects are followed here, by hand, so that this can be seen
//! in one place. What is downloaded is hashed on its way to the disk.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use super::ReleaseError;
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::hash;
use crate::base::http::{self, REDIRECTS, bearer, redirect, shown};
use crate::base::token::Token;
use crate::event::{Code, Event, Observer, Progress};

/// Longest answer of the API that is read.
const LONGEST_ANSWER: u64 = 8 << 20;

/// Most that a rate limit may hold up a request.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How often the flag of the user is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How patient requests are.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries before it is an error.
    pub attempts: u32,
    /// Wait before the second try; doubles each time.
    pub first: Duration,
    /// A connection that sends nothing for so long is dropped.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { attempts: 5, first: Duration::from_millis(500), stall: Duration::from_secs(30) }
    }
}

/// What a downloaded file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Downloaded {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

pub(super) struct Client<'a> {
    http: reqwest::Client,
    api: Url,
    authorization: Option<HeaderValue>,
    patience: Patience,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// One failed try.
struct Failure {
    error: ReleaseError,
    /// Whether trying again can help, and after how long if the server said.
    again: Option<Option<Duration>>,
}

impl Failure {
    fn never(error: ReleaseError) -> Self {
        Failure { error, again: None }
    }

    fn soon(error: ReleaseError) -> Self {
        Failure { error, again: Some(None) }
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(
        api: &Url,
        token: Option<&Token>,
        patience: Patience,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, ReleaseError> {
        let http = http::client(api, patience.stall).build().map_err(ReleaseError::Connections)?;
        let authorization = token.map(bearer);
        Ok(Client { http, api: api.clone(), authorization, patience, observer, cancel })
    }

    /// A short answer as text, from the API or, for an asset's content, from where it redirects to.
    pub(super) async fn text(
        &self,
        url: &Url,
        accept: &'static str,
        what: &str,
    ) -> Result<String, ReleaseError> {
        let bytes = self
            .tries(async || {
                let mut response = self.send(url, accept, what).await?;
                let mut bytes = Vec::new();
                while let Some(piece) = self.piece(url, &mut response).await? {
                    bytes.extend_from_slice(&piece);
                    if bytes.len() as u64 > LONGEST_ANSWER {
                        return Err(Failure::never(protocol(
                            url,
                            "the answer is longer than any of its kind",
                        )));
                    }
                }
                Ok(bytes)
            })
            .await?;
        String::from_utf8(bytes).map_err(|_| protocol(url, "the answer is no text"))
    }

    /// Brings a file to the disk, whatever was there; at most `longest` bytes.
    pub(super) async fn download(
        &self,
        url: &Url,
        accept: &'static str,
        what: &str,
        into: &Path,
        longest: u64,
    ) -> Result<Downloaded, ReleaseError> {
        let io = |source| Failure::never(ReleaseError::Io { path: into.to_owned(), source });
        self.tries(async || {
            let mut response = self.send(url, accept, what).await?;
            let total = response.content_length();
            let mut file = std::fs::File::create(into).map_err(io)?;
            let (mut hasher, mut bytes) = (Sha256::new(), 0);
            while let Some(piece) = self.piece(url, &mut response).await? {
                bytes += piece.len() as u64;
                if bytes > longest {
                    return Err(Failure::never(protocol(url, "it sends more than any of its kind has")));
                }
                hasher.update(&piece);
                file.write_all(&piece).map_err(io)?;
                if let Some(total) = total.filter(|total| *total >= bytes) {
                    self.observer.progress(Progress::bytes(what, bytes, total));
                }
            }
            Ok(Downloaded { bytes, sha256: hash::hex(&hasher.finalize()) })
        })
        .await
    }

    /// Tries until it works, the tries are used up, or the user stops it.
    async fn tries<T>(&self, mut once: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, ReleaseError> {
        let mut failed = 0;
        loop {
            let failure = tokio::select! {
                done = once() => match done {
                    Ok(done) => return Ok(done),
                    Err(failure) => failure,
                },
                () = self.raised() => return Err(ReleaseError::Cancelled),
            };
            failed += 1;
            let Some(asked) = failure.again.filter(|_| failed < self.patience.attempts) else {
                return Err(failure.error);
            };
            let wait = asked.unwrap_or_else(|| self.patience.first.saturating_mul(1 << (failed - 1).min(6)));
            if wait > LONGEST_WAIT {
                return Err(failure.error);
            }
            let text = format!("trying again in {:.1} s: {}", wait.as_secs_f64(), causes(&failure.error));
            self.observer
                .event(Event::new(Code::ToolchainRetried, text).with("wait_seconds", wait.as_secs_f64()));
            tokio::select! {
                () = sleep(wait) => {}
                () = self.raised() => return Err(ReleaseError::Cancelled),
            }
        }
    }

    async fn raised(&self) {
        while !self.cancel.is_cancelled() {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// One try: the request, and those that it is redirected to.
    async fn send(&self, url: &Url, accept: &'static str, what: &str) -> Result<Response, Failure> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.http.get(url.clone()).header(ACCEPT, accept);
            let at_api = url.origin() == self.api.origin();
            if at_api {
                request = request.header("x-github-api-version", "2022-11-28");
                if let Some(authorization) = &self.authorization {
                    request = request.header(AUTHORIZATION, authorization.clone());
                }
            }
            let response = match timeout(self.patience.stall, request.send()).await {
                Err(_) => return Err(Failure::soon(stalled(&url, self.patience.stall))),
                Ok(Err(e)) => return Err(broken(&url, e)),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            url = match redirect(&url, status, response.headers()) {
                None => return Err(self.refused(&url, &response, what, at_api)),
                Some(to) => to.map_err(|why| Failure::never(protocol(&url, why)))?,
            };
        }
        Err(Failure::never(protocol(&url, "too many redirects")))
    }

    async fn piece(&self, url: &Url, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        match timeout(self.patience.stall, response.chunk()).await {
            Err(_) => Err(Failure::soon(stalled(url, self.patience.stall))),
            Ok(Err(e)) => Err(broken(url, e)),
            Ok(Ok(piece)) => Ok(piece),
        }
    }

    /// What a status means that is neither success nor redirect.
    fn refused(&self, url: &Url, response: &Response, what: &str, at_api: bool) -> Failure {
        let (status, headers) = (response.status(), response.headers());
        let after = seconds(headers, RETRY_AFTER.as_str()).map(Duration::from_secs);
        let is_spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
        let signed_in = self.authorization.is_some();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNPROCESSABLE_ENTITY => {
                Failure::never(ReleaseError::NotFound { what: what.to_owned(), url: shown(url) })
            }
            StatusCode::UNAUTHORIZED if at_api && signed_in => Failure::never(ReleaseError::Token),
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
                if at_api && (is_spent || after.is_some()) =>
            {
                Failure { error: ReleaseError::Limited { signed_in }, again: after.map(Some) }
            }
            _ => {
                let error = ReleaseError::Status { url: shown(url), status: status.as_u16() };
                let soon = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                if soon { Failure { error, again: Some(after) } } else { Failure::never(error) }
            }
        }
    }
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn protocol(url: &Url, why: &'static str) -> ReleaseError {
    ReleaseError::Protocol { url: shown(url), why }
}

fn stalled(url: &Url, patience: Duration) -> ReleaseError {
    ReleaseError::Stalled { url: shown(url), seconds: patience.as_secs() }
}

fn broken(url: &Url, error: reqwest::Error) -> Failure {
    let again = (!error.is_builder()).then_some(None);
    Failure { error: ReleaseError::Connection { url: shown(url), source: error.without_url() }, again }
}
