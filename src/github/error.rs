//! Why GitHub did not do what was asked.

use thiserror::Error;

/// Why GitHub did not do what was asked. `what` says what that was: `list the comments of pull request 7`.
#[derive(Debug, Error)]
pub enum GithubError {
    /// An address or a name that the runner gave and that is none.
    #[error("`{variable}` is {why}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no token.
    #[error("cannot {what}: no token was given")]
    NoToken {
        /// What was asked.
        what: String,
    },
    /// The token is not known, or may not do this.
    #[error("cannot {what}: {status} {message}")]
    Refused {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// What GitHub says.
        message: String,
    },
    /// What it is about is not there, or the token may not see it.
    #[error("cannot {what}: it is not there, or the token may not see it")]
    NotFound {
        /// What was asked.
        what: String,
    },
    /// Too many requests, for longer than is waited.
    #[error("cannot {what}: GitHub's rate limit is used up")]
    RateLimited {
        /// What was asked.
        what: String,
    },
    /// Another answer that is no success.
    #[error("cannot {what}: {status} {message}")]
    Status {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// What GitHub says.
        message: String,
    },
    /// No answer, or one that cannot be read.
    #[error("cannot {what}")]
    Request {
        /// What was asked.
        what: String,
        /// What went wrong.
        source: Box<octocrab::Error>,
    },
    /// It took too long.
    #[error("cannot {what}: it took longer than {seconds} s")]
    Slow {
        /// What was asked.
        what: String,
        /// Seconds that were waited.
        seconds: u64,
    },
    /// A release takes its files at an origin that the token must not go to.
    #[error("the release takes its files at `{url}`, which is not GitHub's")]
    Elsewhere {
        /// Where.
        url: String,
    },
    /// The event is not one that this is for.
    #[error("there is no {wanted}: this is no event of one")]
    NoSubject {
        /// What is wanted.
        wanted: &'static str,
    },
    /// The event's file.
    #[error("the event of this run cannot be read")]
    Event(#[source] std::io::Error),
    /// What is in it.
    #[error("the event of this run cannot be read")]
    EventJson(#[source] serde_json::Error),
    /// The user stopped it.
    #[error("stopped")]
    Stopped,
    /// Connections could not be set up.
    #[error("cannot set up connections")]
    Connections(#[source] reqwest::Error),
    /// The runtime could not be started.
    #[error("cannot start the runtime for requests")]
    Runtime(#[source] std::io::Error),
}

/// Whether a refusal is one of GitHub's secondary limits, which need no header ("You have exceeded a secondary rate limit").
pub(super) fn is_limit(message: &str) -> bool {
    message.to_ascii_lowercase().contains("rate limit")
}

impl GithubError {
    /// What GitHub's answer means. Its message may say anything: it is one short line here.
    pub(super) fn new(what: &str, error: octocrab::Error) -> Self {
        const LONGEST: usize = 300;
        let what = what.to_owned();
        let octocrab::Error::GitHub { source, .. } = &error else {
            return GithubError::Request { what, source: Box::new(error) };
        };
        let status = source.status_code.as_u16();
        let line = source.message.lines().next().unwrap_or_default();
        let message: String = line.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        let header = |name: &str| source.headers.as_ref().and_then(|h| h.get(name)?.to_str().ok());
        let limited = header("retry-after").is_some() || header("x-ratelimit-remaining") == Some("0");
        match status {
            429 => GithubError::RateLimited { what },
            403 if limited || is_limit(&source.message) => GithubError::RateLimited { what },
            401 | 403 => GithubError::Refused { what, status, message },
            404 | 410 => GithubError::NotFound { what },
            _ => GithubError::Status { what, status, message },
        }
    }

    /// Whether another token would help.
    pub fn is_about_credentials(&self) -> bool {
        matches!(
            self,
            GithubError::NoToken { .. } | GithubError::Refused { .. } | GithubError::NotFound { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_may_be_a_limit() {
        assert!(is_limit(
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        ));
        assert!(is_limit("API rate limit exceeded for installation ID 1."));
        assert!(!is_limit("Resource not accessible by integration"));
    }
}
