//! Unigram vocabularies: of T5's SentencePiece models, and of XLM-Roberta's, which transformers numbers in its own way.
//!
//! In: `tokenizer.model`, `spiece.model`, `sentencepiece.bpe.model`, or a `tokenizer.json` with such a model. Out:
//! [`Unigram`]. Source: `T5Model.set_vocab` and `BertModel._xlmroberta_set_vocab` of the reference.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::SENTENCEPIECE;
use super::TokenizerError as E;
use super::json::{ADDED_TOKENS, CONFIG, TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, object, truthy};
use super::load::{Loaded, UNIGRAM};
use super::sentencepiece::{ADDED_SCORE, ModelProto, NO_SCORE, Pieces};
use super::vocab::{CONTROL, MAX_VOCABULARY, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::gguf::Strings;

/// T5's models, as they were named before.
const SPIECE: &str = "spiece.model";
/// XLM-Roberta's.
const XLM_ROBERTA: &str = "sentencepiece.bpe.model";

/// `sentencepiece.TrainerSpec.ModelType`.
const MODEL_UNIGRAM: i32 = 1;
const MODEL_BPE: i32 = 2;

/// A vocabulary, and what is done to texts before they are looked up in it.
pub(super) struct Unigram {
    pub(super) pieces: Pieces,
    /// Texts begin with a space.
    pub(super) space_prefix: bool,
    /// Of several spaces one is left.
    pub(super) remove_spaces: bool,
    /// Which characters become which, compiled.
    pub(super) char_map: Vec<u8>,
}

/// A token with its score and type.
type Token = (String, f32, i32);

fn unused(id: u64) -> Token {
    (format!("[PAD{id}]"), NO_SCORE, UNUSED)
}

/// What a SentencePiece model says beside its pieces; `None` for byte-pair encoding.
fn settings(model: &mut ModelProto, file: &str) -> Result<Option<Unigram>, E> {
    let kind = model.trainer.as_ref().and_then(|t| t.model_type).unwrap_or(MODEL_UNIGRAM);
    match kind {
        MODEL_UNIGRAM => {}
        MODEL_BPE => return Ok(None),
        other => return Err(E::field(file, "trainer_spec.model_type", "Unigram's", &other.into())),
    }
    let normalizer = model.normalizer.take().unwrap_or_default();
    Ok(Some(Unigram {
        pieces: Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() },
        space_prefix: normalizer.add_dummy_prefix.unwrap_or(true),
        remove_spaces: normalizer.remove_extra_whitespaces.unwrap_or(true),
        char_map: normalizer.precompiled_charsmap.unwrap_or_default(),
    }))
}

/// `vocab_size` of the hyper-parameters.
fn stated_size(hparams: &Map<String, Value>) -> Result<Option<u64>, E> {
    let number =
        |value: &Value| value.as_u64().ok_or_else(|| E::field(CONFIG, "vocab_size", "a number", value));
    hparams.get("vocab_size").map(number).transpose()
}

fn checked(size: u64) -> Result<u64, E> {
    if size > MAX_VOCABULARY { Err(E::VocabularyTooLarge(size)) } else { Ok(size) }
}

/// T5's vocabulary; `None` where it is one of byte-pair encoding, such as Llama's.
pub(super) fn t5(files: &TokenizerFiles<'_>, hparams: &Map<String, Value>) -> Result<Option<Unigram>, E> {
    let file = if files.checkpoint.has_file(SENTENCEPIECE) { SENTENCEPIECE } else { SPIECE };
    let mut model = ModelProto::read(files, file)?;
    let Some(mut read) = settings(&mut model, file)? else {
        if file == SENTENCEPIECE {
            return Ok(None);
        }
        return Err(E::field(file, "trainer_spec.model_type", "Unigram's", &MODEL_BPE.into()));
    };
    let size = checked(stated_size(hparams)?.unwrap_or(model.len()))?;
    let mut tokens: Vec<Option<Token>> = vec![None; size as usize];
    for (id, token) in (0u32..).zip(model.into_tokens(file)) {
        let token = token?;
        match tokens.get_mut(id as usize) {
            Some(place) => *place = Some(token),
            None => return Err(E::IdBeyondVocabulary { token: token.0, id, vocab_size: size }),
        }
    }
    for (text, id) in object(files.checkpoint, ADDED_TOKENS)?.unwrap_or_default() {
        let number = id.as_u64().ok_or_else(|| E::field(ADDED_TOKENS, &text, "a token id", &id))?;
        // The reference passes over ids beyond the vocabulary.
        if let Some(place) = usize::try_from(number).ok().and_then(|id| tokens.get_mut(id)) {
            *place = Some((text, ADDED_SCORE, USER_DEFINED));
        }
    }
    read.pieces = gathered(tokens, 0);
    Ok(Some(read))
}

/// Tokens in their order; those that are missing are numbered as in the model, `before` of whose tokens came first.
fn gathered(tokens: Vec<Option<Token>>, before: u64) -> Pieces {
    let mut pieces = Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() };
    for (id, token) in (0u64..).zip(tokens) {
        let (text, score, kind) = token.unwrap_or_else(|| unused(id.saturating_sub(before)));
        pieces.push(text.as_bytes(), score, kind);
    }
    pieces
}

/// XLM-Roberta's vocabulary.
pub(super) fn xlm_roberta(
    files: &mut TokenizerFiles<'_>,
    hparams: &Map<String, Value>,
) -> Result<Unigram, E> {
    if files.checkpoint.has_file(XLM_ROBERTA) { of_model(files, hparams) } else { of_json(files, hparams) }
}

/// Of the SentencePiece model, whose ids are those of transformers less one, but for the special tokens before them.
fn of_model(files: &TokenizerFiles<'_>, hparams: &Map<String, Value>) -> Result<Unigram, E> {
    /// Pieces that stand for special tokens.
    const REPLACED: usize = 3;
    let mut model = ModelProto::read(files, XLM_ROBERTA)?;
    let read = settings(&mut model, XLM_ROBERTA)?;
    let wrong = || E::field(XLM_ROBERTA, "trainer_spec.model_type", "Unigram's", &MODEL_BPE.into());
    let mut read = read.ok_or_else(wrong)?;
    let own = model.len();
    let size = checked(stated_size(hparams)?.unwrap_or(0).max(own))?;
    let specials = [("<s>", CONTROL), ("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)];
    let mut tokens: Vec<Option<Token>> =
        specials.iter().map(|(text, kind)| Some(((*text).to_owned(), 0.0, *kind))).collect();
    for token in model.into_tokens(XLM_ROBERTA).skip(REPLACED) {
        tokens.push(Some(token?));
    }
    // One came before, and the last falls off.
    tokens.resize((size as usize).max(specials.len()), None);
    read.pieces = gathered(tokens, 1);
    Ok(read)
}

/// Of a `tokenizer.json`, with the tokens that transformers adds.
fn of_json(files: &mut TokenizerFiles<'_>, hparams: &Map<String, Value>) -> Result<Unigram, E> {
    if files.tokenizer.is_none() {
        files.read_tokenizer()?;
    }
    let json = files.tokenizer.as_ref().ok_or(E::Missing(TOKENIZER))?;
    const CHAR_MAP: &str = "normalizer.precompiled_charsmap";
    let compiled = json.normalizer.as_ref().map_or(&Value::Null, |n| &n["precompiled_charsmap"]);
    let char_map = compiled.as_str().and_then(|text| STANDARD.decode(text).ok());
    let char_map = char_map.ok_or_else(|| E::field(TOKENIZER, CHAR_MAP, "in base64", compiled))?;
    let unknown_id = json.model.unk_id.clone().unwrap_or_else(|| 3.into());

    let loaded = Loaded::new(files, &[UNIGRAM])?;
    let listed = &loaded.tokens.listed;
    let added = loaded.tokenizer.get_added_vocabulary().get_vocab();
    let unknown = match files.option("unk_token") {
        None | Some(Value::Null) => None,
        Some(Value::String(token)) => added.get(token).copied(),
        Some(other) => return Err(E::field(TOKENIZER_CONFIG, "unk_token", "a text", other)),
    };
    let unknown = unknown.map_or(unknown_id, Value::from);
    let id_of = |token: &str| loaded.tokenizer.token_to_id(token);
    let unk = loaded.specials.text("unk_token").and_then(id_of);
    let special: HashSet<u32> = loaded.specials.texts().filter_map(|text| id_of(text).or(unk)).collect();
    let others: HashSet<u32> = added.values().copied().collect();

    let own = listed.ids.len() as u64;
    let size = checked(stated_size(hparams)?.unwrap_or(0).max(own))?;
    let by_id: std::collections::HashMap<u32, &str> =
        added.iter().map(|(text, id)| (*id, text.as_str())).collect();
    let mut pieces = Pieces { texts: Strings::new(), scores: Vec::new(), types: Vec::new() };
    for (id, (token, score)) in (0u32..).zip(listed.tokens.iter().zip(&listed.scores)) {
        let kind = if unknown == id {
            UNKNOWN
        } else if special.contains(&id) {
            CONTROL
        } else if others.contains(&id) {
            USER_DEFINED
        } else {
            NORMAL
        };
        let single = *score as f32;
        if !single.is_finite() {
            return Err(E::field(
                TOKENIZER,
                format!("model.vocab.{id}"),
                "a score that fits",
                &(*score).into(),
            ));
        }
        pieces.push(by_id.get(&id).map_or(token, |text| text.as_bytes()), single, kind);
    }
    for (text, score, kind) in (own..size).map(unused) {
        pieces.push(text.as_bytes(), score, kind);
    }
    Ok(Unigram {
        pieces,
        space_prefix: files.option("add_prefix_space").is_some_and(truthy),
        remove_spaces: loaded.clean_up,
        char_map,
    })
}
