//! Mistral's own tokenizer file, `tekken.json`: ranks of byte strings and a list of special tokens.
//!
//! In: the file. Out: byte-level BPE as GGUF files have it, with merges that were found from the ranks, and one of the
//! chat templates that llama.cpp keeps for these models. Source: `_set_vocab_mistral` in the reference's
//! `conversion/base.py`, `MistralVocab` of gguf-py, `get_community_chat_template` in `conversion/mistral.py`, and what
//! `Tekkenizer` of mistral-common checks. It refuses versions for which there is no template, as the reference does.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::TokenizerError as E;
use super::ranks::{Ranks, push_merge, push_printable};
use super::vocab::{CONTROL, NORMAL};
use crate::gguf::{Array, Metadata, Strings};

/// The file.
pub(super) const TEKKEN: &str = "tekken.json";

/// Tokens that are single bytes.
const BYTES: usize = 256;

/// More special tokens than any file has.
const MOST_SPECIAL: usize = 1 << 16;

/// Special tokens of files that list none (`Tekkenizer.DEPRECATED_SPECIAL_TOKENS`).
const SPECIAL: [&str; 20] = [
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
];

/// Versions, each with its chat template: a name that llama.cpp knows, or the text that it keeps.
const TEMPLATES: [(&str, &str); 5] = [
    ("v1", "mistral-v1"),
    ("v3", "mistral-v3-tekken"),
    ("v7", "mistral-v7-tekken"),
    ("v11", include_str!("../../../data/chat-templates/Mistral-Small-3.2-24B-Instruct-2506.jinja")),
    ("v13", include_str!("../../../data/chat-templates/unsloth-mistral-Devstral-Small-2507.jinja")),
];

/// Versions whose files may list no special tokens.
const UNLISTED: [&str; 4] = ["v1", "v2", "v3", "v7"];

#[derive(Deserialize)]
struct File {
    config: Config,
    vocab: Vec<Token>,
    special_tokens: Option<Vec<Special>>,
}

#[derive(Deserialize)]
struct Config {
    version: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    rank: u64,
    token_bytes: String,
    #[allow(dead_code, reason = "a key that every token has; the bytes say more")]
    token_str: Option<String>,
}

#[derive(Deserialize)]
struct Special {
    rank: u32,
    token_str: String,
}

/// What the file gives.
#[derive(Debug)]
pub(super) struct Tekken {
    texts: Strings,
    types: Vec<i32>,
    merges: Strings,
    /// Kinds of special tokens, and their ids.
    ids: [(&'static str, u32); 4],
    template: String,
}

impl Tekken {
    /// Writes the tokenizer's keys.
    pub(super) fn write(self, out: &mut Metadata) {
        let size = self.texts.len();
        out.set("tokenizer.ggml.model", "gpt2");
        out.set("tokenizer.ggml.pre", "tekken");
        out.set("tokenizer.ggml.merges", crate::gguf::Value::Array(Array::String(self.merges)));
        for (kind, id) in self.ids {
            out.set(format!("tokenizer.ggml.{kind}_token_id"), id);
        }
        out.set("tokenizer.ggml.tokens", crate::gguf::Value::Array(Array::String(self.texts)));
        // As the reference has them: all the same, and integers.
        out.set("tokenizer.ggml.scores", vec![0i32; size]);
        out.set("tokenizer.ggml.token_type", self.types);
        if let Some(architecture) = out.get("general.architecture").and_then(|a| a.as_str()) {
            let key = format!("{architecture}.vocab_size");
            out.set(key, u32::try_from(size).unwrap_or(u32::MAX));
        }
        out.set("tokenizer.ggml.add_bos_token", true);
        out.set("tokenizer.ggml.add_eos_token", false);
        out.set("tokenizer.chat_template", self.template);
    }
}

/// Reads the file; the version has a chat template, unless one is given.
pub(super) fn parse(bytes: &[u8], template: Option<String>) -> Result<Tekken, E> {
    let file: File =
        serde_json::from_slice(bytes).map_err(|source| E::Json { file: TEKKEN.to_owned(), source })?;
    let Config { version, default_vocab_size, default_num_special_tokens } = file.config;
    let of_version =
        || TEMPLATES.iter().find(|(known, _)| *known == version).map(|(_, text)| (*text).to_owned());
    let template = template
        .or_else(of_version)
        .ok_or_else(|| E::Unsupported { file: TEKKEN, found: format!("version `{version}`") })?;
    let special = special_tokens(file.special_tokens, &version, default_num_special_tokens)?;
    let counted = default_vocab_size.checked_sub(special.len()).filter(|count| *count <= file.vocab.len());
    let Some(count) = counted.filter(|count| *count >= BYTES) else {
        let expected = "that of the special tokens and of some of `vocab`";
        return Err(wrong("config.default_vocab_size", expected, &default_vocab_size.into()));
    };
    let tokens = tokens(&file.vocab[..count])?;
    let merges = merges(&tokens)?;

    let id = |text: &'static str| {
        let missing = || wrong("special_tokens", "with every usual token", &text.into());
        special.iter().find(|(token, _)| token == text).map(|(_, rank)| *rank).ok_or_else(missing)
    };
    let ids =
        [("bos", id("<s>")?), ("eos", id("</s>")?), ("unknown", id("<unk>")?), ("padding", id("<pad>")?)];
    let mut texts: Strings = special.iter().map(|(token, _)| token.as_bytes()).collect();
    let mut text = String::new();
    for token in &tokens {
        text.clear();
        push_printable(token, &mut text);
        texts.push(text.as_bytes());
    }
    let types = [vec![CONTROL; special.len()], vec![NORMAL; tokens.len()]].concat();
    Ok(Tekken { texts, types, merges, ids, template })
}

/// Texts and ids of the special tokens: those that are listed, then as many nameless ones as there is room for.
fn special_tokens(
    listed: Option<Vec<Special>>,
    version: &str,
    count: usize,
) -> Result<Vec<(String, u32)>, E> {
    let mut tokens: Vec<(String, u32)> = match listed {
        Some(listed) => listed.into_iter().map(|token| (token.token_str, token.rank)).collect(),
        None if UNLISTED.contains(&version) => {
            SPECIAL.iter().zip(0..).map(|(token, rank)| ((*token).to_owned(), rank)).collect()
        }
        None => return Err(wrong("special_tokens", "there", &Value::Null)),
    };
    if count > MOST_SPECIAL || tokens.len() > count {
        let expected = "the number of special tokens";
        return Err(wrong("config.default_num_special_tokens", expected, &count.into()));
    }
    tokens.extend((tokens.len()..count).map(|id| (format!("<SPECIAL_{id}>"), id as u32)));
    let mut seen = HashSet::new();
    match tokens.iter().find(|(token, _)| !seen.insert(token)) {
        Some((twice, _)) => Err(wrong("special_tokens", "without a token twice", &Value::from(&**twice))),
        None => Ok(tokens),
    }
}

/// The bytes of every token, by rank.
fn tokens(vocab: &[Token]) -> Result<Vec<Vec<u8>>, E> {
    let mut tokens = Vec::with_capacity(vocab.len());
    for (n, token) in vocab.iter().enumerate() {
        let refused = |expected| wrong(format!("vocab.{n}"), expected, &Value::from(&*token.token_bytes));
        let bytes = STANDARD.decode(&token.token_bytes).map_err(|_| refused("in base64"))?;
        if token.rank != n as u64 {
            return Err(refused("of the rank of its place"));
        }
        if bytes.is_empty() || (n < BYTES && bytes != [n as u8]) {
            return Err(refused("the byte of its rank, or more than that"));
        }
        tokens.push(bytes);
    }
    Ok(tokens)
}

/// For each token the ways to make it of two others, those of low ranks first.
fn merges(tokens: &[Vec<u8>]) -> Result<Strings, E> {
    let ranked = (0u32..).zip(tokens).map(|(rank, token)| (&**token, rank));
    let ranks = Ranks::new(TEKKEN, "vocab", ranked)?;
    let (mut merges, mut line) = (Strings::new(), String::new());
    for (rank, token) in tokens.iter().enumerate().skip(BYTES) {
        let halves = (1..token.len()).map(|at| token.split_at(at));
        let mut found: Vec<_> = halves
            .filter_map(|(left, right)| Some(((ranks.of(left)?, ranks.of(right)?), left, right)))
            .collect();
        if found.is_empty() {
            return Err(wrong(format!("vocab.{rank}"), "made of two other tokens", &Value::from(rank)));
        }
        found.sort_by_key(|(ranks, ..)| *ranks);
        for (_, left, right) in found {
            push_merge(left, right, &mut merges, &mut line);
        }
    }
    Ok(merges)
}

fn wrong(field: impl Into<String>, expected: &'static str, found: &Value) -> E {
    E::field(TEKKEN, field, expected, found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A file of all bytes and these tokens.
    fn file(version: &str, words: &[&[u8]]) -> Value {
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let all = bytes.chain(words.iter().map(|word| word.to_vec()));
        let vocab: Vec<Value> = all
            .enumerate()
            .map(|(rank, bytes)| json!({ "rank": rank, "token_bytes": STANDARD.encode(bytes), "token_str": null }))
            .collect();
        json!({
            "config": {
                "pattern": "x", "num_vocab_tokens": vocab.len(), "default_vocab_size": 22 + vocab.len(),
                "default_num_special_tokens": 22, "version": version
            },
            "vocab": vocab
        })
    }

    fn parsed(file: &Value) -> Result<Tekken, String> {
        parse(file.to_string().as_bytes(), None).map_err(|error| error.to_string())
    }

    fn strings(strings: &Strings) -> Vec<String> {
        strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    }

    #[test]
    fn ranks_become_merges() {
        let found = parsed(&file("v3", &[b"ab", b"bc", b" \n", b"abc"])).unwrap();
        assert_eq!(strings(&found.merges), ["a b", "b c", "Ġ Ċ", "a bc", "ab c"]);
        let texts = strings(&found.texts);
        assert_eq!(texts.len(), 22 + 256 + 4);
        assert_eq!(texts[..3], ["<unk>", "<s>", "</s>"]);
        assert_eq!(texts[20..24], ["<SPECIAL_20>", "<SPECIAL_21>", "Ā", "ā"]);
        assert_eq!(texts[22 + 258], "ĠĊ");
        assert_eq!(found.ids, [("bos", 1), ("eos", 2), ("unknown", 0), ("padding", 11)]);
        assert_eq!(
            (found.types[21], found.types[22], found.template),
            (CONTROL, NORMAL, "mistral-v3-tekken".to_owned())
        );
    }

    #[test]
    fn broken_files_are_refused() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut Value), expected: &str) {
            let mut file = file("v3", &[b"ab"]);
            change(&mut file);
            let error = parsed(&file).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        check(|f| f["config"]["version"] = json!("v15"), "version `v15`");
        check(|f| f["config"]["version"] = json!("v11"), "`special_tokens` must be there");
        check(|f| f["config"]["default_vocab_size"] = json!(300), "`config.default_vocab_size`");
        check(|f| f["config"]["default_vocab_size"] = json!(3), "`config.default_vocab_size`");
        check(|f| f["config"]["default_vocab_size"] = json!(-3), "no valid JSON of its kind");
        check(|f| f["config"]["default_num_special_tokens"] = json!(3), "default_num_special_tokens");
        check(|f| f["config"]["default_num_special_tokens"] = json!(u64::MAX), "default_num_special_tokens");
        check(|f| f["vocab"][7]["rank"] = json!(8), "rank of its place");
        check(|f| f["vocab"][7]["token_bytes"] = json!("?"), "base64");
        check(|f| f["vocab"][7]["token_bytes"] = json!("CA=="), "the byte of its rank");
        check(|f| f["vocab"][256]["token_bytes"] = json!(""), "the byte of its rank");
        check(|f| f["vocab"][256]["token_bytes"] = json!("CA=="), "without a token twice");
        check(|f| f["vocab"][256]["more"] = json!(1), "no valid JSON of its kind");
        let word = STANDARD.encode("abcd");
        check(|f| f["vocab"][256]["token_bytes"] = json!(word), "made of two other tokens");
        let long = STANDARD.encode(vec![b'x'; 100_000]);
        check(|f| f["vocab"][256]["token_bytes"] = json!(long), "as long as words");
        let special = |token: &str| json!({ "rank": 0, "token_str": token, "is_control": true });
        check(|f| f["special_tokens"] = json!([special("a"), special("a")]), "a token twice");
        check(|f| f["special_tokens"] = json!([special("<s>")]), "with every usual token");
        for bytes in [&b""[..], b"[]", b"{\"config\":1}"] {
            assert!(parse(bytes, None).is_err());
        }
    }
}
