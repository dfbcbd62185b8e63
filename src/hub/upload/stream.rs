//! A file that is uploaded while it is made.

use std::io;
use std::mem;
use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;
use xet::XetError;
use xet::xet_session::{XetFileMetadata, XetStreamUpload};

use super::pool::{PIECE, Piece};
use super::wait::{Ended, watched};
use super::xet::{Moved, Round};
use super::{Uploaded, Uploader};
use crate::hub::error::HubError;

/// Pieces that wait to be taken. When there are so many, the caller waits.
const WAITING: usize = 4;

/// Takes the bytes of one file in order. Dropping it before [`finish`](UploadStream::finish) fails the whole upload.
pub struct UploadStream<'u> {
    uploader: &'u Uploader<'u>,
    round: Arc<Round>,
    path: String,
    size: u64,
    /// Bytes that came, of those announced.
    taken: u64,
    filling: Option<Piece>,
    pieces: mpsc::Sender<Next>,
    upload: XetStreamUpload,
    feeding: Option<JoinHandle<Result<XetFileMetadata, XetError>>>,
}

enum Next {
    Piece(Piece),
    End,
}

impl<'u> UploadStream<'u> {
    pub(super) fn open(
        uploader: &'u Uploader<'u>,
        round: Arc<Round>,
        path: &str,
        size: u64,
    ) -> Result<Self, HubError> {
        let runtime = uploader.runtime();
        let upload =
            runtime.block_on(round.stream(path, size)).map_err(|e| uploader.failed(&round, path, e))?;
        let (pieces, mut waiting) = mpsc::channel(WAITING);
        let (feed, network) = (upload.clone(), Arc::clone(&round));
        let feeding = runtime.spawn(async move {
            while let Some(next) = waiting.recv().await {
                match next {
                    Next::Piece(piece) => {
                        network.room().await;
                        feed.write(piece.into_bytes()).await?;
                    }
                    Next::End => return feed.finish().await,
                }
            }
            Err(XetError::UserCancelled("the stream was given up".to_owned()))
        });
        let path = path.to_owned();
        let feeding = Some(feeding);
        Ok(UploadStream { uploader, round, path, size, taken: 0, filling: None, pieces, upload, feeding })
    }

    /// Appends bytes. Blocks while the network is behind.
    ///
    /// # Errors
    /// `Interrupted` where the user stops the work; otherwise the cause is a [`HubError`]. The stream, and with it the
    /// upload, has then failed.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(bytes).map_err(into_io)
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), HubError> {
        self.count(bytes.len())?;
        while !bytes.is_empty() {
            let piece = self.filling.get_or_insert_with(|| self.uploader.pool.take());
            bytes = piece.fill(bytes);
            if piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), HubError> {
        match self.filling.take() {
            Some(piece) => self.send(Next::Piece(piece)),
            None => Ok(()),
        }
    }

    /// Appends a whole piece; none may be half full.
    pub(super) fn take_piece(&mut self, piece: Piece) -> Result<(), HubError> {
        self.count(piece.len())?;
        self.send(Next::Piece(piece))
    }

    fn count(&mut self, more: usize) -> Result<(), HubError> {
        self.taken += more as u64;
        match self.taken > self.size {
            true => Err(self.other("size", self.size.to_string(), format!("at least {}", self.taken))),
            false => Ok(()),
        }
    }

    /// Ends the file: every byte was taken in, and hashes to what the caller has. The Hub may still lack some of them
    /// until [`Uploader::finish`].
    ///
    /// # Errors
    /// Where fewer bytes came than were announced, where Xet has another SHA-256, and where the upload failed.
    pub fn finish(self, sha256: &str) -> Result<Uploaded, HubError> {
        let (uploader, round) = (self.uploader, Arc::clone(&self.round));
        let uploaded = self.end(sha256)?;
        uploader.streamed(&round, &uploaded);
        Ok(uploaded)
    }

    pub(super) fn end(mut self, sha256: &str) -> Result<Uploaded, HubError> {
        if self.taken != self.size {
            return Err(self.other("size", self.size.to_string(), self.taken.to_string()));
        }
        self.flush()?;
        self.send(Next::End)?;
        let mut feeding = self.feeding.take().expect("only ending takes it");
        let ended = self.wait(&mut feeding);
        // From here on there is nothing to give up but the round.
        let done = match ended? {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(self.uploader.failed(&self.round, &self.path, error)),
            Err(error) => return Err(self.uploader.failed(&self.round, &self.path, error.into())),
        };
        let (size, found) = (done.xet_info.file_size.unwrap_or(0), done.xet_info.sha256.unwrap_or_default());
        if size != self.size {
            return Err(self.other("size", self.size.to_string(), size.to_string()));
        }
        if found != sha256 {
            return Err(self.other("sha256", sha256.to_owned(), found));
        }
        Ok(Uploaded { path: mem::take(&mut self.path), size, sha256: found })
    }

    fn send(&mut self, next: Next) -> Result<(), HubError> {
        self.report();
        let next = match self.pieces.try_send(next) {
            Ok(()) => return self.uploader.check_cancel(),
            Err(TrySendError::Full(next) | TrySendError::Closed(next)) => next,
        };
        match self.wait(self.pieces.send(next))? {
            Ok(()) => Ok(()),
            // The other side has ended, so there is an error to fetch.
            Err(_) => Err(self.failure()),
        }
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, HubError> {
        let Uploader { cancel, options, .. } = self.uploader;
        let patience = options.retry.stall * super::STALLS;
        let moved = || -> Moved {
            self.report();
            self.round.moved()
        };
        match self.uploader.runtime().block_on(watched(work, cancel, patience, moved)) {
            Ended::Done(done) => Ok(done),
            Ended::Cancelled => Err(self.uploader.cancelled()),
            Ended::Stalled(waited) => Err(self.uploader.stalled(&self.round, &self.path, waited)),
        }
    }

    fn failure(&mut self) -> HubError {
        let error = match self.feeding.take() {
            Some(feeding) => match self.uploader.runtime().block_on(feeding) {
                Ok(Ok(_)) => XetError::AlreadyCompleted,
                Ok(Err(error)) => error,
                Err(error) => error.into(),
            },
            None => XetError::AlreadyCompleted,
        };
        self.uploader.failed(&self.round, &self.path, error)
    }

    /// Something else came than was announced.
    fn other(&self, what: &'static str, announced: String, found: String) -> HubError {
        self.uploader.other(&self.round, &self.path, what, announced, found)
    }

    fn report(&self) {
        if let Some(report) = self.upload.progress() {
            // The end is reported when the store has vouched for it.
            let done = report.bytes_completed.min(self.size.saturating_sub(1));
            self.uploader.progress(&self.path, done, self.size);
        }
    }
}

impl Drop for UploadStream<'_> {
    fn drop(&mut self) {
        if let Some(feeding) = &self.feeding {
            feeding.abort();
            self.round.give_up(format!("`{}` was given up", self.path));
        }
    }
}

fn into_io(error: HubError) -> io::Error {
    let kind = match error {
        HubError::Unpublished { .. } => io::ErrorKind::Interrupted,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
