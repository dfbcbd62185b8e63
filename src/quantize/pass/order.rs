//! Bytes come as slabs are finished and leave in file order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::slab::Slab;
use super::{Output, PassError, Sink, lock};
use crate::gguf::pad;

/// One output's way out. A finished slab is kept until its turn; the thread that brings the next in line writes on
/// as far as it can, the others leave theirs and go back to work.
pub(super) struct Outlet<'a> {
    name: &'a str,
    /// Zero bytes after each slab: the padding behind the last slab of a tensor.
    padding: Vec<u8>,
    queue: Mutex<Queue>,
    written: AtomicUsize,
    sink: Mutex<&'a mut dyn Sink>,
}

struct Queue {
    next: usize,
    waiting: HashMap<usize, Arc<Vec<u8>>>,
    writing: bool,
}

impl<'a> Outlet<'a> {
    /// Writes the header.
    pub(super) fn new(output: Output<'a>, slabs: &[Slab]) -> Result<Self, PassError> {
        let Output { name, header, sink, .. } = output;
        let alignment = header.alignment();
        let padding = slabs
            .iter()
            .map(|slab| {
                let bytes = header.tensors[slab.tensor].bytes();
                if slab.last { (pad(bytes, alignment) - bytes) as u8 } else { 0 }
            })
            .collect();
        sink.append(&header.to_bytes())
            .map_err(|source| PassError::Write { output: name.to_owned(), source })?;
        let queue = Mutex::new(Queue { next: 0, waiting: HashMap::new(), writing: false });
        Ok(Outlet { name, padding, queue, written: AtomicUsize::new(0), sink: Mutex::new(sink) })
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
            let mut sink = lock(&self.sink);
            let written = sink.append(&bytes).and_then(|()| match self.padding[next] {
                0 => Ok(()),
                n => sink.append(&vec![0; n.into()]),
            });
            drop(sink);
            // On an error `writing` stays set: nothing may follow what is missing.
            written.map_err(|source| PassError::Write { output: self.name.to_owned(), source })?;
            self.written.store(next + 1, Ordering::Release);
            wrote();
            queue = lock(&self.queue);
            queue.next += 1;
        }
    }
}
