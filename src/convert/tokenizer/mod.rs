//! The tokenizer part of the GGUF metadata.
//!
//! In: a checkpoint's tokenizer files and its hyper-parameters. Out: the `tokenizer.*` keys, in the order, with the types
//! and the bytes that `convert_hf_to_gguf.py` writes. Byte-level BPE only (the GGUF model `gpt2`); SentencePiece,
//! WordPiece, Unigram and tekken are refused by name, never written in another way.
//!
//! Two of the reference's libraries look at the same files and see different things; both are followed. transformers
//! loads the tokenizer that gives tokens, token types and the pre-tokenizer's hash ([`load`]); gguf-py's `SpecialVocab`
//! reads the JSON itself for merges, special token ids and chat templates ([`special`]).

mod added;
mod chat;
mod class;
mod error;
mod json;
mod known;
mod lean;
mod load;
mod pre;
mod slow;
mod special;
mod vocab;

use serde_json::{Map, Value};

pub use self::error::TokenizerError;
use self::json::{TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, TokenizerJson, truthy};
use self::load::Loaded;
use self::special::SpecialVocab;
use crate::arch::Vocabulary;
use crate::checkpoint::Checkpoint;
use crate::gguf::Metadata;

/// Writes the tokenizer's keys to `out`.
///
/// `hparams` is `config.json` after defaults, with `text_config` merged in; `vocab_size` is what is read of it.
/// `pre_tokenizer` is a name that the user gave in place of recognition.
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
    let mut files = TokenizerFiles::read(checkpoint)?;
    let sentencepiece = "tokenizer.model";
    if style == Vocabulary::Llama {
        if checkpoint.has_file("tekken.json") && !checkpoint.has_file(TOKENIZER) {
            return Err(unsupported("tekken.json", "a Mistral tokenizer"));
        }
        if let Some(space) = files.option("add_prefix_space").filter(|v| !v.is_null()) {
            out.set("tokenizer.ggml.add_space_prefix", truthy(space));
        }
        if files.option("tokenizer_class").is_some_and(|c| c == "HybridDNATokenizer") {
            return Err(unsupported(TOKENIZER_CONFIG, "a `HybridDNATokenizer`"));
        }
    }
    if checkpoint.has_file(sentencepiece) {
        return Err(unsupported(sentencepiece, "a SentencePiece model"));
    }
    files.read_tokenizer()?;
    if style == Vocabulary::Llama
        && let Some(tokenizer) = &files.tokenizer
    {
        refuse_llama_vocabulary(tokenizer)?;
    }
    write_gpt2(&mut files, hparams, pre_tokenizer, out)?;

    if style == Vocabulary::Llama {
        match hparams.get("vocab_size").and_then(Value::as_u64) {
            Some(32016) => write_code_llama(&files, out)?,
            // Granite's small models, and whatever else has as many tokens.
            Some(49152) => out.set("tokenizer.ggml.add_bos_token", false),
            _ => {}
        }
    }
    Ok(())
}

fn unsupported(file: &'static str, found: &str) -> TokenizerError {
    TokenizerError::Unsupported { file, found: found.to_owned() }
}

/// What the reference would write as the GGUF model `llama` (`LlamaHfVocab`).
fn refuse_llama_vocabulary(tokenizer: &TokenizerJson) -> Result<(), TokenizerError> {
    let model = &tokenizer.model;
    let absent = |field| Err(TokenizerError::field(TOKENIZER, field, "there", &Value::Null));
    let Some(kind) = model.kind.as_deref() else { return absent("model.type") };
    let is_llama3 = model.ignore_merges == Some(true) && model.byte_fallback == Some(false);
    if kind != "BPE" || is_llama3 || model.byte_fallback != Some(true) {
        return Ok(());
    }
    match &tokenizer.decoder {
        None => absent("decoder"),
        Some(decoder) if decoder["type"] == "Sequence" => {
            Err(unsupported(TOKENIZER, "BPE with byte fallback"))
        }
        Some(_) => Ok(()),
    }
}

/// `_set_vocab_gpt2`.
fn write_gpt2(
    files: &mut TokenizerFiles<'_>,
    hparams: &Map<String, Value>,
    pre_tokenizer: Option<&str>,
    out: &mut Metadata,
) -> Result<(), TokenizerError> {
    let pre = pre_tokenizer.map(pre::named).transpose()?;
    let loaded = Loaded::new(files)?;
    let pre = match pre {
        Some(name) => name,
        None => pre::recognise(&loaded.tokenizer)?,
    };
    let tokens = vocab::tokens(&loaded, hparams)?;
    out.set("tokenizer.ggml.model", "gpt2");
    out.set("tokenizer.ggml.pre", pre);
    out.set("tokenizer.ggml.tokens", tokens.texts);
    out.set("tokenizer.ggml.token_type", tokens.types);
    if !loaded.merges.is_empty() {
        out.set("tokenizer.ggml.merges", loaded.merges);
    }
    SpecialVocab::read(files, &special::TYPES)?.write(out)
}

/// The infill tokens of Code Llama, known by its vocabulary's size.
fn write_code_llama(files: &TokenizerFiles<'_>, out: &mut Metadata) -> Result<(), TokenizerError> {
    let mut special = SpecialVocab::read(files, &["prefix", "suffix", "middle", "eot"])?;
    special.set_default("prefix", 32007);
    special.set_default("suffix", 32008);
    special.set_default("middle", 32009);
    special.set_default("eot", 32010);
    special.write(out)
}

#[cfg(test)]
mod tests;
