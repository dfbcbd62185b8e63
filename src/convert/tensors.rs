//! The recipe of each output tensor: its place, its shape, its type, the rows it is made of.
//!
//! Most tensors of a checkpoint become one under another name. Some become several (fused matrices), and some become
//! one with others (experts); [`places`] says which, of the family's data. No weight is read.

use std::collections::{HashMap, HashSet};

use super::computed::{self, Made};
use super::config::Config;
use super::stacks::Stacks;
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

/// The recipes of all output tensors, in the converter's order, and the metadata that goes with computed tensors.
pub(super) fn recipes(
    checkpoint: &Checkpoint,
    config: &Config,
    rope: &Rope,
    out_type: OutType,
    observer: &dyn Observer,
) -> Result<Made, E> {
    let (h, family) = (&config.hparams, config.family);
    let layers = h.required_count(LAYERS)?;
    let writer = Writer { config, dimensions: Dimensions::of(h), layers, out_type };
    let Made { metadata, mut recipes } = computed::tensors(config, rope)?;
    let labelled = match family.labelled {
        [] => &[][..],
        names => arch::key::labels(h)?.map_or(&[][..], |_| names),
    };
    let mut stacks = Stacks::default();
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
        if family.unsuffixed.iter().any(|end| name.ends_with(end)) {
            name.push_str(".weight");
        }
        if let Some((_, new)) = labelled.iter().find(|(plain, _)| *plain == name) {
            (*new).clone_into(&mut name);
        }
        if !family.tied_output
            && name == "lm_head.weight"
            && h.get("tie_word_embeddings") == Some(&true.into())
        {
            let text = format!("tensor `{name}` is left out: the embeddings serve as output");
            observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
            continue;
        }
        let new = match stacks.add(&name, tensor, h, family, layers)? {
            None => writer.answered(&name, tensor)?,
            Some(complete) => {
                complete.iter().map(|stack| writer.stack(stack)).collect::<Result<Vec<_>, E>>()?
            }
        };
        for (layer, recipe) in new {
            seen.extend(layer);
            if made.contains_key(&recipe.name) && family.shares(&recipe.name) {
                let text = format!("tensor `{name}` is left out: it stands for another that came first");
                observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
                continue;
            }
            if let Some(first) = made.insert(recipe.name.clone(), tensor.entry.name.clone()) {
                return Err(E::Collision { name: recipe.name, first, second: tensor.entry.name.clone() });
            }
            recipes.push(recipe);
        }
    }
    stacks.check_complete()?;
    // The reference does not look, and llama.cpp would refuse the file.
    match (0..layers).find(|layer| !seen.contains(layer)) {
        Some(missing) => Err(E::Layers { layers, missing }),
        None => Ok(Made { metadata, recipes }),
    }
}

/// The text model's tensors in the order in which the reference reads them: shard by shard, and by name in each.
fn sources<'a>(checkpoint: &'a Checkpoint, family: &Family) -> Vec<Source<'a>> {
    let mut tensors: Vec<&SourceTensor> = checkpoint.tensors.iter().collect();
    tensors.sort_by(|a, b| (a.shard, &a.entry.name).cmp(&(b.shard, &b.entry.name)));
    tensors
        .into_iter()
        .filter_map(|tensor| {
            let name = family.bare(&tensor.entry.name);
            if family.skips(&name) {
                return None;
            }
            let own = |name: String, (part, new): &(&str, &str)| name.replace(part, new);
            let name = family.renamed.iter().fold(name.into_owned(), own);
            arch::is_text(&name).then(|| Source { name: name.replace("language_model.", ""), tensor })
        })
        .collect()
}

/// Rows of a source tensor that become a tensor of their own: all of them, or an equal share of each of its stacked
/// matrices.
struct Rows {
    /// Extents of the output in the checkpoint's order.
    shape: Vec<u64>,
    /// Byte runs in the shard: where each starts in the source tensor.
    starts: Vec<u64>,
}

/// What all recipes are made with.
struct Writer<'a> {
    config: &'a Config,
    dimensions: Dimensions,
    layers: u32,
    out_type: OutType,
}

type Recipes = Vec<(Option<u32>, TensorRecipe)>;

impl Writer<'_> {
    /// As [`Writer::split`]; of a reranker's output matrix, only the rows of its answers.
    fn answered(&self, name: &str, tensor: &SourceTensor) -> Result<Recipes, E> {
        let Some(answers) = self.config.answers else { return self.split(name, tensor) };
        let tied = self.config.hparams.get("tie_word_embeddings") == Some(&true.into());
        if !name.contains(if tied { "embed_tokens" } else { "lm_head" }) {
            return self.split(name, tensor);
        }
        let entry = &tensor.entry;
        let width = entry.shape.get(1).copied().unwrap_or_default();
        let last = answers.iter().copied().max().map_or(0, u64::from);
        if entry.shape.len() != 2 || width == 0 || entry.shape[0] <= last {
            let expected = format!("rows, of which {last} is one");
            return Err(E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected });
        }
        let row = self.bytes(entry, width)?;
        let starts = answers.iter().map(|id| u64::from(*id) * row).collect();
        let place = Mapped { tensor: Tensor::ClsOut, layer: None, bias: false };
        let rows = Rows { shape: vec![answers.len() as u64, width], starts };
        let mut recipes = vec![(None, self.recipe(name, &place, &[tensor], &rows)?)];
        if tied {
            recipes.extend(self.split(name, tensor)?);
        }
        Ok(recipes)
    }

    /// The tensor or tensors that one of the checkpoint's becomes by itself.
    fn split(&self, name: &str, tensor: &SourceTensor) -> Result<Recipes, E> {
        let (entry, family) = (&tensor.entry, self.config.family);
        // Fused matrices without a suffix are weights.
        let (stem, bias) = arch::stem(name).unwrap_or((name, false));
        let fused = |name| Some((name, arch::layer_in(stem, name, self.layers)?));
        if let Some((fused, layer)) = family.splits.iter().find_map(|split| {
            let (_, layer) = fused(split.name)?;
            Some((split, layer))
        }) {
            let mut recipes = Vec::new();
            let mut before = 0;
            let wanted: Vec<Vec<u64>> = fused
                .into
                .iter()
                .map(|t| self.known_extents(&Mapped { tensor: *t, layer, bias }, entry))
                .collect::<Result<_, E>>()?;
            let axis = wanted.first().map_or(0, |shape| shape.len().saturating_sub(2));
            // What no number can say, no tensor has.
            let all = wanted.iter().try_fold(0u64, |all, shape| all.checked_add(shape[axis]));
            let all = all.unwrap_or(u64::MAX);
            let mut expected = wanted.first().cloned().unwrap_or_default();
            if let Some(rows) = expected.get_mut(axis) {
                *rows = all;
            }
            if entry.shape != expected {
                return Err(wrong_shape(entry, format!("{expected:?}")));
            }
            for (into, shape) in fused.into.iter().zip(wanted) {
                let row: u64 = shape[axis + 1..].iter().product();
                let bytes = self.bytes(entry, row)?;
                let stacked: u64 = shape[..axis].iter().product();
                let starts = (0..stacked).map(|n| (n * all + before) * bytes).collect();
                before += shape[axis];
                let place = Mapped { tensor: *into, layer, bias };
                recipes.push((layer, self.recipe(name, &place, &[tensor], &Rows { shape, starts })?));
            }
            return Ok(recipes);
        }
        let Some(place) = arch::map_name(name, family.tensors, self.layers) else {
            let (name, architecture) = (entry.name.clone(), self.config.architecture.clone());
            let expert = name.contains("experts.") || name.contains("block_sparse_moe");
            return Err(if expert {
                E::Expert { name, architecture }
            } else {
                E::Unmapped { name, architecture }
            });
        };
        if place.bias && !family.biases {
            let (name, architecture) = (entry.name.clone(), self.config.architecture.clone());
            return Err(E::Unmapped { name, architecture });
        }
        self.check_shape(entry, &place)?;
        let mut shape = entry.shape.clone();
        if place.tensor.is_squeezed() && shape.len() == 3 {
            shape.remove(1);
        }
        if place.tensor == Tensor::TokenEmbd && family.cut_embeddings {
            let rows = self.config.vocabulary_rows.unwrap_or(u64::MAX);
            shape[0] = shape[0].min(rows);
        }
        let cut = match family.cut_rows.iter().find(|(t, _)| *t == place.tensor && !place.bias) {
            Some((_, rows)) => rows(&self.config.hparams)?,
            None => 0,
        };
        shape[0] = shape[0].checked_sub(cut).filter(|left| *left > 0).ok_or_else(|| {
            let expected = format!("more than {cut} rows");
            E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected }
        })?;
        let start = cut * self.bytes(entry, shape[1..].iter().product())?;
        let rows = Rows { shape, starts: vec![start] };
        Ok(vec![(place.layer, self.recipe(name, &place, &[tensor], &rows)?)])
    }

    /// The tensor that a layer's experts become.
    fn stack(&self, stack: &super::stacks::Complete<'_>) -> Result<(Option<u32>, TensorRecipe), E> {
        let place = Mapped { tensor: stack.tensor, layer: Some(stack.layer), bias: false };
        let first = &stack.parts[0].entry;
        for part in &stack.parts {
            let mut entry = part.entry.clone();
            if entry.dtype != first.dtype {
                return Err(E::MixedTypes { name: entry.name, other: first.name.clone() });
            }
            // Where the configuration states no extent, the parts must have the same one.
            if entry.shape != first.shape {
                return Err(wrong_shape(&entry, format!("{:?} as `{}`", first.shape, first.name)));
            }
            entry.shape.insert(0, stack.parts.len() as u64);
            self.check_shape(&entry, &place)?;
        }
        let mut shape = first.shape.clone();
        shape.insert(0, stack.parts.len() as u64);
        let rows = Rows { shape, starts: vec![0; stack.parts.len()] };
        Ok((place.layer, self.recipe(&first.name, &place, &stack.parts, &rows)?))
    }

    /// The recipe of rows of one source tensor, or of as many as there are starts.
    fn recipe(
        &self,
        name: &str,
        place: &Mapped,
        tensors: &[&SourceTensor],
        rows: &Rows,
    ) -> Result<TensorRecipe, E> {
        let entry = &tensors[0].entry;
        let order = row_order(name, entry, &rows.shape, &self.config.hparams, self.config.family)?;
        let out = place.name();
        let ty = output_type(&out, place.tensor, &rows.shape, self.out_type);
        let source = |(n, start): (usize, &u64)| -> Result<Part, E> {
            let tensor = tensors.get(n).unwrap_or(&tensors[0]);
            let (name, shard) = (tensor.entry.name.clone(), tensor.shard);
            Ok(Part {
                name,
                shard,
                offset: tensor.entry.range.start + start,
                ty: source_type(&tensor.entry)?,
            })
        };
        let parts = rows.starts.iter().enumerate().map(source).collect::<Result<_, E>>()?;
        let shifted = self.config.family.shifted_norms && name.ends_with("norm.weight");
        Ok(TensorRecipe {
            name: out,
            shape: rows.shape.iter().rev().copied().collect(),
            ty,
            source: Recipe::Rows { parts, order, plus: if shifted { 1.0 } else { 0.0 } },
        })
    }

    /// Bytes of `values` of the tensor's.
    fn bytes(&self, entry: &TensorEntry, values: u64) -> Result<u64, E> {
        let ty = source_type(entry)?;
        Ok(ty.bytes_of(values).expect("single values are blocks of these types"))
    }

    /// The extents of a tensor that is part of another, which the configuration must state.
    fn known_extents(&self, place: &Mapped, fused: &TensorEntry) -> Result<Vec<u64>, E> {
        let wanted = place.extents(self.config.family).iter().map(|e| e.of(&self.dimensions));
        wanted
            .collect::<Option<Vec<u64>>>()
            .filter(|shape| !shape.contains(&0))
            .ok_or_else(|| wrong_shape(fused, "one whose parts `config.json` states".to_owned()))
    }

    /// The shape must be what the configuration says: the reference does not look, and llama.cpp would refuse the file.
    fn check_shape(&self, entry: &TensorEntry, place: &Mapped) -> Result<(), E> {
        let extents = place.extents(self.config.family);
        let wanted: Vec<Option<u64>> = extents.iter().map(|e: &Extent| e.of(&self.dimensions)).collect();
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
        Err(wrong_shape(entry, format!("[{}]", wanted.join(", "))))
    }
}

fn wrong_shape(entry: &TensorEntry, expected: String) -> E {
    E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected }
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

/// The type in the converter's output: vectors, norms and biases stay F32, as do some matrices; rows of no whole blocks
/// become F16.
fn output_type(name: &str, tensor: Tensor, shape: &[u64], out_type: OutType) -> GgmlType {
    let vector = shape.len() <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight");
    if vector || tensor.stays_f32() {
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

/// `LlamaModel.permute`.
fn row_order(
    name: &str,
    entry: &TensorEntry,
    shape: &[u64],
    h: &Hparams,
    family: &Family,
) -> Result<RowOrder, E> {
    let (stem, _) = arch::stem(name).unwrap_or((name, false));
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
    let rows = shape.first().copied().unwrap_or_default();
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        return Err(wrong_shape(entry, format!("rows in two halves for each of {heads} heads")));
    }
    Ok(RowOrder::Rope { heads })
}
