//! The llama.cpp toolchain: where its programs come from, built or fetched once, kept and checked.
//!
//! The engine needs none of it. Importance matrices, perplexity, a first generated token, and families that `arch/`
//! does not know do. In: a [`Request`] (a release, a commit, a source, or a folder that has the programs) and a
//! [`Setup`] (caches, addresses, what children may see). Out: a [`Toolchain`], when somebody first [obtains
//! it](Wanted::obtain): programs that are whole, and the converter. Refuses: archives that are not what they claim,
//! releases below the security minimum, builds that changed since they were made, and to give a child more of the
//! environment than it needs.
//!
//! The way: [`Request`] → [`wanted`] → `session` (which source, which of its builds are there) → `release` (GitHub) and [`pins`]
//! (what was recorded of it) → [`archive`] → [`build`] → [`cache`] → [`toolchain`].

pub mod archive;
pub mod build;
pub mod cache;
pub mod completion;
pub mod converter;
mod error;
pub mod imatrix;
mod install;
pub mod perplexity;
pub mod pins;
pub mod python;
mod release;
mod request;
mod session;
mod source;
pub mod tool;
pub mod toolchain;
pub mod wanted;

pub use self::error::ToolchainError;
pub use self::release::{Patience, ReleaseError};
pub use self::request::{Request, RequestError, Source};
pub use self::source::SourceError;
pub use self::toolchain::{Origin, Reference, Toolchain};
pub use self::wanted::{Obtained, Setup, Wanted};

/// The tools that are called.
pub const TOOLS: [&str; 3] = ["llama-imatrix", "llama-perplexity", "llama-completion"];

/// Where llama.cpp is on GitHub.
pub const REPOSITORY: &str = "ggml-org/llama.cpp";

/// The release that is taken where nobody names one: that of the commit whose bytes the outputs have.
pub const DEFAULT_TAG: &str = "b11312";

/// The commit of [`DEFAULT_TAG`].
pub const DEFAULT_COMMIT: &str = "0c1e57098bba43ac29e6e3b677cdceebdd22334f";

/// The first release without CVE-2026-33298 and CVE-2026-27940; older ones are refused.
pub const SECURITY_MINIMUM: u32 = 8146;
