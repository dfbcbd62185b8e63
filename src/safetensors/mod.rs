//! Safetensors headers and the index of sharded checkpoints, read as hostile input.
//!
//! In: the first bytes of a shard, or `model.safetensors.index.json`. Out: names, types, shapes, byte ranges.
//! Weights are never read here. Format: the README of the safetensors repository.

mod header;
mod index;

pub use header::{Dtype, HeaderError, MAX_HEADER, ShardHeader, TensorEntry, header_length};
pub use index::{IndexError, ShardIndex};
