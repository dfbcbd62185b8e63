//! A plan for GitHub: as text for people, and as the matrix of a workflow.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::Context;
use super::failure::Failure;
use super::results::{add_summary, set_outputs};
use super::show::{Unplanned, decision, visible};
use crate::base::units;
use crate::config::{Place, Problem, Problems};
use crate::event::{Code, Event};
use crate::github::{
    self, FailedModel, GithubError, LONGEST_COMMENT, PlanProblem, PlanText, PlannedModel, PlannedOutput,
    WorkflowEvent, markdown,
};
use crate::plan::Decision;
use crate::run::Prepared;

/// A plan as text.
pub(super) fn text(ready: &[Prepared], failed: &[Unplanned<'_>], context: &Context) -> PlanText {
    let failed = failed.iter().map(|Unplanned { model, failure }| FailedModel {
        model: model.name.clone(),
        error: context.redactor.redact(&failure.text()).into_owned(),
        hint: failure.hint.clone(),
    });
    let models = ready.iter().map(|p| planned(p, context)).collect();
    PlanText { models, failed: failed.collect(), problems: Vec::new() }
}

fn planned(p: &Prepared, context: &Context) -> PlannedModel {
    let place = p.place.as_ref();
    let repo = place.map(|place| place.to.repo.to_string());
    let there = place.and_then(|place| place.there.as_ref());
    let output = |o: &crate::run::Planned| PlannedOutput {
        method: o.method.name.to_owned(),
        bytes: o.bytes(),
        bits_per_weight: o.layout.bits_per_weight(),
        decision: decision(p, o),
        make: matches!(o.decision, Decision::Make(_)),
    };
    PlannedModel {
        model: p.model.name.clone(),
        source: p.model.source.to_string(),
        commit: p.source.commit.clone(),
        about: format!("{}, {} parameters", p.blueprint.architecture, units::count(p.source.parameters)),
        url: there.and(repo.as_ref()).map(|repo| format!("{}/{repo}", context.hub().endpoint)),
        change: place.map(|place| change(p, place)),
        repo,
        outputs: p.outputs.iter().map(output).collect(),
        download: p.bytes_to_fetch(),
        disk: p.disk_needed(),
        publish: p.bytes_to_publish(),
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
    p.publishes() || p.to_make().next().is_some()
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
pub(super) fn matrix(ready: &[Prepared], failed: &[Unplanned<'_>], ids: &[(Place, String)]) -> Json {
    #[derive(Default)]
    struct Sum {
        models: Vec<String>,
        methods: Vec<String>,
        repo: String,
        download: u64,
        write: u64,
        disk: u64,
        publish: u64,
    }
    let mut jobs: Vec<(usize, Sum)> = Vec::new();
    let mut add = |place: Place, model: &crate::config::Model, methods: Vec<&str>, p: Option<&Prepared>| {
        let Some(at) = ids.iter().position(|(entry, _)| *entry == place) else { return };
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
        if let Some(p) = p {
            sum.download += p.bytes_to_fetch();
            sum.write += p.bytes_to_write();
            // One model of a job after the other.
            sum.disk = sum.disk.max(p.disk_needed());
            sum.publish += p.bytes_to_publish();
        }
    };
    for p in ready.iter().filter(|p| works(p)) {
        let new = p.outputs.iter().filter(|o| o.decision != Decision::Published);
        add(p.model.place, &p.model, new.map(|o| o.method.name).collect(), Some(p));
    }
    for Unplanned { model, .. } in failed {
        add(model.place, model, model.methods.iter().map(String::as_str).collect(), None);
    }
    jobs.sort_by_key(|(first, _)| *first);
    let include: Vec<Json> = jobs
        .into_iter()
        .map(|(first, sum)| {
            json!({"id": ids[first].1, "models": sum.models.join(", "), "methods": sum.methods.join(", "),
                   "repo": sum.repo, "download_bytes": sum.download, "write_bytes": sum.write,
                   "disk_bytes": sum.disk, "publish_bytes": sum.publish})
        })
        .collect();
    json!({ "include": include })
}
