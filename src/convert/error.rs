//! Why a checkpoint cannot be converted.

use std::path::PathBuf;

use thiserror::Error;

use super::adapter::AdapterError;
use super::general::GeneralError;
use super::mmproj::MmprojError;
use super::tokenizer::TokenizerError;
use crate::arch::HparamError;
use crate::checkpoint::{CheckpointError, Dtype};

/// Why a checkpoint cannot be converted.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConvertError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("`{0}` has no `config.json`")]
    NoConfig(PathBuf),
    #[error("`{file}` is no valid JSON of its kind")]
    Json { file: String, source: serde_json::Error },
    #[error("`config.json` names no architecture")]
    NoArchitecture,
    #[error("the architecture `{0}` is not supported")]
    Architecture(String),
    #[error("`config.json` has no `model_type`")]
    NoModelType,
    #[error("the model type `{model_type}` of architecture `{architecture}` is not supported yet")]
    ModelType { model_type: String, architecture: String },
    #[error("the weights are quantized already (`{method}`), which is not supported yet")]
    Quantized { method: String },
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Hparam(#[from] HparamError),
    #[error("`params.json`, in Mistral's own format, is not supported")]
    Params(#[source] HparamError),
    #[error(transparent)]
    General(#[from] GeneralError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("tensor `{name}` has no place in the architecture `{architecture}`")]
    Unmapped { name: String, architecture: String },
    #[error("`config.json` states {layers} layers, but there is no tensor of layer {missing}")]
    Layers { layers: u32, missing: u32 },
    #[error("tensor `{name}` belongs to an expert, which is not supported yet for `{architecture}`")]
    Expert { name: String, architecture: String },
    #[error("tensor `{name}` is numbered beyond the {count} that `config.json` states")]
    Number { name: String, count: u32 },
    #[error("there are {found} of the {wanted} tensors `{of}*`")]
    Stack { of: String, found: usize, wanted: usize },
    #[error("tensors `{name}` and `{other}` become one, but have elements of different types")]
    MixedTypes { name: String, other: String },
    #[error("tensors `{first}` and `{second}` would both become `{name}`")]
    Collision { name: String, first: String, second: String },
    #[error("tensor `{name}` has elements of type {dtype:?}, which is not supported yet")]
    Dtype { name: String, dtype: Dtype },
    #[error("tensor `{name}` has the shape {found:?}, not {expected}")]
    Shape { name: String, found: Vec<u64>, expected: String },
    #[error("tensor `{name}` has no `{weight}` to go with")]
    Scales { name: String, weight: String },
    #[error(transparent)]
    Mmproj(#[from] MmprojError),
    #[error("tensor `{name}` must be read to know what the file will be, but its bytes are not here")]
    NotHere { name: String },
    #[error("`{file}`: {why}")]
    Pooling { file: String, why: &'static str },
}

impl ConvertError {
    /// Whether the checkpoint may be sound, and only not of a kind that is known here.
    pub fn is_about_support(&self) -> bool {
        matches!(
            self,
            ConvertError::Architecture(_)
                | ConvertError::ModelType { .. }
                | ConvertError::NoModelType
                | ConvertError::Quantized { .. }
                | ConvertError::Expert { .. }
                | ConvertError::Dtype { .. }
                | ConvertError::Hparam(HparamError::Unsupported { .. })
                | ConvertError::NotHere { .. }
                | ConvertError::Tokenizer(TokenizerError::Unsupported { .. } | TokenizerError::Class(_))
        )
    }
}
