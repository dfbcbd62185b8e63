//! A checkpoint of the Hub as a local folder.

use std::fs;
use std::io;
use std::path::PathBuf;

use tokio::sync::Semaphore;

use super::HubOptions;
use super::api;
use super::client::Client;
use super::download::{Downloads, is_there, part_path};
use super::error::{Access, HubError};
use super::part;
use super::select::{self, INDEX, RemoteFile};
use super::store::{self, Listing, Store};
use crate::base::cancel::Cancel;
use crate::base::repo_id::{RepoId, is_commit};
use crate::base::space;
use crate::event::Observer;
use crate::safetensors::ShardIndex;

/// The revision that is meant where none is named.
const DEFAULT_REVISION: &str = "main";

/// Space that is left to others when the free disk is looked at.
const SPACE_MARGIN: u64 = 64 << 20;

/// A checkpoint as it is in the cache, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Its folder, named after the model.
    pub folder: PathBuf,
    /// The commit that the revision was pinned to.
    pub commit: String,
    /// Its files: weights, configuration, tokenizer, card, licence.
    pub files: Vec<RemoteFile>,
}

/// Brings the checkpoint of a repository at a revision (a branch, tag or commit; `main` if `None`) into the cache.
///
/// Blocks until every file is there and verified. An interruption at any moment (also of the process) keeps what
/// came; the next call goes on from there.
///
/// # Errors
/// [`HubError`] names the repository, the file or the address, and often a [hint](HubError::hint).
pub fn snapshot(
    repo: &RepoId,
    revision: Option<&str>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Snapshot, HubError> {
    let session = Session::new(repo, revision, options, observer, cancel);
    let store = Store::new(&options.cache, repo);
    if options.offline {
        let (commit, listing) = session.cached(&store)?;
        let folder = store.folder(&commit);
        if let Some(file) = listing.files.iter().find(|f| !is_there(&folder, f)) {
            return Err(session.not_cached(Some(file.path.clone())));
        }
        return Ok(Snapshot { folder, commit, files: listing.files });
    }
    let _lock = store.lock(cancel)?;
    session.run(async |client| {
        let (commit, listing) = session.listing(&store, client).await?;
        let folder = store.folder(&commit);
        session.check_space(&store, &commit, &listing.files)?;
        session.fetch(&store, client, &commit, &listing.files).await?;
        Ok(Snapshot { folder, commit, files: listing.files })
    })
}

/// Removes a snapshot's weights, and unfinished ones, from the cache. Small files and headers stay, so that planning
/// needs no download.
///
/// # Errors
/// [`HubError::Io`] where a file cannot be removed; [`HubError::Cancelled`] while another process uses it.
pub fn remove_weights(
    repo: &RepoId,
    commit: &str,
    options: &HubOptions,
    cancel: &Cancel,
) -> Result<(), HubError> {
    let store = Store::new(&options.cache, repo);
    let Some(listing) = store.listing(commit)? else { return Ok(()) };
    let _lock = store.lock(cancel)?;
    let (folder, partial) = (store.folder(commit), store.partial(commit));
    let gone = |path: PathBuf, done: io::Result<()>| match done {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HubError::Io { path, source }),
        _ => Ok(()),
    };
    for file in listing.files.iter().filter(|f| f.is_weights()) {
        let path = folder.join(&file.path);
        gone(path.clone(), fs::remove_file(path))?;
    }
    gone(partial.clone(), fs::remove_dir_all(partial))
}

/// One call: what it is about, and who listens.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    pub(super) options: &'a HubOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
    access: Access,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        repo: &'a RepoId,
        revision: Option<&'a str>,
        options: &'a HubOptions,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        Session { repo, revision, options, observer, cancel, access: Access::Read }
    }

    /// The call changes the repository, or prepares that.
    pub(super) fn writing(mut self) -> Self {
        self.access = Access::Write;
        self
    }

    /// The call can do nothing with the cache alone.
    pub(super) fn online(&self) -> Result<(), HubError> {
        match self.options.offline {
            true => Err(HubError::NotOffline { repo: self.repo.clone() }),
            false => Ok(()),
        }
    }

    /// The user stopped it.
    pub(super) fn cancelled(&self) -> HubError {
        match self.access {
            Access::Read => HubError::Cancelled { repo: self.repo.clone() },
            Access::Write => HubError::Unpublished { repo: self.repo.clone() },
        }
    }

    /// Runs requests to their end, or until the user stops them.
    pub(super) fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Client<'_>) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        self.run_to_end(async |client| {
            tokio::select! {
                done = work(client) => done,
                () = raised(self.cancel) => Err(self.cancelled()),
            }
        })
    }

    /// Runs requests to their end. They look at the flag themselves, where it is safe to stop.
    pub(super) fn run_to_end<T>(
        &self,
        work: impl AsyncFnOnce(&Client<'_>) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hub")
            .enable_all()
            .build()
            .map_err(HubError::Runtime)?;
        runtime.block_on(async {
            let client = Client::new(self.options, self.observer)?;
            work(&match self.access {
                Access::Read => client,
                Access::Write => client.for_writing(),
            })
            .await
        })
    }

    /// The commit and its listing, from the cache as far as it has them.
    pub(super) async fn listing(
        &self,
        store: &Store,
        client: &Client<'_>,
    ) -> Result<(String, Listing), HubError> {
        // What a full hash means never changes.
        if is_commit(self.revision)
            && let Some(listing) = store.listing(self.revision)?
        {
            return Ok((self.revision.to_owned(), listing));
        }
        let pinned = api::pin(client, self.repo, self.revision).await?;
        let listing = match store.listing(&pinned.commit)? {
            Some(listing) => Listing { gated: pinned.gated, private: pinned.private, ..listing },
            None => {
                let tree = api::tree(client, self.repo, &pinned.commit).await?;
                let files = self.choose(store, client, &pinned.commit, &tree).await?;
                let listing = Listing { files, gated: pinned.gated, private: pinned.private };
                store.set_listing(&pinned.commit, &listing)?;
                listing
            }
        };
        store.set_commit(self.revision, &pinned.commit)?;
        Ok((pinned.commit, listing))
    }

    /// The files that make the checkpoint; reads the index for that.
    async fn choose(
        &self,
        store: &Store,
        client: &Client<'_>,
        commit: &str,
        tree: &[RemoteFile],
    ) -> Result<Vec<RemoteFile>, HubError> {
        let mut files = select::small_files(self.repo, tree)?;
        let index = match files.iter().find(|f| f.path == INDEX) {
            None => None,
            Some(file) => {
                self.fetch(store, client, commit, std::slice::from_ref(file)).await?;
                let json = store::read(&store.folder(commit).join(INDEX))?.unwrap_or_default();
                Some(ShardIndex::parse(&json).map_err(|source| HubError::Index {
                    repo: self.repo.clone(),
                    path: INDEX.to_owned(),
                    source,
                })?)
            }
        };
        files.extend(select::weights(self.repo, tree, index.as_ref())?);
        Ok(files)
    }

    /// Brings files that are not there yet.
    pub(super) async fn fetch(
        &self,
        store: &Store,
        client: &Client<'_>,
        commit: &str,
        files: &[RemoteFile],
    ) -> Result<(), HubError> {
        let downloads = Downloads {
            client,
            options: self.options,
            repo: self.repo,
            commit,
            folder: &store.folder(commit),
            partial: &store.partial(commit),
            observer: self.observer,
            cancel: self.cancel,
            connections: Semaphore::new(self.options.connections.max(1)),
        };
        downloads.fetch_all(files).await
    }

    fn check_space(&self, store: &Store, commit: &str, files: &[RemoteFile]) -> Result<(), HubError> {
        let (folder, partial) = (store.folder(commit), store.partial(commit));
        let missing = |file: &RemoteFile| {
            let content = file.sha256.as_ref().unwrap_or(&file.blob);
            file.size - part::done_before(&part_path(&partial, file), content, file.size)
        };
        let missing = files.iter().filter(|f| !is_there(&folder, f)).map(missing);
        let needed = missing.fold(0, u64::saturating_add);
        let free = space::free(store.root())
            .map_err(|source| HubError::Io { path: store.root().to_owned(), source })?;
        match free {
            Some(free) if needed > 0 && free < needed.saturating_add(SPACE_MARGIN) => {
                Err(HubError::NoSpace {
                    repo: self.repo.clone(),
                    folder: self.options.cache.clone(),
                    needed,
                    free,
                })
            }
            _ => Ok(()),
        }
    }

    /// The commit and its listing, from the cache alone.
    pub(super) fn cached(&self, store: &Store) -> Result<(String, Listing), HubError> {
        let commit = match is_commit(self.revision) {
            true => Some(self.revision.to_owned()),
            false => store.commit(self.revision)?,
        };
        let commit = commit.ok_or_else(|| self.not_cached(None))?;
        let listing = store.listing(&commit)?.ok_or_else(|| self.not_cached(None))?;
        Ok((commit, listing))
    }

    pub(super) fn not_cached(&self, file: Option<String>) -> HubError {
        HubError::Offline {
            repo: self.repo.clone(),
            revision: self.revision.to_owned(),
            cache: self.options.cache.clone(),
            file,
        }
    }
}

/// Ends when the user stops the work.
pub(super) async fn raised(cancel: &Cancel) {
    /// How long a raised flag may go unseen.
    const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
    while !cancel.is_cancelled() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
