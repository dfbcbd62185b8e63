//! The card's section on what the outputs' predictions lose: the picture, a table, and what was measured on what.

use std::fmt::Write as _;

use super::metadata::{Evaluation, Measured, Output, QuantizationMetadata};
use super::{evaluation, picture, text};
use crate::base::units;

/// What the list of files says of an output's quality.
pub(super) fn cell(evaluation: &Evaluation) -> String {
    match &evaluation.divergence {
        Some(d) => format!("KLD {}", figure(d.mean_kld.value)),
        None => format!("perplexity {}", figure(evaluation.perplexity.value)),
    }
}

/// The section; empty where nothing was measured.
pub(super) fn section(metadata: &QuantizationMetadata) -> String {
    let groups = evaluation::groups(&metadata.outputs);
    let Some(first) = groups.first() else { return String::new() };
    let mut out = String::from("## Quality\n");
    if first.len() > 1 {
        write!(out, "\n![Size against quality](./{})\n", picture::FILE_NAME).expect("writing to a string");
    }
    for group in &groups {
        table(&mut out, group);
    }
    if groups.len() > 1 {
        out.push_str(
            "\nFigures of one table can be compared with each other, and not with another table's.\n",
        );
    }
    if groups.iter().flatten().any(|(_, e)| e.divergence.is_some()) {
        out.push_str(
            "\nThe KL divergence (KLD) is how far the predicted probabilities are from those of the unquantized model: the mean over all predictions, and what 99 % of them stay below. Lower is better. Same top token: how often the most likely token is the same.\n",
        );
    }
    out
}

/// Outputs that were measured alike.
fn table(out: &mut String, outputs: &[(&Output, &Evaluation)]) {
    let Some((_, first)) = outputs.first() else { return };
    let heads: &[&str] = match first.divergence {
        Some(_) => &["Method", "Size", "Mean KLD", "99 % KLD", "Same top token", "Perplexity"],
        None => &["Method", "Size", "Perplexity"],
    };
    let mut rows = vec![
        heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>(),
        (0..heads.len()).map(|i| if i == 0 { "---" } else { "---:" }.to_owned()).collect(),
    ];
    for (output, evaluation) in outputs {
        let mut row = vec![text::plain(&output.recipe.method), units::decimal(output.size)];
        match &evaluation.divergence {
            Some(d) => row.extend([
                with_error(d.mean_kld),
                figure(d.kld_99),
                percent(d.same_top.value),
                format!("{} ({})", figure(evaluation.perplexity.value), more(d.perplexity_ratio.value)),
            ]),
            None => row.push(with_error(evaluation.perplexity)),
        }
        rows.push(row);
    }
    out.push('\n');
    for row in rows {
        writeln!(out, "| {} |", row.join(" | ")).expect("writing to a string");
    }
    let name = text::code(&first.text.name);
    let chunks = units::counted(first.chunks as usize, "chunk");
    let tools = text::once(outputs.iter().map(|(_, evaluation)| text::plain(&evaluation.tool)));
    write!(
        out,
        "\nMeasured with llama-perplexity ({}) over `{name}`: {chunks} of {} tokens, {} predictions.",
        tools.join(", "),
        first.context,
        first.predictions
    )
    .expect("writing to a string");
    if let Some(d) = &first.divergence {
        write!(out, " The unquantized model has a perplexity of {}.", with_error(d.base_perplexity))
            .expect("writing to a string");
    }
    out.push('\n');
}

/// A figure in three digits, as far as llama-perplexity's six decimals go.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size >= 0.1 => 3,
        _ if size >= 0.01 => 4,
        _ if size >= 0.001 => 5,
        // Less than nothing is what rounding makes of nothing.
        _ if value < 0.000_000_5 => return "0".to_owned(),
        _ => 6,
    };
    format!("{value:.digits$}")
}

/// A figure with its standard error, where that can be seen.
pub(super) fn with_error(measured: Measured) -> String {
    match measured.error {
        Some(error) if figure(error) != "0" => {
            let digits = figure(measured.value).split_once('.').map_or(0, |(_, digits)| digits.len());
            format!("{} ± {error:.digits$}", figure(measured.value))
        }
        _ => figure(measured.value),
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// How much more one is than the other, by their ratio.
pub(super) fn more(ratio: f64) -> String {
    // A file may say anything.
    format!("{:+.2} %", ((ratio - 1.0) * 100.0).clamp(-1e9, 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [
            (123.4, "123"),
            (12.345, "12.3"),
            (1.2345, "1.23"),
            (0.12345, "0.123"),
            (0.012_345, "0.0123"),
            (0.001_234_5, "0.00123"),
            (0.000_123_4, "0.000123"),
            (0.000_000_1, "0"),
            (0.0, "0"),
            (-0.000_002, "0"),
            (-0.5, "-0.500"),
        ] {
            assert_eq!(figure(value), text);
        }
        let measured = |value, error| with_error(Measured { value, error });
        assert_eq!(measured(0.042_551, Some(0.003_080)), "0.0426 ± 0.0031");
        assert_eq!(measured(11.9745, Some(2.294)), "12.0 ± 2.3");
        assert_eq!(measured(0.5, None), "0.500");
        assert_eq!(
            (percent(0.917_32), more(1.060_408), more(0.9999)),
            ("91.7 %".into(), "+6.04 %".into(), "-0.01 %".into())
        );
    }
}
