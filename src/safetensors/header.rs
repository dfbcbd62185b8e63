//! One shard's header: eight bytes of length, then JSON, then the weights.

use std::ops::Range;

use serde::Deserialize;
use thiserror::Error;

/// Longest header that is read, as in the reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;

/// The element types of the format.
#[allow(missing_docs, non_camel_case_types, reason = "the variants are the format's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Dtype {
    BOOL,
    U8,
    I8,
    F8_E4M3,
    F8_E5M2,
    F8_E8M0,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
    /// A type this program does not read (sub-byte and complex types).
    #[serde(other)]
    Other,
}

impl Dtype {
    /// Bytes of one element; `None` for types this program does not read.
    pub const fn bytes(self) -> Option<u64> {
        Some(match self {
            Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::F8_E8M0 => 1,
            Dtype::I16 | Dtype::U16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::I32 | Dtype::U32 | Dtype::F32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
            Dtype::Other => return None,
        })
    }
}

/// One tensor of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Name in the checkpoint.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents in the checkpoint's order: the row length last. Empty for a scalar.
    pub shape: Vec<u64>,
    /// Bytes in the file.
    pub range: Range<u64>,
}

impl TensorEntry {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Why a shard was refused.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum HeaderError {
    #[error("the file is too short for a safetensors header")]
    TooShort,
    #[error("the header claims {0} bytes")]
    TooLong(u64),
    #[error("the header is no valid JSON of the format")]
    Json(#[from] serde_json::Error),
    #[error("tensor `{name}`: {why}")]
    Tensor { name: String, why: &'static str },
    #[error(
        "the file has {found} bytes where its header describes {expected}: it is truncated or was added to"
    )]
    Size { expected: u64, found: u64 },
}

/// The tensors of a shard, in the order of the header's JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardHeader {
    /// The tensors.
    pub tensors: Vec<TensorEntry>,
}

/// Length of the JSON that follows the first eight bytes.
///
/// # Errors
/// [`HeaderError::TooLong`] beyond [`MAX_HEADER`].
pub fn header_length(first: [u8; 8]) -> Result<u64, HeaderError> {
    let n = u64::from_le_bytes(first);
    if n > MAX_HEADER { Err(HeaderError::TooLong(n)) } else { Ok(n) }
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl ShardHeader {
    /// Parses the JSON of a header of a file with `file_bytes` bytes in all.
    ///
    /// # Errors
    /// [`HeaderError`] where offsets overlap, leave holes, leave the file, or contradict shape and type.
    pub fn parse(json: &[u8], file_bytes: u64) -> Result<Self, HeaderError> {
        let raw: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json)?;
        let start = 8 + json.len() as u64;
        let mut tensors = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            if name == "__metadata__" {
                continue;
            }
            let bad = |why| HeaderError::Tensor { name: name.clone(), why };
            let entry: RawEntry = serde_json::from_value(value)?;
            let elements = entry
                .shape
                .iter()
                .try_fold(1u64, |n, d| n.checked_mul(*d))
                .ok_or(bad("its size overflows"))?;
            let (from, to) = entry.data_offsets;
            let found = to.checked_sub(from).ok_or(bad("its offsets run backwards"))?;
            if let Some(size) = entry.dtype.bytes() {
                let bytes = elements.checked_mul(size).ok_or(bad("its size overflows"))?;
                if found != bytes {
                    return Err(bad("its offsets contradict its shape and type"));
                }
            }
            let range = start.checked_add(from).ok_or(bad("its offsets overflow"))?
                ..start.checked_add(to).ok_or(bad("its offsets overflow"))?;
            tensors.push(TensorEntry { name, dtype: entry.dtype, shape: entry.shape, range });
        }
        let mut order: Vec<&TensorEntry> = tensors.iter().collect();
        order.sort_by_key(|t| (t.range.start, t.range.end));
        let mut at = start;
        for t in order {
            if t.range.start != at {
                let why = if t.range.start < at {
                    "its bytes overlap another tensor's"
                } else {
                    "there is a hole before its bytes"
                };
                return Err(HeaderError::Tensor { name: t.name.clone(), why });
            }
            at = t.range.end;
        }
        if at != file_bytes {
            return Err(HeaderError::Size { expected: at, found: file_bytes });
        }
        Ok(ShardHeader { tensors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, data: u64, expected: Result<usize, &str>) {
        let found = ShardHeader::parse(json.as_bytes(), 8 + json.len() as u64 + data);
        match (found.map(|h| h.tensors.len()).map_err(|e| e.to_string()), expected) {
            (Ok(n), Ok(m)) => assert_eq!(n, m),
            (Err(e), Err(part)) => assert!(e.contains(part), "{e}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn hostile_headers() {
        let t = |from: i64, to: i64| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#);
        check(&format!(r#"{{"a":{}}}"#, t(0, 8)), 8, Ok(1));
        check(r#"{"__metadata__":{"format":"pt"}}"#, 0, Ok(0));
        check(&format!(r#"{{"a":{}}}"#, t(0, 8)), 7, Err("truncated"));
        check(&format!(r#"{{"a":{}}}"#, t(0, 8)), 9, Err("added to"));
        check(&format!(r#"{{"a":{}}}"#, t(0, 4)), 4, Err("contradict"));
        check(&format!(r#"{{"a":{}}}"#, t(8, 0)), 8, Err("backwards"));
        check(&format!(r#"{{"a":{},"b":{}}}"#, t(0, 8), t(4, 12)), 12, Err("overlap"));
        check(&format!(r#"{{"a":{},"b":{}}}"#, t(0, 8), t(12, 20)), 20, Err("hole"));
        check(
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}"#,
            8,
            Err("overflows"),
        );
        check(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#, 8, Err("JSON"));
        check("[]", 0, Err("JSON"));
    }

    #[test]
    fn header_lengths_are_capped() {
        assert!(header_length(u64::MAX.to_le_bytes()).is_err());
        assert_eq!(header_length(7u64.to_le_bytes()).unwrap(), 7);
    }
}
