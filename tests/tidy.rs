//! The house rules of docs/architecture.md, held against the source as text.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the lowest to the highest; a module imports from its own layer or from lower ones only.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["event", "gguf", "safetensors"],
    &["config", "arch", "hub", "llama", "github"],
    &["checkpoint"],
    &["convert", "quantize", "card"],
    &["plan", "publish"],
    &["run"],
    &["report"],
    &["cli"],
];

/// Modules of one layer that may know each other, beyond their own.
const NEIGHBOURS: &[(&str, &str)] = &[("quantize", "convert"), ("card", "quantize"), ("llama", "config")];

/// Longest source file, without its tests. Tables of constants are exempt and say so in their first lines.
const MAX_LINES: usize = 600;

/// Where functions for vector instructions are called once the processor was found to have them: the macro for kernels,
/// and the lookup and the search that are written with intrinsics.
const SIMD_DISPATCH: &[&str] = &[
    "src/base/sha256/shani.rs",
    "src/quantize/simd.rs",
    "src/quantize/block/lattice.rs",
    "src/quantize/block/refined.rs",
];

struct Source {
    path: String,
    module: String,
    /// The text before the unit tests.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    let mut sources = Vec::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        let code = untested(&text).to_owned();
        let module = path["src/".len()..].split(['/', '.']).next().unwrap().to_owned();
        sources.push(Source { path, module, code });
    }
    assert!(sources.len() > 20, "the walk found too little: {}", sources.len());
    sources
}

/// The text before the unit tests, which are its last module.
fn untested(text: &str) -> &str {
    let modules = ["\nmod tests {", "\npub(super) mod tests {", "\npub(crate) mod tests {"];
    let start = modules.iter().filter_map(|module| text.find(module)).min();
    start.map_or(text, |at| &text[..at])
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.contains(&module))
}

#[track_caller]
fn none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// Lines of code (comments left out) that hold the text, outside the places that may.
fn lines_with(needles: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for s in sources() {
        if allowed.iter().any(|a| s.path.starts_with(a)) {
            continue;
        }
        for (n, line) in s.code.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && needles.iter().any(|needle| code.contains(needle)) {
                found.push(format!("{}:{}: {}", s.path, n + 1, code));
            }
        }
    }
    found
}

#[test]
fn modules_import_from_lower_layers_only() {
    let mut offences = Vec::new();
    for s in sources() {
        let Some(own) = layer(&s.module) else {
            if !["lib", "main"].contains(&s.module.as_str()) {
                offences.push(format!("{}: `{}` has no layer in this test", s.path, s.module));
            }
            continue;
        };
        for (n, line) in s.code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let other = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
                let Some(theirs) = layer(other) else { continue };
                let neighbour = other == s.module || NEIGHBOURS.contains(&(s.module.as_str(), other));
                if theirs > own || (theirs == own && !neighbour) {
                    offences.push(format!("{}:{}: {}", s.path, n + 1, line.trim()));
                }
            }
        }
    }
    none("imports against the layers", &offences);
}

#[test]
fn only_the_settings_read_the_environment() {
    let found =
        lines_with(&["env::var", "env::temp_dir", "env::current_dir", "env::args"], &["src/cli/settings"]);
    none("the environment is read by cli/settings.rs alone", &found);
}

#[test]
fn only_base_starts_processes() {
    none(
        "processes are started by base/process.rs alone",
        &lines_with(&["process::Command"], &["src/base/process"]),
    );
}

#[test]
fn only_those_who_may_touch_the_network() {
    let allowed =
        ["src/hub", "src/llama/release", "src/github/client.rs", "src/github/error.rs", "src/base/http"];
    none(
        "the network is for hub/, llama/release and github/ alone",
        &lines_with(&["reqwest", "TcpStream", "std::net"], &allowed),
    );
    let http =
        sources().into_iter().find(|s| s.path == "src/base/http.rs").expect("what their clients share");
    assert!(!http.code.contains(".send(") && !http.code.contains(".execute("), "base/http sends nothing");
    none("GitHub's API is for github/", &lines_with(&["octocrab"], &["src/github"]));
}

#[test]
fn only_report_and_cli_print() {
    let needles = ["println!", "eprintln!", "print!(", "eprint!(", "io::stdout", "io::stderr"];
    none("report/ and cli/ print, the rest emits events", &lines_with(&needles, &["src/report", "src/cli"]));
}

#[test]
fn only_gguf_knows_the_format() {
    none("the magic of GGUF is for gguf/ alone", &lines_with(&["b\"GGUF\""], &["src/gguf"]));
}

#[test]
fn pure_modules_do_no_io() {
    let mut offences = Vec::new();
    for s in sources() {
        if !["config", "plan", "card", "arch"].contains(&s.module.as_str()) {
            continue;
        }
        for (n, line) in s.code.lines().enumerate() {
            let io = ["std::fs", "File::", "std::io::Read", "fs::read", "fs::write", "tokio"];
            if !line.trim_start().starts_with("//") && io.iter().any(|needle| line.contains(needle)) {
                offences.push(format!("{}:{}: {}", s.path, n + 1, line.trim()));
            }
        }
    }
    none("config, plan, card and arch do no I/O", &offences);
}

#[test]
fn unsafe_code_has_its_reason_and_its_place() {
    let mut offences = Vec::new();
    for s in sources() {
        let lines: Vec<&str> = s.code.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") || !(code.contains("unsafe {") || code.contains("unsafe fn")) {
                continue;
            }
            let explained = lines[n.saturating_sub(3)..n].iter().any(|l| l.contains("SAFETY"));
            if !explained || !SIMD_DISPATCH.contains(&s.path.as_str()) {
                offences.push(format!("{}:{}: {}", s.path, n + 1, code));
            }
        }
    }
    none("unsafe is for SIMD dispatch, with its SAFETY note", &offences);
}

#[test]
fn errors_have_no_catch_all() {
    none("no `Other(String)`", &lines_with(&["Other(String)"], &[]));
    none("anyhow is for cli/", &lines_with(&["anyhow::", "anyhow!"], &["src/cli"]));
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    let mut offences = Vec::new();
    for s in sources() {
        if !s.code.starts_with("//!") {
            offences.push(format!("{}: no `//!` at its top", s.path));
        }
        let lines = s.code.lines().count();
        let table = s.code.lines().take(12).any(|l| l.starts_with("//!") && l.contains("Table of constants"));
        if lines > MAX_LINES && !table {
            offences.push(format!("{}: {lines} lines without its tests", s.path));
        }
        for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX"] {
            if s.code.contains(word) {
                offences.push(format!("{}: `{word}`", s.path));
            }
        }
    }
    none("files are under 600 lines, documented and finished", &offences);
}

#[test]
fn nothing_is_ignored_and_no_machine_is_named() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "docs", "scripts", "examples", "benches"] {
        let folder = root().join(folder);
        if folder.is_dir() {
            walk(&folder, &mut files);
        }
    }
    let own = root().join("tests/tidy.rs");
    let mut offences = Vec::new();
    for file in files.iter().filter(|f| **f != own) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        if path.ends_with(".rs") && text.contains("#[ignore") {
            offences.push(format!("{path}: an ignored test"));
        }
        for (n, line) in text.lines().enumerate() {
            let machine = ["/work/", "/root/", "/tmp/ref", "/tmp/wt", "/farm/"];
            // Minified JSON (tokenizers) has every string there is.
            if line.len() < 4000 && machine.iter().any(|m| line.contains(m)) {
                offences.push(format!("{path}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    none("no ignored tests, no path of a machine", &offences);
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut section = "";
    let mut offences = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") {
            let Some((name, _)) = line.split_once('=') else { continue };
            let name = name.trim();
            if !name.starts_with('#') && !reasons.contains(name) {
                offences.push(name.to_owned());
            }
        }
    }
    none("dependencies without a line in docs/dependencies.md", &offences);
}
