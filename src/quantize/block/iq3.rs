//! IQ3_XXS and IQ3_S: groups of 4 values, `|x| ~ d * scale * level` with odd levels up to 15 from a grid of 256 or 512
//! points, and the signs of 8 values: all for IQ3_S, else seven and the eighth makes their number even.
//!
//! Bytes of a super-block:
//! - `block_iq3_xxs`: `d` (f16), 64 of points, for each block of 32 values 4 of signs (7 bits for 8 values) with the
//!   scale in the uppermost 4 bits.
//! - `block_iq3_s`: `d`, 64 of points, 8 of points' upper bits, 32 of signs, 4 of scales.

use super::lattice::{self, Lookup};
use super::magnitude::{
    Again, Blocks, Search, columns, pack_nibbles, sum_of_squares, super_blocks, weigh, write_scale,
};
use crate::quantize::simd::multiversion;

/// Below this a block's largest magnitude is nothing for IQ3_XXS.
const EMPTY: f32 = 1e-8;

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
    for (n, (x, out)) in super_blocks::<98>(x, out) {
        let weights = weigh(x, columns(importance, n), 2.0 * sum_of_squares(x) / 256.0, 0.0);
        let blocks = Blocks::<8, 32>::new::<true>(x, &weights);
        let active = blocks.max.map(|max| max >= EMPTY);
        let fit = search.run(&blocks, &active, &blocks.max, &blocks.max.map(|max| max / 15.0));
        out.fill(0);
        let Some(codes) = write_scale(&fit.scale, 1.0125, out) else { continue };
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
    for (n, (x, out)) in super_blocks::<110>(x, out) {
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
        if let Some(codes) = write_scale(&fit.scale, 1.033, out) {
            pack_nibbles(&codes, &mut out[106..]);
        }
    }
}
