//! What is wrong with a models.yaml, and where.
//!
//! [`Problems`] is the error of this module's readers: everything that is wrong, in the order of the document. It
//! renders the way compilers do, with the source line and a caret. What it quotes may come from a hostile file, so
//! nothing that could steer a terminal passes through.

use std::fmt::{self, Write as _};

/// Characters of a source line that are shown around the place.
const SHOWN: usize = 96;
/// Problems that are rendered in full; the rest is counted.
const MAX_RENDERED: usize = 50;

/// A place in a models.yaml. Lines and columns count from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// Characters that the caret covers, at least one.
    pub width: usize,
}

impl Place {
    /// The first character of the document.
    pub const START: Place = Place { line: 1, column: 1, width: 1 };
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong: a lowercase fragment.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(place: Place, text: impl Into<String>) -> Self {
        Problem { place, text: text.into(), hint: None }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the user named it.
    pub file: String,
    /// The problems, in the order of the document; never empty.
    pub list: Vec<Problem>,
    lines: Vec<String>,
}

impl Problems {
    /// Puts the problems in order and keeps the lines that they are about.
    pub(crate) fn new(file: &str, source: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.place.line, problem.place.column));
        list.dedup();
        let mut numbered = source.lines().enumerate().peekable();
        let lines = list
            .iter()
            .map(|problem| {
                while numbered.next_if(|(number, _)| number + 1 < problem.place.line).is_some() {}
                let line = numbered.peek().filter(|(number, _)| number + 1 == problem.place.line);
                line.map_or(String::new(), |(_, line)| (*line).to_owned())
            })
            .collect();
        Problems { file: plain(file), list, lines }
    }

    /// Every problem for a person: place, text, source line, caret and hint, with an empty line between two.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (problem, line) in self.list.iter().zip(&self.lines).take(MAX_RENDERED) {
            if !out.is_empty() {
                out.push('\n');
            }
            self.render_one(problem, line, &mut out);
        }
        if self.list.len() > MAX_RENDERED {
            let _ = writeln!(out, "\nand {} more", self.list.len() - MAX_RENDERED);
        }
        out
    }

    fn render_one(&self, problem: &Problem, line: &str, out: &mut String) {
        let Place { line: number, column, width } = problem.place;
        let _ = writeln!(out, "{}:{number}:{column}: {}", self.file, plain(&problem.text));
        let (shown, caret) = crop(line, column - 1);
        if !shown.trim().is_empty() {
            let margin = number.to_string().len();
            let width = width.min(shown.chars().count().saturating_sub(caret)).max(1);
            let _ = writeln!(out, "{:margin$} |", "");
            let _ = writeln!(out, "{number} | {}", shown.trim_end());
            let _ = writeln!(out, "{:margin$} | {:caret$}{}", "", "", "^".repeat(width));
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(out, "hint: {}", plain(hint));
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.len() {
            1 => write!(f, "one problem in `{}`", self.file),
            n => write!(f, "{n} problems in `{}`", self.file),
        }
    }
}

impl std::error::Error for Problems {}

/// The part of a line around a character, and where in it that character is.
fn crop(line: &str, at: usize) -> (String, usize) {
    let line = plain(line);
    let length = line.chars().count();
    if length <= SHOWN {
        return (line, at.min(length));
    }
    let start = at.min(length).saturating_sub(SHOWN / 2).min(length - SHOWN);
    let mut shown: String = line.chars().skip(start).take(SHOWN).collect();
    if start + SHOWN < length {
        shown.push('…');
    }
    let caret = at.min(length) - start;
    if start > 0 { (format!("…{shown}"), caret + 1) } else { (shown, caret) }
}

/// The text with everything replaced that could move a cursor, change a colour or reverse the reading direction,
/// character for character.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The name that was probably meant, for a hint. Case, `_`, `-` and `.` do not count.
pub(crate) fn closest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).take(64).collect()
    };
    let typed = plain(typed);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&plain(name), &typed), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 1 + name.len() / 5 && *distance < typed.chars().count())
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let source = "a: \u{1b}[31m\u{202e}x\ty\n";
        let problem = Problem::new(Place { line: 1, column: 4, width: 99 }, "bad \u{7} text").hint("\u{1b}c");
        let text = Problems::new("x\u{1b}.yaml", source, vec![problem]).render();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    }

    #[test]
    fn long_lines_are_cropped_around_the_place() {
        let source = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let problem = Problem::new(Place { line: 1, column: 501, width: 4 }, "bad");
        let text = Problems::new("m.yaml", &source, vec![problem]).render();
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[3].chars().position(|c| c == '^').unwrap();
        let under: String = lines[2].chars().skip(caret).take(4).collect();
        assert_eq!(under, "HERE");
        assert!(lines.iter().all(|line| line.chars().count() < 110), "{text}");
    }

    #[test]
    fn close_names_are_found_and_distant_ones_are_not() {
        let names = ["Q4_K_M", "Q4_K_S", "Q8_0"];
        assert_eq!(closest("Q4KM", names), Some("Q4_K_M"));
        assert_eq!(closest("q8-0", names), Some("Q8_0"));
        assert_eq!(closest("banana", names), None);
        assert_eq!(closest("", names), None);
    }
}
