//! Requests to the Hub and to where it redirects: who gets the token, what a status means, when to try again.
//!
//! The token goes to the endpoint's origin and nowhere else. Redirects are followed here, by hand, so that this can
//! be seen in one place.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::HubOptions;
use super::address::parse_endpoint;
use super::error::{Access, HubError};
use super::retry::{Again, Failure, Retry, Tries};
use super::status::Refusal;
use super::wire;
use crate::base::causes::causes;
use crate::base::http::{self, REDIRECTS, bearer, redirect, shown};
use crate::base::repo_id::RepoId;
use crate::event::{Code, Event, Observer};

/// Longest JSON answer of the API that is read.
const LONGEST_ANSWER: u64 = 32 << 20;

pub(super) struct Client<'a> {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    /// What the requests are for.
    access: Access,
    pub(super) retry: &'a Retry,
    pub(super) observer: &'a dyn Observer,
    /// Until when the Hub asked for silence.
    quiet: Mutex<Option<Instant>>,
}

/// What a request is about, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    pub(super) path: Option<&'a str>,
}

/// A request, but for the token.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Body>,
    /// Headers that came with the address: they go to its origin only, and an authorization among them is sent instead
    /// of the user's token.
    pub(super) own: HeaderMap,
    /// Statuses besides success that are answers, too.
    pub(super) also: &'static [u16],
    /// How long the answer may take to begin, if longer than a stall.
    pub(super) patience: Option<Duration>,
}

/// A short answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) body: Vec<u8>,
}

/// A successful answer.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    /// What the Hub said of the file's content before redirecting.
    pub(super) linked: Linked,
}

/// `X-Linked-Size` and `X-Linked-Etag`, which is the SHA-256.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Linked {
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a HubOptions, observer: &'a dyn Observer) -> Result<Self, HubError> {
        let endpoint = parse_endpoint(&options.endpoint)?;
        // Ranges in parallel are to have a connection each; HTTP/2 would put them into one.
        let builder = http::client(&endpoint, options.retry.stall).http1_only();
        Ok(Client {
            http: builder.build().map_err(HubError::Connections)?,
            endpoint,
            authorization: options.token.as_ref().map(bearer),
            access: Access::Read,
            retry: &options.retry,
            observer,
            quiet: Mutex::new(None),
        })
    }

    /// Errors and events speak of writing.
    pub(super) fn for_writing(mut self) -> Self {
        self.access = Access::Write;
        self
    }

    /// An address below the endpoint; each piece is one segment, whatever it holds.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(segments);
        url
    }

    /// A page's address as the Hub gave it, if it is at the Hub.
    pub(super) fn page(&self, here: &Url, link: &str) -> Option<Url> {
        here.join(link).ok().filter(|url| self.is_hub(url))
    }

    /// The user's token as a header, for who asks at the endpoint's origin by other means.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    fn signed_in(&self) -> bool {
        self.authorization.is_some()
    }

    /// One try of reading an address, or a range of it.
    pub(super) async fn get(
        &self,
        subject: Subject<'_>,
        url: Url,
        range: Option<&Range<u64>>,
        if_range: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut call = Call::get(url);
        call.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            call.headers.insert(RANGE, value.parse().expect("digits make a header"));
        }
        if let Some(tag) = if_range.and_then(|tag| tag.parse().ok()) {
            call.headers.insert(IF_RANGE, tag);
        }
        self.send(subject, call).await
    }

    /// One try: the request, and those that it is redirected to. What has a body is redirected within the Hub only.
    pub(super) async fn send(&self, subject: Subject<'_>, call: Call) -> Result<Answer, Failure> {
        let patience = call.patience.unwrap_or(self.retry.stall);
        let mut request = Request::new(call.method, call.url);
        *request.headers_mut() = call.headers;
        *request.body_mut() = call.body;
        let mut linked = Linked::default();
        let origin = request.url().origin();
        for _ in 0..=REDIRECTS {
            let url = request.url().clone();
            let at_hub = self.is_hub(&url);
            if at_hub {
                self.keep_quiet().await;
            }
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(authorization) = self.authorization.as_ref().filter(|_| at_hub) {
                request.headers_mut().insert(AUTHORIZATION, authorization.clone());
            }
            for name in call.own.keys() {
                request.headers_mut().remove(name);
            }
            if url.origin() == origin {
                request.headers_mut().extend(call.own.clone());
            }
            let next = request.try_clone();
            let response = match timeout(patience, self.http.execute(request)).await {
                Err(_) => return Err(Failure::soon(stalled(&url, patience))),
                Ok(Err(e)) => return Err(broken(&url, e)),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            if status.is_success() || call.also.contains(&status.as_u16()) {
                return Ok(Answer { response, url, linked });
            }
            let Some(to) = redirect(&url, status, response.headers()) else {
                return Err(self.refused(subject, &url, response).await);
            };
            let headers = response.headers();
            if at_hub {
                let size = wire::text(headers, "x-linked-size").and_then(|v| v.parse().ok());
                let sha256 = wire::text(headers, "x-linked-etag").map(|v| v.trim_matches('"').to_owned());
                linked = Linked { size: size.or(linked.size), sha256: sha256.or(linked.sha256) };
            }
            let to = to.map_err(|why| self.protocol(&url, why))?;
            request = match next {
                // Only these two keep method and body (RFC 9110, section 15.4).
                Some(next) if next.method() == Method::GET || matches!(status.as_u16(), 307 | 308) => next,
                _ => return Err(self.protocol(&url, "it redirects what cannot be sent elsewhere")),
            };
            if request.body().is_some() && !self.is_hub(&to) {
                return Err(self.protocol(&url, "it redirects a body to another origin"));
            }
            *request.url_mut() = to;
        }
        Err(self.protocol(request.url(), "too many redirects"))
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn piece(
        &self,
        answer: &mut Answer,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        match timeout(self.retry.stall, answer.response.chunk()).await {
            Err(_) => Err(Failure::soon(stalled(&answer.url, self.retry.stall))),
            Ok(Err(e)) => Err(broken(&answer.url, e)),
            Ok(Ok(piece)) => Ok(piece),
        }
    }

    /// Waits as long as the failure asks, or gives its error back where there is to be no other try.
    pub(super) async fn wait(
        &self,
        subject: Subject<'_>,
        tries: &mut Tries,
        failure: Failure,
    ) -> Result<(), HubError> {
        let limited = matches!(failure.again, Again::Limited(Some(_)));
        let (wait, error) = tries.after(self.retry, failure)?;
        let what = subject.path.map(|path| format!("`{path}`: ")).unwrap_or_default();
        let text = format!("{what}trying again in {:.1} s: {}", wait.as_secs_f64(), causes(&error));
        let code = match self.access {
            Access::Read => Code::DownloadRetried,
            Access::Write => Code::UploadRetried,
        };
        self.observer.event(
            Event::new(code, text).about(subject.repo.to_string()).with("wait_seconds", wait.as_secs_f64()),
        );
        if limited {
            let mut quiet = self.quiet.lock().expect("no holder panics");
            *quiet = (*quiet).max(Some(Instant::now() + wait));
        }
        sleep(wait).await;
        Ok(())
    }

    /// A JSON answer of the API, and its headers and address.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        subject: Subject<'_>,
        url: &Url,
    ) -> Result<(T, HeaderMap, Url), HubError> {
        let reply = self.ask(subject, || Call::get(url.clone())).await?;
        Ok((reply.json()?, reply.headers, reply.url))
    }

    /// A short answer, after as many tries as it takes. For what may be asked twice.
    pub(super) async fn ask(&self, subject: Subject<'_>, call: impl Fn() -> Call) -> Result<Reply, HubError> {
        let mut tries = Tries::default();
        loop {
            match self.ask_once(subject, call()).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => self.wait(subject, &mut tries, failure).await?,
            }
        }
    }

    /// A short answer; one try.
    pub(super) async fn ask_once(&self, subject: Subject<'_>, call: Call) -> Result<Reply, Failure> {
        let mut answer = self.send(subject, call).await?;
        let body = self.body(&mut answer, LONGEST_ANSWER).await?;
        let Answer { response, url, .. } = answer;
        Ok(Reply { status: response.status().as_u16(), headers: response.headers().clone(), url, body })
    }

    /// The bytes of a range of a file, from a server that may not know ranges.
    pub(super) async fn range(
        &self,
        subject: Subject<'_>,
        url: &Url,
        range: Range<u64>,
    ) -> Result<Vec<u8>, HubError> {
        let mut tries = Tries::default();
        loop {
            match self.range_once(subject, url, &range).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => self.wait(subject, &mut tries, failure).await?,
            }
        }
    }

    async fn range_once(
        &self,
        subject: Subject<'_>,
        url: &Url,
        range: &Range<u64>,
    ) -> Result<Vec<u8>, Failure> {
        let mut answer = self.get(subject, url.clone(), Some(range), None).await?;
        let mut skip = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let told =
                    wire::text(answer.response.headers(), "content-range").and_then(wire::content_range);
                if told.is_none_or(|(told, _)| told != *range) {
                    return Err(self.protocol(&answer.url, "it sends another range than was asked for"));
                }
                0
            }
            _ => range.start,
        };
        let wanted = (range.end - range.start) as usize;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let Some(piece) = self.piece(&mut answer).await? else {
                let why = "the answer ended early";
                return Err(Failure::soon(HubError::Protocol { url: shown(&answer.url), why }));
            };
            let piece = piece.as_ref();
            let from = skip.min(piece.len() as u64);
            skip -= from;
            let piece = &piece[from as usize..];
            bytes.extend_from_slice(&piece[..piece.len().min(wanted - bytes.len())]);
        }
        Ok(bytes)
    }

    /// A short file, wherever it is; one try.
    pub(super) async fn whole(
        &self,
        subject: Subject<'_>,
        url: Url,
        longest: u64,
    ) -> Result<Vec<u8>, Failure> {
        let mut answer = self.get(subject, url, None, None).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut answer).await? {
            bytes.extend_from_slice(piece.as_ref());
            if bytes.len() as u64 > longest {
                let (repo, path) = (subject.repo.clone(), subject.path.unwrap_or_default().to_owned());
                let size = answer.linked.size.unwrap_or(bytes.len() as u64);
                return Err(Failure::never(HubError::TooLong { repo, path, size }));
            }
        }
        Ok(bytes)
    }

    async fn body(&self, answer: &mut Answer, longest: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(answer).await? {
            if (bytes.len() + piece.as_ref().len()) as u64 > longest {
                return Err(self.protocol(&answer.url, "the answer is longer than any of its kind"));
            }
            bytes.extend_from_slice(piece.as_ref());
        }
        Ok(bytes)
    }

    async fn keep_quiet(&self) {
        let until = *self.quiet.lock().expect("no holder panics");
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn protocol(&self, url: &Url, why: &'static str) -> Failure {
        Failure::never(HubError::Protocol { url: shown(url), why })
    }

    /// What an answer that is neither a success nor a redirect means.
    async fn refused(&self, subject: Subject<'_>, url: &Url, response: Response) -> Failure {
        let (status, headers) = (response.status(), response.headers().clone());
        let said = match self.said(url, response).await {
            Some(body) if !headers.contains_key("x-error-message") => wire::message(&body),
            _ => None,
        };
        let refusal = Refusal {
            subject,
            url,
            status,
            headers: &headers,
            said,
            at_hub: self.is_hub(url),
            signed_in: self.signed_in(),
            access: self.access,
            endpoint: &self.endpoint,
        };
        refusal.classify()
    }

    /// The body of a refusal, if it is a short one of the Hub.
    async fn said(&self, url: &Url, response: Response) -> Option<Vec<u8>> {
        /// Longest body that is looked at.
        const LONGEST: u64 = 64 << 10;
        /// How long it may take: what the status says is enough.
        const PATIENCE: Duration = Duration::from_secs(2);
        let is_json = wire::text(response.headers(), "content-type").is_some_and(|t| t.contains("json"));
        if !is_json || !self.is_hub(url) {
            return None;
        }
        let mut answer = Answer { response, url: url.clone(), linked: Linked::default() };
        timeout(PATIENCE, self.body(&mut answer, LONGEST)).await.ok()?.ok()
    }
}

impl Call {
    /// Reads an address.
    pub(super) fn get(url: Url) -> Self {
        Call {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            own: HeaderMap::new(),
            also: &[],
            patience: None,
        }
    }

    /// Sends a body of this media type.
    pub(super) fn post(url: Url, media: &'static str, body: impl Into<Body>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
        let body = Some(body.into());
        Call { method: Method::POST, url, headers, body, own: HeaderMap::new(), also: &[], patience: None }
    }

    /// Sends JSON.
    pub(super) fn post_json(url: Url, body: &Value) -> Self {
        Call::post(url, "application/json", body.to_string())
    }

    /// Takes the headers that came with the address along.
    pub(super) fn with(mut self, own: &HeaderMap) -> Self {
        self.own = own.clone();
        self
    }

    /// Takes answers of these statuses, too.
    pub(super) fn also(mut self, statuses: &'static [u16]) -> Self {
        self.also = statuses;
        self
    }
}

impl Reply {
    /// Its body as JSON.
    ///
    /// # Errors
    /// [`HubError::Answer`] where it is none, or another one.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, HubError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| HubError::Answer { url: shown(&self.url), source })
    }
}

fn stalled(url: &Url, patience: Duration) -> HubError {
    HubError::Stalled { url: shown(url), seconds: patience.as_secs() }
}

fn broken(url: &Url, error: reqwest::Error) -> Failure {
    let again = if error.is_builder() { Again::Never } else { Again::Soon };
    let error = HubError::Connection { url: shown(url), source: error.without_url() };
    Failure { error: Box::new(error), again }
}
