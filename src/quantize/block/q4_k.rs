//! Q4_K: super-blocks of 8 blocks of 32 values, `x ~ d * scale * code - dmin * min`, codes of 4 bits, scales and
//! minima of 6.
//!
//! Bytes of a super-block (`block_q4_K`): `d` and `dmin` (f16), 12 of scales and minima, 128 of codes.

use super::affine::Grid;
use super::k45::{self, BATCH};
use super::super_block::{SUPER_BLOCK, whole_batch};
use super::weighted::{Batch, SUPERS};
use crate::quantize::simd::multiversion;

/// Bytes of a super-block.
const BYTES: usize = 144;

/// The reference's candidates for this type.
const GRID: Grid = Grid { top: 15.0, start: -1.0, step: 0.1, steps: 20 };

/// The same for importance.
const WEIGHTED_GRID: Grid = Grid { top: 15.0, start: -0.9, step: 0.05, steps: 36 };

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q4_K_ref`).
    pub(super) fn quantize_q4_k(x: &[f32], out: &mut [u8]) = quantize;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q4_K`).
    pub(super) fn quantize_q4_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = quantize_weighted;
}

#[inline(always)]
fn quantize(x: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; BATCH];
    for (x, out) in x.chunks(BATCH).zip(out.chunks_mut(BATCH / SUPER_BLOCK * BYTES)) {
        let x = whole_batch(x, &mut padded);
        let fit = k45::search(x, &GRID);
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(BYTES)).enumerate() {
            let mut codes = [0; SUPER_BLOCK];
            let (head, nibbles) = out.split_at_mut(16);
            k45::encode(x, &fit, i, 15, head, &mut codes);
            pack_nibbles(&codes, nibbles);
        }
    }
}

#[inline(always)]
fn quantize_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) {
    let mut batch = Batch::EMPTY;
    for (n, (x, out)) in x.chunks(SUPERS * SUPER_BLOCK).zip(out.chunks_mut(SUPERS * BYTES)).enumerate() {
        batch.fill(x, n * SUPERS, importance);
        let found = k45::search_weighted(&batch, &WEIGHTED_GRID);
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(BYTES)).enumerate() {
            let mut codes = [0; SUPER_BLOCK];
            let (head, nibbles) = out.split_at_mut(16);
            k45::encode_weighted(x, &found, i, 15, head, &mut codes);
            pack_nibbles(&codes, nibbles);
        }
    }
}

/// Two codes a byte, from every 64: the values 32 apart share a byte.
#[inline(always)]
fn pack_nibbles(codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(64).zip(out.chunks_exact_mut(32)) {
        for l in 0..32 {
            out[l] = codes[l] | codes[l + 32] << 4;
        }
    }
}
