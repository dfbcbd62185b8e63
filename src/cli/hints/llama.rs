//! What llama.cpp's tools fail with, and what to do next.

use super::of_system;
use crate::base::process::ProcessError;
use crate::cli::failure::{Explain, Kind};
use crate::hub::HubError;
use crate::llama::perplexity::PerplexityError;
use crate::llama::tool::ToolError;
use crate::llama::{ReleaseError, ToolchainError};
use crate::run::importance::ImportanceError;

impl Explain for ToolchainError {
    fn kind(&self) -> Kind {
        match self {
            error if error.is_cancelled() => Kind::Interrupted,
            ToolchainError::Release(ReleaseError::Token) => Kind::Credentials,
            _ => Kind::Toolchain,
        }
    }

    fn hint(&self) -> Option<String> {
        ToolchainError::hint(self)
    }
}

/// What a program of llama.cpp that failed means: that it is missing, or that its input is wrong.
pub(super) fn of_tool(error: &ToolError) -> Kind {
    match error {
        error if error.is_cancelled() => Kind::Interrupted,
        ToolError::Toolchain(error) => error.kind(),
        error if error.is_about_toolchain() => Kind::Toolchain,
        ToolError::Io { source, .. } => of_system(source),
        _ => Kind::Input,
    }
}

impl Explain for ImportanceError {
    fn kind(&self) -> Kind {
        match self {
            ImportanceError::Imatrix(error) => error.kind(),
            ImportanceError::Hub(HubError::Status { status: 400..=499, .. }) => Kind::Input,
            ImportanceError::Hub(error) => error.kind(),
            ImportanceError::Toolchain(error) => error.kind(),
            ImportanceError::Tool(error) => of_tool(error),
            ImportanceError::Io { source, .. } => of_system(source),
            ImportanceError::EmptyText { .. } | ImportanceError::LongText { .. } => Kind::Input,
            ImportanceError::Stopped => Kind::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ImportanceError::Imatrix(error) => error.hint(),
            ImportanceError::Hub(HubError::Status { status: 400..=499, .. }) => {
                Some("the address has to give the file itself, to who is not signed in".to_owned())
            }
            ImportanceError::Hub(error) => Explain::hint(error),
            ImportanceError::Toolchain(error) => Explain::hint(error),
            ImportanceError::Tool(error) => error.hint(),
            ImportanceError::EmptyText { .. } => Some("`default` is a text that comes along".to_owned()),
            ImportanceError::LongText { .. } => {
                Some("take a part of it: a hundred chunks are usual".to_owned())
            }
            ImportanceError::Io { .. } | ImportanceError::Stopped => None,
        }
    }
}

impl Explain for PerplexityError {
    fn kind(&self) -> Kind {
        match self {
            error if error.is_stop() => Kind::Interrupted,
            PerplexityError::Toolchain(error) => error.kind(),
            PerplexityError::Process(ProcessError::Start { .. } | ProcessError::Lost { .. }) => {
                Kind::Toolchain
            }
            PerplexityError::Io { source, .. } => of_system(source),
            PerplexityError::Space { .. } | PerplexityError::Cut { .. } => Kind::Internal,
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PerplexityError::Toolchain(error) => return Explain::hint(error),
            PerplexityError::TooShort { .. } | PerplexityError::TooFew { .. } => {
                "take a longer text, or a smaller `context`".to_owned()
            }
            PerplexityError::Space { .. } | PerplexityError::Cut { .. } => {
                "measure fewer `chunks`, or free some space".to_owned()
            }
            PerplexityError::NotFinite { .. } => {
                "the model computes nonsense: look at its weights, or quantize with more bits".to_owned()
            }
            PerplexityError::Vocabulary { .. } => {
                "compare with the model that the file was made from".to_owned()
            }
            _ => return None,
        })
    }
}
