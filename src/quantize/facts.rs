//! What the choice of types depends on, besides names and shapes: a few numbers of the model.
//!
//! In: a file's metadata and the overrides. Out: [`Facts`], or the key that is missing or wrong. Source:
//! `llama_model_base::load_hparams` in `src/llama-model.cpp`, `load_arch_hparams` of the families in `src/models/`.

use crate::config::KvValue;
use crate::gguf::{Array, Metadata, Value};

use super::layout::LayoutError;
use super::options::Override;

/// Architectures whose models of this many layers the reference takes for its type `70B`.
/// (Llama's, only where query heads share key heads and there are not eight experts.)
const SEVENTY_B: [(&str, u64); 6] =
    [("llama", 80), ("llama-embed", 80), ("qwen2", 80), ("deci", 80), ("olmo", 80), ("jais2", 68)];

/// Keys without which the reference loads no such model, and so quantizes none, that its own converter leaves out.
const NEEDED: [(&str, &str); 2] =
    [("exaone", "attention.layer_norm_rms_epsilon"), ("qwen", "attention.layer_norm_rms_epsilon")];

/// Numbers of a model that decide types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// `general.architecture`.
    pub(super) architecture: String,
    /// Layers, as the reference counts them (`n_layer_all`).
    pub(super) layers: u64,
    /// Query heads for each key head in the first layer (`n_gqa`); 0 where there is no attention.
    pub(super) gqa: u64,
    /// Experts; 0 in a dense model.
    pub(super) experts: u64,
    /// Whether the reference takes the model for its type `70B`.
    pub(super) seventy_b: bool,
}

impl Facts {
    /// Reads the facts as the reference's loader does: overrides count, arrays of head counts give their first entry.
    ///
    /// # Errors
    /// The architecture or the number of layers is missing, or a value is of the wrong kind.
    pub(super) fn new(metadata: &Metadata, overrides: &[Override]) -> Result<Self, LayoutError> {
        let architecture = metadata
            .get("general.architecture")
            .and_then(Value::as_str)
            .ok_or_else(|| LayoutError::MissingKey("general.architecture".to_owned()))?
            .to_owned();
        let reader = Reader { metadata, overrides, architecture: &architecture };
        if architecture == "clip" {
            return Ok(Facts { layers: 0, gqa: 0, experts: 0, seventy_b: false, architecture });
        }
        let blocks = reader
            .number("block_count")?
            .ok_or_else(|| LayoutError::MissingKey(reader.key("block_count")))?;
        if let Some((_, needed)) = NEEDED.iter().find(|(a, _)| *a == architecture) {
            let key = reader.key(needed);
            let stated = |o: &Override| o.key == key && matches!(o.value, KvValue::Float(_));
            if metadata.get(&key).is_none() && !overrides.iter().any(stated) {
                return Err(LayoutError::MissingKey(key));
            }
        }
        let experts = reader.number("expert_count")?.unwrap_or(0);
        let heads = reader.first_of_layers("attention.head_count", blocks)?.unwrap_or(0);
        let kv_heads = reader.first_of_layers("attention.head_count_kv", blocks)?.unwrap_or(heads);
        let predicting = reader.number("nextn_predict_layers")?.unwrap_or(0);

        let own_layers = blocks.saturating_sub(predicting);
        let listed = SEVENTY_B.contains(&(architecture.as_str(), own_layers));
        let seventy_b = listed && (!architecture.starts_with("llama") || (heads != kv_heads && experts != 8));
        let layers = match architecture.as_str() {
            "nanbeige" => own_layers * reader.number("num_loops")?.unwrap_or(1),
            "graniteswitch" => own_layers + 1,
            _ => blocks,
        };
        Ok(Facts { layers, gqa: heads.checked_div(kv_heads).unwrap_or(0), experts, seventy_b, architecture })
    }
}

struct Reader<'a> {
    metadata: &'a Metadata,
    overrides: &'a [Override],
    architecture: &'a str,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A scalar. The first override of the key wins, whether or not the file has it, if it is an integer.
    fn number(&self, name: &str) -> Result<Option<u64>, LayoutError> {
        let key = self.key(name);
        if let Some(Override { value: KvValue::Integer(v), .. }) =
            self.overrides.iter().find(|o| o.key == key)
        {
            return Ok(Some(u64::from(*v as u32)));
        }
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(LayoutError::KeyType(key)),
        }
    }

    /// A number a layer, or one for all; overrides reach only the latter.
    fn first_of_layers(&self, name: &str, layers: u64) -> Result<Option<u64>, LayoutError> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.len() as u64 != layers => {
                Err(LayoutError::KeyLength { key, expected: layers, found: array.len() as u64 })
            }
            Some(Value::Array(Array::U32(items))) => Ok(items.first().map(|n| u64::from(*n))),
            Some(Value::Array(Array::I32(items))) => Ok(items.first().map(|n| u64::from(*n as u32))),
            Some(Value::Array(_)) => Err(LayoutError::KeyType(key)),
            Some(_) => self.number(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, Value)], overrides: &[&str]) -> Result<Facts, LayoutError> {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.set(*key, value.clone());
        }
        let overrides: Vec<_> = overrides.iter().map(|o| Override::parse(o).expect("valid")).collect();
        Facts::new(&metadata, &overrides)
    }

    #[test]
    fn head_counts_may_be_arrays_and_default_to_each_other() {
        let llama = |heads: Value, kv: Option<Value>| {
            let mut pairs = vec![
                ("general.architecture", Value::from("llama")),
                ("llama.block_count", 2u32.into()),
                ("llama.attention.head_count", heads),
            ];
            pairs.extend(kv.map(|kv| ("llama.attention.head_count_kv", kv)));
            facts(&pairs, &[])
        };
        assert_eq!(llama(32u32.into(), Some(8u32.into())).expect("valid").gqa, 4);
        assert_eq!(llama(32u32.into(), None).expect("valid").gqa, 1);
        assert_eq!(llama(vec![32u32, 16].into(), Some(vec![16i32, 2].into())).expect("valid").gqa, 2);
        assert_eq!(llama(vec![0u32, 16].into(), Some(vec![0u32, 2].into())).expect("valid").gqa, 0);
        assert_eq!(
            llama(vec![32u32].into(), None).expect_err("one entry for two layers").to_string(),
            "metadata key `llama.attention.head_count` has 1 entries where 2 are needed"
        );
        assert!(matches!(llama("many".into(), None), Err(LayoutError::KeyType(_))));
    }

    #[test]
    fn what_the_reference_would_not_load_has_no_facts() {
        for architecture in ["exaone", "qwen"] {
            let count = format!("{architecture}.block_count");
            let pairs = [("general.architecture", Value::from(architecture)), (&*count, 2u32.into())];
            let key = format!("{architecture}.attention.layer_norm_rms_epsilon");
            let expected = format!("metadata key `{key}` is missing");
            let missing = |overrides: &[&str]| facts(&pairs, overrides).map_err(|e| e.to_string());
            assert_eq!(missing(&[]), Err(expected.clone()));
            assert_eq!(missing(&[&format!("{key}=int:1")]), Err(expected));
            assert_eq!(missing(&[&format!("{key}=float:1e-5")]).map(|f| f.layers), Ok(2));
        }
    }

    #[test]
    fn overrides_reach_the_facts() {
        let pairs = [("general.architecture", Value::from("qwen2")), ("qwen2.block_count", 24u32.into())];
        let plain = facts(&pairs, &[]).expect("valid");
        assert_eq!((plain.layers, plain.experts, plain.seventy_b), (24, 0, false));
        let changed =
            facts(&pairs, &["qwen2.block_count=int:80", "qwen2.expert_count=int:8"]).expect("valid");
        assert_eq!((changed.layers, changed.experts, changed.seventy_b), (80, 8, true));
    }

    #[test]
    fn a_missing_key_is_named() {
        let message = |pairs: &[(&str, Value)]| facts(pairs, &[]).expect_err("incomplete").to_string();
        assert_eq!(message(&[]), "metadata key `general.architecture` is missing");
        assert_eq!(
            message(&[("general.architecture", "qwen3".into())]),
            "metadata key `qwen3.block_count` is missing"
        );
    }
}
