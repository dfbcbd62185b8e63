//! Mistral's models from 3.1 on: Llama's tensors under an architecture of their own, and attention that grows with the
//! text in Ministral 3.

use super::hparams::single;
use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE};
use super::llama::LLAMA_LIKE;
use super::{Family, HparamError, Key, Model};
use crate::gguf::Value;

/// `Mistral3Model` in the reference's `conversion/mistral3.py`, but for Mistral 4.
pub(super) static MISTRAL3: Family = Family {
    name: "mistral3",
    architectures: &["Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"],
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        Key::Is("rope.scaling.yarn_log_multiplier", |m| ministral(m, "mscale_all_dim")),
        Key::Is("attention.temperature_scale", |m| ministral(m, "llama_4_scaling_beta")),
    ],
    adjust: |h| match h.get("model_type") {
        Some(kind) if kind == "mistral4" => Err(HparamError::unsupported("model_type", kind)),
        _ => Ok(()),
    },
    ..LLAMA_LIKE
};

/// A parameter of Ministral's rope, which is YaRN's; `None` for other models.
fn ministral(m: &Model<'_>, key: &str) -> Result<Option<Value>, HparamError> {
    if m.hparams.text("model_type") != Some("ministral3") {
        return Ok(None);
    }
    let kind = m.rope.whole("rope_type").ok_or_else(|| HparamError::missing(&["rope_type"]))?;
    if kind != "yarn" {
        return Err(HparamError::unsupported("rope_type", kind));
    }
    let value = m.rope.whole(key).ok_or_else(|| HparamError::missing(&[key]))?;
    Ok(Some(single(key, value)?.into()))
}

#[cfg(test)]
mod tests {
    use super::super::{Hparams, Rope};
    use super::*;

    #[test]
    fn ministral_has_parameters_of_its_own() {
        let check = |json: &str, expected: Result<Option<Value>, ()>| {
            let h = Hparams::new(serde_json::from_str(json).unwrap());
            let rope = Rope::new(&h).unwrap();
            let model = Model { hparams: &h, rope: &rope, file: &h };
            assert_eq!(ministral(&model, "mscale_all_dim").map_err(|_| ()), expected, "{json}");
        };
        check(r#"{"model_type": "mistral", "rope_parameters": {"mscale_all_dim": 1.0}}"#, Ok(None));
        let yarn = r#"{"model_type": "ministral3", "rope_parameters": {"rope_type": "yarn", "mscale_all_dim": 0.5}}"#;
        check(yarn, Ok(Some(0.5f32.into())));
        check(&yarn.replace("yarn", "linear"), Err(()));
        check(r#"{"model_type": "ministral3"}"#, Err(()));
    }
}
