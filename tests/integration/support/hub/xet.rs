//! Xet: the tokens that the Hub gives, and the store behind them.
//!
//! The store is xet-client's own server. This module stands in front of it as an origin of its own, checks the tokens,
//! and passes everything on; so a request can be cut or refused there as anywhere else.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use xet_client::cas_client::simulation::{LocalTestServer, LocalTestServerBuilder};
use xet_client::cas_types::HexMerkleHash;

use super::Shared;
use super::repo::{Content, Entry};

/// Longest answer to a shard that is read, in bytes.
const ANSWER: usize = 1 << 20;

pub(super) struct Xet {
    /// None at a Hub without Xet.
    server: Option<LocalTestServer>,
    http: reqwest::Client,
    tokens: Mutex<HashMap<String, Grant>>,
    lifetime: Mutex<Duration>,
    given: AtomicU64,
    /// By sha256: the file's hash in Xet, and its size.
    files: Mutex<HashMap<String, (String, u64)>>,
    /// One file is put together at a time.
    whole: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Grant {
    write: bool,
    /// Seconds since 1970.
    expires: i64,
}

/// A token for the store.
pub(super) struct XetToken {
    pub(super) token: String,
    pub(super) expires: i64,
}

#[derive(Deserialize)]
struct FileEntry<H> {
    file_hash: H,
}

impl Xet {
    pub(super) async fn start(folder: Option<&Path>, lifetime: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = match folder {
            None => None,
            Some(folder) => Some(LocalTestServerBuilder::new().with_disk_location(folder).start().await),
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let xet = Xet {
            server,
            http,
            tokens: Mutex::default(),
            lifetime: Mutex::new(lifetime),
            given: AtomicU64::new(0),
            files: Mutex::default(),
            whole: tokio::sync::Mutex::default(),
        };
        xet.look().await;
        xet
    }

    pub(super) fn is_on(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn set_lifetime(&self, lifetime: Duration) {
        *self.lifetime.lock().unwrap() = lifetime;
    }

    pub(super) fn give(&self, write: bool) -> XetToken {
        let token = format!(
            "xet_{}",
            hash::git_blob(format!("{}", self.given.fetch_add(1, Ordering::Relaxed)).as_bytes())
        );
        let seconds = i64::try_from(self.lifetime.lock().unwrap().as_secs()).unwrap();
        let expires = Timestamp::now().as_second() + seconds;
        self.tokens.lock().unwrap().insert(token.clone(), Grant { write, expires });
        XetToken { token, expires }
    }

    /// A file that the store has.
    pub(super) fn object(&self, sha256: &str) -> Option<Entry> {
        let (hash, size) = self.files.lock().unwrap().get(sha256)?.clone();
        Some(Entry::lfs(sha256, size, Content::Xet(hash)))
    }

    /// Learns which files the store has.
    async fn look(&self) {
        let Some(server) = &self.server else { return };
        let url = format!("{}/simulation/file_entries", server.http_endpoint());
        let answer = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
        let entries: Vec<FileEntry<_>> = serde_json::from_slice(&answer).unwrap();
        for FileEntry { file_hash } in entries {
            let known = |(hash, _): &(String, u64)| *hash == HexMerkleHash(file_hash).to_string();
            if self.files.lock().unwrap().values().any(known) {
                continue;
            }
            let (info, _) = server.client().get_file_reconstruction_info(&file_hash).await.unwrap().unwrap();
            let size = info.segments.iter().map(|s| u64::from(s.unpacked_segment_bytes)).sum();
            // A client that does not say the sha256 has uploaded a file that no commit can name.
            if let Some(said) = info.metadata_ext {
                self.files.lock().unwrap().insert(said.sha256.hex(), (file_hash.hex(), size));
            }
        }
    }

    /// Puts a file together from its chunks, once; its bytes must be what its uploader said they are.
    pub(super) async fn whole(&self, hash: &str, sha256: &str, path: PathBuf) -> PathBuf {
        let _one = self.whole.lock().await;
        if path.exists() {
            return path;
        }
        let client = self.server.as_ref().expect("the file is in the store").client();
        let HexMerkleHash(file) = serde_json::from_value(json!(hash)).unwrap();
        let (info, _) = client.get_file_reconstruction_info(&file).await.unwrap().unwrap();
        let coming = path.with_extension("coming");
        let mut out = std::fs::File::create(&coming).unwrap();
        for segment in &info.segments {
            let range = (segment.chunk_index_start, segment.chunk_index_end);
            for piece in client.get_xorb_ranges(&segment.xorb_hash, vec![range]).await.unwrap() {
                out.write_all(&piece).unwrap();
            }
        }
        drop(out);
        assert_eq!(
            hash::sha256_file(&coming, &Cancel::new()).unwrap(),
            sha256,
            "uploaded under a wrong hash"
        );
        std::fs::rename(&coming, &path).unwrap();
        path
    }

    /// Some bytes of a file, from those of its chunks that hold them.
    pub(super) async fn part(&self, hash: &str, range: Range<u64>) -> Vec<u8> {
        let client = self.server.as_ref().expect("the file is in the store").client();
        let HexMerkleHash(file) = serde_json::from_value(json!(hash)).unwrap();
        let (info, _) = client.get_file_reconstruction_info(&file).await.unwrap().unwrap();
        let (mut at, mut found) = (0, Vec::new());
        for segment in &info.segments {
            let end = at + u64::from(segment.unpacked_segment_bytes);
            if at < range.end && range.start < end {
                let chunks = (segment.chunk_index_start, segment.chunk_index_end);
                let bytes = client.get_xorb_ranges(&segment.xorb_hash, vec![chunks]).await.unwrap().concat();
                let (from, to) = (range.start.saturating_sub(at), range.end.min(end) - at);
                found.extend_from_slice(&bytes[from as usize..to as usize]);
            }
            at = end;
        }
        found
    }

    /// What a request at the store may do, by its token; addresses that are signed need none.
    fn admits(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        let signed = ["/v1/fetch_term", "/v1/get_xorb/", "/simulation/xorb-uploads/"];
        if signed.iter().any(|s| path.starts_with(s)) {
            return true;
        }
        let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        let grant = token.and_then(|token| self.tokens.lock().unwrap().get(token).copied());
        let reads = method != Method::POST || path == "/v1/telemetry";
        grant.is_some_and(|grant| grant.expires > Timestamp::now().as_second() && (reads || grant.write))
    }
}

/// Passes a request on to the store.
pub(super) async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let inner = path.starts_with("/simulation/") && !path.starts_with("/simulation/xorb-uploads/");
    let Some(server) = shared.xet.server.as_ref().filter(|_| !inner) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !shared.xet.admits(&parts.method, path, &parts.headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let url = format!("{}{}", server.http_endpoint(), parts.uri);
    let headers = end_to_end(&parts.headers);
    let is_shard = path.ends_with("/shards");
    let bodiless = [Method::GET, Method::HEAD].contains(&parts.method);
    let onward = shared.xet.http.request(parts.method, url).headers(headers);
    if is_shard {
        // What has come whole is stored, whether the client still listens or not: the store cannot take back half of it.
        let Ok(whole) = axum::body::to_bytes(body, ANSWER).await else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        return tokio::spawn(store(Arc::clone(&shared), onward.body(whole))).await.unwrap();
    }
    let onward =
        if bodiless { onward } else { onward.body(reqwest::Body::wrap_stream(body.into_data_stream())) };
    // The connection from the client broke, or this Hub is stopping.
    let Ok(answer) = onward.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (answer.status(), end_to_end(answer.headers()));
    respond(status, headers, Body::from_stream(answer.bytes_stream()))
}

/// Has a shard stored; its files are known before the client hears that they are.
async fn store(shared: Arc<Shared>, onward: reqwest::RequestBuilder) -> Response {
    let Ok(answer) = onward.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (answer.status(), end_to_end(answer.headers()));
    let Ok(whole) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    shared.xet.look().await;
    respond(status, headers, Body::from(whole))
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The headers that are not of one connection alone. `Host` stays: the store makes its addresses of it.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let own: [HeaderName; 3] =
        [header::CONNECTION, header::TRANSFER_ENCODING, HeaderName::from_static("keep-alive")];
    headers.iter().filter(|(name, _)| !own.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}
