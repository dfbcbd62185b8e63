//! A repository as it is now: its head, its files, one of its small files; and how it comes to be.

use serde_json::json;

use super::HubOptions;
use super::address::shown;
use super::api::{self, Pinned};
use super::client::{Call, Client, Subject};
use super::error::{Access, HubError};
use super::retry::{Failure, Tries};
use super::select::RemoteFile;
use super::snapshot::Session;
use super::wire;
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::event::{Code, Event, Observer};

/// The branch that is published to.
pub(super) const BRANCH: &str = "main";

/// A repository at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RepoState {
    /// The commit at the tip of `main`.
    pub head: String,
    /// Whether only its owner sees it.
    pub private: bool,
    /// Whether its users must accept terms.
    pub gated: bool,
    /// Every file of that commit, in the Hub's order.
    pub files: Vec<RemoteFile>,
}

impl RepoState {
    /// The file of this path.
    pub fn file(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|f| f.path == path)
    }
}

/// The head of a repository's `main` and the files there; `None` where there is no such repository, or none that
/// the token may see.
///
/// # Errors
/// [`HubError`] where the Hub cannot be asked, or refuses.
pub fn state(
    repo: &RepoId,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<RepoState>, HubError> {
    let session = Session::new(repo, Some(BRANCH), options, observer, cancel);
    session.online()?;
    session.run(async |client| find(client, repo).await)
}

/// A small file at a commit; `None` where there is no file of this path.
///
/// # Errors
/// [`HubError::TooLong`] beyond `limit` bytes; as [`state`].
pub fn read_file(
    repo: &RepoId,
    commit: &str,
    path: &str,
    limit: u64,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<Vec<u8>>, HubError> {
    let session = Session::new(repo, Some(commit), options, observer, cancel);
    session.online()?;
    session.run(async |client| {
        let subject = Subject { repo, revision: commit, path: Some(path) };
        let url = client.url(&address(repo, commit, path));
        let mut tries = Tries::default();
        loop {
            match client.whole(subject, url.clone(), limit).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(failure) if matches!(*failure.error, HubError::EntryNotFound { .. }) => return Ok(None),
                Err(failure) => client.wait(subject, &mut tries, failure).await?,
            }
        }
    })
}

/// Creates a model repository. One that is there already stays as it is.
///
/// # Errors
/// [`HubError::Forbidden`] where the token may not; as [`state`].
pub fn create(
    repo: &RepoId,
    private: bool,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), HubError> {
    let session = Session::new(repo, Some(BRANCH), options, observer, cancel).writing();
    session.online()?;
    session.run(async |client| found(client, repo, private).await)
}

/// As [`state`], with a client.
pub(super) async fn find(client: &Client<'_>, repo: &RepoId) -> Result<Option<RepoState>, HubError> {
    match at(client, repo, BRANCH).await {
        Ok(state) => Ok(Some(state)),
        Err(HubError::RepoNotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A repository at a revision.
pub(super) async fn at(client: &Client<'_>, repo: &RepoId, revision: &str) -> Result<RepoState, HubError> {
    let Pinned { commit, gated, private } = api::pin(client, repo, revision).await?;
    let files = api::tree(client, repo, &commit).await?;
    Ok(RepoState { head: commit, private, gated, files })
}

/// As [`create`], with a client.
pub(super) async fn found(client: &Client<'_>, repo: &RepoId, private: bool) -> Result<(), HubError> {
    let subject = Subject { repo, revision: BRANCH, path: None };
    let url = client.url(&["api", "repos", "create"]);
    let body =
        json!({ "type": "model", "name": repo.name(), "organization": repo.owner(), "private": private });
    let mut tries = Tries::default();
    loop {
        let reply = match client.ask_once(subject, Call::post_json(url.clone(), &body).also(&[409])).await {
            Ok(reply) => reply,
            // It is the account that is missing; of course the repository is.
            Err(failure) if matches!(*failure.error, HubError::RepoNotFound { .. }) => {
                let message = format!("there is no account `{}`", repo.owner());
                return Err(HubError::Forbidden { repo: repo.clone(), message, access: Access::Write });
            }
            Err(failure) => {
                client.wait(subject, &mut tries, failure).await?;
                continue;
            }
        };
        if reply.status != 409 {
            let kind = if private { "private" } else { "public" };
            let text = format!("created the {kind} repository `{repo}`");
            client.observer.event(Event::new(Code::RepositoryCreated, text).about(repo.to_string()));
            return Ok(());
        }
        // Two creations at once for one owner: the Hub answers 409 to one of them, which repository ever it is.
        if !String::from_utf8_lossy(&reply.body).contains("conflicting operation") {
            return Ok(());
        }
        let message = wire::message(&reply.body).unwrap_or_default();
        let error = HubError::Status { url: shown(&reply.url), status: 409, message, request: None };
        client.wait(subject, &mut tries, Failure::soon(error)).await?;
    }
}

/// The segments of a file's address.
pub(super) fn address<'a>(repo: &'a RepoId, commit: &'a str, path: &'a str) -> Vec<&'a str> {
    let mut address = vec![repo.owner(), repo.name(), "resolve", commit];
    address.extend(path.split('/'));
    address
}
