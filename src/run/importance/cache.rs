//! Matrices that were computed here before, by everything that decides their values.
//!
//! ```text
//! imatrix/.{key}.lock          one process at a time
//!         {key}/facts.json     what the key is made of, and the file's size and hash
//!               imatrix.gguf
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImportanceError;
use crate::base::atomic::{self, AtomicFile, Outlives};
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::base::lock::FileLock;
use crate::card::metadata::SourceFile;

const FILE: &str = "imatrix.gguf";
const FACTS: &str = "facts.json";

/// Everything that decides the values of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The source's files: paths, sizes, hashes.
    pub(super) source: Vec<(String, u64, String)>,
    /// The type of the base.
    pub(super) base: String,
    /// The pre-tokenizer, where it was stated.
    pub(super) pre_tokenizer: Option<String>,
    /// What converted the source, where this program did not.
    pub(super) converter: Option<String>,
    /// The text: its name, which is part of the file, and the hash of its bytes.
    pub(super) text: (String, String),
    /// Chunks, at most.
    pub(super) chunks: Option<u32>,
    /// Tokens in a chunk.
    pub(super) context: u32,
    /// What computed it.
    pub(super) tool: String,
}

impl Facts {
    /// The files of a source that decide the base; none where a hash is not known.
    pub(super) fn files(files: &[SourceFile]) -> Option<Vec<(String, u64, String)>> {
        let decide = files.iter().filter(|f| f.decides_bytes());
        decide.map(|f| Some((f.path.clone(), f.size, f.sha256.clone()?))).collect()
    }

    fn key(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts and numbers become JSON");
        hash::sha256(&json)[..32].to_owned()
    }
}

/// A matrix that is there, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: String,
    /// The model's perplexity over the text.
    pub perplexity: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    format_version: u32,
    facts: Facts,
    size: u64,
    sha256: String,
    perplexity: Option<f64>,
}

/// The place of one matrix.
#[derive(Debug)]
pub(super) struct Slot {
    folder: PathBuf,
    lock: PathBuf,
    facts: Facts,
}

impl Slot {
    /// Below this folder of caches.
    pub(super) fn new(cache: &Path, facts: Facts) -> Self {
        let (root, key) = (cache.join("imatrix"), facts.key());
        Slot { folder: root.join(&key), lock: root.join(format!(".{key}.lock")), facts }
    }

    /// The matrix, if its file is as it was when it was computed. Nothing is said of one that is not.
    pub(super) fn find(&self, cancel: &Cancel) -> Option<Cached> {
        let note: Note = serde_json::from_slice(&fs::read(self.folder.join(FACTS)).ok()?).ok()?;
        let path = self.folder.join(FILE);
        let same = note.format_version == 1
            && note.facts == self.facts
            && fs::metadata(&path).ok()?.len() == note.size
            && hash::sha256_file(&path, cancel).ok()? == note.sha256;
        same.then_some(Cached { path, size: note.size, sha256: note.sha256, perplexity: note.perplexity })
    }

    /// Keeps other processes from computing the same; `None` where the cache cannot be written.
    pub(super) fn hold(&self, cancel: &Cancel) -> Result<Option<FileLock>, ImportanceError> {
        match FileLock::acquire(&self.lock, cancel) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(ImportanceError::Stopped),
            Err(_) => Ok(None),
        }
    }

    /// Takes a matrix that was computed now. The note is written last: without it there is none.
    pub(super) fn put(
        &self,
        file: &Path,
        perplexity: Option<f64>,
        cancel: &Cancel,
    ) -> Result<Cached, ImportanceError> {
        let path = self.folder.join(FILE);
        let io = |source| ImportanceError::io(&path, source);
        match fs::remove_file(self.folder.join(FACTS)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io(source)),
            _ => {}
        }
        copy(file, &path).map_err(io)?;
        let size = fs::metadata(&path).map_err(io)?.len();
        let sha256 = hash::sha256_file(&path, cancel).map_err(io)?;
        let facts = self.facts.clone();
        let note = Note { format_version: 1, facts, size, sha256: sha256.clone(), perplexity };
        let json = serde_json::to_vec_pretty(&note).expect("texts and numbers become JSON");
        atomic::write(&self.folder.join(FACTS), &json).map_err(io)?;
        Ok(Cached { path, size, sha256, perplexity })
    }
}

/// A copy that is whole under its name or not there.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut file = AtomicFile::create(to, Outlives::Process)?;
    io::copy(&mut source, &mut file)?;
    file.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(chunks: u32) -> Facts {
        Facts {
            source: vec![("model.safetensors".to_owned(), 4, "00".to_owned())],
            base: "BF16".to_owned(),
            pre_tokenizer: None,
            converter: None,
            text: ("t.txt".to_owned(), "11".to_owned()),
            chunks: Some(chunks),
            context: 512,
            tool: "llama.cpp b1".to_owned(),
        }
    }

    #[test]
    fn a_matrix_is_found_again_while_it_is_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        let slot = Slot::new(root.path(), facts(3));
        assert_eq!(slot.find(&cancel), None);
        let made = root.path().join("made");
        fs::write(&made, "matrix").unwrap();
        let put = slot.put(&made, Some(7.25), &cancel).unwrap();
        assert_eq!((put.size, &*put.sha256), (6, &*hash::sha256(b"matrix")));
        assert_eq!(Slot::new(root.path(), facts(3)).find(&cancel), Some(put.clone()));
        assert_eq!(Slot::new(root.path(), facts(4)).find(&cancel), None);
        fs::write(&put.path, "matriX").unwrap();
        assert_eq!(slot.find(&cancel), None);
        assert_eq!(slot.put(&made, Some(7.25), &cancel).unwrap(), put);
        fs::write(slot.folder.join(FACTS), "{").unwrap();
        assert_eq!(slot.find(&cancel), None);
    }

    #[test]
    fn a_source_counts_only_by_hashes() {
        let file = |path: &str, sha256: Option<&str>| SourceFile {
            path: path.to_owned(),
            size: 1,
            modified_ns: None,
            sha256: sha256.map(str::to_owned),
        };
        let known = [file("model.safetensors", Some("aa")), file("README.md", None)];
        assert_eq!(Facts::files(&known), Some(vec![("model.safetensors".to_owned(), 1, "aa".to_owned())]));
        assert_eq!(Facts::files(&[file("model.safetensors", None)]), None);
    }
}
