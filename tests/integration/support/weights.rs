//! Seeded weights in safetensors files.
//!
//! In: names and shapes. Out: the same bytes on every machine, in as many shards as are wanted.

use half::{bf16, f16};
use serde_json::{Value, json};

use super::fixtures::text;
use super::random::{Random, Style};

/// Rows of the embeddings: a few more than the highest id of the example's tokenizer.
pub(crate) const VOCABULARY: u64 = 46464;
/// Rows of such embeddings that are not zero.
const USED_ROWS: u64 = 1536;

/// How a checkpoint holds its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    BF16,
}

impl Float {
    fn bytes(self) -> u64 {
        if self == Float::F32 { 4 } else { 2 }
    }
}

/// The files of these tensors (names, and shapes with the outermost extent first), by name; an index, where there are
/// several.
pub(crate) fn files(
    folder: &str,
    float: Float,
    tensors: &[(String, Vec<u64>)],
    shards: usize,
) -> Vec<(String, Vec<u8>)> {
    if shards == 1 {
        return vec![("model.safetensors".to_owned(), safetensors(folder, float, tensors))];
    }
    let mut files = Vec::new();
    let mut map = serde_json::Map::new();
    let mut total = 0u64;
    for (i, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards);
        for (tensor, shape) in part {
            map.insert(tensor.clone(), json!(name));
            total += shape.iter().product::<u64>() * float.bytes();
        }
        files.push((name, safetensors(folder, float, part)));
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    files.push(("model.safetensors.index.json".to_owned(), text(&index)));
    files
}

/// A safetensors file. The tensors' bytes come in the order of their names, as the safetensors library has them.
fn safetensors(folder: &str, float: Float, tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort();
    let dtype = match float {
        Float::F32 => "F32",
        Float::F16 => "F16",
        Float::BF16 => "BF16",
    };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, shape) in &sorted {
        let start = end;
        end += shape.iter().product::<u64>() * float.bytes();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut out = Vec::with_capacity(8 + header.len() + end as usize);
    out.extend_from_slice(&(header.len() as u64).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    for (name, shape) in sorted {
        weights(folder, float, name, shape, &mut out);
    }
    out
}

fn weights(folder: &str, float: Float, name: &str, shape: &[u64], out: &mut Vec<u8>) {
    let mut random = Random::new(folder, name);
    let row = shape[shape.len() - 1];
    let rows: u64 = shape[..shape.len() - 1].iter().product();
    let used = if rows == VOCABULARY { USED_ROWS } else { rows };
    for _ in 0..used {
        let style = if shape.len() == 1 { Style::NearOne } else { random.style() };
        for _ in 0..row {
            let value = random.value(style);
            match float {
                Float::F32 => out.extend_from_slice(&value.to_le_bytes()),
                Float::F16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
                Float::BF16 => out.extend_from_slice(&bf16::from_f32(value).to_le_bytes()),
            }
        }
    }
    out.resize(out.len() + ((rows - used) * row * float.bytes()) as usize, 0);
}
