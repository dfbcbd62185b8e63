//! A folder of llama.cpp's programs that are none: see `fake_llama.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::Sandbox;

/// The programs that there are, and the Python.
const PROGRAMS: [&str; 4] = ["llama-imatrix", "llama-perplexity", "llama-completion", "python3"];

/// An installed llama.cpp of a sandbox, in its folder `llama`.
pub struct Llama {
    folder: PathBuf,
}

/// A call of a program.
#[derive(Debug)]
pub struct Call {
    pub program: String,
    pub arguments: Vec<String>,
    /// Names of the variables that it saw.
    pub variables: Vec<String>,
    /// The folder that it worked in.
    pub folder: PathBuf,
}

impl Llama {
    /// Installs it, and names it in the environment.
    pub fn install(sandbox: &mut Sandbox) -> Self {
        let llama = Llama { folder: sandbox.path("llama") };
        fs::create_dir_all(&llama.folder).unwrap();
        for program in PROGRAMS {
            fs::copy(stand_in(), llama.program(program)).unwrap();
        }
        // What the cache keeps of the converter; the stand-in of the Python knows what it does.
        fs::write(llama.folder.join("convert_hf_to_gguf.py"), "").unwrap();
        sandbox.set("JAMPH_LLAMA_CPP", llama.folder.display().to_string());
        sandbox.set("JAMPH_PYTHON", llama.program("python3").display().to_string());
        llama
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// Makes a program misbehave: `crash`, `hang`, `slow`, `silent`, and for llama-imatrix `nan`.
    pub fn fault(&self, program: &str, how: &str) {
        fs::write(self.folder.join("faults"), format!("{program} {how}\n")).unwrap();
    }

    pub fn mend(&self) {
        fs::remove_file(self.folder.join("faults")).unwrap();
    }

    /// Every call so far, but for those that ask for the version.
    pub fn calls(&self) -> Vec<Call> {
        let log = fs::read_to_string(self.folder.join("calls.log")).unwrap_or_default();
        let call = |line: &str| {
            let json: Value = serde_json::from_str(line).unwrap();
            let text = |v: &Value| v.as_str().unwrap().to_owned();
            Call {
                program: text(&json["program"]),
                arguments: json["arguments"].as_array().unwrap().iter().map(text).collect(),
                variables: json["environment"].as_object().unwrap().keys().cloned().collect(),
                folder: text(&json["folder"]).into(),
            }
        };
        log.lines().map(call).collect()
    }

    /// How often a program was called.
    pub fn count(&self, program: &str) -> usize {
        self.calls().iter().filter(|call| call.program == program).count()
    }

    /// The process that hangs, once it does.
    pub fn hanging(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join("hanging")).ok()?.parse().ok()
    }
}

/// Where cargo builds the stand-in.
fn stand_in() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let path = target.join("examples").join(format!("fake-llama{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{}: `cargo build --example fake-llama` makes it, as a plain `cargo test` does",
        path.display()
    );
    path
}
