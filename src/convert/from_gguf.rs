//! A GGUF file as it stands, as a blueprint: the start of a requantization.

use thiserror::Error;

use super::{Blueprint, Change, OutType, Part, Recipe, RowOrder, TensorRecipe};
use crate::checkpoint::GgufModel;
use crate::gguf::{Header, Value};

/// Why a GGUF file cannot be a source.
#[derive(Debug, Error)]
pub enum FromGgufError {
    /// The file says nothing of its architecture.
    #[error("the GGUF file has no `general.architecture`")]
    NoArchitecture,
}

impl Blueprint {
    /// The blueprint that gives the file itself again.
    ///
    /// # Errors
    /// [`FromGgufError`] where the metadata lacks what every model has.
    pub fn from_gguf(model: &GgufModel) -> Result<Self, FromGgufError> {
        let headers: Vec<_> = model.files.iter().map(|file| (&file.header, file.data_start)).collect();
        Self::from_headers(&headers)
    }

    /// The same, from the files' headers alone: each with the first byte of its data section.
    ///
    /// # Errors
    /// As [`Blueprint::from_gguf`].
    pub fn from_headers(files: &[(&Header, u64)]) -> Result<Self, FromGgufError> {
        let metadata = files.first().map(|(header, _)| header.metadata.clone()).unwrap_or_default();
        let architecture = metadata
            .get("general.architecture")
            .and_then(Value::as_str)
            .ok_or(FromGgufError::NoArchitecture)?
            .to_owned();
        let out_type = match metadata.get("general.file_type").and_then(Value::as_u64) {
            Some(0) => OutType::F32,
            Some(1) => OutType::F16,
            Some(7) => OutType::Q8_0,
            Some(32) => OutType::BF16,
            _ => OutType::Auto,
        };
        let mut tensors = Vec::new();
        for (shard, (header, data_start)) in files.iter().enumerate() {
            for t in &header.tensors {
                let part = Part::new(&t.name, shard, data_start + t.offset, t.ty);
                tensors.push(TensorRecipe {
                    name: t.name.clone(),
                    shape: t.shape.clone(),
                    ty: t.ty,
                    source: Recipe::Rows {
                        parts: vec![part],
                        order: RowOrder::Natural,
                        change: Change::None,
                    },
                });
            }
        }
        Ok(Blueprint { architecture, out_type, metadata, tensors })
    }
}
