//! Checkpoints whose weights are quantized: which scheme, and which tensors belong together.
//!
//! In: `quantization_config` of `config.json`, NVIDIA ModelOpt's `hf_quant_config.json`, and the tensors by name. Out: the
//! tensors that a model has, each with the [`Coding`] that makes numbers of it. Source: `ModelBase.dequant_model` and
//! `ModelBase.prepare_tensors` in the reference's `conversion/base.py`, `GptOssModel.generate_extra_tensors`. Schemes that
//! the reference does not turn into numbers are refused, and so is what it takes as it is but for gpt-oss: NVFP4.

use std::collections::HashMap;

use serde_json::Value;

use super::source::{Source, plain_type};
use super::tensors::misfit;
use super::{Coding, ConvertError as E, Element, Scales, Zeros};
use crate::arch::{Family, HparamError, Hparams};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::gguf::GgmlType;

/// How a checkpoint's weights are quantized.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scheme {
    /// They are not.
    Plain,
    /// `fp8`: a scale a block, or a tensor.
    Fp8 { block: Option<[u64; 2]> },
    /// `modelopt`: a scale a tensor, or a row.
    ModelOpt,
    /// `compressed-tensors` in bytes: a scale a row, or a block.
    Scaled { block: Option<[u64; 2]> },
    /// `compressed-tensors` in fewer bits: a scale for so many values of a row.
    Packed { bits: u32, group: u64 },
    /// `mxfp4`: blocks that stay as they are.
    Mxfp4,
}

const KEY: &str = "quantization_config";
const MODELOPT: &str = "hf_quant_config.json";

impl Scheme {
    /// The scheme of a checkpoint.
    pub(super) fn read(checkpoint: &Checkpoint, h: &Hparams, family: &Family) -> Result<Self, E> {
        let config = h.get(KEY).filter(|config| config.as_object().is_none_or(|o| !o.is_empty()));
        let stated = |key: &str| config.and_then(|config| text(config, key));
        let (mut method, mut algorithm) = (stated("quant_method"), stated("quant_algo"));
        if let Some(bytes) = checkpoint.small_file(MODELOPT)? {
            let file: Value = super::config::json(MODELOPT, &bytes)?;
            method = method.or_else(|| text(&file["producer"], "name").map(|name| name.to_lowercase()));
            algorithm = text(&file["quantization"], "quant_algo").or(algorithm);
            if any_nvfp4(&file["quantization"]["quantized_layers"]) {
                algorithm = Some("NVFP4".to_owned());
            }
        } else if config.is_none() {
            return Ok(Scheme::Plain);
        }
        let empty = Value::Null;
        let config = config.unwrap_or(&empty);
        if algorithm.as_deref().is_some_and(|a| a.contains("NVFP4")) || any_nvfp4(&config["quantized_layers"])
        {
            return Err(refused("NVFP4"));
        }
        match method.as_deref() {
            Some("fp8") => Ok(Scheme::Fp8 { block: block(config, "weight_block_size")? }),
            Some("modelopt") => Ok(Scheme::ModelOpt),
            Some("compressed-tensors") => compressed(config),
            Some("mxfp4") if family.microscaled => Ok(Scheme::Mxfp4),
            other => Err(refused(other.or(algorithm.as_deref()).unwrap_or("unnamed"))),
        }
    }

    /// The tensors that a model has, of those that are stored.
    pub(super) fn apply<'a>(&self, stored: Vec<Source<'a>>) -> Result<Vec<Source<'a>>, E> {
        let mut tensors = Tensors::new(stored);
        match self {
            Scheme::Plain => {}
            Scheme::Fp8 { block } => {
                tensors.scale("_scale_inv", "", *block, Alone::Refused)?;
                tensors.scale(".qscale_weight", ".weight", *block, Alone::Refused)?;
                tensors.remove(&["activation_scale", ".qscale_act"]);
            }
            Scheme::ModelOpt => {
                tensors.scale(".weight_scale", ".weight", None, Alone::Dropped)?;
                tensors.remove(&[".input_scale", ".k_scale", ".v_scale"]);
            }
            Scheme::Scaled { block } => tensors.scale(".weight_scale", ".weight", *block, Alone::Refused)?,
            Scheme::Packed { bits, group } => tensors.unpack(*bits, *group)?,
            Scheme::Mxfp4 => tensors.microscale()?,
        }
        Ok(tensors.in_order())
    }
}

fn text(of: &Value, key: &str) -> Option<String> {
    of.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn refused(method: &str) -> E {
    E::Quantized { method: method.to_owned() }
}

fn any_nvfp4(layers: &Value) -> bool {
    let algorithms = layers.as_object().into_iter().flat_map(|layers| layers.values());
    algorithms.filter_map(|layer| text(layer, "quant_algo")).any(|algorithm| algorithm.ends_with("NVFP4"))
}

/// Rows and columns of a block.
fn block(config: &Value, key: &str) -> Result<Option<[u64; 2]>, HparamError> {
    let Some(value) = config.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
    let extents: Option<Vec<u64>> =
        value.as_array().and_then(|list| list.iter().map(|n| n.as_u64().filter(|n| *n > 0)).collect());
    match extents.as_deref() {
        Some([rows, columns]) => Ok(Some([*rows, *columns])),
        _ => Err(HparamError::wrong(key, value, "two positive numbers")),
    }
}

fn compressed(config: &Value) -> Result<Scheme, E> {
    const METHOD: &str = "compressed-tensors";
    let unsupported = |what: &str| refused(&format!("{METHOD}, {what}"));
    let format = text(config, "format").ok_or_else(|| unsupported("without a format"))?;
    let groups = config["config_groups"].as_object();
    let mut groups = groups.into_iter().flat_map(|groups| groups.values());
    let (Some(group), None) = (groups.next(), groups.next()) else {
        return Err(unsupported("several groups"));
    };
    let weights = &group["weights"];
    let strategy = text(weights, "strategy").unwrap_or_default();
    match format.as_str() {
        "float-quantized" | "int-quantized" | "naive-quantized" => {
            if !["channel", "block"].contains(&&*strategy) || !weights["group_size"].is_null() {
                return Err(unsupported(&format!("a scale a {strategy}")));
            }
            Ok(Scheme::Scaled { block: block(weights, "block_structure")? })
        }
        "pack-quantized" => {
            let integers = weights.get("type").is_none_or(|ty| ty == "int");
            let bits = weights["num_bits"].as_u64().filter(|bits| (1..=8).contains(bits));
            let group = weights["group_size"].as_u64().filter(|group| *group > 0);
            match (bits, group) {
                (Some(bits), Some(group)) if integers && strategy == "group" => {
                    Ok(Scheme::Packed { bits: bits as u32, group })
                }
                _ => Err(unsupported(&format!("a scale a {strategy}"))),
            }
        }
        other => Err(unsupported(other)),
    }
}

/// What becomes of scales without weights.
#[derive(Clone, Copy, PartialEq)]
enum Alone {
    Refused,
    Dropped,
}

/// Tensors by name; those that were put together are gone.
struct Tensors<'a> {
    list: Vec<Option<Source<'a>>>,
    by_name: HashMap<String, usize>,
}

impl<'a> Tensors<'a> {
    fn new(list: Vec<Source<'a>>) -> Self {
        let by_name = list.iter().enumerate().map(|(n, source)| (source.name.clone(), n)).collect();
        Tensors { list: list.into_iter().map(Some).collect(), by_name }
    }

    fn in_order(self) -> Vec<Source<'a>> {
        self.list.into_iter().flatten().collect()
    }

    /// Numbers and names, as they are now, of those with this ending.
    fn ending(&self, end: &str) -> Vec<(usize, String)> {
        let named = self.list.iter().enumerate().filter_map(|(n, source)| Some((n, &source.as_ref()?.name)));
        named.filter(|(_, name)| name.ends_with(end)).map(|(n, name)| (n, name.clone())).collect()
    }

    fn get(&mut self, name: &str) -> Option<&mut Source<'a>> {
        self.list.get_mut(*self.by_name.get(name)?)?.as_mut()
    }

    fn take(&mut self, name: &str) -> Option<Source<'a>> {
        self.list.get_mut(*self.by_name.get(name)?)?.take()
    }

    fn remove(&mut self, endings: &[&str]) {
        for slot in &mut self.list {
            if slot.as_ref().is_some_and(|source| endings.iter().any(|end| source.name.ends_with(end))) {
                *slot = None;
            }
        }
    }

    /// Gives tensors the scales whose names end with `end` where theirs end with `weight_end`.
    fn scale(&mut self, end: &str, weight_end: &str, block: Option<[u64; 2]>, alone: Alone) -> Result<(), E> {
        for (n, name) in self.ending(end) {
            let Some(scales) = self.list[n].take() else { continue };
            let weight = format!("{}{weight_end}", &name[..name.len() - end.len()]);
            let Some(source) = self.get(&weight) else {
                if alone == Alone::Dropped {
                    continue;
                }
                return Err(E::Scales { name: scales.tensor.entry.name.clone(), weight });
            };
            let element = element(source)?;
            let coding = Coding {
                scales: Some(spread(source, &scales, block)?),
                ..Coding::of(element, &source.shape)
            };
            source.coding = Some(coding);
        }
        Ok(())
    }

    /// Puts packed numbers, their scales and zeros together, after all others.
    fn unpack(&mut self, bits: u32, group: u64) -> Result<(), E> {
        for (n, name) in self.ending(".weight_packed") {
            let Some(mut packed) = self.list[n].take() else { continue };
            let base = name[..name.len() - "_packed".len()].to_owned();
            let mut part = |end: &str| self.take(&format!("{base}{end}"));
            let (scales, shape, zeros) = (part("_scale"), part("_shape"), part("_zero_point"));
            let missing = |weight: String| E::Scales { name: packed.tensor.entry.name.clone(), weight };
            let scales = scales.ok_or_else(|| missing(format!("{base}_scale")))?;
            shape.ok_or_else(|| missing(format!("{base}_shape")))?;
            let in_word = u64::from(32 / bits);
            let (&[rows, words], &[scaled, groups]) = (&*packed.shape, &*scales.shape) else {
                return Err(misfit(&packed, "of two extents, and its scales as well".to_owned()));
            };
            let columns = groups.saturating_mul(group);
            if rows != scaled || rows == 0 || columns == 0 || words != columns.div_ceil(in_word) {
                return Err(misfit(&packed, format!("{rows} rows of {columns} numbers of {bits} bits")));
            }
            for integers in [Some(&packed), zeros.as_ref()].into_iter().flatten() {
                let entry = &integers.tensor.entry;
                if entry.dtype != Dtype::I32 {
                    return Err(E::Dtype { name: entry.name.clone(), dtype: entry.dtype });
                }
            }
            if let Some(zeros) = zeros.as_ref().filter(|z| z.shape != [rows.div_ceil(in_word), groups]) {
                return Err(misfit(zeros, format!("zeros for {rows} rows of {groups} groups")));
            }
            packed.shape = vec![rows, columns];
            let at = |source: &Source<'_>| (source.tensor.shard, source.tensor.entry.range.start);
            let (shard, offset) = at(&scales);
            let ty = plain_type(&scales.tensor.entry)?;
            packed.coding = Some(Coding {
                scales: Some(Scales { shard, offset, ty, block: [1, group], strides: [0, groups, 1] }),
                zeros: zeros.as_ref().map(|zeros| Zeros { shard: at(zeros).0, offset: at(zeros).1 }),
                ..Coding::of(Element::Packed { bits }, &packed.shape)
            });
            packed.name = base;
            self.list.push(Some(packed));
        }
        Ok(())
    }

    /// Puts MXFP4's blocks and scales together, before all others, in the order of the scales.
    fn microscale(&mut self) -> Result<(), E> {
        let mut made = Vec::new();
        for (n, name) in self.ending("_scales") {
            let base = name[..name.len() - "_scales".len()].to_owned();
            let (Some(scales), Some(mut blocks)) =
                (self.list[n].take(), self.take(&format!("{base}_blocks")))
            else {
                return Err(E::Scales { name, weight: format!("{base}_blocks") });
            };
            for bytes in [&blocks, &scales] {
                let entry = &bytes.tensor.entry;
                if entry.dtype != Dtype::U8 {
                    return Err(E::Dtype { name: entry.name.clone(), dtype: entry.dtype });
                }
            }
            let (Some((&16, outer)), true) = (blocks.shape.split_last(), blocks.shape.len() == 4) else {
                return Err(misfit(&blocks, "blocks of 16 bytes in three extents".to_owned()));
            };
            if outer != scales.shape || outer.contains(&0) {
                return Err(misfit(&scales, format!("{outer:?}, as the blocks have it")));
            }
            let (rows, groups) = (outer[1], outer[2]);
            let (shard, offset) = (scales.tensor.shard, scales.tensor.entry.range.start);
            blocks.shape = vec![outer[0], rows, groups.saturating_mul(32)];
            blocks.coding = Some(Coding {
                scales: Some(Scales {
                    shard,
                    offset,
                    ty: GgmlType::I8,
                    block: [1, 32],
                    strides: [rows * groups, groups, 1],
                }),
                ..Coding::of(Element::Mxfp4, &blocks.shape)
            });
            blocks.name = base;
            made.push(Some(blocks));
        }
        made.append(&mut self.list);
        self.list = made;
        Ok(())
    }
}

/// How a tensor holds the values that are scaled.
fn element(source: &Source<'_>) -> Result<Element, E> {
    match (&source.coding, source.tensor.entry.dtype) {
        (Some(coding), _) => Ok(coding.element),
        (None, Dtype::I8) => Ok(Element::I8),
        (None, _) => Ok(Element::Ggml(plain_type(&source.tensor.entry)?)),
    }
}

/// Which scale belongs to which value: torch's broadcasting, after each scale was repeated over its block.
fn spread(weight: &Source<'_>, scales: &Source<'_>, block: Option<[u64; 2]>) -> Result<Scales, E> {
    let wrong = || misfit(scales, format!("scales of a tensor of shape {:?}", weight.shape));
    let extents = &weight.shape;
    let (dimensions, given) = (extents.len(), scales.shape.len());
    if !(2..=3).contains(&dimensions) || given > dimensions || (block.is_some() && given != dimensions) {
        return Err(wrong());
    }
    let (mut blocks, mut strides, mut stride) = ([1; 3], [0; 3], 1u64);
    for axis in (0..dimensions).rev() {
        // Axes are those of three dimensions here, the matrix's last.
        let at = axis + 3 - dimensions;
        let count = scales.shape.get(axis).copied().unwrap_or(1);
        let size = match block {
            Some(block) if at > 0 => block[at - 1],
            _ => 1,
        };
        if count != 1 || size != 1 {
            let fits =
                if size == 1 { count == extents[axis] } else { count.saturating_mul(size) >= extents[axis] };
            if !fits || count == 0 {
                return Err(wrong());
            }
        }
        if count > 1 {
            (blocks[at], strides[at]) = (size, stride);
        }
        stride = stride.saturating_mul(count);
    }
    Ok(Scales {
        shard: scales.tensor.shard,
        offset: scales.tensor.entry.range.start,
        ty: plain_type(&scales.tensor.entry)?,
        block: [blocks[1], blocks[2]],
        strides,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkpoint::{SourceTensor, TensorEntry};

    fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> SourceTensor {
        let entry = TensorEntry { name: name.to_owned(), dtype, shape: shape.to_vec(), range: 100..100 };
        SourceTensor { shard: 0, entry }
    }

    fn stored(tensors: &[SourceTensor]) -> Vec<Source<'_>> {
        let coding = |entry: &TensorEntry| {
            (entry.dtype == Dtype::F8_E4M3).then(|| Coding::of(Element::E4M3, &entry.shape))
        };
        tensors
            .iter()
            .map(|tensor| Source {
                name: tensor.entry.name.clone(),
                shape: tensor.entry.shape.clone(),
                coding: coding(&tensor.entry),
                tensor,
            })
            .collect()
    }

    #[test]
    fn scales_are_spread_as_torch_spreads_them() {
        let check = |weight: &[u64],
                     scales: &[u64],
                     block: Option<[u64; 2]>,
                     expected: Option<([u64; 2], [u64; 3])>| {
            let tensors = [
                tensor("w.weight", Dtype::F8_E4M3, weight),
                tensor("w.weight_scale_inv", Dtype::F32, scales),
            ];
            let found = Scheme::Fp8 { block }.apply(stored(&tensors)).ok().map(|made| {
                assert_eq!(made.len(), 1);
                let scales = made[0].coding.clone().unwrap().scales.unwrap();
                (scales.block, scales.strides)
            });
            assert_eq!(found, expected, "{weight:?} by {scales:?} in {block:?}");
        };
        let blocks = Some([128, 128]);
        check(&[256, 384], &[2, 3], blocks, Some(([128, 128], [0, 3, 1])));
        check(&[200, 300], &[2, 3], blocks, Some(([128, 128], [0, 3, 1])));
        check(&[100, 300], &[1, 3], blocks, Some(([1, 128], [0, 0, 1])));
        check(&[4, 200, 300], &[4, 2, 3], blocks, Some(([128, 128], [6, 3, 1])));
        check(&[300, 300], &[2, 3], blocks, None);
        check(&[256, 384], &[], blocks, None);
        check(&[256, 384], &[], None, Some(([1, 1], [0, 0, 0])));
        check(&[256, 384], &[1], None, Some(([1, 1], [0, 0, 0])));
        check(&[256, 384], &[256], None, Some(([1, 1], [0, 1, 0])));
        check(&[256, 384], &[256, 1], None, Some(([1, 1], [0, 1, 0])));
        check(&[4, 256, 384], &[4], None, Some(([1, 1], [1, 0, 0])));
        check(&[256, 384], &[384], None, None);
    }

    #[test]
    fn tensors_are_put_together_in_the_references_order() {
        let names = |scheme: Scheme, tensors: &[(&str, Dtype, &[u64])]| {
            let tensors: Vec<SourceTensor> = tensors.iter().map(|(n, d, s)| tensor(n, *d, s)).collect();
            let made = scheme.apply(stored(&tensors)).map_err(|e| e.to_string())?;
            Ok::<_, String>(made.into_iter().map(|source| (source.name, source.shape)).collect::<Vec<_>>())
        };
        let packed = Scheme::Packed { bits: 4, group: 32 };
        let found = names(
            packed.clone(),
            &[
                ("a.weight_packed", Dtype::I32, &[8, 8]),
                ("a.weight_scale", Dtype::BF16, &[8, 2]),
                ("a.weight_shape", Dtype::I64, &[2]),
                ("a.weight_zero_point", Dtype::I32, &[1, 2]),
                ("b.weight", Dtype::BF16, &[8]),
            ],
        );
        assert_eq!(found, Ok(vec![("b.weight".to_owned(), vec![8]), ("a.weight".to_owned(), vec![8, 64])]));
        let found = names(
            packed,
            &[
                ("a.weight_packed", Dtype::I32, &[8, 7]),
                ("a.weight_scale", Dtype::BF16, &[8, 2]),
                ("a.weight_shape", Dtype::I64, &[2]),
            ],
        );
        assert!(found.unwrap_err().contains("64 numbers"));
        let found = names(
            Scheme::Mxfp4,
            &[
                ("a.weight", Dtype::BF16, &[8]),
                ("e.down_blocks", Dtype::U8, &[2, 6, 4, 16]),
                ("e.down_scales", Dtype::U8, &[2, 6, 4]),
            ],
        );
        assert_eq!(found, Ok(vec![("e.down".to_owned(), vec![2, 6, 128]), ("a.weight".to_owned(), vec![8])]));
        let found = names(Scheme::Fp8 { block: None }, &[("w.weight_scale_inv", Dtype::F32, &[])]);
        assert!(found.unwrap_err().contains("w.weight"));
        let found = names(
            Scheme::ModelOpt,
            &[
                ("k_proj.k_scale", Dtype::F32, &[]),
                ("k_proj.input_scale", Dtype::F32, &[]),
                ("k_proj.weight", Dtype::F8_E4M3, &[8, 8]),
                ("k_proj.weight_scale", Dtype::F32, &[]),
                ("other.weight_scale", Dtype::F32, &[]),
            ],
        );
        assert_eq!(found, Ok(vec![("k_proj.weight".to_owned(), vec![8, 8])]));
    }

    #[test]
    fn compressed_tensors_of_known_formats() {
        let check = |format: &str, weights: Value, expected: Option<Scheme>| {
            let config = json!({ "format": format, "config_groups": { "group_0": { "weights": weights } } });
            assert_eq!(compressed(&config).ok(), expected, "{config}");
        };
        check("float-quantized", json!({ "strategy": "channel" }), Some(Scheme::Scaled { block: None }));
        check(
            "float-quantized",
            json!({ "strategy": "block", "block_structure": [128, 128], "group_size": null }),
            Some(Scheme::Scaled { block: Some([128, 128]) }),
        );
        check("float-quantized", json!({ "strategy": "tensor" }), None);
        check(
            "int-quantized",
            json!({ "strategy": "channel", "num_bits": 8 }),
            Some(Scheme::Scaled { block: None }),
        );
        check(
            "pack-quantized",
            json!({ "strategy": "group", "num_bits": 4, "group_size": 128, "type": "int" }),
            Some(Scheme::Packed { bits: 4, group: 128 }),
        );
        check("pack-quantized", json!({ "strategy": "channel", "num_bits": 4 }), None);
        check("marlin-24", json!({ "strategy": "group" }), None);
    }
}
