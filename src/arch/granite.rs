//! Granite: Llama's layers with factors on attention, embeddings, residuals and logits; and its models with experts.

use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE, single_unless_zero};
use super::llama::LLAMA_LIKE;
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{Family, HparamError, Hparams, Key, Skip, Split, Store, Tensor, When};

/// `GraniteModel` in the reference's `conversion/granite.py`.
pub(super) static GRANITE: Family = Family {
    name: "granite",
    architectures: &["GraniteForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        ATTENTION_SCALE,
        EMBEDDING_SCALE,
        RESIDUAL_SCALE,
        LOGIT_SCALE,
    ],
    ..GRANITE_LIKE
};

/// `GraniteMoeModel` in the reference's `conversion/granite.py`.
pub(super) static GRANITE_MOE: Family = Family {
    name: "granitemoe",
    architectures: &["GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"],
    tensors: &[ENDS, ATTENTION, ROUTED_EXPERTS, SHARED_EXPERTS, &[Tensor::FfnNorm]],
    splits: &[
        Split {
            name: "model.layers.{}.block_sparse_moe.input_linear",
            into: &[Tensor::FfnGateExps, Tensor::FfnUpExps],
        },
        Split {
            name: "model.layers.{}.shared_mlp.input_linear",
            into: &[Tensor::FfnGateShexp, Tensor::FfnUpShexp],
        },
    ],
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        ATTENTION_SCALE,
        EMBEDDING_SCALE,
        RESIDUAL_SCALE,
        LOGIT_SCALE,
        SHARED_FEED_FORWARD,
    ],
    ..GRANITE_LIKE
};

pub(super) const GRANITE_LIKE: Family = Family {
    skipped: &[
        Skip::Prefix("encoder."),
        Skip::Part("image_"),
        Skip::Part("layerwise_projectors"),
        Skip::Part("spatial_projectors"),
    ],
    adjust,
    ..LLAMA_LIKE
};

/// A stated width of heads does not count; the text model of Granite's vision models is another matter.
fn adjust(h: &mut Hparams) -> Result<(), HparamError> {
    h.remove("head_dim");
    for key in ["spatial_target_layers", "deepstack_layer_map"] {
        if let Some(value) = h.get(key) {
            return Err(HparamError::unsupported(key, value));
        }
    }
    Ok(())
}

pub(super) const ATTENTION_SCALE: Key = single_unless_zero("attention.scale", &["attention_multiplier"]);
pub(super) const EMBEDDING_SCALE: Key = single_unless_zero("embedding_scale", &["embedding_multiplier"]);
pub(super) const RESIDUAL_SCALE: Key = single_unless_zero("residual_scale", &["residual_multiplier"]);
pub(super) const LOGIT_SCALE: Key = single_unless_zero("logit_scale", &["logits_scaling"]);
pub(super) const SHARED_FEED_FORWARD: Key =
    Key::Of("expert_shared_feed_forward_length", Store::Count, When::NotZero, &["shared_intermediate_size"]);
