//! What came of jobs, for people: the summary of a step, the report of a run, the asset of a release.
//!
//! In: [`Results`], and how long the text may be. Out: Markdown as GitHub renders it, with nothing in it that the texts
//! of others could add. Pure. What does not fit is left out model by model, and the text says so.

use std::fmt::Write as _;
use std::time::Duration;

use super::markdown::{code, cut, link, message};
use super::results::{ModelResult, OutputResult, Results, Status};
use crate::base::units;

/// Bars of a chart, at most.
const BARS: usize = 24;
/// Warnings that are shown of a model.
const WARNINGS: usize = 10;

/// The results as Markdown of at most `longest` bytes.
pub fn summary(results: &Results, title: &str, longest: usize) -> String {
    let models = &results.models;
    let mut out = format!("## {title}\n\n{}\n\n", headline(results));
    // The failures say what is to be done: they go last where something has to go.
    let mut order: Vec<usize> = (0..models.len()).collect();
    order.sort_by_key(|&i| models[i].status != Status::Failed);
    // Which of these texts fit, in the order of the models.
    let fitting = |texts: &[String], room: usize| {
        let mut sum = 0usize;
        let fits = |i: &usize| {
            sum = sum.saturating_add(texts[*i].len());
            sum <= room
        };
        let mut shown: Vec<usize> = order.iter().copied().take_while(fits).collect();
        shown.sort_unstable();
        shown
    };
    let room =
        |out: &str| longest.saturating_sub(out.len()).saturating_sub(left_out("details", usize::MAX).len());

    let rows: Vec<String> = models.iter().map(row).collect();
    let shown = fitting(&rows, room(&out).saturating_sub(HEAD.len() + 1));
    if models.len() > 1 && !shown.is_empty() {
        let rows: String = shown.iter().map(|&i| &*rows[i]).collect();
        let _ = writeln!(out, "{HEAD}{rows}");
    }
    if shown.len() < models.len() {
        out += &left_out("rows", models.len() - shown.len());
        return cut(out, longest);
    }
    let sections: Vec<String> = models.iter().map(section).collect();
    let shown = fitting(&sections, room(&out));
    out.extend(shown.iter().map(|&i| &*sections[i]));
    if shown.len() < models.len() {
        out += &left_out("details", models.len() - shown.len());
    }
    cut(out.trim_end().to_owned() + "\n", longest)
}

/// Says of how many models something is not shown.
fn left_out(what: &str, n: usize) -> String {
    let (models, verb) = (units::counted(n, "model"), if n == 1 { "is" } else { "are" });
    format!("> [!NOTE]\n> The {what} of {models} {verb} left out: the summary of a step may have 1 MiB.\n\n")
}

const HEAD: &str = "| model | | outputs | size | where |\n|---|---|---|--:|---|\n";

/// One line on the whole.
pub(super) fn headline(results: &Results) -> String {
    if results.models.is_empty() {
        return "Everything is up to date.".to_owned();
    }
    let counts = Status::ALL.into_iter().filter_map(|status| match results.with(status).count() {
        0 => None,
        n => Some(format!("{} {n} {}", status.icon(), status.text())),
    });
    let time = units::duration(Duration::try_from_secs_f64(results.seconds).unwrap_or_default());
    format!("{} · {time}", counts.collect::<Vec<_>>().join(" · "))
}

/// A model in the table of all.
fn row(m: &ModelResult) -> String {
    let made = m.outputs.iter().filter(|o| o.made).count();
    let outputs = match (made, m.outputs.len()) {
        (_, 0) => String::new(),
        (made, all) if made == all => units::counted(all, "output"),
        (made, all) => format!("{made} of {all} made"),
    };
    let bytes = m.outputs.iter().fold(0u64, |sum, o| sum.saturating_add(o.bytes()));
    let size = if bytes > 0 { units::decimal(bytes) } else { String::new() };
    let place = match (&m.error, &m.url, &m.repo) {
        (Some(error), ..) => message(error),
        (_, Some(url), repo) => link(repo.as_deref().unwrap_or(url), url),
        (_, None, Some(repo)) => code(repo),
        _ => String::new(),
    };
    let icon = m.status.icon();
    format!("| {} | {icon} {} | {outputs} | {size} | {place} |\n", code(&m.model), m.status.text())
}

fn section(m: &ModelResult) -> String {
    let mut out = format!("### {} {}\n\n", m.status.icon(), code(&m.model));
    let from = match &m.commit {
        Some(commit) => format!("{} at {}", code(&m.source), code(commit.get(..12).unwrap_or(commit))),
        None => code(&m.source),
    };
    let to = match (&m.url, &m.repo) {
        (Some(url), repo) => format!(" → {}", link(repo.as_deref().unwrap_or(url), url)),
        (None, Some(repo)) => format!(" → {}", code(repo)),
        _ => String::new(),
    };
    if !m.source.is_empty() {
        let _ = write!(out, "From {from}{to}\n\n");
    }
    if let Some(error) = &m.error {
        let _ = writeln!(out, "> [!CAUTION]\n> **Failed**: {}", message(error));
        if let Some(hint) = &m.hint {
            let _ = writeln!(out, ">\n> What to do: {}", message(hint));
        }
        if let Some(entry) = &m.entry {
            let _ = writeln!(out, ">\n> Entry: {}", code(&format!("{}:{}", entry.file, entry.line)));
        }
        out.push('\n');
    }
    if !m.outputs.is_empty() {
        out += &table(m);
        out += &chart(&m.outputs);
    }
    if !m.warnings.is_empty() {
        out.push_str("<details><summary>Warnings</summary>\n\n");
        for warning in m.warnings.iter().take(WARNINGS) {
            let _ = writeln!(out, "- ⚠️ {}", message(warning));
        }
        if m.warnings.len() > WARNINGS {
            let _ = writeln!(out, "- and {} more in the log", m.warnings.len() - WARNINGS);
        }
        out.push_str("\n</details>\n\n");
    }
    if !m.steps.is_empty() {
        out.push_str("<details><summary>Times</summary>\n\n| step | time |\n|---|--:|\n");
        for step in &m.steps {
            let time = Duration::try_from_secs_f64(step.seconds).unwrap_or_default();
            let _ = writeln!(out, "| {} | {} |", message(&step.what), units::duration(time));
        }
        out.push_str("\n</details>\n\n");
    }
    out
}

/// The outputs, with the columns that any of them has figures for.
fn table(m: &ModelResult) -> String {
    type Column = (&'static str, fn(&OutputResult) -> Option<String>);
    let columns: [Column; 3] = [
        ("SNR", |o| Some(format!("{:.1} dB", o.snr_db?))),
        ("PPL", |o| Some(format!("{:.4}", o.perplexity?))),
        ("KLD", |o| Some(format!("{:.6}", o.kl_divergence?))),
    ];
    let columns: Vec<&Column> =
        columns.iter().filter(|(_, figure)| m.outputs.iter().any(|o| figure(o).is_some())).collect();
    let heads: String = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
    let mut out = format!(
        "| method | size | bits |{heads} file | |\n|---|--:|--:|{}---|---|\n",
        "--:|".repeat(columns.len())
    );
    for o in &m.outputs {
        let figures: String =
            columns.iter().map(|(_, figure)| format!(" {} |", figure(o).unwrap_or_default())).collect();
        let name = o.files.first().map_or("", |f| &f.name);
        let file = match m.url.as_deref().filter(|_| m.status != Status::Proposed && !name.is_empty()) {
            Some(url) if safe_name(name) => link(name, &page(url, name)),
            _ => code(name),
        };
        let more = if o.files.len() > 1 { format!(" and {} more", o.files.len() - 1) } else { String::new() };
        let state = if o.made { "made" } else { "up to date" };
        let _ = writeln!(
            out,
            "| {} | {} | {:.2} |{figures} {file}{more} | {state} |",
            code(&o.method),
            units::decimal(o.bytes()),
            o.bits_per_weight,
        );
    }
    out + "\n"
}

/// The page of a file, at the commit that `url` shows.
fn page(url: &str, name: &str) -> String {
    match url.split_once("/commit/") {
        Some((repo, commit)) => format!("{repo}/blob/{commit}/{name}"),
        None => format!("{}/blob/main/{name}", url.trim_end_matches('/')),
    }
}

fn safe_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The sizes as a chart, where it says more than the table.
fn chart(outputs: &[OutputResult]) -> String {
    let bars: Vec<&OutputResult> =
        outputs.iter().filter(|o| safe_name(&o.method) && o.bytes() > 0).take(BARS).collect();
    if bars.len() < 2 {
        return String::new();
    }
    let largest = bars.iter().map(|o| o.bytes()).max().unwrap_or_default();
    let (unit, divisor) = match largest {
        0..1_000_000 => ("kB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        _ => ("GB", 1e9),
    };
    let names: Vec<String> = bars.iter().map(|o| format!("\"{}\"", o.method)).collect();
    let sizes: Vec<String> = bars.iter().map(|o| format!("{:.2}", o.bytes() as f64 / divisor)).collect();
    // Mermaid's own height is that of a page, whatever is in it.
    let height = 80 + 35 * bars.len();
    format!(
        "```mermaid\n%%{{init: {{\"xyChart\": {{\"height\": {height}}}}}}}%%\nxychart-beta horizontal\n    x-axis [{}]\n    y-axis \"{unit}\" 0 --> {:.2}\n    bar [{}]\n```\n\n",
        names.join(", "),
        largest as f64 / divisor,
        sizes.join(", ")
    )
}

#[cfg(test)]
mod tests;
