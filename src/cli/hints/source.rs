//! What a checkpoint or a GGUF file is refused for, and what to do next.

use super::of_system;
use crate::checkpoint::CheckpointError;
use crate::cli::failure::{Explain, Kind};
use crate::convert::tokenizer::TokenizerError;
use crate::convert::{ConvertError, FromGgufError};

impl Explain for CheckpointError {
    fn kind(&self) -> Kind {
        match self {
            CheckpointError::Io { source, .. } => of_system(source),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            CheckpointError::NotAFolder(_) => {
                "name a folder with config.json and safetensors weights, or a Hub repository as owner/name".to_owned()
            }
            CheckpointError::Pickle { .. } => "pickle files can run code when read, so this program does not read them; \
                 convert the repository to safetensors first: https://huggingface.co/spaces/safetensors/convert"
                .to_owned(),
            CheckpointError::NoWeights(_) => {
                "the folder needs model.safetensors, or its shards and model.safetensors.index.json".to_owned()
            }
            CheckpointError::Shard { .. } | CheckpointError::Truncated { .. } => {
                "the file is damaged or incomplete; fetch it again".to_owned()
            }
            CheckpointError::Missing { .. } => "a shard is missing or incomplete; fetch the folder again".to_owned(),
            _ => return None,
        })
    }
}

impl Explain for TokenizerError {
    fn kind(&self) -> Kind {
        match self {
            TokenizerError::Checkpoint(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            TokenizerError::Checkpoint(error) => error.hint(),
            error => TokenizerError::hint(error).map(str::to_owned),
        }
    }
}

impl Explain for ConvertError {
    fn kind(&self) -> Kind {
        match self {
            ConvertError::Checkpoint(error) => error.kind(),
            ConvertError::Tokenizer(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ConvertError::Checkpoint(error) => return error.hint(),
            ConvertError::Quantized { .. } => {
                "use the checkpoint that it was quantized from, or leave it to llama.cpp's own converter with --fallback".to_owned()
            }
            error if error.is_about_support() => {
                "--fallback leaves it to llama.cpp's own converter, which needs a llama.cpp and a Python".to_owned()
            }
            ConvertError::Tokenizer(error) => return Explain::hint(error),
            ConvertError::NoConfig(_) => "a checkpoint has config.json beside its weights".to_owned(),
            ConvertError::Json { .. } => "the file is damaged or incomplete; fetch it again".to_owned(),
            ConvertError::Layers { .. } => {
                "a shard is missing, or `num_hidden_layers` is not that of these weights; fetch the checkpoint again".to_owned()
            }
            ConvertError::NotHere { .. } => {
                "download the checkpoint, and name the folder instead of the repository".to_owned()
            }
            _ => return None,
        })
    }
}

impl Explain for FromGgufError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("only GGUF files of models can be quantized".to_owned())
    }
}
