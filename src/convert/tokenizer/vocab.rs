//! Tokens and their types, as `get_vocab_base` lists them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::TokenizerError as E;
use super::json::{CONFIG, TOKENIZER, Vocabulary};
use super::load::Loaded;
use crate::gguf::Strings;

/// More than any vocabulary has (2^18 to 2^20), and little enough to list.
pub(super) const MAX_VOCABULARY: u64 = 1 << 24;

/// Numbers of `enum llama_token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Every token of the embedding matrix.
pub(super) struct Tokens {
    pub(super) texts: Strings,
    pub(super) types: Vec<i32>,
}

/// Lists the tokens by id, up to `vocab_size` of the hyper-parameters; ids without a token are padded.
pub(super) fn tokens(loaded: &Loaded, hparams: &Map<String, Value>) -> Result<Tokens, E> {
    let Vocabulary { tokens: vocab, ids, .. } = &loaded.tokens.listed;
    let added = loaded.tokenizer.get_added_vocabulary();
    let size = vocabulary_size(loaded, hparams)?;
    let check = |token: &[u8], id: u32| match u64::from(id) {
        beyond if beyond >= size => {
            let token = String::from_utf8_lossy(token).into_owned();
            Err(E::IdBeyondVocabulary { token, id, vocab_size: size })
        }
        within => Ok(within as usize),
    };
    let mut texts: Vec<Option<&[u8]>> = vec![None; size as usize];
    let mut put = |token, id: u32, at: usize| match texts[at].replace(token) {
        Some(other) if other != token => {
            let text = |t: &[u8]| String::from_utf8_lossy(t).into_owned();
            Err(E::SharedId { file: TOKENIZER, id, first: text(other), second: text(token) })
        }
        _ => Ok(()),
    };
    for (token, id) in vocab.iter().zip(ids) {
        put(token, *id, check(token, *id)?)?;
    }
    for (token, id) in added.get_vocab() {
        put(token.as_bytes(), *id, check(token.as_bytes(), *id)?)?;
    }

    let properties: HashMap<u32, _> =
        added.get_added_tokens_decoder().iter().map(|(id, t)| (*id, t)).collect();
    let mut list = Tokens { texts: Strings::new(), types: Vec::with_capacity(texts.len()) };
    for (id, token) in (0u32..).zip(texts) {
        let (text, kind) = match (token, properties.get(&id)) {
            (None, _) => (Cow::from(format!("[PAD{id}]").into_bytes()), UNUSED),
            (Some(token), None) => (token.into(), NORMAL),
            (Some(_), Some(token)) => {
                // llama.cpp matches these against text that is not normalized.
                let text = match token.normalized {
                    true => token.content.clone(),
                    false => loaded.round_trip(&token.content)?,
                };
                if token.special || looks_special(&text) {
                    (text.into_bytes().into(), CONTROL)
                } else {
                    (text.replace('▁', " ").into_bytes().into(), USER_DEFINED)
                }
            }
        };
        list.texts.push(text);
        list.types.push(kind);
    }
    Ok(list)
}

/// The tokens as llama.cpp's WordPiece wants them: a space before those that start a word, and nothing before the others.
pub(super) fn with_spaces(tokens: &Tokens) -> Strings {
    let mut texts = Strings::new();
    for (text, kind) in tokens.texts.iter().zip(&tokens.types) {
        match text.strip_prefix(b"##") {
            _ if *kind == CONTROL => texts.push(text),
            Some(rest) => texts.push(rest),
            None => texts.push_all(&["▁".as_bytes(), text]),
        }
    }
    texts
}

fn vocabulary_size(loaded: &Loaded, hparams: &Map<String, Value>) -> Result<u64, E> {
    let size = match hparams.get("vocab_size") {
        Some(value) => {
            let expected = "a number of tokens";
            value.as_u64().ok_or_else(|| E::field(CONFIG, "vocab_size", expected, value))?
        }
        None => {
            let added = loaded.tokenizer.get_added_vocabulary().get_vocab();
            let new = added.keys().filter(|t| loaded.tokens.id(t).is_none()).count();
            (loaded.tokens.listed.ids.len() + new) as u64
        }
    };
    if size > MAX_VOCABULARY {
        return Err(E::VocabularyTooLarge(size));
    }
    Ok(size)
}

/// `does_token_look_special`.
pub(super) fn looks_special(token: &str) -> bool {
    let between = |start, end| token.starts_with(start) && token.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_start_a_word_have_a_space() {
        let listed =
            [("[CLS]", CONTROL), ("a", NORMAL), ("##b", NORMAL), ("##", NORMAL), ("<m>", USER_DEFINED)];
        let tokens = Tokens {
            texts: listed.iter().map(|(text, _)| text).collect(),
            types: listed.iter().map(|(_, kind)| *kind).collect(),
        };
        let texts = with_spaces(&tokens);
        let texts: Vec<_> = texts.iter().map(|t| String::from_utf8_lossy(t).into_owned()).collect();
        assert_eq!(texts, ["[CLS]", "▁a", "b", "", "▁<m>"]);
    }

    #[test]
    fn tokens_look_special_by_their_brackets() {
        for token in ["<pad>", "<mask>", "<2mass>", "[@BOS@]", "<|im_end|>", "<|>", "<｜fim｜>", "<unused7>"]
        {
            assert!(looks_special(token), "{token}");
        }
        for token in ["<s>", "<|im_end", "im_end|>", "<unused", "<think>", "a<pad>", ""] {
            assert!(!looks_special(token), "{token}");
        }
    }
}
