//! GLM 4: norms after attention and feed-forward as well, heads that turn in part.

use super::{Extent, Family, HparamError, Key, Tensor, Vocabulary};

/// `Glm4Model` in the reference's `conversion/glm.py`, but for the text model of GLM-4V, whose heads are reordered.
pub(super) static GLM4: Family = Family {
    name: "glm4",
    architectures: &["Glm4ForCausalLM"],
    tensors: &[
        Tensor::TokenEmbd,
        Tensor::OutputNorm,
        Tensor::Output,
        Tensor::AttnNorm,
        Tensor::AttnQ,
        Tensor::AttnK,
        Tensor::AttnV,
        Tensor::AttnOut,
        Tensor::FfnNorm,
        Tensor::FfnDown,
        Tensor::FfnUp,
        Tensor::SelfAttnPostNorm,
        Tensor::FfnPostNorm,
    ],
    shapes: &[(Tensor::FfnUp, &[Extent::TwoFeedForward, Extent::Embedding])],
    keys: &[
        Key::Common,
        Key::Is("rope.dimension_count", |m| {
            if let Some(sections) = m.rope.whole("mrope_section") {
                return Err(HparamError::unsupported("mrope_section", sections));
            }
            let turning = f64::from(m.head_width()?) * m.rope.turning_part(0.5)?;
            Ok(Some((turning as u32).into()))
        }),
    ],
    vocabulary: Vocabulary::Glm4,
    ..Family::PLAIN
};
