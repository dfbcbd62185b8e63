//! Qwen 2 and 3 with experts, and OLMoE, which names its experts alike.

use super::key::count_if;
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{Extent, Family, Key, Split, Stack, Tensor};

/// Experts one by one, which newer checkpoints have in stacks.
pub(super) const EXPERTS: Stack = Stack {
    before: "model.layers.{}.mlp.experts.",
    count: &["num_local_experts", "num_experts"],
    members: &[
        ("down_proj", Tensor::FfnDownExps),
        ("gate_proj", Tensor::FfnGateExps),
        ("up_proj", Tensor::FfnUpExps),
    ],
};

/// `Qwen2MoeModel`, as far as its descendants share it.
pub(super) const QWEN_MOE: Family = Family {
    unsuffixed: &["mlp.experts.down_proj"],
    splits: &[Split {
        name: "model.layers.{}.mlp.experts.gate_up_proj",
        into: &[Tensor::FfnGateExps, Tensor::FfnUpExps],
    }],
    stacks: &[EXPERTS],
    keys: &[
        Key::Common,
        count_if("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_if("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
    ],
    ..Family::PLAIN
};

/// `Qwen2MoeModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN2_MOE: Family = Family {
    name: "qwen2moe",
    architectures: &["Qwen2MoeForCausalLM"],
    tensors: &[ENDS, ATTENTION, ROUTED_EXPERTS, SHARED_EXPERTS, &[Tensor::FfnNorm, Tensor::FfnGateInpShexp]],
    ..QWEN_MOE
};

/// `Qwen3MoeModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN3_MOE: Family = Family {
    name: "qwen3moe",
    architectures: &["Qwen3MoeForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, ROUTED_EXPERTS, &[Tensor::FfnNorm]],
    ..QWEN_MOE
};

/// `OlmoeModel` in the reference's `conversion/olmo.py`.
pub(super) static OLMOE: Family = Family {
    name: "olmoe",
    architectures: &["OlmoeForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, ROUTED_EXPERTS, &[Tensor::FfnNorm]],
    shapes: &[(Tensor::AttnQNorm, &[Extent::Query]), (Tensor::AttnKNorm, &[Extent::Key])],
    stacks: &[EXPERTS],
    keys: &[Key::Common, Key::Is("attention.layer_norm_rms_epsilon", |_| Ok(Some(1e-5f32.into())))],
    ..Family::PLAIN
};
