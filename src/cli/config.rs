//! `validate`, `schema` and `init`; and reading a models.yaml for the other commands.

use std::path::Path;

use super::args::{ConfigArgs, InitArgs};
use super::failure::{Failure, Kind};
use super::vocabulary::vocabulary;
use super::{Context, print};
use crate::base::atomic;
use crate::config::{self, Around, Config};
use crate::event::{Code, Event};

/// Where editors find the schema.
const SCHEMA: &str = "https://raw.githubusercontent.com/navikt/jamph-quantizer/main/docs/models.schema.json";

/// Reads a models.yaml.
///
/// # Errors
/// It cannot be read, or everything that is wrong with it.
pub(super) fn load(path: &Path, around: &Around, context: &Context) -> Result<Config, Failure> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let failure =
            Failure::new(Kind::Input, anyhow::Error::new(e).context(format!("cannot read `{shown}`")));
        if missing { failure.hint("`jamph-quantizer init` writes a first one") } else { failure }
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let config = config::parse(&bytes, &shown, folder, &vocabulary(), around)?;
    let text = format!("`{shown}` is valid: {} models", config.models.len());
    context.observer.event(Event::new(Code::ConfigRead, text).with("models", config.models.len()));
    Ok(config)
}

/// Runs `validate`.
///
/// # Errors
/// Everything that is wrong with the file.
pub(super) fn validate(args: &ConfigArgs, context: &Context) -> Result<(), Failure> {
    let config = load(&args.config, &Around::default(), context)?;
    let outputs: usize = config.models.iter().map(|m| m.methods.len()).sum();
    for unbuilt in config.unbuilt.iter().chain(config.models.iter().flat_map(|m| &m.unbuilt)) {
        let place = unbuilt.place;
        let text =
            format!("{}:{}:{}: {}", args.config.display(), place.line, place.column, unbuilt.feature.text());
        context.observer.event(Event::new(Code::NotBuilt, text));
    }
    if context.json {
        return print(&format!(
            "{}\n",
            serde_json::json!({ "models": config.models.len(), "outputs": outputs })
        ));
    }
    print(&format!("{} is valid: {} models, {outputs} outputs\n", args.config.display(), config.models.len()))
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
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
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
    print(&format!("{} is written; edit it, then `jamph-quantizer plan`\n", args.config.display()))
}
