//! What an answer that is no success means: which error it is, and whether trying again can help.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};

use super::address::shown;
use super::client::Subject;
use super::error::{Access, HubError};
use super::retry::{Again, Failure};
use super::wire;

/// What the Hub says of a token that it does not know, or no more.
const INVALID: &str = "Invalid credentials";

/// An answer that is neither a success nor a redirect, and who asked.
pub(super) struct Refusal<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) url: &'a Url,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// What the body says, in short, where the headers say nothing.
    pub(super) said: Option<String>,
    /// Whether it is the endpoint's origin that answered.
    pub(super) at_hub: bool,
    pub(super) signed_in: bool,
    pub(super) access: Access,
    pub(super) endpoint: &'a Url,
}

impl Refusal<'_> {
    pub(super) fn classify(self) -> Failure {
        let Refusal { subject, url, status, headers, at_hub, signed_in, access, endpoint, .. } = self;
        let repo = subject.repo.clone();
        let message = wire::text(headers, "x-error-message").map(wire::shortened).or(self.said);
        let message = message.unwrap_or_default();
        let request = wire::text(headers, "x-request-id").map(wire::shortened);
        let plain = |message| HubError::Status { url: shown(url), status: status.as_u16(), message, request };
        match (status.as_u16(), wire::text(headers, "x-error-code").unwrap_or_default()) {
            (429, _) => {
                let asked = wire::asked_wait(headers, Timestamp::now());
                let seconds = asked.as_ref().map(Duration::as_secs);
                Failure {
                    error: Box::new(HubError::RateLimited { url: shown(url), seconds }),
                    again: Again::Limited(asked),
                }
            }
            (408 | 500.., _) => Failure::soon(plain(message)),
            // An address that the Hub signed has expired: it gives another one.
            (401 | 403 | 404 | 410, _) if !at_hub => Failure::soon(plain(message)),
            (_, "GatedRepo") => {
                let page = shown(endpoint).trim_end_matches('/').to_owned() + "/" + &repo.to_string();
                Failure::never(HubError::Gated { repo, page, signed_in })
            }
            // Said of public repositories, too, and with no code or with another.
            (401, _) if message.starts_with(INVALID) => {
                Failure::never(HubError::TokenRefused { repo, signed_in, access })
            }
            (_, "RepoNotFound") => Failure::never(HubError::RepoNotFound { repo, signed_in }),
            (_, "RevisionNotFound") => {
                Failure::never(HubError::RevisionNotFound { repo, revision: subject.revision.to_owned() })
            }
            (404, code) => Failure::never(match subject.path {
                Some(path) => HubError::EntryNotFound { repo, path: path.to_owned() },
                None if code.is_empty() => HubError::RepoNotFound { repo, signed_in },
                None => plain(message),
            }),
            (401, _) => Failure::never(HubError::TokenRefused { repo, signed_in, access }),
            (403, _) => Failure::never(HubError::Forbidden { repo, message, access }),
            _ => Failure::never(plain(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::repo_id::RepoId;

    #[track_caller]
    fn check(status: u16, code: &str, at_hub: bool, path: Option<&str>, expected: &str) {
        let repo = RepoId::parse("o/n").unwrap();
        let url = Url::parse("https://hub.example/x?signature=secret").unwrap();
        let mut headers = HeaderMap::new();
        let (code, said) = code.split_once(": ").unwrap_or((code, ""));
        if !code.is_empty() {
            headers.insert("x-error-code", code.parse().unwrap());
        }
        let refusal = Refusal {
            subject: Subject { repo: &repo, revision: "v9", path },
            url: &url,
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            said: Some(said.to_owned()),
            at_hub,
            signed_in: false,
            access: Access::Write,
            endpoint: &url,
        };
        let found = format!("{:?}", refusal.classify());
        assert!(found.contains(expected), "{found} lacks {expected}");
        assert!(!found.contains("secret"), "{found}");
    }

    #[test]
    fn statuses() {
        check(404, "RepoNotFound", true, None, "RepoNotFound");
        check(401, "RepoNotFound", true, None, "RepoNotFound");
        check(404, "RevisionNotFound", true, None, "revision: \"v9\"");
        check(404, "EntryNotFound", true, Some("a"), "EntryNotFound");
        check(403, "GatedRepo", true, Some("a"), "page: \"https://hub.example/x/o/n\"");
        check(401, "GatedRepo", true, None, "Gated");
        check(401, "", true, None, "TokenRefused");
        check(401, "RepoNotFound: Invalid credentials in Authorization header", true, None, "TokenRefused");
        check(403, "", true, None, "access: Write");
        check(403, "", false, Some("a"), "again: Soon");
        check(503, "", true, None, "again: Soon");
        check(429, "", true, None, "again: Limited(None)");
        check(418, "", true, None, "again: Never");
    }
}
