//! What may be changed about a method: the options of `llama-quantize`, typed.
//!
//! In: the texts that people write (`attn_v=q8_0`, `llama.context_length=int:4096`, `0,3,4`). Out: [`Options`].
//! Nothing here looks at a model. Source: `tools/quantize/quantize.cpp`, `string_parse_kv_override` in
//! `common/common.cpp`.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

use crate::config::KvValue;
use crate::gguf::{GgmlType, Value};

/// Longest string, in bytes, that the reference puts into the metadata by an override.
const MAX_TEXT: usize = 127;

/// Everything that changes what a method does. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The method's default type for every tensor that is quantized at all (`--pure`).
    pub pure: bool,
    /// `output.weight` stays as it is (`--leave-output-tensor`).
    pub leave_output_tensor: bool,
    /// Type of `output.weight`, or of tied embeddings (`--output-tensor-type`).
    pub output_tensor_type: Option<GgmlType>,
    /// Type of the token embeddings (`--token-embedding-type`).
    pub token_embedding_type: Option<GgmlType>,
    /// Types by name; the first that matches wins (`--tensor-type`).
    pub tensor_types: Vec<TensorType>,
    /// Layers to leave out (`--prune-layers`).
    pub prune_layers: Vec<u32>,
    /// Metadata to set in the output, in this order (`--override-kv`).
    pub override_kv: Vec<Override>,
    /// Whether tensors that are quantized already may be quantized again (`--allow-requantize`).
    pub allow_requantize: bool,
    /// Only types and sizes are asked for: quantizing again and types without the importance that they require are let
    /// by (`--dry-run`).
    pub dry_run: bool,
    /// The tensors stay in the order of the input's files; see [`split::keep`](super::split::keep).
    pub keep_split: bool,
    /// The importance matrix that is used, as the header names it.
    pub imatrix: Option<ImatrixOrigin>,
}

/// Why an option was refused.
#[derive(Debug, Error)]
pub enum OptionError {
    /// No `=` where one belongs.
    #[error("`{0}` is not of the form `name=value`")]
    Form(String),
    /// A type that ggml does not have.
    #[error("unknown tensor type `{0}`")]
    UnknownType(String),
    /// A type into which nothing is quantized (`Q8_1`, `I32`).
    #[error("tensors cannot be quantized to `{0}`")]
    NoTarget(GgmlType),
    /// A pattern that is no regular expression.
    #[error("bad pattern `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: regex::Error,
    },
    /// An override whose type is none of int, float, bool, str.
    #[error("override of `{key}`: the value must start with `int:`, `float:`, `bool:` or `str:`")]
    OverrideType {
        /// The key.
        key: String,
    },
    /// An override whose value is not of its type.
    #[error("override of `{key}`: `{value}` is no {ty}")]
    OverrideValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it should be.
        ty: &'static str,
    },
    /// A key or value beyond 127 bytes, the reference's limit.
    #[error("override of `{key}`: key and value may have at most 127 bytes")]
    OverrideLength {
        /// The key.
        key: String,
    },
    /// A layer that is no number.
    #[error("`{0}` is no layer number")]
    Layer(String),
}

/// The type that tensors whose name matches a pattern get.
///
/// The reference searches the name with `std::regex` in its ECMAScript grammar; so does this, anywhere in the name,
/// the first match winning. It lowers the pattern's letters first, and so does this (`\D` becomes `\d`, there as here).
/// What differs: look-around and back-references are refused here; inside brackets, `[`, `&&`, `--` and `~~` are operators
/// here and must be escaped; flags such as `(?i)` are understood here only.
#[derive(Clone)]
pub struct TensorType {
    pattern: String,
    regex: Regex,
    /// The type.
    pub ty: GgmlType,
}

impl TensorType {
    /// A pattern and the type for the tensors that it matches.
    ///
    /// # Errors
    /// The pattern is bad, or nothing can be quantized to the type.
    pub fn new(pattern: &str, ty: GgmlType) -> Result<Self, OptionError> {
        let pattern = pattern.to_ascii_lowercase();
        let regex = RegexBuilder::new(&pattern)
            .unicode(false)
            .build()
            .map_err(|source| OptionError::Pattern { pattern: pattern.clone(), source })?;
        Ok(Self { pattern, regex, ty: target(ty)? })
    }

    /// Reads `pattern=type`, as `--tensor-type` has it. The first `=` divides.
    ///
    /// # Errors
    /// There is no `=`, the type is unknown, or what [`TensorType::new`] refuses.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        match text.split_once('=') {
            Some((pattern, ty)) if !pattern.is_empty() => Self::new(pattern, parse_type(ty)?),
            _ => Err(OptionError::Form(text.to_owned())),
        }
    }

    /// Reads the text of a `--tensor-type-file`: `pattern=type`, divided by white space.
    ///
    /// # Errors
    /// The first of [`TensorType::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, OptionError> {
        text.split_whitespace().map(Self::parse).collect()
    }

    /// The pattern, in lower case.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the pattern is found in the name.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name.as_bytes())
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.ty)
    }
}

impl PartialEq for TensorType {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, self.ty) == (&other.pattern, other.ty)
    }
}

/// The type of this name (either case), as `--output-tensor-type` and `--tensor-type` take it.
///
/// # Errors
/// No type has the name, or it is one into which nothing is quantized.
pub fn parse_type(name: &str) -> Result<GgmlType, OptionError> {
    target(GgmlType::from_name(name).ok_or_else(|| OptionError::UnknownType(name.to_owned()))?)
}

fn target(ty: GgmlType) -> Result<GgmlType, OptionError> {
    use GgmlType::{F64, I8, I16, I32, I64, Q8_1, Q8_K};
    match ty {
        I8 | I16 | I32 | I64 | F64 | Q8_1 | Q8_K => Err(OptionError::NoTarget(ty)),
        _ => Ok(ty),
    }
}

/// Reads a list of layers, `0,3,4`.
///
/// # Errors
/// An item that is no number.
pub fn parse_layers(text: &str) -> Result<Vec<u32>, OptionError> {
    let mut layers = text
        .split(',')
        .map(|item| item.trim().parse().map_err(|_| OptionError::Layer(item.to_owned())))
        .collect::<Result<Vec<u32>, _>>()?;
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

/// A metadata key to set, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The key.
    pub key: String,
    /// The value, by the reference's four kinds.
    pub value: KvValue,
}

impl Override {
    /// A key and its value.
    ///
    /// # Errors
    /// The key, or a text, is beyond 127 bytes.
    pub fn new(key: &str, value: KvValue) -> Result<Self, OptionError> {
        let key = key.to_owned();
        let text = if let KvValue::Text(text) = &value { text.len() } else { 0 };
        if key.len().max(text) > MAX_TEXT {
            return Err(OptionError::OverrideLength { key });
        }
        Ok(Self { key, value })
    }

    /// Reads `key=int:5`, `key=float:0.5`, `key=bool:true` or `key=str:text`.
    ///
    /// Stricter than the reference, which takes `int:abc` for 0.
    ///
    /// # Errors
    /// Another form, an unknown kind, a value that is not of its kind, or a text beyond 127 bytes.
    pub fn parse(text: &str) -> Result<Self, OptionError> {
        let (key, typed) = text.split_once('=').ok_or_else(|| OptionError::Form(text.to_owned()))?;
        let key = key.to_owned();
        let Some((ty, value)) = typed.split_once(':') else {
            return Err(OptionError::OverrideType { key });
        };
        let bad = |ty| OptionError::OverrideValue { key: key.clone(), value: value.to_owned(), ty };
        let value = match ty {
            "int" => KvValue::Integer(value.trim().parse().map_err(|_| bad("integer"))?),
            "float" => KvValue::Float(value.trim().parse().map_err(|_| bad("number"))?),
            "bool" => KvValue::Bool(value.parse().map_err(|_| bad("boolean (`true` or `false`)"))?),
            "str" => KvValue::Text(value.to_owned()),
            _ => return Err(OptionError::OverrideType { key }),
        };
        Self::new(&key, value)
    }

    /// The value as the reference writes it: integers as the u32 of their magnitude, floats as f32.
    pub fn to_metadata(&self) -> Value {
        match &self.value {
            KvValue::Integer(v) => Value::U32(v.unsigned_abs() as u32),
            KvValue::Float(v) => Value::F32(*v as f32),
            KvValue::Bool(v) => Value::Bool(*v),
            KvValue::Text(v) => Value::String(v.clone()),
        }
    }
}

/// As [`Override::parse`] reads it.
impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.value {
            KvValue::Integer(v) => write!(f, "{key}=int:{v}"),
            KvValue::Float(v) => write!(f, "{key}=float:{v}"),
            KvValue::Bool(v) => write!(f, "{key}=bool:{v}"),
            KvValue::Text(v) => write!(f, "{key}=str:{v}"),
        }
    }
}

/// Where an importance matrix came from: the keys `quantize.imatrix.*` of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImatrixOrigin {
    /// Path of the file, as it was given.
    pub file: String,
    /// The first data set that it was computed on, if the file says so.
    pub dataset: Option<String>,
    /// Number of tensors in it.
    pub entries: u32,
    /// Number of chunks that it was computed on, if known.
    pub chunks: Option<u32>,
}

impl ImatrixOrigin {
    /// The keys and values, in the reference's order. Texts are cut to 127 bytes, as there (here: to whole characters).
    pub fn to_metadata(&self) -> Vec<(&'static str, Value)> {
        let mut pairs = vec![("quantize.imatrix.file", cut(&self.file).into())];
        if let Some(dataset) = &self.dataset {
            pairs.push(("quantize.imatrix.dataset", cut(dataset).into()));
        }
        pairs.push(("quantize.imatrix.entries_count", self.entries.into()));
        if let Some(chunks) = self.chunks.filter(|n| *n > 0) {
            pairs.push(("quantize.imatrix.chunks_count", chunks.into()));
        }
        pairs
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_types_search_anywhere_and_ignore_the_patterns_case() {
        let t = TensorType::parse(r"BLK\.[0-3]\.attn_v=Q8_0").expect("valid");
        assert_eq!((t.pattern(), t.ty), (r"blk\.[0-3]\.attn_v", GgmlType::Q8_0));
        assert!(t.matches("blk.2.attn_v.weight"));
        assert!(!t.matches("blk.4.attn_v.weight"));
    }

    #[test]
    fn bad_options_say_what_is_wrong() {
        for (text, message) in [
            ("attn_v", "`attn_v` is not of the form `name=value`"),
            ("=q8_0", "`=q8_0` is not of the form `name=value`"),
            ("attn_v=q9", "unknown tensor type `q9`"),
            ("attn_v=i32", "tensors cannot be quantized to `I32`"),
            ("attn_(v=q8_0", "bad pattern `attn_(v`"),
            ("(?=attn)v=q8_0", "unknown tensor type `attn)v=q8_0`"),
        ] {
            assert_eq!(TensorType::parse(text).expect_err(text).to_string(), message);
        }
        for (text, message) in [
            ("a.b", "`a.b` is not of the form `name=value`"),
            ("a.b=4", "override of `a.b`: the value must start with `int:`, `float:`, `bool:` or `str:`"),
            (
                "a.b=uint:4",
                "override of `a.b`: the value must start with `int:`, `float:`, `bool:` or `str:`",
            ),
            ("a.b=int:4x", "override of `a.b`: `4x` is no integer"),
            ("a.b=bool:yes", "override of `a.b`: `yes` is no boolean (`true` or `false`)"),
        ] {
            assert_eq!(Override::parse(text).expect_err(text).to_string(), message);
        }
        assert!(Override::parse(&format!("a=str:{}", "x".repeat(127))).is_ok());
        assert!(Override::parse(&format!("a=str:{}", "x".repeat(128))).is_err());
        assert!(parse_layers("1,x").is_err());
        assert_eq!(parse_layers("3,1,3").expect("valid"), [1, 3]);
    }

    #[test]
    fn overrides_become_the_references_types() {
        let value = |text| {
            let parsed = Override::parse(text).expect("valid");
            assert_eq!(parsed.to_string(), text);
            parsed.to_metadata()
        };
        assert_eq!(value("k=int:-5"), Value::U32(5));
        assert_eq!(value("k=float:0.1"), Value::F32(0.1));
        assert_eq!(value("k=bool:false"), Value::Bool(false));
        assert_eq!(value("k=str:a:b=c"), Value::String("a:b=c".to_owned()));
    }
}
