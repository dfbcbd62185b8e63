//! Whether a repository can be published to, found out before any work is done for it.

use serde_json::json;

use super::HubOptions;
use super::account::{Account, Role, whoami};
use super::client::{Call, Client, Subject};
use super::error::HubError;
use super::remote::{self, BRANCH, RepoState};
use super::snapshot::Session;
use super::upload::grant;
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::event::{Code, Event, Observer};

/// Where something is published, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The repository.
    pub repo: RepoId,
    /// Whether only its owner is to see it. One that is there and public is refused then; a private one stays private
    /// in any case.
    pub private: bool,
    /// Whether the files are proposed as a pull request.
    pub create_pr: bool,
}

/// What is known of a destination that may be published to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rights {
    /// Whose token it is; unknown for tokens that may not ask, as a workflow's.
    pub account: Option<Account>,
    /// The repository as it is; `None` where it is to be created.
    pub state: Option<RepoState>,
}

/// Finds out whether the token may write to the repository, or create it.
///
/// # Errors
/// [`HubError::NoToken`], [`HubError::TokenRefused`], [`HubError::ReadOnly`], [`HubError::NotOurs`],
/// [`HubError::Forbidden`], [`HubError::Public`]; and where the Hub cannot be asked.
pub fn check_rights(
    destination: &Destination,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Rights, HubError> {
    let session = Session::new(&destination.repo, Some(BRANCH), options, observer, cancel).writing();
    session.online()?;
    if options.token.is_none() {
        return Err(HubError::NoToken { repo: destination.repo.clone() });
    }
    let rights = session.run(async |client| look(client, destination).await)?;
    let text = match &rights.state {
        Some(_) => format!("the token may write to `{}`", destination.repo),
        None => format!("`{}` will be created", destination.repo),
    };
    observer.event(Event::new(Code::RightsChecked, text).about(destination.repo.to_string()));
    Ok(rights)
}

/// What [`check_rights`] does, with a client that has a token.
pub(super) async fn look(client: &Client<'_>, destination: &Destination) -> Result<Rights, HubError> {
    let repo = &destination.repo;
    let subject = Subject { repo, revision: BRANCH, path: None };
    let account = match whoami(client, subject).await {
        Ok(account) => Some(account),
        // A workflow's token is for one repository, and need not be good for this question.
        Err(HubError::Forbidden { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some(Account { name, role: Role::Read, .. }) = &account {
        return Err(HubError::ReadOnly { repo: repo.clone(), account: name.clone() });
    }
    let state = remote::find(client, repo).await?;
    match (&state, &account) {
        (Some(state), _) => {
            check_visibility(destination, state)?;
            granted(client, destination).await?;
        }
        (None, Some(account)) if !account.may_create(repo.owner()) => {
            let organisations = account.organisations.iter().filter(|o| o.may_create);
            return Err(HubError::NotOurs {
                repo: repo.clone(),
                account: account.name.clone(),
                organisations: organisations.map(|o| o.name.clone()).collect(),
            });
        }
        (None, _) => {}
    }
    Ok(Rights { account, state })
}

/// What is to be private never goes where everybody reads.
pub(super) fn check_visibility(destination: &Destination, state: &RepoState) -> Result<(), HubError> {
    match destination.private && !state.private {
        true => Err(HubError::Public { repo: destination.repo.clone() }),
        false => Ok(()),
    }
}

/// Asks for what an upload asks for first: a token for the Xet store, or, where a Hub has none, how a file would be sent.
async fn granted(client: &Client<'_>, destination: &Destination) -> Result<(), HubError> {
    if grant(client, destination).await?.is_some() {
        return Ok(());
    }
    let repo = &destination.repo;
    let mut url = client.url(&["api", "models", repo.owner(), repo.name(), "preupload", BRANCH]);
    url.set_query(destination.create_pr.then_some("create_pr=1"));
    let subject = Subject { repo, revision: BRANCH, path: None };
    let body = json!({ "files": [{ "path": "README.md", "size": 0, "sample": "" }] });
    client.ask(subject, || Call::post_json(url.clone(), &body)).await.map(drop)
}
