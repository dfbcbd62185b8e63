//! What GitHub's runner says of the job that this runs in.
//!
//! In: the variables that the runner sets. Out: typed values; what is not set is not there. Texts of others that are among
//! them (branches, titles) are not read at all.

use std::path::PathBuf;

use super::Reader;
use crate::github::StepFiles;

/// Where a person sees GitHub, where the runner does not say.
const SERVER: &str = "https://github.com";

/// A job of GitHub Actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Where the step speaks to its job (`GITHUB_OUTPUT`, `GITHUB_STEP_SUMMARY`).
    pub files: StepFiles,
    /// Where a person sees GitHub (`GITHUB_SERVER_URL`).
    pub server: String,
    /// The run's number (`GITHUB_RUN_ID`).
    pub run: Option<u64>,
    /// The workflow's name (`GITHUB_WORKFLOW`).
    pub workflow: Option<String>,
    /// What it runs for, as a file (`GITHUB_EVENT_PATH`).
    pub event: Option<PathBuf>,
    /// The tag that it runs for (`GITHUB_REF`, where it is one).
    pub tag: Option<String>,
    /// Where the repository is checked out (`GITHUB_WORKSPACE`).
    pub workspace: Option<PathBuf>,
    /// A folder that lives as long as the job (`RUNNER_TEMP`).
    pub temp: Option<PathBuf>,
}

impl Actions {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Actions {
            files: StepFiles {
                output: reader.path("GITHUB_OUTPUT"),
                summary: reader.path("GITHUB_STEP_SUMMARY"),
            },
            server: reader.address("GITHUB_SERVER_URL", SERVER).unwrap_or_else(|| SERVER.to_owned()),
            run: reader.text("GITHUB_RUN_ID").and_then(|id| id.parse().ok()),
            workflow: reader.text("GITHUB_WORKFLOW"),
            event: reader.path("GITHUB_EVENT_PATH"),
            tag: reader.text("GITHUB_REF").and_then(|name| Some(name.strip_prefix("refs/tags/")?.to_owned())),
            workspace: reader.path("GITHUB_WORKSPACE"),
            temp: reader.path("RUNNER_TEMP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::cli::settings::Settings;

    #[test]
    fn a_job_of_actions_knows_itself() {
        let variables = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_API_URL", "https://github.corp.example/api/v3"),
            ("GITHUB_SERVER_URL", "https://github.corp.example/"),
            ("GITHUB_REPOSITORY", "o/n"),
            ("GITHUB_RUN_ID", "17"),
            ("GITHUB_REF", "refs/tags/v1"),
            ("GITHUB_OUTPUT", "out"),
            ("GH_TOKEN", "gho_other"),
            ("GITHUB_TOKEN", "ghs_first"),
        ];
        let lookup = move |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let settings = Settings::new(Box::new(lookup)).unwrap();
        let actions = settings.actions.clone().unwrap();
        assert_eq!(settings.run_url().unwrap(), "https://github.corp.example/o/n/actions/runs/17");
        assert_eq!((actions.tag.as_deref(), actions.files.output), (Some("v1"), Some("out".into())));
        assert_eq!(settings.github_api, "https://github.corp.example/api/v3");
        assert_eq!(settings.github_token().unwrap().unwrap().reveal(), "ghs_first");
        let elsewhere = Settings::new(Box::new(|_| None)).unwrap();
        assert_eq!((&elsewhere.actions, elsewhere.github_api.as_str()), (&None, "https://api.github.com"));
        assert_eq!((elsewhere.run_url(), elsewhere.github_repo), (None, None));
    }
}
