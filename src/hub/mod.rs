//! The Hugging Face Hub: checkpoints as local folders, what can be known of them without their weights, and publishing.
//!
//! In: a repository, a revision, an endpoint, perhaps a token. Out: [`snapshot`] gives a folder that
//! [`Checkpoint::open`](crate::checkpoint::Checkpoint::open) reads, [`describe`] its listing, its small files and
//! the headers of its shards. A revision is pinned to its commit before anything is read. Every file is compared
//! with what the Hub states (size and SHA-256; git's blob name for small files) before it gets its final
//! name, so whatever stands in a snapshot's folder is whole.
//!
//! The other way: [`check_rights`] finds out before any work whether a repository can be published to, [`Uploader`] brings
//! large files into the Hub's store, and [`publish`] makes one commit of them and of small ones, or none, and compares
//! what the Hub then shows; a [`Receipt`] says what that was.
//!
//! Refuses: pickle and repositories without safetensors, file names that leave the folder, more bytes than the
//! listing said, and to send the token to any origin but the endpoint's. Reads no environment: callers pass
//! [`HubOptions`]; only proxies are the system's, as the HTTP library finds them. The functions block; they start a
//! runtime of their own and must not be called inside one.
//!
//! The cache, below [`HubOptions::cache`]; the last folder has the model's name because the converter reads it:
//!
//! ```text
//! hub/{owner}--{name}/.lock               one process at a time
//!                     refs/{revision}     the commit that it last meant
//!                     {commit}/listing.json
//!                     {commit}/.headers/  headers of shards
//!                     {commit}/.partial/  unfinished files, and which of their bytes are there
//!                     {commit}/{name}/    whole files
//! ```

mod account;
mod address;
mod api;
mod client;
mod commit;
mod describe;
mod download;
mod error;
mod file;
mod located;
mod oidc;
mod part;
mod preupload;
mod publication;
mod publish;
mod ranges;
mod receipt;
mod remote;
mod retry;
mod rights;
mod select;
mod snapshot;
mod status;
mod store;
mod tag;
mod upload;
mod verify;
mod web;
mod wire;

use std::path::PathBuf;

pub use self::account::{Account, Organisation, Role};
pub use self::describe::{Description, RemoteShard, describe};
pub use self::error::{Access, HubError};
pub use self::file::{TakenFile, file};
pub use self::oidc::{TokenSource, Workflow};
pub use self::preupload::check_card;
pub use self::publication::{Content, Publication, PublishFile};
pub use self::publish::publish;
pub use self::ranges::{Ended, Plan, Ranges, read_ahead};
pub use self::receipt::{FileState, PullRequest, RECEIPT_FORMAT, Receipt, ReceiptFile, ReceiptTag};
pub use self::remote::{RepoState, create, read_file, state};
pub use self::retry::Retry;
pub use self::rights::{Destination, Rights, check_rights};
pub use self::select::RemoteFile;
pub use self::snapshot::{Snapshot, remove_weights, snapshot};
pub use self::upload::{Transport, UploadStream, Uploaded, Uploader};
pub use self::web::download;
pub use crate::base::repo_id::RepoId;
use crate::base::token::Token;

/// The public Hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How the Hub is reached, and where its files are kept.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// `https://host`, perhaps with a path.
    pub endpoint: String,
    /// Sent to the endpoint's origin only.
    pub token: Option<Token>,
    /// The folder that holds the cache.
    pub cache: PathBuf,
    /// Use what the cache has; make no connection.
    pub offline: bool,
    /// Requests at a time, over all files.
    pub connections: usize,
    /// Bytes that one request brings of a large file.
    pub span: u64,
    /// How patient requests are.
    pub retry: Retry,
}

impl HubOptions {
    /// The usual options: eight requests at a time, of 32 MiB each.
    pub fn new(endpoint: impl Into<String>, cache: impl Into<PathBuf>) -> Self {
        HubOptions {
            endpoint: endpoint.into(),
            token: None,
            cache: cache.into(),
            offline: false,
            connections: 8,
            span: 32 << 20,
            retry: Retry::default(),
        }
    }
}
