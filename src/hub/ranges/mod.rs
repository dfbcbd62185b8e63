//! Ranges of a commit's files, read ahead: weights that never touch the disk.
//!
//! In: the reads that will come, in order ([`Plan`]). While [`read_ahead`] runs the caller's work, it fetches what they
//! need in spans of some mebibytes, over several connections, as far ahead as its window of memory allows; a span is
//! freed when its last read is served. Reads may come from many threads. One that was not announced, or comes so far out
//! of order that its span has no room, gets a request of its own: the order decides the speed, never the bytes.
//!
//! What comes is of one version: the first answer's entity tag is demanded of all others, and the Hub's statement of
//! size and SHA-256 is compared with its listing. No hash of the bytes themselves is compared: outputs take the tensors
//! in another order than the file has them, and SHA-256 knows only the file's.
//!
//! Refuses: servers that ignore `Range`, and bytes of another version.

mod fetch;
mod spans;

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::spans::Spans;
use super::HubOptions;
use super::error::HubError;
use super::select::RemoteFile;
use super::snapshot::Session;
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::event::Observer;

/// What will be read.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The repository.
    pub repo: &'a RepoId,
    /// The commit.
    pub commit: &'a str,
    /// The files that reads name by number.
    pub files: &'a [RemoteFile],
    /// File and bytes of each read, in the order in which they are likely to come.
    pub reads: &'a [(usize, Range<u64>)],
    /// Most bytes of one request.
    pub span: u64,
    /// Bytes that are held or under way at once. More only where one read needs more, and for reads out of order.
    pub window: u64,
}

/// The bytes could not be had; [`read_ahead`] tells why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// What is read of the files while [`read_ahead`] works.
pub struct Ranges {
    state: Mutex<State>,
    /// A span came, or the fetching ended, or stands still for want of room.
    came: Condvar,
    /// A span was freed.
    room: Notify,
    direct: mpsc::UnboundedSender<Direct>,
}

/// A read that gets a request of its own.
struct Direct {
    file: usize,
    range: Range<u64>,
    reply: oneshot::Sender<Vec<u8>>,
}

struct State {
    spans: Spans,
    slots: Vec<Slot>,
    /// Bytes held or under way.
    held: u64,
    window: u64,
    most_held: u64,
    /// The span that had no room when it was looked at last; those before it were asked for.
    held_back: Option<usize>,
    /// Spans that were asked for and are not here.
    pending: usize,
    /// For each read that is being served, its span.
    active: Vec<usize>,
    ended: bool,
}

#[derive(Clone)]
enum Slot {
    /// Not asked for, or asked for and not here.
    Awaited,
    Here(Arc<Vec<u8>>),
    /// All its reads are served.
    Gone,
}

/// Runs the work while its reads are fetched ahead. The work's result counts only if the fetching had none to complain
/// of; its own error is then no more than a consequence.
pub fn read_ahead<T>(
    plan: &Plan<'_>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
    work: impl FnOnce(&Ranges) -> T,
) -> (T, Result<(), HubError>) {
    let longest = plan.reads.iter().map(|(_, read)| read.end - read.start).fold(plan.span, u64::max);
    // Spans that are in use take no more than half of it, so that the next one always has room.
    let window = plan.window.max(2 * longest);
    let spans = Spans::new(plan.reads, plan.span, window / 4);
    let (direct, directs) = mpsc::unbounded_channel();
    let ranges = Ranges {
        state: Mutex::new(State {
            window,
            slots: vec![Slot::Awaited; spans.list.len()],
            spans,
            held: 0,
            most_held: 0,
            held_back: None,
            pending: 0,
            active: Vec::new(),
            ended: false,
        }),
        came: Condvar::new(),
        room: Notify::new(),
        direct,
    };
    let (stop, stopped) = watch::channel(false);
    let session = Session::new(plan.repo, Some(plan.commit), options, observer, cancel);
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            // However it ends, nobody waits for it any more.
            let _end = OnDrop(|| ranges.end());
            session.run(async |client| {
                let fetch = fetch::Fetch::new(client, plan, &ranges, options.connections);
                fetch.run(directs, stopped).await
            })
        });
        let done = {
            let _stop = OnDrop(|| _ = stop.send(true));
            work(&ranges)
        };
        let fetched = fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (done, fetched)
    })
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Ranges {
    /// Fills `buf` with a file's bytes from `offset` on. Blocks until they are here.
    ///
    /// # Errors
    /// [`Ended`] where they will not come.
    pub fn read(&self, file: usize, offset: u64, buf: &mut [u8]) -> Result<(), Ended> {
        let range = offset..offset + buf.len() as u64;
        if range.is_empty() {
            return Ok(());
        }
        let Some((span, start)) = self.begin(file, &range) else {
            buf.copy_from_slice(&self.ask(file, range)?);
            return Ok(());
        };
        match self.wait(span)? {
            Some(bytes) => buf.copy_from_slice(&bytes[(offset - start) as usize..][..buf.len()]),
            None => buf.copy_from_slice(&self.ask(file, range)?),
        }
        self.finish(span);
        Ok(())
    }

    /// The span of a read that was announced, and where it begins.
    fn begin(&self, file: usize, range: &Range<u64>) -> Option<(usize, u64)> {
        let mut state = self.lock();
        let span = state.spans.take(file, range)?;
        state.active.push(span);
        Some((span, state.spans.list[span].range.start))
    }

    /// A read that was announced is served.
    fn finish(&self, span: usize) {
        let mut state = self.lock();
        if let Some(at) = state.active.iter().position(|active| *active == span) {
            state.active.swap_remove(at);
        }
        state.release(span);
        drop(state);
        self.freed();
    }

    /// Bytes that were held besides the spans are somebody else's now.
    fn let_go(&self, bytes: u64) {
        self.lock().held -= bytes;
        self.freed();
    }

    /// There may be room for another span, or else somebody to learn that there is none.
    fn freed(&self) {
        self.room.notify_one();
        self.came.notify_all();
    }

    /// Most bytes that were held or under way at once.
    pub fn most_held(&self) -> u64 {
        self.lock().most_held
    }

    /// Waits for a span; `None` where there may never be room for it.
    fn wait(&self, span: usize) -> Result<Option<Arc<Vec<u8>>>, Ended> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return Err(Ended);
            }
            if let Slot::Here(bytes) = &state.slots[span] {
                return Ok(Some(Arc::clone(bytes)));
            }
            if state.is_stuck() {
                return Ok(None);
            }
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ask(&self, file: usize, range: Range<u64>) -> Result<Vec<u8>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.direct.send(Direct { file, range, reply }).map_err(|_| Ended)?;
        answer.blocking_recv().map_err(|_| Ended)
    }

    /// Waits until a span has room and books it. Whether anybody still wants it.
    async fn admit(&self, span: usize) -> bool {
        loop {
            {
                let mut state = self.lock();
                let wanted = state.wants(span);
                match wanted {
                    Some(_) if !state.has_room(span) => state.held_back = Some(span),
                    _ => {
                        state.held_back = None;
                        if let Some(bytes) = wanted {
                            state.pending += 1;
                            state.hold(bytes);
                        }
                        return wanted.is_some();
                    }
                }
            }
            self.came.notify_all();
            self.room.notified().await;
        }
    }

    /// A span is here.
    fn arrive(&self, span: usize, bytes: Vec<u8>) {
        let mut state = self.lock();
        match state.wants(span) {
            Some(_) => state.slots[span] = Slot::Here(Arc::new(bytes)),
            None => state.held -= state.spans.list[span].len(),
        }
        state.pending -= 1;
        drop(state);
        self.freed();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.came.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The length of a span that still has reads to serve.
    fn wants(&self, span: usize) -> Option<u64> {
        let span = &self.spans.list[span];
        (span.readers > 0).then(|| span.len())
    }

    /// One of its reads is served. The last one frees the span; one that is still under way is dropped when it comes.
    fn release(&mut self, span: usize) {
        let of = &mut self.spans.list[span];
        of.readers -= 1;
        if of.readers == 0 && matches!(std::mem::replace(&mut self.slots[span], Slot::Gone), Slot::Here(_)) {
            self.held -= of.len();
        }
    }

    /// Whether nothing will free room by itself: every read wants a span that has none.
    fn is_stuck(&self) -> bool {
        let behind = |span| self.active.iter().all(|active| *active >= span);
        self.held_back.is_some_and(|span| self.pending == 0 && !self.has_room(span) && behind(span))
    }

    fn has_room(&self, span: usize) -> bool {
        self.held == 0 || self.held + self.spans.list[span].len() <= self.window
    }

    fn hold(&mut self, bytes: u64) {
        self.held += bytes;
        self.most_held = self.most_held.max(self.held);
    }
}
