//! What every layer may use: atomic file writes, hashing, free space, units.

pub mod token;
