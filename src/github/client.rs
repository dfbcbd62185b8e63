//! GitHub's API: who asks, how patiently, and what an answer means.
//!
//! In: an API's address, a repository, a token. Out: answers as data, through octocrab. What changes nothing, or the same
//! thing again, octocrab tries again where the rate limit or the server asks for it. What creates something goes through
//! [`Client::create`], which looks before each try whether it is there by now. The token goes to the API's own
//! origin and to that of its uploads, and to no other. Connections are reqwest's, as everywhere: through the proxy that
//! the environment names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use octocrab::service::middleware::retry::{RateLimitMetrics, RetryConfig};
use octocrab::{OctoBody, Octocrab};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{GithubError, is_limit};
use crate::base::cancel::Cancel;
use crate::base::http::client;
use crate::base::token::Token;
use crate::event::{Code, Event, Observer};

/// The public API.
pub const PUBLIC_API: &str = "https://api.github.com";

/// Tries of one request, after the first.
const TRIES: usize = 4;
/// Seconds that are waited where GitHub says that it is too much, and not for how long.
const WAIT: u64 = 60;
/// Items of a page: as many as there may be.
const PAGE: usize = 100;
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(30);
/// Time until an answer begins, with the sending of what was asked, and between two pieces of it.
const STALL: Duration = Duration::from_secs(120);

/// Where and as whom GitHub is asked.
#[derive(Clone, Debug)]
pub struct GithubOptions {
    /// Address of the API, without a slash at its end (`GITHUB_API_URL`).
    pub api: String,
    /// `owner/name` (`GITHUB_REPOSITORY`).
    pub repo: String,
    /// Whoever asks.
    pub token: Option<Token>,
    /// Most that one task may take, with all its waits.
    pub patience: Duration,
}

impl GithubOptions {
    /// Of a repository, with the usual patience.
    ///
    /// # Errors
    /// It is no name of a repository.
    pub fn new(api: &str, repo: &str, token: Option<Token>) -> Result<Self, GithubError> {
        let piece = |text: &str| {
            !text.is_empty()
                && !text.starts_with('.')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let valid = repo.split_once('/').is_some_and(|(owner, name)| piece(owner) && piece(name));
        if !valid {
            return Err(GithubError::Setting { variable: "GITHUB_REPOSITORY", why: "no `owner/name`" });
        }
        let (api, repo) = (api.trim_end_matches('/').to_owned(), repo.to_owned());
        Ok(GithubOptions { api, repo, token, patience: Duration::from_secs(15 * 60) })
    }

    /// Where files of releases are sent: an origin of its own on GitHub's own hosts, the API's elsewhere.
    fn uploads(&self) -> String {
        match self.api.strip_prefix("https://api.") {
            Some(host) if host == "github.com" || host.ends_with(".ghe.com") => {
                format!("https://uploads.{host}")
            }
            _ => origin(&self.api).to_owned(),
        }
    }

    /// Where a file of this name goes, by what GitHub gives of a release; none where the token may not go there.
    pub(super) fn upload_address(&self, template: &str, name: &str) -> Option<http::Uri> {
        let url = template.split('{').next()?;
        let known = origin(url) == origin(&self.uploads()) || origin(url) == origin(&self.api);
        format!("{url}?name={name}").parse().ok().filter(|_| known)
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#', '{']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Asks GitHub.
pub(super) struct Client<'a> {
    /// Tries again.
    crab: Octocrab,
    /// Does not.
    once: Octocrab,
    /// Does not, either, and takes addresses as they are: octocrab puts the path of an API (`/api/v3` of an Enterprise)
    /// before every other, also that of uploads.
    files: Octocrab,
    pub(super) options: &'a GithubOptions,
    waits: Arc<Waits>,
}

/// Seconds of waits that were begun and not told of.
#[derive(Debug, Default)]
struct Waits(Mutex<Vec<u64>>);

impl Waits {
    fn push(&self, seconds: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seconds);
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RateLimitMetrics for Waits {
    fn retry_after_error(&self, _: &http::Request<OctoBody>, _: http::StatusCode, _: usize) {}

    fn rate_limited(&self, _: &http::Request<OctoBody>, _: http::StatusCode, _: usize, seconds: u64) {
        self.push(seconds);
    }
}

/// Does something that asks GitHub, until it is done, the user stops it, or it takes too long.
///
/// # Errors
/// [`GithubError`].
pub(super) fn run<T>(
    what: &str,
    options: &GithubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: impl AsyncFnOnce(&Client<'_>) -> Result<T, GithubError>,
) -> Result<T, GithubError> {
    if options.token.is_none() {
        return Err(GithubError::NoToken { what: what.to_owned() });
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(GithubError::Runtime)?;
    runtime.block_on(async {
        let client = Client::new(what, options)?;
        let waits = Arc::clone(&client.waits);
        tokio::select! {
            done = work(&client) => done,
            error = watch(what, options, &waits, observer, cancel) => Err(error),
        }
    })
}

/// Tells of waits, and ends when nothing is to be waited for any more.
async fn watch(
    what: &str,
    options: &GithubOptions,
    waits: &Waits,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> GithubError {
    const LOOK: Duration = Duration::from_millis(50);
    let start = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if cancel.is_cancelled() {
            return GithubError::Stopped;
        }
        let left = options.patience.saturating_sub(start.elapsed());
        if left.is_zero() {
            return GithubError::Slow { what: what.to_owned(), seconds: options.patience.as_secs() };
        }
        for seconds in waits.take() {
            if seconds > left.as_secs() {
                return GithubError::RateLimited { what: what.to_owned() };
            }
            let text = format!("GitHub's rate limit: waiting {seconds} s to {what}");
            observer.event(Event::new(Code::GithubWaited, text).with("seconds", seconds));
        }
    }
}

impl<'a> Client<'a> {
    fn new(what: &str, options: &'a GithubOptions) -> Result<Self, GithubError> {
        let waits = Arc::new(Waits::default());
        let limits = RetryConfig::HandleRateLimits {
            metrics: Arc::<Waits>::clone(&waits),
            max_retries: TRIES,
            min_wait_seconds: WAIT,
            retry_on_forbidden: false,
        };
        let (variable, why) = ("GITHUB_API_URL", "no address");
        let address =
            reqwest::Url::parse(&options.api).map_err(|_| GithubError::Setting { variable, why })?;
        // octocrab follows redirects itself, and takes the token along to no other origin.
        let http = client(&address, CONNECT).read_timeout(STALL).build().map_err(GithubError::Connections)?;
        let (uploads, api) = (options.uploads(), origin(&options.api));
        let build = |base: &str, other: &str, retry| {
            let mut builder = Octocrab::builder().base_uri(base)?.upload_uri(other)?.add_retry_config(retry);
            if let Some(token) = &options.token {
                builder = builder.personal_token(token.reveal());
            }
            builder.build_with_reqwest(http.clone())
        };
        let made = |built: octocrab::Result<Octocrab>| built.map_err(|e| GithubError::new(what, e));
        Ok(Client {
            crab: made(build(&options.api, &uploads, limits))?,
            once: made(build(&options.api, &uploads, RetryConfig::None))?,
            files: made(build(&uploads, api, RetryConfig::None))?,
            options,
            waits,
        })
    }

    /// An address below the repository's.
    fn route(&self, path: &str) -> String {
        format!("/repos/{}/{path}", self.options.repo)
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, GithubError> {
        self.crab.get(self.route(path), None::<&()>).await.map_err(|e| GithubError::new(what, e))
    }

    /// Reads a list, page by page, of so many pages at most. `path` has a query already.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        pages: usize,
    ) -> Result<Vec<T>, GithubError> {
        let mut all = Vec::new();
        for page in 1..=pages {
            let found: Vec<T> = self.get(what, &format!("{path}&per_page={PAGE}&page={page}")).await?;
            let last = found.len() < PAGE;
            all.extend(found);
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// Changes something to what it shall be.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, GithubError> {
        self.crab.patch(self.route(path), Some(body)).await.map_err(|e| GithubError::new(what, e))
    }

    /// Deletes something; that it is gone already is as good.
    pub(super) async fn delete(&self, what: &str, path: &str) -> Result<(), GithubError> {
        let deleted = async {
            let response = self.crab._delete(self.route(path), None::<&()>).await?;
            octocrab::map_github_error(response).await
        };
        match deleted.await.map_err(|e| GithubError::new(what, e)) {
            Ok(_) | Err(GithubError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends something that must not be sent twice, once.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> octocrab::Result<T> {
        self.once.post(self.route(path), Some(body)).await
    }

    /// Sends a file to a release, once.
    pub(super) async fn upload(&self, to: http::Uri, bytes: bytes::Bytes) -> octocrab::Result<()> {
        let request = http::Request::post(to)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .header(http::header::CONTENT_LENGTH, bytes.len())
            .body(bytes)
            .expect("an address and two plain headers make a request");
        octocrab::map_github_error(self.files.execute(request).await?).await.map(drop)
    }

    /// Finds something, or creates it. A request that failed may have been heard: what it created is looked for before it
    /// is sent again. Says whether it was there before.
    pub(super) async fn create<T>(
        &self,
        what: &str,
        find: impl AsyncFn() -> Result<Option<T>, GithubError>,
        post: impl AsyncFn() -> octocrab::Result<T>,
    ) -> Result<(T, bool), GithubError> {
        let mut sent = 0;
        loop {
            if let Some(found) = find().await? {
                return Ok((found, sent == 0));
            }
            let error = match post().await {
                Ok(made) => return Ok((made, false)),
                Err(error) => error,
            };
            let Some(wait) = again_after(&error, sent).filter(|_| sent < TRIES) else {
                return Err(GithubError::new(what, error));
            };
            if wait.as_secs() > 0 {
                self.waits.push(wait.as_secs());
            }
            tokio::time::sleep(wait).await;
            sent += 1;
        }
    }
}

/// After how long a request may be sent again; none where that cannot help.
fn again_after(error: &octocrab::Error, sent: usize) -> Option<Duration> {
    let soon = Duration::from_millis(250) * (1 << sent.min(8));
    let octocrab::Error::GitHub { source, .. } = error else {
        // No answer came, or none that could be read.
        return Some(soon);
    };
    let number =
        |name: &str| -> Option<i64> { source.headers.as_ref()?.get(name)?.to_str().ok()?.parse().ok() };
    let status = source.status_code.as_u16();
    let asked = match (number("retry-after"), number("x-ratelimit-remaining"), number("x-ratelimit-reset")) {
        (Some(seconds), ..) => Some(seconds),
        (None, Some(0), Some(reset)) => Some(reset.saturating_sub(Timestamp::now().as_second() - 1)),
        _ => None,
    };
    match (status, asked) {
        (403 | 429, Some(seconds)) => Some(Duration::from_secs(seconds.max(1).unsigned_abs())),
        (429, None) => Some(Duration::from_secs(WAIT)),
        (403, None) if is_limit(&source.message) => Some(Duration::from_secs(WAIT)),
        (500.., _) => Some(soon),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_two_names() {
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a b/c", "a/b?x=1"] {
            assert!(GithubOptions::new(PUBLIC_API, bad, None).is_err(), "{bad}");
        }
        assert!(GithubOptions::new(PUBLIC_API, "navikt/models.gguf_1", None).is_ok());
    }

    #[test]
    fn files_go_where_the_token_may() {
        let uploads = |api: &str| GithubOptions::new(api, "a/b", None).unwrap();
        for (api, at) in [
            (PUBLIC_API, "https://uploads.github.com"),
            ("https://api.nav.ghe.com", "https://uploads.nav.ghe.com"),
            ("https://github.corp.example/api/v3/", "https://github.corp.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            let options = uploads(api);
            assert_eq!(options.uploads(), at);
            let to = |template: &str| options.upload_address(template, "x.md").map(|to| to.to_string());
            let url = format!("{at}/repos/a/b/releases/1/assets");
            assert_eq!(to(&format!("{url}{{?name,label}}")), Some(format!("{url}?name=x.md")));
            assert_eq!(to("https://evil.example/repos/a/b"), None);
            assert_eq!(to(&format!("{at}.evil.example/repos/a/b")), None);
        }
    }
}
