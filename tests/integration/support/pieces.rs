//! The example's vocabulary as SentencePiece models have it: Llama's way and Gemma's.
//!
//! In: the example's `tokenizer.json`, byte-level BPE. Out: a `tokenizer.model`, written here field by field, or a
//! `tokenizer.json` with bytes to fall back to. Of the vocabulary, tokens of plain ASCII are taken.

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
    model_proto(&model)
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
    model_proto(&model)
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

/// `sentencepiece.ModelProto`: the pieces, and the trainer's settings that the library asks for.
fn model_proto(pieces: &[(String, f32, Kind)]) -> Vec<u8> {
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
    // `trainer_spec`: `model_type` is BPE, and `byte_fallback` is true.
    out.extend_from_slice(&[0x12, 0x05, 0x18, 0x02, 0x98, 0x02, 0x01]);
    out
}

fn varint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
