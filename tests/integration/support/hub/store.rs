//! Where bytes are: LFS objects in a folder, the rest in memory or in Xet's store. Large files are never in memory whole.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash;

use super::fault::{Fault, Struck};
use super::repo::{Content, Entry};
use super::{Answer, Shared, no};

/// Bytes of a piece of a body: small from memory, so that tests can stop inside a file.
const SMALL_PIECE: usize = 4096;
const PIECE: usize = 256 << 10;

/// Bytes for which a file of Xet's is not put together.
const LITTLE: u64 = 1 << 20;

/// The object store of LFS, and the files that were put together again from Xet's.
pub(super) struct Store {
    folder: PathBuf,
    objects: Mutex<HashMap<String, u64>>,
    uploads: Mutex<HashMap<usize, Upload>>,
    next: AtomicUsize,
}

/// An LFS object on its way.
#[derive(Clone)]
pub(super) struct Upload {
    pub(super) oid: String,
    pub(super) size: u64,
    /// Bytes of a part; none where the object comes in one request.
    pub(super) chunk: Option<u64>,
    /// Tags of the parts that are there.
    parts: BTreeMap<u64, String>,
}

impl Upload {
    pub(super) fn parts(&self) -> u64 {
        self.chunk.map_or(1, |chunk| self.size.div_ceil(chunk))
    }

    /// Bytes that a part must have.
    fn length(&self, part: u64) -> u64 {
        self.chunk.map_or(self.size, |chunk| chunk.min(self.size - chunk * (part - 1)))
    }
}

impl Store {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        for name in ["objects", "uploads", "whole"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let mut objects = HashMap::new();
        for entry in fs::read_dir(folder.join("objects"))? {
            let entry = entry?;
            objects.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
        }
        Ok(Store {
            folder: folder.to_owned(),
            objects: Mutex::new(objects),
            uploads: Mutex::default(),
            next: AtomicUsize::new(1),
        })
    }

    /// An LFS object that is here.
    pub(super) fn object(&self, sha256: &str) -> Option<Entry> {
        let size = *self.objects.lock().unwrap().get(sha256)?;
        Some(Entry::lfs(sha256, size, Content::Disk(self.folder.join("objects").join(sha256))))
    }

    /// Expects an object; its number is part of the addresses that are given out.
    pub(super) fn expect(&self, oid: &str, size: u64, chunk: Option<u64>) -> (usize, Upload) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let upload = Upload { oid: oid.to_owned(), size, chunk, parts: BTreeMap::new() };
        self.uploads.lock().unwrap().insert(number, upload.clone());
        (number, upload)
    }

    fn part(&self, number: usize, part: u64) -> PathBuf {
        self.folder.join("uploads").join(format!("{number}-{part}"))
    }

    /// Takes the bytes of a part (the first is 1), or of a whole object; gives its tag.
    pub(super) async fn put(&self, number: usize, part: u64, body: Body) -> Answer<String> {
        let known = self.uploads.lock().unwrap().get(&number).cloned();
        let upload = known.filter(|u| (1..=u.parts()).contains(&part)).ok_or_else(|| no(403, "Signature"))?;
        // Under another name until it is whole, so that a part that is cut leaves nothing.
        let coming = self
            .folder
            .join("uploads")
            .join(format!("coming-{number}-{part}-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let mut file = fs::File::create(&coming).unwrap();
        let (mut body, mut size) = (body.into_data_stream(), 0);
        while let Some(piece) = body.next().await {
            let Ok(piece) = piece else {
                fs::remove_file(&coming).unwrap();
                return Err(no(400, "RequestTimeout"));
            };
            size += piece.len() as u64;
            file.write_all(&piece).unwrap();
        }
        if size != upload.length(part) {
            fs::remove_file(&coming).unwrap();
            return Err(no(400, "IncompleteBody"));
        }
        fs::rename(&coming, self.part(number, part)).unwrap();
        let tag =
            format!("\"{}\"", hash::sha256(format!("{number}-{part}-{size}").as_bytes()).split_at(32).0);
        self.uploads.lock().unwrap().get_mut(&number).unwrap().parts.insert(part, tag.clone());
        if upload.chunk.is_none() {
            self.complete(number, &upload.oid, &[(1, tag.clone())])?;
        }
        Ok(tag)
    }

    /// Puts the parts together; their tags must be those that were given, their hash what was announced.
    pub(super) fn complete(&self, number: usize, oid: &str, parts: &[(u64, String)]) -> Answer<()> {
        let known = self.uploads.lock().unwrap().get(&number).cloned();
        let upload = known.filter(|u| u.oid == oid).ok_or_else(|| no(404, "NoSuchUpload"))?;
        let expected: Vec<(u64, String)> = upload.parts.clone().into_iter().collect();
        if parts != expected.as_slice() || expected.len() as u64 != upload.parts() {
            return Err(no(400, "InvalidPart"));
        }
        let whole = self.folder.join("uploads").join(format!("whole-{number}"));
        let mut out = fs::File::create(&whole).unwrap();
        for (part, _) in parts {
            io::copy(&mut fs::File::open(self.part(number, *part)).unwrap(), &mut out).unwrap();
            fs::remove_file(self.part(number, *part)).unwrap();
        }
        self.uploads.lock().unwrap().remove(&number);
        if hash::sha256_file(&whole, &Cancel::new()).unwrap() != upload.oid {
            fs::remove_file(&whole).unwrap();
            return Err(no(400, "BadDigest"));
        }
        fs::rename(&whole, self.folder.join("objects").join(&upload.oid)).unwrap();
        self.objects.lock().unwrap().insert(upload.oid, upload.size);
        Ok(())
    }

    /// Where a file from Xet's store is put together.
    pub(super) fn whole(&self, hash: &str) -> PathBuf {
        self.folder.join("whole").join(hash)
    }
}

impl Shared {
    /// Content that can be read by position; little of a file in Xet's store needs no whole file.
    async fn readable(&self, entry: &Entry, length: u64) -> Content {
        match &entry.content {
            Content::Xet(hash) if length <= LITTLE && !self.store.whole(hash).exists() => {
                entry.content.clone()
            }
            Content::Xet(hash) => {
                Content::Disk(self.xet.whole(hash, &entry.sha256, self.store.whole(hash)).await)
            }
            other => other.clone(),
        }
    }

    /// All bytes of a file.
    pub(super) async fn bytes(&self, entry: &Entry) -> Vec<u8> {
        match self.readable(entry, u64::MAX).await {
            Content::Memory(bytes) => bytes.to_vec(),
            Content::Disk(path) => fs::read(path).unwrap(),
            Content::Xet(_) => unreachable!("it was put together"),
        }
    }

    /// A file's bytes, or the range of them that is asked for.
    pub(super) async fn body(
        &self,
        entry: &Entry,
        hash: &str,
        struck: &Struck,
        headers: &HeaderMap,
    ) -> Response {
        let etag = self.log.etag(hash);
        let range = headers
            .get(header::RANGE)
            .filter(|_| !matches!(struck.0, Some(Fault::NoRanges)))
            .filter(|_| headers.get(header::IF_RANGE).is_none_or(|tag| tag.to_str().unwrap() == etag))
            .map(|value| parse_range(value.to_str().unwrap(), entry.size));
        if let Some(None) = range {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let range = range.flatten();
        let wanted = range.clone().unwrap_or(0..entry.size);
        let length = wanted.end - wanted.start;
        let body = match self.readable(entry, length).await {
            Content::Memory(bytes) => in_pieces(bytes.slice(wanted.start as usize..wanted.end as usize)),
            Content::Disk(path) => from_disk(&path, wanted),
            Content::Xet(hash) => Body::from(self.xet.part(&hash, wanted).await),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::ETAG, etag.parse().unwrap());
        response.headers_mut().insert(header::ACCEPT_RANGES, "bytes".parse().unwrap());
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        if let Some(Range { start, end }) = range {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {start}-{}/{}", end - 1, entry.size);
            response.headers_mut().insert(header::CONTENT_RANGE, value.parse().unwrap());
        }
        response
    }
}

fn in_pieces(bytes: Bytes) -> Body {
    let length = bytes.len();
    let pieces = (0..length).step_by(SMALL_PIECE);
    Body::from_stream(stream::iter(
        pieces.map(move |at| Ok::<_, io::Error>(bytes.slice(at..length.min(at + SMALL_PIECE)))),
    ))
}

fn from_disk(path: &Path, wanted: Range<u64>) -> Body {
    let mut file = fs::File::open(path).unwrap();
    file.seek(SeekFrom::Start(wanted.start)).unwrap();
    let pieces = stream::unfold((file, wanted.end - wanted.start), |(mut file, left)| async move {
        if left == 0 {
            return None;
        }
        let length = left.min(PIECE as u64);
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length as usize];
            file.read_exact(&mut piece).map(|()| (Bytes::from(piece), file))
        });
        match read.await.unwrap() {
            Ok((piece, file)) => Some((Ok(piece), (file, left - length))),
            Err(error) => panic!("a stored object is shorter than it was: {error}"),
        }
    });
    Body::from_stream(pieces.map(|piece: Result<Bytes, io::Error>| piece))
}

/// `bytes=0-9`, `bytes=10-` or `bytes=-10`.
fn parse_range(value: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..size.min(last + 1),
        (Ok(first), Err(_)) => first..size,
        (Err(_), Ok(last)) => size.saturating_sub(last)..size,
        (Err(_), Err(_)) => return None,
    };
    (range.start < range.end).then_some(range)
}
