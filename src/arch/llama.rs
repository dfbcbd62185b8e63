//! Llama and those who publish in its format: Mistral, SmolLM, Yi, and many more; and Mixtral, which has experts.

use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS};
use super::{Computed, Family, Heads, Key, Stack, Tensor, Vocabulary};

/// `LlamaModel` in the reference's `conversion/llama.py`.
pub(super) static LLAMA: Family = Family {
    name: "llama",
    architectures: &[
        "LlamaForCausalLM",
        "LLaMAForCausalLM",
        "LlamaModel",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "IQuestCoderForCausalLM",
        "LlavaForConditionalGeneration",
        "VLlama3ForCausalLM",
    ],
    unprefixed: &["LlamaModel"],
    tensors: &[ENDS, ATTENTION, GATED_FFN, ROUTED_EXPERTS, &[Tensor::RopeFreqs]],
    stacks: &[Stack {
        before: "model.layers.{}.block_sparse_moe.experts.",
        count: &["num_local_experts"],
        members: &[("w1", Tensor::FfnGateExps), ("w2", Tensor::FfnDownExps), ("w3", Tensor::FfnUpExps)],
    }],
    ..LLAMA_LIKE
};

/// `LlamaEmbedNemotronModel` in the reference's `conversion/llama.py`.
pub(super) static LLAMA_EMBED: Family =
    Family { name: "llama-embed", architectures: &["LlamaBidirectionalModel"], ..LLAMA_LIKE };

/// What classes derived from `LlamaModel` have of it.
pub(super) const LLAMA_LIKE: Family = Family {
    tensors: &[ENDS, ATTENTION, GATED_FFN, &[Tensor::RopeFreqs]],
    renamed: &[("text_model.", "")],
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    computed: &[Computed::Llama3 { factor: 8.0 }],
    keys: LLAMA_KEYS,
    vocabulary: Vocabulary::Llama,
    ..Family::PLAIN
};

/// `LlamaModel.set_gguf_parameters`.
pub(super) const LLAMA_KEYS: &[Key] = &[Key::Common, VOCABULARY_SIZE, ROPE_DIMENSIONS];
