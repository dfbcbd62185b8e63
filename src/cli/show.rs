//! `plan`: what would be made and published, to people and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::failure::{Failure, Kind};
use super::work::{job_failed, outcome};
use super::{Context, plan_text, print};
use crate::base::{space, units};
use crate::config::{self, Model};
use crate::event::{About, Code, Event, Observer};
use crate::plan::Decision;
use crate::run::importance::Calculation;
use crate::run::{self, Foreign, JobError, Place, Planned, Prepared, Setting};

/// How a plan is shown, beside what is printed.
#[derive(Debug, Default)]
pub(super) struct Ways<'a> {
    /// The models.yaml that it is of.
    pub(super) config: Option<&'a Path>,
    /// As a matrix, in which each entry of the models.yaml belongs to the job of this name.
    pub(super) matrix: Option<Vec<(config::Place, String)>>,
    /// As a comment on a pull request.
    pub(super) comment: bool,
}

/// What is known of the models before their work.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Those that can be made.
    pub(super) ready: Vec<Prepared>,
    /// Those of which llama.cpp's converter has to make a file first.
    pub(super) foreign: Vec<(&'a Model, Foreign)>,
    /// Those that cannot be made, and why.
    pub(super) failed: Vec<(&'a Model, Failure)>,
}

/// Tells GitHub why there is no plan: what is wrong with the models.yaml.
pub(super) fn problems(failure: &Failure, comment: Option<&Path>, context: &Context) {
    if let Some(text) = plan_text::of_problems(failure) {
        plan_text::tell(&text, None, comment, context);
    }
}

/// Shows what would be made and published.
///
/// # Errors
/// A model cannot be made; in a matrix that is for its job to say.
pub(super) fn show(
    models: &[Model],
    setting: &Setting,
    ways: &Ways<'_>,
    context: &Context,
) -> Result<(), Failure> {
    let asked = models.len();
    let setting = &Setting { tokens: context.tokens()?, ..setting.clone() };
    let mut plan = Plan::default();
    for model in models {
        let observer = About { observer: &*context.observer, subject: &model.name };
        match run::prepare(model, setting, &observer, &context.cancel) {
            Ok(prepared) => plan.ready.push(prepared),
            // Nothing is wrong with it; sizes are known once it was converted.
            Err(JobError::Unconverted(foreign)) => plan.foreign.push((model, *foreign)),
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind == Kind::Interrupted {
                    return Err(failure);
                }
                observer.event(match &ways.matrix {
                    Some(_) => Event { code: Code::JobDoubtful, ..job_failed(&failure, model, ways.config) },
                    None => job_failed(&failure, model, ways.config),
                });
                plan.failed.push((model, failure));
            }
        }
    }
    let matrix = ways.matrix.as_ref().map(|ids| plan_text::matrix(&plan, ids));
    if context.actions().is_some() || ways.comment {
        let comment = ways.config.filter(|_| ways.comment);
        plan_text::tell(&plan_text::text(&plan, context), matrix.as_ref(), comment, context);
    }
    if let Some(matrix) = matrix {
        return print(&format!("{matrix}\n"));
    }
    print(&if context.json { plan_json(&plan) } else { plan_text(&plan, setting) })?;
    let failed = plan.failed.into_iter().map(|(model, failure)| (model.name.clone(), failure)).collect();
    outcome(asked, failed, context)
}

/// What would be done about an output, and why.
pub(super) fn decision(p: &Prepared, output: &Planned) -> String {
    match &output.decision {
        Decision::Published => "published, up to date".to_owned(),
        Decision::Keep if p.publishes() => "made already: publish".to_owned(),
        Decision::Keep => "up to date".to_owned(),
        Decision::Make(why) => format!("make: {why}"),
    }
}

/// Who sees a repository.
pub(super) fn visible(private: bool) -> &'static str {
    if private { "private" } else { "public" }
}

fn plan_text(plan: &Plan<'_>, setting: &Setting) -> String {
    let Plan { ready, foreign, failed } = plan;
    let mut out = String::new();
    for (model, foreign) in foreign {
        let (name, source, methods) = (&model.name, &model.source, model.methods.join(", "));
        let weights = units::decimal(foreign.weight_bytes);
        let _ = writeln!(out, "{name}  {source}: {weights} of weights");
        let _ = writeln!(out, "    {}", foreign.describe());
        let _ = writeln!(out, "    {methods}: sizes are known once it was converted");
    }
    for p in ready {
        let commit = p.source.commit.as_deref().map(|c| format!(" at {}", &c[..c.len().min(12)]));
        let _ = writeln!(
            out,
            "{}  {}{}: {}, {} parameters, {} of weights",
            p.model.name,
            p.model.source,
            commit.unwrap_or_default(),
            p.blueprint.architecture,
            units::count(p.source.parameters),
            units::decimal(p.checkpoint.weight_bytes())
        );
        if let Some(place) = &p.place {
            let _ = writeln!(out, "    to {}", where_to(p, place));
        }
        for note in notes(p) {
            let _ = writeln!(out, "    {note}");
        }
        for o in &p.outputs {
            let decision = decision(p, o);
            let _ = writeln!(
                out,
                "    {:8} {:>13} bytes  {:5.2} bits  {decision}",
                o.method.name,
                o.bytes(),
                o.layout.bits_per_weight()
            );
        }
    }
    let fetch: u64 = ready.iter().map(Prepared::bytes_to_fetch).sum();
    let make: u64 = ready.iter().map(Prepared::bytes_to_make).sum();
    let write: u64 = ready.iter().map(Prepared::bytes_to_write).sum();
    let publish: u64 = ready.iter().map(Prepared::bytes_to_publish).sum();
    let measures = ready.iter().any(|p| p.to_measure().next().is_some());
    let whole = foreign.is_empty() && failed.is_empty();
    if make == 0 && whole && !measures && !ready.iter().any(Prepared::publishes) {
        out.push_str("everything is up to date\n");
        return out;
    }
    let _ = writeln!(
        out,
        "in all: {} to download, {} to write into `{}`{}{}",
        units::decimal(fetch),
        units::decimal(write),
        setting.output.display(),
        free(&setting.output),
        if ready.iter().any(|p| p.place.is_some()) {
            format!(", {} to publish", units::decimal(publish))
        } else {
            String::new()
        }
    );
    out
}

/// What a job does beside making its outputs, and what that takes.
pub(super) fn notes(p: &Prepared) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(streaming) = &p.streaming {
        notes.push(format!("streamed, no weights or outputs on the disk: {streaming}"));
    }
    let makes = p.to_make().next().is_some();
    if let Some(calculation) = p.calculation.as_ref().filter(|_| makes) {
        notes.push(format!("importance matrix {}", calculation.describe()));
    }
    if let Some(foreign) = p.foreign.as_ref().filter(|_| makes) {
        notes.push(foreign.describe());
    } else if p.needs_base() {
        let base = units::decimal(p.base_bytes());
        notes.push(format!("{base} on the disk meanwhile: the model as a file for llama.cpp"));
    }
    notes.extend(measuring(p));
    notes
}

/// What is measured, and what that takes of the disk meanwhile.
fn measuring(p: &Prepared) -> Option<String> {
    let wanted = &p.evaluating.as_ref()?.wanted;
    let methods: Vec<&str> = p.to_measure().map(|o| o.method.name).collect();
    if methods.is_empty() {
        return None;
    }
    let mut text = format!(
        "measure {} over `{}`: {} of {} tokens",
        methods.join(", "),
        wanted.text.name,
        units::counted(wanted.chunks as usize, "chunk"),
        wanted.context
    );
    if wanted.compare {
        let (probabilities, base) = (units::decimal(p.probabilities()), units::decimal(p.base_bytes()));
        let _ =
            write!(text, "; meanwhile {probabilities} of probabilities and {base} of the model on the disk");
    }
    Some(text)
}

/// The repository, and what changes there beside the outputs.
fn where_to(p: &Prepared, place: &Place) -> String {
    let mut text = place.to.repo.to_string();
    match &place.there {
        None => {
            let _ = write!(text, ": to be created, {}", visible(place.to.private));
        }
        Some(there) => {
            let head = &there.state.head;
            let _ = write!(text, ": {}, at {}", visible(there.state.private), &head[..head.len().min(12)]);
        }
    }
    if p.publishes() && place.to.create_pr {
        text.push_str("; as a pull request");
    }
    if let Some(url) = &place.proposed {
        let _ = write!(text, "; proposed already: {url}");
    }
    if !place.texts.is_empty() && p.outputs.iter().all(|o| o.decision == Decision::Published) {
        let _ = write!(text, "; rewrite {}", place.texts.join(", "));
    }
    if !place.delete.is_empty() {
        let _ = write!(text, "; delete {}", place.delete.join(", "));
    }
    text
}

/// Free space where the outputs go, where the system tells.
fn free(output: &Path) -> String {
    let free = space::free(output).ok().flatten();
    free.map(|n| format!(", {} free there", units::decimal(n))).unwrap_or_default()
}

fn plan_json(plan: &Plan<'_>) -> String {
    let jobs: Vec<Json> = plan
        .ready
        .iter()
        .map(|p| {
            let outputs: Vec<Json> = p
                .outputs
                .iter()
                .map(|o| {
                    let why = match &o.decision {
                        Decision::Keep | Decision::Published => None,
                        Decision::Make(why) => Some(why.to_string()),
                    };
                    let new = p.publishes() && o.decision != Decision::Published;
                    let publish = p.place.as_ref().map(|_| new);
                    json!({"method": o.method.name, "path": o.path(), "files": o.parts.len().max(1), "bytes": o.bytes(),
                           "bits_per_weight": o.layout.bits_per_weight(), "make": why.is_some(), "why": why, "publish": publish})
                })
                .collect();
            let evaluate = p.evaluating.as_ref().filter(|_| p.to_measure().next().is_some()).map(|e| {
                let methods: Vec<&str> = p.to_measure().map(|o| o.method.name).collect();
                json!({"methods": methods, "text": e.wanted.text, "chunks": e.wanted.chunks, "context": e.wanted.context,
                       "probabilities_bytes": p.probabilities(), "base_bytes": p.base_bytes()})
            });
            let place = p.place.as_ref().map(|place| {
                let there = place.there.as_ref().map(|t| &t.state);
                json!({"repo": place.to.repo.to_string(), "create": there.is_none(),
                       "private": there.map_or(place.to.private, |t| t.private), "head": there.map(|t| &t.head),
                       "pull_request": place.to.create_pr, "change": p.publishes(), "rewrite": place.texts,
                       "proposed": place.proposed, "delete": place.delete})
            });
            json!({"model": p.model.name, "source": p.model.source.to_string(), "commit": p.source.commit,
                   "architecture": p.blueprint.architecture, "parameters": p.source.parameters,
                   "download_bytes": p.bytes_to_fetch(), "write_bytes": p.bytes_to_write(), "disk_needed": p.disk_needed(),
                   "imatrix": p.calculation.as_ref().map(imatrix_json), "base_bytes": p.base_bytes(),
                   "converter": p.foreign.as_ref().map(|f| &f.converter), "stream": p.streaming, "publish_bytes": p.bytes_to_publish(), "publish": place, "evaluate": evaluate,
                   "outputs": outputs})
        })
        .chain(plan.foreign.iter().map(|(model, f)| {
            json!({"model": model.name, "source": model.source.to_string(), "methods": model.methods,
                   "converter": f.converter, "why": f.why, "base_bytes": f.weight_bytes, "outputs": null})
        }))
        .chain(plan.failed.iter().map(|(model, failure)| {
            json!({"model": model.name, "error": failure.text(), "hint": failure.hint})
        }))
        .collect();
    format!("{}\n", json!({ "jobs": jobs }))
}

fn imatrix_json(calculation: &Calculation) -> Json {
    let Calculation { file, text, chunks, tool, cached } = calculation;
    json!({"file": file, "dataset": text.name, "dataset_sha256": text.sha256, "chunks": chunks, "tool": tool,
           "cached": cached.is_some()})
}
