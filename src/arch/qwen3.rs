//! Qwen 3, dense: norms on query and key instead of biases.

use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS};
use super::{Family, Key, Vocabulary};

/// `Qwen3Model` in the reference's `conversion/qwen.py`.
pub(super) static QWEN3: Family = Family {
    name: "qwen3",
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, GATED_FFN],
    keys: &[Key::Common, Key::Pooling, Key::Ranking],
    vocabulary: Vocabulary::Qwen2,
    rerankers: true,
    ..Family::PLAIN
};
