//! The first Qwen: query, key and value in one matrix, under the names of GPT-2's layers.

use super::tensor_sets::ENDS;
use super::{Extent, Family, Tensor, Vocabulary};

/// `QwenModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN: Family = Family {
    name: "qwen",
    architectures: &["QWenLMHeadModel"],
    tensors: &[
        ENDS,
        &[
            Tensor::AttnNorm,
            Tensor::AttnQkv,
            Tensor::AttnOut,
            Tensor::FfnNorm,
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
        ],
    ],
    names: &[
        (Tensor::TokenEmbd, &["transformer.wte"]),
        (Tensor::OutputNorm, &["transformer.ln_f"]),
        (Tensor::AttnNorm, &["transformer.h.{}.ln_1"]),
        (Tensor::AttnQkv, &["transformer.h.{}.attn.c_attn"]),
        (Tensor::AttnOut, &["transformer.h.{}.attn.c_proj"]),
        (Tensor::FfnNorm, &["transformer.h.{}.ln_2"]),
        (Tensor::FfnGate, &["transformer.h.{}.mlp.w2"]),
        (Tensor::FfnUp, &["transformer.h.{}.mlp.w1"]),
        (Tensor::FfnDown, &["transformer.h.{}.mlp.c_proj"]),
    ],
    // The configuration states the width of gate and input together.
    shapes: &[
        (Tensor::FfnGate, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnUp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDown, &[Extent::Embedding, Extent::Any]),
    ],
    vocabulary: Vocabulary::Qwen,
    ..Family::PLAIN
};
