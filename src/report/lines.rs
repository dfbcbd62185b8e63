//! Plain lines: `12:00:01 QTZ-001 text`. The time is UTC.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::pace::{Pace, Pulse};
use super::{shown, write_line};
use crate::base::redact::Redactor;
use crate::base::units::{decimal, throughput};
use crate::event::{Code, Event, Level, Observer, Progress, Unit};

/// Writes a line an event.
pub struct Lines<W> {
    state: Mutex<(W, Pace)>,
    clock: fn() -> Timestamp,
    least: Level,
    redactor: Redactor,
}

impl<W: Write> Lines<W> {
    /// Writes to `out` what has at least the level `least`.
    pub fn new(out: W, clock: fn() -> Timestamp, least: Level, redactor: Redactor) -> Self {
        Lines { state: Mutex::new((out, Pace::default())), clock, least, redactor }
    }
}

impl<W: Write + Send> Observer for Lines<W> {
    fn event(&self, event: Event) {
        let level = event.code.level();
        if level < self.least {
            return;
        }
        let time = (self.clock)().strftime("%H:%M:%S").to_string();
        let line = format!("{time} {}", sentence(&event, &self.redactor));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write_line(&mut state.0, line);
    }

    fn progress(&self, progress: Progress) {
        if Code::Progressed.level() < self.least {
            return;
        }
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pulse) = state.1.pulse(&progress, now) {
            let text = shown(&progress_text(&progress, &pulse), &self.redactor);
            write_line(
                &mut state.0,
                format!("{} {} {text}", now.strftime("%H:%M:%S"), Code::Progressed.text()),
            );
        }
    }
}

/// An event for people, without its time.
pub(super) fn sentence(event: &Event, redactor: &Redactor) -> String {
    let kind = match event.code.level() {
        Level::Detail | Level::Info => "",
        Level::Warning => "warning: ",
        Level::Error => "error: ",
    };
    let subject = match &event.subject {
        Some(subject) => format!("{subject}: "),
        None => String::new(),
    };
    let hint = event.fields.iter().find(|(name, _)| *name == "hint").and_then(|(_, value)| value.as_str());
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{} {kind}{}", event.code.text(), shown(&format!("{subject}{}{hint}", event.text), redactor))
}

fn progress_text(progress: &Progress, pulse: &Pulse) -> String {
    let elapsed = Duration::try_from(pulse.elapsed).unwrap_or_default();
    let (task, percent) = (&progress.task, pulse.percent);
    match progress.unit {
        Unit::Bytes => {
            let speed = throughput(pulse.moved, elapsed).map_or(String::new(), |speed| format!(", {speed}"));
            let (done, total) = (decimal(progress.done), decimal(progress.total));
            format!("{task}: {percent} % ({done} of {total}{speed})")
        }
        Unit::Things(name) => format!("{task}: {percent} % ({name} {} of {})", progress.done, progress.total),
    }
}
