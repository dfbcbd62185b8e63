//! Leave to write into a repository's Xet store, which the Hub gives for a while.

use reqwest::Url;
use serde::Deserialize;

use crate::hub::address::shown;
use crate::hub::client::{Call, Client, Subject};
use crate::hub::error::HubError;
use crate::hub::remote::BRANCH;
use crate::hub::rights::Destination;

/// What a program needs to write into the store.
pub(in crate::hub) struct Grant {
    /// Where the store is.
    pub(super) store: Url,
    /// Good for the store alone; it is not the user's.
    pub(super) token: String,
    /// Seconds since 1970.
    pub(super) expires: u64,
    /// Where the next grant is asked for: at the Hub.
    pub(super) renewal: Url,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawGrant {
    access_token: String,
    exp: u64,
    cas_url: String,
}

/// Asks for it. `None`: the Hub has no Xet for it.
pub(in crate::hub) async fn grant(
    client: &Client<'_>,
    destination: &Destination,
) -> Result<Option<Grant>, HubError> {
    let repo = &destination.repo;
    let mut url = client.url(&["api", "models", repo.owner(), repo.name(), "xet-write-token", BRANCH]);
    url.set_query(destination.create_pr.then_some("create_pr=1"));
    let subject = Subject { repo, revision: BRANCH, path: None };
    let reply = client.ask(subject, || Call::get(url.clone()).also(&[404, 501])).await?;
    if reply.status >= 400 {
        // Either the Hub does not know the question, or the repository is not there; the next request will tell.
        return Ok(None);
    }
    let raw: RawGrant = reply.json()?;
    // The library would take a folder of this machine for a store, too.
    let protocol = |why| HubError::Protocol { url: shown(&url), why };
    let store = Url::parse(&raw.cas_url).map_err(|_| protocol("the address of the Xet store is none"))?;
    match (url.scheme(), store.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => return Err(protocol("the address of the Xet store is not HTTPS")),
    }
    Ok(Some(Grant { store, token: raw.access_token, expires: raw.exp, renewal: url }))
}
