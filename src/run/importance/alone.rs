//! A matrix by itself, for who wants no outputs of it now.

use std::fs;
use std::path::{Path, PathBuf};

use super::cache;
use super::{Calculation, ImportanceError, MadeOf, Text, Work, tool_name};
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::card::metadata::{ImatrixFile, SourceFile};
use crate::config::{Dataset, Model};
use crate::event::Observer;
use crate::quantize::imatrix::Selection;
use crate::run::JobError;
use crate::run::base::{Base, Scratch};
use crate::run::job;
use crate::run::prepared::Setting;

/// What all such matrices need to know.
#[derive(Clone, Copy, Debug)]
pub struct Alone<'a> {
    /// Where it goes.
    pub outfile: &'a Path,
    /// Threads, caches, the toolchain.
    pub setting: &'a Setting,
}

impl Alone<'_> {
    /// Of a checkpoint, whose entry says over which text.
    ///
    /// # Errors
    /// [`JobError`]; no file is left then.
    pub fn of_model(
        &self,
        model: &Model,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ImatrixFile, JobError> {
        let setting = self.setting;
        let base = Base::new(self.scratch());
        let mut prepared = job::convert_first(model, &base, setting, observer, cancel)?;
        let found = match prepared.calculation.take_if(|c| c.cached.is_none()) {
            Some(mut calculation) => {
                job::fetch(&mut prepared, setting, observer, cancel)?;
                let found = calculation.compute(&prepared, &base, setting, observer, cancel)?;
                job::forget_weights(&prepared, setting, cancel)?;
                prepared.calculation = Some(calculation);
                found.file
            }
            None => prepared.imatrix_file.clone().unwrap_or_default(),
        };
        self.leave(prepared.calculation.as_ref(), found)
    }

    /// Of a GGUF file.
    ///
    /// # Errors
    /// As [`Alone::of_model`].
    pub fn of_file(
        &self,
        gguf: &Path,
        dataset: &Dataset,
        chunks: Option<u32>,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ImatrixFile, JobError> {
        let setting = self.setting;
        let io = |source| ImportanceError::io(gguf, source);
        let file = SourceFile {
            path: gguf.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size: fs::metadata(gguf).map_err(io)?.len(),
            modified_ns: None,
            sha256: Some(hash::sha256_file(gguf, cancel).map_err(io)?),
        };
        let mut calculation = Calculation {
            file: self.outfile.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            text: Text::read(dataset, &setting.hub, observer, cancel)?,
            chunks,
            tool: tool_name(&setting.llama, observer, cancel)?,
            cached: None,
        };
        let made_of = MadeOf { files: &[file], base: "GGUF", pre_tokenizer: None, converter: None };
        let slot = calculation.slot(&made_of, &setting.hub.cache);
        let scratch = self.scratch();
        let found = calculation.settle(
            slot,
            &Selection::default(),
            setting,
            observer,
            cancel,
            |calculation, toolchain| {
                let model = std::path::absolute(gguf).map_err(io)?;
                let (folder, task) = (scratch.folder()?, calculation.file.as_str());
                let work = Work { calculation, model: &model, folder, threads: setting.threads, task };
                Ok(work.run(toolchain, observer, cancel)?)
            },
        )?;
        self.leave(Some(&calculation), found.file)
    }

    fn scratch(&self) -> Scratch {
        let name = self.outfile.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Scratch::new(
            std::path::absolute(self.outfile)
                .unwrap_or_else(|_| self.outfile.to_owned())
                .with_file_name(format!(".{name}.scratch")),
        )
    }

    fn leave(&self, calculation: Option<&Calculation>, file: ImatrixFile) -> Result<ImatrixFile, JobError> {
        if let Some(cached) = calculation.and_then(|c| c.cached.as_ref()) {
            let path: PathBuf = self.outfile.to_owned();
            cache::copy(&cached.path, &path).map_err(|source| JobError::Io { path, source })?;
        }
        Ok(file)
    }
}
