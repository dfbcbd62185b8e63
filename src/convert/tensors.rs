//! The recipe of each output tensor: its place, its shape, its type, the rows it is made of.

use std::collections::{HashMap, HashSet};

use super::config::Config;
use super::parameters::head_width;
use super::{ConvertError as E, OutType, Part, Recipe, RowOrder, TensorRecipe};
use crate::arch::{
    self, Dimensions, Extent, Family, Heads, HparamError, Hparams, KEY_HEADS, LAYERS, Mapped, QUERY_HEADS,
    Rope, Tensor,
};
use crate::checkpoint::{Checkpoint, Dtype, SourceTensor, TensorEntry};
use crate::event::{Code, Event, Observer};
use crate::gguf::GgmlType;

/// Most dimensions that a tensor in a GGUF file has.
const MAX_DIMENSIONS: usize = 4;

/// A tensor of the text model, under the name by which the family knows it.
struct Source<'a> {
    name: String,
    tensor: &'a SourceTensor,
}

/// The type that `auto` stands for: that of the first matrix in a 16-bit type, else F16.
pub(super) fn resolve(out_type: OutType, checkpoint: &Checkpoint, family: &Family) -> OutType {
    if out_type != OutType::Auto {
        return out_type;
    }
    sources(checkpoint, family)
        .iter()
        .filter(|s| s.tensor.entry.shape.len() >= 2)
        .find_map(|s| match s.tensor.entry.dtype {
            Dtype::BF16 => Some(OutType::BF16),
            Dtype::F16 => Some(OutType::F16),
            _ => None,
        })
        .unwrap_or(OutType::F16)
}

/// The recipes of all output tensors, in the converter's order.
pub(super) fn recipes(
    checkpoint: &Checkpoint,
    config: &Config,
    rope: &Rope,
    out_type: OutType,
    observer: &dyn Observer,
) -> Result<Vec<TensorRecipe>, E> {
    let (h, family) = (&config.hparams, config.family);
    let layers = h.required_count(LAYERS)?;
    let dimensions = Dimensions::of(h);
    let mut recipes = Vec::new();
    if family.rope_factors
        && rope.kind().is_some()
        && let Some(factors) = rope.llama3_factors(head_width(h)?)?
    {
        recipes.push(TensorRecipe {
            name: Mapped { tensor: Tensor::RopeFreqs, layer: None, bias: false }.name(),
            shape: vec![factors.len() as u64],
            ty: GgmlType::F32,
            source: Recipe::Values(factors),
        });
    }
    let mut made: HashMap<String, String> = HashMap::new();
    let mut seen = HashSet::new();
    for Source { mut name, tensor } in sources(checkpoint, family) {
        if arch::is_computed(&name) {
            let text = format!("tensor `{name}` is left out: a runtime computes it");
            observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
            continue;
        }
        if family.unprefixed.contains(&&*config.architecture) {
            name.insert_str(0, "model.");
        }
        let Some(place) = arch::map_name(&name, family.tensors, layers) else {
            let (name, architecture) = (tensor.entry.name.clone(), config.architecture.clone());
            let expert = name.contains("experts.") || name.contains("block_sparse_moe");
            return Err(if expert {
                E::Expert { name, architecture }
            } else {
                E::Unmapped { name, architecture }
            });
        };
        seen.extend(place.layer);
        let recipe = recipe(&name, tensor, &place, h, family, &dimensions, out_type)?;
        if let Some(first) = made.insert(recipe.name.clone(), tensor.entry.name.clone()) {
            return Err(E::Collision { name: recipe.name, first, second: tensor.entry.name.clone() });
        }
        recipes.push(recipe);
    }
    // The reference does not look, and llama.cpp would refuse the file.
    match (0..layers).find(|layer| !seen.contains(layer)) {
        Some(missing) => Err(E::Layers { layers, missing }),
        None => Ok(recipes),
    }
}

/// The text model's tensors in the order in which the reference reads them: shard by shard, and by name in each.
fn sources<'a>(checkpoint: &'a Checkpoint, family: &Family) -> Vec<Source<'a>> {
    let mut tensors: Vec<&SourceTensor> = checkpoint.tensors.iter().collect();
    tensors.sort_by(|a, b| (a.shard, &a.entry.name).cmp(&(b.shard, &b.entry.name)));
    tensors
        .into_iter()
        .filter_map(|tensor| {
            let name =
                family.dropped_parts.iter().fold(tensor.entry.name.clone(), |n, part| n.replace(part, ""));
            arch::is_text(&name).then_some(Source { name, tensor })
        })
        .collect()
}

fn recipe(
    name: &str,
    tensor: &SourceTensor,
    place: &Mapped,
    h: &Hparams,
    family: &Family,
    dimensions: &Dimensions,
    out_type: OutType,
) -> Result<TensorRecipe, E> {
    let entry = &tensor.entry;
    check_shape(entry, place, dimensions)?;
    let order = row_order(name, entry, h, family)?;
    let out = place.name();
    let ty = output_type(&out, &entry.shape, out_type);
    let part = Part {
        name: entry.name.clone(),
        shard: tensor.shard,
        offset: entry.range.start,
        ty: source_type(entry)?,
    };
    Ok(TensorRecipe {
        name: out,
        shape: entry.shape.iter().rev().copied().collect(),
        ty,
        source: Recipe::Rows { parts: vec![part], order },
    })
}

fn source_type(entry: &TensorEntry) -> Result<GgmlType, E> {
    Ok(match entry.dtype {
        Dtype::F32 => GgmlType::F32,
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        Dtype::F64 => GgmlType::F64,
        dtype => return Err(E::Dtype { name: entry.name.clone(), dtype }),
    })
}

/// The type in the converter's output: vectors, norms and biases stay F32; rows of no whole blocks become F16.
fn output_type(name: &str, shape: &[u64], out_type: OutType) -> GgmlType {
    if shape.len() <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight") {
        return GgmlType::F32;
    }
    let ty = match out_type {
        OutType::F32 => GgmlType::F32,
        OutType::F16 | OutType::Auto => GgmlType::F16,
        OutType::BF16 => GgmlType::BF16,
        OutType::Q8_0 => GgmlType::Q8_0,
    };
    let row = shape[shape.len() - 1];
    if row.is_multiple_of(ty.block_size() as u64) { ty } else { GgmlType::F16 }
}

/// The shape must be what the configuration says: the reference does not look, and llama.cpp would refuse the file.
fn check_shape(entry: &TensorEntry, place: &Mapped, dimensions: &Dimensions) -> Result<(), E> {
    let extents = place.extents();
    let wanted: Vec<Option<u64>> = extents.iter().map(|e: &Extent| e.of(dimensions)).collect();
    let fits = entry.shape.len() == extents.len()
        && entry
            .shape
            .iter()
            .zip(&wanted)
            .all(|(found, wanted)| *found > 0 && wanted.is_none_or(|w| w == *found));
    if fits && (1..=MAX_DIMENSIONS).contains(&entry.shape.len()) {
        return Ok(());
    }
    let wanted: Vec<String> =
        wanted.iter().map(|w| w.map_or_else(|| "any".to_owned(), |n| n.to_string())).collect();
    let expected = format!("[{}]", wanted.join(", "));
    Err(E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected })
}

/// `LlamaModel.permute`.
fn row_order(name: &str, entry: &TensorEntry, h: &Hparams, family: &Family) -> Result<RowOrder, E> {
    let stem = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
    let Some((_, which)) = family.rope_rows.iter().find(|(module, _)| stem.ends_with(module)) else {
        return Ok(RowOrder::Natural);
    };
    let query = h.required_count(QUERY_HEADS)?;
    let heads = match which {
        Heads::Query => query,
        Heads::Key => {
            if !KEY_HEADS.iter().any(|k| h.has(k)) {
                return Err(HparamError::missing(KEY_HEADS).into());
            }
            h.count(KEY_HEADS)?.unwrap_or(query)
        }
    };
    let heads = u64::from(heads);
    let rows = entry.shape.first().copied().unwrap_or_default();
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        let expected = format!("rows in two halves for each of {heads} heads");
        return Err(E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected });
    }
    Ok(RowOrder::Rope { heads })
}
