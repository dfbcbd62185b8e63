//! A Python that has what llama.cpp's converter imports.
//!
//! In: the converter's own list of requirements, which pins its libraries. Out: the interpreter of an environment in the
//! cache, named after that list, the system and the Python; made once, with `uv` where there is one, else with `python -m
//! venv` and pip. Or the interpreter that the user names, which must have the libraries already. Several gigabytes come
//! from PyPI when it is made; nothing of it is ever updated in place.
//!
//! ```text
//! python/.{key}.lock        one maker at a time
//!        .{key}.tmp         what is unpacked meanwhile
//!        {key}/             the environment
//!              ready.json   written last: without it there is none
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::wanted::Wanted;
use crate::base::cancel::Cancel;
use crate::base::lock::FileLock;
use crate::base::process::{self, Process, ProcessError};
use crate::base::{atomic, hash};
use crate::event::{Code, Event, Observer};

/// The converter's list of requirements, in its folder.
const REQUIREMENTS: &str = "requirements/requirements-convert_hf_to_gguf.txt";

/// What the converter imports.
const IMPORTS: &str = "import numpy, torch, transformers, sentencepiece, google.protobuf";

/// Written last.
const READY: &str = "ready.json";

/// Why there is no Python.
#[derive(Debug, Error)]
pub enum PythonError {
    /// Neither `uv` nor a Python is on the search path.
    #[error("there is no Python here for llama.cpp's converter")]
    None,
    /// The interpreter that the user names lacks libraries.
    #[error("`{python}` cannot be used for llama.cpp's converter")]
    Given {
        /// The interpreter.
        python: PathBuf,
        /// How it fails.
        source: ProcessError,
    },
    /// The environment could not be made.
    #[error("the Python environment for llama.cpp's converter could not be made")]
    Step {
        /// How that failed.
        source: ProcessError,
    },
    /// It may not be fetched.
    #[error("offline: the Python environment for llama.cpp's converter is not in the cache")]
    Offline,
    /// A file cannot be read or written.
    #[error("cannot read or write `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user stopped it.
    #[error("stopped")]
    Cancelled,
}

impl PythonError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            PythonError::None => "install Python 3.10 or later, or uv; or name an interpreter with JAMPH_PYTHON".to_owned(),
            PythonError::Given { .. } => {
                "it needs the packages of llama.cpp's requirements-convert_hf_to_gguf.txt; without JAMPH_PYTHON an environment of its own is made".to_owned()
            }
            PythonError::Step { .. } => {
                "the lines above say what is missing; JAMPH_PYTHON names an interpreter that has the packages".to_owned()
            }
            PythonError::Offline => "run once without HF_HUB_OFFLINE, or name an interpreter with JAMPH_PYTHON".to_owned(),
            PythonError::Io { .. } | PythonError::Cancelled => return None,
        })
    }

    fn given(python: &Path, source: ProcessError) -> Self {
        match source {
            ProcessError::Cancelled { .. } => PythonError::Cancelled,
            source => PythonError::Given { python: python.to_owned(), source },
        }
    }

    fn step(source: ProcessError) -> Self {
        match source {
            ProcessError::Cancelled { .. } => PythonError::Cancelled,
            source => PythonError::Step { source },
        }
    }
}

/// Where a Python comes from.
#[derive(Clone, Debug, Default)]
pub struct PythonSource {
    /// The interpreter that the user names.
    pub given: Option<PathBuf>,
    /// The folder of caches.
    pub cache: PathBuf,
    /// Fetch nothing.
    pub offline: bool,
}

impl PythonSource {
    /// An interpreter with what the converter in this folder imports.
    ///
    /// # Errors
    /// [`PythonError`]; nothing is left of an environment that is not whole, or the next call removes it.
    pub fn obtain(
        &self,
        converter: &Path,
        llama: &Wanted,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PathBuf, PythonError> {
        if let Some(python) = &self.given {
            let python =
                process::find(&python.to_string_lossy(), llama.search()).unwrap_or_else(|| python.clone());
            return match imports(&python).environment(llama.environment()).run(cancel, |_, _| {}) {
                Ok(()) => Ok(python),
                Err(source) => Err(PythonError::given(&python, source)),
            };
        }
        let requirements = converter.join(REQUIREMENTS);
        let content = whole(&requirements, 0)?;
        let maker = Maker::find(llama, cancel)?;
        let facts = json!([content, std::env::consts::OS, std::env::consts::ARCH, maker.python]);
        let key = &hash::sha256(facts.to_string().as_bytes())[..32];
        let root = self.cache.join("python");
        let (folder, lock) = (root.join(key), root.join(format!(".{key}.lock")));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| match source.kind() {
                io::ErrorKind::Interrupted => PythonError::Cancelled,
                _ => PythonError::Io { path, source },
            }
        };
        let _lock = FileLock::acquire(&lock, cancel).map_err(io(&lock))?;
        let python = interpreter(&folder);
        if folder.join(READY).is_file() && python.exists() {
            return Ok(python);
        }
        if self.offline {
            return Err(PythonError::Offline);
        }
        let scratch = root.join(format!(".{key}.tmp"));
        for leftover in [&folder, &scratch] {
            match fs::remove_dir_all(leftover) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io(leftover)(source)),
                _ => {}
            }
        }
        let text = "making a Python environment for llama.cpp's converter: some gigabytes from PyPI, once";
        observer.event(Event::new(Code::PythonMade, text).with("folder", folder.display().to_string()));
        // What is unpacked on the way is as large as the environment, and pip leaves it there when it is stopped.
        fs::create_dir_all(&scratch).map_err(io(&scratch))?;
        let made = maker.steps(&folder, &python, &requirements).into_iter().try_for_each(|step| {
            let step = step.environment(llama.environment()).environment(llama.packages());
            let step = ["TMPDIR", "TEMP", "TMP"].iter().fold(step, |step, name| step.env(name, &scratch));
            step.run(cancel, |_, _| {}).map_err(PythonError::step)
        });
        let _ = fs::remove_dir_all(&scratch);
        let made = made.and_then(|()| {
            let note = json!({ "requirements": content, "maker": maker.program, "python": maker.python });
            let ready = folder.join(READY);
            atomic::write(&ready, note.to_string().as_bytes()).map_err(io(&ready))
        });
        if made.is_err() {
            // Gigabytes that nothing could be done with. The cause matters more than what stays of them.
            let _ = fs::remove_dir_all(&folder);
        }
        made.map(|()| python)
    }
}

/// Those that the converter's requirements have wheels for.
const PYTHONS: &str = ">=3.10,<3.14";

/// What makes environments.
struct Maker {
    program: PathBuf,
    is_uv: bool,
    /// The version of the Python, or those that will do.
    python: String,
}

impl Maker {
    fn find(llama: &Wanted, cancel: &Cancel) -> Result<Self, PythonError> {
        let uv = process::find("uv", llama.search());
        let python = ["python3", "python"].iter().find_map(|name| process::find(name, llama.search()));
        let version = |program: &Path| {
            let script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])";
            let ask = Process::new(program).environment(llama.environment()).args(["-c", script]);
            ask.output(cancel).map(|text| text.trim().to_owned())
        };
        match (uv, python) {
            // It brings a Python along where there is none that fits.
            (Some(program), _) => Ok(Maker { program, is_uv: true, python: PYTHONS.to_owned() }),
            (None, Some(program)) => {
                let python = version(&program).map_err(PythonError::step)?;
                Ok(Maker { program, is_uv: false, python })
            }
            (None, None) => Err(PythonError::None),
        }
    }

    fn steps(&self, folder: &Path, python: &Path, requirements: &Path) -> Vec<Process> {
        if self.is_uv {
            let make = Process::new(&self.program)
                .args(["venv", "--no-project", "--python", &self.python])
                .arg(folder);
            // The list names a second index for torch alone; pip looks into both for everything, and so does this.
            let fill = Process::new(&self.program)
                .args(["pip", "install", "--index-strategy", "unsafe-best-match", "--python"])
                .arg(python)
                .arg("-r")
                .arg(requirements);
            return vec![make, fill, imports(python)];
        }
        let make = Process::new(&self.program).args(["-m", "venv"]).arg(folder);
        let fill = Process::new(python)
            .args([
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "-r",
            ])
            .arg(requirements);
        vec![make, fill, imports(python)]
    }
}

/// Whether a Python has what the converter imports.
fn imports(python: &Path) -> Process {
    Process::new(python).args(["-s", "-B", "-c", IMPORTS])
}

fn interpreter(folder: &Path) -> PathBuf {
    if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") }
}

/// A list of requirements with those that it includes.
fn whole(path: &Path, depth: u32) -> Result<String, PythonError> {
    const DEEPEST: u32 = 8;
    let text =
        fs::read_to_string(path).map_err(|source| PythonError::Io { path: path.to_owned(), source })?;
    let mut out = String::new();
    for line in text.lines() {
        match line.trim().strip_prefix("-r ").filter(|_| depth < DEEPEST) {
            Some(other) => out += &whole(&path.with_file_name("").join(other.trim()), depth + 1)?,
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_those_that_it_includes() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "-r ./b.txt\n--extra-index-url https://x\ntorch==2\n").unwrap();
        fs::write(root.path().join("b.txt"), "numpy~=2\n").unwrap();
        let text = whole(&root.path().join("a.txt"), 0).unwrap();
        assert_eq!(text, "numpy~=2\n--extra-index-url https://x\ntorch==2\n");
        fs::write(root.path().join("c.txt"), "-r c.txt\n").unwrap();
        assert!(whole(&root.path().join("c.txt"), 0).is_ok(), "it ends");
        assert!(matches!(whole(&root.path().join("d.txt"), 0), Err(PythonError::Io { .. })));
    }
}
