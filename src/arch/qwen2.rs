//! Qwen 2 and 2.5: Llama's layers with biases on query, key and value.

use super::{Family, Key, Tensor, Vocabulary};

/// `Qwen2Model` in the reference's `conversion/qwen.py`.
pub(super) static QWEN2: Family = Family {
    name: "qwen2",
    architectures: &["Qwen2ForCausalLM", "Qwen2Model", "KORMoForCausalLM"],
    unprefixed: &["Qwen2Model"],
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
    keys: &[Key::Common, Key::Pooling],
    vocabulary: Vocabulary::Qwen2,
    ..Family::PLAIN
};
