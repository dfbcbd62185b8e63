//! One file of a repository at a commit, such as an importance matrix that others computed.
//!
//! In: a repository, a revision, and the file's path, or nothing where the repository has one such file. Out: the file in
//! the cache, verified, and the commit that the revision was pinned to.
//!
//! ```text
//! hub/{owner}--{name}/{commit}/.files/    whole files
//! ```

use std::path::{Path, PathBuf};

use tokio::sync::Semaphore;

use super::HubOptions;
use super::api;
use super::download::{Downloads, is_there};
use super::error::HubError;
use super::select::RemoteFile;
use super::snapshot::Session;
use super::store::{self, Store};
use crate::base::cancel::Cancel;
use crate::base::file_name::is_safe_path;
use crate::base::repo_id::{RepoId, is_commit};
use crate::event::Observer;

/// What the listing of a commit's single files is called.
const LISTING: &str = ".files.json";

/// A file that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenFile {
    /// Its path in the repository.
    pub path: String,
    /// The commit that the revision was pinned to.
    pub commit: String,
    /// Where it is here.
    pub local: PathBuf,
}

/// Brings a file of a repository at a revision (`main` if `None`). Without a path, the only one there that is called an
/// importance matrix.
///
/// # Errors
/// As [`snapshot`](super::snapshot()); there is no such file, or more than one.
pub fn file(
    repo: &RepoId,
    revision: Option<&str>,
    path: Option<&str>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<TakenFile, HubError> {
    let session = Session::new(repo, revision, options, observer, cancel);
    let store = Store::new(&options.cache, repo);
    if options.offline {
        let commit = match is_commit(session.revision) {
            true => Some(session.revision.to_owned()),
            false => store.commit(session.revision)?,
        };
        let commit = commit.ok_or_else(|| session.not_cached(path.map(str::to_owned)))?;
        let taken = Taken::new(&store, &commit);
        let tree = taken.tree()?.ok_or_else(|| session.not_cached(path.map(str::to_owned)))?;
        let file = choose(repo, &tree, path)?;
        if !is_there(&taken.folder, &file) {
            return Err(session.not_cached(Some(file.path)));
        }
        return Ok(taken.file(file, commit.clone()));
    }
    let _lock = store.lock(cancel)?;
    session.run(async |client| {
        let commit = match is_commit(session.revision) {
            // What a full hash means never changes.
            true => session.revision.to_owned(),
            false => api::pin(client, repo, session.revision).await?.commit,
        };
        let taken = Taken::new(&store, &commit);
        let tree = match taken.tree()? {
            Some(tree) => tree,
            None => {
                let tree = api::tree(client, repo, &commit).await?;
                taken.keep(&tree)?;
                tree
            }
        };
        store.set_commit(session.revision, &commit)?;
        let file = choose(repo, &tree, path)?;
        let downloads = Downloads {
            client,
            options,
            repo,
            commit: &commit,
            folder: &taken.folder,
            partial: &store.partial(&commit),
            observer,
            cancel,
            connections: Semaphore::new(options.connections.max(1)),
        };
        downloads.fetch_all(std::slice::from_ref(&file)).await?;
        Ok(taken.file(file, commit.clone()))
    })
}

/// Single files of a commit.
struct Taken {
    folder: PathBuf,
    listing: PathBuf,
}

impl Taken {
    fn new(store: &Store, commit: &str) -> Self {
        let commit = store.root().join(commit);
        Taken { folder: commit.join(".files"), listing: commit.join(LISTING) }
    }

    /// All files of the commit, as an earlier call saw them. A damaged listing is asked for again.
    fn tree(&self) -> Result<Option<Vec<RemoteFile>>, HubError> {
        Ok(store::read(&self.listing)?.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    fn keep(&self, tree: &[RemoteFile]) -> Result<(), HubError> {
        store::write(&self.listing, &serde_json::to_vec(tree).expect("strings and numbers are JSON"))
    }

    fn file(&self, file: RemoteFile, commit: String) -> TakenFile {
        TakenFile { local: self.folder.join(Path::new(&file.path)), path: file.path, commit }
    }
}

fn choose(repo: &RepoId, tree: &[RemoteFile], path: Option<&str>) -> Result<RemoteFile, HubError> {
    let file = match path {
        Some(path) => tree
            .iter()
            .find(|f| f.path == path)
            .ok_or_else(|| HubError::EntryNotFound { repo: repo.clone(), path: path.to_owned() })?,
        None => {
            let found: Vec<&RemoteFile> = tree.iter().filter(|f| is_imatrix(&f.path)).collect();
            match found[..] {
                [one] => one,
                ref several => {
                    let files = several.iter().map(|f| f.path.clone()).collect();
                    return Err(HubError::NotOneImatrix { repo: repo.clone(), files });
                }
            }
        }
    };
    if !is_safe_path(&file.path) {
        return Err(HubError::HostilePath { repo: repo.clone(), path: file.path.clone() });
    }
    Ok(file.clone())
}

/// As people call them: `imatrix.gguf`, `Model.imatrix`, `model-imatrix.dat`, `imatrix_x.gguf_file`.
fn is_imatrix(path: &str) -> bool {
    const ENDS: [&str; 4] = [".gguf", ".dat", ".imatrix", ".gguf_file"];
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.contains("imatrix") && (ENDS.iter().any(|end| name.ends_with(end)) || name == "imatrix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_matrix_is_found() {
        let repo = RepoId::parse("them/m").unwrap();
        let tree = |paths: &[&str]| -> Vec<RemoteFile> {
            let file =
                |p: &&str| RemoteFile { path: (*p).to_owned(), size: 1, sha256: None, blob: String::new() };
            paths.iter().map(file).collect()
        };
        let check = |paths: &[&str], path: Option<&str>| choose(&repo, &tree(paths), path).map(|f| f.path);
        let all = ["README.md", "m-q4_0.gguf", "about-imatrix.txt", "sub/M.imatrix"];
        assert_eq!(check(&all, None).unwrap(), "sub/M.imatrix");
        assert_eq!(check(&all, Some("m-q4_0.gguf")).unwrap(), "m-q4_0.gguf");
        assert!(matches!(check(&all, Some("x")), Err(HubError::EntryNotFound { .. })));
        assert!(
            matches!(check(&["a"], None), Err(HubError::NotOneImatrix { files, .. }) if files.is_empty())
        );
        let two = check(&["imatrix.dat", "m-imatrix.gguf"], None).unwrap_err();
        assert_eq!(
            two.to_string(),
            "`them/m` has several importance matrices: `imatrix.dat`, `m-imatrix.gguf`"
        );
        assert!(matches!(check(&["../imatrix.dat"], None), Err(HubError::HostilePath { .. })));
    }
}
