//! Llama 4's text models: a shared expert beside the routed ones, whose matrices are stacked and transposed; and those of
//! its class that have no experts at all.

use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE, count_of};
use super::llama::LLAMA_LIKE;
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{Cut, Family, HparamError, Hparams, Key, Model, Tensor, Vocabulary};
use crate::gguf::Value;

/// `Llama4Model` in the reference's `conversion/llama.py`.
pub(super) static LLAMA4: Family = Family {
    name: "llama4",
    architectures: &["Llama4ForConditionalGeneration", "Llama4ForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS, &[Tensor::RopeFreqs]],
    cuts: &[
        Cut::on_its_side(
            "model.layers.{}.feed_forward.experts.gate_up_proj",
            &[Tensor::FfnGateExps, Tensor::FfnUpExps],
        ),
        Cut::on_its_side("model.layers.{}.feed_forward.experts.down_proj", &[Tensor::FfnDownExps]),
    ],
    rope_rows: &[],
    variant: own_widths,
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        count_of("interleave_moe_layer_step", &["interleave_moe_layer_step"]),
        count_of("expert_feed_forward_length", &[EXPERT_WIDTH]),
        Key::Is("attention.sliding_window", no_window),
    ],
    vocabulary: Vocabulary::Gpt2,
    ..LLAMA_LIKE
};

/// Set by the following.
const EXPERT_WIDTH: &str = "moe_intermediate_size";

/// What others call the width of a layer is that of an expert here, and of the shared one.
fn own_widths(h: &mut Hparams) -> Result<Option<&'static Family>, HparamError> {
    const WIDTH: &str = "intermediate_size";
    const DENSE_WIDTH: &str = "intermediate_size_mlp";
    let stated = |key: &str| h.get(key).cloned().ok_or_else(|| HparamError::missing(&[key]));
    let (expert, dense) = (stated(WIDTH)?, stated(DENSE_WIDTH)?);
    h.set(EXPERT_WIDTH, expert.clone());
    h.set("shared_expert_intermediate_size", expert);
    h.set(WIDTH, dense);
    Ok(None)
}

/// No window, where every layer attends to all.
fn no_window(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const TYPES: &str = "layer_types";
    let Some(types) = m.hparams.get(TYPES) else { return Ok(None) };
    let types = types.as_array().ok_or_else(|| HparamError::wrong(TYPES, types, "a list"))?;
    Ok(types.iter().all(|t| t == "full_attention").then(|| 0u32.into()))
}
