//! models.yaml: which models to quantize, how, and where they go.
//!
//! In goes the text of the file, with what the command line and the environment say about it; out comes a [`Config`]
//! in which every model has its settings. Precedence: command line, model entry, defaults, the source model's own
//! metadata, built-in default. What is wrong with a file comes out as [`Problems`]: all of it, each with its line and
//! column. The file may be hostile: its size, depth and aliases are bounded, and what is quoted from it cannot steer a
//! terminal.
//!
//! The way through: [`tree`] (YAML with places) → [`raw`] (what each key may hold) → [`resolve`] (what is meant) →
//! [`model`]. No file is read here, and nothing is known of methods beyond the [`Vocabulary`] that is passed in.

mod evaluate;
mod model;
mod problem;
mod raw;
mod read;
mod resolve;
mod scalar;
mod schema;
mod source;
mod tree;
mod vocabulary;

use std::path::Path;

pub use crate::base::repo_id::{RepoId, RepoIdError};
pub use model::{
    Card, Config, Convert, Dataset, Evaluate, Imatrix, KvValue, Layer, LlamaCpp, LlamaSource, Metadata,
    Model, OutType, Publish, Quantize, Require, Split, TOWER, TensorType,
};
pub use problem::{Place, Problem, Problems};
pub use resolve::Around;
pub use scalar::is_llama_tag;
pub use schema::{schema, starter};
pub use source::{Revision, Source, SourceError};
pub use vocabulary::{MethodName, Vocabulary};

use read::{Read, Reader};

/// Reads a models.yaml.
///
/// `file` is the name for messages; paths in the file are relative to `folder`.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn parse(
    bytes: &[u8],
    file: &str,
    folder: &Path,
    vocabulary: &Vocabulary<'_>,
    around: &Around,
) -> Result<Config, Problems> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before =
                String::from_utf8_lossy(&bytes[..error.valid_up_to().min(tree::MAX_BYTES)]).into_owned();
            let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let problem = Problem::new(Place { line, column, width: 1 }, "the file is not UTF-8")
                .hint("save it as UTF-8");
            return Err(Problems::new(file, &before, vec![problem]));
        }
    };
    let root = tree::parse(text).map_err(|problem| Problems::new(file, text, vec![problem]))?;
    let mut reader = Reader::new(vocabulary);
    let raw = match root.value {
        tree::Value::Null => None,
        _ => raw::RawConfig::read(&root, &mut reader),
    };
    let mut problems = reader.problems;
    let config = match raw {
        Some(raw) => resolve::config(raw, folder, around, &mut problems),
        None => {
            if problems.is_empty() {
                problems.push(
                    Problem::new(Place::START, "the file is empty")
                        .hint("`jamph-quantizer init` writes a first one"),
                );
            }
            return Err(Problems::new(file, text, problems));
        }
    };
    if problems.is_empty() { Ok(config) } else { Err(Problems::new(file, text, problems)) }
}

/// The model of a command line that names no models.yaml. `around` holds everything that was said about it.
///
/// # Errors
/// What is wrong with it; the places mean nothing.
pub fn single(source: Source, name: Option<String>, around: &Around) -> Result<Model, Vec<Problem>> {
    resolve::single(source, name, around)
}

/// Reads the name of a text, as `--dataset` has it: a file, an https address, or `default`.
///
/// # Errors
/// It is no https address, or nothing.
pub fn parse_dataset(text: &str) -> Result<Dataset, Problem> {
    let reader = Reader::new(&Vocabulary { methods: &[] });
    let wrong = |wrong: read::Wrong| Problem { place: Place::START, text: wrong.text, hint: wrong.hint };
    <scalar::DatasetName as read::FromText>::from_text(text, &reader).map(|name| name.0).map_err(wrong)
}

/// Reads a comma-separated list of methods, as `--methods` has it: their proper names, each once.
///
/// # Errors
/// The first that is not known.
pub fn parse_methods(text: &str, vocabulary: &Vocabulary<'_>) -> Result<Vec<String>, Problem> {
    let mut methods: Vec<String> = Vec::new();
    for typed in text.split(',').map(str::trim).filter(|typed| !typed.is_empty()) {
        let name = vocabulary.method(typed).map_err(|wrong| Problem {
            place: Place::START,
            text: wrong.text,
            hint: wrong.hint,
        })?;
        if !methods.iter().any(|method| method == name) {
            methods.push(name.to_owned());
        }
    }
    if methods.is_empty() {
        return Err(Problem::new(Place::START, "no method is named").hint("such as `Q4_K_M,Q8_0`"));
    }
    Ok(methods)
}

#[cfg(test)]
mod tests;
