//! What of a build or of a release's archive is kept: the tools, the libraries that they load, and the converter.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::TOOLS;
use super::build::BuildError;
use crate::base::cancel::Cancel;
use crate::base::process::{self, Process, ProcessError};

/// What the converter consists of, where the tree has it.
const CONVERTER: [&str; 6] =
    ["convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py", "requirements", "LICENSE"];

/// Deepest folder of the converter; deeper ones would be a trap.
const DEEPEST: usize = 12;

/// Copies the tools of a folder, and every library beside them.
pub(super) fn programs(from: &Path, bin: &Path) -> Result<(), BuildError> {
    let copy = |path: &Path, source| BuildError::Copy { path: path.to_owned(), source };
    fs::create_dir_all(bin).map_err(|e| copy(bin, e))?;
    for entry in fs::read_dir(from).map_err(|e| copy(from, e))? {
        let entry = entry.map_err(|e| copy(from, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".exe").unwrap_or(&name);
        let is_library = [".so", ".dylib", ".dll", ".metal"].iter().any(|end| name.contains(end));
        if TOOLS.contains(&stem) || is_library {
            place(&entry.path(), &bin.join(&name)).map_err(|e| copy(&entry.path(), e))?;
        }
    }
    match TOOLS.iter().find(|tool| process::find(tool, &[bin.to_owned()]).is_none()) {
        Some(tool) => Err(BuildError::NoTool { tool }),
        None => Ok(()),
    }
}

/// The folder of an unpacked release that has its programs: its root, or a `bin` in it.
pub(super) fn find_programs(root: &Path) -> Option<PathBuf> {
    let places = [root.to_owned(), root.join("bin"), root.join("build/bin")];
    places.into_iter().find(|place| process::find(TOOLS[0], std::slice::from_ref(place)).is_some())
}

/// Copies the converter of a source tree.
pub(super) fn converter(tree: &Path, into: &Path) -> Result<(), BuildError> {
    CONVERTER.iter().try_for_each(|name| copy_tree(&tree.join(name), &into.join(name), DEEPEST))
}

/// Starts every tool once. Programs that lack a library start on no machine; better known now than after an hour's
/// work.
pub(super) fn start_all(
    bin: &Path,
    environment: &[(OsString, OsString)],
    cancel: &Cancel,
) -> Result<(), ProcessError> {
    let start = |tool: &&str| {
        let program = process::find(tool, &[bin.to_owned()]).unwrap_or_else(|| bin.join(tool));
        Process::new(program).arg("--version").environment(environment).output(cancel).map(drop)
    };
    TOOLS.iter().try_for_each(start)
}

/// Copies a file; a link stays one, to the same name.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if from.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(|_| ())
}

fn copy_tree(from: &Path, to: &Path, deep: usize) -> Result<(), BuildError> {
    let error = |source| BuildError::Copy { path: from.to_owned(), source };
    if from.is_symlink() || deep == 0 {
        return Ok(());
    }
    if from.is_file() {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(error)?;
        }
        return fs::copy(from, to).map(|_| ()).map_err(error);
    }
    if from.is_dir() {
        for entry in fs::read_dir(from).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            // What Python left there is of one machine.
            if name != "__pycache__" {
                copy_tree(&from.join(&name), &to.join(&name), deep - 1)?;
            }
        }
    }
    Ok(())
}
