//! Where a model is published: what is there, and what would become of it.

use super::JobError;
use super::deliver::{self, RECEIPT};
use super::papers::Papers;
use super::prepared::{Planned, Setting};
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::card::metadata::{self, FilePart, QuantizationMetadata, Wanted};
use crate::config::Model;
use crate::event::Observer;
use crate::hub::{Destination, Receipt, Transport};
use crate::plan::{self, Decision, Why};
use crate::publish::{self, Order, Output, There};

/// Where a model is published, and what is there.
#[derive(Clone, Debug)]
pub struct Place {
    /// The repository.
    pub to: Destination,
    /// What is there; none where it is not there yet.
    pub there: Option<There>,
    /// The methods that stay, where outputs of others are to go.
    pub listed: Option<Vec<String>>,
    /// How files are sent.
    pub transport: Transport,
    /// Texts that would be rewritten even if no output were made.
    pub texts: Vec<String>,
    /// Files of methods that are no longer listed.
    pub delete: Vec<String>,
    /// The pull request that has all outputs already, as the receipts beside them say.
    pub proposed: Option<String>,
}

impl Place {
    /// Asks the Hub what is there.
    ///
    /// # Errors
    /// The Hub cannot be asked, or has metadata that this program must not replace.
    pub(super) fn find(
        repo: &RepoId,
        model: &Model,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, JobError> {
        let publish = &model.publish;
        let mut options = setting.hub.clone();
        if options.token.is_none() {
            // A workflow may see more than the public does; where it may not, the public's view is what there is.
            options.token = setting.tokens.token(repo, &setting.hub, observer, cancel).ok().flatten();
        }
        let (private, create_pr) = (publish.private == Some(true), publish.create_pr == Some(true));
        Ok(Place {
            to: Destination { repo: repo.clone(), private, create_pr },
            there: publish::read(repo, &options, observer, cancel)?,
            listed: (publish.prune == Some(true)).then(|| model.listed.clone()),
            transport: if publish.xet == Some(false) { Transport::NoXet } else { Transport::Auto },
            texts: Vec::new(),
            delete: Vec::new(),
            proposed: None,
        })
    }

    /// The metadata that is there.
    pub fn metadata(&self) -> Option<&QuantizationMetadata> {
        self.there.as_ref()?.metadata.as_ref()
    }

    /// Whether an output is there as it would be made now.
    pub(super) fn has(&self, wanted: &Wanted<'_>) -> Result<(), Why> {
        let Some(there) = &self.there else { return Err(Why::New) };
        let found = match (&there.metadata, &there.unreadable) {
            (Some(metadata), _) => Some(Ok(metadata)),
            (None, why) => why.as_deref().map(Err),
        };
        plan::published(found, &there.state.files, wanted)
    }

    /// Finds out what would change if no output were made.
    pub(super) fn look(&mut self, papers: &Papers) {
        let Some(publication) = self.order(papers, &[]).publication(self.there.as_ref()) else { return };
        self.texts = publication.files.into_iter().map(|file| file.path).collect();
        self.delete = publication.delete;
    }

    /// Finds the pull request that was opened for these outputs. Until it is merged the repository does not have them, and
    /// they need not be proposed again.
    pub(super) fn look_for_proposal(&mut self, outputs: &[Planned]) {
        let new: Vec<&Planned> = outputs.iter().filter(|o| o.decision != Decision::Published).collect();
        if !self.to.create_pr || new.is_empty() {
            return;
        }
        let urls = new.iter().map(|output| {
            let receipt = std::fs::read(output.folder.join(RECEIPT)).ok()?;
            let receipt: Receipt = serde_json::from_slice(&receipt).ok()?;
            let made =
                deliver::finished(&output.folder).ok().filter(|_| output.decision == Decision::Keep)?;
            let has =
                |part: FilePart| receipt.files.iter().any(|f| f.path == part.file && f.sha256 == part.sha256);
            let all = made.metadata.outputs.iter().flat_map(metadata::Output::files).all(has);
            let ours = all && receipt.repo == self.to.repo.as_str();
            receipt.pull_request.filter(|_| ours).map(|pull| pull.url)
        });
        self.proposed = urls.collect::<Option<Vec<_>>>().and_then(|urls| urls.into_iter().next_back());
    }

    /// Whether anything would change if no output were made.
    pub fn changes(&self) -> bool {
        !(self.texts.is_empty() && self.delete.is_empty())
    }

    /// What is to be published.
    pub(super) fn order<'a>(&'a self, papers: &'a Papers, outputs: &'a [Output]) -> Order<'a> {
        Order {
            to: &self.to,
            texts: papers.texts(),
            outputs,
            listed: self.listed.as_deref(),
            transport: self.transport,
        }
    }
}
