//! Q2_K: super-blocks of 16 blocks of 16 values, `x ~ d * scale * code - dmin * min`, codes of 2 bits, scales and
//! minima of 4.
//!
//! Bytes of a super-block (`block_q2_K`): 16 of scales (low) and minima (high), 64 of codes, `d` and `dmin` (f16).

use super::affine::{self, Fit, Grid};
use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::{Aligned, nearest_int, transpose};
use super::super_block::{self, Kind, SUPER_BLOCK, encode_affine, pack_crumbs};
use super::weighted::{self, Affine, Batch, LANES, SUPERS, Weighted, search_affine};
use crate::quantize::simd::multiversion;

/// Bytes of a super-block.
const BYTES: usize = 84;

/// Values in a block.
const BLOCK: usize = 16;

/// Blocks in a super-block.
const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// Values searched at once.
const BATCH: usize = LANES * BLOCK;

/// The reference's candidates for this type.
const GRID: Grid = Grid { top: 3.0, start: -0.5, step: 0.1, steps: 15 };

/// The same for importance.
const WEIGHTED_GRID: Grid = Grid { top: 3.0, start: -0.9, step: 0.05, steps: 36 };

/// Searches that a batch by importance takes.
const GROUPS: usize = SUPERS * BLOCKS / LANES;

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q2_K_ref`).
    pub(super) fn quantize_q2_k(x: &[f32], out: &mut [u8]) = super_block::quantize::<Q2K, BATCH>;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q2_K`).
    pub(super) fn quantize_q2_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = weighted::quantize_weighted::<Q2K>;
}

/// The type, for what the K-quants share.
enum Q2K {}

impl Kind<BATCH> for Q2K {
    const BYTES: usize = BYTES;
    type Fit = Fit<LANES>;

    /// By absolute differences; a value weighs what it measures.
    #[inline(always)]
    fn search(x: &[f32; BATCH]) -> Fit<LANES> {
        let mut t = Aligned([[0.0; LANES]; BLOCK]);
        transpose(x, &mut t.0);
        let mut weights = Aligned(t.0);
        for w in weights.0.as_flattened_mut() {
            *w = w.abs();
        }
        affine::search::<LANES, BLOCK, true>(&t.0, &weights.0, &GRID)
    }

    #[inline(always)]
    fn encode(x: &[f32], fit: &Fit<LANES>, index: usize, out: &mut [u8]) {
        let lanes = index * BLOCKS..(index + 1) * BLOCKS;
        let largest = |v: &[f32]| v.iter().fold(0.0, |max: f32, &v| if v > max { v } else { max });
        let mut fours = [0; BLOCKS];
        let mut quarter = |v: &[f32], shift: u32| {
            let max = largest(v);
            if max > 0.0 {
                let inverse = 15.0 / max;
                for (four, &v) in fours.iter_mut().zip(v) {
                    // Wraps like the reference's byte where a scale is negative.
                    *four |= (nearest_int(inverse * v) << shift) as u8;
                }
                f32_to_f16(max / 15.0)
            } else {
                0
            }
        };
        let d = quarter(&fit.scale[lanes.clone()], 0);
        let dmin = quarter(&fit.min[lanes.clone()], 4);
        write(x, fit, lanes.start, (d, dmin), &fours, out);
    }
}

impl Weighted for Q2K {
    const BYTES: usize = BYTES;
    type Found = Affine<BLOCKS, GROUPS>;

    #[inline(always)]
    fn search(batch: &Batch) -> Self::Found {
        search_affine::<BLOCK, BLOCKS, GROUPS, BATCH>(batch, &WEIGHTED_GRID, 1.0, 15.0)
    }

    #[inline(always)]
    fn encode(x: &[f32], found: &Self::Found, index: usize, out: &mut [u8]) {
        let (s, m) = (found.scales.codes(index), found.mins.codes(index));
        let mut fours = [0; BLOCKS];
        for j in 0..BLOCKS {
            fours[j] = s[j] | m[j] << 4;
        }
        let d = (f32_to_f16(found.scales.scale[index]), f32_to_f16(found.mins.scale[index]));
        let lane = index * BLOCKS;
        write(x, &found.fits[lane / LANES], lane % LANES, d, &fours, out);
    }
}

/// Writes a super-block whose scales are fixed; its codes follow.
#[inline(always)]
fn write(
    x: &[f32],
    fit: &Fit<LANES>,
    lane: usize,
    (d, dmin): (u16, u16),
    fours: &[u8; BLOCKS],
    out: &mut [u8],
) {
    out[..16].copy_from_slice(fours);
    out[80..82].copy_from_slice(&d.to_le_bytes());
    out[82..].copy_from_slice(&dmin.to_le_bytes());
    let (d, dmin) = (f16_to_f32(d), f16_to_f32(dmin));
    let mut codes = [0; SUPER_BLOCK];
    for (j, (x, codes)) in x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).enumerate() {
        let (scale, min) = (d * f32::from(fours[j] & 15), dmin * f32::from(fours[j] >> 4));
        if scale == 0.0 {
            for (code, &x) in codes.iter_mut().zip(x) {
                *code = fit.code(lane + j, x, 3);
            }
        } else {
            encode_affine(x, scale, min, 3, codes);
        }
    }
    pack_crumbs(&codes, &mut out[16..80]);
}
