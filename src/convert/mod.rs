//! Checkpoint and architecture to [`Blueprint`]: metadata, tokenizer, tensor recipes. No weight is read.

mod blueprint;

pub use blueprint::{Blueprint, OutType, Part, Recipe, RowOrder, TensorRecipe};
