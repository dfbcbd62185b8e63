//! The files of a tokenizer, read once.
//!
//! In: the checkpoint. Out: [`TokenizerFiles`]. `tokenizer.json` is parsed into the parts that are needed, without a
//! tree of its vocabulary: those files are 2 to 30 MB, nearly all of it vocabulary and merges.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::TokenizerError as E;
use crate::checkpoint::Checkpoint;
use crate::gguf::Strings;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

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
#[derive(Default, serde::Deserialize)]
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
    pub(super) max_input_chars_per_word: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    pub(super) unk_id: Option<Value>,
    #[serde(default)]
    pub(super) vocab: Vocabulary,
    #[serde(default)]
    pub(super) merges: Merges,
}

/// Tokens and their ids in the file's order.
#[derive(Default)]
pub(super) struct Vocabulary {
    pub(super) tokens: Strings,
    pub(super) ids: Vec<u32>,
    /// One for each token, where the model has a list of both (Unigram).
    pub(super) scores: Vec<f64>,
}

/// Merges in order of rank, in either of the two ways in which they are written.
pub(super) enum Merges {
    /// `"a b"`.
    Joined(Strings),
    /// `["a", "b"]`, since tokens may hold spaces: each two strings are a merge.
    Pairs(Strings),
}

impl Default for Merges {
    fn default() -> Self {
        Merges::Joined(Strings::new())
    }
}

/// Tells a `null` from an absent key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Adds a string of the document to a list, without one of its own.
struct Push<'a>(&'a mut Strings);

impl<'de> DeserializeSeed<'de> for Push<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Push<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<(), E> {
        self.0.push(s);
        Ok(())
    }
}

/// A token of a list, which goes to another one; gives its score.
struct Scored<'a>(&'a mut Strings);

impl<'de> DeserializeSeed<'de> for Scored<'_> {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Scored<'_> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<f64, A::Error> {
        let short = |n| A::Error::invalid_length(n, &"a token and its score");
        seq.next_element_seed(Push(self.0))?.ok_or_else(|| short(0))?;
        let score: serde_json::Number = seq.next_element()?.ok_or_else(|| short(1))?;
        // An integer would be one in the GGUF file as well, where all are of the same type.
        let score = score.as_f64().filter(|_| score.is_f64());
        let score = score.ok_or_else(|| A::Error::custom("`vocab`: a score has no decimal point"))?;
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(short(3)),
            None => Ok(score),
        }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tokens to ids or a list of tokens and scores as `vocab`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut vocabulary = Vocabulary::default();
                while map.next_key_seed(Push(&mut vocabulary.tokens))?.is_some() {
                    let id = map.next_value().map_err(|e| {
                        let tokens = &vocabulary.tokens;
                        let token = String::from_utf8_lossy(&tokens[tokens.len() - 1]);
                        A::Error::custom(format!("`vocab`: `{token}`: {e}"))
                    })?;
                    vocabulary.ids.push(id);
                }
                Ok(vocabulary)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocabulary, A::Error> {
                let mut vocabulary = Vocabulary::default();
                while let Some(score) = seq.next_element_seed(Scored(&mut vocabulary.tokens))? {
                    let id = u32::try_from(vocabulary.ids.len());
                    vocabulary.ids.push(id.map_err(|_| A::Error::custom("`vocab`: too many tokens"))?);
                    vocabulary.scores.push(score);
                }
                Ok(vocabulary)
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A merge, which goes to one of two lists.
        struct Merge<'a> {
            joined: &'a mut Strings,
            pairs: &'a mut Strings,
        }

        impl<'de> DeserializeSeed<'de> for Merge<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for Merge<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge as `\"a b\"` or `[\"a\", \"b\"]`")
            }

            fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<(), E> {
                self.joined.push(s);
                Ok(())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
                for n in 0..2 {
                    seq.next_element_seed(Push(self.pairs))?
                        .ok_or_else(|| A::Error::invalid_length(n, &"two tokens in a merge"))?;
                }
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => Err(A::Error::invalid_length(3, &"two tokens in a merge")),
                    None => Ok(()),
                }
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
                let (mut joined, mut pairs) = (Strings::new(), Strings::new());
                while seq.next_element_seed(Merge { joined: &mut joined, pairs: &mut pairs })?.is_some() {
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
