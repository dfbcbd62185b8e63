//! Q5_K: super-blocks of 8 blocks of 32 values, `x ~ d * scale * code - dmin * min`, codes of 5 bits, scales and
//! minima of 6.
//!
//! Bytes of a super-block (`block_q5_K`): `d` and `dmin` (f16), 12 of scales and minima, 32 of the codes' fifth bits,
//! 128 of their lower four.

use super::affine::Grid;
use super::k45::{BATCH, Bits};
use super::super_block::{self, SUPER_BLOCK};
use super::weighted;
use crate::quantize::simd::multiversion;

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q5_K_ref`).
    pub(super) fn quantize_q5_k(x: &[f32], out: &mut [u8]) = super_block::quantize::<Q5K, BATCH>;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q5_K`).
    pub(super) fn quantize_q5_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = weighted::quantize_weighted::<Q5K>;
}

/// The type, for what the K-quants share.
enum Q5K {}

impl Bits for Q5K {
    const BYTES: usize = 176;
    const GRID: Grid = Grid { top: 31.0, start: -0.5, step: 0.1, steps: 15 };
    const WEIGHTED_GRID: Grid = Grid { top: 31.0, start: -0.9, step: 0.05, steps: 36 };

    /// Nibbles as in Q4_K; the fifth bits of values 32 apart share a byte.
    #[inline(always)]
    fn pack(codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
        let (fifth, nibbles) = out.split_at_mut(32);
        fifth.fill(0);
        for (n, (codes, nibbles)) in codes.chunks_exact(64).zip(nibbles.chunks_exact_mut(32)).enumerate() {
            for l in 0..32 {
                let (first, second) = (codes[l], codes[l + 32]);
                nibbles[l] = first & 15 | second << 4;
                fifth[l] |= (first >> 4 | second >> 4 << 1) << (2 * n);
            }
        }
    }
}
