//! Ernie 4.5, dense: Llama's layers, their matrices fused in checkpoints of Paddle.

use super::{Family, Split, Tensor, Vocabulary};

/// `Ernie4_5Model` in the reference's `conversion/ernie.py`.
pub(super) static ERNIE: Family = Family {
    name: "ernie4_5",
    architectures: &["Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"],
    renamed: &[("ernie.", "model.")],
    tensors: &[
        Tensor::TokenEmbd,
        Tensor::OutputNorm,
        Tensor::Output,
        Tensor::AttnNorm,
        Tensor::AttnQ,
        Tensor::AttnK,
        Tensor::AttnV,
        Tensor::AttnOut,
        Tensor::FfnNorm,
        Tensor::FfnGate,
        Tensor::FfnDown,
        Tensor::FfnUp,
    ],
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
