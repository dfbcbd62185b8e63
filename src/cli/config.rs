//! `validate`, `schema` and `init`; and reading a models.yaml for the other commands.

use std::path::{Path, PathBuf};

use super::args::{ConfigArgs, InitArgs, WorkflowArg};
use super::failure::{Failure, Kind};
use super::vocabulary::vocabulary;
use super::{Context, print};
use crate::base::{atomic, units};
use crate::config::{self, Around, Config};
use crate::event::{Code, Event};

/// Where editors find the schema.
const SCHEMA: &str = "https://raw.githubusercontent.com/navikt/jamph-quantizer/main/docs/models.schema.json";

/// Reads a models.yaml.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub(super) fn load(path: &Path, around: &Around) -> Result<Config, Failure> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let failure =
            Failure::new(Kind::Input, anyhow::Error::new(e).context(format!("cannot read `{shown}`")));
        if missing { failure.hint("`jamph-quantizer init` writes a first one") } else { failure }
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let config = config::parse(&bytes, &shown, folder, &vocabulary(), around)?;
    Ok(config)
}

/// Says that a models.yaml was read.
pub(super) fn announce(path: &Path, config: &Config, context: &Context) {
    let (text, models) = (valid(path, config), config.models.len());
    context
        .observer
        .event(Event::new(Code::ConfigRead, text).with("models", models).with("outputs", outputs(config)));
}

fn outputs(config: &Config) -> usize {
    config.models.iter().map(|m| m.methods.len()).sum()
}

fn valid(path: &Path, config: &Config) -> String {
    let models = units::counted(config.models.len(), "model");
    format!("`{}` is valid: {models}, {}", path.display(), units::counted(outputs(config), "output"))
}

/// Runs `validate`.
///
/// # Errors
/// Everything that is wrong with the file.
pub(super) fn validate(args: &ConfigArgs, context: &Context) -> Result<(), Failure> {
    let config = load(&args.config, &Around::default())?;
    if context.json {
        return print(&format!(
            "{}\n",
            serde_json::json!({ "models": config.models.len(), "outputs": outputs(&config) })
        ));
    }
    print(&format!("{}\n", valid(&args.config, &config)))
}

/// Runs `schema`.
///
/// # Errors
/// Standard output is gone.
pub(super) fn schema() -> Result<(), Failure> {
    print(&config::schema(&vocabulary()))
}

/// Runs `init`.
///
/// # Errors
/// A file is there already or cannot be written; or the workflow could not name the models.yaml.
pub(super) fn init(args: &InitArgs, context: &Context) -> Result<(), Failure> {
    let mut files = Vec::new();
    if args.workflow.is_none() || args.force || !args.config.exists() {
        files.push((args.config.clone(), config::starter(SCHEMA)));
    }
    if let Some(when) = args.workflow {
        files.push(workflow(when, &args.config)?);
    }
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists() && !args.force) {
        return Err(
            Failure::usage(format!("`{}` is there already", path.display())).hint("--force replaces it")
        );
    }
    for (path, text) in &files {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| atomic::write(path, text.as_bytes()))
            .map_err(|e| {
                let error = anyhow::Error::new(e).context(format!("cannot write `{}`", path.display()));
                Failure::new(Kind::Internal, error)
            })?;
    }
    let paths: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    if context.json {
        return print(&format!("{}\n", serde_json::json!({ "path": args.config, "paths": paths })));
    }
    let written: String = paths.iter().map(|path| format!("`{path}` is written\n")).collect();
    print(&format!("{written}edit, then `jamph-quantizer plan`\n"))
}

/// A workflow's file and text, for a models.yaml at this path.
fn workflow(when: WorkflowArg, config: &Path) -> Result<(PathBuf, String), Failure> {
    let (name, text) = match when {
        WorkflowArg::Schedule => ("quantize", include_str!("../../examples/workflows/quantize.yml")),
        WorkflowArg::Release => ("release", include_str!("../../examples/workflows/release.yml")),
        WorkflowArg::PullRequest => {
            ("pull-request", include_str!("../../examples/workflows/pull-request.yml"))
        }
    };
    let shown = config.strip_prefix(".").unwrap_or(config).to_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if shown.is_empty() || config.is_absolute() || shown.contains("..") || !shown.chars().all(plain) {
        let text = format!("a workflow cannot name `{}`", config.display());
        return Err(
            Failure::usage(text).hint("run this at the top of the repository, with a plain path below it")
        );
    }
    // Every other line that says `models.yaml` is about what is in that file.
    let text = text.replace("[models.yaml]", &format!("[{shown}]"));
    let text = text.replace("config: models.yaml", &format!("config: {shown}"));
    Ok((Path::new(".github/workflows").join(name).with_extension("yml"), text))
}
