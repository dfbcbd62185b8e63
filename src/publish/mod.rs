//! What a model's repository gets: its outputs, one card, one log and one metadata file for all of them, and the
//! source's terms, in one commit.
//!
//! In: the outputs of a run (a folder each, or streams that were uploaded) and what the repository has. Out: a
//! [`Publication`](crate::hub::Publication) for [`hub::publish`](crate::hub::publish), or nothing where nothing would
//! change. Outputs that the repository has and the run did not touch stay, as long as their files are as they were
//! published; only files that the repository's own metadata lists are ever deleted. No clock: the same outputs give
//! the same texts, whenever they are published.

mod folder;
mod merge;
mod order;
mod there;

pub use folder::{FolderError, Outputs, files_of, imatrix_of, licences_of, read_folder, refreshed};
pub use merge::{Merged, merge};
pub use order::{Licence, Order, Output, Texts};
pub use there::{ReadError, There, read};

#[cfg(test)]
mod tests;
