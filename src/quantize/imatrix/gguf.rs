//! The GGUF form: for each tensor `NAME.in_sum2`, the sums of squares by column and expert, and `NAME.counts`, the
//! tokens that each expert saw.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Entry, ImatrixError, Loaded, Malformed, c_text};
use crate::checkpoint::{CheckpointError, GgufFile, GgufModel, Weights};
use crate::gguf::{Array, GgmlType, Metadata, TensorInfo, Value};

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Loaded, ImatrixError> {
    let model = GgufModel { files: vec![GgufFile::open(path)?] };
    let file = &model.files[0];
    let mut loaded = keys(&file.header.metadata).map_err(|why| why.at(path))?;
    for (name, [sums, counts]) in pairs(&file.header.tensors).map_err(|why| why.at(path))? {
        let sums = floats(&model, sums)?;
        let counts = floats(&model, counts)?;
        let entry = mean(sums, &counts).ok_or_else(|| Malformed::Uneven(name.to_owned()).at(path))?;
        loaded.entries.insert(name.to_owned(), entry);
    }
    if loaded.entries.is_empty() {
        return Err(Malformed::Empty.at(path));
    }
    Ok(loaded)
}

/// What the matrix was computed on. The reference asks for all three keys and uses two of them.
fn keys(metadata: &Metadata) -> Result<Loaded, Malformed> {
    let get = |key| metadata.get(key).ok_or(Malformed::MissingKey(key));
    let number = |key| match get(key)? {
        Value::U32(n) => Ok(*n),
        _ => Err(Malformed::KeyType(key)),
    };
    let dataset = match get(DATASETS)? {
        Value::Array(Array::String(names)) => names.first().map(c_text),
        _ => None,
    };
    number(CHUNK_SIZE)?;
    // The reference takes it for a signed number.
    Ok(Loaded { dataset, chunks: number(CHUNK_COUNT)? as i32, entries: BTreeMap::new() })
}

/// Sums and counts by the tensor's name.
fn pairs(tensors: &[TensorInfo]) -> Result<BTreeMap<&str, [&TensorInfo; 2]>, Malformed> {
    let mut found: BTreeMap<&str, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for tensor in tensors {
        for (half, suffix) in [".in_sum2", ".counts"].into_iter().enumerate() {
            if let Some(name) = tensor.name.strip_suffix(suffix) {
                found.entry(name).or_default()[half] = Some(tensor);
            }
        }
    }
    found
        .into_iter()
        .map(|(name, halves)| match halves {
            [Some(sums), Some(counts)] if [sums.ty, counts.ty] == [GgmlType::F32; 2] => {
                Ok((name, [sums, counts]))
            }
            [Some(_), Some(_)] => Err(Malformed::NotF32(name.to_owned())),
            _ => Err(Malformed::Half(name.to_owned())),
        })
        .collect()
}

/// The file is as long as its header says, so the size is no claim any more.
fn floats(model: &GgufModel, tensor: &TensorInfo) -> Result<Vec<f32>, CheckpointError> {
    let mut bytes = vec![0; tensor.bytes() as usize];
    model.read(0, model.files[0].data_start + tensor.offset, &mut bytes)?;
    let (floats, _) = bytes.as_chunks::<4>();
    Ok(floats.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Sums to means, an expert at a time. Columns of an expert that saw nothing count the same.
fn mean(mut sums: Vec<f32>, counts: &[f32]) -> Option<Entry> {
    if counts.is_empty() || sums.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        return None;
    }
    let mut idle = Vec::new();
    let columns = sums.len() / counts.len();
    for (expert, (sums, count)) in sums.chunks_exact_mut(columns).zip(counts).enumerate() {
        let count = tokens(*count);
        if count > 0.0 {
            sums.iter_mut().for_each(|sum| *sum /= count);
        } else {
            sums.fill(1.0);
            idle.push(expert as u32);
        }
    }
    Some(Entry { weights: sums, idle })
}

/// A count by way of an integer, as the reference has it; what no integer holds is none (`lround` on x86-64).
fn tokens(count: f32) -> f32 {
    const TOO_LARGE: f32 = 9_223_372_036_854_775_808.0;
    let rounded = count.round();
    if rounded < TOO_LARGE { rounded } else { 0.0 }
}
