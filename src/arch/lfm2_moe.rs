//! LFM2 with experts: short convolutions, attention in some layers, and experts in all but the first.

use super::key::{VOCABULARY_SIZE, count_of};
use super::lfm2::key_heads_by_layer;
use super::tensor_sets::{ATTENTION, GATED_FFN, HEAD_NORMS, ROUTED_EXPERTS};
use super::{Family, Key, Stack, Tensor};

/// `LFM2MoeModel` in the reference's `conversion/lfm2.py`.
pub(super) static LFM2_MOE: Family = Family {
    name: "lfm2moe",
    architectures: &["Lfm2MoeForCausalLM"],
    renamed: &[(".expert_bias", ".expert_bias.bias")],
    tensors: &[
        ATTENTION,
        HEAD_NORMS,
        GATED_FFN,
        ROUTED_EXPERTS,
        &[
            Tensor::TokenEmbd,
            Tensor::TokenEmbdNorm,
            Tensor::ShortconvConv,
            Tensor::ShortconvInProj,
            Tensor::ShortconvOutProj,
            Tensor::FfnExpProbsB,
        ],
    ],
    stacks: &[Stack {
        before: "model.layers.{}.feed_forward.experts.",
        count: &["num_local_experts", "num_experts"],
        members: &[("w1", Tensor::FfnGateExps), ("w2", Tensor::FfnDownExps), ("w3", Tensor::FfnUpExps)],
    }],
    adjust: |h| key_heads_by_layer(h, |layer| layer == "full_attention"),
    keys: &[
        Key::Common,
        count_of("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_of("leading_dense_block_count", &["num_dense_layers"]),
        // Sigmoid.
        Key::Is("expert_gating_func", |_| Ok(Some(2u32.into()))),
        VOCABULARY_SIZE,
        count_of("shortconv.l_cache", &["conv_L_cache"]),
    ],
    ..Family::PLAIN
};
