//! What Q4_K and Q5_K share: blocks of 32 values, weights, and 6-bit scales and minima packed in 12 bytes.

use super::affine::{self, Fit, Grid};
use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::{Aligned, nearest_int, transpose};
use super::super_block::{Kind, SUPER_BLOCK, encode_affine};
use super::weighted::{Affine, Batch, LANES, SUPERS, Weighted, search_affine};

/// Values in a block.
const BLOCK: usize = 32;

/// Blocks in a super-block.
const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// Bytes of `d`, `dmin`, scales and minima.
const HEAD: usize = 16;

/// Searches that a batch by importance takes.
const GROUPS: usize = SUPERS * BLOCKS / LANES;

/// Values searched at once.
pub(super) const BATCH: usize = LANES * BLOCK;

/// What Q4_K and Q5_K differ in.
pub(super) trait Bits {
    /// Bytes of a super-block: 16 of `d`, `dmin`, scales and minima, then those of the codes.
    const BYTES: usize;

    /// The reference's candidates for this type.
    const GRID: Grid;

    /// The same for importance.
    const WEIGHTED_GRID: Grid;

    /// Writes the codes.
    fn pack(codes: &[u8; SUPER_BLOCK], out: &mut [u8]);
}

impl<B: Bits> Kind<BATCH> for B {
    const BYTES: usize = B::BYTES;
    type Fit = Fit<LANES>;

    #[inline(always)]
    fn search(x: &[f32; BATCH]) -> Self::Fit {
        search(x, &B::GRID)
    }

    #[inline(always)]
    fn encode(x: &[f32], fit: &Self::Fit, index: usize, out: &mut [u8]) {
        let mut codes = [0; SUPER_BLOCK];
        let (head, tail) = out.split_at_mut(HEAD);
        encode(x, fit, index, B::GRID.top as i32, head, &mut codes);
        B::pack(&codes, tail);
    }
}

impl<B: Bits> Weighted for B {
    const BYTES: usize = B::BYTES;
    type Found = Affine<BLOCKS, GROUPS>;

    #[inline(always)]
    fn search(batch: &Batch) -> Self::Found {
        search_affine::<BLOCK, BLOCKS, GROUPS, BATCH>(batch, &B::WEIGHTED_GRID, 2.0, 63.0)
    }

    #[inline(always)]
    fn encode(x: &[f32], found: &Self::Found, index: usize, out: &mut [u8]) {
        let mut codes = [0; SUPER_BLOCK];
        let (head, tail) = out.split_at_mut(HEAD);
        encode_weighted(x, found, index, B::GRID.top as i32, head, &mut codes);
        B::pack(&codes, tail);
    }
}

/// Searches the blocks of a batch; large values weigh more, but small ones still count.
#[inline(always)]
fn search(x: &[f32; BATCH], grid: &Grid) -> Fit<LANES> {
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
fn encode(
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

/// Writes what [`encode`] does, for super-block `index` of a batch.
#[inline(always)]
fn encode_weighted(
    x: &[f32],
    found: &Affine<BLOCKS, GROUPS>,
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
