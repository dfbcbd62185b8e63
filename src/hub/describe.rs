//! What can be known of a checkpoint on the Hub without its weights: enough to plan exact sizes.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::HubOptions;
use super::client::{Client, Subject};
use super::download::is_there;
use super::error::HubError;
use super::remote;
use super::select::RemoteFile;
use super::snapshot::Session;
use super::store::{self, Store};
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::event::Observer;
use crate::safetensors::{HeaderError, ShardHeader, header_length};

/// Bytes of the first request for a shard's header; most headers are shorter.
const FIRST: u64 = 256 << 10;

/// A checkpoint on the Hub, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The repository.
    pub repo: RepoId,
    /// The commit that the revision was pinned to.
    pub commit: String,
    /// Whether its users must accept terms.
    pub gated: bool,
    /// Whether it is private.
    pub private: bool,
    /// Everything that [`snapshot`](super::snapshot) would bring.
    pub files: Vec<RemoteFile>,
    /// A folder, named after the model, that has all of these files but the weights (and those too that an earlier
    /// snapshot brought).
    pub folder: PathBuf,
    /// The shards in the order in which the reference reads them.
    pub shards: Vec<RemoteShard>,
}

/// A shard's header.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteShard {
    /// Its file.
    pub file: RemoteFile,
    /// Its tensors.
    pub header: ShardHeader,
}

impl Description {
    /// Bytes of weights that a snapshot would still have to fetch.
    pub fn missing_bytes(&self) -> u64 {
        self.files.iter().filter(|f| !is_there(&self.folder, f)).map(|f| f.size).sum()
    }
}

/// Reads listing, small files and shard headers of a repository at a revision (`main` if `None`).
///
/// The small files and headers stay in the cache, so that a second call costs one request, and none for a commit.
///
/// # Errors
/// As [`snapshot`](super::snapshot), and for headers that are not sound.
pub fn describe(
    repo: &RepoId,
    revision: Option<&str>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Description, HubError> {
    let session = Session::new(repo, revision, options, observer, cancel);
    let store = Store::new(&options.cache, repo);
    if options.offline {
        let (commit, listing) = session.cached(&store)?;
        let folder = store.folder(&commit);
        let (weights, small): (Vec<_>, Vec<_>) =
            listing.files.iter().cloned().partition(RemoteFile::is_weights);
        if let Some(file) = small.iter().find(|f| !is_there(&folder, f)) {
            return Err(session.not_cached(Some(file.path.clone())));
        }
        let mut shards = Vec::new();
        for file in weights {
            let bytes = stored_header(&store, &commit, &file)?
                .ok_or_else(|| session.not_cached(Some(file.path.clone())))?;
            shards.push(parse(repo, file, &bytes)?);
        }
        return Ok(finish(repo, commit, listing, folder, shards));
    }
    let _lock = store.lock(cancel)?;
    session.run(async |client| {
        let (commit, listing) = session.listing(&store, client).await?;
        let folder = store.folder(&commit);
        let (weights, small): (Vec<_>, Vec<_>) =
            listing.files.iter().cloned().partition(RemoteFile::is_weights);
        session.fetch(&store, client, &commit, &small).await?;
        let headers: Vec<_> =
            weights.into_iter().map(|file| shard(repo, &store, client, &commit, file)).collect();
        let shards = stream::iter(headers).buffered(options.connections.max(1)).try_collect().await?;
        Ok(finish(repo, commit, listing, folder, shards))
    })
}

fn finish(
    repo: &RepoId,
    commit: String,
    listing: store::Listing,
    folder: PathBuf,
    mut shards: Vec<RemoteShard>,
) -> Description {
    shards.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    let store::Listing { files, gated, private } = listing;
    Description { repo: repo.clone(), commit, gated, private, files, folder, shards }
}

/// One shard's header, from the cache or by ranged reads.
async fn shard(
    repo: &RepoId,
    store: &Store,
    client: &Client<'_>,
    commit: &str,
    file: RemoteFile,
) -> Result<RemoteShard, HubError> {
    let path = store.header(commit, &file.path);
    if let Some(bytes) = stored_header(store, commit, &file)? {
        let shard = parse(repo, file, &bytes)?;
        if !path.exists() {
            // The weights may be removed later; planning anew is to stay cheap.
            store::write(&path, &bytes)?;
        }
        return Ok(shard);
    }
    let subject = Subject { repo, revision: commit, path: Some(&file.path) };
    let url = client.url(&remote::address(repo, commit, &file.path));
    let mut bytes = match file.size {
        0..8 => return Err(header_error(repo, &file, HeaderError::TooShort)),
        size => client.range(subject, &url, 0..size.min(FIRST)).await?,
    };
    let end = header_end(&bytes, file.size).map_err(|e| header_error(repo, &file, e))?;
    let there = bytes.len() as u64;
    if end > there {
        bytes.extend(client.range(subject, &url, there..end).await?);
    }
    bytes.truncate(end as usize);
    let shard = parse(repo, file, &bytes)?;
    store::write(&path, &bytes)?;
    Ok(shard)
}

/// The first bytes of a shard that an earlier call brought.
fn stored_header(store: &Store, commit: &str, file: &RemoteFile) -> Result<Option<Vec<u8>>, HubError> {
    if let Some(bytes) = store::read(&store.header(commit, &file.path))? {
        return Ok(Some(bytes));
    }
    let folder = store.folder(commit);
    if !is_there(&folder, file) {
        return Ok(None);
    }
    let path = folder.join(&file.path);
    let read = || {
        let mut shard = File::open(&path)?;
        let mut first = [0; 8];
        shard.read_exact(&mut first)?;
        let mut bytes = first.to_vec();
        // What is wrong with the length, parsing says.
        shard.take(header_length(first).unwrap_or(0)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    read().map_err(|source| HubError::Io { path: path.clone(), source })
}

/// Where a header ends, given the first bytes of its file.
fn header_end(bytes: &[u8], size: u64) -> Result<u64, HeaderError> {
    let first = bytes.first_chunk::<8>().ok_or(HeaderError::TooShort)?;
    let end = header_length(*first)? + 8;
    if end > size { Err(HeaderError::TooShort) } else { Ok(end) }
}

fn parse(repo: &RepoId, file: RemoteFile, bytes: &[u8]) -> Result<RemoteShard, HubError> {
    let header = header_end(bytes, file.size)
        .and_then(|end| bytes.get(8..end as usize).ok_or(HeaderError::TooShort))
        .and_then(|json| ShardHeader::parse(json, file.size));
    match header {
        Ok(header) => Ok(RemoteShard { file, header }),
        Err(source) => Err(header_error(repo, &file, source)),
    }
}

fn header_error(repo: &RepoId, file: &RemoteFile, source: HeaderError) -> HubError {
    HubError::Header { repo: repo.clone(), path: file.path.clone(), source }
}
