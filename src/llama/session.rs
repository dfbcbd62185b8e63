//! Getting a toolchain: one call, from a request to an entry of the cache.
//!
//! In: a [`Request`] and a [`Setup`]. First everything is found out that a key needs ([`Session::resolve`]), from
//! `jamph.lock` as far as it goes; then the cache is looked at; then a release's own programs are taken, or where there
//! are none that run here, its source is built. What comes from the network is compared with what is stated or recorded
//! before it is unpacked, and recorded once it was.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempPath;

use super::archive::{self, Limits};
use super::build::{self, BuildError, BuildOptions};
use super::cache::{self, Cache, CacheError, Came, Entry, Facts, PREBUILT};
use super::error::ToolchainError;
use super::pins::{Kind, PinError, Pins};
use super::release::{self, Downloaded, GitHub, ReleaseError};
use super::request::{Request, Source, number, secure};
use super::toolchain::{Toolchain, with_libraries};
use super::wanted::{Obtained, Setup};
use super::{REPOSITORY, install, source};
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::lock::FileLock;
use crate::base::{memory, units};
use crate::event::{Code, Event, Observer};

/// What an unfinished entry keeps its downloads, sources and objects in.
const WORK: &str = ".work";

/// Memory that a compiler may take for one of llama.cpp's files.
const COMPILER: u64 = 1 << 30;

/// Which source, once everything about it is known that its key needs.
pub(super) struct Resolved {
    tag: Option<String>,
    commit: Option<String>,
    content: Option<String>,
    subfolder: Option<String>,
    native: bool,
    place: Place,
}

/// Where a source is.
enum Place {
    /// GitHub has the commit.
    Commit(String),
    /// An archive on this machine.
    Archive(PathBuf),
    /// One that was downloaded now, because nothing was recorded of it; it goes when this is dropped.
    Fetched { file: TempPath, name: String, sha256: String },
    /// An archive elsewhere, of which the hash is known.
    Url(String),
    /// A tree on this machine.
    Folder(PathBuf),
}

/// One call: what is known, and who listens.
pub(super) struct Session<'a> {
    pub(super) setup: &'a Setup,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
}

impl Session<'_> {
    pub(super) fn obtain(&self, request: &Request) -> Result<Obtained, ToolchainError> {
        if let Request::Installed(folder) = request {
            let toolchain = Toolchain::installed(folder, &self.setup.environment, self.cancel)?;
            return Ok(Obtained { toolchain, came: None, bytes: None });
        }
        let resolved = self.resolve(request)?;
        let obtained = self.find_or_make(&resolved)?;
        // Now it is known to be a source. What came damaged must not be what later downloads are held against.
        if let Place::Fetched { name, sha256, .. } = &resolved.place {
            self.pin(&mut Pins::open(&self.setup.lock)?, Kind::Archive, name, sha256)?;
        }
        Ok(obtained)
    }

    fn find_or_make(&self, resolved: &Resolved) -> Result<Obtained, ToolchainError> {
        let cache = Cache::new(&self.setup.cache);
        let prebuilt = self.prebuilt_facts(resolved);
        let find = |facts: &Facts| cache.find(facts, self.observer, self.cancel);
        if let Some(entry) = prebuilt.as_ref().map(find).transpose()?.flatten() {
            return Ok(self.obtained(&entry, Came::Cached));
        }
        let built = self.built_facts(resolved);
        if let Some(entry) = built.as_ref().ok().map(find).transpose()?.flatten() {
            return Ok(self.obtained(&entry, Came::Cached));
        }
        if let Some(facts) = prebuilt {
            let made = cache
                .entry(&facts, self.observer, self.cancel, |into| self.take_prebuilt(&facts, resolved, into));
            match made {
                Ok((entry, came)) => return Ok(self.obtained(&entry, came)),
                Err(error) if is_unfit(&error) => {
                    let text = format!("{}; building it from source", causes(&error).replace('\n', " | "));
                    self.observer.event(Event::new(Code::ToolchainUnfit, text));
                }
                Err(error) => return Err(error),
            }
        }
        let facts = built?;
        let (entry, came) =
            cache.entry(&facts, self.observer, self.cancel, |into| self.build(&facts, resolved, into))?;
        Ok(self.obtained(&entry, came))
    }

    fn obtained(&self, entry: &Entry, came: Came) -> Obtained {
        Obtained {
            toolchain: Toolchain::of_entry(entry, &self.setup.environment),
            came: Some(came),
            bytes: Some(entry.bytes()),
        }
    }

    pub(super) fn say(&self, obtained: &Obtained) {
        let Obtained { toolchain, came, .. } = obtained;
        let (reference, folder) = (toolchain.reference(), toolchain.folder().display());
        if *came == Some(Came::Healed) {
            let text = "the build in the cache was damaged; it was removed and made anew";
            self.observer.event(Event::new(Code::ToolchainHealed, text).with("key", reference.key.as_str()));
        }
        let event = Event::new(Code::ToolchainReady, format!("{reference} in `{folder}`"));
        self.observer.event(
            event
                .with("tag", reference.tag.clone())
                .with("commit", reference.commit.clone())
                .with("key", reference.key.as_str())
                .with("folder", folder.to_string()),
        );
    }

    /// Finds out all that a key needs; asks GitHub only for what is recorded nowhere.
    pub(super) fn resolve(&self, request: &Request) -> Result<Resolved, ToolchainError> {
        let mut pins = Pins::open(&self.setup.lock)?;
        let nothing = Resolved {
            tag: None,
            commit: None,
            content: None,
            subfolder: None,
            native: false,
            place: Place::Folder(PathBuf::new()),
        };
        Ok(match request {
            Request::Installed(folder) => Resolved { place: Place::Folder(folder.clone()), ..nothing },
            Request::Commit { commit, native } => Resolved {
                commit: Some(commit.clone()),
                native: *native,
                place: Place::Commit(commit.clone()),
                ..nothing
            },
            Request::Release { tag, commit, native } => {
                let tag = self.build_tag(tag, &mut pins)?;
                let commit = self.commit_of(&tag, commit.as_deref(), &mut pins)?;
                Resolved {
                    tag: Some(tag),
                    commit: Some(commit.clone()),
                    native: *native,
                    place: Place::Commit(commit),
                    ..nothing
                }
            }
            Request::Source { source, subfolder, tag, commit, native } => {
                let (place, hash) = self.place(source, &pins)?;
                Resolved {
                    tag: tag.clone(),
                    commit: commit.clone(),
                    content: Some(format!("sha256:{hash}")),
                    subfolder: subfolder.clone(),
                    native: *native,
                    place,
                }
            }
        })
    }

    /// The tag with the programs: itself, or what a release with three numbers names.
    fn build_tag(&self, tag: &str, pins: &mut Pins) -> Result<String, ToolchainError> {
        if release::is_build_tag(tag) {
            return Ok(tag.to_owned());
        }
        if let Some(known) = pins.get(Kind::Release, tag) {
            return Ok(known.to_owned());
        }
        let github = self.github(&format!("the release `{tag}`"))?;
        let found = github.tag_of(&github.release(tag)?)?;
        secure(&found)?;
        self.pin(pins, Kind::Release, tag, &found)?;
        Ok(found)
    }

    fn commit_of(&self, tag: &str, given: Option<&str>, pins: &mut Pins) -> Result<String, ToolchainError> {
        if let Some(given) = given {
            pins.check(Kind::Commit, tag, given)?;
            return Ok(given.to_owned());
        }
        if let Some(known) = pins.get(Kind::Commit, tag) {
            return Ok(known.to_owned());
        }
        let found = self.github(&format!("the commit of `{tag}`"))?.commit(tag)?;
        self.pin(pins, Kind::Commit, tag, &found)?;
        Ok(found)
    }

    /// Where a source is, and the hash of its content.
    fn place(&self, from: &Source, pins: &Pins) -> Result<(Place, String), ToolchainError> {
        match from {
            Source::Path(path) if path.is_dir() => {
                Ok((Place::Folder(path.clone()), source::folder_hash(path, self.cancel)?))
            }
            Source::Path(path) => {
                Ok((Place::Archive(path.clone()), source::archive_hash(path, self.cancel)?))
            }
            Source::Url(url) => {
                let name = without_query(url);
                if let Some(known) = pins.get(Kind::Archive, &name) {
                    return Ok((Place::Url(url.clone()), known.to_owned()));
                }
                let root = Cache::new(&self.setup.cache).root().to_owned();
                let io = |source| CacheError::Io { path: root.clone(), source };
                fs::create_dir_all(&root).map_err(io)?;
                let file = tempfile::Builder::new().prefix(cache::DOWNLOAD).tempfile_in(&root).map_err(io)?;
                let file = file.into_temp_path();
                let sha256 = self.download_archive(url, &file)?.sha256;
                Ok((Place::Fetched { file, name, sha256: sha256.clone() }, sha256))
            }
        }
    }

    fn download_archive(&self, url: &str, into: &Path) -> Result<Downloaded, ToolchainError> {
        self.downloading(url);
        Ok(self.github(&format!("`{}`", without_query(url)))?.archive(url, into)?)
    }

    /// The facts of a release's own programs, where there may be some that run here.
    pub(super) fn prebuilt_facts(&self, resolved: &Resolved) -> Option<Facts> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let tag = resolved.tag.as_deref().filter(|_| matches!(resolved.place, Place::Commit(_)))?;
        let libc = build::libc(&self.build_options(resolved), self.cancel);
        // They are linked with glibc, and with a newer one than some systems have.
        if resolved.native || libc.as_ref().is_some_and(|libc| libc.contains("musl")) {
            return None;
        }
        release::archive_name(tag, os, arch).map(|_| Facts {
            os: os.to_owned(),
            arch: arch.to_owned(),
            tag: Some(tag.to_owned()),
            commit: resolved.commit.clone(),
            content: None,
            flags: vec![PREBUILT.to_owned()],
            compiler: None,
            libc,
        })
    }

    pub(super) fn built_facts(&self, resolved: &Resolved) -> Result<Facts, ToolchainError> {
        let options = self.build_options(resolved);
        let mut flags = build::flags(resolved.native);
        // What a user says to compilers makes another build.
        let said = |(name, value): &(OsString, OsString)| {
            let name = name.to_str().filter(|name| name.ends_with("FLAGS"))?;
            Some(format!("{name}={}", value.to_string_lossy()))
        };
        flags.extend(self.setup.compilers.iter().filter_map(said));
        flags.extend(resolved.subfolder.iter().map(|folder| format!("subfolder={folder}")));
        if resolved.native {
            // Another processor may not have the instructions of this one.
            flags.extend(build::processor(&options, self.cancel).map(|hash| format!("processor={hash}")));
        }
        flags.sort();
        Ok(Facts {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            tag: resolved.tag.clone(),
            commit: resolved.commit.clone(),
            content: resolved.content.clone(),
            flags,
            compiler: Some(build::compiler(&options, self.cancel)?),
            libc: build::libc(&options, self.cancel),
        })
    }

    fn build_options(&self, resolved: &Resolved) -> BuildOptions {
        let fitting = memory::available().map_or(usize::MAX, |bytes| (bytes / COMPILER) as usize);
        let commit = resolved.commit.as_deref().map_or("unknown", |c| c.get(..9).unwrap_or(c));
        BuildOptions {
            native: resolved.native,
            jobs: self.setup.jobs.min(fitting).max(1),
            environment: [&*self.setup.environment, &*self.setup.compilers].concat(),
            search: self.setup.search.clone(),
            version: (resolved.tag.as_deref().and_then(number).unwrap_or(0), commit.to_owned()),
        }
    }

    /// Takes a release's own programs, and the converter of its source.
    fn take_prebuilt(&self, facts: &Facts, resolved: &Resolved, into: &Path) -> Result<(), ToolchainError> {
        let (Some(tag), Some(commit)) = (&facts.tag, &facts.commit) else {
            unreachable!("the facts of a release's programs have both")
        };
        let mut pins = Pins::open(&self.setup.lock)?;
        let github = self.github(&format!("the release `{tag}`"))?;
        let name = release::archive_name(tag, &facts.os, &facts.arch).unwrap_or_default();
        let release = github.release(tag).map_err(|error| match error {
            // A tag need not be a release.
            ReleaseError::NotFound { .. } => no_programs(tag, "is none that GitHub has programs of"),
            error => error,
        })?;
        let asset = release.assets.iter().find(|asset| asset.name == name);
        let asset = asset.ok_or_else(|| no_programs(tag, "has no programs for this system"))?;
        if asset.sha256().is_none() {
            return Err(no_programs(tag, "states no SHA-256 of its programs").into());
        }
        let found = github.commit(tag)?;
        if found != *commit {
            return Err(ReleaseError::Moved { tag: tag.clone(), expected: commit.clone(), found }.into());
        }
        self.pin(&mut pins, Kind::Commit, tag, commit)?;
        let work = Work::new(into)?;
        let archive = work.path.join(&name);
        self.downloading(&name);
        let came = github.asset(asset, &archive)?;
        self.pin(&mut pins, Kind::Archive, &name, &came.sha256)?;
        self.verified(&name, &came);
        let unpacked = work.path.join("release");
        self.unpack(&archive, None, &unpacked)?;
        let programs = install::find_programs(&unpacked)
            .ok_or_else(|| no_programs(tag, "has no programs in its archive"))?;
        let bin = into.join("bin");
        install::programs(&programs, &bin)?;
        let environment = with_libraries(&bin, &self.setup.environment);
        install::start_all(&bin, &environment, self.cancel)
            .map_err(|source| ToolchainError::Unfit { archive: name, source })?;
        let tree = self.tree(resolved, &work.path)?;
        install::converter(&tree, &into.join("converter"))?;
        work.remove()
    }

    fn build(&self, facts: &Facts, resolved: &Resolved, into: &Path) -> Result<(), ToolchainError> {
        let work = Work::new(into)?;
        let tree = self.tree(resolved, &work.path)?;
        let options = self.build_options(resolved);
        let compiler = facts.compiler.as_deref().unwrap_or_default();
        let jobs = units::counted(options.jobs, "compiler");
        let text = format!("building llama.cpp, {jobs} at a time ({compiler}); this takes minutes");
        self.observer.event(Event::new(Code::BuildStarted, text).with("jobs", options.jobs));
        let start = Instant::now();
        build::build(&tree, &work.path.join("build"), into, &options, self.observer, self.cancel)?;
        let seconds = start.elapsed().as_secs_f64();
        let text = format!("llama.cpp is built, in {}", units::duration(start.elapsed()));
        self.observer.event(Event::new(Code::BuildFinished, text).with("seconds", seconds));
        work.remove()
    }

    /// The source tree, unpacked where it is not a folder already.
    fn tree(&self, resolved: &Resolved, work: &Path) -> Result<PathBuf, ToolchainError> {
        let below = |folder: &Path| match &resolved.subfolder {
            Some(subfolder) => folder.join(subfolder),
            None => folder.to_owned(),
        };
        let downloaded = work.join("source.tar.gz");
        let (archive, came) = match &resolved.place {
            Place::Folder(folder) => return Ok(below(folder)),
            Place::Archive(path) => (path.as_path(), None),
            Place::Fetched { file, .. } => (&**file, None),
            Place::Url(url) => {
                let came = self.download_archive(url, &downloaded)?;
                (downloaded.as_path(), Some((without_query(url), came)))
            }
            Place::Commit(commit) => {
                let name = format!("{REPOSITORY}@{commit}");
                self.downloading(&name);
                let came = self.github(&format!("the source of `{commit}`"))?.source(commit, &downloaded)?;
                (downloaded.as_path(), Some((name, came)))
            }
        };
        let mut pins = Pins::open(&self.setup.lock)?;
        if let Some((name, came)) = &came {
            pins.check(Kind::Archive, name, &came.sha256)?;
        }
        let tree = work.join("source");
        self.unpack(archive, resolved.subfolder.as_deref(), &tree)?;
        // Only what could be unpacked is recorded: a download that came damaged is tried again, not kept for good.
        if let Some((name, came)) = came {
            self.pin(&mut pins, Kind::Archive, &name, &came.sha256)?;
            self.verified(&name, &came);
        }
        Ok(tree)
    }

    fn unpack(&self, archive: &Path, subfolder: Option<&str>, into: &Path) -> Result<(), ToolchainError> {
        let io = |source| CacheError::Io { path: into.to_owned(), source };
        fs::create_dir_all(into).map_err(io)?;
        let limits = archive.metadata().map_or_else(|_| Limits::default(), |m| Limits::of_archive(m.len()));
        Ok(archive::unpack(archive, subfolder, into, limits, self.cancel)?)
    }

    pub(super) fn github(&self, what: &str) -> Result<GitHub<'_>, ReleaseError> {
        if self.setup.offline {
            return Err(ReleaseError::Offline { what: what.to_owned() });
        }
        let Setup { api, token, patience, .. } = self.setup;
        GitHub::new(api, token.as_ref(), *patience, self.observer, self.cancel)
    }

    /// Records what was found; refuses what is recorded otherwise.
    pub(super) fn pin(&self, pins: &mut Pins, kind: Kind, name: &str, found: &str) -> Result<(), PinError> {
        // Of two that read the file at once and then write it, one's record would be lost. A cache that cannot be written
        // is no reason not to record.
        let lock = Cache::new(&self.setup.cache).root().join(".pins.lock");
        let _one_at_a_time = FileLock::acquire(&lock, self.cancel);
        match pins.record(kind, name, found) {
            Ok(true) => {
                let text = format!("`{name}` is recorded in `{}`", pins.file().display());
                self.observer.event(Event::new(Code::PinRecorded, text).with("found", found));
            }
            Ok(false) => {}
            // A checkout that may only be read: what is known is compared, what is new is lost.
            Err(PinError::Io { file, source }) => {
                let text = format!("cannot record `{name}` in `{}`: {source}", file.display());
                self.observer.event(Event::new(Code::PinLost, text).with("found", found));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn downloading(&self, name: &str) {
        let text = format!("downloading `{}`", without_query(name));
        self.observer.event(Event::new(Code::ToolchainDownload, text));
    }

    fn verified(&self, name: &str, came: &Downloaded) {
        let text =
            format!("`{name}` is here, {}; its SHA-256 is the one on record", units::decimal(came.bytes));
        let event = Event::new(Code::ToolchainVerified, text).with("bytes", came.bytes);
        self.observer.event(event.with("sha256", came.sha256.as_str()));
    }
}

/// The folder of what an entry is made from; not part of the entry.
struct Work {
    path: PathBuf,
}

impl Work {
    fn new(into: &Path) -> Result<Self, CacheError> {
        let path = into.join(WORK);
        fs::create_dir_all(&path).map_err(|source| CacheError::Io { path: path.clone(), source })?;
        Ok(Work { path })
    }

    fn remove(self) -> Result<(), ToolchainError> {
        let path = self.path;
        Ok(fs::remove_dir_all(&path).map_err(|source| CacheError::Io { path, source })?)
    }
}

fn no_programs(tag: &str, why: &'static str) -> ReleaseError {
    ReleaseError::NoPrograms { tag: tag.to_owned(), why }
}

/// Whether a build from source helps where a release's programs do not serve.
fn is_unfit(error: &ToolchainError) -> bool {
    match error {
        ToolchainError::Unfit { .. } => !error.is_cancelled(),
        ToolchainError::Release(error) => matches!(error, ReleaseError::NoPrograms { .. }),
        ToolchainError::Build(error) => matches!(error, BuildError::NoTool { .. }),
        _ => false,
    }
}

/// An address without what may be secret.
fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}
