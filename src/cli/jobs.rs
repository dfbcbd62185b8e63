//! `run`, `process` and `plan`: models to jobs, jobs to outputs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::args::{PlanArgs, ProcessArgs, RecipeArgs, RunArgs, SplitArgs, WorkArgs};
use super::config::{announce, load};
use super::failure::{Failure, Kind};
use super::vocabulary::vocabulary;
use super::{Context, print};
use crate::base::units;
use crate::config::{self, Around, Layer, Model, RepoId, Source};
use crate::event::{About, Code, Event, Observer};
use crate::plan::{self, Decision};
use crate::quantize::options::parse_type;
use crate::quantize::simd;
use crate::run::files::WrittenFile;
use crate::run::{self, JobReport, Prepared, Setting};

/// Runs `run`.
///
/// # Errors
/// The models.yaml is wrong, or jobs failed.
pub(super) fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let around = context.around(methods_layer(&args.work.methods)?);
    work(models(&args.config.config, &around, args.only.as_deref(), context)?, &args.work, context)
}

/// Runs `plan`.
///
/// # Errors
/// The models.yaml is wrong, or a model cannot be made.
pub(super) fn plan(args: &PlanArgs, context: &Context) -> Result<(), Failure> {
    let around = context.around(methods_layer(&args.methods)?);
    let models = models(&args.config.config, &around, args.only.as_deref(), context)?;
    show(models, &context.setting(args.output.as_ref(), args.force, true), context)
}

/// The models of a models.yaml that `--only` leaves.
fn models(
    file: &Path,
    around: &Around,
    only: Option<&str>,
    context: &Context,
) -> Result<Vec<Model>, Failure> {
    let config = load(file, around)?;
    announce(file, &config, context);
    for unbuilt in &config.unbuilt {
        context.observer.event(Event::new(Code::NotBuilt, unbuilt.feature.text()));
    }
    Ok(plan::select(config.models, only)?)
}

/// Runs `process`.
///
/// # Errors
/// The command line is wrong, or the job failed.
pub(super) fn process(args: &ProcessArgs, context: &Context) -> Result<(), Failure> {
    let source = Source::parse_with(&args.source, Path::is_dir).map_err(|e| {
        Failure::new(Kind::Usage, e)
            .hint("name a repository as owner/name[@revision], or a folder that is there")
    })?;
    let repo = |text: &Option<String>| {
        text.as_deref().map(|t| RepoId::parse(t).map_err(|e| Failure::new(Kind::Usage, e))).transpose()
    };
    let mut above = methods_layer(&args.work.methods)?;
    above.prefix.clone_from(&args.prefix);
    above.quantize = recipe_layer(&args.recipe)?;
    above.tensor_types = tensor_types(&args.recipe)?;
    above.imatrix = args.recipe.imatrix.as_ref().map(|path| {
        let given = path.display().to_string();
        config::Imatrix::File { path: path.clone(), given }
    });
    above.split = split_limit(&args.split)?;
    above.publish.repo = repo(&args.repo)?;
    above.card.tags = some(&args.tags);
    above.metadata.license.clone_from(&args.license);
    above.metadata.library_name.clone_from(&args.library);
    above.metadata.datasets = some(&args.datasets);
    above.metadata.base_model = repo(&args.source_model)?;
    if above.methods.is_none() {
        return Err(Failure::usage("no methods are named")
            .hint("add `--methods Q4_K_M`, or several separated by commas"));
    }
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
    Failure::new(kind, anyhow::anyhow!(text)).maybe_hint(hint)
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
        // Its rules are among the tensor types already.
        tensor_type_file: None,
        allow_requantize: args.allow_requantize.then_some(true),
        include_weights: some(&args.include_weights),
        exclude_weights: some(&args.exclude_weights),
        prune_layers: (!options.prune_layers.is_empty()).then_some(options.prune_layers),
        override_kv: (!kv.is_empty()).then_some(kv),
    })
}

/// The limit of `--split-max-size` or `--split-max-tensors`.
///
/// # Errors
/// The size is none, or nothing.
pub(super) fn split_limit(args: &SplitArgs) -> Result<Option<config::Split>, Failure> {
    let Some(text) = &args.split_max_size else {
        return Ok(args.split_max_tensors.map(config::Split::Tensors));
    };
    match units::parse_size(text) {
        Ok(0) => Err(Failure::usage("--split-max-size: a file must hold something")),
        Ok(bytes) => Ok(Some(config::Split::Size(bytes))),
        Err(e) => Err(Failure::usage(format!("--split-max-size {text}: {e}"))),
    }
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

/// Says what a model asks for that this version does not do.
fn warn(model: &Model, observer: &dyn Observer) {
    for unbuilt in &model.unbuilt {
        observer.event(Event::new(Code::NotBuilt, unbuilt.feature.text()));
    }
}

/// Prepares and does every job; one that fails does not stop the others.
fn work(models: Vec<Model>, args: &WorkArgs, context: &Context) -> Result<(), Failure> {
    let mut setting = context.setting(args.output.as_ref(), args.force, args.keep_files);
    setting.stats = !args.no_stats;
    if args.dry_run {
        return show(models, &setting, context);
    }
    let start = Instant::now();
    context.observer.event(started(context));
    let asked = models.len();
    let (mut reports, mut failed, mut stopped) = (Vec::new(), Vec::new(), None);
    for model in models {
        let observer = About { observer: &*context.observer, subject: &model.name };
        warn(&model, &observer);
        let done = run::prepare(&model, &setting, &observer, &context.cancel)
            .and_then(|prepared| run::execute(prepared, &setting, &observer, &context.cancel));
        match done.map_err(Failure::from) {
            Ok(report) => reports.push((model.name, report)),
            Err(failure) if failure.kind == Kind::Interrupted => {
                let text = "stopped; what was finished stays, and nothing half is under a final name";
                let hint = "the same command goes on from here";
                observer.event(Event::new(Code::Interrupted, text).with("hint", hint));
                stopped = Some(failure.told());
                break;
            }
            Err(failure) => {
                observer.event(job_failed(&failure));
                failed.push((model.name, failure));
            }
        }
    }
    let made: usize = reports.iter().map(|(_, r)| r.made.len()).sum();
    let kept: usize = reports.iter().map(|(_, r)| r.kept.len()).sum();
    if made + kept > 0 && !args.skip_upload {
        let text = format!(
            "nothing was published: this version cannot do that yet; the outputs are in `{}`",
            setting.output.display()
        );
        context.observer.event(
            Event::new(Code::NothingPublished, text).with("hint", "--skip-upload says that this is meant"),
        );
    }
    let parts =
        [(made, "output", " made"), (kept, "output", " up to date"), (failed.len(), "job", " failed")];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    let parts = parts.map(|(n, noun, what)| units::counted(n, noun) + what).collect::<Vec<_>>().join(", ");
    let what = if parts.is_empty() { "nothing made" } else { &parts };
    let text = format!("{what}; {}", units::duration(start.elapsed()));
    context.observer.event(
        Event::new(Code::RunFinished, text)
            .with("made", made)
            .with("kept", kept)
            .with("failed", failed.len()),
    );
    print(&summary(&reports, &failed, context.json))?;
    stopped.map_or_else(|| outcome(asked, failed, context), Err)
}

fn started(context: &Context) -> Event {
    let threads = units::counted(context.threads, "thread");
    let text =
        format!("{} {}, {threads}, {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), simd::level());
    Event::new(Code::RunStarted, text)
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("threads", context.threads)
}

fn job_failed(failure: &Failure) -> Event {
    let event = Event::new(Code::JobFailed, failure.text()).with("exit_code", failure.kind.code());
    match &failure.hint {
        Some(hint) => event.with("hint", hint.as_str()),
        None => event,
    }
}

/// What the failures of some jobs mean for the whole. An event said already why each failed.
fn outcome(asked: usize, mut failed: Vec<(String, Failure)>, context: &Context) -> Result<(), Failure> {
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

fn summary(reports: &[(String, JobReport)], failed: &[(String, Failure)], as_json: bool) -> String {
    if as_json {
        let made = |r: &JobReport| -> Json {
            r.made
                .iter()
                .map(|m| {
                    let files =
                        |f: &WrittenFile| json!({"path": f.path, "bytes": f.bytes, "sha256": f.sha256});
                    let files: Vec<Json> = m.written.files.iter().map(files).collect();
                    json!({"method": m.method, "path": m.written.first().path, "bytes": m.written.bytes(),
                           "sha256": m.written.sha256(), "files": files, "bits_per_weight": m.bits_per_weight,
                           "snr_db": m.snr_db})
                })
                .collect()
        };
        let kept = |r: &JobReport| -> Json {
            r.kept.iter().map(|k| json!({"method": k.method, "path": k.path})).collect()
        };
        let jobs: Vec<Json> = reports
            .iter()
            .map(|(name, r)| json!({"model": name, "made": made(r), "kept": kept(r)}))
            .chain(failed.iter().map(failed_json))
            .collect();
        return format!("{}\n", json!({ "jobs": jobs, "published": false }));
    }
    let mut out = String::new();
    let rows = reports.iter().flat_map(|(name, report)| {
        let made = report.made.iter().map(|m| {
            let snr = m.snr_db.map(|snr| format!("{snr:5.1} dB")).unwrap_or_default();
            let size = units::decimal(m.written.bytes());
            let figures = format!("{size:>9}  {:5.2} bits  {snr:8}", m.bits_per_weight);
            (m.method, figures, m.written.first().path.display().to_string())
        });
        let kept =
            report.kept.iter().map(|k| (k.method, "up to date".to_owned(), k.path.display().to_string()));
        made.chain(kept).map(move |row| (name, row))
    });
    for (name, (method, figures, path)) in rows {
        let _ = writeln!(out, "{name}  {method:8}  {figures:31}  {path}");
    }
    out
}

fn failed_json((name, failure): &(String, Failure)) -> Json {
    json!({ "model": name, "error": failure.text(), "hint": failure.hint })
}

/// Shows what would be made.
fn show(models: Vec<Model>, setting: &Setting, context: &Context) -> Result<(), Failure> {
    let asked = models.len();
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for model in models {
        let observer = About { observer: &*context.observer, subject: &model.name };
        warn(&model, &observer);
        match run::prepare(&model, setting, &observer, &context.cancel).map_err(Failure::from) {
            Ok(prepared) => ready.push(prepared),
            Err(failure) if failure.kind == Kind::Interrupted => return Err(failure),
            Err(failure) => {
                observer.event(job_failed(&failure));
                failed.push((model.name, failure));
            }
        }
    }
    print(&if context.json {
        plan_json(&ready, &failed)
    } else {
        plan_text(&ready, setting, failed.is_empty())
    })?;
    outcome(asked, failed, context)
}

/// `whole`: no job failed, so that these are all.
fn plan_text(ready: &[Prepared], setting: &Setting, whole: bool) -> String {
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
                o.bytes(),
                o.layout.bits_per_weight()
            );
        }
    }
    let fetch: u64 = ready.iter().map(Prepared::bytes_to_fetch).sum();
    let make: u64 = ready.iter().map(Prepared::bytes_to_make).sum();
    if make == 0 && whole {
        out.push_str("everything is up to date\n");
        return out;
    }
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
fn free(output: &Path) -> String {
    let folder: PathBuf = output.ancestors().find(|p| p.is_dir()).unwrap_or(".".as_ref()).to_owned();
    let free = crate::base::space::free(&folder).ok().flatten();
    free.map(|n| format!(", {} free there", units::decimal(n))).unwrap_or_default()
}

fn plan_json(ready: &[Prepared], failed: &[(String, Failure)]) -> String {
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
                    json!({"method": o.method.name, "path": o.path(), "files": o.parts.len().max(1), "bytes": o.bytes(),
                           "bits_per_weight": o.layout.bits_per_weight(), "make": why.is_some(), "why": why})
                })
                .collect();
            json!({"model": p.model.name, "source": p.model.source.to_string(), "commit": p.source.commit,
                   "architecture": p.blueprint.architecture, "parameters": p.source.parameters,
                   "download_bytes": p.bytes_to_fetch(), "write_bytes": p.bytes_to_make(), "outputs": outputs})
        })
        .chain(failed.iter().map(failed_json))
        .collect();
    format!("{}\n", json!({ "jobs": jobs }))
}
