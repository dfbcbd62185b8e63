//! The base GGUF of a job: the checkpoint in its own type, as a file, for the programs of llama.cpp.
//!
//! In: a prepared job whose weights are here. Out: `base.gguf` in the job's scratch folder, made when somebody first
//! asks for it, kept until the job ends, removed with the folder then. The engine itself never needs it.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::JobError;
use super::clock::Span;
use super::files::{self, Target, Work};
use super::foreign::Foreign;
use super::prepared::{Prepared, Setting};
use crate::base::atomic::Outlives;
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::units;
use crate::config::Model;
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::quantize::Layout;

/// The base's file.
const FILE: &str = "base.gguf";

/// A folder for what a job needs while it is under way. It is made when it is first asked for, and removed when this
/// is dropped; what a killed run left there is removed first.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    /// Set when it was made: whether the folder that it is in was, too.
    made: OnceCell<bool>,
    /// Held until the folder is removed, where nothing else keeps other runs out of it.
    _lock: Option<FileLock>,
}

impl Scratch {
    /// That of a model's job: beside its outputs, so that it is on their disk.
    pub fn of(model: &Model, setting: &Setting) -> Self {
        Scratch::new(setting.output.join(format!(".{}{}.scratch", model.prefix, model.name)))
    }

    /// At this path. Programs that work in it are told of it, so it is made absolute.
    pub fn new(folder: PathBuf) -> Self {
        Scratch::locked(folder, None)
    }

    fn locked(folder: PathBuf, lock: Option<FileLock>) -> Self {
        Scratch { folder: std::path::absolute(&folder).unwrap_or(folder), made: OnceCell::new(), _lock: lock }
    }

    /// One of many in a folder of caches, for work that has no outputs of its own. Who does the same work waits; what
    /// killed runs left of any is removed.
    ///
    /// # Errors
    /// The cache cannot be written, or it was stopped.
    pub fn among(all: &Path, name: &str, cancel: &Cancel) -> Result<Self, JobError> {
        let lock = |name: &str| all.join(format!(".{name}.lock"));
        let path = lock(name);
        let held = FileLock::acquire(&path, cancel).map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => JobError::Stopped,
            _ => JobError::Io { path, source },
        })?;
        for entry in fs::read_dir(all).into_iter().flatten().flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            let is_other = !other.starts_with('.') && other != name;
            if is_other && let Ok(Some(_nobody)) = FileLock::try_acquire(&lock(&other)) {
                // It is in nobody's way but the disk's.
                let _ = remove(&entry.path());
            }
        }
        Ok(Scratch::locked(all.join(name), Some(held)))
    }

    /// Its path; it is there then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self) -> Result<&Path, JobError> {
        if self.made.get().is_none() {
            let error = |source| JobError::Io { path: self.folder.clone(), source };
            let fresh = self.folder.parent().is_some_and(|above| !above.exists());
            remove(&self.folder).map_err(error)?;
            fs::create_dir_all(&self.folder).map_err(error)?;
            // Nobody else has it: jobs of the same outputs wait for each other.
            let _ = self.made.set(fresh);
        }
        Ok(&self.folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(fresh) = self.made.get() {
            // The next run of these outputs removes what stays.
            let _ = remove(&self.folder);
            if let Some(above) = self.folder.parent().filter(|_| *fresh) {
                // With outputs in it, it stays.
                let _ = fs::remove_dir(above);
            }
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The base, made when it is needed.
#[derive(Debug)]
pub struct Base {
    scratch: Scratch,
    made: OnceCell<PathBuf>,
    /// How long llama.cpp's own converter took.
    converted: OnceCell<Span>,
}

impl Base {
    /// None yet; it will be in this folder.
    pub fn new(scratch: Scratch) -> Self {
        Base { scratch, made: OnceCell::new(), converted: OnceCell::new() }
    }

    /// The folder for what goes with it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<&Path, JobError> {
        self.scratch.folder()
    }

    /// The file, whole.
    ///
    /// # Errors
    /// [`JobError`]: the disk is too small, or the weights cannot be read or are no numbers.
    pub fn path(
        &self,
        prepared: &Prepared,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<&Path, JobError> {
        if let Some(path) = self.made.get() {
            return Ok(path);
        }
        match &prepared.foreign {
            Some(foreign) => self.convert(foreign, setting, observer, cancel),
            None => {
                let path = self.make(prepared, setting, observer, cancel)?;
                Ok(self.made.get_or_init(|| path))
            }
        }
    }

    /// The file, made by llama.cpp's own converter.
    ///
    /// # Errors
    /// As [`Foreign::convert`].
    pub(super) fn convert(
        &self,
        foreign: &Foreign,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<&Path, JobError> {
        if let Some(path) = self.made.get() {
            return Ok(path);
        }
        let folder = self.scratch.folder()?;
        let (path, span) = Span::of(|| foreign.convert(folder, setting, observer, cancel));
        let path = path?;
        // Made once: it was asked above.
        let _ = self.converted.set(span);
        Ok(self.made.get_or_init(|| path))
    }

    /// How long llama.cpp's own converter took, where it made the file.
    pub(super) fn conversion(&self) -> Option<Span> {
        self.converted.get().copied()
    }

    fn make(
        &self,
        prepared: &Prepared,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PathBuf, JobError> {
        let layout = converted(&prepared.blueprint)?;
        let path = self.scratch.folder()?.join(FILE);
        let name = &prepared.model.name;
        let text = format!(
            "the model in its own type, as a file for llama.cpp: {}",
            units::decimal(layout.file_bytes())
        );
        observer.event(Event::new(Code::BaseMade, text).about(&**name).with("bytes", layout.file_bytes()));
        let work = Work {
            threads: setting.threads,
            memory: setting.memory,
            check_finite: true,
            hash: false,
            stats: false,
            outlives: Outlives::Process,
            task: name.clone(),
        };
        let target = Target { name: FILE.to_owned(), path: path.clone(), layout, parts: Vec::new() };
        files::write(&prepared.checkpoint, &prepared.blueprint, &[target], None, &work, cancel, observer)?;
        Ok(path)
    }
}

/// Bytes of the base, where it is made from the blueprint.
///
/// # Errors
/// As [`Layout::converted`].
pub fn bytes(blueprint: &Blueprint) -> Result<u64, JobError> {
    Ok(converted(blueprint)?.file_bytes())
}

fn converted(blueprint: &Blueprint) -> Result<Layout, JobError> {
    Layout::converted(blueprint).map_err(|source| JobError::Layout { method: "base", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_there_while_it_is_needed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("output/.x.scratch");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("left"), "by a killed run").unwrap();
        let unused = Scratch::new(path.clone());
        drop(unused);
        assert!(path.join("left").exists(), "nobody asked for it");
        let scratch = Scratch::new(path.clone());
        let folder = scratch.folder().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        fs::write(folder.join("a"), "").unwrap();
        assert!(scratch.folder().unwrap().join("a").exists(), "the second time it is the same");
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_scratch_folders_those_of_killed_runs_go() {
        let root = tempfile::tempdir().unwrap();
        let (all, cancel) = (root.path().join("evaluate"), Cancel::new());
        let fill = |name: &str| {
            let scratch = Scratch::among(&all, name, &cancel).unwrap();
            fs::write(scratch.folder().unwrap().join("base.gguf"), "").unwrap();
            scratch
        };
        let running = fill("a");
        let stopped = Cancel::new();
        stopped.cancel();
        assert!(matches!(Scratch::among(&all, "a", &stopped), Err(JobError::Stopped)), "it is in use");
        fs::create_dir_all(all.join("killed")).unwrap();
        drop(fill("b"));
        assert!(all.join("a/base.gguf").exists(), "the other run goes on");
        assert!(!all.join("b").exists() && !all.join("killed").exists());
        drop(running);
        assert!(!all.join("a").exists());
    }
}
