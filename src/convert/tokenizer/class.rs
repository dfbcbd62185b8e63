//! Tokenizer classes of transformers, as far as they change what a tokenizer does.
//!
//! Source: transformers 4.57.6, which the reference's converter runs on: `AutoTokenizer.from_pretrained` and the
//! classes' constructors. A class that is not in the table is refused.

use serde_json::Value;

use super::TokenizerError as E;
use super::json::{CONFIG, TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles};

/// What a class does beyond `PreTrainedTokenizerFast`.
#[derive(Debug)]
pub(super) struct Class {
    /// Name without `Fast`.
    pub(super) name: &'static str,
    /// Special tokens where `tokenizer_config.json` says nothing. `None` keeps a `pad_token` of the padding out.
    pub(super) defaults: &'static [(&'static str, Option<&'static str>)],
    /// Special tokens given as plain strings become added tokens that are not normalized.
    pub(super) exact_specials: bool,
    /// The post-processor is made anew from `add_bos_token` and `add_eos_token`, whose defaults these are.
    pub(super) template: Option<(bool, bool)>,
    /// `add_prefix_space` cannot be set without a SentencePiece model.
    pub(super) prefix_space_needs_slow: bool,
}

const END_OF_TEXT: Option<&str> = Some("<|endoftext|>");

const CLASSES: &[Class] = &[
    Class {
        name: "PreTrainedTokenizer",
        defaults: &[],
        exact_specials: false,
        template: None,
        prefix_space_needs_slow: false,
    },
    Class {
        name: "GPT2Tokenizer",
        defaults: &[("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT)],
        exact_specials: false,
        template: None,
        prefix_space_needs_slow: false,
    },
    Class {
        name: "Qwen2Tokenizer",
        defaults: &[
            ("bos_token", None),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", END_OF_TEXT),
        ],
        exact_specials: true,
        template: None,
        prefix_space_needs_slow: false,
    },
    Class {
        name: "LlamaTokenizer",
        defaults: &[("bos_token", Some("<s>")), ("eos_token", Some("</s>")), ("unk_token", Some("<unk>"))],
        exact_specials: false,
        template: Some((true, false)),
        prefix_space_needs_slow: true,
    },
    Class {
        name: "GPTNeoXTokenizer",
        defaults: &[
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", None),
        ],
        exact_specials: false,
        template: Some((false, false)),
        prefix_space_needs_slow: false,
    },
    Class {
        name: "GemmaTokenizer",
        defaults: &[
            ("bos_token", Some("<bos>")),
            ("eos_token", Some("<eos>")),
            ("unk_token", Some("<unk>")),
            ("pad_token", Some("<pad>")),
        ],
        exact_specials: false,
        template: Some((true, false)),
        prefix_space_needs_slow: false,
    },
    Class {
        name: "CohereTokenizer",
        defaults: &[
            ("bos_token", Some("<BOS_TOKEN>")),
            ("eos_token", Some("<|END_OF_TURN_TOKEN|>")),
            ("unk_token", Some("<UNK>")),
        ],
        exact_specials: false,
        template: Some((true, false)),
        prefix_space_needs_slow: false,
    },
];

/// Classes of the model types whose checkpoints name none. Source: `TOKENIZER_MAPPING_NAMES`.
const BY_MODEL_TYPE: &[(&str, &str)] = &[
    ("arcee", "LlamaTokenizer"),
    ("cohere", "CohereTokenizer"),
    ("cohere2", "CohereTokenizer"),
    ("ernie4_5", "LlamaTokenizer"),
    ("exaone4", "GPT2Tokenizer"),
    ("gemma", "GemmaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
    ("glm4", "PreTrainedTokenizer"),
    ("llama", "LlamaTokenizer"),
    ("mistral", "LlamaTokenizer"),
    ("mixtral", "LlamaTokenizer"),
    ("nemotron", "PreTrainedTokenizer"),
    ("olmo", "GPTNeoXTokenizer"),
    ("olmo2", "GPTNeoXTokenizer"),
    ("olmo3", "GPT2Tokenizer"),
    ("olmoe", "GPTNeoXTokenizer"),
    ("phi3", "LlamaTokenizer"),
    ("phimoe", "LlamaTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen2_moe", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("qwen3_moe", "Qwen2Tokenizer"),
    ("smollm3", "PreTrainedTokenizer"),
    ("stablelm", "GPTNeoXTokenizer"),
    ("starcoder2", "GPT2Tokenizer"),
];

impl Class {
    /// The class that `AutoTokenizer` takes for these files.
    pub(super) fn of(files: &TokenizerFiles<'_>) -> Result<&'static Class, E> {
        // What would load another file, or load it in another way.
        for field in ["tokenizer_file", "from_slow", "fix_mistral_regex"] {
            if let Some(value) = files.option(field).filter(|v| super::json::truthy(v)) {
                return Err(E::field(TOKENIZER_CONFIG, field, "absent", value));
            }
        }
        if let Some(value) =
            files.option("fast_tokenizer_files").filter(|v| **v != serde_json::json!([TOKENIZER]))
        {
            return Err(E::field(TOKENIZER_CONFIG, "fast_tokenizer_files", "absent", value));
        }
        let config = |key| files.config.as_ref().and_then(|c| c.get(key)).filter(|v| !v.is_null());
        let named = files.option("tokenizer_class").filter(|v| !v.is_null());
        let name = match named.or_else(|| config("tokenizer_class")) {
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Err(E::field(TOKENIZER_CONFIG, "tokenizer_class", "a string", other)),
            None => {
                let model_type = config("model_type").unwrap_or(&Value::Null);
                let class = BY_MODEL_TYPE.iter().find(|(t, _)| Some(*t) == model_type.as_str());
                class
                    .ok_or_else(|| {
                        E::field(CONFIG, "model_type", "one with a known tokenizer class", model_type)
                    })?
                    .1
            }
        };
        let base = name.strip_suffix("Fast").unwrap_or(name);
        CLASSES.iter().find(|c| c.name == base).ok_or_else(|| E::Class(name.to_owned()))
    }
}
