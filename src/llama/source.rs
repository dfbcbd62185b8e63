//! Sources that are on this machine: what is in a folder, as one hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::base::cancel::Cancel;
use crate::base::hash;

/// Most files of a folder; llama.cpp has some 4,000.
const MOST: usize = 100_000;

/// Deepest folder.
const DEEPEST: usize = 24;

/// Why a source on this machine cannot be used.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It is not there, or cannot be read.
    #[error("cannot read the source `{path}`")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too much for a source.
    #[error("the folder `{folder}` has more than {MOST} files or {DEEPEST} levels")]
    TooMuch {
        /// The folder.
        folder: PathBuf,
    },
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
}

impl SourceError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            SourceError::Cancelled => None,
            _ => Some(
                "`llama_cpp.source` names a folder or archive of llama.cpp's source, beside models.yaml or by its whole path"
                    .to_owned(),
            ),
        }
    }
}

/// SHA-256 of an archive.
pub(super) fn archive_hash(path: &Path, cancel: &Cancel) -> Result<String, SourceError> {
    hash::sha256_file(path, cancel).map_err(|source| error(path, source))
}

/// SHA-256 over the names and contents of what a folder has, but for git's own files and builds in it.
pub(super) fn folder_hash(root: &Path, cancel: &Cancel) -> Result<String, SourceError> {
    let mut lines = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let here = root.join(&folder);
        for entry in fs::read_dir(&here).map_err(|e| error(&here, e))? {
            let entry = entry.map_err(|e| error(&here, e))?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(|e| error(&here, e))?);
            let relative = folder.join(&name);
            let shown = relative.to_string_lossy().replace('\\', "/");
            let is_build = depth == 0 && name.to_string_lossy().starts_with("build") && kind.is_dir();
            if name == ".git" || name == "__pycache__" || is_build {
                continue;
            }
            if lines.len() >= MOST || depth >= DEEPEST {
                return Err(SourceError::TooMuch { folder: root.to_owned() });
            }
            let path = entry.path();
            if kind.is_dir() {
                folders.push((relative, depth + 1));
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|e| error(&path, e))?;
                lines.push(format!("{shown} -> {}", target.display()));
            } else if kind.is_file() {
                lines.push(format!("{shown} {}", archive_hash(&path, cancel)?));
            }
        }
    }
    lines.sort();
    Ok(hash::sha256(lines.join("\n").as_bytes()))
}

fn error(path: &Path, source: io::Error) -> SourceError {
    match source.kind() {
        io::ErrorKind::Interrupted => SourceError::Cancelled,
        _ => SourceError::Io { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_content() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let of = || folder_hash(root.path(), &Cancel::new()).unwrap();
        write("CMakeLists.txt", "c");
        write("src/a.cpp", "a");
        let first = of();
        for name in [".git/HEAD", "build/x.o", "build-native/x.o", "gguf-py/__pycache__/x"] {
            write(name, "x");
            assert_eq!(of(), first, "{name}");
        }
        write("src/build/b.cpp", "b");
        let second = of();
        assert_ne!(second, first);
        write("src/build/b.cpp", "c");
        assert_ne!(of(), second);
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(matches!(folder_hash(root.path(), &cancel), Err(SourceError::Cancelled)));
        assert!(matches!(folder_hash(Path::new("no/such"), &Cancel::new()), Err(SourceError::Io { .. })));
    }
}
