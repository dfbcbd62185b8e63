//! IQ3_XXS and IQ3_S: groups of 4 values, `|x| ~ d * scale * level` with odd levels up to 15 from a grid of 256 or 512
//! points, and the signs of 8 values: all for IQ3_S, else seven and the eighth makes their number even.
//!
//! Bytes of a super-block:
//! - `block_iq3_xxs`: `d` (f16), 64 of points, for each block of 32 values 4 of signs (7 bits for 8 values) with the
//!   scale in the uppermost 4 bits.
//! - `block_iq3_s`: `d`, 64 of points, 8 of points' upper bits, 32 of signs, 4 of scales.

use super::half::f32_to_f16;
use super::lattice::{self, Lookup};
use super::magnitude::{Again, Blocks, Search, columns, largest, scale_codes, sum_of_squares, weigh};
use super::super_block::SUPER_BLOCK;
use crate::quantize::simd::multiversion;

/// Below this a block's largest magnitude is nothing for IQ3_XXS.
const EMPTY: f32 = 1e-8;

/// Scales are odd multiples of `d`, up to this.
const RANGE: f32 = 31.0;

/// The largest scale's number.
const TOP: i32 = 15;

multiversion! {
    /// Quantizes whole rows, by importance if there is any, one weight a column (`quantize_iq3_xxs`).
    pub(super) fn quantize_iq3_xxs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = iq3_xxs;
}

multiversion! {
    /// Quantizes whole rows, by importance if there is any, one weight a column (`quantize_iq3_s`).
    pub(super) fn quantize_iq3_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = iq3_s;
}

#[inline(always)]
fn iq3_xxs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let lattice = lattice::iq3_xxs();
    let search = Search { lattice, lookup: Lookup::new(), steps: 15, step: 0.2, again: Again::OffGrid };
    let super_blocks = x.as_chunks::<SUPER_BLOCK>().0.iter().zip(out.as_chunks_mut::<98>().0);
    for (n, (x, out)) in super_blocks.enumerate() {
        let weights = weigh(x, columns(importance, n), 2.0 * sum_of_squares(x) / 256.0, 0.0);
        let blocks = Blocks::<8, 32>::new::<true>(x, &weights);
        let active = blocks.max.map(|max| max >= EMPTY);
        let fit = search.run(&blocks, &active, &blocks.max, &blocks.max.map(|max| max / 15.0));
        out.fill(0);
        let scale = fit.scale.map(f32::abs);
        let max = largest(&scale);
        if max == 0.0 {
            continue;
        }
        out[..2].copy_from_slice(&f32_to_f16(max / RANGE * 1.0125).to_le_bytes());
        let codes = scale_codes(&scale, max, RANGE, TOP);
        for b in 0..8 {
            let mut rest = u32::from(codes[b]) << 28;
            if active[b] {
                let turn = if fit.scale[b] < 0.0 { 127 } else { 0 };
                for g in 0..8 {
                    out[2 + 8 * b + g] = lattice.index(fit.point(b, g)) as u8;
                }
                for g in 0..4 {
                    rest |= u32::from(blocks.signs[b][g] ^ turn) << (7 * g);
                }
            }
            out[66 + 4 * b..][..4].copy_from_slice(&rest.to_le_bytes());
        }
    }
}

#[inline(always)]
fn iq3_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let lattice = lattice::iq3_s();
    let search = Search { lattice, lookup: Lookup::new(), steps: 9, step: 0.2, again: Again::AllIfAny };
    let super_blocks = x.as_chunks::<SUPER_BLOCK>().0.iter().zip(out.as_chunks_mut::<110>().0);
    for (n, (x, out)) in super_blocks.enumerate() {
        let weights = weigh(x, columns(importance, n), 2.0 * sum_of_squares(x) / 256.0, 0.0);
        let blocks = Blocks::<8, 32>::new::<false>(x, &weights);
        let active = blocks.max.map(|max| max != 0.0);
        let fit = search.run(&blocks, &active, &blocks.max, &blocks.max.map(|max| max / 15.0));
        out.fill(0);
        // As the reference has it: points and signs of a block follow those of the last block that has values, but the
        // points' upper bits are in the block's own place.
        for (at, b) in (0..8).filter(|&b| active[b]).enumerate() {
            let turn = if fit.scale[b] < 0.0 { 255 } else { 0 };
            for g in 0..8 {
                let index = lattice.index(fit.point(b, g));
                out[2 + 8 * at + g] = index as u8;
                out[66 + b] |= ((index >> 8) << g) as u8;
            }
            for g in 0..4 {
                out[74 + 4 * at + g] = blocks.signs[b][g] ^ turn;
            }
        }
        let scale = fit.scale.map(f32::abs);
        let max = largest(&scale);
        if max > 0.0 {
            out[..2].copy_from_slice(&f32_to_f16(max / RANGE * 1.033).to_le_bytes());
            let codes = scale_codes(&scale, max, RANGE, TOP);
            for (codes, out) in codes.as_chunks::<2>().0.iter().zip(&mut out[106..]) {
                *out = codes[0] | codes[1] << 4;
            }
        }
    }
}
