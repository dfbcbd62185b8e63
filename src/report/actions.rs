//! Events within GitHub Actions: annotations for what a person must see, groups for the rest, masks for secrets.
//!
//! In: events, and another reporter for their lines. Out: what is an error, or a warning that is no mere retry, as an
//! annotation in place of its line: at the entry of the models.yaml where the event names it (fields `file`, `line`,
//! `column`). A job's lines stand in a group of their own, which ends before an error, so that it is not folded away.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::{shown, write_line};
use crate::base::redact::Redactor;
use crate::base::token::Token;
use crate::event::{Code, Event, Level, Observer, Progress};
use crate::github::command::{self, Severity, Spot};

/// Warnings that the work gets over by itself.
const PASSING: &[Code] = &[
    Code::DownloadRetried,
    Code::UploadRetried,
    Code::StreamRestarted,
    Code::CommitDoubted,
    Code::Interrupted,
];

/// Shows events to the runner and to those who read its log.
pub struct Actions<W: Write> {
    lines: Box<dyn Observer>,
    /// Whether `lines` get what is an annotation, too: they are no lines of the same log.
    both: bool,
    state: Mutex<State<W>>,
    redactor: Redactor,
}

struct State<W: Write> {
    out: W,
    /// The job whose group is open.
    group: Option<String>,
}

impl<W: Write> Actions<W> {
    /// Writes commands to `out`. `both`: what is an annotation goes to `lines` as well.
    pub fn new(out: W, lines: Box<dyn Observer>, both: bool, redactor: Redactor) -> Self {
        let mut state = State { out, group: None };
        for form in redactor.forms() {
            write_line(&mut state.out, command::mask(form));
        }
        Actions { lines, both, state: Mutex::new(state), redactor }
    }
}

impl<W: Write> State<W> {
    /// Opens the group of a job, unless it is open.
    fn open(&mut self, job: &str, title: &str) {
        if self.group.as_deref() != Some(job) {
            self.close();
            write_line(&mut self.out, command::group(title));
            self.group = Some(job.to_owned());
        }
    }

    fn close(&mut self) {
        if self.group.take().is_some() {
            write_line(&mut self.out, command::END_GROUP.to_owned());
        }
    }
}

impl<W: Write> Drop for Actions<W> {
    fn drop(&mut self) {
        // What is said after the last event is not of the last job.
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).close();
    }
}

impl<W: Write + Send> Observer for Actions<W> {
    fn event(&self, event: Event) {
        let level = event.code.level();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match (event.code, &event.subject) {
                (Code::CheckpointOpened, Some(job)) => state.open(job, &shown(job, &self.redactor)),
                (Code::RunFinished | Code::Interrupted, _) => state.close(),
                _ => {}
            }
            let severity = match level {
                Level::Error => Some(Severity::Error),
                Level::Warning if !PASSING.contains(&event.code) => Some(Severity::Warning),
                _ => None,
            };
            if let Some(severity) = severity {
                if severity == Severity::Error {
                    state.close();
                }
                write_line(&mut state.out, annotation(severity, &event, &self.redactor));
                if !self.both {
                    return;
                }
            }
        }
        self.lines.event(event);
    }

    fn progress(&self, progress: Progress) {
        self.lines.progress(progress);
    }

    fn secret(&self, secret: &Token) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for form in Redactor::for_token(Some(secret)).forms() {
            write_line(&mut state.out, command::mask(form));
        }
    }
}

fn annotation(severity: Severity, event: &Event, redactor: &Redactor) -> String {
    let field = |wanted: &str| event.fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let number = |name: &str| field(name).and_then(serde_json::Value::as_u64).map(|n| n as usize);
    let file = field("file").and_then(serde_json::Value::as_str);
    let spot = file.zip(number("line")).map(|(file, line)| Spot {
        file: shown(file, redactor),
        line,
        column: number("column").unwrap_or(1),
    });
    let code = event.code.text();
    let title = event.subject.as_ref().map_or(code.to_owned(), |subject| format!("{code} {subject}"));
    let hint = field("hint").and_then(|hint| hint.as_str()).map(|hint| format!("\nhint: {hint}"));
    let text = format!("{}{}", event.text, hint.unwrap_or_default());
    // Lines of the message stay lines: in an annotation they cannot begin anything.
    let text: Vec<String> = text.lines().map(|line| shown(line, redactor)).collect();
    command::annotation(severity, spot.as_ref(), &shown(&title, redactor), &text.join("\n"))
}
