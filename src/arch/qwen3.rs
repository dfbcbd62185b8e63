//! Qwen 3, dense: norms on query and key instead of biases.

use super::{Family, FamilyKey, Tensor, Vocabulary};

/// `Qwen3Model` in the reference's `conversion/qwen.py`.
pub(super) static QWEN3: Family = Family {
    name: "qwen3",
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
    unprefixed: &[],
    dropped_parts: &["language_model."],
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
    rope_rows: &[],
    rope_factors: false,
    keys: &[FamilyKey::Pooling],
    vocabulary: Vocabulary::Qwen2,
    rerankers: true,
};
