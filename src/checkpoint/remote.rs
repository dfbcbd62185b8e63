//! A checkpoint's weights on the Hub, read while they are downloaded.

use super::{CheckpointError, Weights};
use crate::hub::{Description, Ranges};

/// The shards of a repository as a source of weights; see [`read_ahead`](crate::hub::read_ahead).
pub struct RemoteWeights<'a> {
    description: &'a Description,
    ranges: &'a Ranges,
}

impl<'a> RemoteWeights<'a> {
    /// Weights of what was described: file numbers of `ranges` are numbers of its shards.
    pub fn new(description: &'a Description, ranges: &'a Ranges) -> Self {
        RemoteWeights { description, ranges }
    }
}

impl Weights for RemoteWeights<'_> {
    fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
        self.ranges.read(shard, offset, buf).map_err(|_| CheckpointError::Remote {
            repo: self.description.repo.clone(),
            path: self.description.shards[shard].file.path.clone(),
        })
    }
}
