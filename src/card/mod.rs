//! What a job leaves beside its GGUF files: the model card, `quantization_metadata.json` and `MODEL_LOG.md`. Pure:
//! data to text.
//!
//! In: figures of a run, the source's card and the user's wishes. Out: texts. All names and texts of a source are by
//! people unknown: they are quoted, escaped or left out, never trusted. No file is read or written here.

mod evaluation;
mod imatrix;
pub mod inherit;
mod labels;
pub mod licenses;
pub mod log;
pub mod metadata;
pub mod picture;
mod quality;
mod readme;
mod text;
mod yaml;

pub use inherit::{Fields, License};
pub use metadata::QuantizationMetadata;
pub use readme::{Card, DEFAULT_DESCRIPTION, FILE_NAME, front_matter, notice_of, refreshed};

#[cfg(test)]
mod tests;
