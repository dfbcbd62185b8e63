//! The K-quants: super-blocks of 256 values, whose blocks' scales are quantized themselves.

use super::{decoder, f16_at};

decoder! {
    /// `dequantize_row_q2_K`.
    q2_k, 84 bytes, 256 values = two_bits, at most Avx2;
}
decoder! {
    /// `dequantize_row_q3_K`.
    q3_k, 110 bytes, 256 values = three_bits;
}
decoder! {
    /// `dequantize_row_q4_K`.
    q4_k, 144 bytes, 256 values = four_bits;
}
decoder! {
    /// `dequantize_row_q5_K`.
    q5_k, 176 bytes, 256 values = five_bits;
}
decoder! {
    /// `dequantize_row_q6_K`.
    q6_k, 210 bytes, 256 values = six_bits, at most Avx2;
}

/// The 2-bit codes of a super-block: of each 128 values, those 32 apart share a byte.
#[inline(always)]
fn crumbs(bytes: &[u8]) -> [u8; 256] {
    let mut codes = [0; 256];
    for (bytes, codes) in bytes.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<128>().0) {
        for (l, byte) in bytes.iter().enumerate() {
            codes[l] = byte & 3;
            codes[l + 32] = byte >> 2 & 3;
            codes[l + 64] = byte >> 4 & 3;
            codes[l + 96] = byte >> 6;
        }
    }
    codes
}

#[inline(always)]
fn two_bits(block: &[u8; 84], out: &mut [f32; 256]) {
    let scales = &block[..16];
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    let codes = crumbs(&block[16..80]);
    let blocks = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
    for ((out, codes), scales) in blocks.zip(scales) {
        let (scale, min) = (d * f32::from(scales & 15), dmin * f32::from(scales >> 4));
        for (out, code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(*code) - min;
        }
    }
}

#[inline(always)]
fn three_bits(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, scales) = (&block[..32], &block[96..108]);
    let d = f16_at(block, 108);
    let mut codes = crumbs(&block[32..96]);
    for (bit, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, high) in codes.iter_mut().zip(high) {
            *code |= if high & 1 << bit == 0 { 0 } else { 4 };
        }
    }
    let blocks = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
    for (b, (out, codes)) in blocks.enumerate() {
        let low = if b < 8 { scales[b] & 15 } else { scales[b - 8] >> 4 };
        let scale = low | (scales[8 + b % 4] >> (b / 4 * 2) & 3) << 4;
        let scale = d * f32::from(scale as i8 - 32);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(*code as i8 - 4);
        }
    }
}

/// The scale and the minimum of a block: 6 bits each, of eight blocks in 12 bytes.
#[inline(always)]
fn scale_and_min(scales: &[u8], b: usize) -> (u8, u8) {
    if b < 4 {
        (scales[b] & 63, scales[b + 4] & 63)
    } else {
        let low = scales[b + 4];
        (low & 15 | scales[b - 4] >> 6 << 4, low >> 4 | scales[b] >> 6 << 4)
    }
}

#[inline(always)]
fn four_bits(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (b, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], b);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let (codes, shift) = (&block[16 + b / 2 * 32..][..32], b % 2 * 4);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(code >> shift & 15) - min;
        }
    }
}

#[inline(always)]
fn five_bits(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let high = &block[16..48];
    for (b, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], b);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let (codes, shift) = (&block[48 + b / 2 * 32..][..32], b % 2 * 4);
        for (out, (code, high)) in out.iter_mut().zip(codes.iter().zip(high)) {
            *out = scale * f32::from((code >> shift & 15) | (high >> b & 1) << 4) - min;
        }
    }
}

#[inline(always)]
fn six_bits(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = f16_at(block, 208);
    // Of each 128 values, the first 64 have the low nibbles; a byte of high bits serves the values 32 apart.
    let mut codes = [0; 256];
    let bytes = low.as_chunks::<64>().0.iter().zip(high.as_chunks::<32>().0);
    for ((low, high), codes) in bytes.zip(codes.as_chunks_mut::<128>().0) {
        for (l, high) in high.iter().enumerate() {
            codes[l] = low[l] & 15 | (high & 3) << 4;
            codes[l + 32] = low[l + 32] & 15 | (high >> 2 & 3) << 4;
            codes[l + 64] = low[l] >> 4 | (high >> 4 & 3) << 4;
            codes[l + 96] = low[l + 32] >> 4 | high >> 6 << 4;
        }
    }
    let blocks = out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<16>().0);
    for ((out, codes), scale) in blocks.zip(scales) {
        let scale = d * f32::from(*scale as i8);
        for (out, code) in out.iter_mut().zip(codes) {
            *out = scale * f32::from(*code as i8 - 32);
        }
    }
}
