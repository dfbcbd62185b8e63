//! Vocabularies of pieces and of words: Unigram, SentencePiece, WordPiece.

use super::*;

/// A SentencePiece model of four pieces. `kind` is the trainer's `model_type`.
fn pieces(kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, score, of) in [("<unk>", 0f32, 2u8), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁a", -1.5, 1)] {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend_from_slice(text.as_bytes());
        piece.push(0x15);
        piece.extend_from_slice(&score.to_le_bytes());
        piece.extend_from_slice(&[0x18, of]);
        out.extend_from_slice(&[0x0a, piece.len() as u8]);
        out.extend_from_slice(&piece);
    }
    out.extend_from_slice(&[0x12, 0x02, 0x18, kind]);
    // `normalizer_spec` with a map of characters and no space before texts.
    out.extend_from_slice(&[0x1a, 0x06, 0x12, 0x02, 7, 8, 0x18, 0x00]);
    out
}

fn texts_of(found: &Metadata) -> Vec<String> {
    let tokens = found.get("tokenizer.ggml.tokens");
    let Some(Value::Array(Array::String(list))) = tokens else { panic!("no tokens") };
    list.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

fn unigram(style: Vocabulary, size: u64) -> Folder {
    let mut folder = Folder::new().style(style).hparam("vocab_size", json!(size));
    folder.tokenizer = Json::Null;
    folder
}

/// Numbered as `_xlmroberta_set_vocab` does.
#[test]
fn xlm_roberta_puts_special_tokens_before_the_pieces() {
    let found =
        unigram(Vocabulary::XlmRoberta, 6).file("sentencepiece.bpe.model", pieces(1)).write().unwrap();
    let tokens = texts_of(&found);
    assert_eq!(tokens, ["<s>", "<pad>", "</s>", "<unk>", "▁a", "[PAD4]"]);
    let types = vec![3i32, 3, 3, 2, 1, 5];
    assert_eq!(found.get("tokenizer.ggml.token_type"), Some(&types.into()));
    let scores = vec![0f32, 0.0, 0.0, 0.0, -1.5, -10000.0];
    assert_eq!(found.get("tokenizer.ggml.scores"), Some(&scores.into()));
    assert_eq!(found.get("tokenizer.ggml.add_space_prefix"), Some(&false.into()));
    assert_eq!(found.get("tokenizer.ggml.remove_extra_whitespaces"), Some(&true.into()));
    assert_eq!(found.get("tokenizer.ggml.precompiled_charsmap"), Some(&vec![7u8, 8].into()));
    assert_eq!(found.get("tokenizer.ggml.token_type_count"), Some(&1u32.into()));
}

#[test]
fn t5_lists_pieces_as_they_stand() {
    let added = r#"{"<new>": 5, "<beyond>": 9}"#;
    let folder = || unigram(Vocabulary::T5, 6).file("added_tokens.json", added);
    let found = folder().file("spiece.model", pieces(1)).write().unwrap();
    let tokens = texts_of(&found);
    assert_eq!(tokens, ["<unk>", "<s>", "</s>", "▁a", "[PAD4]", "<new>"]);
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"t5".into()));
    assert_eq!(found.get("tokenizer.ggml.token_type_count"), None);
    // Byte-pair encoding is Llama's way, under the name that is usual there.
    let found = folder().file("tokenizer.model", pieces(2)).write().unwrap();
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"llama".into()));
    folder().file("spiece.model", pieces(2)).check_error(&["spiece.model", "trainer_spec.model_type"]);
    folder().file("spiece.model", pieces(3)).check_error(&["trainer_spec.model_type"]);
    folder().check_error(&["spiece.model"]);
    folder().file("spiece.model", b"{}".to_vec()).check_error(&["spiece.model"]);
    let few = unigram(Vocabulary::T5, 3).file("spiece.model", pieces(1));
    few.check_error(&["▁a", "id 3", "`vocab_size` is 3"]);
    let many = unigram(Vocabulary::T5, 1 << 40).file("spiece.model", pieces(1));
    many.check_error(&["vocab_size"]);
}

fn unigram_json(vocab: &Json) -> Folder {
    let mut folder = unigram(Vocabulary::XlmRoberta, 5);
    folder.tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": {"type": "Precompiled", "precompiled_charsmap": "Bwg="},
        "model": {"type": "Unigram", "unk_id": 1, "vocab": vocab}
    });
    folder.config =
        json!({"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "unk_token": "<unk>"});
    folder
}

#[test]
fn a_unigram_model_may_stand_in_a_tokenizer_json() {
    let vocab = json!([["<s>", 0.0], ["<unk>", 0.0], ["▁a", -0.1]]);
    let found = unigram_json(&vocab).write().unwrap();
    let tokens = texts_of(&found);
    assert_eq!(tokens, ["<s>", "<unk>", "▁a", "[PAD3]", "[PAD4]"]);
    assert_eq!(found.get("tokenizer.ggml.token_type"), Some(&vec![3i32, 2, 1, 5, 5].into()));
    assert_eq!(found.get("tokenizer.ggml.precompiled_charsmap"), Some(&vec![7u8, 8].into()));
    for (vocab, parts) in [
        (json!([["a", 0]]), &["no decimal point"][..]),
        (json!([["a"]]), &["a token and its score"]),
        (json!([["a", 0.0, 1]]), &["a token and its score"]),
        (json!([["a", 0.0], ["a", 0.0]]), &["twice"]),
        (json!([["a", 1e300]]), &["model.vocab.0"]),
        (json!({"a": 0}), &["Unigram"]),
        (json!([]), &["Unigram"]),
    ] {
        unigram_json(&vocab).check_error(parts);
    }
    let vocab = || json!([["a", 0.0]]);
    unigram_json(&vocab()).tokenizer(|t| t["normalizer"] = Json::Null).check_error(&["precompiled_charsmap"]);
    unigram_json(&vocab()).style(Vocabulary::Bert).check_error(&["Unigram"]);
    unigram_json(&vocab()).style(Vocabulary::Llama).check_error(&["Unigram"]);
}

/// A WordPiece tokenizer of few tokens.
fn words() -> Folder {
    let mut folder = Folder::new().style(Vocabulary::Bert).hparam("type_vocab_size", json!(2));
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    folder.tokenizer = json!({
        "version": "1.0", "added_tokens": [added(0, "[PAD]"), added(1, "[UNK]"), added(2, "[CLS]"), added(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                       "lowercase": false},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5}}
    });
    folder.config = json!({"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]"});
    folder
}

#[test]
fn wordpiece_has_spaces_where_words_start() {
    let found = words().write().unwrap();
    let tokens = texts_of(&found);
    // transformers adds the class's mask.
    assert_eq!(tokens, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b", "[MASK]", "▁[PAD7]"]);
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"bert".into()));
    assert_eq!(found.get("tokenizer.ggml.token_type_count"), Some(&2u32.into()));
    assert_eq!(found.get("tokenizer.ggml.bos_token_id"), Some(&2u32.into()));
    assert_eq!(found.get("tokenizer.ggml.normalizer.lowercase"), Some(&false.into()));
    let model = |key: &'static str, value: Json| words().tokenizer(move |t| t["model"][key] = value);
    model("max_input_chars_per_word", json!(1 << 30)).check_error(&["max_input_chars_per_word"]);
    model("max_input_chars_per_word", Json::Null).check_error(&["max_input_chars_per_word"]);
    model("unk_token", Json::Null).check_error(&["unk_token"]);
    words().tokenizer(|t| t["normalizer"] = Json::Null).check_error(&["normalizer"]);
    words().style(Vocabulary::Llama).check_error(&["WordPiece"]);
}

#[test]
fn jina_and_nomic_choose_by_their_files() {
    let found = words().style(Vocabulary::JinaBert).write().unwrap();
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"bert".into()));
    let other = |class: &str| words().style(Vocabulary::JinaBert).config("tokenizer_class", json!(class));
    other("BertTokenizerFast").check_error(&["tokenizer_class"]);
    let found = words().style(Vocabulary::NomicBert).write().unwrap();
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"bert".into()));
    let vocab = json!([["<s>", 0.0], ["<unk>", 0.0]]);
    let found = unigram_json(&vocab).style(Vocabulary::NomicBert).write().unwrap();
    assert_eq!(found.get("tokenizer.ggml.model"), Some(&"t5".into()));
    Folder::new().style(Vocabulary::NomicBert).check_error(&["BPE"]);
}
