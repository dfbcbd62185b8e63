//! How an output is made: everything that decides its bytes beside the source and the reference.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that decides an output's bytes beside the source and the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recipe {
    /// The method, as `llama-quantize` names it; `mmproj-F16`, say, is the vision tower of a model that sees.
    pub method: String,
    /// Type of the base that the weights are converted to first (`--outtype`).
    #[serde(default)]
    pub out_type: String,
    /// What converted the source, where this program does not know its family: llama.cpp's own converter, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converter: Option<String>,
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
    /// SHA-256 of the text in hex, where this program computes the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_sha256: Option<String>,
    /// Chunks of the text; at most, where this program computes the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// What this program computes the matrix with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
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
