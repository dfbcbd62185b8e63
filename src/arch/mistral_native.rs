//! Mistral's own format: `params.json` in place of `config.json`, tensors under the names of Mistral's own code, rows of
//! rotary embeddings in llama.cpp's order already.

use serde_json::{Value as Json, json};

use super::hparams::{count, single};
use super::key::ROPE_DIMENSIONS;
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN};
use super::{Family, HparamError, Hparams, Key, Model, Tensor, Vocabulary};
use crate::gguf::Value;

/// Attention that grows with the text: of these parameters one is written.
const SCALING: &str = "llama_4_scaling";
const YARN: &str = "yarn";

/// How a `params.json` says that weights are quantized, and what `config.json` would have in its place.
const QUANTIZATION: &str = "quantization";
const FP8: &str = "fp8_e4m3";

/// The family that a `params.json` speaks of: `MistralModel` in the reference's `conversion/mistral.py`. Quantized weights
/// are stated as `config.json` states them.
///
/// # Errors
/// One that is not known here: with experts, or quantized in another way.
pub fn mistral_native(h: &mut Hparams) -> Result<&'static Family, HparamError> {
    const EXPERTS: &str = "moe";
    if let Some(moe) = h.get(EXPERTS) {
        return Err(HparamError::unsupported(EXPERTS, moe));
    }
    if let Some(quantization) = h.get(QUANTIZATION) {
        if quantization.get("qformat_weight").and_then(Json::as_str) != Some(FP8) {
            return Err(HparamError::unsupported(QUANTIZATION, quantization));
        }
        h.set("quantization_config", json!({ "quant_method": "fp8", "activation_scheme": "static" }));
    }
    Ok(if h.has(SCALING) { &SCALED } else { &LLAMA })
}

/// Older ones are llamas to llama.cpp.
static LLAMA: Family = Family { name: "llama", ..NATIVE };

/// Those whose attention grows with the text have an architecture of their own.
static SCALED: Family = Family { name: "mistral3", ..NATIVE };

const NATIVE: Family = Family {
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    names: &[
        (Tensor::TokenEmbd, &["tok_embeddings"]),
        (Tensor::OutputNorm, &["norm"]),
        (Tensor::Output, &["output"]),
        (Tensor::AttnNorm, &["layers.{}.attention_norm"]),
        (Tensor::AttnQ, &["layers.{}.attention.wq"]),
        (Tensor::AttnK, &["layers.{}.attention.wk"]),
        (Tensor::AttnV, &["layers.{}.attention.wv"]),
        (Tensor::AttnOut, &["layers.{}.attention.wo"]),
        (Tensor::FfnNorm, &["layers.{}.ffn_norm"]),
        (Tensor::FfnGate, &["layers.{}.feed_forward.w1"]),
        (Tensor::FfnDown, &["layers.{}.feed_forward.w2"]),
        (Tensor::FfnUp, &["layers.{}.feed_forward.w3"]),
    ],
    keys: &[
        Key::Common,
        ROPE_DIMENSIONS,
        Key::Is("rope.scaling.type", |m| Ok(m.hparams.get(YARN).map(|_| "yarn".into()))),
        Key::Is("rope.scaling.factor", |m| of_yarn(m, "factor")),
        Key::Is("rope.scaling.yarn_beta_fast", |m| of_yarn(m, "beta")),
        Key::Is("rope.scaling.yarn_beta_slow", |m| of_yarn(m, "alpha")),
        Key::Is("rope.scaling.yarn_log_multiplier", multiplier),
        Key::Is("rope.scaling.original_context_length", original_context),
        Key::Is("attention.temperature_scale", temperature),
    ],
    vocabulary: Vocabulary::Mistral,
    ..Family::PLAIN
};

/// A parameter of YaRN, where the model has that.
fn stated<'m>(m: &Model<'m>, key: &'static str) -> Result<Option<&'m Json>, HparamError> {
    let Some(yarn) = m.hparams.get(YARN) else { return Ok(None) };
    yarn.get(key).map(Some).ok_or_else(|| HparamError::missing(&[key]))
}

fn of_yarn(m: &Model<'_>, key: &'static str) -> Result<Option<Value>, HparamError> {
    stated(m, key)?.map(|value| Ok(single(key, value)?.into())).transpose()
}

fn multiplier(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "apply_scale";
    let of = |value: &Json| match value {
        Json::Bool(applied) => Ok(if *applied { 0f32 } else { 1f32 }.into()),
        _ => Err(HparamError::wrong(KEY, value, "true or false")),
    };
    stated(m, KEY)?.map(of).transpose()
}

fn original_context(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "original_max_position_embeddings";
    stated(m, KEY)?.map(|value| Ok(count(KEY, value)?.into())).transpose()
}

fn temperature(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "beta";
    let Some(scaling) = m.hparams.get(SCALING) else { return Ok(None) };
    let beta = scaling.get(KEY).ok_or_else(|| HparamError::missing(&[KEY]))?;
    Ok(Some(single(KEY, beta)?.into()))
}

#[cfg(test)]
mod tests {
    use super::super::Rope;
    use super::*;

    /// The value of one of the family's own keys.
    fn value(json: &str, wanted: &str) -> Result<Option<Value>, ()> {
        let h = Hparams::new(serde_json::from_str(json).unwrap());
        let rope = Rope::new(&h).unwrap();
        let model = Model { hparams: &h, rope: &rope, file: &h };
        let make = NATIVE.keys.iter().find_map(|key| match key {
            Key::Is(name, make) if *name == wanted => Some(make),
            _ => None,
        });
        make.unwrap()(&model).map_err(|_| ())
    }

    #[test]
    fn yarn_has_names_of_its_own() {
        let yarn = r#"{"yarn": {"factor": 16, "alpha": 1, "beta": 32.0, "apply_scale": false,
                                "original_max_position_embeddings": 16384}}"#;
        let check =
            |json: &str, key: &str, expected| assert_eq!(value(json, key), expected, "{key} of {json}");
        check(yarn, "rope.scaling.type", Ok(Some("yarn".into())));
        check(yarn, "rope.scaling.factor", Ok(Some(16f32.into())));
        check(yarn, "rope.scaling.yarn_beta_fast", Ok(Some(32f32.into())));
        check(yarn, "rope.scaling.yarn_beta_slow", Ok(Some(1f32.into())));
        check(yarn, "rope.scaling.yarn_log_multiplier", Ok(Some(1f32.into())));
        check(&yarn.replace("false", "true"), "rope.scaling.yarn_log_multiplier", Ok(Some(0f32.into())));
        check(&yarn.replace("false", "7"), "rope.scaling.yarn_log_multiplier", Err(()));
        check(yarn, "rope.scaling.original_context_length", Ok(Some(16384u32.into())));
        check("{}", "rope.scaling.factor", Ok(None));
        check(r#"{"yarn": {}}"#, "rope.scaling.factor", Err(()));
        check(
            r#"{"llama_4_scaling": {"beta": 0.1}}"#,
            "attention.temperature_scale",
            Ok(Some(0.1f32.into())),
        );
        check(r#"{"llama_4_scaling": {}}"#, "attention.temperature_scale", Err(()));
    }

    #[test]
    fn params_say_which_family() {
        let family = |json: &str| {
            let mut h = Hparams::new(serde_json::from_str(json).unwrap());
            mistral_native(&mut h).map(|f| (f.name, h.has("quantization_config"))).map_err(|_| ())
        };
        assert_eq!(family("{}"), Ok(("llama", false)));
        assert_eq!(family(r#"{"llama_4_scaling": null}"#), Ok(("mistral3", false)));
        assert_eq!(family(r#"{"quantization": {"qformat_weight": "fp8_e4m3"}}"#), Ok(("llama", true)));
        assert_eq!(family(r#"{"quantization": {"qformat_weight": "int4"}}"#), Err(()));
        assert_eq!(family(r#"{"moe": {"num_experts": 8}}"#), Err(()));
    }
}
