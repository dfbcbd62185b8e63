//! `jamph.lock`: what was downloaded the first time, so that later downloads are the same bytes.
//!
//! GitHub states a digest for a release's files and none for source archives; a tag can be moved. So the commit of a
//! tag and the SHA-256 of every archive are recorded when they are first seen. What differs later is refused, not
//! recorded. The file stands beside models.yaml and belongs into version control; without a models.yaml it stands in
//! the cache.
//!
//! ```json
//! {
//!   "version": 1,
//!   "releases": { "v0.5.0": "b11312" },
//!   "commits": { "b11312": "0c1e57098bba43ac29e6e3b677cdceebdd22334f" },
//!   "archives": { "ggml-org/llama.cpp@0c1e57098bba43ac29e6e3b677cdceebdd22334f": "<sha256>" }
//! }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::atomic;

/// The file's name.
pub const FILE: &str = "jamph.lock";

/// Version of its format.
const FORMAT: u32 = 1;

/// Longest file that is read.
const LONGEST: u64 = 1 << 20;

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// Releases with three numbers, and which tag has their programs.
    #[serde(default)]
    releases: BTreeMap<String, String>,
    /// Tags and their commits.
    #[serde(default)]
    commits: BTreeMap<String, String>,
    /// Archives and their SHA-256.
    #[serde(default)]
    archives: BTreeMap<String, String>,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which tag a release with three numbers stands for.
    Release,
    /// Which commit a tag is.
    Commit,
    /// The SHA-256 of an archive.
    Archive,
}

/// Why something is not what was recorded, or cannot be.
#[derive(Debug, Error)]
pub enum PinError {
    /// It is another one than it was.
    #[error("`{name}` is `{found}`, and `{file}` has `{recorded}` for it")]
    Changed {
        /// The file.
        file: PathBuf,
        /// A tag or an archive.
        name: String,
        /// What it was.
        recorded: String,
        /// What it is now.
        found: String,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write `{file}`")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is none of ours.
    #[error("`{file}` is no lock file of this program")]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file was written by a later version.
    #[error("`{file}` has format {version}, which this program does not know")]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl PinError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            PinError::Changed { file, name, .. } => Some(format!(
                "somebody replaced it; if the new one is trusted, remove `{name}` from `{}`",
                file.display()
            )),
            PinError::Malformed { .. } => Some("restore it from version control, or remove it".to_owned()),
            PinError::Version { .. } => Some("use a newer jamph-quantizer".to_owned()),
            PinError::Io { .. } => None,
        }
    }
}

/// The lock file.
#[derive(Clone, Debug)]
pub struct Pins {
    file: PathBuf,
    record: Record,
}

impl Pins {
    /// Reads the file; one that is not there has nothing.
    ///
    /// # Errors
    /// It cannot be read, or is no lock file.
    pub fn open(file: &Path) -> Result<Self, PinError> {
        let io = |source| PinError::Io { file: file.to_owned(), source };
        let empty = Record {
            version: FORMAT,
            releases: BTreeMap::new(),
            commits: BTreeMap::new(),
            archives: BTreeMap::new(),
        };
        let record = match fs::metadata(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => empty,
            Err(e) => return Err(io(e)),
            Ok(about) if about.len() > LONGEST => return Err(io(io::ErrorKind::FileTooLarge.into())),
            Ok(_) => serde_json::from_slice(&fs::read(file).map_err(io)?)
                .map_err(|source| PinError::Malformed { file: file.to_owned(), source })?,
        };
        if record.version != FORMAT {
            return Err(PinError::Version { file: file.to_owned(), version: record.version });
        }
        Ok(Pins { file: file.to_owned(), record })
    }

    fn map(&self, kind: Kind) -> &BTreeMap<String, String> {
        match kind {
            Kind::Release => &self.record.releases,
            Kind::Commit => &self.record.commits,
            Kind::Archive => &self.record.archives,
        }
    }

    /// What is recorded of a name.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&str> {
        self.map(kind).get(name).map(String::as_str)
    }

    /// Every tag that is recorded.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.record.commits.keys().map(String::as_str)
    }

    /// Refuses what is recorded otherwise.
    ///
    /// # Errors
    /// [`PinError::Changed`].
    pub fn check(&self, kind: Kind, name: &str, found: &str) -> Result<(), PinError> {
        match self.get(kind, name) {
            Some(recorded) if recorded != found => Err(PinError::Changed {
                file: self.file.clone(),
                name: name.to_owned(),
                recorded: recorded.to_owned(),
                found: found.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Records what was found, if nothing is; says whether it did. What others recorded meanwhile stays.
    ///
    /// # Errors
    /// It is recorded otherwise, or the file cannot be written.
    pub fn record(&mut self, kind: Kind, name: &str, found: &str) -> Result<bool, PinError> {
        let file = self.file.clone();
        let mut now = Pins::open(&file)?;
        now.check(kind, name, found)?;
        let is_new = now.get(kind, name).is_none();
        if is_new {
            let map = match kind {
                Kind::Release => &mut now.record.releases,
                Kind::Commit => &mut now.record.commits,
                Kind::Archive => &mut now.record.archives,
            };
            map.insert(name.to_owned(), found.to_owned());
            let mut json = serde_json::to_vec_pretty(&now.record).expect("texts become JSON");
            json.push(b'\n');
            atomic::write(&file, &json).map_err(|source| PinError::Io { file, source })?;
        }
        *self = now;
        Ok(is_new)
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut pins = Pins::open(&file).unwrap();
        assert_eq!(pins.get(Kind::Commit, "b1"), None);
        assert!(pins.record(Kind::Commit, "b1", "aa").unwrap());
        assert!(!pins.record(Kind::Commit, "b1", "aa").unwrap());
        let changed = pins.record(Kind::Commit, "b1", "bb").unwrap_err();
        assert!(matches!(&changed, PinError::Changed { recorded, .. } if recorded == "aa"), "{changed:?}");
        // Another process recorded something meanwhile.
        let mut other = Pins::open(&file).unwrap();
        other.record(Kind::Archive, "b1", "cc").unwrap();
        pins.record(Kind::Release, "v1.0.0", "b1").unwrap();
        let read = Pins::open(&file).unwrap();
        assert_eq!(read.get(Kind::Archive, "b1"), Some("cc"));
        assert_eq!(read.get(Kind::Release, "v1.0.0"), Some("b1"));
        assert_eq!(read.tags().collect::<Vec<_>>(), ["b1"]);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "{\n  \"version\": 1,\n  \"releases\": {\n    \"v1.0.0\": \"b1\"\n  },\n  \"commits\": {\n    \"b1\": \"aa\"\n  },\n  \"archives\": {\n    \"b1\": \"cc\"\n  }\n}\n"
        );
    }

    #[test]
    fn what_is_no_lock_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let open = |text: &str| {
            fs::write(&file, text).unwrap();
            Pins::open(&file)
        };
        assert!(open("{\"version\":1}").is_ok());
        assert!(matches!(open("{\"version\":2}"), Err(PinError::Version { version: 2, .. })));
        for text in ["", "[]", "{}", "{\"version\":1,\"more\":1}", "{\"version\":1,\"commits\":[]}"] {
            assert!(matches!(open(text), Err(PinError::Malformed { .. })), "{text}");
        }
    }
}
