//! Llama and those who publish in its format: Mistral, SmolLM, Yi, and many more.

use super::{Family, FamilyKey, Heads, Tensor, Vocabulary};

/// `LlamaModel` in the reference's `conversion/llama.py`.
pub(super) static LLAMA: Family = Family {
    name: "llama",
    architectures: &[
        "LlamaForCausalLM",
        "LLaMAForCausalLM",
        "LlamaModel",
        "MistralForCausalLM",
        "IQuestCoderForCausalLM",
    ],
    unprefixed: &["LlamaModel"],
    dropped_parts: &["text_model.", "language_model."],
    tensors: &[
        Tensor::TokenEmbd,
        Tensor::OutputNorm,
        Tensor::Output,
        Tensor::RopeFreqs,
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
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    rope_factors: true,
    keys: &[FamilyKey::VocabularySize, FamilyKey::RopeDimensions],
    vocabulary: Vocabulary::Llama,
    rerankers: false,
};
