//! Files of one commit into a folder: ranges in parallel, resumed, verified, renamed when whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::{Either, select, try_join_all};
use futures_util::stream::{self, TryStreamExt};
use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};

use super::HubOptions;
use super::address::shown;
use super::client::{Answer, Client, Subject};
use super::error::HubError;
use super::located::Located;
use super::part::{self, Part};
use super::retry::{Failure, Tries};
use super::select::RemoteFile;
use super::wire;
use crate::base::cancel::Cancel;
use crate::base::positioned::read_exact_at;
use crate::base::repo_id::RepoId;
use crate::base::{hash, units};
use crate::event::{Code, Event, Observer, Progress};

/// Bytes gathered before they are written.
const WRITE: usize = 1 << 20;

/// Bytes hashed between two looks at the flag.
const HASH: u64 = 8 << 20;

/// How often the content may turn out to be another one before it is an error.
const CHANGES: u32 = 3;

/// What all downloads of one commit share.
pub(super) struct Downloads<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) options: &'a HubOptions,
    pub(super) repo: &'a RepoId,
    pub(super) commit: &'a str,
    /// Where whole files go.
    pub(super) folder: &'a Path,
    /// Where unfinished ones are.
    pub(super) partial: &'a Path,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
    /// Requests at a time.
    pub(super) connections: Semaphore,
}

/// Why the bytes of a file did not all come.
enum Stop {
    Failed(HubError),
    /// The server has other content than it had; this is its tag.
    Changed(Option<String>),
    /// The server knows no ranges.
    NoRanges,
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Stop::Failed(error)
    }
}

/// Why one request for a piece of a file did not bring it.
enum Broken {
    Failure(Failure),
    Stop(Stop),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Failure(failure)
    }
}

impl Downloads<'_> {
    /// Whether the file is there, whole. Files get their final name only when they are verified.
    pub(super) fn has(&self, file: &RemoteFile) -> bool {
        is_there(self.folder, file)
    }

    /// Where the unfinished file is.
    pub(super) fn part_path(&self, file: &RemoteFile) -> PathBuf {
        part_path(self.partial, file)
    }

    /// Brings all these files that are not there yet.
    pub(super) async fn fetch_all(&self, files: &[RemoteFile]) -> Result<(), HubError> {
        let fetches = files.iter().filter(|f| !self.has(f)).map(|f| self.fetch(f)).collect::<Vec<_>>();
        stream::iter(fetches.into_iter().map(Ok))
            .try_for_each_concurrent(self.options.connections, |fetch| fetch)
            .await?;
        self.tidy(files);
        Ok(())
    }

    /// Removes what a killed process left of files that are whole by now, and folders that nothing unfinished is in.
    /// What cannot be removed is in nobody's way.
    fn tidy(&self, files: &[RemoteFile]) {
        if !self.partial.exists() {
            return;
        }
        for file in files {
            let path = self.part_path(file);
            let _ = part::clear(&path);
            // The deepest first, and this one last; folders that are not empty stay.
            for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(self.partial)) {
                let _ = fs::remove_dir(folder);
            }
        }
    }

    async fn fetch(&self, file: &RemoteFile) -> Result<(), HubError> {
        let target = self.folder.join(&file.path);
        let path = self.part_path(file);
        let io = |source| HubError::Io { path: path.clone(), source };
        let content = file.sha256.as_ref().unwrap_or(&file.blob);
        let mut wrong = None;
        for _ in 0..2 {
            let part = Part::open(&path, content, file.size, self.options.span).map_err(io)?;
            self.announce(file, part.done());
            match self.bytes(file, &part).await? {
                None => {
                    // Bringing gigabytes to the disk takes a while.
                    let place = target.clone();
                    let finished = tokio::task::spawn_blocking(move || part.finish(&place)).await;
                    finished
                        .expect("renaming does not panic")
                        .map_err(|source| HubError::Io { path: target.clone(), source })?;
                    self.verified(file);
                    return Ok(());
                }
                Some(mismatch) => {
                    self.observer.event(
                        Event::new(Code::DownloadRetried, format!("{mismatch}; it is removed"))
                            .about(self.repo.to_string()),
                    );
                    part.discard().map_err(io)?;
                    wrong = Some(mismatch);
                }
            }
        }
        Err(wrong.expect("both rounds ended with one"))
    }

    /// Brings the bytes that are missing; `Some` where what came is not what the Hub states.
    async fn bytes(&self, file: &RemoteFile, part: &Part) -> Result<Option<HubError>, HubError> {
        let mut whole = false;
        for _ in 0..=CHANGES {
            let source = Source { file, part, whole, located: Located::default(), came: Notify::new() };
            let came = try_join_all((0..part.spans()).map(|span| self.span(&source, span)));
            let hash = self.verify(&source);
            let (came, hash) = (std::pin::pin!(came), std::pin::pin!(hash));
            let ended = match select(came, hash).await {
                Either::Left((Err(stop), _)) => Err(stop),
                Either::Left((Ok(_), hash)) => {
                    source.came.notify_one();
                    return hash.await;
                }
                // It ends first where an error stops it, or where there was nothing left to come.
                Either::Right((verdict, came)) => match verdict {
                    Err(error) => return Err(error),
                    Ok(verdict) => came.await.map(|_| verdict),
                },
            };
            let io = |source| HubError::Io { path: self.part_path(file), source };
            match ended {
                Ok(verdict) => return Ok(verdict),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Changed(etag)) => part.restart(etag, whole).map_err(io)?,
                Err(Stop::NoRanges) => {
                    whole = true;
                    part.restart(None, true).map_err(io)?;
                }
            }
        }
        Err(HubError::Changing { repo: self.repo.clone(), path: file.path.clone() })
    }

    /// Brings what is missing of one piece, however many requests it takes.
    async fn span(&self, source: &Source<'_>, span: usize) -> Result<(), Stop> {
        if source.part.missing(span).is_empty() {
            return Ok(());
        }
        let _connection = self.connections.acquire().await.expect("it is never closed");
        let subject = self.subject(source.file);
        let mut tries = Tries::default();
        loop {
            let before = source.part.missing(span);
            if before.is_empty() {
                source.came.notify_one();
                return Ok(());
            }
            match self.request(source, span).await {
                Ok(()) => {}
                Err(Broken::Stop(stop)) => return Err(stop),
                Err(Broken::Failure(failure)) => {
                    // Without ranges the next try begins anew, so that no byte counts as progress.
                    if source.part.missing(span) != before && !source.whole {
                        tries.progressed();
                    }
                    self.client.wait(subject, &mut tries, failure).await?;
                }
            }
        }
    }

    /// One request for what is missing of a piece.
    async fn request(&self, source: &Source<'_>, span: usize) -> Result<(), Broken> {
        let Source { file, part, whole, .. } = source;
        if *whole {
            part.forget(span);
        }
        let range = part.missing(span);
        let ranged = !whole && range != (0..file.size);
        let (range_asked, etag) = (ranged.then_some(&range), part.etag().filter(|_| ranged));
        let subject = self.subject(file);
        let mut answer = source.located.get(self.client, subject, file, range_asked, etag.as_deref()).await?;
        let etag = wire::strong_etag(answer.response.headers());
        let failure =
            |answer: &Answer, why| Failure::soon(HubError::Protocol { url: shown(&answer.url), why });

        match (part.etag(), &etag) {
            (Some(old), Some(new)) if old != *new => return Err(Broken::Stop(Stop::Changed(etag))),
            (None, Some(_)) => part.set_etag(etag),
            _ => {}
        }
        if ranged && answer.response.status() == StatusCode::PARTIAL_CONTENT {
            let told = wire::text(answer.response.headers(), "content-range").and_then(wire::content_range);
            if told != Some((range.clone(), file.size)) {
                return Err(failure(&answer, "it sends another range than was asked for").into());
            }
        } else if ranged {
            return Err(Broken::Stop(Stop::NoRanges));
        }
        self.receive(source, span, &mut answer).await?;
        if !part.missing(span).is_empty() {
            return Err(failure(&answer, "the answer ended early").into());
        }
        Ok(())
    }

    /// Writes the body where it belongs; what came before an error is kept.
    async fn receive(&self, source: &Source<'_>, span: usize, answer: &mut Answer) -> Result<(), Failure> {
        let mut gathered = Vec::with_capacity(WRITE);
        let room = source.part.missing(span);
        let mut room = (room.end - room.start) as usize;
        let ended = loop {
            match self.client.piece(answer).await {
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
                Ok(Some(piece)) => {
                    // Never more than the listing said, whatever is sent.
                    let piece = piece.as_ref();
                    let piece = &piece[..piece.len().min(room)];
                    room -= piece.len();
                    gathered.extend_from_slice(piece);
                    if room == 0 {
                        break Ok(());
                    }
                    if gathered.len() >= WRITE {
                        self.write(source, span, &mut gathered)?;
                    }
                }
            }
        };
        self.write(source, span, &mut gathered)?;
        ended
    }

    fn write(&self, source: &Source<'_>, span: usize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        // In place, so that no write outlives a restart of the file.
        tokio::task::block_in_place(|| source.part.append(span, bytes)).map_err(|error| {
            Failure::never(HubError::Io { path: self.part_path(source.file), source: error })
        })?;
        bytes.clear();
        let file = source.file;
        self.observer.progress(Progress::bytes(file.path.as_str(), source.part.done(), file.size));
        Ok(())
    }

    /// Hashes the bytes in order while they come, and compares at the end.
    async fn verify(&self, source: &Source<'_>) -> Result<Option<HubError>, HubError> {
        let Source { file, part, came, .. } = source;
        let mut hasher = Hasher::new(file, part);
        while hasher.at < file.size {
            // Without ranges what came may be fetched anew; only the end settles it.
            let settled = if source.whole && part.done() < file.size { 0 } else { part.contiguous() };
            if settled <= hasher.at {
                came.notified().await;
                continue;
            }
            let cancel = self.cancel.clone();
            let hashed = tokio::task::spawn_blocking(move || hasher.advance(settled, &cancel)).await;
            hasher = hashed.expect("hashing does not panic").map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => HubError::Cancelled { repo: self.repo.clone() },
                _ => HubError::Io { path: self.part_path(file), source: error },
            })?;
        }
        let (what, expected, found) = match &file.sha256 {
            Some(expected) => ("sha256", expected, hash::hex(&hasher.sha256.finalize())),
            None => ("git blob", &file.blob, hash::git_blob(&hasher.bytes)),
        };
        Ok((found != *expected).then(|| HubError::Mismatch {
            repo: self.repo.clone(),
            path: file.path.clone(),
            what,
            expected: expected.clone(),
            found,
        }))
    }

    fn subject<'b>(&'b self, file: &'b RemoteFile) -> Subject<'b> {
        Subject { repo: self.repo, revision: self.commit, path: Some(&file.path) }
    }

    fn announce(&self, file: &RemoteFile, done: u64) {
        /// Files that are here in a moment are not worth a line.
        const WORTH_A_LINE: u64 = 1_000_000;
        let (code, text) = match done {
            0 if file.size < WORTH_A_LINE => return,
            0 => {
                (Code::DownloadStarted, format!("downloading `{}`, {}", file.path, units::decimal(file.size)))
            }
            n => {
                let (there, all) = (units::decimal(n), units::decimal(file.size));
                (Code::DownloadResumed, format!("`{}` goes on at {there} of {all}", file.path))
            }
        };
        self.observer.event(
            Event::new(code, text).about(self.repo.to_string()).with("bytes", file.size).with("there", done),
        );
    }

    fn verified(&self, file: &RemoteFile) {
        let what = if file.sha256.is_some() { "sha256" } else { "git blob" };
        self.observer.event(
            Event::new(Code::DownloadVerified, format!("{}: size and {what} match", file.path))
                .about(self.repo.to_string())
                .with("bytes", file.size),
        );
    }
}

/// One file being fetched.
struct Source<'a> {
    file: &'a RemoteFile,
    part: &'a Part,
    /// In one request: the server knows no ranges.
    whole: bool,
    located: Located,
    /// Rung when a piece is whole.
    came: Notify,
}

/// What was hashed so far.
struct Hasher {
    file: Arc<File>,
    at: u64,
    sha256: Sha256,
    /// All bytes, for files that only git names; they are small.
    bytes: Vec<u8>,
    is_small: bool,
}

impl Hasher {
    fn new(file: &RemoteFile, part: &Part) -> Self {
        let is_small = file.sha256.is_none();
        Hasher { file: part.reader(), at: 0, sha256: Sha256::new(), bytes: Vec::new(), is_small }
    }

    fn advance(mut self, end: u64, cancel: &Cancel) -> io::Result<Self> {
        let mut piece = Vec::new();
        while self.at < end {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            piece.resize((end - self.at).min(HASH) as usize, 0);
            read_exact_at(&self.file, &mut piece, self.at)?;
            if self.is_small {
                self.bytes.extend_from_slice(&piece);
            } else {
                self.sha256.update(&piece);
            }
            self.at += piece.len() as u64;
        }
        Ok(self)
    }
}

/// Whether the folder has the file, whole.
pub(super) fn is_there(folder: &Path, file: &RemoteFile) -> bool {
    folder.join(&file.path).metadata().is_ok_and(|m| m.is_file() && m.len() == file.size)
}

/// Where an unfinished file is.
pub(super) fn part_path(partial: &Path, file: &RemoteFile) -> PathBuf {
    partial.join(format!("{}.part", file.path))
}
