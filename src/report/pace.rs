//! Which reports of progress are worth a line: at every tenth of the work, or every ten seconds.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::event::Progress;

/// Work that is done sooner says nothing of its progress.
const QUIET: SignedDuration = SignedDuration::from_secs(1);
/// Longest silence while progress is reported.
const SILENCE: SignedDuration = SignedDuration::from_secs(10);

/// What is known of each piece of work.
#[derive(Debug, Default)]
pub(super) struct Pace {
    tasks: HashMap<String, Task>,
}

#[derive(Debug)]
struct Task {
    started: Timestamp,
    spoke: Timestamp,
    tenth: u64,
    /// Bytes that were done when it was first reported: a resumed download did not fetch them.
    first: u64,
}

/// What a line of progress says beyond the report itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    /// How far it is, in percent.
    pub percent: u64,
    /// Since the first report.
    pub elapsed: SignedDuration,
    /// Bytes or things since then.
    pub moved: u64,
}

impl Pace {
    /// Whether a report is worth a line.
    pub(super) fn pulse(&mut self, progress: &Progress, now: Timestamp) -> Option<Pulse> {
        let Progress { task: name, done, total, unit: _ } = progress;
        let percent =
            (u128::from(*done) * 100).checked_div(u128::from(*total)).unwrap_or(100).min(100) as u64;
        let task = self.tasks.entry(name.clone()).or_insert(Task {
            started: now,
            spoke: now,
            tenth: percent / 10,
            first: *done,
        });
        let elapsed = now.duration_since(task.started);
        let pulse = Pulse { percent, elapsed, moved: done.saturating_sub(task.first) };
        let finished = done >= total;
        let next_tenth = percent / 10 > task.tenth;
        let silent = now.duration_since(task.spoke) >= SILENCE;
        if finished {
            self.tasks.remove(name);
            return (elapsed >= QUIET).then_some(pulse);
        }
        if elapsed < QUIET || !(next_tenth || silent) {
            return None;
        }
        (task.tenth, task.spoke) = (percent / 10, now);
        Some(pulse)
    }
}
