//! Every error of the library: which exit code it means, and what to do next.

mod llama;
mod network;
mod quantize;
mod source;

use std::io;

use self::llama::of_tool;
use super::failure::{Explain, Kind};
use crate::config::Problems;
use crate::llama::python::PythonError;
use crate::plan::NoSuchModel;
use crate::plan::matrix::NoSuchJob;
use crate::publish::FolderError;
use crate::run::{JobError, Rejection};

/// What to do where GitHub is asked for something without a token.
pub(super) const GIVE_TOKEN: &str = "give GITHUB_TOKEN: `env: { GITHUB_TOKEN: ${{ github.token }} }`";

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
