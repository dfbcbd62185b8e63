//! What an output's predictions lose against the unquantized model's, as `quantization_metadata.json` keeps it.
//!
//! In: figures that llama.cpp's llama-perplexity printed. Out: figures that are finite, with what they were measured on
//! and by, so that a later run can tell whether they are those that it would measure again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metadata::Output;
use super::quality;

/// What an output's predictions lose, measured over a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// The text.
    pub text: EvaluationText,
    /// Tokens in a chunk. The predictions in its second half count.
    pub context: u32,
    /// Chunks that were measured.
    pub chunks: u32,
    /// Chunks that were asked for; more than were measured, where the text has no more.
    pub chunks_asked: u32,
    /// Predictions that were measured.
    pub predictions: u64,
    /// Perplexity over the text.
    pub perplexity: Measured,
    /// The comparison with the unquantized model, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// The llama.cpp that measured.
    pub tool: String,
    /// When, as RFC 3339 in UTC.
    pub measured: String,
    /// Seconds that it took.
    pub seconds: f64,
}

/// A text, by its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvaluationText {
    /// Name of its file.
    pub name: String,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

/// How an output's predictions differ from those of the unquantized model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Divergence {
    /// Perplexity of the unquantized model over the same chunks.
    pub base_perplexity: Measured,
    /// The output's perplexity divided by that.
    pub perplexity_ratio: Measured,
    /// Mean of the Kullback-Leibler divergence of the predictions from the unquantized model's, in nats.
    pub mean_kld: Measured,
    /// Its median.
    pub median_kld: f64,
    /// Its 99th percentile.
    pub kld_99: f64,
    /// Its maximum.
    pub max_kld: f64,
    /// Share of the predictions whose most likely token is the unquantized model's.
    pub same_top: Measured,
}

/// A figure and its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The figure.
    pub value: f64,
    /// Its standard error, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The text.
    pub text: EvaluationText,
    /// Tokens in a chunk.
    pub context: u32,
    /// Chunks, at most.
    pub chunks: u32,
    /// Whether the unquantized model is compared with.
    pub compare: bool,
}

impl Evaluation {
    /// Whether measuring under these conditions would give the same figures again, of the same files. The text's name
    /// does not matter, nor does the version of the tool: what it computes is defined by the model.
    pub fn is_under(&self, wanted: &Conditions) -> bool {
        // A text that had fewer chunks than were asked for has no more now.
        let all = self.chunks < self.chunks_asked && self.chunks <= wanted.chunks;
        self.text.sha256 == wanted.text.sha256
            && self.context == wanted.context
            && (all || self.chunks == wanted.chunks)
            && (self.divergence.is_some() || !wanted.compare)
    }

    /// The figures in a line.
    pub fn summary(&self) -> String {
        let perplexity = quality::figure(self.perplexity.value);
        match &self.divergence {
            Some(d) => format!(
                "KLD {}, 99 % {}, same top token {}, perplexity {perplexity} ({})",
                quality::figure(d.mean_kld.value),
                quality::figure(d.kld_99),
                quality::percent(d.same_top.value),
                quality::more(d.perplexity_ratio.value)
            ),
            None => format!("perplexity {perplexity}"),
        }
    }

    /// Whether the figures of two outputs can be compared.
    pub fn is_like(&self, other: &Evaluation) -> bool {
        self.text.sha256 == other.text.sha256
            && self.context == other.context
            && self.chunks == other.chunks
            && self.divergence.is_some() == other.divergence.is_some()
    }
}

/// The outputs that were measured, by what can be compared; the largest group first.
pub(super) fn groups(outputs: &[Output]) -> Vec<Vec<(&Output, &Evaluation)>> {
    let mut groups: Vec<Vec<(&Output, &Evaluation)>> = Vec::new();
    for (output, evaluation) in outputs.iter().filter_map(|o| Some((o, o.evaluation.as_ref()?))) {
        match groups.iter_mut().find(|group| group[0].1.is_like(evaluation)) {
            Some(group) => group.push((output, evaluation)),
            None => groups.push(vec![(output, evaluation)]),
        }
    }
    for group in &mut groups {
        group.sort_by(|(a, _), (b, _)| (a.size, &a.file).cmp(&(b.size, &b.file)));
    }
    let last = |group: &[(&Output, &Evaluation)]| group.iter().map(|(_, e)| e.measured.clone()).max();
    groups.sort_by_key(|group| std::cmp::Reverse((group.len(), last(group))));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(chunks: u32, chunks_asked: u32) -> Evaluation {
        let text = EvaluationText { name: "t.txt".to_owned(), sha256: "aa".to_owned() };
        let divergence = Some(Divergence::default());
        Evaluation { text, context: 512, chunks, chunks_asked, divergence, ..Evaluation::default() }
    }

    #[test]
    fn figures_are_kept_until_other_ones_would_be_measured() {
        let wanted = |chunks| Conditions {
            text: EvaluationText { name: "moved.txt".to_owned(), sha256: "aa".to_owned() },
            context: 512,
            chunks,
            compare: true,
        };
        assert!(evaluation(16, 16).is_under(&wanted(16)));
        assert!(!evaluation(16, 16).is_under(&wanted(17)));
        assert!(!evaluation(16, 16).is_under(&wanted(15)));
        // The text ended after ten chunks.
        assert!(evaluation(10, 16).is_under(&wanted(16)) && evaluation(10, 16).is_under(&wanted(99)));
        assert!(evaluation(10, 16).is_under(&wanted(10)));
        assert!(!evaluation(10, 16).is_under(&wanted(9)));
        let other = Conditions { context: 256, ..wanted(16) };
        assert!(!evaluation(16, 16).is_under(&other));
        let text = EvaluationText { sha256: "bb".to_owned(), ..wanted(16).text };
        assert!(!evaluation(16, 16).is_under(&Conditions { text, ..wanted(16) }));
        let alone = Evaluation { divergence: None, ..evaluation(16, 16) };
        assert!(!alone.is_under(&wanted(16)));
        assert!(alone.is_under(&Conditions { compare: false, ..wanted(16) }));
        assert!(evaluation(16, 16).is_under(&Conditions { compare: false, ..wanted(16) }));
    }
}
