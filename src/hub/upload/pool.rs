//! Pieces of memory that come back.
//!
//! Xet keeps the bytes of a stream until their xorb is on its way, and lets go of them on any thread. Left to the
//! allocator, such pieces end up scattered over the heaps of all threads, and six streams take 150 MiB more.

use std::mem;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

/// Bytes of a piece.
pub(super) const PIECE: usize = 1 << 20;

/// Pieces that nobody uses at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// A piece that is being filled or read.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// An empty piece, with room for [`PIECE`] bytes.
    pub(super) fn take(&self) -> Piece {
        let bytes = self.0.lock().expect("no holder panics").pop();
        Piece { bytes: bytes.unwrap_or_else(|| Vec::with_capacity(PIECE)), pool: self.clone() }
    }
}

impl Piece {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes as many bytes as there is room for; gives the others back.
    pub(super) fn fill<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.bytes.len()));
        self.bytes.extend_from_slice(now);
        later
    }

    /// The memory, for who fills it otherwise, up to [`PIECE`] bytes.
    pub(super) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Hands it on; it comes back when the last part of it is dropped.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        self.pool.0.lock().expect("no holder panics").push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back() {
        let pool = Pool::default();
        let mut piece = pool.take();
        assert_eq!(piece.fill(b"abc"), b"");
        let long = vec![1; PIECE];
        assert_eq!(piece.fill(&long).len(), 3);
        assert_eq!(piece.len(), PIECE);
        let bytes = piece.into_bytes();
        let part = bytes.slice(..3);
        drop(bytes);
        assert_eq!(pool.0.lock().unwrap().len(), 0);
        assert_eq!(&part[..], b"abc");
        drop(part);
        assert_eq!(pool.0.lock().unwrap().len(), 1);
        assert_eq!(pool.take().len(), 0);
        assert_eq!(pool.0.lock().unwrap().len(), 1);
    }
}
