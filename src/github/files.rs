//! The files by which a step speaks to its job: outputs and the summary.
//!
//! In: where they are (`GITHUB_OUTPUT`, `GITHUB_STEP_SUMMARY`) and what they get. Both are added to, never replaced. A value
//! of an output is quoted by a word that nobody can guess, so that no value sets another output.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::command::token;

/// Bytes of a step's summary, at most: GitHub refuses a longer one as a whole.
const LONGEST_SUMMARY: usize = 1 << 20;

/// Sets outputs of the step.
///
/// # Errors
/// The file cannot be written.
pub fn set_outputs(file: &Path, outputs: &[(&str, String)]) -> io::Result<()> {
    let text: String = outputs.iter().map(|(name, value)| assignment(name, value, token)).collect();
    add(file, text.as_bytes())
}

/// How many bytes are left for the summary of the step: it may have something already.
pub fn summary_left(file: &Path) -> usize {
    let there = std::fs::metadata(file).map_or(0, |found| found.len());
    LONGEST_SUMMARY.saturating_sub(usize::try_from(there).unwrap_or(usize::MAX)).saturating_sub(2)
}

/// Adds to the step's summary.
///
/// # Errors
/// The file cannot be written.
pub fn add_summary(file: &Path, markdown: &str) -> io::Result<()> {
    add(file, format!("{markdown}\n").as_bytes())
}

fn add(file: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(file)?.write_all(bytes)
}

/// `name<<word`, the value, `word`.
fn assignment(name: &str, value: &str, word: impl Fn() -> String) -> String {
    let mut end = word();
    while value.contains(&end) {
        end = word();
    }
    format!("{name}<<{end}\n{value}\n{end}\n")
}

/// Where a step speaks to its job, as far as the runner says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepFiles {
    /// `GITHUB_OUTPUT`.
    pub output: Option<PathBuf>,
    /// `GITHUB_STEP_SUMMARY`.
    pub summary: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_value_cannot_end_itself() {
        let words = Cell::new(["a", "b", "c"].iter());
        let next = || {
            let mut left = words.take();
            let word = (*left.next().unwrap()).to_owned();
            words.set(left);
            word
        };
        assert_eq!(assignment("x", "a\nevil=1\nb", next), "x<<c\na\nevil=1\nb\nc\n");
    }

    #[test]
    fn files_are_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        assert_eq!(summary_left(&file), LONGEST_SUMMARY - 2);
        add_summary(&file, "# a").unwrap();
        set_outputs(&file, &[("b", "1\n2".to_owned())]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("# a"));
        let word = lines.next().unwrap().strip_prefix("b<<").unwrap().to_owned();
        assert_eq!(lines.collect::<Vec<_>>(), ["1", "2", &word]);
        assert_eq!(summary_left(&file), LONGEST_SUMMARY - 2 - text.len());
    }
}
