//! One job from start to end: budgets, the pass, finished files with their cards, cleaning up.
//!
//! In: a model of a models.yaml. [`prepare()`] reads headers and lays everything out; [`execute`] fetches what is remote,
//! walks the weights once for every output that is not up to date, and finishes each output's folder. The metadata
//! is written last: an output without it is none that a run finished. A [`Delivery`] publishes what the job made, or
//! made and could not publish before; it may do so while the next job is under way.

pub mod adapter;
pub mod base;
mod clock;
mod deliver;
mod error;
mod evaluate;
pub mod files;
mod foreign;
mod hold;
pub mod importance;
mod job;
mod measure;
mod papers;
mod place;
mod prepare;
mod prepared;
mod recipe;
mod smoke;
mod source;
mod stream;

pub use deliver::{Delivery, RECEIPT, keep, publish, signed_in};
pub use error::JobError;
pub use evaluate::{Evaluating, Figures, Rejected, Rejection, base_of, vocabulary};
pub use foreign::Foreign;
pub use hold::hold;
pub use job::{JobReport, Kept, Made, execute, perform};
pub use measure::{Bench, Text, Tools};
pub use papers::Papers;
pub use place::Place;
pub use prepare::prepare;
pub use prepared::{Planned, Prepared, Setting};
pub use recipe::{RECIPE_VERSION, REFERENCE};
pub use stream::Streaming;
