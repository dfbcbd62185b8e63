//! Q4_K: super-blocks of 8 blocks of 32 values, `x ~ d * scale * code - dmin * min`, codes of 4 bits, scales and
//! minima of 6.
//!
//! Bytes of a super-block (`block_q4_K`): `d` and `dmin` (f16), 12 of scales and minima, 128 of codes.

use super::affine::Grid;
use super::k45::{BATCH, Bits};
use super::super_block::{self, SUPER_BLOCK};
use super::weighted;
use crate::quantize::simd::multiversion;

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q4_K_ref`).
    pub(super) fn quantize_q4_k(x: &[f32], out: &mut [u8]) = super_block::quantize::<Q4K, BATCH>;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q4_K`).
    pub(super) fn quantize_q4_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = weighted::quantize_weighted::<Q4K>;
}

/// The type, for what the K-quants share.
enum Q4K {}

impl Bits for Q4K {
    const BYTES: usize = 144;
    const GRID: Grid = Grid { top: 15.0, start: -1.0, step: 0.1, steps: 20 };
    const WEIGHTED_GRID: Grid = Grid { top: 15.0, start: -0.9, step: 0.05, steps: 36 };

    /// Two codes a byte, from every 64: the values 32 apart share a byte.
    #[inline(always)]
    fn pack(codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
        for (codes, out) in codes.chunks_exact(64).zip(out.chunks_exact_mut(32)) {
            for l in 0..32 {
                out[l] = codes[l] | codes[l + 32] << 4;
            }
        }
    }
}
