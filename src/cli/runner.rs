//! What the runner of GitHub Actions makes of what is printed: results that hold no commands, failures as annotations.
//!
//! Whether there is a runner is found out once, when the environment is read; what prints before that is help.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::failure::{Failure, Kind};
use super::settings::Actions;
use crate::base::redact::Redactor;
use crate::config::{Place, Problems};
use crate::github::command::{self, Severity, Spot};

/// The job of Actions that this runs in.
static RUNNER: OnceLock<Runner> = OnceLock::new();

#[derive(Debug)]
struct Runner {
    /// Where the repository is checked out.
    workspace: Option<PathBuf>,
}

/// Says that a runner reads what is printed.
pub(super) fn set(actions: &Actions) {
    // Set once a process; a second time it says the same.
    let _ = RUNNER.set(Runner { workspace: actions.workspace.clone() });
}

/// A result as the runner may see it: none of its lines is a command.
pub(super) fn result(text: &str) -> Cow<'_, str> {
    if RUNNER.get().is_none() || !(text.contains("::") || text.contains("##[")) {
        return Cow::Borrowed(text);
    }
    if text.starts_with('{') && text.trim_end().lines().count() == 1 {
        return command::harmless_json(text);
    }
    Cow::Owned(command::quoted(text, &command::token()))
}

/// The lines that show a failure as annotations, where there is a runner.
pub(super) fn annotations(failure: &Failure, redactor: &Redactor) -> Option<String> {
    RUNNER.get()?;
    let line = |spot: Option<&Spot>, title: &str, text: &str, hint: Option<&str>| {
        let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let text = redactor.redact(text).into_owned() + &hint;
        command::annotation(Severity::Error, spot, title, &text) + "\n"
    };
    if let Some(problems) = failure.error.downcast_ref::<Problems>() {
        let all = problems.list.iter().map(|p| {
            let spot = spot(Path::new(&problems.file), p.place);
            line(Some(&spot), "models.yaml", &p.text, p.hint.as_deref())
        });
        return Some(all.collect::<String>() + &result(&format!("{}\n", redactor.redact(&failure.render()))));
    }
    if matches!(failure.kind, Kind::SomeFailed | Kind::AllFailed | Kind::Interrupted) {
        // Each of them was said.
        return None;
    }
    Some(line(None, env!("CARGO_PKG_NAME"), &failure.text(), failure.hint.as_deref()))
}

/// A place of a models.yaml as GitHub finds it: relative to the repository.
pub(super) fn spot(file: &Path, place: Place) -> Spot {
    let workspace = RUNNER.get().and_then(|runner| runner.workspace.as_deref());
    Spot { file: relative(file, workspace), line: place.line, column: place.column }
}

fn relative(file: &Path, workspace: Option<&Path>) -> String {
    let whole = std::path::absolute(file).ok();
    let within = workspace.zip(whole.as_deref()).and_then(|(at, file)| file.strip_prefix(at).ok());
    within.unwrap_or(file).display().to_string().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_relative_to_the_repository() {
        let here = std::path::absolute("x").unwrap();
        let above = here.parent().and_then(Path::parent).unwrap();
        let folder = here.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        assert_eq!(relative(Path::new("a/m.yaml"), Some(above)), format!("{folder}/a/m.yaml"));
        assert_eq!(relative(Path::new("a/m.yaml"), Some(Path::new("/elsewhere"))), "a/m.yaml");
        assert_eq!(relative(Path::new("a/m.yaml"), None), "a/m.yaml");
    }
}
