//! Requests to the Hub and to where it redirects: who gets the token, what a status means, when to try again.
//!
//! The token goes to the endpoint's origin and nowhere else. Redirects are followed here, by hand, so that this can
//! be seen in one place.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::HubOptions;
use super::error::HubError;
use super::retry::{Again, Failure, Retry, Tries};
use super::wire;
use crate::base::repo_id::RepoId;
use crate::event::{Code, Event, Observer};

/// Longest JSON answer of the API that is read.
const LONGEST_ANSWER: u64 = 32 << 20;

/// Hops from a file's address to where it is.
const REDIRECTS: usize = 5;

pub(super) struct Client<'a> {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    retry: &'a Retry,
    observer: &'a dyn Observer,
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
        // A provider that somebody else installed in this process serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("jamph-quantizer/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.retry.stall)
            // Ranges in parallel are to have a connection each; HTTP/2 would put them into one.
            .http1_only();
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        }
        let authorization = options.token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                .expect("a token has visible ASCII characters only");
            value.set_sensitive(true);
            value
        });
        Ok(Client {
            http: builder.build().map_err(HubError::Connections)?,
            endpoint,
            authorization,
            retry: &options.retry,
            observer,
            quiet: Mutex::new(None),
        })
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

    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    fn signed_in(&self) -> bool {
        self.authorization.is_some()
    }

    /// One try: the request, and those that it is redirected to.
    pub(super) async fn get(
        &self,
        subject: Subject<'_>,
        mut url: Url,
        range: Option<&Range<u64>>,
        if_range: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut linked = Linked::default();
        for _ in 0..=REDIRECTS {
            let at_hub = self.is_hub(&url);
            if at_hub {
                self.keep_quiet().await;
            }
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(range) = range {
                let value = format!("bytes={}-{}", range.start, range.end - 1);
                headers.insert(RANGE, value.parse().expect("digits make a header"));
            }
            if let Some(tag) = if_range.and_then(|tag| tag.parse().ok()) {
                headers.insert(IF_RANGE, tag);
            }
            if let Some(authorization) = self.authorization.as_ref().filter(|_| at_hub) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let sent = timeout(self.retry.stall, self.http.get(url.clone()).headers(headers).send());
            let response = match sent.await {
                Err(_) => return Err(Failure::soon(self.stalled(&url))),
                Ok(Err(e)) => return Err(broken(&url, e)),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            if status.is_success() {
                return Ok(Answer { response, url, linked });
            }
            if !is_redirect(status) {
                return Err(self.refused(subject, &url, response).await);
            }
            let headers = response.headers();
            if at_hub {
                let size = wire::text(headers, "x-linked-size").and_then(|v| v.parse().ok());
                let sha256 = wire::text(headers, "x-linked-etag").map(|v| v.trim_matches('"').to_owned());
                linked = Linked { size: size.or(linked.size), sha256: sha256.or(linked.sha256) };
            }
            let target = wire::text(headers, LOCATION.as_str()).and_then(|to| url.join(to).ok());
            url = match target {
                None => return Err(self.protocol(&url, "it redirects without an address")),
                Some(to) if !matches!(to.scheme(), "http" | "https") => {
                    return Err(self.protocol(&url, "it redirects to something that is not HTTP"));
                }
                Some(to) if url.scheme() == "https" && to.scheme() == "http" => {
                    return Err(self.protocol(&url, "it redirects from HTTPS to plain HTTP"));
                }
                Some(to) => to,
            };
        }
        Err(self.protocol(&url, "too many redirects"))
    }

    /// The next piece of a body; `None` at its end.
    pub(super) async fn piece(
        &self,
        answer: &mut Answer,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        match timeout(self.retry.stall, answer.response.chunk()).await {
            Err(_) => Err(Failure::soon(self.stalled(&answer.url))),
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
        let text = format!("{what}trying again in {:.1} s: {}", wait.as_secs_f64(), chain(&error));
        self.observer.event(
            Event::new(Code::DownloadRetried, text)
                .about(subject.repo.to_string())
                .with("wait_seconds", wait.as_secs_f64()),
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
        let mut tries = Tries::default();
        loop {
            let once = async {
                let mut answer = self.get(subject, url.clone(), None, None).await?;
                let body = self.body(&mut answer, LONGEST_ANSWER).await?;
                let value = serde_json::from_slice(&body)
                    .map_err(|source| Failure::never(HubError::Answer { url: shown(&answer.url), source }))?;
                Ok((value, answer.response.headers().clone(), answer.url))
            };
            match once.await {
                Ok(found) => return Ok(found),
                Err(failure) => self.wait(subject, &mut tries, failure).await?,
            }
        }
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

    fn stalled(&self, url: &Url) -> HubError {
        HubError::Stalled { url: shown(url), seconds: self.retry.stall.as_secs() }
    }

    fn protocol(&self, url: &Url, why: &'static str) -> Failure {
        Failure::never(HubError::Protocol { url: shown(url), why })
    }

    /// What an answer that is neither a success nor a redirect means.
    async fn refused(&self, subject: Subject<'_>, url: &Url, response: Response) -> Failure {
        let (status, headers) = (response.status(), response.headers().clone());
        drop(response);
        classify(subject, url, status, &headers, self.is_hub(url), self.signed_in(), &self.endpoint)
    }
}

fn classify(
    subject: Subject<'_>,
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    at_hub: bool,
    signed_in: bool,
    endpoint: &Url,
) -> Failure {
    /// Longest message of a server that is repeated.
    const MESSAGE: usize = 200;
    let repo = subject.repo.clone();
    let message: String =
        wire::text(headers, "x-error-message").unwrap_or_default().chars().take(MESSAGE).collect();
    let request = wire::text(headers, "x-request-id").map(|id| id.chars().take(MESSAGE).collect());
    let plain = |message| HubError::Status { url: shown(url), status: status.as_u16(), message, request };
    match (status.as_u16(), wire::text(headers, "x-error-code").unwrap_or_default()) {
        (429, _) => {
            let asked = wire::asked_wait(headers, Timestamp::now());
            let seconds = asked.as_ref().map(Duration::as_secs);
            Failure {
                error: Box::new(HubError::RateLimited { url: shown(url), seconds }),
                again: Again::Limited(asked),
            }
        }
        (408 | 500.., _) => Failure::soon(plain(message)),
        // An address that the Hub signed has expired: it gives another one.
        (401 | 403 | 404 | 410, _) if !at_hub => Failure::soon(plain(message)),
        (_, "GatedRepo") => {
            let page = shown(endpoint).trim_end_matches('/').to_owned() + "/" + &repo.to_string();
            Failure::never(HubError::Gated { repo, page, signed_in })
        }
        (_, "RepoNotFound") => Failure::never(HubError::RepoNotFound { repo, signed_in }),
        (_, "RevisionNotFound") => {
            Failure::never(HubError::RevisionNotFound { repo, revision: subject.revision.to_owned() })
        }
        (404, code) => Failure::never(match subject.path {
            Some(path) => HubError::EntryNotFound { repo, path: path.to_owned() },
            None if code.is_empty() => HubError::RepoNotFound { repo, signed_in },
            None => plain(message),
        }),
        (401, _) => Failure::never(HubError::TokenRefused { repo, signed_in }),
        (403, _) => Failure::never(HubError::Forbidden { repo, message }),
        _ => Failure::never(plain(message)),
    }
}

fn parse_endpoint(endpoint: &str) -> Result<Url, HubError> {
    let wrong =
        |why| HubError::Endpoint { endpoint: endpoint.split('?').next().unwrap_or_default().to_owned(), why };
    let url = Url::parse(endpoint).map_err(|_| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is not of the form https://host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text is not repeated: it holds a secret.
        return Err(HubError::Endpoint { endpoint: shown(&url), why: "carries credentials; use HF_TOKEN" });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn broken(url: &Url, error: reqwest::Error) -> Failure {
    let again = if error.is_builder() { Again::Never } else { Again::Soon };
    let error = HubError::Connection { url: shown(url), source: error.without_url() };
    Failure { error: Box::new(error), again }
}

/// An address without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for addresses that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

fn chain(error: &HubError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        text += ": ";
        text += &e.to_string();
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, code: &str, at_hub: bool, path: Option<&str>, expected: &str) {
        let repo = RepoId::parse("o/n").unwrap();
        let subject = Subject { repo: &repo, revision: "v9", path };
        let url = Url::parse("https://hub.example/x?signature=secret").unwrap();
        let mut headers = HeaderMap::new();
        if !code.is_empty() {
            headers.insert("x-error-code", code.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let failure = classify(subject, &url, status, &headers, at_hub, false, &url);
        let found = format!("{failure:?}");
        assert!(found.contains(expected), "{found} lacks {expected}");
        assert!(!found.contains("secret"), "{found}");
    }

    #[test]
    fn statuses() {
        check(404, "RepoNotFound", true, None, "RepoNotFound");
        check(401, "RepoNotFound", true, None, "RepoNotFound");
        check(404, "RevisionNotFound", true, None, "revision: \"v9\"");
        check(404, "EntryNotFound", true, Some("a"), "EntryNotFound");
        check(403, "GatedRepo", true, Some("a"), "page: \"https://hub.example/x/o/n\"");
        check(401, "GatedRepo", true, None, "Gated");
        check(401, "", true, None, "TokenRefused");
        check(403, "", true, None, "Forbidden");
        check(403, "", false, Some("a"), "again: Soon");
        check(503, "", true, None, "again: Soon");
        check(429, "", true, None, "again: Limited(None)");
        check(418, "", true, None, "again: Never");
    }

    #[test]
    fn endpoints() {
        for good in ["https://huggingface.co", "http://127.0.0.1:8080/", "https://mirror.example/hf"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["huggingface.co", "ftp://h", "https://h/?x=1", "https://h/#x", ""] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
        let error = parse_endpoint("https://user:hf_secret@h/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn loopback_needs_no_proxy() {
        let check =
            |url: &str, expected| assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        check("http://127.0.0.1:1", true);
        check("http://[::1]:1", true);
        check("http://localhost/x", true);
        check("https://huggingface.co", false);
        check("http://127.example.com", false);
    }
}
