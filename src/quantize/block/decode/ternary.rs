//! The ternary types TQ1_0 and TQ2_0: -1, 0 or 1 times a scale, for 256 values.

use super::{decoder, f16_at};

decoder! {
    /// `dequantize_row_tq1_0`.
    tq1_0, 54 bytes, 256 values = five_a_byte;
}
decoder! {
    /// `dequantize_row_tq2_0`.
    tq2_0, 66 bytes, 256 values = four_a_byte;
}

/// The digit of a byte that is a fraction in base three, after as many digits as 3 was raised to.
#[inline(always)]
fn digit(byte: u8, power: u8) -> i32 {
    (i32::from(byte.wrapping_mul(power)) * 3) >> 8
}

#[inline(always)]
fn five_a_byte(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = f16_at(block, 52);
    // The first digits of 32 bytes, then their second ones...; so for 16 bytes; and four digits of the last four.
    let (wide, rest) = out.split_at_mut(160);
    let (narrow, last) = rest.split_at_mut(80);
    for (out, bytes, len) in
        [(wide, &block[..32], 32), (narrow, &block[32..48], 16), (last, &block[48..52], 4)]
    {
        for (out, power) in out.chunks_exact_mut(len).zip([1, 3, 9, 27, 81]) {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = (digit(byte, power) - 1) as f32 * d;
            }
        }
    }
}

#[inline(always)]
fn four_a_byte(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = f16_at(block, 64);
    for (n, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (out, byte) in out.iter_mut().zip(&block[n / 4 * 32..]) {
            *out = (i32::from(byte >> (n % 4 * 2) & 3) - 1) as f32 * d;
        }
    }
}
