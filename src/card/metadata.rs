//! `quantization_metadata.json`: what was made, from what, by what; and whether it is what would be made now.
//!
//! In: figures of a run, or a file that an earlier run left. Out: JSON with its keys in a fixed order, or an answer to
//! "is this output up to date". Reading ignores fields that it does not know and refuses versions that it does not
//! know. The schema is docs/quantization_metadata.schema.json.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::file_name::is_licence;

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
    /// The files that were made, in the order in which they were asked for.
    pub outputs: Vec<Output>,
    /// When, where and how long.
    pub run: Run,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Grows when the same recipe gives other bytes than before: outputs of a lower version are made anew.
    pub recipe_version: u32,
}

/// What was quantized: a commit on the Hub, or the files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Name of the model: the repository's or the folder's.
    pub name: String,
    /// `owner/name` on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The revision that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The commit that the revision was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files that were read, sorted by path.
    #[serde(default)]
    pub files: Vec<SourceFile>,
    /// Architecture, as `general.architecture` names it.
    pub architecture: String,
    /// Parameters of the model.
    pub parameters: u64,
}

/// One file of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFile {
    /// Path within the source, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Time of its last change in nanoseconds since 1970, for files of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<i64>,
    /// SHA-256 in hex, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Everything that decides an output's bytes beside the source and the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recipe {
    /// The method, as `llama-quantize` names it.
    pub method: String,
    /// Type of the base that the weights are converted to first (`--outtype`).
    #[serde(default)]
    pub out_type: String,
    /// `general.name`, where it was stated (`--model-name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// The pre-tokenizer, where it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_tokenizer: Option<String>,
    /// The importance matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<Imatrix>,
    /// The matrix was used only for tensors whose name has one of these (`--include-weights`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_weights: Vec<String>,
    /// The matrix was not used for tensors whose name has one of these (`--exclude-weights`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_weights: Vec<String>,
    /// Types by pattern, the first match winning (`--tensor-type`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensor_types: Vec<TensorTypeRule>,
    /// Type of the output tensor (`--output-tensor-type`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tensor_type: Option<String>,
    /// Type of the token embeddings (`--token-embedding-type`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_embedding_type: Option<String>,
    /// No mixture of types (`--pure`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pure: bool,
    /// The output tensor is not quantized (`--leave-output-tensor`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leave_output_tensor: bool,
    /// Quantized tensors may be quantized again (`--allow-requantize`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_requantize: bool,
    /// Layers that are left out (`--prune-layers`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prune_layers: Vec<u32>,
    /// Metadata that is set, as `key=type:value` (`--override-kv`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_kv: Vec<String>,
    /// Most bytes of one file, where the output is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_max_size: Option<u64>,
    /// Most tensors of one file, where the output is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_max_tensors: Option<u32>,
}

/// An importance matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Imatrix {
    /// Name of its file, as the GGUF header names it.
    pub file: String,
    /// SHA-256 of the file in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The text that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Chunks of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// Tensors that it has values for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
}

/// How far an importance matrix covers an output's tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImatrixCoverage {
    /// Tensors that were quantized.
    pub quantized: u64,
    /// Those of them that were quantized by importance.
    pub weighted: u64,
    /// Those for which the matrix has nothing.
    #[serde(default)]
    pub without: Vec<String>,
    /// Experts that saw no token of the text, by tensor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub idle_experts: BTreeMap<String, Vec<u32>>,
}

/// A type for the tensors that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorTypeRule {
    /// Regular expression, searched in the tensor's name.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The type.
    #[serde(rename = "type")]
    pub ty: String,
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
    /// How far the importance matrix covers the tensors, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix_coverage: Option<ImatrixCoverage>,
    /// How far the weights are from the base's, over all tensors that were quantized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The same for each tensor that was quantized, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorQuality>,
    /// Seconds that the file took; files of one pass share their time.
    pub seconds: f64,
    /// By what, from what and when it was made, where that is not what the whole file says: outputs of several runs stand
    /// together in one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}

/// By what, from what and when an output was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The program that made it.
    pub program: Program,
    /// The llama.cpp release whose bytes it has.
    pub reference: String,
    /// What was quantized.
    pub source: Source,
    /// When, where and how long.
    pub run: Run,
}

/// By what, from what and when an output was made: of its own, or of the whole file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made<'a> {
    /// The program that made it.
    pub program: &'a Program,
    /// The llama.cpp release whose bytes it has.
    pub reference: &'a str,
    /// What was quantized.
    pub source: &'a Source,
    /// When, where and how long.
    pub run: &'a Run,
}

impl Made<'_> {
    /// The same, to be kept.
    pub fn to_origin(self) -> Origin {
        Origin {
            program: self.program.clone(),
            reference: self.reference.to_owned(),
            source: self.source.clone(),
            run: self.run.clone(),
        }
    }
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

/// One run of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Start, as RFC 3339 in UTC.
    pub started: String,
    /// End, as RFC 3339 in UTC.
    pub finished: String,
    /// Seconds in all.
    pub seconds: f64,
    /// Where it ran.
    #[serde(default)]
    pub machine: Machine,
    /// What was done, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// A machine, without anything that names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Operating system (`linux`).
    pub os: String,
    /// Processor architecture (`x86_64`).
    pub arch: String,
    /// SIMD level that was used (`avx512`).
    pub simd: String,
    /// Threads that were used.
    pub threads: u32,
    /// Most memory that was used, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
}

/// A step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When it began, as RFC 3339 in UTC.
    pub started: String,
    /// One line on what was done.
    pub what: String,
    /// Seconds that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
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

/// Why an output would be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Stale {
    /// The metadata does not know the file.
    #[error("`{0}` is not in the metadata")]
    NotListed(String),
    /// The source has another commit or other files.
    #[error("the source changed: {0}")]
    Source(String),
    /// Another llama.cpp decides what is right.
    #[error("the reference changed: {was}, now {now}")]
    Reference {
        /// Then.
        was: String,
        /// Now.
        now: String,
    },
    /// The program makes other bytes of the same recipe now.
    #[error("the recipe format changed: {was}, now {now}")]
    RecipeVersion {
        /// Then.
        was: u32,
        /// Now.
        now: u32,
    },
    /// Other options.
    #[error("the options changed")]
    Recipe,
}

/// What would be made now.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// File name.
    pub file: &'a str,
    /// How it would be made.
    pub recipe: &'a Recipe,
    /// From what.
    pub source: &'a Source,
    /// The llama.cpp release.
    pub reference: &'a str,
    /// The recipe version of this program.
    pub recipe_version: u32,
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

    /// The output of this name, if it is what would be made now. Whether the file itself is still as it was (its size,
    /// its hash) is for the caller to see.
    ///
    /// # Errors
    /// [`Stale`] says what changed.
    pub fn up_to_date(&self, wanted: &Wanted<'_>) -> Result<&Output, Stale> {
        let output = self.outputs.iter().find(|o| o.file == wanted.file);
        let output = output.ok_or_else(|| Stale::NotListed(wanted.file.to_owned()))?;
        let made = self.made(output);
        if made.reference != wanted.reference {
            let (was, now) = (made.reference.to_owned(), wanted.reference.to_owned());
            return Err(Stale::Reference { was, now });
        }
        let was = made.program.recipe_version;
        if was != wanted.recipe_version {
            return Err(Stale::RecipeVersion { was, now: wanted.recipe_version });
        }
        made.source.same_as(wanted.source)?;
        if output.recipe != *wanted.recipe {
            return Err(Stale::Recipe);
        }
        Ok(output)
    }
}

impl Source {
    /// Whether this is the same source: the same commit of the same repository, or files of the same size and hash (or
    /// time of change, where one side has no hash) under the same name, which becomes part of the bytes. What stands
    /// beside the model for people, its card and its licence, makes no other model.
    ///
    /// # Errors
    /// [`Stale::Source`] names the first difference.
    pub fn same_as(&self, now: &Source) -> Result<(), Stale> {
        let changed = |what: String| Err(Stale::Source(what));
        if self.name != now.name {
            return changed(format!("name `{}`, now `{}`", self.name, now.name));
        }
        if self.repo != now.repo {
            return changed("another repository".to_owned());
        }
        if let (Some(was), Some(is)) = (&self.commit, &now.commit) {
            // Another commit may be one of the card alone.
            if was == is {
                return Ok(());
            }
        }
        let decides = |f: &&SourceFile| !is_for_people(&f.path);
        if !self.files.iter().any(|f| decides(&f)) {
            return changed("neither commit nor files are known".to_owned());
        }
        for file in now.files.iter().filter(decides) {
            let Some(was) = self.files.iter().find(|f| f.path == file.path) else {
                return changed(format!("`{}` is new", file.path));
            };
            let same = match (&was.sha256, &file.sha256) {
                (Some(a), Some(b)) => a == b,
                _ => was.modified_ns.is_some() && was.modified_ns == file.modified_ns,
            };
            if was.size != file.size || !same {
                return changed(format!("`{}` is another file", file.path));
            }
        }
        match self.files.iter().filter(decides).find(|f| !now.files.iter().any(|n| n.path == f.path)) {
            Some(gone) => changed(format!("`{}` is gone", gone.path)),
            None => Ok(()),
        }
    }
}

/// Whether a file of a source is read by people only.
fn is_for_people(path: &str) -> bool {
    path.ends_with(".md") || is_licence(path)
}

/// The JSON Schema of the file, with a final line end.
pub fn schema() -> String {
    let mut schema = serde_json::to_string_pretty(&schemars::schema_for!(QuantizationMetadata))
        .expect("a schema is JSON of strings and numbers");
    schema.push('\n');
    schema
}
