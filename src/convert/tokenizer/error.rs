//! Why a tokenizer cannot be written.

use serde_json::Value;
use thiserror::Error;

use crate::checkpoint::CheckpointError;

/// Why a tokenizer cannot be written. Every variant names the file, and the field in it, that it is about.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TokenizerError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("`{file}` is no valid JSON of its kind")]
    Json { file: String, source: serde_json::Error },
    #[error("`{0}` is no UTF-8 text")]
    Encoding(String),
    #[error("`{file}` is no SentencePiece model")]
    SentencePiece { file: String, source: prost::DecodeError },
    #[error("`{file}` is {bytes} bytes long, more than any SentencePiece model")]
    ModelTooLong { file: String, bytes: usize },
    #[error("there is no `{0}`")]
    Missing(&'static str),
    #[error("`{file}`: {found} is not supported for this architecture")]
    Unsupported { file: &'static str, found: String },
    #[error("`{file}`: `{field}` must be {expected}, not `{found}`")]
    Field { file: String, field: String, expected: &'static str, found: String },
    #[error("`tokenizer_config.json`: tokenizer class `{0}` is not supported")]
    Class(String),
    #[error("`tokenizer_config.json`: `{field}` of a `{class}` needs {needs}")]
    ClassNeeds { class: &'static str, field: &'static str, needs: &'static str },
    #[error("`tokenizer.json`: `{part}` cannot be used")]
    Part { part: &'static str, source: tokenizers::Error },
    #[error("`{file}`: merge {number} (`{merge}`) cannot be used")]
    Merge { file: &'static str, number: usize, merge: String },
    #[error("`{file}`: id {id} belongs to both `{first}` and `{second}`")]
    SharedId { file: &'static str, id: u32, first: String, second: String },
    #[error("token `{token}` has id {id}, but `vocab_size` is {vocab_size}")]
    IdBeyondVocabulary { token: String, id: u32, vocab_size: u64 },
    #[error("`config.json`: `vocab_size` is {0}, more than any vocabulary has")]
    VocabularyTooLarge(u64),
    #[error("`tokenizer.json`: `added_tokens` are {0} bytes, more than any tokenizer has")]
    AddedTokensTooLong(usize),
    #[error("the pre-tokenizer is not known: the fixed text encodes to hash `{hash}`{}", nearest_pattern(*nearest))]
    UnknownPreTokenizer { hash: String, nearest: Option<&'static str> },
    #[error("llama.cpp loads no pre-tokenizer `{name}`{}", did_you_mean(nearest.as_deref()))]
    NoSuchPreTokenizer { name: String, nearest: Option<String> },
}

impl TokenizerError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TokenizerError::UnknownPreTokenizer { .. } => Some(
                "name the pre-tokenizer with `--pre-tokenizer NAME` or `pre_tokenizer:` if you know which one it is",
            ),
            TokenizerError::Missing(_) => Some(
                "a checkpoint has its tokenizer beside its weights: `tokenizer.json`, `tokenizer.model`, or `vocab.json` and `merges.txt`",
            ),
            TokenizerError::Json { .. } | TokenizerError::SentencePiece { .. } => {
                Some("the file is damaged or incomplete; fetch it again")
            }
            _ => None,
        }
    }

    pub(super) fn field(file: &str, field: impl Into<String>, expected: &'static str, found: &Value) -> Self {
        /// A value may be a whole chat template.
        const SHOWN: usize = 60;
        let mut found = found.to_string();
        if let Some((at, _)) = found.char_indices().nth(SHOWN) {
            found.truncate(at);
            found.push('…');
        }
        TokenizerError::Field { file: file.to_owned(), field: field.into(), expected, found }
    }
}

fn nearest_pattern(name: Option<&str>) -> String {
    name.map(|n| format!("; its pattern is nearest to that of `{n}`")).unwrap_or_default()
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}
