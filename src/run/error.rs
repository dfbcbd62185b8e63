//! Why a job failed.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::evaluate::Rejected;
use super::files::WriteError;
use super::foreign::Foreign;
use super::importance::ImportanceError;
use crate::base::repo_id::RepoIdError;
use crate::checkpoint::CheckpointError;
use crate::convert::{ConvertError, FromGgufError};
use crate::hub::HubError;
use crate::llama::ToolchainError;
use crate::llama::perplexity::PerplexityError;
use crate::llama::python::PythonError;
use crate::llama::tool::ToolError;
use crate::publish::{FolderError, ReadError};
use crate::quantize::split::SplitError;
use crate::quantize::{ImatrixError, LayoutError, OptionError, UnknownMethod};

fn not_published(outputs: &[Rejected]) -> String {
    let each =
        outputs.iter().map(|Rejected { method, why, .. }| format!("`{method}` is not published: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Why a job failed. The other jobs go on.
#[derive(Debug, Error)]
pub enum JobError {
    /// The Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The conversion.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A method's name.
    #[error(transparent)]
    Method(#[from] UnknownMethod),
    /// An option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A method that does not fit the model.
    #[error("method `{method}`")]
    Layout {
        /// The method.
        method: &'static str,
        /// What is in the way.
        source: LayoutError,
    },
    /// The importance matrix.
    #[error(transparent)]
    Imatrix(#[from] ImatrixError),
    /// Getting or computing the importance matrix.
    #[error(transparent)]
    Importance(#[from] ImportanceError),
    /// There is no llama.cpp.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A program of llama.cpp gave no result.
    #[error(transparent)]
    Tool(ToolError),
    /// There is no Python for llama.cpp's converter.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// What llama.cpp's converter made is no model.
    #[error(transparent)]
    Converted(#[from] FromGgufError),
    /// llama.cpp's own converter has to take the checkpoint before anything is known of its outputs.
    #[error("{}: llama.cpp's own converter is needed", .0.why)]
    Unconverted(Box<Foreign>),
    /// llama.cpp's own converter made another base than the one that the outputs were laid out for.
    #[error("`{name}`: llama.cpp's own converter made another base than before")]
    OtherBase {
        /// The model.
        name: String,
    },
    /// llama.cpp does not load an output, or it says nothing.
    #[error("`{}` does not work with llama.cpp ({method})", path.display())]
    Check {
        /// The method.
        method: &'static str,
        /// The output's file.
        path: PathBuf,
        /// How it fails.
        source: Box<ToolError>,
    },
    /// The base could not be measured.
    #[error("the unquantized model could not be measured")]
    Measure {
        /// Why.
        source: PerplexityError,
    },
    /// Outputs are not what `evaluate.require` asks for, or could not be measured.
    #[error("{}", not_published(outputs))]
    Rejected {
        /// The outputs.
        outputs: Vec<Rejected>,
    },
    /// A limit that the method's file cannot be split to.
    #[error("method `{method}`")]
    Split {
        /// The method.
        method: &'static str,
        /// What is in the way.
        source: SplitError,
    },
    /// The outputs.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The repository to publish to has no possible name.
    #[error("the repository of this model has no possible name")]
    Repo(#[from] RepoIdError),
    /// What the repository has.
    #[error(transparent)]
    There(#[from] ReadError),
    /// Files to publish.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file or folder.
    #[error("cannot read or write `{path}`")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The outputs are to go straight into an upload, and cannot.
    #[error("the outputs cannot be streamed: {why}")]
    Unstreamable {
        /// What is in the way.
        why: &'static str,
    },
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
    /// The repository has another commit's files now than when the job was planned.
    #[error("`{repo}` changed while the job was running")]
    Changed {
        /// The repository.
        repo: String,
    },
}
