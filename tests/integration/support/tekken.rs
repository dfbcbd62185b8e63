//! The example's vocabulary as Mistral publishes it: `tekken.json`.
//!
//! In: the example's `tokenizer.json`, byte-level BPE. Out: bytes by rank, and special tokens: listed for versions that
//! require that. Of the vocabulary, tokens are taken that two others before them make.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Special tokens that are listed, where any are.
const SPECIAL: [&str; 24] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
    "[AUDIO]",
    "[BEGIN_AUDIO]",
    "[ARGS]",
    "[CALL_ID]",
];

/// Special tokens, nameless ones included.
const ROOM: usize = 30;

/// Tokens at the end of the file that are beyond the vocabulary.
const BEYOND: usize = 10;

/// The file of a version.
pub(crate) fn file(tokenizer: &Value, version: &str) -> Value {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let mut known: HashSet<Vec<u8>> = tokens.iter().cloned().collect();
    for token in in_order(tokenizer) {
        let makes = |at: usize| known.contains(&token[..at]) && known.contains(&token[at..]);
        if token.len() > 1 && !known.contains(&token) && (1..token.len()).any(makes) {
            known.insert(token.clone());
            tokens.push(token);
        }
    }
    let vocab: Vec<Value> = tokens
        .iter()
        .enumerate()
        .map(|(rank, bytes)| {
            let text = std::str::from_utf8(bytes).ok();
            json!({ "rank": rank, "token_bytes": STANDARD.encode(bytes), "token_str": text })
        })
        .collect();
    let mut file = json!({
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            "num_vocab_tokens": vocab.len(),
            "default_vocab_size": vocab.len() - BEYOND + ROOM,
            "default_num_special_tokens": ROOM,
            "version": version
        },
        "vocab": vocab
    });
    if !["v3", "v7"].contains(&version) {
        let special =
            |(rank, token): (usize, &&str)| json!({ "rank": rank, "token_str": token, "is_control": true });
        file["special_tokens"] = SPECIAL.iter().enumerate().map(special).collect();
    }
    file
}

/// The bytes of the vocabulary's tokens, by id.
fn in_order(tokenizer: &Value) -> Vec<Vec<u8>> {
    let vocab = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
    let mut tokens: Vec<(u64, &String)> =
        vocab.iter().map(|(token, id)| (id.as_u64().expect("an id"), token)).collect();
    tokens.sort();
    tokens.into_iter().filter_map(|(_, token)| token.chars().map(byte).collect()).collect()
}

/// The byte that a letter stands for in byte-level BPE.
fn byte(letter: char) -> Option<u8> {
    let is_printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(letter) {
        code @ 0..0x100 => Some(code as u8),
        code => (0..=255u8).filter(|b| !is_printed(*b)).nth((code - 0x100) as usize),
    }
}
