//! Q4_0, Q4_1, Q5_0 and Q5_1 with an importance matrix: scales (and minima) found by weighted search.
//!
//! In: whole rows, and one importance a column. Out: blocks as `quantize_row_*_impl` writes them. A value weighs its
//! column's importance times `sqrt(sigma2 + x^2)`, with the mean square of its row; then the searches of the K-quants
//! run, one block a lane.

use super::affine::{self, Grid};
use super::half::f32_to_f16;
use super::lanes::{Lanes, transpose};
use super::legacy::{QK, pack};
use super::symmetric;
use crate::quantize::simd::multiversion;

/// Blocks searched at once.
const N: usize = 64;

/// The next blocks of a slab, transposed, and their weights.
#[repr(align(64))]
struct Batch {
    x: [Lanes<N>; QK],
    weights: [Lanes<N>; QK],
}

/// The mean square of a row, added up in order.
fn mean_square(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |sum, x| sum + x * x) / row.len() as f32
}

impl Batch {
    /// The blocks from value `start` of the slab on; those after its end are zero. `sigma2` belongs to the row before.
    #[inline(always)]
    fn new(slab: &[f32], start: usize, importance: &[f32], sigma2: &mut f32) -> Self {
        let row = importance.len();
        let (mut x, mut weights) = ([0.0; N * QK], [0.0; N * QK]);
        let blocks = slab[start..].chunks_exact(QK).take(N);
        for (b, block) in blocks.enumerate() {
            let at = start + b * QK;
            if at.is_multiple_of(row) {
                *sigma2 = mean_square(&slab[at..at + row]);
            }
            let columns = &importance[at % row..][..QK];
            for j in 0..QK {
                x[b * QK + j] = block[j];
                weights[b * QK + j] = columns[j] * (*sigma2 + block[j] * block[j]).sqrt();
            }
        }
        let mut batch = Batch { x: [[0.0; N]; QK], weights: [[0.0; N]; QK] };
        transpose(&x, &mut batch.x);
        transpose(&weights, &mut batch.weights);
        batch
    }
}

/// Bytes of the block, less its scales.
#[inline(always)]
fn code_bytes(bits: u32) -> usize {
    if bits == 5 { 4 + QK / 2 } else { QK / 2 }
}

#[inline(always)]
fn symmetric_rows(x: &[f32], importance: &[f32], bits: u32, out: &mut [u8]) {
    let half = 1 << (bits - 1);
    let bytes = 2 + code_bytes(bits);
    let mut sigma2 = 0.0;
    for (n, out) in out.chunks_mut(N * bytes).enumerate() {
        let start = n * N * QK;
        let batch = Batch::new(x, start, importance, &mut sigma2);
        let fit = symmetric::search(&batch.x, &batch.weights, half as f32);
        for (b, out) in out.chunks_exact_mut(bytes).enumerate() {
            let mut codes = [0; QK];
            for (code, x) in codes.iter_mut().zip(&x[start + b * QK..]) {
                *code = fit.code(b, *x, half);
            }
            out[..2].copy_from_slice(&f32_to_f16(fit.scale[b]).to_le_bytes());
            pack(&codes, bits, &mut out[2..]);
        }
    }
}

#[inline(always)]
fn affine_rows(x: &[f32], importance: &[f32], bits: u32, out: &mut [u8]) {
    let top = (1 << bits) - 1;
    let grid = Grid { top: top as f32, start: -0.9, step: 0.05, steps: 36 };
    let bytes = 4 + code_bytes(bits);
    let mut sigma2 = 0.0;
    for (n, out) in out.chunks_mut(N * bytes).enumerate() {
        let start = n * N * QK;
        let batch = Batch::new(x, start, importance, &mut sigma2);
        let fit = affine::search::<N, QK, false>(&batch.x, &batch.weights, &grid);
        for (b, out) in out.chunks_exact_mut(bytes).enumerate() {
            let mut codes = [0; QK];
            for (code, x) in codes.iter_mut().zip(&x[start + b * QK..]) {
                *code = fit.code(b, *x, top);
            }
            out[..2].copy_from_slice(&f32_to_f16(fit.scale[b]).to_le_bytes());
            out[2..4].copy_from_slice(&f32_to_f16(-fit.min[b]).to_le_bytes());
            pack(&codes, bits, &mut out[4..]);
        }
    }
}

multiversion! {
    /// `quantize_row_q4_0_impl` and `quantize_row_q5_0_impl`.
    pub(super) fn quantize_symmetric(x: &[f32], importance: &[f32], bits: u32, out: &mut [u8]) = symmetric_rows;
}
multiversion! {
    /// `quantize_row_q4_1_impl` and `quantize_row_q5_1_impl`.
    pub(super) fn quantize_affine(x: &[f32], importance: &[f32], bits: u32, out: &mut [u8]) = affine_rows;
}
