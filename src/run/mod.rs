//! One job from start to end: budgets, the pass, finished files with their cards, cleaning up.
//!
//! In: a model of a models.yaml. [`prepare()`] reads headers and lays everything out; [`execute`] fetches what is remote,
//! walks the weights once for every output that is not up to date, and finishes each output's folder. The metadata
//! is written last: an output without it is none that a run finished.

mod error;
pub mod files;
mod job;
mod papers;
mod prepare;

pub use error::JobError;
pub use job::{JobReport, Made, execute};
pub use papers::Papers;
pub use prepare::{Planned, Prepared, RECIPE_VERSION, REFERENCE, Setting, prepare};
