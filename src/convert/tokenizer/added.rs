//! Special and added tokens, as transformers gathers them from the folder's files before it loads a tokenizer.
//!
//! Source: transformers 4.57.6, `PreTrainedTokenizerBase._from_pretrained`, `SpecialTokensMixin.__init__` and
//! `PreTrainedTokenizerFast.__init__`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::TokenizerError as E;
use super::class::{Class, Mask};
use super::json::{ADDED_TOKENS, AddedEntry, TOKENIZER_CONFIG, TokenizerFiles, object};

const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDITIONAL: &str = "additional_special_tokens";

/// The attributes that hold one special token each, in order; [`ADDITIONAL`] follows.
const ATTRIBUTES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// An added token whose `normalized` may follow from `special`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Token {
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: Option<bool>,
    special: bool,
}

impl Token {
    fn special(content: &str) -> Self {
        Token { content: content.to_owned(), special: true, ..Token::default() }
    }

    fn from_json(file: &str, field: &str, json: &Map<String, Value>) -> Result<Self, E> {
        let flag = |key: &str| match json.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(E::field(file, format!("{field}.{key}"), "true or false", other)),
        };
        let content = json.get("content").unwrap_or(&Value::Null);
        let Value::String(content) = content else {
            return Err(E::field(file, format!("{field}.content"), "a string", content));
        };
        Ok(Token {
            content: content.clone(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        })
    }

    fn resolve(&self) -> AddedToken {
        AddedToken {
            content: self.content.clone(),
            single_word: self.single_word,
            lstrip: self.lstrip,
            rstrip: self.rstrip,
            normalized: self.normalized.unwrap_or(!self.special),
            special: self.special,
        }
    }
}

impl From<&AddedEntry> for Token {
    fn from(entry: &AddedEntry) -> Self {
        Token {
            content: entry.content.clone(),
            single_word: entry.single_word,
            lstrip: entry.lstrip,
            rstrip: entry.rstrip,
            normalized: Some(entry.normalized),
            special: entry.special,
        }
    }
}

/// A special token: its text alone, or with its properties.
#[derive(Clone, Debug)]
pub(super) enum Special {
    Text(String),
    Token(Token),
}

impl Special {
    fn content(&self) -> &str {
        match self {
            Special::Text(text) => text,
            Special::Token(token) => &token.content,
        }
    }

    fn from_json(file: &str, field: &str, value: &Value) -> Result<Option<Self>, E> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Special::Text(text.clone()))),
            Value::Object(json) if json.get("__type").is_some_and(|t| t == "AddedToken") => {
                Token::from_json(file, field, json).map(|t| Some(Special::Token(t)))
            }
            other => Err(E::field(file, field, "a string or an `AddedToken`", other)),
        }
    }

    fn list_from_json(file: &str, field: &str, value: &Value) -> Result<Vec<Self>, E> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items
                .iter()
                .map(|v| {
                    let special = Special::from_json(file, field, v)?;
                    special.ok_or_else(|| E::field(file, field, "a list of tokens", value))
                })
                .collect(),
            other => Err(E::field(file, field, "a list of tokens", other)),
        }
    }
}

/// What the files say about special and added tokens.
pub(super) struct Specials {
    /// Special tokens by attribute, in order; one attribute may hold several.
    by_attribute: Vec<(String, Vec<Special>)>,
    /// The added tokens, by id.
    added: BTreeMap<i64, Token>,
}

impl Specials {
    /// Gathers them from `tokenizer_config.json` and, where that lists no added tokens, the older files.
    pub(super) fn gather(files: &TokenizerFiles<'_>, class: &Class) -> Result<Self, E> {
        let decoder = files.option("added_tokens_decoder");
        let older = if decoder.is_none() { Older::read(files)? } else { Older::default() };
        let mut named = older.named;
        for key in ATTRIBUTES {
            if let (Some(value), false) = (files.option(key), named.contains_key(key)) {
                named.insert(key.to_owned(), Special::from_json(TOKENIZER_CONFIG, key, value)?);
            }
        }
        let mut additional = match files.option(ADDITIONAL) {
            Some(value) => Special::list_from_json(TOKENIZER_CONFIG, ADDITIONAL, value)?,
            None => Vec::new(),
        };
        additional.extend(older.additional);

        let mut added = BTreeMap::new();
        let mut by_content: HashMap<String, Token> = HashMap::new();
        if let Some(decoder) = decoder {
            read_decoder(decoder, &mut added, &mut by_content)?;
        } else {
            let special = named.values().flatten().chain(&additional).map(Special::content).collect();
            if let Some(token) = read_added_tokens(files, &special, &mut added)? {
                // The reference files them all, one over the other, under the name of another token.
                by_content.insert(older.last.unwrap_or_else(|| "None".to_owned()), token);
            }
            for entry in files.tokenizer.iter().flat_map(|t| &t.added_tokens) {
                by_content.insert(entry.content.clone(), entry.into());
                added.insert(i64::from(entry.id), entry.into());
            }
        }
        for special in named.values_mut().flatten() {
            if let Some(token) = by_content.get(special.content()) {
                *special = Special::Token(token.clone());
            }
        }
        fill_defaults(files, class, &mut named);

        let mut by_attribute: Vec<(String, Vec<Special>)> = ATTRIBUTES
            .iter()
            .map(|key| ((*key).to_owned(), named.remove(*key).flatten().into_iter().collect()))
            .collect();
        by_attribute.push((ADDITIONAL.to_owned(), additional));
        read_extra(files, &mut by_attribute)?;
        Ok(Specials { by_attribute, added })
    }

    /// The text of a special token.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let (_, specials) = self.by_attribute.iter().find(|(k, _)| k == key)?;
        specials.first().map(Special::content)
    }

    /// The texts of all special tokens (`all_special_tokens`).
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.by_attribute.iter().flat_map(|(_, specials)| specials).map(Special::content)
    }

    /// What transformers adds to a tokenizer that has these added tokens of its own.
    pub(super) fn to_add(&self, present: &HashSet<String>) -> Vec<AddedToken> {
        let mut seen = HashSet::new();
        let all: Vec<&Special> = self
            .by_attribute
            .iter()
            .flat_map(|(key, specials)| {
                // Within one attribute, a token may stand twice; an empty text is no token.
                let fresh: Vec<&Special> = specials
                    .iter()
                    .filter(|s| !seen.contains(s.content()) && (key == ADDITIONAL || !is_empty(s)))
                    .collect();
                seen.extend(fresh.iter().map(|s| s.content()));
                fresh
            })
            .collect();
        let listed: HashSet<AddedToken> = self.added.values().map(Token::resolve).collect();
        let contents: HashSet<&str> = self
            .added
            .values()
            .map(|t| t.content.as_str())
            .chain(present.iter().map(String::as_str))
            .collect();

        let mut tokens: Vec<Token> = self.added.values().cloned().collect();
        tokens.extend(all.into_iter().filter_map(|special| match special {
            Special::Text(text) => (!contents.contains(text.as_str())).then(|| Token::special(text)),
            Special::Token(token) => (!listed.contains(&token.resolve())).then(|| token.clone()),
        }));
        for token in &mut tokens {
            token.special |= seen.contains(token.content.as_str());
        }
        tokens.iter().map(Token::resolve).collect()
    }
}

fn is_empty(special: &Special) -> bool {
    matches!(special, Special::Text(text) if text.is_empty())
}

fn read_decoder(
    decoder: &Value,
    added: &mut BTreeMap<i64, Token>,
    by_content: &mut HashMap<String, Token>,
) -> Result<(), E> {
    let field = "added_tokens_decoder";
    let Value::Object(decoder) = decoder else {
        return Err(E::field(TOKENIZER_CONFIG, field, "an object", decoder));
    };
    for (id, token) in decoder {
        let at = format!("{field}.{id}");
        let Value::Object(json) = token else {
            return Err(E::field(TOKENIZER_CONFIG, at, "an object", token));
        };
        let token = Token::from_json(TOKENIZER_CONFIG, &at, json)?;
        let id = id.trim().parse().map_err(|_| {
            E::field(TOKENIZER_CONFIG, field, "keyed by token ids", &Value::String(id.clone()))
        })?;
        by_content.insert(token.content.clone(), token.clone());
        added.insert(id, token);
    }
    Ok(())
}

/// What `special_tokens_map.json` says, which goes before `tokenizer_config.json` where that lists no added tokens.
#[derive(Default)]
struct Older {
    named: HashMap<String, Option<Special>>,
    additional: Vec<Special>,
    /// The last of `additional`.
    last: Option<String>,
}

impl Older {
    fn read(files: &TokenizerFiles<'_>) -> Result<Self, E> {
        let file = SPECIAL_TOKENS_MAP;
        let mut older = Older::default();
        for (key, value) in object(files.checkpoint, file)?.unwrap_or_default() {
            let special = |value: &Value| match value {
                Value::Object(json) => {
                    let token = Token::from_json(file, &key, json)?;
                    Ok(Some(Special::Token(Token { special: true, ..token })))
                }
                other => Special::from_json(file, &key, other),
            };
            if key == ADDITIONAL {
                let Value::Array(items) = &value else {
                    return Err(E::field(file, key, "a list of tokens", &value));
                };
                for item in items {
                    let special = special(item)?;
                    older
                        .additional
                        .push(special.ok_or_else(|| E::field(file, &key, "a list of tokens", &value))?);
                }
                older.last = older.additional.last().map(|s| s.content().to_owned());
            } else if ATTRIBUTES.contains(&key.as_str()) {
                older.named.insert(key.clone(), special(&value)?);
            }
        }
        Ok(older)
    }
}

/// Reads `added_tokens.json`; gives the last of its tokens.
fn read_added_tokens(
    files: &TokenizerFiles<'_>,
    special: &HashSet<&str>,
    added: &mut BTreeMap<i64, Token>,
) -> Result<Option<Token>, E> {
    let mut last = None;
    for (content, id) in object(files.checkpoint, ADDED_TOKENS)?.unwrap_or_default() {
        let Some(index) = id.as_i64() else { return Err(E::field(ADDED_TOKENS, content, "a token id", &id)) };
        let special = special.contains(content.as_str());
        let token = Token { content, normalized: Some(!special), special, ..Token::default() };
        last = Some(token.clone());
        added.insert(index, token);
    }
    Ok(last)
}

fn fill_defaults(files: &TokenizerFiles<'_>, class: &Class, named: &mut HashMap<String, Option<Special>>) {
    for (key, default) in class.defaults {
        named.entry((*key).to_owned()).or_insert_with(|| default.map(|text| Special::Text(text.to_owned())));
    }
    if class.exact_specials {
        for (key, _) in class.defaults {
            if let Some(Some(special)) = named.get_mut(*key)
                && let Special::Text(text) = special
            {
                *special = Special::Token(Token { normalized: Some(false), ..Token::special(text) });
            }
        }
    }
    if class.mask != Mask::Plain
        && let Some(Some(special)) = named.get_mut("mask_token")
        && let Special::Text(text) = special
    {
        let normalized = (class.mask == Mask::Exact).then_some(false);
        let content = std::mem::take(text);
        *special = Special::Token(Token { content, lstrip: true, normalized, ..Token::default() });
    }
    if files.tokenizer.is_none() && class.name == "GPT2Tokenizer" {
        // The slow class makes added tokens of them, which come to replace those that are listed.
        for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
            if let Some(Some(special)) = named.get_mut(key)
                && let Special::Text(text) = special
            {
                *special = Special::Token(Token { content: std::mem::take(text), ..Token::default() });
            }
        }
    }
    let padding = files.tokenizer.as_ref().and_then(|t| t.padding.as_ref());
    if let Some(Value::String(pad)) = padding.and_then(|p| p.get("pad_token")) {
        named.entry("pad_token".to_owned()).or_insert_with(|| Some(Special::Text(pad.clone())));
    }
}

/// `extra_special_tokens`: attributes of the model's own.
fn read_extra(files: &TokenizerFiles<'_>, by_attribute: &mut Vec<(String, Vec<Special>)>) -> Result<(), E> {
    let field = "extra_special_tokens";
    let Some(extra) = files.option(field) else { return Ok(()) };
    let Value::Object(extra) = extra else {
        return Err(E::field(TOKENIZER_CONFIG, field, "an object", extra));
    };
    for (key, value) in extra {
        let special = Special::from_json(TOKENIZER_CONFIG, &format!("{field}.{key}"), value)?;
        let special =
            special.ok_or_else(|| E::field(TOKENIZER_CONFIG, field, "an object of tokens", value))?;
        match by_attribute.iter_mut().find(|(k, _)| k == key) {
            Some((_, specials)) => *specials = vec![special],
            None => by_attribute.push((key.clone(), vec![special])),
        }
    }
    Ok(())
}
