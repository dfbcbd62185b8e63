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
    /// The mask token, where it is a plain string, becomes an added token that takes the space before it.
    pub(super) mask: Mask,
    /// The normalizer is set to `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`.
    pub(super) bert_normalizer: bool,
    /// `add_prefix_space` cannot be set without a SentencePiece model.
    pub(super) prefix_space_needs_slow: bool,
}

/// What a class makes of a mask token that is a plain string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// What it makes of any special token.
    Plain,
    /// An added token that is not normalized.
    Exact,
    /// An added token that is.
    Normalized,
}

/// `PreTrainedTokenizerFast`.
const PLAIN: Class = Class {
    name: "PreTrainedTokenizer",
    defaults: &[],
    exact_specials: false,
    template: None,
    mask: Mask::Plain,
    bert_normalizer: false,
    prefix_space_needs_slow: false,
};

/// The special tokens of Bert's tokenizers.
const BERT_DEFAULTS: &[(&str, Option<&str>)] = &[
    ("unk_token", Some("[UNK]")),
    ("sep_token", Some("[SEP]")),
    ("pad_token", Some("[PAD]")),
    ("cls_token", Some("[CLS]")),
    ("mask_token", Some("[MASK]")),
];

/// Those of Roberta's.
const ROBERTA_DEFAULTS: &[(&str, Option<&str>)] = &[
    ("bos_token", Some("<s>")),
    ("eos_token", Some("</s>")),
    ("sep_token", Some("</s>")),
    ("cls_token", Some("<s>")),
    ("unk_token", Some("<unk>")),
    ("pad_token", Some("<pad>")),
    ("mask_token", Some("<mask>")),
];

const END_OF_TEXT: Option<&str> = Some("<|endoftext|>");

/// Those of GPT-2's.
const GPT2_DEFAULTS: &[(&str, Option<&str>)] =
    &[("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("unk_token", END_OF_TEXT)];

const CLASSES: &[Class] = &[
    PLAIN,
    Class { name: "GPT2Tokenizer", defaults: GPT2_DEFAULTS, ..PLAIN },
    Class { name: "CodeGenTokenizer", defaults: GPT2_DEFAULTS, ..PLAIN },
    Class {
        name: "Qwen2Tokenizer",
        defaults: &[
            ("bos_token", None),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", END_OF_TEXT),
        ],
        exact_specials: true,
        ..PLAIN
    },
    Class {
        name: "LlamaTokenizer",
        defaults: &[("bos_token", Some("<s>")), ("eos_token", Some("</s>")), ("unk_token", Some("<unk>"))],
        template: Some((true, false)),
        prefix_space_needs_slow: true,
        ..PLAIN
    },
    Class {
        name: "GPTNeoXTokenizer",
        defaults: &[
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("unk_token", END_OF_TEXT),
            ("pad_token", None),
        ],
        template: Some((false, false)),
        ..PLAIN
    },
    Class {
        name: "GemmaTokenizer",
        defaults: &[
            ("bos_token", Some("<bos>")),
            ("eos_token", Some("<eos>")),
            ("unk_token", Some("<unk>")),
            ("pad_token", Some("<pad>")),
        ],
        template: Some((true, false)),
        ..PLAIN
    },
    Class {
        name: "BloomTokenizer",
        defaults: &[
            ("bos_token", Some("<s>")),
            ("eos_token", Some("</s>")),
            ("unk_token", Some("<unk>")),
            ("pad_token", Some("<pad>")),
        ],
        ..PLAIN
    },
    Class {
        name: "CohereTokenizer",
        defaults: &[
            ("bos_token", Some("<BOS_TOKEN>")),
            ("eos_token", Some("<|END_OF_TURN_TOKEN|>")),
            ("unk_token", Some("<UNK>")),
        ],
        template: Some((true, false)),
        ..PLAIN
    },
    Class { name: "BertTokenizer", defaults: BERT_DEFAULTS, bert_normalizer: true, ..PLAIN },
    Class { name: "DistilBertTokenizer", defaults: BERT_DEFAULTS, bert_normalizer: true, ..PLAIN },
    Class { name: "RobertaTokenizer", defaults: ROBERTA_DEFAULTS, mask: Mask::Exact, ..PLAIN },
    Class { name: "XLMRobertaTokenizer", defaults: ROBERTA_DEFAULTS, mask: Mask::Normalized, ..PLAIN },
];

/// Classes of the model types whose checkpoints name none. Source: `TOKENIZER_MAPPING_NAMES`.
const BY_MODEL_TYPE: &[(&str, &str)] = &[
    ("arcee", "LlamaTokenizer"),
    ("bert", "BertTokenizer"),
    ("bloom", "BloomTokenizer"),
    ("cohere", "CohereTokenizer"),
    ("cohere2", "CohereTokenizer"),
    ("distilbert", "DistilBertTokenizer"),
    ("ernie4_5", "LlamaTokenizer"),
    ("ernie4_5_moe", "LlamaTokenizer"),
    ("exaone4", "GPT2Tokenizer"),
    ("falcon", "PreTrainedTokenizer"),
    ("falcon_mamba", "GPTNeoXTokenizer"),
    ("gemma", "GemmaTokenizer"),
    ("gemma2", "GemmaTokenizer"),
    ("gemma3", "GemmaTokenizer"),
    ("gemma3_text", "GemmaTokenizer"),
    ("glm", "PreTrainedTokenizer"),
    ("glm4", "PreTrainedTokenizer"),
    ("gpt2", "GPT2Tokenizer"),
    ("gpt_bigcode", "GPT2Tokenizer"),
    ("gpt_neox", "GPTNeoXTokenizer"),
    ("jamba", "LlamaTokenizer"),
    ("llama", "LlamaTokenizer"),
    ("llava", "LlamaTokenizer"),
    ("mamba", "GPTNeoXTokenizer"),
    ("mamba2", "GPTNeoXTokenizer"),
    ("mistral", "LlamaTokenizer"),
    ("mistral3", "LlamaTokenizer"),
    ("mixtral", "LlamaTokenizer"),
    ("modernbert", "PreTrainedTokenizer"),
    ("mpt", "GPTNeoXTokenizer"),
    ("nemotron", "PreTrainedTokenizer"),
    ("olmo", "GPTNeoXTokenizer"),
    ("olmo2", "GPTNeoXTokenizer"),
    ("olmo3", "GPT2Tokenizer"),
    ("olmoe", "GPTNeoXTokenizer"),
    ("phi", "CodeGenTokenizer"),
    ("phi3", "LlamaTokenizer"),
    ("phimoe", "LlamaTokenizer"),
    ("qwen2", "Qwen2Tokenizer"),
    ("qwen2_5_vl", "Qwen2Tokenizer"),
    ("qwen2_moe", "Qwen2Tokenizer"),
    ("qwen2_vl", "Qwen2Tokenizer"),
    ("qwen3", "Qwen2Tokenizer"),
    ("qwen3_moe", "Qwen2Tokenizer"),
    ("qwen3_vl", "Qwen2Tokenizer"),
    ("qwen3_vl_moe", "Qwen2Tokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("smollm3", "PreTrainedTokenizer"),
    ("stablelm", "GPTNeoXTokenizer"),
    ("starcoder2", "GPT2Tokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
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
        let class = CLASSES.iter().find(|c| c.name == base).ok_or_else(|| E::Class(name.to_owned()))?;
        match files.option("add_prefix_space").filter(|v| super::json::truthy(v)) {
            // Set wherever it is false in the tokenizer.
            Some(space) if class.name == "BloomTokenizer" => {
                Err(E::field(TOKENIZER_CONFIG, "add_prefix_space", "false", space))
            }
            _ => Ok(class),
        }
    }
}
