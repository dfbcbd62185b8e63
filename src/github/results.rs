//! What came of jobs, as data: what a job of a matrix leaves in a file, and what `report` gathers.
//!
//! In: JSON of this form and version. What it holds may have passed through other hands (an artifact): texts are shown
//! by [`markdown`](super::markdown) only, and nothing in it names a file to be read or written.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thiserror::Error;

/// The version of the format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What came of the jobs of one run of the program, or of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The program's version.
    pub version: String,
    /// The job of the matrix, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Start, as RFC 3339 in UTC.
    pub started: String,
    /// Seconds in all.
    pub seconds: f64,
    /// The models, in the order of the work.
    pub models: Vec<ModelResult>,
}

/// What came of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Its name.
    pub model: String,
    /// What came of it.
    pub status: Status,
    /// Where it is from.
    #[serde(default)]
    pub source: String,
    /// The commit of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Where its entry stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// The repository that it is published to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Where a person sees what was published or proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its outputs, the smallest first.
    #[serde(default)]
    pub outputs: Vec<OutputResult>,
    /// What was warned of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was done, and how long it took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTime>,
    /// The metadata of the outputs, `quantization_metadata.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
}

/// Where a model's entry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The models.yaml.
    pub file: String,
    /// The line, from one.
    pub line: usize,
    /// The column, from one.
    pub column: usize,
}

/// What came of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is published, by this run.
    Published,
    /// A pull request proposes it.
    Proposed,
    /// It was made, and stays on the machine.
    Made,
    /// Nothing was to be done.
    UpToDate,
    /// It failed.
    #[default]
    Failed,
}

impl Status {
    /// Every status, the gravest first.
    pub const ALL: [Status; 5] =
        [Status::Failed, Status::Published, Status::Proposed, Status::Made, Status::UpToDate];

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Status::Published => "published",
            Status::Proposed => "proposed",
            Status::Made => "made, not published",
            Status::UpToDate => "up to date",
            Status::Failed => "failed",
        }
    }

    /// A picture that stands before the text.
    pub const fn icon(self) -> &'static str {
        match self {
            Status::Published => "✅",
            Status::Proposed => "📬",
            Status::Made => "📦",
            Status::UpToDate => "➖",
            Status::Failed => "❌",
        }
    }
}

/// One output of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputResult {
    /// The method.
    pub method: String,
    /// Whether it was made now.
    pub made: bool,
    /// Its files.
    pub files: Vec<OutputFile>,
    /// Bits for each weight.
    pub bits_per_weight: f64,
    /// Signal to noise in decibels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_db: Option<f64>,
    /// Perplexity on the text that it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Kullback-Leibler divergence from the unquantized model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_divergence: Option<f64>,
}

impl OutputResult {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }
}

/// A file of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// What was done.
    pub what: String,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Why a file holds no results.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// No JSON, or not of this form.
    #[error("it is no result of a job")]
    Json(#[from] serde_json::Error),
    /// A version that this program does not know.
    #[error("it has format version {0}; this program knows {FORMAT_VERSION}")]
    Version(u64),
}

impl Results {
    /// The file's text, with a final line end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("strings, numbers, lists and structs only");
        text.push('\n');
        text
    }

    /// Reads a file; `None` where it is JSON of another kind.
    ///
    /// # Errors
    /// [`ResultsError`] if it is no JSON, or results that cannot be read.
    pub fn from_json(text: &[u8]) -> Result<Option<Self>, ResultsError> {
        let json: Json = serde_json::from_slice(text)?;
        let stated = (json.get("format_version").and_then(Json::as_u64), json.get("models"));
        let (Some(version), Some(Json::Array(_))) = stated else { return Ok(None) };
        if version != u64::from(FORMAT_VERSION) {
            return Err(ResultsError::Version(version));
        }
        Ok(Some(serde_json::from_value(json)?))
    }

    /// The models of this status.
    pub fn with(&self, status: Status) -> impl Iterator<Item = &ModelResult> {
        self.models.iter().filter(move |m| m.status == status)
    }

    /// What a step's outputs say of the whole: `published`, `failed` and, without what is long, `result`.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let list = |items: Vec<&str>| json!(items).to_string();
        let mut published: Vec<&str> = Vec::new();
        for repo in self.with(Status::Published).filter_map(|m| m.repo.as_deref()) {
            // Several models may go to one.
            if !published.contains(&repo) {
                published.push(repo);
            }
        }
        let failed: Vec<&str> = self.with(Status::Failed).map(|m| &*m.model).collect();
        vec![
            ("published", list(published)),
            ("failed", list(failed)),
            ("result", self.in_short().to_string()),
        ]
    }

    /// Everything but what is told of tensors and steps.
    pub fn in_short(&self) -> Json {
        let short = |m: &ModelResult| ModelResult { metadata: None, steps: Vec::new(), ..m.clone() };
        json!(Results { models: self.models.iter().map(short).collect(), ..self.clone() })
    }

    /// The results of several runs as one, in the order of the models.yaml.
    pub fn gather(parts: Vec<Results>) -> Results {
        let mut whole = Results { format_version: FORMAT_VERSION, ..Results::default() };
        for part in parts {
            if whole.started.is_empty() || part.started < whole.started {
                whole.started.clone_from(&part.started);
            }
            whole.version.clone_from(&part.version);
            whole.seconds += part.seconds;
            whole.models.extend(part.models);
        }
        whole.models.sort_by(|a, b| {
            let line = |m: &ModelResult| m.entry.as_ref().map(|e| (e.line, e.column));
            (line(a), &a.model).cmp(&(line(b), &b.model))
        });
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str, status: Status, line: usize) -> ModelResult {
        let entry = Some(Entry { file: "models.yaml".to_owned(), line, column: 3 });
        ModelResult {
            model: name.to_owned(),
            status,
            entry,
            repo: Some(format!("me/{name}")),
            metadata: Some(json!({ "outputs": [] })),
            ..ModelResult::default()
        }
    }

    fn results(models: Vec<ModelResult>, started: &str) -> Results {
        let started = started.to_owned();
        Results { format_version: FORMAT_VERSION, started, seconds: 1.0, models, ..Results::default() }
    }

    #[test]
    fn results_go_through_a_file() {
        let whole = results(vec![model("a", Status::Published, 4)], "2026-11-23T00:00:00Z");
        assert_eq!(Results::from_json(whole.to_json().as_bytes()).unwrap(), Some(whole));
    }

    #[test]
    fn what_is_no_result_is_said() {
        assert!(matches!(Results::from_json(b"{"), Err(ResultsError::Json(_))));
        assert_eq!(Results::from_json(b"[1]").unwrap(), None);
        assert_eq!(Results::from_json(b"{\"format_version\": 1, \"outputs\": []}").unwrap(), None);
        let later = b"{\"format_version\": 2, \"models\": []}";
        assert!(matches!(Results::from_json(later), Err(ResultsError::Version(2))));
        let odd = b"{\"format_version\": 1, \"models\": [7]}";
        assert!(matches!(Results::from_json(odd), Err(ResultsError::Json(_))));
    }

    #[test]
    fn several_runs_are_one_in_the_order_of_the_file() {
        let whole = Results::gather(vec![
            results(vec![model("b", Status::Failed, 9)], "2026-11-23T00:00:02Z"),
            results(
                vec![model("a", Status::Published, 4), model("c", Status::UpToDate, 12)],
                "2026-11-23T00:00:01Z",
            ),
        ]);
        let names: Vec<&str> = whole.models.iter().map(|m| &*m.model).collect();
        assert_eq!((names, whole.seconds), (vec!["a", "b", "c"], 2.0));
        assert_eq!(whole.started, "2026-11-23T00:00:01Z");
        let outputs = whole.outputs();
        assert_eq!(outputs[0], ("published", "[\"me/a\"]".to_owned()));
        assert_eq!(outputs[1], ("failed", "[\"b\"]".to_owned()));
        assert!(!outputs[2].1.contains("metadata") && outputs[2].1.contains("up_to_date"));
    }
}
