//! Cutting tensors into slabs of rows, and making one slab: read, reorder, to f32, to every type wanted.

use std::ops::Range;
use std::sync::Arc;

use super::exp::exp;
use super::loss::{Loss, Meter};
use super::pool::{Bytes, Pool};
use super::source::{self, Reader};
use super::{PassError, PassOptions, PassReport};
use crate::checkpoint::Weights;
use crate::convert::{Blueprint, Change, Recipe, RowOrder, TensorRecipe};
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
    let (parts, order) = match &recipe.source {
        Recipe::Rows { parts, order, .. } => (parts.len().max(1) as u64, *order),
        Recipe::Values(_) => (1, RowOrder::Natural),
    };
    // A vector in several parts, or reordered, has rows of single values.
    let single = recipe.shape.len() == 1 && (parts > 1 || order != RowOrder::Natural);
    let (rows, values) = if single { (recipe.row_values(), 1) } else { (recipe.rows(), recipe.row_values()) };
    let count = rows / parts;
    let together = match order {
        RowOrder::Natural | RowOrder::TiledColumns { .. } => 1,
        RowOrder::Rope { heads } => count / heads,
    };
    Rows { count, values, together }
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
                let source_bytes = source_bytes(r, part, &(start..end), &rows);
                slabs.push(Slab { tensor, recipe, part, rows: start..end, values, source_bytes, last });
                start = end;
            }
        }
    }
    slabs
}

/// Values in the largest slab of a tensor, and bytes that are held while it is made; see [`slabs`].
pub(super) fn largest(recipe: &TensorRecipe, size: u64) -> (u64, u64) {
    let rows = rows_of(recipe);
    let step = step(recipe, size).min(rows.count);
    let values = step * rows.values;
    // As it comes, what is made of that, reordered, and as the base type.
    let held = match part_rows(recipe, 0, &(0..step), &rows) {
        Some(rows) => rows.gaps_and_codes() + 3 * rows.made_bytes(),
        None => 3 * GgmlType::F32.bytes_of(values).unwrap_or(0),
    };
    // And as f32.
    (values, held + 4 * values)
}

/// Rows of a slab of about `size` values.
fn step(recipe: &TensorRecipe, size: u64) -> u64 {
    let rows = rows_of(recipe);
    let groups = (size / (rows.values * rows.together).max(1)).max(1);
    if recipe.shape.len() == 1 {
        // A bias must stay whole for the types' blocks.
        return rows.count;
    }
    let least = part_rows(recipe, 0, &(0..1), &rows).map_or(1, |rows| rows.least());
    (groups * rows.together).max(least)
}

/// These rows of a part; `None` where nothing is read.
fn part_rows<'a>(
    recipe: &'a TensorRecipe,
    part: usize,
    range: &Range<u64>,
    rows: &Rows,
) -> Option<source::Rows<'a>> {
    let Recipe::Rows { parts, .. } = &recipe.source else { return None };
    Some(source::Rows { part: &parts[part], rows: range.clone(), values: rows.values })
}

/// What is done to the source's values.
fn change_of(recipe: &TensorRecipe) -> &Change {
    match &recipe.source {
        Recipe::Rows { change, .. } => change,
        Recipe::Values(_) => &Change::None,
    }
}

/// Bytes that these rows of a part take in the source.
fn source_bytes(recipe: &TensorRecipe, part: usize, range: &Range<u64>, rows: &Rows) -> u64 {
    match part_rows(recipe, part, range, rows) {
        Some(rows) => rows.source_bytes(),
        None => (range.end - range.start) * rows.values * size_of::<f32>() as u64,
    }
}

/// Shard and bytes of what making the slab reads, in order.
pub(super) fn reads_of(slab: &Slab, recipe: &TensorRecipe) -> Vec<(usize, Range<u64>)> {
    part_rows(recipe, slab.part, &slab.rows, &rows_of(recipe)).map(|rows| rows.reads()).unwrap_or_default()
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
    pool: Arc<Pool>,
    check_finite: bool,
    stats: bool,
    reader: Reader,
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
        pool: Arc<Pool>,
        options: &PassOptions,
    ) -> Self {
        Worker {
            weights,
            blueprint,
            imatrix,
            pool,
            check_finite: options.check_finite,
            stats: options.stats,
            reader: Reader::default(),
            read: Vec::new(),
            ordered: Vec::new(),
            floats: Vec::new(),
            decoded: Vec::new(),
            losses: Vec::new(),
            report: PassReport::default(),
        }
    }

    /// The slab's bytes in each of the types wanted, in their order; equal types share theirs.
    pub(super) fn make(&mut self, slab: &Slab, wanted: &[GgmlType]) -> Result<Vec<Arc<Bytes>>, PassError> {
        let blueprint = self.blueprint;
        let recipe = &blueprint.tensors[slab.recipe];
        let base = recipe.ty;
        let source = self.load(slab, recipe)?;

        // What the base file would hold. `floats` are its values, where anything needs them.
        let mut base_bytes = None;
        let wants_base = wanted.contains(&base);
        let wants_floats = wanted.iter().any(|t| *t != base);
        let change = change_of(recipe);
        if source == base && *change == Change::None {
            if wants_floats {
                self.decode(source, slab.values, None);
            }
            if wants_base {
                let mut bytes = self.pool.take(self.ordered.len());
                bytes.swap(&mut self.ordered);
                base_bytes = Some(Arc::new(bytes));
            }
        } else {
            self.decode(source, slab.values, None);
            self.change(change, source, slab, recipe);
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
            self.check(slab, recipe, base_bytes.as_deref().map(|b| &**b), wants_floats)?;
        }

        let mut made: Vec<(GgmlType, Arc<Bytes>)> = Vec::new();
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
        let part = &parts[slab.part];
        let wanted = source::Rows { part, rows: slab.rows.clone(), values: rows.values };
        let buffer = if order == RowOrder::Natural { &mut self.ordered } else { &mut self.read };
        self.reader
            .fill(self.weights, &wanted, buffer)
            .map_err(|source| PassError::Read { tensor: recipe.name.clone(), source })?;
        if order != RowOrder::Natural {
            // The slab holds whole heads, so every source row of its output rows is in it.
            let row_bytes = self.read.len() / (slab.rows.end - slab.rows.start) as usize;
            self.ordered.resize(self.read.len(), 0);
            let blocks = order.source_blocks();
            for (row, to) in slab.rows.clone().zip(self.ordered.chunks_exact_mut(row_bytes)) {
                let from = (order.source_row(row, rows.count) - slab.rows.start) as usize * row_bytes;
                let from = &self.read[from..from + row_bytes];
                if blocks.is_empty() {
                    to.copy_from_slice(from);
                    continue;
                }
                let block_bytes = row_bytes / blocks.len();
                for (to, block) in to.chunks_exact_mut(block_bytes).zip(&blocks) {
                    to.copy_from_slice(&from[block * block_bytes..][..block_bytes]);
                }
            }
        }
        Ok(part.ty)
    }

    fn decode(&mut self, ty: GgmlType, values: u64, bytes: Option<&[u8]>) {
        self.floats.resize(values as usize, 0.0);
        block::dequantize(ty, bytes.unwrap_or(&self.ordered), &mut self.floats);
    }

    /// Does to each value what the recipe says, as torch does: in the source's precision, and BF16 in single.
    fn change(&mut self, change: &Change, source: GgmlType, slab: &Slab, recipe: &TensorRecipe) {
        let half = source == GgmlType::F16;
        let rounded = |x: f32| if half { half::f16::from_f32(x).to_f32() } else { x };
        match change {
            Change::None => {}
            Change::Plus(number) => self.floats.iter_mut().for_each(|x| *x = rounded(*x + number)),
            Change::NegativeExp => {
                self.floats.iter_mut().for_each(|x| *x = -rounded(exp(*x)));
            }
            Change::Times(factors) => {
                let rows = rows_of(recipe);
                let first = slab.part as u64 * rows.count + slab.rows.start;
                for (row, values) in (first..).zip(self.floats.chunks_exact_mut(rows.values as usize)) {
                    for factor in factors.of_row(row) {
                        values.iter_mut().for_each(|x| *x = rounded(*x * factor));
                    }
                }
            }
        }
    }

    /// The slab's values in this type; each run of them by its importance.
    fn quantize(
        &mut self,
        ty: GgmlType,
        recipe: &TensorRecipe,
        runs: &[(Range<usize>, Option<&[f32]>)],
    ) -> Result<Arc<Bytes>, PassError> {
        let overflow = || PassError::Overflow { tensor: recipe.name.clone(), ty };
        let mut bytes = self.pool.take(ty.bytes_of(self.floats.len() as u64).ok_or_else(overflow)? as usize);
        // Of a vector in parts, a slab has a part.
        let row = (recipe.row_values() as usize).min(self.floats.len());
        for (values, importance) in runs {
            if importance.is_none() && block::requires_importance(ty) {
                return Err(PassError::Importance { tensor: recipe.name.clone(), ty });
            }
            let out = &mut bytes[blocks_of(ty, values)];
            block::quantize(ty, &self.floats[values.clone()], row, *importance, out);
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
        let bad = match (base, recipe.ty) {
            // The same values in half the bytes.
            (bytes, GgmlType::F16 | GgmlType::BF16) => {
                block::validate(recipe.ty, bytes.unwrap_or(&self.ordered))
            }
            _ if floats => block::first_non_finite(&self.floats),
            (Some(bytes), ty) => block::validate(ty, bytes).map(|block| block * ty.block_size()),
            (None, _) => None,
        };
        let Some(bad) = bad else { return Ok(()) };
        let rows = rows_of(recipe);
        let before = (slab.part as u64 * rows.count + slab.rows.start) * rows.values;
        let values = recipe.shape.iter().product();
        Err(PassError::NotFinite { tensor: recipe.name.clone(), index: before + bad as u64, values })
    }
}
