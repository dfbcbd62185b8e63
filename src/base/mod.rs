//! What every layer may use: atomic and positioned file access, locks, free space, memory, hashes,
//! cancellation, child processes, HTTP clients, secrets, units, causes of errors, and names that others chose.
//!
//! Knows nothing of models. Refuses to hide an error of the system: what cannot be found out is `None`, not a guess.

pub mod atomic;
pub mod cancel;
pub mod causes;
pub mod file_name;
pub mod front_matter;
pub mod hash;
pub mod http;
pub mod lock;
pub mod memory;
pub mod positioned;
pub mod process;
pub mod quote;
pub mod redact;
pub mod repo_id;
pub mod sha256;
pub mod space;
pub mod token;
pub mod units;
