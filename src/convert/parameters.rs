//! The metadata that comes of the hyper-parameters: `{arch}.*`, `general.file_type`.
//!
//! Order and types: `TextModel.set_gguf_parameters` in the reference's `conversion/base.py`, the overrides of its
//! families, and gguf-py's `GGUFWriter`.

use serde_json::Value as Json;

use super::config::{Config, json};
use super::quantized::Scheme;
use super::{ConvertError as E, OutType};
use crate::arch::hparams::{count, finite, single};
use crate::arch::key::integers;
use crate::arch::{HparamError, Hparams, Key, Model, Rope, Store, When};
use crate::base::file_name::is_safe_path;
use crate::checkpoint::Checkpoint;
use crate::gguf::{Metadata, Value};

/// Version of the quantized types (`GGML_QUANT_VERSION`).
pub(super) const QUANTIZATION_VERSION: u32 = 2;

use Store::{Count, Counts, Single};

/// Keys before those of rope: name, hyper-parameters, type.
const DIMENSIONS: &[(&str, &[&str], Store)] = &[
    (
        "context_length",
        &[
            "max_position_embeddings",
            "n_ctx",
            "n_positions",
            "max_length",
            "max_sequence_length",
            "model_max_length",
        ],
        Count,
    ),
    ("embedding_length", &["hidden_size", "n_embd", "dim"], Count),
    (
        "feed_forward_length",
        &[
            "prefix_dense_intermediate_size",
            "dense_intermediate_size",
            "intermediate_size",
            "n_inner",
            "hidden_dim",
        ],
        Counts,
    ),
    ("attention.head_count", &["num_attention_heads", "n_head", "n_heads"], Counts),
    ("attention.head_count_kv", &["num_key_value_heads", "n_kv_heads"], Counts),
];

/// Keys after those of rope.
const NORMS_AND_EXPERTS: &[(&str, &[&str], Store)] = &[
    ("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "norm_eps"], Single),
    ("attention.layer_norm_epsilon", &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"], Single),
    ("expert_count", &["num_local_experts", "num_experts", "n_routed_experts"], Count),
    ("expert_used_count", &["num_experts_per_tok", "num_experts_per_token", "top_k_experts"], Counts),
    ("expert_group_count", &["n_group"], Count),
    ("expert_group_used_count", &["topk_group"], Count),
];

/// Names of the function that scores experts.
const GATING: &[&str] = &[
    "score_function",
    "scoring_func",
    "score_func",
    "moe_router_activation",
    "moe_router_activation_func",
    "expert_selection_fn",
];

/// `ExpertGatingFuncType`.
const GATING_FUNCTIONS: &[(&str, u32)] = &[("softmax", 1), ("sigmoid", 2), ("sqrtsoftplus", 4)];

struct Keys<'a> {
    arch: &'static str,
    out: &'a mut Metadata,
}

impl Keys<'_> {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.out.set(format!("{}.{key}", self.arch), value);
    }

    fn table(&mut self, model: &Model<'_>, table: &[(&str, &[&str], Store)]) -> Result<(), HparamError> {
        for (key, names, store) in table {
            if let Some(value) = model.value(*store, When::Given, names)? {
                self.set(key, value);
            }
        }
        Ok(())
    }
}

/// Writes the keys of the hyper-parameters, and `general.file_type` and `general.quantization_version` among them.
pub(super) fn write(
    checkpoint: &Checkpoint,
    config: &Config,
    rope: &Rope,
    out_type: OutType,
    out: &mut Metadata,
) -> Result<(), E> {
    let model = Model { hparams: &config.stated, rope, file: &config.file };
    let mut keys = Keys { arch: config.family.name, out };
    let layers = config.family.layers(&config.stated)?;
    let source = Source {
        checkpoint,
        model: &model,
        layers,
        file_type: file_type(out_type, &config.scheme),
        is_reranker: config.answers.is_some(),
    };
    write_keys(config.family.keys, &source, &mut keys)?;
    keys.out.set("general.quantization_version", QUANTIZATION_VERSION);
    Ok(())
}

/// What keys are written of.
struct Source<'a> {
    checkpoint: &'a Checkpoint,
    model: &'a Model<'a>,
    layers: u32,
    file_type: u32,
    is_reranker: bool,
}

fn write_keys(list: &[Key], source: &Source<'_>, keys: &mut Keys<'_>) -> Result<(), E> {
    let model = source.model;
    for key in list {
        match key {
            Key::Common => {
                keys.set("block_count", source.layers);
                write_common(model, keys)?;
                keys.out.set("general.file_type", source.file_type);
            }
            Key::FileType => keys.out.set("general.file_type", source.file_type),
            Key::Pooling => write_pooling(source.checkpoint, model.hparams, keys)?,
            Key::Ranking if source.is_reranker => write_ranking(keys),
            Key::Ranking => {}
            Key::All(list) => write_keys(list, source, keys)?,
            Key::Of(key, store, when, names) => {
                if let Some(value) = model.value(*store, *when, names)? {
                    keys.set(key, value);
                }
            }
            Key::Is(key, value) => match value(model)? {
                Some(Value::F32(value)) => keys.set(key, finite(key, value)?),
                Some(value) => keys.set(key, value),
                None => {}
            },
            Key::Whole(key, value) => {
                if let Some(value) = value(model)? {
                    keys.out.set(*key, value);
                }
            }
        }
    }
    Ok(())
}

/// What `TextModel.set_gguf_parameters` has between the number of layers and the type.
fn write_common(model: &Model<'_>, keys: &mut Keys<'_>) -> Result<(), HparamError> {
    let h = model.hparams;
    keys.table(model, DIMENSIONS)?;
    if h.get("is_causal") == Some(&Json::Bool(false)) {
        keys.set("attention.causal", false);
    }
    write_rope(keys, model.rope)?;
    keys.table(model, NORMS_AND_EXPERTS)?;
    if let Some((name, value)) = h.find(GATING) {
        let id = GATING_FUNCTIONS.iter().find(|(f, _)| value == f).map(|(_, id)| *id);
        keys.set("expert_gating_func", id.ok_or_else(|| HparamError::unsupported(name, value))?);
    }
    if let Some(width) = h.count(&["head_dim"])? {
        keys.set("attention.key_length", width);
        keys.set("attention.value_length", width);
    }
    Ok(())
}

/// `general.file_type`; that of MXFP4 where experts are of it and the rest is not quantized.
fn file_type(out_type: OutType, scheme: &Scheme) -> u32 {
    const MOSTLY_MXFP4: u32 = 38;
    match (scheme, out_type) {
        (_, OutType::Q8_0) => out_type.file_type(),
        (Scheme::Mxfp4, _) => MOSTLY_MXFP4,
        _ => out_type.file_type(),
    }
}

fn write_rope(keys: &mut Keys<'_>, rope: &Rope) -> Result<(), HparamError> {
    const CONTEXT: &str = "original_max_position_embeddings";
    if let Some(kind) = rope.get("rope_type") {
        let kind = kind.as_str().ok_or_else(|| HparamError::wrong("rope_type", kind, "a string"))?;
        match (kind, rope.get("factor")) {
            ("linear", Some(factor)) => {
                keys.set("rope.scaling.type", "linear");
                keys.set("rope.scaling.factor", single("factor", factor)?);
            }
            ("yarn", Some(factor)) => {
                keys.set("rope.scaling.type", "yarn");
                keys.set("rope.scaling.factor", single("factor", factor)?);
                let context = rope.get(CONTEXT).ok_or_else(|| HparamError::missing(&[CONTEXT]))?;
                keys.set("rope.scaling.original_context_length", count(CONTEXT, context)?);
                let optional: [(&str, &[&str]); 4] = [
                    ("yarn_ext_factor", &["extrapolation_factor"]),
                    ("yarn_attn_factor", &["attention_factor", "attn_factor"]),
                    ("yarn_beta_fast", &["beta_fast"]),
                    ("yarn_beta_slow", &["beta_slow"]),
                ];
                for (key, names) in optional {
                    if let Some(value) = rope.find(names) {
                        keys.set(&format!("rope.scaling.{key}"), single(names[0], value)?);
                    }
                }
            }
            ("su" | "longrope", _) => keys.set("rope.scaling.type", "longrope"),
            // Llama 3's is a tensor; others are left to the runtime.
            _ => {}
        }
    }
    if let Some(value) = rope.whole("mrope_section") {
        /// Time, height, width and one more.
        const SECTIONS: usize = 4;
        let sections =
            value.as_array().ok_or_else(|| HparamError::wrong("mrope_section", value, "a list"))?;
        let mut sections = sections.clone();
        sections.resize(SECTIONS.max(sections.len()), 0.into());
        sections.truncate(SECTIONS);
        if let Some(sections) = integers("mrope_section", &sections.into())? {
            keys.set("rope.dimension_sections", sections);
        }
    }
    if let Some(theta) = rope.get("rope_theta") {
        keys.set("rope.freq_base", single("rope_theta", theta)?);
    }
    if let Some(theta) =
        rope.whole("sliding_attention").and_then(|s| s.get("rope_theta")).filter(|v| !v.is_null())
    {
        keys.set("rope.freq_base_swa", single("rope_theta", theta)?);
    }
    Ok(())
}

/// `PoolingType`.
const MEAN: u32 = 1;
const CLS: u32 = 2;
const LAST: u32 = 3;
const RANK: u32 = 4;

/// `Qwen3Model.set_gguf_parameters`: a reranker is asked for a yes or a no.
fn write_ranking(keys: &mut Keys<'_>) {
    const QUESTION: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and \
        the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n<Instruct>: \
        Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: \
        {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    keys.set("pooling_type", RANK);
    keys.set("classifier.output_labels", vec!["yes".to_owned(), "no".to_owned()]);
    keys.out.set("tokenizer.chat_template.rerank", QUESTION);
    keys.out.set("tokenizer.chat_templates", vec!["rerank".to_owned()]);
}

/// `TextModel._try_set_pooling_type`: sentence-transformers' modules, and a classifier's pooling.
fn write_pooling(checkpoint: &Checkpoint, h: &Hparams, keys: &mut Keys<'_>) -> Result<(), E> {
    const MODULES: &str = "modules.json";
    let pooling = |file: &str, why| E::Pooling { file: file.to_owned(), why };
    if let Some(bytes) = checkpoint.small_file(MODULES)? {
        let modules: Vec<Json> = json(MODULES, &bytes)?;
        let is_pooling = |m: &&Json| m["type"].as_str().is_some_and(|t| t.ends_with("Pooling"));
        if let Some(module) = modules.iter().find(is_pooling) {
            let path =
                module["path"].as_str().ok_or_else(|| pooling(MODULES, "the pooling module has no path"))?;
            if !path.is_empty() && !is_safe_path(path) {
                return Err(pooling(MODULES, "the pooling module has no path below the folder"));
            }
            let file = if path.is_empty() { "config.json".to_owned() } else { format!("{path}/config.json") };
            let bytes =
                checkpoint.small_file(&file)?.ok_or_else(|| pooling(&file, "there is no such file"))?;
            let settings: Json = json(&file, &bytes)?;
            keys.set(
                "pooling_type",
                pooling_type(&settings).ok_or_else(|| pooling(&file, "unknown pooling"))?,
            );
        }
    }
    if let Some(value) = h.get("classifier_pooling") {
        let id = match value.as_str() {
            Some("mean") => MEAN,
            Some("cls") => CLS,
            _ => return Err(HparamError::unsupported("classifier_pooling", value).into()),
        };
        keys.set("classifier.pooling_type", id);
    }
    Ok(())
}

fn pooling_type(settings: &Json) -> Option<u32> {
    let flags = [
        ("pooling_mode_mean_tokens", MEAN),
        ("pooling_mode_cls_token", CLS),
        ("pooling_mode_lasttoken", LAST),
    ];
    let set = |key: &str| settings[key].as_bool().unwrap_or(false);
    if let Some((_, id)) = flags.iter().find(|(key, _)| set(key)) {
        return Some(*id);
    }
    match settings["pooling_mode"].as_str()? {
        "mean" => Some(MEAN),
        "cls" => Some(CLS),
        "lasttoken" => Some(LAST),
        _ => None,
    }
}
