//! Cutting tensors into slabs of rows, and making one slab: read, reorder, to f32, to every type wanted.

use std::ops::Range;
use std::sync::Arc;

use super::loss::{Loss, Meter};
use super::{PassError, PassOptions, PassReport};
use crate::checkpoint::Weights;
use crate::convert::{Blueprint, Part, Recipe, RowOrder, TensorRecipe};
use crate::gguf::GgmlType;
use crate::quantize::{Imatrix, block};

/// Rows of one tensor, within one of its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slab {
    /// Number of the tensor in the outputs' headers.
    pub(super) tensor: usize,
    /// Number of its recipe in the blueprint.
    pub(super) recipe: usize,
    /// Number of the part that holds the rows.
    pub(super) part: usize,
    /// Rows within the part; see [`rows_of`].
    pub(super) rows: Range<u64>,
    /// Values in these rows.
    pub(super) values: u64,
    /// Bytes that they take in the source.
    pub(super) source_bytes: u64,
    /// Whether the tensor ends here.
    pub(super) last: bool,
}

/// Rows of a part, values of a row, and the rows that must stay together.
struct Rows {
    count: u64,
    values: u64,
    together: u64,
}

fn rows_of(recipe: &TensorRecipe) -> Rows {
    let parts = match &recipe.source {
        Recipe::Rows { parts, .. } => parts.len().max(1) as u64,
        Recipe::Values(_) => 1,
    };
    let count = recipe.rows() / parts;
    match recipe.source {
        // The rows of a bias are single values.
        Recipe::Rows { order: RowOrder::Rope { heads }, .. } if recipe.shape.len() == 1 => {
            Rows { count: recipe.row_values(), values: 1, together: recipe.row_values() / heads }
        }
        Recipe::Rows { order: RowOrder::Rope { heads }, .. } => {
            Rows { count, values: recipe.row_values(), together: count / heads }
        }
        _ => Rows { count, values: recipe.row_values(), together: 1 },
    }
}

/// Cuts the tensors into slabs of about `size` values, in the order of `recipes`.
pub(super) fn slabs(blueprint: &Blueprint, recipes: &[usize], size: u64) -> Vec<Slab> {
    let mut slabs = Vec::new();
    for (tensor, &recipe) in recipes.iter().enumerate() {
        let r = &blueprint.tensors[recipe];
        let (rows, step) = (rows_of(r), step(r, size));
        let parts = match &r.source {
            Recipe::Rows { parts, .. } => parts.len(),
            Recipe::Values(_) => 1,
        };
        for part in 0..parts {
            let mut start = 0;
            while start < rows.count {
                let end = (start + step).min(rows.count);
                let values = (end - start) * rows.values;
                let last = part + 1 == parts && end == rows.count;
                let source_bytes = source_bytes(r, values);
                slabs.push(Slab { tensor, recipe, part, rows: start..end, values, source_bytes, last });
                start = end;
            }
        }
    }
    slabs
}

/// Values in the largest slab of a tensor, and bytes that they take in the source; see [`slabs`].
pub(super) fn largest(recipe: &TensorRecipe, size: u64) -> (u64, u64) {
    let rows = rows_of(recipe);
    let values = step(recipe, size).min(rows.count) * rows.values;
    (values, source_bytes(recipe, values))
}

/// Rows of a slab of about `size` values.
fn step(recipe: &TensorRecipe, size: u64) -> u64 {
    let rows = rows_of(recipe);
    let groups = (size / (rows.values * rows.together).max(1)).max(1);
    // A bias must stay whole for the types' blocks.
    if recipe.shape.len() == 1 { rows.count } else { groups * rows.together }
}

/// What is added to the source's values.
fn plus_of(recipe: &TensorRecipe) -> f32 {
    match recipe.source {
        Recipe::Rows { plus, .. } => plus,
        Recipe::Values(_) => 0.0,
    }
}

fn source_bytes(recipe: &TensorRecipe, values: u64) -> u64 {
    let ty = match &recipe.source {
        Recipe::Rows { parts, .. } => parts.first().map_or(GgmlType::F32, |p| p.ty),
        Recipe::Values(_) => GgmlType::F32,
    };
    ty.bytes_of(values).expect("rows are whole blocks of the source type")
}

fn row_bytes(part: &Part, rows: &Rows) -> u64 {
    part.ty.bytes_of(rows.values).expect("rows are whole blocks of the source type")
}

/// Shard and bytes of what making the slab reads; `None` where nothing is read.
pub(super) fn read_of(slab: &Slab, recipe: &TensorRecipe) -> Option<(usize, Range<u64>)> {
    let Recipe::Rows { parts, .. } = &recipe.source else { return None };
    let part = &parts[slab.part];
    let at = part.offset + slab.rows.start * row_bytes(part, &rows_of(recipe));
    Some((part.shard, at..at + slab.source_bytes))
}

/// A slab's values in runs that share their importance: an expert's each, or all of them where there is none.
fn runs<'a>(
    slab: &Slab,
    recipe: &TensorRecipe,
    importance: Option<&'a [f32]>,
) -> Vec<(Range<usize>, Option<&'a [f32]>)> {
    let Some(importance) = importance else { return vec![(0..slab.values as usize, None)] };
    let (row, rows) = (recipe.row_values() as usize, recipe.shape[1]);
    let first = slab.part as u64 * rows_of(recipe).count + slab.rows.start;
    let end = first + (slab.rows.end - slab.rows.start);
    (first / rows..end.div_ceil(rows))
        .map(|expert| {
            let (from, to) = ((expert * rows).max(first), ((expert + 1) * rows).min(end));
            let values = (from - first) as usize * row..(to - first) as usize * row;
            (values, Some(&importance[expert as usize * row..][..row]))
        })
        .collect()
}

/// Where the blocks of these values are among all of them.
fn blocks_of(ty: GgmlType, values: &Range<usize>) -> Range<usize> {
    let at = |value: usize| value / ty.block_size() * ty.block_bytes();
    at(values.start)..at(values.end)
}

/// One thread's buffers.
pub(super) struct Worker<'a> {
    weights: &'a dyn Weights,
    blueprint: &'a Blueprint,
    imatrix: Option<&'a Imatrix>,
    check_finite: bool,
    stats: bool,
    read: Vec<u8>,
    ordered: Vec<u8>,
    floats: Vec<f32>,
    decoded: Vec<f32>,
    /// What the slab that was made last lost, in each type.
    pub(super) losses: Vec<(GgmlType, Loss)>,
    pub(super) report: PassReport,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        weights: &'a dyn Weights,
        blueprint: &'a Blueprint,
        imatrix: Option<&'a Imatrix>,
        options: &PassOptions,
    ) -> Self {
        Worker {
            weights,
            blueprint,
            imatrix,
            check_finite: options.check_finite,
            stats: options.stats,
            read: Vec::new(),
            ordered: Vec::new(),
            floats: Vec::new(),
            decoded: Vec::new(),
            losses: Vec::new(),
            report: PassReport::default(),
        }
    }

    /// The slab's bytes in each of the types wanted, in their order; equal types share theirs.
    pub(super) fn make(&mut self, slab: &Slab, wanted: &[GgmlType]) -> Result<Vec<Arc<Vec<u8>>>, PassError> {
        let blueprint = self.blueprint;
        let recipe = &blueprint.tensors[slab.recipe];
        let base = recipe.ty;
        let source = self.load(slab, recipe)?;

        // What the base file would hold. `floats` are its values, where anything needs them.
        let mut base_bytes = None;
        let wants_base = wanted.contains(&base);
        let wants_floats = wanted.iter().any(|t| *t != base);
        let plus = plus_of(recipe);
        if source == base && plus == 0.0 {
            if wants_floats {
                self.decode(source, slab.values, None);
            }
            if wants_base {
                base_bytes = Some(Arc::new(std::mem::take(&mut self.ordered)));
            }
        } else {
            self.decode(source, slab.values, None);
            self.add(plus, source);
            let exact = base == GgmlType::F32;
            if wants_base || !exact {
                let bytes = self.quantize(base, recipe, &runs(slab, recipe, None))?;
                if wants_floats && !exact {
                    self.decode(base, slab.values, Some(&bytes));
                }
                base_bytes = Some(bytes);
            }
        }
        if self.check_finite {
            self.check(slab, recipe, base_bytes.as_ref().map(|b| b.as_slice()), wants_floats)?;
        }

        let mut made: Vec<(GgmlType, Arc<Vec<u8>>)> = Vec::new();
        if let (true, Some(bytes)) = (wants_base, base_bytes) {
            made.push((base, bytes));
        }
        let importance = self.imatrix.and_then(|m| m.weights(&recipe.name, &recipe.shape));
        let runs = runs(slab, recipe, importance);
        let (mut all, quantized) = (Vec::with_capacity(wanted.len()), made.len());
        for &ty in wanted {
            if let Some((_, bytes)) = made.iter().find(|(t, _)| *t == ty) {
                all.push(Arc::clone(bytes));
                continue;
            }
            let bytes = self.quantize(ty, recipe, &runs)?;
            if block::validate(ty, &bytes).is_some() {
                return Err(PassError::Overflow { tensor: recipe.name.clone(), ty });
            }
            made.push((ty, Arc::clone(&bytes)));
            all.push(bytes);
        }
        self.losses.clear();
        if let (true, [_, ..]) = (self.stats, &made[quantized..]) {
            self.losses.extend(made[quantized..].iter().map(|(ty, _)| (*ty, Loss::default())));
            for (values, importance) in &runs {
                let meter = Meter::new(&self.floats[values.clone()], *importance);
                for ((ty, blocks), (_, sum)) in made[quantized..].iter().zip(&mut self.losses) {
                    sum.add(&meter.loss(*ty, &blocks[blocks_of(*ty, values)], &mut self.decoded));
                }
            }
        }
        self.report.bytes_read += slab.source_bytes;
        Ok(all)
    }

    /// Reads the rows into `ordered`, in the output's order; gives their type.
    fn load(&mut self, slab: &Slab, recipe: &TensorRecipe) -> Result<GgmlType, PassError> {
        let rows = rows_of(recipe);
        let (parts, order) = match &recipe.source {
            Recipe::Values(values) => {
                let from = (slab.rows.start * rows.values) as usize;
                self.ordered.clear();
                self.ordered
                    .extend(values[from..from + slab.values as usize].iter().flat_map(|v| v.to_le_bytes()));
                return Ok(GgmlType::F32);
            }
            Recipe::Rows { parts, order, .. } => (parts, *order),
        };
        let part: &Part = &parts[slab.part];
        let row_bytes = row_bytes(part, &rows);
        let at = part.offset + slab.rows.start * row_bytes;
        let buffer = if order == RowOrder::Natural { &mut self.ordered } else { &mut self.read };
        buffer.resize(slab.source_bytes as usize, 0);
        self.weights
            .read(part.shard, at, buffer)
            .map_err(|source| PassError::Read { tensor: recipe.name.clone(), source })?;
        if order != RowOrder::Natural {
            // The slab holds whole heads, so every source row of its output rows is in it.
            let row_bytes = row_bytes as usize;
            self.ordered.resize(slab.source_bytes as usize, 0);
            for (row, to) in slab.rows.clone().zip(self.ordered.chunks_exact_mut(row_bytes)) {
                let from = (order.source_row(row, rows.count) - slab.rows.start) as usize * row_bytes;
                to.copy_from_slice(&self.read[from..from + row_bytes]);
            }
        }
        Ok(part.ty)
    }

    fn decode(&mut self, ty: GgmlType, values: u64, bytes: Option<&[u8]>) {
        self.floats.resize(values as usize, 0.0);
        block::dequantize(ty, bytes.unwrap_or(&self.ordered), &mut self.floats);
    }

    /// Adds to each value what the recipe says, as torch does: in the source's precision, and BF16 in single.
    fn add(&mut self, plus: f32, source: GgmlType) {
        if plus == 0.0 {
            return;
        }
        let half = source == GgmlType::F16;
        for value in &mut self.floats {
            *value += plus;
            if half {
                *value = half::f16::from_f32(*value).to_f32();
            }
        }
    }

    /// The slab's values in this type; each run of them by its importance.
    fn quantize(
        &mut self,
        ty: GgmlType,
        recipe: &TensorRecipe,
        runs: &[(Range<usize>, Option<&[f32]>)],
    ) -> Result<Arc<Vec<u8>>, PassError> {
        let overflow = || PassError::Overflow { tensor: recipe.name.clone(), ty };
        let mut bytes = vec![0; ty.bytes_of(self.floats.len() as u64).ok_or_else(overflow)? as usize];
        for (values, importance) in runs {
            if importance.is_none() && block::requires_importance(ty) {
                return Err(PassError::Importance { tensor: recipe.name.clone(), ty });
            }
            let out = &mut bytes[blocks_of(ty, values)];
            block::quantize(ty, &self.floats[values.clone()], recipe.row_values() as usize, *importance, out);
        }
        *self.report.quantized.entry(ty).or_default() += 1;
        Ok(Arc::new(bytes))
    }

    /// Looks for NaN and infinities in what the base file would hold.
    fn check(
        &self,
        slab: &Slab,
        recipe: &TensorRecipe,
        base: Option<&[u8]>,
        floats: bool,
    ) -> Result<(), PassError> {
        let bad = if floats {
            block::first_non_finite(&self.floats)
        } else {
            base.and_then(|bytes| block::validate(recipe.ty, bytes)).map(|b| b * recipe.ty.block_size())
        };
        let Some(bad) = bad else { return Ok(()) };
        let rows = rows_of(recipe);
        let before = (slab.part as u64 * rows.count + slab.rows.start) * rows.values;
        let values = recipe.shape.iter().product();
        Err(PassError::NotFinite { tensor: recipe.name.clone(), index: before + bad as u64, values })
    }
}
