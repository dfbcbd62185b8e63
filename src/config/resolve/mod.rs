//! From what was written to what is meant: layers merged, names made, contradictions found.
//!
//! In goes what [`super::raw`] could read; a value that is absent there was not given, or was reported. Out come the
//! models and the problems between values.

mod between;
mod layer;
mod llama_cpp;

use std::path::Path;

use self::between::list_for_repositories;
use self::layer::merge;
use super::model::{Config, Layer, Metadata, Model, Quantize};
use super::problem::{Place, Problem};
use super::raw::{RawConfig, RawModel};
use super::read::{At, Wrong};
use super::scalar::{check_prefix, check_stem};
use super::source::{Revision, Source};
use crate::base::file_name;
use crate::base::quote::quote;

/// What to do about a source whose own name is none for files.
const NAME_IT: &str = "say what file names should call the model: `name: my-model`";

/// What stands above and below a models.yaml.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// From the command line: wins over the file. Its methods replace the lists of the file; exclusions stay.
    pub above: Layer,
    /// From the environment: in place of the built-in defaults.
    pub below: Layer,
}

/// Resolves a whole file. `folder` is the one that paths in it are relative to.
pub(crate) fn config(raw: RawConfig, folder: &Path, around: &Around, problems: &mut Vec<Problem>) -> Config {
    let mut resolve = Resolve { folder, around, problems };
    resolve.config(raw)
}

/// Resolves the one model of a command line.
pub(crate) fn single(source: Source, name: Option<String>, around: &Around) -> Result<Model, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut resolve = Resolve { folder: Path::new(""), around, problems: &mut problems };
    let model = resolve.assemble(Place::START, source, name, Layer::default());
    match model {
        Some(model) if model.methods.is_empty() => Err(vec![no_methods(Place::START)]),
        Some(model) if problems.is_empty() => Ok(model),
        _ => Err(problems),
    }
}

struct Resolve<'a> {
    folder: &'a Path,
    around: &'a Around,
    problems: &'a mut Vec<Problem>,
}

impl Resolve<'_> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn config(&mut self, raw: RawConfig) -> Config {
        let RawConfig { version: _, llama_cpp, defaults, models, exclude } = raw;
        let llama_cpp = llama_cpp.map(|section| self.llama_cpp(section));
        let defaults_clean = defaults.as_ref().is_none_or(|section| section.clean);
        let defaults = defaults.map(|section| section.value).unwrap_or_default();
        let defaults = self.layer(defaults);
        let mut resolved = Vec::new();
        // The methods that the file names, before the command line replaces them.
        let mut listed = Vec::new();
        // Exclusions are compared with what the file says only where all of that could be read.
        let mut whole = defaults_clean && models.as_ref().is_some_and(|models| models.clean);
        for model in models.map(|models| models.value.0).unwrap_or_default() {
            let (place, clean) = (model.place, model.clean && defaults_clean);
            if let Some((model, methods)) = self.model(model, &defaults) {
                if model.methods.is_empty() && clean {
                    self.report(no_methods(place));
                }
                resolved.push(model);
                listed.push(methods);
            } else {
                whole = false;
            }
        }
        if whole {
            self.exclude(exclude, &mut resolved, &mut listed);
        }
        list_for_repositories(&mut resolved, &listed);
        self.refuse_collisions(&resolved);
        Config { llama_cpp, models: resolved }
    }

    fn model(&mut self, raw: At<RawModel>, defaults: &Layer) -> Option<(Model, Vec<String>)> {
        let place = raw.place;
        let RawModel { source, revision, name, settings } = raw.value;
        let own = self.layer(settings);
        let source = self.with_revision(source?, revision)?;
        let settings = merge(own, defaults.clone());
        let listed = settings.methods.clone().unwrap_or_default();
        let model = self.assemble(place, source, name.map(|name| name.value.0), settings)?;
        Some((model, listed))
    }

    fn with_revision(&mut self, source: At<Source>, key: Option<At<Revision>>) -> Option<Source> {
        match (source.value, key) {
            (Source::Hub { repo, revision: None }, Some(key)) => {
                Some(Source::Hub { repo, revision: Some(key.value) })
            }
            (Source::Hub { revision: Some(at), .. }, Some(key)) if at != key.value => {
                self.report(
                    Problem::new(
                        key.place,
                        format!("`revision` says {} and `source` says `{at}`", quote(key.value.as_str())),
                    )
                    .hint("say it in one of them"),
                );
                None
            }
            (Source::Folder(_), Some(key)) => {
                self.report(
                    Problem::new(key.place, "a folder has no `revision`")
                        .hint("leave it out, or name a repository of the Hub as the source"),
                );
                None
            }
            (source, _) => Some(source.relative_to(self.folder)),
        }
    }

    /// Puts a model together from its layers.
    fn assemble(
        &mut self,
        place: Place,
        source: Source,
        name: Option<String>,
        settings: Layer,
    ) -> Option<Model> {
        let settings = merge(self.around.above.clone(), settings);
        let has_owner = settings.publish.owner.is_some();
        let settings = merge(settings, self.around.below.clone());
        let Some(name) = name.or_else(|| source.name().map(str::to_owned)) else {
            self.report(
                Problem::new(
                    place,
                    format!("the folder {} has no name of its own", quote(&source.to_string())),
                )
                .hint(NAME_IT),
            );
            return None;
        };
        let prefix = settings.prefix.unwrap_or_default();
        let checks = [check_stem("the name", &name, 96), check_prefix(&prefix)];
        for Wrong { text, hint } in checks.into_iter().filter_map(Result::err) {
            let hint = hint.or_else(|| Some(NAME_IT.to_owned()));
            self.report(Problem { place, text, hint });
        }
        // What follows the name in a file's name begins with a hyphen.
        if file_name::is_device(&format!("{prefix}{name}-")) {
            let text = format!(
                "files cannot be called {}: Windows keeps that for a device",
                quote(&format!("{prefix}{name}-…"))
            );
            self.report(Problem::new(place, text).hint("give the model another `name` or `prefix`"));
        }
        let methods = settings.methods.unwrap_or_default();
        self.check_options(place, &settings.quantize, &settings.metadata);
        let model = Model {
            place,
            source,
            name: name.to_ascii_lowercase(),
            prefix,
            listed: methods.clone(),
            methods,
            convert: settings.convert,
            quantize: settings.quantize,
            tensor_types: settings.tensor_types.unwrap_or_default(),
            imatrix: settings.imatrix,
            evaluate: settings.evaluate,
            check: settings.check.unwrap_or(false),
            split: settings.split,
            publish: settings.publish,
            card: settings.card,
            metadata: settings.metadata,
        };
        // An owner that only the environment names is no reason to refuse what may not be published at all.
        if let (true, Err(error)) = (has_owner, model.repo()) {
            let text = format!("the repository of this model has no possible name: {error}");
            self.report(Problem::new(place, text).hint("say it with `publish: { repo: owner/name }`"));
        }
        Some(model)
    }

    fn check_options(&mut self, place: Place, quantize: &Quantize, metadata: &Metadata) {
        if quantize.leave_output_tensor == Some(true) && quantize.output_tensor_type.is_some() {
            self.report(
                Problem::new(place, "`leave_output_tensor` and `output_tensor_type` contradict each other")
                    .hint("the output tensor either stays as it is or gets a type"),
            );
        }
        if quantize.include_weights.is_some() && quantize.exclude_weights.is_some() {
            self.report(
                Problem::new(place, "`include_weights` and `exclude_weights` contradict each other")
                    .hint("the matrix is used for some tensors only, or for all but some"),
            );
        }
        if let (Some(license), Some(name)) = (&metadata.license, &metadata.license_name)
            && license != "other"
        {
            self.report(
                Problem::new(
                    place,
                    format!("the licence is {} and is also called {}", quote(license), quote(name)),
                )
                .hint("`license_name` goes with `license: other`"),
            );
        }
    }
}

fn no_methods(place: Place) -> Problem {
    Problem::new(place, "a model has no methods").hint("add `methods: [Q4_K_M]` to it or to `defaults`")
}
