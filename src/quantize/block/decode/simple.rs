//! Types with one scale a block: Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::{decoder, f16_at, u16_at};
use crate::quantize::block::half::f16_to_f32;
use crate::quantize::simd::multiversion;

decoder! {
    /// `dequantize_row_q1_0`.
    q1_0, 18 bytes, 128 values = one_bit;
}
decoder! {
    /// `dequantize_row_q2_0`.
    q2_0, 18 bytes, 64 values = two_bits;
}

multiversion! {
    /// `dequantize_row_q4_0`.
    pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) = symmetric::<18, 4>, at most Avx2;
}
multiversion! {
    /// `dequantize_row_q4_1`.
    pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) = with_minimum::<20, 4>, at most Avx2;
}
multiversion! {
    /// `dequantize_row_q5_0`.
    pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) = symmetric::<22, 5>, at most Avx2;
}
multiversion! {
    /// `dequantize_row_q5_1`.
    pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) = with_minimum::<24, 5>, at most Avx2;
}
multiversion! {
    /// `dequantize_row_q8_0`.
    pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) = symmetric::<34, 8>;
}

#[inline(always)]
fn one_bit(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = f16_at(block, 0);
    for (byte, out) in block[2..].iter().zip(out.as_chunks_mut::<8>().0) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = if byte >> i & 1 == 1 { d } else { -d };
        }
    }
}

#[inline(always)]
fn two_bits(block: &[u8; 18], out: &mut [f32; 64]) {
    let d = f16_at(block, 0);
    for (byte, out) in block[2..].iter().zip(out.as_chunks_mut::<4>().0) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = (i32::from(byte >> (2 * i) & 3) - 1) as f32 * d;
        }
    }
}

/// Blocks whose scales and levels are unpacked before their values are computed. Block by block, the compiler makes
/// vectors across blocks, of single bytes gathered: half as fast.
const GROUP: usize = 32;

/// The f16 at this place of each block.
#[inline(always)]
fn halves<const BYTES: usize>(blocks: &[[u8; BYTES]], at: usize) -> [f32; GROUP] {
    let (mut bits, mut values) = ([0; GROUP], [0.0; GROUP]);
    for (bits, block) in bits.iter_mut().zip(blocks) {
        *bits = u16_at(block, at);
    }
    for i in 0..GROUP {
        values[i] = f16_to_f32(bits[i]);
    }
    values
}

/// The levels of each block, of `BITS` bits: of 5, the fifth bits come first; then nibbles, the low ones first.
#[inline(always)]
fn levels<const BYTES: usize, const BITS: u32>(blocks: &[[u8; BYTES]], at: usize) -> [[u8; 32]; GROUP] {
    const NIBBLES: u128 = u128::from_le_bytes([15; 16]);
    let mut levels = [[0; 32]; GROUP];
    for (levels, block) in levels.iter_mut().zip(blocks) {
        if BITS == 8 {
            levels.copy_from_slice(&block[at..]);
            continue;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&block[BYTES - 16..]);
        let bytes = u128::from_le_bytes(bytes);
        levels[..16].copy_from_slice(&(bytes & NIBBLES).to_le_bytes());
        levels[16..].copy_from_slice(&(bytes >> 4 & NIBBLES).to_le_bytes());
        if BITS == 5 {
            for (levels, high) in levels.as_chunks_mut::<8>().0.iter_mut().zip(&block[at..at + 4]) {
                *levels = (u64::from_le_bytes(*levels) | fifths(*high)).to_le_bytes();
            }
        }
    }
    levels
}

/// Eight fifth bits, the lowest first, each where it belongs in its byte.
#[inline(always)]
fn fifths(bits: u8) -> u64 {
    // Each byte gets all bits; its own one carries into the byte's highest where it is set.
    let own = (u64::from(bits) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    (((own + 0x007f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080) | (own & 0x8000_0000_0000_0000)) >> 3
}

/// Q4_0 (`BITS` 4), Q5_0 (5) and Q8_0 (8): a scale, no minimum.
#[inline(always)]
fn symmetric<const BYTES: usize, const BITS: u32>(bytes: &[u8], out: &mut [f32]) {
    let (blocks, out) = (bytes.as_chunks::<BYTES>().0, out.as_chunks_mut::<32>().0);
    for (blocks, out) in blocks.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        let (d, levels) = (halves(blocks, 0), levels::<BYTES, BITS>(blocks, 2));
        for ((out, levels), d) in out.iter_mut().zip(&levels).zip(d) {
            for (out, level) in out.iter_mut().zip(levels) {
                let level =
                    if BITS == 8 { i32::from(*level as i8) } else { i32::from(*level) - (1 << (BITS - 1)) };
                *out = level as f32 * d;
            }
        }
    }
}

/// Q4_1 (`BITS` 4) and Q5_1 (5): a scale and a minimum.
#[inline(always)]
fn with_minimum<const BYTES: usize, const BITS: u32>(bytes: &[u8], out: &mut [f32]) {
    let (blocks, out) = (bytes.as_chunks::<BYTES>().0, out.as_chunks_mut::<32>().0);
    for (blocks, out) in blocks.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        let (d, m) = (halves(blocks, 0), halves(blocks, 2));
        let levels = levels::<BYTES, BITS>(blocks, 4);
        for ((out, levels), (d, m)) in out.iter_mut().zip(&levels).zip(d.into_iter().zip(m)) {
            for (out, level) in out.iter_mut().zip(levels) {
                *out = f32::from(*level) * d + m;
            }
        }
    }
}
