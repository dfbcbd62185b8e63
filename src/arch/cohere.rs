//! Cohere's Command R and Aya: one norm for attention and feed-forward, which see the same input.

use super::hparams::double;
use super::key::{NO_ROPE_SCALING, VOCABULARY_SIZE, count_of, single_of};
use super::tensor_sets::{ATTENTION, HEAD_NORMS};
use super::{Extent, Family, HparamError, Hparams, Key, Tensor};

/// `CommandR2Model` in the reference's `conversion/command_r.py`.
pub(super) static COMMAND_R: Family = Family {
    name: "command-r",
    architectures: &["CohereForCausalLM"],
    tensors: &[
        ATTENTION,
        HEAD_NORMS,
        &[Tensor::TokenEmbd, Tensor::OutputNorm, Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp],
    ],
    shapes: &[
        (Tensor::AttnQNorm, &[Extent::Heads, Extent::Head]),
        (Tensor::AttnKNorm, &[Extent::KeyHeads, Extent::Head]),
    ],
    adjust: longer_context,
    keys: &[Key::Common, LOGIT_SCALE, NO_ROPE_SCALING],
    ..Family::PLAIN
};

/// `Cohere2Model` in the reference's `conversion/command_r.py`.
pub(super) static COHERE2: Family = Family {
    name: "cohere2",
    architectures: &["Cohere2ForCausalLM"],
    tensors: &[
        ATTENTION,
        &[Tensor::TokenEmbd, Tensor::OutputNorm, Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp],
    ],
    biases: false,
    keys: &[
        Key::Common,
        LOGIT_SCALE,
        count_of("attention.sliding_window", &["sliding_window"]),
        VOCABULARY_SIZE,
        Key::Is("rope.dimension_count", |m| {
            const PART: &str = "rotary_pct";
            let part = m.hparams.get(PART).ok_or_else(|| HparamError::missing(&[PART]))?;
            let turning = double(PART, part)? * f64::from(m.divided_width()?);
            Ok(Some((turning as u32).into()))
        }),
        NO_ROPE_SCALING,
    ],
    ..Family::PLAIN
};

/// The context in the usual place is shorter than what the models were trained on.
fn longer_context(h: &mut Hparams) -> Result<(), HparamError> {
    let context = h.required_count(&["model_max_length", "max_position_embeddings"])?;
    h.set("max_position_embeddings", context.into());
    Ok(())
}

const LOGIT_SCALE: Key = single_of("logit_scale", &["logit_scale"]);
