//! A job that is ready to be done, or to be shown: what was asked for, the checkpoint's headers, and every output with its
//! layout and what happens to it.

use std::path::PathBuf;
use std::sync::Arc;

use super::base;
use super::evaluate::{Evaluating, Figures};
use super::files;
use super::foreign::Foreign;
use super::importance::Calculation;
use super::papers::Papers;
use super::place::Place;
use super::stream::Streaming;
use crate::card::metadata::ImatrixFile;
use crate::card::metadata::{Recipe, Source};
use crate::checkpoint::Checkpoint;
use crate::config::Model;
use crate::convert::Blueprint;
use crate::hub::{self, HubOptions, TokenSource};
use crate::llama::Wanted;
use crate::llama::python::PythonSource;
use crate::plan::Decision;
use crate::quantize::split::Part;
use crate::quantize::{Coverage, Imatrix, Layout, Method};

/// What every job of a run shares.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where outputs go.
    pub output: PathBuf,
    /// Where remote checkpoints come from and are kept.
    pub hub: HubOptions,
    /// Where tokens for uploads come from.
    pub tokens: TokenSource,
    /// Make outputs again that are up to date.
    pub force: bool,
    /// Publish outputs whose models say where; if not, the Hub is not even asked.
    pub publish: bool,
    /// Keep downloaded sources.
    pub keep_files: bool,
    /// Measure what quantizing loses.
    pub stats: bool,
    /// Threads that compute.
    pub threads: usize,
    /// Most memory for weights, in bytes.
    pub memory: Option<u64>,
    /// The llama.cpp that computes matrices, tries outputs out and converts what this program does not know.
    pub llama: Arc<Wanted>,
    /// Whether its converter takes the families that this program does not know, where a model does not say.
    pub fallback: bool,
    /// The Python that its converter runs in.
    pub python: PythonSource,
}

/// A job that is ready to be done, or to be shown.
#[derive(Debug)]
pub struct Prepared {
    /// What was asked for.
    pub model: Model,
    /// The checkpoint; of a remote one, the headers only.
    pub checkpoint: Checkpoint,
    /// What is known of a remote one.
    pub remote: Option<hub::Description>,
    /// The conversion.
    pub blueprint: Blueprint,
    /// What llama.cpp's own converter has to do first, where this program does not know the family.
    pub foreign: Option<Foreign>,
    /// The importance matrix of all outputs.
    pub imatrix: Option<Imatrix>,
    /// What the metadata says of its file, once it is there.
    pub imatrix_file: Option<ImatrixFile>,
    /// How it is computed, where it is.
    pub calculation: Option<Calculation>,
    /// The source, as the metadata records it.
    pub source: Source,
    /// The outputs, in the order of the methods.
    pub outputs: Vec<Planned>,
    /// What is measured of the outputs.
    pub evaluating: Option<Evaluating>,
    /// What the cards say.
    pub papers: Papers,
    /// Where it is published; none where nobody says where, or nothing is to be published.
    pub place: Option<Place>,
    /// Whether the outputs go straight into the upload, and why.
    pub streaming: Option<Streaming>,
}

/// One output of a job.
#[derive(Debug)]
pub struct Planned {
    /// How the weights are quantized.
    pub method: &'static Method,
    /// Name of the file without its ending, and of its folder.
    pub stem: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Header, types, offsets, exact size.
    pub layout: Layout,
    /// The conversion, where it is not the job's: that of a vision tower.
    pub tower: Option<Box<Blueprint>>,
    /// How far the importance matrix covers it.
    pub coverage: Option<Coverage>,
    /// Its files, where it is split; none where it is one file.
    pub parts: Vec<Part>,
    /// What decides its bytes, as the metadata records it.
    pub recipe: Recipe,
    /// Whether it is made, and why.
    pub decision: Decision,
    /// What is known of its quality.
    pub figures: Figures,
}

impl Planned {
    /// Name of the file; of the first one where it is split.
    pub fn file_name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its final place; that of the first file where it is split.
    pub fn path(&self) -> PathBuf {
        files::paths(&self.whole_path(), &self.parts).swap_remove(0)
    }

    /// Its place if it were one file.
    pub(super) fn whole_path(&self) -> PathBuf {
        self.folder.join(format!("{}.gguf", self.stem))
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        files::bytes(&self.layout, &self.parts)
    }
}

impl Prepared {
    /// Bytes that the outputs to be made will have.
    pub fn bytes_to_make(&self) -> u64 {
        self.to_make().map(Planned::bytes).sum()
    }

    /// Bytes that the outputs take of the disk.
    pub fn bytes_to_write(&self) -> u64 {
        if self.streaming.is_some() { 0 } else { self.bytes_to_make() }
    }

    /// Bytes that weights and outputs take of the disk, at most at once.
    pub fn disk_needed(&self) -> u64 {
        if self.streaming.is_some() {
            return 0;
        }
        self.bytes_to_fetch() + self.bytes_to_make() + self.base_bytes() + self.probabilities()
    }

    /// Whether the model is needed as a file in its own type while the outputs are made.
    pub fn needs_base(&self) -> bool {
        let computes = self.calculation.as_ref().is_some_and(|c| c.cached.is_none());
        self.to_quantize().next().is_some() && (computes || self.foreign.is_some())
    }

    /// Bytes that this file takes of the disk meanwhile.
    pub fn base_bytes(&self) -> u64 {
        if self.needs_base() || self.compares() { base::bytes(&self.blueprint).unwrap_or(0) } else { 0 }
    }

    /// Bytes that are published, at most: what the Hub has already is not sent.
    pub fn bytes_to_publish(&self) -> u64 {
        let new = self.outputs.iter().filter(|o| o.decision != Decision::Published);
        if self.publishes() { new.map(Planned::bytes).sum() } else { 0 }
    }

    /// Whether anything is to be published.
    pub fn publishes(&self) -> bool {
        let new = || self.outputs.iter().any(|o| o.decision != Decision::Published);
        self.place.as_ref().is_some_and(|place| place.proposed.is_none() && (place.changes() || new()))
    }

    /// The outputs that are to be made.
    pub fn to_make(&self) -> impl Iterator<Item = &Planned> {
        self.outputs.iter().filter(|o| matches!(o.decision, Decision::Make(_)))
    }

    /// Those of them that are made of the text model, all in one pass.
    pub fn to_quantize(&self) -> impl Iterator<Item = &Planned> {
        self.to_make().filter(|o| o.tower.is_none())
    }

    /// Bytes of the checkpoint that must be fetched first.
    pub fn bytes_to_fetch(&self) -> u64 {
        match &self.remote {
            Some(remote) if self.bytes_to_make() > 0 || self.compares() => remote.missing_bytes(),
            _ => 0,
        }
    }
}
