//! Types with one scale a block: Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::{decoder, f16_at, u32_at};

decoder! {
    /// `dequantize_row_q1_0`.
    q1_0, 18 bytes, 128 values = one_bit;
}
decoder! {
    /// `dequantize_row_q2_0`.
    q2_0, 18 bytes, 64 values = two_bits;
}
decoder! {
    /// `dequantize_row_q4_0`.
    q4_0, 18 bytes, 32 values = four_bits;
}
decoder! {
    /// `dequantize_row_q4_1`.
    q4_1, 20 bytes, 32 values = four_bits_with_minimum;
}
decoder! {
    /// `dequantize_row_q5_0`.
    q5_0, 22 bytes, 32 values = five_bits;
}
decoder! {
    /// `dequantize_row_q5_1`.
    q5_1, 24 bytes, 32 values = five_bits_with_minimum;
}
decoder! {
    /// `dequantize_row_q8_0`.
    q8_0, 34 bytes, 32 values = eight_bits;
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

/// The 32 levels of nibbles: the low ones first.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [i32; 32] {
    let mut levels = [0; 32];
    for j in 0..16 {
        levels[j] = i32::from(bytes[j] & 15);
        levels[j + 16] = i32::from(bytes[j] >> 4);
    }
    levels
}

/// The 32 levels of nibbles with their fifth bits before them.
#[inline(always)]
fn fives(bytes: &[u8]) -> [i32; 32] {
    let high = u32_at(bytes, 0);
    let mut levels = nibbles(&bytes[4..]);
    for (j, level) in levels.iter_mut().enumerate() {
        *level |= ((high >> j & 1) << 4) as i32;
    }
    levels
}

#[inline(always)]
fn scaled(levels: &[i32; 32], middle: i32, d: f32, out: &mut [f32; 32]) {
    for (out, level) in out.iter_mut().zip(levels) {
        *out = (level - middle) as f32 * d;
    }
}

#[inline(always)]
fn scaled_with_minimum(levels: &[i32; 32], d: f32, m: f32, out: &mut [f32; 32]) {
    for (out, level) in out.iter_mut().zip(levels) {
        *out = *level as f32 * d + m;
    }
}

#[inline(always)]
fn four_bits(block: &[u8; 18], out: &mut [f32; 32]) {
    scaled(&nibbles(&block[2..]), 8, f16_at(block, 0), out);
}

#[inline(always)]
fn four_bits_with_minimum(block: &[u8; 20], out: &mut [f32; 32]) {
    scaled_with_minimum(&nibbles(&block[4..]), f16_at(block, 0), f16_at(block, 2), out);
}

#[inline(always)]
fn five_bits(block: &[u8; 22], out: &mut [f32; 32]) {
    scaled(&fives(&block[2..]), 16, f16_at(block, 0), out);
}

#[inline(always)]
fn five_bits_with_minimum(block: &[u8; 24], out: &mut [f32; 32]) {
    scaled_with_minimum(&fives(&block[4..]), f16_at(block, 0), f16_at(block, 2), out);
}

#[inline(always)]
fn eight_bits(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(q as i8) * d;
    }
}
