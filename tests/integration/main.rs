//! What the program does as a whole, and that it is what the reference does; one file a subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nothing here is for other crates")]

mod actions;
mod adapters;
mod cli;
mod doctor;
mod evaluate;
mod generated;
mod github_api;
mod hub;
mod importance;
mod loopback;
mod mixtures;
mod mmproj;
mod parity;
mod publish;
mod quantize;
mod ranges;
mod run_publish;
mod splits;
mod steps;
mod stream;
mod support;
#[cfg(unix)]
mod toolchain;
mod upload;
