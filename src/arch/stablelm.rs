//! StableLM 2: norms with biases, heads that turn in part.

use super::hparams::double;
use super::key::{count_of, single_of};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN};
use super::{Family, HparamError, Key, Vocabulary};

/// `StableLMModel` in the reference's `conversion/stablelm.py`. Its norms of single heads (12B) end that with an error.
pub(super) static STABLELM: Family = Family {
    name: "stablelm",
    architectures: &["StableLmForCausalLM", "StableLMEpochForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    keys: &[
        count_of("context_length", &["max_position_embeddings"]),
        count_of("embedding_length", &["hidden_size"]),
        count_of("block_count", super::LAYERS),
        count_of("feed_forward_length", &["intermediate_size"]),
        Key::Is("rope.dimension_count", |m| {
            const PART: &str = "partial_rotary_factor";
            let part = m.rope.whole(PART).ok_or_else(|| HparamError::missing(&[PART]))?;
            let turning = double(PART, part)? * f64::from(m.divided_width()?);
            Ok(Some((turning as u32).into()))
        }),
        count_of("attention.head_count", &["num_attention_heads"]),
        count_of("attention.head_count_kv", &["num_key_value_heads"]),
        Key::Is("use_parallel_residual", |m| match m.hparams.get("use_parallel_residual") {
            None => Ok(Some(true.into())),
            Some(value) => {
                let flag = value.as_bool();
                let wrong = || HparamError::wrong("use_parallel_residual", value, "true or false");
                Ok(Some(flag.ok_or_else(wrong)?.into()))
            }
        }),
        single_of("attention.layer_norm_epsilon", &["layer_norm_eps", "norm_eps"]),
        Key::FileType,
    ],
    vocabulary: Vocabulary::StableLm,
    ..Family::PLAIN
};
