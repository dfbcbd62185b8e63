//! Seeded checkpoints of every family beyond the first four: `tests/families/*.json` with weights and a tokenizer.
//!
//! In: such a file, which `scripts/make-families` wrote of the family's real classes. Out: the files of a Hugging Face
//! folder, the same bytes on every machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::fixtures::{CHAT_TEMPLATE, text};
use super::weights::{self, Float, Owns};
use super::{pieces, tekken};

const TEKKEN: &str = "tekken.json";

/// What `scripts/make-families` wrote.
#[derive(Deserialize)]
pub(crate) struct Family {
    #[serde(skip)]
    pub(crate) folder: String,
    /// The folder of tests.
    #[serde(skip)]
    tests: PathBuf,
    tokenizer: Tokenizer,
    tokenizer_class: String,
    options: Map<String, Value>,
    extra_tokens: Vec<String>,
    shards: usize,
    /// Other files, by path.
    #[serde(default)]
    files: BTreeMap<String, Value>,
    config: Value,
    tensors: BTreeMap<String, Vec<u64>>,
    /// Those whose elements are others than the configuration says.
    #[serde(default)]
    dtypes: Owns,
    /// What the pre-tokenizer is said to be, where its vocabulary is too small to be recognised.
    #[serde(default)]
    #[allow(dead_code, reason = "the example does not ask")]
    pub(crate) pre_tokenizer: Option<String>,
}

/// Which form of the example's tokenizer a checkpoint has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Tokenizer {
    /// As it is: byte-level BPE.
    Bpe,
    /// A SentencePiece model such as Llama's.
    Pieces,
    /// The same in a `tokenizer.json`, without the model.
    PiecesJson,
    /// A SentencePiece model such as Gemma's.
    GemmaPieces,
    /// Mistral's `tekken.json`, of the version in the options, and no other file.
    Tekken,
    /// Bert's WordPiece (`tests/tokenizers/bert-uncased.json`).
    Words,
    /// Byte-level BPE, with the names that Roberta's tokenizers have for special tokens.
    Roberta,
    /// A SentencePiece model such as T5's.
    T5,
    /// A SentencePiece model such as XLM-Roberta's.
    XlmRoberta,
    /// The same in a `tokenizer.json`, without the model.
    XlmRobertaJson,
    /// A SentencePiece model such as InternLM 2's, whose pieces are the whole vocabulary.
    InternPieces,
    /// The first Qwen's ranks (`tests/tokenizers/qwen.tiktoken`), and its tokenizer in Python.
    Qwen,
    /// The lowest of them, as Hunyuan has ranks.
    Hunyuan,
    /// The same as Kimi has them.
    Kimi,
}

/// The family's checkpoint that is converted as a text model and as a tower.
pub(crate) const BOTH: &str = "Qwen3-VL-2B-Instruct";

/// Every family's checkpoint, by folder; `tests` is the folder of that name.
pub(crate) fn all(tests: &Path) -> io::Result<Vec<Family>> {
    within(tests, "families")
}

/// The same of models that see, with as little text as can be.
pub(crate) fn seeing(tests: &Path) -> io::Result<Vec<Family>> {
    within(tests, "vision")
}

fn within(tests: &Path, folder: &str) -> io::Result<Vec<Family>> {
    let mut families = Vec::new();
    for entry in fs::read_dir(tests.join(folder))? {
        let path = entry?.path();
        let mut family: Family = serde_json::from_slice(&fs::read(&path)?)?;
        tests.clone_into(&mut family.tests);
        family.folder = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        families.push(family);
    }
    families.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(families)
}

impl Family {
    /// The classes that its configuration names: the model's, and its tower's.
    #[allow(dead_code, reason = "the example does not ask")]
    pub(crate) fn architectures(&self) -> Vec<String> {
        let lists = [&self.config["architectures"], &self.config["vision_config"]["architectures"]];
        let names = lists.into_iter().filter_map(Value::as_array).flatten();
        names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// Writes the folder into another one; `tokenizer` is the example's `tokenizer.json`.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn write(&self, into: &Path, tokenizer: &[u8]) -> io::Result<()> {
        let folder = into.join(&self.folder);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in self.files(tokenizer)? {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    fn files(&self, tokenizer: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let float = match self.config["torch_dtype"].as_str() {
            Some("float32") => Float::F32,
            Some("float16") => Float::F16,
            _ => Float::BF16,
        };
        let tensors: Vec<(String, Vec<u64>)> = self.tensors.clone().into_iter().collect();
        let mut files = weights::files(&self.folder, float, &self.dtypes, &tensors, self.shards);
        if self.files.contains_key("params.json") {
            // Mistral's own format has no other configuration.
            for (name, _) in files.iter_mut().filter(|(name, _)| name.ends_with(".safetensors")) {
                *name = name.replacen("model", "consolidated", 1);
            }
            files.retain(|(name, _)| !name.ends_with(".index.json"));
        } else {
            files.push(("config.json".to_owned(), text(&self.config)));
        }
        files.extend(self.files.iter().map(|(name, json)| (name.clone(), text(json))));
        let generation = json!({ "bos_token_id": 1, "eos_token_id": [2, 1], "pad_token_id": 0 });
        files.push(("generation_config.json".to_owned(), text(&generation)));
        let mut config = json!({
            "clean_up_tokenization_spaces": false,
            "model_max_length": 4096,
            "tokenizer_class": self.tokenizer_class,
        });
        let vocabulary: Value = serde_json::from_slice(tokenizer)?;
        match self.tokenizer {
            Tokenizer::Bpe => {
                config["bos_token"] = json!("<|im_start|>");
                config["eos_token"] = json!("<|im_end|>");
                config["pad_token"] = json!("<|im_end|>");
                config["unk_token"] = json!("<|endoftext|>");
                config["add_prefix_space"] = json!(false);
                files.push(("tokenizer.json".to_owned(), self.with_extra_tokens(tokenizer, vocabulary)));
            }
            Tokenizer::Pieces | Tokenizer::PiecesJson => {
                config["bos_token"] = json!("<s>");
                config["eos_token"] = json!("</s>");
                config["unk_token"] = json!("<unk>");
                let added = |content: &str, special: bool| {
                    json!({
                        "content": content, "lstrip": false, "normalized": !special, "rstrip": false, "single_word": false,
                        "special": special
                    })
                };
                let mut decoder =
                    json!({ "0": added("<unk>", true), "1": added("<s>", true), "2": added("</s>", true) });
                if self.tokenizer == Tokenizer::Pieces {
                    // Ids beyond the model: special, looking special, with a space, and beyond the vocabulary.
                    decoder["2040"] = added("[TOOL]", true);
                    decoder["2041"] = added("<|end|>", false);
                    decoder["2042"] = added("▁my▁word", false);
                    if self.config["model_type"] != "phi3" && self.config["model_type"] != "phimoe" {
                        decoder["2050"] = added("beyond", false);
                    }
                    for (id, token) in (2043..).zip(&self.extra_tokens) {
                        decoder[id.to_string()] = added(token, true);
                    }
                    files.push(("tokenizer.model".to_owned(), pieces::llama(&vocabulary)));
                    files.push((
                        "added_tokens.json".to_owned(),
                        text(&json!({ "[OLD]": 2039, "[TOOL]": 2040 })),
                    ));
                } else {
                    files.push(("tokenizer.json".to_owned(), text(&pieces::llama_json(&vocabulary))));
                }
                config["added_tokens_decoder"] = decoder;
            }
            Tokenizer::InternPieces => {
                config["bos_token"] = json!("<s>");
                config["eos_token"] = json!("</s>");
                config["unk_token"] = json!("<unk>");
                let mut decoder = json!({});
                let added =
                    [(508, "<|im_start|>", true), (509, "<|im_end|>", true), (510, "<|plain|>", false)];
                for (id, content, special) in added {
                    decoder[id.to_string()] = json!({
                        "content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
                        "special": special
                    });
                }
                config["added_tokens_decoder"] = decoder;
                files.push(("tokenizer.model".to_owned(), pieces::intern(&vocabulary, 512)));
            }
            Tokenizer::Tekken => {
                let version = self.options["version"].as_str().expect("a version");
                files.push((TEKKEN.to_owned(), text(&tekken::file(&vocabulary, version))));
                return Ok(files);
            }
            Tokenizer::Qwen => {
                self.add_ranks(("tokenization_qwen", "qwen.tiktoken"), None, &mut config, &mut files)?;
                return Ok(files);
            }
            Tokenizer::Hunyuan => {
                let names = ("tokenization_hy", "hy.tiktoken");
                self.add_ranks(names, Some(1024), &mut config, &mut files)?;
            }
            Tokenizer::Kimi => {
                let names = ("tokenization_kimi", "tiktoken.model");
                config["bos_token"] = json!("[BOS]");
                config["eos_token"] = json!("[EOS]");
                let added = |content: &str| {
                    json!({
                        "content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
                        "special": true
                    })
                };
                let decoder = [(1025, "[BOS]"), (1026, "[EOS]"), (1027, "<|im_end|>"), (1282, "[PAD]")];
                let decoder: Map<String, Value> =
                    decoder.into_iter().map(|(id, token)| (id.to_string(), added(token))).collect();
                config["added_tokens_decoder"] = decoder.into();
                self.add_ranks(names, Some(1024), &mut config, &mut files)?;
            }
            Tokenizer::GemmaPieces => {
                config["bos_token"] = json!("<bos>");
                config["eos_token"] = json!("<eos>");
                config["pad_token"] = json!("<pad>");
                config["unk_token"] = json!("<unk>");
                let mut decoder = Map::new();
                for (id, (token, special)) in pieces::gemma_added().into_iter().enumerate() {
                    let entry = json!({
                        "content": token, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
                        "special": special
                    });
                    decoder.insert(id.to_string(), entry);
                }
                config["added_tokens_decoder"] = decoder.into();
                files.push(("tokenizer.model".to_owned(), pieces::gemma(&vocabulary)));
            }
            Tokenizer::Words => {
                for (kind, token) in [
                    ("unk", "[UNK]"),
                    ("sep", "[SEP]"),
                    ("pad", "[PAD]"),
                    ("cls", "[CLS]"),
                    ("mask", "[MASK]"),
                ] {
                    config[format!("{kind}_token")] = json!(token);
                }
                let words = fs::read(self.tests.join("tokenizers/bert-uncased.json"))?;
                files.push(("tokenizer.json".to_owned(), words));
            }
            Tokenizer::Roberta => {
                for (kind, token) in [
                    ("bos", "<|im_start|>"),
                    ("cls", "<|im_start|>"),
                    ("eos", "<|im_end|>"),
                    ("sep", "<|im_end|>"),
                    ("pad", "<|im_end|>"),
                    ("unk", "<|endoftext|>"),
                    ("mask", "<repo_name>"),
                ] {
                    config[format!("{kind}_token")] = json!(token);
                }
                files.push(("tokenizer.json".to_owned(), tokenizer.to_owned()));
            }
            Tokenizer::T5 => {
                config["eos_token"] = json!("</s>");
                config["pad_token"] = json!("<pad>");
                config["unk_token"] = json!("<unk>");
                files.push(("spiece.model".to_owned(), pieces::t5(&vocabulary)));
                files.push((
                    "added_tokens.json".to_owned(),
                    text(&json!({ "<new>": 2100, "<beyond>": 9999 })),
                ));
            }
            Tokenizer::XlmRoberta | Tokenizer::XlmRobertaJson => {
                for (kind, token) in pieces::XLM_ROBERTA_SPECIALS {
                    config[format!("{kind}_token")] = json!(token);
                }
                if self.tokenizer == Tokenizer::XlmRoberta {
                    files.push(("sentencepiece.bpe.model".to_owned(), pieces::xlm_roberta(&vocabulary)));
                }
                files.push(("tokenizer.json".to_owned(), text(&pieces::xlm_roberta_json(&vocabulary))));
            }
        }
        config["chat_template"] = json!(CHAT_TEMPLATE);
        for (key, value) in &self.options {
            config[key] = value.clone();
        }
        files.push(("tokenizer_config.json".to_owned(), text(&config)));
        Ok(files)
    }

    /// A tokenizer in Python, and the ranks that it reads: all, or so many of the lowest and a token that no others make.
    fn add_ranks(
        &self,
        (module, ranks): (&str, &str),
        count: Option<usize>,
        config: &mut Value,
        files: &mut Vec<(String, Vec<u8>)>,
    ) -> io::Result<()> {
        let tokenizers = self.tests.join("tokenizers");
        let all = fs::read_to_string(tokenizers.join("qwen.tiktoken"))?;
        let lines = match count {
            None => all,
            Some(count) => {
                let lowest: String = all.split_inclusive('\n').take(count).collect();
                // "qzxj"
                format!("{lowest}cXp4ag== {count}\n")
            }
        };
        files.push((ranks.to_owned(), lines.into_bytes()));
        let file = format!("{module}.py");
        files.push((file.clone(), fs::read(tokenizers.join(&file))?));
        config["auto_map"] = json!({ "AutoTokenizer": [format!("{module}.{}", self.tokenizer_class), null] });
        if count.is_none() {
            let config = json!({
                "model_max_length": 8192, "tokenizer_class": self.tokenizer_class, "auto_map": config["auto_map"]
            });
            files.push(("tokenizer_config.json".to_owned(), text(&config)));
        }
        Ok(())
    }

    /// The example's `tokenizer.json`, with more added tokens.
    fn with_extra_tokens(&self, as_it_is: &[u8], mut tokenizer: Value) -> Vec<u8> {
        if self.extra_tokens.is_empty() {
            return as_it_is.to_owned();
        }
        for (id, token) in (46440..).zip(&self.extra_tokens) {
            let entry = json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true
            });
            tokenizer["added_tokens"].as_array_mut().expect("a list").push(entry);
        }
        text(&tokenizer)
    }
}
