//! `report`: what came of the jobs of a matrix, as one.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::ReportArgs;
use super::failure::{Failure, Kind};
use super::plan_text::refused;
use super::results::leave;
use super::{Context, print};
use crate::base::units;
use crate::event::{Code, Event};
use crate::github::{
    self, AssetFile, GithubError, ModelResult, ReleaseRef, Results, ResultsError, Status, Tracked,
    WorkflowEvent, issue, markdown,
};

/// Longest result that is read, in bytes.
const LONGEST: u64 = 256 << 20;
/// Folders within folders that are looked into.
const DEEPEST: usize = 8;

/// Runs `report`.
///
/// # Errors
/// A file holds no result, jobs failed, or the release takes no files.
pub(super) fn run(args: &ReportArgs, context: &Context) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for path in &args.paths {
        // Where no job left anything there is no folder, either; the matrix says which are missing.
        if args.matrix.is_none() || path.exists() {
            read(path, 0, &mut parts)?;
        }
    }
    let parts = latest(parts);
    let missing = match &args.matrix {
        Some(file) => missing(file, &parts)?,
        None => Vec::new(),
    };
    for lost in &missing {
        let event = Event::new(Code::ResultMissing, lost.error.clone().unwrap_or_default());
        context.observer.event(event.about(&*lost.model).with("hint", lost.hint.clone()));
    }
    let mut results = Results::gather(parts);
    results.models.extend(missing);

    leave(&results, "Quantization", args.report.as_ref(), context)?;
    print(&if context.json { format!("{}\n", results.in_short()) } else { lines(&results) })?;
    if args.track_issue
        && let Err(failure) = track(&results, &args.config, context)
    {
        context.observer.event(refused(&failure));
    }
    if let Some(tag) = &args.release {
        release(&results, tag.as_deref(), context)?;
    }
    let (failed, all) = (results.with(Status::Failed).count(), results.models.len());
    let kind = match failed {
        0 => return Ok(()),
        n if n == all => Kind::AllFailed,
        _ => Kind::SomeFailed,
    };
    let names: Vec<String> = results.with(Status::Failed).map(|m| format!("`{}`", m.model)).collect();
    let text = format!("{failed} of {} failed: {}", units::counted(all, "model"), names.join(", "));
    let failure = Failure::new(kind, anyhow::anyhow!(text));
    Err(if context.json { failure.told() } else { failure })
}

/// Reads a file of results, or those of a folder.
fn read(path: &Path, depth: usize, parts: &mut Vec<Results>) -> Result<(), Failure> {
    let io = |e: std::io::Error| {
        Failure::new(Kind::Input, anyhow::Error::new(e).context(format!("cannot read `{}`", path.display())))
    };
    let found = fs::metadata(path).map_err(io)?;
    if found.is_dir() {
        if depth > DEEPEST {
            return Ok(());
        }
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .map_err(io)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, _>>()
            .map_err(io)?;
        entries.sort();
        for entry in entries {
            let json = entry.extension().is_some_and(|extension| extension == "json");
            if json || fs::symlink_metadata(&entry).is_ok_and(|found| found.is_dir()) {
                read(&entry, depth + 1, parts)?;
            }
        }
        return Ok(());
    }
    if found.len() > LONGEST {
        let text = format!("`{}` is too long for a result", path.display());
        return Err(Failure::new(Kind::Input, anyhow::anyhow!(text)));
    }
    let text = fs::read(path).map_err(io)?;
    let of_file = |e: ResultsError| {
        let hint = super::failure::Explain::hint(&e);
        let error = anyhow::Error::new(e).context(format!("cannot use `{}`", path.display()));
        Failure::new(Kind::Input, error).maybe_hint(hint)
    };
    match Results::from_json(&text).map_err(of_file)? {
        Some(results) => parts.push(results),
        // Other JSON may stand beside results; nobody named it.
        None if depth > 0 => {}
        None => {
            let text = format!("`{}` is no result of a job", path.display());
            return Err(
                Failure::new(Kind::Input, anyhow::anyhow!(text)).hint("`run --result FILE` writes one")
            );
        }
    }
    Ok(())
}

/// Of a job that ran more than once, the last result.
fn latest(parts: Vec<Results>) -> Vec<Results> {
    let mut kept: Vec<Results> = Vec::new();
    for part in parts {
        match kept.iter_mut().find(|other| part.job.is_some() && other.job == part.job) {
            Some(other) if other.started <= part.started => *other = part,
            Some(_) => {}
            None => kept.push(part),
        }
    }
    kept
}

#[derive(Deserialize)]
struct RawMatrix {
    include: Vec<RawJob>,
}

#[derive(Deserialize)]
struct RawJob {
    id: String,
    #[serde(default)]
    models: String,
    #[serde(default)]
    repo: String,
}

/// The jobs of a matrix that left no result.
fn missing(file: &Path, parts: &[Results]) -> Result<Vec<ModelResult>, Failure> {
    let wrong = |error: anyhow::Error| {
        Failure::new(Kind::Input, error.context(format!("cannot read the matrix `{}`", file.display())))
            .hint("it is what `plan --matrix` prints")
    };
    let text = fs::read(file).map_err(|e| wrong(e.into()))?;
    let matrix: RawMatrix = serde_json::from_slice(&text).map_err(|e| wrong(e.into()))?;
    let lost = |job: &RawJob| !parts.iter().any(|part| part.job.as_deref() == Some(&*job.id));
    let result = |job: RawJob| ModelResult {
        model: if job.models.is_empty() { job.id.clone() } else { job.models },
        status: Status::Failed,
        repo: Some(job.repo).filter(|repo| !repo.is_empty()),
        error: Some(format!("its job `{}` left no result", job.id)),
        hint: Some("it was cancelled, ran out of time, or its runner was lost: its log says more".to_owned()),
        ..ModelResult::default()
    };
    Ok(matrix.include.into_iter().filter(lost).map(result).collect())
}

/// A line a model.
fn lines(results: &Results) -> String {
    let line = |m: &ModelResult| {
        let more = m.error.as_deref().or(m.url.as_deref()).unwrap_or_default();
        let line = format!("{}  {}  {more}", m.model, m.status.text());
        let one_line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        one_line.trim_end().to_owned() + "\n"
    };
    match results.models.len() {
        0 => "everything is up to date\n".to_owned(),
        _ => results.models.iter().map(line).collect(),
    }
}

/// Keeps the issue that tells of failures.
fn track(results: &Results, config: &Path, context: &Context) -> Result<(), Failure> {
    let options = context.github()?;
    let run = context.run_url();
    let workflow = context.actions().and_then(|a| a.workflow.as_deref()).unwrap_or_default();
    let marker = markdown::marker("failures", &format!("{workflow}\n{}", config.display()));
    let redact = |text: String| context.redactor.redact(&text).into_owned();
    let tracked = if results.with(Status::Failed).next().is_some() {
        let text = redact(issue::body(results, run.as_deref()));
        Tracked::Fails { title: issue::title(results), text }
    } else {
        Tracked::Works { text: redact(issue::closing(results, run.as_deref())) }
    };
    github::track(&tracked, &marker, &options, &*context.observer, &context.cancel)?;
    Ok(())
}

/// Attaches the report, checksums and metadata to a release.
fn release(results: &Results, tag: Option<&str>, context: &Context) -> Result<(), Failure> {
    let options = context.github()?;
    let actions = context.actions();
    let event =
        actions.and_then(|a| a.event.as_deref()).map(WorkflowEvent::read).transpose()?.unwrap_or_default();
    let of_run =
        || event.release.map(ReleaseRef::Id).or_else(|| Some(ReleaseRef::Tag(actions?.tag.clone()?)));
    let which = tag.map(|tag| ReleaseRef::Tag(tag.to_owned())).or_else(of_run);
    let which = which.ok_or(GithubError::NoSubject { wanted: "release" })?;
    let files = github::release_files(results);
    let redact = |file: AssetFile| AssetFile {
        bytes: match String::from_utf8(file.bytes) {
            Ok(text) => context.redactor.redact(&text).into_owned().into_bytes(),
            Err(other) => other.into_bytes(),
        },
        name: file.name,
    };
    let files: Vec<AssetFile> = files.into_iter().map(redact).collect();
    github::attach(&which, &files, &options, &*context.observer, &context.cancel)?;
    Ok(())
}
