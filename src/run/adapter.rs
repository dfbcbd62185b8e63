//! A LoRA adapter and its base model's configuration, from folders or from the Hub.
//!
//! In: where the adapter is, and where its base model, unless the adapter names a repository. Out: two checkpoints, of which
//! the base has its small files only. Of a base on the Hub, `config.json` is fetched and nothing else. A path that an
//! adapter names is one of its author's disk, and never looked at here.

use std::path::Path;

use thiserror::Error;

use crate::base::cancel::Cancel;
use crate::base::repo_id::RepoId;
use crate::checkpoint::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Checkpoint, CheckpointError};
use crate::config::{Revision, Source};
use crate::convert::{ConvertError, named_base};
use crate::event::Observer;
use crate::hub::{self, HubError, HubOptions};

/// An adapter, and what it goes on top of.
#[derive(Debug)]
pub struct Adapter {
    /// The adapter.
    pub adapter: Checkpoint,
    /// The base model, without weights.
    pub base: Checkpoint,
}

/// Why an adapter cannot be opened.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AdapterSourceError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Hub(Box<HubError>),
    #[error(transparent)]
    Convert(Box<ConvertError>),
    #[error("`adapter_config.json` names no base model")]
    NoBase,
    #[error("`adapter_config.json` names `{0}` as base model, which is no repository")]
    NotARepo(String),
    #[error("the configuration of the base model `{repo}` cannot be had")]
    Base { repo: RepoId, source: Box<HubError> },
}

impl From<HubError> for AdapterSourceError {
    fn from(error: HubError) -> Self {
        AdapterSourceError::Hub(Box::new(error))
    }
}

impl From<ConvertError> for AdapterSourceError {
    fn from(error: ConvertError) -> Self {
        AdapterSourceError::Convert(Box::new(error))
    }
}

/// Opens an adapter; `base` in place of the model that it names.
///
/// # Errors
/// [`AdapterSourceError`] names the folder, the repository or what is missing.
pub fn open(
    adapter: &Source,
    base: Option<&Source>,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Adapter, AdapterSourceError> {
    let fetch = Fetch { options, observer, cancel };
    let adapter = match adapter {
        Source::Folder(folder) => Checkpoint::open_adapter(folder)?,
        Source::Hub { repo, revision } => fetch.adapter(repo, revision.as_ref().map(Revision::as_str))?,
    };
    let named = match base {
        Some(base) => base.clone(),
        None => {
            let name = named_base(&adapter)?.ok_or(AdapterSourceError::NoBase)?;
            let repo = RepoId::parse(&name).map_err(|_| AdapterSourceError::NotARepo(name))?;
            Source::Hub { repo, revision: None }
        }
    };
    let base = match named {
        Source::Folder(folder) => Checkpoint::without_weights(&folder)?,
        Source::Hub { repo, revision } => {
            let found = fetch.base(&repo, revision.as_ref().map(Revision::as_str));
            found.map_err(|source| AdapterSourceError::Base { repo, source: Box::new(source) })??
        }
    };
    Ok(Adapter { adapter, base })
}

struct Fetch<'a> {
    options: &'a HubOptions,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

impl Fetch<'_> {
    fn file(&self, repo: &RepoId, revision: Option<&str>, path: &str) -> Result<hub::TakenFile, HubError> {
        hub::file(repo, revision, Some(path), self.options, self.observer, self.cancel)
    }

    /// The files of an adapter, all of the commit that the first was of.
    fn adapter(&self, repo: &RepoId, revision: Option<&str>) -> Result<Checkpoint, AdapterSourceError> {
        /// What says more of the adapter, where it is there.
        const MORE: [&str; 3] = ["README.md", "config.json", "generation_config.json"];
        let commit = self.file(repo, revision, ADAPTER_CONFIG)?.commit;
        let weights = self.file(repo, Some(&commit), ADAPTER_WEIGHTS)?.local;
        for path in MORE {
            match self.file(repo, Some(&commit), path) {
                Ok(_) | Err(HubError::EntryNotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut adapter = Checkpoint::open_adapter(weights.parent().unwrap_or_else(|| Path::new(".")))?;
        named(&mut adapter, repo, commit);
        Ok(adapter)
    }

    /// The base model's configuration.
    fn base(
        &self,
        repo: &RepoId,
        revision: Option<&str>,
    ) -> Result<Result<Checkpoint, CheckpointError>, HubError> {
        let config = self.file(repo, revision, "config.json")?;
        let folder = config.local.parent().unwrap_or_else(|| Path::new("."));
        let base = Checkpoint::without_weights(folder).map(|mut base| {
            named(&mut base, repo, config.commit);
            base
        });
        Ok(base)
    }
}

fn named(checkpoint: &mut Checkpoint, repo: &RepoId, commit: String) {
    repo.name().clone_into(&mut checkpoint.name);
    checkpoint.origin.repo = Some(repo.to_string());
    checkpoint.origin.commit = Some(commit);
}
