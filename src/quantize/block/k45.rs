//! What Q4_K and Q5_K share: blocks of 32 values, weights, and 6-bit scales and minima packed in 12 bytes.

use super::affine::{self, Fit, Grid};
use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::{Aligned, nearest_int, transpose};
use super::positive;
use super::super_block::{SUPER_BLOCK, encode_affine};
use super::weighted::{self, SUPERS, weigh};

/// Values in a block.
pub(super) const BLOCK: usize = 32;

/// Blocks in a super-block.
pub(super) const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// Blocks searched at once.
const LANES: usize = 32;

/// Searches that a batch by importance takes.
const GROUPS: usize = SUPERS * BLOCKS / LANES;

/// Values searched at once.
pub(super) const BATCH: usize = LANES * BLOCK;

/// Searches the blocks of a batch; large values weigh more, but small ones still count.
#[inline(always)]
pub(super) fn search(x: &[f32; BATCH], grid: &Grid) -> Fit<LANES> {
    let mut t = Aligned([[0.0; LANES]; BLOCK]);
    transpose(x, &mut t.0);
    let mut mean = [0.0; LANES];
    for x in &t.0 {
        for lane in 0..LANES {
            mean[lane] += x[lane] * x[lane];
        }
    }
    for mean in &mut mean {
        *mean = (*mean / BLOCK as f32).sqrt();
    }
    let mut weights = Aligned([[0.0; LANES]; BLOCK]);
    for (w, x) in weights.0.iter_mut().zip(&t.0) {
        for lane in 0..LANES {
            w[lane] = mean[lane] + x[lane].abs();
        }
    }
    affine::search::<LANES, BLOCK, false>(&t.0, &weights.0, grid)
}

/// Writes `d`, `dmin` and the packed scales and minima of super-block `index` of the search, and gives its codes.
#[inline(always)]
pub(super) fn encode(
    x: &[f32],
    fit: &Fit<LANES>,
    index: usize,
    top: i32,
    head: &mut [u8],
    codes: &mut [u8; SUPER_BLOCK],
) {
    let lanes = index * BLOCKS..(index + 1) * BLOCKS;
    let (scales, mins) = (&fit.scale[lanes.clone()], &fit.min[lanes.clone()]);
    let largest = |v: &[f32]| v.iter().fold(0.0, |max: f32, &v| if v > max { v } else { max });
    let (max_scale, max_min) = (largest(scales), largest(mins));
    let inverse = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
    let (inverse_scale, inverse_min) = (inverse(max_scale), inverse(max_min));
    let mut sixes = [(0, 0); BLOCKS];
    for j in 0..BLOCKS {
        // Through a byte, as in the reference: a negative scale wraps and is then cut to 63.
        sixes[j] = (
            (nearest_int(inverse_scale * scales[j]) as u8).min(63),
            (nearest_int(inverse_min * mins[j]) as u8).min(63),
        );
    }
    let d = (f32_to_f16(max_scale / 63.0), f32_to_f16(max_min / 63.0));
    write(x, fit, lanes.start, d, &sixes, top, head, codes);
}

/// Searches the scales of a batch by importance, and over them those of the scales and minima.
#[inline(always)]
pub(super) fn search_weighted(batch: &weighted::Batch, grid: &Grid) -> Weighted {
    let mut fits = [const { Fit::EMPTY }; GROUPS];
    let (mut scales, mut mins, mut sums) =
        ([[0.0; SUPERS]; BLOCKS], [[0.0; SUPERS]; BLOCKS], [[0.0; SUPERS]; BLOCKS]);
    let (xs, importances) = (batch.x.as_chunks::<BATCH>().0, batch.importance.as_chunks::<BATCH>().0);
    for (group, (x, importance)) in xs.iter().zip(importances).enumerate() {
        let (mut t, mut weights) = (Aligned([[0.0; LANES]; BLOCK]), Aligned([[0.0; LANES]; BLOCK]));
        transpose(x, &mut t.0);
        transpose(importance, &mut weights.0);
        let first = group * LANES / BLOCKS;
        let mut sigma2 = [0.0; LANES];
        for (lane, sigma2) in sigma2.iter_mut().enumerate() {
            *sigma2 = 2.0 * batch.squares[first + lane / BLOCKS] / SUPER_BLOCK as f32;
        }
        let sum = weigh(&t.0, &mut weights.0, &sigma2);
        let fit = affine::search::<LANES, BLOCK, false>(&t.0, &weights.0, grid);
        for (lane, &sum) in sum.iter().enumerate() {
            let (block, sup) = (lane % BLOCKS, first + lane / BLOCKS);
            scales[block][sup] = fit.scale[lane];
            mins[block][sup] = fit.min[lane];
            sums[block][sup] = sum;
        }
        fits[group] = fit;
    }
    Weighted {
        fits,
        scales: positive::search(&scales, &sums, 63.0),
        mins: positive::search(&mins, &sums, 63.0),
    }
}

/// What the searches by importance found for a batch.
pub(super) struct Weighted {
    fits: [Fit<LANES>; GROUPS],
    scales: positive::Fit<SUPERS, BLOCKS>,
    mins: positive::Fit<SUPERS, BLOCKS>,
}

/// Writes what [`encode`] does, for super-block `index` of a batch.
#[inline(always)]
pub(super) fn encode_weighted(
    x: &[f32],
    found: &Weighted,
    index: usize,
    top: i32,
    head: &mut [u8],
    codes: &mut [u8; SUPER_BLOCK],
) {
    let (scales, mins) = (found.scales.codes(index), found.mins.codes(index));
    let mut sixes = [(0, 0); BLOCKS];
    for j in 0..BLOCKS {
        sixes[j] = (scales[j].min(63), mins[j].min(63));
    }
    let d = (f32_to_f16(found.scales.scale[index]), f32_to_f16(found.mins.scale[index]));
    let lane = index * BLOCKS;
    write(x, &found.fits[lane / LANES], lane % LANES, d, &sixes, top, head, codes);
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one place where both ways of finding the scales end")]
fn write(
    x: &[f32],
    fit: &Fit<LANES>,
    lane: usize,
    (d, dmin): (u16, u16),
    sixes: &[(u8, u8); BLOCKS],
    top: i32,
    head: &mut [u8],
    codes: &mut [u8; SUPER_BLOCK],
) {
    head[..2].copy_from_slice(&d.to_le_bytes());
    head[2..4].copy_from_slice(&dmin.to_le_bytes());
    pack_sixes(sixes, &mut head[4..16]);
    let (d, dmin) = (f16_to_f32(d), f16_to_f32(dmin));
    for (j, (x, codes)) in x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).enumerate() {
        let (scale, min) = (d * f32::from(sixes[j].0), dmin * f32::from(sixes[j].1));
        if scale == 0.0 {
            for (code, &x) in codes.iter_mut().zip(x) {
                *code = fit.code(lane + j, x, top);
            }
        } else {
            encode_affine(x, scale, min, top, codes);
        }
    }
}

/// Eight pairs of 6-bit numbers in 12 bytes: the first four scales and minima in the low bits of 8 bytes, the others as
/// nibbles in 4, their upper two bits on top of the first eight.
#[inline(always)]
fn pack_sixes(sixes: &[(u8, u8); BLOCKS], out: &mut [u8]) {
    for j in 0..4 {
        let ((scale, min), (scale4, min4)) = (sixes[j], sixes[j + 4]);
        out[j] = scale | scale4 >> 4 << 6;
        out[j + 4] = min | min4 >> 4 << 6;
        out[j + 8] = scale4 & 15 | (min4 & 15) << 4;
    }
}
