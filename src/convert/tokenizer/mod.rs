//! The tokenizer part of the GGUF metadata.
//!
//! In: a checkpoint's tokenizer files and its hyper-parameters. Out: the `tokenizer.*` keys, in the order, with the types
//! and the bytes that `convert_hf_to_gguf.py` writes. Byte-level BPE (the GGUF model `gpt2`) and
//! SentencePiece (`llama`; [`sentencepiece`], [`llama_hf`]), WordPiece, Unigram, tiktoken's
//! vocabularies ([`tiktoken`]), and Mistral's tekken ([`tekken`]). What
//! the reference knows and this does not is refused by name, never written in another way.
//!
//! Two of the reference's libraries look at the same files and see different things; both are followed. transformers
//! loads the tokenizer that gives tokens, token types and the pre-tokenizer's hash ([`load`]); gguf-py's `SpecialVocab`
//! reads the JSON itself for merges, special token ids and chat templates ([`special`]).

mod added;
mod chat;
mod class;
mod error;
mod internlm;
mod json;
mod known;
mod lean;
mod llama_hf;
mod load;
mod model;
mod patterns;
mod pre;
mod python;
mod ranks;
mod sentencepiece;
mod slow;
mod special;
mod tekken;
mod tiktoken;
mod unigram;
mod vocab;

use serde_json::{Map, Value};

pub use self::error::TokenizerError;
use self::json::{TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, truthy};
use self::load::{BPE, Loaded, UNIGRAM, WORD_PIECE};
use self::sentencepiece::Added;
use self::special::SpecialVocab;
use crate::arch::Vocabulary;
use crate::checkpoint::Checkpoint;
use crate::gguf::Metadata;

/// A SentencePiece model.
const SENTENCEPIECE: &str = "tokenizer.model";
/// The same, as Mistral names its third.
const MISTRAL_PIECES: &str = "tokenizer.model.v3";

/// What is written of.
struct Source<'a> {
    files: TokenizerFiles<'a>,
    /// `config.json` after defaults, with `text_config` merged in.
    hparams: &'a Map<String, Value>,
    /// A name that the user gave in place of recognition.
    pre_tokenizer: Option<&'a str>,
}

/// Writes the tokenizer's keys to `out`.
///
/// `hparams` is `config.json` after defaults, with `text_config` merged in. `pre_tokenizer` is a name that the user gave
/// in place of recognition.
///
/// # Errors
/// [`TokenizerError`] names the file and the field. `out` may then hold some of the keys.
pub fn write(
    checkpoint: &Checkpoint,
    hparams: &Map<String, Value>,
    style: Vocabulary,
    pre_tokenizer: Option<&str>,
    out: &mut Metadata,
) -> Result<(), TokenizerError> {
    let resized = resized(style, hparams)?;
    let hparams = resized.as_ref().unwrap_or(hparams);
    let mut source = Source { files: TokenizerFiles::read(checkpoint)?, hparams, pre_tokenizer };
    let has_sentencepiece = checkpoint.has_file(SENTENCEPIECE);
    match style {
        Vocabulary::Gpt2 => source.write_gpt2(out),
        Vocabulary::Llama => source.write_llama(out),
        Vocabulary::Mistral => source.write_mistral(out),
        Vocabulary::SentencePiece => source.write_sentencepiece(out),
        Vocabulary::Qwen2 if has_sentencepiece => source.write_sentencepiece(out),
        Vocabulary::Qwen2 => source.write_gpt2(out),
        Vocabulary::Gemma => source.write_gemma(out),
        Vocabulary::Gemma3 | Vocabulary::Gemma3n if !has_sentencepiece => source.write_gpt2(out),
        Vocabulary::Gemma2 | Vocabulary::Gemma3 | Vocabulary::Gemma3n => {
            source.write_sentencepiece(out)?;
            out.set(SPACE_PREFIX, false);
            Ok(())
        }
        Vocabulary::Phi3 => source.write_phi3(out),
        Vocabulary::StableLm if !checkpoint.has_file(TOKENIZER) => Err(TokenizerError::Missing(TOKENIZER)),
        Vocabulary::StableLm => source.write_gpt2(out),
        Vocabulary::Nemotron => {
            source.write_sentencepiece(out)?;
            out.set("tokenizer.ggml.padding_token_id", 0u32);
            out.set("tokenizer.ggml.unknown_token_id", 1u32);
            Ok(())
        }
        Vocabulary::Ernie => {
            source.write_sentencepiece(out)?;
            if let Some(space) = source.files.option("add_prefix_space") {
                out.set(SPACE_PREFIX, truthy(space));
            }
            Ok(())
        }
        Vocabulary::Glm4 => {
            let (text, user) = ("<|endoftext|>", "<|user|>");
            source.write_glm(&[("eos", text), ("eot", user), ("unk", text), ("bos", text)], out)
        }
        Vocabulary::Glm => {
            let named = [
                ("bos", "[gMASK]"),
                ("eot", "<|user|>"),
                ("unk", "<|endoftext|>"),
                ("eom", "<|observation|>"),
            ];
            source.write_glm(&named, out)
        }
        Vocabulary::ChatGlm => {
            let (text, user) = ("<|endoftext|>", "<|user|>");
            source.write_glm(&[("eos", text), ("eot", user), ("unk", text)], out)
        }
        Vocabulary::InternLm2 => source.write_internlm2(out),
        Vocabulary::InternLm3 => source.write_internlm3(out),
        Vocabulary::Jamba if has_sentencepiece => source.write_sentencepiece(out),
        Vocabulary::Jamba => {
            source.write_llama_hf(out)?;
            out.set(SPACE_PREFIX, false);
            Ok(())
        }
        Vocabulary::Mamba if has_sentencepiece && !checkpoint.has_file(TOKENIZER) => {
            source.write_sentencepiece(out)
        }
        Vocabulary::Mamba2 if has_sentencepiece => source.write_sentencepiece(out),
        Vocabulary::Mamba2 if checkpoint.has_file(MISTRAL_PIECES) => {
            Err(unsupported(MISTRAL_PIECES, "a SentencePiece model of another name"))
        }
        Vocabulary::Mamba | Vocabulary::Mamba2 | Vocabulary::NemotronH => source.write_gpt2(out),
        Vocabulary::Hunyuan => source.write_hunyuan(out),
        Vocabulary::HunyuanMoe => source.write_hunyuan_moe(out),
        Vocabulary::Qwen => source.write_qwen(out),
        Vocabulary::DeepSeek2 => source.write_deepseek2(out),
        Vocabulary::Bert => source.write_bert(out),
        Vocabulary::Roberta if checkpoint.has_file(TOKENIZER) => {
            source.write_gpt2(out)?;
            source.write_text_kinds(out)
        }
        Vocabulary::Roberta => source.write_bert(out),
        Vocabulary::XlmRoberta => source.write_xlm_roberta(out),
        Vocabulary::JinaBert => source.write_jina_bert(out),
        Vocabulary::NomicBert => source.write_nomic_bert(out),
        Vocabulary::ModernBert => {
            for mark in ["bos", "eos", "sep"] {
                out.set(format!("tokenizer.ggml.add_{mark}_token"), true);
            }
            source.write_gpt2(out)
        }
        Vocabulary::EuroBert => {
            out.set("tokenizer.ggml.add_bos_token", false);
            source.write_gpt2(out)
        }
        Vocabulary::T5 => source.write_t5(out),
    }
}

/// Writes the keys of a `tekken.json` alone.
///
/// # Errors
/// As [`write()`].
pub fn write_tekken(bytes: &[u8], out: &mut Metadata) -> Result<(), TokenizerError> {
    tekken::parse(bytes, None)?.write(out);
    Ok(())
}

/// Reads the lines of a `*.tiktoken`, and finds the merges that its ranks stand for.
///
/// # Errors
/// As [`write()`].
pub fn tiktoken_merges(bytes: &[u8]) -> Result<crate::gguf::Strings, TokenizerError> {
    tiktoken::all_merges("tiktoken.model", bytes)
}

/// The rows of the embeddings that have a token, where the reference cuts the others off (Gemma 3).
///
/// # Errors
/// As [`write()`].
pub fn rows(checkpoint: &Checkpoint, hparams: &Map<String, Value>) -> Result<u64, TokenizerError> {
    let mut files = TokenizerFiles::read(checkpoint)?;
    if checkpoint.has_file(SENTENCEPIECE) {
        return Ok(sentencepiece::read(&files, hparams, Added::Usual)?.texts.len() as u64);
    }
    files.read_tokenizer()?;
    let tokenizer = files.tokenizer.as_ref().ok_or(TokenizerError::Missing(TOKENIZER))?;
    Ok((tokenizer.model.vocab.ids.len() + tokenizer.added_tokens.len()) as u64)
}

/// The ids of these tokens, as transformers gives them: that of the unknown token for what is none.
///
/// # Errors
/// As [`write()`], and where there is no unknown token.
pub fn ids<const N: usize>(checkpoint: &Checkpoint, tokens: [&str; N]) -> Result<[u32; N], TokenizerError> {
    let mut files = TokenizerFiles::read(checkpoint)?;
    files.read_tokenizer()?;
    let loaded = Loaded::new(&mut files, &[BPE])?;
    let id = |token: &str| loaded.tokenizer.token_to_id(token);
    let unknown = loaded.specials.text("unk_token").and_then(id);
    let mut ids = [0; N];
    for (place, token) in ids.iter_mut().zip(tokens) {
        let missing = || TokenizerError::field(TOKENIZER, "model.vocab", "with an answer", &token.into());
        *place = id(token).or(unknown).ok_or_else(missing)?;
    }
    Ok(ids)
}

/// The hyper-parameters with as many tokens as the vocabulary has, where they state another number.
fn resized(
    style: Vocabulary,
    hparams: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, TokenizerError> {
    const SIZE: &str = "vocab_size";
    const MULTIPLE: &str = "pad_vocab_size_multiple";
    let usual = match style {
        Vocabulary::Mamba | Vocabulary::NemotronH => 8,
        Vocabulary::Mamba2 => 16,
        Vocabulary::Gemma3n => {
            let mut whole = hparams.clone();
            whole.shift_remove("vocab_size_per_layer_input");
            return Ok(Some(whole));
        }
        _ => return Ok(None),
    };
    let number = |key: &str, value: &Value| {
        value.as_u64().ok_or_else(|| TokenizerError::field(json::CONFIG, key, "a number", value))
    };
    let size = number(SIZE, hparams.get(SIZE).unwrap_or(&Value::Null))?;
    let multiple = hparams.get(MULTIPLE).map_or(Ok(usual), |value| number(MULTIPLE, value))?.max(1);
    let mut padded = hparams.clone();
    padded.insert(SIZE.to_owned(), size.div_ceil(multiple).saturating_mul(multiple).into());
    Ok(Some(padded))
}

const SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const TEXT_KINDS: &str = "tokenizer.ggml.token_type_count";

impl Source<'_> {
    /// `_set_vocab_gpt2`.
    fn write_gpt2(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        self.write_gpt2_tokens(out)?;
        SpecialVocab::read(&self.files, &special::TYPES, None)?.write(out)
    }

    /// The tokens and merges of byte-level BPE, without special tokens.
    fn write_gpt2_tokens(&mut self, out: &mut Metadata) -> Result<Loaded, TokenizerError> {
        let (mut loaded, tokens, pre) = self.base_tokens(&[BPE])?;
        out.set("tokenizer.ggml.model", "gpt2");
        out.set("tokenizer.ggml.pre", pre);
        out.set("tokenizer.ggml.tokens", tokens.texts);
        out.set("tokenizer.ggml.token_type", tokens.types);
        let merges = std::mem::take(&mut loaded.merges);
        if !merges.is_empty() {
            out.set("tokenizer.ggml.merges", merges);
        }
        Ok(loaded)
    }

    /// `get_vocab_base`: the tokens of a model of one of these types, and the pre-tokenizer's name.
    fn base_tokens(&mut self, types: &[&str]) -> Result<(Loaded, vocab::Tokens, String), TokenizerError> {
        let pre = self.pre_tokenizer.map(pre::named).transpose()?;
        if self.files.tokenizer.is_none() {
            self.files.read_tokenizer()?;
        }
        let loaded = Loaded::new(&mut self.files, types)?;
        let pre = match pre {
            Some(name) => name,
            None => pre::recognise(&loaded.tokenizer, self.files.tokenizer.as_ref())?,
        };
        let tokens = vocab::tokens(&loaded, self.hparams)?;
        Ok((loaded, tokens, pre.to_owned()))
    }

    /// `BertModel.set_vocab`.
    fn write_bert(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let (_, tokens, pre) = self.base_tokens(&[WORD_PIECE, BPE])?;
        self.write_text_kinds(out)?;
        let tokens = vocab::Tokens { texts: vocab::with_spaces(&tokens), ..tokens };
        let size = tokens.texts.len() as u64;
        out.set("tokenizer.ggml.model", "bert");
        out.set("tokenizer.ggml.pre", pre);
        out.set("tokenizer.ggml.tokens", tokens.texts);
        out.set("tokenizer.ggml.token_type", tokens.types);
        SpecialVocab::read(&self.files, &special::TYPES, Some(size))?.write(out)
    }

    /// The kinds of text that the model tells apart.
    fn write_text_kinds(&self, out: &mut Metadata) -> Result<(), TokenizerError> {
        const KINDS: &str = "type_vocab_size";
        let count = match self.hparams.get(KINDS) {
            None => 1,
            Some(value) => value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| TokenizerError::field(json::CONFIG, KINDS, "a number", value))?,
        };
        out.set(TEXT_KINDS, count);
        Ok(())
    }

    /// `BertModel._xlmroberta_set_vocab`.
    fn write_xlm_roberta(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let read = unigram::xlm_roberta(&mut self.files, self.hparams)?;
        self.write_unigram(read, true, out)
    }

    /// `T5Model.set_vocab`.
    fn write_t5(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        match unigram::t5(&self.files, self.hparams)? {
            Some(read) => self.write_unigram(read, false, out),
            None => self.write_sentencepiece(out),
        }
    }

    /// Tokens with scores, what goes with them, and the special tokens among them.
    fn write_unigram(
        &mut self,
        read: unigram::Unigram,
        tells_texts_apart: bool,
        out: &mut Metadata,
    ) -> Result<(), TokenizerError> {
        if self.files.tokenizer.is_none() {
            self.files.read_tokenizer()?;
        }
        let size = read.pieces.texts.len() as u64;
        out.set("tokenizer.ggml.model", "t5");
        out.set("tokenizer.ggml.pre", "default");
        out.set("tokenizer.ggml.tokens", read.pieces.texts);
        out.set("tokenizer.ggml.scores", read.pieces.scores);
        out.set("tokenizer.ggml.token_type", read.pieces.types);
        out.set(SPACE_PREFIX, read.space_prefix);
        if tells_texts_apart {
            self.write_text_kinds(out)?;
        }
        out.set("tokenizer.ggml.remove_extra_whitespaces", read.remove_spaces);
        if !read.char_map.is_empty() {
            out.set("tokenizer.ggml.precompiled_charsmap", read.char_map);
        }
        SpecialVocab::read(&self.files, &special::TYPES, Some(size))?.write(out)
    }

    /// `JinaBertV2Model.set_vocab`.
    fn write_jina_bert(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        const CLASS: &str = "tokenizer_class";
        let found = self.files.option(CLASS).cloned().unwrap_or_default();
        match found.as_str() {
            Some("BertTokenizer") => return self.write_bert(out),
            Some("RobertaTokenizer") => {}
            _ => {
                let expected = "`BertTokenizer` or `RobertaTokenizer`";
                return Err(TokenizerError::field(TOKENIZER_CONFIG, CLASS, expected, &found));
            }
        }
        self.files.read_tokenizer()?;
        let parts = self.files.tokenizer.as_ref().and_then(|t| t.pre_tokenizer.as_ref());
        if parts.is_some_and(|p| p["type"] == "Whitespace") {
            return Err(unsupported(TOKENIZER, "a pre-tokenizer that splits by spaces"));
        }
        self.write_gpt2(out)?;
        out.set(TEXT_KINDS, 2u32);
        Ok(())
    }

    /// `NomicBertModel.set_vocab`.
    fn write_nomic_bert(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        self.files.read_tokenizer()?;
        let tokenizer = self.files.tokenizer.as_ref().ok_or(TokenizerError::Missing(TOKENIZER))?;
        match tokenizer.model.kind.as_deref() {
            Some(UNIGRAM) => self.write_xlm_roberta(out),
            Some(WORD_PIECE) => self.write_bert(out),
            other => Err(unsupported(TOKENIZER, other.unwrap_or("an untyped model"))),
        }
    }

    /// `_set_vocab_sentencepiece`.
    fn write_sentencepiece(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let pieces = sentencepiece::read(&self.files, self.hparams, Added::Usual)?;
        self.write_pieces(pieces, out)
    }

    /// Tokens with scores, and the special tokens among them.
    fn write_pieces(
        &mut self,
        pieces: sentencepiece::Pieces,
        out: &mut Metadata,
    ) -> Result<(), TokenizerError> {
        self.set_pieces(pieces, out)?.write(out)
    }

    /// Writes tokens with scores; gives the special tokens among them.
    fn set_pieces(
        &mut self,
        pieces: sentencepiece::Pieces,
        out: &mut Metadata,
    ) -> Result<SpecialVocab, TokenizerError> {
        if self.files.tokenizer.is_none() {
            self.files.read_tokenizer()?;
        }
        let size = pieces.texts.len() as u64;
        out.set("tokenizer.ggml.model", "llama");
        out.set("tokenizer.ggml.pre", "default");
        out.set("tokenizer.ggml.tokens", pieces.texts);
        out.set("tokenizer.ggml.scores", pieces.scores);
        out.set("tokenizer.ggml.token_type", pieces.types);
        SpecialVocab::read(&self.files, &special::TYPES, Some(size))
    }

    /// `_set_vocab_llama_hf`.
    fn write_llama_hf(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        self.files.read_tokenizer()?;
        let tokenizer = self.files.tokenizer.as_ref().ok_or(TokenizerError::Missing(TOKENIZER))?;
        if !llama_hf::is_one(tokenizer)? {
            return Err(unsupported(TOKENIZER, "a tokenizer that is not of Llama 2's kind"));
        }
        let pieces = llama_hf::read(&mut self.files)?;
        self.write_pieces(pieces, out)
    }

    /// `InternLM2Model.set_vocab`.
    fn write_internlm2(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        self.files.read_tokenizer()?;
        let mut vocabulary = internlm::Vocabulary::read(&self.files, self.hparams)?;
        let pieces = std::mem::take(&mut vocabulary.pieces);
        let mut special = self.set_pieces(pieces, out)?;
        out.set(SPACE_PREFIX, vocabulary.space_prefix);
        vocabulary.end_turns(&mut special)?;
        special.write(out)
    }

    /// `InternLM3Model.set_vocab`.
    fn write_internlm3(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let pieces = sentencepiece::read(&self.files, self.hparams, Added::Usual)?;
        let mut special = self.set_pieces(pieces, out)?;
        if let Some(space) = self.files.option("add_prefix_space") {
            out.set(SPACE_PREFIX, truthy(space));
        }
        for (id, text, is_special) in internlm::decoder(&self.files)? {
            if is_special && text == internlm::TURN_END {
                special.replace("eos", id);
            }
        }
        special.write(out)
    }

    /// `_set_vocab_mistral` for Mistral's own format, which has the model's chat template before that of its version.
    fn write_mistral(&self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let checkpoint = self.files.checkpoint;
        let bytes = checkpoint.small_file(tekken::TEKKEN)?.ok_or(TokenizerError::Missing(tekken::TEKKEN))?;
        tekken::parse(&bytes, json::text(checkpoint, chat::JINJA)?)?.write(out);
        Ok(())
    }

    /// `LlamaModel.set_vocab`.
    fn write_llama(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        let checkpoint = self.files.checkpoint;
        if checkpoint.has_file(tekken::TEKKEN) && !checkpoint.has_file(TOKENIZER) {
            let bytes = checkpoint.small_file(tekken::TEKKEN)?;
            return write_tekken(&bytes.ok_or(TokenizerError::Missing(tekken::TEKKEN))?, out);
        }
        if let Some(space) = self.files.option("add_prefix_space").filter(|v| !v.is_null()) {
            out.set(SPACE_PREFIX, truthy(space));
        }
        if self.files.option("tokenizer_class").is_some_and(|c| c == "HybridDNATokenizer") {
            return Err(unsupported(TOKENIZER_CONFIG, "a `HybridDNATokenizer`"));
        }
        if checkpoint.has_file(SENTENCEPIECE) {
            self.write_sentencepiece(out)?;
        } else {
            self.files.read_tokenizer()?;
            match &self.files.tokenizer {
                Some(tokenizer) if llama_hf::is_one(tokenizer)? => {
                    let pieces = llama_hf::read(&mut self.files)?;
                    self.write_pieces(pieces, out)?;
                }
                _ => self.write_gpt2(out)?,
            }
        }
        match self.hparams.get("vocab_size").and_then(Value::as_u64) {
            Some(32016) => {
                let types = ["prefix", "suffix", "middle", "eot"];
                self.write_infill(
                    &types,
                    &[("prefix", 32007), ("suffix", 32008), ("middle", 32009), ("eot", 32010)],
                )?
                .write(out)?;
            }
            // Granite's small models, and whatever else has as many tokens.
            Some(49152) => out.set("tokenizer.ggml.add_bos_token", false),
            _ => {}
        }
        Ok(())
    }

    /// Special tokens for filling in text, by their ids where the files do not tell.
    fn write_infill(&self, types: &[&str], ids: &[(&str, u64)]) -> Result<SpecialVocab, TokenizerError> {
        let mut special = SpecialVocab::read(&self.files, types, None)?;
        for (kind, id) in ids {
            special.set_default(kind, *id);
        }
        Ok(special)
    }

    /// `GemmaModel.set_vocab`.
    fn write_gemma(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        self.write_sentencepiece(out)?;
        let ids = [("prefix", 67), ("suffix", 69), ("middle", 68), ("fsep", 70), ("eot", 107)];
        let special = self.write_infill(&["prefix", "suffix", "middle", "fsep", "eot"], &ids)?;
        special.without_chat_template().write(out)?;
        out.set(SPACE_PREFIX, false);
        Ok(())
    }

    /// `Phi3MiniModel.set_vocab`.
    fn write_phi3(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        if self.files.tokenizer_config.is_some() {
            match self.files.option("tokenizer_class") {
                Some(class) if class == "GPT2Tokenizer" => return self.write_gpt2(out),
                Some(_) => {}
                None => {
                    let (key, expected) = ("tokenizer_class", "there");
                    return Err(TokenizerError::field(TOKENIZER_CONFIG, key, expected, &Value::Null));
                }
            }
        }
        self.files.read_tokenizer()?;
        let pieces = sentencepiece::read(&self.files, self.hparams, Added::Phi3)?;
        self.write_pieces(pieces, out)
    }

    /// `Glm4Model.set_vocab`, `ChatGLMModel.set_vocab`, `_set_vocab_glm`: special tokens by their names, where no file
    /// tells.
    fn write_glm(&mut self, named: &[(&str, &str)], out: &mut Metadata) -> Result<(), TokenizerError> {
        let loaded = self.write_gpt2_tokens(out)?;
        let added = loaded.tokenizer.get_added_vocabulary().get_vocab();
        let id = |token: &str| {
            let id = added.get(token).map(|id| u64::from(*id));
            let missing =
                || TokenizerError::field(TOKENIZER, "added_tokens", "with GLM's", &Value::from(token));
            id.ok_or_else(missing)
        };
        let mut special = SpecialVocab::read(&self.files, &special::TYPES, None)?;
        for (kind, token) in named {
            special.set_default(kind, id(token)?);
        }
        special.write(out)
    }

    /// `HunYuanModel.set_vocab`.
    fn write_hunyuan(&mut self, out: &mut Metadata) -> Result<(), TokenizerError> {
        const GENERATION: &str = "generation_config.json";
        if self.files.checkpoint.has_file(TOKENIZER) {
            self.write_gpt2_tokens(out)?;
            // Some state that there is no padding by an id below zero.
            let padded = self.hparams.get("pad_token_id").and_then(Value::as_i64).is_none_or(|id| id >= 0);
            let types = special::TYPES.iter().copied().filter(|kind| padded || *kind != "pad");
            SpecialVocab::read(&self.files, &types.collect::<Vec<_>>(), None)?.write(out)?;
        } else {
            self.write_hunyuan_ranked(out)?;
        }
        let mut set = |file: &str, field: &str, key: &str, id: &Value| {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            out.set(key, number.ok_or_else(|| TokenizerError::field(file, field, "a token id", id))?);
            Ok::<(), TokenizerError>(())
        };
        if let Some(id) = self.hparams.get("eod_token_id").filter(|v| !v.is_null()) {
            set(json::CONFIG, "eod_token_id", "tokenizer.ggml.eos_token_id", id)?;
        }
        let generation = json::object(self.files.checkpoint, GENERATION)?.unwrap_or_default();
        if let Some(Value::Array(ends)) = generation.get("eos_token_id")
            && let [first, _, ..] = ends.as_slice()
        {
            set(GENERATION, "eos_token_id", "tokenizer.ggml.eot_token_id", first)?;
        }
        Ok(())
    }
}

fn unsupported(file: &'static str, found: &str) -> TokenizerError {
    TokenizerError::Unsupported { file, found: found.to_owned() }
}

#[cfg(test)]
mod tests;
