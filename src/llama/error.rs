//! Why there is no toolchain.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::archive::ArchiveError;
use super::build::BuildError;
use super::cache::CacheError;
use super::pins::PinError;
use super::release::ReleaseError;
use super::request::RequestError;
use super::source::SourceError;
use crate::base::process::ProcessError;

/// Why there is no toolchain.
#[derive(Debug, Error)]
pub enum ToolchainError {
    /// What was asked for cannot be given.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// GitHub, or whoever has the archive, did not give it.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// It is not what it was when it was recorded.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An archive was refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The cache could not serve.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A release's programs do not run on this system.
    #[error("the programs of `{archive}` do not run on this system")]
    Unfit {
        /// The archive.
        archive: String,
        /// How they fail.
        source: ProcessError,
    },
    /// A program is not in the folder.
    #[error("`{folder}` has no `{tool}`")]
    NoTool {
        /// The folder.
        folder: PathBuf,
        /// The program.
        tool: String,
    },
    /// The converter is not there.
    #[error("`{folder}` has no `convert_hf_to_gguf.py`")]
    NoConverter {
        /// The folder.
        folder: PathBuf,
    },
    /// Installed programs cannot be read.
    #[error("cannot read the programs in `{folder}`")]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An installed program cannot be asked for its version.
    #[error("the llama.cpp in `{folder}` does not run")]
    Dead {
        /// The folder.
        folder: PathBuf,
        /// How it fails.
        source: ProcessError,
    },
}

impl ToolchainError {
    /// Whether the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        match self {
            ToolchainError::Release(e) => matches!(e, ReleaseError::Cancelled),
            ToolchainError::Archive(e) => matches!(e, ArchiveError::Cancelled),
            ToolchainError::Cache(e) => matches!(e, CacheError::Cancelled),
            ToolchainError::Source(e) => matches!(e, SourceError::Cancelled),
            ToolchainError::Unreadable { source, .. } => source.kind() == io::ErrorKind::Interrupted,
            ToolchainError::Build(BuildError::Step { source, .. })
            | ToolchainError::Unfit { source, .. }
            | ToolchainError::Dead { source, .. } => matches!(source, ProcessError::Cancelled { .. }),
            _ => false,
        }
    }

    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            ToolchainError::Request(e) => e.hint(),
            ToolchainError::Release(e) => e.hint(),
            ToolchainError::Pin(e) => e.hint(),
            ToolchainError::Build(e) => e.hint().map(str::to_owned),
            ToolchainError::Source(e) => e.hint(),
            ToolchainError::NoTool { .. } | ToolchainError::Dead { .. } => Some(
                "`llama_cpp.installed` and JAMPH_LLAMA_CPP name a folder with llama.cpp's programs"
                    .to_owned(),
            ),
            ToolchainError::NoConverter { .. } => Some(
                "a build of our own has it: leave `llama_cpp.installed` and JAMPH_LLAMA_CPP out".to_owned(),
            ),
            ToolchainError::Archive(ArchiveError::NoSubfolder { .. }) => {
                Some("`llama_cpp.subfolder` leads to the folder with llama.cpp's CMakeLists.txt".to_owned())
            }
            ToolchainError::Cache(CacheError::Io { .. }) => {
                Some("JAMPH_CACHE names another folder for what is built".to_owned())
            }
            _ => None,
        }
    }
}
