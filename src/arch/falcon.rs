//! Falcon 1 and 2: keys shared by groups of heads, and beside each group its key and value. (Falcon 3 is a Llama.)

use super::key::{BLOCK_COUNT, single_of};
use super::tensor_sets::ENDS;
use super::{By, Cut, Extent, Family, HparamError, Hparams, Key, Tensor};

/// `FalconModel` in the reference's `conversion/falcon.py`.
pub(super) static FALCON: Family = Family {
    name: "falcon",
    architectures: &["FalconForCausalLM", "RWForCausalLM"],
    tensors: &[
        ENDS,
        &[
            Tensor::AttnNorm,
            Tensor::AttnNorm2,
            Tensor::AttnQkv,
            Tensor::AttnOut,
            Tensor::FfnDown,
            Tensor::FfnUp,
        ],
    ],
    names: &[
        (Tensor::TokenEmbd, &["transformer.word_embeddings"]),
        (Tensor::OutputNorm, &["transformer.ln_f"]),
        (Tensor::AttnNorm, &["transformer.h.{}.input_layernorm", "transformer.h.{}.ln_mlp"]),
        (Tensor::AttnNorm2, &["transformer.h.{}.ln_attn"]),
        (Tensor::AttnOut, &["transformer.h.{}.self_attention.dense"]),
        (Tensor::FfnDown, &["transformer.h.{}.mlp.dense_4h_to_h"]),
        (Tensor::FfnUp, &["transformer.h.{}.mlp.dense_h_to_4h"]),
    ],
    shapes: &[(Tensor::AttnQkv, &[Extent::Any, Extent::Embedding])],
    cuts: &[Cut {
        name: "transformer.h.{}.self_attention.query_key_value",
        transposed: false,
        by: By::Groups { heads: |h| Ok((query_heads(h)?, key_heads(h)?)), rope: false },
        into: &[Tensor::AttnQkv],
    }],
    keys: &[
        // Whatever the configuration says.
        Key::Is("context_length", |_| Ok(Some(2048u32.into()))),
        Key::Is("tensor_data_layout", |_| Ok(Some("jploski".into()))),
        Key::Is("embedding_length", |m| Ok(Some(width(m.hparams)?.into()))),
        Key::Is("feed_forward_length", |m| Ok(Some(width(m.hparams)?.saturating_mul(4).into()))),
        BLOCK_COUNT,
        Key::Is("attention.head_count", |m| Ok(Some(query_heads(m.hparams)?.into()))),
        Key::Is("attention.head_count_kv", |m| Ok(Some(key_heads(m.hparams)?.into()))),
        single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon"]),
        Key::FileType,
    ],
    ..Family::PLAIN
};

fn width(h: &Hparams) -> Result<u32, HparamError> {
    h.required_count(&["hidden_size"])
}

fn query_heads(h: &Hparams) -> Result<u32, HparamError> {
    match h.count(&["num_attention_heads"])? {
        Some(heads) => Ok(heads),
        None => h.required_count(&["n_head"]),
    }
}

/// One, where nothing is stated.
fn key_heads(h: &Hparams) -> Result<u32, HparamError> {
    match h.count(&["num_kv_heads"])? {
        Some(heads) => Ok(heads),
        None => Ok(h.count(&["n_head_kv"])?.unwrap_or(1)),
    }
}
