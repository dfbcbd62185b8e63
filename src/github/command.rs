//! What is said to the runner of GitHub Actions within the log: annotations, masks, groups.
//!
//! In: texts that others may have chosen. Out: lines that do what this program means and nothing else. The runner takes
//! `::name key=value::data` at the beginning of a line, and the older `##[name]data` anywhere in it
//! (actions/runner, `ActionCommand.cs`); whatever is no command of ours must hold neither.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something should be known.
    Warning,
}

/// Where an annotation points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file, relative to the repository's root, with `/`.
    pub file: String,
    /// The line, from one.
    pub line: usize,
    /// The column, from one.
    pub column: usize,
}

/// A line that shows a text at a place of a file.
pub fn annotation(severity: Severity, spot: Option<&Spot>, title: &str, text: &str) -> String {
    let name = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = spot.map_or_else(String::new, |spot| {
        format!("file={},line={},col={},", property(&spot.file), spot.line, spot.column)
    });
    format!("::{name} {place}title={}::{}", property(title), data(text))
}

/// A line after which the runner shows `***` in place of a secret.
pub fn mask(secret: &str) -> String {
    format!("::add-mask::{}", data(secret))
}

/// A line that opens a group of lines.
pub fn group(title: &str) -> String {
    format!("::group::{}", data(title))
}

/// The line that closes it.
pub const END_GROUP: &str = "::endgroup::";

/// Lines of others in which the runner is to look for no commands. `token` is a new one, [`token`].
pub fn quoted(lines: &str, token: &str) -> String {
    let end = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
    format!("::stop-commands::{token}\n{lines}{end}::{token}::\n")
}

/// A word that nobody can guess, for what ends a quotation.
pub fn token() -> String {
    let word = || RandomState::new().hash_one(std::process::id());
    format!("jamph{:016x}{:016x}", word(), word())
}

/// A text without the older form of a command, which the runner finds anywhere in a line.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains("##[") { Cow::Owned(text.replace("##[", "##\u{fffd}[")) } else { Cow::Borrowed(text) }
}

/// JSON without the older form of a command; it means the same.
pub fn harmless_json(json: &str) -> Cow<'_, str> {
    if json.contains("##[") { Cow::Owned(json.replace("##[", "#\\u0023[")) } else { Cow::Borrowed(json) }
}

fn data(text: &str) -> String {
    harmless(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_has_its_place() {
        let spot = Spot { file: "a,b/models.yaml".to_owned(), line: 7, column: 3 };
        assert_eq!(
            annotation(Severity::Error, Some(&spot), "tiny: PLN-004", "100 % of it\nfailed"),
            "::error file=a%2Cb/models.yaml,line=7,col=3,title=tiny%3A PLN-004::100 %25 of it%0Afailed"
        );
        assert_eq!(annotation(Severity::Warning, None, "t", "x"), "::warning title=t::x");
    }

    #[test]
    fn no_text_ends_its_line_or_begins_another_command() {
        for text in crate::github::markdown::tests::HOSTILE {
            for line in [annotation(Severity::Error, None, text, text), mask(text), group(text)] {
                assert!(!line.contains(['\n', '\r']) && !line.contains("##["), "{line}");
                // A property holds nothing that ends it.
                let title = line.strip_prefix("::error title=").map(|l| l.split_once("::").unwrap().0);
                assert!(!title.unwrap_or_default().contains([',', ':']), "{line}");
            }
        }
    }

    #[test]
    fn json_means_the_same() {
        let json = serde_json::json!({ "##[x": "##[add-mask]y" }).to_string();
        let safe = harmless_json(&json);
        assert!(!safe.contains("##["));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap()["##[x"], "##[add-mask]y");
    }

    #[test]
    fn a_quotation_ends_with_its_own_word() {
        let (one, other) = (token(), token());
        assert!(one != other && one.len() == 37);
        assert_eq!(quoted("::error::x", "t"), "::stop-commands::t\n::error::x\n::t::\n");
    }
}
