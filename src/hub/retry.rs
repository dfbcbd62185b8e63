//! When a failed request is tried again, and after how long.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::error::HubError;

/// How patient requests are.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Tries without a new byte before it is an error.
    pub attempts: u32,
    /// Wait before the second try; doubles each time, and a random part of it is left out.
    pub first: Duration,
    /// Longest such wait.
    pub longest: Duration,
    /// A connection that sends nothing for so long is dropped.
    pub stall: Duration,
    /// Most that rate limits may hold up one request in all.
    pub rate_limit: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 7,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            rate_limit: Duration::from_secs(20 * 60),
        }
    }
}

/// One failed try.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Box<HubError>,
    pub(super) again: Again,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// After the usual wait.
    Soon,
    /// A rate limit: after so long, if the server said.
    Limited(Option<Duration>),
}

impl Failure {
    pub(super) fn never(error: HubError) -> Self {
        Failure { error: Box::new(error), again: Again::Never }
    }

    pub(super) fn soon(error: HubError) -> Self {
        Failure { error: Box::new(error), again: Again::Soon }
    }
}

/// The tries of one request so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    limited: Duration,
}

impl Tries {
    /// Bytes came: the count begins anew.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before the next try; an error where there is to be none.
    pub(super) fn after(
        &mut self,
        policy: &Retry,
        failure: Failure,
    ) -> Result<(Duration, HubError), HubError> {
        /// Clocks differ, and the limit is at the end of a second.
        const MARGIN: Duration = Duration::from_secs(1);
        self.failed += 1;
        let wait = match failure.again {
            Again::Never => return Err(*failure.error),
            Again::Limited(Some(asked)) => {
                // Being told to wait is no failed try; it has a bound of its own.
                self.failed -= 1;
                let wait = asked.saturating_add(MARGIN);
                self.limited = self.limited.saturating_add(wait);
                if self.limited > policy.rate_limit {
                    return Err(*failure.error);
                }
                wait
            }
            Again::Soon | Again::Limited(None) if self.failed >= policy.attempts => {
                return Err(*failure.error);
            }
            Again::Soon | Again::Limited(None) => {
                let doubled = policy.first.saturating_mul(1 << (self.failed - 1).min(20));
                doubled.min(policy.longest).mul_f64(1.0 - jitter() / 2.0)
            }
        };
        Ok((wait, *failure.error))
    }
}

/// A number in 0..1 that differs between processes and calls, so that many clients do not come back at once.
fn jitter() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(again: Again) -> Failure {
        Failure { error: Box::new(HubError::Protocol { url: String::new(), why: "" }), again }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let policy = Retry { attempts: 5, longest: Duration::from_millis(1500), ..Retry::default() };
        let mut tries = Tries::default();
        for full in [500, 1000, 1500, 1500] {
            let (wait, _) = tries.after(&policy, failure(Again::Soon)).unwrap();
            assert!((full / 2..=full).contains(&wait.as_millis()), "{wait:?} of {full}");
        }
        assert!(tries.after(&policy, failure(Again::Soon)).is_err());
        tries.progressed();
        assert!(tries.after(&policy, failure(Again::Limited(None))).is_ok());
        assert!(tries.after(&policy, failure(Again::Never)).is_err());
    }

    #[test]
    fn rate_limits_have_a_bound_of_their_own() {
        let policy = Retry { attempts: 1, rate_limit: Duration::from_secs(120), ..Retry::default() };
        let mut tries = Tries::default();
        let limited = || failure(Again::Limited(Some(Duration::from_secs(55))));
        assert_eq!(tries.after(&policy, limited()).unwrap().0, Duration::from_secs(56));
        assert_eq!(tries.after(&policy, limited()).unwrap().0, Duration::from_secs(56));
        assert!(tries.after(&policy, limited()).is_err());
        assert!(tries.after(&policy, failure(Again::Limited(Some(Duration::MAX)))).is_err());
    }
}
