//! GLM 4: norms after attention and feed-forward as well, heads that turn in part; and GLM 4.5, which has experts.

use super::deepseek::EXPERTS;
use super::key::count_if;
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS, NEXTN, PLAIN_FFN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{Extent, Family, HparamError, Key, Model, MoreLayers, Store, Tensor, Vocabulary, When};
use crate::gguf::Value;

/// `Glm4Model` in the reference's `conversion/glm.py`, but for the text model of GLM-4V, whose heads are reordered.
pub(super) static GLM4: Family = Family {
    name: "glm4",
    architectures: &["Glm4ForCausalLM"],
    tensors: &[ENDS, ATTENTION, PLAIN_FFN, &[Tensor::SelfAttnPostNorm, Tensor::FfnPostNorm]],
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

/// Names of the number of layers that predict more tokens than the next.
const PREDICTING: &[&str] = &["num_nextn_predict_layers"];

/// `Glm4MoeModel` in the reference's `conversion/glm.py`.
pub(super) static GLM4_MOE: Family = Family {
    name: "glm4moe",
    architectures: &["Glm4MoeForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        ROUTED_EXPERTS,
        SHARED_EXPERTS,
        NEXTN,
        &[Tensor::AttnPostNorm, Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp, Tensor::FfnExpProbsB],
    ],
    shapes: &[
        (Tensor::FfnGateShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnUpShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDownShexp, &[Extent::Embedding, Extent::Any]),
    ],
    stacks: EXPERTS,
    more_layers: MoreLayers::Kept(PREDICTING),
    keys: &[
        Key::Common,
        Key::Is("rope.dimension_count", turning),
        count_if("expert_count", &["n_routed_experts"]),
        count_if("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_if("expert_shared_count", &["n_shared_experts"]),
        count_if("leading_dense_block_count", &["first_k_dense_replace"]),
        // Sigmoid.
        Key::Is("expert_gating_func", |_| Ok(Some(2u32.into()))),
        Key::Of("expert_weights_scale", Store::Single, When::Given, &["routed_scaling_factor"]),
        Key::Of("expert_weights_norm", Store::Flag, When::Given, &["norm_topk_prob"]),
        count_if("nextn_predict_layers", PREDICTING),
    ],
    vocabulary: Vocabulary::Glm,
    ..Family::PLAIN
};

/// Values of a head that turn.
fn turning(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    let turning = f64::from(m.head_width()?) * m.rope.turning_part(0.5)?;
    Ok(Some((turning as u32).into()))
}
