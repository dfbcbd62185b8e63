//! Writing GGUF files: checked against disk and memory first, whole under their final names or not there at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::base::atomic::AtomicFile;
use crate::base::cancel::Cancel;
use crate::base::{hash, memory, space, units};
use crate::checkpoint::Weights;
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::gguf::Header;
use crate::quantize::Imatrix;
use crate::quantize::layout::Layout;
use crate::quantize::pass::{self, Output, PassError, PassOptions, PassReport, Sink};

/// A file to write.
#[derive(Clone, Debug)]
pub struct Target {
    /// What to call it in messages: the method or the file's name.
    pub name: String,
    /// Its final place.
    pub path: PathBuf,
    /// What goes into it.
    pub layout: Layout,
}

/// A file that is whole under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
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
    /// What progress is about.
    pub task: String,
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
    let Some(first) = targets.first() else { return Ok((Vec::new(), PassReport::default())) };
    check_space(targets, observer)?;
    let held = imatrix.map_or(0, Imatrix::bytes);
    let options = fit(blueprint, targets, held, work, observer)?;

    let mut sinks = targets
        .iter()
        .map(|t| FileSink::create(&t.path, work.hash).map_err(|source| io_error(&t.path, source)))
        .collect::<Result<Vec<_>, _>>()?;
    let outputs = targets
        .iter()
        .zip(&mut sinks)
        .map(|(t, sink)| Output { name: &t.name, header: &t.layout.header, recipes: &t.layout.recipes, sink })
        .collect();
    debug_assert!(targets.iter().all(|t| t.layout.recipes == first.layout.recipes));
    let report = pass::pass(weights, blueprint, outputs, imatrix, &options, cancel, observer)?;
    let written = targets
        .iter()
        .zip(sinks)
        .map(|(t, sink)| sink.finish().map_err(|source| io_error(&t.path, source)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((written, report))
}

fn io_error(path: &Path, source: io::Error) -> WriteError {
    WriteError::Io { path: path.to_owned(), source }
}

fn check_space(targets: &[Target], observer: &dyn Observer) -> Result<(), WriteError> {
    let needed: u64 = targets.iter().map(|t| t.layout.file_bytes()).sum();
    let folder = existing_folder(&targets[0].path);
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
fn fit(
    blueprint: &Blueprint,
    targets: &[Target],
    held: u64,
    work: &Work,
    observer: &dyn Observer,
) -> Result<PassOptions, WriteError> {
    let allowed = work.memory.unwrap_or_else(default_memory);
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

/// A file that is being written beside its final place, hashed on the way.
struct FileSink {
    file: AtomicFile,
    bytes: u64,
    hash: Option<Sha256>,
}

impl FileSink {
    fn create(path: &Path, hash: bool) -> io::Result<Self> {
        Ok(FileSink { file: AtomicFile::create(path)?, bytes: 0, hash: hash.then(Sha256::new) })
    }

    fn finish(self) -> io::Result<Written> {
        let path = self.file.target().to_owned();
        self.file.commit()?;
        Ok(Written { path, bytes: self.bytes, sha256: self.hash.map(|h| hash::hex(&h.finalize())) })
    }
}

impl Sink for FileSink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        Ok(())
    }
}
