//! Model families: tensor names, hyper-parameters, transforms. Data and small functions; no I/O.
//!
//! In: a checkpoint's `config.json` and the names of its tensors. Out: what the reference's converter makes of them:
//! the hyper-parameters with their defaults ([`config_class`]), the family of the architecture ([`family`]), the place
//! of each tensor ([`map_name`]). A [`Family`] is data, and states only in what it differs from a plain decoder; a new one
//! is a new file and a line in [`FAMILIES`]. What is no row of a table here is refused: this module guesses nothing.

mod apertus;
mod bert;
mod bloom;
mod chatglm;
mod cohere;
pub mod config_class;
mod config_defaults;
mod config_layers;
mod config_rope;
mod config_rules;
mod deepseek;
mod ernie;
mod exaone;
mod falcon;
mod falcon_h1;
mod family;
mod gemma;
mod gemma3n;
mod glm4;
mod gpt2;
mod gpt_neox;
mod gpt_oss;
mod granite;
mod granite_hybrid;
pub mod hparams;
mod hunyuan;
mod internlm;
mod jamba;
pub mod key;
mod lfm2;
mod lfm2_moe;
mod llama;
mod llama4;
mod mamba;
mod minicpm;
mod minimax;
mod mistral3;
mod mistral_native;
mod model_types;
mod modern_bert;
mod mpt;
mod nemotron;
mod nemotron_h;
mod nomic_bert;
mod olmo;
mod phi;
mod plain;
mod powf;
mod qwen;
mod qwen2;
mod qwen3;
mod qwen_moe;
mod qwen_next;
mod qwen_vl;
mod reference;
mod rope;
mod stablelm;
mod starcoder;
mod t5;
mod tensor;
mod tensor_name;
mod tensor_sets;
pub mod vision;

pub use config_layers::MAX_LAYERS;
pub use family::{
    By, Computed, Cut, CutRows, Factors, Family, Heads, MoreLayers, Reshape, Skip, Split, Stack, Tiled,
    Vocabulary,
};
pub use hparams::{HparamError, Hparams};
pub use key::{Key, Model, Store, When};
pub use mistral_native::mistral_native;
pub use rope::Rope;
pub use tensor::{Extent, Tensor};
pub use tensor_name::{
    Mapped, is_beyond, is_computed, is_text, layer_in, map_name, number, predicting_name, stem, usual_name,
};

/// Every family.
pub const FAMILIES: &[&Family] = &[
    &llama::LLAMA,
    &llama4::LLAMA4,
    &qwen::QWEN,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen_moe::QWEN2_MOE,
    &qwen_moe::QWEN3_MOE,
    &qwen_next::QWEN35,
    &qwen_next::QWEN35_MOE,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gemma3n::GEMMA3N,
    &phi::PHI2,
    &phi::PHI3,
    &phi::PHI_MOE,
    &plain::SMOLLM3,
    &plain::ARCEE,
    &plain::STARCODER2,
    &plain::SEED_OSS,
    &granite::GRANITE,
    &granite::GRANITE_MOE,
    &olmo::OLMO,
    &olmo::OLMO2,
    &qwen_moe::OLMOE,
    &cohere::COMMAND_R,
    &cohere::COHERE2,
    &stablelm::STABLELM,
    &glm4::GLM4,
    &glm4::GLM4_MOE,
    &ernie::ERNIE,
    &ernie::ERNIE_MOE,
    &exaone::EXAONE,
    &exaone::EXAONE4,
    &hunyuan::HUNYUAN,
    &hunyuan::HUNYUAN_MOE,
    &lfm2::LFM2,
    &lfm2_moe::LFM2_MOE,
    &minicpm::MINICPM,
    &nemotron::NEMOTRON,
    &bert::BERT,
    &bert::DISTIL_BERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &bert::JINA_BERT,
    &nomic_bert::NOMIC_BERT,
    &modern_bert::MODERN_BERT,
    &modern_bert::EURO_BERT,
    &t5::T5,
    &t5::T5_ENCODER,
    &qwen_vl::QWEN2_VL,
    &qwen_vl::QWEN3_VL,
    &qwen_vl::QWEN3_VL_MOE,
    &mistral3::MISTRAL3,
    &gemma::GEMMA_EMBEDDING,
    &llama::LLAMA_EMBED,
    &deepseek::DEEPSEEK,
    &deepseek::DEEPSEEK2,
    &gpt_oss::GPT_OSS,
    &minimax::MINIMAX_M2,
    &deepseek::GLM4_MOE_LITE,
    &deepseek::DOTS1,
    &qwen_next::QWEN3_NEXT,
    &gpt2::GPT2,
    &gpt_neox::GPT_NEOX,
    &bloom::BLOOM,
    &falcon::FALCON,
    &mpt::MPT,
    &internlm::INTERNLM2,
    &internlm::INTERNLM3,
    &chatglm::CHATGLM,
    &apertus::APERTUS,
    &minicpm::MINICPM3,
    &starcoder::STARCODER,
    &mamba::MAMBA,
    &mamba::MAMBA2,
    &falcon_h1::FALCON_H1,
    &jamba::JAMBA,
    &nemotron_h::NEMOTRON_H,
    &granite_hybrid::GRANITE_HYBRID,
];

/// The family of a checkpoint's architecture (`LlamaForCausalLM`).
pub fn family(architecture: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|f| f.architectures.contains(&architecture))
}

/// Architectures that the reference's converter has a class for and fails with, whatever the checkpoint; and how.
pub const BROKEN: &[(&str, &str)] = &[("BaiChuanForCausalLM", ENDLESS), ("BaichuanForCausalLM", ENDLESS)];

/// `BaichuanModel.modify_tensors` calls itself for every tensor but `W_pack`.
const ENDLESS: &str = "`RecursionError: maximum recursion depth exceeded`";

/// Architectures that the reference converts and this program does not, each with the module of its converter.
pub fn fallback() -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = reference::ARCHITECTURES.iter().copied();
    others.filter(|(name, _)| family(name).is_none() && BROKEN.iter().all(|(broken, _)| broken != name))
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
    /// Positions in a text.
    pub positions: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Key heads.
    pub key_heads: Option<u64>,
    /// Width of a head.
    pub head: Option<u64>,
    /// Experts in a layer.
    pub experts: Option<u64>,
    /// Width of an expert's feed-forward layer.
    pub expert_feed_forward: Option<u64>,
    /// Width of the shared experts' feed-forward layer.
    pub shared_feed_forward: Option<u64>,
    /// Width of what keys and values are made of, where that is less than they are.
    pub latent: Option<u64>,
    /// Values of a key that do not turn, where those that turn are apart.
    pub nope: Option<u64>,
    /// Width of a value, where it is another than a key's.
    pub value_head: Option<u64>,
    /// The heads of a linear attention.
    pub linear: Option<LinearHeads>,
}

impl Dimensions {
    /// The dimensions that a configuration states.
    pub fn of(h: &Hparams) -> Self {
        let number = |keys: &[&str]| h.find(keys).and_then(|(_, v)| v.as_u64());
        let stated = |key: &str| h.get(key).and_then(serde_json::Value::as_u64);
        let embedding = number(&["hidden_size", "n_embd", "n_embed", "dim", "d_model"]);
        let heads = number(QUERY_HEADS).or_else(|| number(&["n_head", "num_heads"]));
        let head = h.get("head_dim").or_else(|| h.get("d_kv")).map_or_else(
            || embedding.zip(heads).and_then(|(width, heads)| width.checked_div(heads)),
            serde_json::Value::as_u64,
        );
        Dimensions {
            vocabulary: number(&["vocab_size"]),
            embedding,
            feed_forward: number(&["intermediate_size", "n_inner", "hidden_dim", "d_ff"]),
            positions: number(&["max_position_embeddings"]),
            heads,
            key_heads: if KEY_HEADS.iter().any(|k| h.has(k)) { number(KEY_HEADS).or(heads) } else { None },
            head,
            experts: number(&["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"]),
            expert_feed_forward: stated("moe_intermediate_size").or_else(|| stated("intermediate_size")),
            shared_feed_forward: number(&["shared_expert_intermediate_size", "shared_intermediate_size"]),
            latent: stated("kv_lora_rank"),
            nope: stated("qk_nope_head_dim"),
            value_head: stated("v_head_dim"),
            linear: LinearHeads::of(h),
        }
    }
}

/// The heads of a linear attention: none of these numbers is zero, and every key has as many values as any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearHeads {
    /// How many keys.
    pub keys: u64,
    /// How many values.
    pub values: u64,
    /// Width of a key, and of a query.
    pub key: u64,
    /// Width of a value.
    pub value: u64,
}

impl LinearHeads {
    fn of(h: &Hparams) -> Option<Self> {
        let stated = |key: &str| h.count(&[key]).ok().flatten().map(u64::from).filter(|n| *n > 0);
        let heads = LinearHeads {
            keys: stated("linear_num_key_heads")?,
            values: stated("linear_num_value_heads")?,
            key: stated("linear_key_head_dim")?,
            value: stated("linear_value_head_dim")?,
        };
        heads.values.is_multiple_of(heads.keys).then_some(heads)
    }

    /// Values that share a key.
    pub fn values_of_a_key(&self) -> u64 {
        self.values / self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for family in FAMILIES {
            for architecture in family.architectures {
                assert!(seen.insert(architecture), "{architecture}");
            }
            for architecture in family.unprefixed {
                assert!(family.architectures.contains(architecture), "{architecture}");
            }
        }
    }

    #[test]
    fn the_reference_knows_every_architecture() {
        for architecture in FAMILIES.iter().flat_map(|f| f.architectures) {
            assert!(reference::ARCHITECTURES.iter().any(|(name, _)| name == architecture), "{architecture}");
        }
    }

    #[test]
    fn what_nobody_converts_is_no_fallback() {
        for (architecture, _) in BROKEN {
            assert!(reference::ARCHITECTURES.iter().any(|(name, _)| name == architecture), "{architecture}");
            assert!(family(architecture).is_none() && fallback().all(|(name, _)| name != *architecture));
        }
    }

    #[test]
    fn no_family_gives_a_name_to_two_tensors() {
        for family in FAMILIES {
            let mut seen = std::collections::HashSet::new();
            for tensor in family.all_tensors() {
                for alias in family.names(tensor) {
                    assert!(seen.insert(alias), "{alias} in {}", family.name);
                }
            }
        }
    }
}
