//! Q3_K: super-blocks of 16 blocks of 16 values, `x ~ d * scale * code`, codes from -4 to 3, signed scales of 6 bits.
//!
//! Bytes of a super-block (`block_q3_K`): 32 of the codes' third bits, 64 of their lower two, 12 of scales, `d` (f16).

use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::{nearest_int, transpose};
use super::refined::{self, Fit};
use super::super_block::{self, Kind, SUPER_BLOCK, encode_symmetric, pack_crumbs};
use super::symmetric;
use super::weighted::{self, Batch, SUPERS, Weighted, weigh};
use crate::quantize::simd::multiversion;

/// Bytes of a super-block.
const BYTES: usize = 110;

/// Values in a block.
const BLOCK: usize = 16;

/// Blocks in a super-block.
const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// Blocks searched at once.
const LANES: usize = 64;

/// Values searched at once.
const BATCH: usize = LANES * BLOCK;

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q3_K_ref`).
    pub(super) fn quantize_q3_k(x: &[f32], out: &mut [u8]) = super_block::quantize::<Q3K, BATCH>;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q3_K`).
    pub(super) fn quantize_q3_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = weighted::quantize_weighted::<Q3K>;
}

/// The type, for what the K-quants share.
enum Q3K {}

impl Kind<BATCH> for Q3K {
    const BYTES: usize = BYTES;
    type Fit = Fit<LANES, BLOCK>;

    #[inline(always)]
    fn search(x: &[f32; BATCH]) -> Self::Fit {
        let mut t = [[0.0; LANES]; BLOCK];
        transpose(x, &mut t);
        refined::search(&t)
    }

    #[inline(always)]
    fn encode(x: &[f32], fit: &Self::Fit, index: usize, out: &mut [u8]) {
        let lane = index * BLOCKS;
        let scales = &fit.scale[lane..lane + BLOCKS];
        let (mut amax, mut max) = (0.0, 0.0);
        for &scale in scales {
            if scale.abs() > amax {
                (amax, max) = (scale.abs(), scale);
            }
        }
        // The scale largest in magnitude becomes -32; a block of nothing has scale -32, too, but `d` is 0.
        let mut sixes = [0; BLOCKS];
        let mut d = 0;
        if max != 0.0 {
            let inverse = -32.0 / max;
            for (six, &scale) in sixes.iter_mut().zip(scales) {
                // Through a signed byte, as in the reference.
                *six = ((nearest_int(inverse * scale) as i8).clamp(-32, 31) + 32) as u8;
            }
            d = f32_to_f16(1.0 / inverse);
        }
        let mut codes = [0; SUPER_BLOCK];
        for (j, (x, codes)) in x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).enumerate() {
            let scale = f16_to_f32(d) * (f32::from(sixes[j]) - 32.0);
            if scale == 0.0 {
                for (i, code) in codes.iter_mut().enumerate() {
                    *code = fit.code(lane + j, i);
                }
            } else {
                encode_symmetric(x, scale, 4, codes);
            }
        }
        write(d, &sixes, &codes, out);
    }
}

#[inline(always)]
fn write(d: u16, sixes: &[u8; BLOCKS], codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
    let (third, rest) = out.split_at_mut(32);
    third.fill(0);
    for (n, codes) in codes.chunks_exact(32).enumerate() {
        for (third, code) in third.iter_mut().zip(codes) {
            *third |= code >> 2 << n;
        }
    }
    let mut low = *codes;
    for code in &mut low {
        *code &= 3;
    }
    let (crumbs, tail) = rest.split_at_mut(64);
    pack_crumbs(&low, crumbs);
    for j in 0..8 {
        tail[j] = sixes[j] & 15 | sixes[j + 8] << 4;
    }
    for j in 0..4 {
        tail[j + 8] =
            sixes[j] >> 4 | sixes[j + 4] >> 4 << 2 | sixes[j + 8] >> 4 << 4 | sixes[j + 12] >> 4 << 6;
    }
    tail[12..].copy_from_slice(&d.to_le_bytes());
}

/// Blocks searched at once by importance, and how often that goes into a batch.
const WEIGHTED_LANES: usize = 64;
const GROUPS: usize = SUPERS * BLOCKS / WEIGHTED_LANES;

/// What the searches by importance found for a batch: for each block, and over them for each super-block.
struct Found {
    fits: [symmetric::Fit<WEIGHTED_LANES>; GROUPS],
    scales: [[f32; SUPERS]; BLOCKS],
    over: symmetric::Fit<SUPERS>,
}

impl Weighted for Q3K {
    const BYTES: usize = BYTES;
    type Found = Found;

    #[inline(always)]
    fn search(batch: &Batch) -> Found {
        const VALUES: usize = WEIGHTED_LANES * BLOCK;
        let mut fits = [const { symmetric::Fit::EMPTY }; GROUPS];
        let (mut scales, mut sums) = ([[0.0; SUPERS]; BLOCKS], [[0.0; SUPERS]; BLOCKS]);
        let (xs, importances) = (batch.x.as_chunks::<VALUES>().0, batch.importance.as_chunks::<VALUES>().0);
        for (group, (x, importance)) in xs.iter().zip(importances).enumerate() {
            let (mut t, mut weights) = ([[0.0; WEIGHTED_LANES]; BLOCK], [[0.0; WEIGHTED_LANES]; BLOCK]);
            transpose(x, &mut t);
            transpose(importance, &mut weights);
            let first = group * WEIGHTED_LANES / BLOCKS;
            let mut sigma2 = [0.0; WEIGHTED_LANES];
            for (lane, sigma2) in sigma2.iter_mut().enumerate() {
                *sigma2 = 2.0 * batch.squares[first + lane / BLOCKS] / SUPER_BLOCK as f32;
            }
            let sum = weigh(&t, &mut weights, &sigma2);
            let fit = symmetric::search(&t, &weights, 4.0);
            for (lane, &sum) in sum.iter().enumerate() {
                let (block, sup) = (lane % BLOCKS, first + lane / BLOCKS);
                scales[block][sup] = fit.scale[lane];
                sums[block][sup] = sum;
            }
            fits[group] = fit;
        }
        let over = symmetric::search(&scales, &sums, 32.0);
        Found { fits, scales, over }
    }

    #[inline(always)]
    fn encode(x: &[f32], found: &Found, index: usize, out: &mut [u8]) {
        let d = f32_to_f16(found.over.scale[index]);
        let (mut sixes, mut codes) = ([0; BLOCKS], [0; SUPER_BLOCK]);
        for (j, (x, codes)) in x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).enumerate() {
            sixes[j] = found.over.code(index, found.scales[j][index], 32);
            let scale = f16_to_f32(d) * (f32::from(sixes[j]) - 32.0);
            if scale == 0.0 {
                let lane = index * BLOCKS + j;
                for (code, &x) in codes.iter_mut().zip(x) {
                    *code = found.fits[lane / WEIGHTED_LANES].code(lane % WEIGHTED_LANES, x, 4);
                }
            } else {
                encode_symmetric(x, scale, 4, codes);
            }
        }
        write(d, &sixes, &codes, out);
    }
}
