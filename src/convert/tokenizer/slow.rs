//! Tokenizers without a `tokenizer.json`: `vocab.json` and `merges.txt`, as the older GPT-2 and Qwen2 checkpoints have them.
//!
//! Source: transformers 4.57.6, `GPT2Converter` and `Qwen2Converter` of `convert_slow_tokenizer.py`, and how the two
//! classes read `merges.txt`; `SpecialVocab._try_load_merges_txt` for the merges of the GGUF file.

use serde_json::json;

use super::TokenizerError as E;
use super::class::Class;
use super::json::{
    Merges, Model, TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, TokenizerJson, Vocabulary, text, truthy,
};
use crate::gguf::Strings;

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// What Qwen2's tokenizers split by.
pub(super) const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The `tokenizer.json` that transformers makes of the two files.
pub(super) fn convert(files: &TokenizerFiles<'_>, class: &Class) -> Result<TokenizerJson, E> {
    let qwen2 = match class.name {
        "GPT2Tokenizer" => false,
        "Qwen2Tokenizer" => true,
        _ => return Err(E::Missing(TOKENIZER)),
    };
    if let Some(add) = files.option("add_bos_token").filter(|v| !qwen2 && truthy(v)) {
        return Err(E::field(TOKENIZER_CONFIG, "add_bos_token", "false without a `tokenizer.json`", add));
    }
    let vocab = files.checkpoint.small_file(VOCAB)?.ok_or(E::Missing(TOKENIZER))?;
    let vocab: Vocabulary =
        serde_json::from_slice(&vocab).map_err(|source| E::Json { file: VOCAB.to_owned(), source })?;
    let lines = text(files.checkpoint, MERGES)?.ok_or(E::Missing(MERGES))?;
    let mut pairs = Strings::new();
    for (number, line) in merge_lines(&lines, qwen2) {
        let mut parts = line.split(is_space).filter(|p| !p.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) => {
                pairs.push(left);
                pairs.push(right);
            }
            _ => return Err(E::Merge { file: MERGES, number, merge: line.to_owned() }),
        }
    }
    let space = files.option("add_prefix_space").is_some_and(truthy);
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": !qwen2});
    let split = json!({"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": false});
    Ok(TokenizerJson {
        version: None,
        padding: None,
        added_tokens: Vec::new(),
        normalizer: qwen2.then(|| json!({"type": "NFC"})),
        pre_tokenizer: Some(if qwen2 {
            json!({"type": "Sequence", "pretokenizers": [split, byte_level]})
        } else {
            byte_level
        }),
        post_processor: None,
        decoder: Some(
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        ),
        model: Model {
            kind: Some("BPE".to_owned()),
            vocab,
            merges: Merges::Pairs(pairs),
            ..Model::default()
        },
    })
}

/// The lines that the classes take for merges. GPT-2 drops the first and what follows the last line end, whatever they are.
fn merge_lines(text: &str, qwen2: bool) -> Vec<(usize, &str)> {
    let lines: Vec<(usize, &str)> = text.split('\n').enumerate().collect();
    if qwen2 {
        let kept = |(number, line): &(usize, &str)| {
            !(line.is_empty() || *number == 0 && line.starts_with("#version:"))
        };
        return lines.into_iter().map(|(n, l)| (n, l.trim_matches(is_space))).filter(kept).collect();
    }
    lines.get(1..lines.len() - 1).unwrap_or_default().to_vec()
}

/// The merges of `merges.txt` as gguf-py reads them; lines that are no pair are passed over.
pub(super) fn merges(files: &TokenizerFiles<'_>) -> Result<Strings, E> {
    let text = text(files.checkpoint, MERGES)?.unwrap_or_default();
    let skipped =
        usize::from(text.split('\n').next().is_some_and(|l| l.trim_matches(is_space).starts_with('#')));
    let pair = |line: &str| {
        let parts: Vec<&str> = line.split(is_space).filter(|p| !p.is_empty()).collect();
        (parts.len() == 2).then(|| parts.join(" ").into_bytes())
    };
    Ok(text.split('\n').skip(skipped).filter_map(pair).collect())
}

/// What Python's `str.split` splits by.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::merge_lines;

    #[test]
    fn the_classes_read_merges_each_in_its_way() {
        let lines = |text, qwen2| merge_lines(text, qwen2).into_iter().map(|(_, l)| l).collect::<Vec<_>>();
        assert_eq!(lines("#version: 0.2\na b\n\n c d \n", true), ["a b", "c d"]);
        assert_eq!(lines("a b\nc d", true), ["a b", "c d"]);
        assert_eq!(lines("#version: 0.2\na b\nc d\n", false), ["a b", "c d"]);
        assert_eq!(lines("a b\nc d", false), [""; 0]);
    }
}
