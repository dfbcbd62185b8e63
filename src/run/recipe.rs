//! What a model's entry says of its bytes: as options of the conversion and of quantization, and as the metadata records
//! it. The importance matrix is read here, and the file of tensor types.

use super::JobError;
use crate::card::metadata::{self, Recipe};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::config::{self, Model};
use crate::convert::{Blueprint, ConvertOptions, OutType};
use crate::gguf::GgmlType;
use crate::quantize::{ImatrixOrigin, Method, Options, Override, TensorType};

/// The llama.cpp whose bytes the outputs have.
pub const REFERENCE: &str = "llama.cpp 0c1e57098 (llama-cpp-python 0.3.36)";

/// Grows when the same recipe gives other bytes than before.
pub const RECIPE_VERSION: u32 = 1;

/// The base has the source's own type: what `--outtype auto` gives, but for f32, which that would cut to f16.
pub(super) fn convert_options(model: &Model, checkpoint: &Checkpoint) -> ConvertOptions {
    let own = || {
        let first = checkpoint.tensors.iter().find(|t| t.entry.shape.len() >= 2).map(|t| t.entry.dtype);
        if first == Some(Dtype::F32) { OutType::F32 } else { OutType::Auto }
    };
    let out_type = match model.convert.outtype {
        None => own(),
        Some(config::OutType::F32) => OutType::F32,
        Some(config::OutType::F16) => OutType::F16,
        Some(config::OutType::BF16) => OutType::BF16,
        Some(config::OutType::Q8_0) => OutType::Q8_0,
        Some(config::OutType::Auto) => OutType::Auto,
    };
    ConvertOptions {
        out_type,
        model_name: model.convert.model_name.clone(),
        pre_tokenizer: model.convert.pre_tokenizer.clone(),
        ..ConvertOptions::default()
    }
}

/// How a model's vision tower is converted.
pub(super) fn tower_options(model: &Model, method: &Method) -> ConvertOptions {
    let out_type = match method.default_type {
        Some(GgmlType::F32) => OutType::F32,
        Some(GgmlType::BF16) => OutType::BF16,
        Some(GgmlType::Q8_0) => OutType::Q8_0,
        _ => OutType::F16,
    };
    ConvertOptions { out_type, model_name: model.convert.model_name.clone(), ..ConvertOptions::default() }
}

/// What decides the bytes of a vision tower's file, for the metadata: nothing that the entry says of quantization.
pub(super) fn tower_recipe(model: &Model, method: &Method, blueprint: &Blueprint) -> Recipe {
    Recipe {
        method: method.name.to_owned(),
        out_type: format!("{:?}", blueprint.out_type),
        model_name: model.convert.model_name.clone(),
        ..Recipe::default()
    }
}

/// What a model's entry changes about its methods. `imatrix` is what the headers say of the matrix.
pub(super) fn options(model: &Model, imatrix: Option<ImatrixOrigin>) -> Result<Options, JobError> {
    let q = &model.quantize;
    let mut tensor_types = model
        .tensor_types
        .iter()
        .map(|t| TensorType::new(&t.pattern, t.ty))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &q.tensor_type_file {
        let text =
            std::fs::read_to_string(path).map_err(|source| JobError::Io { path: path.clone(), source })?;
        tensor_types.extend(TensorType::parse_list(&text)?);
    }
    let overrides = q.override_kv.iter().flatten();
    let override_kv =
        overrides.map(|(key, value)| Override::new(key, value.clone())).collect::<Result<_, _>>()?;
    Ok(Options {
        pure: q.pure.unwrap_or(false),
        leave_output_tensor: q.leave_output_tensor.unwrap_or(false),
        output_tensor_type: q.output_tensor_type,
        token_embedding_type: q.token_embedding_type,
        tensor_types,
        prune_layers: q.prune_layers.clone().unwrap_or_default(),
        override_kv,
        allow_requantize: q.allow_requantize.unwrap_or(false),
        dry_run: false,
        keep_split: false,
        imatrix,
    })
}

/// What decides the bytes, for the metadata.
pub(super) fn recipe(
    model: &Model,
    method: &Method,
    options: &Options,
    imatrix: Option<&metadata::Imatrix>,
    converter: Option<&str>,
    blueprint: &Blueprint,
) -> Recipe {
    // Without a matrix there is nothing to choose.
    let weights =
        |names: &Option<Vec<String>>| options.imatrix.as_ref().and(names.clone()).unwrap_or_default();
    let rule =
        |t: &TensorType| metadata::TensorTypeRule { pattern: t.pattern().to_owned(), ty: t.ty.to_string() };
    Recipe {
        method: method.name.to_owned(),
        out_type: format!("{:?}", blueprint.out_type),
        converter: converter.map(str::to_owned),
        model_name: model.convert.model_name.clone(),
        pre_tokenizer: model.convert.pre_tokenizer.clone(),
        imatrix: imatrix.cloned(),
        include_weights: weights(&model.quantize.include_weights),
        exclude_weights: weights(&model.quantize.exclude_weights),
        tensor_types: options.tensor_types.iter().map(rule).collect(),
        output_tensor_type: options.output_tensor_type.map(|t| t.to_string()),
        token_embedding_type: options.token_embedding_type.map(|t| t.to_string()),
        pure: options.pure,
        leave_output_tensor: options.leave_output_tensor,
        allow_requantize: options.allow_requantize,
        prune_layers: options.prune_layers.clone(),
        override_kv: options.override_kv.iter().map(ToString::to_string).collect(),
        split_max_size: match model.split {
            Some(config::Split::Size(bytes)) => Some(bytes),
            _ => None,
        },
        split_max_tensors: match model.split {
            Some(config::Split::Tensors(tensors)) => Some(tensors),
            _ => None,
        },
    }
}
