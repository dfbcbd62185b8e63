//! tiktoken's vocabularies: a file of byte strings, each with its rank, beside a tokenizer in Python.
//!
//! In: the folder's `*.tiktoken` or `tiktoken.model`, and what the Python module states ([`python`](super::python)). Out:
//! byte-level BPE as GGUF files have it, with merges that were found from the ranks. Source: `_set_vocab_qwen` in the
//! reference's `conversion/base.py`, `HunYuanMoEModel.set_vocab`, `HunYuanModel.set_vocab`, `DeepseekV2Model.set_vocab`.
//! The module is never run. Refused are vocabularies without all bytes, with a token or an id twice, and patterns that
//! are not known, as what they split texts into decides the pre-tokenizer's name.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

use super::known::TEXT;
use super::python::{self, Class, Module, Special};
use super::ranks::{Ranks, push_merge, push_printable};
use super::special::SpecialVocab;
use super::vocab::{CONTROL, MAX_VOCABULARY, NORMAL, UNUSED};
use super::{Source, TokenizerError as E, json, pre, slow, special};
use crate::gguf::{Metadata, Strings};

/// What Kimi's tokenizer splits texts by.
const KIMI_PATTERN: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pre-tokenizer without which the reference takes no vocabulary such as Kimi's.
const KIMI_K2: &str = "kimi-k2";

/// Which of the reference's functions is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// Every token but the bytes is made of two others.
    Qwen,
    /// The vocabulary is as large as the configuration says.
    Hunyuan,
    Kimi,
}

/// Tokens and their ranks, in the order of the file.
type Ranked = Vec<(Vec<u8>, u32)>;

impl Source<'_> {
    /// `_set_vocab_qwen`.
    pub(super) fn write_qwen(&self, out: &mut Metadata) -> Result<(), E> {
        const END: &str = "<|endoftext|>";
        let (file, tokens) = self.write_ranked(Rules::Qwen, out)?;
        let end = tokens.iter().find(|(text, _)| text == END).map(|(_, id)| u64::from(*id));
        let end =
            end.ok_or_else(|| E::field(&file, "SPECIAL_TOKENS", "with an end of text", &Value::Null))?;
        let mut special = SpecialVocab::read(&self.files, &special::TYPES, None)?;
        if special.has_no_ids() {
            special.set_default("bos", end);
            special.set_default("eos", end);
        }
        special.set_default("unk", end);
        special.write(out)
    }

    /// `HunYuanMoEModel.set_vocab`.
    pub(super) fn write_hunyuan_moe(&self, out: &mut Metadata) -> Result<(), E> {
        self.write_ranked(Rules::Hunyuan, out)?;
        SpecialVocab::read(&self.files, &special::TYPES, None)?.write(out)?;
        // `<|bos|>` of all such models: the configuration names another token.
        out.set("tokenizer.ggml.bos_token_id", 127_959u32);
        Ok(())
    }

    /// `HunYuanModel.set_vocab` without a `tokenizer.json`, but for the ends of text and turn.
    pub(super) fn write_hunyuan_ranked(&self, out: &mut Metadata) -> Result<(), E> {
        self.write_ranked(Rules::Hunyuan, out)?;
        SpecialVocab::read(&self.files, &special::TYPES, None)?.write(out)?;
        if self.hparams.get("hidden_size").and_then(Value::as_u64) == Some(4096) {
            // That of the largest.
            out.set("tokenizer.ggml.bos_token_id", 127_958u32);
        }
        Ok(())
    }

    /// `DeepseekV2Model.set_vocab`: Kimi's tokenizer, or else byte-level BPE.
    pub(super) fn write_deepseek2(&mut self, out: &mut Metadata) -> Result<(), E> {
        if !python::has(&self.files, Class::Reserved) {
            return self.write_gpt2(out);
        }
        self.write_ranked(Rules::Kimi, out)?;
        SpecialVocab::read(&self.files, &special::TYPES, None)?.write(out)
    }

    /// Writes tokens and merges; gives the module's file and the special tokens.
    fn write_ranked(&self, rules: Rules, out: &mut Metadata) -> Result<(String, Vec<(String, u32)>), E> {
        let module = python::read(&self.files)?;
        if (module.class == Class::Reserved) != (rules == Rules::Kimi) {
            let found = self.files.option("auto_map").unwrap_or(&Value::Null);
            return Err(E::field(json::TOKENIZER_CONFIG, "auto_map", "a tokenizer of such models", found));
        }
        let file = &*module.vocabulary;
        let bytes = self.files.checkpoint.small_file(file)?.ok_or_else(|| {
            E::field(&module.file, "VOCAB_FILES_NAMES", "the name of a file that is there", &file.into())
        })?;
        let tokens = parse(file, &bytes, module.class)?;
        let ranks = Ranks::new(file, FIELD, tokens.iter().map(|(token, rank)| (&**token, *rank)))?;
        if (0..=255u8).any(|byte| ranks.of(&[byte]).is_none()) {
            return Err(E::field(file, FIELD, "of all bytes and more", &Value::Null));
        }
        let name = match self.pre_tokenizer {
            Some(name) => pre::named(name)?,
            None => recognise(&module, &ranks)?,
        };
        if rules == Rules::Kimi && name != KIMI_K2 {
            return Err(E::Unsupported {
                file: json::TOKENIZER_CONFIG,
                found: format!("a pre-tokenizer `{name}`"),
            });
        }
        let special = special_tokens(&module, &tokens, self.files.option("added_tokens_decoder"))?;
        let merges = merges(file, &tokens, &ranks, rules)?;
        let listed = Listed::new(file, &tokens, &special)?;
        let size = vocabulary_size(self.hparams, &listed, rules)?;
        let (texts, types) = listed.list(size);
        out.set("tokenizer.ggml.model", "gpt2");
        out.set("tokenizer.ggml.pre", name);
        out.set("tokenizer.ggml.tokens", texts);
        out.set("tokenizer.ggml.token_type", types);
        if !merges.is_empty() {
            out.set("tokenizer.ggml.merges", merges);
        }
        Ok((module.file, special))
    }
}

/// What errors call the lines of a file.
const FIELD: &str = "tokens";

/// Reads the lines of a file: a token's bytes in base64, and its rank.
pub(super) fn parse(file: &str, bytes: &[u8], class: Class) -> Result<Ranked, E> {
    let mut tokens = Ranked::new();
    for (number, line) in bytes.split(|b| matches!(b, b'\n' | b'\r')).enumerate() {
        if line.is_empty() {
            continue;
        }
        let wrong = |expected| {
            let found = String::from_utf8_lossy(line).into_owned();
            E::field(file, format!("line {}", number + 1), expected, &found.into())
        };
        let mut parts = line.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
        let (Some(token), Some(rank), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("a token and its rank"));
        };
        let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| wrong("bytes in base64 and their rank"))?;
        let rank = std::str::from_utf8(rank).ok().filter(|rank| rank.bytes().all(|b| b.is_ascii_digit()));
        let rank = rank.and_then(|rank| rank.parse().ok()).filter(|rank| u64::from(*rank) < MAX_VOCABULARY);
        let rank: u32 = rank.ok_or_else(|| wrong("a token and a rank that vocabularies have"))?;
        if class == Class::Counted && rank as usize != tokens.len() {
            return Err(wrong("a token of the rank of its place"));
        }
        tokens.push((token, rank));
    }
    Ok(tokens)
}

/// The pre-tokenizer's name, by what the tokenizer makes of the fixed text.
fn recognise(module: &Module, ranks: &Ranks<'_>) -> Result<&'static str, E> {
    if ![slow::QWEN2_PATTERN, KIMI_PATTERN].contains(&&*module.pattern) {
        return Err(E::field(&module.file, "PAT_STR", "a pattern that is known", &(&*module.pattern).into()));
    }
    pre::by_ids(&encode(&module.pattern, ranks)?, || None)
}

/// The ids of the fixed text, which is in the form that NFC would give.
fn encode(pattern: &str, ranks: &Ranks<'_>) -> Result<Vec<u32>, E> {
    let refused = |source| E::Part { part: "pre_tokenizer", source };
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(refused)?;
    let mut text = PreTokenizedString::from(TEXT);
    split.pre_tokenize(&mut text).map_err(refused)?;
    let mut ids = Vec::new();
    for (word, ..) in text.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        match ranks.of(word.as_bytes()) {
            Some(whole) => ids.push(whole),
            // Whatever is no byte was merged, so every part is a token.
            None => {
                ids.extend(ranks.parts(word.as_bytes(), u32::MAX).iter().filter_map(|part| ranks.of(part)));
            }
        }
    }
    Ok(ids)
}

/// Texts and ids of the special tokens.
fn special_tokens(module: &Module, tokens: &Ranked, added: Option<&Value>) -> Result<Vec<(String, u32)>, E> {
    match &module.special {
        Special::Listed(texts, start) => Ok(texts.iter().cloned().zip(*start..).collect()),
        Special::Reserved(count) => {
            const ADDED: &str = "added_tokens_decoder";
            let wrong = |found: &Value| E::field(json::TOKENIZER_CONFIG, ADDED, "tokens by their ids", found);
            let added = added.unwrap_or(&Value::Null);
            let added = added.as_object().ok_or_else(|| wrong(added))?;
            let mut texts: HashMap<u32, &str> = HashMap::with_capacity(added.len());
            for (id, token) in added {
                let id = id.parse().map_err(|_| wrong(&(&**id).into()))?;
                texts.insert(id, token["content"].as_str().ok_or_else(|| wrong(token))?);
            }
            let start = tokens.len() as u32;
            let text = |id: u32| match texts.get(&id) {
                Some(text) => (*text).to_owned(),
                None => format!("<|reserved_token_{id}|>"),
            };
            Ok((start..start.saturating_add(*count)).map(|id| (text(id), id)).collect())
        }
    }
}

/// For each token the two others that it is made of last, where there are two (`QwenModel.bpe`).
fn merges(file: &str, tokens: &Ranked, ranks: &Ranks<'_>, rules: Rules) -> Result<Strings, E> {
    let (mut merges, mut line) = (Strings::new(), String::new());
    for (token, rank) in tokens.iter().filter(|(token, _)| token.len() > 1) {
        match *ranks.parts(token, *rank) {
            [left, right] => push_merge(left, right, &mut merges, &mut line),
            _ if rules == Rules::Qwen => {
                return Err(E::field(file, FIELD, "each made of two others", &(*rank).into()));
            }
            _ => {}
        }
    }
    Ok(merges)
}

/// The merges of a file, where some tokens may have none.
pub(super) fn all_merges(file: &str, bytes: &[u8]) -> Result<Strings, E> {
    let tokens = parse(file, bytes, Class::Listed)?;
    let ranks = Ranks::new(file, FIELD, tokens.iter().map(|(token, rank)| (&**token, *rank)))?;
    merges(file, &tokens, &ranks, Rules::Kimi)
}

/// Texts and types by id.
struct Listed(HashMap<u32, (String, i32)>);

impl Listed {
    fn new(file: &str, tokens: &Ranked, special: &[(String, u32)]) -> Result<Self, E> {
        let printable = |token: &[u8]| {
            let mut text = String::with_capacity(token.len());
            push_printable(token, &mut text);
            text
        };
        let plain = tokens.iter().map(|(token, rank)| (printable(token), *rank, NORMAL));
        let control = special.iter().map(|(text, id)| (text.clone(), *id, CONTROL));
        let mut by_id = HashMap::with_capacity(tokens.len() + special.len());
        for (text, id, kind) in plain.chain(control) {
            if by_id.insert(id, (text, kind)).is_some() {
                return Err(E::field(file, FIELD, "without an id twice", &id.into()));
            }
        }
        let mut texts: Vec<&str> = by_id.values().map(|(text, _)| &**text).collect();
        texts.sort_unstable();
        match texts.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(E::field(file, FIELD, "without a token twice", &two[0].into())),
            None => Ok(Listed(by_id)),
        }
    }

    /// The size of the vocabulary that holds all of them.
    fn size(&self) -> u64 {
        self.0.keys().max().map_or(0, |id| u64::from(*id) + 1)
    }

    /// As many tokens as this; names for those that there are not.
    fn list(mut self, size: u64) -> (Strings, Vec<i32>) {
        let (mut texts, mut types) = (Strings::new(), Vec::new());
        for id in (0..size).map(|id| id as u32) {
            let (text, kind) = self.0.remove(&id).unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED));
            texts.push(text.as_bytes());
            types.push(kind);
        }
        (texts, types)
    }
}

/// `vocab_size`, where it fits the tokens.
fn vocabulary_size(hparams: &Map<String, Value>, listed: &Listed, rules: Rules) -> Result<u64, E> {
    const SIZE: &str = "vocab_size";
    let stated = hparams.get(SIZE).unwrap_or(&Value::Null);
    let size = stated.as_u64().ok_or_else(|| E::field(json::CONFIG, SIZE, "a number", stated))?;
    if size > MAX_VOCABULARY {
        return Err(E::VocabularyTooLarge(size));
    }
    let beyond = listed.0.iter().filter(|(id, (_, kind))| u64::from(**id) >= size && *kind == NORMAL);
    match beyond.min_by_key(|(id, _)| **id) {
        Some((id, (text, _))) if rules == Rules::Qwen => {
            Err(E::IdBeyondVocabulary { token: text.clone(), id: *id, vocab_size: size })
        }
        _ if rules == Rules::Hunyuan && listed.size() != size => {
            Err(E::field(json::CONFIG, SIZE, "the number of the tokenizer's tokens", stated))
        }
        _ => Ok(size),
    }
}

#[cfg(test)]
mod tests;
