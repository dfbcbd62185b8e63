//! Vision towers: the part of a model that makes tokens of pictures, which llama.cpp loads from a file of its own (`mmproj`).
//!
//! In: the configuration of a model that sees, its preprocessor's, and the names of its tensors. Out: what the reference's
//! `convert_hf_to_gguf.py --mmproj` makes of them: metadata ([`Tower::keys`], after those that all towers have), and the
//! place of each tensor ([`Tower::place`]). A [`Tower`] is data, as a [`Family`](super::Family) is; a new one is a new file
//! and a line in [`TOWERS`]. No I/O. Tensors of other parts have no name here; one of the tower without a row is refused by
//! who asks.

mod config;
mod gemma3;
mod idefics3;
mod intern;
mod llama4;
mod pixtral;
mod qwen2_vl;
mod qwen3_vl;

use serde_json::Value as Json;

use super::hparams::{HparamError, Hparams};
use super::number;
use crate::gguf::Value;

pub use config::read;

/// Every tower.
pub const TOWERS: &[&Tower] = &[
    &qwen2_vl::QWEN2_VL,
    &qwen3_vl::QWEN3_VL,
    &gemma3::GEMMA3,
    &pixtral::PIXTRAL,
    &idefics3::IDEFICS3,
    &intern::INTERN,
    &llama4::LLAMA4,
];

/// The tower of a checkpoint's architecture: that of the tower itself where the configuration names one, else that of the
/// whole model.
pub fn tower(architecture: &str) -> Option<&'static Tower> {
    TOWERS.iter().copied().find(|t| t.architectures.contains(&architecture))
}

/// Names of the number of layers.
pub const LAYERS: &[&str] = &[
    "n_layers",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "depth",
    "layers",
    "encoder_layers",
    "vt_num_hidden_layers",
];

/// A family of vision towers that are converted in the same way.
#[derive(Debug)]
pub struct Tower {
    /// What the documentation calls it.
    pub name: &'static str,
    /// The classes of checkpoints.
    pub architectures: &'static [&'static str],
    /// Starts of the names of its tensors, and what takes their place.
    pub starts: &'static [(&'static str, &'static str)],
    /// Parts of the names of tensors that are left out all the same.
    pub skipped: &'static [&'static str],
    /// Parts of names, and what takes their place.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Parts of names that lack `.weight`, which is put behind.
    pub unsuffixed: &'static [&'static str],
    /// A token that the vocabulary must have.
    pub token: Option<&'static str>,
    /// The places of its tensors.
    pub rows: &'static [Row],
    /// Renames and defaults of its hyper-parameters; the second is what they are within.
    pub adjust: fn(&mut Hparams, &Hparams) -> Result<(), HparamError>,
    /// Metadata behind that of all towers, in the order in which it is written.
    pub keys: &'static [Key],
}

/// A key of the metadata, and what makes its value; none where it is not written.
pub type Key = (&'static str, fn(&Seeing<'_>) -> Result<Option<Value>, HparamError>);

/// What metadata is made of.
#[derive(Clone, Copy, Debug)]
pub struct Seeing<'a> {
    /// The whole model's configuration.
    pub model: &'a Hparams,
    /// The tower's.
    pub tower: &'a Hparams,
    /// What its pictures go through first.
    pub preprocessor: &'a Hparams,
}

/// Where a tensor of a checkpoint goes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name without `.weight` and `.bias`; `{}` is a layer's number.
    pub from: &'static str,
    /// Its name in the GGUF file.
    pub to: &'static str,
    /// What becomes of it.
    pub made: Made,
    /// The type that it has, where not the usual one.
    pub held: Held,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It stays as it is.
    Whole,
    /// Its rows become three tensors of as many: `attn_qkv` becomes `attn_q`, `attn_k`, `attn_v`.
    Thirds,
    /// A convolution over two pictures becomes two over one, the second with `.1` behind its name.
    Frames,
    /// The rows of each head are interleaved, as llama.cpp turns them.
    RopeRows,
    /// One is added.
    PlusOne,
    /// Its number is that of an entry in this list of the configuration.
    Listed(&'static str),
}

/// The type that a matrix has in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The file's own.
    Usual,
    /// F32 in any file.
    F32,
    /// F16 in any file.
    F16,
    /// F16 in a file of that type, F32 in others: kernels of convolutions know no more.
    Kernel,
}

/// A tensor under another name.
const fn row(from: &'static str, to: &'static str) -> Row {
    Row { from, to, made: Made::Whole, held: Held::Usual }
}

impl Row {
    const fn made(self, made: Made) -> Self {
        Row { made, ..self }
    }

    const fn held(self, held: Held) -> Self {
        Row { held, ..self }
    }
}

/// The place of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name in the GGUF file, with its suffix.
    pub name: String,
    /// The layer that it belongs to.
    pub layer: Option<u32>,
    /// What becomes of it.
    pub made: Made,
    /// The type that it has.
    pub held: Held,
}

impl Tower {
    const PLAIN: Tower = Tower {
        name: "",
        architectures: &[],
        starts: &[],
        skipped: &[],
        renamed: &[],
        unsuffixed: &[],
        token: None,
        rows: &[],
        adjust: |_, _| Ok(()),
        keys: &[],
    };

    /// The name by which the rows know the checkpoint's tensor `name`; `None` where it belongs to another part.
    pub fn known(&self, name: &str) -> Option<String> {
        if name.contains("language_model.") || self.skipped.iter().any(|part| name.contains(part)) {
            return None;
        }
        let known = self.starts.iter().find_map(|(start, new)| Some((name.strip_prefix(start)?, new)));
        let (rest, new) = known?;
        let mut known =
            self.renamed.iter().fold(format!("{new}{rest}"), |n, (part, new)| n.replace(part, new));
        if !known.ends_with(".weight") && self.unsuffixed.iter().any(|part| known.contains(part)) {
            known.push_str(".weight");
        }
        Some(known)
    }

    /// The place of a tensor of that name, in a tower of so many layers; `None` where there is none.
    ///
    /// # Errors
    /// A list of the configuration that the number counts in is none.
    pub fn place(&self, name: &str, layers: u32, h: &Hparams) -> Result<Option<Place>, HparamError> {
        let found = ["", ".weight", ".bias"].iter().find_map(|suffix| {
            let stem = name.strip_suffix(suffix)?;
            self.rows.iter().find_map(|row| Some((row, numbered(row.from, stem, layers)?, suffix)))
        });
        let Some((row, n, suffix)) = found else { return Ok(None) };
        let n = match (row.made, n) {
            (Made::Listed(key), Some(n)) => Some(entry(h, key, n, layers)?),
            (_, n) => n,
        };
        let stem = n.map_or_else(|| row.to.to_owned(), |n| row.to.replace("{}", &n.to_string()));
        let layer = n.filter(|_| row.to.starts_with("v.blk."));
        Ok(Some(Place { name: format!("{stem}{suffix}"), layer, made: row.made, held: row.held }))
    }
}

/// The number that stands for `{}` in a name, where there is one; `None` where it is another name.
#[allow(clippy::option_option, reason = "it is asked for once")]
fn numbered(pattern: &str, stem: &str, layers: u32) -> Option<Option<u32>> {
    let Some((before, after)) = pattern.split_once("{}") else { return (pattern == stem).then_some(None) };
    let n = number(stem.strip_prefix(before)?.strip_suffix(after)?)?;
    (n < layers).then_some(Some(n))
}

/// Entry `n` of a list of layers.
fn entry(h: &Hparams, key: &str, n: u32, layers: u32) -> Result<u32, HparamError> {
    let list = h.get(key).ok_or_else(|| HparamError::missing(&[key]))?;
    let entry = list.as_array().and_then(|list| list.get(n as usize)).and_then(Json::as_u64);
    let entry = entry.and_then(|layer| u32::try_from(layer).ok()).filter(|layer| *layer < layers);
    entry.ok_or_else(|| HparamError::wrong(key, list, "a list of layers with an entry for each tensor"))
}

/// Metadata of all towers between the type and what is theirs: `MmprojModel.set_gguf_parameters` in the reference's
/// `conversion/base.py`. `clip.vision.projection_dim` is the width of the text model.
pub const COMMON: &[Key] = &[
    ("clip.has_vision_encoder", |_| Ok(Some(true.into()))),
    ("clip.vision.projection_dim", |s| Ok(Some(config::text_width(s.model)?.into()))),
    ("clip.vision.image_size", |s| count(s, &["image_size"])),
    ("clip.vision.patch_size", |s| count(s, &["patch_size"])),
    ("clip.vision.embedding_length", |s| count(s, &["hidden_size", "width", "vt_hidden_size"])),
    ("clip.vision.feed_forward_length", |s| count(s, &["intermediate_size", "vt_intermediate_size"])),
    ("clip.vision.block_count", |s| count(s, LAYERS)),
    (HEADS, |s| count(s, &["num_attention_heads", "num_heads", "heads", "vt_num_attention_heads"])),
    ("clip.vision.image_mean", |s| channels(s, "image_mean")),
    ("clip.vision.image_std", |s| channels(s, "image_std")),
];

/// The number of heads.
pub const HEADS: &str = "clip.vision.attention.head_count";
const PROJECTOR: &str = "clip.projector_type";
const EPSILON: &str = "clip.vision.attention.layer_norm_epsilon";
const SCALE: &str = "clip.vision.projector.scale_factor";
const MERGE: &str = "clip.vision.spatial_merge_size";
const GELU: Key = ("clip.use_gelu", |_| Ok(Some(true.into())));

fn count(s: &Seeing<'_>, keys: &[&str]) -> Result<Option<Value>, HparamError> {
    Ok(Some(s.tower.required_count(keys)?.into()))
}

/// A number for each of a picture's channels. The reference stores integers as such, which llama.cpp does not read.
fn channels(s: &Seeing<'_>, key: &str) -> Result<Option<Value>, HparamError> {
    let single = |value: &Json| value.as_f64().filter(|_| value.is_f64()).map(|wide| wide as f32);
    let list = s.preprocessor.get(key).and_then(Json::as_array).filter(|list| !list.is_empty());
    let list = list.and_then(|list| list.iter().map(single).collect::<Option<Vec<f32>>>());
    Ok(Some(list.ok_or_else(|| HparamError::preprocessor(key, "a list of fractions"))?.into()))
}

/// A number of the configuration in single precision, or another where there is none.
fn single_or(h: &Hparams, key: &str, default: f64) -> Result<Option<Value>, HparamError> {
    match h.has(key) {
        true => {
            let value = h.get(key).ok_or_else(|| HparamError::missing(&[key]))?;
            Ok(Some(super::hparams::single(key, value)?.into()))
        }
        false => Ok(Some((default as f32).into())),
    }
}

/// A key by what `hidden_act` says: one of the two that llama.cpp tells apart.
fn activation(s: &Seeing<'_>, wanted: &str) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "hidden_act";
    match s.tower.text(KEY) {
        Some(act) if act == wanted => Ok(Some(true.into())),
        Some("gelu" | "silu") => Ok(None),
        Some(other) => Err(HparamError::unsupported(KEY, &other.into())),
        None => Err(HparamError::missing(&[KEY])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for architecture in TOWERS.iter().flat_map(|t| t.architectures) {
            assert!(seen.insert(architecture), "{architecture}");
        }
    }

    #[test]
    fn no_tower_gives_a_name_to_two_rows() {
        for tower in TOWERS {
            let mut seen = std::collections::HashSet::new();
            for row in tower.rows {
                assert!(seen.insert(row.from), "{} in {}", row.from, tower.name);
                assert_eq!(row.from.contains("{}"), row.to.contains("{}"), "{}", row.from);
            }
        }
    }

    #[test]
    fn names_are_placed() {
        let h = Hparams::new(serde_json::from_str(r#"{"deepstack_visual_indexes": [1, 3]}"#).unwrap());
        let check = |architecture: &str, name: &str, expected: Option<&str>| {
            let tower = tower(architecture).unwrap();
            let known = tower.known(name);
            let place = known.and_then(|known| tower.place(&known, 4, &h).unwrap());
            assert_eq!(place.map(|p| p.name).as_deref(), expected, "{name}");
        };
        let qwen = "Qwen3VLForConditionalGeneration";
        check(qwen, "model.visual.blocks.2.attn.qkv.bias", Some("v.blk.2.attn_qkv.bias"));
        check(qwen, "visual.deepstack_merger_list.1.norm.weight", Some("v.deepstack.3.norm.weight"));
        check(qwen, "visual.merger.linear_fc2.bias", Some("mm.2.bias"));
        check(qwen, "visual.blocks.4.attn.qkv.bias", None);
        check(qwen, "model.language_model.visual.x.weight", None);
        let gemma = "Gemma3ForConditionalGeneration";
        let projection = "multi_modal_projector.mm_input_projection_weight";
        check(gemma, projection, Some("mm.input_projection.weight"));
        check(gemma, "vision_tower.vision_model.head.probe", None);
        check("InternVisionModel", "mlp1.3.bias", Some("mm.model.mlp.3.bias"));
        check("InternVisionModel", "mlp1.4.bias", None);
        let llama = "Llama4ForConditionalGeneration";
        check(llama, "vision_model.positional_embedding_vlm", Some("v.position_embd.weight"));
        check(llama, "vision_model.vision_adapter.mlp.fc2.weight", Some("mm.model.mlp.2.weight"));
        let ls1 = "vision_model.encoder.layers.0.ls1";
        check("InternVisionModel", ls1, Some("v.blk.0.ls1.weight"));
    }

    #[test]
    fn a_list_must_have_the_entry() {
        let tower = tower("Qwen3VLForConditionalGeneration").unwrap();
        for list in ["[1]", "[0, 9]", "[0, -1]", "7"] {
            let h = format!(r#"{{"deepstack_visual_indexes": {list}}}"#);
            let h = Hparams::new(serde_json::from_str(&h).unwrap());
            assert!(tower.place("visual.deepstack_merger_list.1.norm.bias", 4, &h).is_err(), "{list}");
        }
    }
}
