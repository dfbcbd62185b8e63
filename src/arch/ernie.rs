//! Ernie 4.5: Llama's layers, their matrices fused in checkpoints of Paddle; and its models with experts.

use super::key::{count_if, count_of};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{Extent, Family, HparamError, Key, Model, Skip, Split, Stack, Tensor, Vocabulary};
use crate::gguf::Value;

/// `Ernie4_5Model` in the reference's `conversion/ernie.py`.
pub(super) static ERNIE: Family = Family {
    name: "ernie4_5",
    architectures: &["Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"],
    renamed: &[("ernie.", "model.")],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    splits: &[
        Split {
            name: "model.layers.{}.self_attn.qkv_proj",
            into: &[Tensor::AttnQ, Tensor::AttnK, Tensor::AttnV],
        },
        Split { name: "model.layers.{}.mlp.up_gate_proj", into: &[Tensor::FfnGate, Tensor::FfnUp] },
    ],
    vocabulary: Vocabulary::Ernie,
    ..Family::PLAIN
};

/// `Ernie4_5MoeModel` in the reference's `conversion/ernie.py`.
pub(super) static ERNIE_MOE: Family = Family {
    name: "ernie4_5-moe",
    architectures: &["Ernie4_5_MoeForCausalLM"],
    // What predicts more tokens than the next.
    skipped: &[
        Skip::Prefix("model.mtp_block."),
        Skip::Prefix("model.mtp_emb_norm."),
        Skip::Prefix("model.mtp_hidden_norm."),
        Skip::Prefix("model.mtp_linear_proj."),
    ],
    renamed: &[("ernie.", "model.")],
    tensors: &[ENDS, ATTENTION, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS, &[Tensor::FfnExpProbsB]],
    shapes: &[
        (Tensor::FfnGateShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnUpShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDownShexp, &[Extent::Embedding, Extent::Any]),
        (Tensor::FfnExpProbsB, &[Extent::One, Extent::Experts]),
    ],
    stacks: &[Stack {
        before: "model.layers.{}.mlp.experts.",
        count: &["moe_num_experts"],
        members: &[
            ("gate_proj", Tensor::FfnGateExps),
            ("up_proj", Tensor::FfnUpExps),
            ("down_proj", Tensor::FfnDownExps),
        ],
    }],
    keys: &[
        Key::Common,
        count_of("expert_count", &["moe_num_experts"]),
        count_of("expert_used_count", &["moe_k"]),
        count_of("interleave_moe_layer_step", &["moe_layer_interval"]),
        count_of("leading_dense_block_count", &["moe_layer_start_index"]),
        count_if("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_if("expert_shared_count", &["moe_num_shared_experts"]),
        Key::Is("expert_shared_feed_forward_length", shared_width),
    ],
    vocabulary: Vocabulary::Ernie,
    ..Family::PLAIN
};

/// The feed-forward width divided by the key heads, as the reference has it.
fn shared_width(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    let h = m.hparams;
    if h.count(&["moe_num_shared_experts"])?.unwrap_or(0) == 0 {
        return Ok(None);
    }
    let width = h.count(&["intermediate_size"])?.zip(h.count(&["num_key_value_heads"])?);
    Ok(width.and_then(|(width, heads)| width.checked_div(heads)).map(Value::from))
}
