//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

/// Why an index was refused.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum IndexError {
    #[error("the index is no valid JSON of the format")]
    Json(#[from] serde_json::Error),
    #[error("the shard name `{0}` leaves the checkpoint's folder")]
    Unsafe(String),
}

/// The index of a sharded checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardIndex {
    /// Tensor name and shard, in the file's order.
    pub weight_map: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Raw {
    weight_map: serde_json::Map<String, serde_json::Value>,
}

impl ShardIndex {
    /// Parses the index; shard names must be plain file names.
    ///
    /// # Errors
    /// [`IndexError`] where it is malformed or names a path.
    pub fn parse(json: &[u8]) -> Result<Self, IndexError> {
        let raw: Raw = serde_json::from_slice(json)?;
        let mut weight_map = Vec::with_capacity(raw.weight_map.len());
        for (tensor, shard) in raw.weight_map {
            let shard: String = serde_json::from_value(shard)?;
            let plain =
                !shard.is_empty() && !shard.starts_with('.') && !shard.contains(['/', '\\', '\0', ':']);
            if !plain {
                return Err(IndexError::Unsafe(shard));
            }
            weight_map.push((tensor, shard));
        }
        Ok(ShardIndex { weight_map })
    }

    /// The shards, each once, sorted: the order in which the reference reads them.
    pub fn shards(&self) -> Vec<&str> {
        self.weight_map.iter().map(|(_, s)| s.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_sorted_and_stay_in_the_folder() {
        let index = ShardIndex::parse(br#"{"metadata":{},"weight_map":{"b":"y","a":"x","c":"y"}}"#).unwrap();
        assert_eq!(index.shards(), ["x", "y"]);
        for bad in ["../x", "/etc/passwd", "a/b", "", "..", "a\\b", "c:x"] {
            let json = serde_json::json!({ "weight_map": { "a": bad } }).to_string();
            assert!(matches!(ShardIndex::parse(json.as_bytes()), Err(IndexError::Unsafe(_))), "{bad}");
        }
    }
}
