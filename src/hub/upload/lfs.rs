//! Files by the batch API of Git LFS, with the transfers `basic` and `multipart` (the Hub's own: numbered addresses of
//! parts, whose ETags complete it).
//!
//! What the batch says is there is not sent. A part that fails is sent again; where an address has expired, the batch
//! is asked for others. Headers that come with an address go to that address, the user's token to the endpoint's origin
//! only.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

use super::wait::{Ended, watched};
use super::{STALLS, Uploaded, Uploader};
use crate::base::hash;
use crate::hub::address::shown;
use crate::hub::client::{Call, Subject};
use crate::hub::error::HubError;
use crate::hub::remote::BRANCH;
use crate::hub::retry::{Failure, Tries};
use crate::hub::wire;

/// The media type of LFS, for questions and answers.
const MEDIA: &str = "application/vnd.git-lfs+json";

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Parts of one file on their way at once.
const PARTS: usize = 4;

/// Batches asked for one file before its failure is an error.
const BATCHES: u32 = 4;

#[derive(Deserialize)]
struct RawBatch {
    #[serde(default)]
    objects: Vec<RawObject>,
}

#[derive(Deserialize)]
struct RawObject {
    oid: String,
    actions: Option<RawActions>,
    error: Option<RawError>,
}

#[derive(Deserialize)]
struct RawActions {
    upload: Option<RawAction>,
    verify: Option<RawAction>,
}

#[derive(Clone, Debug, Deserialize)]
struct RawAction {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// What the batch says is to be done.
struct Order {
    upload: Transfer,
    verify: Option<Action>,
}

#[derive(Debug, PartialEq)]
enum Transfer {
    Basic(Action),
    Multipart {
        /// Bytes of each part but the last.
        part: u64,
        /// Where the parts go, in order.
        urls: Vec<Url>,
        complete: Url,
    },
}

#[derive(Debug, PartialEq)]
struct Action {
    url: Url,
    headers: HeaderMap,
}

/// A file on its way.
struct Sending<'a> {
    uploader: &'a Uploader<'a>,
    file: &'a Uploaded,
    local: &'a Path,
}

/// Sends a file, if it is not there.
pub(super) async fn send(uploader: &Uploader<'_>, file: &Uploaded, local: &Path) -> Result<(), HubError> {
    let sending = Sending { uploader, file, local };
    // The store takes bytes as they are; whether they are the right ones is seen here or never.
    sending.check().await?;
    let mut parts = Parts::default();
    let mut left = BATCHES;
    loop {
        let Some(order) = sending.batch().await? else { return Ok(()) };
        left -= 1;
        match sending.carry_out(order, &mut parts).await {
            Ok(()) => return Ok(()),
            // Parts that were put together are gone; the next batch tells whether they were.
            Err(error @ HubError::EntryNotFound { .. }) if left > 0 => uploader.retried(&error),
            Err(error) if left == 0 || !error.may_pass() => return Err(error),
            Err(error) => uploader.retried(&error),
        }
    }
}

/// Parts of a multipart upload that are there.
#[derive(Default)]
struct Parts {
    /// Which upload they belong to.
    complete: Option<Url>,
    etags: Vec<Option<String>>,
}

impl Sending<'_> {
    fn subject(&self) -> Subject<'_> {
        Subject { repo: &self.uploader.repo, revision: BRANCH, path: Some(&self.file.path) }
    }

    async fn check(&self) -> Result<(), HubError> {
        let (path, cancel) = (self.local.to_owned(), self.uploader.cancel.clone());
        let hashed = tokio::task::spawn_blocking(move || hash::sha256_file(&path, &cancel)).await;
        let found = hashed.expect("hashing does not panic").map_err(|e| self.io(e))?;
        let size = tokio::fs::metadata(self.local).await.map_err(|e| self.io(e))?.len();
        let Uploaded { size: expected, sha256, .. } = self.file;
        let other = |what, expected: String, found| {
            let (repo, path) = (self.uploader.repo.clone(), self.file.path.clone());
            Err(HubError::SentOther { repo, path, what, expected, found })
        };
        match () {
            () if size != *expected => other("size", expected.to_string(), size.to_string()),
            () if found != *sha256 => other("sha256", sha256.clone(), found),
            () => Ok(()),
        }
    }

    /// Asks what is to be done; `None`: nothing, the store has the file.
    async fn batch(&self) -> Result<Option<Order>, HubError> {
        let client = &self.uploader.client;
        let repo = &self.uploader.repo;
        let git = format!("{}.git", repo.name());
        let url = client.url(&[repo.owner(), &git, "info", "lfs", "objects", "batch"]);
        let Uploaded { size, sha256, .. } = self.file;
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{ "oid": sha256, "size": size }],
            "hash_algo": "sha256",
            "ref": { "name": BRANCH },
        });
        let reply = client.ask(self.subject(), || question(url.clone(), &body)).await?;
        let batch: RawBatch = reply.json()?;
        let protocol = |why| HubError::Protocol { url: shown(&url), why };
        let object = batch.objects.into_iter().find(|o| o.oid == *sha256);
        let object = object.ok_or_else(|| protocol("its batch lacks the object that was asked for"))?;
        if let Some(RawError { code, message }) = object.error {
            let (repo, path) = (repo.clone(), self.file.path.clone());
            return Err(HubError::LfsRefused { repo, path, code, message });
        }
        let Some(RawActions { upload: Some(upload), verify }) = object.actions else { return Ok(None) };
        let understood = transfer(&upload, *size, &url).and_then(|upload| {
            Ok(Order { upload, verify: verify.as_ref().map(|v| action(v, &url)).transpose()? })
        });
        understood.map(Some).map_err(protocol)
    }

    async fn carry_out(&self, order: Order, parts: &mut Parts) -> Result<(), HubError> {
        match order.upload {
            Transfer::Basic(Action { url, headers }) => {
                let sent = [AtomicU64::new(0)].into();
                self.put(&url, &headers, 0..self.file.size, &sent, 0).await.map(drop)?;
            }
            Transfer::Multipart { part, urls, complete } => {
                self.put_parts(part, &urls, &complete, parts).await?;
                let numbered = parts.etags.iter().flatten().enumerate();
                let etags: Vec<_> =
                    numbered.map(|(i, etag)| json!({ "partNumber": i + 1, "etag": etag })).collect();
                let body = json!({ "oid": self.file.sha256, "parts": etags });
                self.uploader.client.ask(self.subject(), || question(complete.clone(), &body)).await?;
            }
        }
        let Some(Action { url, headers }) = order.verify else { return Ok(()) };
        let body = json!({ "oid": self.file.sha256, "size": self.file.size });
        let verify = || question(url.clone(), &body).with(&headers);
        self.uploader.client.ask(self.subject(), verify).await.map(drop)
    }

    async fn put_parts(
        &self,
        part: u64,
        urls: &[Url],
        complete: &Url,
        parts: &mut Parts,
    ) -> Result<(), HubError> {
        if parts.complete.as_ref() != Some(complete) || parts.etags.len() != urls.len() {
            *parts = Parts { complete: Some(complete.clone()), etags: vec![None; urls.len()] };
        }
        let range = |i: usize| part * i as u64..self.file.size.min(part * (i as u64 + 1));
        let count =
            |i: usize, etag: &Option<String>| etag.as_ref().map_or(0, |_| range(i).end - range(i).start);
        let counts = parts.etags.iter().enumerate().map(|(i, etag)| AtomicU64::new(count(i, etag)));
        let sent: Arc<[AtomicU64]> = counts.collect();
        let missing: Vec<_> =
            parts.etags.iter().enumerate().filter(|(_, e)| e.is_none()).map(|(i, _)| i).collect();
        let headers = HeaderMap::new();
        let put = |i: usize| {
            let (sent, headers) = (&sent, &headers);
            async move { Ok((i, self.put(&urls[i], headers, range(i), sent, i).await?)) }
        };
        let mut came = stream::iter(missing).map(put).buffer_unordered(PARTS);
        while let Some((i, etag)) = came.try_next().await? {
            let why = "it took a part without an ETag";
            let etag = etag.ok_or_else(|| HubError::Protocol { url: shown(&urls[i]), why })?;
            parts.etags[i] = Some(etag);
        }
        Ok(())
    }

    /// Sends a range of the file; tells its ETag.
    async fn put(
        &self,
        url: &Url,
        headers: &HeaderMap,
        range: std::ops::Range<u64>,
        sent: &Arc<[AtomicU64]>,
        part: usize,
    ) -> Result<Option<String>, HubError> {
        let mut tries = Tries::default();
        loop {
            sent[part].store(0, Ordering::Relaxed);
            match self.put_once(url, headers, range.clone(), sent, part).await {
                Ok(etag) => return Ok(etag),
                // Another address is needed.
                Err(failure) if is_expired(&failure) => return Err(*failure.error),
                Err(failure) => self.uploader.client.wait(self.subject(), &mut tries, failure).await?,
            }
        }
    }

    async fn put_once(
        &self,
        url: &Url,
        headers: &HeaderMap,
        range: std::ops::Range<u64>,
        sent: &Arc<[AtomicU64]>,
        part: usize,
    ) -> Result<Option<String>, Failure> {
        /// The watchdog ends it; a slow line is no reason to.
        const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
        let length = range.end - range.start;
        let mut file = File::open(self.local).await.map_err(|e| Failure::never(self.io(e)))?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(|e| Failure::never(self.io(e)))?;
        let counted = Arc::clone(sent);
        let pieces =
            stream::try_unfold((file.take(length), counted), move |(mut file, counted)| async move {
                let mut piece = vec![0; PIECE];
                let n = file.read(&mut piece).await?;
                piece.truncate(n);
                counted[part].fetch_add(n as u64, Ordering::Relaxed);
                io::Result::Ok((n > 0).then_some((piece, (file, counted))))
            });
        let call = Call {
            method: Method::PUT,
            url: url.clone(),
            headers: HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]),
            body: Some(Body::wrap_stream(pieces)),
            own: headers.clone(),
            also: &[],
            patience: Some(PATIENCE),
        };
        let total = || {
            let total = sent.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
            self.uploader.progress(
                &self.file.path,
                total.min(self.file.size.saturating_sub(1)),
                self.file.size,
            );
            sent[part].load(Ordering::Relaxed)
        };
        let patience = self.uploader.options.retry.stall * STALLS;
        let answer = self.uploader.client.send(self.subject(), call);
        match watched(answer, self.uploader.cancel, patience, total).await {
            Ended::Done(answer) => {
                Ok(wire::text(answer?.response.headers(), ETAG.as_str()).map(str::to_owned))
            }
            Ended::Cancelled => Err(Failure::never(self.uploader.cancelled())),
            Ended::Stalled(waited) => Err(Failure::soon(HubError::UploadStalled {
                repo: self.uploader.repo.clone(),
                path: self.file.path.clone(),
                seconds: waited.as_secs(),
            })),
        }
    }

    fn io(&self, source: io::Error) -> HubError {
        match source.kind() {
            io::ErrorKind::Interrupted => self.uploader.cancelled(),
            _ => HubError::Io { path: self.local.to_owned(), source },
        }
    }
}

/// A question in the language of LFS.
fn question(url: Url, body: &Value) -> Call {
    let mut call = Call::post_json(url, body);
    call.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    call.headers.insert(ACCEPT, HeaderValue::from_static(MEDIA));
    call
}

/// Whether the store no longer takes an address that the Hub signed.
fn is_expired(failure: &Failure) -> bool {
    matches!(*failure.error, HubError::Status { status: 400 | 401 | 403 | 404 | 410, .. })
}

fn transfer(upload: &RawAction, size: u64, batch: &Url) -> Result<Transfer, &'static str> {
    let Some(part) = upload.header.get("chunk_size") else {
        return action(upload, batch).map(Transfer::Basic);
    };
    let number = part.as_u64().or_else(|| part.as_str().and_then(|text| text.parse().ok()));
    let part = number.filter(|part| *part > 0).ok_or("its batch has parts of no size")?;
    let mut urls = BTreeMap::new();
    for (name, value) in &upload.header {
        if let Ok(number) = name.parse::<u64>() {
            let url = value.as_str().ok_or("its batch has a part without an address")?;
            urls.insert(number, address(url, batch)?);
        }
    }
    let sound = urls.keys().copied().eq(1..=size.div_ceil(part).max(1));
    let urls = urls.into_values().collect();
    match sound {
        true => Ok(Transfer::Multipart { part, urls, complete: address(&upload.href, batch)? }),
        false => Err("the parts of its batch do not make the file"),
    }
}

fn action(raw: &RawAction, batch: &Url) -> Result<Action, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in &raw.header {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "its batch has a malformed header")?;
        let mut value = HeaderValue::from_str(&text).map_err(|_| "its batch has a malformed header")?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Action { url: address(&raw.href, batch)?, headers })
}

/// An address that the batch gave: as safe as the Hub's own.
fn address(text: &str, batch: &Url) -> Result<Url, &'static str> {
    let url = batch.join(text).map_err(|_| "its batch has a malformed address")?;
    match (batch.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        _ => Err("its batch has an address that is not HTTPS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: u64, header: &Value, expected: Result<&str, &str>) {
        let batch = Url::parse("https://hub.example/o/n.git/info/lfs/objects/batch").unwrap();
        let raw = json!({ "href": "https://store.example/x?signature=y", "header": header });
        let found = transfer(&serde_json::from_value(raw).unwrap(), size, &batch);
        match (found, expected) {
            (Ok(found), Ok(part)) => assert!(format!("{found:?}").contains(part), "{found:?}"),
            (found, expected) => assert_eq!(found.err(), expected.err()),
        }
    }

    #[test]
    fn transfers() {
        let (one, two) = ("https://store.example/1", "https://store.example/2");
        check(5, &json!({}), Ok("Basic"));
        check(5, &json!({ "Content-Type": "x" }), Ok("content-type"));
        check(5, &json!({ "chunk_size": "3", "00001": one, "00002": two }), Ok("part: 3"));
        check(5, &json!({ "chunk_size": 5, "1": one }), Ok("part: 5"));
        check(
            5,
            &json!({ "chunk_size": "3", "00001": one }),
            Err("the parts of its batch do not make the file"),
        );
        check(5, &json!({ "chunk_size": "0", "00001": one }), Err("its batch has parts of no size"));
        check(
            3,
            &json!({ "chunk_size": "3", "00001": "http://store.example" }),
            Err("its batch has an address that is not HTTPS"),
        );
        check(3, &json!({ "a\nb": "c" }), Err("its batch has a malformed header"));
    }

    #[test]
    fn secrets_of_addresses_are_not_shown() {
        let raw = json!({ "href": "https://s.example", "header": { "Authorization": "Basic secret" } });
        let batch = Url::parse("https://hub.example/").unwrap();
        let action = action(&serde_json::from_value(raw).unwrap(), &batch).unwrap();
        assert!(!format!("{:?}", action.headers).contains("secret"));
    }
}
