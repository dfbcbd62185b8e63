//! A run: by what, when, where and how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::Source;

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
