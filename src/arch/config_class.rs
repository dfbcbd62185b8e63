//! What the configuration classes of transformers 4.57.6 make of a `config.json`.
//!
//! The reference reads hyper-parameters through `AutoConfig`, so a key that the file lacks has its class's default,
//! some keys follow from others, and a file that the class refuses is read as it stands. Here a class is data: its
//! defaults, which a script writes ([`DEFAULTS`]), and the rules that its constructor applies ([`RULES`]).

use serde_json::{Map, Value};

use super::config_defaults::DEFAULTS;
use super::config_rules::{RULES, apply};
use super::hparams::Hparams;
use super::model_types::MODEL_TYPES;

/// A default value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    Null,
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(&'static str),
}

impl Preset {
    pub(super) fn value(self) -> Value {
        match self {
            Null => Value::Null,
            Bool(v) => v.into(),
            Int(v) => v.into(),
            Float(v) => v.into(),
            Text(v) => v.into(),
        }
    }
}

use Preset::{Bool, Float, Int, Null, Text};

/// `PretrainedConfig`: what all classes have, after their own.
const BASE: &[(&str, Preset)] = &[
    ("tie_word_embeddings", Bool(true)),
    ("max_length", Int(20)),
    ("bos_token_id", Null),
    ("eos_token_id", Null),
    ("pad_token_id", Null),
    ("sep_token_id", Null),
    ("decoder_start_token_id", Null),
];

/// The text model's configuration within that of a model of several kinds.
#[derive(Clone, Copy, Debug)]
enum TextConfig {
    /// Of this type; its defaults where it is absent.
    One(&'static str),
    /// Of this type; the whole file where it is absent.
    OneOrAll(&'static str),
    /// Of the type that it names, or else of this one.
    Named(&'static str),
}

/// Model types whose configuration holds that of a text model under `text_config`.
const COMPOSITE: &[(&str, TextConfig)] = &[
    ("gemma3", TextConfig::One("gemma3_text")),
    ("gemma3n", TextConfig::One("gemma3n_text")),
    ("idefics3", TextConfig::Named("llama")),
    ("llama4", TextConfig::One("llama4_text")),
    ("llava", TextConfig::Named("llama")),
    ("mistral3", TextConfig::Named("mistral")),
    ("qwen2_5_vl", TextConfig::OneOrAll("qwen2_5_vl_text")),
    ("qwen2_vl", TextConfig::OneOrAll("qwen2_vl_text")),
    ("qwen3_vl", TextConfig::One("qwen3_vl_text")),
    ("qwen3_vl_moe", TextConfig::One("qwen3_vl_moe_text")),
    ("smolvlm", TextConfig::Named("llama")),
];
const TEXT_CONFIG: &str = "text_config";

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
    if !is_modelled(model_type) {
        return if MODEL_TYPES.binary_search(&model_type).is_ok() {
            Read::Unmodelled(model_type.to_owned())
        } else {
            Read::Plain(config.clone())
        };
    }
    match construct(model_type, config) {
        Ok(hparams) => Read::Class(hparams),
        Err(No::Refused(why)) => Read::Refused(config.clone(), why),
        Err(No::Unmodelled(inner)) => Read::Unmodelled(inner),
    }
}

/// Why a class makes nothing of a configuration.
enum No {
    /// It refuses it.
    Refused(String),
    /// A part is of a class that transformers has and this program does not model yet.
    Unmodelled(String),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        No::Refused(why)
    }
}

/// Whether the class of a model type is known here.
fn is_modelled(model_type: &str) -> bool {
    DEFAULTS.binary_search_by_key(&model_type, |d| d.model_type).is_ok()
}

/// What the class of `model_type` makes of a configuration, or why it refuses it.
fn construct(model_type: &str, config: &Hparams) -> Result<Hparams, No> {
    let mut hparams = config.clone();
    if let Ok(at) = DEFAULTS.binary_search_by_key(&model_type, |d| d.model_type) {
        for key in DEFAULTS[at].lost {
            hparams.remove(key);
        }
        for (key, default) in DEFAULTS[at].values.iter().chain(BASE) {
            hparams.set_default(key, || default.value());
        }
        let rules =
            RULES.iter().filter(|(types, _)| types.contains(&model_type)).flat_map(|(_, rules)| *rules);
        for rule in rules {
            apply(*rule, &mut hparams, config)?;
        }
    }
    name_labels(&mut hparams)?;
    if let Some((_, inner)) = COMPOSITE.iter().find(|(outer, _)| *outer == model_type) {
        let text = hparams.get(TEXT_CONFIG).cloned();
        let text = text.as_ref().map(|text| text.as_object().ok_or(format!("`{TEXT_CONFIG}` is no object")));
        let (inner, text) = match (inner, text.transpose()?) {
            (TextConfig::One(inner) | TextConfig::OneOrAll(inner), Some(text)) => (*inner, text.clone()),
            (TextConfig::One(inner), None) => (*inner, Map::new()),
            (TextConfig::OneOrAll(inner), None) => {
                let parts = [TEXT_CONFIG, "vision_config"];
                let whole = config.values().iter().filter(|(key, _)| !parts.contains(&key.as_str()));
                (*inner, whole.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            // The class has numbers of its own for this.
            (TextConfig::Named(_), None) => return Err(No::Unmodelled(model_type.to_owned())),
            (TextConfig::Named(usual), Some(text)) => {
                let named = text.get("model_type").map_or(Some(*usual), Value::as_str);
                let named = named.ok_or_else(|| "`model_type` is no text".to_owned())?;
                match (is_modelled(named), MODEL_TYPES.binary_search(&named)) {
                    (true, _) => {}
                    (false, Ok(_)) => return Err(No::Unmodelled(named.to_owned())),
                    (false, Err(_)) => return Err(No::Refused(format!("there is no `{named}`"))),
                }
                let mut text = text.clone();
                text.insert("model_type".to_owned(), named.into());
                (named, text)
            }
        };
        let inner = inner.to_owned();
        let text = construct(&inner, &Hparams::new(text))?;
        hparams.set(TEXT_CONFIG, Value::Object(text.values().clone()));
    }
    Ok(hparams)
}

/// The part of `PretrainedConfig.__init__` that is about labels: two, unless others are stated. They become pairs, since
/// their keys become numbers.
fn name_labels(h: &mut Hparams) -> Result<(), String> {
    /// More than any classifier has.
    const MAX_LABELS: u64 = 1 << 16;
    let numbered: std::collections::BTreeMap<i64, Value> = match h.get("id2label") {
        None => {
            let count = match h.get("num_labels") {
                None => 2,
                Some(count) => count.as_u64().ok_or("`num_labels` is no number")?,
            };
            if count > MAX_LABELS {
                return Err("`num_labels` is more than any model has".to_owned());
            }
            (0i64..).zip(0..count).map(|(id, _)| (id, format!("LABEL_{id}").into())).collect()
        }
        Some(Value::Object(labels)) => labels
            .iter()
            .map(|(key, label)| Ok((key.trim().parse::<i64>().map_err(|e| e.to_string())?, label.clone())))
            .collect::<Result<_, String>>()?,
        Some(_) => return Err("`id2label` is no object".to_owned()),
    };
    let pairs = numbered.into_iter().map(|(id, label)| Value::Array(vec![id.into(), label]));
    h.set("id2label", pairs.collect());
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

    /// What `scripts/record-config-classes` recorded: of each type's first file the whole, of the others what differs.
    #[derive(serde::Deserialize)]
    struct Recorded {
        model_type: Option<String>,
        config: Map<String, Value>,
        read: Option<Map<String, Value>>,
    }

    #[test]
    fn classes_make_of_files_what_transformers_makes() {
        let (mut model_type, mut first) = (String::new(), Map::new());
        for line in include_str!("../../tests/parity/config-classes.jsonl").lines() {
            let recorded: Recorded = serde_json::from_str(line).unwrap();
            let mut expected = recorded.read;
            match (recorded.model_type, &mut expected) {
                (Some(new), whole) => (model_type, first) = (new, whole.clone().unwrap()),
                (None, Some(differing)) => {
                    let mut whole = first.clone();
                    whole.append(differing);
                    *differing = whole;
                }
                (None, None) => {}
            }
            let mut config = recorded.config;
            config.insert("model_type".to_owned(), model_type.clone().into());
            let found = match read(&Hparams::new(config.clone())) {
                Read::Class(hparams) => Some(hparams),
                Read::Refused(..) => None,
                other => panic!("{config:?}: {other:?}"),
            };
            let (Some(found), Some(expected)) = (&found, &expected) else {
                assert_eq!(found.is_some(), expected.is_some(), "{config:?}");
                continue;
            };
            compare(found.values(), expected, &config);
        }
    }

    /// Defaults that are lists or texts are not kept, since nothing reads them.
    #[track_caller]
    fn compare(found: &Map<String, Value>, expected: &Map<String, Value>, config: &Map<String, Value>) {
        const UNREAD: [&str; 6] = [
            "layer_types",
            "eos_token_id",
            "mlp_only_layers",
            "moe_layers",
            "no_rope_layers",
            "hidden_activation",
        ];
        for (key, value) in expected {
            match (found.get(key), value) {
                (Some(Value::Object(found)), Value::Object(value)) if key == "text_config" => {
                    compare(found, value, config);
                }
                (None | Some(Value::Null), Value::Array(_) | Value::String(_))
                    if UNREAD.contains(&&**key) => {}
                (found, value) => assert_eq!(found, Some(value), "{key} of {config:?}"),
            }
        }
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

    /// As `LlavaConfig` and `Qwen2VLConfig` of transformers 4.57.6 do.
    #[test]
    fn the_text_model_may_name_its_class_or_be_the_whole_file() {
        let text = |json: &str| match read(&hparams(json)) {
            Read::Class(h) => Ok(h.get("text_config").cloned().unwrap()),
            other => Err(other),
        };
        let llava = |text: &str| format!(r#"{{"model_type": "llava", "text_config": {text}}}"#);
        assert_eq!(text(&llava("{}")).unwrap()["max_position_embeddings"], 2048);
        assert_eq!(text(&llava(r#"{"model_type": "mistral"}"#)).unwrap()["num_key_value_heads"], 8);
        let unmodelled = text(&llava(r#"{"model_type": "xlnet"}"#)).unwrap_err();
        assert!(matches!(unmodelled, Read::Unmodelled(t) if t == "xlnet"));
        let unknown = text(&llava(r#"{"model_type": "no_such_type"}"#)).unwrap_err();
        assert!(matches!(unknown, Read::Refused(..)));
        assert!(matches!(text(&llava("null")).unwrap_err(), Read::Unmodelled(t) if t == "llava"));
        let flat = r#"{"model_type": "qwen2_vl", "hidden_size": 64, "rope_scaling": {"type": "mrope", "mrope_section": [4]}}"#;
        let flat = text(flat).unwrap();
        assert_eq!((&flat["hidden_size"], &flat["intermediate_size"]), (&64.into(), &29568.into()));
        assert_eq!(flat["rope_scaling"]["rope_type"], "default");
        let seeing = hparams(r#"{"model_type": "qwen3_vl"}"#);
        let Read::Class(seeing) = read(&seeing) else { panic!("refused") };
        assert_eq!(seeing.get("vision_config").unwrap()["deepstack_visual_indexes"][2], 24);
    }

    #[test]
    fn labels_are_two_unless_others_are_stated() {
        let labels = |json: &str| match read(&hparams(json)) {
            Read::Class(h) => h.get("id2label").cloned(),
            _ => None,
        };
        let two = serde_json::json!([[0, "LABEL_0"], [1, "LABEL_1"]]);
        assert_eq!(labels(r#"{"model_type": "bert"}"#), Some(two));
        let one = serde_json::json!([[0, "LABEL_0"]]);
        assert_eq!(labels(r#"{"model_type": "bert", "num_labels": 1}"#), Some(one.clone()));
        assert_eq!(labels(r#"{"model_type": "bert", "id2label": {"0": "LABEL_0"}}"#), Some(one));
        let ten = r#"{"model_type": "bert", "id2label": {"10": "k", "2": "c"}}"#;
        assert_eq!(labels(ten), Some(serde_json::json!([[2, "c"], [10, "k"]])));
        assert_eq!(labels(r#"{"model_type": "bert", "id2label": {"a": "b"}}"#), None);
        assert_eq!(labels(r#"{"model_type": "bert", "num_labels": 4000000000}"#), None);
    }

    #[test]
    fn model_types_decide_how_a_file_is_read() {
        assert!(matches!(read(&hparams(r#"{"model_type": "no_such_type"}"#)), Read::Plain(_)));
        assert!(matches!(read(&hparams(r#"{"model_type": "xlnet"}"#)), Read::Unmodelled(t) if t == "xlnet"));
        assert_eq!(read(&hparams("{}")), Read::Untyped);
        assert!(MODEL_TYPES.is_sorted());
        assert!(DEFAULTS.is_sorted_by(|a, b| a.model_type < b.model_type));
    }

    #[test]
    fn every_class_has_its_rules_and_every_rule_its_class() {
        for class in DEFAULTS {
            assert!(
                MODEL_TYPES.binary_search(&class.model_type).is_ok() || class.model_type == "gemma3_text"
            );
            let named = RULES.iter().filter(|(types, _)| types.contains(&class.model_type)).count();
            let composite = COMPOSITE.iter().any(|(outer, _)| *outer == class.model_type);
            assert!(named == 1 || named == 0 && composite, "{}", class.model_type);
        }
        for model_type in RULES.iter().flat_map(|(types, _)| *types) {
            assert!(is_modelled(model_type), "{model_type}");
        }
    }
}
