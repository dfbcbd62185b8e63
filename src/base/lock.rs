//! Advisory locks between processes that share a folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cancel::Cancel;

/// How often a waiting process looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A lock, held until it is dropped or the process ends. The file stays: removing it would race.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock on the file at `path`, making it if needed; `None` where another process holds it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Takes the lock, waiting for whoever holds it.
    ///
    /// # Errors
    /// Those of the system; `Interrupted` where `cancel` was raised meanwhile.
    pub fn acquire(path: &Path, cancel: &Cancel) -> io::Result<Self> {
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The file that carries the lock.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file releases it anyway; this only makes it sooner.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/.lock");
        let held = FileLock::try_acquire(&path).unwrap().expect("nobody else");
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        let cancel = Cancel::new();
        cancel.cancel();
        let error = FileLock::acquire(&path, &cancel).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        drop(held);
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }
}
