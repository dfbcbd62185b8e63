//! `quantization_metadata.json`: what was made, from what, by what; and whether it is what would be made now.
//!
//! In: figures of a run, or a file that an earlier run left. Out: JSON with its keys in a fixed order, or an answer to
//! "is this output up to date". Reading ignores fields that it does not know and refuses versions that it does not
//! know. The schema is docs/quantization_metadata.schema.json.

mod recipe;
mod run;
mod source;
mod stale;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use recipe::{Imatrix, ImatrixCoverage, Recipe, TensorTypeRule};
pub use run::{Machine, Made, Origin, Program, Run, Step};
pub use source::{Source, SourceFile};
pub use stale::{Stale, Wanted};

pub use super::evaluation::{Conditions, Divergence, Evaluation, EvaluationText, Measured};
pub use super::imatrix::ImatrixFile;
use crate::hub::RemoteFile;

/// The version of the format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// The file's name.
pub const FILE_NAME: &str = "quantization_metadata.json";

/// What `quantization_metadata.json` holds: what was made, from what, by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizationMetadata {
    /// Version of this format.
    #[schemars(range(min = 1, max = 1))]
    pub format_version: u32,
    /// The program that made the outputs.
    pub program: Program,
    /// The llama.cpp release whose bytes the outputs have.
    pub reference: String,
    /// What was quantized.
    pub source: Source,
    /// What was made: one output beside its file; in a repository all of them, the smallest first.
    pub outputs: Vec<Output>,
    /// When, where and how long.
    pub run: Run,
}

/// One file that was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// File name; the first file's, where the output is split.
    pub file: String,
    /// Bytes, of all files.
    pub size: u64,
    /// SHA-256 of the file in hex; none where the output is split: `parts` has those of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// All files with their sizes and SHA-256, in order, where the output is split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<FilePart>,
    /// How it was made.
    pub recipe: Recipe,
    /// Bits a weight, over all tensors.
    pub bits_per_weight: f64,
    /// Number of tensors of each type.
    pub tensor_types: BTreeMap<String, u64>,
    /// The file of the importance matrix, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix_file: Option<ImatrixFile>,
    /// How far the importance matrix covers the tensors, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix_coverage: Option<ImatrixCoverage>,
    /// How far the weights are from the base's, over all tensors that were quantized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The same for each tensor that was quantized, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorQuality>,
    /// What its predictions lose, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// What loaded the file and generated a few tokens before it was published, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// Seconds that the file took; files of one pass share their time.
    pub seconds: f64,
    /// By what, from what and when it was made, where that is not what the whole file says: outputs of several runs stand
    /// together in one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}

impl Output {
    /// Its files: name, size and SHA-256 of each.
    pub fn files(&self) -> Vec<FilePart> {
        match &self.sha256 {
            Some(sha256) if self.parts.is_empty() => {
                vec![FilePart { file: self.file.clone(), size: self.size, sha256: sha256.clone() }]
            }
            _ => self.parts.clone(),
        }
    }

    /// Whether the files of a commit have all of its files.
    pub fn is_in(&self, commit: &[RemoteFile]) -> bool {
        let files = self.files();
        !files.is_empty() && files.iter().all(|file| file.is_in(commit))
    }
}

/// One file of an output that is split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePart {
    /// File name.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

impl FilePart {
    /// Whether the files of a commit have this one, with these bytes.
    pub fn is_in(&self, commit: &[RemoteFile]) -> bool {
        let file = commit.iter().find(|f| f.path == self.file);
        file.is_some_and(|f| f.size == self.size && f.sha256.as_ref() == Some(&self.sha256))
    }
}

/// The error of the weights, measured against the base that they were quantized from. With an importance matrix, the
/// squares are weighted by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Root of the mean square error, relative to the root of the mean square of the weights.
    pub relative_rmse: f64,
    /// Signal to noise in decibels; none where nothing was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_db: Option<f64>,
}

impl Quality {
    /// From measured figures, rounded to what they are worth. A ratio without noise is infinite, which JSON does not
    /// have.
    pub fn new(relative_rmse: f64, snr_db: Option<f64>) -> Self {
        Quality {
            relative_rmse: (relative_rmse * 1e8).round() / 1e8,
            snr_db: snr_db.filter(|snr| snr.is_finite()).map(|snr| (snr * 1e3).round() / 1e3),
        }
    }
}

/// The error of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorQuality {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its error.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// No JSON, or not of this form.
    #[error("`{FILE_NAME}` cannot be read")]
    Json(#[from] serde_json::Error),
    /// A version that this program does not know.
    #[error("`{FILE_NAME}` has format version {0}; this program knows {FORMAT_VERSION}")]
    Version(u64),
    /// No version at all.
    #[error("`{FILE_NAME}` has no `format_version`")]
    NoVersion,
}

impl QuantizationMetadata {
    /// The file's text, with a final line end.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("strings, numbers, lists and structs only");
        json.push('\n');
        json
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`MetadataError`] if it is no JSON of this form and version.
    pub fn from_json(text: &[u8]) -> Result<Self, MetadataError> {
        let json: serde_json::Value = serde_json::from_slice(text)?;
        match json.get("format_version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(FORMAT_VERSION) => Ok(serde_json::from_value(json)?),
            Some(version) => Err(MetadataError::Version(version)),
            None => Err(MetadataError::NoVersion),
        }
    }

    /// By what, from what and when one of the outputs was made.
    pub fn made<'a>(&'a self, output: &'a Output) -> Made<'a> {
        match &output.origin {
            Some(o) => Made { program: &o.program, reference: &o.reference, source: &o.source, run: &o.run },
            None => Made {
                program: &self.program,
                reference: &self.reference,
                source: &self.source,
                run: &self.run,
            },
        }
    }
}

/// The JSON Schema of the file, with a final line end.
pub fn schema() -> String {
    let mut schema = serde_json::to_string_pretty(&schemars::schema_for!(QuantizationMetadata))
        .expect("a schema is JSON of strings and numbers");
    schema.push('\n');
    schema
}
