//! Waiting for something that may never come.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::base::cancel::Cancel;

/// Between two looks at the flag and at how far the work has come.
const LOOK: Duration = Duration::from_millis(50);

/// How waiting ended.
#[derive(Debug, PartialEq)]
pub(super) enum Ended<T> {
    Done(T),
    Cancelled,
    /// Nothing moved for so long.
    Stalled(Duration),
}

/// Waits for the work as long as what `moved` tells changes at least once in `patience`. The work is dropped where
/// waiting ends before it.
pub(super) async fn watched<T, M: PartialEq>(
    work: impl Future<Output = T>,
    cancel: &Cancel,
    patience: Duration,
    mut moved: impl FnMut() -> M,
) -> Ended<T> {
    let mut work = pin!(work);
    let mut look = interval(LOOK.min(patience));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut since) = (moved(), Instant::now());
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ended::Done(done),
            _ = look.tick() => {}
        }
        if cancel.is_cancelled() {
            return Ended::Cancelled;
        }
        let now = moved();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= patience {
            return Ended::Stalled(patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(work: impl Future<Output = u8>, cancelled: bool, mut steps: u32, expected: &Ended<u8>) {
        let cancel = Cancel::new();
        if cancelled {
            cancel.cancel();
        }
        let patience = Duration::from_millis(20);
        let moved = || {
            steps = steps.saturating_sub(1);
            steps
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert_eq!(runtime.block_on(watched(work, &cancel, patience, moved)), *expected);
    }

    #[test]
    fn waiting_ends() {
        check(std::future::ready(7), true, 0, &Ended::Done(7));
        check(std::future::pending(), true, u32::MAX, &Ended::Cancelled);
        check(std::future::pending(), false, 3, &Ended::Stalled(Duration::from_millis(20)));
    }
}
