//! Methods, mixtures (the type of each tensor), block kernels and the one-pass engine.

pub mod block;
mod facts;
pub mod imatrix;
pub mod layout;
pub mod method;
mod mixture;
pub mod options;
pub mod pass;
pub mod simd;
pub mod split;

pub use imatrix::{Coverage, Imatrix, ImatrixError};
pub use layout::{Fallback, Layout, LayoutError, layout};
pub use method::{Importance, Method, UnknownMethod};
pub use options::{ImatrixOrigin, OptionError, Options, Override, TensorType};
