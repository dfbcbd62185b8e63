//! Files that are whole or not there: written beside their place, then renamed onto it.
//!
//! In: bytes. Out: a file under its final name, on the disk if that is asked for. An error, a drop or a crash before
//! [`AtomicFile::commit`] leaves what was there before.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use tempfile::{NamedTempFile, TempPath};

/// End of the names of files that are still being written.
pub const PARTIAL_SUFFIX: &str = ".part";

/// Bytes after which a large file is sent on to the disk while more is being written. The last flush, which must be
/// waited for, is then short: writing 1.2 GB and waiting once took twice as long.
const FLUSH_BEHIND: u64 = 64 << 20;

/// What a finished file outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlives {
    /// The end of the process: the system has all bytes when the file gets its name.
    Process,
    /// A power failure: the disk has them. Costs waiting for the disk, more than half the time of a plain conversion.
    Power,
}

/// A file that is being written beside its final place.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    target: PathBuf,
    outlives: Outlives,
    /// Bytes written since the last flush began.
    unflushed: u64,
    flush: Option<JoinHandle<io::Result<()>>>,
}

impl AtomicFile {
    /// Starts a file that will stand at `target`; missing folders above it are made, and what a killed process left of
    /// an earlier try is removed.
    ///
    /// # Errors
    /// Those of the system.
    pub fn create(target: impl Into<PathBuf>, outlives: Outlives) -> io::Result<Self> {
        let target = target.into();
        let folder = folder_of(&target);
        fs::create_dir_all(folder)?;
        let prefix = prefix(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        sweep(folder, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(PARTIAL_SUFFIX);
        #[cfg(unix)]
        {
            // Temporary files are private by default; an output has the permissions that the umask gives.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        loop {
            let file = builder.tempfile_in(folder)?;
            // Another process may have swept it away before it was locked.
            let held = !matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if held && file.path().exists() {
                return Ok(AtomicFile { file, target, outlives, unflushed: 0, flush: None });
            }
        }
    }

    /// The open file, for positioned writes.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Where it will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }

    fn join_flush(&mut self) -> io::Result<()> {
        join(self.flush.take())
    }

    /// Gives the file its final name, replacing what was there; where it is to outlive a power failure, once its bytes
    /// are on the disk.
    ///
    /// # Errors
    /// Those of the system; the temporary file is then removed.
    pub fn commit(mut self) -> io::Result<File> {
        self.join_flush()?;
        if self.outlives == Outlives::Power {
            self.file.as_file().sync_all()?;
        }
        let file = self.file.persist(&self.target).map_err(|e| e.error)?;
        if self.outlives == Outlives::Power {
            sync_folder(folder_of(&self.target))?;
        }
        Ok(file)
    }

    /// Ends the writing: closes the file, which keeps its temporary name but no lock. Where it is to outlive a power
    /// failure, its last bytes go to the disk meanwhile.
    ///
    /// # Errors
    /// Those of the system; the temporary file is then removed.
    pub fn close(mut self) -> io::Result<WholeFile> {
        self.join_flush()?;
        let (file, path) = self.file.into_parts();
        let power = self.outlives == Outlives::Power;
        let flush = power.then(|| thread::spawn(move || file.sync_all()));
        Ok(WholeFile { path, target: self.target, outlives: self.outlives, flush })
    }
}

/// A file that is whole beside its final place, and closed. Dropped, it is removed.
#[derive(Debug)]
pub struct WholeFile {
    path: TempPath,
    target: PathBuf,
    outlives: Outlives,
    flush: Option<JoinHandle<io::Result<()>>>,
}

impl WholeFile {
    /// Waits until its bytes are on the disk, where it is to outlive a power failure.
    ///
    /// # Errors
    /// Those of the system, told once.
    pub fn settle(&mut self) -> io::Result<()> {
        join(self.flush.take())
    }

    /// Where it will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }
}

/// Gives closed files their final names, in order, replacing what was there, once the bytes of all of them are where
/// they outlive what they shall. Waiting once for many files takes a fraction of waiting for each.
///
/// # Errors
/// Those of the system, with the file's final place. Files before it have their names; the others are removed.
pub fn commit_all(mut files: Vec<WholeFile>) -> Result<(), (PathBuf, io::Error)> {
    for file in &mut files {
        file.settle().map_err(|e| (file.target.clone(), e))?;
    }
    let mut folders = BTreeSet::new();
    for file in files {
        if file.outlives == Outlives::Power {
            folders.insert(folder_of(&file.target).to_owned());
        }
        file.path.persist(&file.target).map_err(|e| (file.target, e.error))?;
    }
    for folder in folders {
        sync_folder(&folder).map_err(|e| (folder, e))?;
    }
    Ok(())
}

/// A system tells of a failed write once only, so no flush's answer may be lost.
fn join(flush: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match flush.map(JoinHandle::join) {
        Some(Ok(flushed)) => flushed,
        // It has nothing that could panic.
        Some(Err(_)) => Err(io::ErrorKind::Other.into()),
        None => Ok(()),
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buf)?;
        self.unflushed += written as u64;
        let due = self.outlives == Outlives::Power && self.unflushed >= FLUSH_BEHIND;
        if due && self.flush.as_ref().is_none_or(JoinHandle::is_finished) {
            self.join_flush()?;
            self.unflushed = 0;
            let file = self.file.as_file().try_clone()?;
            self.flush = Some(thread::spawn(move || file.sync_data()));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Removes unfinished files of a name that no process is writing: each holds a lock on its own while it does.
fn sweep(folder: &Path, prefix: &OsStr) {
    let (prefix, suffix) = (prefix.as_encoded_bytes(), PARTIAL_SUFFIX.as_bytes());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        // To open what is no file, such as a pipe, could wait for ever.
        let ours = name.starts_with(prefix)
            && name.ends_with(suffix)
            && entry.file_type().is_ok_and(|ty| ty.is_file());
        // A leftover is in nobody's way; where it cannot be removed it stays.
        if ours && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what killed processes left of their tries to write `target`. Where somebody is writing it, theirs stays.
pub fn sweep_leftovers(target: &Path) {
    if let Some(name) = target.file_name() {
        sweep(folder_of(target), &prefix(name));
    }
}

/// How the name of an unfinished file begins.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Writes a whole file, replacing what was there at once.
///
/// # Errors
/// Those of the system.
pub fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(target, Outlives::Power)?;
    file.write_all(bytes)?;
    file.commit().map(drop)
}

/// Writes whole files, as [`write`], in this order.
///
/// # Errors
/// Those of the system, with the file's final place.
pub fn write_each(files: Vec<(PathBuf, Vec<u8>)>) -> Result<(), (PathBuf, io::Error)> {
    let close = |(target, bytes): (PathBuf, Vec<u8>)| {
        let made = AtomicFile::create(&target, Outlives::Power).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.close()
        });
        made.map_err(|e| (target, e))
    };
    commit_all(files.into_iter().map(close).collect::<Result<_, _>>()?)
}

/// Gives a finished file its final name, both in one file system, and brings the change to the disk.
///
/// # Errors
/// Those of the system.
pub fn rename(from: &Path, target: &Path) -> io::Result<()> {
    File::options().write(true).open(from)?.sync_all()?;
    fs::rename(from, target)?;
    sync_folder(folder_of(target))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot; the rename itself has happened.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    // Windows has no such call for a folder.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn leftovers_go_and_files_at_work_stay() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.gguf");
        fs::write(folder.path().join(".x.gguf.dead.part"), b"half").unwrap();
        fs::write(folder.path().join(".y.gguf.dead.part"), b"of another").unwrap();
        let first = AtomicFile::create(&target, Outlives::Power).unwrap();
        let second = AtomicFile::create(&target, Outlives::Power).unwrap();
        let mut expected = [".y.gguf.dead.part".to_owned()]
            .into_iter()
            .chain(
                [&first, &second].map(|f| f.file.path().file_name().unwrap().to_string_lossy().into_owned()),
            )
            .collect::<Vec<_>>();
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        sweep_leftovers(&target);
        assert_eq!(names(folder.path()), expected, "both are being written");
        sweep_leftovers(&folder.path().join("y.gguf"));
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_large_file_is_flushed_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x");
        let mut file = AtomicFile::create(&target, Outlives::Power).unwrap();
        let piece = vec![7; FLUSH_BEHIND as usize / 2];
        for _ in 0..3 {
            file.write_all(&piece).unwrap();
        }
        assert!(file.flush.is_some());
        file.commit().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().len(), 3 * piece.len() as u64);
    }

    #[test]
    fn a_closed_file_waits_for_its_name_and_goes_without_it() {
        let folder = tempfile::tempdir().unwrap();
        for outlives in [Outlives::Process, Outlives::Power] {
            let target = folder.path().join("x");
            let close = |bytes: &[u8]| {
                let mut file = AtomicFile::create(&target, outlives).unwrap();
                file.write_all(bytes).unwrap();
                file.close().unwrap()
            };
            let whole = close(b"new");
            assert_eq!(whole.target(), target);
            assert!(names(folder.path()).iter().all(|n| n.ends_with(PARTIAL_SUFFIX)));
            commit_all(vec![whole]).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"new");
            drop(close(b"dropped"));
            assert_eq!(
                (names(folder.path()), fs::read(&target).unwrap()),
                (vec!["x".to_owned()], b"new".to_vec())
            );
            fs::remove_file(&target).unwrap();
        }
    }

    #[test]
    fn many_files_are_written_in_order_until_one_fails() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let files = |names: [&str; 3]| names.iter().map(|n| (at(n), n.as_bytes().to_vec())).collect();
        write_each(files(["a/x", "b/x", "a/y"])).unwrap();
        assert_eq!(fs::read(at("b/x")).unwrap(), b"b/x");
        // A folder stands in the place of the second.
        fs::create_dir_all(at("c/in-the-way/x")).unwrap();
        let (path, _) = write_each(files(["c/x", "c/in-the-way", "c/z"])).unwrap_err();
        assert_eq!(path, at("c/in-the-way"));
        assert_eq!(names(&at("c")), ["in-the-way", "x"]);
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/er/x.gguf");
        write(&target, b"old").unwrap();

        let mut file = AtomicFile::create(&target, Outlives::Power).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(file.file.path().parent(), target.parent());
        assert_eq!(fs::read(&target).unwrap(), b"old");
        drop(file);
        assert_eq!(names(target.parent().unwrap()), ["x.gguf"]);

        write(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(target.parent().unwrap()), ["x.gguf"]);
    }

    #[cfg(unix)]
    #[test]
    fn an_output_is_as_readable_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("a"), folder.path().join("b"));
        write(&ours, b"").unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |p| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
