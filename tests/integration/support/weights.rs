//! Seeded weights in safetensors files.
//!
//! In: names and shapes. Out: the same bytes on every machine, in as many shards as are wanted.

use std::collections::BTreeMap;

use half::{bf16, f16};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fixtures::text;
use super::random::{Random, Style};

/// Rows of the embeddings: a few more than the highest id of the example's tokenizer.
pub(crate) const VOCABULARY: u64 = 46464;
/// Rows of such embeddings that are not zero.
const USED_ROWS: u64 = 1536;

/// How a checkpoint holds its weights, or some of them: the variants are the format's names.
#[allow(non_camel_case_types, reason = "the variants are the format's names")]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    BF16,
    /// Any bytes but those that are no numbers.
    F8_E4M3,
    F8_E5M2,
    I8,
    U8,
    I32,
    I64,
}

impl Float {
    fn bytes(self) -> u64 {
        match self {
            Float::F8_E4M3 | Float::F8_E5M2 | Float::I8 | Float::U8 => 1,
            Float::F16 | Float::BF16 => 2,
            Float::F32 | Float::I32 => 4,
            Float::I64 => 8,
        }
    }
}

/// A tensor that has other elements than the checkpoint's others.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Own {
    dtype: Float,
    /// Its integers, where they are no random bits.
    #[serde(default)]
    integers: Vec<i64>,
}

pub(crate) type Owns = BTreeMap<String, Own>;

/// The files of these tensors (names, and shapes with the outermost extent first), by name; an index, where there are
/// several.
pub(crate) fn files(
    folder: &str,
    float: Float,
    owns: &Owns,
    tensors: &[(String, Vec<u64>)],
    shards: usize,
) -> Vec<(String, Vec<u8>)> {
    if shards == 1 {
        return vec![("model.safetensors".to_owned(), safetensors(folder, float, owns, tensors))];
    }
    let mut files = Vec::new();
    let mut map = serde_json::Map::new();
    let mut total = 0u64;
    for (i, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards);
        for (tensor, shape) in part {
            map.insert(tensor.clone(), json!(name));
            total += shape.iter().product::<u64>() * owns.get(tensor).map_or(float, |own| own.dtype).bytes();
        }
        files.push((name, safetensors(folder, float, owns, part)));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    files.push(("model.safetensors.index.json".to_owned(), text(&index)));
    files
}

/// A safetensors file. The tensors' bytes come in the order of their names, as the safetensors library has them.
fn safetensors(folder: &str, float: Float, owns: &Owns, tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort();
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, shape) in &sorted {
        let (start, float) = (end, owns.get(name).map_or(float, |own| own.dtype));
        end += shape.iter().product::<u64>() * float.bytes();
        header.insert(
            name.clone(),
            json!({ "dtype": format!("{float:?}"), "shape": shape, "data_offsets": [start, end] }),
        );
    }
    let mut header = Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut out = Vec::with_capacity(8 + header.len() + end as usize);
    out.extend_from_slice(&(header.len() as u64).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    for (name, shape) in sorted {
        match owns.get(name) {
            None => weights(folder, float, name, shape, &mut out),
            Some(own) if matches!(own.dtype, Float::F32 | Float::F16 | Float::BF16) => {
                scales(folder, own.dtype, name, shape, &mut out);
            }
            Some(own) => codes(folder, own, name, shape, &mut out),
        }
    }
    out
}

/// Positive numbers, of about a thousandth.
fn scales(folder: &str, float: Float, name: &str, shape: &[u64], out: &mut Vec<u8>) {
    let mut random = Random::new(folder, name);
    for _ in 0..shape.iter().product() {
        push(float, (1.0 + random.bell()) / 1024.0, out);
    }
}

/// Bits of integers and of small floats.
fn codes(folder: &str, own: &Own, name: &str, shape: &[u64], out: &mut Vec<u8>) {
    let mut random = Random::new(folder, name);
    let size = own.dtype.bytes() as usize;
    for n in 0..shape.iter().product::<u64>() as usize {
        let bits = match own.integers.get(n) {
            Some(integer) => *integer as u64,
            None => random.bits(),
        };
        let byte = bits as u8;
        match own.dtype {
            Float::F8_E4M3 if byte & 0x7f == 0x7f => out.push(byte ^ 1),
            Float::F8_E5M2 if byte & 0x7c == 0x7c => out.push(byte ^ 4),
            // Exponents of scales.
            Float::U8 if name.ends_with("_scales") => out.push(118 + byte % 8),
            _ => out.extend_from_slice(&bits.to_le_bytes()[..size]),
        }
    }
}

fn push(float: Float, value: f32, out: &mut Vec<u8>) {
    match float {
        Float::F16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
        Float::BF16 => out.extend_from_slice(&bf16::from_f32(value).to_le_bytes()),
        _ => out.extend_from_slice(&value.to_le_bytes()),
    }
}

fn weights(folder: &str, float: Float, name: &str, shape: &[u64], out: &mut Vec<u8>) {
    let mut random = Random::new(folder, name);
    // A single number has no extents.
    let (row, outer) = shape.split_last().map_or((1, &[][..]), |(row, outer)| (*row, outer));
    let rows: u64 = outer.iter().product();
    let used = if rows == VOCABULARY { USED_ROWS } else { rows };
    for _ in 0..used {
        let style = if shape.len() <= 1 { Style::NearOne } else { random.style() };
        for _ in 0..row {
            push(float, random.value(style), out);
        }
    }
    out.resize(out.len() + ((rows - used) * row * float.bytes()) as usize, 0);
}
