//! The text that a matrix is computed over.

use std::fs;
use std::path::Path;

use super::ImportanceError;
use crate::base::cancel::Cancel;
use crate::base::file_name::is_safe_name;
use crate::base::hash;
use crate::config::Dataset;
use crate::event::Observer;
use crate::hub::{self, HubOptions};

/// The text that comes with the program; NOTICE says where it is from.
const BUILT_IN: &[u8] = include_bytes!("../../../data/calibration.txt");

/// Its name, which becomes part of the files that are made with it. It changes with the text.
const BUILT_IN_NAME: &str = "jamph-calibration-1.txt";

/// Longest text that is taken: llama.cpp holds all its tokens.
pub(super) const LONGEST: u64 = 1 << 30;

/// A text and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name without a folder.
    pub name: String,
    /// The hash of its bytes.
    pub sha256: String,
    pub(in crate::run) bytes: Vec<u8>,
}

impl Text {
    /// Reads it, or brings it here.
    ///
    /// # Errors
    /// It cannot be read, is empty or is too long.
    pub fn read(
        dataset: &Dataset,
        hub: &HubOptions,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, ImportanceError> {
        match dataset {
            Dataset::BuiltIn => Ok(Text::new(BUILT_IN_NAME, BUILT_IN.to_vec())),
            Dataset::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                Text::of_file(path, &name)
            }
            Dataset::Url(url) => {
                let path = hub::download(url, LONGEST, hub, observer, cancel)?;
                Text::of_file(&path, last_segment(url))
            }
        }
    }

    fn of_file(path: &Path, name: &str) -> Result<Self, ImportanceError> {
        let io = |source| ImportanceError::Io { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(io)?.len();
        if size > LONGEST {
            return Err(ImportanceError::LongText { path: path.to_owned(), size });
        }
        let bytes = fs::read(path).map_err(io)?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ImportanceError::EmptyText { path: path.to_owned() });
        }
        Ok(Text::new(name, bytes))
    }

    fn new(name: &str, bytes: Vec<u8>) -> Self {
        // It becomes a file of the scratch folder and an argument.
        let plain = !name.starts_with('-') && is_safe_name(name);
        let name = if plain { name } else { "dataset.txt" };
        Text { name: name.to_owned(), sha256: hash::sha256(&bytes), bytes }
    }
}

/// What an address calls its file.
pub(super) fn last_segment(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dataset: &Dataset) -> Result<Text, ImportanceError> {
        let root = tempfile::tempdir().unwrap();
        Text::read(dataset, &HubOptions::new("http://127.0.0.1:9", root.path()), &(), &Cancel::new())
    }

    #[test]
    fn the_built_in_text_gives_a_hundred_chunks_and_is_small() {
        let text = read(&Dataset::BuiltIn).unwrap();
        assert_eq!(text.name, BUILT_IN_NAME);
        // A token has four bytes or so of English, two or three of everything else.
        assert!((100 * 512 * 3..=300_000).contains(&text.bytes.len()), "{}", text.bytes.len());
        let words = std::str::from_utf8(&text.bytes).unwrap();
        for part in ["Norge", "fn main", "SELECT", "\"name\":", "<html", "def ", "∑", "The "] {
            assert!(words.contains(part), "{part}");
        }
    }

    #[test]
    fn names_are_plain() {
        let root = tempfile::tempdir().unwrap();
        for (name, expected) in [("a b.txt", "a b.txt"), ("-o.txt", "dataset.txt"), (".x", "dataset.txt")] {
            let path = root.path().join(name);
            fs::write(&path, "text").unwrap();
            let text = read(&Dataset::File(path)).unwrap();
            assert_eq!((&*text.name, &*text.sha256), (expected, &*hash::sha256(b"text")));
        }
        assert_eq!(last_segment("https://example.org/a/b.txt?x=/y#z"), "b.txt");
    }

    #[test]
    fn a_text_must_be_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("empty.txt");
        assert!(matches!(read(&Dataset::File(path.clone())), Err(ImportanceError::Io { .. })));
        fs::write(&path, " \n\t\n").unwrap();
        assert!(matches!(read(&Dataset::File(path)), Err(ImportanceError::EmptyText { .. })));
    }
}
