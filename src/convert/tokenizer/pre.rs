//! Which pre-tokenizer llama.cpp shall use: recognised by what a fixed text encodes to.

use sha2::{Digest, Sha256};

use super::TokenizerError as E;
use super::known::{HASHES, NAMES, TEXT};
use super::load::Tokenizer;

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

/// The name that goes with what the tokenizer makes of the fixed text (`get_vocab_base_pre`).
pub(super) fn recognise(tokenizer: &Tokenizer) -> Result<&'static str, E> {
    let encoding =
        tokenizer.encode(TEXT, true).map_err(|source| E::Part { part: "pre_tokenizer", source })?;
    let hash = hash(encoding.get_ids());
    match HASHES.binary_search_by_key(&hash.as_str(), |(h, _)| h) {
        Ok(at) => Ok(HASHES[at].1),
        Err(_) => Err(E::UnknownPreTokenizer { hash }),
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
    fn names_are_checked() {
        assert_eq!(named("llama-bpe").unwrap(), "llama-bpe");
        let error = named("lama-bpe").unwrap_err().to_string();
        assert_eq!(error, "llama.cpp loads no pre-tokenizer `lama-bpe`; did you mean `llama-bpe`?");
    }
}
