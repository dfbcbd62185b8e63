//! Outputs that are ready, into their repository.

use std::path::PathBuf;

use super::JobError;
use super::papers::Papers;
use super::place::Place;
use crate::base::atomic;
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::repo_id::RepoId;
use crate::card;
use crate::card::metadata::{self, QuantizationMetadata};
use crate::event::{Code, Event, Observer};
use crate::hub::{self, HubError, HubOptions, Receipt, TokenSource};
use crate::publish::{self, Order, Output};

/// What an output's folder keeps of its last publication.
pub const RECEIPT: &str = "publish_receipt.json";

/// How often what is to be published is worked out again because somebody else published meanwhile.
const TRIES: u32 = 4;

/// The outputs of a job on their way to its repository. They can go while the next job is under way.
#[derive(Debug)]
pub struct Delivery {
    /// The model's name.
    pub model: String,
    pub(super) place: Place,
    pub(super) papers: Papers,
    pub(super) outputs: Vec<Output>,
    /// The folders of the outputs, which keep the receipt.
    pub(super) folders: Vec<PathBuf>,
    /// Held until all is done.
    pub(super) _lock: Option<FileLock>,
}

impl Delivery {
    /// Publishes, with a token made anew, and leaves the receipt beside the outputs. `None` where there was nothing to
    /// publish any more.
    ///
    /// # Errors
    /// [`JobError`]; the repository is as it was, or as others left it.
    pub fn deliver(
        &self,
        tokens: &TokenSource,
        hub: &HubOptions,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<Receipt>, JobError> {
        let options = signed_in(&self.place.to.repo, tokens, hub, observer, cancel)?;
        let order = self.place.order(&self.papers, &self.outputs);
        let receipt = publish(&order, &options, observer, cancel)?;
        if let Some(receipt) = &receipt {
            keep(receipt, &self.folders, observer);
        }
        Ok(receipt)
    }
}

/// The options for an upload to a repository.
///
/// # Errors
/// The workflow's identity is refused, and no other token was given.
pub fn signed_in(
    repo: &RepoId,
    tokens: &TokenSource,
    hub: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<HubOptions, HubError> {
    let token = tokens.token(repo, hub, observer, cancel)?;
    Ok(HubOptions { token, ..hub.clone() })
}

/// Has the Hub check what the card will say to it.
///
/// # Errors
/// It refuses that.
pub(super) fn check_card(
    order: &Order<'_>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), HubError> {
    let text = order.front_matter();
    hub::check_card(&order.to.repo, card::FILE_NAME, text.as_bytes(), options, observer, cancel)
}

/// Publishes what is ordered on top of what is there, in one commit.
///
/// # Errors
/// [`JobError`]; the repository is as it was, or as others left it.
pub fn publish(
    order: &Order<'_>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<Receipt>, JobError> {
    let repo = &order.to.repo;
    let mut there = publish::read(repo, options, observer, cancel)?;
    if there.is_none() && order.publication(None).is_some() {
        // A card that is refused leaves no empty repository.
        check_card(order, options, observer, cancel)?;
        // Before anything is worked out, so that two who create it at once see each other's commits.
        hub::create(repo, order.to.private, options, observer, cancel)?;
        there = publish::read(repo, options, observer, cancel)?;
    }
    let mut tries = 1;
    loop {
        let Some(publication) = order.publication(there.as_ref()) else { return Ok(None) };
        match hub::publish(&publication, options, observer, cancel) {
            // Others published here: what is there now is what theirs and ours are put together from.
            Err(HubError::Conflict { .. }) if tries < TRIES => tries += 1,
            Ok(receipt) => return Ok(Some(receipt)),
            Err(error) => return Err(error.into()),
        }
        there = publish::read(repo, options, observer, cancel)?;
    }
}

/// Leaves a receipt in folders. The publication has happened, whether or not that can be kept.
pub fn keep(receipt: &Receipt, folders: &[PathBuf], observer: &dyn Observer) {
    let mut json = serde_json::to_string_pretty(receipt).expect("strings, numbers, lists and structs only");
    json.push('\n');
    for folder in folders {
        let path = folder.join(RECEIPT);
        if let Err(error) = atomic::write(&path, json.as_bytes()) {
            let text = format!("`{}` cannot be written: {error}", path.display());
            observer.event(Event::new(Code::ReceiptLost, text));
        }
    }
}

/// What a finished output's folder has to publish.
pub(super) fn finished(folder: &std::path::Path) -> Result<Output, JobError> {
    let path = folder.join(metadata::FILE_NAME);
    let text = std::fs::read(&path).map_err(|source| JobError::Io { path, source })?;
    let metadata = QuantizationMetadata::from_json(&text)
        .map_err(|source| publish::FolderError::Metadata { folder: folder.to_owned(), source })?;
    let files = publish::files_of(&metadata, folder)?;
    let imatrix = publish::imatrix_of(&metadata, folder);
    Ok(Output { metadata, files, imatrix })
}
