//! MPT: query, key and value in one matrix, and positions by the slope of attention.

use serde_json::Value as Json;

use super::hparams::{count, single};
use super::key::{BLOCK_COUNT, count_of};
use super::tensor_sets::{ENDS, FUSED_ATTENTION, HEAD_NORMS, PLAIN_FFN};
use super::{Extent, Family, Key, Model, Tensor};

/// `MPTModel` in the reference's `conversion/mpt.py`. (It writes no `general.file_type`.)
pub(super) static MPT: Family = Family {
    name: "mpt",
    architectures: &["MPTForCausalLM"],
    tensors: &[ENDS, HEAD_NORMS, FUSED_ATTENTION, PLAIN_FFN, &[Tensor::PosEmbd]],
    names: &[
        (Tensor::PosEmbd, &["transformer.wpe"]),
        (Tensor::TokenEmbd, &["transformer.wte"]),
        (Tensor::OutputNorm, &["transformer.norm_f"]),
        (Tensor::AttnNorm, &["transformer.blocks.{}.norm_1"]),
        (Tensor::AttnQkv, &["transformer.blocks.{}.attn.Wqkv"]),
        (Tensor::AttnQNorm, &["transformer.blocks.{}.attn.q_ln"]),
        (Tensor::AttnKNorm, &["transformer.blocks.{}.attn.k_ln"]),
        (Tensor::AttnOut, &["transformer.blocks.{}.attn.out_proj"]),
        (Tensor::FfnNorm, &["transformer.blocks.{}.norm_2"]),
        (Tensor::FfnDown, &["transformer.blocks.{}.ffn.down_proj"]),
        (Tensor::FfnUp, &["transformer.blocks.{}.ffn.up_proj"]),
    ],
    shapes: &[
        (Tensor::PosEmbd, &[Extent::Any, Extent::Embedding]),
        (Tensor::AttnQNorm, &[Extent::Any]),
        (Tensor::AttnKNorm, &[Extent::Any]),
    ],
    keys: &[
        count_of("context_length", &["max_seq_len"]),
        count_of("embedding_length", &["d_model"]),
        BLOCK_COUNT,
        Key::Is("feed_forward_length", |m| {
            Ok(Some(m.hparams.required_count(&["d_model"])?.saturating_mul(4).into()))
        }),
        count_of("attention.head_count", &["n_heads"]),
        Key::Is("attention.head_count_kv", |m| {
            let heads = attention(m, "kv_n_heads").map(|v| count("kv_n_heads", v)).transpose()?;
            Ok(heads.filter(|n| *n != 0).map(Into::into))
        }),
        Key::Is("attention.layer_norm_epsilon", |_| Ok(Some(1e-5f32.into()))),
        Key::Is("attention.clamp_kqv", |m| {
            attention(m, "clip_qkv").map(|v| Ok(single("clip_qkv", v)?.into())).transpose()
        }),
        Key::Is("attention.max_alibi_bias", |m| {
            let sloping = attention(m, "alibi") == Some(&Json::Bool(true));
            let most = attention(m, "alibi_bias_max").filter(|_| sloping);
            Ok(Some(most.map_or(Ok(0.0), |v| single("alibi_bias_max", v))?.into()))
        }),
    ],
    ..Family::PLAIN
};

/// A member of `attn_config`.
fn attention<'a>(m: &Model<'a>, key: &str) -> Option<&'a Json> {
    m.hparams.get("attn_config")?.get(key).filter(|v| !v.is_null())
}
