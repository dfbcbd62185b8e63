//! GPT-NeoX: Pythia, Dolly and their like; query, key and value of a head side by side.

use super::hparams::double;
use super::key::{BLOCK_COUNT, count_of, single_of};
use super::tensor_sets::{ENDS, FUSED_ATTENTION, PLAIN_FFN};
use super::{By, Cut, Extent, Family, HparamError, Key, Tensor};

/// `GPTNeoXModel` in the reference's `conversion/gptneox.py`. (It writes no `general.file_type`.)
pub(super) static GPT_NEOX: Family = Family {
    name: "gptneox",
    architectures: &["GPTNeoXForCausalLM"],
    tensors: &[ENDS, FUSED_ATTENTION, PLAIN_FFN],
    names: &[
        (Tensor::TokenEmbd, &["gpt_neox.embed_in"]),
        (Tensor::OutputNorm, &["gpt_neox.final_layer_norm"]),
        (Tensor::Output, &["embed_out"]),
        (Tensor::AttnNorm, &["gpt_neox.layers.{}.input_layernorm"]),
        (Tensor::AttnOut, &["gpt_neox.layers.{}.attention.dense"]),
        (Tensor::FfnNorm, &["gpt_neox.layers.{}.post_attention_layernorm"]),
        (Tensor::FfnDown, &["gpt_neox.layers.{}.mlp.dense_4h_to_h"]),
        (Tensor::FfnUp, &["gpt_neox.layers.{}.mlp.dense_h_to_4h"]),
    ],
    shapes: &[(Tensor::AttnQkv, &[Extent::Any, Extent::Embedding])],
    cuts: &[Cut {
        name: "gpt_neox.layers.{}.attention.query_key_value",
        transposed: false,
        by: By::Groups {
            heads: |h| {
                let heads = h.required_count(&["n_head", "num_attention_heads"])?;
                Ok((heads, heads))
            },
            rope: false,
        },
        into: &[Tensor::AttnQkv],
    }],
    keys: &[
        count_of("context_length", &["max_position_embeddings"]),
        count_of("embedding_length", &["hidden_size"]),
        BLOCK_COUNT,
        count_of("feed_forward_length", &["intermediate_size"]),
        Key::Is("rope.dimension_count", |m| {
            const PART: &str = "rotary_pct";
            let part = m.hparams.get(PART).ok_or_else(|| HparamError::missing(&[PART]))?;
            let turning = double(PART, part)? * f64::from(m.divided_width()?);
            Ok(Some((turning as u32).into()))
        }),
        count_of("attention.head_count", &["num_attention_heads"]),
        Key::Is("use_parallel_residual", |m| {
            let used = m.hparams.get("use_parallel_residual").is_none_or(|v| v.as_bool() != Some(false));
            Ok(Some(used.into()))
        }),
        single_of("attention.layer_norm_epsilon", &["layer_norm_eps"]),
    ],
    ..Family::PLAIN
};
