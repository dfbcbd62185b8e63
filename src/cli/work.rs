//! Doing jobs: each after the other, their uploads behind them; and what came of it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::args::WorkArgs;
use super::context::Tools;
use super::failure::{Failure, Kind};
use super::results::{self, Begun, Noting};
use super::show::{Ways, show};
use super::{Context, print, runner};
use crate::base::units;
use crate::config::Model;
use crate::event::{About, Code, Event, Observer};
use crate::hub::Receipt;
use crate::quantize::simd;
use crate::run::files::WrittenFile;
use crate::run::{self, Delivery, JobReport, Rejected, Setting};

/// What came of a job.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) model: String,
    pub(super) report: JobReport,
    /// What was published.
    pub(super) receipt: Option<Receipt>,
    pub(super) failure: Option<Failure>,
}

/// Where jobs are from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct From<'a> {
    /// The models.yaml.
    pub(super) config: Option<&'a Path>,
    /// The job of a matrix that they are.
    pub(super) job: Option<&'a str>,
}

/// Does every job; one that fails does not stop the others. While the next job is under way, the last one's outputs
/// are uploaded.
///
/// # Errors
/// Jobs failed, or the user stopped them.
pub(super) fn work(
    models: &[Model],
    args: &WorkArgs,
    from: From<'_>,
    tools: &Tools,
    context: &Context,
) -> Result<(), Failure> {
    let mut setting = context.setting(args.output.as_ref(), args.force, args.keep_files, tools);
    setting.stats = !args.no_stats;
    setting.publish &= !args.publish.skip_upload;
    if args.dry_run {
        return show(models, &setting, &Ways { config: from.config, ..Ways::default() }, context);
    }
    let begun = Begun::now();
    let noting = Noting::new(&*context.observer);
    context.observer.event(started(context));
    let behind = context.uploads_behind(args.async_upload);
    let mut jobs = do_all(models, &setting, behind, from, &noting, context);
    let results = results::results(&jobs, models, from, &begun, &noting, context);
    // Of those that were under way the last one says it for all.
    let is_stopped = |job: &&mut Job| job.failure.as_ref().is_some_and(|f| f.kind == Kind::Interrupted);
    let mut stopped = None;
    for job in jobs.iter_mut().filter(is_stopped) {
        stopped = job.failure.take().map(|failure| (job.model.clone(), failure));
    }
    if let Some((model, _)) = &stopped {
        let text = "stopped; what was finished stays, and nothing half is under a final name or published";
        let hint = "the same command goes on from here";
        context.observer.event(Event::new(Code::Interrupted, text).about(&**model).with("hint", hint));
    }
    if !args.publish.skip_upload && !context.skips_uploads() {
        say_unpublished(models, &jobs, &setting, context);
    }
    context.observer.event(finished(&jobs, begun.elapsed()));
    print(&if context.json { summary_json(&jobs) } else { summary(&jobs) })?;
    if let Some(path) = &args.result {
        results::write(path, &results.to_json())?;
    }
    results::leave(&results, "Quantization", args.report.as_ref(), context)?;
    let failed = jobs.into_iter().filter_map(|job| Some((job.model, job.failure?))).collect();
    stopped.map_or_else(|| outcome(models.len(), failed, context), |(_, failure)| Err(failure.told()))
}

/// Does the jobs in order. `behind`: the upload of one goes on while the next is done.
fn do_all(
    models: &[Model],
    setting: &Setting,
    behind: bool,
    from: From<'_>,
    noting: &Noting<'_>,
    context: &Context,
) -> Vec<Job> {
    let deliver = |i: usize, delivery: Delivery| {
        let observer = About { observer: noting, subject: &delivery.model };
        let receipt = context
            .tokens()
            .and_then(|tokens| Ok(delivery.deliver(&tokens, context.hub(), &observer, &context.cancel)?));
        told(receipt, &models[i], from, &observer)
    };
    thread::scope(|scope| {
        let (queue, waiting) = mpsc::channel::<(usize, Delivery)>();
        let uploads = scope.spawn(move || {
            waiting.into_iter().map(|(i, delivery)| (i, deliver(i, delivery))).collect::<Vec<_>>()
        });
        let mut jobs: Vec<Job> = Vec::new();
        let mut results = Vec::new();
        for (i, model) in models.iter().enumerate() {
            let observer = About { observer: noting, subject: &model.name };
            let done = context.tokens().and_then(|tokens| {
                let setting = Setting { tokens, ..setting.clone() };
                Ok(run::perform(model, &setting, &observer, &context.cancel)?)
            });
            let mut job = Job { model: model.name.clone(), ..Job::default() };
            match told(done, model, from, &observer) {
                Ok((report, delivery)) => {
                    let rejection = report.rejection().map_or(Ok(()), |error| Err(error.into()));
                    job.failure = told(rejection, model, from, &observer).err();
                    job.report = report;
                    match delivery {
                        Some(delivery) if behind => {
                            queue.send((i, delivery)).expect("the receiver ends when this sender does");
                        }
                        Some(delivery) => results.push((i, deliver(i, delivery))),
                        None => {}
                    }
                }
                Err(failure) => job.failure = Some(failure),
            }
            jobs.push(job);
            if context.cancel.is_cancelled() {
                break;
            }
        }
        drop(queue);
        results.extend(uploads.join().expect("an upload that panics has no result to go on with"));
        for (i, result) in results {
            match result {
                Ok(receipt) => jobs[i].receipt = receipt,
                Err(failure) => jobs[i].failure = Some(failure),
            }
        }
        jobs
    })
}

/// Says at once why a job failed.
fn told<T>(
    done: Result<T, Failure>,
    model: &Model,
    from: From<'_>,
    observer: &dyn Observer,
) -> Result<T, Failure> {
    if let Err(failure) = &done
        && failure.kind != Kind::Interrupted
    {
        observer.event(job_failed(failure, model, from.config));
    }
    done
}

/// Says once what stays on this machine though nobody said that it should.
fn say_unpublished(models: &[Model], jobs: &[Job], setting: &Setting, context: &Context) {
    let nowhere = |model: &&Model| !setting.publish || matches!(model.repo(), Ok(None));
    let has_outputs = |model: &&Model| {
        jobs.iter().any(|j| j.model == model.name && !(j.report.made.is_empty() && j.report.kept.is_empty()))
    };
    let left: Vec<&Model> = models.iter().filter(nowhere).filter(has_outputs).collect();
    if left.is_empty() {
        return;
    }
    let what = match left.len() {
        n if n == jobs.len() => "nothing was published".to_owned(),
        _ => {
            let names: Vec<String> = left.iter().map(|m| format!("`{}`", m.name)).collect();
            format!("nothing was published of {}", names.join(", "))
        }
    };
    let (why, hint) = match setting.publish {
        true => (
            "nothing says where",
            "`publish: { owner: NAME }` or JAMPH_OWNER says where; --skip-upload, that this is meant",
        ),
        false => ("offline", "run again without HF_HUB_OFFLINE"),
    };
    let text = format!("{what}: {why}; the outputs are in `{}`", setting.output.display());
    context.observer.event(Event::new(Code::NothingPublished, text).with("hint", hint));
}

fn started(context: &Context) -> Event {
    let threads = units::counted(context.threads, "thread");
    let text =
        format!("{} {}, {threads}, {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), simd::level());
    Event::new(Code::RunStarted, text)
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("threads", context.threads)
}

fn finished(jobs: &[Job], time: Duration) -> Event {
    let sum = |count: fn(&Job) -> usize| jobs.iter().map(count).sum::<usize>();
    let made = sum(|j| j.report.made.len());
    let kept = sum(|j| j.report.kept.len() + j.report.published.len());
    let published = sum(|j| j.receipt.iter().len());
    let failed = sum(|j| j.failure.iter().len());
    let parts = [
        (made, "output", " made"),
        (kept, "output", " up to date"),
        (published, "model", " published"),
        (failed, "job", " failed"),
    ];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    let parts = parts.map(|(n, noun, what)| units::counted(n, noun) + what).collect::<Vec<_>>().join(", ");
    let what = if parts.is_empty() { "nothing made" } else { &parts };
    Event::new(Code::RunFinished, format!("{what}; {}", units::duration(time)))
        .with("made", made)
        .with("kept", kept)
        .with("published", published)
        .with("failed", failed)
}

/// The event of a job that failed, at its entry of the models.yaml.
pub(super) fn job_failed(failure: &Failure, model: &Model, config: Option<&Path>) -> Event {
    let mut event = Event::new(Code::JobFailed, failure.text()).with("exit_code", failure.kind.code());
    if let Some(config) = config {
        let spot = runner::spot(config, model.place);
        event = event.with("file", spot.file).with("line", spot.line).with("column", spot.column);
    }
    match &failure.hint {
        Some(hint) => event.with("hint", hint.as_str()),
        None => event,
    }
}

/// What the failures of some jobs mean for the whole. An event said already why each failed.
///
/// # Errors
/// Jobs failed.
pub(super) fn outcome(
    asked: usize,
    mut failed: Vec<(String, Failure)>,
    context: &Context,
) -> Result<(), Failure> {
    match failed.len() {
        0 => Ok(()),
        // The one job of a command is the command.
        1 if asked == 1 => Err(failed.remove(0).1.told()),
        n => {
            let kind = if n == asked { Kind::AllFailed } else { Kind::SomeFailed };
            let names = failed.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let failure = Failure::new(kind, anyhow::anyhow!("{n} of {asked} jobs failed: {names}"));
            // In JSON, the result has said which.
            Err(if context.json { failure.told() } else { failure })
        }
    }
}

/// The result as JSON.
fn summary_json(jobs: &[Job]) -> String {
    let job = |job: &Job| {
        let Job { model, report, receipt, failure } = job;
        let made = report.made.iter().map(|m| {
            let files = |f: &WrittenFile| json!({"path": f.path, "bytes": f.bytes, "sha256": f.sha256});
            let files: Vec<Json> = m.written.files.iter().map(files).collect();
            json!({"method": m.method, "path": m.written.first().path, "bytes": m.written.bytes(),
                   "sha256": m.written.sha256(), "files": files, "bits_per_weight": m.bits_per_weight,
                   "snr_db": m.snr_db})
        });
        let kept = report.kept.iter().map(|k| json!({"method": k.method, "path": k.path}));
        let published = report.published.iter().map(|(method, file)| json!({"method": method, "file": file}));
        let mut json = json!({"model": model, "made": made.collect::<Json>(), "kept": kept.collect::<Json>(),
                              "published": published.collect::<Json>(), "proposed": report.proposed, "receipt": receipt});
        if !report.figures.is_empty() {
            let figures = report.figures.iter().map(|(method, e)| json!({"method": method, "evaluation": e}));
            json["evaluations"] = figures.collect();
        }
        if !report.rejected.is_empty() {
            let why = |r: &Rejected| json!({"method": r.method, "path": r.path, "why": r.why.to_string()});
            json["rejected"] = report.rejected.iter().map(why).collect();
        }
        if let Some(failure) = failure {
            json["error"] = failure.text().into();
            json["hint"] = failure.hint.clone().into();
        }
        json
    };
    let published = jobs.iter().any(|job| job.receipt.is_some());
    format!("{}\n", json!({ "jobs": jobs.iter().map(job).collect::<Json>(), "published": published }))
}

/// The result for people: a line an output, and one for each repository.
fn summary(jobs: &[Job]) -> String {
    let mut out = String::new();
    for Job { model, report, receipt, .. } in jobs {
        let mut row = |method: &str, figures: &str, place: &str| {
            let _ = writeln!(out, "{model}  {method:8}  {figures:31}  {place}");
        };
        for m in &report.made {
            let snr = m.snr_db.map(|snr| format!("{snr:5.1} dB")).unwrap_or_default();
            let size = units::decimal(m.written.bytes());
            let figures = format!("{size:>9}  {:5.2} bits  {snr:8}", m.bits_per_weight);
            row(m.method, &figures, &m.written.first().path.display().to_string());
        }
        for k in &report.kept {
            row(k.method, "up to date", &k.path.display().to_string());
        }
        for (method, file) in &report.published {
            row(method, "up to date", &format!("{file} (published)"));
        }
        for (method, figures) in &report.figures {
            let rejected = report.rejected.iter().any(|r| r.method == *method);
            let mark = if rejected { "; not good enough" } else { "" };
            let _ = writeln!(out, "{model}  {method:8}  {}{mark}", figures.summary());
        }
        if let Some(receipt) = receipt {
            let _ = writeln!(out, "{model}  {}", published_line(receipt));
        }
        if let Some(url) = &report.proposed {
            let _ = writeln!(out, "{model}  proposed already: {url}");
        }
    }
    out
}

/// Where something was published, for people.
pub(super) fn published_line(receipt: &Receipt) -> String {
    let commit = &receipt.commit[..receipt.commit.len().min(12)];
    match &receipt.pull_request {
        Some(pull) => format!("proposed: {} (commit {commit})", pull.url),
        None => format!("published: {}/{} (commit {commit})", receipt.endpoint, receipt.repo),
    }
}
