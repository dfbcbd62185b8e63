//! What every layer may use: atomic file writes, locks, free space, memory, hashes, cancellation, secrets, units.
//!
//! Knows nothing of models. Refuses to hide an error of the system: what cannot be found out is `None`, not a guess.

pub mod atomic;
pub mod cancel;
pub mod front_matter;
pub mod hash;
pub mod lock;
pub mod memory;
pub mod redact;
pub mod space;
pub mod token;
pub mod units;
