//! Methods, mixtures (the type of each tensor), block kernels and the one-pass engine.

pub mod block;
pub mod pass;
pub mod simd;
