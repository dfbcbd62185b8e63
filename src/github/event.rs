//! What a workflow runs for: the event that GitHub describes in a file.
//!
//! In: the file (`GITHUB_EVENT_PATH`). Out: the number of the pull request, or the release, where it is an event of one.
//! Everything else in it was written by others and is not looked at.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::error::GithubError;

/// What a workflow runs for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowEvent {
    /// The pull request's number.
    pub pull_request: Option<u64>,
    /// The release's number.
    pub release: Option<u64>,
}

#[derive(Deserialize)]
struct Raw {
    pull_request: Option<RawPull>,
    release: Option<RawRelease>,
}

#[derive(Deserialize)]
struct RawPull {
    number: u64,
}

#[derive(Deserialize)]
struct RawRelease {
    id: u64,
}

impl WorkflowEvent {
    /// Reads an event's file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, GithubError> {
        WorkflowEvent::parse(&fs::read(path).map_err(GithubError::Event)?)
    }

    fn parse(json: &[u8]) -> Result<Self, GithubError> {
        let raw: Raw = serde_json::from_slice(json).map_err(GithubError::EventJson)?;
        Ok(WorkflowEvent {
            pull_request: raw.pull_request.map(|pull| pull.number),
            release: raw.release.map(|release| release.id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let read = |json: &str| WorkflowEvent::parse(json.as_bytes()).unwrap();
        assert_eq!(read("{\"schedule\": \"7 3 * * *\"}"), WorkflowEvent::default());
        let pull = r#"{"number": 7, "pull_request": {"number": 7, "title": "::error::x"}}"#;
        assert_eq!(read(pull).pull_request, Some(7));
        assert_eq!(read(r#"{"release": {"id": 9, "tag_name": "v1"}}"#).release, Some(9));
        assert!(WorkflowEvent::parse(b"[").is_err());
        assert!(matches!(WorkflowEvent::read("nowhere".as_ref()), Err(GithubError::Event(_))));
    }
}
