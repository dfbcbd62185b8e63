//! What several tests need.

pub(crate) mod fixtures;
pub(crate) mod hub;
