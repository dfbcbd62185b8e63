//! What a checkpoint or a GGUF file is refused for, and what to do next.

use super::of_system;
use crate::checkpoint::CheckpointError;
use crate::cli::failure::{Explain, Kind};
use crate::convert::tokenizer::TokenizerError;
use crate::convert::{AdapterError, ConvertError, FromGgufError};
use crate::run::adapter::AdapterSourceError;

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
            CheckpointError::NoAdapterWeights(_) => {
                "an adapter has adapter_model.safetensors beside adapter_config.json".to_owned()
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
            ConvertError::Adapter(error) => return of_adapter(error),
            ConvertError::Params(_) => {
                "the repository's files in transformers' format (config.json, model*.safetensors) may be".to_owned()
            }
            ConvertError::NoConfig(_) => "a checkpoint has config.json beside its weights, or params.json in Mistral's own format".to_owned(),
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

fn of_adapter(error: &AdapterError) -> Option<String> {
    let hint = match error {
        AdapterError::NoConfig(_) => "an adapter has adapter_config.json beside its weights",
        AdapterError::Kind(_) | AdapterError::Magnitude(_) => {
            "merge it into its base model with PEFT's `merge_and_unload`, and convert what comes out"
        }
        AdapterError::Embeddings(_) | AdapterError::Unexpected(_) | AdapterError::Inexpressible { .. } => {
            "llama.cpp's adapters change matrices by pairs and nothing else; merge it into its base model with PEFT's \
             `merge_and_unload`, and convert what comes out"
        }
        AdapterError::Half { .. } | AdapterError::Shapes { .. } => {
            "the file is damaged or incomplete; fetch it again"
        }
        AdapterError::InvocationString => {
            "write the text's token ids into adapter_config.json as `alora_invocation_tokens`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

impl Explain for AdapterSourceError {
    fn kind(&self) -> Kind {
        match self {
            AdapterSourceError::Checkpoint(error) => error.kind(),
            AdapterSourceError::Hub(error) | AdapterSourceError::Base { source: error, .. } => error.kind(),
            AdapterSourceError::Convert(error) => error.kind(),
            AdapterSourceError::NoBase | AdapterSourceError::NotARepo(_) => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        const NAME: &str = "name it with --base: a folder that has its config.json, or owner/name";
        match self {
            AdapterSourceError::Checkpoint(error) => error.hint(),
            AdapterSourceError::Hub(error) => Explain::hint(&**error),
            AdapterSourceError::Convert(error) => error.hint(),
            AdapterSourceError::Base { source, .. } if source.is_about_credentials() => {
                Explain::hint(&**source)
            }
            AdapterSourceError::Base { .. }
            | AdapterSourceError::NoBase
            | AdapterSourceError::NotARepo(_) => Some(NAME.to_owned()),
        }
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
