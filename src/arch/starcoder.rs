//! StarCoder 1 and SantaCoder: GPT-2 with one key head.

use super::key::{BLOCK_COUNT, count_of, single_of};
use super::tensor_sets::{ENDS, FUSED_ATTENTION, PLAIN_FFN};
use super::{Extent, Family, Key, Tensor};

/// `StarCoderModel` in the reference's `conversion/starcoder.py`.
pub(super) static STARCODER: Family = Family {
    name: "starcoder",
    architectures: &["GPTBigCodeForCausalLM"],
    tensors: &[ENDS, FUSED_ATTENTION, PLAIN_FFN, &[Tensor::PosEmbd]],
    names: &[
        (Tensor::PosEmbd, &["transformer.wpe"]),
        (Tensor::TokenEmbd, &["transformer.wte"]),
        (Tensor::OutputNorm, &["transformer.ln_f"]),
        (Tensor::AttnNorm, &["transformer.h.{}.ln_1"]),
        (Tensor::AttnQkv, &["transformer.h.{}.attn.c_attn"]),
        (Tensor::AttnOut, &["transformer.h.{}.attn.c_proj"]),
        (Tensor::FfnNorm, &["transformer.h.{}.ln_2"]),
        (Tensor::FfnDown, &["transformer.h.{}.mlp.c_proj"]),
        (Tensor::FfnUp, &["transformer.h.{}.mlp.c_fc"]),
    ],
    shapes: &[(Tensor::PosEmbd, &[Extent::Any, Extent::Embedding])],
    keys: &[
        count_of("context_length", &["n_positions"]),
        count_of("embedding_length", &["n_embd"]),
        Key::Is("feed_forward_length", |m| {
            Ok(Some(m.hparams.required_count(&["n_embd"])?.saturating_mul(4).into()))
        }),
        BLOCK_COUNT,
        count_of("attention.head_count", &["n_head"]),
        Key::Is("attention.head_count_kv", |_| Ok(Some(1u32.into()))),
        single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon"]),
        Key::FileType,
    ],
    ..Family::PLAIN
};
