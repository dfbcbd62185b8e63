//! The values that stand at the leaves of a models.yaml: for each, its schema and how it is read and checked.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::model::{Dataset, KvValue, OutType};
use super::problem::{Problem, closest};
use super::read::{At, Entries, FromText, Read, Reader, Wrong, list};
use super::source::{Revision, Source, SourceError};
use super::tree::{Node, Value};
use crate::base::quote::quote;
use crate::base::repo_id::{RepoId, RepoIdError, check_name};
use crate::base::units;
use crate::gguf::GgmlType;

/// A type's schema, which stands wherever a value of it may.
macro_rules! schema {
    ($name:ty, $schema:tt) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

/// A type that is written as text: its schema, and how the text is read.
macro_rules! text_type {
    ($name:ty, $schema:tt, $(unquoted $unquoted:literal,)? |$text:ident, $reader:ident| $read:expr) => {
        schema!($name, $schema);

        impl FromText for $name {
            $(const UNQUOTED: &'static str = $unquoted;)?

            fn from_text($text: &str, $reader: &Reader<'_>) -> Result<Self, Wrong> {
                $read
            }
        }
    };
}

// Behind the macros, which they use.
mod llama_cpp;
mod number;

pub use llama_cpp::is_llama_tag;
pub(crate) use llama_cpp::{LlamaCommit, LlamaPlace, LlamaTag, Subfolder};
pub(crate) use number::{Bound, Context, Count, Share, Version};

impl From<SourceError> for Wrong {
    fn from(error: SourceError) -> Self {
        Wrong { text: error.to_string(), hint: error.hint() }
    }
}

impl From<RepoIdError> for Wrong {
    fn from(error: RepoIdError) -> Self {
        Wrong { text: error.to_string(), hint: error.hint() }
    }
}

/// A method's proper name; that of a vision tower's type may be written as `mmproj: F16`.
#[derive(Clone, Debug)]
pub(crate) struct Method(pub String);
// The schema's lists of methods and types come from the vocabulary: see `schema`.
schema!(Method, {
    "anyOf": [
        { "type": "string", "x-methods": true },
        {
            "type": "object",
            "description": "The model's vision tower, as a file that llama.cpp takes along for pictures.",
            "properties": { "mmproj": { "type": "string", "x-towers": true } },
            "required": ["mmproj"],
            "additionalProperties": false
        }
    ]
});

impl Read for Method {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        const KEY: &str = "mmproj";
        if !matches!(node.value, Value::Map(_)) {
            return MethodText::read(node, reader).map(|MethodText(name)| Method(name));
        }
        let mut entries = Entries::new(node, reader)?;
        entries.require(KEY, "F16", node, reader);
        let tower: Option<At<TowerType>> = entries.take(KEY, reader);
        entries.refuse_others(&[KEY], reader);
        tower.map(|tower| Method(tower.value.0))
    }
}

/// A method by one of its names.
struct MethodText(String);

impl FromText for MethodText {
    fn from_text(text: &str, reader: &Reader<'_>) -> Result<Self, Wrong> {
        reader.vocabulary.method(text).map(|name| MethodText(name.to_owned()))
    }
}

/// The proper name of a vision tower's type.
struct TowerType(String);

impl FromText for TowerType {
    fn from_text(text: &str, reader: &Reader<'_>) -> Result<Self, Wrong> {
        reader.vocabulary.tower(text).map(|name| TowerType(name.to_owned()))
    }
}

text_type!(Source, { "type": "string", "minLength": 1 }, |text, _reader| Ok(Source::parse(text)?));
text_type!(Revision, { "type": "string", "minLength": 1 }, |text, _reader| Ok(Revision::parse(text)?));
text_type!(
    RepoId,
    { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$" },
    |text, _reader| Ok(RepoId::parse(text)?)
);

/// The name of a user or organisation.
#[derive(Clone, Debug)]
pub(crate) struct Owner(pub String);
text_type!(
    Owner,
    { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$" },
    |text, _reader| {
        check_name(text)?;
        Ok(Owner(text.to_owned()))
    }
);

/// Part of a file name that comes first.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(pub String);
text_type!(
    Prefix,
    { "type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9._-]*)?$", "maxLength": 64 },
    |text, _reader| {
        check_prefix(text)?;
        Ok(Prefix(text.to_owned()))
    }
);

/// Checks that a text can begin a file name. Empty is allowed: no prefix.
pub(crate) fn check_prefix(text: &str) -> Result<(), Wrong> {
    if text.is_empty() { Ok(()) } else { check_stem("the prefix", text, 64) }
}

/// A model's name in file names.
#[derive(Clone, Debug)]
pub(crate) struct Stem(pub String);
text_type!(
    Stem,
    { "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": 96 },
    |text, _reader| {
        check_stem("the name", text, 96)?;
        Ok(Stem(text.to_owned()))
    }
);

/// Checks that a text can be part of a file name on every system and of a repository's name.
pub(crate) fn check_stem(what: &str, text: &str, longest: usize) -> Result<(), Wrong> {
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.contains(['/', '\\']) {
        "it holds a path separator".to_owned()
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        "only letters, digits, `-`, `_` and `.` are allowed".to_owned()
    } else if text.starts_with(['-', '.']) {
        "it cannot begin with `-` or `.`".to_owned()
    } else if text.contains("..") || text.contains("--") {
        "`..` and `--` are not allowed".to_owned()
    } else if text.len() > longest {
        format!("at most {longest} characters are allowed")
    } else {
        return Ok(());
    };
    Err(Wrong::new(format!("{what} {} cannot be part of a file name: {why}", quote(text))))
}

/// A type that tensors can be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorTypeName(pub GgmlType);

impl TensorTypeName {
    /// What tensors can be quantized to. The rest are ggml's working types and plain integers.
    pub(crate) fn targets() -> impl Iterator<Item = GgmlType> {
        use GgmlType::{F64, I8, I16, I32, I64, Q8_1, Q8_K};
        GgmlType::ALL.iter().copied().filter(|ty| !matches!(ty, I8 | I16 | I32 | I64 | F64 | Q8_1 | Q8_K))
    }
}

impl JsonSchema for TensorTypeName {
    fn inline_schema() -> bool {
        false
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TensorType".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = TensorTypeName::targets().map(GgmlType::name).collect();
        schemars::json_schema!({ "description": "How a tensor is stored.", "enum": names })
    }
}

impl FromText for TensorTypeName {
    fn from_text(text: &str, _: &Reader<'_>) -> Result<Self, Wrong> {
        if let Some(ty) = TensorTypeName::targets().find(|ty| ty.name().eq_ignore_ascii_case(text)) {
            return Ok(TensorTypeName(ty));
        }
        let names: Vec<&str> = TensorTypeName::targets().map(GgmlType::name).collect();
        let wrong = Wrong::new(format!("unknown tensor type {}", quote(text)));
        Err(match closest(text, names.iter().copied()) {
            Some(near) => wrong.hint(format!("did you mean `{near}`?")),
            None => wrong.hint(format!("the types are {}", list(&names))),
        })
    }
}

schema!(OutType, { "enum": OutType::ALL.map(OutType::name) });

impl FromText for OutType {
    fn from_text(text: &str, _: &Reader<'_>) -> Result<Self, Wrong> {
        let found = OutType::ALL.iter().find(|ty| ty.name().eq_ignore_ascii_case(text));
        let names = OutType::ALL.map(OutType::name);
        found.copied().ok_or_else(|| {
            Wrong::new(format!("unknown output type {}", quote(text)))
                .hint(format!("the types are {}", list(&names)))
        })
    }
}

/// A regular expression that compiles.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(pub String);
text_type!(Pattern, { "type": "string", "minLength": 1, "format": "regex" }, |text, _reader| {
    if text.is_empty() {
        return Err(Wrong::new("the pattern is empty").hint("`.` matches every tensor"));
    }
    match regex::bytes::RegexBuilder::new(&text.to_ascii_lowercase()).unicode(false).size_limit(1 << 20).build() {
        Ok(_) => Ok(Pattern(text.to_owned())),
        Err(regex::Error::CompiledTooBig(_)) => Err(Wrong::new("the pattern is too large")),
        Err(error) => {
            // The last line says why; those before it draw the pattern.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Wrong::new(format!("the pattern is no regular expression: {why}")))
        }
    }
});

/// A size in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub u64);
text_type!(
    Size,
    { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?([KMGTkmgt]([Ii]?[Bb])?|[Bb]([Yy][Tt][Ee][Ss])?)$" },
    unquoted "write it with its unit, such as `45GB`",
    |text, _reader| match units::parse_size(text) {
        Ok(0) => Err(Wrong::new("a size of nothing").hint("write it with its unit, such as `45GB`")),
        Ok(bytes) => Ok(Size(bytes)),
        Err(error) => Err(Wrong::new(format!("{} is no size: {error}", quote(text)))
            .hint("write it with its unit, such as `45GB` or `512MiB`")),
    }
);

/// A path, relative to the folder of the file.
#[derive(Clone, Debug)]
pub(crate) struct FilePath(pub PathBuf);
text_type!(FilePath, { "type": "string", "minLength": 1 }, |text, reader| {
    let text = String::from_text(text, reader)?;
    if text.contains('\n') {
        return Err(Wrong::new("a path holds a line break"));
    }
    Ok(FilePath(PathBuf::from(text)))
});

/// An https address; on this machine, http does.
#[derive(Clone, Debug)]
pub(crate) struct Url(pub String);
text_type!(Url, { "type": "string", "pattern": "^https?://[^/]" }, |text, _reader| {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    let is_here = |host: &String| {
        // An IPv6 address has colons of its own, in brackets.
        let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        ["127.0.0.1", "[::1]", "localhost"].contains(&port.map_or(host.as_str(), |(name, _)| name))
    };
    let host = match text.strip_prefix("https://") {
        Some(rest) => Some(host(rest)),
        None => text.strip_prefix("http://").map(host).filter(is_here),
    };
    match host.as_deref() {
        Some("") | None => {
            Err(Wrong::new(format!("{} is no https address", quote(text))).hint("it begins with `https://`"))
        }
        Some(host) if host.contains('@') => Err(Wrong::new("an address holds a user name or password")
            .hint("secrets have no place in this file")),
        Some(_) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(Wrong::new("an address holds white space or a control character"))
        }
        Some(_) => Ok(Url(text.to_owned())),
    }
});

/// A text to compute or to measure on.
#[derive(Clone, Debug)]
pub(crate) struct DatasetName(pub Dataset);
text_type!(DatasetName, { "type": "string", "minLength": 1 }, |text, reader| {
    Ok(DatasetName(match text {
        "default" => Dataset::BuiltIn,
        address if address.contains("://") => Dataset::Url(Url::from_text(address, reader)?.0),
        path => Dataset::File(FilePath::from_text(path, reader)?.0),
    }))
});

/// The name of a pre-tokenizer.
#[derive(Clone, Debug)]
pub(crate) struct PreTokenizer(pub String);
text_type!(PreTokenizer, { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$" }, |text, _reader| {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(Wrong::new(format!("{} is no name of a pre-tokenizer", quote(text)))
            .hint("the names are those of llama.cpp, such as `qwen2`"));
    }
    Ok(PreTokenizer(text.to_owned()))
});

/// Metadata to set: the type follows from how YAML reads the value.
#[derive(Clone, Debug)]
pub(crate) struct KvOverrides(pub Vec<(String, At<KvValue>)>);

/// Bytes that llama.cpp keeps of a key or text (`llama_model_kv_override`, less the final zero).
const MAX_KV_BYTES: usize = 127;

schema!(KvOverrides, {
    "type": "object",
    "minProperties": 1,
    "propertyNames": { "minLength": 1, "maxLength": MAX_KV_BYTES },
    "additionalProperties": { "type": ["boolean", "number", "string"] },
});

impl Read for KvOverrides {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = Entries::new(node, reader)?.rest();
        if entries.is_empty() {
            reader.report(Problem::new(node.place, "`override_kv` is empty").hint("leave the key out"));
        }
        let mut read = Vec::with_capacity(entries.len());
        for (name, key, node) in entries {
            if name.is_empty() || name.len() > MAX_KV_BYTES {
                reader.report(Problem::new(key.place, format!("a key has from 1 to {MAX_KV_BYTES} bytes")));
            }
            if let Some(value) = reader.value(name, node) {
                read.push((name.to_owned(), value));
            }
        }
        Some(KvOverrides(read))
    }
}

impl Read for KvValue {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(KvValue::Bool(*value)),
            Value::Integer(value) if i64::try_from(*value).is_ok() => {
                i64::try_from(*value).ok().map(KvValue::Integer)
            }
            Value::Float(value) => Some(KvValue::Float(*value)),
            Value::Text(text) if text.len() <= MAX_KV_BYTES => Some(KvValue::Text(text.clone())),
            Value::Text(_) => {
                reader.report(Problem::new(node.place, format!("a text has at most {MAX_KV_BYTES} bytes")));
                None
            }
            Value::Integer(_) => {
                reader.report(Problem::new(node.place, "the number does not fit 64 bits"));
                None
            }
            _ => {
                reader.expected("a boolean, a number or text", node);
                None
            }
        }
    }
}
