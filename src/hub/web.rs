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
use super::error::HubError;
use super::retry::{Failure, Tries};
use super::snapshot::raised;
use super::store;
use crate::base::atomic::{AtomicFile, Outlives};
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::http::{self, REDIRECTS, redirect, shown};
use crate::base::{hash, units};
use crate::event::{Code, Event, Observer, Progress};

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
    let address = Url::parse(url).map_err(|_| {
        // What stands behind a `?` may be a secret.
        let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        HubError::Protocol { url, why: "it is no address" }
    })?;
    let folder = options.cache.join("web").join(&hash::sha256(url.as_bytes())[..32]);
    let path = folder.join("file");
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

impl<'a> Web<'a> {
    fn new(
        address: &'a Url,
        longest: u64,
        options: &'a HubOptions,
        observer: &'a dyn Observer,
    ) -> Result<Self, HubError> {
        let builder = http::client(address, options.retry.stall);
        let http = builder.build().map_err(HubError::Connections)?;
        Ok(Web { http, address, longest, options, observer })
    }

    /// The file at `path`, and its tag beside it.
    async fn bring(&self, path: &Path, tag_path: &Path) -> Result<(), HubError> {
        let known = if path.is_file() { store::read(tag_path)? } else { None };
        let known = known.and_then(|tag| HeaderValue::from_bytes(&tag).ok());
        let mut tries = Tries::default();
        loop {
            let failure = match self.once(path, tag_path, known.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let (wait, error) = tries.after(&self.options.retry, failure)?;
            let text = format!("trying again in {:.1} s: {}", wait.as_secs_f64(), causes(&error));
            self.observer
                .event(Event::new(Code::DownloadRetried, text).with("wait_seconds", wait.as_secs_f64()));
            sleep(wait).await;
        }
    }

    async fn once(&self, path: &Path, tag_path: &Path, known: Option<&HeaderValue>) -> Result<(), Failure> {
        let mut response = self.send(known).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        let total = response.content_length();
        let too_long = || protocol(self.address, "the file is longer than any of its kind");
        if total.is_some_and(|total| total > self.longest) {
            return Err(too_long());
        }
        let io = |source| Failure::never(HubError::Io { path: path.to_owned(), source });
        let mut file = AtomicFile::create(path, Outlives::Process).map_err(io)?;
        let mut bytes = 0;
        while let Some(piece) = self.wait(response.chunk()).await? {
            bytes += piece.len() as u64;
            if bytes > self.longest {
                return Err(too_long());
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
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source)),
            _ => {}
        }
        file.commit().map_err(io)?;
        if let Some(tag) = response.headers().get(ETAG) {
            store::write(tag_path, tag.as_bytes()).map_err(Failure::never)?;
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
            url = match redirect(&url, status, response.headers()) {
                None => return Err(refused(&url, status)),
                Some(to) => to.map_err(|why| protocol(&url, why))?,
            };
        }
        Err(protocol(&url, "too many redirects"))
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

fn protocol(url: &Url, why: &'static str) -> Failure {
    Failure::never(HubError::Protocol { url: shown(url), why })
}

/// What a status means that is neither success nor redirect.
fn refused(url: &Url, status: StatusCode) -> Failure {
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let (url, status) = (shown(url), status.as_u16());
    let error = HubError::Status { url, status, message: String::new(), request: None };
    if again { Failure::soon(error) } else { Failure::never(error) }
}
