//! LoRA adapters to [`Blueprint`]: what `convert_lora_to_gguf.py` makes of PEFT's folders.
//!
//! In: the adapter's tensors and `adapter_config.json`, and the base model's `config.json`. Out: an adapter's GGUF file but
//! for the weights. The base model's family says where each of its tensors goes, as in any conversion; the pairs go the
//! same way ([`recipes`]). It refuses what a GGUF adapter has no place for: magnitudes of DoRA, whole matrices beside norms,
//! modules that the family does not know.

mod error;
mod pairs;
mod recipes;

use serde_json::{Map, Value as Json};

use self::pairs::{Change, What, changes};
use super::computed::Made;
use super::config::{self, Config, json};
use super::general::{self, Counts, GeneralSource};
use super::parameters::QUANTIZATION_VERSION;
use super::quantized::Scheme;
use super::source::plain_type;
use super::{Blueprint, ConvertError, ConvertOptions, OutType, Recipe, TensorRecipe, tensors};
use crate::base::units;
use crate::checkpoint::{ADAPTER_CONFIG, Checkpoint, Dtype, TensorEntry};
use crate::event::{Code, Event, Observer};
use crate::gguf::Metadata;
use crate::safetensors::ShardHeader;

pub use self::error::AdapterError;

/// Settings of PEFT that change what an adapter does, and that neither the reference nor a GGUF file knows.
const UNHEARD: [(&str, &str); 4] = [
    ("use_rslora", "llama.cpp scales by alpha over rank"),
    ("alpha_pattern", "llama.cpp scales all modules by the same alpha"),
    ("fan_in_fan_out", "the weights are taken as they are"),
    ("lora_bias", "biases have no place in the file"),
];

/// Works out the conversion of an adapter; of `base`, only the small files are looked at.
///
/// # Errors
/// [`ConvertError`] names the file, key or tensor that is in the way.
pub fn adapter_blueprint(
    adapter: &Checkpoint,
    base: &Checkpoint,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<Blueprint, ConvertError> {
    let stated = Stated::read(adapter)?;
    for (key, why) in UNHEARD {
        if stated.truthy(key) {
            let text = format!("`{key}` of `{ADAPTER_CONFIG}` is not heeded: {why}");
            observer.event(Event::new(Code::AdapterNotice, text).about(&*adapter.name));
        }
    }
    let config = Config { scheme: Scheme::Plain, ..config::read_alone(base, observer)? };
    let changes = changes(adapter, config.family)?;
    if !changes.iter().any(|change| matches!(change.what, What::Product(_))) {
        return Err(AdapterError::Empty.into());
    }
    let out_type = resolve(options.out_type, &changes);
    let (tensors, counts) = made(&changes, &config, out_type, observer)?;

    let mut metadata = Metadata::new();
    metadata.set("general.architecture", config.family.name);
    metadata.set("general.type", "adapter");
    metadata.set("adapter.type", "lora");
    write_general(adapter, options, counts, observer, &mut metadata)?;
    metadata.set("adapter.lora.alpha", stated.alpha()?);
    if let Some(tokens) = stated.invocation_tokens()? {
        metadata.set("adapter.alora.invocation_tokens", tokens);
    }
    metadata.set("general.quantization_version", QUANTIZATION_VERSION);

    let text = format!(
        "{} and {} for an adapter of {}",
        units::counted(tensors.len(), "tensor"),
        units::counted(metadata.len(), "metadata key"),
        config.architecture
    );
    observer.event(
        Event::new(Code::BlueprintMade, text)
            .about(&*adapter.name)
            .with("tensors", tensors.len())
            .with("architecture", config.family.name),
    );
    Ok(Blueprint { architecture: config.family.name.to_owned(), out_type, metadata, tensors })
}

/// The base model that an adapter names: a repository, or a folder on its author's disk.
///
/// # Errors
/// There is no `adapter_config.json`, or it is no JSON object.
pub fn named_base(adapter: &Checkpoint) -> Result<Option<String>, ConvertError> {
    let stated = Stated::read(adapter)?;
    Ok(stated.0.get("base_model_name_or_path").and_then(Json::as_str).map(str::to_owned))
}

/// `adapter_config.json`.
struct Stated(Map<String, Json>);

impl Stated {
    fn read(adapter: &Checkpoint) -> Result<Self, ConvertError> {
        let bytes = adapter.small_file(ADAPTER_CONFIG)?;
        let bytes = bytes.ok_or_else(|| AdapterError::NoConfig(adapter.folder.clone()))?;
        let stated = Stated(json(ADAPTER_CONFIG, &bytes)?);
        match stated.0.get("peft_type").and_then(Json::as_str) {
            Some(kind) if !["LORA", "ADALORA"].contains(&&*kind.to_uppercase()) => {
                Err(AdapterError::Kind(kind.to_owned()).into())
            }
            _ => Ok(stated),
        }
    }

    fn truthy(&self, key: &str) -> bool {
        match self.0.get(key) {
            None | Some(Json::Null | Json::Bool(false)) => false,
            Some(Json::Object(pairs)) => !pairs.is_empty(),
            Some(_) => true,
        }
    }

    fn alpha(&self) -> Result<f32, AdapterError> {
        const KEY: &str = "lora_alpha";
        let value = self.0.get(KEY).ok_or(AdapterError::Missing(KEY))?;
        let alpha = value.as_f64().map(|alpha| alpha as f32).filter(|alpha| alpha.is_finite());
        alpha.ok_or_else(|| wrong(KEY, value, "a number"))
    }

    /// The tokens that switch an activated adapter on, where it is one.
    fn invocation_tokens(&self) -> Result<Option<Vec<u32>>, AdapterError> {
        const KEY: &str = "alora_invocation_tokens";
        let none = match self.0.get(KEY) {
            None | Some(Json::Null) => true,
            Some(value) => value.as_array().is_some_and(Vec::is_empty),
        };
        if none {
            let text = self.0.get("invocation_string").and_then(Json::as_str);
            return match text.filter(|text| !text.is_empty()) {
                Some(_) => Err(AdapterError::InvocationString),
                None => Ok(None),
            };
        }
        let value = &self.0[KEY];
        let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = value.as_array().and_then(|list| list.iter().map(id).collect());
        ids.map(Some).ok_or_else(|| wrong(KEY, value, "a list of token ids"))
    }
}

fn wrong(key: &'static str, value: &Json, expected: &'static str) -> AdapterError {
    /// Enough to be found in the file.
    const SHOWN: usize = 60;
    let mut found = value.to_string();
    if let Some((at, _)) = found.char_indices().nth(SHOWN) {
        found.truncate(at);
        found.push('…');
    }
    AdapterError::Value { key, found, expected }
}

/// The type that `auto` stands for: that of the first pair in a 16-bit type, else F16. (The reference's help says so; the
/// script itself ends with an error there.)
fn resolve(out_type: OutType, changes: &[Change<'_>]) -> OutType {
    let of_pair = |change: &Change<'_>| match change.what {
        What::Product(pair) if pair.a.entry.dtype == pair.b.entry.dtype => Some(pair.a.entry.dtype),
        _ => None,
    };
    out_type.resolve(changes.iter().filter_map(of_pair))
}

/// The recipes of all output tensors, and the parameters that they change.
fn made(
    changes: &[Change<'_>],
    config: &Config,
    out_type: OutType,
    observer: &dyn Observer,
) -> Result<(Vec<TensorRecipe>, Counts), ConvertError> {
    let stand_in = stand_in(changes)?;
    let (Made { recipes, .. }, _) = tensors::placed(&stand_in, config, out_type, Made::default(), observer)?;
    let mut used = vec![false; changes.len()];
    for recipe in &recipes {
        if let Recipe::Rows { parts, .. } = &recipe.source {
            parts.iter().for_each(|part| used[part.shard] = true);
        }
    }
    if changes.iter().zip(&used).any(|(change, used)| change.known == "lm_head.weight" && !used) {
        return Err(AdapterError::Output.into());
    }
    let (mut tensors, mut counted) = (Vec::new(), Vec::new());
    for recipe in &recipes {
        let made = recipes::recipes(recipe, changes, out_type)?;
        match &made[..] {
            // Rows of A (of embeddings, its rank) and what B has beside its own.
            [a, b] => counted.push((b.name.clone(), [&a.shape[..1], &b.shape[1..]].concat())),
            others => counted.extend(others.iter().map(|whole| (whole.name.clone(), whole.shape.clone()))),
        }
        tensors.extend(made);
    }
    let counts = Counts::of(counted.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
    Ok((tensors, Counts { adapter: true, ..counts }))
}

/// A checkpoint of whole tensors of the shapes that are changed, each in a shard of its own, which nobody reads: the way
/// from it to the GGUF file is the way of the changes.
fn stand_in(changes: &[Change<'_>]) -> Result<Checkpoint, ConvertError> {
    let shard = |change: &Change<'_>| {
        let (dtype, shape, bytes) = match &change.what {
            What::Whole(tensor) => {
                plain_type(&tensor.entry)?;
                let entry = &tensor.entry;
                (entry.dtype, entry.shape.clone(), entry.range.end - entry.range.start)
            }
            What::Product(pair) => {
                pair.types()?;
                let shape = pair.shape();
                let values = shape.iter().product::<u64>();
                (Dtype::F32, shape, values * recipes::STAND_IN.block_bytes() as u64)
            }
        };
        let entry = TensorEntry { name: change.base.clone(), dtype, shape, range: 0..bytes };
        Ok((change.base.clone(), ShardHeader { tensors: vec![entry] }))
    };
    let shards = changes.iter().map(shard).collect::<Result<_, ConvertError>>()?;
    Ok(Checkpoint::from_headers("adapter".as_ref(), shards)?)
}

fn write_general(
    adapter: &Checkpoint,
    options: &ConvertOptions,
    counts: Counts,
    observer: &dyn Observer,
    out: &mut Metadata,
) -> Result<(), ConvertError> {
    let card = adapter.small_file("README.md")?;
    let generation_config = adapter.small_file("generation_config.json")?;
    let config = match adapter.small_file("config.json")? {
        Some(bytes) => json("config.json", &bytes)?,
        None => Json::Null,
    };
    let source = GeneralSource {
        folder: &adapter.name,
        card: card.as_deref(),
        config: &config,
        generation_config: generation_config.as_deref(),
        counts,
        model_name: options.model_name.as_deref(),
        overrides: options.metadata.as_ref(),
    };
    for notice in general::write(&source, out)?.notices {
        observer.event(Event::new(Code::CardNotice, notice.to_string()).about(&*adapter.name));
    }
    Ok(())
}
