//! SentencePiece models: `tokenizer.model`, a protobuf message, and the files that add tokens to it.
//!
//! In: the model, `added_tokens.json`, `tokenizer_config.json`. Out: [`Pieces`], which the GGUF file lists. Nothing is
//! encoded with the model, so its trainer's and normalizer's settings do not matter here. Source: `ModelProto` of
//! SentencePiece's `sentencepiece_model.proto`; `TextModel._create_vocab_sentencepiece` and `Phi3MiniModel.set_vocab`.

use prost::Message;
use serde_json::{Map, Value};

use super::SENTENCEPIECE;
use super::TokenizerError as E;
use super::json::{ADDED_TOKENS, CONFIG, TOKENIZER_CONFIG, TokenizerFiles, object, truthy};
use super::vocab::{BYTE, CONTROL, MAX_VOCABULARY, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, looks_special};
use crate::gguf::Strings;

/// `sentencepiece.ModelProto`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pub(super) pieces: Vec<SentencePiece>,
    #[prost(message, optional, tag = "2")]
    pub(super) trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    pub(super) normalizer: Option<NormalizerSpec>,
}

/// `sentencepiece.ModelProto.SentencePiece`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SentencePiece {
    #[prost(string, optional, tag = "1")]
    pub(super) piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(super) score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    pub(super) kind: Option<i32>,
}

/// `sentencepiece.TrainerSpec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    pub(super) model_type: Option<i32>,
}

/// `sentencepiece.NormalizerSpec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(super) remove_extra_whitespaces: Option<bool>,
}

impl ModelProto {
    /// Reads a model that has pieces; `file` is its name.
    pub(super) fn read(files: &TokenizerFiles<'_>, file: &'static str) -> Result<Self, E> {
        let bytes = files.checkpoint.small_file(file)?.ok_or(E::Missing(file))?;
        if bytes.len() > MAX_MODEL {
            return Err(E::ModelTooLong { file: file.to_owned(), bytes: bytes.len() });
        }
        let decoded = ModelProto::decode(bytes.as_slice());
        let model = decoded.map_err(|source| E::SentencePiece { file: file.to_owned(), source })?;
        if model.pieces.is_empty() {
            return Err(E::field(file, "pieces", "a list of them", &Value::Null));
        }
        Ok(model)
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// Each piece with its score and the token type that it becomes.
    pub(super) fn into_tokens(
        self,
        file: &'static str,
    ) -> impl Iterator<Item = Result<(String, f32, i32), E>> {
        (0u64..).zip(self.pieces).map(move |(id, piece)| {
            let kind = piece.kind.unwrap_or(1);
            let known = KINDS.iter().find(|(number, _)| *number == kind);
            let unknown = || E::field(file, format!("pieces.{id}.type"), "a known type", &kind.into());
            let (_, kind) = known.ok_or_else(unknown)?;
            Ok((piece.piece.unwrap_or_default(), piece.score.unwrap_or_default(), *kind))
        })
    }
}

/// Numbers of `sentencepiece.ModelProto.SentencePiece.Type`, and the token type that each becomes. A user-defined piece
/// counts as a normal one, as it does in the reference.
pub(super) const KINDS: [(i32, i32); 6] =
    [(1, NORMAL), (2, UNKNOWN), (3, CONTROL), (4, NORMAL), (5, UNUSED), (6, BYTE)];

/// Most bytes of a model: the longest known have five million. A piece takes two bytes at least, so that there are no more
/// of them than a vocabulary may have tokens.
const MAX_MODEL: usize = 2 * MAX_VOCABULARY as usize;

/// The score of ids that have no piece.
pub(super) const NO_SCORE: f32 = -10000.0;
/// The score of added tokens.
pub(super) const ADDED_SCORE: f32 = -1000.0;

/// Tokens with scores and types, by id.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) texts: Strings,
    pub(super) scores: Vec<f32>,
    pub(super) types: Vec<i32>,
}

impl Pieces {
    pub(super) fn push(&mut self, text: &[u8], score: f32, kind: i32) {
        self.texts.push(text);
        self.scores.push(score);
        self.types.push(kind);
    }
}

/// Which files add tokens, and how their types are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// `_create_vocab_sentencepiece`: tokens that look special are; ids beyond the vocabulary are passed over.
    Usual,
    /// `Phi3MiniModel.set_vocab`: `tokenizer.json` as well; ids beyond the vocabulary are refused.
    Phi3,
}

/// A token, while they are gathered.
#[derive(Clone)]
struct Token {
    text: String,
    score: f32,
    kind: i32,
}

/// Reads the model and the files that add tokens; as many tokens as the hyper-parameters state.
pub(super) fn read(
    files: &TokenizerFiles<'_>,
    hparams: &Map<String, Value>,
    added: Added,
) -> Result<Pieces, E> {
    let model = ModelProto::read(files, SENTENCEPIECE)?;
    let keys: &[&str] =
        if added == Added::Usual { &["vocab_size_per_layer_input", "vocab_size"] } else { &["vocab_size"] };
    let stated = keys.iter().find_map(|key| Some((key, hparams.get(*key)?)));
    let size = match stated.filter(|(_, value)| truthy(value)) {
        None => model.len(),
        Some((key, value)) => {
            value.as_u64().ok_or_else(|| E::field(CONFIG, *key, "a number of tokens", value))?
        }
    };
    if size > MAX_VOCABULARY {
        return Err(E::VocabularyTooLarge(size));
    }
    let mut tokens = Gathered { tokens: vec![None; size as usize], added };
    for (id, token) in (0..).zip(model.into_tokens(SENTENCEPIECE)) {
        let (text, score, kind) = token?;
        tokens.set(id, Token { text, score, kind })?;
    }
    for (text, id) in object(files.checkpoint, ADDED_TOKENS)?.unwrap_or_default() {
        let number = id.as_u64().ok_or_else(|| E::field(ADDED_TOKENS, &text, "a token id", &id))?;
        tokens.set(number, Token { text, score: ADDED_SCORE, kind: USER_DEFINED })?;
    }
    add_decoder(files, &mut tokens)?;
    if added == Added::Phi3 {
        for token in files.tokenizer.iter().flat_map(|t| &t.added_tokens) {
            let kind = if token.special { CONTROL } else { USER_DEFINED };
            let entry = Token { text: token.content.clone(), score: ADDED_SCORE, kind };
            tokens.set(token.id.into(), entry)?;
        }
    }
    let mut pieces = Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() };
    for (id, token) in tokens.tokens.into_iter().enumerate() {
        match token {
            Some(token) => pieces.push(token.text.as_bytes(), token.score, token.kind),
            None => pieces.push(format!("[PAD{id}]").as_bytes(), NO_SCORE, UNUSED),
        }
    }
    Ok(pieces)
}

/// `added_tokens_decoder` of `tokenizer_config.json`.
fn add_decoder(files: &TokenizerFiles<'_>, tokens: &mut Gathered) -> Result<(), E> {
    let field = "added_tokens_decoder";
    let Some(decoder) = files.option(field) else { return Ok(()) };
    let Value::Object(decoder) = decoder else {
        return Err(E::field(TOKENIZER_CONFIG, field, "an object", decoder));
    };
    for (id, token) in decoder {
        let number = id.trim().parse().map_err(|_| {
            E::field(TOKENIZER_CONFIG, field, "keyed by token ids", &Value::String(id.clone()))
        })?;
        let Some(text) = token["content"].as_str() else {
            return Err(E::field(
                TOKENIZER_CONFIG,
                format!("{field}.{id}.content"),
                "a string",
                &token["content"],
            ));
        };
        let special = truthy(&token["special"]);
        let token = match tokens.added {
            Added::Usual if special || looks_special(text) => (text.to_owned(), CONTROL),
            Added::Usual => (text.replace('▁', " "), USER_DEFINED),
            Added::Phi3 => (text.to_owned(), if special { CONTROL } else { USER_DEFINED }),
        };
        let (text, kind) = token;
        tokens.set(number, Token { text, score: ADDED_SCORE, kind })?;
    }
    Ok(())
}

/// Tokens by id; none where no file has one.
struct Gathered {
    tokens: Vec<Option<Token>>,
    added: Added,
}

impl Gathered {
    fn set(&mut self, id: u64, token: Token) -> Result<(), E> {
        let size = self.tokens.len() as u64;
        match usize::try_from(id).ok().and_then(|id| self.tokens.get_mut(id)) {
            Some(place) => *place = Some(token),
            None if self.added == Added::Usual => {}
            None => {
                let id = u32::try_from(id).unwrap_or(u32::MAX);
                return Err(E::IdBeyondVocabulary { token: token.text, id, vocab_size: size });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_as_protobuf_writes_them() {
        // Made with SentencePiece's own `sentencepiece_model_pb2`: `<unk>` of type UNKNOWN, `▁a` of score -1.5, and a field of
        // the trainer's, which is passed over.
        let bytes = b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02\x0a\x0b\x0a\x04\xe2\x96\x81a\x15\x00\x00\xc0\xbf\x12\x02\x18\x02";
        let model = ModelProto::decode(bytes.as_slice()).unwrap();
        let found: Vec<_> = model.pieces.iter().map(|p| (p.piece.as_deref(), p.score, p.kind)).collect();
        assert_eq!(found, [(Some("<unk>"), Some(0.0), Some(2)), (Some("▁a"), Some(-1.5), None)]);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert!(ModelProto::decode(b"{\"a\": 1}".as_slice()).is_err());
        assert!(ModelProto::decode(b"\x0a\xff\xff\xff\xff\x0f".as_slice()).is_err());
    }
}
