//! Opening a folder, reading its small files and ranges of its weights.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError as E, Origin, SourceTensor};
use crate::safetensors::{HeaderError, ShardHeader, ShardIndex, header_length};

/// Longest configuration or tokenizer file that is read whole.
const MAX_SMALL_FILE: u64 = 1 << 28;

const INDEX: &str = "model.safetensors.index.json";

impl Checkpoint {
    /// Opens a folder with `model.safetensors`, shards of it, or shards and their index.
    ///
    /// # Errors
    /// [`CheckpointError`](super::CheckpointError) names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, E> {
        if !folder.is_dir() {
            return Err(E::NotAFolder(folder.to_owned()));
        }
        let names = list(folder)?;
        let mut shards: Vec<String> =
            names.iter().filter(|n| n.starts_with("model") && n.ends_with(".safetensors")).cloned().collect();
        let mut indexed = None;
        if let Some(json) = read_small(&folder.join(INDEX))? {
            let index =
                ShardIndex::parse(&json).map_err(|source| E::Index { path: folder.join(INDEX), source })?;
            shards = index.shards().into_iter().map(str::to_owned).collect();
            indexed = Some(index);
        }
        if shards.is_empty() {
            let pickle = names.iter().find(|n| is_pickle(n));
            return Err(match pickle {
                Some(file) => E::Pickle { folder: folder.to_owned(), file: file.clone() },
                None => E::NoWeights(folder.to_owned()),
            });
        }

        let (mut tensors, mut by_name, mut files) = (Vec::new(), HashMap::new(), Vec::new());
        for (shard, name) in shards.iter().enumerate() {
            let path = folder.join(name);
            let (file, header) = open_shard(&path)?;
            for entry in header.tensors {
                if by_name.insert(entry.name.clone(), tensors.len()).is_some() {
                    return Err(E::Duplicate { folder: folder.to_owned(), name: entry.name });
                }
                tensors.push(SourceTensor { shard, entry });
            }
            files.push(file);
        }
        if let Some(index) = indexed {
            check_index(folder, &index, &by_name)?;
        }
        Ok(Checkpoint {
            name: folder_name(folder),
            folder: folder.to_owned(),
            origin: Origin::default(),
            shards,
            tensors,
            by_name,
            files,
        })
    }

    /// A small file of the folder (configuration, tokenizer, card), or `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or is longer than any such file is.
    pub fn small_file(&self, name: &str) -> Result<Option<Vec<u8>>, E> {
        read_small(&self.folder.join(name))
    }

    /// Whether the folder has a file of this name.
    pub fn has_file(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    /// Names in a folder of the folder, sorted; none where there is no such folder.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn names_in(&self, folder: &str) -> Result<Vec<String>, E> {
        let folder = self.folder.join(folder);
        if folder.is_dir() { list(&folder) } else { Ok(Vec::new()) }
    }

    /// Reads bytes of a shard. Safe from many threads at once.
    ///
    /// # Errors
    /// The shard's path and the system's error; a file that became shorter ends early.
    pub fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), E> {
        read_exact_at(&self.files[shard], buf, offset)
            .map_err(|source| E::Io { path: self.folder.join(&self.shards[shard]), source })
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.entry.range.end - t.entry.range.start).sum()
    }
}

fn folder_name(folder: &Path) -> String {
    let named = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    // `.` and `..` have no name of their own.
    named(folder).or_else(|| fs::canonicalize(folder).ok().as_deref().and_then(named)).unwrap_or_default()
}

fn is_pickle(name: &str) -> bool {
    let weights = ["pytorch_model", "model", "consolidated"].iter().any(|p| name.starts_with(p));
    weights && [".bin", ".pt", ".pth", ".ckpt"].iter().any(|s| name.ends_with(s))
}

fn list(folder: &Path) -> Result<Vec<String>, E> {
    let error = |source| E::Io { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        names.push(entry.map_err(error)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>, E> {
    let error = |source| E::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_FILE + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MAX_SMALL_FILE {
        return Err(E::TooLong { path: path.to_owned(), bytes: bytes.len() as u64 });
    }
    Ok(Some(bytes))
}

fn open_shard(path: &Path) -> Result<(File, ShardHeader), E> {
    let io_error = |source| E::Io { path: path.to_owned(), source };
    let shard_error = |source| E::Shard { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error)?;
    let size = file.metadata().map_err(io_error)?.len();
    let mut first = [0; 8];
    file.read_exact(&mut first).map_err(|_| shard_error(HeaderError::TooShort))?;
    let length = header_length(first).map_err(shard_error)?;
    if length > size.saturating_sub(8) {
        return Err(shard_error(HeaderError::TooShort));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(io_error)?;
    let header = ShardHeader::parse(&json, size).map_err(shard_error)?;
    Ok((file, header))
}

fn check_index(folder: &Path, index: &ShardIndex, found: &HashMap<String, usize>) -> Result<(), E> {
    /// A few names are enough to see what happened.
    const SHOWN: usize = 5;
    let named: HashSet<&str> = index.weight_map.iter().map(|(t, _)| t.as_str()).collect();
    let missing: Vec<String> = index
        .weight_map
        .iter()
        .filter(|(t, _)| !found.contains_key(t))
        .map(|(t, s)| format!("{t} ({s})"))
        .collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().take(SHOWN).collect();
        return Err(E::Missing { folder: PathBuf::from(folder), missing });
    }
    let mut extra: Vec<String> = found.keys().filter(|t| !named.contains(t.as_str())).cloned().collect();
    if !extra.is_empty() {
        extra.sort();
        extra.truncate(SHOWN);
        return Err(E::Extra { folder: PathBuf::from(folder), extra });
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buf.is_empty() {
        match file.seek_read(buf, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
