//! Writing GGUF files: checked against disk and memory first, whole under their final names or not there at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::base::atomic::{AtomicFile, Outlives, WholeFile, commit_all};
use crate::base::cancel::Cancel;
use crate::base::sha256::Sha256;
use crate::base::{memory, space, units};
use crate::checkpoint::Weights;
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::gguf::Header;
use crate::quantize::Imatrix;
use crate::quantize::layout::Layout;
use crate::quantize::pass::{self, Output, PassError, PassOptions, PassReport, Sink};
use crate::quantize::split::{Part, part_path};

/// An output to write: a file, or several.
#[derive(Clone, Debug)]
pub struct Target {
    /// What to call it in messages: the method or the file's name.
    pub name: String,
    /// Its final place; that of a split output's files follows from it ([`part_path`]).
    pub path: PathBuf,
    /// What goes into it.
    pub layout: Layout,
    /// Its files, where it is split; none where it is one file.
    pub parts: Vec<Part>,
}

impl Target {
    /// The final places of its files.
    pub fn paths(&self) -> Vec<PathBuf> {
        paths(&self.path, &self.parts)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        bytes(&self.layout, &self.parts)
    }
}

/// The files of an output that is whole at `path`, or split.
pub fn paths(path: &Path, parts: &[Part]) -> Vec<PathBuf> {
    match parts.len() {
        0 => vec![path.to_owned()],
        count => (0..count).map(|i| part_path(path, i, count)).collect(),
    }
}

/// Bytes of all files of an output.
pub fn bytes(layout: &Layout, parts: &[Part]) -> u64 {
    if parts.is_empty() { layout.file_bytes() } else { parts.iter().map(Part::file_bytes).sum() }
}

/// An output whose files are whole under their final names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, in order; more than one where the output is split.
    pub files: Vec<WrittenFile>,
}

impl Written {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// The first file, which programs open.
    pub fn first(&self) -> &WrittenFile {
        &self.files[0]
    }

    /// The sha256 of the one file; a split output has none of its own.
    pub fn sha256(&self) -> Option<&str> {
        match &*self.files {
            [file] => file.sha256.as_deref(),
            _ => None,
        }
    }
}

/// A file that is whole under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its final place.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its sha256 in hexadecimal digits, where it was asked for.
    pub sha256: Option<String>,
}

/// How to work; none of it changes a byte.
#[derive(Clone, Debug)]
pub struct Work {
    /// Threads that compute.
    pub threads: usize,
    /// Most memory to use for weights, in bytes; `None`: a quarter of what is free, at most 4 GiB.
    pub memory: Option<u64>,
    /// Whether weights that are NaN or infinite are an error.
    pub check_finite: bool,
    /// Whether to hash the files as they are written.
    pub hash: bool,
    /// Whether to measure what quantizing loses.
    pub stats: bool,
    /// What the finished files outlive.
    pub outlives: Outlives,
    /// What progress is about.
    pub task: String,
}

impl Work {
    /// Most memory to use for weights, in bytes.
    pub(super) fn allowed_memory(&self) -> u64 {
        self.memory.unwrap_or_else(default_memory)
    }
}

/// Why files could not be written. None of them is there under its final name.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The disk is too small.
    #[error("`{folder}` has {} free where {} are needed", units::decimal(*free), units::decimal(*needed))]
    Space {
        /// Where the files were to be.
        folder: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Not even the smallest slabs fit.
    #[error("the work needs {} of memory where {} are allowed", units::decimal(*needed), units::decimal(*allowed))]
    Memory {
        /// Bytes needed with the smallest slabs.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// A file could not be started or finished.
    #[error("cannot write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pass failed.
    #[error(transparent)]
    Pass(#[from] PassError),
}

/// Outputs that are whole beside their final places. Dropped, they are removed, and what stood there before stays.
#[derive(Debug)]
pub struct Unnamed {
    outputs: Vec<(Vec<WholeFile>, Written)>,
}

impl Unnamed {
    /// Gives all files their final names.
    ///
    /// # Errors
    /// [`WriteError::Io`]; the files before the one that it names have their names already.
    pub fn commit(self) -> Result<Vec<Written>, WriteError> {
        let (files, written): (Vec<_>, Vec<_>) = self.outputs.into_iter().unzip();
        commit_all(files.into_iter().flatten().collect())
            .map_err(|(path, source)| WriteError::Io { path, source })?;
        Ok(written)
    }
}

/// Writes the targets in one pass over the weights. The importance matrix is that of all of them.
///
/// # Errors
/// [`WriteError`]; then no target is there, or what stood in its place before still does.
pub fn write(
    weights: &dyn Weights,
    blueprint: &Blueprint,
    targets: &[Target],
    imatrix: Option<&Imatrix>,
    work: &Work,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<(Vec<Written>, PassReport), WriteError> {
    let (unnamed, report) = make(weights, blueprint, targets, imatrix, work, cancel, observer)?;
    Ok((unnamed.commit()?, report))
}

/// As [`write`], but for the names: what stands in the targets' places stays until [`Unnamed::commit`].
///
/// # Errors
/// [`WriteError`]; nothing is left of the targets then.
pub fn make(
    weights: &dyn Weights,
    blueprint: &Blueprint,
    targets: &[Target],
    imatrix: Option<&Imatrix>,
    work: &Work,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<(Unnamed, PassReport), WriteError> {
    let Some(first) = targets.first() else {
        return Ok((Unnamed { outputs: Vec::new() }, PassReport::default()));
    };
    check_space(targets, observer)?;
    let held = imatrix.map_or(0, Imatrix::bytes);
    let options = fit(blueprint, targets, held, work, observer)?;

    let io_error = |path: &Path| {
        let path = path.to_owned();
        |source| WriteError::Io { path, source }
    };
    let mut sinks = targets
        .iter()
        .map(|t| FileSink::create(t.paths(), work).map_err(io_error(&t.path)))
        .collect::<Result<Vec<_>, _>>()?;
    let outputs = targets
        .iter()
        .zip(&mut sinks)
        .map(|(t, sink)| Output {
            name: &t.name,
            header: &t.layout.header,
            recipes: &t.layout.recipes,
            parts: &t.parts,
            sink,
        })
        .collect();
    debug_assert!(targets.iter().all(|t| t.layout.recipes == first.layout.recipes));
    let report = pass::pass(weights, blueprint, outputs, imatrix, &options, cancel, observer)?;
    let mut outputs = targets
        .iter()
        .zip(sinks)
        .map(|(t, sink)| sink.finish().map_err(io_error(&t.path)))
        .collect::<Result<Vec<_>, _>>()?;
    // All of them are on their way to the disk by now.
    for file in outputs.iter_mut().flat_map(|(files, _)| files) {
        file.settle().map_err(io_error(file.target()))?;
    }
    Ok((Unnamed { outputs }, report))
}

fn check_space(targets: &[Target], observer: &dyn Observer) -> Result<(), WriteError> {
    check_room(&targets[0].path, targets.iter().map(Target::bytes).sum(), observer)
}

/// Compares the free disk where a file is to be with so many bytes.
///
/// # Errors
/// [`WriteError::Space`].
pub(super) fn check_room(path: &Path, needed: u64, observer: &dyn Observer) -> Result<(), WriteError> {
    let folder = existing_folder(path);
    // A system that does not tell is no reason to refuse.
    let Some(free) = space::free(&folder).ok().flatten() else { return Ok(()) };
    observer.event(
        Event::new(
            Code::SpaceChecked,
            format!(
                "{} to write, {} free in `{}`",
                units::decimal(needed),
                units::decimal(free),
                folder.display()
            ),
        )
        .with("needed", needed)
        .with("free", free),
    );
    if needed > free { Err(WriteError::Space { folder, needed, free }) } else { Ok(()) }
}

fn existing_folder(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|p| p.is_dir());
    match above {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Slabs as large as is good, smaller where the memory does not allow them beside what is `held` anyway.
pub(super) fn fit(
    blueprint: &Blueprint,
    targets: &[Target],
    held: u64,
    work: &Work,
    observer: &dyn Observer,
) -> Result<PassOptions, WriteError> {
    let allowed = work.allowed_memory();
    let headers: Vec<&Header> = targets.iter().map(|t| &t.layout.header).collect();
    let mut options = PassOptions {
        threads: work.threads,
        check_finite: work.check_finite,
        stats: work.stats,
        task: work.task.clone(),
        ..PassOptions::default()
    };
    loop {
        let needed = held + pass::memory_needed(blueprint, &headers, &targets[0].layout.recipes, &options);
        if needed <= allowed {
            observer.event(
                Event::new(
                    Code::SpaceChecked,
                    format!(
                        "at most {} of memory for weights, {} allowed",
                        units::decimal(needed),
                        units::decimal(allowed)
                    ),
                )
                .with("memory_needed", needed)
                .with("memory_allowed", allowed),
            );
            return Ok(options);
        }
        if options.slab_values > 1 {
            options.slab_values /= 4;
        } else if options.threads > 1 {
            options.threads -= 1;
        } else {
            return Err(WriteError::Memory { needed, allowed });
        }
    }
}

fn default_memory() -> u64 {
    const MOST: u64 = 4 << 30;
    memory::available().map_or(MOST, |free| (free / 4).min(MOST))
}

/// Files that are being written beside their final places, one after the other, hashed on the way. Each is opened with
/// its first byte and closed with its last: a pass may write more of them than a process may hold open.
struct FileSink {
    done: Vec<WholeFile>,
    written: Written,
    file: Option<AtomicFile>,
    bytes: u64,
    hash: Option<Sha256>,
    outlives: Outlives,
    /// The places of the files that are still to come.
    paths: std::vec::IntoIter<PathBuf>,
}

impl FileSink {
    /// The first file is opened at once: where nothing can be written, nothing is read.
    fn create(paths: Vec<PathBuf>, work: &Work) -> io::Result<Self> {
        let mut sink = FileSink {
            done: Vec::with_capacity(paths.len()),
            written: Written { files: Vec::with_capacity(paths.len()) },
            file: None,
            bytes: 0,
            hash: work.hash.then(Sha256::default),
            outlives: work.outlives,
            paths: paths.into_iter(),
        };
        sink.open()?;
        Ok(sink)
    }

    /// The file under way, or else the next one.
    fn open(&mut self) -> io::Result<&mut AtomicFile> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                let path = self.paths.next().ok_or(io::ErrorKind::InvalidInput)?;
                Ok(none.insert(AtomicFile::create(path, self.outlives)?))
            }
        }
    }

    /// The files, closed and on their way to the disk.
    fn finish(mut self) -> io::Result<(Vec<WholeFile>, Written)> {
        self.close()?;
        Ok((self.done, self.written))
    }

    /// Ends the file under way.
    fn close(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        // A disk that cannot keep up holds the pass back, not one thread more a file.
        if let Some(before) = self.done.last_mut() {
            before.settle()?;
        }
        let hash = self.hash.as_mut().map(Sha256::finish);
        let (path, bytes) = (file.target().to_owned(), std::mem::take(&mut self.bytes));
        self.written.files.push(WrittenFile { path, bytes, sha256: hash });
        self.done.push(file.close()?);
        Ok(())
    }
}

impl Sink for FileSink {
    fn next_file(&mut self) -> io::Result<()> {
        self.close()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn hash(&mut self) -> Option<&mut Sha256> {
        self.hash.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{Change, OutType, Part as Source, Recipe, RowOrder, TensorRecipe};
    use crate::gguf::{GgmlType, Metadata};

    /// An experts' tensor of 7.5 GB, fused of 256 parts, in a model that has little else.
    fn fused() -> Blueprint {
        let part = |expert: u64| Source::new(expert.to_string(), 0, expert * 7168 * 2048 * 2, GgmlType::BF16);
        let experts = TensorRecipe {
            name: "blk.0.ffn_gate_exps.weight".to_owned(),
            shape: vec![7168, 2048, 256],
            ty: GgmlType::BF16,
            source: Recipe::Rows {
                parts: (0..256).map(part).collect(),
                order: RowOrder::Natural,
                change: Change::None,
            },
        };
        let norm = TensorRecipe {
            name: "output_norm.weight".to_owned(),
            shape: vec![7168],
            ty: GgmlType::F32,
            source: Recipe::Values(vec![1.0; 7168]),
        };
        Blueprint {
            architecture: "llama".to_owned(),
            out_type: OutType::BF16,
            metadata: Metadata::new(),
            tensors: vec![experts, norm],
        }
    }

    fn fitted(threads: usize, memory: u64) -> Result<(PassOptions, u64), WriteError> {
        let blueprint = fused();
        let layout = Layout::converted(&blueprint).unwrap();
        let recipes = layout.recipes.clone();
        let targets = [Target { name: "x".to_owned(), path: "x.gguf".into(), layout, parts: Vec::new() }];
        let work = Work {
            threads,
            memory: Some(memory),
            check_finite: true,
            hash: false,
            stats: true,
            outlives: Outlives::Process,
            task: String::new(),
        };
        let options = fit(&blueprint, &targets, 0, &work, &())?;
        let needed = pass::memory_needed(&blueprint, &[&targets[0].layout.header], &recipes, &options);
        Ok((options, needed))
    }

    #[test]
    fn a_tensor_of_any_size_fits_the_memory() {
        for (threads, memory) in [(2, 64 << 20), (16, 64 << 20), (64, 4 << 30), (64, 32 << 20)] {
            let (options, needed) = fitted(threads, memory).unwrap();
            assert!(needed <= memory, "{needed} with {options:?}");
            assert_eq!(options.threads, threads, "slabs shrink first");
        }
        // A row for each thread and those that wait do not fit: fewer threads work.
        let (options, needed) = fitted(64, 4 << 20).unwrap();
        assert!(needed <= 4 << 20 && options.threads < 64, "{needed} with {options:?}");
        assert!(matches!(fitted(2, 10_000), Err(WriteError::Memory { allowed: 10_000, .. })));
    }
}
