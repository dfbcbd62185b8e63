//! The one issue that tells of a schedule that fails.
//!
//! In: results, and where the run is seen. Out: the issue's title and text, and the comment that closes it. Pure.

use super::markdown::{code, message};
use super::plan::LONGEST_COMMENT;
use super::results::{ModelResult, Results, Status};
use super::summary::headline;
use crate::base::units;

/// Failed models that are listed; the report has them all.
const LISTED: usize = 50;

/// The issue's title.
pub fn title(results: &Results) -> String {
    format!("Quantization fails: {}", units::counted(results.with(Status::Failed).count(), "model"))
}

/// The issue's text, without its marker.
pub fn body(results: &Results, run: Option<&str>) -> String {
    let run = run.map(|run| format!("[The last run that failed]({run}). ")).unwrap_or_default();
    let end = format!("\n{run}This issue is updated at each run, and closed by the first one that works.\n");
    let mut out = format!("{}\n\n", headline(results));
    let failed: Vec<_> = results.with(Status::Failed).collect();
    for (listed, m) in failed.iter().enumerate() {
        let line = line(m);
        let more = format!("- and {} more\n", failed.len() - listed);
        if listed == LISTED || out.len() + line.len() + more.len() + end.len() > LONGEST_COMMENT {
            out += &more;
            break;
        }
        out += &line;
    }
    out + &end
}

fn line(m: &ModelResult) -> String {
    let mut line = format!("- {}: {}", code(&m.model), message(m.error.as_deref().unwrap_or("it failed")));
    if let Some(hint) = &m.hint {
        line += &format!(" — {}", message(hint));
    }
    if let Some(entry) = &m.entry {
        line += &format!(" ({})", code(&format!("{}:{}", entry.file, entry.line)));
    }
    line + "\n"
}

/// What is said when it works again.
pub fn closing(results: &Results, run: Option<&str>) -> String {
    let run = run.map(|run| format!(" ([the run]({run}))")).unwrap_or_default();
    format!("It works again. {}{run}\n", headline(results))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::results::Entry;

    #[test]
    fn an_issue_lists_what_failed() {
        let failed = |i: usize| ModelResult {
            model: format!("m{i}"),
            error: Some("`a/b` is not there, @octocat".to_owned()),
            hint: Some("check it".to_owned()),
            entry: Some(Entry { file: "models.yaml".to_owned(), line: i, column: 1 }),
            ..ModelResult::default()
        };
        let results = Results { models: (0..60).map(failed).collect(), ..Results::default() };
        assert_eq!(title(&results), "Quantization fails: 60 models");
        let text = body(&results, Some("https://github.example/o/n/actions/runs/1"));
        assert!(
            text.contains("- `m7`: `a/b` is not there, &#64;&#8203;octocat — check it (`models.yaml:7`)\n"),
            "{text}"
        );
        assert!(
            text.contains("- and 10 more\n") && text.contains("(https://github.example/o/n/actions/runs/1)")
        );
        assert!(text.len() < LONGEST_COMMENT);
        let long = |m: &ModelResult| ModelResult { error: Some("*".repeat(5000)), ..m.clone() };
        let long = Results { models: results.models.iter().map(long).collect(), ..results.clone() };
        let text = body(&long, None);
        assert!(text.len() <= LONGEST_COMMENT && text.contains("- and 4"), "{} bytes", text.len());
        assert!(text.ends_with("by the first one that works.\n"));
        let works = Results { models: Vec::new(), ..results };
        assert_eq!(closing(&works, None), "It works again. Everything is up to date.\n");
    }
}
