//! The folder where Xet keeps its notes of one upload: private to this process, proved to be writable, removed after.
//!
//! Xet's own place for them is shared and below the home directory. Where another user wrote there once (a container
//! that ran as root), or the home is read-only, every upload fails with "MerkleDB Shard error". So nothing of that
//! place is used.
//!
//! Each folder has a file beside it that carries a lock while its process lives. Whoever makes a folder removes those
//! whose lock is free: their processes were killed.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

const PREFIX: &str = "jamph-xet-";
const LOCK_SUFFIX: &str = ".lock";

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// Goes last: a folder without one belongs to nobody and would stay.
    _lock: NamedTempFile,
}

impl Scratch {
    /// Makes a folder in `root`, which is made too, and tries to write there.
    pub(super) fn new_in(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        sweep(root);
        Self::from_locks(|builder| builder.tempfile_in(root))
    }

    /// Makes a folder where the system has its temporary files.
    pub(super) fn new_in_temp() -> io::Result<Self> {
        #[allow(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general enough"
        )]
        let scratch = Self::from_locks(|builder| builder.tempfile())?;
        if let Some(root) = scratch.folder.parent() {
            sweep(root);
        }
        Ok(scratch)
    }

    fn from_locks(
        make: impl Fn(&tempfile::Builder<'_, '_>) -> io::Result<NamedTempFile>,
    ) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(LOCK_SUFFIX);
        loop {
            let lock = make(&builder)?;
            // Another process may have swept it away before it was locked.
            let held = !matches!(lock.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if !held || !lock.path().exists() {
                continue;
            }
            let folder = lock.path().with_extension("");
            make_private(&folder)?;
            let scratch = Scratch { folder, _lock: lock };
            scratch.probe()?;
            return Ok(scratch);
        }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does what Xet will do: makes a folder, writes a file, reads it.
    fn probe(&self) -> io::Result<()> {
        const TEXT: &[u8] = b"can this be written and read?";
        let folder = self.folder.join("probe");
        fs::create_dir(&folder)?;
        let path = folder.join("file");
        File::create_new(&path)?.write_all(TEXT)?;
        if fs::read(&path)? != TEXT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        fs::remove_dir_all(&folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by the next process.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder)
}

/// Removes folders of processes that are gone.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(LOCK_SUFFIX));
        // The folder is everybody's: to open what is no file, such as a pipe, could wait for ever.
        if !ours || !entry.file_type().is_ok_and(|ty| ty.is_file()) {
            continue;
        }
        let path = entry.path();
        // A leftover is in nobody's way; where it cannot be removed it stays.
        if let Ok(lock) = File::open(&path)
            && lock.try_lock().is_ok()
        {
            let gone = match fs::remove_dir_all(path.with_extension("")) {
                Err(e) => e.kind() == io::ErrorKind::NotFound,
                Ok(()) => true,
            };
            if gone {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(root: &Path) -> usize {
        fs::read_dir(root).unwrap().count()
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(&root.path().join("xet")).unwrap();
        fs::create_dir_all(scratch.folder().join("deep/er")).unwrap();
        fs::write(scratch.folder().join("deep/er/file"), b"x").unwrap();
        drop(scratch);
        assert_eq!(count(&root.path().join("xet")), 0);
    }

    #[test]
    fn leftovers_go_and_folders_at_work_stay() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("jamph-xet-dead");
        fs::create_dir_all(dead.join("shard-cache")).unwrap();
        fs::write(dead.join("shard-cache/x"), b"x").unwrap();
        fs::write(root.path().join("jamph-xet-dead.lock"), b"").unwrap();
        fs::write(root.path().join("other.lock"), b"").unwrap();
        let first = Scratch::new_in(root.path()).unwrap();
        let second = Scratch::new_in(root.path()).unwrap();
        assert!(!dead.exists());
        assert!(first.folder().is_dir() && second.folder().is_dir());
        assert_eq!(count(root.path()), 5);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(root.path()).unwrap();
        assert_eq!(fs::metadata(scratch.folder()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_place_that_is_a_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Scratch::new_in(&file.join("xet")).is_err());
    }
}
