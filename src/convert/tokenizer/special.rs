//! Special token ids, `add_*_token`, normalizer flags: what gguf-py's `SpecialVocab` finds and writes.
//!
//! It reads the configuration files apart from the tokenizer that transformers loads, and decides by rules of its own;
//! they are followed to the letter, since a key that is there or not changes what llama.cpp does.

use serde_json::{Map, Value};

use super::TokenizerError as E;
use super::chat::ChatTemplate;
use super::json::{CONFIG, TokenizerFiles, truthy};
use crate::gguf::Metadata;

/// The types that are looked for unless others are named.
pub(super) const TYPES: [&str; 7] = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// Types whose ids have a key, and the key. Source: `GGUFWriter.add_*_token_id`, `Keys.Tokenizer`.
const ID_KEYS: [(&str, &str); 8] = [
    ("bos", "tokenizer.ggml.bos_token_id"),
    ("eos", "tokenizer.ggml.eos_token_id"),
    ("unk", "tokenizer.ggml.unknown_token_id"),
    ("sep", "tokenizer.ggml.seperator_token_id"),
    ("pad", "tokenizer.ggml.padding_token_id"),
    ("mask", "tokenizer.ggml.mask_token_id"),
    ("eot", "tokenizer.ggml.eot_token_id"),
    ("eom", "tokenizer.ggml.eom_token_id"),
];

/// Types with an `add_*_token` key.
const ADD_KEYS: [(&str, &str); 3] = [
    ("bos", "tokenizer.ggml.add_bos_token"),
    ("eos", "tokenizer.ggml.add_eos_token"),
    ("sep", "tokenizer.ggml.add_sep_token"),
];

/// What the files say about special tokens.
pub(super) struct SpecialVocab {
    types: Vec<String>,
    ids: Vec<(String, u64)>,
    add: Vec<(String, bool)>,
    /// Ids from here on belong to no token, and are passed over.
    limit: Option<u64>,
    chat_template: Option<ChatTemplate>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
}

impl SpecialVocab {
    /// Reads the files for these types of special tokens, with ids below `limit`.
    pub(super) fn read(files: &TokenizerFiles<'_>, types: &[&str], limit: Option<u64>) -> Result<Self, E> {
        let mut special = SpecialVocab {
            types: types.iter().map(|t| (*t).to_owned()).collect(),
            ids: Vec::new(),
            add: Vec::new(),
            limit,
            chat_template: None,
            lowercase: None,
            strip_accents: None,
        };
        let mut config = files.tokenizer_config.clone().unwrap_or_default();
        if let Some(tokenizer) = &files.tokenizer {
            if let Some(normalizer) = &tokenizer.normalizer {
                special.normalizer(normalizer);
            }
            let mut tokens = ConfigTokens::of(&mut config);
            if let Some(processor) = tokenizer.post_processor.as_ref().filter(|p| truthy(p)) {
                special.post_processor(processor, &mut tokens);
            }
        }
        if !config.is_empty() {
            special.chat_template = ChatTemplate::read(files)?;
            special.read_tokenizer_config(files, &config);
        }
        special.read_config(files)?;
        Ok(special)
    }

    /// Sets an id unless there is one.
    pub(super) fn set_default(&mut self, kind: &str, id: u64) {
        let exists = self.limit.is_none_or(|limit| id < limit);
        if exists && !self.ids.iter().any(|(k, _)| k == kind) {
            self.ids.push((kind.to_owned(), id));
        }
    }

    /// Whether no file tells an id.
    pub(super) fn has_no_ids(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of a kind.
    pub(super) fn id(&self, kind: &str) -> Option<u64> {
        self.ids.iter().find(|(k, _)| k == kind).map(|(_, id)| *id)
    }

    /// Sets an id in place of the one that there is, if there is one.
    pub(super) fn replace(&mut self, kind: &str, id: u64) {
        if let Some((_, old)) = self.ids.iter_mut().find(|(k, _)| k == kind) {
            *old = id;
        }
    }

    /// Leaves the chat template to whoever wrote it before.
    pub(super) fn without_chat_template(self) -> Self {
        SpecialVocab { chat_template: None, ..self }
    }

    /// Writes everything but the merges, which come before.
    pub(super) fn write(&self, out: &mut Metadata) -> Result<(), E> {
        for (kind, id) in &self.ids {
            let Some((_, key)) = ID_KEYS.iter().find(|(k, _)| k == kind) else { continue };
            let expected = "a token id";
            let id = u32::try_from(*id)
                .map_err(|_| E::field(CONFIG, format!("{kind}_token_id"), expected, &(*id).into()))?;
            out.set(*key, id);
        }
        for (kind, add) in &self.add {
            if let Some((_, key)) = ADD_KEYS.iter().find(|(k, _)| k == kind) {
                out.set(*key, *add);
            }
        }
        if let Some(template) = &self.chat_template {
            template.write(out);
        }
        if let Some(flag) = self.lowercase {
            out.set("tokenizer.ggml.normalizer.lowercase", flag);
        }
        if let Some(flag) = self.strip_accents {
            out.set("tokenizer.ggml.normalizer.strip_accents", flag);
        }
        Ok(())
    }

    fn set_add(&mut self, kind: &str, add: bool) {
        match self.add.iter_mut().find(|(k, _)| k == kind) {
            Some((_, value)) => *value = add,
            None => self.add.push((kind.to_owned(), add)),
        }
    }

    fn set_add_default(&mut self, kind: &str, add: bool) {
        if !self.add.iter().any(|(k, _)| k == kind) {
            self.set_add(kind, add);
        }
    }

    fn normalizer(&mut self, normalizer: &Value) {
        let flag = |key: &str| normalizer.get(key).map(|v| (!v.is_null()).then(|| truthy(v)));
        match normalizer["type"].as_str() {
            Some("Lowercase") => self.lowercase = Some(true),
            Some("StripAccents") => self.strip_accents = Some(true),
            Some("BertNormalizer") => {
                self.lowercase = flag("lowercase").unwrap_or(self.lowercase);
                self.strip_accents = flag("strip_accents").unwrap_or(self.strip_accents);
            }
            Some("Sequence") => {
                normalizer["normalizers"].as_array().into_iter().flatten().for_each(|n| self.normalizer(n));
            }
            _ => {}
        }
    }

    fn post_processor(&mut self, processor: &Value, tokens: &mut ConfigTokens<'_>) {
        let one = std::slice::from_ref(processor);
        for processor in processor["processors"].as_array().map_or(one, Vec::as_slice) {
            match processor["type"].as_str() {
                Some("ByteLevel") => {
                    self.set_add_default("bos", false);
                    self.set_add_default("eos", false);
                }
                Some("RobertaProcessing") => self.roberta(processor, tokens),
                Some("TemplateProcessing") => self.template(processor, tokens),
                _ => {}
            }
        }
    }

    fn roberta(&mut self, processor: &Value, tokens: &mut ConfigTokens<'_>) {
        for kind in ["bos", "eos", "sep"] {
            self.set_add(kind, true);
        }
        let first = |key: &str, default: &Value| processor.get(key).map_or(default, |v| &v[0]).clone();
        if !truthy(&tokens.cls) && tokens.configured() {
            tokens.cls = first("cls", &tokens.bos);
            tokens.store("cls_token", tokens.cls.clone());
        }
        if !truthy(&tokens.sep) && tokens.configured() {
            tokens.sep = first("sep", &tokens.eos);
            tokens.store("sep_token", tokens.sep.clone());
        }
    }

    fn template(&mut self, processor: &Value, tokens: &mut ConfigTokens<'_>) {
        let list = |key: &str| processor[key].as_array().map_or(&[][..], Vec::as_slice);
        let single = list("single");
        let (mut leading, mut trailing) = (None, None);
        if single.len() > 1 {
            leading = special_token(&single[0]);
            if let Some(first) = leading {
                if !tokens.configured() {
                    tokens.bos = first.clone();
                } else if *first != tokens.bos && *first != tokens.cls {
                    if !truthy(&tokens.bos) {
                        tokens.bos = first.clone();
                        tokens.store("bos_token", first.clone());
                    }
                    if !truthy(&tokens.cls) {
                        tokens.cls = first.clone();
                        tokens.store("cls_token", first.clone());
                    }
                }
                self.set_add("bos", *first == tokens.bos || *first == tokens.cls);
            }
            trailing = special_token(&single[single.len() - 1]);
            if let Some(last) = trailing {
                if !tokens.configured() {
                    tokens.eos = last.clone();
                } else if *last != tokens.eos {
                    // The token that it takes the place of stays, as the end of a turn or message.
                    let free = ["eot", "eom"].into_iter().find(|kind| !self.types.iter().any(|t| t == kind));
                    if let Some(kind) = free {
                        self.types.push(kind.to_owned());
                        tokens.store(&format!("{kind}_token"), tokens.eos.clone());
                    }
                    tokens.store("eos_token", last.clone());
                    tokens.eos = last.clone();
                }
                self.set_add("eos", true);
            }
        }
        if let Some(add_sep) = separator(list("pair"), leading, trailing, tokens) {
            self.set_add("sep", add_sep);
            if add_sep && !truthy(&tokens.sep) && tokens.configured() {
                tokens.store("sep_token", tokens.eos.clone());
            }
        }
    }

    fn read_tokenizer_config(&mut self, files: &TokenizerFiles<'_>, config: &Map<String, Value>) {
        for kind in self.types.clone() {
            if let Some(Value::Bool(add)) = config.get(&format!("add_{kind}_token")) {
                self.set_add_default(&kind, *add);
            }
            let content = match config.get(&format!("{kind}_token")) {
                Some(Value::String(content)) => content,
                Some(Value::Object(token)) => match token.get("content") {
                    Some(Value::String(content)) => content,
                    _ => continue,
                },
                _ => continue,
            };
            let added = files.tokenizer.iter().flat_map(|t| &t.added_tokens);
            if let Some(token) = added.into_iter().find(|t| t.content == *content) {
                self.set_default(&kind, token.id.into());
            }
        }
    }

    fn read_config(&mut self, files: &TokenizerFiles<'_>) -> Result<(), E> {
        let Some(config) = &files.config else { return Ok(()) };
        for kind in self.types.clone() {
            let key = format!("{kind}_token_id");
            let get = |map: &Map<String, Value>| map.get(&key).filter(|v| !v.is_null()).cloned();
            let nested = || config.get("text_config").and_then(Value::as_object).and_then(get);
            match get(config).or_else(nested) {
                Some(Value::Number(n)) if n.is_i64() || n.is_u64() => {
                    let id =
                        n.as_u64().ok_or_else(|| E::field(CONFIG, &key, "a token id", &n.clone().into()))?;
                    self.set_default(&kind, id);
                }
                // Booleans are numbers in Python.
                Some(Value::Bool(b)) => self.set_default(&kind, b.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The special tokens of `tokenizer_config.json`, which the post-processor may change.
struct ConfigTokens<'a> {
    config: &'a mut Map<String, Value>,
    bos: Value,
    cls: Value,
    eos: Value,
    sep: Value,
}

impl<'a> ConfigTokens<'a> {
    fn of(config: &'a mut Map<String, Value>) -> Self {
        let get = |key: &str| config.get(key).cloned().unwrap_or_default();
        let (bos, cls, eos, sep) = (get("bos_token"), get("cls_token"), get("eos_token"), get("sep_token"));
        let mut tokens = ConfigTokens { config, bos, cls, eos, sep };
        if !truthy(&tokens.bos) && truthy(&tokens.cls) {
            tokens.bos = tokens.cls.clone();
            tokens.store("bos_token", tokens.bos.clone());
        }
        if !truthy(&tokens.eos) && truthy(&tokens.sep) {
            tokens.eos = tokens.sep.clone();
            tokens.store("eos_token", tokens.eos.clone());
        }
        tokens
    }

    /// Whether there is a `tokenizer_config.json` with anything in it.
    fn configured(&self) -> bool {
        !self.config.is_empty()
    }

    fn store(&mut self, key: &str, token: Value) {
        self.config.insert(key.to_owned(), token);
    }
}

/// The text of a template's piece, if it is a special token.
fn special_token(piece: &Value) -> Option<&Value> {
    Some(&piece["SpecialToken"]["id"]).filter(|id| truthy(id))
}

/// Whether a separator stands between the two texts of a pair; `None` where the template does not tell.
fn separator(
    pair: &[Value],
    leading: Option<&Value>,
    trailing: Option<&Value>,
    tokens: &ConfigTokens<'_>,
) -> Option<bool> {
    let starts = leading.is_some() && special_token(pair.first()?) == leading;
    let ends = trailing.is_some() && special_token(pair.last()?) == trailing;
    let inner = pair.get(usize::from(starts)..pair.len() - usize::from(ends))?;
    let is_sequence = |piece: &Value, name: &str| piece["Sequence"]["id"].as_str() == Some(name);
    if !is_sequence(inner.first()?, "A") || !is_sequence(inner.last()?, "B") {
        return None;
    }
    let between = &inner[1..inner.len() - 1];
    let separates =
        |piece: &Value| special_token(piece).is_some_and(|t| *t == tokens.sep || *t == tokens.eos);
    let first = separates(between.first()?) && trailing.is_none();
    Some(first || (between.len() == 2 && separates(&between[1])))
}
