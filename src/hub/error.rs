//! What can go wrong between here and the Hub.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;
use xet::XetError;

use crate::base::repo_id::RepoId;
use crate::gguf::ReadError;
use crate::safetensors::{HeaderError, IndexError};

/// What was being done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its files were to be read.
    Read,
    /// It was to be changed.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "reading",
            Access::Write => "writing to",
        })
    }
}

/// Why a repository could not be read or written. Addresses are shown without their query, which may carry a signature.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum HubError {
    #[error("the endpoint `{endpoint}` {why}")]
    Endpoint { endpoint: String, why: &'static str },
    #[error("cannot set up connections")]
    Connections(#[source] reqwest::Error),
    #[error("cannot start the runtime for connections")]
    Runtime(#[source] io::Error),

    #[error("there is no repository `{repo}`, or it is private")]
    RepoNotFound { repo: RepoId, signed_in: bool },
    #[error("`{repo}` has no revision `{revision}`")]
    RevisionNotFound { repo: RepoId, revision: String },
    #[error("`{repo}` has no file `{path}`")]
    EntryNotFound { repo: RepoId, path: String },
    #[error("`{repo}` has {}", several(files))]
    NotOneImatrix { repo: RepoId, files: Vec<String> },
    #[error("`{repo}` is gated")]
    Gated { repo: RepoId, page: String, signed_in: bool },
    #[error("the token was refused while {access} `{repo}`")]
    TokenRefused { repo: RepoId, signed_in: bool, access: Access },
    #[error("{access} `{repo}` is forbidden{}", said(message, &None))]
    Forbidden { repo: RepoId, message: String, access: Access },

    #[error("`{url}` answered {status}{}", said(message, request))]
    Status { url: String, status: u16, message: String, request: Option<String> },
    #[error("`{url}`: a rate limit of the Hub{}", holds(*seconds))]
    RateLimited { url: String, seconds: Option<u64> },
    #[error("`{url}` cannot be reached or dropped the connection")]
    Connection { url: String, source: reqwest::Error },
    #[error("`{url}` sent nothing for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    #[error("`{url}`: {why}")]
    Protocol { url: String, why: &'static str },
    #[error("`{url}` answered something that is not what the Hub answers")]
    Answer { url: String, source: serde_json::Error },

    #[error("`{repo}` has a file name that could be written elsewhere: {path:?}")]
    HostilePath { repo: RepoId, path: String },
    #[error("`{repo}` has two files that are one where case does not count: `{path}`")]
    SamePath { repo: RepoId, path: String },
    #[error("`{repo}`: `{path}` has {size} bytes, more than any file of its kind")]
    TooLong { repo: RepoId, path: String, size: u64 },
    #[error("`{repo}` has pickle weights only (`{file}`)")]
    PickleOnly { repo: RepoId, file: String },
    #[error("`{repo}` has GGUF files only (`{file}`)")]
    GgufOnly { repo: RepoId, file: String },
    #[error("`{repo}` has no safetensors weights")]
    NoWeights { repo: RepoId },
    #[error("`{repo}`: the index names the shard `{shard}`, which is not there")]
    MissingShard { repo: RepoId, shard: String },
    #[error("`{repo}`: `{path}`")]
    Index { repo: RepoId, path: String, source: IndexError },
    #[error("`{repo}`: shard `{path}`")]
    Header { repo: RepoId, path: String, source: HeaderError },

    #[error("`{repo}`: `{path}` came with {what} {found} where the Hub states {expected}, twice")]
    Mismatch { repo: RepoId, path: String, what: &'static str, expected: String, found: String },
    #[error("`{repo}`: `{path}` kept changing while it was read")]
    Changing { repo: RepoId, path: String },
    #[error("`{repo}`: the server of `{path}` sends whole files only")]
    NoRanges { repo: RepoId, path: String },
    #[error("`{folder}` has {free} bytes free; the files of `{repo}` that are still missing need {needed}")]
    NoSpace { repo: RepoId, folder: PathBuf, needed: u64, free: u64 },
    #[error("publishing to `{repo}` needs a token")]
    NoToken { repo: RepoId },
    #[error("the token of `{account}` may only read; publishing to `{repo}` needs one that may write")]
    ReadOnly { repo: RepoId, account: String },
    #[error("there is no repository `{repo}`, and `{account}` may not create one for `{}`", repo.owner())]
    NotOurs { repo: RepoId, account: String, organisations: Vec<String> },
    #[error("GitHub gave this workflow no identity to publish `{repo}` with")]
    NoIdentity { repo: RepoId, source: Box<HubError> },
    #[error("the Hub takes this workflow for no trusted publisher of `{repo}`")]
    NotTrusted { repo: RepoId, source: Box<HubError> },
    #[error("`{repo}` is public, and is to be published privately")]
    Public { repo: RepoId },
    #[error("the Hub refuses the card `{path}` of `{repo}`: {}", problems.join("; "))]
    CardRefused { repo: RepoId, path: String, problems: Vec<String> },
    #[error("the `.gitignore` of `{repo}` leaves `{path}` out")]
    Ignored { repo: RepoId, path: String },
    #[error("`{path}` is to be published to `{repo}` twice")]
    Twice { repo: RepoId, path: String },
    #[error("`{path}` is not what it was when its publishing was ordered")]
    Altered { path: PathBuf },
    #[error("somebody else changed `{path}` in `{repo}` meanwhile, in or before commit `{head}`")]
    Conflict { repo: RepoId, path: String, head: String },
    #[error("`{repo}` got another commit {times} times while it was being committed to")]
    Restless { repo: RepoId, times: u32 },
    #[error("it is not known whether `{repo}` got the commit")]
    Doubtful { repo: RepoId, source: Box<HubError> },
    #[error("commit `{commit}` is in `{repo}`, but `{path}` is not what it should be there: {difference}")]
    Unlike { repo: RepoId, commit: String, path: String, difference: String },
    #[error("commit `{commit}` is in `{repo}`, but `{path}` cannot be read there as GGUF")]
    Unreadable { repo: RepoId, commit: String, path: String, source: ReadError },
    #[error("commit `{commit}` is in `{repo}`, but it could not be checked")]
    Unchecked { repo: RepoId, commit: String, source: Box<HubError> },

    #[error("`{repo}` has no Xet store, so that `{path}` cannot be sent while it is made")]
    NoXet { repo: RepoId, path: String },
    #[error("neither `{folder}` nor the folder for temporary files can be written")]
    NoScratch { folder: PathBuf, source: io::Error },
    #[error("the upload{} to `{repo}` failed", of(path))]
    Xet { repo: RepoId, path: String, source: Box<XetError> },
    #[error("the upload to `{repo}` had failed before: {why}")]
    UploadBroken { repo: RepoId, why: String },
    #[error("the upload{} to `{repo}` stood still for {seconds} s", of(path))]
    UploadStalled { repo: RepoId, path: String, seconds: u64 },
    #[error("`{path}` for `{repo}` came with {what} {found} where {expected} was announced")]
    SentOther { repo: RepoId, path: String, what: &'static str, expected: String, found: String },
    #[error("the store of `{repo}` refuses `{path}`: {message} ({code})")]
    LfsRefused { repo: RepoId, path: String, code: u16, message: String },

    #[error("cannot read or write `{path}`")]
    Io { path: PathBuf, source: io::Error },
    #[error("offline: `{repo}` at `{revision}` is not in the cache `{cache}`{}", missing(file))]
    Offline { repo: RepoId, revision: String, cache: PathBuf, file: Option<String> },
    #[error("offline: `{repo}` on the Hub cannot be asked")]
    NotOffline { repo: RepoId },
    #[error("stopped while publishing `{repo}`; it has its old commit")]
    Unpublished { repo: RepoId },
    #[error("stopped while reading `{repo}`; what came so far is kept")]
    Cancelled { repo: RepoId },
    #[error("stopped while reading `{url}`")]
    Stopped { url: String },
    #[error("offline: `{url}` is not in the cache")]
    NotHere { url: String },
}

impl HubError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<String> {
        const WRITER: &str = "a token with the role `write` is needed, or a fine-grained one with write access to this repository";
        const SIGN_IN: &str = "set HF_TOKEN to a token that may read it";
        Some(match self {
            HubError::RepoNotFound { signed_in: true, .. } => {
                "check the name; if it is private, the token needs read access to it".to_owned()
            }
            HubError::RepoNotFound { .. } => format!("check the name; if it is private, {SIGN_IN}"),
            HubError::RevisionNotFound { .. } => "a revision is a branch, a tag or a full commit hash".to_owned(),
            HubError::Gated { page, signed_in: true, .. } => {
                format!("accept its terms at {page} with the account that the token belongs to")
            }
            HubError::Gated { page, .. } => format!("accept its terms at {page} and {SIGN_IN}"),
            HubError::TokenRefused { signed_in: true, .. } => {
                "the token in HF_TOKEN is wrong or expired; make one at https://huggingface.co/settings/tokens"
                    .to_owned()
            }
            HubError::TokenRefused { .. } => SIGN_IN.to_owned(),
            HubError::Forbidden { access: Access::Write, .. } => WRITER.to_owned(),
            HubError::NoToken { .. } => {
                "set HF_TOKEN to a token with write access, or sign in with `hf auth login`".to_owned()
            }
            HubError::ReadOnly { .. } => WRITER.to_owned(),
            HubError::NotOurs { organisations, .. } if organisations.is_empty() => {
                "`publish.owner` is to be the user that the token belongs to".to_owned()
            }
            HubError::NotOurs { organisations, .. } => format!(
                "`publish.owner` is to be the user that the token belongs to, or one of {}",
                organisations.iter().map(|o| format!("`{o}`")).collect::<Vec<_>>().join(", ")
            ),
            HubError::NoIdentity { .. } => {
                "the job needs `permissions: { id-token: write }`; or set HF_TOKEN".to_owned()
            }
            HubError::NotTrusted { .. } => {
                "the repository must exist and name this workflow as a trusted publisher in its settings; for its first files, set HF_TOKEN"
                    .to_owned()
            }
            HubError::Public { .. } => {
                "make it private in its settings on the Hub, or drop `private: true`".to_owned()
            }
            HubError::CardRefused { .. } => {
                "correct `metadata` or `card` of the model in models.yaml; nothing was published".to_owned()
            }
            HubError::Ignored { .. } => "remove the line from the repository's .gitignore".to_owned(),
            HubError::Altered { .. } | HubError::Restless { .. } => "run again".to_owned(),
            HubError::Conflict { .. } => "run again: it starts from what is there now".to_owned(),
            HubError::Doubtful { .. } => {
                "run again: what is there is found, and nothing is committed twice".to_owned()
            }
            HubError::Unlike { .. } | HubError::Unreadable { .. } => {
                "run again with --force; the commit before it is in the repository's history".to_owned()
            }
            HubError::Unchecked { .. } => "run again: it checks what is there".to_owned(),
            HubError::NotOffline { .. } => "run without HF_HUB_OFFLINE".to_owned(),
            HubError::Forbidden { .. } => "a fine-grained token needs read access to this repository".to_owned(),
            HubError::RateLimited { .. } => "wait a few minutes; requests with a token have higher limits".to_owned(),
            HubError::PickleOnly { repo, .. } => format!(
                "https://huggingface.co/spaces/safetensors/convert makes a revision with safetensors; then use `{repo}@refs/pr/N`"
            ),
            HubError::GgufOnly { .. } => {
                "use the repository that these were made from: `base_model` in its card names it".to_owned()
            }
            HubError::NoXet { .. } => "leave `--stream` and `--no-xet` out: files can be sent without Xet".to_owned(),
            HubError::NoScratch { .. } => {
                "set `HF_HOME` or `TMPDIR` to a folder that this user may write to".to_owned()
            }
            HubError::Xet { .. } | HubError::UploadBroken { .. } | HubError::UploadStalled { .. } => {
                "run again: what the Hub has by now is not sent twice; nothing was published".to_owned()
            }
            HubError::SentOther { .. } => "something changed the file meanwhile; run again with --force".to_owned(),
            HubError::NoRanges { .. } => "weights cannot be streamed from it; run with --stream=false, which downloads them first".to_owned(),
            HubError::NoSpace { .. } => "free some space, or put the cache on another disk".to_owned(),
            HubError::NotOneImatrix { .. } => "name it with `file`".to_owned(),
            HubError::Offline { .. } | HubError::NotHere { .. } => "run once without HF_HUB_OFFLINE to fetch it".to_owned(),
            HubError::Connection { .. } | HubError::Stalled { .. } => {
                "run again: what came so far is kept; behind a proxy, HTTPS_PROXY names it".to_owned()
            }
            HubError::Mismatch { .. } => "a proxy or cache on the way may change files; try another network".to_owned(),
            _ => return None,
        })
    }

    /// Whether sending all of it again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            HubError::Xet { source, .. } => matches!(
                **source,
                XetError::Network(_)
                    | XetError::Timeout(_)
                    | XetError::ServerError(_)
                    | XetError::RateLimited(_)
                    | XetError::NotFound(_)
                    | XetError::TaskError(_)
                    | XetError::Internal(_)
            ),
            HubError::UploadBroken { .. }
            | HubError::UploadStalled { .. }
            | HubError::Connection { .. }
            | HubError::Stalled { .. }
            | HubError::Status { .. } => true,
            // What is read may be of one version again.
            HubError::Changing { .. } | HubError::Mismatch { .. } => true,
            _ => false,
        }
    }

    /// Whether credentials are missing or were refused.
    pub fn is_about_credentials(&self) -> bool {
        if let HubError::Xet { source, .. } = self {
            return matches!(**source, XetError::Authentication(_));
        }
        if let HubError::Doubtful { source, .. } | HubError::Unchecked { source, .. } = self {
            return source.is_about_credentials();
        }
        matches!(
            self,
            HubError::Gated { .. }
                | HubError::TokenRefused { .. }
                | HubError::Forbidden { .. }
                | HubError::NoToken { .. }
                | HubError::ReadOnly { .. }
                | HubError::NotOurs { .. }
                | HubError::NoIdentity { .. }
                | HubError::NotTrusted { .. }
        )
    }
}

fn of(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" of `{path}`") }
}

fn said(message: &str, request: &Option<String>) -> String {
    let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
    let request = request.as_ref().map(|id| format!(", request `{id}`")).unwrap_or_default();
    message + &request
}

fn holds(seconds: Option<u64>) -> String {
    seconds.map(|s| format!(", for another {s} s")).unwrap_or_default()
}

fn several(files: &[String]) -> String {
    match files {
        [] => "no importance matrix".to_owned(),
        _ => {
            let names: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
            format!("several importance matrices: {}", names.join(", "))
        }
    }
}

fn missing(file: &Option<String>) -> String {
    file.as_ref().map(|f| format!(": `{f}` is missing")).unwrap_or_default()
}
