//! What came of jobs, as others are told: a file for `report`, the step's summary and outputs within Actions.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Context;
use super::failure::{Failure, Kind};
use super::runner;
use super::work::{From, Job};
use crate::base::atomic;
use crate::base::token::Token;
use crate::card::metadata::Output;
use crate::config::Model;
use crate::event::{Code, Event, Level, Observer, Progress};
use crate::github::{
    self, Entry, FORMAT_VERSION, ModelResult, OutputFile, OutputResult, Results, Status, StepTime,
};

/// Name of the report in the runner's own folder.
const REPORT: &str = "jamph-quantizer-report.md";

/// Passes events on, and keeps what was warned of, by job.
pub(super) struct Noting<'a> {
    pub(super) observer: &'a dyn Observer,
    warnings: Mutex<Vec<(String, String)>>,
}

impl<'a> Noting<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Noting { observer, warnings: Mutex::default() }
    }

    /// What was warned of in a job, each once.
    fn of(&self, job: &str) -> Vec<String> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut texts: Vec<String> = Vec::new();
        for (_, text) in warnings.iter().filter(|(subject, _)| subject == job) {
            if !texts.contains(text) {
                texts.push(text.clone());
            }
        }
        texts
    }
}

impl Observer for Noting<'_> {
    fn event(&self, event: Event) {
        if event.code.level() == Level::Warning
            && let Some(subject) = &event.subject
        {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            warnings.push((subject.clone(), event.text.clone()));
        }
        self.observer.event(event);
    }

    fn progress(&self, progress: Progress) {
        self.observer.progress(progress);
    }

    fn secret(&self, secret: &Token) {
        self.observer.secret(secret);
    }
}

/// When a command began.
pub(super) struct Begun {
    started: Timestamp,
    start: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Begun { started: Timestamp::now(), start: Instant::now() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What came of jobs, as data.
pub(super) fn results(
    jobs: &[Job],
    models: &[Model],
    from: From<'_>,
    begun: &Begun,
    noting: &Noting<'_>,
    context: &Context,
) -> Results {
    let of = |(job, model): (&Job, &Model)| {
        let result = model_result(job, model, from.config, context);
        ModelResult { warnings: noting.of(&model.name), ..result }
    };
    Results {
        format_version: FORMAT_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        job: from.job.map(str::to_owned),
        started: begun.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: (begun.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        models: jobs.iter().zip(models).map(of).collect(),
    }
}

fn model_result(job: &Job, model: &Model, config: Option<&Path>, context: &Context) -> ModelResult {
    let (report, receipt) = (&job.report, job.receipt.as_ref());
    let repo = model.repo().ok().flatten().map(|repo| repo.to_string());
    let pull =
        receipt.and_then(|r| r.pull_request.as_ref()).map(|pull| &pull.url).or(report.proposed.as_ref());
    let published = !report.published.is_empty();
    let (status, url) = match (&job.failure, pull, receipt) {
        (Some(_), ..) => (Status::Failed, None),
        (None, Some(url), _) => (Status::Proposed, Some(url.clone())),
        (None, None, Some(receipt)) => (Status::Published, Some(receipt.url.clone())),
        (None, None, None) if !report.made.is_empty() => (Status::Made, None),
        (None, None, None) => {
            let page = repo.as_ref().filter(|_| published);
            (Status::UpToDate, page.map(|repo| format!("{}/{repo}", context.hub().endpoint)))
        }
    };
    let metadata = report.metadata.as_ref();
    let made = |output: &Output| report.made.iter().any(|m| m.method == output.recipe.method);
    let outputs = metadata.map(|m| m.outputs.iter().map(|o| output_result(o, made(o))).collect());
    let entry = config.map(|file| {
        let spot = runner::spot(file, model.place);
        Entry { file: spot.file, line: spot.line, column: spot.column }
    });
    let steps = metadata.filter(|_| !report.made.is_empty()).map(|m| {
        let time =
            |s: &crate::card::metadata::Step| Some(StepTime { what: s.what.clone(), seconds: s.seconds? });
        m.run.steps.iter().filter_map(time).collect()
    });
    ModelResult {
        model: model.name.clone(),
        status,
        source: model.source.to_string(),
        commit: metadata.and_then(|m| m.source.commit.clone()),
        entry,
        repo: repo.filter(|_| receipt.is_some() || published || pull.is_some()),
        url,
        outputs: outputs.unwrap_or_default(),
        warnings: Vec::new(),
        error: job.failure.as_ref().map(|failure| context.redactor.redact(&failure.text()).into_owned()),
        hint: job.failure.as_ref().and_then(|failure| failure.hint.clone()),
        steps: steps.unwrap_or_default(),
        metadata: metadata.and_then(|m| serde_json::to_value(m).ok()),
    }
}

fn output_result(output: &Output, made: bool) -> OutputResult {
    let file =
        |f: crate::card::metadata::FilePart| OutputFile { name: f.file, size: f.size, sha256: f.sha256 };
    OutputResult {
        method: output.recipe.method.clone(),
        made,
        files: output.files().into_iter().map(file).collect(),
        bits_per_weight: output.bits_per_weight,
        snr_db: output.quality.and_then(|q| q.snr_db),
        perplexity: output.evaluation.as_ref().map(|e| e.perplexity.value),
        kl_divergence: output.evaluation.as_ref().and_then(|e| Some(e.divergence.as_ref()?.mean_kld.value)),
    }
}

/// Writes results where the user wants them.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e| {
        let error = anyhow::Error::new(e).context(format!("cannot write `{}`", path.display()));
        Failure::new(Kind::Internal, error)
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    atomic::write(path, text.as_bytes()).map_err(failed)
}

/// Leaves what the user and the runner want of results: a report, the step's summary, its outputs.
///
/// # Errors
/// A file that the user asked for cannot be written.
pub(super) fn leave(
    results: &Results,
    title: &str,
    report: Option<&PathBuf>,
    context: &Context,
) -> Result<(), Failure> {
    let actions = context.actions();
    let own = || Some(actions?.temp.as_ref()?.join(REPORT));
    let report = report.cloned().or_else(own);
    if let Some(path) = &report {
        write(path, &github::summary(results, title, usize::MAX))?;
    }
    let Some(actions) = actions else { return Ok(()) };
    if let Some(file) = &actions.files.summary {
        add_summary(&github::summary(results, title, github::summary_left(file)), context);
    }
    let mut outputs = results.outputs();
    let path = report.map(|path| path.display().to_string()).unwrap_or_default();
    outputs.push(("report", path));
    set_outputs(&outputs, context);
    Ok(())
}

/// Adds to the step's summary, where there is one. That it cannot be written is no failure of what it tells.
pub(super) fn add_summary(markdown: &str, context: &Context) {
    if let Some(file) = context.actions().and_then(|a| a.files.summary.as_ref())
        && let Err(error) = github::add_summary(file, &context.redactor.redact(markdown))
    {
        lost("the step's summary", &error, context);
    }
}

/// Sets outputs of the step, where there is one.
pub(super) fn set_outputs(outputs: &[(&str, String)], context: &Context) {
    let Some(file) = context.actions().and_then(|a| a.files.output.as_ref()) else { return };
    let outputs: Vec<(&str, String)> =
        outputs.iter().map(|(name, value)| (*name, context.redactor.redact(value).into_owned())).collect();
    if let Err(error) = github::set_outputs(file, &outputs) {
        lost("the step's outputs", &error, context);
    }
}

fn lost(what: &str, error: &std::io::Error, context: &Context) {
    let text = format!("{what} cannot be written: {error}");
    context.observer.event(Event::new(Code::StepFileLost, text));
}
