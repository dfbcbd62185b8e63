//! What becomes of a pair where a tensor of the base model is moved, cut or stacked.
//!
//! In: the recipes by which the base model's tensors would be made, were the changes whole matrices, and the pairs that
//! they are. Out: recipes of A and B. With the change B·A, rows are taken from B, columns would be from A, and a stack of
//! changes is a stack of both. Source: `LoraTorchTensor` in the reference's `convert_lora_to_gguf.py`. What it cannot
//! state as one pair is refused: other columns, transposes, tensors of more dimensions than the change has.

use super::super::{
    Change as Arithmetic, ConvertError, OutType, Part, Recipe, RowOrder, Strides, TensorRecipe,
};
use super::AdapterError as E;
use super::pairs::{Change, Pair, What};
use crate::arch::Tensor;
use crate::checkpoint::SourceTensor;
use crate::gguf::GgmlType;

/// Bytes of a value of what the base model's recipes are made from: they are never read.
pub(super) const STAND_IN: GgmlType = GgmlType::F32;

/// The recipes that take the place of one of the base model's.
pub(super) fn recipes(
    made: &TensorRecipe,
    changes: &[Change<'_>],
    out_type: OutType,
) -> Result<Vec<TensorRecipe>, ConvertError> {
    let Recipe::Rows { parts, order, change } = &made.source else { return Ok(Vec::new()) };
    let own = |part: &Part| &changes[part.shard];
    let name = || parts.first().map(|part| own(part).base.clone()).unwrap_or_default();
    let inexpressible = || E::Inexpressible { name: name(), into: made.name.clone() };
    let mut pairs = Vec::new();
    for part in parts {
        match own(part).what {
            What::Whole(tensor) => {
                // The reference knows no whole tensors but norms.
                if !made.name.contains("_norm") || made.shape.len() != 1 {
                    return Err(E::Unexpected(tensor.entry.name.clone()).into());
                }
                return Ok(vec![whole(made, parts, *order, change, tensor.shard, tensor.entry.range.start)]);
            }
            What::Product(pair) => pairs.push(pair),
        }
    }
    let [first, ..] = &pairs[..] else { return Ok(Vec::new()) };
    if made.name.contains("_norm") || !is_of_rows(change) {
        return Err(inexpressible().into());
    }
    let embeddings = made.name == format!("{}.weight", Tensor::TokenEmbd.name());
    if first.transposed && !embeddings {
        return Err(inexpressible().into());
    }
    let [a_type, b_type] = first.types()?;
    let plain = *order == RowOrder::Natural && parts.iter().all(|part| part.strides.is_none());
    let same = parts.iter().all(|part| part.shard == parts[0].shard);
    let (a, b): (Built, Built) = match made.shape[..] {
        _ if embeddings => {
            if parts.len() != 1 || !plain {
                return Err(inexpressible().into());
            }
            // Rows of A become columns: a token's is read as a row.
            let strides = Some(Strides { row: 1, column: first.columns });
            let a = Part { strides, ..part_of(first.a, 0, a_type) };
            let a =
                Built { shape: vec![first.rank, first.columns], parts: vec![a], order: RowOrder::Natural };
            (a, whole_b(first, b_type))
        }
        [columns, rows] if same && columns == first.columns => {
            let of_b = |part: &Part| rows_of_b(part, first, b_type).ok_or_else(inexpressible);
            let parts = parts.iter().map(of_b).collect::<Result<_, E>>()?;
            if matches!(order, RowOrder::TiledColumns { .. }) {
                return Err(inexpressible().into());
            }
            (whole_a(first, a_type), Built { shape: vec![first.rank, rows], parts, order: *order })
        }
        [columns, rows, count]
            if plain
                && count == parts.len() as u64
                && columns == first.columns
                && rows == first.rows
                && parts.iter().all(|part| part.offset == 0) =>
        {
            stacked(&pairs, [a_type, b_type])?.ok_or_else(|| E::Ranks(name()))?
        }
        _ => return Err(inexpressible().into()),
    };
    let recipe = |end: &str, built: Built, change: Arithmetic| {
        let ty = out_type.of_rows(built.shape[0]);
        let source = Recipe::Rows { parts: built.parts, order: built.order, change };
        TensorRecipe { name: format!("{}{end}", made.name), shape: built.shape, ty, source }
    };
    Ok(vec![recipe(".lora_a", a, Arithmetic::None), recipe(".lora_b", b, change.clone())])
}

/// A or B, or a stack of them.
struct Built {
    shape: Vec<u64>,
    parts: Vec<Part>,
    order: RowOrder,
}

/// Whether what is done to the values of a matrix can be done to those of B alone.
fn is_of_rows(change: &Arithmetic) -> bool {
    *change == Arithmetic::None
}

/// A part of one of the adapter's tensors, from its value `start` on.
fn part_of(tensor: &SourceTensor, start: u64, ty: GgmlType) -> Part {
    let before = ty.bytes_of(start).expect("single values are blocks of these types");
    Part::new(&tensor.entry.name, tensor.shard, tensor.entry.range.start + before, ty)
}

fn whole_a(pair: &Pair<'_>, ty: GgmlType) -> Built {
    Built {
        shape: vec![pair.columns, pair.rank],
        parts: vec![part_of(pair.a, 0, ty)],
        order: RowOrder::Natural,
    }
}

fn whole_b(pair: &Pair<'_>, ty: GgmlType) -> Built {
    Built { shape: vec![pair.rank, pair.rows], parts: vec![part_of(pair.b, 0, ty)], order: RowOrder::Natural }
}

/// The rows of B that make these rows of the change; `None` where they are no whole ones.
fn rows_of_b(part: &Part, pair: &Pair<'_>, ty: GgmlType) -> Option<Part> {
    let rows = |values: u64| values.is_multiple_of(pair.columns).then(|| values / pair.columns);
    let start = rows(part.offset / STAND_IN.block_bytes() as u64)?;
    let strides = match part.strides {
        None => None,
        Some(Strides { row, column: 1 }) => Some(Strides { row: rows(row)? * pair.rank, column: 1 }),
        Some(_) => return None,
    };
    Some(Part { strides, ..part_of(pair.b, start * pair.rank, ty) })
}

/// All A and all B, where they are alike; none where ranks or types differ.
fn stacked(pairs: &[Pair<'_>], types: [GgmlType; 2]) -> Result<Option<(Built, Built)>, ConvertError> {
    let first = &pairs[0];
    for pair in pairs {
        if pair.types()? != types || pair.rank != first.rank {
            return Ok(None);
        }
    }
    let stack = |mut one: Built, parts: Vec<Part>| {
        one.shape.push(parts.len() as u64);
        Built { parts, ..one }
    };
    let a = pairs.iter().map(|pair| part_of(pair.a, 0, types[0])).collect();
    let b = pairs.iter().map(|pair| part_of(pair.b, 0, types[1])).collect();
    Ok(Some((stack(whole_a(first, types[0]), a), stack(whole_b(first, types[1]), b))))
}

/// A tensor that the adapter has as it is: the recipe with the parts where they really lie.
fn whole(
    made: &TensorRecipe,
    parts: &[Part],
    order: RowOrder,
    change: &Arithmetic,
    shard: usize,
    start: u64,
) -> TensorRecipe {
    let parts =
        parts.iter().map(|part| Part { shard, offset: start + part.offset, ..part.clone() }).collect();
    TensorRecipe { source: Recipe::Rows { parts, order, change: change.clone() }, ..made.clone() }
}
