//! The importance matrix of a job: taken from where the user says, or computed.
//!
//! In: what a models.yaml says of it. Out, before the work ([`find`]): a matrix that can be read, or a [`Calculation`]:
//! everything that decides a matrix which is not there yet, so that staleness and exact sizes are known without it. Then,
//! when its job is under way ([`Calculation::compute`]): the matrix, from the cache or by llama-imatrix over the base.
//! The name of its file stands in the header of every output: it is `{prefix}{model}-imatrix.gguf` for one that was
//! computed, without a folder, and what the user or the repository called it for any other.

mod alone;
mod cache;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::alone::Alone;
pub use self::cache::Cached;
use self::cache::{Facts, Slot};
pub use self::text::Text;
use self::text::last_segment;
use super::JobError;
use super::base::Base;
use super::prepared::{Prepared, Setting};
use crate::base::cancel::Cancel;
use crate::base::{hash, units};
use crate::card::metadata::{self, ImatrixFile, SourceFile};
use crate::config::{self, Model};
use crate::event::{Code, Event, Observer, Progress};
use crate::hub::{self, Content, HubError, PublishFile};
use crate::llama::tool::ToolError;
use crate::llama::{self, Request, Toolchain, ToolchainError, Wanted};
use crate::quantize::imatrix::Selection;
use crate::quantize::{Imatrix, ImatrixError, ImatrixOrigin};

/// Largest matrix that is downloaded: those of a thousand billion parameters stay below.
const LARGEST: u64 = 8 << 30;

/// Why there is no matrix.
#[derive(Debug, Error)]
pub enum ImportanceError {
    /// The file cannot be used.
    #[error(transparent)]
    Imatrix(#[from] ImatrixError),
    /// It could not be downloaded, or its text.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A program of llama.cpp gave no result.
    #[error("the importance matrix could not be computed")]
    Tool(#[from] ToolError),
    /// There is no llama.cpp.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A file cannot be read or written.
    #[error("cannot read or write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing in the text.
    #[error("the text `{path}` is empty")]
    EmptyText {
        /// The text.
        path: PathBuf,
    },
    /// The text is longer than llama.cpp can hold.
    #[error("the text `{path}` has {}, too many", units::decimal(*size))]
    LongText {
        /// The text.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
}

impl ImportanceError {
    /// Of a file; hashing one ends early where the user stopped it.
    fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::Interrupted => ImportanceError::Stopped,
            _ => ImportanceError::Io { path: path.to_owned(), source },
        }
    }
}

/// A matrix that is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// What there is to use of it; none where the selection leaves nothing.
    pub(super) matrix: Option<Imatrix>,
    /// What the metadata says of its file.
    pub(super) file: ImatrixFile,
}

/// What is known of a job's matrix before the work.
#[derive(Debug, Default)]
pub(super) struct Importance {
    /// It is there.
    pub(super) found: Option<Found>,
    /// It is computed.
    pub(super) calculation: Option<Calculation>,
}

/// A matrix that is computed.
#[derive(Clone, Debug)]
pub struct Calculation {
    /// Name of its file.
    pub file: String,
    /// The text.
    pub text: Text,
    /// Chunks of it, at most.
    pub chunks: Option<u32>,
    /// What computes it, as recipes name it.
    pub tool: String,
    /// The matrix, once it is there.
    pub cached: Option<Cached>,
}

/// Finds what there is of a model's matrix. Nothing is computed, and no toolchain built.
///
/// # Errors
/// [`ImportanceError`] names the file or address.
pub(super) fn find(
    model: &Model,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Importance, ImportanceError> {
    let found = |found| Ok(Importance { found: Some(found), calculation: None });
    match &model.imatrix {
        None => Ok(Importance::default()),
        Some(config::Imatrix::File { path, given }) => found(open(path, given, None, model, cancel)?),
        Some(config::Imatrix::Url(url)) => {
            let path = hub::download(url, LARGEST, &setting.hub, observer, cancel)?;
            let name = Some(last_segment(url)).filter(|name| !name.is_empty()).unwrap_or("imatrix");
            // What follows the path may be a signature, and this is published.
            let origin = url.split(['?', '#']).next().unwrap_or_default().to_owned();
            found(open(&path, name, Some(origin), model, cancel)?)
        }
        Some(config::Imatrix::Repo { repo, revision, file }) => {
            let revision = revision.as_ref().map(config::Revision::as_str);
            let taken = hub::file(repo, revision, file.as_deref(), &setting.hub, observer, cancel)?;
            let origin = format!("{repo}/{} at {}", taken.path, taken.commit);
            let name = taken.path.rsplit('/').next().unwrap_or_default();
            found(open(&taken.local, name, Some(origin), model, cancel)?)
        }
        Some(config::Imatrix::Dataset { text, chunks }) => {
            let calculation = Calculation {
                file: file_name(&format!("{}{}", model.prefix, model.name)),
                text: Text::read(text, &setting.hub, observer, cancel)?,
                chunks: *chunks,
                tool: tool_name(&setting.llama, observer, cancel)?,
                cached: None,
            };
            Ok(Importance { found: None, calculation: Some(calculation) })
        }
    }
}

/// How the file of a matrix is called that was computed.
pub fn file_name(stem: &str) -> String {
    format!("{stem}-imatrix.gguf")
}

fn open(
    path: &Path,
    name: &str,
    origin: Option<String>,
    model: &Model,
    cancel: &Cancel,
) -> Result<Found, ImportanceError> {
    let matrix = Imatrix::open(path, name, &selection(model))?;
    let io = |source| ImportanceError::io(path, source);
    let file = ImatrixFile {
        file: name.to_owned(),
        size: fs::metadata(path).map_err(io)?.len(),
        sha256: hash::sha256_file(path, cancel).map_err(io)?,
        entries: matrix.as_ref().map(|m| m.origin.entries),
        chunks: matrix.as_ref().and_then(|m| m.origin.chunks),
        perplexity: None,
        origin,
    };
    Ok(Found { matrix, file })
}

fn selection(model: &Model) -> Selection {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    Selection {
        include: list(&model.quantize.include_weights),
        exclude: list(&model.quantize.exclude_weights),
    }
}

/// What computes matrices, as recipes name it: the release, else the commit, else what tells an installed one from
/// others. Builds nothing; an installed one is asked.
pub fn tool_name(
    wanted: &Wanted,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<String, ToolchainError> {
    let short = |text: &str| text.get(..9).unwrap_or(text).to_owned();
    let name = match wanted.request() {
        Request::Release { tag, .. } => tag.clone(),
        Request::Commit { commit, .. } => short(commit),
        Request::Source { tag: Some(tag), .. } => tag.clone(),
        Request::Source { commit: Some(commit), .. } => short(commit),
        Request::Source { source: llama::Source::Path(path), .. } => {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
        Request::Source { source: llama::Source::Url(url), .. } => last_segment(url).to_owned(),
        Request::Installed(_) => {
            let reference = wanted.obtain(cancel, observer)?.reference();
            let commit = || reference.commit.as_deref().map(short);
            reference.tag.clone().or_else(commit).unwrap_or_else(|| short(&reference.key))
        }
    };
    Ok(format!("llama.cpp {name}"))
}

impl Found {
    /// What decides the outputs' bytes, as the metadata records it.
    pub(super) fn recipe(&self) -> Option<metadata::Imatrix> {
        let origin = &self.matrix.as_ref()?.origin;
        Some(metadata::Imatrix {
            file: origin.file.clone(),
            sha256: Some(self.file.sha256.clone()),
            dataset: origin.dataset.clone(),
            chunks: origin.chunks,
            entries: Some(origin.entries),
            ..metadata::Imatrix::default()
        })
    }
}

impl Calculation {
    /// What decides the outputs' bytes, as the metadata records it: nothing that is known only afterwards.
    pub(super) fn recipe(&self) -> metadata::Imatrix {
        metadata::Imatrix {
            file: self.file.clone(),
            dataset: Some(self.text.name.clone()),
            dataset_sha256: Some(self.text.sha256.clone()),
            chunks: self.chunks,
            tool: Some(self.tool.clone()),
            ..metadata::Imatrix::default()
        }
    }

    /// What the outputs' headers will say of it, as long as it will be; the numbers are known only afterwards.
    pub(super) fn foreseen(&self) -> ImatrixOrigin {
        ImatrixOrigin {
            file: self.file.clone(),
            dataset: Some(self.text.name.clone()),
            entries: 1,
            chunks: Some(self.chunks.unwrap_or(1)),
        }
    }

    /// The matrix of an earlier run, or of another process, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub(super) fn look(
        &mut self,
        made_of: &MadeOf<'_>,
        model: &Model,
        cache: &Path,
        cancel: &Cancel,
    ) -> Result<Option<Found>, ImportanceError> {
        let Some(slot) = self.slot(made_of, cache) else { return Ok(None) };
        let Some(cached) = slot.find(cancel) else { return Ok(None) };
        self.take(cached, &selection(model)).map(Some)
    }

    fn slot(&self, made_of: &MadeOf<'_>, cache: &Path) -> Option<Slot> {
        let facts = Facts {
            source: Facts::files(made_of.files)?,
            base: made_of.base.to_owned(),
            pre_tokenizer: made_of.pre_tokenizer.map(str::to_owned),
            converter: made_of.converter.map(str::to_owned),
            text: (self.text.name.clone(), self.text.sha256.clone()),
            chunks: self.chunks,
            context: llama::imatrix::CONTEXT,
            tool: self.tool.clone(),
        };
        Some(Slot::new(cache, facts))
    }

    fn take(&mut self, cached: Cached, selection: &Selection) -> Result<Found, ImportanceError> {
        let matrix = Imatrix::open(&cached.path, &self.file, selection)?;
        let file = ImatrixFile {
            file: self.file.clone(),
            size: cached.size,
            sha256: cached.sha256.clone(),
            entries: matrix.as_ref().map(|m| m.origin.entries),
            chunks: matrix.as_ref().and_then(|m| m.origin.chunks),
            perplexity: cached.perplexity,
            origin: None,
        };
        self.cached = Some(cached);
        Ok(Found { matrix, file })
    }

    /// Computes it, unless it is there by now; it is in the cache then.
    ///
    /// # Errors
    /// [`JobError`]; nothing of it is kept then.
    pub(super) fn compute(
        &mut self,
        prepared: &Prepared,
        base: &Base,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Found, JobError> {
        let slot = self.slot(&MadeOf::job(prepared), &setting.hub.cache);
        let model = &prepared.model;
        self.settle(slot, &selection(model), setting, observer, cancel, |calculation, toolchain| {
            let path = base.path(prepared, setting, observer, cancel)?;
            let (folder, task) = (base.scratch()?, model.name.as_str());
            let work = Work { calculation, model: path, folder, threads: setting.threads, task };
            Ok(work.run(toolchain, observer, cancel)?)
        })
    }

    /// The matrix of the cache, or else what `compute` makes, which the cache has then.
    fn settle(
        &mut self,
        slot: Option<Slot>,
        selection: &Selection,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
        compute: impl FnOnce(&Self, &Toolchain) -> Result<(PathBuf, Option<f64>), JobError>,
    ) -> Result<Found, JobError> {
        // Another job of the same model may be at it.
        let _lock = slot.as_ref().map(|slot| slot.hold(cancel)).transpose()?.flatten();
        if let Some(cached) = slot.as_ref().and_then(|slot| slot.find(cancel)) {
            observer.event(self.event(Code::ImatrixCached, "taken from the cache", &cached));
            return Ok(self.take(cached, selection)?);
        }
        let toolchain = setting.llama.obtain(cancel, observer)?;
        let (path, perplexity) = compute(self, toolchain)?;
        let cached = match slot.map(|slot| slot.put(&path, perplexity, cancel)) {
            Some(Ok(cached)) => cached,
            Some(Err(ImportanceError::Stopped)) => return Err(JobError::Stopped),
            // A cache that cannot be written, or a source without hashes: it serves this job.
            Some(Err(_)) | None => cached_at(path, perplexity, cancel)?,
        };
        observer.event(self.event(Code::ImatrixComputed, "computed", &cached));
        Ok(self.take(cached, selection)?)
    }

    fn event(&self, code: Code, what: &str, cached: &Cached) -> Event {
        let perplexity = cached.perplexity.map(|p| format!("; perplexity {p:.2}")).unwrap_or_default();
        let text = format!(
            "importance matrix {what}: `{}` of `{}` by {}, {}{perplexity}",
            self.file,
            self.text.name,
            self.tool,
            units::decimal(cached.size)
        );
        Event::new(code, text)
            .with("file", self.file.as_str())
            .with("dataset", self.text.name.as_str())
            .with("dataset_sha256", self.text.sha256.as_str())
            .with("sha256", cached.sha256.as_str())
            .with("perplexity", cached.perplexity)
    }

    /// Its file, where it goes straight into a publication.
    pub(super) fn to_publish(&self) -> Option<PublishFile> {
        let Cached { path, size, sha256, .. } = self.cached.clone()?;
        Some(PublishFile { path: self.file.clone(), content: Content::File { path, size, sha256 } })
    }

    /// One line for a plan: how it comes to be.
    pub fn describe(&self) -> String {
        let chunks = match self.chunks {
            Some(n) => format!("at most {} of `{}`", units::counted(n as usize, "chunk"), self.text.name),
            None => format!("all of `{}`", self.text.name),
        };
        match &self.cached {
            Some(_) => format!("`{}`: from the cache, computed over {chunks} by {}", self.file, self.tool),
            None => format!("`{}`: to be computed over {chunks} by {}", self.file, self.tool),
        }
    }
}

/// What a base is made of, as far as it decides a matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeOf<'a> {
    pub(super) files: &'a [SourceFile],
    pub(super) base: &'a str,
    pub(super) pre_tokenizer: Option<&'a str>,
    pub(super) converter: Option<&'a str>,
}

impl<'a> MadeOf<'a> {
    /// That of a job's outputs.
    pub(super) fn job(prepared: &'a Prepared) -> Self {
        let recipe = prepared.outputs.iter().find(|o| o.tower.is_none()).map(|o| &o.recipe);
        MadeOf {
            files: &prepared.source.files,
            base: recipe.map_or("", |r| r.out_type.as_str()),
            pre_tokenizer: recipe.and_then(|r| r.pre_tokenizer.as_deref()),
            converter: recipe.and_then(|r| r.converter.as_deref()),
        }
    }
}

/// A calculation that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// What is computed.
    pub calculation: &'a Calculation,
    /// The base.
    pub model: &'a Path,
    /// A folder in which one for the text and the matrix is made: a text may have any name, the base's as well.
    pub folder: &'a Path,
    /// Threads that compute.
    pub threads: usize,
    /// What progress is about.
    pub task: &'a str,
}

impl Work<'_> {
    /// Computes; gives the file and the model's perplexity over the text.
    ///
    /// # Errors
    /// [`ImportanceError`]; what is in the folder is not to be used then.
    pub fn run(
        &self,
        toolchain: &Toolchain,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(PathBuf, Option<f64>), ImportanceError> {
        let Calculation { file, text, chunks, tool, .. } = self.calculation;
        let folder = self.folder.join("imatrix");
        let path = folder.join(&text.name);
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &text.bytes));
        written.map_err(|source| ImportanceError::io(&path, source))?;
        let event = format!("computing the importance matrix over `{}` with {tool}", text.name);
        observer.event(
            Event::new(Code::ImatrixStarted, event)
                .about(self.task)
                .with("dataset_sha256", text.sha256.as_str())
                .with("chunks", *chunks),
        );
        let calculation = llama::imatrix::Calculation {
            model: self.model,
            folder: &folder,
            text: &text.name,
            output: file,
            chunks: *chunks,
            threads: self.threads,
        };
        let task = format!("{}: importance matrix", self.task);
        let calculated = llama::imatrix::compute(toolchain, &calculation, cancel, &mut |done, total| {
            observer.progress(Progress::things(task.as_str(), "chunk", done.into(), total.into()));
        });
        match calculated {
            Ok(calculated) => Ok((folder.join(file), calculated.perplexity)),
            Err(error) if error.is_cancelled() => Err(ImportanceError::Stopped),
            Err(error) => Err(error.into()),
        }
    }
}

fn cached_at(path: PathBuf, perplexity: Option<f64>, cancel: &Cancel) -> Result<Cached, ImportanceError> {
    let io = |source| ImportanceError::io(&path, source);
    let size = fs::metadata(&path).map_err(io)?.len();
    let sha256 = hash::sha256_file(&path, cancel).map_err(io)?;
    Ok(Cached { path, size, sha256, perplexity })
}

/// Puts the matrix beside an output. Nothing where it was not computed.
///
/// # Errors
/// It cannot be written.
pub(super) fn put_beside(calculation: Option<&Calculation>, folder: &Path) -> Result<(), JobError> {
    let Some((calculation, cached)) = calculation.and_then(|c| Some((c, c.cached.as_ref()?))) else {
        return Ok(());
    };
    let path = folder.join(&calculation.file);
    cache::copy(&cached.path, &path).map_err(|source| JobError::Io { path, source })
}
