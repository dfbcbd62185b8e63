//! The quality gate: whether an output is what `evaluate.require` asks for. Pure.

use std::fmt;

use crate::card::metadata::Evaluation;
use crate::config::Require;

/// A figure that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortfall {
    /// The key of models.yaml.
    pub figure: &'static str,
    /// What it is.
    pub is: f64,
    /// What it may be.
    pub bound: f64,
    /// Whether that is the least, or the most.
    pub least: bool,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = if self.least { "at least" } else { "at most" };
        // As many digits as the tool prints, without those that say nothing.
        let is = format!("{:.6}", self.is);
        let is = is.trim_end_matches('0').trim_end_matches('.');
        write!(f, "`{}` is {is} where {bound} {} is required", self.figure, self.bound)
    }
}

/// Where an output falls short of what is required. A figure that was not measured does.
pub fn shortfalls(require: &Require, evaluation: &Evaluation) -> Vec<Shortfall> {
    let d = evaluation.divergence.as_ref();
    let unknown = f64::NAN;
    let rows = [
        ("mean_kld", require.mean_kld, d.map(|d| d.mean_kld.value), false),
        ("kld_99", require.kld_99, d.map(|d| d.kld_99), false),
        ("same_top", require.same_top, d.map(|d| d.same_top.value), true),
        ("perplexity", require.perplexity, Some(evaluation.perplexity.value), false),
        ("perplexity_ratio", require.perplexity_ratio, d.map(|d| d.perplexity_ratio.value), false),
    ];
    rows.into_iter()
        .filter_map(|(figure, bound, is, least)| {
            let (bound, is) = (bound?, is.unwrap_or(unknown));
            let reached = if least { is >= bound } else { is <= bound };
            (!reached).then_some(Shortfall { figure, is, bound, least })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::metadata::{Divergence, Measured};

    fn measured(value: f64) -> Measured {
        Measured { value, error: None }
    }

    fn evaluation() -> Evaluation {
        Evaluation {
            perplexity: measured(12.5),
            divergence: Some(Divergence {
                mean_kld: measured(0.05),
                kld_99: 0.6,
                same_top: measured(0.9),
                perplexity_ratio: measured(1.04),
                ..Divergence::default()
            }),
            ..Evaluation::default()
        }
    }

    #[track_caller]
    fn check(require: Require, expected: &[&str]) {
        let found: Vec<String> =
            shortfalls(&require, &evaluation()).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_required_is_reached_or_named() {
        check(Require::default(), &[]);
        let exactly = Require {
            mean_kld: Some(0.05),
            kld_99: Some(0.6),
            same_top: Some(0.9),
            perplexity: Some(12.5),
            perplexity_ratio: Some(1.04),
        };
        check(exactly, &[]);
        check(
            Require {
                mean_kld: Some(0.049),
                kld_99: Some(0.5),
                same_top: Some(0.95),
                perplexity: Some(12.0),
                perplexity_ratio: Some(1.0),
            },
            &[
                "`mean_kld` is 0.05 where at most 0.049 is required",
                "`kld_99` is 0.6 where at most 0.5 is required",
                "`same_top` is 0.9 where at least 0.95 is required",
                "`perplexity` is 12.5 where at most 12 is required",
                "`perplexity_ratio` is 1.04 where at most 1 is required",
            ],
        );
    }

    #[test]
    fn what_was_not_measured_is_not_reached() {
        let alone = Evaluation { divergence: None, ..evaluation() };
        let require = Require { mean_kld: Some(9.0), perplexity: Some(13.0), ..Require::default() };
        let found = shortfalls(&require, &alone);
        assert_eq!(found.iter().map(|s| s.figure).collect::<Vec<_>>(), ["mean_kld"]);
    }
}
