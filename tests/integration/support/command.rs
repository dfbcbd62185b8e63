//! The program as a person runs it: a folder of its own, an environment with nothing in it, and what came of it.
//!
//! `sandbox.run("plan models.yaml").code(0).stdout("up to date")` reads as it is meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use super::fixtures::FIXTURES;

/// A folder that is the program's whole world.
pub struct Sandbox {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

/// What a run left: its exit code and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut variables = BTreeMap::new();
        variables.insert("HOME".to_owned(), folder.path().join(".home").display().to_string());
        // Nobody listens there: a test that means no Hub reaches none.
        variables.insert("HF_ENDPOINT".to_owned(), "http://127.0.0.1:9".to_owned());
        Sandbox { folder, variables }
    }

    /// A sandbox with the example's checkpoint in the folder `tiny`.
    pub fn with_tiny() -> Self {
        let sandbox = Sandbox::new();
        sandbox.tiny("tiny");
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets a variable for all runs from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.variables.remove(name);
        self
    }

    /// Copies the example's checkpoint into a folder of this name.
    pub fn tiny(&self, folder: &str) -> PathBuf {
        let to = self.path(folder);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny")).unwrap() {
            let entry = entry.unwrap();
            fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
        to
    }

    /// Writes a seeded checkpoint into the folder of its name.
    pub fn fixture(&self, name: &str) {
        let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny/tokenizer.json");
        let fixture = FIXTURES.iter().find(|f| f.folder == name).unwrap();
        fixture.write(self.folder.path(), &fs::read(tokenizer).unwrap()).unwrap();
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Runs the program here; words are separated by spaces.
    pub fn run(&self, words: &str) -> Ran {
        Ran::from(self.command(words).output().unwrap())
    }

    /// Starts the program here and does not wait for it.
    pub fn start(&self, words: &str) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A line of shell here, with the environment of the runs.
    #[cfg(unix)]
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(self.folder.path());
        command.env_clear().envs(&self.variables).stdin(Stdio::null());
        command
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jamph-quantizer"));
        command.args(words.split_whitespace()).current_dir(self.folder.path());
        command.env_clear().envs(&self.variables).stdin(Stdio::null());
        command
    }

    /// Every file below a folder, and every empty folder with a `/` at its end, in order.
    pub fn tree(&self, folder: &str) -> Vec<String> {
        fn walk(at: &Path, shown: &str, out: &mut Vec<String>) {
            let Ok(entries) = fs::read_dir(at) else { return };
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            if names.is_empty() {
                out.push(format!("{shown}/"));
            }
            for name in names {
                let (path, shown) = (at.join(&name), format!("{shown}/{name}"));
                if path.is_dir() { walk(&path, &shown, out) } else { out.push(shown) }
            }
        }
        let mut out = Vec::new();
        walk(&self.path(folder), folder, &mut out);
        out
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Stdout holds this.
    #[track_caller]
    pub fn stdout(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "no {part:?} in\n{self}");
        self
    }

    /// Stderr holds this, once.
    #[track_caller]
    pub fn stderr(self, part: &str) -> Self {
        assert_eq!(self.stderr.matches(part).count(), 1, "{part:?} in\n{self}");
        self
    }

    /// Neither stream holds this.
    #[track_caller]
    pub fn without(self, part: &str) -> Self {
        assert!(!self.stdout.contains(part) && !self.stderr.contains(part), "{part:?} in\n{self}");
        self
    }

    /// Nothing was said on stderr.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.stderr, "", "{self}");
        self
    }

    /// Stdout line by line as JSON; fails if a line is none.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{self}"));
        self.stdout.lines().map(line).collect()
    }

    /// The last line of stdout, which is the result.
    #[track_caller]
    pub fn result(&self) -> Value {
        self.json().pop().unwrap_or_else(|| panic!("no result\n{self}"))
    }

    /// The log without progress, which comes by time, and with times and figures of this machine taken out.
    pub fn log(&self) -> String {
        let mut text = self.stderr.clone();
        for (pattern, put) in [
            (r"(?m)^\d\d:\d\d:\d\d ", ""),
            (r"(?m)^CLI-005 .*\n", ""),
            (r"\d+\.\d s\b", "# s"),
            (r", [\d.]+ .?B/s", ""),
            (r"\d+ threads?, [\w-]+( \w+)?", "# threads"),
            (r"\((AVX-?512|AVX2|NEON|baseline)[^)]*\)", "(#)"),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, put).into_owned();
        }
        text
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "code {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
