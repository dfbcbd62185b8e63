//! The example's vocabulary as SentencePiece models have it: Llama's way and Gemma's.
//!
//! In: the example's `tokenizer.json`, byte-level BPE. Out: a `tokenizer.model`, written here field by field, or a
//! `tokenizer.json` with bytes to fall back to. Of the vocabulary, tokens of plain ASCII are taken.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// `sentencepiece.ModelProto.SentencePiece.Type`.
#[derive(Clone, Copy)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// A model such as Llama's.
pub(crate) fn llama(tokenizer: &Value) -> Vec<u8> {
    let mut model = vec![
        ("<unk>".to_owned(), 0.0, Kind::Unknown),
        ("<s>".to_owned(), 0.0, Kind::Control),
        ("</s>".to_owned(), 0.0, Kind::Control),
    ];
    model.extend(bytes());
    model.extend(normal(tokenizer));
    model.push(("<old>".to_owned(), 0.0, Kind::Unused));
    model_proto(&model, BPE)
}

/// A model such as InternLM 2's, of so many pieces: a zero among them, and at the end such as wait for a use. It does not put
/// a space before the text.
pub(crate) fn intern(tokenizer: &Value, size: usize) -> Vec<u8> {
    const WAITING: usize = 6;
    let mut model = vec![
        ("<unk>".to_owned(), 0.0, Kind::Unknown),
        ("<s>".to_owned(), 0.0, Kind::Control),
        ("</s>".to_owned(), 0.0, Kind::Control),
        ("\0".to_owned(), 0.0, Kind::UserDefined),
    ];
    model.extend(bytes());
    model.extend(normal(tokenizer));
    model.truncate(size - WAITING);
    model.extend((1..=WAITING).map(|n| (format!("[UNUSED_TOKEN_{n}]"), 0.0, Kind::Normal)));
    let mut out = model_proto(&model, BPE);
    // `normalizer_spec`: `add_dummy_prefix` is false.
    out.extend_from_slice(&[0x1a, 0x02, 0x18, 0x00]);
    out
}

/// The added tokens that Gemma's models have first, and whether they are special.
pub(crate) fn gemma_added() -> Vec<(String, bool)> {
    let mut added: Vec<(String, bool)> =
        ["<pad>", "<eos>", "<bos>", "<unk>"].map(|t| (t.to_owned(), true)).into();
    added.extend(["<mask>", "[@BOS@]"].map(|t| (t.to_owned(), false)));
    added.extend((0..99).map(|n| (format!("<unused{n}>"), false)));
    added.extend(["<start_of_turn>", "<end_of_turn>"].map(|t| (t.to_owned(), true)));
    added.extend(["\n", "▁▁", "<table>"].map(|t| (t.to_owned(), false)));
    added
}

/// A model such as Gemma's.
pub(crate) fn gemma(tokenizer: &Value) -> Vec<u8> {
    let kind = |n: usize| match n {
        0..=2 => Kind::Control,
        3 => Kind::Unknown,
        _ => Kind::UserDefined,
    };
    let added = gemma_added().into_iter().enumerate();
    let mut model: Vec<_> = added.map(|(n, (token, _))| (token, 0.0, kind(n))).collect();
    model.extend(bytes());
    model.extend(normal(tokenizer).filter(|(token, ..)| !token.chars().all(|c| c == '▁')));
    model_proto(&model, BPE)
}

/// A Unigram model such as T5's.
pub(crate) fn t5(tokenizer: &Value) -> Vec<u8> {
    let mut model = vec![
        ("<pad>".to_owned(), 0.0, Kind::Control),
        ("</s>".to_owned(), 0.0, Kind::Control),
        ("<unk>".to_owned(), 0.0, Kind::Unknown),
    ];
    model.extend(normal(tokenizer));
    model.push(("<old>".to_owned(), 0.0, Kind::Unused));
    model_proto(&model, &unigram())
}

/// The special tokens of XLM-Roberta, by what they are for.
pub(crate) const XLM_ROBERTA_SPECIALS: [(&str, &str); 7] = [
    ("bos", "<s>"),
    ("cls", "<s>"),
    ("eos", "</s>"),
    ("sep", "</s>"),
    ("pad", "<pad>"),
    ("unk", "<unk>"),
    ("mask", "<mask>"),
];

/// A Unigram model such as XLM-Roberta's, whose ids are less by one than those of its `tokenizer.json`.
pub(crate) fn xlm_roberta(tokenizer: &Value) -> Vec<u8> {
    let mut model = vec![
        ("<unk>".to_owned(), 0.0, Kind::Unknown),
        ("<s>".to_owned(), 0.0, Kind::Control),
        ("</s>".to_owned(), 0.0, Kind::Control),
    ];
    model.extend(normal(tokenizer));
    model_proto(&model, &unigram())
}

/// The `tokenizer.json` that transformers makes of that.
pub(crate) fn xlm_roberta_json(tokenizer: &Value) -> Value {
    let specials = ["<s>", "<pad>", "</s>", "<unk>"];
    let mut vocab: Vec<Value> = specials.iter().map(|token| json!([token, 0.0])).collect();
    vocab.extend(normal(tokenizer).map(|(token, score, _)| json!([token, f64::from(score) - 0.125])));
    vocab.push(json!(["<mask>", 0.0]));
    let (mask, word) = (vocab.len() - 1, 100);
    let added = |id: usize, token: &Value, special: bool, lstrip: bool| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": lstrip, "rstrip": false, "normalized": false,
            "special": special
        })
    };
    let mut added_tokens: Vec<Value> =
        (0..4).map(|id| added(id, &json!(specials[id]), true, false)).collect();
    added_tokens.push(added(word, &vocab[word][0], false, false));
    added_tokens.push(added(mask, &json!("<mask>"), true, true));
    let special = |token: &str, id: usize| json!({ "id": token, "ids": [id], "tokens": [token] });
    let piece = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let sequence = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": { "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(char_map()) },
        "pre_tokenizer": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "post_processor": { "type": "TemplateProcessing",
            "single": [piece("<s>"), sequence("A"), piece("</s>")],
            "pair": [piece("<s>"), sequence("A"), piece("</s>"), piece("</s>"), sequence("B"), piece("</s>")],
            "special_tokens": { "<s>": special("<s>", 0), "</s>": special("</s>", 2) },
        },
        "decoder": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "model": { "type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": false },
    })
}

/// A compiled map of characters that changes none: an empty trie of the least length that the library takes, and the
/// texts that characters would become.
fn char_map() -> Vec<u8> {
    let mut map = 1024u32.to_le_bytes().to_vec();
    map.extend_from_slice(&[0; 1024]);
    map.extend_from_slice(b"\0");
    map
}

/// A tokenizer such as that of Llama 2, without its model.
pub(crate) fn llama_json(tokenizer: &Value) -> Value {
    let specials = ["<unk>", "<s>", "</s>"];
    let mut tokens: Vec<String> = specials.map(str::to_owned).into();
    tokens.extend(bytes().map(|(token, ..)| token));
    tokens.extend(normal(tokenizer).map(|(token, ..)| token));
    let known: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    let merges = tokenizer["model"]["merges"].as_array().expect("merges").iter().filter_map(|merge| {
        let merge = merge.as_str()?.replace('Ġ', "▁");
        let (left, right) = merge.split_once(' ')?;
        let made = format!("{left}{right}");
        [left, right, &made].into_iter().all(|token| known.contains(token)).then_some(json!(merge))
    });
    let added: Vec<Value> = (0..)
        .zip(specials.into_iter().chain(["<|tool|>"]))
        .map(|(id, token)| {
            let id = if token == "<|tool|>" { tokens.len() } else { id };
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": token != "<|tool|>"
            })
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] },
        "pre_tokenizer": null,
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [
                { "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "<s>", "type_id": 1 } }, { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } },
        },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "vocab": vocab,
            "merges": merges.collect::<Vec<_>>(),
        },
    })
}

fn bytes() -> impl Iterator<Item = (String, f32, Kind)> {
    (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, Kind::Byte))
}

/// The tokens of plain ASCII in the order of their ids, scored by their ranks.
fn normal(tokenizer: &Value) -> impl Iterator<Item = (String, f32, Kind)> {
    let vocab = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
    let mut tokens: Vec<(u64, String)> = vocab
        .iter()
        .filter(|(token, _)| token.chars().all(|c| c == 'Ġ' || c.is_ascii_graphic()))
        .map(|(token, id)| (id.as_u64().expect("an id"), token.replace('Ġ', "▁")))
        .collect();
    tokens.sort();
    (0..).zip(tokens).map(|(rank, (_, token))| (token, -(rank as f32), Kind::Normal))
}

/// Field 2 of `sentencepiece.ModelProto`, `trainer_spec`: `model_type` is BPE, and `byte_fallback` is true.
const BPE: &[u8] = &[0x12, 0x05, 0x18, 0x02, 0x98, 0x02, 0x01];

/// `trainer_spec` with Unigram as `model_type`, and `normalizer_spec` (field 3) with a map of characters and all spaces left.
fn unigram() -> Vec<u8> {
    let mut out = vec![0x12, 0x02, 0x18, 0x01];
    let map = char_map();
    let mut normalizer = vec![0x12];
    varint(map.len(), &mut normalizer);
    normalizer.extend_from_slice(&map);
    normalizer.extend_from_slice(&[0x20, 0x00]);
    out.push(0x1a);
    varint(normalizer.len(), &mut out);
    out.extend_from_slice(&normalizer);
    out
}

/// `sentencepiece.ModelProto`: the pieces, and the settings that the library asks for.
fn model_proto(pieces: &[(String, f32, Kind)], settings: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a];
        varint(text.len(), &mut piece);
        piece.extend_from_slice(text.as_bytes());
        piece.push(0x15);
        piece.extend_from_slice(&score.to_le_bytes());
        if !matches!(kind, Kind::Normal) {
            piece.extend_from_slice(&[0x18, *kind as u8]);
        }
        out.push(0x0a);
        varint(piece.len(), &mut out);
        out.extend_from_slice(&piece);
    }
    out.extend_from_slice(settings);
    out
}

fn varint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
