//! Importance matrices: how much each column of a tensor's rows counts, measured on a text.
//!
//! In: a file of `llama-imatrix`, in its GGUF form or the older binary one. Out: an [`Imatrix`]: for each tensor one
//! weight a column, an expert at a time; and a [`Coverage`]: which tensors and experts of an output have none. Files may
//! be hostile: no claimed length is believed before the bytes are there. Refuses what the reference refuses (halves
//! without their other half, sums that are no F32, values that are not finite, sizes that are not the tensor's), and
//! two things that it lets by: a file in which no tensor has values, and counts that do not divide their sums. Source:
//! `common/imatrix-loader.cpp`, `load_imatrix` and `prepare_imatrix` in `tools/quantize/quantize.cpp`.

mod coverage;
mod gguf;
mod legacy;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::options::ImatrixOrigin;
use crate::checkpoint::CheckpointError;
use crate::gguf::{GgmlType, MAGIC};

pub use coverage::{Coverage, Idle};

/// Which tensors of a matrix are used; parts of their names. Where both lists are empty, all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only tensors whose name has one of these (`--include-weights`).
    pub include: Vec<String>,
    /// Not the tensors whose name has one of these (`--exclude-weights`).
    pub exclude: Vec<String>,
}

/// An importance matrix, ready to be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Imatrix {
    /// What the header of an output says of it.
    pub origin: ImatrixOrigin,
    entries: BTreeMap<String, Entry>,
}

/// What a matrix has for one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// One weight a column; with experts, one expert after the other.
    pub weights: Vec<f32>,
    /// Experts that saw no token, so that their columns all count the same. The older form does not tell.
    pub idle: Vec<u32>,
}

/// A file as it was read, before anything is chosen from it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Loaded {
    entries: BTreeMap<String, Entry>,
    /// The first of the texts that it was computed on.
    dataset: Option<String>,
    /// How many chunks of them; nothing is known where it is not above zero.
    chunks: i32,
}

/// Why a matrix cannot be used.
#[derive(Debug, Error)]
pub enum ImatrixError {
    /// The system.
    #[error("cannot read the importance matrix `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The GGUF form is damaged.
    #[error("the importance matrix cannot be read")]
    Gguf(#[from] CheckpointError),
    /// What it holds is not what a matrix holds.
    #[error("importance matrix `{path}`: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Malformed,
    },
    /// A value that is NaN or infinite.
    #[error("importance matrix `{path}` has a value that is NaN or infinite for tensor `{tensor}`")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// It was made for a model of another shape.
    #[error("the importance matrix has {found} values for tensor `{tensor}`, which has {expected} columns")]
    Size {
        /// The tensor.
        tensor: String,
        /// Values in the matrix.
        found: u64,
        /// Columns, over all experts.
        expected: u64,
    },
    /// A type that must not be made without importance, of a tensor that has none.
    #[error("the importance matrix has nothing for tensor `{tensor}`, which `{method}` makes `{ty}`")]
    Missing {
        /// The first such tensor.
        tensor: String,
        /// Its type.
        ty: GgmlType,
        /// The method.
        method: &'static str,
    },
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Neither form, or nothing in it.
    #[error("it is no importance matrix, or has no entries")]
    Empty,
    /// The older form ends early.
    #[error("it ends within entry {0}")]
    Ends(usize),
    /// The older form has a length that cannot be.
    #[error("entry {0} claims an impossible length")]
    Length(usize),
    /// The GGUF form lacks a key that `llama-imatrix` always writes.
    #[error("metadata key `{0}` is missing")]
    MissingKey(&'static str),
    /// A key of the GGUF form has another type.
    #[error("metadata key `{0}` has a value of the wrong type")]
    KeyType(&'static str),
    /// Sums without counts, or counts without sums.
    #[error("tensor `{0}` has sums without counts or counts without sums")]
    Half(String),
    /// Sums or counts of another type.
    #[error("the sums and counts of tensor `{0}` must be F32")]
    NotF32(String),
    /// Sums that no whole number of experts shares.
    #[error("the sums of tensor `{0}` do not divide by its counts")]
    Uneven(String),
}

impl Imatrix {
    /// Reads a file of either form. `file` is how the outputs' headers call it: as the user gave it.
    ///
    /// Gives none where the selection leaves nothing: then there is no matrix at all, as in the reference.
    ///
    /// # Errors
    /// [`ImatrixError`] names the file and what is wrong with it.
    pub fn open(path: &Path, file: &str, selection: &Selection) -> Result<Option<Self>, ImatrixError> {
        let io = |source| ImatrixError::Io { path: path.to_owned(), source };
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let mut magic = [0; MAGIC.len()];
        let is_gguf = match reader.read_exact(&mut magic) {
            Ok(()) => magic == *MAGIC,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(io(error)),
        };
        let loaded = if is_gguf {
            gguf::read(path)?
        } else {
            reader.rewind().map_err(io)?;
            legacy::read(reader).map_err(|error| error.at(path))?
        };
        let chosen = loaded.choose(file, selection);
        if let Some((tensor, _)) =
            chosen.iter().flat_map(|m| &m.entries).find(|(_, e)| e.weights.iter().any(|v| !v.is_finite()))
        {
            return Err(ImatrixError::NotFinite { path: path.to_owned(), tensor: tensor.clone() });
        }
        Ok(chosen)
    }

    /// What it has for the tensor of this name, in the file that was measured.
    pub fn entry(&self, tensor: &str) -> Option<&Entry> {
        self.entries.get(tensor)
    }

    /// The weights of a tensor, if they are for one of this shape: a weight a column, one expert after the other.
    pub fn weights(&self, tensor: &str, shape: &[u64]) -> Option<&[f32]> {
        let entry = self.entries.get(tensor)?;
        (entry.weights.len() as u64 == columns(shape)).then_some(&entry.weights)
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|e| 4 * e.weights.len() as u64).sum()
    }

    #[cfg(test)]
    pub(crate) fn of(entries: impl IntoIterator<Item = (&'static str, Entry)>) -> Self {
        let entries: BTreeMap<_, _> = entries.into_iter().map(|(n, e)| (n.to_owned(), e)).collect();
        let count = entries.len() as u32;
        let origin = ImatrixOrigin { file: "m.gguf".to_owned(), dataset: None, entries: count, chunks: None };
        Imatrix { origin, entries }
    }
}

/// Columns of a tensor over all its experts: what a matrix must have for it.
fn columns(shape: &[u64]) -> u64 {
    shape[0] * shape.get(2).copied().unwrap_or(1)
}

impl Loaded {
    fn choose(mut self, file: &str, selection: &Selection) -> Option<Imatrix> {
        let Selection { include, exclude } = selection;
        let has = |name: &str, parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        self.entries.retain(|name, _| !has(name, exclude) && (include.is_empty() || has(name, include)));
        if self.entries.is_empty() {
            return None;
        }
        let origin = ImatrixOrigin {
            file: file.to_owned(),
            dataset: self.dataset,
            entries: self.entries.len() as u32,
            chunks: u32::try_from(self.chunks).ok().filter(|n| *n > 0),
        };
        Some(Imatrix { origin, entries: self.entries })
    }
}

impl Malformed {
    fn at(self, path: &Path) -> ImatrixError {
        ImatrixError::Malformed { path: path.to_owned(), why: self }
    }
}

/// A read that failed, of a reader that has no name.
#[derive(Debug)]
enum Unreadable {
    Io(io::Error),
    Malformed(Malformed),
}

impl Unreadable {
    fn at(self, path: &Path) -> ImatrixError {
        match self {
            Unreadable::Io(source) => ImatrixError::Io { path: path.to_owned(), source },
            Unreadable::Malformed(why) => why.at(path),
        }
    }
}

/// A text as far as its first zero byte, as C has it. The reference keeps bytes that are no UTF-8; here they are
/// replaced.
fn c_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
