//! The requests behind [`Ranges`].

use std::ops::Range;
use std::sync::Mutex;

use futures_util::stream::{self, StreamExt};
use reqwest::StatusCode;
use tokio::sync::{mpsc, watch};
use tokio::try_join;

use super::{Direct, Plan, Ranges};
use crate::hub::address::shown;
use crate::hub::client::{Client, Subject};
use crate::hub::error::HubError;
use crate::hub::located::Located;
use crate::hub::retry::{Failure, Tries};
use crate::hub::wire;

/// Requests at a time for reads that were not announced.
const DIRECTS: usize = 4;

/// What all requests share.
pub(super) struct Fetch<'a> {
    client: &'a Client<'a>,
    plan: &'a Plan<'a>,
    ranges: &'a Ranges,
    connections: usize,
    sources: Vec<Source>,
}

/// One file.
#[derive(Default)]
struct Source {
    located: Located,
    /// The entity tag that all its answers must have.
    etag: Mutex<Option<String>>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        client: &'a Client<'a>,
        plan: &'a Plan<'a>,
        ranges: &'a Ranges,
        connections: usize,
    ) -> Self {
        let sources = plan.files.iter().map(|_| Source::default()).collect();
        Fetch { client, plan, ranges, connections: connections.max(1), sources }
    }

    /// Fetches until the work ends.
    pub(super) async fn run(
        &self,
        directs: mpsc::UnboundedReceiver<Direct>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), HubError> {
        let (ahead, directs) = (self.ahead(), self.directs(directs));
        let until_stopped = async {
            // An error means that the work is gone.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::select! {
            done = async { try_join!(ahead, directs) } => done.map(|_| ()),
            () = until_stopped => Ok(()),
        }
    }

    /// The spans, in order: each is here before the next, whichever comes first.
    async fn ahead(&self) -> Result<(), HubError> {
        let spans: Vec<_> = {
            let state = self.ranges.lock();
            state.spans.list.iter().map(|s| (s.file, s.range.clone())).collect()
        };
        let spans = &spans;
        let fetched = stream::iter(0..spans.len())
            .filter_map(|span| async move { self.ranges.admit(span).await.then_some(span) })
            .map(|span| async move {
                let (file, range) = &spans[span];
                Ok::<_, HubError>((span, self.bytes(*file, range).await?))
            })
            .buffered(self.connections);
        let mut fetched = std::pin::pin!(fetched);
        while let Some(next) = fetched.next().await {
            let (span, bytes) = next?;
            self.ranges.arrive(span, bytes);
        }
        Ok(())
    }

    async fn directs(&self, mut directs: mpsc::UnboundedReceiver<Direct>) -> Result<(), HubError> {
        let next = stream::poll_fn(|context| directs.poll_recv(context));
        let answers = next.map(|Direct { file, range, reply }| async move {
            self.ranges.lock().hold(range.end - range.start);
            let bytes = self.bytes(file, &range).await?;
            self.ranges.let_go(range.end - range.start);
            // Who asked may have given up.
            let _ = reply.send(bytes);
            Ok(())
        });
        let mut answers = std::pin::pin!(answers.buffer_unordered(DIRECTS));
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok(())
    }

    /// The bytes of a range, however many requests it takes.
    async fn bytes(&self, file: usize, range: &Range<u64>) -> Result<Vec<u8>, HubError> {
        let path = Some(&*self.plan.files[file].path);
        let subject = Subject { repo: self.plan.repo, revision: self.plan.commit, path };
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut tries = Tries::default();
        loop {
            let before = bytes.len();
            match self.request(subject, file, range, &mut bytes).await {
                Ok(()) => return Ok(bytes),
                Err(failure) => {
                    if bytes.len() > before {
                        tries.progressed();
                    }
                    self.client.wait(subject, &mut tries, failure).await?;
                }
            }
        }
    }

    /// One request for what is missing of a range; what came before an error is kept.
    async fn request(
        &self,
        subject: Subject<'_>,
        file: usize,
        range: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let (source, file) = (&self.sources[file], &self.plan.files[file]);
        let (repo, path) = (self.plan.repo.clone(), file.path.clone());
        let missing = range.start + bytes.len() as u64..range.end;
        let etag = || source.etag.lock().expect("no holder panics");
        let demanded = etag().clone();
        let mut answer =
            source.located.get(self.client, subject, file, Some(&missing), demanded.as_deref()).await?;

        let headers = answer.response.headers();
        if let Some(found) = wire::strong_etag(headers)
            && *etag().get_or_insert_with(|| found.clone()) != found
        {
            return Err(Failure::never(HubError::Changing { repo, path }));
        }
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let told = wire::text(headers, "content-range").and_then(wire::content_range);
                if told != Some((missing.clone(), file.size)) {
                    let why = "it sends another range than was asked for";
                    return Err(Failure::soon(HubError::Protocol { url: shown(&answer.url), why }));
                }
            }
            _ if missing == (0..file.size) => {}
            _ => return Err(Failure::never(HubError::NoRanges { repo, path })),
        }
        let mut room = (missing.end - missing.start) as usize;
        while room > 0 {
            let Some(piece) = self.client.piece(&mut answer).await? else {
                let why = "the answer ended early";
                return Err(Failure::soon(HubError::Protocol { url: shown(&answer.url), why }));
            };
            let piece = piece.as_ref();
            let piece = &piece[..piece.len().min(room)];
            bytes.extend_from_slice(piece);
            room -= piece.len();
        }
        Ok(())
    }
}
