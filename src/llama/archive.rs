//! Unpacking archives that somebody else made.
//!
//! In: a gzipped tar file and a folder. Out: regular files, folders and links that stay inside. Refuses: absolute paths
//! and `..`, anything below a link, links that lead out or over each other, hard links, devices, and more bytes or
//! entries than a source tree has. Nobody's permissions are kept but whether a file is a program.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::EntryType;
use thiserror::Error;

use crate::base::cancel::Cancel;

/// Most that the headers of all entries take, and what rounds their bytes up.
const HEADERS: u64 = 128 << 20;

/// What an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl Default for Limits {
    /// A llama.cpp tree has some 3,000 files of 150 MB; a release with every GPU library a few GB.
    fn default() -> Self {
        Limits { bytes: 8 << 30, entries: 100_000 }
    }
}

impl Limits {
    /// What an archive of this size may hold: source text packs to a fifth, a bomb to a thousandth.
    pub fn of_archive(bytes: u64) -> Self {
        let most = Limits::default();
        Limits { bytes: bytes.saturating_mul(100).clamp(64 << 20, most.bytes), ..most }
    }
}

/// Why an archive was refused.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The archive cannot be read: it is truncated or no gzipped tar file.
    #[error("cannot read the archive `{archive}`")]
    Read {
        /// The archive.
        archive: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry that no honest archive has.
    #[error("the archive `{archive}` is refused: its entry `{entry}` {why}")]
    Hostile {
        /// The archive.
        archive: PathBuf,
        /// The entry's path.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It would grow beyond all measure.
    #[error("the archive `{archive}` is refused: it holds more than {limit} {what}")]
    TooLarge {
        /// The archive.
        archive: PathBuf,
        /// How much is allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The folder that was asked for is not in it.
    #[error("the archive `{archive}` has no folder `{subfolder}`")]
    NoSubfolder {
        /// The archive.
        archive: PathBuf,
        /// What was asked for.
        subfolder: String,
    },
    /// The user stopped the run.
    #[error("stopped")]
    Cancelled,
}

/// Unpacks a `.tar.gz` into an empty folder.
///
/// With a `subfolder`, only what is below it; it is named from the archive's root, or from below the one folder that
/// source archives have at their root. Without, what is below that one folder.
///
/// # Errors
/// [`ArchiveError`]; what was unpacked by then stays, for the caller to remove.
pub fn unpack(
    archive: &Path,
    subfolder: Option<&str>,
    into: &Path,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(), ArchiveError> {
    let read = |source| ArchiveError::Read { archive: archive.to_owned(), source };
    let file = File::open(archive).map_err(read)?;
    let unpacked = MultiGzDecoder::new(io::BufReader::new(file)).take(limits.bytes.saturating_add(HEADERS));
    let mut tar = tar::Archive::new(unpacked);
    let mut unpacking = Unpacking {
        archive,
        into,
        limits,
        cancel,
        bytes: 0,
        entries: 0,
        links: Vec::new(),
        linked: HashSet::new(),
    };
    let mut found = false;
    for entry in tar.entries().map_err(read)? {
        unpacking.go_on()?;
        let mut entry = entry.map_err(read)?;
        let kind = entry.header().entry_type();
        // Of a long name or attributes; the tar library applies the former itself.
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let hostile = |why| ArchiveError::Hostile { archive: archive.to_owned(), entry: name.clone(), why };
        let path = plain(Path::new(&name)).ok_or_else(|| hostile("leaves the folder"))?;
        let Some(path) = wanted(&path, subfolder) else { continue };
        found = true;
        match kind {
            EntryType::Directory => unpacking.folder(&path, &name)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let is_program = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                unpacking.file(&path, &name, &mut entry, is_program)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(read)?.ok_or_else(|| hostile("links to nothing"))?;
                unpacking.link(&path, &name, &target)?;
            }
            _ => return Err(hostile("is neither a file nor a folder nor a symbolic link")),
        }
    }
    // What follows the last entry is not used, but the checksum of all of it stands at its end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(read)?;
    if let (false, Some(subfolder)) = (found, subfolder) {
        return Err(ArchiveError::NoSubfolder {
            archive: archive.to_owned(),
            subfolder: subfolder.to_owned(),
        });
    }
    unpacking.make_links()
}

struct Unpacking<'a> {
    archive: &'a Path,
    into: &'a Path,
    limits: Limits,
    cancel: &'a Cancel,
    /// What came so far.
    bytes: u64,
    entries: u64,
    /// Links and their targets. They are made last, so that nothing is ever written through one.
    links: Vec<(PathBuf, PathBuf)>,
    linked: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    fn hostile(&self, entry: &str, why: &'static str) -> ArchiveError {
        ArchiveError::Hostile { archive: self.archive.to_owned(), entry: entry.to_owned(), why }
    }

    fn too_large(&self, limit: u64, what: &'static str) -> ArchiveError {
        ArchiveError::TooLarge { archive: self.archive.to_owned(), limit, what }
    }

    fn go_on(&self) -> Result<(), ArchiveError> {
        if self.cancel.is_cancelled() { Err(ArchiveError::Cancelled) } else { Ok(()) }
    }

    /// Counts an entry; whatever it is, it may not stand where a link does, nor below one.
    fn admit(&mut self, path: &Path, name: &str) -> Result<PathBuf, ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.too_large(self.limits.entries, "entries"));
        }
        if path.ancestors().any(|p| self.linked.contains(p)) {
            return Err(self.hostile(name, "is at or below a link"));
        }
        Ok(self.into.join(path))
    }

    fn folder(&mut self, path: &Path, name: &str) -> Result<(), ArchiveError> {
        let place = self.admit(path, name)?;
        fs::create_dir_all(&place).map_err(|source| ArchiveError::Write { path: place, source })
    }

    fn file(
        &mut self,
        path: &Path,
        name: &str,
        bytes: &mut impl Read,
        is_program: bool,
    ) -> Result<(), ArchiveError> {
        let place = self.admit(path, name)?;
        let write = |source| ArchiveError::Write { path: place.clone(), source };
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(write)?;
        }
        let mut file = File::create_new(&place).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => self.hostile(name, "is there twice"),
            _ => write(source),
        })?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            self.go_on()?;
            let n = bytes
                .read(&mut buffer)
                .map_err(|source| ArchiveError::Read { archive: self.archive.to_owned(), source })?;
            if n == 0 {
                break;
            }
            self.bytes += n as u64;
            if self.bytes > self.limits.bytes {
                return Err(self.too_large(self.limits.bytes, "bytes"));
            }
            io::Write::write_all(&mut file, &buffer[..n]).map_err(write)?;
        }
        set_program(&file, is_program).map_err(write)
    }

    fn link(&mut self, path: &Path, name: &str, target: &Path) -> Result<(), ArchiveError> {
        let place = self.admit(path, name)?;
        let depth = path.components().count() - 1;
        if !stays_inside(target, depth) {
            return Err(self.hostile(name, "links out of the folder"));
        }
        if place.exists() {
            return Err(self.hostile(name, "is there twice"));
        }
        self.linked.insert(path.to_owned());
        self.links.push((place, target.to_owned()));
        Ok(())
    }

    fn make_links(self) -> Result<(), ArchiveError> {
        for (place, target) in self.links {
            let done =
                place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| symlink(&target, &place));
            done.map_err(|source| ArchiveError::Write { path: place, source })?;
        }
        Ok(())
    }
}

/// The path without `.`; `None` where it is absolute, climbs, or is nothing.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            // A backslash or colon means something else on Windows.
            Component::Normal(name) if !name.to_string_lossy().contains(['\\', ':', '\0']) => {
                plain.push(name);
            }
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(plain)
}

/// Where an entry goes; `None` where it is not asked for.
fn wanted(path: &Path, subfolder: Option<&str>) -> Option<PathBuf> {
    let mut below_root = path.components();
    below_root.next();
    let below_root = below_root.as_path();
    let rest = match subfolder {
        None => below_root,
        Some(subfolder) => {
            path.strip_prefix(subfolder).or_else(|_| below_root.strip_prefix(subfolder)).ok()?
        }
    };
    (!rest.as_os_str().is_empty()).then(|| rest.to_owned())
}

/// Whether a link in a folder so many levels below the root leads to a place inside: it may climb first, not beyond the
/// root, and then only descends. A `..` behind a name could climb from where another link leads.
fn stays_inside(target: &Path, depth: usize) -> bool {
    let mut climbed = 0;
    let mut descending = false;
    for component in target.components() {
        match component {
            Component::Normal(name) if !name.to_string_lossy().contains(['\\', ':', '\0']) => {
                descending = true;
            }
            Component::ParentDir if !descending => climbed += 1,
            Component::CurDir => {}
            _ => return false,
        }
    }
    descending && climbed <= depth
}

#[cfg(unix)]
fn symlink(target: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, place)
}

/// Windows asks for rights that users lack; a copy does as well.
#[cfg(not(unix))]
fn symlink(target: &Path, place: &Path) -> io::Result<()> {
    fs::copy(place.with_file_name("").join(target), place).map(|_| ())
}

#[cfg(unix)]
fn set_program(file: &File, is_program: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 }))
}

#[cfg(not(unix))]
fn set_program(_: &File, _: bool) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    enum Kind<'a> {
        File(&'a str),
        Program,
        Folder,
        Link(&'a str),
        Other(EntryType),
    }
    use Kind::*;

    /// An archive whose names are written as they stand, however bad.
    fn archive(entries: &[(&str, Kind<'_>)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = Builder::new(GzEncoder::new(file.reopen().unwrap(), Compression::fast()));
        for (name, kind) in entries {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_mode(0o644);
            let body: &[u8] = match kind {
                File(text) => text.as_bytes(),
                Program => b"#!",
                _ => b"",
            };
            header.set_size(body.len() as u64);
            match kind {
                File(_) => header.set_entry_type(EntryType::Regular),
                Program => header.set_mode(0o775),
                Folder => header.set_entry_type(EntryType::Directory),
                Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
                }
                Other(kind) => header.set_entry_type(*kind),
            }
            header.set_cksum();
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        file
    }

    fn try_with(
        entries: &[(&str, Kind<'_>)],
        subfolder: Option<&str>,
        limits: Limits,
    ) -> Result<Vec<(String, String)>, ArchiveError> {
        let file = archive(entries);
        let outside = tempfile::tempdir().unwrap();
        let into = outside.path().join("in");
        fs::create_dir(&into).unwrap();
        let done = unpack(file.path(), subfolder, &into, limits, &Cancel::new());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "something got out");
        done?;
        let mut found = Vec::new();
        let mut folders = vec![into.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let (path, kind) = entry.map(|e| (e.path(), e.file_type().unwrap())).unwrap();
                let name = path.strip_prefix(&into).unwrap().display().to_string();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_symlink() {
                    found.push((name, format!("-> {}", fs::read_link(path).unwrap().display())));
                } else {
                    found.push((name, fs::read_to_string(path).unwrap()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    #[track_caller]
    fn check(entries: &[(&str, Kind<'_>)], subfolder: Option<&str>, expected: &[(&str, &str)]) {
        let found = try_with(entries, subfolder, Limits::default()).unwrap();
        let found: Vec<_> = found.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn refuse(entries: &[(&str, Kind<'_>)], why: &str) {
        let error = try_with(entries, None, Limits::default()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn honest_archives() {
        let release = || {
            [
                ("llama-b1/", Folder),
                ("llama-b1/libx.so.0", File("x")),
                ("llama-b1/libx.so", Link("libx.so.0")),
            ]
        };
        check(&release(), None, &[("libx.so", "-> libx.so.0"), ("libx.so.0", "x")]);
        let source = || {
            [
                ("p-1/setup.py", File("s")),
                ("p-1/vendor/llama.cpp/CMakeLists.txt", File("c")),
                ("p-1/vendor/llama.cpp/a/b", Link("../CMakeLists.txt")),
            ]
        };
        let expected = [("CMakeLists.txt", "c"), ("a/b", "-> ../CMakeLists.txt")];
        check(&source(), Some("vendor/llama.cpp"), &expected);
        check(&source(), Some("p-1/vendor/llama.cpp"), &expected);
        let error = try_with(&source(), Some("llama.cpp"), Limits::default()).unwrap_err();
        assert!(matches!(error, ArchiveError::NoSubfolder { .. }), "{error}");
    }

    #[test]
    fn programs_stay_programs() {
        use std::os::unix::fs::PermissionsExt;
        let file = archive(&[("r/tool", Program), ("r/text", File("t"))]);
        let into = tempfile::tempdir().unwrap();
        unpack(file.path(), None, into.path(), Limits::default(), &Cancel::new()).unwrap();
        let mode = |name| into.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("tool"), mode("text")), (0o755, 0o644));
    }

    #[test]
    fn hostile_archives() {
        refuse(&[("r/../../x", File(""))], "leaves the folder");
        refuse(&[("/etc/x", File(""))], "leaves the folder");
        refuse(&[("r/a\\..\\x", File(""))], "leaves the folder");
        refuse(&[("r/c:x", File(""))], "leaves the folder");
        refuse(&[("r/l", Link("/etc"))], "links out of the folder");
        refuse(&[("r/l", Link("../x"))], "links out of the folder");
        refuse(&[("r/a/l", Link("../../x"))], "links out of the folder");
        // `q/x` leads to the root, so that `q/x/..` would be outside, although its text is not.
        refuse(&[("r/q/x", Link("..")), ("r/q/y", Link("x/../z"))], "links out of the folder");
        refuse(&[("r/l", Link("d")), ("r/l/x", File(""))], "below a link");
        refuse(&[("r/l", Link("d")), ("r/l", File(""))], "below a link");
        refuse(&[("r/x", File("1")), ("r/x", File("2"))], "is there twice");
        refuse(&[("r/x", File("1")), ("r/x", Link("y"))], "is there twice");
        for kind in [EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo] {
            refuse(&[("r/x", Other(kind))], "is neither a file");
        }
    }

    #[test]
    fn archives_that_are_too_large_or_cut() {
        let entries = || [("r/x", File("12345")), ("r/y", File("67890"))];
        for limits in [Limits { bytes: 9, entries: 9 }, Limits { bytes: 99, entries: 1 }] {
            let error = try_with(&entries(), None, limits).unwrap_err();
            assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
        }
        assert!(try_with(&entries(), None, Limits { bytes: 10, entries: 2 }).is_ok());
        let whole = fs::read(archive(&entries()).path()).unwrap();
        let into = tempfile::tempdir().unwrap();
        for cut in [0, 5, whole.len() / 2] {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &whole[..cut]).unwrap();
            let done = unpack(
                file.path(),
                None,
                &into.path().join(cut.to_string()),
                Limits::default(),
                &Cancel::new(),
            );
            assert!(matches!(done, Err(ArchiveError::Read { .. })), "{cut}: {done:?}");
        }
    }
}
