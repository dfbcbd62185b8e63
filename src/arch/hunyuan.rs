//! Hunyuan, dense: norms on query and key, rope stretched by a base of its own.

use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS};
use serde_json::Value as Json;

use super::hparams::double;
use super::{Family, HparamError, Hparams, Key, Model, Vocabulary};
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
