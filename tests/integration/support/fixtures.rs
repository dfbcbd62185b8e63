//! Seeded checkpoints: small models of each family, made from nothing but a name.
//!
//! In: a row of [`FIXTURES`]. Out: the files of a Hugging Face folder, the same bytes on every machine. The tests
//! convert and quantize them; `scripts/record-parity` has the reference do the same (`cargo run --example fixtures`).
//! All of them share the tokenizer of `examples/tiny`, whose ids go up to 46438 with large gaps; so most rows of the
//! embeddings are zero. The values are meant to be awkward: whole rows of zero, constants, ties, outliers, tiny numbers.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::weights::{self, Float, Owns, VOCABULARY};

pub(crate) const CHAT_TEMPLATE: &str = "{% for message in messages %}\
     {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
     {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A scaling of rotary embeddings, as `config.json` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rope {
    Plain,
    Linear,
    Yarn,
    Llama3,
}

/// A model family, by its class in transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// One checkpoint.
#[derive(Debug)]
pub(crate) struct Fixture {
    /// Name of the folder; the converter derives metadata from it.
    pub(crate) folder: &'static str,
    pub(crate) family: Family,
    pub(crate) float: Float,
    pub(crate) tied: bool,
    pub(crate) hidden: u64,
    pub(crate) ffn: u64,
    pub(crate) layers: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) head_dim: u64,
    pub(crate) rope: Rope,
    pub(crate) shards: usize,
}

use Family::{Llama, Mistral, Qwen2, Qwen3};

macro_rules! fixtures {
    ($($folder:literal: $family:ident $float:ident $tied:literal, $hidden:literal $ffn:literal $layers:literal,
        $heads:literal $kv:literal $dim:literal, $rope:ident $shards:literal;)*) => {
        /// The checkpoints: folder, family, format, tied; width, width within the feed-forward part, layers; heads, key heads,
        /// values in a head; rope scaling, shards. The first is the example of the repository.
        pub(crate) const FIXTURES: &[Fixture] = &[$(Fixture {
            folder: $folder,
            family: $family,
            float: Float::$float,
            tied: $tied,
            hidden: $hidden,
            ffn: $ffn,
            layers: $layers,
            heads: $heads,
            kv_heads: $kv,
            head_dim: $dim,
            rope: Rope::$rope,
            shards: $shards,
        },)*];
    };
}

fixtures! {
    "tiny": Llama BF16 true, 32 256 2, 4 2 8, Plain 1;
    "Small-Llama-256-Instruct-v0.2": Llama F16 false, 256 512 4, 8 4 32, Llama3 2;
    "llama-wide-96": Llama F32 true, 96 288 3, 3 3 32, Linear 1;
    "odd-llama-40": Llama BF16 true, 40 80 2, 2 1 20, Plain 1;
    "Mistral-9L-Chat": Mistral BF16 false, 64 512 9, 8 2 8, Plain 3;
    "Qwen2.5-96-Instruct": Qwen2 BF16 true, 96 256 5, 6 2 16, Yarn 1;
    "qwen2-32-base": Qwen2 F32 false, 32 512 2, 4 1 8, Linear 1;
    "Qwen3-256": Qwen3 BF16 true, 256 768 3, 4 1 32, Plain 1;
    "qwen3-64-thinking-2507": Qwen3 F16 false, 64 256 8, 4 4 32, Yarn 2;
}

impl Fixture {
    /// Writes the folder into another one.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn write(&self, into: &Path, tokenizer: &[u8]) -> io::Result<()> {
        let folder = into.join(self.folder);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in self.files() {
            fs::write(folder.join(name), bytes)?;
        }
        fs::write(folder.join("tokenizer.json"), tokenizer)
    }

    /// Every file but `tokenizer.json`, by name.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            ("config.json".to_owned(), text(&self.config())),
            ("generation_config.json".to_owned(), text(&self.generation())),
            ("tokenizer_config.json".to_owned(), text(&self.tokenizer_config())),
        ];
        if self.folder != "tiny" && self.family != Qwen2 {
            files.push(("README.md".to_owned(), self.card().into_bytes()));
        }
        if self.family == Mistral {
            files.push(("chat_template.jinja".to_owned(), CHAT_TEMPLATE.into()));
        }
        if self.family == Llama && !self.tied {
            let tokens = json!({
                "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
                "bos_token": { "content": "<|im_start|>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false },
                "eos_token": "<|im_end|>",
                "unk_token": "<|endoftext|>",
            });
            files.push(("special_tokens_map.json".to_owned(), text(&tokens)));
        }
        files.extend(weights::files(self.folder, self.float, &Owns::new(), &self.tensors(), self.shards));
        files
    }

    fn config(&self) -> Value {
        let (class, model_type, theta) = match self.family {
            Llama => ("LlamaForCausalLM", "llama", 10000.0),
            Mistral => ("MistralForCausalLM", "mistral", 1_000_000.0),
            Qwen2 => ("Qwen2ForCausalLM", "qwen2", 1_000_000.0),
            Qwen3 => ("Qwen3ForCausalLM", "qwen3", 5_000_000.0),
        };
        let scaling = match self.rope {
            Rope::Plain => Value::Null,
            Rope::Linear => json!({ "type": "linear", "factor": 2.5 }),
            Rope::Yarn => {
                json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024 })
            }
            Rope::Llama3 => json!({
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 1024,
                "rope_type": "llama3",
            }),
        };
        let float = match self.float {
            Float::F32 => "float32",
            Float::F16 => "float16",
            _ => "bfloat16",
        };
        let mut config = json!({
            "architectures": [class],
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.ffn,
            "max_position_embeddings": 4096,
            "model_type": model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": if self.family == Llama { 1e-5 } else { 1e-6 },
            "rope_scaling": scaling,
            "rope_theta": theta,
            "tie_word_embeddings": self.tied,
            "torch_dtype": float,
            "use_cache": true,
            "vocab_size": VOCABULARY,
        });
        match self.family {
            Llama => config["attention_bias"] = json!(false),
            Mistral => config["sliding_window"] = json!(2048),
            Qwen2 | Qwen3 => config["use_sliding_window"] = json!(false),
        }
        if self.head_dim * self.heads != self.hidden || self.family == Qwen3 {
            config["head_dim"] = json!(self.head_dim);
        }
        config
    }

    fn generation(&self) -> Value {
        match self.family {
            Llama | Mistral => json!({ "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2 }),
            Qwen2 | Qwen3 => json!({
                "do_sample": true,
                "eos_token_id": [2, 0],
                "pad_token_id": 0,
                "temperature": 0.7,
                "top_k": 20,
                "top_p": 0.8,
            }),
        }
    }

    fn tokenizer_config(&self) -> Value {
        let mut config = json!({
            "add_prefix_space": false,
            "bos_token": "<|im_start|>",
            "clean_up_tokenization_spaces": false,
            "eos_token": "<|im_end|>",
            "model_max_length": 4096,
            "pad_token": "<|im_end|>",
            "tokenizer_class": if matches!(self.family, Qwen2 | Qwen3) { "Qwen2Tokenizer" } else { "GPT2Tokenizer" },
            "unk_token": "<|endoftext|>",
        });
        if self.family != Mistral {
            config["chat_template"] = json!(CHAT_TEMPLATE);
        }
        config
    }

    fn card(&self) -> String {
        format!(
            "---\nlicense: apache-2.0\nlanguage:\n- en\n- nb\npipeline_tag: text-generation\ntags:\n- test\n\
             datasets:\n- example/numbers\nbase_model: example/{0}\n---\n\n# {0}\n",
            self.folder
        )
    }

    /// Names and shapes (outermost extent first), in the order of the model.
    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let (hidden, queries, keys) =
            (self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, hidden])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[u64]| {
                all.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            add("input_layernorm.weight", &[hidden]);
            for (projection, rows) in [("q", queries), ("k", keys), ("v", keys)] {
                add(&format!("self_attn.{projection}_proj.weight"), &[rows, hidden]);
                if self.family == Qwen2 {
                    add(&format!("self_attn.{projection}_proj.bias"), &[rows]);
                }
            }
            if self.family == Qwen3 {
                add("self_attn.q_norm.weight", &[self.head_dim]);
                add("self_attn.k_norm.weight", &[self.head_dim]);
            }
            add("self_attn.o_proj.weight", &[hidden, queries]);
            add("post_attention_layernorm.weight", &[hidden]);
            add("mlp.gate_proj.weight", &[self.ffn, hidden]);
            add("mlp.up_proj.weight", &[self.ffn, hidden]);
            add("mlp.down_proj.weight", &[hidden, self.ffn]);
        }
        all.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), vec![VOCABULARY, hidden]));
        }
        all
    }
}

pub(crate) fn text(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).expect("JSON values can be written");
    text.push('\n');
    text.into_bytes()
}
