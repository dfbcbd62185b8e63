//! Types whose 4-bit codes name one of sixteen values: MXFP4, NVFP4, IQ4_NL, IQ4_XS.

use super::super::codebook::{E2M1, IQ4, e8m0_half, ue4m3};
use super::{decoder, f16_at, u16_at};

decoder! {
    /// `dequantize_row_mxfp4`.
    mxfp4, 17 bytes, 32 values = power_of_two, at most Avx2;
}
decoder! {
    /// `dequantize_row_nvfp4`.
    nvfp4, 36 bytes, 64 values = small_float, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq4_nl`.
    iq4_nl, 18 bytes, 32 values = half, at most Avx2;
}
decoder! {
    /// `dequantize_row_iq4_xs`.
    iq4_xs, 136 bytes, 256 values = super_block, at most Avx2;
}

/// The values of nibbles, the low ones first.
#[inline(always)]
fn look_up(codes: &[u8], book: &[i8; 16], d: f32, out: &mut [f32]) {
    let (low, high) = out.split_at_mut(codes.len());
    for ((low, high), code) in low.iter_mut().zip(high).zip(codes) {
        *low = d * f32::from(book[usize::from(code & 15)]);
        *high = d * f32::from(book[usize::from(code >> 4)]);
    }
}

#[inline(always)]
fn power_of_two(block: &[u8; 17], out: &mut [f32; 32]) {
    look_up(&block[1..], &E2M1, e8m0_half(block[0]), out);
}

#[inline(always)]
fn small_float(block: &[u8; 36], out: &mut [f32; 64]) {
    for (b, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        look_up(&block[4 + 8 * b..][..8], &E2M1, ue4m3(block[b]), out);
    }
}

#[inline(always)]
fn half(block: &[u8; 18], out: &mut [f32; 32]) {
    look_up(&block[2..], &IQ4, f16_at(block, 0), out);
}

#[inline(always)]
fn super_block(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high, low) = (f16_at(block, 0), u16_at(block, 2), &block[4..8]);
    for (b, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scale = low[b / 2] >> (b % 2 * 4) & 15 | ((high >> (2 * b) & 3) as u8) << 4;
        look_up(&block[8 + 16 * b..][..16], &IQ4, d * f32::from(scale as i8 - 32), out);
    }
}
