//! Small tokenizers in code; what is expected of them is what the reference's converter wrote for the same files.

mod pieces;

use std::error::Error as _;
use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{TokenizerError, Vocabulary, write};
use crate::checkpoint::Checkpoint;
use crate::gguf::{Array, Metadata, Value};

/// A byte-level BPE tokenizer of few tokens; three of them added.
fn tokenizer() -> Json {
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(4, "<s>", true), added(5, "</s>", true), added(6, "<think>", false)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]}
    })
}

fn tokenizer_config() -> Json {
    json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})
}

/// A checkpoint folder in the making.
struct Folder {
    files: Vec<(String, Vec<u8>)>,
    tokenizer: Json,
    config: Json,
    hparams: Json,
    style: Vocabulary,
    pre_tokenizer: Option<&'static str>,
}

impl Folder {
    fn new() -> Self {
        Folder {
            files: Vec::new(),
            tokenizer: tokenizer(),
            config: tokenizer_config(),
            hparams: json!({"model_type": "llama", "vocab_size": 8}),
            style: Vocabulary::Llama,
            pre_tokenizer: Some("gpt-2"),
        }
    }

    fn tokenizer(mut self, change: impl FnOnce(&mut Json)) -> Self {
        change(&mut self.tokenizer);
        self
    }

    fn config(mut self, key: &str, value: Json) -> Self {
        self.config[key] = value;
        self
    }

    fn hparam(mut self, key: &str, value: Json) -> Self {
        self.hparams[key] = value;
        self
    }

    fn style(mut self, style: Vocabulary) -> Self {
        self.style = style;
        self
    }

    fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), bytes.into()));
        self
    }

    fn write(&self) -> Result<Metadata, TokenizerError> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        if !self.tokenizer.is_null() {
            put("tokenizer.json", self.tokenizer.to_string().as_bytes());
        }
        put("tokenizer_config.json", self.config.to_string().as_bytes());
        put("config.json", self.hparams.to_string().as_bytes());
        for (name, bytes) in &self.files {
            put(name, bytes);
        }
        weights(folder.path());
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let mut out = Metadata::new();
        write(&checkpoint, self.hparams.as_object().unwrap(), self.style, self.pre_tokenizer, &mut out)?;
        Ok(out)
    }

    fn check(&self, expected: &[(&str, Value)]) {
        let found = self.write().unwrap();
        // The first four keys are always there.
        let found: Vec<_> = found
            .iter()
            .filter(|(k, _)| !FIRST.contains(k))
            .map(|(k, v)| (k.trim_start_matches(PREFIX), v))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(k, v)| (*k, v)).collect();
        assert_eq!(found, expected);
    }

    fn check_error(&self, parts: &[&str]) {
        let error = self.write().unwrap_err();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        for part in parts {
            assert!(text.contains(part), "`{part}` in `{text}`");
        }
    }
}

const PREFIX: &str = "tokenizer.ggml.";
const FIRST: [&str; 5] = [
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
];

fn weights(folder: &Path) {
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&[0; 4]);
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

fn strings(items: &[&str]) -> Value {
    Value::Array(Array::strings(items.iter().copied()))
}

#[test]
fn keys_have_the_reference_order_and_types() {
    let out = Folder::new().config("add_prefix_space", json!(false)).write().unwrap();
    let expected = [
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", "gpt-2".into()),
        ("tokenizer.ggml.tokens", strings(&["a", "b", "ab", "Ġ", "<s>", "</s>", "<think>", "[PAD7]"])),
        ("tokenizer.ggml.token_type", vec![1i32, 1, 1, 1, 3, 3, 4, 5].into()),
        ("tokenizer.ggml.merges", strings(&["a b"])),
        ("tokenizer.ggml.bos_token_id", 4u32.into()),
        ("tokenizer.ggml.eos_token_id", 5u32.into()),
    ];
    let found: Vec<_> = out.iter().map(|(k, v)| (k, v.clone())).collect();
    assert_eq!(found, expected);
}

#[test]
fn only_llama_writes_the_space_prefix() {
    let out = Folder::new().config("add_prefix_space", json!(true)).style(Vocabulary::Qwen2).write().unwrap();
    assert_eq!(out.get("tokenizer.ggml.add_space_prefix"), None);
}

#[test]
fn token_types() {
    let check = |content: &str, normalized: bool, special: bool, text: &str, kind: i32| {
        let folder = Folder::new().tokenizer(|t| {
            t["added_tokens"][2]["content"] = content.into();
            t["added_tokens"][2]["normalized"] = normalized.into();
            t["added_tokens"][2]["special"] = special.into();
        });
        let out = folder.write().unwrap();
        let Some(Value::Array(Array::String(tokens))) = out.get("tokenizer.ggml.tokens") else { panic!() };
        let Some(Value::Array(Array::I32(types))) = out.get("tokenizer.ggml.token_type") else { panic!() };
        assert_eq!((String::from_utf8_lossy(&tokens[6]).as_ref(), types[6]), (text, kind), "{content}");
    };
    check("<x>", false, true, "<x>", 3);
    check("<x>", false, false, "<x>", 4);
    check("<|x|>", true, false, "<|x|>", 3);
    check("▁▁", true, false, "  ", 4);
    check("▁▁", true, true, "▁▁", 3);
    // Decoding takes `Ġ` for the byte that it stands for.
    check("Ġ<x>", false, false, " <x>", 4);
    check("Ġ<x>", true, false, "Ġ<x>", 4);
}

#[test]
fn merges_keep_spaces_apart() {
    let folder = Folder::new().tokenizer(|t| {
        t["model"]["vocab"] = json!({"a": 0, " ": 1, "a ": 2, "b": 3});
        t["model"]["merges"] = json!([["a", " "]]);
    });
    assert_eq!(folder.write().unwrap().get("tokenizer.ggml.merges"), Some(&strings(&["a Ġ"])));
    let folder = Folder::new().tokenizer(|t| t["model"]["merges"] = json!(["a b"]));
    assert_eq!(folder.write().unwrap().get("tokenizer.ggml.merges"), Some(&strings(&["a b"])));
}

#[test]
fn special_tokens_come_from_the_first_file_that_has_them() {
    let bos = |id: u32| ("bos_token_id", Value::U32(id));
    let eos = |id: u32| ("eos_token_id", Value::U32(id));
    Folder::new().hparam("bos_token_id", json!(0)).check(&[bos(4), eos(5)]);
    Folder::new().config("bos_token", json!(null)).hparam("bos_token_id", json!(0)).check(&[eos(5), bos(0)]);
    Folder::new()
        .config("bos_token", json!({"__type": "AddedToken", "content": "</s>"}))
        .check(&[bos(5), eos(5)]);
    // A list of ids is no id; a nested one counts; a class has no key.
    Folder::new()
        .config("eos_token", json!(null))
        .hparam("eos_token_id", json!([5, 6]))
        .hparam("text_config", json!({"pad_token_id": 6, "cls_token_id": 1}))
        .check(&[bos(4), ("padding_token_id", 6u32.into())]);
    // Not an added token of the file, so transformers adds it, but gguf-py does not see its id.
    Folder::new().config("unk_token", json!("<unk>")).check(&[bos(4), eos(5)]);
}

#[test]
fn post_processors_decide_what_is_added() {
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let template = |single: Json, pair: Json| {
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {
            "<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [5], "tokens": ["</s>"]},
            "<think>": {"id": "<think>", "ids": [6], "tokens": ["<think>"]}}})
    };
    let ids = [("bos_token_id", Value::U32(4)), ("eos_token_id", Value::U32(5))];
    let check = |processor: Json, expected: &[(&str, Value)]| {
        let expected: Vec<_> = ids.iter().chain(expected).cloned().collect();
        Folder::new().tokenizer(|t| t["post_processor"] = processor).check(&expected);
    };
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let no = |key| (key, Value::Bool(false));
    let yes = |key| (key, Value::Bool(true));
    let (bos, eos, sep) = ("add_bos_token", "add_eos_token", "add_sep_token");

    check(byte_level.clone(), &[no(bos), no(eos)]);
    let pair = json!([special("<s>"), sequence("A"), special("<s>"), sequence("B")]);
    let leading = template(json!([special("<s>"), sequence("A")]), pair);
    check(leading.clone(), &[yes(bos), no(sep)]);
    check(json!({"type": "Sequence", "processors": [byte_level, leading]}), &[yes(bos), no(eos), no(sep)]);
    let pair = json!([sequence("A"), special("</s>"), sequence("B"), special("</s>")]);
    check(template(json!([sequence("A"), special("</s>")]), pair), &[yes(eos), no(sep)]);
    let pair = json!([sequence("A"), special("</s>"), sequence("B")]);
    check(template(json!([sequence("A")]), pair), &[("seperator_token_id", 5u32.into()), yes(sep)]);

    // Another token at the end becomes the end of sequence; the configured one, the end of turn.
    let trailing =
        template(json!([sequence("A"), special("<think>")]), json!([sequence("A"), sequence("B")]));
    Folder::new().tokenizer(|t| t["post_processor"] = trailing).check(&[
        ("bos_token_id", Value::U32(4)),
        ("eos_token_id", Value::U32(6)),
        ("eot_token_id", Value::U32(5)),
        yes(eos),
    ]);
}

#[test]
fn add_tokens_of_the_configuration_come_last() {
    Folder::new().config("add_bos_token", json!(true)).config("add_sep_token", json!("yes")).check(&[
        ("bos_token_id", Value::U32(4)),
        ("eos_token_id", Value::U32(5)),
        ("add_bos_token", true.into()),
    ]);
}

#[test]
fn chat_templates() {
    let key = "tokenizer.chat_template";
    let check = |folder: Folder, expected: &[(&str, Value)]| {
        let out = folder.write().unwrap();
        let found: Vec<_> =
            out.iter().filter(|(k, _)| k.starts_with(key)).map(|(k, v)| (k, v.clone())).collect();
        assert_eq!(found, expected);
    };
    let jinja = || Folder::new().file("chat_template.jinja", "a\r\nb\rc");
    let json_file = || Folder::new().file("chat_template.json", json!({"chat_template": "j"}).to_string());
    check(Folder::new(), &[]);
    check(Folder::new().config("chat_template", json!("t")), &[(key, "t".into())]);
    check(Folder::new().config("chat_template", json!("")), &[]);
    check(Folder::new().config("chat_template", json!({"default": "t"})), &[]);
    check(jinja(), &[(key, "a\nb\nc".into())]);
    check(json_file(), &[(key, "j".into())]);
    check(json_file().file("chat_template.jinja", "x"), &[(key, "x".into())]);
    check(jinja().config("chat_template", json!("t")), &[(key, "t".into())]);
    check(jinja().config("chat_template", json!(null)), &[]);
    check(
        jinja().file("additional_chat_templates/tool-use.jinja", "u"),
        &[
            ("tokenizer.chat_template.tool_use", "u".into()),
            ("tokenizer.chat_templates", strings(&["tool_use"])),
            (key, "a\nb\nc".into()),
        ],
    );
    let list = json!([{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}, {"name": "none", "template": null}]);
    check(
        Folder::new().config("chat_template", list),
        &[
            ("tokenizer.chat_template.rag", "r".into()),
            ("tokenizer.chat_templates", strings(&["rag"])),
            (key, "d".into()),
        ],
    );
}

#[test]
fn vocabulary_sizes_with_a_meaning() {
    let folder = Folder::new().hparam("vocab_size", json!(49152));
    assert_eq!(folder.write().unwrap().get("tokenizer.ggml.add_bos_token"), Some(&Value::Bool(false)));
    assert_eq!(folder.style(Vocabulary::Qwen2).write().unwrap().get("tokenizer.ggml.add_bos_token"), None);
    let code_llama = Folder::new().hparam("vocab_size", json!(32016)).write().unwrap();
    assert_eq!(code_llama.get("tokenizer.ggml.eot_token_id"), Some(&Value::U32(32010)));
}

#[test]
fn transformers_adds_what_the_configuration_lists() {
    let token = json!({"content": "<new>", "lstrip": false, "normalized": false, "rstrip": false,
                       "single_word": false, "special": true});
    let folder = Folder::new().config("added_tokens_decoder", json!({"7": token}));
    let out = folder.write().unwrap();
    let expected = strings(&["a", "b", "ab", "Ġ", "<s>", "</s>", "<think>", "<new>"]);
    assert_eq!(out.get("tokenizer.ggml.tokens"), Some(&expected));
    assert_eq!(out.get("tokenizer.ggml.token_type"), Some(&vec![1i32, 1, 1, 1, 3, 3, 4, 3].into()));
}

#[test]
fn older_files_make_a_tokenizer() {
    let folder = |class: &str| {
        Folder::new()
            .tokenizer(|t| *t = Json::Null)
            .config("tokenizer_class", json!(class))
            .hparam("bos_token_id", json!(4))
            .file("vocab.json", json!({"a": 0, "b": 1, "ab": 2, "Ġ": 3}).to_string())
            .file("merges.txt", "#version: 0.2\na b\n")
    };
    let out = folder("GPT2Tokenizer").write().unwrap();
    let expected = strings(&["a", "b", "ab", "Ġ", "<s>", "</s>", "<|endoftext|>", "[PAD7]"]);
    assert_eq!(out.get("tokenizer.ggml.tokens"), Some(&expected));
    assert_eq!(out.get("tokenizer.ggml.merges"), Some(&strings(&["a b"])));
    folder("Qwen2Tokenizer").check(&[("bos_token_id", Value::U32(4))]);
    folder("GPT2Tokenizer")
        .file("merges.txt", "#version: 0.2\na b c\n")
        .check_error(&["merges.txt", "a b c"]);
    folder("LlamaTokenizerFast").check_error(&["there is no `tokenizer.json`"]);
}

#[test]
fn other_tokenizers_are_refused_by_name() {
    let check = |folder: Folder, part: &str| {
        assert!(matches!(folder.write(), Err(TokenizerError::Unsupported { .. })), "{part}");
        folder.check_error(&[part]);
    };
    for style in [Vocabulary::Llama, Vocabulary::Qwen2] {
        let damaged = Folder::new().style(style).file("tokenizer.model", "x");
        damaged.check_error(&["`tokenizer.model` is no SentencePiece model"]);
    }
    for kind in ["WordPiece", "WordLevel", "Unigram"] {
        check(Folder::new().tokenizer(|t| t["model"]["type"] = kind.into()), kind);
    }
    let unigram = Folder::new()
        .tokenizer(|t| t["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5]]}));
    check(unigram, "Unigram");
    Folder::new()
        .config("tokenizer_class", json!("T5Tokenizer"))
        .check_error(&["tokenizer_config.json", "T5Tokenizer"]);
}

#[test]
fn llama_vocabularies_are_told_by_their_bytes() {
    let folder = Folder::new().tokenizer(|t| {
        t["model"]["byte_fallback"] = true.into();
        t["model"]["vocab"]["<0x0A>"] = 4.into();
        for (id, token) in (5..).zip(t["added_tokens"].as_array_mut().unwrap()) {
            token["id"] = id.into();
        }
        t["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}]});
    });
    let out = folder.write().unwrap();
    assert_eq!(out.get("tokenizer.ggml.model"), Some(&"llama".into()));
    let expected = strings(&["a", "b", "ab", "Ġ", "<0x0A>", "<s>", "</s>", "<think>"]);
    assert_eq!(out.get("tokenizer.ggml.tokens"), Some(&expected));
    assert_eq!(out.get("tokenizer.ggml.token_type"), Some(&vec![1i32, 1, 1, 1, 6, 3, 3, 4].into()));
    assert_eq!(out.get("tokenizer.ggml.scores"), Some(&vec![-1000f32; 8].into()));
}

#[test]
fn unknown_pre_tokenizers_are_refused() {
    let mut folder = Folder::new();
    folder.pre_tokenizer = None;
    let error = folder.write().unwrap_err();
    let TokenizerError::UnknownPreTokenizer { hash, .. } = &error else { panic!("{error}") };
    assert_eq!(hash.len(), 64);
    assert!(error.hint().unwrap().contains("--pre-tokenizer NAME"));
    folder.pre_tokenizer = Some("llama3-bpe");
    folder.check_error(&["llama3-bpe", "did you mean"]);
}

#[test]
fn hostile_files() {
    let model = |key: &'static str, value: Json| Folder::new().tokenizer(move |t| t["model"][key] = value);
    model("vocab", json!({"a": 0, "b": 0, "ab": 2})).check_error(&["id 0", "`a`", "`b`"]);
    model("vocab", json!({"a": -1})).check_error(&["tokenizer.json", "`vocab`: `a`", "-1"]);
    model("vocab", json!({"a": 4_294_967_296_u64})).check_error(&["tokenizer.json", "`vocab`: `a`"]);
    model("vocab", json!({"a": 0, "b": 1, "ab": u32::MAX})).check_error(&[
        "`ab`",
        "4294967295",
        "vocab_size",
    ]);
    model("vocab", json!({})).check_error(&["tokenizer.json"]);
    model("vocab", json!({"a": {"b": {}}})).check_error(&["tokenizer.json", "`vocab`: `a`"]);
    model("merges", json!([["a", "c"]])).check_error(&["tokenizer.json", "model", "c"]);
    model("merges", json!([["a", 1]])).check_error(&["tokenizer.json", "string"]);
    model("merges", json!([["a", "b", "a"]])).check_error(&["tokenizer.json", "two tokens"]);
    model("merges", json!([1])).check_error(&["tokenizer.json", "merge"]);
    model("merges", json!([["a", "b"], "a b"])).check_error(&["merges", "both"]);
    model("merges", json!(["a b c"])).check_error(&["tokenizer.json", "merge 0", "a b c"]);
    model("continuing_subword_prefix", json!("####")).check_error(&["tokenizer.json", "merge 0"]);
    model("dropout", json!(0.5)).check_error(&["tokenizer.json", "model.dropout"]);
    for size in [json!(3), json!(-1), json!(1u64 << 60), json!("8"), json!(null)] {
        Folder::new().hparam("vocab_size", size).check_error(&["vocab_size"]);
    }
    Folder::new()
        .hparam("bos_token_id", json!(-5))
        .config("bos_token", json!(null))
        .check_error(&["bos_token_id", "-5"]);
    Folder::new()
        .hparam("bos_token_id", json!(1u64 << 40))
        .config("bos_token", json!(null))
        .check_error(&["config.json", "bos_token_id"]);
    let dangling = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
                          "pair": [], "special_tokens": {}});
    Folder::new().tokenizer(|t| t["post_processor"] = dangling).check_error(&["post_processor", "\"x\""]);
    Folder::new()
        .tokenizer(|t| t["pre_tokenizer"] = json!({"type": "Split"}))
        .check_error(&["pre_tokenizer"]);
    Folder::new().tokenizer(|t| t["added_tokens"][0]["id"] = json!(1.5)).check_error(&["tokenizer.json"]);
    Folder::new().config("bos_token", json!(7)).check_error(&["tokenizer_config.json", "bos_token", "7"]);
    Folder::new().file("config.json", "[").check_error(&["config.json"]);
    Folder::new().file("tokenizer.json", "[".repeat(100_000)).check_error(&["tokenizer.json"]);
    Folder::new().file("chat_template.json", "[]").check_error(&["chat_template.json"]);
}
