//! A job, done: what is not up to date is made in one pass over the weights and finished in its folder, or streamed; what is
//! then to be published is left for [`Delivery`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::JobError;
use super::base::{Base, Scratch};
use super::clock::Clock;
use super::deliver::{self, Delivery, RECEIPT, signed_in};
use super::evaluate::{self, Rejected};
use super::files::{self, Target, Unnamed, Work, Written};
use super::hold::hold;
use super::importance;
use super::papers;
use super::place::Place;
use super::prepare;
use super::prepared::{Planned, Prepared, Setting};
use super::smoke;
use super::source::identify_all;
use super::stream::{self, Streamed};
use crate::base::atomic::{self, Outlives};
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::units;
use crate::card::metadata::{self, Evaluation, QuantizationMetadata};
use crate::checkpoint::{Checkpoint, GgufModel, Weights};
use crate::config::Model;
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::hub;
use crate::plan::Decision;
use crate::publish;
use crate::quantize::pass::PassReport;
use crate::quantize::simd;
use crate::quantize::split::is_of_split;

/// What a job did.
#[derive(Clone, Debug, Default)]
pub struct JobReport {
    /// Outputs that were made.
    pub made: Vec<Made>,
    /// Outputs that were up to date in their folders.
    pub kept: Vec<Kept>,
    /// Outputs that were published as they would be made now: the method's name and the (first) file's.
    pub published: Vec<(&'static str, String)>,
    /// The pull request that had the outputs already.
    pub proposed: Option<String>,
    /// What all of these outputs are, as one file tells of them; none where there is no output.
    pub metadata: Option<QuantizationMetadata>,
    /// What was measured of the outputs, now or before, by method.
    pub figures: Vec<(&'static str, Evaluation)>,
    /// Outputs that are not good enough to be published, or could not be measured.
    pub rejected: Vec<Rejected>,
}

impl JobReport {
    /// The failure that outputs which are not published are.
    pub fn rejection(&self) -> Option<JobError> {
        (!self.rejected.is_empty()).then(|| JobError::Rejected { outputs: self.rejected.clone() })
    }
}

/// An output that was up to date in its folder.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The method's name.
    pub method: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// An output that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The method's name.
    pub method: &'static str,
    /// Its files, in order; more than one where it is split.
    pub written: Written,
    /// Bits for each weight.
    pub bits_per_weight: f64,
    /// Signal to noise in decibels, where it was measured and something was lost.
    pub snr_db: Option<f64>,
}

/// Prepares and does a job, while no other run works on the same outputs.
///
/// # Errors
/// As [`prepare`](super::prepare()) and [`execute`].
pub fn perform(
    model: &Model,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(JobReport, Option<Delivery>), JobError> {
    let mut lock = None;
    let base = Base::new(Scratch::of(model, setting));
    let mut prepared = match prepare(model, setting, observer, cancel) {
        Err(JobError::Unconverted(_)) => {
            (lock, _) = hold(model, setting, observer, cancel)?;
            convert_first(model, &base, setting, observer, cancel)?
        }
        prepared => prepared?,
    };
    for output in &prepared.outputs {
        // A run that was killed while it noted its publication; nothing else would look there again.
        atomic::sweep_leftovers(&output.folder.join(RECEIPT));
    }
    let works = prepared.to_make().next().is_some() || prepared.to_measure().next().is_some();
    if lock.is_none() && (prepared.publishes() || works) {
        let (held, waited) = hold(model, setting, observer, cancel)?;
        lock = held;
        if waited {
            prepared = prepare(model, setting, observer, cancel)?;
        }
    }
    execute(prepared, base, lock, setting, observer, cancel)
}

/// Has llama.cpp's converter make the base, after which everything else about the job is known.
pub(super) fn convert_first(
    model: &Model,
    base: &Base,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Prepared, JobError> {
    // Another run may have been at it while this one waited.
    match prepare(model, setting, observer, cancel) {
        Err(JobError::Unconverted(foreign)) => {
            base.convert(&foreign, setting, observer, cancel)?;
            prepare(model, setting, observer, cancel)
        }
        prepared => prepared,
    }
}

/// Does a job: makes every output that is not up to date. What is to be published then is still to be delivered.
/// `lock` is held until that is done.
///
/// # Errors
/// [`JobError`]. What was finished before stays; nothing half is under a final name.
pub fn execute(
    mut prepared: Prepared,
    base: Base,
    lock: Option<FileLock>,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(JobReport, Option<Delivery>), JobError> {
    let mut report = JobReport::default();
    for output in &prepared.outputs {
        match &output.decision {
            Decision::Published => report.published.push((output.method.name, output.file_name())),
            Decision::Keep => report.kept.push(Kept { method: output.method.name, path: output.path() }),
            Decision::Make(_) => {}
        }
    }
    announce_kept(&report, &prepared, observer);
    if let Some(url) = prepared.place.as_ref().and_then(|place| place.proposed.clone()) {
        let text = format!("a pull request has the outputs already: {url}");
        let hint = "merge it; --force makes and proposes them again";
        observer.event(Event::new(Code::JobUpToDate, text).about(&*prepared.model.name).with("hint", hint));
        report.proposed = Some(url);
    }
    let mut signed = None;
    if let Some(place) = prepared.place.as_ref().filter(|_| prepared.publishes()) {
        let options = signed_in(&place.to.repo, &setting.tokens, &setting.hub, observer, cancel)?;
        hub::check_rights(&place.to, &options, observer, cancel)?;
        deliver::check_card(&place.order(&prepared.papers, &[]), &options, observer, cancel)?;
        signed = Some(options);
        if let Some(remote) = &prepared.remote {
            say_open(place, remote, observer);
        }
    }
    let mut streamed = None;
    if prepared.to_make().next().is_some() {
        if let Some(options) = &signed {
            streamed = stream::make(&mut prepared, setting, options, observer, cancel)?;
        }
        report.made = match &mut streamed {
            Some(streamed) => std::mem::take(&mut streamed.made),
            None => make(&mut prepared, &base, setting, observer, cancel)?,
        };
    }
    let fetched = streamed.is_none() && (!report.made.is_empty() || prepared.compares());
    if fetched && report.made.is_empty() {
        fetch(&mut prepared, setting, observer, cancel)?;
    }
    let evaluated = evaluate::evaluate(&prepared, &base, setting, observer, cancel)?;
    (report.figures, report.rejected) = (evaluated.figures, evaluated.rejected);
    if fetched {
        forget_weights(&prepared, setting, cancel)?;
    }
    // What it took to make them is in nobody's way while they are published.
    drop(base);
    if prepared.publishes() {
        check_kept(&prepared, &report.rejected, setting, observer, cancel)?;
    }
    report.metadata = metadata_of_all(&prepared, streamed.as_ref());
    if !prepared.publishes() {
        return Ok((report, None));
    }
    let (mut folders, mut outputs) = (Vec::new(), Vec::new());
    let rejected = |o: &&Planned| report.rejected.iter().any(|r| r.method == o.method.name);
    for output in prepared.outputs.iter().filter(|o| o.decision != Decision::Published && !rejected(o)) {
        match streamed.as_mut().and_then(|streamed| streamed.outputs.remove(output.method.name)) {
            Some(uploaded) => outputs.push(uploaded),
            None => {
                outputs.push(deliver::finished(&output.folder)?);
                folders.push(output.folder.clone());
            }
        }
    }
    if let (Some(_), Some(place)) = (streamed, &prepared.place) {
        // Streamed outputs have no folder of their own.
        folders.push(setting.output.join(place.to.repo.name()));
    }
    let delivery = prepared.place.map(|place| Delivery {
        model: prepared.model.name,
        place,
        papers: prepared.papers,
        outputs,
        folders,
        _lock: lock,
    });
    Ok((report, delivery))
}

/// What the outputs of a job are, wherever each of them is.
fn metadata_of_all(prepared: &Prepared, streamed: Option<&Streamed>) -> Option<QuantizationMetadata> {
    let there = prepared.place.as_ref().and_then(Place::metadata);
    let published = |output: &Planned| {
        let mut metadata = there?.clone();
        metadata.outputs.retain(|o| o.file == output.file_name());
        Some(metadata)
    };
    let of = |output: &Planned| match &output.decision {
        Decision::Published => published(output),
        _ => match streamed.and_then(|streamed| streamed.outputs.get(output.method.name)) {
            Some(uploaded) => Some(uploaded.metadata.clone()),
            None => deliver::finished(&output.folder).ok().map(|finished| finished.metadata),
        },
    };
    let all: Vec<QuantizationMetadata> = prepared.outputs.iter().filter_map(of).collect();
    publish::merge(None, &all, None).map(|merged| merged.metadata)
}

fn announce_kept(report: &JobReport, prepared: &Prepared, observer: &dyn Observer) {
    let (kept, published) = (report.kept.len(), report.published.len());
    if kept + published == 0 {
        return;
    }
    let of = units::counted(prepared.outputs.len(), "output");
    let text = match (kept, published) {
        (0, n) => format!("{n} of {of} published and up to date"),
        (n, 0) => format!("{n} of {of} up to date"),
        (kept, n) => format!("{} of {of} up to date, {n} of them published", kept + n),
    };
    observer.event(
        Event::new(Code::JobUpToDate, text)
            .about(&*prepared.model.name)
            .with("outputs", kept + published)
            .with("published", published),
    );
}

/// Says where the outputs are for more people than the source is. The terms that a gated source's users must accept go
/// with the card; the gate itself is a setting of the repository.
fn say_open(place: &Place, source: &hub::Description, observer: &dyn Observer) {
    let (repo, there) = (&place.to.repo, place.there.as_ref().map(|there| &there.state));
    if source.gated && !there.is_some_and(|there| there.gated) {
        let text = format!("the source is gated, and `{repo}` is not");
        let hint =
            "its card has the source's prompt: turn on access requests in the settings of the repository";
        observer.event(Event::new(Code::GateOpen, text).with("hint", hint));
    }
    if source.private && !there.map_or(place.to.private, |there| there.private) {
        let text = format!("the source is private, and `{repo}` is for everybody");
        let hint = "`publish: { private: true }` or `--private` makes a repository that only its owner sees";
        observer.event(Event::new(Code::SourceShown, text).with("hint", hint));
    }
}

/// Tries out what is to be published now and was made by a run that did not try it out, and notes that it was.
fn check_kept(
    prepared: &Prepared,
    rejected: &[Rejected],
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), JobError> {
    let published = |o: &&Planned| {
        o.decision == Decision::Keep
            && o.tower.is_none()
            && !rejected.iter().any(|rejected| rejected.method == o.method.name)
    };
    for output in prepared.outputs.iter().filter(|_| prepared.model.check).filter(published) {
        let mut metadata = deliver::finished(&output.folder)?.metadata;
        if metadata.outputs.iter().all(|o| o.checked.is_some()) {
            continue;
        }
        let tool = smoke::check(&[(output.method.name, output.path())], setting, observer, cancel)?;
        metadata.outputs.iter_mut().for_each(|o| o.checked = Some(tool.clone()));
        let files = publish::refreshed(&output.folder, &metadata)?;
        atomic::write_each(files).map_err(|(path, source)| JobError::Io { path, source })?;
    }
    Ok(())
}

/// Makes the outputs of a job that are not up to date, all in one pass over the weights.
fn make(
    prepared: &mut Prepared,
    base: &Base,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<Made>, JobError> {
    let name = prepared.model.name.clone();
    prepared.papers.announce(&prepared.checkpoint.name, observer);
    let mut clock = Clock::start();
    if prepared.remote.is_some() {
        clock.time("downloaded the checkpoint", || fetch(prepared, setting, observer, cancel))?;
    }
    if prepared.place.is_some() && prepared.remote.is_none() {
        clock.time("hashed the checkpoint", || {
            identify_all(&mut prepared.source, &prepared.checkpoint, cancel)
        })?;
    }
    if prepared.needs_base() {
        let needed = prepared.base_bytes() + prepared.bytes_to_make();
        files::check_room(&setting.output.join("base"), needed, observer)?;
    }
    let quantizes = prepared.to_quantize().next().is_some();
    if let Some(mut calculation) = prepared.calculation.take_if(|c| c.cached.is_none() && quantizes) {
        let found = clock
            .time(format!("computed the importance matrix with {}", calculation.tool), || {
                calculation.compute(prepared, base, setting, observer, cancel)
            })?;
        prepared.calculation = Some(calculation);
        prepare::take_matrix(prepared, found, setting)?;
    }
    let converted = match prepared.foreign.as_ref().filter(|_| quantizes) {
        None => None,
        Some(foreign) => {
            let what = format!("converted the checkpoint with {}'s own converter", foreign.converter);
            let path = base.path(prepared, setting, observer, cancel)?;
            // What the outputs are may have been known only from it.
            base.conversion().into_iter().for_each(|span| clock.add(&*what, span));
            let model = GgufModel::open(path)?;
            let blueprint = Blueprint::from_gguf(&model)?;
            if blueprint.metadata != prepared.blueprint.metadata
                || blueprint.tensors != prepared.blueprint.tensors
            {
                return Err(JobError::OtherBase { name });
            }
            Some((model, blueprint))
        }
    };

    let prepared = &*prepared;
    let quantized: Vec<&Planned> = prepared.to_quantize().collect();
    let towers: Vec<&Planned> = prepared.to_make().filter(|o| o.tower.is_some()).collect();
    let outputs: Vec<&Planned> = quantized.iter().chain(&towers).copied().collect();
    announce(&quantized, &name, observer);
    let fresh = !setting.output.exists();
    let target = |o: &&Planned| Target {
        name: o.method.name.to_owned(),
        path: o.whole_path(),
        layout: o.layout.clone(),
        parts: o.parts.clone(),
    };
    let targets: Vec<Target> = quantized.iter().map(target).collect();
    let work = Work {
        threads: setting.threads,
        memory: setting.memory,
        check_finite: true,
        hash: true,
        stats: setting.stats,
        outlives: Outlives::Power,
        task: name.clone(),
    };
    let (mut whole, mut pass, mut seconds) = (Vec::new(), PassReport::default(), Vec::new());
    if !quantized.is_empty() {
        let what = format!("converted and quantized in one pass: {}", methods(&quantized));
        let (unnamed, report) = clock.time(what, || {
            let imatrix = prepared.imatrix.as_ref();
            let (weights, blueprint): (&dyn Weights, _) = match &converted {
                Some((model, blueprint)) => (model, blueprint),
                None => (&prepared.checkpoint, &prepared.blueprint),
            };
            files::make(weights, blueprint, &targets, imatrix, &work, cancel, observer)
                .inspect_err(|_| remove_empty(&outputs, fresh.then_some(&setting.output)))
        })?;
        (pass, seconds) = (report, vec![clock.last(); quantized.len()]);
        whole.push(unnamed);
    }
    for (output, tower) in towers.iter().filter_map(|o| Some((o, o.tower.as_ref()?))) {
        let what = format!("converted the vision tower: {}", output.method.name);
        let work = Work { stats: false, ..work.clone() };
        let (unnamed, report) = clock.time(what, || {
            files::make(&prepared.checkpoint, tower, &[target(output)], None, &work, cancel, observer)
                .inspect_err(|_| remove_empty(&outputs, fresh.then_some(&setting.output)))
        })?;
        pass.bytes_read += report.bytes_read;
        seconds.push(clock.last());
        whole.push(unnamed);
    }
    // Nothing of an earlier run is touched before all files are whole.
    for output in &outputs {
        forget(output)?;
    }
    let written = whole.into_iter().map(Unnamed::commit).collect::<Result<Vec<_>, _>>()?.concat();
    let mut checked = None;
    if prepared.model.check && !quantized.is_empty() {
        let tried: Vec<_> = quantized.iter().map(|o| (o.method.name, o.path())).collect();
        let what = "loaded each output with llama.cpp and generated from it";
        checked = Some(clock.time(what, || smoke::check(&tried, setting, observer, cancel))?);
    }
    let all = seconds.iter().skip(quantized.len().saturating_sub(1)).sum();
    let passed = clock.passed(pass, all, written.len(), setting.threads, &name, observer);
    for output in &quantized {
        importance::put_beside(prepared.calculation.as_ref(), &output.folder)?;
    }
    let beside = outputs.iter().zip(&written).zip(&seconds).flat_map(|((output, file), seconds)| {
        let mut record = papers::record(output, file, &passed.report, *seconds);
        if output.tower.is_none() {
            record.imatrix_file.clone_from(&prepared.imatrix_file);
            record.checked.clone_from(&checked);
        }
        prepared.papers.beside(prepared, output, record, &passed.run)
    });
    atomic::write_each(beside.collect()).map_err(|(path, source)| JobError::Io { path, source })?;
    let mut made = Vec::new();
    for (output, file) in outputs.iter().zip(written) {
        clear(output, &file)?;
        made.push(passed.made(output, file, &name, observer));
    }
    let text = "model cards, logs and metadata written";
    observer.event(Event::new(Code::CardWritten, text).about(&*name));
    Ok(made)
}

/// Removes downloaded weights, unless they are to be kept.
pub(super) fn forget_weights(
    prepared: &Prepared,
    setting: &Setting,
    cancel: &Cancel,
) -> Result<(), JobError> {
    if let (Some(remote), false) = (&prepared.remote, setting.keep_files) {
        hub::remove_weights(&remote.repo, &remote.commit, &setting.hub, cancel)?;
    }
    Ok(())
}

/// Brings the weights of a remote checkpoint here, at the very commit that the job was laid out for.
pub(super) fn fetch(
    prepared: &mut Prepared,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), JobError> {
    let Some(remote) = &prepared.remote else { return Ok(()) };
    let snapshot = hub::snapshot(&remote.repo, Some(&remote.commit), &setting.hub, observer, cancel)?;
    let mut checkpoint = Checkpoint::open(&snapshot.folder)?;
    checkpoint.origin = prepared.checkpoint.origin.clone();
    if checkpoint.tensors != prepared.checkpoint.tensors {
        return Err(JobError::Changed { repo: remote.repo.to_string() });
    }
    prepared.checkpoint = checkpoint;
    Ok(())
}

/// The names of the outputs' methods.
pub(super) fn methods(outputs: &[&Planned]) -> String {
    outputs.iter().map(|o| o.method.name).collect::<Vec<_>>().join(", ")
}

pub(super) fn announce(outputs: &[&Planned], name: &str, observer: &dyn Observer) {
    let methods = methods(outputs);
    if outputs.is_empty() {
        return;
    }
    observer.event(
        Event::new(Code::PassStarted, format!("one pass over the weights for {methods} ({})", simd::level()))
            .about(name),
    );
    for output in outputs {
        if let Some(coverage) = &output.coverage {
            observer.event(coverage.event(output.method.name).about(name));
        }
    }
    let fallbacks = outputs.iter().map(|o| (o, &o.layout.fallbacks)).filter(|(_, f)| !f.is_empty());
    let counts: Vec<_> = fallbacks.clone().map(|(o, f)| (o.method.name, f.len())).collect();
    if let Some((output, first)) = fallbacks.clone().find_map(|(o, f)| Some((o, f.first()?))) {
        let width = output.layout.header.tensors[first.tensor].shape[0];
        let text = format!(
            "tensors whose width does not fit took another type, such as {} in place of {} at width {width}: {}",
            first.used,
            first.wanted,
            counts.iter().map(|(method, n)| format!("{n} in {method}")).collect::<Vec<_>>().join(", ")
        );
        let tensors: serde_json::Map<_, _> =
            counts.into_iter().map(|(m, n)| (m.to_owned(), n.into())).collect();
        observer.event(Event::new(Code::TensorFallback, text).about(name).with("tensors", tensors));
    }
}

/// Takes away the folders that a job left empty when it failed.
fn remove_empty(outputs: &[&Planned], root: Option<&PathBuf>) {
    for folder in outputs.iter().map(|o| &o.folder).chain(root) {
        // One that is not empty, or never was there, is as it should be.
        let _ = fs::remove_dir(folder);
    }
}

/// Takes away the files that an earlier run left under this output's name and this one did not write: it was split
/// then, or into another number of parts.
fn clear(output: &Planned, written: &Written) -> Result<(), JobError> {
    let io_error = |path: &Path, source| JobError::Io { path: path.to_owned(), source };
    for entry in fs::read_dir(&output.folder).map_err(|e| io_error(&output.folder, e))? {
        let path = entry.map_err(|e| io_error(&output.folder, e))?.path();
        if is_of_split(&path, &output.whole_path()) && !written.files.iter().any(|f| f.path == path) {
            fs::remove_file(&path).map_err(|e| io_error(&path, e))?;
        }
    }
    Ok(())
}

/// Metadata and the receipt of an earlier run must not vouch for a file that is about to change.
fn forget(output: &Planned) -> Result<(), JobError> {
    for name in [metadata::FILE_NAME, RECEIPT] {
        let path = output.folder.join(name);
        match fs::remove_file(&path) {
            Err(source)
                if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Err(JobError::Io { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}
