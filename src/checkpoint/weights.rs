//! Reading weights by position, whatever holds them.

use super::{Checkpoint, CheckpointError};

/// Something that holds weights in numbered shards. Reads are safe from many threads at once.
pub trait Weights: Sync {
    /// Fills `buf` with the shard's bytes from `offset` on.
    ///
    /// # Errors
    /// The shard's path and the system's error; a file that became shorter ends early.
    fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError>;
}

impl Weights for Checkpoint {
    fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
        Checkpoint::read(self, shard, offset, buf)
    }
}
