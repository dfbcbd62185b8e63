//! Llama's vocabulary in a `tokenizer.json`, without the SentencePiece model that it was made of.
//!
//! Source: `LlamaHfVocab` of gguf-py. There are no scores in the file; all are the same.

use std::collections::HashSet;

use serde_json::Value;

use super::TokenizerError as E;
use super::json::{TOKENIZER, TokenizerFiles, TokenizerJson};
use super::load::{BPE, Loaded};
use super::sentencepiece::Pieces;
use super::vocab::{BYTE, CONTROL, NORMAL, USER_DEFINED};
use crate::gguf::Strings;

const SCORE: f32 = -1000.0;

/// Whether the reference takes this tokenizer for one of Llama 1 or 2; other BPE is byte-level.
pub(super) fn is_one(tokenizer: &TokenizerJson) -> Result<bool, E> {
    let model = &tokenizer.model;
    let absent = |field| Err(E::field(TOKENIZER, field, "there", &Value::Null));
    let Some(kind) = model.kind.as_deref() else { return absent("model.type") };
    let is_llama3 = model.ignore_merges == Some(true) && model.byte_fallback == Some(false);
    if kind != "BPE" || is_llama3 || model.byte_fallback != Some(true) {
        return Ok(false);
    }
    match &tokenizer.decoder {
        None => absent("decoder"),
        Some(decoder) => Ok(decoder["type"] == "Sequence"),
    }
}

/// Every token: those of the model, then added ones beyond them.
pub(super) fn read(files: &mut TokenizerFiles<'_>) -> Result<Pieces, E> {
    let loaded = Loaded::new(files, &[BPE])?;
    let added = loaded.tokenizer.get_added_vocabulary().get_vocab();
    let listed = &loaded.tokens.listed;
    let base = listed.ids.len();
    let mut texts: Vec<Option<&[u8]>> = vec![None; base];
    let own = listed.tokens.iter().zip(listed.ids.iter().copied());
    for (token, id) in own.chain(added.iter().map(|(token, id)| (token.as_bytes(), *id))) {
        if let Some(text) = texts.get_mut(id as usize) {
            *text = Some(token);
        }
    }
    let id = |token: &str| added.get(token).copied().or_else(|| loaded.tokens.id(token));
    let mut special: HashSet<u32> = HashSet::new();
    let mut special_texts: HashSet<&str> = HashSet::new();
    for text in loaded.specials.texts() {
        let missing = || E::field(TOKENIZER, "model.vocab", "with every special token", &Value::from(text));
        special.insert(id(text).ok_or_else(missing)?);
        special_texts.insert(text);
    }
    let mut pieces = Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() };
    for (id, text) in (0u32..).zip(texts) {
        let gap = || E::field(TOKENIZER, "model.vocab", "without gaps", &Value::from(id));
        let text = text.ok_or_else(gap)?;
        let kind = match is_byte(text) {
            true => BYTE,
            false if special.contains(&id) => CONTROL,
            false => NORMAL,
        };
        pieces.push(text, SCORE, kind);
    }
    let mut beyond: Vec<(&String, u32)> =
        added.iter().map(|(t, id)| (t, *id)).filter(|(_, id)| *id as usize >= base).collect();
    beyond.sort_by_key(|(_, id)| *id);
    for (text, _) in beyond {
        pieces.push(
            text.as_bytes(),
            SCORE,
            if special_texts.contains(text.as_str()) { CONTROL } else { USER_DEFINED },
        );
    }
    Ok(pieces)
}

/// Whether the token is a byte: `<0x0A>`.
fn is_byte(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"<0x").and_then(|rest| rest.strip_suffix(b">"));
    digits.is_some_and(|digits| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::is_byte;

    #[test]
    fn bytes_are_told_by_their_names() {
        for (token, expected) in
            [("<0x0A>", true), ("<0xfF>", true), ("<0x0A", false), ("<0x0AA>", false), ("<0xG0>", false)]
        {
            assert_eq!(is_byte(token.as_bytes()), expected, "{token}");
        }
    }
}
