//! Builds of llama.cpp on this machine, by what they were made of.
//!
//! In: the facts of a build and somebody who can make it. Out: a folder whose every file is as it was when it was made.
//! Two processes that want the same build make it once; one that was interrupted leaves nothing under its final name;
//! one that was damaged since is made anew and never used. A cache that may only be read serves what it has.
//!
//! ```text
//! llama.cpp/.{key}.lock            one maker at a time
//!           .{key}.making          what an unfinished build has so far
//!           .download-…            an archive whose key is not known before it is here
//!           {key}/manifest.json    the facts, and every file's size and sha256
//!                 bin/  …          what was installed
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::TOOLS;
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::{atomic, hash, process};
use crate::event::{Code, Event, Observer};

/// The manifest's name in an entry.
const MANIFEST: &str = "manifest.json";

/// The flag of a release's own programs.
pub const PREBUILT: &str = "prebuilt";

/// How the names of archives begin that are being downloaded.
pub(super) const DOWNLOAD: &str = ".download-";

/// Nobody downloads for so long; what is older was left by a killed process.
const LEFT: Duration = Duration::from_secs(86_400);

/// What decides a build. Two builds with equal facts serve alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `linux`, `macos`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// The release (`b11429`), where it is one.
    pub tag: Option<String>,
    /// The source's commit, where it is known.
    pub commit: Option<String>,
    /// What else decides which source it is: `sha256:` and the digits of an archive or of a folder's content.
    pub content: Option<String>,
    /// Options of the build, sorted; [`PREBUILT`] for a release's own programs.
    pub flags: Vec<String>,
    /// The compiler and its version; none for a prebuilt one.
    pub compiler: Option<String>,
    /// The C library and its version.
    pub libc: Option<String>,
}

/// Name of an entry: 32 hexadecimal digits of the facts' hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Facts {
    /// The entry's name.
    pub fn key(&self) -> Key {
        let json = serde_json::to_vec(self).expect("texts become JSON");
        Key(hash::sha256(&json)[..32].to_owned())
    }
}

impl Key {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(name: &str) -> Option<Self> {
        let digits = name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        digits.then(|| Key(name.to_owned()))
    }
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format_version: u32,
    /// What it was made of.
    pub facts: Facts,
    /// Every file by its path in the entry. Links count as what they lead to.
    pub files: BTreeMap<String, FileFacts>,
}

/// A file of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Bytes.
    pub size: u64,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
}

/// A build that is whole.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Where it is.
    pub folder: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// When it was last used.
    pub used: SystemTime,
}

impl Entry {
    /// Bytes of its files; links take none.
    pub fn bytes(&self) -> u64 {
        let files = self.manifest.files.iter();
        files.filter(|(name, _)| !self.folder.join(name).is_symlink()).map(|(_, f)| f.size).sum()
    }
}

/// How an entry came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was there.
    Cached,
    /// It was made now.
    Made,
    /// It was there but damaged, and was made anew.
    Healed,
}

/// Why the cache could not serve.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file system.
    #[error("cannot read or write `{path}` in the cache")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user stopped the run.
    #[error("stopped")]
    Cancelled,
}

/// The cache.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Below this folder of caches.
    pub fn new(folder: &Path) -> Self {
        Cache { root: folder.join("llama.cpp") }
    }

    /// Where its entries are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry of these facts, if it is there and whole.
    ///
    /// # Errors
    /// Those of the file system; it was stopped.
    pub fn find(
        &self,
        facts: &Facts,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<Entry>, CacheError> {
        let key = facts.key();
        if !self.root.join(key.as_str()).join(MANIFEST).is_file() {
            return Ok(None);
        }
        let _lock = match self.lock(&key, observer, cancel) {
            // Where nothing can be written, nobody makes anything either.
            Err(CacheError::Io { source, .. }) if is_read_only(&source) => None,
            lock => Some(lock?),
        };
        let entry = self.sound(&key, cancel)?;
        entry.as_ref().map_or(Ok(()), |entry| self.touch(entry))?;
        Ok(entry)
    }

    /// The entry of these facts, made by `make` in the folder that it is given where it is not there, or not whole.
    ///
    /// # Errors
    /// Those of the cache and of `make`, whose folder is then removed.
    pub fn entry<E: From<CacheError>>(
        &self,
        facts: &Facts,
        observer: &dyn Observer,
        cancel: &Cancel,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(Entry, Came), E> {
        let key = facts.key();
        let _lock = self.lock(&key, observer, cancel)?;
        let folder = self.root.join(key.as_str());
        let there = folder.exists();
        if there && let Some(entry) = self.sound(&key, cancel)? {
            self.touch(&entry)?;
            return Ok((entry, Came::Cached));
        }
        let making = self.root.join(format!(".{}.making", key.as_str()));
        for leftover in [&folder, &making] {
            remove(leftover)?;
        }
        fs::create_dir_all(&making).map_err(|source| io_error(&making, source))?;
        let made = make(&making).and_then(|()| {
            let files = measure(&making, cancel)?;
            let manifest = Manifest { format_version: 1, facts: facts.clone(), files };
            let json = serde_json::to_vec_pretty(&manifest).expect("texts become JSON");
            let path = making.join(MANIFEST);
            atomic::write(&path, &json).map_err(|source| io_error(&path, source))?;
            fs::rename(&making, &folder).map_err(|source| io_error(&folder, source))?;
            Ok(Entry { key, folder, manifest, used: SystemTime::now() })
        });
        match made {
            Ok(entry) => Ok((entry, if there { Came::Healed } else { Came::Made })),
            Err(error) => {
                // The cause matters more than what is left; the next try removes it.
                let _ = remove(&making);
                Err(error)
            }
        }
    }

    /// The entry, if all its files are as the manifest says; nothing is said of one that is not.
    fn sound(&self, key: &Key, cancel: &Cancel) -> Result<Option<Entry>, CacheError> {
        let Some(entry) = self.read(key) else { return Ok(None) };
        match measure(&entry.folder, cancel) {
            Ok(files) => Ok((files == entry.manifest.files && has_programs(&entry.folder)).then_some(entry)),
            Err(CacheError::Cancelled) => Err(CacheError::Cancelled),
            // A link that leads nowhere, a file that cannot be read: damaged.
            Err(CacheError::Io { .. }) => Ok(None),
        }
    }

    fn read(&self, key: &Key) -> Option<Entry> {
        let folder = self.root.join(key.as_str());
        let path = folder.join(MANIFEST);
        let manifest: Manifest = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let known = manifest.format_version == 1 && manifest.facts.key() == *key;
        let used = path.metadata().and_then(|m| m.modified()).ok()?;
        known.then_some(Entry { key: key.clone(), folder, manifest, used })
    }

    /// Every entry, the last used first. Those without a readable manifest are not listed.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn list(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries: Vec<Entry> = names(&self.root)?
            .iter()
            .filter_map(|n| Key::parse(n))
            .filter_map(|key| self.read(&key))
            .collect();
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(entries)
    }

    /// Removes what is neither among the `keep` last used nor younger than `older_than`, and what killed processes and
    /// damaged builds left. Entries that another process is making or checking stay. Gives what was removed.
    ///
    /// # Errors
    /// A folder cannot be listed or removed.
    pub fn prune(&self, keep: Option<usize>, older_than: Option<Duration>) -> Result<Vec<Key>, CacheError> {
        let entries = self.list()?;
        let now = SystemTime::now();
        let stale = |entry: &Entry| {
            older_than.is_none_or(|limit| now.duration_since(entry.used).is_ok_and(|age| age > limit))
        };
        let kept: Vec<&Key> = entries
            .iter()
            .enumerate()
            .filter(|(i, entry)| keep.is_some_and(|keep| *i < keep) || !stale(entry))
            .map(|(_, entry)| &entry.key)
            .collect();
        let mut removed = Vec::new();
        for name in names(&self.root)? {
            if name.starts_with(DOWNLOAD) {
                let path = self.root.join(&name);
                let written = path.metadata().and_then(|m| m.modified()).ok();
                if written.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age > LEFT) {
                    fs::remove_file(&path).map_err(|source| io_error(&path, source))?;
                }
                continue;
            }
            let unfinished = name.strip_prefix('.').and_then(|n| n.strip_suffix(".making"));
            let Some(key) = Key::parse(unfinished.unwrap_or(&name)) else { continue };
            if unfinished.is_none() && kept.contains(&&key) {
                continue;
            }
            let lock = self.root.join(format!(".{}.lock", key.as_str()));
            let held = FileLock::try_acquire(&lock).map_err(|source| io_error(&lock, source))?;
            if held.is_some() {
                remove(&self.root.join(&name))?;
                removed.extend(unfinished.is_none().then_some(key));
            }
        }
        Ok(removed)
    }

    fn lock(&self, key: &Key, observer: &dyn Observer, cancel: &Cancel) -> Result<FileLock, CacheError> {
        let path = self.root.join(format!(".{}.lock", key.as_str()));
        match FileLock::try_acquire(&path) {
            Ok(Some(lock)) => return Ok(lock),
            // Who waits for a lock that cannot be made finds the reason below.
            Err(_) => {}
            Ok(None) => {
                let text = "another process is making or checking the same build; waiting for it";
                observer.event(Event::new(Code::ToolchainWaits, text).with("key", key.as_str()));
            }
        }
        FileLock::acquire(&path, cancel).map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => CacheError::Cancelled,
            _ => io_error(&path, source),
        })
    }

    /// Notes that it was used. A cache that may only be read serves as well.
    fn touch(&self, entry: &Entry) -> Result<(), CacheError> {
        let path = entry.folder.join(MANIFEST);
        match fs::File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now())) {
            Err(source) if !is_read_only(&source) => Err(io_error(&path, source)),
            _ => Ok(()),
        }
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// What hashes do not tell: that the programs may be run. Some ways to move a folder lose that.
fn has_programs(folder: &Path) -> bool {
    TOOLS.iter().all(|tool| process::find(tool, &[folder.join("bin")]).is_some())
}

fn io_error(path: &Path, source: io::Error) -> CacheError {
    match source.kind() {
        io::ErrorKind::Interrupted => CacheError::Cancelled,
        _ => CacheError::Io { path: path.to_owned(), source },
    }
}

fn remove(folder: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(folder, source)),
        _ => Ok(()),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, CacheError> {
    let listing = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| io_error(folder, source))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        names.push(
            entry.map_err(|source| io_error(folder, source))?.file_name().to_string_lossy().into_owned(),
        );
    }
    names.sort();
    Ok(names)
}

/// Size and hash of every file below a folder but the manifest.
fn measure(root: &Path, cancel: &Cancel) -> Result<BTreeMap<String, FileFacts>, CacheError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in names(&root.join(&folder))? {
            let relative = folder.join(name);
            let path = root.join(&relative);
            let about = path.metadata().map_err(|source| io_error(&path, source))?;
            // A link to a folder could lead round in a circle; archives of llama.cpp have none.
            if about.is_dir() && !path.is_symlink() {
                folders.push(relative);
            } else if about.is_file() && relative.as_os_str() != MANIFEST {
                let sha256 = hash::sha256_file(&path, cancel).map_err(|source| io_error(&path, source))?;
                let name = relative.to_string_lossy().replace('\\', "/");
                files.insert(name, FileFacts { size: about.len(), sha256 });
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn facts(tag: &str) -> Facts {
        Facts {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            tag: Some(tag.to_owned()),
            commit: None,
            content: None,
            flags: vec!["GGML_NATIVE=OFF".to_owned()],
            compiler: Some("gcc 12".to_owned()),
            libc: Some("glibc 2.36".to_owned()),
        }
    }

    fn build(folder: &Path) -> Result<(), CacheError> {
        fs::create_dir_all(folder.join("bin")).unwrap();
        for tool in TOOLS {
            let path = folder.join("bin").join(tool);
            fs::write(&path, "program").unwrap();
            set_mode(&path, 0o755);
        }
        Ok(())
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn never(_: &Path) -> Result<(), CacheError> {
        panic!("it is made again")
    }

    #[test]
    fn made_once() {
        let root = tempfile::tempdir().unwrap();
        let (cache, cancel) = (Cache::new(root.path()), Cancel::new());
        let (made, came) = cache.entry(&facts("b1"), &(), &cancel, build).unwrap();
        assert_eq!((came, made.bytes()), (Came::Made, 21));
        let (there, came) = cache.entry(&facts("b1"), &(), &cancel, never).unwrap();
        assert_eq!((came, &there.folder), (Came::Cached, &made.folder));
        assert_ne!(facts("b1").key(), facts("b2").key());
        assert_eq!(made.key, facts("b1").key());
    }

    #[test]
    fn damage_is_healed() {
        let root = tempfile::tempdir().unwrap();
        let (cache, cancel) = (Cache::new(root.path()), Cancel::new());
        let (entry, _) = cache.entry(&facts("b1"), &(), &cancel, build).unwrap();
        let program = entry.folder.join("bin/llama-imatrix");
        let damages: [&dyn Fn(); 6] = [
            &|| fs::write(&program, "Program").unwrap(),
            &|| set_mode(&program, 0o644),
            &|| fs::remove_file(&program).unwrap(),
            &|| fs::write(entry.folder.join("extra"), "").unwrap(),
            &|| fs::write(entry.folder.join(MANIFEST), "{").unwrap(),
            &|| fs::remove_file(entry.folder.join(MANIFEST)).unwrap(),
        ];
        for damage in damages {
            damage();
            assert!(cache.find(&facts("b1"), &(), &cancel).unwrap().is_none());
            let (healed, came) = cache.entry(&facts("b1"), &(), &cancel, build).unwrap();
            assert_eq!(came, Came::Healed);
            assert_eq!(fs::read_to_string(&program).unwrap(), "program");
            assert!(!healed.folder.join("extra").exists());
        }
    }

    /// To a superuser this is a cache like any other.
    #[test]
    fn a_cache_that_may_only_be_read_serves() {
        let root = tempfile::tempdir().unwrap();
        let (cache, cancel) = (Cache::new(root.path()), Cancel::new());
        let (entry, _) = cache.entry(&facts("b1"), &(), &cancel, build).unwrap();
        let lock = cache.root().join(format!(".{}.lock", entry.key.as_str()));
        let (there, left) = ([&lock, &entry.folder.join(MANIFEST)], [cache.root(), &entry.folder]);
        there.iter().for_each(|path| set_mode(path, 0o444));
        left.iter().for_each(|path| set_mode(path, 0o555));
        let found = cache.find(&facts("b1"), &(), &cancel);
        left.iter().for_each(|path| set_mode(path, 0o755));
        assert!(found.unwrap().is_some_and(|found| found.key == entry.key));
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (cache, cancel) = (Cache::new(root.path()), Cancel::new());
        let fails = |folder: &Path| {
            build(folder)?;
            Err(CacheError::Cancelled)
        };
        assert!(matches!(cache.entry(&facts("b1"), &(), &cancel, fails), Err(CacheError::Cancelled)));
        let left: Vec<_> = names(cache.root()).unwrap();
        assert_eq!(left, [format!(".{}.lock", facts("b1").key().as_str())]);
        assert_eq!(cache.entry(&facts("b1"), &(), &cancel, build).unwrap().1, Came::Made);
    }

    #[test]
    fn two_at_once_make_one() {
        let root = tempfile::tempdir().unwrap();
        let (cache, builds) = (Cache::new(root.path()), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let make = |folder: &Path| {
                        builds.fetch_add(1, Ordering::Relaxed);
                        build(folder)
                    };
                    cache.entry(&facts("b1"), &(), &Cancel::new(), make).unwrap();
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn pruning() {
        let root = tempfile::tempdir().unwrap();
        let (cache, cancel) = (Cache::new(root.path()), Cancel::new());
        for (tag, age) in [("b1", 30), ("b2", 20), ("b3", 10)] {
            let (entry, _) = cache.entry(&facts(tag), &(), &cancel, build).unwrap();
            let manifest = fs::File::options().append(true).open(entry.folder.join(MANIFEST)).unwrap();
            manifest.set_modified(SystemTime::now() - Duration::from_secs(age * 86_400)).unwrap();
        }
        let tags = || -> Vec<String> {
            cache.list().unwrap().into_iter().map(|e| e.manifest.facts.tag.unwrap()).collect()
        };
        assert_eq!(tags(), ["b3", "b2", "b1"]);
        let days = |n: u64| Some(Duration::from_secs(n * 86_400));
        assert!(cache.prune(Some(3), days(5)).unwrap().is_empty());
        assert_eq!(cache.prune(Some(1), days(25)).unwrap(), [facts("b1").key()]);
        assert_eq!(tags(), ["b3", "b2"]);
        let held = cache.lock(&facts("b2").key(), &(), &cancel).unwrap();
        assert!(cache.prune(Some(1), None).unwrap().is_empty(), "one in use stays");
        drop(held);
        fs::create_dir(cache.root().join(format!(".{}.making", facts("b9").key().as_str()))).unwrap();
        let download = |age: u64| {
            let path = cache.root().join(format!("{DOWNLOAD}{age}"));
            let file = fs::File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
            path
        };
        let (young, old) = (download(1), download(25));
        assert_eq!(cache.prune(Some(1), None).unwrap(), [facts("b2").key()]);
        assert_eq!((young.exists(), old.exists()), (true, false));
        assert_eq!(tags(), ["b3"]);
        assert!(!names(cache.root()).unwrap().iter().any(|n| n.ends_with(".making")));
    }
}
