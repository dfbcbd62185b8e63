//! Q5_K: super-blocks of 8 blocks of 32 values, `x ~ d * scale * code - dmin * min`, codes of 5 bits, scales and
//! minima of 6.
//!
//! Bytes of a super-block (`block_q5_K`): `d` and `dmin` (f16), 12 of scales and minima, 32 of the codes' fifth bits,
//! 128 of their lower four.

use super::affine::Grid;
use super::k45::{self, BATCH};
use super::super_block::{SUPER_BLOCK, whole_batch};
use super::weighted::{Batch, SUPERS};
use crate::quantize::simd::multiversion;

/// Bytes of a super-block.
const BYTES: usize = 176;

/// The reference's candidates for this type.
const GRID: Grid = Grid { top: 31.0, start: -0.5, step: 0.1, steps: 15 };

/// The same for importance.
const WEIGHTED_GRID: Grid = Grid { top: 31.0, start: -0.9, step: 0.05, steps: 36 };

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q5_K_ref`).
    pub(super) fn quantize_q5_k(x: &[f32], out: &mut [u8]) = quantize;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q5_K`).
    pub(super) fn quantize_q5_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = quantize_weighted;
}

#[inline(always)]
fn quantize(x: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; BATCH];
    for (x, out) in x.chunks(BATCH).zip(out.chunks_mut(BATCH / SUPER_BLOCK * BYTES)) {
        let x = whole_batch(x, &mut padded);
        let fit = k45::search(x, &GRID);
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(BYTES)).enumerate() {
            let mut codes = [0; SUPER_BLOCK];
            let (head, bits) = out.split_at_mut(16);
            k45::encode(x, &fit, i, 31, head, &mut codes);
            let (fifth, nibbles) = bits.split_at_mut(32);
            pack(&codes, fifth, nibbles);
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
            let (head, bits) = out.split_at_mut(16);
            k45::encode_weighted(x, &found, i, 31, head, &mut codes);
            let (fifth, nibbles) = bits.split_at_mut(32);
            pack(&codes, fifth, nibbles);
        }
    }
}

/// Nibbles as in Q4_K; the fifth bits of values 32 apart share a byte.
#[inline(always)]
fn pack(codes: &[u8; SUPER_BLOCK], fifth: &mut [u8], nibbles: &mut [u8]) {
    fifth.fill(0);
    for (n, (codes, nibbles)) in codes.chunks_exact(64).zip(nibbles.chunks_exact_mut(32)).enumerate() {
        for l in 0..32 {
            let (first, second) = (codes[l], codes[l + 32]);
            nibbles[l] = first & 15 | second << 4;
            fifth[l] |= (first >> 4 | second >> 4 << 1) << (2 * n);
        }
    }
}
