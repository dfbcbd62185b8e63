//! The configuration of a tower, as the reference reads it: through the configuration classes of transformers 4.57.6, which
//! fill in what a file does not say.

use serde_json::{Map, Value as Json, json};

use super::super::config_class::Preset::{self, Float, Int, Text};
use super::super::hparams::{HparamError, Hparams};

const VISION: &str = "vision_config";

/// Defaults of the classes of towers, as far as a conversion reads them. Source: `configuration_*.py` of transformers 4.57.6.
const DEFAULTS: &[(&str, &[(&str, Preset)])] = &[
    (
        "qwen2_vl",
        &[
            ("depth", Int(32)),
            ("embed_dim", Int(1280)),
            ("hidden_size", Int(3584)),
            ("num_heads", Int(16)),
            ("patch_size", Int(14)),
        ],
    ),
    (
        "qwen2_5_vl",
        &[
            ("depth", Int(32)),
            ("hidden_size", Int(3584)),
            ("intermediate_size", Int(3420)),
            ("num_heads", Int(16)),
            ("patch_size", Int(14)),
        ],
    ),
    (
        "qwen3_vl",
        &[
            ("depth", Int(27)),
            ("hidden_size", Int(1152)),
            ("intermediate_size", Int(4304)),
            ("num_heads", Int(16)),
            ("patch_size", Int(16)),
            ("spatial_merge_size", Int(2)),
            ("num_position_embeddings", Int(2304)),
        ],
    ),
    (
        "siglip_vision_model",
        &[
            ("hidden_size", Int(768)),
            ("intermediate_size", Int(3072)),
            ("num_hidden_layers", Int(12)),
            ("num_attention_heads", Int(12)),
            ("image_size", Int(224)),
            ("patch_size", Int(16)),
            ("layer_norm_eps", Float(1e-6)),
        ],
    ),
    (
        "pixtral",
        &[
            ("hidden_size", Int(1024)),
            ("intermediate_size", Int(4096)),
            ("num_hidden_layers", Int(24)),
            ("num_attention_heads", Int(16)),
            ("image_size", Int(1024)),
            ("patch_size", Int(16)),
            ("hidden_act", Text("gelu")),
        ],
    ),
    (
        "llama4_vision_model",
        &[
            ("hidden_size", Int(768)),
            ("intermediate_size", Int(5632)),
            ("num_hidden_layers", Int(34)),
            ("num_attention_heads", Int(16)),
            ("image_size", Int(448)),
            ("patch_size", Int(14)),
            ("norm_eps", Float(1e-5)),
            ("pixel_shuffle_ratio", Float(0.5)),
            ("hidden_act", Text("gelu")),
        ],
    ),
    ("idefics3_vision", IDEFICS3),
    ("smolvlm_vision", IDEFICS3),
];

const IDEFICS3: &[(&str, Preset)] = &[
    ("hidden_size", Int(1152)),
    ("intermediate_size", Int(3072)),
    ("num_hidden_layers", Int(12)),
    ("num_attention_heads", Int(16)),
    ("image_size", Int(224)),
    ("patch_size", Int(32)),
    ("layer_norm_eps", Float(1e-6)),
];

/// The class of the tower within that of a model.
enum Inner {
    /// Always this one.
    One(&'static str),
    /// The one that it names, or else this one.
    Named(&'static str),
}

const COMPOSITE: &[(&str, Inner)] = &[
    ("qwen2_vl", Inner::One("qwen2_vl")),
    ("qwen2_5_vl", Inner::One("qwen2_5_vl")),
    ("qwen3_vl", Inner::One("qwen3_vl")),
    ("qwen3_vl_moe", Inner::One("qwen3_vl")),
    ("gemma3", Inner::One("siglip_vision_model")),
    ("llama4", Inner::One("llama4_vision_model")),
    ("llava", Inner::Named("clip_vision_model")),
    ("mistral3", Inner::Named("pixtral")),
    ("idefics3", Inner::One("idefics3_vision")),
    ("smolvlm", Inner::One("smolvlm_vision")),
];

/// The tower's hyper-parameters, of the model's; `classed` where a class of transformers read those.
///
/// # Errors
/// There are none.
pub fn read(model: &Hparams, classed: bool) -> Result<Hparams, HparamError> {
    let stated = match model.get(VISION) {
        Some(stated) => {
            Some(stated.as_object().ok_or_else(|| HparamError::wrong(VISION, stated, "an object"))?.clone())
        }
        None => None,
    };
    let kind = model.text("model_type").filter(|_| classed);
    let Some((_, inner)) = COMPOSITE.iter().find(|(outer, _)| Some(*outer) == kind) else {
        return Ok(Hparams::new(stated.ok_or_else(|| HparamError::missing(&[VISION]))?));
    };
    let (stated, class) = match (inner, stated) {
        (Inner::One(class), stated) => (stated.unwrap_or_default(), (*class).to_owned()),
        // Such a class has numbers of its own for this.
        (Inner::Named(_), None) => return Err(HparamError::missing(&[VISION])),
        (Inner::Named(usual), Some(stated)) => {
            let named = stated.get("model_type").map_or(Some(*usual), Json::as_str);
            let wrong = || HparamError::wrong("model_type", &stated["model_type"], "a text");
            let named = named.ok_or_else(wrong)?.to_owned();
            (stated, named)
        }
    };
    let mut tower = Hparams::new(stated);
    // The class knows its own type better than the file.
    tower.set("model_type", class.as_str().into());
    let defaults = DEFAULTS.iter().find(|(name, _)| *name == class).map_or(&[][..], |(_, defaults)| defaults);
    for (key, default) in defaults {
        tower.set_default(key, || default.value());
    }
    match &*class {
        "qwen2_5_vl" => tower.set_default("fullatt_block_indexes", || json!([7, 15, 23, 31])),
        "qwen3_vl" => tower.set_default("deepstack_visual_indexes", || json!([8, 16, 24])),
        _ => {}
    }
    Ok(tower)
}

/// Keys under which models keep the configuration of their text model; a later one counts more.
const TEXT: &[&str] = &["text_config", "llm_config", "lm_config", "language_config", "lfm"];

/// The width of the text model, which is that of the tokens that pictures become.
pub(super) fn text_width(model: &Hparams) -> Result<u32, HparamError> {
    let mut all = model.clone();
    if let Some(key) = TEXT.iter().rev().find(|key| model.get(key).is_some()) {
        let text = model.get(key).and_then(Json::as_object).cloned();
        all.merge(&text.unwrap_or_else(Map::new));
    }
    let width = if all.has("hidden_size") { "hidden_size" } else { "n_embd" };
    all.required_count(&[width])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hparams(json: &str) -> Hparams {
        Hparams::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn classes_fill_in_what_is_not_said() {
        let check = |json: &str, classed: bool, key: &str, expected: Json| {
            let tower = read(&hparams(json), classed).unwrap();
            assert_eq!(tower.values().get(key).cloned().unwrap_or_default(), expected, "{json}");
        };
        let pixtral =
            r#"{"model_type": "llava", "vision_config": {"model_type": "pixtral", "image_size": 16}}"#;
        check(pixtral, true, "hidden_size", 1024.into());
        check(pixtral, true, "image_size", 16.into());
        check(pixtral, false, "hidden_size", Json::Null);
        check(r#"{"model_type": "mistral3", "vision_config": {}}"#, true, "model_type", "pixtral".into());
        check(r#"{"model_type": "qwen2_5_vl"}"#, true, "fullatt_block_indexes", json!([7, 15, 23, 31]));
        check(
            r#"{"model_type": "gemma3", "vision_config": {"patch_size": null}}"#,
            true,
            "patch_size",
            Json::Null,
        );
        check(r#"{"model_type": "x", "vision_config": {"a": 1}}"#, true, "a", 1.into());
        for none in [r#"{"model_type": "x"}"#, r#"{"model_type": "llava"}"#, r#"{"vision_config": 3}"#] {
            assert!(read(&hparams(none), true).is_err(), "{none}");
        }
    }

    #[test]
    fn the_text_model_says_how_wide_tokens_are() {
        let check =
            |json: &str, expected: u32| assert_eq!(text_width(&hparams(json)), Ok(expected), "{json}");
        check(r#"{"hidden_size": 7, "text_config": {"hidden_size": 8}}"#, 8);
        check(r#"{"hidden_size": 7, "text_config": {}}"#, 7);
        check(r#"{"llm_config": {"hidden_size": 9}}"#, 9);
        check(r#"{"n_embd": 5}"#, 5);
        assert!(text_width(&hparams("{}")).is_err());
    }
}
