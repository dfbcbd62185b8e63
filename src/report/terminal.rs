//! A bar for each piece of work under way, and lines above the bars.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lines::sentence;
use super::shown;
use crate::base::redact::Redactor;
use crate::event::{Code, Event, Level, Observer, Progress, Unit};

const BAR: &str = "{msg} [{bar:24}] {percent:>3} % {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
const STEPS: &str = "{msg} [{bar:24}] {percent:>3} % {prefix} {pos} of {len}, {eta} left";

/// Shows events on the terminal that stderr is.
pub struct Terminal {
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
    bytes: ProgressStyle,
    steps: ProgressStyle,
    colour: bool,
    least: Level,
    redactor: Redactor,
}

impl Terminal {
    /// Shows what has at least the level `least`.
    pub fn new(colour: bool, least: Level, redactor: Redactor) -> Self {
        Terminal::on(ProgressDrawTarget::stderr_with_hz(8), colour, least, redactor)
    }

    pub(super) fn on(target: ProgressDrawTarget, colour: bool, least: Level, redactor: Redactor) -> Self {
        let style = |template| {
            let style = ProgressStyle::with_template(template);
            style.expect("the template is fixed, and a test makes it").progress_chars("=> ")
        };
        Terminal {
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
            bytes: style(BAR),
            steps: style(STEPS),
            colour,
            least,
            redactor,
        }
    }

    pub(super) fn line(&self, event: &Event) -> String {
        let line = sentence(event, &self.redactor);
        // Sequences of ISO 6429: red, yellow, faint.
        let colour = match event.code.level() {
            _ if !self.colour => return line,
            Level::Error => "31",
            Level::Warning => "33",
            Level::Info => return line,
            Level::Detail => "2",
        };
        format!("\u{1b}[{colour}m{line}\u{1b}[0m")
    }
}

impl Observer for Terminal {
    fn event(&self, event: Event) {
        if event.code.level() >= self.least {
            // A terminal that went away is no reason to stop the work.
            let _ = self.all.println(self.line(&event));
        }
    }

    fn progress(&self, progress: Progress) {
        if Code::Progressed.level() < self.least {
            return;
        }
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.done >= progress.total {
            if let Some(bar) = bars.remove(&progress.task) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            return;
        }
        let bar = bars.entry(progress.task).or_insert_with_key(|task| {
            let (style, unit) = match progress.unit {
                Unit::Bytes => (&self.bytes, ""),
                Unit::Things(name) => (&self.steps, name),
            };
            let bar = self.all.add(ProgressBar::new(progress.total).with_style(style.clone()));
            bar.set_prefix(unit);
            bar.set_message(shown(task, &self.redactor));
            // What is there already was not done now; it must not count for the speed.
            bar.with_position(progress.done)
        });
        bar.set_position(progress.done);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Work that failed leaves its bar; the lines say what happened.
        let _ = self.all.clear();
    }
}
