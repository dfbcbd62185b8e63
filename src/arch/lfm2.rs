//! LFM2: short convolutions, and attention in some layers.

use super::tensor_sets::{ATTENTION, GATED_FFN, HEAD_NORMS};
use serde_json::Value as Json;

use super::hparams::double;
use super::key::{VOCABULARY_SIZE, count_of, single_of};
use super::{Extent, Family, HparamError, Hparams, Key, Model, Skip, Tensor};
use crate::gguf::Value;

/// `LFM2Model` in the reference's `conversion/lfm2.py`.
pub(super) static LFM2: Family = Family {
    name: "lfm2",
    architectures: &["Lfm2ForCausalLM", "LFM2ForCausalLM"],
    // The audio part of LFM2-Audio.
    skipped: &[
        Skip::Part("audio"),
        Skip::Part("codebook"),
        Skip::Part("conformer"),
        Skip::Part("depth_embedding"),
        Skip::Part("depthformer"),
        Skip::Part("depth_linear"),
    ],
    renamed: &[("lfm.", "model.")],
    tensors: &[
        ATTENTION,
        HEAD_NORMS,
        GATED_FFN,
        &[
            Tensor::TokenEmbd,
            Tensor::TokenEmbdNorm,
            Tensor::ShortconvConv,
            Tensor::ShortconvInProj,
            Tensor::ShortconvOutProj,
            Tensor::Output,
        ],
    ],
    // The width of the feed-forward part is not what the configuration says.
    shapes: &[
        (Tensor::FfnGate, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnUp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDown, &[Extent::Embedding, Extent::Any]),
    ],
    adjust: |h| key_heads_by_layer(h, |layer| layer != "conv"),
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        count_of("shortconv.l_cache", &["conv_L_cache"]),
        single_of("attention.layer_norm_rms_epsilon", &["norm_eps"]),
        Key::Is("feed_forward_length", feed_forward),
    ],
    ..Family::PLAIN
};

/// Sets the key heads of each layer: none in those that do not attend, by their `layer_types`.
pub(super) fn key_heads_by_layer(h: &mut Hparams, attends: fn(&Json) -> bool) -> Result<(), HparamError> {
    let heads = h.required_count(&["num_key_value_heads"])?;
    let types = h.get("layer_types").ok_or_else(|| HparamError::missing(&["layer_types"]))?;
    let types = types.as_array().ok_or_else(|| HparamError::wrong("layer_types", types, "a list"))?;
    let heads: Vec<u32> = types.iter().map(|t| if attends(t) { heads } else { 0 }).collect();
    h.set("num_key_value_heads", heads.into());
    Ok(())
}

/// `LFM2Model._add_feed_forward_length`.
fn feed_forward(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    let h = m.hparams;
    let stated = h.required_count(&["block_ff_dim", "intermediate_size"])?;
    let several = h.required_count(&["block_multiple_of"])?.max(1);
    if h.get("block_auto_adjust_ff_dim") != Some(&Json::Bool(true)) {
        return Ok(Some(stated.into()));
    }
    let mut width = (2.0 * f64::from(stated) / 3.0) as u64;
    if let Some(factor) = h.get("block_ffn_dim_multiplier") {
        width = (double("block_ffn_dim_multiplier", factor)? * width as f64) as u64;
    }
    let rounded = width.div_ceil(several.into()) * u64::from(several);
    let rounded = u32::try_from(rounded);
    Ok(Some(rounded.map_err(|_| HparamError::wrong("intermediate_size", &stated.into(), "smaller"))?.into()))
}
