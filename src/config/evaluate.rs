//! The `evaluate` key: what is not said, and what contradicts.

use super::model::{Dataset, Evaluate, Require};
use super::problem::Problem;
use super::raw::RawEvaluate;
use super::read::At;
use crate::base::units;

/// Fewest predictions that llama-perplexity sums up.
const FEWEST: u64 = 100;

/// What is to be measured, over a text.
pub(super) fn resolve(
    section: At<RawEvaluate>,
    dataset: Option<Dataset>,
    problems: &mut Vec<Problem>,
) -> Evaluate {
    let At { place, value: raw, clean } = section;
    let usual = Evaluate::default();
    let require = raw.require.map(|section| {
        let raw = section.value;
        let require = Require {
            mean_kld: raw.mean_kld.map(|bound| bound.value.0),
            kld_99: raw.kld_99.map(|bound| bound.value.0),
            same_top: raw.same_top.map(|share| share.value.0),
            perplexity: raw.perplexity.map(|bound| bound.value.0),
            perplexity_ratio: raw.perplexity_ratio.map(|bound| bound.value.0),
        };
        if section.clean && require == Require::default() {
            let problem = Problem::new(section.place, "`require` asks for nothing");
            problems.push(problem.hint("write a figure, such as `mean_kld: 0.05`, or leave the key out"));
        }
        (section.place, require)
    });
    let evaluate = Evaluate {
        dataset: dataset.unwrap_or(usual.dataset),
        chunks: raw.chunks.map_or(usual.chunks, |chunks| chunks.value.0),
        context: raw.context.map_or(usual.context, |context| context.value.0),
        kl_divergence: raw.kl_divergence.map_or(usual.kl_divergence, |wanted| wanted.value),
        require: require.map_or(usual.require, |(_, require)| require),
    };
    if let (Some((place, require)), false) = (require, evaluate.kl_divergence)
        && require.compares()
    {
        let text = "what `require` asks for is not measured: `kl_divergence` is false";
        let hint = "leave `kl_divergence` out, or require a `perplexity` alone";
        problems.push(Problem::new(place, text).hint(hint));
    }
    if clean && evaluate.predictions() < FEWEST {
        let text = format!(
            "{} of {} tokens give {} predictions, and fewer than {FEWEST} tell nothing",
            units::counted(evaluate.chunks as usize, "chunk"),
            evaluate.context,
            evaluate.predictions()
        );
        problems.push(Problem::new(place, text).hint("take more `chunks`, or a larger `context`"));
    }
    evaluate
}
