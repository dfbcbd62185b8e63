//! Model families: tensor names, hyper-parameters, transforms. Data and small functions; no I/O.
//!
//! In: a checkpoint's `config.json` and the names of its tensors. Out: what the reference's converter makes of them:
//! the hyper-parameters with their defaults ([`config_class`]), the family of the architecture ([`family`]), the place
//! of each tensor ([`map_name`]). A family is a file with one row of data; a new one is a new file and a line in
//! [`FAMILIES`]. What is no row of a table here is refused: this module guesses nothing.

pub mod config_class;
pub mod hparams;
mod llama;
mod model_types;
mod powf;
mod qwen2;
mod qwen3;
mod rope;
mod tensor;

pub use hparams::{HparamError, Hparams};
pub use rope::Rope;
pub use tensor::{Extent, Mapped, Tensor, is_computed, is_text, map_name};

/// Heads of a tensor whose rows are reordered within each head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// The query heads.
    Query,
    /// The key heads.
    Key,
}

/// Metadata that a family has beyond what all have, in the order in which it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKey {
    /// `{arch}.vocab_size`.
    VocabularySize,
    /// `{arch}.rope.dimension_count`: the width of a head.
    RopeDimensions,
    /// `{arch}.pooling_type`, where `modules.json` names a pooling module.
    Pooling,
}

/// The tokenizer files that a family looks for, and the keys that go with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// `LlamaModel.set_vocab`: SentencePiece, then a Llama tokenizer in `tokenizer.json`, then byte-level BPE; and
    /// `add_space_prefix` from `tokenizer_config.json`, CodeLlama's infill tokens, no BOS token for 49152 tokens.
    Llama,
    /// `Qwen2Model.set_vocab`: SentencePiece, then byte-level BPE.
    Qwen2,
}

/// A family of models that are converted in the same way.
#[derive(Debug)]
pub struct Family {
    /// `general.architecture`, and the prefix of the family's metadata.
    pub name: &'static str,
    /// The classes of checkpoints: `architectures` in `config.json`.
    pub architectures: &'static [&'static str],
    /// Those of them whose tensors lack the prefix `model.`, which is put before.
    pub unprefixed: &'static [&'static str],
    /// Parts of tensor names that are dropped.
    pub dropped_parts: &'static [&'static str],
    /// The tensors that a model of the family has.
    pub tensors: &'static [Tensor],
    /// Modules (last part of the name but `.weight` or `.bias`) whose rows are reordered within each head, from the
    /// halves of a rotary embedding one after the other to the halves interleaved.
    pub rope_rows: &'static [(&'static str, Heads)],
    /// Whether Llama 3's frequency factors are written as a tensor.
    pub rope_factors: bool,
    /// Metadata after the common keys.
    pub keys: &'static [FamilyKey],
    /// How the vocabulary is found.
    pub vocabulary: Vocabulary,
    /// Whether rerankers, which the reference gives a classification head, come under the same architectures.
    pub rerankers: bool,
}

/// Every family.
pub const FAMILIES: &[&Family] = &[&llama::LLAMA, &qwen2::QWEN2, &qwen3::QWEN3];

/// The family of a checkpoint's architecture (`LlamaForCausalLM`).
pub fn family(architecture: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|f| f.architectures.contains(&architecture))
}

/// Names of the number of layers in configurations.
pub const LAYERS: &[&str] = &["n_layers", "num_hidden_layers", "n_layer", "num_layers"];
/// Names of the number of query heads, where heads are reordered.
pub const QUERY_HEADS: &[&str] = &["n_heads", "num_attention_heads"];
/// Names of the number of key heads, where heads are reordered.
pub const KEY_HEADS: &[&str] = &["n_kv_heads", "num_key_value_heads"];

/// The dimensions that shapes are made of, where the configuration gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dimensions {
    /// Tokens in the vocabulary.
    pub vocabulary: Option<u64>,
    /// Width of the residual stream.
    pub embedding: Option<u64>,
    /// Width of the feed-forward layer.
    pub feed_forward: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Key heads.
    pub key_heads: Option<u64>,
    /// Width of a head.
    pub head: Option<u64>,
}

impl Dimensions {
    /// The dimensions that a configuration states.
    pub fn of(h: &Hparams) -> Self {
        let number = |keys: &[&str]| h.find(keys).and_then(|(_, v)| v.as_u64());
        let embedding = number(&["hidden_size"]);
        let heads = number(QUERY_HEADS);
        let head = h.get("head_dim").map_or_else(
            || embedding.zip(heads).and_then(|(width, heads)| width.checked_div(heads)),
            serde_json::Value::as_u64,
        );
        Dimensions {
            vocabulary: number(&["vocab_size"]),
            embedding,
            feed_forward: number(&["intermediate_size"]),
            heads,
            key_heads: if KEY_HEADS.iter().any(|k| h.has(k)) { number(KEY_HEADS).or(heads) } else { None },
            head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_and_names_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{}", family.name);
            for architecture in family.architectures {
                assert!(seen.insert(architecture), "{architecture}");
            }
            for architecture in family.unprefixed {
                assert!(family.architectures.contains(architecture), "{architecture}");
            }
        }
    }

    #[test]
    fn no_family_gives_a_name_to_two_tensors() {
        for family in FAMILIES {
            let mut seen = std::collections::HashSet::new();
            for tensor in family.tensors {
                for alias in tensor.aliases() {
                    assert!(seen.insert(alias), "{alias} in {}", family.name);
                }
            }
        }
    }
}
