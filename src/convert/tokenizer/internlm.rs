//! InternLM 2's SentencePiece vocabulary: every piece, and the added tokens of all files over them.
//!
//! Source: `InternLM2Model.set_vocab`. Unlike other families' it has no padding, and says what the model's normalizer
//! does with the text's start.

use serde_json::{Map, Value};

use super::TokenizerError as E;
use super::json::{ADDED_TOKENS, CONFIG, TOKENIZER_CONFIG, TokenizerFiles, object, truthy};
use super::sentencepiece::{ADDED_SCORE, ModelProto, Pieces};
use super::vocab::{CONTROL, MAX_VOCABULARY, UNUSED, USER_DEFINED};
use super::{SENTENCEPIECE, special::SpecialVocab};
use crate::gguf::Strings;

/// What ends a turn of a chat, and the text.
pub(super) const TURN_END: &str = "<|im_end|>";

/// The character that takes the place of a zero, which C would take for the end of the text.
const NOT_ZERO: &str = "🐉";

/// The vocabulary, and what goes with it.
pub(super) struct Vocabulary {
    pub(super) pieces: Pieces,
    /// Whether a space comes before the text.
    pub(super) space_prefix: bool,
    /// The end of a turn, where there is one.
    turn_end: Option<u64>,
}

impl Vocabulary {
    /// The model and the files that add tokens to it.
    pub(super) fn read(files: &TokenizerFiles<'_>, hparams: &Map<String, Value>) -> Result<Self, E> {
        let model = ModelProto::read(files, SENTENCEPIECE)?;
        let pieces = model.len();
        let space_prefix = model.normalizer.as_ref().and_then(|n| n.add_dummy_prefix).unwrap_or(true);
        let size = match hparams.get("vocab_size") {
            None => pieces,
            Some(value) => value
                .as_u64()
                .filter(|size| *size <= pieces.min(MAX_VOCABULARY))
                .ok_or_else(|| E::field(CONFIG, "vocab_size", "no more than the model has pieces", value))?,
        };
        let mut tokens: Vec<(String, f32, i32)> = Vec::new();
        for (_, token) in (0..size).zip(model.into_tokens(SENTENCEPIECE)) {
            let (mut text, score, mut kind) = token?;
            if text == "\0" {
                text = NOT_ZERO.to_owned();
            }
            if text.starts_with("[UNUSED") {
                kind = UNUSED;
            }
            tokens.push((text, score, kind));
        }
        for (text, _) in object(files.checkpoint, ADDED_TOKENS)?.unwrap_or_default() {
            tokens.push((text, ADDED_SCORE, USER_DEFINED));
        }
        let mut turn_end = None;
        for (id, text, special) in added(files)? {
            if text == TURN_END {
                turn_end = Some(id);
            }
            let size = tokens.len() as u64;
            let place = usize::try_from(id).ok().and_then(|id| tokens.get_mut(id));
            let beyond = || {
                let id = u32::try_from(id).unwrap_or(u32::MAX);
                E::IdBeyondVocabulary { token: text.clone(), id, vocab_size: size }
            };
            let place = place.ok_or_else(beyond)?;
            *place = (text, ADDED_SCORE, if special { CONTROL } else { USER_DEFINED });
        }
        let mut pieces = Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() };
        for (text, score, kind) in tokens {
            pieces.push(text.as_bytes(), score, kind);
        }
        Ok(Vocabulary { pieces, space_prefix, turn_end })
    }

    /// Makes the end of a turn the end of the text.
    ///
    /// # Errors
    /// Where the files name no end of the text.
    pub(super) fn end_turns(&self, special: &mut SpecialVocab) -> Result<(), E> {
        let end = special.id("eos");
        let end = end.ok_or_else(|| E::field(CONFIG, "eos_token_id", "there", &Value::Null))?;
        special.replace("eos", self.turn_end.unwrap_or(end));
        Ok(())
    }
}

/// Added tokens of `tokenizer_config.json`, then those of `tokenizer.json`: id, text, whether it is special.
fn added(files: &TokenizerFiles<'_>) -> Result<Vec<(u64, String, bool)>, E> {
    let mut all = Vec::new();
    for (id, text, special) in decoder(files)? {
        all.push((id, text.to_owned(), special));
    }
    let own = files.tokenizer.iter().flat_map(|t| &t.added_tokens);
    all.extend(own.map(|token| (token.id.into(), token.content.clone(), token.special)));
    Ok(all)
}

/// `added_tokens_decoder` of `tokenizer_config.json`.
pub(super) fn decoder<'a>(files: &'a TokenizerFiles<'_>) -> Result<Vec<(u64, &'a str, bool)>, E> {
    const FIELD: &str = "added_tokens_decoder";
    let Some(decoder) = files.option(FIELD) else { return Ok(Vec::new()) };
    let Value::Object(decoder) = decoder else {
        return Err(E::field(TOKENIZER_CONFIG, FIELD, "an object", decoder));
    };
    let entry = |(id, token): (&'a String, &'a Value)| {
        let keyed = || E::field(TOKENIZER_CONFIG, FIELD, "keyed by token ids", &Value::String(id.clone()));
        let number = id.trim().parse().map_err(|_| keyed())?;
        let text = token["content"].as_str().ok_or_else(|| {
            E::field(TOKENIZER_CONFIG, format!("{FIELD}.{id}.content"), "a string", &token["content"])
        })?;
        Ok((number, text, truthy(&token["special"])))
    };
    decoder.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_normalizer_is_read_as_protobuf_writes_it() {
        // A piece `a`, and `normalizer_spec.add_dummy_prefix` false.
        let bytes = b"\x0a\x03\x0a\x01a\x1a\x02\x18\x00";
        let model = ModelProto::decode(bytes.as_slice()).unwrap();
        assert_eq!(model.normalizer.unwrap().add_dummy_prefix, Some(false));
        let without = ModelProto::decode(b"\x0a\x03\x0a\x01a".as_slice()).unwrap();
        assert_eq!(without.normalizer, None);
    }
}
