//! The files of a tokenizer, read once.
//!
//! In: the checkpoint. Out: [`TokenizerFiles`]. `tokenizer.json` is parsed into the parts that are needed, without a
//! tree of its vocabulary: those files are 2 to 30 MB, nearly all of it vocabulary and merges.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::TokenizerError as E;
use crate::checkpoint::Checkpoint;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const CONFIG: &str = "config.json";

/// `tokenizer.json`.
#[derive(serde::Deserialize)]
pub(super) struct TokenizerJson {
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) padding: Option<Value>,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedEntry>,
    #[serde(default)]
    pub(super) normalizer: Option<Value>,
    #[serde(default)]
    pub(super) pre_tokenizer: Option<Value>,
    #[serde(default)]
    pub(super) post_processor: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) decoder: Option<Value>,
    pub(super) model: Model,
}

/// One of `added_tokens`.
#[derive(Clone, serde::Deserialize)]
pub(super) struct AddedEntry {
    pub(super) id: u32,
    pub(super) content: String,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
    pub(super) special: bool,
}

/// `model`, of whatever type.
#[derive(serde::Deserialize)]
pub(super) struct Model {
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) dropout: Option<f32>,
    #[serde(default)]
    pub(super) unk_token: Option<String>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) fuse_unk: Option<bool>,
    #[serde(default)]
    pub(super) byte_fallback: Option<bool>,
    #[serde(default)]
    pub(super) ignore_merges: Option<bool>,
    #[serde(default)]
    pub(super) vocab: Vocabulary,
    #[serde(default)]
    pub(super) merges: Merges,
}

/// Tokens and their ids in the file's order; empty where the model has no map of them (Unigram).
#[derive(Default)]
pub(super) struct Vocabulary(pub(super) Vec<(String, u32)>);

/// Merges in order of rank, in either of the two ways in which they are written.
pub(super) enum Merges {
    /// `"a b"`.
    Joined(Vec<String>),
    /// `["a", "b"]`, since tokens may hold spaces.
    Pairs(Vec<(String, String)>),
}

impl Default for Merges {
    fn default() -> Self {
        Merges::Joined(Vec::new())
    }
}

/// Tells a `null` from an absent key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tokens to ids as `vocab`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = map.next_key::<String>()? {
                    let id =
                        map.next_value().map_err(|e| A::Error::custom(format!("`vocab`: `{token}`: {e}")))?;
                    tokens.push((token, id));
                }
                Ok(Vocabulary(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocabulary, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocabulary::default())
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Merge {
            Joined(String),
            Pair(String, String),
        }

        impl<'de> Deserialize<'de> for Merge {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct V;
                impl<'de> Visitor<'de> for V {
                    type Value = Merge;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a merge as `\"a b\"` or `[\"a\", \"b\"]`")
                    }

                    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Merge, E> {
                        Ok(Merge::Joined(s.to_owned()))
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                        let wrong = |n| A::Error::invalid_length(n, &"two tokens in a merge");
                        let left = seq.next_element()?.ok_or_else(|| wrong(0))?;
                        let right = seq.next_element()?.ok_or_else(|| wrong(1))?;
                        if seq.next_element::<IgnoredAny>()?.is_some() {
                            return Err(wrong(3));
                        }
                        Ok(Merge::Pair(left, right))
                    }
                }
                deserializer.deserialize_any(V)
            }
        }

        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of `merges`")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Merges, E> {
                Ok(Merges::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
                let (mut joined, mut pairs) = (Vec::new(), Vec::new());
                while let Some(merge) = seq.next_element()? {
                    match merge {
                        Merge::Joined(s) => joined.push(s),
                        Merge::Pair(a, b) => pairs.push((a, b)),
                    }
                    if !joined.is_empty() && !pairs.is_empty() {
                        return Err(A::Error::custom("`merges` are both strings and pairs"));
                    }
                }
                Ok(if pairs.is_empty() { Merges::Joined(joined) } else { Merges::Pairs(pairs) })
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// What the folder says about its tokenizer, but for chat templates and slow vocabularies.
pub(super) struct TokenizerFiles<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) tokenizer: Option<TokenizerJson>,
    pub(super) tokenizer_config: Option<Map<String, Value>>,
    /// `config.json` as it stands, without defaults.
    pub(super) config: Option<Map<String, Value>>,
}

impl<'a> TokenizerFiles<'a> {
    /// The configuration files. `tokenizer.json` is read apart, once it is clear that it is wanted.
    pub(super) fn read(checkpoint: &'a Checkpoint) -> Result<Self, E> {
        Ok(TokenizerFiles {
            checkpoint,
            tokenizer: None,
            tokenizer_config: object(checkpoint, TOKENIZER_CONFIG)?,
            config: object(checkpoint, CONFIG)?,
        })
    }

    pub(super) fn read_tokenizer(&mut self) -> Result<(), E> {
        if let Some(bytes) = self.checkpoint.small_file(TOKENIZER)? {
            let json = serde_json::from_slice(&bytes);
            self.tokenizer = Some(json.map_err(|source| E::Json { file: TOKENIZER.to_owned(), source })?);
        }
        Ok(())
    }

    /// A field of `tokenizer_config.json`.
    pub(super) fn option(&self, key: &str) -> Option<&Value> {
        self.tokenizer_config.as_ref()?.get(key)
    }
}

/// A JSON object in a file, or `None` where there is no such file.
pub(super) fn object(checkpoint: &Checkpoint, file: &str) -> Result<Option<Map<String, Value>>, E> {
    let Some(bytes) = checkpoint.small_file(file)? else { return Ok(None) };
    let json = serde_json::from_slice(&bytes).map_err(|source| E::Json { file: file.to_owned(), source })?;
    Ok(Some(json))
}

/// A text file as Python's text mode reads it: all line ends become `\n`.
pub(super) fn text(checkpoint: &Checkpoint, file: &str) -> Result<Option<String>, E> {
    let Some(bytes) = checkpoint.small_file(file)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| E::Encoding(file.to_owned()))?;
    Ok(Some(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }))
}

/// Whether Python takes the value for true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}
