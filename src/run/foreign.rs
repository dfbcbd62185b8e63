//! Families that this program does not know: llama.cpp's own converter makes the base, the engine quantizes that.
//!
//! In: a checkpoint whose conversion is refused as not supported. Out: the base as a GGUF file, and its blueprint. The
//! header of a base is kept in the cache, by everything that decides it, so that a plan and a run that makes nothing
//! need no second conversion. What it costs: the base on the disk, a Python with several gigabytes of libraries, the
//! memory that those take, and time; the engine alone needs none of that.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::JobError;
use super::files;
use super::prepared::Setting;
use crate::base::cancel::Cancel;
use crate::base::{atomic, hash, units};
use crate::card::metadata::SourceFile;
use crate::checkpoint::{Checkpoint, GgufFile};
use crate::convert::{Blueprint, ConvertError, ConvertOptions, OutType};
use crate::event::{Code, Event, Observer, Progress};
use crate::hub;
use crate::llama::converter::{self, Conversion};
use crate::llama::tool::ToolError;

/// A checkpoint of a family that this program does not know.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its name, from which the converter derives `general.name`.
    pub name: String,
    /// Why this program does not convert it.
    pub why: String,
    /// What converts it, as recipes name it.
    pub converter: String,
    /// Bytes of its weights, and so about those of the base.
    pub weight_bytes: u64,
    folder: PathBuf,
    /// Where its weights are, if they are not here.
    remote: Option<(hub::RepoId, String)>,
    out_type: OutType,
    model_name: Option<String>,
    /// Where the base's header is, once it was made.
    header: PathBuf,
}

impl Foreign {
    /// Takes a checkpoint over whose conversion was refused.
    pub(super) fn new(
        checkpoint: &Checkpoint,
        remote: Option<&hub::Description>,
        files: &[SourceFile],
        options: &ConvertOptions,
        refused: &ConvertError,
        converter: String,
        setting: &Setting,
    ) -> Self {
        let mut foreign = Foreign {
            name: checkpoint.name.clone(),
            why: refused.to_string(),
            converter,
            weight_bytes: checkpoint.weight_bytes(),
            folder: checkpoint.folder.clone(),
            remote: remote.map(|r| (r.repo.clone(), r.commit.clone())),
            out_type: options.out_type,
            model_name: options.model_name.clone(),
            header: PathBuf::new(),
        };
        // Weights decide the header by their names, types and shapes alone.
        let small = files.iter().filter(|f| !f.path.ends_with(".safetensors"));
        let mut facts: Vec<String> =
            small.map(|f| format!("{} {:?}", f.path, (&f.sha256, f.size, f.modified_ns))).collect();
        facts.extend(
            checkpoint
                .tensors
                .iter()
                .map(|t| format!("{:?}", (&t.entry.name, t.entry.dtype, &t.entry.shape))),
        );
        facts.push(format!(
            "{:?}",
            (&foreign.name, &foreign.converter, foreign.out_type, &foreign.model_name)
        ));
        let key = &hash::sha256(facts.join("\n").as_bytes())[..32];
        foreign.header = setting.hub.cache.join("converted").join(format!("{key}.header"));
        foreign
    }

    /// The blueprint of the base, if it was made before.
    pub(super) fn blueprint(&self) -> Option<Blueprint> {
        let mut file = BufReader::new(File::open(&self.header).ok()?);
        let (header, data_start) = crate::gguf::read_header(&mut file).ok()?;
        Blueprint::from_headers(&[(&header, data_start)]).ok()
    }

    /// What it costs, for a plan.
    pub fn describe(&self) -> String {
        format!(
            "converted by {}'s own converter ({}): about {} more on the disk for the base, a Python environment of some \
             gigabytes once, and minutes in place of seconds",
            self.converter,
            self.why,
            units::decimal(self.weight_bytes)
        )
    }

    /// Converts into a file of this folder.
    ///
    /// # Errors
    /// [`JobError`]: there is no room, no toolchain or no Python, or the converter does not know the family either.
    pub(super) fn convert(
        &self,
        scratch: &Path,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PathBuf, JobError> {
        let text = self.describe();
        observer.event(
            Event::new(Code::FallbackStarted, text)
                .about(&*self.name)
                .with("weight_bytes", self.weight_bytes),
        );
        let outfile = scratch.join("base.gguf");
        files::check_room(&outfile, self.weight_bytes, observer)?;
        let folder = match &self.remote {
            Some((repo, commit)) => hub::snapshot(repo, Some(commit), &setting.hub, observer, cancel)?.folder,
            None => self.folder.clone(),
        };
        let toolchain = setting.llama.obtain(cancel, observer)?;
        let converter = toolchain.converter()?;
        let python = setting.python.obtain(&converter, &setting.llama, observer, cancel)?;
        // The folder's name becomes the model's.
        let staged = scratch.join("checkpoint").join(&self.name);
        converter::stage(&folder, &staged)?;
        let conversion = Conversion {
            python: &python,
            converter: &converter,
            folder: &staged,
            outfile: &outfile,
            out_type: match self.out_type {
                OutType::F32 => "f32",
                OutType::F16 => "f16",
                OutType::BF16 => "bf16",
                OutType::Q8_0 => "q8_0",
                OutType::Auto => "auto",
            },
            model_name: self.model_name.as_deref(),
            home: &scratch.join("home"),
        };
        let process = crate::base::process::Process::new(&python).environment(setting.llama.environment());
        let task = format!("{}: llama.cpp's converter", self.name);
        let total = self.weight_bytes;
        let done = converter::convert(&conversion, process, cancel, &mut |percent| {
            let done = total / 100 * u64::from(percent.min(100));
            observer.progress(Progress::bytes(task.as_str(), done, total));
        });
        match done {
            Ok(()) => {}
            Err(error) if error.is_cancelled() => return Err(JobError::Stopped),
            Err(error) => return Err(error.into()),
        }
        let base = GgufFile::open(&outfile)?;
        self.keep_header(&outfile, base.data_start)
            .map_err(|source| JobError::Io { path: self.header.clone(), source })?;
        let bytes = std::fs::metadata(&outfile).map_or(0, |m| m.len());
        let text = format!("llama.cpp's converter made the base: {}", units::decimal(bytes));
        observer.event(Event::new(Code::FallbackFinished, text).about(&*self.name).with("bytes", bytes));
        Ok(outfile)
    }

    fn keep_header(&self, base: &Path, bytes: u64) -> io::Result<()> {
        let mut header = Vec::new();
        File::open(base)?.take(bytes).read_to_end(&mut header)?;
        match atomic::write(&self.header, &header) {
            // A cache that cannot be written costs a conversion the next time.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            done => done,
        }
    }
}

impl From<ToolError> for JobError {
    fn from(error: ToolError) -> Self {
        if error.is_cancelled() { JobError::Stopped } else { JobError::Tool(error) }
    }
}
