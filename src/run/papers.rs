//! What stands beside a GGUF file: the card, the log and, last, the metadata.

use std::path::PathBuf;

use super::JobError;
use super::files::{Written, WrittenFile};
use super::prepared::{Planned, Prepared};
use super::recipe::{RECIPE_VERSION, REFERENCE};
use crate::base::front_matter::{self, Node};
use crate::base::repo_id::RepoId;
use crate::card::inherit::{self, Fields, License};
use crate::card::metadata::{
    self, FORMAT_VERSION, FilePart, ImatrixCoverage, Output, Program, Quality, QuantizationMetadata, Run,
    TensorQuality,
};
use crate::card::{self, Card, DEFAULT_DESCRIPTION, log};
use crate::checkpoint::Checkpoint;
use crate::config::Model;
use crate::event::{Code, Event, Observer};
use crate::gguf::GgmlType;
use crate::publish::{self, Licence, Texts};
use crate::quantize::Coverage;
use crate::quantize::pass::{Loss, PassReport};

/// What the cards of a job have in common.
#[derive(Debug)]
pub struct Papers {
    fields: Fields,
    description: String,
    repo: Option<RepoId>,
    quantized_by: Option<String>,
    licences: Vec<Licence>,
    /// What the source's card lacks, or has in vain.
    notices: Vec<String>,
}

impl Papers {
    /// Gathers what the cards say: the model's entry, then the source's card, then what is built in. `source` is the
    /// repository that the checkpoint is from, `repo` where it goes to.
    ///
    /// # Errors
    /// The notice's file, or one of the source's, cannot be read.
    pub fn gather(
        model: &Model,
        checkpoint: &Checkpoint,
        source: Option<&str>,
        repo: Option<RepoId>,
    ) -> Result<Self, JobError> {
        let description = match &model.card.description {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| JobError::Io { path: PathBuf::from(path), source })?,
            None => DEFAULT_DESCRIPTION.to_owned(),
        };
        let mut notices = Vec::new();
        let card = match checkpoint.small_file(card::FILE_NAME)? {
            None => None,
            Some(text) => match front_matter::parse(&text) {
                Ok(node) => Some(node),
                Err(error) => {
                    notices.push(format!("the source's card is not used: {error}"));
                    None
                }
            },
        };
        let inherited = inherit::from_card(card.as_ref().unwrap_or(&Node::Map(Vec::new())), source);
        let (fields, left_out) = inherit::resolve(&[&stated(model), &inherited], &[]);
        notices.extend(left_out.iter().map(ToString::to_string));
        if fields.license.is_none() {
            let text = "no licence is stated, neither by the source's card nor by `metadata.license`";
            notices.push(text.to_owned());
        }
        let owner = || repo.as_ref().map(|repo| repo.owner().to_owned());
        Ok(Papers {
            quantized_by: model.card.quantized_by.clone().or_else(owner),
            licences: publish::licences_of(&checkpoint.folder)?,
            fields,
            description,
            repo,
            notices,
        })
    }

    /// Says what the source's card lacks.
    pub fn announce(&self, name: &str, observer: &dyn Observer) {
        for notice in &self.notices {
            observer.event(Event::new(Code::CardNotice, notice.as_str()).about(name));
        }
    }

    /// What the repository's card is made from.
    pub fn texts(&self) -> Texts<'_> {
        Texts {
            fields: &self.fields,
            description: &self.description,
            quantized_by: self.quantized_by.as_deref(),
            licences: &self.licences,
        }
    }

    /// The files beside one output, to be written in this order: the metadata, which makes the output finished, is last.
    pub fn beside(
        &self,
        prepared: &Prepared,
        planned: &Planned,
        made: Output,
        run: &Run,
    ) -> Vec<(PathBuf, Vec<u8>)> {
        let metadata = metadata_of(prepared, made, run);
        let names: Vec<String> = self.licences.iter().map(|l| l.name.clone()).collect();
        let card = Card {
            title: &planned.stem,
            repo: self.repo.as_ref().map(RepoId::as_str),
            fields: &self.fields,
            quantized_by: self.quantized_by.as_deref(),
            description: &self.description,
            licences: &names,
            metadata: &metadata,
        };
        let licences = self.licences.iter().map(|l| (&*l.name, l.bytes.clone()));
        let texts = [
            (card::FILE_NAME, card.render().into_bytes()),
            (log::FILE_NAME, log::render(&planned.stem, &metadata).into_bytes()),
            (metadata::FILE_NAME, metadata.to_json().into_bytes()),
        ];
        licences.chain(texts).map(|(name, text)| (planned.folder.join(name), text)).collect()
    }
}

/// The metadata of one output.
pub(super) fn metadata_of(prepared: &Prepared, made: Output, run: &Run) -> QuantizationMetadata {
    QuantizationMetadata {
        format_version: FORMAT_VERSION,
        program: Program {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipe_version: RECIPE_VERSION,
        },
        reference: REFERENCE.to_owned(),
        source: prepared.source.clone(),
        outputs: vec![made],
        run: run.clone(),
    }
}

/// What the entry says of the model.
fn stated(model: &Model) -> Fields {
    let m = &model.metadata;
    let license = m.license.as_ref().map(|id| License {
        id: id.clone(),
        name: m.license_name.clone(),
        link: m.license_link.clone(),
    });
    Fields {
        license,
        language: m.languages.clone(),
        tags: model.card.tags.clone(),
        datasets: m.datasets.clone(),
        pipeline_tag: m.pipeline_tag.clone(),
        library_name: m.library_name.clone(),
        base_model: m.base_model.as_ref().map(|r| vec![r.to_string()]),
        gate: None,
    }
}

/// An output as the metadata records it. `pass` is that of the text model's outputs, `seconds` what it took.
pub(super) fn record(planned: &Planned, written: &Written, pass: &PassReport, seconds: f64) -> Output {
    // Of a tower, nothing was measured.
    let apart = PassReport::default();
    let pass = if planned.tower.is_some() { &apart } else { pass };
    let mut tensor_types = std::collections::BTreeMap::new();
    for tensor in &planned.layout.header.tensors {
        let ty: GgmlType = tensor.ty;
        *tensor_types.entry(ty.to_string()).or_insert(0) += 1;
    }
    let tensors = planned.layout.header.tensors.iter().enumerate().filter_map(|(i, tensor)| {
        let quality = quality(pass.loss(i, tensor.ty)?)?;
        Some(TensorQuality { name: tensor.name.clone(), ty: tensor.ty.to_string(), quality })
    });
    Output {
        file: planned.file_name(),
        size: written.bytes(),
        sha256: written.sha256().map(str::to_owned),
        parts: if planned.parts.is_empty() { Vec::new() } else { written.files.iter().map(part).collect() },
        recipe: planned.recipe.clone(),
        bits_per_weight: planned.layout.bits_per_weight(),
        tensor_types,
        imatrix_file: None,
        imatrix_coverage: planned.coverage.as_ref().map(coverage),
        quality: pass.file_loss(&planned.layout.header).as_ref().and_then(quality),
        tensors: tensors.collect(),
        evaluation: None,
        checked: None,
        seconds,
        origin: None,
    }
}

fn part(file: &WrittenFile) -> FilePart {
    FilePart {
        file: file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        size: file.bytes,
        sha256: file.sha256.clone().unwrap_or_default(),
    }
}

/// A figure that is not finite, of weights near the limits of f32, cannot be told in JSON.
fn quality(loss: &Loss) -> Option<Quality> {
    let rmse = loss.relative_rmse();
    rmse.is_finite().then(|| Quality::new(rmse, loss.snr_db()))
}

fn coverage(coverage: &Coverage) -> ImatrixCoverage {
    ImatrixCoverage {
        quantized: coverage.quantized,
        weighted: coverage.weighted(),
        without: coverage.without.clone(),
        idle_experts: coverage.idle.iter().map(|i| (i.tensor.clone(), i.experts.clone())).collect(),
    }
}
