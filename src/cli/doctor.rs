//! `doctor`: what is missing on this machine, before anything is asked of it.
//!
//! Nothing is changed: a file that shows whether a folder can be written is gone again at once, and the Hub is asked what a
//! run asks it first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::args::ConfigArgs;
use super::config::load;
use super::failure::{Failure, Kind};
use super::hints::GIVE_TOKEN;
use super::{Context, print};
use crate::base::{memory, process, space, units};
use crate::config::{Config, Model, RepoId};
use crate::hub::{self, Destination};
use crate::llama::Request;
use crate::llama::wanted::Keys;
use crate::quantize::simd;
use crate::run;

/// One thing that was looked at.
struct Finding {
    state: State,
    text: String,
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Some things will not work.
    Lacks,
    /// What models.yaml asks for will not work.
    Wrong(Kind),
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            State::Fine => "ok",
            State::Lacks => "note",
            State::Wrong(_) => "wrong",
        }
    }
}

impl Finding {
    fn fine(text: impl Into<String>) -> Self {
        Finding { state: State::Fine, text: text.into(), hint: None }
    }

    fn lacks(text: impl Into<String>, hint: &str) -> Self {
        Finding { state: State::Lacks, text: text.into(), hint: Some(hint.to_owned()) }
    }

    fn wrong(failure: &Failure) -> Self {
        Finding { state: State::Wrong(failure.kind), text: failure.text(), hint: failure.hint.clone() }
    }
}

/// Runs `doctor`.
///
/// # Errors
/// Something is wrong that would make a run fail.
pub(super) fn run(args: &ConfigArgs, context: &Context) -> Result<(), Failure> {
    let mut found = vec![machine(context)];
    found.push(folder("outputs", &context.output(None)));
    found.push(folder("downloads", &context.hub().cache));
    let config = args.config.exists().then(|| load(&args.config, &context.around(Default::default())));
    match &config {
        None => found.push(Finding::lacks(
            format!("there is no `{}` here", args.config.display()),
            "`init` writes one; `process` works without",
        )),
        Some(Err(failure)) => found.push(Finding::wrong(failure)),
        Some(Ok(config)) => {
            let models = units::counted(config.models.len(), "model");
            found.push(Finding::fine(format!("`{}` is valid: {models}", args.config.display())));
        }
    }
    let config = config.and_then(Result::ok);
    found.push(llama_cpp(config.as_ref(), &args.config, context));
    found.extend(rights(config.as_ref(), context)?);
    found.extend(github(context));

    let wrong = found.iter().find_map(|f| match f.state {
        State::Wrong(kind) => Some(kind),
        _ => None,
    });
    print(&if context.json { to_json(&found, context) } else { to_text(&found, context) })?;
    let failure = |kind| Err(Failure::new(kind, anyhow::anyhow!("something is wrong")).told());
    wrong.map_or(Ok(()), failure)
}

fn to_text(found: &[Finding], context: &Context) -> String {
    let mut out = String::new();
    for f in found {
        let _ = writeln!(out, "{:5}  {}", f.state.name(), context.redactor.redact(&f.text));
        if let Some(hint) = &f.hint {
            let _ = writeln!(out, "       hint: {}", context.redactor.redact(hint));
        }
    }
    out
}

fn to_json(found: &[Finding], context: &Context) -> String {
    let one = |f: &Finding| json!({"state": f.state.name(), "text": context.redactor.redact(&f.text), "hint": f.hint});
    let all: Vec<Json> = found.iter().map(one).collect();
    format!("{}\n", json!({ "findings": all }))
}

fn machine(context: &Context) -> Finding {
    let free = memory::available().map(|n| format!(", {} of memory free", units::decimal(n)));
    Finding::fine(format!(
        "{} {}: {} {}, {}, {}{}",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        simd::level(),
        units::counted(context.threads, "thread"),
        free.unwrap_or_default()
    ))
}

/// Whether a folder, or the one that it will be made in, can be written, and how much fits there.
fn folder(what: &str, path: &Path) -> Finding {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    if let Err(error) = tempfile::Builder::new().prefix(".jamph-doctor").tempfile_in(there) {
        let error =
            anyhow::Error::new(error).context(format!("`{}` cannot be written ({what})", path.display()));
        let hint = if what == "outputs" { "--output or JAMPH_OUTPUT" } else { "JAMPH_CACHE" };
        return Finding::wrong(
            &Failure::new(Kind::Input, error).hint(format!("{hint} names another folder")),
        );
    }
    let free = space::free(there).ok().flatten().map(|n| format!(", {} free", units::decimal(n)));
    Finding::fine(format!("`{}` can be written ({what}{})", path.display(), free.unwrap_or_default()))
}

/// Whether the token may write where the models go, as a run finds it out first.
fn rights(config: Option<&Config>, context: &Context) -> Result<Vec<Finding>, Failure> {
    let tokens = context.tokens()?;
    if context.hub().offline {
        return Ok(vec![Finding::lacks("offline: the Hub is not asked", "unset HF_HUB_OFFLINE to publish")]);
    }
    let mut found = Vec::new();
    if tokens.given.is_none() && tokens.workflow.is_none() {
        let hint = "set HF_TOKEN to publish, or to read what is gated or private";
        found.push(Finding::lacks("there is no token for the Hub", hint));
    }
    let models = config.map_or(&[][..], |config| &config.models);
    let repos: BTreeMap<String, (RepoId, &Model)> = models
        .iter()
        .filter_map(|m| m.repo().ok().flatten().map(|repo| (repo.to_string(), (repo, m))))
        .collect();
    for (name, (repo, model)) in repos {
        let private = model.publish.private == Some(true);
        let to = Destination { repo, private, create_pr: model.publish.create_pr == Some(true) };
        let checked = run::signed_in(&to.repo, &tokens, context.hub(), &(), &context.cancel)
            .and_then(|options| hub::check_rights(&to, &options, &(), &context.cancel));
        found.push(match checked {
            Ok(rights) if rights.state.is_some() => Finding::fine(format!("the token may write to `{name}`")),
            Ok(_) => Finding::fine(format!("the token may create `{name}`")),
            Err(error) => Finding::wrong(&Failure::from(error)),
        });
    }
    Ok(found)
}

/// Whether llama.cpp's programs are there, or how they would come; nothing is fetched or built.
fn llama_cpp(config: Option<&Config>, file: &Path, context: &Context) -> Finding {
    let asked = config.and_then(|config| config.llama_cpp.as_ref());
    let wanted = match context.wanted(asked, file) {
        Ok(wanted) => wanted.offline(),
        Err(failure) => return Finding::wrong(&failure),
    };
    let installed = matches!(wanted.request(), Request::Installed(_));
    let there = |keys: &Keys| {
        let known = [&keys.prebuilt, &keys.built].into_iter().flatten();
        known.into_iter().any(|facts| matches!(wanted.cache().find(facts, &(), &context.cancel), Ok(Some(_))))
    };
    let keys = if installed { None } else { wanted.keys(&context.cancel, &()).ok().flatten() };
    if installed || keys.as_ref().is_some_and(there) {
        return match wanted.obtain(&context.cancel, &()) {
            Ok(toolchain) => {
                Finding::fine(format!("{} in `{}`", toolchain.reference(), toolchain.folder().display()))
            }
            Err(error) => Finding::wrong(&Failure::from(error)),
        };
    }
    let missing = ["cmake", "c++"].into_iter().find(|p| process::find(p, wanted.search()).is_none());
    match (keys.is_some_and(|keys| keys.prebuilt.is_some()), missing) {
        (true, _) => Finding::fine("llama.cpp: a release's programs are fetched when they are first needed"),
        (false, None) => Finding::fine("llama.cpp: it is fetched or built when it is first needed"),
        (false, Some(program)) => Finding::lacks(
            format!("llama.cpp is not here, and `{program}` is not installed"),
            "what computes importance matrices or evaluates needs it; install cmake and a C++ compiler, or set JAMPH_LLAMA_CPP",
        ),
    }
}

fn github(context: &Context) -> Option<Finding> {
    context.actions()?;
    Some(match context.github() {
        Ok(options) if options.token.is_some() => {
            Finding::fine(format!("GitHub: `{}` at {}, with a token", options.repo, options.api))
        }
        Ok(_) => Finding::lacks("GitHub: there is no token for comments, issues and releases", GIVE_TOKEN),
        Err(failure) => Finding::wrong(&failure),
    })
}
