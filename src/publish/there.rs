//! What a repository has of a model.

use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::base::repo_id::RepoId;
use crate::card::metadata::{self, MetadataError, QuantizationMetadata};
use crate::event::Observer;
use crate::hub::{self, HubError, HubOptions, RemoteFile, RepoState};

/// A repository's files at its head, and what its metadata says of them.
#[derive(Clone, Debug)]
pub struct There {
    /// Head and files.
    pub state: RepoState,
    /// Its `quantization_metadata.json`, where there is one that can be read.
    pub metadata: Option<QuantizationMetadata>,
    /// Why there is none that can be read.
    pub unreadable: Option<String>,
}

/// Longest metadata that is read.
const LONGEST: u64 = 64 << 20;

/// Longest file that git itself stores for the Hub; all longer ones have a SHA-256.
const LONGEST_REGULAR: u64 = 16 << 20;

/// Reads what a repository has; `None` where there is no such repository.
///
/// # Errors
/// The Hub's, and metadata of a version that this program does not know, which it must not replace.
pub fn read(
    repo: &RepoId,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<There>, ReadError> {
    let Some(mut state) = hub::state(repo, options, observer, cancel)? else { return Ok(None) };
    let text = match state.files.iter().any(|f| f.path == metadata::FILE_NAME) {
        true => hub::read_file(repo, &state.head, metadata::FILE_NAME, LONGEST, options, observer, cancel)?,
        false => None,
    };
    let (metadata, unreadable) = match text.map(|text| QuantizationMetadata::from_json(&text)) {
        None => (None, None),
        Some(Ok(metadata)) => (Some(metadata), None),
        Some(Err(source @ MetadataError::Version(_))) => {
            return Err(ReadError::Metadata { repo: repo.clone(), source });
        }
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    // Small files are git's own, which names them by another hash than ours.
    let ours = metadata.iter().flat_map(|m| &m.outputs);
    let ours = ours.flat_map(|o| o.files().into_iter().chain(o.computed_imatrix()));
    for file in ours {
        let same = |f: &&mut RemoteFile| f.path == file.file && f.size == file.size && f.sha256.is_none();
        if let Some(found) = state.files.iter_mut().find(same)
            && let Some(bytes) =
                hub::read_file(repo, &state.head, &file.file, LONGEST_REGULAR, options, observer, cancel)?
        {
            found.sha256 = Some(hash::sha256(&bytes));
        }
    }
    Ok(Some(There { state, metadata, unreadable }))
}

/// Why a repository's state is not known.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Its metadata is of a later version.
    #[error("`{repo}`")]
    Metadata {
        /// The repository.
        repo: RepoId,
        /// What is wrong with it.
        source: MetadataError,
    },
}
