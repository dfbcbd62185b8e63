//! A client of the loopback Hub: with little patience, and listening; and bytes for it to carry.

use std::sync::Mutex;
use std::time::Duration;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::event::{Code, Event, Observer, Progress};
use jamph_quantizer::hub::Retry;

/// Tries often enough for the faults of a test, and waits for no more than it must.
pub(crate) fn impatient() -> Retry {
    Retry {
        attempts: 4,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        stall: Duration::from_secs(20),
        rate_limit: Duration::from_secs(10),
    }
}

/// Bytes that do not repeat, from a seed.
pub(crate) fn random_bytes(seed: u32) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8)
    })
}

type Hook = Box<dyn FnOnce() + Send>;

/// What was said, and what is done at a moment.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) progress: Mutex<Vec<Progress>>,
    hook: Mutex<Option<(Code, Hook)>>,
    stop: Mutex<Option<(u64, Cancel)>>,
}

impl Heard {
    pub(crate) fn count(&self, code: Code) -> usize {
        self.events.lock().unwrap().iter().filter(|e| e.code == code).count()
    }

    /// All events, as text: what must not hold a token.
    pub(crate) fn said(&self) -> String {
        format!("{:?}", self.events.lock().unwrap())
    }

    /// Does this when the code is first heard.
    pub(crate) fn hook(&self, code: Code, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some((code, Box::new(hook)));
    }

    /// Stops the work once so many bytes of one file are here.
    pub(crate) fn stop_at(&self, bytes: u64, cancel: &Cancel) {
        *self.stop.lock().unwrap() = Some((bytes, cancel.clone()));
    }
}

impl Observer for Heard {
    fn event(&self, event: Event) {
        let taken = self.hook.lock().unwrap().take_if(|(code, _)| *code == event.code);
        self.events.lock().unwrap().push(event);
        if let Some((_, hook)) = taken {
            hook();
        }
    }

    fn progress(&self, progress: Progress) {
        if let Some((_, cancel)) = self.stop.lock().unwrap().as_ref().filter(|(n, _)| progress.done >= *n) {
            cancel.cancel();
        }
        self.progress.lock().unwrap().push(progress);
    }
}
