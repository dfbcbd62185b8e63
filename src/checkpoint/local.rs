//! Opening a folder, reading its small files and ranges of its weights.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError as E, Origin, SourceTensor};
use crate::base::positioned::read_exact_at;
use crate::safetensors::{HeaderError, ShardHeader, ShardIndex, header_length, shard_prefix};

/// Longest configuration or tokenizer file that is read whole.
const MAX_SMALL_FILE: u64 = 1 << 28;

const INDEX: &str = "model.safetensors.index.json";

impl Checkpoint {
    /// Opens a folder with `model.safetensors`, shards of it, or shards and their index; of Mistral's own format,
    /// `consolidated.safetensors` or shards of it.
    ///
    /// # Errors
    /// [`CheckpointError`](super::CheckpointError) names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, E> {
        if !folder.is_dir() {
            return Err(E::NotAFolder(folder.to_owned()));
        }
        let names = list(folder)?;
        let prefix = shard_prefix(names.iter().map(String::as_str));
        let mut shards: Vec<String> =
            names.iter().filter(|n| n.starts_with(prefix) && n.ends_with(".safetensors")).cloned().collect();
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

        let (mut headers, mut files) = (Vec::new(), Vec::new());
        for name in shards {
            let (file, header) = open_shard(&folder.join(&name))?;
            headers.push((name, header));
            files.push(file);
        }
        let checkpoint = Checkpoint { files, ..Self::from_headers(folder, headers)? };
        if let Some(index) = indexed {
            check_index(folder, &index, &checkpoint.by_name)?;
        }
        Ok(checkpoint)
    }

    /// A checkpoint of which only the small files and the shards' headers are here: enough for a blueprint. Shards in
    /// the order in which the reference reads them.
    ///
    /// # Errors
    /// A tensor that is in two shards.
    pub fn from_headers(folder: &Path, shards: Vec<(String, ShardHeader)>) -> Result<Self, E> {
        let (mut names, mut tensors, mut by_name) = (Vec::new(), Vec::new(), HashMap::new());
        for (shard, (name, header)) in shards.into_iter().enumerate() {
            for entry in header.tensors {
                if by_name.insert(entry.name.clone(), tensors.len()).is_some() {
                    return Err(E::Duplicate { folder: folder.to_owned(), name: entry.name });
                }
                tensors.push(SourceTensor { shard, entry });
            }
            names.push(name);
        }
        Ok(Checkpoint {
            name: folder_name(folder),
            folder: folder.to_owned(),
            origin: Origin::default(),
            shards: names,
            tensors,
            by_name,
            files: Vec::new(),
        })
    }

    /// Opens one safetensors file as if it were all.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_shard_alone(path: &Path) -> Result<Self, E> {
        let (file, header) = open_shard(path)?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Checkpoint { files: vec![file], ..Self::from_headers(&folder, vec![(name, header)])? })
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
        let file = self.files.get(shard).ok_or_else(|| io::ErrorKind::NotFound.into());
        file.and_then(|file| read_exact_at(file, buf, offset))
            .map_err(|source| E::Io { path: self.folder.join(&self.shards[shard]), source })
    }

    /// Whether the weights are here, and not the headers only.
    pub fn is_here(&self) -> bool {
        self.files.len() == self.shards.len()
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.entry.range.end - t.entry.range.start).sum()
    }
}

pub(super) fn folder_name(folder: &Path) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A safetensors file with tensors of two f32 each.
    fn shard(names: &[&str]) -> Vec<u8> {
        let entries: serde_json::Map<String, serde_json::Value> = names
            .iter()
            .enumerate()
            .map(|(i, n)| {
                let offsets = [8 * i, 8 * i + 8];
                ((*n).to_owned(), serde_json::json!({"dtype": "F32", "shape": [2], "data_offsets": offsets}))
            })
            .collect();
        let json = serde_json::to_vec(&entries).unwrap();
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json);
        bytes.extend((0..8 * names.len()).map(|i| i as u8));
        bytes
    }

    #[track_caller]
    fn check(files: &[(&str, Vec<u8>)], expected: Result<&[&str], &str>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        match (Checkpoint::open(folder.path()), expected) {
            (Ok(c), Ok(names)) => {
                let found: Vec<&str> = c.tensors.iter().map(|t| t.entry.name.as_str()).collect();
                assert_eq!(found, names);
                for t in &c.tensors {
                    let mut buf = [0; 8];
                    c.read(t.shard, t.entry.range.start, &mut buf).unwrap();
                    assert_eq!(buf[1], buf[0] + 1);
                }
            }
            (Err(e), Err(part)) => {
                let cause = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
                assert!(format!("{e}: {cause}").contains(part), "{e}: {cause}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn folders_of_every_shape() {
        let index = |map: &str| format!(r#"{{"weight_map":{{{map}}}}}"#).into_bytes();
        let (one, two) = (shard(&["b", "a"]), shard(&["c"]));
        check(&[("model.safetensors", one.clone())], Ok(&["b", "a"]));
        // Without an index, every file that starts with `model` is a shard.
        let shards = [("model-2.safetensors", two.clone()), ("model-1.safetensors", one.clone())];
        check(&[&shards[..], &[("x.safetensors", two.clone())]].concat(), Ok(&["b", "a", "c"]));
        // With one, what it names and nothing else.
        let named = index(r#""a":"y.safetensors","b":"y.safetensors""#);
        check(&[("y.safetensors", one.clone()), ("model.safetensors", two), (INDEX, named)], Ok(&["b", "a"]));
        let missing = index(r#""a":"y.safetensors","b":"y.safetensors","z":"y.safetensors""#);
        check(&[("y.safetensors", one.clone()), (INDEX, missing)], Err("no shard has: z (y.safetensors)"));
        let short = index(r#""a":"y.safetensors""#);
        check(&[("y.safetensors", one.clone()), (INDEX, short.clone())], Err("does not name: b"));
        check(&[(INDEX, short)], Err("cannot read"));
        check(&[(INDEX, index(r#""a":"../y.safetensors""#))], Err("leaves the checkpoint's folder"));
        let twice = [("model-1.safetensors", one.clone()), ("model-2.safetensors", one.clone())];
        check(&twice, Err("in two shards"));
        check(&[("model.safetensors", one[..one.len() - 1].to_vec())], Err("truncated"));
        check(&[("model.safetensors", one[..20].to_vec())], Err("too short"));
        // Mistral's own format where there is no other.
        let own = ("consolidated-00001-of-00001.safetensors", one.clone());
        check(&[own.clone(), ("params.json", vec![])], Ok(&["b", "a"]));
        let both = [own.clone(), ("params.json", vec![]), ("config.json", vec![])];
        check(&both, Err("no safetensors weights"));
        check(&[&both[..], &[("model.safetensors", shard(&["c"]))]].concat(), Ok(&["c"]));
        check(&[("pytorch_model.bin", vec![])], Err("pickle"));
        check(&[("config.json", vec![])], Err("no safetensors weights"));
    }

    #[test]
    fn a_file_that_becomes_shorter_ends_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, shard(&["a"])).unwrap();
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        fs::write(&path, b"").unwrap();
        assert!(matches!(checkpoint.read(0, 0, &mut [0; 8]), Err(E::Io { .. })));
    }
}
