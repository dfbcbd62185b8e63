//! What several tests need.

pub(crate) mod adapters;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod families;
pub(crate) mod fixtures;
pub(crate) mod github;
pub(crate) mod hub;
pub(crate) mod llama;
pub(crate) mod models;
pub(crate) mod pieces;
pub(crate) mod random;
pub(crate) mod runner;
pub(crate) mod tekken;
pub(crate) mod weights;
