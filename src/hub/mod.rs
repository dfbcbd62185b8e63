//! The Hugging Face Hub: pinned revisions, verified and resumed downloads.
