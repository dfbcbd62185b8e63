//! Every error of the library: which exit code it means, and what to do next.

use std::io;

use super::failure::{Explain, Kind};
use crate::base::process::ProcessError;
use crate::checkpoint::CheckpointError;
use crate::config::Problems;
use crate::convert::tokenizer::TokenizerError;
use crate::convert::{ConvertError, FromGgufError};
use crate::github::{GithubError, ResultsError};
use crate::hub::HubError;
use crate::llama::perplexity::PerplexityError;
use crate::llama::python::PythonError;
use crate::llama::tool::ToolError;
use crate::llama::{ReleaseError, ToolchainError};
use crate::plan::NoSuchModel;
use crate::plan::matrix::NoSuchJob;
use crate::publish::{FolderError, ReadError};
use crate::quantize::pass::PassError;
use crate::quantize::split::SplitError;
use crate::quantize::{ImatrixError, LayoutError, Method, OptionError, UnknownMethod};
use crate::run::files::WriteError;
use crate::run::importance::ImportanceError;
use crate::run::{JobError, Rejection};

/// What to do where GitHub is asked for something without a token.
pub(super) const GIVE_TOKEN: &str = "give GITHUB_TOKEN: `env: { GITHUB_TOKEN: ${{ github.token }} }`";

const NEEDS_IMATRIX: &str = "give it an importance matrix, or choose a method of three bits or more";

impl Explain for Problems {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

impl Explain for NoSuchModel {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

impl Explain for NoSuchJob {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("`plan --matrix` of the same models.yaml lists the jobs as `id`".to_owned())
    }
}

impl Explain for ResultsError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("name files that `run --result` wrote, or folders that have such".to_owned())
    }
}

impl Explain for GithubError {
    fn kind(&self) -> Kind {
        match self {
            GithubError::Stopped => Kind::Interrupted,
            GithubError::Setting { .. } | GithubError::NoSubject { .. } => Kind::Usage,
            e if e.is_about_credentials() => Kind::Credentials,
            _ => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            GithubError::NoToken { .. } => GIVE_TOKEN,
            GithubError::Refused { .. } | GithubError::NotFound { .. } => {
                "the job needs `permissions:` to write: `pull-requests` for a comment, `issues` for an issue, `contents` for a release; pull requests from forks have none"
            }
            GithubError::Setting { .. } => "a job of GitHub Actions has it; elsewhere, set it",
            GithubError::RateLimited { .. } => "run it again later",
            GithubError::NoSubject { wanted: "release" } => "name it with `--release=TAG`",
            GithubError::NoSubject { .. } => "run it `on: pull_request`",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Explain for HubError {
    fn kind(&self) -> Kind {
        match self {
            HubError::Cancelled { .. } | HubError::Stopped { .. } | HubError::Unpublished { .. } => {
                Kind::Interrupted
            }
            HubError::Doubtful { source, .. } | HubError::Unchecked { source, .. } => source.kind(),
            e if e.is_about_credentials() => Kind::Credentials,
            HubError::RepoNotFound { .. }
            | HubError::RevisionNotFound { .. }
            | HubError::EntryNotFound { .. }
            | HubError::NotOneImatrix { .. }
            | HubError::NotHere { .. }
            | HubError::HostilePath { .. }
            | HubError::SamePath { .. }
            | HubError::TooLong { .. }
            | HubError::PickleOnly { .. }
            | HubError::GgufOnly { .. }
            | HubError::NoWeights { .. }
            | HubError::MissingShard { .. }
            | HubError::Index { .. }
            | HubError::Header { .. }
            | HubError::Offline { .. }
            | HubError::NotOffline { .. }
            | HubError::NoXet { .. }
            | HubError::NoScratch { .. }
            | HubError::Public { .. }
            | HubError::CardRefused { .. }
            | HubError::Ignored { .. }
            | HubError::Twice { .. }
            | HubError::Altered { .. }
            | HubError::Endpoint { .. } => Kind::Input,
            _ => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match self {
            HubError::Io { source, .. }
                if matches!(source.kind(), NotADirectory | PermissionDenied | ReadOnlyFilesystem) =>
            {
                Some("JAMPH_CACHE names another folder for what is downloaded".to_owned())
            }
            error => HubError::hint(error),
        }
    }
}

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
fn of_tool(error: &ToolError) -> Kind {
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
            _ => return None,
        })
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

impl Explain for JobError {
    fn kind(&self) -> Kind {
        match self {
            JobError::Measure { source } => source.kind(),
            JobError::Rejected { outputs } => {
                let quality = outputs.iter().any(|o| matches!(o.why, Rejection::Quality(_)));
                if quality { Kind::Quality } else { Kind::Internal }
            }
            JobError::Hub(error) => error.kind(),
            JobError::Checkpoint(error) => error.kind(),
            JobError::Convert(error) => error.kind(),
            JobError::Layout { source, .. } => source.kind(),
            JobError::Imatrix(error) => error.kind(),
            JobError::Split { source, .. } => source.kind(),
            JobError::Write(error) => error.kind(),
            JobError::There(error) => error.kind(),
            JobError::Folder(error) => error.kind(),
            JobError::Stopped => Kind::Interrupted,
            JobError::Io { source, .. } => of_system(source),
            JobError::Importance(error) => error.kind(),
            JobError::Toolchain(error) => error.kind(),
            JobError::Tool(error) => of_tool(error),
            JobError::Python(PythonError::Cancelled) => Kind::Interrupted,
            JobError::Python(_) | JobError::Unconverted(_) => Kind::Toolchain,
            JobError::Check { .. }
            | JobError::Converted(_)
            | JobError::OtherBase { .. }
            | JobError::Method(_)
            | JobError::Option(_)
            | JobError::Repo(_)
            | JobError::Unstreamable { .. }
            | JobError::Changed { .. } => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            JobError::Measure { source } => Explain::hint(source),
            JobError::Rejected { outputs } if outputs.iter().any(|o| matches!(o.why, Rejection::Quality(_))) => {
                Some("an importance matrix may help; or leave the method out, or require less".to_owned())
            }
            JobError::Rejected { .. } => Some("run again; what was made and measured stays".to_owned()),
            JobError::Hub(error) => Explain::hint(error),
            JobError::Checkpoint(error) => error.hint(),
            JobError::Convert(error) => error.hint(),
            JobError::Method(error) => error.hint(),
            JobError::Option(error) => error.hint(),
            JobError::Layout { source, .. } => source.hint(),
            JobError::Imatrix(error) => error.hint(),
            JobError::Split { source, .. } => source.hint(),
            JobError::Write(error) => error.hint(),
            JobError::Repo(_) => Some("say it with `publish: { repo: owner/name }`".to_owned()),
            JobError::Unstreamable { .. } => {
                Some("run with --stream=false, or see `publish` in models.yaml".to_owned())
            }
            JobError::There(error) => error.hint(),
            JobError::Folder(error) => error.hint(),
            JobError::Changed { .. } | JobError::OtherBase { .. } => Some("run again".to_owned()),
            JobError::Importance(error) => error.hint(),
            JobError::Toolchain(error) => Explain::hint(error),
            JobError::Tool(error) => error.hint(),
            JobError::Python(error) => error.hint(),
            JobError::Converted(error) => error.hint(),
            JobError::Unconverted(foreign) => Some(format!("`run` has it {}", foreign.describe())),
            JobError::Check { source, .. } => source.hint().or_else(|| {
                Some("nothing was published; the file is there to be looked at, and the next run makes it anew".to_owned())
            }),
            JobError::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                of_disk(source)
            }
            JobError::Io { .. } => None,
            JobError::Stopped => None,
        }
    }
}

impl Explain for ReadError {
    fn kind(&self) -> Kind {
        match self {
            ReadError::Hub(error) => error.kind(),
            ReadError::Metadata { .. } => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ReadError::Hub(error) => Explain::hint(error),
            ReadError::Metadata { .. } => {
                Some("a newer version of this program published there: use that".to_owned())
            }
        }
    }
}

impl Explain for FolderError {
    fn kind(&self) -> Kind {
        match self {
            FolderError::Io { source, .. } => of_system(source),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            FolderError::Empty { .. } => {
                "name a folder that `run` or `process` left, with its quantization_metadata.json".to_owned()
            }
            FolderError::Several { .. } => {
                "a repository holds one model: upload its folders one by one".to_owned()
            }
            FolderError::Damaged { .. } => "make it again with `run` or `process`".to_owned(),
            FolderError::Io { .. } | FolderError::Metadata { .. } => return None,
        })
    }
}

/// A file that is missing is the user's; all else is the machine's.
fn of_system(error: &io::Error) -> Kind {
    if error.kind() == io::ErrorKind::NotFound { Kind::Input } else { Kind::Internal }
}

/// What to do about a disk that does not take an output.
fn of_disk(error: &io::Error) -> Option<String> {
    use io::ErrorKind::{
        FileTooLarge, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => Some("free some space".to_owned()),
        FileTooLarge => {
            Some("allow larger files (`ulimit -f`), or write somewhere else with --output".to_owned())
        }
        PermissionDenied | NotADirectory | ReadOnlyFilesystem => {
            Some("write somewhere else with --output".to_owned())
        }
        _ => None,
    }
}

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

impl Explain for FromGgufError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("only GGUF files of models can be quantized".to_owned())
    }
}

impl Explain for PassError {
    fn kind(&self) -> Kind {
        match self {
            PassError::NotFinite { .. } | PassError::Overflow { .. } | PassError::Importance { .. } => {
                Kind::Input
            }
            PassError::Read { source, .. } => source.kind(),
            PassError::Cancelled => Kind::Interrupted,
            PassError::Write { .. } | PassError::Order { .. } | PassError::Panicked => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PassError::NotFinite { .. } => {
                "the checkpoint is damaged or its training diverged; quantizing it would give garbage"
                    .to_owned()
            }
            PassError::Overflow { .. } => "use BF16 or F32 for this tensor".to_owned(),
            PassError::Importance { .. } => NEEDS_IMATRIX.to_owned(),
            PassError::Write { source, .. } => return of_disk(source),
            PassError::Panicked => "this is a bug; please report it with the lines above".to_owned(),
            _ => return None,
        })
    }
}

impl Explain for WriteError {
    fn kind(&self) -> Kind {
        match self {
            WriteError::Pass(error) => error.kind(),
            WriteError::Space { .. } | WriteError::Memory { .. } | WriteError::Io { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            WriteError::Pass(error) => error.hint(),
            WriteError::Space { .. } => {
                Some("free some space, choose another --output, or name fewer methods".to_owned())
            }
            WriteError::Memory { .. } => {
                Some("allow more with --memory, or compute with fewer --threads".to_owned())
            }
            WriteError::Io { source, .. } => of_disk(source),
        }
    }
}

impl Explain for ImatrixError {
    fn kind(&self) -> Kind {
        match self {
            ImatrixError::Io { source, .. } => of_system(source),
            ImatrixError::Gguf(error) => error.kind(),
            _ => Kind::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ImatrixError::Gguf(error) => return error.hint(),
            ImatrixError::Io { .. } => return None,
            ImatrixError::Malformed { .. } => {
                "llama.cpp's llama-imatrix makes importance matrices".to_owned()
            }
            ImatrixError::NotFinite { .. } => {
                "compute the matrix again; with a smaller context or in another type if it stays".to_owned()
            }
            ImatrixError::Size { .. } => "use the matrix that was computed for this very model".to_owned(),
            ImatrixError::Missing { .. } => {
                "compute the matrix on more text, or choose a method of three bits or more".to_owned()
            }
        })
    }
}

impl Explain for UnknownMethod {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        // A near miss has its suggestion in the text.
        let names = || Method::ALL.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        self.suggestion.is_none().then(|| format!("the methods are {}", names()))
    }
}

impl Explain for OptionError {
    fn kind(&self) -> Kind {
        Kind::Usage
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

impl Explain for SplitError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SplitError::FirstTensor { .. } | SplitError::TooMany(_) => "allow larger files".to_owned(),
            SplitError::Empty(_) => "leave --keep-split or --prune-layers out".to_owned(),
        })
    }
}

impl Explain for LayoutError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            LayoutError::Requantize { .. } => {
                "start from the checkpoint or a 16-bit file, or accept the loss with --allow-requantize"
                    .to_owned()
            }
            LayoutError::ImatrixRequired { .. } => NEEDS_IMATRIX.to_owned(),
            LayoutError::NotBuilt { .. } => "choose another method".to_owned(),
            LayoutError::Width { .. } | LayoutError::NoFallback { .. } => {
                "choose a type whose blocks fit the width".to_owned()
            }
            _ => return None,
        })
    }
}
