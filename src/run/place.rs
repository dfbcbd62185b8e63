//! Where a model is published: what is there, and what would become of it.

use super::JobError;
use super::papers::Papers;
use super::prepare::Setting;
use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::card::metadata::{QuantizationMetadata, Wanted};
use crate::config::Model;
use crate::event::Observer;
use crate::hub::{Destination, Transport};
use crate::plan::{self, Why};
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
