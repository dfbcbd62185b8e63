//! Events to what people and programs read: bars and coloured lines on a terminal, plain lines in CI, JSON.
//!
//! In go events and progress from any thread; out go lines. People's lines belong on stderr, JSON on stdout: whoever
//! makes a reporter passes the stream. Each reporter takes the secrets out of what it shows, and nothing in an event
//! can steer a terminal or speak to a CI runner. A stream that is closed is no error: the work goes on.

mod actions;
mod codes;
mod json;
mod lines;
mod pace;
mod terminal;

use std::borrow::Cow;
use std::io::Write;

use jiff::Timestamp;

use crate::base::redact::Redactor;
use crate::event::{Level, Observer};
use crate::github::command::harmless;

pub use actions::Actions;
pub use codes::markdown as log_codes;
pub use json::Json;
pub use lines::Lines;
pub use terminal::Terminal;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bars and lines, for a terminal.
    Terminal {
        /// Whether levels have colours.
        colour: bool,
    },
    /// Lines with the time, for logs.
    Lines,
    /// An object a line, for programs.
    Json,
}

/// The reporter of a format: people's formats on stderr, JSON on stdout.
pub fn reporter(format: Format, least: Level, redactor: Redactor) -> Box<dyn Observer> {
    match format {
        Format::Terminal { colour } => Box::new(Terminal::new(colour, least, redactor)),
        Format::Lines => Box::new(Lines::new(std::io::stderr(), Timestamp::now, least, redactor)),
        Format::Json => Box::new(Json::new(std::io::stdout(), Timestamp::now, redactor)),
    }
}

/// The level's name, in lower case.
const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Detail => "detail",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// The reporter within a job of GitHub Actions.
pub fn actions(as_json: bool, least: Level, redactor: Redactor) -> Box<dyn Observer> {
    let format = if as_json { Format::Json } else { Format::Lines };
    let lines = reporter(format, least, redactor.clone());
    Box::new(Actions::new(std::io::stderr(), lines, as_json, redactor))
}

/// Text that is safe to show: without secrets, and without characters that move a cursor or change colours. Line
/// breaks stay, with a bar at the beginning of each further line: a CI runner takes commands from the first word of a
/// line, however far it is indented, and in an older form from anywhere in it.
fn shown(text: &str, redactor: &Redactor) -> String {
    let text = redactor.redact(text);
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            out.push_str("\n  | ");
        }
        out.extend(line.chars().map(|c| if c == '\t' { ' ' } else { c }).map(|c| match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        }));
    }
    match harmless(&out) {
        Cow::Borrowed(_) => out,
        Cow::Owned(out) => out,
    }
}

/// Writes a line at once, so that lines of several threads and processes do not mix.
fn write_line(out: &mut impl Write, mut line: String) {
    line.push('\n');
    // A reader that went away is no reason to stop the work.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
