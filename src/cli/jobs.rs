//! `run`, `process` and `plan`: what was typed to models.

use std::path::Path;

use super::Context;
use super::args::{PlanArgs, ProcessArgs, PublishArgs, RecipeArgs, RunArgs, SplitArgs, ToolArgs};
use super::config::{announce, load};
use super::failure::{Failure, Kind};
use super::show::{self, Ways, show};
use super::vocabulary::vocabulary;
use super::work::{From, work};
use crate::base::units;
use crate::config::{self, Around, Config, Dataset, Layer, Model, Publish, RepoId, Source};
use crate::plan::{self, matrix};
use crate::quantize::TensorType;

/// Where a llama.cpp is named, for commands that take no models.yaml.
pub(super) const MODELS_YAML: &str = "models.yaml";

/// Runs `run`.
///
/// # Errors
/// The models.yaml is wrong, or jobs failed.
pub(super) fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let mut above = methods_layer(&args.work.methods)?;
    above.publish = publish_layer(&args.work.publish)?;
    tool_layer(&args.work.tools, &mut above);
    let file = &args.config.config;
    let Config { models: all, llama_cpp, .. } = load_all(file, &context.around(above), context)?;
    let models = match &args.job {
        Some(id) => matrix::select_job(all, id)?,
        None => plan::select(all, args.only.as_deref())?,
    };
    let tools = context.tools(llama_cpp.as_ref(), file)?;
    let from = From { config: Some(file), job: args.job.as_deref() };
    work(&models, &args.work, from, &tools, context)
}

/// Runs `plan`.
///
/// # Errors
/// The models.yaml is wrong, or a model cannot be made.
pub(super) fn plan(args: &PlanArgs, context: &Context) -> Result<(), Failure> {
    let mut above = methods_layer(&args.methods)?;
    above.publish = publish_layer(&args.publish)?;
    tool_layer(&args.tools, &mut above);
    let file = &args.config.config;
    let all = load_all(file, &context.around(above), context);
    let Config { models: all, llama_cpp, .. } =
        all.inspect_err(|failure| show::problems(failure, args.comment.then_some(file), context))?;
    let groups = matrix::groups(&all);
    let ids = groups.iter().flat_map(|g| g.models.iter().map(|i| (all[*i].place, g.id.clone()))).collect();
    let ways = Ways { config: Some(file), matrix: args.matrix.then_some(ids), comment: args.comment };
    let models = plan::select(all, args.only.as_deref())?;
    let tools = context.tools(llama_cpp.as_ref(), file)?;
    let mut setting = context.setting(args.output.as_ref(), args.force, true, &tools);
    setting.publish &= !args.publish.skip_upload;
    show(&models, &setting, &ways, context)
}

/// What a models.yaml says.
fn load_all(file: &Path, around: &Around, context: &Context) -> Result<Config, Failure> {
    let config = load(file, around)?;
    announce(file, &config, context);
    Ok(config)
}

/// What the command line says of what llama.cpp does.
fn tool_layer(args: &ToolArgs, above: &mut Layer) {
    above.check = args.check.then_some(true);
    above.convert.fallback = args.fallback;
}

/// A model of which no output is asked for.
///
/// # Errors
/// The source is none.
pub(super) fn any_model(source: &str, mut above: Layer, context: &Context) -> Result<Model, Failure> {
    /// A method that any model has; it only lets the conversion be worked out.
    const ANY: &str = "Q8_0";
    let source = Source::parse_with(source, Path::is_dir).map_err(|e| {
        Failure::new(Kind::Usage, e)
            .hint("name a repository as owner/name[@revision], a folder or a GGUF file that is there")
    })?;
    above.methods = Some(vec![ANY.to_owned()]);
    config::single(source, None, &context.around(above)).map_err(|problems| one(problems, Kind::Usage))
}

/// A text as a command line names it.
///
/// # Errors
/// It is no address.
pub(super) fn dataset(text: &str) -> Result<Dataset, Failure> {
    config::parse_dataset(text).map_err(|p| one(vec![p], Kind::Usage))
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
    (above.quantize, above.tensor_types) = recipe_layer(&args.recipe)?;
    above.imatrix = args.recipe.imatrix.as_ref().map(|path| {
        let given = path.display().to_string();
        config::Imatrix::File { path: path.clone(), given }
    });
    if let Some(text) = &args.imatrix_dataset {
        let (text, chunks) = (dataset(text)?, args.imatrix_chunks);
        above.imatrix = Some(config::Imatrix::Dataset { text, chunks });
    }
    tool_layer(&args.work.tools, &mut above);
    above.split = split_limit(&args.split)?;
    above.publish = Publish { repo: repo(&args.repo)?, ..publish_layer(&args.work.publish)? };
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
    let file = Path::new(MODELS_YAML);
    let llama = if file.is_file() { load(file, &Around::default())?.llama_cpp } else { None };
    work(&[model], &args.work, From::default(), &context.tools(llama.as_ref(), file)?, context)
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

fn publish_layer(args: &PublishArgs) -> Result<Publish, Failure> {
    let against = [("--skip-upload", args.skip_upload), ("--no-xet", args.no_xet)];
    if let (Some(true), Some((flag, _))) = (args.stream, against.iter().find(|(_, given)| *given)) {
        return Err(Failure::usage(format!("--stream cannot be used with {flag}")));
    }
    let on = |flag: bool| flag.then_some(true);
    Ok(Publish {
        private: on(args.private),
        stream: args.stream,
        create_pr: on(args.create_pr),
        prune: on(args.prune),
        xet: args.no_xet.then_some(false),
        ..Publish::default()
    })
}

/// What the recipe's options say: how tensors are quantized, and the types of tensors by name.
fn recipe_layer(args: &RecipeArgs) -> Result<(config::Quantize, Option<Vec<config::TensorType>>), Failure> {
    let options = super::quantize::options(args)?;
    let rule = |t: TensorType| config::TensorType { pattern: t.pattern().to_owned(), ty: t.ty };
    let types: Vec<_> = options.tensor_types.into_iter().map(rule).collect();
    let kv: Vec<_> = options.override_kv.into_iter().map(|o| (o.key, o.value)).collect();
    let quantize = config::Quantize {
        pure: options.pure.then_some(true),
        leave_output_tensor: options.leave_output_tensor.then_some(true),
        output_tensor_type: options.output_tensor_type,
        token_embedding_type: options.token_embedding_type,
        // Its rules are among the tensor types already.
        tensor_type_file: None,
        allow_requantize: options.allow_requantize.then_some(true),
        include_weights: some(&args.include_weights),
        exclude_weights: some(&args.exclude_weights),
        prune_layers: (!options.prune_layers.is_empty()).then_some(options.prune_layers),
        override_kv: (!kv.is_empty()).then_some(kv),
    };
    Ok((quantize, (!types.is_empty()).then_some(types)))
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
