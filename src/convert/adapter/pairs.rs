//! An adapter's tensors: pairs of matrices, each the change of one of the base model's tensors, and whole norms.
//!
//! Source: `LoraModel.get_tensors` and `get_base_tensor_name` in the reference's `convert_lora_to_gguf.py`.

use super::super::ConvertError;
use super::super::source::{known_name, plain_type};
use super::AdapterError as E;
use crate::arch::Family;
use crate::checkpoint::{Checkpoint, SourceTensor};
use crate::gguf::GgmlType;

/// One of the base model's tensors, and what the adapter has for it.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// The tensor's name in the base model's checkpoint.
    pub(super) base: String,
    /// The name by which the family knows it.
    pub(super) known: String,
    pub(super) what: What<'a>,
}

/// What an adapter has for a tensor.
#[derive(Debug)]
pub(super) enum What<'a> {
    /// Its values.
    Whole(&'a SourceTensor),
    /// The change of its values: the product of B, with a column a rank, and A, with a row a rank.
    Product(Pair<'a>),
}

/// Two matrices, the product of which is the change of a third.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) a: &'a SourceTensor,
    pub(super) b: &'a SourceTensor,
    /// Whether the product is the change's transpose: embeddings, in PEFT's names.
    pub(super) transposed: bool,
    /// Extents of A, which are the rank and the columns of the product.
    pub(super) rank: u64,
    pub(super) columns: u64,
    /// Rows of B, and so of the product.
    pub(super) rows: u64,
}

impl Pair<'_> {
    /// The extents of what it changes, rows first.
    pub(super) fn shape(&self) -> Vec<u64> {
        if self.transposed { vec![self.columns, self.rows] } else { vec![self.rows, self.columns] }
    }

    /// The types of A and B.
    pub(super) fn types(&self) -> Result<[GgmlType; 2], ConvertError> {
        Ok([plain_type(&self.a.entry)?, plain_type(&self.b.entry)?])
    }
}

const A: [&str; 2] = [".lora_A.weight", ".lora_embedding_A"];
const B: [&str; 2] = [".lora_B.weight", ".lora_embedding_B"];

/// The base model's name of an adapter's tensor.
fn base_name(name: &str) -> String {
    let mut name = name.replace("base_model.model.", "");
    for part in A.iter().chain(&B) {
        name = name.replace(part, ".weight");
    }
    name
}

/// A module of which not both matrices may be there yet.
struct Half<'a> {
    base: String,
    known: String,
    a: Option<&'a SourceTensor>,
    b: Option<&'a SourceTensor>,
}

/// Every change, in the reference's order: norms first, and all by their places in the file.
pub(super) fn changes<'a>(adapter: &'a Checkpoint, family: &Family) -> Result<Vec<Change<'a>>, E> {
    let mut tensors: Vec<&SourceTensor> = adapter.tensors.iter().collect();
    tensors.sort_by_key(|tensor| tensor.entry.range.start);
    let mut changes = Vec::new();
    let mut halves: Vec<Half<'_>> = Vec::new();
    let mut by_name = std::collections::HashMap::new();
    for tensor in tensors {
        let name = &tensor.entry.name;
        let base = base_name(name);
        let Some(known) = known_name(&base, family) else { continue };
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let (is_a, is_b) = (has(&A), has(&B));
        if !is_a && !is_b {
            if name.contains(".base_layer.weight") {
                continue;
            }
            if name.contains("_layernorm") || name.contains(".norm") {
                changes.push(Change { base, known, what: What::Whole(tensor) });
                continue;
            }
            return Err(unexpected(name));
        }
        let at = *by_name.entry(known.clone()).or_insert(halves.len());
        if at == halves.len() {
            halves.push(Half { base, known, a: None, b: None });
        }
        let half = &mut halves[at];
        let place = if is_a { &mut half.a } else { &mut half.b };
        if let Some(first) = place.replace(tensor) {
            return Err(E::Twice { first: first.entry.name.clone(), second: name.clone() });
        }
    }
    for Half { base, known, a, b } in halves {
        let missing = |missing| E::Half { module: base.clone(), missing };
        let (a, b) = (a.ok_or_else(|| missing("lora_A"))?, b.ok_or_else(|| missing("lora_B"))?);
        let what = What::Product(pair(&base, a, b)?);
        changes.push(Change { base, known, what });
    }
    Ok(changes)
}

/// A and B, if they make a matrix.
fn pair<'a>(module: &str, a: &'a SourceTensor, b: &'a SourceTensor) -> Result<Pair<'a>, E> {
    let transposed = a.entry.name.contains(A[1]);
    match (&*a.entry.shape, &*b.entry.shape) {
        ([rank, columns], [rows, other])
            if rank == other
                && *rank > 0
                && rows.checked_mul(*columns).is_some_and(|n| n > 0 && n < 1 << 60) =>
        {
            Ok(Pair { a, b, transposed, rank: *rank, columns: *columns, rows: *rows })
        }
        _ => {
            let (a, b) = (a.entry.shape.clone(), b.entry.shape.clone());
            Err(E::Shapes { module: module.to_owned(), a, b })
        }
    }
}

/// What a tensor is that is no part of a pair.
fn unexpected(name: &str) -> E {
    let name = name.to_owned();
    match () {
        () if name.contains("lora_magnitude_vector") => E::Magnitude(name),
        () if name.contains(".embed_tokens.weight") || name.contains(".lm_head.weight") => {
            E::Embeddings(name)
        }
        () => E::Unexpected(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::family;
    use crate::checkpoint::{Dtype, TensorEntry};
    use crate::safetensors::ShardHeader;

    /// The base model's names of the changes that these tensors make, or the error.
    fn found(tensors: &[(&str, &[u64])]) -> Result<Vec<String>, String> {
        let mut at = 0;
        let entries = tensors.iter().map(|(name, shape)| {
            let start = at;
            at += 4 * shape.iter().product::<u64>();
            TensorEntry {
                name: (*name).to_owned(),
                dtype: Dtype::F32,
                shape: shape.to_vec(),
                range: start..at,
            }
        });
        let header = ShardHeader { tensors: entries.collect() };
        let adapter = Checkpoint::from_headers("x".as_ref(), vec![("x".to_owned(), header)]).unwrap();
        let family = family("GemmaForCausalLM").unwrap();
        let changes = changes(&adapter, family).map_err(|error| error.to_string())?;
        Ok(changes.into_iter().map(|change| change.base).collect())
    }

    #[track_caller]
    fn refused(tensors: &[(&str, &[u64])], part: &str) {
        let error = found(tensors).unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    const Q: &str = "base_model.model.model.layers.0.self_attn.q_proj";

    #[test]
    fn tensors_come_in_pairs_and_norms_first() {
        let (qa, qb) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
        let tensors: [(&str, &[u64]); 8] = [
            (&qb, &[8, 2]),
            ("base_model.model.model.embed_tokens.lora_embedding_A", &[2, 9]),
            ("base_model.model.model.layers.0.input_layernorm.weight", &[4]),
            ("base_model.model.model.embed_tokens.lora_embedding_B", &[4, 2]),
            // This family leaves the output out before anything is looked at.
            ("base_model.model.lm_head.weight", &[9, 4]),
            ("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight", &[4, 4]),
            (&qa, &[2, 4]),
            ("base_model.model.model.norm.weight", &[4]),
        ];
        let expected = [
            "model.layers.0.input_layernorm.weight",
            "model.norm.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.embed_tokens.weight",
        ];
        assert_eq!(found(&tensors).unwrap(), expected);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let (a, b) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
        let (a, b) = (a.as_str(), b.as_str());
        refused(&[(a, &[2, 4])], "has no `lora_B`");
        refused(&[(b, &[2, 4])], "has no `lora_A`");
        refused(&[(a, &[2, 4]), (b, &[8, 3])], "which make no matrix");
        refused(&[(a, &[0, 4]), (b, &[8, 0])], "which make no matrix");
        refused(&[(a, &[2, 4, 1]), (b, &[8, 2, 1])], "which make no matrix");
        refused(&[(a, &[2]), (b, &[2])], "which make no matrix");
        let again = format!("base_model.model.{a}");
        refused(&[(a, &[2, 4]), (&again, &[2, 4])], "are of the same module");
        refused(&[(&format!("{Q}.lora_magnitude_vector"), &[4])], "magnitude of DoRA");
        refused(&[("base_model.model.model.embed_tokens.weight", &[9, 4])], "whole matrix of embeddings");
        refused(&[(&format!("{Q}.bias"), &[4])], "neither `lora_A` nor `lora_B`");
        refused(&[(&format!("{Q}.lora_A.default.weight"), &[2, 4])], "neither `lora_A` nor `lora_B`");
    }
}
