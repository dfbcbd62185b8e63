//! IQ2_XXS, IQ2_XS and IQ2_S: groups of 8 values, `|x| ~ d * scale * level` with levels 1, 3 and 5 from a grid of 256,
//! 512 or 1024 points, and their signs: all eight for IQ2_S, else seven and the eighth makes their number even.
//!
//! Bytes of a super-block:
//! - `block_iq2_xxs`: `d` (f16); for each block of 32 values 4 of points and 4 of signs (7 bits a group) with the scale
//!   in the uppermost 4 bits.
//! - `block_iq2_xs`: `d`; 2 for each group, 9 bits of point and 7 of signs; 8 of scales, one nibble for 16 values.
//! - `block_iq2_s`: `d`; 32 of points, 32 of signs, 8 of points' upper two bits, 8 of scales.

use super::lattice::{self, Lookup};
use super::magnitude::{
    Again, Blocks, Search, columns, pack_nibbles, sum_of_squares, super_blocks, weigh, write_scale,
};
use super::positive;
use crate::quantize::simd::multiversion;

/// Below this a block's largest magnitude is nothing, and what it is for IQ2_S.
const EMPTY: f32 = 1e-15;
const EMPTY_S: f32 = 1e-8;

/// How many levels there are; IQ2_XXS's first guess is made with one more.
const LEVELS: f32 = 3.0;

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_iq2_xxs`).
    pub(super) fn quantize_iq2_xxs(x: &[f32], importance: &[f32], out: &mut [u8]) = iq2_xxs;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_iq2_xs`).
    pub(super) fn quantize_iq2_xs(x: &[f32], importance: &[f32], out: &mut [u8]) = iq2_xs;
}

multiversion! {
    /// Quantizes whole rows, by importance if there is any, one weight a column (`quantize_iq2_s`).
    pub(super) fn quantize_iq2_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = iq2_s;
}

#[inline(always)]
fn iq2_xxs(x: &[f32], importance: &[f32], out: &mut [u8]) {
    let lattice = lattice::iq2_xxs();
    let search = Search { lattice, lookup: Lookup::new(), steps: 6, step: 0.1, again: Again::All };
    for (n, (x, out)) in super_blocks::<66>(x, out) {
        let weights = weigh(x, columns(Some(importance), n), sum_of_squares(x) / 256.0, 0.0);
        let blocks = Blocks::<8, 32>::new::<true>(x, &weights);
        let first = positive::search(&blocks.tx, &blocks.weights, LEVELS + 1.0).scale;
        let range = first.map(|scale| scale * LEVELS);
        let active = std::array::from_fn(|b| blocks.max[b] >= EMPTY && range[b] > 0.0);
        let fit = search.run(&blocks, &active, &range, &first);
        out.fill(0);
        let Some(codes) = write_scale(&fit.scale, 1.0, out) else { continue };
        for (b, out) in out[2..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut rest = u32::from(codes[b]) << 28;
            if active[b] {
                let turn = if fit.scale[b] < 0.0 { 127 } else { 0 };
                for (g, &signs) in blocks.signs[b].iter().enumerate() {
                    out[g] = lattice.index(fit.point(b, g)) as u8;
                    rest |= u32::from(signs ^ turn) << (7 * g);
                }
            }
            out[4..].copy_from_slice(&rest.to_le_bytes());
        }
    }
}

#[inline(always)]
fn iq2_xs(x: &[f32], importance: &[f32], out: &mut [u8]) {
    let lattice = lattice::iq2_xs();
    let search = Search { lattice, lookup: Lookup::new(), steps: 9, step: 0.1, again: Again::OffGrid };
    for (n, (x, out)) in super_blocks::<74>(x, out) {
        let weights = weigh(x, columns(Some(importance), n), sum_of_squares(x) / 256.0, 0.0);
        let blocks = Blocks::<16, 16>::new::<true>(x, &weights);
        let active = blocks.max.map(|max| max >= EMPTY);
        let fit = search.run(&blocks, &active, &blocks.max, &blocks.max.map(|max| max / 5.0));
        out.fill(0);
        let Some(codes) = write_scale(&fit.scale, 1.0, out) else { continue };
        for (n, out) in out[2..66].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (b, g) = (n / 2, n % 2);
            if active[b] {
                let turn = if fit.scale[b] < 0.0 { 127 } else { 0 };
                let signs = u16::from(blocks.signs[b][g] ^ turn);
                *out = (lattice.index(fit.point(b, g)) | signs << 9).to_le_bytes();
            }
        }
        pack_nibbles(&codes, &mut out[66..]);
    }
}

#[inline(always)]
fn iq2_s(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let lattice = lattice::iq2_s();
    let search = Search { lattice, lookup: Lookup::new(), steps: 9, step: 0.1, again: Again::OffGrid };
    for (n, (x, out)) in super_blocks::<82>(x, out) {
        let sigma2 = 2.0 * sum_of_squares(x) / 256.0;
        let weights = weigh(x, columns(importance, n), sigma2, 0.25 * sigma2);
        let blocks = Blocks::<16, 16>::new::<false>(x, &weights);
        let active = blocks.max.map(|max| max >= EMPTY_S);
        let fit = search.run(&blocks, &active, &blocks.max, &blocks.max.map(|max| max / 5.0));
        out.fill(0);
        for n in 0..32 {
            let (b, g) = (n / 2, n % 2);
            if active[b] {
                let index = lattice.index(fit.point(b, g));
                out[2 + n] = index as u8;
                out[34 + n] = blocks.signs[b][g] ^ if fit.scale[b] < 0.0 { 255 } else { 0 };
                out[66 + n / 4] |= ((index >> 8) << (2 * (n % 4))) as u8;
            }
        }
        if let Some(codes) = write_scale(&fit.scale, 0.9875, out) {
            pack_nibbles(&codes, &mut out[74..]);
        }
    }
}
