//! Gemma 1, 2 and 3: norms stored less one; from the second on, norms after attention and feed-forward as well.

use super::key::{count_of, single_of, single_unless_zero};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS};
use super::{Extent, Family, HparamError, Key, Model, Skip, Tensor, Vocabulary};
use crate::gguf::Value;

/// What `GemmaModel` and `Gemma2Model` have in common.
const GEMMA_LIKE: Family = Family {
    // It is the embeddings; llama.cpp takes those.
    skipped: &[Skip::Name("lm_head.weight")],
    shifted_norms: true,
    ..Family::PLAIN
};

/// `GemmaModel` in the reference's `conversion/gemma.py`.
pub(super) static GEMMA: Family = Family {
    name: "gemma",
    architectures: &["GemmaForCausalLM"],
    tensors: &[ATTENTION, GATED_FFN, &[Tensor::TokenEmbd, Tensor::OutputNorm]],
    keys: &[CONTEXT, EMBEDDING, LAYERS, FEED_FORWARD, HEADS, KEY_HEADS, EPSILON, KEY, VALUE, Key::FileType],
    vocabulary: Vocabulary::Gemma,
    ..GEMMA_LIKE
};

/// `Gemma2Model` in the reference's `conversion/gemma.py`.
pub(super) static GEMMA2: Family = Family {
    name: "gemma2",
    architectures: &["Gemma2ForCausalLM"],
    tensors: &[
        ATTENTION,
        &[
            Tensor::TokenEmbd,
            Tensor::OutputNorm,
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
            Tensor::AttnPostNorm,
            Tensor::FfnPreNorm,
            Tensor::FfnPostNorm,
        ],
    ],
    keys: &[
        CONTEXT,
        EMBEDDING,
        LAYERS,
        FEED_FORWARD,
        HEADS,
        KEY_HEADS,
        EPSILON,
        KEY,
        VALUE,
        Key::FileType,
        single_of("attn_logit_softcapping", &["attn_logit_softcapping"]),
        single_of("final_logit_softcapping", &["final_logit_softcapping"]),
        count_of("attention.sliding_window", &["sliding_window"]),
    ],
    vocabulary: Vocabulary::Gemma2,
    ..GEMMA_LIKE
};

/// `Gemma3Model` in the reference's `conversion/gemma.py`.
pub(super) static GEMMA3: Family = Family {
    name: "gemma3",
    architectures: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        &[
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
            Tensor::AttnPostNorm,
            Tensor::FfnPreNorm,
            Tensor::FfnPostNorm,
        ],
    ],
    shapes: &[(Tensor::TokenEmbd, &[Extent::Any, Extent::Embedding])],
    shifted_norms: true,
    cut_embeddings: true,
    keys: GEMMA3_KEYS,
    vocabulary: Vocabulary::Gemma3,
    ..Family::PLAIN
};

/// `Gemma3Model.set_gguf_parameters`.
pub(super) const GEMMA3_KEYS: &[Key] = &[
    Key::Common,
    Key::Is("context_length", |m| count_or(m, "max_position_embeddings", 131_072)),
    Key::Is("attention.head_count", |m| count_or(m, "num_attention_heads", 8)),
    Key::Is("attention.layer_norm_rms_epsilon", |m| match m.hparams.get("rms_norm_eps") {
        Some(value) => Ok(Some(super::hparams::single("rms_norm_eps", value)?.into())),
        None => Ok(Some(1e-6f32.into())),
    }),
    Key::Is("attention.key_length", |m| count_or(m, "head_dim", 256)),
    Key::Is("attention.value_length", |m| count_or(m, "head_dim", 256)),
    Key::Is("rope.freq_base", |m| match m.rope.get("rope_theta") {
        Some(value) => Ok(Some(super::hparams::single("rope_theta", value)?.into())),
        None => Ok(Some(1_000_000f32.into())),
    }),
    single_unless_zero("final_logit_softcapping", &["final_logit_softcapping"]),
    Key::Is("attention.sliding_window", |m| {
        // The key is gone in Gemma 3; the reference ends where it is there.
        const GONE: &str = "attn_logit_softcapping";
        if let Some(value) = m.hparams.get(GONE) {
            return Err(HparamError::unsupported(GONE, value));
        }
        match m.hparams.get("sliding_window_pattern").and_then(serde_json::Value::as_u64) {
            Some(1) => Ok(None),
            _ => Ok(Some(m.hparams.required_count(&["sliding_window"])?.into())),
        }
    }),
    Key::Is("attention.head_count_kv", |m| count_or(m, "num_key_value_heads", 4)),
];

/// `EmbeddingGemma` in the reference's `conversion/gemma.py`; without the dense layers behind it, as the reference has it
/// unless it is told otherwise.
pub(super) static GEMMA_EMBEDDING: Family = Family {
    name: "gemma-embedding",
    architectures: &["Gemma3TextModel"],
    tensors: GEMMA3.tensors,
    shapes: GEMMA3.shapes,
    shifted_norms: true,
    cut_embeddings: true,
    keys: &[
        Key::All(GEMMA3_KEYS),
        // The class halves it where attention looks both ways; the file's own counts.
        Key::Is("attention.sliding_window", |m| Ok(Some(m.file.required_count(&["sliding_window"])?.into()))),
        Key::Pooling,
    ],
    vocabulary: Vocabulary::Gemma3,
    ..Family::PLAIN
};

fn count_or(m: &Model<'_>, key: &str, default: u32) -> Result<Option<Value>, HparamError> {
    Ok(Some(m.hparams.count(&[key])?.unwrap_or(default).into()))
}

const CONTEXT: Key = count_of("context_length", &["max_position_embeddings"]);
const EMBEDDING: Key = count_of("embedding_length", &["hidden_size"]);
const LAYERS: Key = count_of("block_count", super::LAYERS);
const FEED_FORWARD: Key = count_of("feed_forward_length", &["intermediate_size"]);
const HEADS: Key = count_of("attention.head_count", &["num_attention_heads"]);
const KEY_HEADS: Key = count_of("attention.head_count_kv", &["num_key_value_heads", "num_attention_heads"]);
const EPSILON: Key = single_of("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]);
const KEY: Key = count_of("attention.key_length", &["head_dim"]);
const VALUE: Key = count_of("attention.value_length", &["head_dim"]);
