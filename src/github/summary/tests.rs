//! Summaries of results with figures, and of results that mean harm.

use super::*;
use crate::github::markdown::tests::{HOSTILE, outside_code};
use crate::github::results::{Entry, OutputFile, StepTime};

fn output(method: &str, size: u64, made: bool) -> OutputResult {
    let file =
        OutputFile { name: format!("tiny-{method}.gguf").to_lowercase(), size, sha256: "0".repeat(64) };
    OutputResult {
        method: method.to_owned(),
        made,
        files: vec![file],
        bits_per_weight: 4.5,
        snr_db: Some(20.25),
        ..OutputResult::default()
    }
}

fn model(name: &str) -> ModelResult {
    ModelResult {
        model: name.to_owned(),
        status: Status::Published,
        source: "them/tiny".to_owned(),
        commit: Some("0123456789abcdef0123".to_owned()),
        repo: Some(format!("me/{name}")),
        url: Some(format!("https://hub.example/me/{name}/commit/fedcba")),
        outputs: vec![output("Q4_0", 1_500_000, true), output("Q8_0", 2_500_000, false)],
        steps: vec![StepTime { what: "converted and quantized in one pass: Q4_0".to_owned(), seconds: 12.3 }],
        ..ModelResult::default()
    }
}

fn results(models: Vec<ModelResult>) -> Results {
    Results { models, seconds: 65.0, ..Results::default() }
}

#[test]
fn a_model_has_its_table_its_chart_and_its_times() {
    let text = summary(&results(vec![model("tiny")]), "Quantization", LONGEST);
    for part in [
        "## Quantization\n\n✅ 1 published · 1 min 05 s\n",
        "### ✅ `tiny`\n\nFrom `them/tiny` at `0123456789ab` → [`me/tiny`](https://hub.example/me/tiny/commit/fedcba)\n",
        "| method | size | bits | SNR | file | |\n|---|--:|--:|--:|---|---|\n",
        "| `Q4_0` | 1.50 MB | 4.50 | 20.2 dB | [`tiny-q4_0.gguf`](https://hub.example/me/tiny/blob/fedcba/tiny-q4_0.gguf) | made |\n",
        "| up to date |\n",
        "    x-axis [\"Q4_0\", \"Q8_0\"]\n    y-axis \"MB\" 0 --> 2.50\n    bar [1.50, 2.50]\n",
        "| converted and quantized in one pass: Q4_0 | 12.3 s |\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("| model |"), "one model needs no overview");
}

const LONGEST: usize = 1 << 20;

#[test]
fn a_failure_says_why_where_and_what_to_do() {
    let failed = ModelResult {
        status: Status::Failed,
        error: Some("`them/tiny` is not there".to_owned()),
        hint: Some("check the name".to_owned()),
        entry: Some(Entry { file: "models.yaml".to_owned(), line: 4, column: 5 }),
        outputs: Vec::new(),
        ..model("broken")
    };
    let text = summary(&results(vec![model("tiny"), failed]), "Q", LONGEST);
    for part in [
        "❌ 1 failed · ✅ 1 published",
        "| `broken` | ❌ failed |  |  | `them/tiny` is not there |\n",
        "> **Failed**: `them/tiny` is not there\n>\n> What to do: check the name\n>\n> Entry: `models.yaml:4`\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn quality_has_columns_where_it_was_measured() {
    let mut m = model("tiny");
    m.outputs[0].perplexity = Some(12.34567);
    m.outputs[0].kl_divergence = Some(0.0123);
    m.outputs.iter_mut().for_each(|o| o.snr_db = None);
    let text = summary(&results(vec![m]), "Q", LONGEST);
    assert!(text.contains("| bits | PPL | KLD | file |"), "{text}");
    assert!(text.contains("| 4.50 | 12.3457 | 0.012300 | ["), "{text}");
    assert!(text.contains("| 4.50 |  |  | ["), "{text}");
}

#[test]
fn nothing_to_do_is_said() {
    assert_eq!(summary(&results(Vec::new()), "Q", LONGEST), "## Q\n\nEverything is up to date.\n");
}

/// Whatever the names are, the text has the lines and cells that it has for harmless ones.
#[test]
fn hostile_names_add_nothing() {
    let shape = |text: &str| {
        let all = results(vec![hostile(text), hostile(text)]);
        let markdown = summary(&all, "Q", LONGEST);
        let rest = outside_code(&markdown);
        assert!(!rest.contains("<script") && !rest.contains("@octocat") && !rest.contains("](java"));
        let line = |line: &str| {
            let cells = line.matches('|').count();
            let first: String = line.chars().take(2).collect();
            (if line.starts_with('|') { cells } else { 0 }, first)
        };
        markdown.lines().map(line).collect::<Vec<_>>()
    };
    let harmless = shape("x");
    for text in HOSTILE {
        assert_eq!(shape(text), harmless, "{text:?}");
    }
}

fn hostile(text: &str) -> ModelResult {
    let t = || text.to_owned();
    ModelResult {
        model: t(),
        status: Status::Failed,
        source: format!("x{text}"),
        commit: Some(t()),
        repo: Some(t()),
        url: Some(t()),
        error: Some(t()),
        hint: Some(t()),
        entry: Some(Entry { file: t(), line: 1, column: 1 }),
        outputs: vec![OutputResult {
            method: t(),
            files: vec![OutputFile { name: t(), size: 1, sha256: t() }],
            ..OutputResult::default()
        }],
        warnings: vec![t()],
        steps: vec![StepTime { what: t(), seconds: f64::NAN }],
        ..ModelResult::default()
    }
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let mut models: Vec<ModelResult> = (0..300).map(|i| model(&format!("m{i:03}"))).collect();
    models[250].status = Status::Failed;
    models[250].error = Some("it failed".to_owned());
    let all = results(models);
    let whole = summary(&all, "Q", LONGEST);
    for longest in [whole.len() / 2, whole.len() / 10, 3000, 600, 100, 0] {
        let text = summary(&all, "Q", longest);
        assert!(text.len() <= longest, "{} of {longest}", text.len());
        if longest >= 600 {
            assert!(text.contains("left out: the summary of a step may have 1 MiB"), "{longest}: {text}");
        }
    }
    let half = summary(&all, "Q", whole.len() / 2);
    assert!(half.contains("> **Failed**: it failed") && half.contains("| `m299` |"), "failures come first");
    let few = summary(&all, "Q", 3000);
    assert!(
        few.contains("| `m250` | ❌ failed |") && few.contains("rows of") && !few.contains("| `m299` |"),
        "{few}"
    );
    let details = half.matches("### ").count();
    assert!(half.contains(&format!("The details of {} models are left out", 300 - details)), "{details}");
}
