//! Buffers for what is made of slabs. They go round: a new one for each slab and type would be cleared before it is
//! filled, and mapped and unmapped by the system, for a twentieth of the time of the cheap types.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use super::lock;

/// What is not in use, and a bound for all.
pub(super) struct Pool {
    limit: u64,
    free: Mutex<Free>,
}

struct Free {
    buffers: VecDeque<Vec<u8>>,
    /// Bytes of all buffers, those in use included.
    bytes: u64,
}

impl Pool {
    /// A pool of at most so many bytes. Who takes more gets it: what he holds at once is for him to bound.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Pool { limit, free: Mutex::new(Free { buffers: VecDeque::new(), bytes: 0 }) })
    }

    /// A buffer of this length; what is in it is left over.
    pub(super) fn take(self: &Arc<Self>, length: usize) -> Bytes {
        let mut free = lock(&self.free);
        let found = free.buffers.iter().position(|b| b.len() == length);
        let found = found.and_then(|i| free.buffers.swap_remove_back(i));
        let buffer = found.unwrap_or_else(|| {
            free.bytes += length as u64;
            while free.bytes > self.limit
                && let Some(oldest) = free.buffers.pop_front()
            {
                free.bytes -= oldest.len() as u64;
            }
            vec![0; length]
        });
        Bytes { buffer, pool: Arc::clone(self) }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut free = lock(&self.free);
        if free.bytes > self.limit {
            free.bytes -= buffer.len() as u64;
        } else {
            free.buffers.push_back(buffer);
        }
    }
}

/// A buffer that goes back when it is dropped.
pub(super) struct Bytes {
    buffer: Vec<u8>,
    pool: Arc<Pool>,
}

impl Bytes {
    /// Exchanges the content with a buffer of the same length.
    pub(super) fn swap(&mut self, other: &mut Vec<u8>) {
        debug_assert_eq!(self.buffer.len(), other.len());
        std::mem::swap(&mut self.buffer, other);
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_are_bounded() {
        let pool = Pool::new(100);
        let mut first = pool.take(40);
        first[0] = 7;
        let place = first.as_ptr();
        drop(first);
        let again = pool.take(40);
        assert_eq!((again.as_ptr(), again[0]), (place, 7));
        let other = pool.take(30);
        drop((again, other));
        // 70 bytes are free; 50 more would be too much with the 40 that were free first.
        let third = pool.take(50);
        assert_eq!(third.len(), 50);
        assert_eq!(lock(&pool.free).buffers.iter().map(Vec::len).collect::<Vec<_>>(), [30]);
        assert_eq!(lock(&pool.free).bytes, 80);
        let beyond = pool.take(60);
        assert_eq!(lock(&pool.free).bytes, 110, "what is in use counts, and is not refused");
        drop((beyond, third));
        assert_eq!(lock(&pool.free).bytes, 50);
        assert_eq!(lock(&pool.free).buffers.len(), 1);
    }
}
