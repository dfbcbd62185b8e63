//! What the configuration classes of transformers 4.57.6 make of a `config.json`.
//!
//! The reference reads hyper-parameters through `AutoConfig`, so a key that the file lacks has its class's default,
//! some keys follow from others, and a file that the class refuses is read as it stands. Here a class is a row of
//! data: the defaults of the keys that a conversion may read, and the rules that its constructor applies.

use serde_json::Value;

use super::hparams::Hparams;
use super::model_types::MODEL_TYPES;

/// A default value.
#[derive(Clone, Copy, Debug)]
enum Preset {
    Null,
    Bool(bool),
    Int(u64),
    Float(f64),
}

impl Preset {
    fn value(self) -> Value {
        match self {
            Null => Value::Null,
            Bool(v) => v.into(),
            Int(v) => v.into(),
            Float(v) => v.into(),
        }
    }
}

/// What a constructor does beyond filling in defaults. Applied in order.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// A null number of key heads is the number of heads.
    KeyHeads,
    /// A null head width is the embedding width divided by the number of heads.
    HeadWidth,
    /// `type` of `rope_scaling` becomes `rope_type`, and its required keys are checked.
    RopeScaling,
    /// Without `use_sliding_window` there is no window.
    SlidingWindow,
    /// `layer_types` names a known type for each layer.
    LayerTypes,
}

struct ConfigClass {
    model_types: &'static [&'static str],
    defaults: &'static [(&'static str, Preset)],
    rules: &'static [Rule],
}

use Preset::{Bool, Float, Int, Null};

/// `PretrainedConfig`: what all classes have, after their own.
const BASE: &[(&str, Preset)] = &[
    ("tie_word_embeddings", Bool(true)),
    ("max_length", Int(20)),
    ("bos_token_id", Null),
    ("eos_token_id", Null),
    ("pad_token_id", Null),
    ("sep_token_id", Null),
];

const CLASSES: &[ConfigClass] = &[
    ConfigClass {
        model_types: &["llama"],
        defaults: &[
            ("vocab_size", Int(32000)),
            ("hidden_size", Int(4096)),
            ("intermediate_size", Int(11008)),
            ("num_hidden_layers", Int(32)),
            ("num_attention_heads", Int(32)),
            ("num_key_value_heads", Null),
            ("max_position_embeddings", Int(2048)),
            ("rms_norm_eps", Float(1e-6)),
            ("bos_token_id", Int(1)),
            ("eos_token_id", Int(2)),
            ("tie_word_embeddings", Bool(false)),
            ("rope_theta", Float(10000.0)),
            ("rope_scaling", Null),
            ("head_dim", Null),
        ],
        rules: &[Rule::KeyHeads, Rule::HeadWidth, Rule::RopeScaling],
    },
    ConfigClass {
        model_types: &["mistral", "ministral"],
        defaults: &[
            ("vocab_size", Int(32000)),
            ("hidden_size", Int(4096)),
            ("intermediate_size", Int(14336)),
            ("num_hidden_layers", Int(32)),
            ("num_attention_heads", Int(32)),
            ("num_key_value_heads", Int(8)),
            ("head_dim", Null),
            ("max_position_embeddings", Int(131_072)),
            ("rms_norm_eps", Float(1e-6)),
            ("bos_token_id", Int(1)),
            ("eos_token_id", Int(2)),
            ("tie_word_embeddings", Bool(false)),
            ("rope_theta", Float(10000.0)),
            ("sliding_window", Int(4096)),
        ],
        rules: &[Rule::KeyHeads],
    },
    ConfigClass {
        model_types: &["qwen2"],
        defaults: &[
            ("vocab_size", Int(151_936)),
            ("hidden_size", Int(4096)),
            ("intermediate_size", Int(22016)),
            ("num_hidden_layers", Int(32)),
            ("num_attention_heads", Int(32)),
            ("num_key_value_heads", Int(32)),
            ("max_position_embeddings", Int(32768)),
            ("rms_norm_eps", Float(1e-6)),
            ("tie_word_embeddings", Bool(false)),
            ("rope_theta", Float(10000.0)),
            ("rope_scaling", Null),
            ("use_sliding_window", Bool(false)),
            ("sliding_window", Int(4096)),
            ("max_window_layers", Int(28)),
            ("layer_types", Null),
        ],
        rules: &[Rule::SlidingWindow, Rule::KeyHeads, Rule::RopeScaling, Rule::LayerTypes],
    },
    ConfigClass {
        model_types: &["qwen3"],
        defaults: &[
            ("vocab_size", Int(151_936)),
            ("hidden_size", Int(4096)),
            ("intermediate_size", Int(22016)),
            ("num_hidden_layers", Int(32)),
            ("num_attention_heads", Int(32)),
            ("num_key_value_heads", Int(32)),
            ("head_dim", Int(128)),
            ("max_position_embeddings", Int(32768)),
            ("rms_norm_eps", Float(1e-6)),
            ("tie_word_embeddings", Bool(false)),
            ("rope_theta", Float(10000.0)),
            ("rope_scaling", Null),
            ("use_sliding_window", Bool(false)),
            ("sliding_window", Int(4096)),
            ("max_window_layers", Int(28)),
            ("layer_types", Null),
        ],
        rules: &[Rule::SlidingWindow, Rule::KeyHeads, Rule::RopeScaling, Rule::LayerTypes],
    },
];

/// How the reference reads a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Through its configuration class.
    Class(Hparams),
    /// As it stands: transformers does not know the model type.
    Plain(Hparams),
    /// As it stands: the class refuses it, for the reason given.
    Refused(Hparams, String),
    /// A class that transformers has and this program does not model yet.
    Unmodelled(String),
    /// There is no `model_type`; the reference would guess it from the folder's path.
    Untyped,
}

/// Reads a `config.json` as the reference does.
pub fn read(config: &Hparams) -> Read {
    let Some(model_type) = config.text("model_type") else { return Read::Untyped };
    let Some(class) = CLASSES.iter().find(|c| c.model_types.contains(&model_type)) else {
        return if MODEL_TYPES.binary_search(&model_type).is_ok() {
            Read::Unmodelled(model_type.to_owned())
        } else {
            Read::Plain(config.clone())
        };
    };
    let mut hparams = config.clone();
    for (key, default) in class.defaults.iter().chain(BASE) {
        hparams.set_default(key, || default.value());
    }
    for rule in class.rules {
        if let Err(why) = apply(*rule, &mut hparams) {
            return Read::Refused(config.clone(), why);
        }
    }
    Read::Class(hparams)
}

fn apply(rule: Rule, h: &mut Hparams) -> Result<(), String> {
    match rule {
        Rule::KeyHeads => {
            if h.get("num_key_value_heads").is_none()
                && let Some(heads) = h.get("num_attention_heads").cloned()
            {
                h.set("num_key_value_heads", heads);
            }
        }
        Rule::HeadWidth => {
            if h.get("head_dim").is_none() {
                let (width, heads) = (h.get("hidden_size"), h.get("num_attention_heads"));
                match (width.and_then(Value::as_u64), heads.and_then(Value::as_u64)) {
                    (Some(width), Some(heads)) if heads > 0 => h.set("head_dim", (width / heads).into()),
                    _ => return Err("`hidden_size` cannot be divided by `num_attention_heads`".to_owned()),
                }
            }
        }
        Rule::SlidingWindow => {
            let used = h.get("use_sliding_window").is_some_and(|v| v.as_bool() != Some(false));
            if !used {
                h.set("sliding_window", Value::Null);
            }
        }
        Rule::LayerTypes => layer_types(h)?,
        Rule::RopeScaling => rope_scaling(h)?,
    }
    Ok(())
}

fn layer_types(h: &Hparams) -> Result<(), String> {
    const KNOWN: &[&str] = &["full_attention", "sliding_attention", "chunked_attention", "linear_attention"];
    let Some(types) = h.get("layer_types") else { return Ok(()) };
    let types = types.as_array().ok_or("`layer_types` is no list")?;
    if !types.iter().all(|t| t.as_str().is_some_and(|t| KNOWN.contains(&t))) {
        return Err("`layer_types` has an unknown type".to_owned());
    }
    match h.get("num_hidden_layers") {
        Some(n) if n.as_u64() != Some(types.len() as u64) => {
            Err("`layer_types` and `num_hidden_layers` disagree".to_owned())
        }
        _ => Ok(()),
    }
}

/// `rope_config_validation`: it only complains about odd values, but raises over missing keys.
fn rope_scaling(h: &mut Hparams) -> Result<(), String> {
    let Some(scaling) = h.get("rope_scaling") else { return Ok(()) };
    let mut scaling = scaling.as_object().ok_or("`rope_scaling` is no object")?.clone();
    if let Some(named) = scaling.get("type").cloned() {
        scaling.insert("rope_type".to_owned(), named);
    }
    let rope_type = match scaling.get("rope_type") {
        None => "default",
        Some(name) => name.as_str().unwrap_or_default(),
    };
    let required: &[&str] = match rope_type {
        "default" => &["rope_type"],
        "linear" | "dynamic" | "yarn" => &["rope_type", "factor"],
        "longrope" => &["rope_type", "short_factor", "long_factor"],
        "llama3" => &[
            "rope_type",
            "factor",
            "original_max_position_embeddings",
            "low_freq_factor",
            "high_freq_factor",
        ],
        _ => &[],
    };
    let missing: Vec<&str> = required.iter().copied().filter(|k| !scaling.contains_key(*k)).collect();
    if !missing.is_empty() {
        return Err(format!("`rope_scaling` lacks `{}`", missing.join("`, `")));
    }
    let compared: &[&str] = match rope_type {
        "llama3" => &["original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
        _ => &[],
    };
    if let Some(key) = compared.iter().find(|k| !scaling[**k].is_number()) {
        return Err(format!("`{key}` of `rope_scaling` is no number"));
    }
    h.set("rope_scaling", Value::Object(scaling));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hparams(json: &str) -> Hparams {
        Hparams::new(serde_json::from_str(json).unwrap())
    }

    /// What `AutoConfig.from_pretrained(...).to_dict()` of transformers 4.57.6 gave for these files.
    #[track_caller]
    fn check(json: &str, expected: &[(&str, Value)]) {
        let Read::Class(h) = read(&hparams(json)) else { panic!("{json} is refused") };
        for (key, value) in expected {
            assert!(h.has(key), "{key} is absent");
            assert_eq!(h.get(key).unwrap_or(&Value::Null), value, "{key} of {json}");
        }
    }

    #[test]
    fn classes_fill_in_what_the_file_lacks() {
        use serde_json::json;
        check(
            r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}"#,
            &[
                ("head_dim", json!(16)),
                ("num_key_value_heads", json!(4)),
                ("max_position_embeddings", json!(2048)),
                ("rope_theta", json!(10000.0)),
                ("tie_word_embeddings", json!(false)),
            ],
        );
        check(
            r#"{"model_type": "llama", "head_dim": null, "rope_scaling": {"type": "linear", "factor": 2.0}}"#,
            &[
                ("head_dim", json!(128)),
                ("rope_scaling", json!({"type": "linear", "factor": 2.0, "rope_type": "linear"})),
            ],
        );
        check(
            r#"{"model_type": "mistral", "num_key_value_heads": null, "rope_scaling": {"type": "linear"}}"#,
            &[
                ("head_dim", Value::Null),
                ("num_key_value_heads", json!(32)),
                ("rope_scaling", json!({"type": "linear"})),
            ],
        );
        check(
            r#"{"model_type": "qwen2", "sliding_window": 512}"#,
            &[("sliding_window", Value::Null), ("num_key_value_heads", json!(32))],
        );
        check(r#"{"model_type": "qwen3"}"#, &[("head_dim", json!(128))]);
        check(r#"{"model_type": "qwen3", "head_dim": null}"#, &[("head_dim", Value::Null)]);
    }

    #[test]
    fn refused_files_are_read_as_they_stand() {
        let refused = [
            r#"{"model_type": "llama", "rope_scaling": {"rope_type": "linear"}}"#,
            r#"{"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#,
            r#"{"model_type": "llama", "rope_scaling": {"factor": 8.0}}"#,
            r#"{"model_type": "qwen2", "num_hidden_layers": 2, "layer_types": ["full_attention"]}"#,
            r#"{"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["none"]}"#,
        ];
        for json in refused {
            let config = hparams(json);
            match read(&config) {
                Read::Refused(plain, _) => assert_eq!(plain, config),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn model_types_decide_how_a_file_is_read() {
        assert!(matches!(read(&hparams(r#"{"model_type": "no_such_type"}"#)), Read::Plain(_)));
        assert!(matches!(read(&hparams(r#"{"model_type": "bert"}"#)), Read::Unmodelled(t) if t == "bert"));
        assert_eq!(read(&hparams("{}")), Read::Untyped);
        assert!(MODEL_TYPES.is_sorted());
    }
}
