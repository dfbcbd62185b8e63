//! The part of a model that sees, as a GGUF file of its own: what `convert_hf_to_gguf.py --mmproj` writes.
//!
//! In: a checkpoint of a model with a vision tower that has a row in [`arch::vision`]. Out: a [`Blueprint`] like any other,
//! which goes through the same engine; no weight is read. It refuses towers without a row, tensors that have no place in
//! theirs, and what llama.cpp would not load: layers without tensors, pictures without a mean.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value as Json};
use thiserror::Error;

use super::config::json;
use super::parameters::QUANTIZATION_VERSION;
use super::source::plain_type;
use super::tensors::MAX_DIMENSIONS;
use super::{
    Blueprint, Change, ConvertError as E, ConvertOptions, OutType, Part, Recipe, RowOrder, TensorRecipe,
};
use crate::arch::Hparams;
use crate::arch::config_class::{self, Read};
use crate::arch::vision::{self, COMMON, HEADS, Held, LAYERS, Made, Place, Seeing, Tower};
use crate::base::units;
use crate::checkpoint::{Checkpoint, SourceTensor};
use crate::event::{Code, Event, Observer};
use crate::gguf::{GgmlType, Metadata, Value};

/// `general.architecture`.
const ARCHITECTURE: &str = "clip";

/// Why the part of a model that sees has no file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MmprojError {
    #[error("`{0}` is no model that sees, or its vision tower is not supported")]
    NoTower(String),
    #[error("`config.json` has a vision tower, but there are no tensors of it")]
    NoTensors,
    #[error("the vision tower must know the token `{0}`, which no tokenizer file has")]
    NoToken(&'static str),
}

/// Whether a checkpoint has a vision tower that is known here. A configuration that cannot be read has none.
pub fn is_seeing(checkpoint: &Checkpoint) -> bool {
    let config = checkpoint.small_file("config.json").ok().flatten();
    let config = config.and_then(|bytes| serde_json::from_slice::<Map<String, Json>>(&bytes).ok());
    config.is_some_and(|config| {
        architecture(&Hparams::new(config)).is_some_and(|name| vision::tower(&name).is_some())
    })
}

/// Works out the conversion of a checkpoint's vision tower.
///
/// # Errors
/// [`ConvertError`](E) names the file, key or tensor that is in the way.
pub fn mmproj(
    checkpoint: &Checkpoint,
    options: &ConvertOptions,
    observer: &dyn Observer,
) -> Result<Blueprint, E> {
    let bytes = checkpoint.small_file("config.json")?;
    let bytes = bytes.ok_or_else(|| E::NoConfig(checkpoint.folder.clone()))?;
    let raw: Map<String, Json> = json("config.json", &bytes)?;
    let file = Hparams::new(raw.clone());
    let (model, classed) = match config_class::read(&file) {
        Read::Class(model) => (model, true),
        Read::Plain(model) | Read::Refused(model, _) => (model, false),
        Read::Unmodelled(model_type) => {
            let architecture = architecture(&file).unwrap_or_default();
            return Err(E::ModelType { model_type, architecture });
        }
        Read::Untyped => return Err(E::NoModelType),
    };
    let architecture = architecture(&model).ok_or(E::NoArchitecture)?;
    let tower = vision::tower(&architecture).ok_or(MmprojError::NoTower(architecture.clone()))?;
    let mut hparams = vision::read(&model, classed)?;
    let layers = hparams.required_count(LAYERS)?;
    (tower.adjust)(&mut hparams, &model)?;
    let preprocessor = preprocessor(checkpoint)?;
    if let Some(token) = tower.token {
        check_token(checkpoint, token)?;
    }

    let stored = stored(checkpoint, tower);
    // Each has tensors; what is said of so many more would fill the memory before that is seen.
    if let Some(missing) = u32::try_from(stored.len()).ok().filter(|tensors| (1..layers).contains(tensors)) {
        return Err(E::Layers { layers, missing });
    }
    let matrices = stored.iter().map(|(_, tensor)| &tensor.entry).filter(|entry| entry.shape.len() >= 2);
    let out_type = options.out_type.resolve(matrices.map(|entry| entry.dtype));
    let seeing = Seeing { model: &model, tower: &hparams, preprocessor: &preprocessor };
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", ARCHITECTURE);
    metadata.set("general.type", "mmproj");
    let mut written = Metadata::new();
    for (key, value) in COMMON.iter().chain(tower.keys) {
        if let Some(value) = value(&seeing)? {
            written.set(*key, value);
        }
    }
    let heads = written.get(HEADS).and_then(Value::as_u64).unwrap_or_default();
    let tensors = Making { tower, architecture: &architecture, hparams: &hparams, layers, heads, out_type };
    let tensors = tensors.recipes(&stored)?;
    super::write_general(checkpoint, &Json::Object(raw), options, &tensors, observer, &mut metadata)?;
    metadata.set("general.file_type", out_type.file_type());
    for (key, value) in written.iter() {
        metadata.set(key, value.clone());
    }
    metadata.set("general.quantization_version", QUANTIZATION_VERSION);

    let text = format!(
        "{} and {} for the vision tower of {architecture}",
        units::counted(tensors.len(), "tensor"),
        units::counted(metadata.len(), "metadata key"),
    );
    observer.event(
        Event::new(Code::BlueprintMade, text)
            .about(&*checkpoint.name)
            .with("tensors", tensors.len())
            .with("architecture", ARCHITECTURE),
    );
    Ok(Blueprint { architecture: ARCHITECTURE.to_owned(), out_type, metadata, tensors })
}

/// The class of the tower where the configuration names one, else that of the model (`get_model_architecture`).
fn architecture(file: &Hparams) -> Option<String> {
    let first = |list: &Json| Some(list.as_array()?.first()?.as_str()?.to_owned());
    let own = file.get("vision_config").and_then(|tower| tower.get("architectures")).filter(|a| !a.is_null());
    own.map_or_else(|| file.architecture().map(str::to_owned), first)
}

/// What pictures go through first: the preprocessor's configuration, and over it the processor's.
fn preprocessor(checkpoint: &Checkpoint) -> Result<Hparams, E> {
    let mut all = Hparams::new(Map::new());
    for (file, inner) in
        [("preprocessor_config.json", "media_proc_cfg"), ("processor_config.json", "image_processor")]
    {
        if let Some(bytes) = checkpoint.small_file(file)? {
            let config: Map<String, Json> = json(file, &bytes)?;
            all.merge(&config);
            if let Some(within) = config.get(inner).and_then(Json::as_object) {
                all.merge(within);
            }
        }
    }
    Ok(all)
}

/// The tokenizer's files must have the token: the reference looks for it.
fn check_token(checkpoint: &Checkpoint, token: &'static str) -> Result<(), E> {
    let read = |file: &str| -> Result<Json, E> {
        checkpoint.small_file(file)?.map_or(Ok(Json::Null), |bytes| json(file, &bytes))
    };
    let (config, tokenizer) = (read("tokenizer_config.json")?, read("tokenizer.json")?);
    let decoder = config["added_tokens_decoder"].as_object().into_iter().flat_map(Map::values);
    let added = tokenizer["added_tokens"].as_array().into_iter().flatten();
    match decoder.chain(added).any(|entry| entry["content"] == token) {
        true => Ok(()),
        false => Err(MmprojError::NoToken(token).into()),
    }
}

/// The tower's tensors and their names in it, in the order in which the reference reads them: shard by shard, and by name
/// in each.
fn stored<'a>(checkpoint: &'a Checkpoint, tower: &Tower) -> Vec<(String, &'a SourceTensor)> {
    let mut tensors: Vec<&SourceTensor> = checkpoint.tensors.iter().collect();
    tensors.sort_by(|a, b| (a.shard, &a.entry.name).cmp(&(b.shard, &b.entry.name)));
    tensors.into_iter().filter_map(|tensor| Some((tower.known(&tensor.entry.name)?, tensor))).collect()
}

/// What all recipes are made with.
struct Making<'a> {
    tower: &'a Tower,
    architecture: &'a str,
    hparams: &'a Hparams,
    layers: u32,
    heads: u64,
    out_type: OutType,
}

impl Making<'_> {
    /// The recipes of all tensors, in the converter's order.
    fn recipes(&self, stored: &[(String, &SourceTensor)]) -> Result<Vec<TensorRecipe>, E> {
        if stored.is_empty() {
            return Err(MmprojError::NoTensors.into());
        }
        let mut recipes = Vec::new();
        let mut first: HashMap<String, &str> = HashMap::new();
        let mut seen = HashSet::new();
        for (known, tensor) in stored {
            let name = &tensor.entry.name;
            let place = self.tower.place(known, self.layers, self.hparams)?.ok_or_else(|| E::Unmapped {
                name: name.clone(),
                architecture: self.architecture.to_owned(),
            })?;
            seen.extend(place.layer);
            for recipe in self.made(&place, tensor)? {
                if let Some(first) = first.insert(recipe.name.clone(), name) {
                    let (first, second) = (first.to_owned(), name.clone());
                    return Err(E::Collision { name: recipe.name, first, second });
                }
                recipes.push(recipe);
            }
        }
        // The reference does not look, and llama.cpp would refuse the file.
        match (0..self.layers).find(|layer| !seen.contains(layer)) {
            Some(missing) => Err(E::Layers { layers: self.layers, missing }),
            None => Ok(recipes),
        }
    }

    /// The tensor or tensors that one of the checkpoint's becomes.
    fn made(&self, place: &Place, tensor: &SourceTensor) -> Result<Vec<TensorRecipe>, E> {
        let shape = &tensor.entry.shape;
        // Extents beside one of 0 may be of any size: nothing is counted by them.
        if shape.contains(&0) {
            return Err(misfit(tensor, "extents, none of them 0".to_owned()));
        }
        let whole = || vec![(place.name.clone(), shape.clone(), vec![0])];
        let made = match place.made {
            Made::Thirds => thirds(&place.name, tensor)?,
            Made::Frames if place.name.ends_with(".weight") => frames(&place.name, tensor)?,
            Made::RopeRows => {
                let rows = shape.first().copied().unwrap_or_default();
                if self.heads == 0 || !rows.is_multiple_of(2 * self.heads) {
                    return Err(misfit(
                        tensor,
                        format!("rows in two halves for each of {} heads", self.heads),
                    ));
                }
                whole()
            }
            Made::Whole | Made::Frames | Made::PlusOne | Made::Listed(_) => whole(),
        };
        made.into_iter()
            .map(|(name, shape, starts)| self.recipe(name, &shape, &starts, place, tensor))
            .collect()
    }

    /// The recipe of as many runs of a tensor's values as there are starts.
    fn recipe(
        &self,
        name: String,
        shape: &[u64],
        starts: &[u64],
        place: &Place,
        tensor: &SourceTensor,
    ) -> Result<TensorRecipe, E> {
        if !(1..=MAX_DIMENSIONS).contains(&shape.len()) {
            return Err(misfit(tensor, "one to four extents".to_owned()));
        }
        let (entry, ty) = (&tensor.entry, plain_type(&tensor.entry)?);
        let part = |start: &u64| {
            let before = ty.bytes_of(*start).expect("single values are blocks of these types");
            Part::new(&entry.name, tensor.shard, entry.range.start + before, ty)
        };
        let order = match place.made {
            Made::RopeRows => RowOrder::Rope { heads: self.heads },
            _ => RowOrder::Natural,
        };
        let change = if place.made == Made::PlusOne { Change::Plus(1.0) } else { Change::None };
        Ok(TensorRecipe {
            ty: held(&name, place.held, shape, self.out_type),
            name,
            shape: shape.iter().rev().copied().collect(),
            source: Recipe::Rows { parts: starts.iter().map(part).collect(), order, change },
        })
    }
}

/// Name, shape and the first value of each run of what a tensor becomes.
type Pieces = Vec<(String, Vec<u64>, Vec<u64>)>;

/// Three tensors of as many rows.
fn thirds(name: &str, tensor: &SourceTensor) -> Result<Pieces, E> {
    let shape = &tensor.entry.shape;
    let rows = shape.first().copied().filter(|rows| rows.is_multiple_of(3));
    let rows = rows.ok_or_else(|| misfit(tensor, "rows of queries, keys and values".to_owned()))? / 3;
    let values = rows * shape[1..].iter().product::<u64>();
    let piece = |(n, part): (u64, &str)| {
        let mut shape = shape.clone();
        shape[0] = rows;
        (name.replace("attn_qkv", part), shape, vec![n * values])
    };
    Ok((0..).zip(["attn_q", "attn_k", "attn_v"]).map(piece).collect())
}

/// The kernel of a convolution over two pictures, as one for each.
fn frames(name: &str, tensor: &SourceTensor) -> Result<Pieces, E> {
    const FRAMES: u64 = 2;
    let [out, channels, FRAMES, height, width] = tensor.entry.shape[..] else {
        return Err(misfit(tensor, "a kernel over two pictures".to_owned()));
    };
    let starts =
        |frame: u64| (0..out * channels).map(move |n| (n * FRAMES + frame) * height * width).collect();
    let piece = |(frame, end): (u64, &str)| {
        (format!("{name}{end}"), vec![out, channels, height, width], starts(frame))
    };
    Ok([(0, ""), (1, ".1")].map(piece).into())
}

fn misfit(tensor: &SourceTensor, expected: String) -> E {
    E::Shape { name: tensor.entry.name.clone(), found: tensor.entry.shape.clone(), expected }
}

/// The type in the file: vectors, norms and what is no weight stay F32, as do some matrices; rows of no whole blocks become
/// F16.
fn held(name: &str, held: Held, shape: &[u64], out_type: OutType) -> GgmlType {
    if shape.len() <= 1 || name.ends_with("_norm.weight") {
        return GgmlType::F32;
    }
    match (held, out_type) {
        (Held::F32, _) => GgmlType::F32,
        (Held::F16, _) | (Held::Kernel, OutType::F16 | OutType::Auto) => GgmlType::F16,
        (Held::Kernel, _) => GgmlType::F32,
        (Held::Usual, _) if !name.ends_with(".weight") => GgmlType::F32,
        (Held::Usual, out_type) => out_type.of_rows(shape[shape.len() - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Dtype, TensorEntry};

    fn tensor(shape: &[u64]) -> SourceTensor {
        let entry =
            TensorEntry { name: "x".to_owned(), dtype: Dtype::BF16, shape: shape.to_vec(), range: 0..0 };
        SourceTensor { shard: 0, entry }
    }

    #[test]
    fn kernels_over_two_pictures_come_apart() {
        let pieces = frames("v.patch_embd.weight", &tensor(&[2, 1, 2, 3, 5])).unwrap();
        let expected = [("v.patch_embd.weight", vec![0, 30]), ("v.patch_embd.weight.1", vec![15, 45])];
        for ((name, shape, starts), (expected, at)) in pieces.into_iter().zip(expected) {
            assert_eq!((name.as_str(), shape, starts), (expected, vec![2, 1, 3, 5], at));
        }
        for wrong in [&[2, 1, 3, 3, 5][..], &[2, 1, 3, 5]] {
            assert!(frames("v.patch_embd.weight", &tensor(wrong)).is_err());
        }
    }

    #[test]
    fn tensors_without_values_are_refused() {
        let (tower, hparams) = (vision::TOWERS[0], Hparams::new(Map::new()));
        let (architecture, out_type) = ("x", OutType::F16);
        let making = Making { tower, architecture, hparams: &hparams, layers: 1, heads: 1, out_type };
        let place = |made| Place { name: "v.x.weight".to_owned(), layer: None, made, held: Held::Usual };
        for (made, shape) in [
            (Made::Frames, &[1 << 40, 1 << 40, 2, 0, 1][..]),
            (Made::Thirds, &[0, 1 << 40, 1 << 40]),
            (Made::Whole, &[0]),
        ] {
            let refused = making.made(&place(made), &tensor(shape));
            assert!(matches!(refused, Err(E::Shape { .. })), "{shape:?}");
        }
    }

    #[test]
    fn queries_keys_and_values_come_apart() {
        let pieces = thirds("v.blk.0.attn_qkv.weight", &tensor(&[6, 5])).unwrap();
        let names: Vec<_> = pieces.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["v.blk.0.attn_q.weight", "v.blk.0.attn_k.weight", "v.blk.0.attn_v.weight"]);
        assert_eq!(pieces[2].1, [2, 5]);
        assert_eq!(pieces.iter().map(|(.., starts)| starts[0]).collect::<Vec<_>>(), [0, 10, 20]);
        assert!(thirds("attn_qkv.bias", &tensor(&[7])).is_err());
        assert!(thirds("attn_qkv.bias", &tensor(&[])).is_err());
    }

    #[test]
    fn types_follow_names_and_widths() {
        use OutType::{BF16, F16, F32, Q8_0};
        let check = |name: &str, kind, shape: &[u64], out, expected| {
            assert_eq!(held(name, kind, shape, out), expected, "{name} {out:?}");
        };
        check("v.blk.0.ffn_up.weight", Held::Usual, &[4, 64], Q8_0, GgmlType::Q8_0);
        check("v.blk.0.ffn_down.weight", Held::Usual, &[4, 48], Q8_0, GgmlType::F16);
        check("v.blk.0.ffn_up.bias", Held::Usual, &[64], Q8_0, GgmlType::F32);
        check("v.class_embd", Held::Usual, &[1, 1, 64], F16, GgmlType::F32);
        check("v.patch_embd.weight.1", Held::Kernel, &[4, 3, 4, 4], F16, GgmlType::F16);
        check("v.patch_embd.weight.1", Held::Kernel, &[4, 3, 4, 4], BF16, GgmlType::F32);
        check("mm.input_projection.weight", Held::F16, &[4, 64], F32, GgmlType::F16);
        check("v.position_embd.weight", Held::F32, &[4, 64], F16, GgmlType::F32);
    }
}
