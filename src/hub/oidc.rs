//! Trusted publishing: a workflow's identity in exchange for a token that may write to one repository for an hour.
//!
//! In: where GitHub gives identities (`ACTIONS_ID_TOKEN_REQUEST_URL`, `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, present in jobs
//! with `id-token: write`). Out: a [`Token`] for one existing repository that names the workflow as its trusted
//! publisher. The exchange is RFC 8693; each of the two secrets goes to the one origin that it is for.

use reqwest::Url;
use serde::Deserialize;

use super::address::{form, shown};
use super::client::{Call, Client, Subject};
use super::error::HubError;
use super::remote::BRANCH;
use super::snapshot::Session;
use super::{DEFAULT_ENDPOINT, HubOptions};
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::repo_id::RepoId;
use crate::base::token::Token;
use crate::event::{Code, Event, Observer};

/// Where a workflow asks for its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Address that gives it.
    pub url: String,
    /// Secret that opens that address.
    pub token: Token,
}

/// Where the token of an upload comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSource {
    /// The workflow that this runs in, if it may have an identity.
    pub workflow: Option<Workflow>,
    /// What the user gave.
    pub given: Option<Token>,
}

#[derive(Deserialize)]
struct RawIdentity {
    value: String,
}

#[derive(Deserialize)]
struct RawGrant {
    access_token: String,
}

impl TokenSource {
    /// A token for an upload to this repository, made anew: it lives for an hour and cannot be renewed. What the user gave
    /// stands in where the workflow is not trusted.
    ///
    /// # Errors
    /// [`HubError::NoIdentity`] and [`HubError::NotTrusted`] where nothing was given; [`HubError::Unpublished`] where the
    /// user stopped it.
    pub fn token(
        &self,
        repo: &RepoId,
        options: &HubOptions,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<Token>, HubError> {
        let Some(workflow) = self.workflow.as_ref().filter(|_| !options.offline) else {
            return Ok(self.given.clone());
        };
        match exchange(workflow, repo, options, observer, cancel) {
            Ok(token) => {
                observer.secret(&token);
                let text = format!("exchanged the workflow's identity for a token for `{repo}`");
                observer.event(Event::new(Code::IdentityExchanged, text).about(repo.to_string()));
                Ok(Some(token))
            }
            Err(error @ HubError::Unpublished { .. }) => Err(error),
            Err(error) => match &self.given {
                None => Err(error),
                Some(given) => {
                    let text = format!("{}; the token that was given is used", causes(&error));
                    observer.event(Event::new(Code::IdentityRefused, text).about(repo.to_string()));
                    Ok(Some(given.clone()))
                }
            },
        }
    }
}

/// A token for one repository.
fn exchange(
    workflow: &Workflow,
    repo: &RepoId,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Token, HubError> {
    let subject = Subject { repo, revision: BRANCH, path: None };
    let identity = {
        let no_identity = |source| HubError::NoIdentity { repo: repo.clone(), source: Box::new(source) };
        let wrong = || HubError::Endpoint {
            endpoint: "ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(),
            why: "is no address",
        };
        let mut url = Url::parse(&workflow.url).map_err(|_| no_identity(wrong()))?;
        url.query_pairs_mut().append_pair("audience", DEFAULT_ENDPOINT);
        // The secret goes to GitHub's origin, as the Hub's token goes to the Hub's.
        let endpoint = url.origin().ascii_serialization();
        let github = HubOptions { endpoint, token: Some(workflow.token.clone()), ..options.clone() };
        let session = Session::new(repo, Some(BRANCH), &github, observer, cancel).writing();
        let ask = async |client: &Client<'_>| client.ask(subject, || Call::get(url.clone())).await;
        match session.run(ask).and_then(|reply| reply.json::<RawIdentity>()) {
            Ok(identity) => {
                if let Ok(secret) = Token::new(&identity.value) {
                    observer.secret(&secret);
                }
                identity.value
            }
            Err(error @ HubError::Unpublished { .. }) => return Err(error),
            Err(error) => return Err(no_identity(error)),
        }
    };
    let body = form(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &identity),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("resource", repo.as_str()),
    ]);
    let nobody = HubOptions { token: None, ..options.clone() };
    let session = Session::new(repo, Some(BRANCH), &nobody, observer, cancel).writing();
    let not_trusted = |source| HubError::NotTrusted { repo: repo.clone(), source: Box::new(source) };
    let ask = async |client: &Client<'_>| {
        let url = client.url(&["oauth", "token"]);
        let media = "application/x-www-form-urlencoded";
        client.ask(subject, || Call::post(url.clone(), media, body.clone())).await
    };
    match session.run(ask).and_then(|reply| Ok((reply.json::<RawGrant>()?.access_token, reply.url))) {
        Ok((text, url)) => Token::new(&text).map_err(|_| {
            let why = "the token that it gives is none";
            not_trusted(HubError::Protocol { url: shown(&url), why })
        }),
        Err(error @ HubError::Unpublished { .. }) => Err(error),
        Err(error) => Err(not_trusted(error)),
    }
}
