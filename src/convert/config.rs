//! `config.json`, read as the reference reads it.

use serde_json::{Map, Value};

use super::quantized::Scheme;
use super::{ConvertError as E, tokenizer};
use crate::arch::config_class::{self, Read};
use crate::arch::{
    Family, HparamError, Hparams, LAYERS, MAX_LAYERS, MoreLayers, family, mistral_native, number,
};
use crate::checkpoint::Checkpoint;
use crate::event::{Code, Event, Observer};
use crate::safetensors::PARAMS;

const CONFIG: &str = "config.json";

/// A checkpoint's configuration.
pub(super) struct Config {
    /// The file as it stands.
    pub(super) raw: Value,
    /// The same, by keys.
    pub(super) file: Hparams,
    /// The hyper-parameters, defaults filled in.
    pub(super) hparams: Hparams,
    /// The same as the family states them in the metadata.
    pub(super) stated: Hparams,
    /// The class of the checkpoint's text model.
    pub(super) architecture: String,
    /// The family that this architecture belongs to.
    pub(super) family: &'static Family,
    /// How its weights are quantized.
    pub(super) scheme: Scheme,
    /// Rows of the embeddings that have a token, where the others are cut off.
    pub(super) vocabulary_rows: Option<u64>,
    /// The tokens of a reranker's answers: yes, and no.
    pub(super) answers: Option<[u32; 2]>,
}

/// Keys under which multimodal models keep the configuration of their text model, but for the usual `text_config` and
/// InternVL's.
const NESTED: &[&str] = &["lm_config", "thinker_config", "language_config", "lfm"];
const TEXT_CONFIG: &str = "text_config";
/// InternVL's name of it.
const LLM_CONFIG: &str = "llm_config";

/// Reads the configuration; refuses what is not supported.
pub(super) fn read(checkpoint: &Checkpoint, observer: &dyn Observer) -> Result<Config, E> {
    let mut config = read_alone(checkpoint, observer)?;
    if let MoreLayers::KeptApart(names) = config.family.more_layers {
        count_predicting(checkpoint, names, &mut config.hparams)?;
        config.stated = stated(&config.hparams, config.family)?;
    }
    if config.family.rerankers && is_reranker(checkpoint, &config.hparams)? {
        config.answers = Some(tokenizer::ids(checkpoint, ["yes", "no"])?);
    }
    if config.family.cut_embeddings {
        config.vocabulary_rows = Some(tokenizer::rows(checkpoint, config.hparams.values())?);
    }
    Ok(config)
}

/// The same of what has `config.json` and nothing else: no tensors, no tokenizer.
pub(super) fn read_alone(checkpoint: &Checkpoint, observer: &dyn Observer) -> Result<Config, E> {
    let Some(bytes) = checkpoint.small_file(CONFIG)? else {
        return read_params(checkpoint);
    };
    let values: Map<String, Value> = json(CONFIG, &bytes)?;
    let raw = Value::Object(values.clone());
    let file = Hparams::new(values);
    let architecture = architecture(&file).ok_or(E::NoArchitecture)?;
    let family = family(&architecture).ok_or_else(|| E::Architecture(architecture.clone()))?;
    let read = if family.plain_config { Read::Plain(file.clone()) } else { config_class::read(&file) };
    let mut hparams = match read {
        Read::Class(hparams) => hparams,
        Read::Plain(hparams) => hparams,
        Read::Refused(hparams, why) => {
            let text = format!("`{CONFIG}` is read without defaults, as transformers refuses it: {why}");
            observer.event(Event::new(Code::ConfigTakenPlain, text).about(&*checkpoint.name));
            hparams
        }
        Read::Unmodelled(model_type) => return Err(E::ModelType { model_type, architecture }),
        Read::Untyped => return Err(E::NoModelType),
    };
    if let Some((key, value)) = NESTED.iter().find_map(|k| hparams.get(k).map(|v| (k, v))) {
        return Err(HparamError::unsupported(key, value).into());
    }
    if hparams.has(LLM_CONFIG) {
        hparams.set(TEXT_CONFIG, hparams.get(LLM_CONFIG).cloned().unwrap_or_default());
    }
    if let Some(text) = hparams.get(TEXT_CONFIG).cloned() {
        let text = text.as_object().ok_or_else(|| HparamError::wrong(TEXT_CONFIG, &text, "an object"))?;
        hparams.merge(text);
    }
    refuse_layers(&hparams)?;
    let family = (family.variant)(&mut hparams)?.unwrap_or(family);
    // What a family does not do is told before its tensors are looked at.
    let stated = stated(&hparams, family)?;
    let scheme = Scheme::read(checkpoint, &hparams, family)?;
    let (vocabulary_rows, answers) = (None, None);
    Ok(Config { raw, file, hparams, stated, architecture, family, scheme, vocabulary_rows, answers })
}

/// The same of Mistral's own format, which has no classes and no defaults.
fn read_params(checkpoint: &Checkpoint) -> Result<Config, E> {
    let Some(bytes) = checkpoint.small_file(PARAMS)? else {
        return Err(E::NoConfig(checkpoint.folder.clone()));
    };
    let file = Hparams::new(json(PARAMS, &bytes)?);
    let mut hparams = file.clone();
    refuse_layers(&hparams)?;
    let family = mistral_native(&mut hparams).map_err(E::Params)?;
    let scheme = Scheme::read(checkpoint, &hparams, family)?;
    Ok(Config {
        // What the reference looks for there, it looks for in `config.json`.
        raw: Value::Object(Map::new()),
        stated: stated(&hparams, family)?,
        file,
        hparams,
        architecture: "Mistral's own format".to_owned(),
        family,
        scheme,
        vocabulary_rows: None,
        answers: None,
    })
}

/// Lists with an entry for each layer are made before tensors are looked at.
fn refuse_layers(h: &Hparams) -> Result<(), HparamError> {
    match h.find(LAYERS) {
        Some((key, value)) if value.as_u64().is_some_and(|layers| layers > MAX_LAYERS) => {
            Err(HparamError::unsupported(key, value))
        }
        _ => Ok(()),
    }
}

/// The hyper-parameters as the family states them.
fn stated(h: &Hparams, family: &Family) -> Result<Hparams, E> {
    let mut stated = h.clone();
    (family.adjust)(&mut stated)?;
    Ok(stated)
}

/// Counts the layers that predict more tokens than the next, where the configuration has none of them.
fn count_predicting(checkpoint: &Checkpoint, names: &[&str], h: &mut Hparams) -> Result<(), E> {
    if h.count(names)?.unwrap_or(0) > 0 {
        return Ok(());
    }
    let layer = |name: &str| number(name.split_once("mtp.layers.")?.1.split('.').next()?);
    let last = checkpoint.tensors.iter().filter_map(|tensor| layer(&tensor.entry.name)).max();
    // The reference ends where there are none.
    let last = last.ok_or_else(|| HparamError::missing(names))?;
    if let Some(name) = names.first() {
        h.set(name, last.saturating_add(1).into());
    }
    Ok(())
}

/// The class of the text model (`get_model_architecture`).
fn architecture(file: &Hparams) -> Option<String> {
    let first = |list: Option<&Value>| Some(list?.as_array()?.first()?.as_str()?.to_owned());
    let text = if file.has(LLM_CONFIG) { LLM_CONFIG } else { TEXT_CONFIG };
    let text = file.get(text).and_then(|text| first(text.get("architectures").filter(|a| !a.is_null())));
    text.or_else(|| file.architecture().map(str::to_owned))
}

/// A file's JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, E> {
    serde_json::from_slice(bytes).map_err(|source| E::Json { file: file.to_owned(), source })
}

/// `Qwen3Model._is_qwen3_reranker`.
fn is_reranker(checkpoint: &Checkpoint, h: &Hparams) -> Result<bool, E> {
    const NAMES: [&str; 2] = ["qwen3-reranker", "qwen3-vl-reranker"];
    let folder = checkpoint.folder.to_string_lossy();
    let hints = [checkpoint.name.as_str(), &folder, h.text("model_type").unwrap_or_default()];
    if hints.iter().any(|hint| NAMES.iter().any(|n| hint.to_lowercase().contains(n))) {
        return Ok(true);
    }
    let card = checkpoint.small_file("README.md")?.unwrap_or_default();
    let card = String::from_utf8_lossy(&card).to_lowercase();
    Ok(NAMES.iter().any(|n| card.contains(&format!("# {n}"))))
}
