//! Qwen 2 and 2.5: Llama's layers with biases on query, key and value.

use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN};
use super::{Family, Key, Vocabulary};

/// `Qwen2Model` in the reference's `conversion/qwen.py`.
pub(super) static QWEN2: Family = Family {
    name: "qwen2",
    architectures: &["Qwen2ForCausalLM", "Qwen2Model", "KORMoForCausalLM"],
    unprefixed: &["Qwen2Model"],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    keys: &[Key::Common, Key::Pooling],
    vocabulary: Vocabulary::Qwen2,
    ..Family::PLAIN
};
