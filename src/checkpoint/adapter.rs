//! A PEFT adapter's folder: a checkpoint of one shard, whose tensors go on top of another checkpoint's.

use std::path::Path;

use super::local::folder_name;
use super::{Checkpoint, CheckpointError as E};

/// What tells an adapter's folder from a checkpoint's.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The one file of its weights.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// The same as a pickle.
const PICKLE: &str = "adapter_model.bin";

impl Checkpoint {
    /// Whether the folder is an adapter's. One that has a whole model's weights as well is a checkpoint.
    pub fn is_adapter(folder: &Path) -> bool {
        folder.join(ADAPTER_CONFIG).is_file() && matches!(Self::open(folder), Err(E::NoWeights(_)))
    }

    /// Opens an adapter's folder.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_adapter(folder: &Path) -> Result<Self, E> {
        if !folder.is_dir() {
            return Err(E::NotAFolder(folder.to_owned()));
        }
        let weights = folder.join(ADAPTER_WEIGHTS);
        if !weights.is_file() {
            return Err(match folder.join(PICKLE).is_file() {
                true => E::Pickle { folder: folder.to_owned(), file: PICKLE.to_owned() },
                false => E::NoAdapterWeights(folder.to_owned()),
            });
        }
        let (folder, name) = (folder.to_owned(), folder_name(folder));
        Ok(Checkpoint { folder, name, ..Self::open_shard_alone(&weights)? })
    }

    /// A folder of which only the small files count.
    ///
    /// # Errors
    /// It is no folder.
    pub fn without_weights(folder: &Path) -> Result<Self, E> {
        if !folder.is_dir() {
            return Err(E::NotAFolder(folder.to_owned()));
        }
        Self::from_headers(folder, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &[u8])], is_adapter: bool, opened: Result<(), &str>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        assert_eq!(Checkpoint::is_adapter(folder.path()), is_adapter);
        match (Checkpoint::open_adapter(folder.path()), opened) {
            (Ok(adapter), Ok(())) => assert_eq!(adapter.name, folder_name(folder.path())),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn adapters_are_told_from_checkpoints() {
        let empty: &[u8] = b"\x02\0\0\0\0\0\0\0{}";
        check(&[(ADAPTER_CONFIG, b"{}"), (ADAPTER_WEIGHTS, empty)], true, Ok(()));
        check(&[(ADAPTER_CONFIG, b"{}"), (PICKLE, b"")], true, Err("pickle weights only"));
        check(&[(ADAPTER_CONFIG, b"{}")], true, Err("has no `adapter_model.safetensors`"));
        check(&[("config.json", b"{}"), (ADAPTER_WEIGHTS, empty)], false, Ok(()));
        let both = [(ADAPTER_CONFIG, &b"{}"[..]), (ADAPTER_WEIGHTS, empty), ("model.safetensors", empty)];
        check(&both, false, Ok(()));
        check(&[(ADAPTER_CONFIG, b"{}"), (ADAPTER_WEIGHTS, b"x")], true, Err("shard"));
    }
}
