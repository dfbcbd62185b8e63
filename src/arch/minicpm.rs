//! MiniCPM 1 and 2: Llama's layers with factors on embeddings, residuals and logits. MiniCPM 3: attention of low rank.

use super::hparams::double;
use super::key::{BLOCK_COUNT, VOCABULARY_SIZE, count_if, count_of, single_of};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN};
use super::{Computed, Extent, Family, Heads, HparamError, Key, Model, Tensor, Vocabulary};

/// `MiniCPMModel` in the reference's `conversion/minicpm.py`.
pub(super) static MINICPM: Family = Family {
    name: "minicpm",
    architectures: &["MiniCPMForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN, &[Tensor::RopeFactorsLong, Tensor::RopeFactorsShort]],
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    computed: &[Computed::RopeFactors],
    keys: &[
        Key::Common,
        Key::Is("embedding_scale", |m| Ok(Some((number(m, "scale_emb")? as f32).into()))),
        Key::Is("residual_scale", |m| {
            Ok(Some(((number(m, "scale_depth")? / number(m, "num_hidden_layers")?.sqrt()) as f32).into()))
        }),
        Key::Is("logit_scale", |m| {
            Ok(Some(((number(m, "hidden_size")? / number(m, "dim_model_base")?) as f32).into()))
        }),
    ],
    vocabulary: Vocabulary::SentencePiece,
    ..Family::PLAIN
};

/// `MiniCPM3Model` in the reference's `conversion/minicpm.py`.
pub(super) static MINICPM3: Family = Family {
    name: "minicpm3",
    architectures: &["MiniCPM3ForCausalLM"],
    tensors: &[
        ENDS,
        GATED_FFN,
        &[
            Tensor::RopeFactorsLong,
            Tensor::RopeFactorsShort,
            Tensor::AttnNorm,
            Tensor::AttnQA,
            Tensor::AttnQB,
            Tensor::AttnKvAMqa,
            Tensor::AttnKvB,
            Tensor::AttnQANorm,
            Tensor::AttnKvANorm,
            Tensor::AttnOut,
        ],
    ],
    shapes: &[(Tensor::AttnOut, &[Extent::Embedding, Extent::Any])],
    computed: &[Computed::RopeFactorsFor("qk_rope_head_dim")],
    keys: &[
        Key::FileType,
        count_of("context_length", &["max_position_embeddings"]),
        count_of("embedding_length", &["hidden_size"]),
        BLOCK_COUNT,
        count_of("feed_forward_length", &["intermediate_size"]),
        count_of("attention.head_count", &["num_attention_heads"]),
        count_of("attention.head_count_kv", &["num_key_value_heads"]),
        single_of("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]),
        VOCABULARY_SIZE,
        count_if("attention.q_lora_rank", &["q_lora_rank"]),
        count_of("attention.kv_lora_rank", &["kv_lora_rank"]),
        Key::Is("attention.key_length", |m| {
            let width = |key| m.hparams.required_count(&[key]);
            Ok(Some(width("qk_nope_head_dim")?.saturating_add(width("qk_rope_head_dim")?).into()))
        }),
        count_of("rope.dimension_count", &["qk_rope_head_dim"]),
    ],
    vocabulary: Vocabulary::SentencePiece,
    ..Family::PLAIN
};

fn number(m: &Model<'_>, key: &str) -> Result<f64, HparamError> {
    double(key, m.hparams.get(key).ok_or_else(|| HparamError::missing(&[key]))?)
}
