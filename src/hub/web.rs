//! A file at an address of its own: a text to compute on, a finished importance matrix.
//!
//! In: an https address. Out: the file in the cache. No token is ever sent. A copy that is there is asked about by its
//! tag, and used as it is where no connection may be made. Refuses more bytes than the caller allows, and to be led from
//! https to http.

use std::io::Write;
use std::path::{Path, PathBuf};

use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Response, StatusCode, Url};
use tokio::time::{sleep, timeout};

use super::HubOptions;
use super::address::{is_loopback, shown};
use super::error::HubError;
use super::snapshot::raised;
use super::store;
use crate::base::atomic::{AtomicFile, Outlives};
use crate::base::cancel::Cancel;
use crate::base::{hash, units};
use crate::event::{Code, Event, Observer, Progress};

/// Hops from an address to where the file is.
const REDIRECTS: usize = 5;

/// Brings a file here; at most `longest` bytes of it.
///
/// # Errors
/// [`HubError`] names the address; offline, one that the cache does not have.
pub fn download(
    url: &str,
    longest: u64,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<PathBuf, HubError> {
    let folder = options.cache.join("web").join(&hash::sha256(url.as_bytes())[..32]);
    let path = folder.join("file");
    let address =
        Url::parse(url).map_err(|_| HubError::Protocol { url: url.to_owned(), why: "it is no address" })?;
    if options.offline {
        return if path.is_file() { Ok(path) } else { Err(HubError::NotHere { url: shown(&address) }) };
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HubError::Runtime)?;
    let tag = folder.join("tag");
    runtime.block_on(async {
        let web = Web::new(&address, longest, options, observer)?;
        tokio::select! {
            done = web.bring(&path, &tag) => done,
            () = raised(cancel) => Err(HubError::Stopped { url: shown(&address) }),
        }
    })?;
    Ok(path)
}

struct Web<'a> {
    http: reqwest::Client,
    address: &'a Url,
    longest: u64,
    options: &'a HubOptions,
    observer: &'a dyn Observer,
}

/// One failed try.
struct Failure {
    error: HubError,
    /// Whether trying again can help.
    again: bool,
}

impl Failure {
    fn soon(error: HubError) -> Self {
        Failure { error, again: true }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Failure { error, again: false }
    }
}

impl<'a> Web<'a> {
    fn new(
        address: &'a Url,
        longest: u64,
        options: &'a HubOptions,
        observer: &'a dyn Observer,
    ) -> Result<Self, HubError> {
        // A provider that somebody else installed in this process serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("jamph-quantizer/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.retry.stall);
        if is_loopback(address) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(HubError::Connections)?;
        Ok(Web { http, address, longest, options, observer })
    }

    /// The file at `path`, and its tag beside it.
    async fn bring(&self, path: &Path, tag_path: &Path) -> Result<(), HubError> {
        let known = if path.is_file() { store::read(tag_path)? } else { None };
        let known = known.and_then(|tag| HeaderValue::from_bytes(&tag).ok());
        let (mut failed, mut wait) = (0, self.options.retry.first);
        loop {
            let failure = match self.once(path, tag_path, known.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            failed += 1;
            if !failure.again || failed >= self.options.retry.attempts {
                return Err(failure.error);
            }
            let text = format!("trying again in {:.1} s: {}", wait.as_secs_f64(), failure.error);
            self.observer.event(Event::new(Code::DownloadRetried, text));
            sleep(wait).await;
            wait = (wait * 2).min(self.options.retry.longest);
        }
    }

    async fn once(&self, path: &Path, tag_path: &Path, known: Option<&HeaderValue>) -> Result<(), Failure> {
        let mut response = self.send(known).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        let total = response.content_length();
        let too_long = || HubError::Protocol {
            url: shown(self.address),
            why: "the file is longer than any of its kind",
        };
        if total.is_some_and(|total| total > self.longest) {
            return Err(too_long().into());
        }
        let io = |source| HubError::Io { path: path.to_owned(), source };
        let mut file = AtomicFile::create(path, Outlives::Process).map_err(io)?;
        let mut bytes = 0;
        while let Some(piece) = self.wait(response.chunk()).await? {
            bytes += piece.len() as u64;
            if bytes > self.longest {
                return Err(too_long().into());
            }
            file.write_all(&piece).map_err(io)?;
            if let Some(total) = total {
                self.observer.progress(Progress::bytes(shown(self.address), bytes, total));
            }
        }
        if total.is_some_and(|total| total != bytes) {
            let why = "it sent fewer bytes than it said";
            return Err(Failure::soon(HubError::Protocol { url: shown(self.address), why }));
        }
        // Without its tag the next call would bring it again; with another's, never.
        match std::fs::remove_file(tag_path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source).into()),
            _ => {}
        }
        file.commit().map_err(io)?;
        if let Some(tag) = response.headers().get(ETAG) {
            store::write(tag_path, tag.as_bytes())?;
        }
        let text = format!("downloaded `{}`: {}", shown(self.address), units::decimal(bytes));
        self.observer.event(Event::new(Code::DownloadVerified, text).with("bytes", bytes));
        Ok(())
    }

    /// The answer of the last address that the first one leads to.
    async fn send(&self, known: Option<&HeaderValue>) -> Result<Response, Failure> {
        let mut url = self.address.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.http.get(url.clone());
            if let Some(tag) = known {
                request = request.header(IF_NONE_MATCH, tag.clone());
            }
            let response = self.wait(request.send()).await?;
            let status = response.status();
            if status.is_success() || (known.is_some() && status == StatusCode::NOT_MODIFIED) {
                return Ok(response);
            }
            if !status.is_redirection() {
                let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                let (url, status) = (shown(&url), status.as_u16());
                let error = HubError::Status { url, status, message: String::new(), request: None };
                return Err(Failure { error, again });
            }
            let to = response.headers().get("location").and_then(|to| url.join(to.to_str().ok()?).ok());
            let why = match &to {
                None => "it redirects without an address",
                Some(to) if !matches!(to.scheme(), "http" | "https") => {
                    "it redirects to something that is not HTTP"
                }
                Some(to) if url.scheme() == "https" && to.scheme() == "http" => {
                    "it redirects from HTTPS to plain HTTP"
                }
                Some(to) => {
                    url = to.clone();
                    continue;
                }
            };
            return Err(HubError::Protocol { url: shown(&url), why }.into());
        }
        Err(HubError::Protocol { url: shown(&url), why: "too many redirects" }.into())
    }

    async fn wait<T>(&self, work: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failure> {
        let stall = self.options.retry.stall;
        match timeout(stall, work).await {
            Err(_) => {
                Err(Failure::soon(HubError::Stalled { url: shown(self.address), seconds: stall.as_secs() }))
            }
            Ok(Err(source)) => Err(Failure::soon(HubError::Connection {
                url: shown(self.address),
                source: source.without_url(),
            })),
            Ok(Ok(done)) => Ok(done),
        }
    }
}
