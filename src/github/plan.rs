//! A plan for people: the comment on a pull request that changes models.yaml, and the summary of a plan's step.
//!
//! In: what would be made, and what is wrong with the models.yaml. Out: Markdown with nothing in it that the texts of
//! others could add, not longer than a comment may be. Pure.

use std::fmt::Write as _;

use super::markdown::{code, cut, link, message, prose};
use crate::base::units;

/// Characters of a comment or an issue, at most (GitHub's own limit is 65536).
pub const LONGEST_COMMENT: usize = 65_000;

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanText {
    /// The models that can be made.
    pub models: Vec<PlannedModel>,
    /// Those that cannot, and why.
    pub failed: Vec<FailedModel>,
    /// What is wrong with the models.yaml.
    pub problems: Vec<PlanProblem>,
}

/// A model that can be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlannedModel {
    /// Its name.
    pub model: String,
    /// Where it is from.
    pub source: String,
    /// The commit of that.
    pub commit: Option<String>,
    /// Its architecture and its size.
    pub about: String,
    /// Its repository, where it is published.
    pub repo: Option<String>,
    /// Where a person sees that.
    pub url: Option<String>,
    /// What becomes of it: `to be created, public`.
    pub change: Option<String>,
    /// What else is to be known of it.
    pub notes: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<PlannedOutput>,
    /// Bytes that are downloaded.
    pub download: u64,
    /// Bytes that are taken of the disk.
    pub disk: u64,
    /// Bytes that are published, at most.
    pub publish: u64,
    /// Whether there is anything to do.
    pub works: bool,
}

/// An output that would be made or is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlannedOutput {
    /// The method.
    pub method: String,
    /// Bytes of all its files, where they are known before the work.
    pub bytes: Option<u64>,
    /// Bits for each weight, where they are.
    pub bits_per_weight: Option<f64>,
    /// What would be done, and why.
    pub decision: String,
    /// Whether it would be made.
    pub make: bool,
}

/// A model that cannot be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailedModel {
    /// Its name.
    pub model: String,
    /// Why not.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Something that is wrong with the models.yaml.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanProblem {
    /// File and line.
    pub place: String,
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl PlanText {
    /// Whether `run` would do anything.
    pub fn has_work(&self) -> bool {
        !self.failed.is_empty() || self.models.iter().any(|m| m.works)
    }

    /// The plan as Markdown of at most `longest` bytes.
    pub fn markdown(&self, longest: usize) -> String {
        let mut out = format!("## Quantization plan\n\n{}\n\n", self.headline());
        let (works, rest): (Vec<_>, Vec<_>) = self.models.iter().partition(|m| m.works);
        let parts = self.problems.iter().map(wrong).chain(self.failed.iter().map(broken));
        let parts: Vec<String> =
            parts.chain(works.into_iter().map(section)).chain(rest.into_iter().map(idle)).collect();
        let noun = if self.problems.is_empty() { "model" } else { "problem" };
        let left_out = |n| format!("\n> [!NOTE]\n> Left out for its length: {}.\n", units::counted(n, noun));
        let room = longest.saturating_sub(left_out(usize::MAX).len());
        for (i, part) in parts.iter().enumerate() {
            if out.len() + part.len() > room {
                return cut(out + &left_out(parts.len() - i), longest);
            }
            out += part;
        }
        cut(out.trim_end().to_owned() + "\n", longest)
    }

    fn headline(&self) -> String {
        if !self.problems.is_empty() {
            let problems = units::counted(self.problems.len(), "problem");
            return format!("The models.yaml has {problems}; nothing can be planned.");
        }
        let works = || self.models.iter().filter(|m| m.works);
        let sum = |bytes: fn(&PlannedModel) -> u64| works().fold(0u64, |sum, m| sum.saturating_add(bytes(m)));
        let make = works().flat_map(|m| &m.outputs).filter(|o| o.make).count();
        let models = works().count();
        if models == 0 && self.failed.is_empty() {
            return "Everything is up to date: nothing to do.".to_owned();
        }
        let mut parts = Vec::new();
        match (make, units::counted(models, "model")) {
            (0, _) if models == 0 => {}
            (0, of) => parts.push(format!("{of} to bring up to date")),
            (make, of) => parts.push(format!("{} of {of} to make", units::counted(make, "output"))),
        }
        if !self.failed.is_empty() {
            parts.push(format!("{} that cannot be made", units::counted(self.failed.len(), "model")));
        }
        let mut text = parts.join(", ");
        for (bytes, what) in [(sum(|m| m.download), "to download"), (sum(|m| m.publish), "to publish")] {
            if bytes > 0 {
                let _ = write!(text, ", {} {what}", units::decimal(bytes));
            }
        }
        text + "."
    }
}

fn repo(m: &PlannedModel) -> Option<String> {
    let repo = m.repo.as_ref()?;
    Some(m.url.as_ref().map_or_else(|| code(repo), |url| link(repo, url)))
}

fn wrong(p: &PlanProblem) -> String {
    format!("- ❌ {}: {}{}\n", code(&p.place), message(&p.text), advice(p.hint.as_deref()))
}

fn broken(f: &FailedModel) -> String {
    let (model, error, hint) = (code(&f.model), message(&f.error), advice(f.hint.as_deref()));
    format!("### ❌ {model}\n\nCannot be made: {error}{hint}\n\n")
}

/// What to do, after what is wrong.
fn advice(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" — {}", message(hint))).unwrap_or_default()
}

fn idle(m: &PlannedModel) -> String {
    let at = repo(m).map(|repo| format!(" in {repo}")).unwrap_or_default();
    format!("- {} is up to date{at}\n", code(&m.model))
}

fn section(m: &PlannedModel) -> String {
    let commit =
        m.commit.as_ref().map(|c| format!(" at {}", code(c.get(..12).unwrap_or(c)))).unwrap_or_default();
    let mut out =
        format!("### {}\n\n- From {}{commit}: {}\n", code(&m.model), code(&m.source), prose(&m.about));
    if let Some(repo) = repo(m) {
        let change = m.change.as_ref().map(|change| format!(": {}", prose(change))).unwrap_or_default();
        let _ = writeln!(out, "- To {repo}{change}");
    }
    for note in &m.notes {
        let _ = writeln!(out, "- {}", message(note));
    }
    out += "\n| method | size | bits | |\n|---|--:|--:|---|\n";
    for o in &m.outputs {
        let icon = if o.make { "🔨" } else { "➖" };
        let size = o.bytes.map(units::decimal).unwrap_or_default();
        let bits = o.bits_per_weight.map(|bits| format!("{bits:.2}")).unwrap_or_default();
        let _ = writeln!(out, "| {} | {size} | {bits} | {icon} {} |", code(&o.method), message(&o.decision));
    }
    let figures = [(m.download, "to download"), (m.disk, "of disk"), (m.publish, "to publish")];
    let figures: Vec<String> = figures
        .into_iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, what)| format!("{} {what}", units::decimal(bytes)))
        .collect();
    let _ = write!(out, "\n{}\n\n", figures.join(", "));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::markdown::tests::{HOSTILE, outside_code};

    fn model(name: &str) -> PlannedModel {
        let output = |method: &str, make| PlannedOutput {
            method: method.to_owned(),
            bytes: Some(1_500_000),
            bits_per_weight: Some(4.5),
            decision: if make { "make: new" } else { "published, up to date" }.to_owned(),
            make,
        };
        PlannedModel {
            model: name.to_owned(),
            source: "them/tiny".to_owned(),
            commit: Some("0123456789abcdef".to_owned()),
            about: "llama, 1.2M parameters".to_owned(),
            repo: Some(format!("me/{name}")),
            url: Some(format!("https://hub.example/me/{name}")),
            change: Some("to be created, public".to_owned()),
            notes: vec!["importance matrix `tiny-imatrix.gguf`: to be computed".to_owned()],
            outputs: vec![output("Q4_0", true), output("Q8_0", false)],
            download: 5_000_000,
            disk: 6_500_000,
            publish: 1_500_000,
            works: true,
        }
    }

    #[test]
    fn a_plan_reads_as_one() {
        let rest = PlannedModel { works: false, ..model("done") };
        let failed = FailedModel {
            model: "broken".to_owned(),
            error: "`them/broken` is not there".to_owned(),
            hint: Some("check the name".to_owned()),
        };
        let plan = PlanText { models: vec![rest, model("tiny")], failed: vec![failed], problems: Vec::new() };
        let text = plan.markdown(LONGEST_COMMENT);
        for part in [
            "## Quantization plan\n\n1 output of 1 model to make, 1 model that cannot be made, 5.00 MB to download, 1.50 MB to publish.\n\n",
            "### ❌ `broken`\n\nCannot be made: `them/broken` is not there — check the name\n\n",
            "### `tiny`\n\n- From `them/tiny` at `0123456789ab`: llama, 1.2M parameters\n- To [`me/tiny`](https://hub.example/me/tiny): to be created, public\n- importance matrix `tiny-imatrix.gguf`: to be computed\n\n| method",
            "| `Q4_0` | 1.50 MB | 4.50 | 🔨 make: new |\n",
            "\n5.00 MB to download, 6.50 MB of disk, 1.50 MB to publish\n",
            "- `done` is up to date in [`me/done`](https://hub.example/me/done)\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(plan.has_work());
        assert_eq!(
            PlanText::default().markdown(100),
            "## Quantization plan\n\nEverything is up to date: nothing to do.\n"
        );
    }

    #[test]
    fn what_is_wrong_with_the_file_is_listed() {
        let problem = PlanProblem {
            place: "models.yaml:3:5".to_owned(),
            text: "unknown key `sorce`".to_owned(),
            hint: Some("did you mean `source`?".to_owned()),
        };
        let text = PlanText { problems: vec![problem], ..PlanText::default() }.markdown(LONGEST_COMMENT);
        assert!(text.contains("has 1 problem; nothing"), "{text}");
        assert!(
            text.contains("- ❌ `models.yaml:3:5`: unknown key `sorce` — did you mean `source`?\n"),
            "{text}"
        );
    }

    #[test]
    fn hostile_names_add_nothing() {
        let shape = |text: &str| {
            let t = || text.to_owned();
            let output = PlannedOutput { method: t(), decision: t(), ..PlannedOutput::default() };
            let model = PlannedModel {
                model: t(),
                source: t(),
                commit: Some(t()),
                about: t(),
                repo: Some(t()),
                url: Some(t()),
                change: Some(t()),
                notes: vec![t()],
                outputs: vec![output],
                works: true,
                ..PlannedModel::default()
            };
            let plan = PlanText {
                models: vec![model.clone(), PlannedModel { works: false, ..model }],
                failed: vec![FailedModel { model: t(), error: t(), hint: Some(t()) }],
                problems: vec![PlanProblem { place: t(), text: t(), hint: Some(t()) }],
            };
            let markdown = plan.markdown(LONGEST_COMMENT);
            let rest = outside_code(&markdown);
            assert!(!rest.contains("<script") && !rest.contains("@octocat"));
            let cells = |l: &str| if l.starts_with('|') { l.matches('|').count() } else { 0 };
            markdown.lines().map(|l| (cells(l), l.chars().take(2).collect::<String>())).collect::<Vec<_>>()
        };
        let harmless = shape("x");
        for text in HOSTILE {
            assert_eq!(shape(text), harmless, "{text:?}");
        }
    }

    #[test]
    fn a_long_plan_is_cut_and_says_so() {
        let plan =
            PlanText { models: (0..400).map(|i| model(&format!("m{i}"))).collect(), ..PlanText::default() };
        let text = plan.markdown(LONGEST_COMMENT);
        assert!(text.len() <= LONGEST_COMMENT);
        let left = 400 - text.matches("### ").count();
        assert!(left > 0 && text.contains(&format!("Left out for its length: {left} models.")));
        assert!(plan.markdown(30).len() <= 30);
        // So it is with what cannot be made, and with what is wrong.
        let long = || "it is not there ".repeat(60);
        let failed = |i: usize| FailedModel { model: format!("m{i}"), error: long(), hint: Some(long()) };
        let text =
            PlanText { failed: (0..100).map(failed).collect(), ..PlanText::default() }.markdown(10_000);
        assert!(text.len() <= 10_000 && text.ends_with(" models.\n"), "{text}");
        let wrong = |i: usize| PlanProblem { place: format!("m:{i}"), text: long(), hint: None };
        let text =
            PlanText { problems: (0..100).map(wrong).collect(), ..PlanText::default() }.markdown(10_000);
        assert!(text.len() <= 10_000 && text.ends_with(" problems.\n"), "{text}");
    }
}
