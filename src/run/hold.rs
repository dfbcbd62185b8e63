//! One run at a time on a model's outputs.

use std::io;
use std::path::absolute;

use super::JobError;
use super::prepared::Setting;
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::base::lock::FileLock;
use crate::config::Model;
use crate::event::{Code, Event, Observer};

/// Keeps other runs off the outputs of a model until the lock is dropped. Says whether it had to wait for one: what was
/// prepared before may have been done by then.
///
/// The lock is in the cache, so that nothing of it is among the outputs. Where the cache cannot be written there is none:
/// each file is still whole or not there.
///
/// # Errors
/// [`JobError::Stopped`] while waiting.
pub fn hold(
    model: &Model,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Option<FileLock>, bool), JobError> {
    let output = absolute(&setting.output).unwrap_or_else(|_| setting.output.clone());
    let outputs = format!("{}\0{}{}", output.display(), model.prefix, model.name);
    let name = &hash::sha256(outputs.as_bytes())[..32];
    let path = setting.hub.cache.join("locks").join(format!("{name}.lock"));
    match FileLock::try_acquire(&path) {
        Ok(Some(lock)) => return Ok((Some(lock), false)),
        Ok(None) => {}
        Err(error) => {
            let text = format!("`{}` cannot be locked: {error}", path.display());
            observer.event(Event::new(Code::Unlocked, text));
            return Ok((None, false));
        }
    }
    let text = format!("waiting for another run that works on the same outputs in `{}`", output.display());
    observer.event(Event::new(Code::Waiting, text));
    match FileLock::acquire(&path, cancel) {
        Ok(lock) => Ok((Some(lock), true)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(JobError::Stopped),
        Err(source) => Err(JobError::Io { path, source }),
    }
}
