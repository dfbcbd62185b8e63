//! A plan for GitHub: as text for people, and as the matrix of a workflow.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::results::{add_summary, set_outputs};
use super::show::{Plan, decision, notes, visible};
use crate::base::units;
use crate::config::{Model, Place, Problem, Problems, Source};
use crate::event::{Code, Event};
use crate::github::{
    self, FailedModel, GithubError, LONGEST_COMMENT, PlanProblem, PlanText, PlannedModel, PlannedOutput,
    WorkflowEvent, markdown,
};
use crate::plan::Decision;
use crate::run::{Foreign, Prepared};

/// A plan as text.
pub(super) fn text(plan: &Plan<'_>, context: &Context) -> PlanText {
    let failed = plan.failed.iter().map(|(model, failure)| FailedModel {
        model: model.name.clone(),
        error: context.redactor.redact(&failure.text()).into_owned(),
        hint: failure.hint.clone(),
    });
    let ready = plan.ready.iter().map(|p| planned(p, context));
    let foreign = plan.foreign.iter().map(|(model, foreign)| unconverted(model, foreign));
    PlanText { models: ready.chain(foreign).collect(), failed: failed.collect(), problems: Vec::new() }
}

/// A model that llama.cpp's converter has to make a file of before its sizes are known.
fn unconverted(model: &Model, foreign: &Foreign) -> PlannedModel {
    let output = |method: &String| PlannedOutput {
        method: method.clone(),
        decision: "known once it was converted".to_owned(),
        make: true,
        ..PlannedOutput::default()
    };
    let needs = Needs::of_foreign(model, foreign);
    PlannedModel {
        model: model.name.clone(),
        source: model.source.to_string(),
        about: format!("{} of weights", units::decimal(foreign.weight_bytes)),
        repo: model.repo().ok().flatten().map(|repo| repo.to_string()),
        notes: vec![foreign.describe()],
        outputs: model.methods.iter().map(output).collect(),
        download: needs.download,
        disk: needs.disk,
        works: true,
        ..PlannedModel::default()
    }
}

/// What a job takes, in bytes.
#[derive(Default)]
struct Needs {
    download: u64,
    write: u64,
    disk: u64,
    publish: u64,
}

impl Needs {
    fn of(p: &Prepared) -> Self {
        Needs {
            download: p.bytes_to_fetch(),
            write: p.bytes_to_write(),
            disk: p.disk_needed(),
            publish: p.bytes_to_publish(),
        }
    }

    /// What is known of them: the weights, and the file that the converter makes of them.
    fn of_foreign(model: &Model, foreign: &Foreign) -> Self {
        let download = if matches!(model.source, Source::Hub { .. }) { foreign.weight_bytes } else { 0 };
        Needs { download, disk: download.saturating_add(foreign.weight_bytes), ..Needs::default() }
    }
}

fn planned(p: &Prepared, context: &Context) -> PlannedModel {
    let place = p.place.as_ref();
    let repo = place.map(|place| place.to.repo.to_string());
    let there = place.and_then(|place| place.there.as_ref());
    let output = |o: &crate::run::Planned| PlannedOutput {
        method: o.method.name.to_owned(),
        bytes: Some(o.bytes()),
        bits_per_weight: Some(o.layout.bits_per_weight()),
        decision: decision(p, o),
        make: matches!(o.decision, Decision::Make(_)),
    };
    let needs = Needs::of(p);
    PlannedModel {
        model: p.model.name.clone(),
        source: p.model.source.to_string(),
        commit: p.source.commit.clone(),
        about: format!("{}, {} parameters", p.blueprint.architecture, units::count(p.source.parameters)),
        url: there.and(repo.as_ref()).map(|repo| format!("{}/{repo}", context.hub().endpoint)),
        change: place.map(|place| change(p, place)),
        repo,
        notes: notes(p),
        outputs: p.outputs.iter().map(output).collect(),
        download: needs.download,
        disk: needs.disk,
        publish: needs.publish,
        works: works(p),
    }
}

fn change(p: &Prepared, place: &crate::run::Place) -> String {
    let mut text = match &place.there {
        None => format!("to be created, {}", visible(place.to.private)),
        Some(there) => visible(there.state.private).to_owned(),
    };
    if p.publishes() && place.to.create_pr {
        text.push_str(", as a pull request");
    }
    if !place.delete.is_empty() {
        let _ = write!(text, ", delete {}", place.delete.join(", "));
    }
    text
}

/// Whether a run would do anything about a model.
pub(super) fn works(p: &Prepared) -> bool {
    p.publishes() || p.to_make().next().is_some() || p.to_measure().next().is_some()
}

/// What is wrong with a models.yaml, as a plan; none where the failure is another one.
pub(super) fn of_problems(failure: &Failure) -> Option<PlanText> {
    let problems = failure.error.downcast_ref::<Problems>()?;
    let problem = |p: &Problem| PlanProblem {
        place: format!("{}:{}:{}", problems.file, p.place.line, p.place.column),
        text: p.text.clone(),
        hint: p.hint.clone(),
    };
    Some(PlanText { problems: problems.list.iter().map(problem).collect(), ..PlanText::default() })
}

/// Tells GitHub of a plan: the step's summary and outputs, and a comment where one is wanted.
pub(super) fn tell(text: &PlanText, matrix: Option<&Json>, comment: Option<&Path>, context: &Context) {
    if let Some(file) = context.actions().and_then(|a| a.files.summary.as_ref()) {
        add_summary(&text.markdown(github::summary_left(file)), context);
    }
    let has_work = match matrix {
        Some(matrix) => matrix["include"].as_array().is_some_and(|jobs| !jobs.is_empty()),
        None => text.has_work(),
    };
    let mut outputs = vec![("has-work", has_work.to_string())];
    outputs.extend(matrix.map(|matrix| ("matrix", matrix.to_string())));
    set_outputs(&outputs, context);
    if let Some(config) = comment
        && let Err(failure) = say(text, config, context)
    {
        context.observer.event(refused(&failure));
    }
}

fn say(text: &PlanText, config: &Path, context: &Context) -> Result<(), Failure> {
    let options = context.github()?;
    let path = context.actions().and_then(|a| a.event.as_deref());
    let event = path.map(WorkflowEvent::read).transpose()?.unwrap_or_default();
    let pull = event.pull_request.ok_or(GithubError::NoSubject { wanted: "pull request" })?;
    let marker = markdown::marker("plan", &config.display().to_string());
    let body = context.redactor.redact(&text.markdown(LONGEST_COMMENT)).into_owned();
    github::comment(pull, &marker, &body, &options, &*context.observer, &context.cancel)?;
    Ok(())
}

/// The event of something that GitHub did not take, and that nothing else depends on.
pub(super) fn refused(failure: &Failure) -> Event {
    let event = Event::new(Code::GithubRefused, failure.text());
    match &failure.hint {
        Some(hint) => event.with("hint", hint.as_str()),
        None => event,
    }
}

/// The jobs that have something to do, as `strategy.matrix` takes them. `ids` says which job an entry belongs to.
pub(super) fn matrix(plan: &Plan<'_>, ids: &[(Place, String)]) -> Json {
    #[derive(Default)]
    struct Sum {
        models: Vec<String>,
        methods: Vec<String>,
        repo: String,
        needs: Needs,
    }
    let mut jobs: Vec<(usize, Sum)> = Vec::new();
    let mut add = |model: &Model, methods: Vec<&str>, needs: Needs| {
        let Some(at) = ids.iter().position(|(entry, _)| *entry == model.place) else { return };
        let first = ids.iter().position(|(_, id)| *id == ids[at].1).unwrap_or(at);
        let index = jobs.iter().position(|(job, _)| *job == first).unwrap_or_else(|| {
            jobs.push((first, Sum::default()));
            jobs.len() - 1
        });
        let sum = &mut jobs[index].1;
        sum.models.push(model.name.clone());
        for method in methods {
            if !sum.methods.iter().any(|m| m == method) {
                sum.methods.push(method.to_owned());
            }
        }
        if sum.repo.is_empty() {
            sum.repo = model.repo().ok().flatten().map(|repo| repo.to_string()).unwrap_or_default();
        }
        sum.needs.download += needs.download;
        sum.needs.write += needs.write;
        // One model of a job after the other.
        sum.needs.disk = sum.needs.disk.max(needs.disk);
        sum.needs.publish += needs.publish;
    };
    for p in plan.ready.iter().filter(|p| works(p)) {
        let new = p.outputs.iter().filter(|o| o.decision != Decision::Published);
        add(&p.model, new.map(|o| o.method.name).collect(), Needs::of(p));
    }
    for (model, foreign) in &plan.foreign {
        add(model, model.methods.iter().map(String::as_str).collect(), Needs::of_foreign(model, foreign));
    }
    for (model, _) in &plan.failed {
        add(model, model.methods.iter().map(String::as_str).collect(), Needs::default());
    }
    jobs.sort_by_key(|(first, _)| *first);
    let include: Vec<Json> = jobs
        .into_iter()
        .map(|(first, sum)| {
            json!({"id": ids[first].1, "models": some(&sum.models), "methods": sum.methods.join(", "),
                   "repo": sum.repo, "download_bytes": sum.needs.download, "write_bytes": sum.needs.write,
                   "disk_bytes": sum.needs.disk, "publish_bytes": sum.needs.publish})
        })
        .collect();
    json!({ "include": include })
}

/// Names in one line. A matrix reaches `report` in a variable, which may have 128 KiB on Linux.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
