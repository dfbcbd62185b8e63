//! Large files into the Hub's store, before a commit names them.
//!
//! In: files of this machine, or bytes as they are made ([`UploadStream`]), of known size. Out: [`Uploaded`], a name,
//! a size and a SHA-256 that [`Uploader::finish`] vouches for: the Hub has the bytes, they hash to what the caller
//! computed, and a commit may name them. A file that nobody names is seen by nobody, so an upload that fails leaves
//! nothing half.
//!
//! Two ways. **Xet**, where the Hub grants it: content-defined chunks, each sent once, of files and streams alike.
//! **LFS**, elsewhere and on request: whole files by `basic` or `multipart` transfers.
//!
//! Calls block. They end within a second when [`Cancel`] is raised, and with an error where nothing moves for
//! [`STALLS`] times [`Retry::stall`](crate::hub::Retry): no call hangs. At most [`FILES`] files of this machine are
//! under way at once; streams are as many as the caller opens, and [`UploadStream::append`] blocks while the network
//! is behind. What streams take of memory is in [`xet`].
//!
//! Refuses: streams where there is no Xet, and any other bytes than those announced. The user's token goes to the
//! endpoint's origin alone; the store's own tokens and addresses are never shown.

mod grant;
mod lfs;
mod pool;
mod scratch;
mod stream;
mod wait;
mod xet;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::xet::XetError;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) use self::grant::grant;
use self::pool::{PIECE, Pool};
use self::scratch::Scratch;
pub use self::stream::UploadStream;
use self::wait::{Ended, watched};
use self::xet::{Round, Xet};
use super::HubOptions;
use super::client::Client;
use super::error::HubError;
use super::rights::Destination;
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::repo_id::RepoId;
use crate::base::units;
use crate::event::{Code, Event, Observer, Progress};

/// Files of this machine that are under way at once.
pub(super) const FILES: usize = 2;

/// How many times the patience of one request an upload may stand still.
pub(super) const STALLS: u32 = 4;

/// Rounds of a Xet upload before its failure is an error. Each of them is patient with single requests.
const ROUNDS: u32 = 3;

/// Which way files go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Xet where the Hub grants it, LFS elsewhere.
    #[default]
    Auto,
    /// LFS. There are no streams then.
    NoXet,
}

/// A file in the Hub's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its name in the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// In hexadecimal; the Hub's name for the content.
    pub sha256: String,
}

/// One upload of any number of files to one repository.
pub struct Uploader<'a> {
    repo: RepoId,
    options: &'a HubOptions,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    client: Client<'a>,
    /// `None`: LFS.
    xet: Option<Xet>,
    state: Mutex<State>,
    files: Semaphore,
    pool: Pool,
    /// There until the drop.
    runtime: Option<Runtime>,
    /// Goes after the runtime, whose tasks write there.
    scratch: Option<Scratch>,
}

/// What was sent so far.
#[derive(Default)]
struct State {
    round: Option<Arc<Round>>,
    /// Streams that the round has or had. What they brought cannot be brought again by this side.
    streams: usize,
    /// Rounds that failed.
    failures: u32,
    sent: Vec<Sent>,
}

struct Sent {
    uploaded: Uploaded,
    /// `None`: a stream.
    local: Option<PathBuf>,
    /// The round of Xet that brought it.
    round: u32,
}

impl<'a> Uploader<'a> {
    /// Prepares an upload: asks the Hub which way files go, and makes sure that Xet has a place for its notes.
    ///
    /// # Errors
    /// [`HubError`], also where the repository is missing or the token may not write to it.
    pub fn open(
        destination: &Destination,
        options: &'a HubOptions,
        transport: Transport,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, HubError> {
        if options.offline {
            return Err(HubError::NotOffline { repo: destination.repo.clone() });
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            // Xet compresses there, at twice the memory: so many xorbs at once, and no more.
            .max_blocking_threads(xet::COMPRESSED)
            .thread_name("upload")
            .enable_all()
            .build()
            .map_err(HubError::Runtime)?;
        let client = runtime.block_on(async { Client::new(options, observer).map(Client::for_writing) })?;
        let mut uploader = Uploader {
            repo: destination.repo.clone(),
            options,
            observer,
            cancel,
            client,
            xet: None,
            state: Mutex::default(),
            files: Semaphore::new(FILES),
            pool: Pool::default(),
            runtime: Some(runtime),
            scratch: None,
        };
        if transport == Transport::NoXet {
            return Ok(uploader);
        }
        let asked = grant(&uploader.client, destination);
        let Some(grant) = uploader.block_on(asked)?? else { return Ok(uploader) };
        let scratch = uploader.scratch()?;
        let authorization = uploader.client.authorization().cloned();
        let xet = Xet::new(grant, authorization, &options.retry, scratch.folder());
        uploader.scratch = Some(scratch);
        uploader.state().round = Some(uploader.begin(&xet, 1)?);
        uploader.xet = Some(xet);
        Ok(uploader)
    }

    /// Whether [`Uploader::stream`] can be used.
    pub fn takes_streams(&self) -> bool {
        self.xet.is_some()
    }

    /// Starts a file whose bytes are still to be made. Streams may run side by side.
    ///
    /// # Errors
    /// Where the Hub has no Xet, and where the upload has failed before: [`Uploader::restart`] it.
    pub fn stream(&self, path: &str, size: u64) -> Result<UploadStream<'_>, HubError> {
        if self.xet.is_none() {
            return Err(HubError::NoXet { repo: self.repo.clone(), path: path.to_owned() });
        }
        let round = self.round()?;
        self.state().streams += 1;
        let stream = UploadStream::open(self, round, path, size)?;
        self.started(path, size, "as it is made");
        Ok(stream)
    }

    /// Sends a file of this machine. Where something fails on the way it is done again; what the store has by then
    /// is not sent twice.
    ///
    /// # Errors
    /// [`HubError`]; where the file is not what size and SHA-256 say, no second try is made.
    pub fn file(&self, path: &str, local: &Path, size: u64, sha256: &str) -> Result<Uploaded, HubError> {
        let _turn = self.turn()?;
        let uploaded = Uploaded { path: path.to_owned(), size, sha256: sha256.to_owned() };
        if self.xet.is_none() {
            self.started(path, size, "by LFS");
            self.block_on(lfs::send(self, &uploaded, local))??;
            self.finished(&uploaded);
            self.state().sent.push(Sent { uploaded: uploaded.clone(), local: None, round: 0 });
            return Ok(uploaded);
        }
        self.started(path, size, "by Xet");
        let round = self.send(&uploaded, local)?;
        self.state().sent.push(Sent { uploaded: uploaded.clone(), local: Some(local.to_owned()), round });
        Ok(uploaded)
    }

    /// Ends the upload: nothing can be sent after it. Only now may a commit name its files; they are returned in the
    /// order in which they were finished.
    ///
    /// # Errors
    /// [`HubError`], also where a stream failed or was dropped. The upload can be [restarted](Uploader::restart).
    pub fn finish(&self) -> Result<Vec<Uploaded>, HubError> {
        let is_idle = |state: &State| state.sent.is_empty() && state.streams == 0;
        if self.xet.is_some() && !is_idle(&self.state()) {
            self.seal()?;
        }
        Ok(self.state().sent.iter().map(|sent| sent.uploaded.clone()).collect())
    }

    /// Begins anew after a failure: streams are forgotten, files that were sent stay. What the store has of either is
    /// not sent twice.
    ///
    /// # Errors
    /// [`HubError`] where Xet cannot be set up.
    pub fn restart(&self) -> Result<(), HubError> {
        let Some(xet) = &self.xet else { return Ok(()) };
        let mut state = self.state();
        let round = state.round.take().expect("Xet has a round");
        round.give_up("the upload began anew".to_owned());
        state.streams = 0;
        state.sent.retain(|sent| sent.local.is_some());
        let (number, _) = (round.number + 1, drop(round));
        state.round = Some(self.begin(xet, number)?);
        Ok(())
    }

    /// Brings a file into the current round, or the next ones. Tells which it was.
    fn send(&self, file: &Uploaded, local: &Path) -> Result<u32, HubError> {
        loop {
            let round = self.round()?;
            match self.send_once(&round, file, local) {
                Ok(()) => return Ok(round.number),
                Err(error) => self.renew(&round, error)?,
            }
        }
    }

    fn send_once(&self, round: &Arc<Round>, file: &Uploaded, local: &Path) -> Result<(), HubError> {
        let io = |source| HubError::Io { path: local.to_owned(), source };
        let mut bytes = File::open(local).map_err(io)?;
        let mut stream = UploadStream::open(self, Arc::clone(round), &file.path, file.size)?;
        loop {
            let mut piece = self.pool.take();
            match bytes.by_ref().take(PIECE as u64).read_to_end(piece.memory()).map_err(io)? {
                0 => break,
                _ => stream.take_piece(piece)?,
            }
        }
        stream.end(&file.sha256).map(drop)
    }

    /// Has the store take in what was sent: before that it may lack the ends of files, and what they are made of.
    fn seal(&self) -> Result<(), HubError> {
        loop {
            let round = self.round()?;
            match self.seal_once(&round) {
                Ok(()) => break,
                Err(error) => self.renew(&round, error)?,
            }
        }
        for sent in &self.state().sent {
            self.finished(&sent.uploaded);
        }
        Ok(())
    }

    fn seal_once(&self, round: &Arc<Round>) -> Result<(), HubError> {
        /// A store may take long to check what it got, and tells nothing meanwhile.
        const CHECKING: u32 = 5;
        if let Some(why) = round.broken() {
            return Err(self.broken(why));
        }
        let stale = |sent: &&mut Sent| sent.round != round.number;
        let again: Vec<_> = self
            .state()
            .sent
            .iter_mut()
            .filter(stale)
            .map(|sent| (sent.uploaded.clone(), sent.local.clone()))
            .collect();
        for (file, local) in again {
            let local =
                local.expect("a round with streams has no successor but by `restart`, which forgets them");
            self.send_once(round, &file, &local)?;
            let mut state = self.state();
            let same = |sent: &&mut Sent| sent.uploaded.path == file.path;
            state.sent.iter_mut().filter(same).for_each(|sent| sent.round = round.number);
        }
        let last = self.state().sent.last().map(|sent| sent.uploaded.path.clone()).unwrap_or_default();
        let patience = self.options.retry.stall * STALLS * CHECKING;
        let sealed = watched(round.commit(), self.cancel, patience, || round.moved());
        match self.runtime().block_on(sealed) {
            Ended::Done(Ok(_)) => Ok(()),
            Ended::Done(Err(error)) => Err(self.failed(round, &last, error)),
            Ended::Cancelled => Err(self.cancelled()),
            Ended::Stalled(waited) => Err(self.stalled(round, &last, waited)),
        }
    }

    /// After a failure: gives the error back, or sees to it that there is a new round.
    fn renew(&self, failed: &Arc<Round>, error: HubError) -> Result<(), HubError> {
        let mut state = self.state();
        let current = state.round.as_ref().expect("Xet has a round").number;
        if current != failed.number {
            // Another file failed before; this one was stopped by it.
            return self.check_cancel();
        }
        state.failures += 1;
        if !error.may_pass() || state.streams > 0 || state.failures >= ROUNDS {
            return Err(error);
        }
        failed.give_up(causes(&error));
        drop(state);
        self.retried(&error);
        self.round().map(drop)
    }

    fn begin(&self, xet: &Xet, number: u32) -> Result<Arc<Round>, HubError> {
        let runtime = self.runtime();
        match runtime.block_on(xet.begin(number, runtime.handle().clone())) {
            Ok(round) => Ok(Arc::new(round)),
            Err(source) => Err(self.xet_error("", source)),
        }
    }

    /// Where Xet may keep its notes.
    fn scratch(&self) -> Result<Scratch, HubError> {
        let folder = self.options.cache.join("xet");
        let first = match Scratch::new_in(&folder) {
            Ok(scratch) => return Ok(scratch),
            Err(error) => error,
        };
        let text = format!(
            "`{}` cannot be written ({first}); Xet uses the folder for temporary files",
            folder.display()
        );
        self.event(Event::new(Code::ScratchMoved, text));
        Scratch::new_in_temp().map_err(|source| HubError::NoScratch { folder, source })
    }

    /// Waits until this file is one of few.
    fn turn(&self) -> Result<SemaphorePermit<'_>, HubError> {
        self.block_on(self.files.acquire()).map(|turn| turn.expect("it is never closed"))
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, HubError> {
        match self.runtime().block_on(watched(work, self.cancel, Duration::MAX, || ())) {
            Ended::Done(done) => Ok(done),
            _ => Err(self.cancelled()),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the drop")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// The round under way, or the next one where it broke and all of it can be sent again.
    fn round(&self) -> Result<Arc<Round>, HubError> {
        let state = &mut *self.state();
        let round = state.round.as_mut().expect("Xet has a round");
        if round.broken().is_some() && state.streams == 0 {
            let xet = self.xet.as_ref().expect("only Xet has rounds");
            *round = self.begin(xet, round.number + 1)?;
        }
        Ok(Arc::clone(round))
    }

    fn streamed(&self, round: &Arc<Round>, uploaded: &Uploaded) {
        let sent = Sent { uploaded: uploaded.clone(), local: None, round: round.number };
        self.state().sent.push(sent);
    }

    fn started(&self, path: &str, size: u64, how: &str) {
        let text = format!("uploading `{path}` {how}: {}", units::decimal(size));
        self.event(Event::new(Code::UploadStarted, text).with("path", path).with("bytes", size));
    }

    fn finished(&self, file: &Uploaded) {
        let Uploaded { path, size, sha256 } = file;
        self.progress(path, *size, *size);
        let text = format!("`{path}` is in the Hub's store: {}, sha256 {sha256}", units::decimal(*size));
        self.event(
            Event::new(Code::UploadFinished, text)
                .with("path", path.as_str())
                .with("bytes", *size)
                .with("sha256", sha256.as_str()),
        );
    }

    fn retried(&self, error: &HubError) {
        self.event(Event::new(Code::UploadRetried, format!("uploading again: {}", causes(error))));
    }

    fn event(&self, event: Event) {
        self.observer.event(event.about(self.repo.to_string()));
    }

    fn progress(&self, path: &str, done: u64, total: u64) {
        self.observer.progress(Progress::bytes(path, done, total));
    }

    fn check_cancel(&self) -> Result<(), HubError> {
        match self.cancel.is_cancelled() {
            true => Err(self.cancelled()),
            false => Ok(()),
        }
    }

    fn cancelled(&self) -> HubError {
        HubError::Unpublished { repo: self.repo.clone() }
    }

    /// Xet reports a failure. Where the round was broken before, that is what this one comes from.
    fn failed(&self, round: &Round, path: &str, error: XetError) -> HubError {
        if self.cancel.is_cancelled() {
            return self.cancelled();
        }
        if let Some(why) = round.broken() {
            return self.broken(why);
        }
        let error = self.xet_error(path, error);
        round.give_up(causes(&error));
        error
    }

    fn broken(&self, why: &str) -> HubError {
        HubError::UploadBroken { repo: self.repo.clone(), why: why.to_owned() }
    }

    fn xet_error(&self, path: &str, source: XetError) -> HubError {
        let (repo, path, source) = (self.repo.clone(), path.to_owned(), Box::new(source));
        HubError::Xet { repo, path, source }
    }

    fn stalled(&self, round: &Round, path: &str, waited: Duration) -> HubError {
        let (repo, path, seconds) = (self.repo.clone(), path.to_owned(), waited.as_secs());
        let error = HubError::UploadStalled { repo, path, seconds };
        round.give_up(error.to_string());
        error
    }

    fn other(
        &self,
        round: &Round,
        path: &str,
        what: &'static str,
        expected: String,
        found: String,
    ) -> HubError {
        let (repo, path) = (self.repo.clone(), path.to_owned());
        let error = HubError::SentOther { repo, path, what, expected, found };
        round.give_up(error.to_string());
        error
    }
}

impl Drop for Uploader<'_> {
    fn drop(&mut self) {
        /// Work on processor threads cannot be stopped; each piece of it is short.
        const LAST_WORK: Duration = Duration::from_millis(500);
        if let Some(round) = self.state.get_mut().ok().and_then(|state| state.round.take()) {
            round.give_up("the upload ended".to_owned());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LAST_WORK);
        }
    }
}
