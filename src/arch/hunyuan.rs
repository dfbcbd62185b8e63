//! Hunyuan, dense and with experts: norms on query and key, rope stretched by a base of its own.

use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS, ROUTED_EXPERTS, SHARED_EXPERTS};
use serde_json::Value as Json;

use super::hparams::{count, double};
use super::key::count_of;
use super::qwen_moe::EXPERTS;
use super::{Extent, Family, HparamError, Hparams, Key, Model, Tensor, Vocabulary};
use crate::gguf::Value;

/// `HunYuanModel` in the reference's `conversion/hunyuan.py`.
pub(super) static HUNYUAN: Family = Family {
    name: "hunyuan-dense",
    architectures: &["HunYuanDenseV1ForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, GATED_FFN],
    tied_output: false,
    adjust: |h: &mut Hparams| {
        // Some state one expert, and are dense.
        h.remove("num_experts");
        Ok(())
    },
    keys: &[
        Key::Common,
        Key::Is("rope.freq_base", scaled_base),
        Key::Is("rope.scaling.type", |m| Ok(is_scaled(m).then(|| "none".into()))),
        Key::Is("rope.scaling.factor", |m| Ok(is_scaled(m).then(|| 1f32.into()))),
        Key::Is("rope.scaling.original_context_length", |m| Ok(is_dynamic(m).then(|| CONTEXT.into()))),
        Key::Is("context_length", |m| Ok(is_dynamic(m).then(|| CONTEXT.into()))),
    ],
    vocabulary: Vocabulary::Hunyuan,
    ..Family::PLAIN
};

/// `HunYuanMoEModel` in the reference's `conversion/hunyuan.py`.
pub(super) static HUNYUAN_MOE: Family = Family {
    name: "hunyuan-moe",
    architectures: &["HunYuanMoEV1ForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, ROUTED_EXPERTS, SHARED_EXPERTS, &[Tensor::FfnNorm]],
    names: &[
        (Tensor::FfnGateInp, &["model.layers.{}.mlp.gate.wg"]),
        (Tensor::FfnGateShexp, &["model.layers.{}.mlp.shared_mlp.gate_proj"]),
        (Tensor::FfnUpShexp, &["model.layers.{}.mlp.shared_mlp.up_proj"]),
        (Tensor::FfnDownShexp, &["model.layers.{}.mlp.shared_mlp.down_proj"]),
    ],
    shapes: &[
        (Tensor::FfnGateShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnUpShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDownShexp, &[Extent::Embedding, Extent::Any]),
        (Tensor::FfnGateExps, &[Extent::Experts, Extent::Any, Extent::Embedding]),
        (Tensor::FfnUpExps, &[Extent::Experts, Extent::Any, Extent::Embedding]),
        (Tensor::FfnDownExps, &[Extent::Experts, Extent::Embedding, Extent::Any]),
    ],
    stacks: &[EXPERTS],
    tied_output: false,
    keys: &[
        Key::Common,
        count_of("expert_shared_feed_forward_length", &["intermediate_size"]),
        Key::Is("expert_feed_forward_length", |m| of_all_layers(m, "moe_intermediate_size")),
        Key::Is("expert_used_count", |m| of_all_layers(m, "moe_topk")),
        Key::Is("expert_shared_count", |m| of_all_layers(m, "num_shared_expert")),
        Key::Is("rope.freq_base", scaled_base_of_experts),
        Key::Is("rope.scaling.type", |m| Ok(is_dynamic(m).then(|| "none".into()))),
        Key::Is("rope.scaling.factor", |m| Ok(is_dynamic(m).then(|| 1f32.into()))),
        Key::Is("rope.scaling.original_context_length", |m| Ok(is_dynamic(m).then(|| CONTEXT.into()))),
        Key::Is("context_length", |m| Ok(is_dynamic(m).then(|| CONTEXT.into()))),
    ],
    vocabulary: Vocabulary::HunyuanMoe,
    ..Family::PLAIN
};

/// A number that is stated for each layer, where it is the same for all.
fn of_all_layers(m: &Model<'_>, key: &'static str) -> Result<Option<Value>, HparamError> {
    let stated = m.hparams.get(key).ok_or_else(|| HparamError::missing(&[key]))?;
    match stated.as_array().map(Vec::as_slice) {
        Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => {
            Ok(Some(count(key, first)?.into()))
        }
        _ => Err(HparamError::wrong(key, stated, "a list of one number a layer, the same for all")),
    }
}

/// The same as [`scaled_base`], of the models with experts, which are of one width.
fn scaled_base_of_experts(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const WIDTH: u32 = 128;
    if !is_dynamic(m) {
        return Ok(None);
    }
    let number = |key: &str, default: f64| m.rope.whole(key).map_or(Ok(default), |value| double(key, value));
    let (alpha, base) = (number("alpha", 1000.0)?, number("rope_theta", 10000.0)?);
    let width = m.hparams.required_count(&["hidden_size"])?;
    let width = width.checked_div(m.hparams.required_count(&["num_attention_heads"])?);
    let context = m.hparams.required_count(&["max_position_embeddings"])?;
    if alpha != 1000.0 || base != 10000.0 || width != Some(WIDTH) || ![32 * 1024, CONTEXT].contains(&context)
    {
        return Err(HparamError::unsupported("rope_scaling", &"dynamic".into()));
    }
    let width = f64::from(WIDTH);
    Ok(Some(((base * alpha.powf(width / (width - 2.0))) as f32).into()))
}

/// What the models with dynamic rope were trained on; their configurations say less.
const CONTEXT: u32 = 256 * 1024;

fn is_dynamic(m: &Model<'_>) -> bool {
    m.rope.whole("rope_type").and_then(Json::as_str) == Some("dynamic")
}

fn is_scaled(m: &Model<'_>) -> bool {
    is_dynamic(m) || m.rope.whole("rope_type").and_then(Json::as_str) == Some("xdrope")
}

/// The base that `alpha` makes of the stated one ("NTK-aware" scaling).
fn scaled_base(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    if !is_scaled(m) {
        return Ok(None);
    }
    let number = |key: &str, default: f64| m.rope.whole(key).map_or(Ok(default), |value| double(key, value));
    let (alpha, base) = (number("alpha", 50.0)?, number("rope_theta", 10000.0)?);
    let width = f64::from(m.hparams.required_count(&["head_dim"])?);
    if is_dynamic(m) {
        let context = m.hparams.required_count(&["max_position_embeddings"])?;
        if base != 10000.0 || ![32 * 1024, CONTEXT].contains(&context) {
            return Err(HparamError::unsupported("rope_scaling", &"dynamic".into()));
        }
    }
    Ok(Some(((base * alpha.powf(width / (width - 2.0))) as f32).into()))
}
