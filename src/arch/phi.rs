//! Phi 1.5 and 2; Phi 3, 3.5 and 4: query, key and value in one matrix, gate and up in another; and Phi 3.5's model with
//! experts.

use super::hparams::{count, single};
use super::key::{PARTIAL_ROPE_DIMENSIONS, count_of, partial_width, single_of};
use super::tensor_sets::{ATTENTION, ENDS, ROUTED_EXPERTS};
use super::{Computed, Extent, Family, HparamError, Key, Stack, Tensor, Vocabulary};

/// `Phi2Model` in the reference's `conversion/phi.py`: one norm a layer, biases everywhere, heads that turn in part.
pub(super) static PHI2: Family = Family {
    name: "phi2",
    architectures: &["PhiForCausalLM"],
    tensors: &[ENDS, ATTENTION, &[Tensor::FfnDown, Tensor::FfnUp]],
    names: &[
        (Tensor::OutputNorm, &["model.final_layernorm"]),
        (Tensor::AttnOut, &["model.layers.{}.self_attn.dense"]),
        (Tensor::FfnDown, &["model.layers.{}.mlp.fc2"]),
        (Tensor::FfnUp, &["model.layers.{}.mlp.fc1"]),
    ],
    keys: &[
        CONTEXT,
        EMBEDDING,
        Key::Is("feed_forward_length", |m| {
            let width = m.hparams.required_count(&["hidden_size", "n_embd"])?;
            Ok(Some(width.saturating_mul(4).into()))
        }),
        LAYERS,
        HEADS,
        count_of("attention.head_count_kv", &["num_attention_heads", "n_head"]),
        single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon", "layer_norm_eps"]),
        PARTIAL_ROPE_DIMENSIONS,
        Key::FileType,
        Key::Whole("tokenizer.ggml.add_bos_token", |_| Ok(Some(false.into()))),
    ],
    ..Family::PLAIN
};

/// `Phi3MiniModel` in the reference's `conversion/phi.py`.
pub(super) static PHI3: Family = Family {
    name: "phi3",
    architectures: &["Phi3ForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        &[
            Tensor::RopeFactorsLong,
            Tensor::RopeFactorsShort,
            Tensor::AttnQkv,
            Tensor::FfnNorm,
            Tensor::FfnDown,
            Tensor::FfnUp,
        ],
    ],
    shapes: &[(Tensor::FfnUp, &[Extent::TwoFeedForward, Extent::Embedding])],
    keys: &[
        CONTEXT,
        ORIGINAL_CONTEXT,
        EMBEDDING,
        FEED_FORWARD,
        LAYERS,
        HEADS,
        KEY_HEADS,
        EPSILON,
        ROPE_DIMENSIONS,
        ROPE_BASE,
        Key::FileType,
        WINDOW,
    ],
    ..PHI3_LIKE
};

/// `PhiMoeModel` in the reference's `conversion/phi.py`.
pub(super) static PHI_MOE: Family = Family {
    name: "phimoe",
    architectures: &["PhiMoEForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        ROUTED_EXPERTS,
        &[Tensor::RopeFactorsLong, Tensor::RopeFactorsShort, Tensor::FfnNorm],
    ],
    stacks: &[Stack {
        before: "model.layers.{}.block_sparse_moe.experts.",
        count: EXPERTS,
        members: &[("w1", Tensor::FfnGateExps), ("w2", Tensor::FfnDownExps), ("w3", Tensor::FfnUpExps)],
    }],
    keys: &[
        CONTEXT,
        ORIGINAL_CONTEXT,
        EMBEDDING,
        FEED_FORWARD,
        LAYERS,
        HEADS,
        KEY_HEADS,
        EPSILON,
        ROPE_DIMENSIONS,
        ROPE_BASE,
        Key::FileType,
        WINDOW,
        count_of("expert_used_count", &["num_experts_per_tok", "num_experts_per_token"]),
        count_of("expert_count", EXPERTS),
    ],
    ..PHI3_LIKE
};

const PHI3_LIKE: Family =
    Family { computed: &[Computed::LongRope], vocabulary: Vocabulary::Phi3, ..Family::PLAIN };

const EXPERTS: &[&str] = &["num_local_experts", "num_experts"];

const CONTEXT: Key = count_of("context_length", &["n_positions", "max_position_embeddings"]);
const ORIGINAL_CONTEXT: Key = Key::Is("rope.scaling.original_context_length", |m| {
    const NAME: &str = "original_max_position_embeddings";
    let value = m.rope.whole(NAME).ok_or_else(|| HparamError::missing(&[NAME]))?;
    Ok(Some(count(NAME, value)?.into()))
});
const EMBEDDING: Key = count_of("embedding_length", &["hidden_size", "n_embd"]);
const FEED_FORWARD: Key = count_of("feed_forward_length", &["intermediate_size"]);
const LAYERS: Key = count_of("block_count", super::LAYERS);
const HEADS: Key = count_of("attention.head_count", &["num_attention_heads", "n_head"]);
const KEY_HEADS: Key = count_of("attention.head_count_kv", &["num_key_value_heads", "n_head_kv"]);
const EPSILON: Key = single_of("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]);
const ROPE_DIMENSIONS: Key =
    Key::Is("rope.dimension_count", |m| Ok(Some(partial_width(m, m.rope.turning_part(1.0)?)?.into())));
const ROPE_BASE: Key = Key::Is("rope.freq_base", |m| {
    let theta = m.rope.get("rope_theta").ok_or_else(|| HparamError::missing(&["rope_theta"]))?;
    Ok(Some(single("rope_theta", theta)?.into()))
});
/// Zero tells Phi 4 from those before.
const WINDOW: Key = Key::Is("attention.sliding_window", |m| {
    Ok(Some(m.hparams.count(&["sliding_window"])?.unwrap_or(0).into()))
});
