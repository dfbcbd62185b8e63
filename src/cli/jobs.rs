//! `run`, `process` and `plan`: models to jobs, jobs to outputs.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::args::{PlanArgs, ProcessArgs, RecipeArgs, RunArgs, WorkArgs};
use super::config::load;
use super::failure::{Failure, Kind};
use super::vocabulary::vocabulary;
use super::{Context, print};
use crate::base::units;
use crate::config::{self, Layer, Model, RepoId, Source, Unbuilt};
use crate::event::{Code, Event};
use crate::plan::{self, Decision};
use crate::quantize::options::parse_type;
use crate::run::{self, JobReport, Prepared, Setting};

/// Runs `run`.
///
/// # Errors
/// The models.yaml is wrong, or jobs failed.
pub(super) fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let around = context.around(methods_layer(&args.work.methods)?);
    let config = load(&args.config.config, &around, context)?;
    warn(&config.unbuilt, context);
    let models = plan::select(config.models, args.only.as_deref())?;
    work(models, &args.work, context)
}

/// Runs `plan`.
///
/// # Errors
/// The models.yaml is wrong, or a model cannot be made.
pub(super) fn plan(args: &PlanArgs, context: &Context) -> Result<(), Failure> {
    let around = context.around(methods_layer(&args.methods)?);
    let config = load(&args.config.config, &around, context)?;
    warn(&config.unbuilt, context);
    let models = plan::select(config.models, args.only.as_deref())?;
    show(models, &context.setting(args.output.as_ref(), args.force, true), context)
}

/// Runs `process`.
///
/// # Errors
/// The command line is wrong, or the job failed.
pub(super) fn process(args: &ProcessArgs, context: &Context) -> Result<(), Failure> {
    let source = Source::parse_with(&args.source, std::path::Path::is_dir)
        .map_err(|e| Failure::new(Kind::Usage, e).hint("owner/name[@revision], or a folder"))?;
    let repo = |text: &Option<String>| {
        text.as_deref().map(|t| RepoId::parse(t).map_err(|e| Failure::new(Kind::Usage, e))).transpose()
    };
    let mut above = methods_layer(&args.work.methods)?;
    above.prefix.clone_from(&args.prefix);
    above.quantize = recipe_layer(&args.recipe)?;
    above.tensor_types = tensor_types(&args.recipe)?;
    above.publish.repo = repo(&args.repo)?;
    above.card.tags = some(&args.tags);
    above.metadata.license.clone_from(&args.license);
    above.metadata.library_name.clone_from(&args.library);
    above.metadata.datasets = some(&args.datasets);
    above.metadata.base_model = repo(&args.source_model)?;
    let model = config::single(source, args.name.clone(), &context.around(above))
        .map_err(|problems| one(problems, Kind::Usage))?;
    work(vec![model], &args.work, context)
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// Problems of a command line have no place.
fn one(problems: Vec<config::Problem>, kind: Kind) -> Failure {
    let hint = problems.iter().find_map(|p| p.hint.clone());
    let text = problems.into_iter().map(|p| p.text).collect::<Vec<_>>().join("; ");
    Failure { kind, error: anyhow::anyhow!(text), hint }
}

fn methods_layer(methods: &[String]) -> Result<Layer, Failure> {
    let mut layer = Layer::default();
    if !methods.is_empty() {
        let parsed = config::parse_methods(&methods.join(","), &vocabulary());
        layer.methods = Some(parsed.map_err(|p| one(vec![p], Kind::Usage))?);
    }
    Ok(layer)
}

fn recipe_layer(args: &RecipeArgs) -> Result<config::Quantize, Failure> {
    let options = super::quantize::options(args)?;
    let kv = options.override_kv.iter().map(|o| (o.key.clone(), kv_value(&o.value))).collect::<Vec<_>>();
    Ok(config::Quantize {
        pure: args.pure.then_some(true),
        leave_output_tensor: args.leave_output_tensor.then_some(true),
        output_tensor_type: args.output_tensor_type.as_deref().map(parse_type).transpose()?,
        token_embedding_type: args.token_embedding_type.as_deref().map(parse_type).transpose()?,
        prune_layers: (!options.prune_layers.is_empty()).then_some(options.prune_layers),
        override_kv: (!kv.is_empty()).then_some(kv),
    })
}

fn kv_value(value: &crate::quantize::OverrideValue) -> config::KvValue {
    use crate::quantize::OverrideValue as O;
    match value {
        O::Int(v) => config::KvValue::Integer(*v),
        O::Float(v) => config::KvValue::Float(*v),
        O::Bool(v) => config::KvValue::Bool(*v),
        O::Str(v) => config::KvValue::Text(v.clone()),
    }
}

fn tensor_types(args: &RecipeArgs) -> Result<Option<Vec<config::TensorType>>, Failure> {
    let types: Vec<_> = super::quantize::options(args)?
        .tensor_types
        .iter()
        .map(|t| config::TensorType { pattern: t.pattern().to_owned(), ty: t.ty })
        .collect();
    Ok((!types.is_empty()).then_some(types))
}

fn warn(unbuilt: &[Unbuilt], context: &Context) {
    for u in unbuilt {
        context.observer.event(Event::new(Code::NotBuilt, u.feature.text()));
    }
}

/// Prepares and does every job; one that fails does not stop the others.
fn work(models: Vec<Model>, args: &WorkArgs, context: &Context) -> Result<(), Failure> {
    let mut setting = context.setting(args.output.as_ref(), args.force, args.keep_files);
    setting.stats = !args.no_stats;
    if args.dry_run {
        return show(models, &setting, context);
    }
    let asked = models.len();
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for model in models {
        warn(&model.unbuilt, context);
        let name = model.name.clone();
        let done = run::prepare(&model, &setting, &*context.observer, &context.cancel)
            .and_then(|prepared| run::execute(prepared, &setting, &*context.observer, &context.cancel));
        match done {
            Ok(report) => reports.push((name, report)),
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind == Kind::Interrupted {
                    let text = "stopped; finished files stay, nothing half is under a final name";
                    context.observer.event(Event::new(Code::Interrupted, text).about(name));
                    return Err(failure.hint("the same command goes on where this one stopped"));
                }
                context.observer.event(Event::new(Code::JobFailed, failure.render()).about(&*name));
                failed.push((name, failure));
            }
        }
    }
    print(&summary(&reports, &failed, context.json))?;
    let text = "nothing was published: the outputs are on this machine only";
    if reports.iter().any(|(_, r)| !r.made.is_empty()) {
        let hint =
            if args.skip_upload { "" } else { " (this version cannot publish yet; --skip-upload says so)" };
        context.observer.event(Event::new(Code::NothingPublished, format!("{text}{hint}")));
    }
    outcome(asked, failed)
}

/// What the failures of some jobs mean for the whole.
fn outcome(asked: usize, mut failed: Vec<(String, Failure)>) -> Result<(), Failure> {
    match failed.len() {
        0 => Ok(()),
        // The one job of a command is the command.
        1 if asked == 1 => Err(failed.remove(0).1),
        n => {
            let kind = if n == asked { Kind::AllFailed } else { Kind::SomeFailed };
            let names = failed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            Err(Failure::new(kind, anyhow::anyhow!("{n} of {asked} jobs failed: {names}")))
        }
    }
}

fn summary(reports: &[(String, JobReport)], failed: &[(String, Failure)], as_json: bool) -> String {
    if as_json {
        let made = |r: &JobReport| -> Json {
            r.made
                .iter()
                .map(|m| {
                    json!({"method": m.method, "path": m.path, "bytes": m.bytes, "sha256": m.sha256,
                           "bits_per_weight": m.bits_per_weight})
                })
                .collect()
        };
        let jobs: Vec<Json> = reports
            .iter()
            .map(|(name, r)| json!({"model": name, "made": made(r), "kept": r.kept}))
            .chain(failed.iter().map(|(name, f)| json!({"model": name, "error": format!("{:#}", f.error)})))
            .collect();
        return format!("{}\n", json!({ "jobs": jobs, "published": false }));
    }
    let mut out = String::new();
    for (name, report) in reports {
        for m in &report.made {
            let _ = writeln!(
                out,
                "{name}  {:8}  {:>9}  {:5.2} bits  {}",
                m.method,
                units::decimal(m.bytes),
                m.bits_per_weight,
                m.path.display()
            );
        }
        for path in &report.kept {
            let _ = writeln!(out, "{name}  up to date  {}", path.display());
        }
    }
    out
}

/// Shows what would be made.
fn show(models: Vec<Model>, setting: &Setting, context: &Context) -> Result<(), Failure> {
    let asked = models.len();
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for model in models {
        warn(&model.unbuilt, context);
        match run::prepare(&model, setting, &*context.observer, &context.cancel) {
            Ok(prepared) => ready.push(prepared),
            Err(error) => {
                let failure = Failure::from(error);
                context.observer.event(Event::new(Code::JobFailed, failure.render()).about(&*model.name));
                failed.push((model.name, failure));
            }
        }
    }
    print(&if context.json { plan_json(&ready) } else { plan_text(&ready, setting) })?;
    outcome(asked, failed)
}

fn plan_text(ready: &[Prepared], setting: &Setting) -> String {
    let mut out = String::new();
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
        for o in &p.outputs {
            let decision = match &o.decision {
                Decision::Keep => "up to date".to_owned(),
                Decision::Make(why) => format!("make: {why}"),
            };
            let _ = writeln!(
                out,
                "    {:8} {:>13} bytes  {:5.2} bits  {decision}",
                o.method.name,
                o.layout.file_bytes(),
                o.layout.bits_per_weight()
            );
        }
    }
    let fetch: u64 = ready.iter().map(Prepared::bytes_to_fetch).sum();
    let make: u64 = ready.iter().map(Prepared::bytes_to_make).sum();
    let _ = writeln!(
        out,
        "in all: {} to download, {} to write into `{}`{}",
        units::decimal(fetch),
        units::decimal(make),
        setting.output.display(),
        free(&setting.output)
    );
    out
}

/// Free space where the outputs go, where the system tells.
fn free(output: &std::path::Path) -> String {
    let folder: PathBuf = output.ancestors().find(|p| p.is_dir()).unwrap_or(".".as_ref()).to_owned();
    let free = crate::base::space::free(&folder).ok().flatten();
    free.map(|n| format!(", {} free there", units::decimal(n))).unwrap_or_default()
}

fn plan_json(ready: &[Prepared]) -> String {
    let jobs: Vec<Json> = ready
        .iter()
        .map(|p| {
            let outputs: Vec<Json> = p
                .outputs
                .iter()
                .map(|o| {
                    let why = match &o.decision {
                        Decision::Keep => None,
                        Decision::Make(why) => Some(why.to_string()),
                    };
                    json!({"method": o.method.name, "path": o.path(), "bytes": o.layout.file_bytes(),
                           "bits_per_weight": o.layout.bits_per_weight(), "make": why.is_some(), "why": why})
                })
                .collect();
            json!({"model": p.model.name, "source": p.model.source.to_string(), "commit": p.source.commit,
                   "architecture": p.blueprint.architecture, "parameters": p.source.parameters,
                   "download_bytes": p.bytes_to_fetch(), "write_bytes": p.bytes_to_make(), "outputs": outputs})
        })
        .collect();
    format!("{}\n", json!({ "jobs": jobs }))
}
