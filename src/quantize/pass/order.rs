//! Bytes come as slabs are finished and leave in file order.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::pool::Bytes;
use super::slab::Slab;
use super::{Output, PassError, Sink, lock};
use crate::base::sha256::update_both;
use crate::gguf::{Header, pad};

/// Outputs that share a way out: as many as are hashed together.
const TOGETHER: usize = 2;

/// The way out of one output or two, which are hashed together. A finished slab is kept until its turn; the thread that
/// brings the next in line writes on as far as it can, the others leave theirs and go back to work.
pub(super) struct Outlet<'a> {
    /// How many outputs take it.
    pub(super) outputs: usize,
    queue: Mutex<Queue>,
    written: AtomicUsize,
    ways: Mutex<Vec<Way<'a>>>,
}

struct Queue {
    next: usize,
    waiting: HashMap<usize, Vec<Arc<Bytes>>>,
    writing: bool,
}

/// A sink, and the files that are still to come with the slabs that they begin at.
struct Way<'a> {
    name: &'a str,
    sink: &'a mut dyn Sink,
    files: VecDeque<(usize, &'a Header)>,
    begun: bool,
    /// Zero bytes after each slab: the padding behind the last slab of a tensor.
    padding: Vec<u8>,
}

impl<'a> Way<'a> {
    /// Writes nothing yet: the headers of many outputs are work for all threads. Only without any slab, the one header
    /// is all there is.
    fn new(output: Output<'a>, slabs: &[Slab]) -> Result<Self, PassError> {
        let Output { name, header, parts, sink, .. } = output;
        let mut files: VecDeque<(usize, &Header)> = match parts {
            [] => [(0, header)].into(),
            parts => parts
                .iter()
                .map(|part| (slabs.partition_point(|slab| slab.tensor < part.first), &part.header))
                .collect(),
        };
        let mut file = 0;
        let padding = slabs
            .iter()
            .enumerate()
            .map(|(i, slab)| {
                while files.get(file + 1).is_some_and(|(start, _)| *start <= i) {
                    file += 1;
                }
                let bytes = header.tensors[slab.tensor].bytes();
                if slab.last { (pad(bytes, files[file].1.alignment()) - bytes) as u8 } else { 0 }
            })
            .collect();
        let only = if slabs.is_empty() { files.pop_front() } else { None };
        let mut way = Way { name, sink, files, begun: false, padding };
        if let Some((_, header)) = only {
            way.begin(header).map_err(|source| way.error(source))?;
        }
        Ok(way)
    }

    fn error(&self, source: io::Error) -> PassError {
        PassError::Write { output: self.name.to_owned(), source }
    }

    /// Writes the slab, after the header of the file that begins with it. What it wrote of the slab is yet to be hashed.
    fn write(&mut self, slab: usize, bytes: &[u8]) -> io::Result<()> {
        while let Some((_, header)) = self.files.pop_front_if(|(start, _)| *start == slab) {
            self.begin(header)?;
        }
        self.sink.append(bytes)
    }

    /// Begins the next file.
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            self.sink.next_file()?;
        }
        self.append(&header.to_bytes())
    }

    fn pad(&mut self, slab: usize) -> io::Result<()> {
        match self.padding[slab] {
            0 => Ok(()),
            padding => self.append(&vec![0; padding.into()]),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.append(bytes)?;
        if let Some(hash) = self.sink.hash() {
            hash.update(bytes);
        }
        Ok(())
    }
}

impl<'a> Outlet<'a> {
    /// The ways out of all outputs, in their order.
    pub(super) fn all(outputs: Vec<Output<'a>>, slabs: &[Slab]) -> Result<Vec<Self>, PassError> {
        let mut ways = outputs.into_iter().map(|output| Way::new(output, slabs));
        let mut all = Vec::new();
        loop {
            let ways = ways.by_ref().take(TOGETHER).collect::<Result<Vec<_>, _>>()?;
            if ways.is_empty() {
                return Ok(all);
            }
            let queue = Mutex::new(Queue { next: 0, waiting: HashMap::new(), writing: false });
            all.push(Outlet {
                outputs: ways.len(),
                queue,
                written: AtomicUsize::new(0),
                ways: Mutex::new(ways),
            });
        }
    }

    /// Slabs written so far.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    /// Takes a finished slab as each of its outputs gets it; `wrote` is called after each slab that this call writes.
    pub(super) fn deliver(
        &self,
        slab: usize,
        made: &[Arc<Bytes>],
        wrote: impl Fn(),
    ) -> Result<(), PassError> {
        let mut queue = lock(&self.queue);
        queue.waiting.insert(slab, made.to_vec());
        if queue.writing {
            return Ok(());
        }
        queue.writing = true;
        loop {
            let next = queue.next;
            let Some(bytes) = queue.waiting.remove(&next) else {
                queue.writing = false;
                return Ok(());
            };
            drop(queue);
            // Not contended: `writing` lets one thread in. On an error it stays set: nothing may follow what is missing.
            write(&mut lock(&self.ways), next, &bytes)?;
            self.written.store(next + 1, Ordering::Release);
            wrote();
            queue = lock(&self.queue);
            queue.next += 1;
        }
    }
}

/// Writes a slab to each output, then hashes it for both together.
fn write(ways: &mut [Way<'_>], slab: usize, made: &[Arc<Bytes>]) -> Result<(), PassError> {
    for (way, bytes) in ways.iter_mut().zip(made) {
        way.write(slab, bytes).map_err(|source| way.error(source))?;
    }
    let mut hashes = ways.iter_mut().zip(made).filter_map(|(way, made)| Some((way.sink.hash()?, &***made)));
    match (hashes.next(), hashes.next()) {
        (Some((one, first)), Some((other, second))) => update_both([one, other], [first, second]),
        (one, _) => one.into_iter().for_each(|(hash, bytes)| hash.update(bytes)),
    }
    for way in ways {
        way.pad(slab).map_err(|source| way.error(source))?;
    }
    Ok(())
}
