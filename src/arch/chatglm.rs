//! GLM 4 as transformers has it: gate and up in one matrix, heads that turn in part. (ChatGLM's own checkpoints have
//! tokenizers in Python code.)

use super::hparams::double;
use super::key::BLOCK_COUNT;
use super::tensor_sets::{ATTENTION, ENDS, PLAIN_FFN};
use super::{Extent, Family, HparamError, Hparams, Key, Tensor, Vocabulary};

/// `ChatGLMModel` in the reference's `conversion/chatglm.py`.
pub(super) static CHATGLM: Family = Family {
    name: "chatglm",
    architectures: &["GlmForCausalLM"],
    tensors: &[ENDS, ATTENTION, PLAIN_FFN],
    shapes: &[(Tensor::FfnUp, &[Extent::TwoFeedForward, Extent::Embedding])],
    keys: &[
        // The width of the embeddings, where no length is stated.
        Key::Is("context_length", |m| first(m.hparams, &["seq_length", "hidden_size", "n_embed"])),
        Key::Is("embedding_length", |m| first(m.hparams, &["hidden_size", "n_embed"])),
        Key::Is("feed_forward_length", |m| {
            match m.hparams.count(&["ffn_hidden_size", "intermediate_size"])? {
                Some(width) => Ok(Some(width.into())),
                None => {
                    Ok(Some(m.hparams.required_count(&["hidden_size", "n_embed"])?.saturating_mul(4).into()))
                }
            }
        }),
        BLOCK_COUNT,
        Key::Is("attention.head_count", |m| first(m.hparams, &["n_head", "num_attention_heads"])),
        Key::Is("attention.head_count_kv", |m| {
            let keys = ["multi_query_group_num", "num_key_value_heads", "n_head", "num_attention_heads"];
            first(m.hparams, &keys)
        }),
        Key::Is("attention.layer_norm_rms_epsilon", |m| {
            const EPSILON: &str = "layernorm_epsilon";
            let stated = m.hparams.get(EPSILON).map(|v| double(EPSILON, v)).transpose()?;
            Ok(Some((stated.unwrap_or(1e-5) as f32).into()))
        }),
        Key::FileType,
        Key::Is("rope.dimension_count", |m| {
            let width = match m.hparams.count(&["attention_dim"])? {
                Some(width) => width,
                None => m.divided_width()?,
            };
            let turning = f64::from(width) * m.rope.turning_part(0.5)?;
            Ok(Some((turning as u32).into()))
        }),
        Key::Whole("tokenizer.ggml.add_bos_token", |_| Ok(Some(false.into()))),
        Key::Is("rope.freq_base", |m| {
            let ratio = m.hparams.get("rope_ratio").map(|v| double("rope_ratio", v)).transpose()?;
            Ok(Some(((10000.0 * ratio.unwrap_or(1.0)) as f32).into()))
        }),
    ],
    vocabulary: Vocabulary::ChatGlm,
    ..Family::PLAIN
};

fn first(h: &Hparams, keys: &[&str]) -> Result<Option<crate::gguf::Value>, HparamError> {
    Ok(Some(h.required_count(keys)?.into()))
}
