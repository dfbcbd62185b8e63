//! How long a job's steps took, and what is said and recorded of a pass when it is over.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::files::Written;
use super::job::Made;
use super::prepared::Planned;
use crate::base::{memory, units};
use crate::card::metadata::{Machine, Run, Step};
use crate::event::{Code, Event, Observer};
use crate::quantize::pass::PassReport;
use crate::quantize::simd;

/// When steps began and how long they took.
pub(super) struct Clock {
    started: Timestamp,
    start: Instant,
    steps: Vec<Step>,
}

/// When some work began, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    started: Timestamp,
    start: Instant,
    took: Duration,
}

impl Span {
    pub(super) fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (started, start) = (Timestamp::now(), Instant::now());
        let done = work();
        (done, Span { started, start, took: start.elapsed() })
    }
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { started: Timestamp::now(), start: Instant::now(), steps: Vec::new() }
    }

    pub(super) fn time<T>(&mut self, what: impl Into<String>, work: impl FnOnce() -> T) -> T {
        let (done, span) = Span::of(work);
        self.add(what, span);
        done
    }

    /// Adds a step whose time was taken elsewhere. The run began with it, where it was over before this clock started.
    pub(super) fn add(&mut self, what: impl Into<String>, span: Span) {
        if span.start < self.start {
            (self.started, self.start) = (span.started, span.start);
        }
        let seconds = Some(round(span.took.as_secs_f64()));
        self.steps.push(Step { started: utc(span.started), what: what.into(), seconds });
        self.steps.sort_by(|a, b| a.started.cmp(&b.started));
    }

    /// Seconds of the last step.
    pub(super) fn last(&self) -> f64 {
        self.steps.last().and_then(|s| s.seconds).unwrap_or_default()
    }

    /// Ends, and says how the pass went, which took so many seconds.
    pub(super) fn passed(
        self,
        report: PassReport,
        seconds: f64,
        outputs: usize,
        threads: usize,
        name: &str,
        observer: &dyn Observer,
    ) -> Passed {
        let throughput = units::throughput(report.bytes_read, Duration::from_secs_f64(seconds));
        let text = format!(
            "{} of weights read once, {} in {seconds:.1} s{}",
            units::decimal(report.bytes_read),
            units::counted(outputs, "output"),
            throughput.map(|t| format!(", {t}")).unwrap_or_default()
        );
        let peak = memory::peak();
        observer.event(
            Event::new(Code::PassFinished, text)
                .about(name)
                .with("seconds", seconds)
                .with("bytes_read", report.bytes_read)
                .with("peak_memory", peak),
        );
        let run = Run {
            started: utc(self.started),
            finished: utc(Timestamp::now()),
            seconds: round(self.start.elapsed().as_secs_f64()),
            machine: Machine {
                os: std::env::consts::OS.to_owned(),
                arch: std::env::consts::ARCH.to_owned(),
                simd: simd::level().to_string(),
                threads: threads as u32,
                peak_memory: peak,
            },
            steps: self.steps,
        };
        Passed { report, run }
    }
}

/// A pass that is over, and the run that it was part of.
pub(super) struct Passed {
    pub(super) report: PassReport,
    pub(super) run: Run,
}

impl Passed {
    /// Says what became of an output.
    pub(super) fn made(&self, output: &Planned, file: Written, name: &str, observer: &dyn Observer) -> Made {
        let report = Some(&self.report).filter(|_| output.tower.is_none());
        let snr = report.and_then(|r| r.file_loss(&output.layout.header)).and_then(|l| l.snr_db());
        let text = format!(
            "`{}`{}: {}, {:.2} bits a weight{}",
            file.first().path.display(),
            if file.files.len() > 1 { format!(" and {} more", file.files.len() - 1) } else { String::new() },
            units::decimal(file.bytes()),
            output.layout.bits_per_weight(),
            snr.map(|snr| format!(", SNR {snr:.1} dB")).unwrap_or_default()
        );
        observer.event(
            Event::new(Code::MethodWritten, text)
                .about(name)
                .with("method", output.method.name)
                .with("path", file.first().path.display().to_string())
                .with("files", file.files.len())
                .with("bytes", file.bytes())
                .with("sha256", file.sha256())
                .with("snr_db", snr),
        );
        Made {
            method: output.method.name,
            written: file,
            bits_per_weight: output.layout.bits_per_weight(),
            snr_db: snr,
        }
    }
}

/// Milliseconds are as exact as such times are.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn utc(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
