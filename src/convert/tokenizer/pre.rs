//! Which pre-tokenizer llama.cpp shall use: recognised by what a fixed text encodes to.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::TokenizerError as E;
use super::json::TokenizerJson;
use super::known::{HASHES, NAMES, TEXT};
use super::load::Tokenizer;
use super::patterns::PATTERNS;

/// The name that the user gave, if llama.cpp knows it.
pub(super) fn named(name: &str) -> Result<&str, E> {
    /// Jaro-Winkler; below it, names have little in common.
    const ALIKE: f64 = 0.75;
    if NAMES.binary_search(&name).is_ok() {
        return Ok(name);
    }
    let alike = NAMES.iter().map(|n| (strsim::jaro_winkler(n, name), *n)).filter(|(score, _)| *score > ALIKE);
    let nearest = alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n.to_owned());
    Err(E::NoSuchPreTokenizer { name: name.to_owned(), nearest })
}

/// The name that goes with what the tokenizer makes of the fixed text (`get_vocab_base_pre`). `json` is what is looked at
/// to tell which one is nearest, where it is none.
pub(super) fn recognise(tokenizer: &Tokenizer, json: Option<&TokenizerJson>) -> Result<&'static str, E> {
    let encoding =
        tokenizer.encode(TEXT, true).map_err(|source| E::Part { part: "pre_tokenizer", source })?;
    by_ids(encoding.get_ids(), || json.and_then(|json| nearest(json.pre_tokenizer.as_ref()?)))
}

/// The name that goes with these ids of the fixed text; `nearest` tells which one is, where it is none.
pub(super) fn by_ids(ids: &[u32], nearest: impl FnOnce() -> Option<&'static str>) -> Result<&'static str, E> {
    let hash = hash(ids);
    match HASHES.binary_search_by_key(&hash.as_str(), |(h, _)| h) {
        Ok(at) => Ok(HASHES[at].1),
        Err(_) => Err(E::UnknownPreTokenizer { hash, nearest: nearest() }),
    }
}

/// The known pre-tokenizer that splits texts most alike, as far as the patterns tell.
fn nearest(pre_tokenizer: &Value) -> Option<&'static str> {
    /// Of 1; below it, patterns have little in common.
    const ALIKE: f64 = 0.5;
    let mut own = Vec::new();
    gather(pre_tokenizer, &mut own);
    if own.is_empty() {
        return None;
    }
    let own = own.join("\n");
    let alike = PATTERNS
        .iter()
        .map(|(name, patterns)| (strsim::normalized_levenshtein(&patterns.join("\n"), &own), *name));
    alike.filter(|(score, _)| *score > ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The patterns in a pre-tokenizer of the `tokenizers` library; longer ones than any known are passed over.
fn gather(pre_tokenizer: &Value, patterns: &mut Vec<String>) {
    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const LONGEST: usize = 4096;
    match pre_tokenizer["type"].as_str() {
        Some("Sequence") => {
            pre_tokenizer["pretokenizers"].as_array().into_iter().flatten().for_each(|p| gather(p, patterns));
        }
        Some("Split") => {
            let pattern = &pre_tokenizer["pattern"];
            let text = pattern["Regex"].as_str().or_else(|| pattern["String"].as_str());
            patterns.extend(text.filter(|text| text.len() <= LONGEST).map(str::to_owned));
        }
        Some("ByteLevel") if pre_tokenizer["use_regex"] != false => patterns.push(GPT2.to_owned()),
        Some("Digits") => patterns.push(r"\p{N}".to_owned()),
        _ => {}
    }
}

/// SHA-256 of the ids as Python prints a list.
fn hash(ids: &[u32]) -> String {
    Sha256::digest(format!("{ids:?}")).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_unique() {
        assert!(HASHES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(NAMES.is_sorted_by(|a, b| a < b));
        for (hash, name) in HASHES {
            assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
            // Two belong to WordPiece vocabularies, which have no pre-tokenizer in llama.cpp.
            let word_piece = ["bert-bge-large", "jina-v2-en"].contains(name);
            assert_ne!(word_piece, NAMES.contains(name), "{name}");
        }
    }

    #[test]
    fn the_text_is_whole() {
        assert!(TEXT.starts_with("\n \n\n") && TEXT.ends_with("We'Ve a'lL"));
    }

    #[test]
    fn ids_are_hashed_as_python_prints_them() {
        // printf '[1, 2]' | sha256sum
        assert_eq!(hash(&[1, 2]), "3a316d6d3226f84c1e46e4447fa8d5fd800bff4a1bc6498152523cd4a602b69b");
    }

    #[test]
    fn the_nearest_pattern_is_told() {
        for (name, patterns) in PATTERNS {
            assert!(NAMES.binary_search(name).is_ok() && !patterns.is_empty(), "{name}");
        }
        let split = |regex: &str| serde_json::json!({ "type": "Split", "pattern": { "Regex": regex } });
        let check = |regex: &str, expected: Option<&str>| {
            let sequence = serde_json::json!({
                "type": "Sequence", "pretokenizers": [split(regex), { "type": "ByteLevel", "use_regex": false }]
            });
            assert_eq!(nearest(&sequence), expected, "{regex}");
        };
        // Qwen 2's splits by single digits, and Llama 3's by up to three: here they are up to two.
        let like_llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        check(like_llama, Some("llama-bpe"));
        check(&like_llama.replace("{1,2}", ""), Some("qwen2"));
        check("x", None);
        assert_eq!(nearest(&serde_json::json!({ "type": "ByteLevel" })), Some("gpt-2"));
        assert_eq!(nearest(&serde_json::json!({ "type": "Whitespace" })), None);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(named("llama-bpe").unwrap(), "llama-bpe");
        let error = named("lama-bpe").unwrap_err().to_string();
        assert_eq!(error, "llama.cpp loads no pre-tokenizer `lama-bpe`; did you mean `llama-bpe`?");
    }
}
