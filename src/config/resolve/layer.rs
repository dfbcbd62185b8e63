//! Settings as they were written to a [`Layer`], and a layer over another.

use std::path::PathBuf;

use super::Resolve;
use crate::base::file_name;
use crate::base::quote::quote;
use crate::config::evaluate;
use crate::config::model::{
    Card, Convert, Dataset, Imatrix, Layer, Metadata, Publish, Quantize, Split, TensorType,
};
use crate::config::problem::Problem;
use crate::config::raw::{RawImatrix, RawPublish, RawSettings, RawSplit};
use crate::config::read::{At, List};
use crate::config::scalar::{FilePath, Method};

impl Resolve<'_> {
    /// A layer without places.
    pub(super) fn layer(&mut self, raw: RawSettings) -> Layer {
        let convert = raw.convert.map(|section| section.value).unwrap_or_default();
        let quantize = raw.quantize.map(|section| section.value).unwrap_or_default();
        let card = raw.card.map(|section| section.value).unwrap_or_default();
        let metadata = raw.metadata.map(|section| section.value).unwrap_or_default();
        Layer {
            methods: raw.methods.map(|methods| self.methods(methods.value)),
            prefix: raw.prefix.map(|prefix| prefix.value.0),
            convert: Convert {
                outtype: plain(convert.outtype),
                pre_tokenizer: convert.pre_tokenizer.map(|name| name.value.0),
                model_name: plain(convert.model_name),
                fallback: plain(convert.fallback),
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
            evaluate: raw.evaluate.map(|section| {
                let dataset = section.value.dataset.as_ref().map(|text| self.dataset(text.value.0.clone()));
                evaluate::resolve(section, dataset, self.problems)
            }),
            check: plain(raw.check),
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
        }
    }

    pub(super) fn path(&self, path: PathBuf) -> PathBuf {
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
        let RawImatrix { dataset, chunks, file, url, repo, revision } = imatrix.value;
        if let (Some(chunks), None, true) = (&chunks, &dataset, imatrix.clean) {
            self.report(Problem::new(chunks.place, "`chunks` goes with `dataset`"));
        }
        if let (Some(revision), None, true) = (&revision, &repo, imatrix.clean) {
            self.report(Problem::new(revision.place, "`revision` goes with `repo`"));
        }
        match (dataset, file, url, repo) {
            (Some(dataset), None, None, None) => Some(Imatrix::Dataset {
                text: self.dataset(dataset.value.0),
                chunks: chunks.map(|chunks| chunks.value.0),
            }),
            (None, Some(file), None, None) => {
                let given = file.value.0.display().to_string();
                Some(Imatrix::File { path: self.path(file.value.0), given })
            }
            (None, None, Some(url), None) => Some(Imatrix::Url(url.value.0)),
            // In a repository, the name is relative to its root.
            (None, file, None, Some(repo)) => {
                let file = file.and_then(|file| self.path_in_repository(&file));
                Some(Imatrix::Repo { repo: repo.value, revision: plain(revision), file })
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

    fn dataset(&self, dataset: Dataset) -> Dataset {
        match dataset {
            Dataset::File(path) => Dataset::File(self.path(path)),
            other => other,
        }
    }

    fn path_in_repository(&mut self, file: &At<FilePath>) -> Option<String> {
        let path = file.value.0.to_string_lossy().into_owned();
        if file_name::is_safe_path(&path) {
            return Some(path);
        }
        self.report(
            Problem::new(file.place, format!("{} is no path in a repository", quote(&path)))
                .hint("write it as the repository shows it, such as `imatrix.gguf`"),
        );
        None
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
}

/// One layer, and where it is silent, the one below.
pub(super) fn merge(above: Layer, below: Layer) -> Layer {
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
        check: above.check.or(below.check),
        split: above.split.or(below.split),
        publish: above.publish.or(below_publish),
        card: above.card.or(below.card),
        metadata: above.metadata.or(below.metadata),
    }
}

pub(super) fn plain<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

fn items<T>(at: Option<At<List<T>>>) -> Option<Vec<T>> {
    at.map(|at| at.value.0.into_iter().map(|item| item.value).collect())
}
