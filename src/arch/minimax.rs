//! MiniMax M2: experts named as Mixtral's, chosen with a bias; norms on all queries and all keys.

use super::key::count_of;
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS, ROUTED_EXPERTS};
use super::{Extent, Family, Key, Stack, Tensor};

/// `MiniMaxM2Model` in the reference's `conversion/minimax.py`.
pub(super) static MINIMAX_M2: Family = Family {
    name: "minimax-m2",
    architectures: &["MiniMaxM2ForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, ROUTED_EXPERTS, &[Tensor::FfnNorm, Tensor::FfnExpProbsB]],
    shapes: &[(Tensor::AttnQNorm, &[Extent::Query]), (Tensor::AttnKNorm, &[Extent::Key])],
    stacks: &[Stack {
        before: "model.layers.{}.block_sparse_moe.experts.",
        count: &["num_local_experts", "num_experts"],
        members: &[("w1", Tensor::FfnGateExps), ("w2", Tensor::FfnDownExps), ("w3", Tensor::FfnUpExps)],
    }],
    keys: &[
        Key::Common,
        count_of("expert_feed_forward_length", &["intermediate_size"]),
        count_of("rope.dimension_count", &["rotary_dim"]),
    ],
    ..Family::PLAIN
};
