//! Hugging Face checkpoints to GGUF quantizations: many methods in one pass over the weights, byte for byte what
//! llama.cpp's own tools write.
//!
//! The way of the data is the list of modules; docs/architecture.md draws it:
//! a [`checkpoint`] is turned by [`convert`] into a blueprint without reading weights, [`quantize`] lays out one file
//! a method and walks the weights once for all of them, [`card`] describes what came out, [`publish`] works out what one
//! commit does to the model's repository, and [`run`] does all this for every job of a `models.yaml` ([`config`]).

pub mod arch;
pub mod base;
pub mod card;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod convert;
pub mod event;
pub mod gguf;
pub mod github;
pub mod hub;
pub mod llama;
pub mod plan;
pub mod publish;
pub mod quantize;
pub mod report;
pub mod run;
pub mod safetensors;
