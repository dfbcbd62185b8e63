//! GGUF files as a source of weights: one file, or the first of a split.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::{CheckpointError as E, Weights};
use crate::base::positioned::read_exact_at;
use crate::gguf::{Header, Value, pad, read_header};

/// An opened GGUF model: headers read and checked against the files' sizes, no weight read.
#[derive(Debug)]
pub struct GgufModel {
    /// The files, in the order of their numbers. The first holds the metadata.
    pub files: Vec<GgufFile>,
}

/// One file of a GGUF model.
#[derive(Debug)]
pub struct GgufFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
    /// First byte of the data section.
    pub data_start: u64,
    file: File,
}

impl GgufModel {
    /// Opens a file; where it is the first of a split, the others as well.
    ///
    /// # Errors
    /// [`E`] names the file that is missing, malformed or shorter than its header says.
    pub fn open(path: &Path) -> Result<Self, E> {
        let first = GgufFile::open(path)?;
        let count = first.header.metadata.get("split.count").and_then(Value::as_u64).unwrap_or(1);
        let mut files = vec![first];
        if count > 1 {
            let split = |why| E::Split { path: path.to_owned(), why };
            let number = files[0].header.metadata.get("split.no").and_then(Value::as_u64);
            if number != Some(0) {
                return Err(split("it is not the first file of its split"));
            }
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let stem = name
                .strip_suffix(&format!("-00001-of-{count:05}.gguf"))
                .ok_or_else(|| split("its name does not end as `split.count` demands"))?;
            for i in 2..=count {
                files
                    .push(GgufFile::open(&path.with_file_name(format!("{stem}-{i:05}-of-{count:05}.gguf")))?);
            }
            let tensors: usize = files.iter().map(|f| f.header.tensors.len()).sum();
            let stated = files[0].header.metadata.get("split.tensors.count").and_then(Value::as_u64);
            if stated.is_some_and(|n| n != tensors as u64) {
                return Err(split("the files together do not hold the tensors that it announces"));
            }
        }
        Ok(GgufModel { files })
    }
}

impl GgufFile {
    /// Opens one file, whether it is part of a split or not.
    ///
    /// # Errors
    /// As [`GgufModel::open`].
    pub fn open(path: &Path) -> Result<Self, E> {
        let io = |source| E::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let (header, data_start) =
            read_header(BufReader::new(&file)).map_err(|source| E::Gguf { path: path.to_owned(), source })?;
        // The padding behind the last tensor may be missing, as in files that others wrote.
        let end = header.tensors.last().map_or(0, |t| t.offset + t.bytes());
        let expected = data_start.saturating_add(end);
        if size < expected {
            return Err(E::Truncated {
                path: path.to_owned(),
                expected: pad(expected, header.alignment()),
                found: size,
            });
        }
        Ok(GgufFile { path: path.to_owned(), header, data_start, file })
    }
}

impl Weights for GgufModel {
    fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), E> {
        let file = &self.files[shard];
        read_exact_at(&file.file, buf, offset).map_err(|source| E::Io { path: file.path.clone(), source })
    }
}
