//! The `general.*` metadata of a converted model: who made it, from what, under which licence, how to sample from it.
//!
//! In: the model card, `config.json`, `generation_config.json`, the folder's name, the parameter counts, and what the
//! user sets. Out: keys in the reference's order and with its types, byte for byte what gguf-py's `Metadata.load` and
//! `set_gguf_meta_model` give. Where the reference's converter ends with a Python exception because of something in
//! a card (broken YAML, a version that YAML takes for a number), that part is left out and a [`Notice`] says so: a
//! card is no reason to have no model. It refuses wrong types in the user's own override.

mod gather;
mod name;
mod size;

use thiserror::Error;

use self::gather::{Fields, RELATED};
use crate::base::front_matter::{FrontMatterError, Kind, Node};
use crate::gguf::{Array, Metadata, Value};

pub use self::name::{Components, title};
pub use self::size::Counts;

/// What the metadata is derived from.
#[derive(Clone, Copy, Debug)]
pub struct GeneralSource<'a> {
    /// The folder's name, without its path.
    pub folder: &'a str,
    /// `README.md`, if there is one.
    pub card: Option<&'a [u8]>,
    /// `config.json` as it stands in the folder.
    pub config: &'a serde_json::Value,
    /// `generation_config.json`, if there is one.
    pub generation_config: Option<&'a [u8]>,
    /// Parameters of the output tensors.
    pub counts: Counts,
    /// The name that the user gave (`--model-name`).
    pub model_name: Option<&'a str>,
    /// The user's own metadata (`--metadata`): GGUF keys, and `general.base_models` and `general.datasets`.
    pub overrides: Option<&'a serde_json::Value>,
}

/// Why the user's own metadata was refused.
#[derive(Debug, Error)]
pub enum GeneralError {
    /// The override is no JSON object.
    #[error("the metadata override is no JSON object")]
    NotAnObject,
    /// A key whose value has a type that it cannot have.
    #[error("the metadata override has a value of the wrong type for `{0}`")]
    WrongType(String),
}

/// Something in the model's files that could not be used.
#[derive(Debug, Error)]
pub enum Notice {
    /// The card was left out.
    #[error("the model card was left out: {0}")]
    Card(#[source] FrontMatterError),
    /// `generation_config.json` was left out.
    #[error("`generation_config.json` was left out: {0}")]
    GenerationConfig(#[source] serde_json::Error),
    /// One value was left out.
    #[error("`{key}` was left out: `{value}` is not of its type")]
    Value {
        /// The key that it would have had in the GGUF file, or its key in `config.json`.
        key: String,
        /// The value, shortened.
        value: String,
    },
}

/// What was found out beside the metadata itself.
#[derive(Debug)]
pub struct Written {
    /// What could not be used.
    pub notices: Vec<Notice>,
    stem: String,
}

impl Written {
    /// The file name that the reference gives a conversion to this type (`Qwen2.5-0.5B-Instruct-BF16.gguf`).
    /// Source: `naming_convention` of gguf-py.
    pub fn file_name(&self, out_type: &str) -> String {
        format!("{}-{}.gguf", self.stem, out_type.to_uppercase())
    }
}

/// Writes the metadata: `general.sampling.*` and all from `general.name` to `general.languages`.
/// `general.architecture` and `general.type` come before it and are not written here.
///
/// # Errors
/// [`GeneralError`] if the user's override cannot be used. Nothing in the model's own files is an error.
pub fn write(source: &GeneralSource<'_>, out: &mut Metadata) -> Result<Written, GeneralError> {
    let mut notices = Vec::new();
    let fields = gather::gather(source, &mut notices)?;
    let stem = stem(&fields);
    let mut writer = Writer { out, overrides: source.overrides, notices };
    writer.fields(&fields)?;
    Ok(Written { notices: writer.notices, stem })
}

/// How a value is stored.
#[derive(Clone, Copy)]
enum Store {
    String,
    Int,
    Float,
}

/// Keys under `general.` that hold one value, in the order in which they are written, by the name of their field.
const SINGLE: &[(&str, &str, Store)] = &[
    ("sampling_sequence", "sampling.sequence", Store::String),
    ("sampling_top_k", "sampling.top_k", Store::Int),
    ("sampling_top_p", "sampling.top_p", Store::Float),
    ("sampling_min_p", "sampling.min_p", Store::Float),
    ("sampling_xtc_probability", "sampling.xtc_probability", Store::Float),
    ("sampling_xtc_threshold", "sampling.xtc_threshold", Store::Float),
    ("sampling_temp", "sampling.temp", Store::Float),
    ("sampling_penalty_last_n", "sampling.penalty_last_n", Store::Int),
    ("sampling_penalty_repeat", "sampling.penalty_repeat", Store::Float),
    ("sampling_mirostat", "sampling.mirostat", Store::Int),
    ("sampling_mirostat_tau", "sampling.mirostat_tau", Store::Float),
    ("sampling_mirostat_eta", "sampling.mirostat_eta", Store::Float),
    ("name", "name", Store::String),
    ("author", "author", Store::String),
    ("version", "version", Store::String),
    ("organization", "organization", Store::String),
    ("finetune", "finetune", Store::String),
    ("basename", "basename", Store::String),
    ("description", "description", Store::String),
    ("quantized_by", "quantized_by", Store::String),
    ("size_label", "size_label", Store::String),
    ("license", "license", Store::String),
    ("license_name", "license.name", Store::String),
    ("license_link", "license.link", Store::String),
    ("url", "url", Store::String),
    ("doi", "doi", Store::String),
    ("uuid", "uuid", Store::String),
    ("repo_url", "repo_url", Store::String),
    ("source_url", "source.url", Store::String),
    ("source_doi", "source.doi", Store::String),
    ("source_uuid", "source.uuid", Store::String),
    ("source_repo_url", "source.repo_url", Store::String),
];

struct Writer<'a> {
    out: &'a mut Metadata,
    overrides: Option<&'a serde_json::Value>,
    notices: Vec<Notice>,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &Fields) -> Result<(), GeneralError> {
        for (field, key, store) in SINGLE {
            let Some(node) = fields.get(field) else { continue };
            let key = format!("general.{key}");
            let value = match (store, node) {
                (Store::Int, _) => int(node).map(Value::I32),
                (Store::Float, _) => float(node).map(Value::F32),
                (Store::String, Node::List(_)) if *field == "license" => joined(node),
                (Store::String, _) if !node.is_truthy() => continue,
                (Store::String, _) => node.as_text().map(Value::from),
            };
            match value {
                // A list of licences may be empty.
                Some(Value::String(text)) if text.is_empty() => {}
                Some(value) => self.out.set(key, value),
                None => self.refuse(&key, &key, node)?,
            }
        }
        self.related("base_model", "general.base_models", fields.base_models.as_deref())?;
        self.related("dataset", "general.datasets", fields.datasets.as_deref())?;
        self.array("general.tags", fields.tags.as_deref())?;
        self.array("general.languages", fields.languages.as_deref())
    }

    /// A count, and what is known of each base model or dataset.
    fn related(&mut self, what: &str, from: &str, entries: Option<&[Node]>) -> Result<(), GeneralError> {
        let Some(entries) = entries else { return Ok(()) };
        self.out.set(format!("general.{what}.count"), entries.len() as u32);
        for (i, entry) in entries.iter().enumerate() {
            for part in RELATED {
                let Some(node) = entry.get(part).filter(|node| node.is_truthy()) else { continue };
                let key = format!("general.{what}.{i}.{part}");
                match node.as_text() {
                    Some(text) => self.out.set(key, text),
                    None => self.refuse(from, &key, node)?,
                }
            }
        }
        Ok(())
    }

    /// Values of one type; an empty list has no key.
    fn array(&mut self, key: &str, items: Option<&[Node]>) -> Result<(), GeneralError> {
        let Some(items) = items.filter(|items| !items.is_empty()) else { return Ok(()) };
        let kind = |node: &Node| match node {
            Node::Scalar(_, kind) => *kind,
            _ => Kind::Other,
        };
        let array = match kind(&items[0]) {
            Kind::Text => items.iter().map(Node::as_text).collect::<Option<Vec<_>>>().map(Array::strings),
            Kind::Bool(_) => {
                let bools = items.iter().map(|n| if let Kind::Bool(b) = kind(n) { Some(b) } else { None });
                bools.collect::<Option<_>>().map(Array::Bool)
            }
            Kind::Int(_) => {
                let ints = items.iter().map(|n| if let Kind::Int(_) = kind(n) { int(n) } else { None });
                ints.collect::<Option<_>>().map(Array::I32)
            }
            Kind::Float(_) => {
                let floats = items.iter().map(|n| if let Kind::Float(_) = kind(n) { float(n) } else { None });
                floats.collect::<Option<_>>().map(Array::F32)
            }
            Kind::Null | Kind::Other => None,
        };
        match array {
            Some(array) => self.out.set(key, Value::Array(array)),
            None => self.refuse(key, key, &Node::List(items.to_vec()))?,
        }
        Ok(())
    }

    /// Leaves a value out; an error if the user set it (under the key `from`).
    fn refuse(&mut self, from: &str, key: &str, node: &Node) -> Result<(), GeneralError> {
        if self.overrides.is_some_and(|o| o.get(from).is_some()) {
            return Err(GeneralError::WrongType(from.to_owned()));
        }
        self.notices.push(Notice::value(key, node));
        Ok(())
    }
}

impl Notice {
    fn value(key: &str, node: &Node) -> Self {
        let mut value = match node {
            Node::Scalar(text, _) => text.clone(),
            Node::List(items) => format!("a list of {}", items.len()),
            Node::Map(pairs) => format!("a mapping of {}", pairs.len()),
        };
        if let Some((at, _)) = value.char_indices().nth(60) {
            value.truncate(at);
            value.push('…');
        }
        Notice::Value { key: key.to_owned(), value }
    }
}

/// An integer as Python packs it into 32 bits; truth values are integers there.
fn int(node: &Node) -> Option<i32> {
    match node {
        Node::Scalar(_, Kind::Int(Some(n))) => i32::try_from(*n).ok(),
        Node::Scalar(_, Kind::Bool(b)) => Some(i32::from(*b)),
        _ => None,
    }
}

/// A number as Python packs it into a 32-bit float: what would become infinite is refused.
fn float(node: &Node) -> Option<f32> {
    let Node::Scalar(text, kind) = node else { return None };
    let x = match kind {
        Kind::Float(x) => *x,
        Kind::Int(Some(n)) => *n as f64,
        Kind::Int(None) => text.parse().ok()?,
        Kind::Bool(b) => f64::from(*b),
        Kind::Null | Kind::Text | Kind::Other => return None,
    };
    let narrow = x as f32;
    (narrow.is_finite() || !x.is_finite()).then_some(narrow)
}

/// Several licences in one string.
fn joined(node: &Node) -> Option<Value> {
    let Node::List(items) = node else { return None };
    let texts = items.iter().map(Node::as_text).collect::<Option<Vec<_>>>()?;
    Some(Value::String(texts.join(",")))
}

fn stem(fields: &Fields) -> String {
    let text = |field: &str| fields.get(field).and_then(Node::as_text);
    let joined = |field: &str| text(field).map(|t| t.trim().replace(' ', "-"));
    let base = joined("basename").or_else(|| joined("name")).map(|t| t.replace('/', "-"));
    let mut stem = base.unwrap_or_else(|| "ggml-model".to_owned());
    // The reference leaves spaces in the size alone.
    for part in
        [text("size_label").map(str::to_owned), joined("finetune"), joined("version")].into_iter().flatten()
    {
        stem.push('-');
        stem.push_str(&part);
    }
    stem
}

#[cfg(test)]
mod tests;
