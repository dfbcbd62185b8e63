//! Bytes come as slabs are finished and leave in file order.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::slab::Slab;
use super::{Output, PassError, Sink, lock};
use crate::gguf::{Header, pad};

/// One output's way out. A finished slab is kept until its turn; the thread that brings the next in line writes on
/// as far as it can, the others leave theirs and go back to work.
pub(super) struct Outlet<'a> {
    name: &'a str,
    /// Zero bytes after each slab: the padding behind the last slab of a tensor.
    padding: Vec<u8>,
    queue: Mutex<Queue>,
    written: AtomicUsize,
    way: Mutex<Way<'a>>,
}

struct Queue {
    next: usize,
    waiting: HashMap<usize, Arc<Vec<u8>>>,
    writing: bool,
}

/// The sink, and the files that are still to come with the slabs that they begin at.
struct Way<'a> {
    sink: &'a mut dyn Sink,
    files: VecDeque<(usize, &'a Header)>,
    begun: bool,
}

impl Way<'_> {
    fn write(&mut self, slab: usize, bytes: &[u8], padding: u8) -> io::Result<()> {
        while let Some((_, header)) = self.files.pop_front_if(|(start, _)| *start == slab) {
            self.begin(header)?;
        }
        self.sink.append(bytes)?;
        if padding > 0 { self.sink.append(&vec![0; padding.into()]) } else { Ok(()) }
    }

    /// Begins the next file.
    fn begin(&mut self, header: &Header) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            self.sink.next_file()?;
        }
        self.sink.append(&header.to_bytes())
    }
}

impl<'a> Outlet<'a> {
    /// Writes nothing yet: the headers of many outputs are work for all threads. Only without any slab, the one header
    /// is all there is.
    pub(super) fn new(output: Output<'a>, slabs: &[Slab]) -> Result<Self, PassError> {
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
        let mut way = Way { sink, files, begun: false };
        if let Some((_, header)) = only {
            way.begin(header).map_err(|source| PassError::Write { output: name.to_owned(), source })?;
        }
        let queue = Mutex::new(Queue { next: 0, waiting: HashMap::new(), writing: false });
        Ok(Outlet { name, padding, queue, written: AtomicUsize::new(0), way: Mutex::new(way) })
    }

    /// Slabs written so far.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    /// Takes a finished slab; `wrote` is called after each slab that this call writes.
    pub(super) fn deliver(
        &self,
        slab: usize,
        bytes: Arc<Vec<u8>>,
        wrote: impl Fn(),
    ) -> Result<(), PassError> {
        let mut queue = lock(&self.queue);
        queue.waiting.insert(slab, bytes);
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
            // Not contended: `writing` lets one thread in.
            let written = lock(&self.way).write(next, &bytes, self.padding[next]);
            // On an error `writing` stays set: nothing may follow what is missing.
            written.map_err(|source| PassError::Write { output: self.name.to_owned(), source })?;
            self.written.store(next + 1, Ordering::Release);
            wrote();
            queue = lock(&self.queue);
            queue.next += 1;
        }
    }
}
