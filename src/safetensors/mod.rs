//! Safetensors headers and the index of sharded checkpoints, read as hostile input.
//!
//! In: the first bytes of a shard, or `model.safetensors.index.json`. Out: names, types, shapes, byte ranges.
//! Weights are never read here. Format: the README of the safetensors repository.

mod header;
mod index;
mod shards;

pub use header::{Dtype, HeaderError, MAX_HEADER, ShardHeader, TensorEntry, header_length};
pub use index::{IndexError, ShardIndex};
pub use shards::{PARAMS, shard_prefix};
