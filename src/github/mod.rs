//! GitHub: what its runner reads, what its API is asked for, and the texts for both.
//!
//! In: results, plans and errors as data, and where GitHub is. Out: Markdown (pure functions), workflow commands, the files
//! of a step, and requests through octocrab. Nothing here decides what is done: it shows what was, or will be. Texts of
//! others (names, messages, cards) go through [`markdown`] and [`command`], which let nothing of them be read as
//! anything but text.

mod api;
mod client;
pub mod command;
mod error;
mod event;
mod files;
pub mod issue;
pub mod markdown;
mod plan;
mod release;
mod results;
mod summary;

pub use api::{AssetFile, ReleaseRef, Tracked, attach, comment, track};
pub use client::{GithubOptions, PUBLIC_API};
pub use error::GithubError;
pub use event::WorkflowEvent;
pub use files::{StepFiles, add_summary, set_outputs, summary_left};
pub use plan::{FailedModel, LONGEST_COMMENT, PlanProblem, PlanText, PlannedModel, PlannedOutput};
pub use release::release_files;
pub use results::{
    Entry, FORMAT_VERSION, ModelResult, OutputFile, OutputResult, Results, ResultsError, Status, StepTime,
};
pub use summary::summary;
