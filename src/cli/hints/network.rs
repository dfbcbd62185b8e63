//! What the Hub and GitHub refuse, and what to do next.

use std::io;

use super::GIVE_TOKEN;
use crate::cli::failure::{Explain, Kind};
use crate::github::{GithubError, ResultsError};
use crate::hub::HubError;
use crate::publish::ReadError;

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

impl Explain for ResultsError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some("name files that `run --result` wrote, or folders that have such".to_owned())
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
