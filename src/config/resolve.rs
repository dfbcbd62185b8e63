//! From what was written to what is meant: layers merged, names made, contradictions found.
//!
//! In goes what [`super::raw`] could read; a value that is absent there was not given, or was reported. Out come the
//! models and the problems between values.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::model::{
    Card, Config, Convert, Evaluate, Feature, Imatrix, Layer, Metadata, Model, Publish, Quantize, Split,
    TensorType, Unbuilt,
};
use super::problem::{Place, Problem, closest};
use super::raw::{RawConfig, RawExclude, RawImatrix, RawModel, RawPublish, RawSettings, RawSplit};
use super::read::{At, List, Wrong, list};
use super::scalar::{Method, check_prefix, check_stem};
use super::source::Source;
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
    let model = resolve.assemble(Place::START, source, name, Layer::default(), Vec::new());
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
        let mut unbuilt = Vec::new();
        let llama_cpp = llama_cpp.and_then(|section| {
            unbuilt.push(Unbuilt { feature: Feature::LlamaCpp, place: section.place });
            match (section.value.tag, section.value.commit) {
                (Some(tag), None) => Some(tag.value.0),
                (None, Some(commit)) => Some(commit.value.0),
                (Some(_), Some(commit)) => {
                    self.report(Problem::new(commit.place, "`llama_cpp` has both `tag` and `commit`"));
                    None
                }
                (None, None) if !section.clean => None,
                (None, None) => {
                    self.report(
                        Problem::new(section.place, "`llama_cpp` says no version")
                            .hint("give it a `tag` or a `commit`"),
                    );
                    None
                }
            }
        });
        let defaults_clean = defaults.as_ref().is_none_or(|section| section.clean);
        let defaults = defaults.map(|section| section.value).unwrap_or_default();
        let (defaults, defaults_unbuilt) = self.layer(defaults);
        let mut resolved = Vec::new();
        // The methods that the file names, before the command line replaces them.
        let mut listed = Vec::new();
        // Exclusions are compared with what the file says only where all of that could be read.
        let mut whole = defaults_clean && models.as_ref().is_some_and(|models| models.clean);
        for model in models.map(|models| models.value.0).unwrap_or_default() {
            let (place, clean) = (model.place, model.clean && defaults_clean);
            if let Some((model, methods)) = self.model(model, &defaults, &defaults_unbuilt) {
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
        Config { llama_cpp, models: resolved, unbuilt }
    }

    fn model(
        &mut self,
        raw: At<RawModel>,
        defaults: &Layer,
        defaults_unbuilt: &[Unbuilt],
    ) -> Option<(Model, Vec<String>)> {
        let place = raw.place;
        let RawModel { source, revision, name, settings } = raw.value;
        let (own, mut unbuilt) = self.layer(settings);
        for default in defaults_unbuilt {
            if unbuilt.iter().all(|own| own.feature != default.feature) {
                unbuilt.push(*default);
            }
        }
        let source = self.with_revision(source?, revision)?;
        let settings = merge(own, defaults.clone());
        let listed = settings.methods.clone().unwrap_or_default();
        let model = self.assemble(place, source, name.map(|name| name.value.0), settings, unbuilt)?;
        Some((model, listed))
    }

    fn with_revision(
        &mut self,
        source: At<Source>,
        key: Option<At<super::source::Revision>>,
    ) -> Option<Source> {
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
        mut unbuilt: Vec<Unbuilt>,
    ) -> Option<Model> {
        let settings = merge(self.around.above.clone(), settings);
        let has_owner = settings.publish.owner.is_some();
        let settings = merge(settings, self.around.below.clone());
        if matches!(settings.imatrix, Some(Imatrix::File { .. })) {
            unbuilt.retain(|unbuilt| unbuilt.feature != Feature::Imatrix);
        }
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
            split: settings.split,
            publish: settings.publish,
            card: settings.card,
            metadata: settings.metadata,
            unbuilt,
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

    /// A layer without places, and what it asks for that is not built.
    fn layer(&mut self, raw: RawSettings) -> (Layer, Vec<Unbuilt>) {
        let mut unbuilt = Vec::new();
        let mut ask =
            |feature, place: Option<Place>| unbuilt.extend(place.map(|place| Unbuilt { feature, place }));
        ask(Feature::Evaluate, raw.evaluate.as_ref().map(|section| section.place));
        ask(Feature::Imatrix, raw.imatrix.as_ref().map(|section| section.place));
        let convert = raw.convert.map(|section| section.value).unwrap_or_default();
        let quantize = raw.quantize.map(|section| section.value).unwrap_or_default();
        let card = raw.card.map(|section| section.value).unwrap_or_default();
        let metadata = raw.metadata.map(|section| section.value).unwrap_or_default();
        let layer = Layer {
            methods: raw.methods.map(|methods| self.methods(methods.value)),
            prefix: raw.prefix.map(|prefix| prefix.value.0),
            convert: Convert {
                outtype: plain(convert.outtype),
                pre_tokenizer: convert.pre_tokenizer.map(|name| name.value.0),
                model_name: plain(convert.model_name),
            },
            quantize: Quantize {
                pure: plain(quantize.pure),
                leave_output_tensor: plain(quantize.leave_output_tensor),
                output_tensor_type: quantize.output_tensor_type.map(|ty| ty.value.0),
                token_embedding_type: quantize.token_embedding_type.map(|ty| ty.value.0),
                tensor_type_file: quantize.tensor_type_file.map(|path| self.path(path.value.0)),
                allow_requantize: plain(quantize.allow_requantize),
                include_weights: items(quantize.include_weights),
                exclude_weights: items(quantize.exclude_weights),
                prune_layers: items(quantize.prune_layers).map(|mut layers| {
                    layers.sort_unstable();
                    layers.dedup();
                    layers
                }),
                override_kv: quantize
                    .override_kv
                    .map(|pairs| pairs.value.0.into_iter().map(|(key, value)| (key, value.value)).collect()),
            },
            tensor_types: items(raw.tensor_types).map(|rules| {
                rules
                    .into_iter()
                    .filter_map(|rule| {
                        Some(TensorType { pattern: rule.r#match?.value.0, ty: rule.r#type?.value.0 })
                    })
                    .collect()
            }),
            imatrix: raw.imatrix.and_then(|imatrix| self.imatrix(imatrix)),
            evaluate: raw.evaluate.and_then(|section| {
                Some(Evaluate {
                    dataset: self.path(section.value.dataset?.value.0),
                    chunks: section.value.chunks.map(|chunks| chunks.value.0),
                    kl_divergence: plain(section.value.kl_divergence).unwrap_or_default(),
                })
            }),
            split: raw.split.and_then(|split| self.split(&split)),
            publish: raw.publish.map(|publish| self.publish(publish.value)).unwrap_or_default(),
            card: Card {
                description: card.description.map(|path| self.path(path.value.0)),
                tags: items(card.tags),
                quantized_by: plain(card.quantized_by),
            },
            metadata: Metadata {
                license: plain(metadata.license),
                license_name: plain(metadata.license_name),
                license_link: plain(metadata.license_link),
                languages: items(metadata.languages),
                datasets: items(metadata.datasets),
                pipeline_tag: plain(metadata.pipeline_tag),
                library_name: plain(metadata.library_name),
                base_model: plain(metadata.base_model),
            },
        };
        (layer, unbuilt)
    }

    fn path(&self, path: PathBuf) -> PathBuf {
        self.folder.join(path)
    }

    fn methods(&mut self, methods: List<Method>) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(methods.0.len());
        for At { place, value: Method(name), .. } in methods.0 {
            if names.contains(&name) {
                self.report(Problem::new(place, format!("`{name}` is in the list twice")));
            } else {
                names.push(name);
            }
        }
        names
    }

    fn imatrix(&mut self, imatrix: At<RawImatrix>) -> Option<Imatrix> {
        let RawImatrix { dataset, chunks, file, url, repo } = imatrix.value;
        if let (Some(chunks), None, true) = (&chunks, &dataset, imatrix.clean) {
            self.report(Problem::new(chunks.place, "`chunks` goes with `dataset`"));
        }
        match (dataset, file, url, repo) {
            (Some(dataset), None, None, None) => Some(Imatrix::Dataset {
                path: self.path(dataset.value.0),
                chunks: chunks.map(|chunks| chunks.value.0),
            }),
            (None, Some(file), None, None) => {
                let given = file.value.0.display().to_string();
                Some(Imatrix::File { path: self.path(file.value.0), given })
            }
            (None, None, Some(url), None) => Some(Imatrix::Url(url.value.0)),
            // In a repository, the name is relative to its root.
            (None, file, None, Some(repo)) => {
                Some(Imatrix::Repo { repo: repo.value, file: file.map(|file| file.value.0) })
            }
            _ if !imatrix.clean => None,
            _ => {
                self.report(
                    Problem::new(imatrix.place, "`imatrix` must say where the matrix comes from, in one way")
                        .hint("give it one of `dataset`, `file`, `url` and `repo`"),
                );
                None
            }
        }
    }

    fn split(&mut self, split: &At<RawSplit>) -> Option<Split> {
        match (&split.value.max_size, &split.value.max_tensors) {
            (Some(size), None) => Some(Split::Size(size.value.0)),
            (None, Some(tensors)) => Some(Split::Tensors(tensors.value.0)),
            _ if !split.clean => None,
            _ => {
                self.report(
                    Problem::new(split.place, "`split` must say how large a file may be, in one way")
                        .hint("give it one of `max_size` and `max_tensors`"),
                );
                None
            }
        }
    }

    fn publish(&mut self, publish: RawPublish) -> Publish {
        if let (Some(owner), Some(repo)) = (&publish.owner, &publish.repo)
            && owner.value.0 != repo.value.owner()
        {
            self.report(
                Problem::new(
                    repo.place,
                    format!("`owner` says `{}` and `repo` says `{}`", owner.value.0, repo.value.owner()),
                )
                .hint("leave `owner` out: `repo` names it"),
            );
        }
        Publish {
            owner: publish.owner.map(|owner| owner.value.0),
            repo: plain(publish.repo),
            private: plain(publish.private),
            stream: plain(publish.stream),
            create_pr: plain(publish.create_pr),
            prune: plain(publish.prune),
            xet: plain(publish.xet),
        }
    }

    fn exclude(
        &mut self,
        exclude: Option<At<List<RawExclude>>>,
        models: &mut [Model],
        left: &mut [Vec<String>],
    ) {
        for At { place, value, .. } in exclude.map(|exclude| exclude.value.0).unwrap_or_default() {
            let RawExclude { source: Some(source), method: Some(method) } = value else {
                continue;
            };
            let Method(method_name) = &method.value;
            let wanted = source.value.relative_to(self.folder);
            let matching: Vec<usize> =
                (0..models.len()).filter(|&i| covers(&wanted, &models[i].source)).collect();
            if matching.is_empty() {
                let names: Vec<String> = models.iter().map(|model| model.source.to_string()).collect();
                let problem = Problem::new(
                    source.place,
                    format!("no model has the source {}", quote(&wanted.to_string())),
                );
                let hint = match closest(&wanted.to_string(), names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write it as the model's own entry does".to_owned(),
                };
                self.report(problem.hint(hint));
                continue;
            }
            let mut found = false;
            for &index in &matching {
                let before = left[index].len();
                left[index].retain(|name| name != method_name);
                found |= left[index].len() < before;
                models[index].methods.retain(|name| name != method_name);
                if found && left[index].is_empty() {
                    self.report(
                        Problem::new(place, format!("nothing is left of {}", quote(&wanted.to_string())))
                            .hint("remove the model instead"),
                    );
                }
            }
            if !found {
                let names: Vec<&str> = left[matching[0]].iter().map(String::as_str).collect();
                self.report(
                    Problem::new(
                        method.place,
                        format!("{} has no method `{method_name}`", quote(&wanted.to_string())),
                    )
                    .hint(format!("its methods are {}", list(&names))),
                );
            }
        }
    }

    fn refuse_collisions(&mut self, models: &[Model]) {
        let mut stems: HashMap<String, &Model> = HashMap::new();
        let mut repos: HashMap<String, &Model> = HashMap::new();
        for model in models {
            // File systems and the Hub do not tell upper from lower case apart.
            let taken = model.methods.iter().find_map(|method| {
                let stem = model.stem(method).to_ascii_lowercase();
                stems.get(&stem).map(|first| (stem, first.place.line))
            });
            if let Some((stem, line)) = taken {
                self.report(
                    Problem::new(
                        model.place,
                        format!("this model and the one on line {line} would both be `{stem}.gguf`"),
                    )
                    .hint("give one of them another `name` or `prefix`"),
                );
            }
            for method in &model.methods {
                stems.entry(model.stem(method).to_ascii_lowercase()).or_insert(model);
            }
            if let Some(repo) = &model.publish.repo
                && let Some(first) = repos.insert(repo.as_str().to_ascii_lowercase(), model)
            {
                self.report(
                    Problem::new(
                        model.place,
                        format!(
                            "this model and the one on line {} would both be published as `{repo}`",
                            first.place.line
                        ),
                    )
                    .hint("a repository holds one model; give each its own `repo`, or leave it to `owner`"),
                );
            }
        }
    }
}

/// Notes for each model what its repository lists, given what the file lists for each.
fn list_for_repositories(models: &mut [Model], listed: &[Vec<String>]) {
    let repos: Vec<_> = models.iter().map(|m| m.repo().ok().flatten()).collect();
    for i in 0..models.len() {
        let shares = |j: &usize| *j == i || (repos[*j].is_some() && repos[*j] == repos[i]);
        let all = (0..models.len()).filter(shares).flat_map(|j| models[j].methods.iter().chain(&listed[j]));
        let mut all: Vec<String> = all.cloned().collect();
        all.sort_unstable();
        all.dedup();
        models[i].listed = all;
    }
}

fn no_methods(place: Place) -> Problem {
    Problem::new(place, "a model has no methods").hint("add `methods: [Q4_K_M]` to it or to `defaults`")
}

/// Whether an exclusion's source means a model's: it need not repeat the revision.
fn covers(wanted: &Source, model: &Source) -> bool {
    match (wanted, model) {
        (Source::Hub { repo: a, revision: None }, Source::Hub { repo: b, .. }) => a == b,
        _ => wanted == model,
    }
}

fn merge(above: Layer, below: Layer) -> Layer {
    // A repository that the upper layer names comes with its owner.
    let below_publish = match &above.publish.repo {
        Some(_) => Publish { owner: None, ..below.publish },
        None => below.publish,
    };
    Layer {
        methods: above.methods.or(below.methods),
        prefix: above.prefix.or(below.prefix),
        convert: above.convert.or(below.convert),
        quantize: above.quantize.or(below.quantize),
        tensor_types: above.tensor_types.or(below.tensor_types),
        imatrix: above.imatrix.or(below.imatrix),
        evaluate: above.evaluate.or(below.evaluate),
        split: above.split.or(below.split),
        publish: above.publish.or(below_publish),
        card: above.card.or(below.card),
        metadata: above.metadata.or(below.metadata),
    }
}

fn plain<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

fn items<T>(at: Option<At<List<T>>>) -> Option<Vec<T>> {
    at.map(|at| at.value.0.into_iter().map(|item| item.value).collect())
}
