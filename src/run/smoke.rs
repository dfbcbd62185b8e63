//! The smoke test: llama.cpp loads each output and generates a few tokens, before anything is published.

use std::path::{Path, PathBuf};

use super::JobError;
use super::prepared::Setting;
use crate::base::cancel::Cancel;
use crate::event::{Code, Event, Observer};
use crate::llama::completion;

/// Tries out files, each by its method's name; of a split one the first. Gives what they were tried with.
///
/// # Errors
/// [`JobError::Check`] names the first that does not load or says nothing; [`JobError::Tool`] where there is no
/// llama.cpp to try it with.
pub(super) fn check(
    outputs: &[(&'static str, PathBuf)],
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<String, JobError> {
    let toolchain = setting.llama.obtain(cancel, observer)?;
    let tool = toolchain.reference().to_string();
    for (method, path) in outputs {
        match completion::complete(toolchain, path, setting.threads, cancel) {
            Ok(said) => observer.event(checked(method, path, &tool, &said)),
            Err(error) if error.is_cancelled() => return Err(JobError::Stopped),
            Err(error) if error.is_about_toolchain() => return Err(error.into()),
            Err(error) => {
                let (path, source) = (path.clone(), Box::new(error));
                return Err(JobError::Check { method, path, source });
            }
        }
    }
    Ok(tool)
}

fn checked(method: &str, path: &Path, tool: &str, said: &str) -> Event {
    let short: String = said.chars().filter(|c| !c.is_control()).take(60).collect();
    Event::new(Code::Checked, format!("{method}: {tool} loads it and says “{short}”"))
        .with("method", method)
        .with("path", path.display().to_string())
        .with("said", said)
}
