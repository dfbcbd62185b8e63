//! Checkpoint and architecture to [`Blueprint`]: metadata, tokenizer, tensor recipes. No weight is read, but for the
//! numbers that a few families have as tensors and the reference as metadata.
//!
//! In: a [`Checkpoint`] and what `convert_hf_to_gguf.py` has flags for. Out: everything of the GGUF file but the
//! weights, and how to make those, such that the file is byte for byte the one that script writes. It refuses
//! architectures that have no row in [`arch`](crate::arch), tensors that have no place or not the shape that the
//! configuration states, and weights that are quantized already.

mod adapter;
mod blueprint;
mod computed;
mod config;
mod cuts;
mod error;
mod from_gguf;
pub mod general;
mod mmproj;
mod parameters;
mod quantized;
mod source;
mod stacks;
mod tensors;
#[cfg(test)]
mod tests;
pub mod tokenizer;
mod values;

use self::general::{Counts, GeneralSource};
use crate::arch::Rope;
use crate::base::units;
use crate::checkpoint::Checkpoint;
use crate::event::{Code, Event, Observer};
use crate::gguf::Metadata;

pub use adapter::{AdapterError, adapter_blueprint, named_base};
pub use blueprint::{
    Blueprint, Change, Coding, Element, OutType, Part, Recipe, RowOrder, Scales, Strides, TensorRecipe, Zeros,
};
pub use error::ConvertError;
pub use from_gguf::FromGgufError;
pub use mmproj::{MmprojError, is_seeing, mmproj};

/// What the converter's user chooses.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// `--outtype`.
    pub out_type: OutType,
    /// `--model-name`: `general.name`.
    pub model_name: Option<String>,
    /// `--metadata`: GGUF keys that override what the model's files say.
    pub metadata: Option<serde_json::Value>,
    /// `tokenizer.ggml.pre`, in place of recognizing it.
    pub pre_tokenizer: Option<String>,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        ConvertOptions { out_type: OutType::Auto, model_name: None, metadata: None, pre_tokenizer: None }
    }
}

/// Works out the conversion of a checkpoint.
///
/// # Errors
/// [`ConvertError`] names the file, key or tensor that is in the way.
pub fn blueprint(
    checkpoint: &Checkpoint,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<Blueprint, ConvertError> {
    let config = config::read(checkpoint, observer)?;
    let rope = Rope::new(&config.hparams)?;
    let out_type = tensors::resolve(options.out_type, checkpoint, config.family);
    let computed::Made { metadata: computed, recipes: tensors } =
        tensors::recipes(checkpoint, &config, &rope, out_type, observer)?;

    let mut metadata = Metadata::new();
    metadata.set("general.architecture", config.family.name);
    for (key, value) in computed {
        metadata.set(key, value);
    }
    metadata.set("general.type", "model");
    write_general(checkpoint, &config.raw, options, &tensors, observer, &mut metadata)?;
    parameters::write(checkpoint, &config, &rope, out_type, &mut metadata)?;
    let (hparams, style) = (config.hparams.values(), config.family.vocabulary);
    tokenizer::write(checkpoint, hparams, style, options.pre_tokenizer.as_deref(), &mut metadata)?;

    let text = format!(
        "{} and {} for {}",
        units::counted(tensors.len(), "tensor"),
        units::counted(metadata.len(), "metadata key"),
        config.architecture
    );
    observer.event(
        Event::new(Code::BlueprintMade, text)
            .about(&*checkpoint.name)
            .with("tensors", tensors.len())
            .with("architecture", config.family.name),
    );
    Ok(Blueprint { architecture: config.family.name.to_owned(), out_type, metadata, tensors })
}

fn write_general(
    checkpoint: &Checkpoint,
    config: &serde_json::Value,
    options: &ConvertOptions,
    tensors: &[TensorRecipe],
    observer: &dyn Observer,
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let card = checkpoint.small_file("README.md")?;
    let generation_config = checkpoint.small_file("generation_config.json")?;
    let source = GeneralSource {
        folder: &checkpoint.name,
        card: card.as_deref(),
        config,
        generation_config: generation_config.as_deref(),
        counts: Counts::of(tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice()))),
        model_name: options.model_name.as_deref(),
        overrides: options.metadata.as_ref(),
    };
    for notice in general::write(&source, out)?.notices {
        observer.event(Event::new(Code::CardNotice, notice.to_string()).about(&*checkpoint.name));
    }
    Ok(())
}
