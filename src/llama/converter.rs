//! llama.cpp's own converter, for families that this program does not know.
//!
//! In: a checkpoint's folder, a Python that has what the script imports. Out: a GGUF file in the checkpoint's own type.
//! The script is given a copy of the folder (links to the weights) without any code: it asks transformers to trust what
//! a checkpoint brings along, and here there is nothing to be trusted. It has no token, and no way to the Hub. Source:
//! `convert_hf_to_gguf.py`, `conversion/`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::tool::ToolError;
use crate::base::cancel::Cancel;
use crate::base::process::Process;

/// The script.
pub const SCRIPT: &str = "convert_hf_to_gguf.py";

/// What a configuration names code by.
const CODE: &str = "auto_map";

/// Endings of the files that a conversion reads.
const WANTED: [&str; 8] = ["json", "jsonl", "jinja", "txt", "model", "md", "tiktoken", "safetensors"];

/// The folder of chat templates that the script looks into.
const TEMPLATES: &str = "additional_chat_templates";

/// How the name of the folder ends in which a model of sentence-transformers says how it pools (`1_Pooling`).
const POOLING: &str = "_Pooling";

/// What is read in that.
const POOLING_CONFIG: &str = "config.json";

/// What is to be converted.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// The Python.
    pub python: &'a Path,
    /// The folder with the script.
    pub converter: &'a Path,
    /// The checkpoint, as [`stage`] left it.
    pub folder: &'a Path,
    /// The file to write.
    pub outfile: &'a Path,
    /// `--outtype`.
    pub out_type: &'a str,
    /// `--model-name`.
    pub model_name: Option<&'a str>,
    /// A folder for what the libraries think that they must keep.
    pub home: &'a Path,
}

/// Converts. `process` is the Python with all that it may see; `heard` gets percents.
///
/// # Errors
/// [`ToolError`]; what is under the file's name then is not to be used.
pub fn convert(
    conversion: &Conversion<'_>,
    process: Process,
    cancel: &Cancel,
    heard: &mut dyn FnMut(u32),
) -> Result<(), ToolError> {
    let Conversion { converter, folder, outfile, out_type, model_name, home, .. } = *conversion;
    let mut process = process
        .env("HF_HUB_OFFLINE", "1")
        .env("TRANSFORMERS_OFFLINE", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HOME", home)
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONUTF8", "1")
        // Nothing of the user's own, and no compiled files into the cache, which is compared with its manifest.
        .args(["-s", "-B"])
        .arg(converter.join(SCRIPT))
        .arg(folder)
        .arg("--outfile")
        .arg(outfile)
        .args(["--outtype", out_type]);
    if let Some(name) = model_name {
        process = process.args(["--model-name", name]);
    }
    process.run(cancel, |_, line| {
        if let Some(percent) = percent(line) {
            heard(percent);
        }
    })?;
    if outfile.is_file() { Ok(()) } else { Err(ToolError::Silent { tool: SCRIPT, what: "a file" }) }
}

/// `Writing:  45%|████      | 121M/269M [00:01<00:01, 89.0Mbyte/s]`
fn percent(line: &str) -> Option<u32> {
    line.trim_start().strip_prefix("Writing:")?.split_once('%')?.0.trim().parse().ok()
}

/// Copies a checkpoint's folder for the script: what a conversion reads and nothing else, weights as links.
///
/// # Errors
/// [`ToolError::Io`] names the file.
pub fn stage(from: &Path, into: &Path) -> Result<(), ToolError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        |source| ToolError::Io { path, source }
    };
    fs::create_dir_all(into).map_err(error(into))?;
    for entry in fs::read_dir(from).map_err(error(from))? {
        let path = entry.map_err(error(from))?.path();
        let Some(name) = path.file_name() else { continue };
        if name == TEMPLATES && path.is_dir() {
            stage(&path, &into.join(name))?;
        }
        let pooling = path.join(POOLING_CONFIG);
        if name.as_encoded_bytes().ends_with(POOLING.as_bytes()) && pooling.is_file() {
            let to = into.join(name);
            fs::create_dir_all(&to).map_err(error(&to))?;
            copy_without_code(&pooling, &to.join(POOLING_CONFIG)).map_err(error(&pooling))?;
        }
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if !path.is_file() || !WANTED.contains(&end) {
            continue;
        }
        let to = into.join(name);
        let done = match end {
            "json" => copy_without_code(&path, &to),
            "safetensors" => link(&path, &to),
            _ => fs::copy(&path, &to).map(drop),
        };
        done.map_err(error(&path))?;
    }
    Ok(())
}

/// A configuration that names code is copied without that; any other, or what is no JSON, as it stands.
fn copy_without_code(from: &Path, to: &Path) -> io::Result<()> {
    let text = fs::read(from)?;
    let has_code = text.windows(CODE.len()).any(|part| part == CODE.as_bytes());
    if has_code && let Ok(mut json) = serde_json::from_slice::<Value>(&text) {
        forget_code(&mut json);
        return fs::write(to, serde_json::to_vec_pretty(&json).expect("it was JSON"));
    }
    fs::write(to, text)
}

fn forget_code(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields.retain(|key, _| key != CODE);
            fields.values_mut().for_each(forget_code);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_code),
        _ => {}
    }
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(std::path::absolute(from)?, to)
}

/// Links need a right that few users have; another name of the file needs none, on the same disk.
#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_understood() {
        assert_eq!(percent("Writing:  45%|████      | 121M/269M [00:01<00:01, 89.0Mbyte/s]"), Some(45));
        assert_eq!(percent("INFO:hf-to-gguf:Writing the following files:"), None);
    }

    #[test]
    fn no_code_comes_along() {
        let root = tempfile::tempdir().unwrap();
        let (from, into) = (root.path().join("from"), root.path().join("into/Model"));
        fs::create_dir_all(from.join(TEMPLATES)).unwrap();
        fs::create_dir_all(from.join("other")).unwrap();
        fs::create_dir_all(from.join("1_Pooling")).unwrap();
        let config = r#"{"architectures": ["X"], "auto_map": {"AutoConfig": "evil.X"}, "b": [{"auto_map": 1, "c": 0.1}]}"#;
        for (name, text) in [
            ("config.json", config),
            ("tokenizer.json", "{\"a\":  1e-05}"),
            ("broken.json", "{ auto_map"),
            ("model.safetensors", "weights"),
            ("evil.py", "import os"),
            ("pytorch_model.bin", "pickle"),
            ("tokenizer.model", "pieces"),
            ("additional_chat_templates/t.jinja", "{{ x }}"),
            ("additional_chat_templates/evil.py", "import os"),
            ("other/x.json", "{}"),
            ("1_Pooling/config.json", "{}"),
            ("1_Pooling/evil.py", "import os"),
        ] {
            fs::write(from.join(name), text).unwrap();
        }
        stage(&from, &into).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&into).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "1_Pooling",
                TEMPLATES,
                "broken.json",
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer.model"
            ]
        );
        assert_eq!(fs::read_dir(into.join(TEMPLATES)).unwrap().count(), 1);
        assert_eq!(fs::read_dir(into.join("1_Pooling")).unwrap().count(), 1);
        let read = |name: &str| fs::read_to_string(into.join(name)).unwrap();
        let json: Value = serde_json::from_str(&read("config.json")).unwrap();
        assert_eq!(json, serde_json::json!({"architectures": ["X"], "b": [{"c": 0.1}]}));
        assert_eq!(
            (read("tokenizer.json"), read("model.safetensors")),
            ("{\"a\":  1e-05}".into(), "weights".into())
        );
    }
}
