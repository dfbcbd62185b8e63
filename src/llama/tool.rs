//! Why a program of llama.cpp gave no result.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::error::ToolchainError;
use crate::base::process::ProcessError;

/// Why a program of llama.cpp gave no result.
#[derive(Debug, Error)]
pub enum ToolError {
    /// There is no llama.cpp, or the program is not part of it.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// It failed, or was stopped.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file that it is given, or gives, cannot be read or written.
    #[error("cannot read or write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended well and left nothing.
    #[error("`{tool}` ended without {what}")]
    Silent {
        /// The program.
        tool: &'static str,
        /// What it should have left.
        what: &'static str,
    },
    /// The model's predictions are no numbers.
    #[error("`{tool}`: the model's predictions are NaN or infinite (chunk {chunk})")]
    NotFinite {
        /// The program.
        tool: &'static str,
        /// The first chunk of the text with such a prediction.
        chunk: u32,
    },
}

impl ToolError {
    /// Whether the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        match self {
            ToolError::Toolchain(error) => error.is_cancelled(),
            ToolError::Process(error) => matches!(error, ProcessError::Cancelled { .. }),
            ToolError::Io { .. } | ToolError::Silent { .. } | ToolError::NotFinite { .. } => false,
        }
    }

    /// Whether the toolchain itself is in the way, not what it was given.
    pub fn is_about_toolchain(&self) -> bool {
        matches!(
            self,
            ToolError::Toolchain(_)
                | ToolError::Process(ProcessError::Start { .. } | ProcessError::Lost { .. })
        )
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            ToolError::Toolchain(error) => error.hint(),
            ToolError::Process(ProcessError::Failed { tail, .. }) => of_last_lines(tail).map(str::to_owned),
            ToolError::NotFinite { .. } => {
                Some("the checkpoint is damaged, or this llama.cpp does not support the model".to_owned())
            }
            _ => None,
        }
    }
}

/// What the last lines of llama.cpp's programs mean to the user.
fn of_last_lines(tail: &[String]) -> Option<&'static str> {
    const MEANINGS: [(&str, &str); 4] = [
        ("you need at least", "take a longer text, or fewer tokens a chunk"),
        (
            "unknown model architecture",
            "this llama.cpp does not know the model: name a newer one with `llama_cpp`",
        ),
        (
            "failed to allocate",
            "the model needs more memory than there is; close other programs or use a larger machine",
        ),
        ("invalid argument", "this llama.cpp lacks an option: name a newer one with `llama_cpp`"),
    ];
    MEANINGS.iter().find(|(said, _)| tail.iter().any(|line| line.contains(said))).map(|(_, hint)| *hint)
}
