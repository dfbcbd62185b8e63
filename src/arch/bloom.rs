//! Bloom: query, key and value of a head side by side, and positions by the slope of attention.

use super::key::{BLOCK_COUNT, single_of};
use super::tensor_sets::{ENDS, FUSED_ATTENTION, PLAIN_FFN};
use super::{By, Cut, Family, HparamError, Hparams, Key, Tensor};

/// `BloomModel` in the reference's `conversion/bloom.py`.
pub(super) static BLOOM: Family = Family {
    name: "bloom",
    architectures: &["BloomForCausalLM", "BloomModel"],
    renamed: &[("transformer.", "")],
    tensors: &[ENDS, FUSED_ATTENTION, PLAIN_FFN, &[Tensor::TokenEmbdNorm]],
    names: &[
        (Tensor::TokenEmbd, &["word_embeddings"]),
        (Tensor::TokenEmbdNorm, &["word_embeddings_layernorm"]),
        (Tensor::OutputNorm, &["ln_f"]),
        (Tensor::AttnNorm, &["h.{}.input_layernorm"]),
        (Tensor::AttnOut, &["h.{}.self_attention.dense"]),
        (Tensor::FfnNorm, &["h.{}.post_attention_layernorm"]),
        (Tensor::FfnDown, &["h.{}.mlp.dense_4h_to_h"]),
        (Tensor::FfnUp, &["h.{}.mlp.dense_h_to_4h"]),
    ],
    cuts: &[Cut {
        name: "h.{}.self_attention.query_key_value",
        transposed: false,
        by: By::Groups {
            heads: |h| {
                let heads = heads(h)?;
                Ok((heads, heads))
            },
            rope: false,
        },
        into: &[Tensor::AttnQkv],
    }],
    keys: &[
        Key::Is("context_length", |m| {
            let stated = m.hparams.count(&["seq_length"])?;
            Ok(Some(stated.map_or_else(|| width(m.hparams), Ok)?.into()))
        }),
        Key::Is("embedding_length", |m| Ok(Some(width(m.hparams)?.into()))),
        Key::Is("feed_forward_length", |m| Ok(Some(width(m.hparams)?.saturating_mul(4).into()))),
        BLOCK_COUNT,
        Key::Is("attention.head_count", |m| Ok(Some(heads(m.hparams)?.into()))),
        Key::Is("attention.head_count_kv", |m| Ok(Some(heads(m.hparams)?.into()))),
        single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon"]),
        Key::FileType,
    ],
    ..Family::PLAIN
};

fn width(h: &Hparams) -> Result<u32, HparamError> {
    h.required_count(&["hidden_size", "n_embed"])
}

fn heads(h: &Hparams) -> Result<u32, HparamError> {
    h.required_count(&["n_head", "num_attention_heads"])
}
