//! A model folder: its small files whole, its weights lazily, by tensor and byte range.
//!
//! In: a local folder (a downloaded snapshot is one), or a GGUF file. Out: [`Checkpoint`], [`GgufModel`]. Weights are read
//! with positioned reads into the caller's buffer: no memory map, so that the resident size stays what the engine's slabs
//! make it. [`RemoteWeights`] are those of a repository whose weights are not here: of such a checkpoint the headers and
//! small files are.

mod adapter;
mod gguf;
mod local;
mod remote;
mod weights;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::base::repo_id::RepoId;

pub use self::adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
pub use self::gguf::{GgufFile, GgufModel};
pub use self::remote::RemoteWeights;
pub use self::weights::Weights;
pub use crate::safetensors::{Dtype, TensorEntry};

/// Where a tensor's bytes are: the shard's number and its entry in that shard's header.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceTensor {
    /// Number of the shard in [`Checkpoint::shards`].
    pub shard: usize,
    /// Name, type, shape and byte range.
    pub entry: TensorEntry,
}

/// Where a checkpoint came from, for provenance.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// `owner/name` on the Hub, where it came from there.
    pub repo: Option<String>,
    /// The commit that the revision was pinned to.
    pub commit: Option<String>,
}

/// An opened checkpoint: headers read and checked, no weight read.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder.
    pub folder: PathBuf,
    /// Its name, from which the reference derives `general.name` and others.
    pub name: String,
    /// Where it came from.
    pub origin: Origin,
    /// The shards' file names, in the order in which the reference reads them.
    pub shards: Vec<String>,
    /// Every tensor, in the order of the shards and of each shard's header.
    pub tensors: Vec<SourceTensor>,
    by_name: HashMap<String, usize>,
    files: Vec<std::fs::File>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CheckpointError {
    #[error("`{0}` is no folder")]
    NotAFolder(PathBuf),
    #[error("`{0}` has no safetensors weights")]
    NoWeights(PathBuf),
    #[error("`{0}` has no `adapter_model.safetensors`")]
    NoAdapterWeights(PathBuf),
    #[error("`{folder}` has pickle weights only (`{file}`)")]
    Pickle { folder: PathBuf, file: String },
    #[error("cannot read `{path}`")]
    Io { path: PathBuf, source: io::Error },
    #[error("shard `{path}`")]
    Shard { path: PathBuf, source: crate::safetensors::HeaderError },
    #[error("index `{path}`")]
    Index { path: PathBuf, source: crate::safetensors::IndexError },
    #[error("`{folder}`: the index names tensors that no shard has: {}", missing.join(", "))]
    Missing { folder: PathBuf, missing: Vec<String> },
    #[error("`{folder}`: shards have tensors that the index does not name: {}", extra.join(", "))]
    Extra { folder: PathBuf, extra: Vec<String> },
    #[error("`{folder}`: tensor `{name}` is in two shards")]
    Duplicate { folder: PathBuf, name: String },
    #[error("GGUF file `{path}`")]
    Gguf { path: PathBuf, source: crate::gguf::ReadError },
    #[error("GGUF file `{path}` is truncated: it has {found} bytes where its header describes {expected}")]
    Truncated { path: PathBuf, expected: u64, found: u64 },
    #[error("GGUF file `{path}`: {why}")]
    Split { path: PathBuf, why: &'static str },
    #[error("`{repo}`: `{path}` cannot be read")]
    Remote { repo: RepoId, path: String },
    #[error("`{path}` is {bytes} bytes, too long to be a configuration file")]
    TooLong { path: PathBuf, bytes: u64 },
}

impl Checkpoint {
    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&SourceTensor> {
        self.by_name.get(name).map(|i| &self.tensors[*i])
    }
}
