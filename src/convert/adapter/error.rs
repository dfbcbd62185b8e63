//! Why an adapter cannot be converted.

use std::path::PathBuf;

use thiserror::Error;

/// Why an adapter cannot be converted.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AdapterError {
    #[error("`{0}` has no `adapter_config.json`")]
    NoConfig(PathBuf),
    #[error("the adapter is of the type `{0}`, not `LORA`")]
    Kind(String),
    #[error("`adapter_config.json` has no `{0}`")]
    Missing(&'static str),
    #[error("`adapter_config.json` has `{found}` as `{key}`, where {expected} belongs")]
    Value { key: &'static str, found: String, expected: &'static str },
    #[error("`adapter_config.json` states `invocation_string` without `alora_invocation_tokens`")]
    InvocationString,
    #[error("the adapter has no pair of tensors for any module")]
    Empty,
    #[error("tensor `{0}` is a magnitude of DoRA, for which there is no place in a GGUF file")]
    Magnitude(String),
    #[error("tensor `{0}` is a whole matrix of embeddings or of the output, not a change of one")]
    Embeddings(String),
    #[error("tensor `{0}` is neither `lora_A` nor `lora_B` of a module")]
    Unexpected(String),
    #[error("module `{module}` has no `{missing}`")]
    Half { module: String, missing: &'static str },
    #[error(
        "module `{module}` has `lora_A` of the shape {a:?} and `lora_B` of the shape {b:?}, which make no matrix"
    )]
    Shapes { module: String, a: Vec<u64>, b: Vec<u64> },
    #[error("tensors `{first}` and `{second}` are of the same module")]
    Twice { first: String, second: String },
    #[error("experts of the same layer have pairs of different ranks or types (`{0}`)")]
    Ranks(String),
    #[error(
        "the adapter changes `lm_head`, which the base model does not have: its embeddings serve as output"
    )]
    Output,
    #[error("the change of `{name}` cannot be stated as one of `{into}`")]
    Inexpressible { name: String, into: String },
}
