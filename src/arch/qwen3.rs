//! Qwen 3, dense: norms on query and key instead of biases.

use super::{Family, Key, Tensor, Vocabulary};

/// `Qwen3Model` in the reference's `conversion/qwen.py`.
pub(super) static QWEN3: Family = Family {
    name: "qwen3",
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
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
        Tensor::FfnGate,
        Tensor::FfnDown,
        Tensor::FfnUp,
    ],
    keys: &[Key::Common, Key::Pooling, Key::Ranking],
    vocabulary: Vocabulary::Qwen2,
    rerankers: true,
    ..Family::PLAIN
};
