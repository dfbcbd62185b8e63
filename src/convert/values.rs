//! Weights that a blueprint depends on: single numbers that become metadata, and matrices that may be the same.
//!
//! These are the only weights that are read before the pass: a number each, or two matrices side by side in pieces.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};

use super::ConvertError as E;
use crate::arch;
use crate::checkpoint::{Checkpoint, Dtype, SourceTensor};
use crate::gguf::Value;

/// Bytes that are compared at a time.
const PIECE: u64 = 1 << 20;

/// Numbers that become metadata, by key and layer.
#[derive(Default)]
pub(super) struct Scalars {
    layers: HashMap<&'static str, BTreeMap<u32, f32>>,
}

impl Scalars {
    /// Takes the number in a layer's tensor; gives the metadata once every layer has its own.
    pub(super) fn add(
        &mut self,
        key: &'static str,
        name: &str,
        tensor: &SourceTensor,
        checkpoint: &Checkpoint,
        layers: u32,
    ) -> Result<Option<(String, Value)>, E> {
        let Some(layer) = name.split('.').find_map(arch::number).filter(|layer| *layer < layers) else {
            return Err(E::Number { name: tensor.entry.name.clone(), count: layers });
        };
        let found = self.layers.entry(key).or_default();
        found.insert(layer, number(checkpoint, tensor)?);
        if found.len() < layers as usize {
            return Ok(None);
        }
        let values: Vec<f32> = found.values().copied().collect();
        Ok(Some((key.to_owned(), values.into())))
    }
}

/// The only value of a tensor.
fn number(checkpoint: &Checkpoint, tensor: &SourceTensor) -> Result<f32, E> {
    let entry = &tensor.entry;
    if entry.shape.iter().any(|extent| *extent != 1) {
        let (name, found) = (entry.name.clone(), entry.shape.clone());
        return Err(E::Shape { name, found, expected: "a single number".to_owned() });
    }
    let mut bytes = [0; 8];
    let unsupported = || E::Dtype { name: entry.name.clone(), dtype: entry.dtype };
    let size = usize::try_from(entry.range.end - entry.range.start).ok().filter(|size| *size <= bytes.len());
    let read = bytes.get_mut(..size.ok_or_else(unsupported)?).ok_or_else(unsupported)?;
    here(checkpoint, tensor)?;
    checkpoint.read(tensor.shard, entry.range.start, read)?;
    let [a, b, c, d, ..] = bytes;
    match entry.dtype {
        Dtype::F64 => Ok(f64::from_le_bytes(bytes) as f32),
        Dtype::F32 => Ok(f32::from_le_bytes([a, b, c, d])),
        Dtype::F16 => Ok(f16::from_le_bytes([a, b]).to_f32()),
        Dtype::BF16 => Ok(bf16::from_le_bytes([a, b]).to_f32()),
        _ => Err(unsupported()),
    }
}

/// Whether two tensors have the same bytes.
pub(super) fn equal(checkpoint: &Checkpoint, a: &SourceTensor, b: &SourceTensor) -> Result<bool, E> {
    if a.entry.shape != b.entry.shape || a.entry.dtype != b.entry.dtype {
        return Ok(false);
    }
    here(checkpoint, b)?;
    let size = a.entry.range.end - a.entry.range.start;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for start in (0..size).step_by(PIECE as usize) {
        let length = PIECE.min(size - start) as usize;
        for (tensor, bytes) in [(a, &mut left), (b, &mut right)] {
            bytes.resize(length, 0);
            checkpoint.read(tensor.shard, tensor.entry.range.start + start, bytes)?;
        }
        if left != right {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses checkpoints of which only the headers are here.
fn here(checkpoint: &Checkpoint, tensor: &SourceTensor) -> Result<(), E> {
    if checkpoint.is_here() { Ok(()) } else { Err(E::NotHere { name: tensor.entry.name.clone() }) }
}
