//! The types whose groups of values are points of a grid: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.

use super::super::grids::{GRID_IQ1, GRID_IQ2_S, GRID_IQ2_XS, GRID_IQ2_XXS, GRID_IQ3_S, GRID_IQ3_XXS};
use super::{decoder, f16_at, u16_at, u32_at};
use crate::quantize::block::half::f16_to_f32;

decoder! {
    /// `dequantize_row_iq1_s`.
    iq1_s, 50 bytes, 256 values = shifted;
}
decoder! {
    /// `dequantize_row_iq1_m`.
    iq1_m, 56 bytes, 256 values = shifted_by_16;
}
decoder! {
    /// `dequantize_row_iq2_xxs`.
    iq2_xxs, 66 bytes, 256 values = even_signs, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq2_xs`.
    iq2_xs, 74 bytes, 256 values = even_signs_by_16, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq2_s`.
    iq2_s, 82 bytes, 256 values = all_signs, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq3_xxs`.
    iq3_xxs, 98 bytes, 256 values = fours_with_even_signs, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq3_s`.
    iq3_s, 110 bytes, 256 values = fours_with_all_signs, at most Avx2;
}

/// What the levels of a grid with 2 bits a level stand for, in eighths.
const TWO_BITS: [f32; 4] = [8.0, 25.0, 43.0, 0.0];

/// What the levels of IQ3_XXS stand for, in eighths.
const THREE_BITS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];

/// Seven signs and the eighth that makes their number even (`ksigns_iq2xs`).
#[inline(always)]
fn even(signs: u32) -> u8 {
    let seven = (signs & 127) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// The value, negated where this bit of the signs is set.
#[inline(always)]
fn signed(value: f32, signs: u8, i: usize) -> f32 {
    f32::from_bits(value.to_bits() ^ u32::from(signs >> i & 1) << 31)
}

/// A point of eight values.
#[inline(always)]
fn eight(point: u16, scale: f32, signs: u8, out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = signed(scale * TWO_BITS[usize::from(point >> (2 * i) & 3)], signs, i);
    }
}

/// Two points of four values.
#[inline(always)]
fn twice_four(points: [u16; 2], values: impl Fn(u16) -> f32, scale: f32, signs: u8, out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = signed(scale * values(points[i / 4] >> (3 * (i % 4)) & 7), signs, i);
    }
}

#[inline(always)]
fn even_signs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (b, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (points, rest) = (&block[2 + 8 * b..][..4], u32_at(block, 6 + 8 * b));
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.25;
        for (l, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            eight(GRID_IQ2_XXS[usize::from(points[l])], scale, even(rest >> (7 * l)), out);
        }
    }
}

/// The scale of 16 values from a nibble.
#[inline(always)]
fn nibble_scale(d: f32, scales: u8, half: usize) -> f32 {
    d * (0.5 + f32::from(scales >> (4 * half) & 15)) * 0.25
}

#[inline(always)]
fn even_signs_by_16(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let code = u16_at(block, 2 + 2 * n);
        let scale = nibble_scale(d, block[66 + n / 4], n % 4 / 2);
        eight(GRID_IQ2_XS[usize::from(code & 511)], scale, even(u32::from(code >> 9)), out);
    }
}

#[inline(always)]
fn all_signs(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(high[n / 4]) << (8 - n % 4 * 2) & 0x300;
        let scale = nibble_scale(d, scales[n / 4], n % 4 / 2);
        eight(GRID_IQ2_S[usize::from(low[n]) | high], scale, signs[n], out);
    }
}

#[inline(always)]
fn fours_with_even_signs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rest = u32_at(block, 66 + n / 4 * 4);
        let scale = d * (0.5 + (rest >> 28) as f32) * 0.5;
        let points = [0, 1].map(|i| GRID_IQ3_XXS[usize::from(block[2 + 2 * n + i])]);
        twice_four(points, |l| THREE_BITS[usize::from(l)], scale, even(rest >> (n % 4 * 7)), out);
    }
}

#[inline(always)]
fn fours_with_all_signs(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = f16_at(block, 0);
    let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = scales[n / 8] >> (n / 4 % 2 * 4) & 15;
        let scale = d * f32::from(1 + 2 * scale);
        let points = [0, 1].map(|i| {
            let high = usize::from(high[n / 4] >> (n % 4 * 2 + i) & 1) << 8;
            GRID_IQ3_S[usize::from(low[2 * n + i]) | high]
        });
        twice_four(points, |l| f32::from(1 + 2 * l), scale, signs[n], out);
    }
}

/// A point of eight values of -1, 0 and 1, all shifted by an eighth.
#[inline(always)]
fn shifted_eight(point: u16, scale: f32, down: bool, out: &mut [f32]) {
    let shift = if down { -0.125 } else { 0.125 };
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from((point >> (2 * i) & 3) as i8 - 1) + shift);
    }
}

#[inline(always)]
fn shifted(block: &[u8; 50], out: &mut [f32; 256]) {
    let (d, low) = (f16_at(block, 0), &block[2..34]);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rest = u16_at(block, 34 + n / 4 * 2);
        let scale = d * f32::from(2 * (rest >> 12 & 7) + 1);
        let point = usize::from(low[n]) | usize::from(rest >> (n % 4 * 3) & 7) << 8;
        shifted_eight(GRID_IQ1[point], scale, rest & 0x8000 != 0, out);
    }
}

#[inline(always)]
fn shifted_by_16(block: &[u8; 56], out: &mut [f32; 256]) {
    let (low, high) = (&block[..32], &block[32..48]);
    let scales = [0, 1, 2, 3].map(|i| u16_at(block, 48 + 2 * i));
    // The upper four bits of these are the super-block's scale.
    let d = scales.iter().enumerate().fold(0, |d, (i, s)| d | s >> 12 << (4 * i));
    let d = f16_to_f32(d);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = d * f32::from(2 * (scales[n / 8] >> (n / 2 % 4 * 3) & 7) + 1);
        let rest = high[n / 2] >> (n % 2 * 4);
        let point = usize::from(low[n]) | usize::from(rest & 7) << 8;
        shifted_eight(GRID_IQ1[point], scale, rest & 8 != 0, out);
    }
}
