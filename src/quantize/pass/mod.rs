//! The one pass over the weights: every slab is read once, made f32 once, and quantized once for each distinct type
//! that any output wants of it.
//!
//! In: a blueprint, something that holds the weights, and for each output its header and a [`Sink`]. Out: the bytes of
//! every output, each in order, the header first. Workers take slabs in file order; whoever finishes a slab hands its
//! bytes on, and whoever holds the next one in line writes it. So reading, computing and writing overlap, no thread
//! only waits, and the memory is that of the slabs under way, whatever the model.

mod coding;
mod exp;
mod loss;
mod order;
mod pool;
mod slab;
mod source;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

pub use self::loss::Loss;
use self::loss::Tally;
use self::order::Outlet;
use self::pool::{Bytes, Pool};
use self::slab::{Worker, largest, reads_of, slabs};
use crate::base::cancel::Cancel;
use crate::base::sha256::Sha256;
use crate::checkpoint::{CheckpointError, Weights};
use crate::convert::{Blueprint, TensorRecipe};
use crate::event::{Observer, Progress};
use crate::gguf::{GgmlType, Header};
use crate::quantize::Imatrix;
use crate::quantize::split::Part;

/// Takes a file's bytes in order, from the first to the last.
pub trait Sink: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// What the disk or the network said. The pass stops.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends the file; what follows belongs to the next one of a split output.
    ///
    /// # Errors
    /// As [`Sink::append`]; also where the sink takes one file only.
    fn next_file(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The hash of the file under way, where one is wanted. The pass brings it up to date after [`Sink::append`], for
    /// two outputs at once, which is faster than each for itself.
    fn hash(&mut self) -> Option<&mut Sha256> {
        None
    }
}

impl Sink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// One file to be written.
pub struct Output<'a> {
    /// What to call it in messages: the method's or the file's name.
    pub name: &'a str,
    /// Its whole header, as if it were one file.
    pub header: &'a Header,
    /// For each tensor of the header, the number of its recipe in the blueprint.
    pub recipes: &'a [usize],
    /// Its files, where it is split; none where it is one file.
    pub parts: &'a [Part],
    /// Where its bytes go.
    pub sink: &'a mut dyn Sink,
}

/// How a pass works; none of it changes a byte.
#[derive(Clone, Debug)]
pub struct PassOptions {
    /// Threads that compute.
    pub threads: usize,
    /// Values in a slab, at least; whole rows, and whole heads where rows are reordered.
    pub slab_values: u64,
    /// Whether weights that are NaN or infinite end the pass, as `llama-quantize` does; the converter lets them by.
    pub check_finite: bool,
    /// Whether to measure what quantizing loses.
    pub stats: bool,
    /// What progress reports are about.
    pub task: String,
}

impl Default for PassOptions {
    fn default() -> Self {
        PassOptions {
            threads: 1,
            slab_values: SLAB_VALUES,
            check_finite: true,
            stats: true,
            task: String::new(),
        }
    }
}

/// A slab is about 1 MiB of f32: it stays in the second-level cache while every type is made of it.
pub const SLAB_VALUES: u64 = 1 << 18;

/// Slabs under way for each thread, finished ones that wait for their turn included.
const SLABS_PER_THREAD: usize = 4;

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassReport {
    /// Slabs walked.
    pub slabs: u64,
    /// Bytes of weights read.
    pub bytes_read: u64,
    /// Slabs quantized, for each type; a slab counts once a type, however many outputs want it.
    pub quantized: HashMap<GgmlType, u64>,
    /// For each tensor of the headers, what it lost in each type that it was quantized to, against the base file's
    /// values. Empty without [`PassOptions::stats`], and for tensors that are as in the base file.
    pub losses: Vec<Vec<(GgmlType, Loss)>>,
}

impl PassReport {
    /// What a tensor lost in this type; `None` where that was not measured.
    pub fn loss(&self, tensor: usize, ty: GgmlType) -> Option<&Loss> {
        self.losses.get(tensor)?.iter().find(|(t, _)| *t == ty).map(|(_, loss)| loss)
    }

    /// What a file with this header lost, over its tensors that were measured; `None` where none was.
    pub fn file_loss(&self, header: &Header) -> Option<Loss> {
        let tensors = header.tensors.iter().enumerate();
        let loss = Loss::of_tensors(tensors.filter_map(|(i, t)| self.loss(i, t.ty)));
        (loss.values > 0).then_some(loss)
    }
}

/// Why a pass ended early. What the sinks have got by then is no file.
#[derive(Debug, Error)]
pub enum PassError {
    /// A read failed.
    #[error("cannot read the weights of tensor `{tensor}`")]
    Read {
        /// The output tensor.
        tensor: String,
        /// What went wrong.
        source: CheckpointError,
    },
    /// A type that cannot be made without importance, of a tensor that has none.
    #[error("tensor `{tensor}` has no importance, which {ty} requires")]
    Importance {
        /// The output tensor.
        tensor: String,
        /// The type.
        ty: GgmlType,
    },
    /// A write failed.
    #[error("cannot write `{output}`")]
    Write {
        /// The output.
        output: String,
        /// What the sink said.
        source: io::Error,
    },
    /// The source has a NaN or an infinity.
    #[error("tensor `{tensor}` has a weight that is NaN or infinite (value {index} of {values})")]
    NotFinite {
        /// The output tensor.
        tensor: String,
        /// Number of the value in the tensor.
        index: u64,
        /// Values in the tensor.
        values: u64,
    },
    /// The weights are finite but too large for the type's scales.
    #[error("tensor `{tensor}` cannot be stored as {ty}: its weights overflow the type's scales")]
    Overflow {
        /// The output tensor.
        tensor: String,
        /// The type.
        ty: GgmlType,
    },
    /// Outputs that do not hold the same tensors in the same order cannot share a pass.
    #[error("`{a}` and `{b}` differ in their tensors and cannot be made in one pass")]
    Order {
        /// An output.
        a: String,
        /// Another one.
        b: String,
    },
    /// A thread panicked. A bug.
    #[error("a worker thread failed")]
    Panicked,
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
}

/// Walks the weights once and writes every output.
///
/// The importance matrix is that of all outputs. A tensor for which it has nothing, or something of another size, is
/// quantized without; [`Imatrix::cover`] tells beforehand.
///
/// # Errors
/// [`PassError`] names the tensor or the output.
pub fn pass(
    weights: &dyn Weights,
    blueprint: &Blueprint,
    outputs: Vec<Output<'_>>,
    imatrix: Option<&Imatrix>,
    options: &PassOptions,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<PassReport, PassError> {
    let Some(first) = outputs.first() else { return Ok(PassReport::default()) };
    if let Some(other) = outputs.iter().find(|o| o.recipes != first.recipes) {
        return Err(PassError::Order { a: first.name.to_owned(), b: other.name.to_owned() });
    }
    let recipes = first.recipes;
    let wanted: Vec<Vec<GgmlType>> =
        (0..recipes.len()).map(|i| outputs.iter().map(|o| o.header.tensors[i].ty).collect()).collect();
    let slabs = slabs(blueprint, recipes, options.slab_values);
    let outlets = Outlet::all(outputs, &slabs)?;
    let total: u64 = slabs.iter().map(|s| s.source_bytes).sum();

    let threads = options.threads.max(1);
    let tally = Mutex::new(Tally::new(if options.stats { wanted.len() } else { 0 }));
    let made =
        wanted.iter().zip(recipes).map(|(types, recipe)| made(&blueprint.tensors[*recipe], types, options));
    let pool = Pool::new(made.max().unwrap_or(0));
    let shared = Shared {
        slabs: slabs.len(),
        outlets,
        next: Mutex::new(0),
        room: Condvar::new(),
        window: window(options),
        failure: Mutex::new(None),
        stop: AtomicBool::new(false),
        bytes_done: AtomicU64::new(0),
    };
    let reports = std::thread::scope(|scope| {
        let run = || {
            let _watch = Watch(&shared);
            let mut worker = Worker::new(weights, blueprint, imatrix, Arc::clone(&pool), options);
            while let Some(i) = shared.claim(cancel) {
                let slab = &slabs[i];
                let made =
                    worker.make(slab, &wanted[slab.tensor]).and_then(|bytes| shared.deliver(i, &bytes));
                if let Err(error) = made {
                    shared.fail(error);
                    break;
                }
                if options.stats {
                    lock(&tally).add(i, slab.tensor, std::mem::take(&mut worker.losses));
                }
                let done =
                    shared.bytes_done.fetch_add(slab.source_bytes, Ordering::Relaxed) + slab.source_bytes;
                observer.progress(Progress::bytes(options.task.as_str(), done, total));
            }
            worker.report
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut reports = vec![run()];
        // One that panicked has said so.
        reports.extend(others.into_iter().filter_map(|thread| thread.join().ok()));
        reports
    });
    if let Some(error) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let losses = tally.into_inner().unwrap_or_else(PoisonError::into_inner).tensors;
    let mut report = PassReport { slabs: slabs.len() as u64, losses, ..PassReport::default() };
    for r in reports {
        report.bytes_read += r.bytes_read;
        for (ty, n) in r.quantized {
            *report.quantized.entry(ty).or_default() += n;
        }
    }
    Ok(report)
}

/// What a pass over these recipes reads, in the order of its slabs: shard and bytes. Workers keep to the order but for the
/// few slabs that they have in hand.
pub fn reads(blueprint: &Blueprint, recipes: &[usize], options: &PassOptions) -> Vec<(usize, Range<u64>)> {
    let slabs = slabs(blueprint, recipes, options.slab_values);
    slabs.iter().flat_map(|slab| reads_of(slab, &blueprint.tensors[slab.recipe])).collect()
}

/// Memory that a pass takes at most, in bytes: the slabs under way with what is made of them.
pub fn memory_needed(
    blueprint: &Blueprint,
    headers: &[&Header],
    recipes: &[usize],
    options: &PassOptions,
) -> u64 {
    let threads = options.threads.max(1) as u64;
    let (mut most_held, mut most_made) = (0, 0);
    for (tensor, recipe) in recipes.iter().enumerate() {
        let recipe = &blueprint.tensors[*recipe];
        let types: Vec<GgmlType> = headers.iter().map(|h| h.tensors[tensor].ty).collect();
        most_held = most_held.max(largest(recipe, options.slab_values).1);
        most_made = most_made.max(made(recipe, &types, options));
    }
    // Finished slabs hold only what was made. Buffers for that stay from one tensor to the next.
    threads * most_held + most_made
}

/// Bytes that all slabs under way come to in these types, at most.
fn made(recipe: &TensorRecipe, types: &[GgmlType], options: &PassOptions) -> u64 {
    let (values, _) = largest(recipe, options.slab_values);
    let mut types = types.to_vec();
    types.sort_unstable();
    types.dedup();
    window(options) as u64 * types.iter().filter_map(|t| t.bytes_of(values)).sum::<u64>()
}

/// Slabs under way, finished ones that wait for their turn included.
fn window(options: &PassOptions) -> usize {
    options.threads.max(1) * SLABS_PER_THREAD
}

/// What the workers share: whose turn it is, where the bytes go, and why it ended.
struct Shared<'a> {
    slabs: usize,
    outlets: Vec<Outlet<'a>>,
    /// The next slab that nobody has taken.
    next: Mutex<usize>,
    /// Signalled when a slab was written, or the pass ends.
    room: Condvar,
    /// Slabs that may be taken and not yet written everywhere: back-pressure from the slowest output.
    window: usize,
    failure: Mutex<Option<PassError>>,
    stop: AtomicBool,
    bytes_done: AtomicU64,
}

impl Shared<'_> {
    /// The next slab, once there is room for it; `None` when all are taken or the pass ends.
    ///
    /// Nobody waits for ever: the oldest slab that is not written is in the hands of a thread that is at work.
    fn claim(&self, cancel: &Cancel) -> Option<usize> {
        let mut next = lock(&self.next);
        loop {
            if self.stop.load(Ordering::Relaxed) || *next == self.slabs {
                return None;
            }
            if cancel.is_cancelled() {
                drop(next);
                self.fail(PassError::Cancelled);
                return None;
            }
            if *next < self.written() + self.window {
                *next += 1;
                return Some(*next - 1);
            }
            next = self.room.wait(next).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Slabs that every output has written.
    fn written(&self) -> usize {
        self.outlets.iter().map(Outlet::written).min().unwrap_or(0)
    }

    fn deliver(&self, slab: usize, made: &[Arc<Bytes>]) -> Result<(), PassError> {
        let mut made = made;
        for outlet in &self.outlets {
            let (its, others) = made.split_at(outlet.outputs);
            outlet.deliver(slab, its, || self.wake())?;
            made = others;
        }
        Ok(())
    }

    /// The lock keeps the signal from passing between a waiter's look and its wait.
    fn wake(&self) {
        drop(lock(&self.next));
        self.room.notify_all();
    }

    /// The first failure counts.
    fn fail(&self, error: PassError) {
        lock(&self.failure).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }
}

/// Ends the pass when its thread panics: the others would wait for its slab without end.
struct Watch<'a, 'o>(&'a Shared<'o>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(PassError::Panicked);
        }
    }
}

/// A poisoned lock is only ever one whose thread's panic ends the pass.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
