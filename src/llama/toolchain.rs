//! A llama.cpp that is there: its programs, its converter, and which one it is.
//!
//! In: a verified entry of the cache, or a folder that somebody installed. Out: programs ready to be run, with an
//! environment that has no token in it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::TOOLS;
use super::cache::{Entry, PREBUILT};
use super::error::ToolchainError;
use super::request::secure;
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::base::process::{self, Process};

/// The script that the converter is called by.
const CONVERTER: &str = "convert_hf_to_gguf.py";

/// Larger libraries are those of GPUs; their size stands for them.
const HASHED_WHOLE: u64 = 64 << 20;

/// A llama.cpp that is there.
#[derive(Clone, Debug)]
pub struct Toolchain {
    folder: PathBuf,
    bin: PathBuf,
    converter: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    reference: Reference,
}

/// Which llama.cpp it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// The release, where it is one or says so.
    pub tag: Option<String>,
    /// All digits, or as many as an installed program tells.
    pub commit: Option<String>,
    /// 32 hexadecimal digits that are equal for equal builds.
    pub key: String,
    /// Where its programs come from.
    pub origin: Origin,
}

/// Where programs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// They are a release's own.
    Prebuilt,
    /// They were built here, or where the cache was filled.
    Built,
    /// Somebody installed them.
    Installed,
}

impl fmt::Display for Reference {
    /// `llama.cpp b11312 (0c1e57098)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("llama.cpp")?;
        let commit = self.commit.as_deref().map(|c| c.get(..9).unwrap_or(c));
        match (&self.tag, commit) {
            (Some(tag), Some(commit)) => write!(f, " {tag} ({commit})"),
            (Some(tag), None) => write!(f, " {tag}"),
            (None, Some(commit)) => write!(f, " {commit}"),
            (None, None) => Ok(()),
        }
    }
}

impl Toolchain {
    /// That of a cache's entry.
    pub(super) fn of_entry(entry: &Entry, environment: &[(OsString, OsString)]) -> Self {
        let facts = &entry.manifest.facts;
        let is_prebuilt = facts.flags.iter().any(|flag| flag == PREBUILT);
        let bin = entry.folder.join("bin");
        Toolchain {
            environment: with_libraries(&bin, environment),
            converter: Some(entry.folder.join("converter")),
            folder: entry.folder.clone(),
            bin,
            reference: Reference {
                tag: facts.tag.clone(),
                commit: facts.commit.clone(),
                key: entry.key.as_str().to_owned(),
                origin: if is_prebuilt { Origin::Prebuilt } else { Origin::Built },
            },
        }
    }

    /// What somebody installed in a folder: the programs in it, in its `bin` or in its `build/bin`.
    ///
    /// # Errors
    /// There are none, they do not run, or they are below the security minimum.
    pub fn installed(
        folder: &Path,
        environment: &[(OsString, OsString)],
        cancel: &Cancel,
    ) -> Result<Self, ToolchainError> {
        let places = [folder.to_owned(), folder.join("bin"), folder.join("build/bin")];
        let has_a_tool =
            |place: &&PathBuf| TOOLS.iter().any(|t| process::find(t, std::slice::from_ref(*place)).is_some());
        let bin = places
            .iter()
            .find(has_a_tool)
            .cloned()
            .ok_or_else(|| ToolchainError::NoTool { folder: folder.to_owned(), tool: TOOLS[0].to_owned() })?;
        // The source beside `build/bin`, or what an entry of the cache looks like.
        let sources =
            [folder.to_owned(), folder.join("converter"), bin.join("../converter"), bin.join("../..")];
        let converter = sources.into_iter().find(|place| place.join(CONVERTER).is_file());
        let environment = with_libraries(&bin, environment);
        let said = version(&bin, &environment, cancel)
            .map_err(|source| ToolchainError::Dead { folder: folder.to_owned(), source })?;
        let (tag, commit) = read_version(&said);
        tag.as_deref().map_or(Ok(()), secure)?;
        let key = fingerprint(&bin, &said, cancel)
            .map_err(|source| ToolchainError::Unreadable { folder: bin.clone(), source })?;
        let reference = Reference { tag, commit, key, origin: Origin::Installed };
        Ok(Toolchain { folder: folder.to_owned(), bin, converter, environment, reference })
    }

    /// Where a program is.
    ///
    /// # Errors
    /// It is not there.
    pub fn tool(&self, name: &str) -> Result<PathBuf, ToolchainError> {
        process::find(name, std::slice::from_ref(&self.bin))
            .ok_or_else(|| ToolchainError::NoTool { folder: self.bin.clone(), tool: name.to_owned() })
    }

    /// A program to be run, with all that it may see of the environment.
    ///
    /// # Errors
    /// It is not there.
    pub fn process(&self, name: &str) -> Result<Process, ToolchainError> {
        Ok(Process::new(self.tool(name)?).environment(&self.environment))
    }

    /// The folder with `convert_hf_to_gguf.py`, `conversion/`, `gguf-py/` and `requirements/`.
    ///
    /// # Errors
    /// It is not there: an installed llama.cpp may have programs only.
    pub fn converter(&self) -> Result<PathBuf, ToolchainError> {
        let there = self.converter.as_ref().filter(|place| place.join(CONVERTER).is_file());
        there.cloned().ok_or_else(|| ToolchainError::NoConverter { folder: self.folder.clone() })
    }

    /// Which one it is: for metadata, cards and the keys of what it makes.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Lets programs find their libraries beside themselves, also where they were not told to look there.
pub(super) fn with_libraries(bin: &Path, environment: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let name = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
    let mut places = bin.as_os_str().to_owned();
    places.push(if cfg!(windows) { ";" } else { ":" });
    places.push(bin.join("../lib"));
    // An empty part would mean the folder that a program works in.
    let given = environment.iter().find(|(key, value)| key == name && !value.is_empty());
    if let Some((_, given)) = given {
        places.push(if cfg!(windows) { ";" } else { ":" });
        places.push(given);
    }
    let others = environment.iter().filter(|(key, _)| key != name).cloned();
    others.chain([(name.into(), places)]).collect()
}

/// What an installed program says of itself.
fn version(
    bin: &Path,
    environment: &[(OsString, OsString)],
    cancel: &Cancel,
) -> Result<String, process::ProcessError> {
    let tool = TOOLS.iter().find_map(|t| process::find(t, &[bin.to_owned()]));
    let mut said = String::new();
    Process::new(tool.unwrap_or_else(|| bin.join(TOOLS[0]))).arg("--version").environment(environment).run(
        cancel,
        |_, line| {
            said += line;
            said.push('\n');
        },
    )?;
    Ok(said)
}

/// The release and commit of `version: 11312 (0c1e57098)` or `version: 0.5.0 (build 11312, commit 0c1e57098)`.
fn read_version(said: &str) -> (Option<String>, Option<String>) {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("version:")).unwrap_or_default();
    let words: Vec<&str> = line.split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.iter().position(|w| *w == name).and_then(|at| words.get(at + 1)).copied();
    let number = after("build").or_else(|| words.first().copied()).and_then(|n| n.parse::<u32>().ok());
    let is_hash = |c: &&str| c.len() >= 7 && c.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = after("commit").or_else(|| words.get(1).copied()).filter(is_hash);
    (number.filter(|n| *n > 0).map(|n| format!("b{n}")), commit.map(str::to_owned))
}

/// 32 digits of what decides what installed programs do: themselves and the libraries beside them.
fn fingerprint(bin: &Path, said: &str, cancel: &Cancel) -> std::io::Result<String> {
    let mut parts = vec![said.to_owned()];
    for entry in std::fs::read_dir(bin)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".exe").unwrap_or(&name);
        let counts = TOOLS.contains(&stem)
            || ["libllama", "libggml", "llama", "ggml"].iter().any(|p| {
                name.starts_with(p) && [".so", ".dylib", ".dll"].iter().any(|end| name.contains(end))
            });
        // A link that leads nowhere is no library.
        let Some(about) = path.metadata().ok().filter(|about| counts && about.is_file()) else { continue };
        let content = match about.len() {
            size if size > HASHED_WHOLE => size.to_string(),
            _ => hash::sha256_file(&path, cancel)?,
        };
        parts.push(format!("{name} {content}"));
    }
    parts.sort();
    Ok(hash::sha256(parts.join("\n").as_bytes())[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let check = |said: &str, tag: Option<&str>, commit: Option<&str>| {
            let found = read_version(said);
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (tag, commit), "{said}");
        };
        check("version: 11312 (0c1e57098)\nbuilt with GNU 12", Some("b11312"), Some("0c1e57098"));
        check("version: 0.5.0 (build 11312, commit 0c1e57098)", Some("b11312"), Some("0c1e57098"));
        // What the vendored tree of a Python package says.
        check("version: 0.5.0-dev (build 0, commit unknown)\nbuilt with GNU 12.2.0", None, None);
        check("hello", None, None);
    }

    #[test]
    fn a_reference_reads_as_a_name() {
        let reference = |tag: Option<&str>, commit: Option<&str>| Reference {
            tag: tag.map(str::to_owned),
            commit: commit.map(str::to_owned),
            key: String::new(),
            origin: Origin::Built,
        };
        let commit = Some("0c1e57098bba43ac29e6e3b677cdceebdd22334f");
        assert_eq!(reference(Some("b11312"), commit).to_string(), "llama.cpp b11312 (0c1e57098)");
        assert_eq!(reference(None, commit).to_string(), "llama.cpp 0c1e57098");
        assert_eq!(reference(None, None).to_string(), "llama.cpp");
    }

    #[test]
    fn libraries_are_looked_for_beside_the_programs_and_not_where_these_work() {
        let of = |given: &str| {
            let name = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
            let environment = with_libraries(Path::new("/x/bin"), &[(name.into(), given.into())]);
            let [(key, value)] = &environment[..] else { panic!("{environment:?}") };
            assert_eq!(key, name);
            value.to_str().unwrap().to_owned()
        };
        let between = if cfg!(windows) { ";" } else { ":" };
        assert!(of("/lib").ends_with(&format!("{between}/lib")));
        assert!(!of("").ends_with(between));
    }

    #[cfg(unix)]
    #[test]
    fn installed_programs_are_used_as_they_are() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("build/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let install = |version: &str| {
            let tool = bin.join("llama-imatrix");
            let script =
                format!("#!/bin/sh\necho 'version: {version}' >&2\necho \"SEES $GIVEN $HF_TOKEN\" >&2\n");
            std::fs::write(&tool, script).unwrap();
            std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let environment = [("GIVEN".into(), "x".into()), ("LD_LIBRARY_PATH".into(), "/lib".into())];
        let open = || Toolchain::installed(root.path(), &environment, &Cancel::new());
        assert!(matches!(open(), Err(ToolchainError::NoTool { .. })));
        install("11312 (0c1e57098)");
        let toolchain = open().unwrap();
        assert_eq!(toolchain.reference().to_string(), "llama.cpp b11312 (0c1e57098)");
        assert_eq!(toolchain.tool("llama-imatrix").unwrap(), bin.join("llama-imatrix"));
        assert!(matches!(toolchain.tool("llama-perplexity"), Err(ToolchainError::NoTool { .. })));
        assert!(matches!(toolchain.converter(), Err(ToolchainError::NoConverter { .. })));
        let mut heard = String::new();
        let process = toolchain.process("llama-imatrix").unwrap();
        process.run(&Cancel::new(), |_, line| heard += line).unwrap();
        assert!(heard.ends_with("SEES x"), "{heard}");

        let key = toolchain.reference().key.clone();
        std::fs::write(bin.join("libllama.so.0"), "other").unwrap();
        std::fs::write(root.path().join(CONVERTER), "").unwrap();
        std::os::unix::fs::symlink("/no/such/file", bin.join("libggml-gone.so")).unwrap();
        let changed = open().unwrap();
        assert_ne!(changed.reference().key, key);
        assert_eq!(changed.converter().unwrap(), root.path());
        install("8000 (0123456)");
        assert!(matches!(open(), Err(ToolchainError::Request(_))));
    }
}
