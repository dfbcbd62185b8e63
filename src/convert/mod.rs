//! Checkpoint and architecture to [`Blueprint`]: metadata, tokenizer, tensor recipes. No weight is read.

mod blueprint;
mod from_gguf;
pub mod general;
pub mod tokenizer;

pub use blueprint::{Blueprint, OutType, Part, Recipe, RowOrder, TensorRecipe};
pub use from_gguf::FromGgufError;
