//! Finds NaN and infinity in weights and in the scales of blocks: what `ggml_validate_row_data` looks for.

use crate::gguf::GgmlType;
use crate::quantize::simd::multiversion;

/// Whether this exponent field, shifted to the top, is the one of infinities and NaNs.
const F32_EXPONENT: u32 = 0x7f80_0000;
const F16_EXPONENT: u16 = 0x7c00;
const BF16_EXPONENT: u16 = 0x7f80;

/// Values looked at between two exits: enough to vectorise, little enough to find the place again.
const STRIDE: usize = 256;

#[inline(always)]
fn first<T: Copy>(x: &[T], bad: impl Fn(T) -> bool) -> Option<usize> {
    x.chunks(STRIDE).enumerate().find_map(|(n, chunk)| {
        // No early exit here, so that the loop vectorises.
        let any = chunk.iter().fold(false, |any, &v| any | bad(v));
        if any { chunk.iter().position(|&v| bad(v)).map(|i| n * STRIDE + i) } else { None }
    })
}

#[inline(always)]
fn first_in_values(x: &[f32]) -> Option<usize> {
    first(x, |v| v.to_bits() & F32_EXPONENT == F32_EXPONENT)
}

#[inline(always)]
fn first_in_f32(bytes: &[u8]) -> Option<usize> {
    first(bytes.as_chunks().0, |b| u32::from_le_bytes(b) & F32_EXPONENT == F32_EXPONENT)
}

#[inline(always)]
fn first_in_f16(bytes: &[u8]) -> Option<usize> {
    first(bytes.as_chunks().0, |b| u16::from_le_bytes(b) & F16_EXPONENT == F16_EXPONENT)
}

#[inline(always)]
fn first_in_bf16(bytes: &[u8]) -> Option<usize> {
    first(bytes.as_chunks().0, |b| u16::from_le_bytes(b) & BF16_EXPONENT == BF16_EXPONENT)
}

multiversion! {
    /// The index of the first NaN or infinity.
    pub fn first_non_finite(x: &[f32]) -> Option<usize> = first_in_values;
}
multiversion! {
    fn validate_f32(bytes: &[u8]) -> Option<usize> = first_in_f32;
}
multiversion! {
    fn validate_f16(bytes: &[u8]) -> Option<usize> = first_in_f16;
}
multiversion! {
    fn validate_bf16(bytes: &[u8]) -> Option<usize> = first_in_bf16;
}

/// The first block with a NaN or an infinity in it or in its scales, if there is one. Blocks of the float types have
/// one value. Like `ggml_validate_row_data`, but it says where.
pub fn validate(ty: GgmlType, bytes: &[u8]) -> Option<usize> {
    match ty {
        GgmlType::F32 => validate_f32(bytes),
        GgmlType::F16 => validate_f16(bytes),
        GgmlType::BF16 => validate_bf16(bytes),
        GgmlType::F64 => first(bytes.as_chunks().0, |b| !f64::from_le_bytes(b).is_finite()),
        _ => first_bad_scale(ty, bytes),
    }
}

/// Where the f16 scales of a block stand, in bytes.
fn f16_scales(ty: GgmlType) -> &'static [usize] {
    use GgmlType::*;
    match ty {
        Q4_0 | Q5_0 | Q8_0 | Q1_0 | Q2_0 => &[0],
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        Q2_K => &[80, 82],
        Q3_K => &[108],
        Q6_K => &[208],
        TQ1_0 => &[52],
        TQ2_0 => &[64],
        IQ1_S | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS | IQ4_NL => &[0],
        _ => &[],
    }
}

fn first_bad_scale(ty: GgmlType, bytes: &[u8]) -> Option<usize> {
    let u16_at = |block: &[u8], at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let not_finite = |h: u16| h & F16_EXPONENT == F16_EXPONENT;
    let mut blocks = bytes.chunks_exact(ty.block_bytes());
    match ty {
        GgmlType::MXFP4 => blocks.position(|b| b[0] == 0xff),
        // The scale's four nibbles are the upper ones of the four 16-bit groups of sub-scales.
        GgmlType::IQ1_M => blocks.position(|b| {
            let top = |i: usize| u16_at(b, 48 + 2 * i) >> 12;
            not_finite(top(0) | top(1) << 4 | top(2) << 8 | top(3) << 12)
        }),
        GgmlType::Q8_K => blocks.position(|b| !f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite()),
        _ => {
            let scales = f16_scales(ty);
            if scales.is_empty() {
                return None;
            }
            blocks.position(|b| scales.iter().any(|&at| not_finite(u16_at(b, at))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::half::f32_to_f16;
    use super::*;

    #[test]
    fn finds_the_first_in_every_place() {
        for n in [1, 255, 256, 257, 1000] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xff80_0001)] {
                for at in (0..n).step_by(7).chain([n - 1]) {
                    let mut x = vec![f32::MAX; n];
                    x[at] = bad;
                    x[n - 1] = bad;
                    assert_eq!(first_non_finite(&x), Some(at), "{bad} at {at} of {n}");
                    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
                    assert_eq!(validate(GgmlType::F32, &bytes), Some(at));
                    let bytes: Vec<u8> =
                        x.iter().flat_map(|v| f32_to_f16(v.min(1.0)).to_le_bytes()).collect();
                    let want = if bad == f32::INFINITY || bad.is_nan() { None } else { Some(at) };
                    assert_eq!(validate(GgmlType::F16, &bytes), want);
                }
            }
        }
        assert_eq!(first_non_finite(&[0.0, f32::MIN, f32::MAX, 1e-45]), None);
    }

    #[test]
    fn finds_a_bad_scale_in_every_type() {
        for &ty in GgmlType::ALL {
            let size = ty.block_bytes();
            let good = vec![0u8; 5 * size];
            assert_eq!(validate(ty, &good), None, "{ty}");
            for &at in f16_scales(ty) {
                for bad in [0x7c00u16, 0xfc00, 0x7e00, 0xfc01] {
                    let mut blocks = good.clone();
                    blocks[3 * size + at..][..2].copy_from_slice(&bad.to_le_bytes());
                    assert_eq!(validate(ty, &blocks), Some(3), "{ty}");
                }
            }
        }
        let mut mxfp4 = [0u8; 34];
        mxfp4[17] = 0xff;
        assert_eq!(validate(GgmlType::MXFP4, &mxfp4), Some(1));
        let mut iq1_m = [0u8; 56];
        (iq1_m[53], iq1_m[55]) = (0xc0, 0x70);
        assert_eq!(validate(GgmlType::IQ1_M, &iq1_m), Some(0));
    }
}
