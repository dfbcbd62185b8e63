//! Arguments, settings, one file per command, exit codes.

pub mod settings;
pub mod vocabulary;
