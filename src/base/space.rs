//! Free space of file systems.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes that this user can still write where `path` is or will be (the nearest folder above it that exists).
/// `None` where the system does not tell.
///
/// # Errors
/// Those of the system.
pub fn free(path: &Path) -> io::Result<Option<u64>> {
    existing(path)?.map_or(Ok(None), |there| ask(&there))
}

/// Whether two paths are or will be on one file system. Where the system does not tell, they are.
///
/// # Errors
/// Those of the system.
pub fn shared(a: &Path, b: &Path) -> io::Result<bool> {
    match (existing(a)?, existing(b)?) {
        (Some(a), Some(b)) => same(&a, &b),
        _ => Ok(true),
    }
}

/// The path, or the nearest folder above it that exists.
fn existing(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut there = std::path::absolute(path)?;
    loop {
        match there.try_exists() {
            Ok(true) => return Ok(Some(there)),
            Ok(false) => {}
            // Something on the way is a file; the folder above it answers.
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {}
            Err(e) => return Err(e),
        }
        if !there.pop() {
            return Ok(None);
        }
    }
}

#[cfg(unix)]
fn same(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(a.metadata()?.dev() == b.metadata()?.dev())
}

#[cfg(not(unix))]
fn same(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(unix)]
fn ask(path: &Path) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

#[cfg(not(unix))]
fn ask(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_will_be_has_the_space_of_the_folder_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path()).unwrap().is_some());
        assert!(free(&folder.path().join("a/b/c.gguf")).unwrap().is_some());
        std::fs::write(folder.path().join("file"), b"").unwrap();
        assert!(free(&folder.path().join("file/below")).unwrap().is_some());
        assert!(shared(folder.path(), &folder.path().join("file/below")).unwrap());
    }
}
