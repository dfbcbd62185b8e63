//! What a command's error means to the person: an exit code, one line, and what to do next.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::runner;
use crate::base::redact::Redactor;
use crate::config::{Problem, Problems};

/// Exit codes; docs/exit-codes.md is generated from this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bug.
    Internal,
    /// The command line is wrong.
    Usage,
    /// models.yaml, a model or another input is wrong.
    Input,
    /// Credentials are missing or refused.
    Credentials,
    /// llama.cpp is needed and cannot be had.
    Toolchain,
    /// Outputs are not as good as they must be.
    Quality,
    /// Some jobs failed, others did not.
    SomeFailed,
    /// Every job failed.
    AllFailed,
    /// The user stopped it.
    Interrupted,
}

impl Kind {
    /// Every kind, by code.
    const ALL: &'static [Kind] = &[
        Kind::Internal,
        Kind::Usage,
        Kind::Input,
        Kind::Credentials,
        Kind::Toolchain,
        Kind::Quality,
        Kind::SomeFailed,
        Kind::AllFailed,
        Kind::Interrupted,
    ];

    /// The process's exit code.
    pub(super) const fn code(self) -> u8 {
        match self {
            Kind::Internal => 1,
            Kind::Usage => 2,
            Kind::Input => 3,
            Kind::Credentials => 4,
            Kind::Toolchain => 5,
            Kind::Quality => 6,
            Kind::SomeFailed => 10,
            Kind::AllFailed => 11,
            Kind::Interrupted => 130,
        }
    }

    /// What the code says.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Kind::Internal => "an internal error, or the machine failed (disk, memory, network)",
            Kind::Usage => "the command line is wrong",
            Kind::Input => "models.yaml, a model or another input is wrong",
            Kind::Credentials => "credentials are missing or refused",
            Kind::Toolchain => "llama.cpp is needed and cannot be had",
            Kind::Quality => {
                "outputs are not as good as `evaluate.require` or `--require` asks for; they are not published"
            }
            Kind::SomeFailed => "some jobs failed, others are done",
            Kind::AllFailed => "all jobs failed",
            Kind::Interrupted => "stopped by the user",
        }
    }
}

/// docs/exit-codes.md.
pub fn exit_codes() -> String {
    let mut text = String::from(
        "# Exit codes\n\nGenerated from the source; `JAMPH_UPDATE=1 cargo test` rewrites it.\n\n| code | meaning |\n|---|---|\n| 0 | done, or everything up to date |\n",
    );
    for kind in Kind::ALL {
        let _ = writeln!(text, "| {} | {} |", kind.code(), kind.meaning());
    }
    text
}

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What kind it is.
    pub(super) kind: Kind,
    /// The chain of causes.
    pub(super) error: anyhow::Error,
    /// What to do next.
    pub(super) hint: Option<String>,
    /// Whether an event or the result said it already.
    told: bool,
}

impl Failure {
    /// A failure without a hint.
    pub(super) fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Failure { kind, error: error.into(), hint: None, told: false }
    }

    /// A wrong command line.
    pub(super) fn usage(text: impl std::fmt::Display) -> Self {
        Failure::new(Kind::Usage, anyhow::anyhow!("{text}"))
    }

    /// Adds what to do next.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do next, where there is something.
    #[must_use]
    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Leaves nothing to be said at the end: an event or the result said it.
    #[must_use]
    pub(super) fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// The process's exit code.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }

    /// Says why the command failed: to people on stderr, to programs as the last line of stdout.
    pub(super) fn tell(&self, as_json: bool, redactor: &Redactor) {
        if self.told {
            return;
        }
        let annotations = runner::annotations(self, redactor);
        if let Some(annotations) = &annotations {
            let _ = write!(io::stderr(), "{annotations}");
        }
        // A stream that is closed hears nothing; the exit code stays.
        let _ = if as_json {
            writeln!(io::stdout(), "{}", runner::result(&redactor.redact(&self.to_json().to_string())))
        } else if annotations.is_none() {
            writeln!(io::stderr(), "{}", runner::result(&redactor.redact(&self.render())))
        } else {
            Ok(())
        };
    }

    /// The chain of causes in one line.
    pub(super) fn text(&self) -> String {
        format!("{:#}", self.error)
    }

    fn to_json(&self) -> serde_json::Value {
        let mut object = json!({ "error": self.text(), "hint": self.hint, "exit_code": self.kind.code() });
        if let Some(problems) = self.error.downcast_ref::<Problems>() {
            let problem = |p: &Problem| {
                json!({ "file": problems.file, "line": p.place.line, "column": p.place.column,
                        "text": p.text, "hint": p.hint })
            };
            object["problems"] = problems.list.iter().map(problem).collect();
        }
        object
    }

    /// `error: …` and `hint: …`, as a person reads it; a wrong models.yaml with all its places.
    pub(super) fn render(&self) -> String {
        if let Some(problems) = self.error.downcast_ref::<Problems>() {
            return format!("{}\nerror: {problems}", problems.render());
        }
        let mut text = format!("error: {}", self.text());
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }
}

/// An error of the library, with its kind and its hint.
pub(super) trait Explain {
    /// What kind of failure it is.
    fn kind(&self) -> Kind;
    /// What to do next, where there is something.
    fn hint(&self) -> Option<String>;
}

impl<E: Explain + std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let (kind, hint) = (error.kind(), error.hint());
        Failure::new(kind, error).maybe_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointError;

    #[test]
    fn a_failure_reads_as_a_line_and_a_hint() {
        let failure = Failure::from(CheckpointError::NoWeights("x".into()));
        assert_eq!(failure.kind, Kind::Input);
        assert!(
            failure.render().starts_with("error: `x` has no safetensors weights\nhint: the folder needs")
        );
    }

    #[test]
    fn exit_codes_are_unique() {
        let mut codes: Vec<u8> = Kind::ALL.iter().map(|k| k.code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
    }
}
