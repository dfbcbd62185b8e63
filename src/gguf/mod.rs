//! The GGUF file format, and nothing else knows it: types, metadata values, headers in both directions.
//!
//! In: bytes of a file, or metadata and tensor shapes. Out: a [`Header`], or the bytes of one. Weights pass by
//! elsewhere; this module refuses to hold them. Format: `docs/gguf.md` of the ggml repository, version 3, little endian.

mod header;
mod read;
mod strings;
mod types;
mod value;

pub use header::{ALIGNMENT, Header, TensorInfo, pad};
pub use read::{MAGIC, ReadError, read_header};
pub use strings::Strings;
pub use types::GgmlType;
pub use value::{Array, Metadata, Value};
