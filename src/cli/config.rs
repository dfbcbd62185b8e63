//! `validate`, `schema` and `init`; and reading a models.yaml for the other commands.

use std::path::Path;

use super::args::{ConfigArgs, InitArgs};
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
    for unbuilt in config.unbuilt.iter().chain(config.models.iter().flat_map(|m| &m.unbuilt)) {
        let place = unbuilt.place;
        let text =
            format!("{}:{}:{}: {}", args.config.display(), place.line, place.column, unbuilt.feature.text());
        context.observer.event(Event::new(Code::NotBuilt, text));
    }
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
/// The file is there already or cannot be written.
pub(super) fn init(args: &InitArgs, context: &Context) -> Result<(), Failure> {
    if args.config.exists() && !args.force {
        return Err(Failure::usage(format!("`{}` is there already", args.config.display()))
            .hint("--force replaces it"));
    }
    atomic::write(&args.config, config::starter(SCHEMA).as_bytes()).map_err(|e| {
        Failure::new(
            Kind::Internal,
            anyhow::Error::new(e).context(format!("cannot write `{}`", args.config.display())),
        )
    })?;
    if context.json {
        return print(&format!("{}\n", serde_json::json!({ "path": args.config })));
    }
    print(&format!("`{}` is written; edit it, then `jamph-quantizer plan`\n", args.config.display()))
}
