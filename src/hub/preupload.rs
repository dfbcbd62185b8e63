//! What the Hub wants to know before it takes files: the front matter of the card, and how each file is to be sent.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::HubOptions;
use super::address::shown;
use super::client::{Call, Client, Subject};
use super::error::HubError;
use super::publication::Item;
use super::remote::BRANCH;
use super::rights::Destination;
use super::snapshot::Session;
use super::wire;
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::event::Observer;

/// Files of one request, as `huggingface_hub` groups them.
const AT_A_TIME: usize = 256;

/// How a file gets to the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the commit itself.
    Inline,
    /// Into the store; the commit names it.
    Store,
}

#[derive(Deserialize)]
struct RawModes {
    files: Vec<RawMode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

/// Asks how each of these files is to be sent; the answers are in the order of the files.
///
/// # Errors
/// [`HubError::Ignored`] where the repository takes one of them from nobody.
pub(super) async fn ways(
    client: &Client<'_>,
    to: &Destination,
    items: &[&Item<'_>],
) -> Result<Vec<Way>, HubError> {
    let repo = &to.repo;
    let subject = Subject { repo, revision: BRANCH, path: None };
    let mut url = client.url(&["api", "models", repo.owner(), repo.name(), "preupload", BRANCH]);
    url.set_query(to.create_pr.then_some("create_pr=1"));
    let mut ways = Vec::with_capacity(items.len());
    for group in items.chunks(AT_A_TIME) {
        let files = group.iter().map(
            |item| json!({ "path": item.path, "size": item.size, "sample": STANDARD.encode(&item.sample) }),
        );
        let body = json!({ "files": files.collect::<Value>() });
        let reply = client.ask(subject, || Call::post_json(url.clone(), &body)).await?;
        let modes: HashMap<String, RawMode> =
            reply.json::<RawModes>()?.files.into_iter().map(|mode| (mode.path.clone(), mode)).collect();
        for item in group {
            let mode = modes.get(item.path).ok_or(HubError::Protocol {
                url: shown(&reply.url),
                why: "it does not say how each file is to be sent",
            })?;
            if mode.should_ignore {
                return Err(HubError::Ignored { repo: repo.clone(), path: item.path.to_owned() });
            }
            // The store takes no empty files, and a commit no large ones.
            let inline = item.fits_inline() && (mode.upload_mode == "regular" || item.size == 0);
            ways.push(if inline { Way::Inline } else { Way::Store });
        }
    }
    Ok(ways)
}

/// Has the Hub check a card's front matter. The repository need not exist.
///
/// # Errors
/// [`HubError::CardRefused`] with what the Hub says of it.
pub fn check_card(
    repo: &RepoId,
    path: &str,
    card: &[u8],
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), HubError> {
    let session = Session::new(repo, Some(BRANCH), options, observer, cancel).writing();
    session.online()?;
    session.run(async |client| remarks(client, repo, path, card).await).map(drop)
}

/// As [`check_card`], with a client; gives what the Hub remarks about a card that it takes.
pub(super) async fn remarks(
    client: &Client<'_>,
    repo: &RepoId,
    path: &str,
    card: &[u8],
) -> Result<Vec<String>, HubError> {
    let subject = Subject { repo, revision: BRANCH, path: None };
    let url = client.url(&["api", "validate-yaml"]);
    let body = json!({ "content": String::from_utf8_lossy(card), "repoType": "model" });
    let reply = client.ask(subject, || Call::post_json(url.clone(), &body).also(&[400, 404, 422])).await?;
    // Mirrors and other Hubs need not have it.
    if reply.status == 404 {
        return Ok(Vec::new());
    }
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let mut problems = wire::messages(&said["errors"]);
    if reply.status >= 400 && problems.is_empty() {
        problems.push(wire::message(&reply.body).unwrap_or_else(|| format!("status {}", reply.status)));
    }
    if !problems.is_empty() {
        return Err(HubError::CardRefused { repo: repo.clone(), path: path.to_owned(), problems });
    }
    Ok(wire::messages(&said["warnings"]))
}
