//! Outputs that go straight into the Hub's store: no weight and no output touches the disk.
//!
//! In: a prepared job that publishes. Out: outputs whose bytes the store has, as the publication names them; or nothing
//! where the job is done with files. All methods are made in one pass. The weights are read ahead by ranges, where they
//! are not here; each output is a stream, a split one a stream a file; the slowest of them holds back the pass, and the
//! pass the reading. The SHA-256 of every file is computed here and must be the one that the store has.
//!
//! Streams that fail are made once more from their beginning: the bytes are the same, and what the store has of them
//! is not sent again. Nobody sees anything of it before the commit.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::JobError;
use super::clock::Clock;
use super::files::{self, Target, Work, WriteError, Written, WrittenFile};
use super::importance::Calculation;
use super::job::{self, Made};
use super::papers;
use super::prepared::{Planned, Prepared, Setting};
use super::source::identify_all;
use crate::base::atomic::Outlives;
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::sha256::Sha256;
use crate::base::{space, units};
use crate::checkpoint::{CheckpointError, RemoteWeights, Weights};
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::hub::{
    self, Content, HubError, HubOptions, PublishFile, Transport, UploadStream, Uploaded, Uploader,
};
use crate::publish;
use crate::quantize::Imatrix;
use crate::quantize::pass::{self, PassError, PassOptions, PassReport, Sink};
use crate::quantize::split::Part;

/// Bytes of weights that are held or under way, at most.
const WINDOW: u64 = 64 << 20;

/// Bytes of weights that one request brings, at most.
const SPAN: u64 = 8 << 20;

/// Space that is left to others when the free disk is looked at.
const SPACE_MARGIN: u64 = 64 << 20;

/// Times that streams are made, the first one included.
const ROUNDS: u32 = 2;

/// Why a job's outputs are streamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Streaming {
    /// The user wants it.
    Asked,
    /// The disk is too small for files.
    SmallDisk {
        /// Bytes that weights and outputs would take there.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
}

impl fmt::Display for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Streaming::Asked => f.write_str("as asked for"),
            Streaming::SmallDisk { needed, free } => {
                let (needed, free) = (units::decimal(*needed), units::decimal(*free));
                write!(f, "the disk has {free} free where {needed} would be needed")
            }
        }
    }
}

impl Streaming {
    pub(super) fn event(&self) -> Event {
        Event::new(Code::Streaming, format!("the outputs go straight into the upload: {self}"))
            .with("asked", *self == Streaming::Asked)
    }
}

/// Outputs that are in the Hub's store.
pub(super) struct Streamed {
    /// What the report says of them.
    pub(super) made: Vec<Made>,
    /// What is published of them, by method.
    pub(super) outputs: HashMap<&'static str, publish::Output>,
}

/// Whether a job's outputs are streamed: where the user wants it, and where the disk is too small for files.
pub(super) fn choose(prepared: &Prepared, setting: &Setting) -> Result<Option<Streaming>, JobError> {
    let refused = |why| Err(JobError::Unstreamable { why });
    let asked = prepared.model.publish.stream == Some(true);
    if prepared.model.publish.stream == Some(false) || prepared.to_make().next().is_none() {
        return Ok(None);
    }
    match &prepared.place {
        Some(place) if place.transport == Transport::Auto => {}
        Some(_) if asked => return refused("that takes Xet storage, which is turned off"),
        // Where uploads are left out, files are what is wanted.
        None if asked && setting.publish => return refused("nothing says where they are published"),
        None if asked && setting.hub.offline => return refused("the Hub is not asked when offline"),
        _ => return Ok(None),
    }
    // Programs of llama.cpp take files.
    let file = match prepared {
        p if p.foreign.is_some() => Some("llama.cpp's own converter writes a file"),
        p if p.needs_base() => Some("the importance matrix is computed from a file"),
        p if p.to_measure().next().is_some() => Some("`evaluate` measures files"),
        p if p.model.check => Some("`check` tries out files"),
        _ => None,
    };
    match file {
        Some(why) if asked => return refused(why),
        Some(_) => return Ok(None),
        None if asked => return Ok(Some(Streaming::Asked)),
        None => {}
    }
    let free = |path: &PathBuf| space::free(path).ok().flatten();
    let (output, cache) = (&setting.output, &setting.hub.cache);
    let (make, fetch) = (prepared.bytes_to_make(), prepared.bytes_to_fetch());
    Ok(if space::shared(output, cache).unwrap_or(true) {
        too_small(make + fetch, free(output))
    } else {
        too_small(make, free(output)).or_else(|| too_small(fetch, free(cache)))
    })
}

fn too_small(needed: u64, free: Option<u64>) -> Option<Streaming> {
    // A system that does not tell has room.
    let free = free.filter(|free| needed > 0 && *free < needed.saturating_add(SPACE_MARGIN))?;
    Some(Streaming::SmallDisk { needed, free })
}

/// Makes the outputs of a job that are not up to date, all in one pass, into the Hub's store. `None` where the job is not
/// to be streamed, or need not be and the Hub takes no streams. `options` may write to the repository.
pub(super) fn make(
    prepared: &mut Prepared,
    setting: &Setting,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<Streamed>, JobError> {
    let (Some(streaming), Some(place)) = (&prepared.streaming, &prepared.place) else { return Ok(None) };
    let to = place.to.clone();
    if place.there.is_none() {
        hub::create(&to.repo, to.private, options, observer, cancel)?;
    }
    let open = || Uploader::open(&to, options, Transport::Auto, observer, cancel);
    let uploader = open()?;
    if !uploader.takes_streams() {
        let path = prepared.to_make().next().map(Planned::file_name).unwrap_or_default();
        return match streaming {
            Streaming::Asked => Err(HubError::NoXet { repo: to.repo, path }.into()),
            Streaming::SmallDisk { .. } => Ok(None),
        };
    }

    let name = prepared.model.name.clone();
    prepared.papers.announce(&prepared.checkpoint.name, observer);
    let mut clock = Clock::start();
    if prepared.remote.as_ref().is_some_and(|remote| remote.missing_bytes() == 0) {
        // An earlier run left them.
        clock
            .time("read the checkpoint from the cache", || job::fetch(prepared, setting, observer, cancel))?;
    } else if prepared.remote.is_none() {
        identify_all(&mut prepared.source, &prepared.checkpoint, cancel)?;
    }
    let prepared = &*prepared;
    let quantized: Vec<&Planned> = prepared.to_quantize().collect();
    let towers: Vec<&Planned> = prepared.to_make().filter(|o| o.tower.is_some()).collect();
    let outputs: Vec<&Planned> = quantized.iter().chain(&towers).copied().collect();
    job::announce(&quantized, &name, observer);
    let (mut files, mut report, mut seconds) = (Vec::new(), PassReport::default(), Vec::new());
    let mut uploader = Some(uploader);
    if !quantized.is_empty() {
        let from = (&prepared.blueprint, prepared.imatrix.as_ref());
        let job = Job::new(prepared, from, &quantized, setting, observer, cancel)?;
        let methods = job::methods(&quantized);
        let what = format!("converted, quantized and uploaded in one pass: {methods}");
        let uploader = uploader.take().map_or_else(open, Ok)?;
        (files, report) = clock.time(what, || job.run(uploader, open))?;
        seconds = vec![clock.last(); quantized.len()];
    }
    for (output, tower) in towers.iter().filter_map(|o| Some((*o, o.tower.as_deref()?))) {
        let job = Job::new(prepared, (tower, None), &[output], setting, observer, cancel)?;
        let what = format!("converted and uploaded the vision tower: {}", output.method.name);
        let uploader = uploader.take().map_or_else(open, Ok)?;
        let (more, apart) = clock.time(what, || job.run(uploader, open))?;
        files.extend(more);
        report.bytes_read += apart.bytes_read;
        seconds.push(clock.last());
    }

    let all = seconds.iter().skip(quantized.len().saturating_sub(1)).sum();
    let passed = clock.passed(report, all, outputs.len(), setting.threads, &name, observer);
    let mut streamed = Streamed { made: Vec::new(), outputs: HashMap::new() };
    for ((output, uploaded), seconds) in outputs.iter().zip(files).zip(seconds) {
        let written = |file: &Uploaded| WrittenFile {
            path: PathBuf::from(&file.path),
            bytes: file.size,
            sha256: Some(file.sha256.clone()),
        };
        let written = Written { files: uploaded.iter().map(written).collect() };
        let mut record = papers::record(output, &written, &passed.report, seconds);
        let quantized = output.tower.is_none();
        record.imatrix_file = prepared.imatrix_file.clone().filter(|_| quantized);
        let published = |f: Uploaded| PublishFile { path: f.path.clone(), content: Content::Uploaded(f) };
        let published = publish::Output {
            metadata: papers::metadata_of(prepared, record, &passed.run),
            files: uploaded.into_iter().map(published).collect(),
            imatrix: prepared.calculation.as_ref().filter(|_| quantized).and_then(Calculation::to_publish),
        };
        streamed.outputs.insert(output.method.name, published);
        streamed.made.push(passed.made(output, written, &name, observer));
    }
    Ok(Some(streamed))
}

/// What every round of a job's streams has in common.
struct Job<'a> {
    prepared: &'a Prepared,
    blueprint: &'a Blueprint,
    imatrix: Option<&'a Imatrix>,
    setting: &'a Setting,
    targets: Vec<Target>,
    options: PassOptions,
    window: u64,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

/// The files of each output.
type Files = Vec<Vec<Uploaded>>;

impl<'a> Job<'a> {
    /// The outputs of one conversion, with its importance matrix.
    fn new(
        prepared: &'a Prepared,
        (blueprint, imatrix): (&'a Blueprint, Option<&'a Imatrix>),
        outputs: &[&Planned],
        setting: &'a Setting,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Result<Self, JobError> {
        let target = |o: &&Planned| Target {
            name: o.method.name.to_owned(),
            // In the repository.
            path: PathBuf::from(format!("{}.gguf", o.stem)),
            layout: o.layout.clone(),
            parts: o.parts.clone(),
        };
        let targets: Vec<Target> = outputs.iter().map(target).collect();
        let work = Work {
            threads: setting.threads,
            memory: setting.memory,
            check_finite: true,
            hash: true,
            stats: setting.stats && outputs.iter().all(|o| o.tower.is_none()),
            outlives: Outlives::Process,
            task: prepared.model.name.clone(),
        };
        let window = if prepared.checkpoint.is_here() { 0 } else { WINDOW.min(work.allowed_memory() / 4) };
        let held = window + imatrix.map_or(0, Imatrix::bytes);
        let options = files::fit(blueprint, &targets, held, &work, observer)?;
        Ok(Job { prepared, blueprint, imatrix, setting, targets, options, window, observer, cancel })
    }

    /// Makes the streams; where that fails and may succeed, once more.
    fn run<'u>(
        &self,
        mut uploader: Uploader<'u>,
        open: impl Fn() -> Result<Uploader<'u>, HubError>,
    ) -> Result<(Files, PassReport), JobError> {
        let mut round = 1;
        loop {
            let last = round == ROUNDS;
            match self.round(&uploader) {
                Ok(done) => match uploader.finish() {
                    Ok(_) => return Ok(done),
                    Err(error) => {
                        self.again(error.into(), last)?;
                        uploader = open()?;
                    }
                },
                Err(error) => {
                    self.again(error, last)?;
                    uploader.restart()?;
                }
            }
            round += 1;
        }
    }

    /// Says that the streams are made again, or gives back why they are not.
    fn again(&self, error: JobError, last: bool) -> Result<(), JobError> {
        let may_pass = matches!(&error, JobError::Hub(error) if error.may_pass());
        if last || !may_pass || self.cancel.is_cancelled() {
            return Err(error);
        }
        let text = format!("the streams are made again from their beginning: {}", causes(&error));
        self.observer.event(Event::new(Code::StreamRestarted, text).about(&*self.prepared.model.name));
        Ok(())
    }

    fn round(&self, uploader: &Uploader<'_>) -> Result<(Files, PassReport), JobError> {
        let Prepared { checkpoint, remote, .. } = self.prepared;
        let Some(remote) = remote.as_ref().filter(|_| !checkpoint.is_here()) else {
            return self.pass(checkpoint, uploader);
        };
        let files: Vec<_> = remote.shards.iter().map(|shard| shard.file.clone()).collect();
        let reads = pass::reads(self.blueprint, &self.targets[0].layout.recipes, &self.options);
        let plan = hub::Plan {
            repo: &remote.repo,
            commit: &remote.commit,
            files: &files,
            reads: &reads,
            span: SPAN.min(self.window / 8).max(1),
            window: self.window,
        };
        let work = |ranges: &hub::Ranges| self.pass(&RemoteWeights::new(remote, ranges), uploader);
        match hub::read_ahead(&plan, &self.setting.hub, self.observer, self.cancel, work) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(fetching)) => Err(fetching.into()),
            // That weights did not come says less than why.
            (Err(error), Err(fetching)) if is_of_reading(&error) => Err(fetching.into()),
            (Err(error), _) => Err(error),
        }
    }

    fn pass(&self, weights: &dyn Weights, uploader: &Uploader<'_>) -> Result<(Files, PassReport), JobError> {
        let mut sinks: Vec<StreamSink<'_, '_>> =
            self.targets.iter().map(|target| StreamSink::new(uploader, target)).collect();
        let outputs = self.targets.iter().zip(&mut sinks).map(|(target, sink)| pass::Output {
            name: &target.name,
            header: &target.layout.header,
            recipes: &target.layout.recipes,
            parts: &target.parts,
            sink,
        });
        let Job { blueprint, imatrix, options, cancel, observer, .. } = self;
        let outputs = outputs.collect();
        let report = pass::pass(weights, blueprint, outputs, *imatrix, options, cancel, *observer)
            .map_err(of_stream)?;
        let files = sinks.into_iter().map(StreamSink::finish).collect::<Result<_, _>>()?;
        Ok((files, report))
    }
}

/// The error of a stream in place of that of the pass which it ended.
fn of_stream(error: PassError) -> JobError {
    match error {
        PassError::Write { output, source } => match source.downcast::<HubError>() {
            Ok(error) => error.into(),
            Err(source) => WriteError::Pass(PassError::Write { output, source }).into(),
        },
        error => WriteError::Pass(error).into(),
    }
}

fn is_of_reading(error: &JobError) -> bool {
    let JobError::Write(WriteError::Pass(PassError::Read { source, .. })) = error else { return false };
    matches!(source, CheckpointError::Remote { .. })
}

/// The files of an output, one after the other, each a stream, hashed on the way.
struct StreamSink<'a, 'u> {
    uploader: &'a Uploader<'u>,
    /// Names and sizes of the files that are still to come.
    files: std::vec::IntoIter<(String, u64)>,
    stream: Option<UploadStream<'a>>,
    sha256: Sha256,
    done: Vec<Uploaded>,
}

impl<'a, 'u> StreamSink<'a, 'u> {
    fn new(uploader: &'a Uploader<'u>, target: &Target) -> Self {
        let sizes: Vec<u64> = match &*target.parts {
            [] => vec![target.bytes()],
            parts => parts.iter().map(Part::file_bytes).collect(),
        };
        let names = target.paths().into_iter().map(|path| path.to_string_lossy().into_owned());
        let files: Vec<_> = names.zip(sizes).collect();
        StreamSink {
            uploader,
            files: files.into_iter(),
            stream: None,
            sha256: Sha256::default(),
            done: Vec::new(),
        }
    }

    fn close(&mut self) -> Result<(), HubError> {
        let sha256 = self.sha256.finish();
        if let Some(stream) = self.stream.take() {
            self.done.push(stream.finish(&sha256)?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Uploaded>, HubError> {
        self.close()?;
        Ok(self.done)
    }
}

impl Sink for StreamSink<'_, '_> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let (name, size) = self.files.next().ok_or(io::ErrorKind::InvalidInput)?;
                none.insert(self.uploader.stream(&name, size).map_err(io::Error::other)?)
            }
        };
        stream.append(bytes)?;
        Ok(())
    }

    fn hash(&mut self) -> Option<&mut Sha256> {
        Some(&mut self.sha256)
    }

    fn next_file(&mut self) -> io::Result<()> {
        self.close().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_one_that_would_be_full() {
        let gb = 1_000_000_000;
        let streams = |needed, free| too_small(needed, free).is_some();
        assert!(!streams(5 * gb, Some(6 * gb)));
        assert!(streams(5 * gb, Some(5 * gb)));
        assert!(streams(5 * gb, Some(0)));
        assert!(!streams(0, Some(0)), "nothing is to be written");
        assert!(!streams(5 * gb, None), "the system does not tell");
    }
}
