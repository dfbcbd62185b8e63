//! Seeded LoRA adapters: `tests/adapters/*.json` with weights, each beside the configuration of its base model.
//!
//! In: such a file, which `scripts/make-adapters` wrote. Out: `NAME/adapter` as PEFT writes it, `NAME/base` with
//! `config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::fixtures::text;
use super::weights::{self, Float, Owns};

/// What `scripts/make-adapters` wrote.
#[derive(Deserialize)]
pub(crate) struct Adapter {
    #[serde(skip)]
    pub(crate) name: String,
    /// The adapter's own folder.
    pub(crate) folder: String,
    dtype: Float,
    /// Those of other elements.
    #[serde(default)]
    dtypes: Owns,
    /// `config.json` of the base model.
    base: Value,
    /// `adapter_config.json`.
    config: Value,
    /// `README.md`.
    #[serde(default)]
    card: Option<String>,
    tensors: BTreeMap<String, Vec<u64>>,
}

/// Every adapter, by name; `tests` is the folder of that name.
pub(crate) fn all(tests: &Path) -> io::Result<Vec<Adapter>> {
    let mut adapters = Vec::new();
    for entry in fs::read_dir(tests.join("adapters"))? {
        let path = entry?.path();
        let mut adapter: Adapter = serde_json::from_slice(&fs::read(&path)?)?;
        adapter.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        adapters.push(adapter);
    }
    adapters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(adapters)
}

impl Adapter {
    /// Writes both folders into one of the adapter's name.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn write(&self, into: &Path) -> io::Result<()> {
        let (adapter, base) = (into.join(&self.name).join(&self.folder), into.join(&self.name).join("base"));
        fs::create_dir_all(&adapter)?;
        fs::create_dir_all(&base)?;
        fs::write(base.join("config.json"), text(&self.base))?;
        fs::write(adapter.join("adapter_config.json"), text(&self.config))?;
        if let Some(card) = &self.card {
            fs::write(adapter.join("README.md"), card)?;
        }
        let tensors: Vec<(String, Vec<u64>)> = self.tensors.clone().into_iter().collect();
        for (_, bytes) in weights::files(&self.name, self.dtype, &self.dtypes, &tensors, 1) {
            fs::write(adapter.join("adapter_model.safetensors"), bytes)?;
        }
        Ok(())
    }
}
