//! MiniMax M2: experts named as Mixtral's, chosen with a bias; norms on all queries and all keys.

use super::key::count_of;
use super::{Extent, Family, Key, Stack, Tensor};

/// `MiniMaxM2Model` in the reference's `conversion/minimax.py`.
pub(super) static MINIMAX_M2: Family = Family {
    name: "minimax-m2",
    architectures: &["MiniMaxM2ForCausalLM"],
    tensors: &[
        Tensor::TokenEmbd,
        Tensor::OutputNorm,
        Tensor::Output,
        Tensor::AttnNorm,
        Tensor::AttnQ,
        Tensor::AttnQNorm,
        Tensor::AttnK,
        Tensor::AttnKNorm,
        Tensor::AttnV,
        Tensor::AttnOut,
        Tensor::FfnNorm,
        Tensor::FfnGateInp,
        Tensor::FfnGateExps,
        Tensor::FfnDownExps,
        Tensor::FfnUpExps,
        Tensor::FfnExpProbsB,
    ],
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
