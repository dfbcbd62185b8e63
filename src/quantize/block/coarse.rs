//! Types of few levels whose scale follows from a maximum or a sum, without search: Q1_0, Q2_0, TQ1_0, TQ2_0, MXFP4 and
//! NVFP4.
//!
//! In: finite values, whole blocks. Out: blocks as `quantize_row_*_ref` writes them; importances do not count.

use super::codebook::{E2M1, e8m0_half, to_ue4m3, ue4m3};
use super::half::f32_to_f16;
use crate::quantize::simd::multiversion;

/// The greatest magnitude. Magnitudes are ordered like their bits.
#[inline(always)]
fn magnitude(x: &[f32]) -> f32 {
    let mut high = 0;
    for v in x {
        high = high.max(v.abs().to_bits() as i32);
    }
    f32::from_bits(high as u32)
}

/// `1 / d`, or 0 where `d` is 0.
#[inline(always)]
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// A magnitude's multiple rounded half away from zero, for values from -1 to 1, plus one.
#[inline(always)]
fn ternary(v: f32) -> u8 {
    u8::from(v > -0.5) + u8::from(v >= 0.5)
}

/// Q1_0: signs, and the mean magnitude of 128 values, added up in order.
#[inline(always)]
fn signs(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<18>().0) {
        let sum = x.iter().fold(0.0, |sum, v| sum + v.abs());
        out[..2].copy_from_slice(&f32_to_f16(sum / 128.0).to_le_bytes());
        for (byte, x) in out[2..].iter_mut().zip(x.as_chunks::<8>().0) {
            *byte = 0;
            for (i, v) in x.iter().enumerate() {
                *byte |= u8::from(*v >= 0.0) << i;
            }
        }
    }
}

/// Q2_0: -1, 0 and 1 times the greatest magnitude of 64 values, four a byte.
#[inline(always)]
fn two_bits(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<18>().0) {
        let d = magnitude(x);
        let id = inverse(d);
        out[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
        let mut q = [0; 64];
        for i in 0..64 {
            q[i] = ternary(x[i] * id);
        }
        for (byte, q) in out[2..].iter_mut().zip(q.as_chunks::<4>().0) {
            *byte = if id.is_infinite() { 0 } else { q[0] | q[1] << 2 | q[2] << 4 | q[3] << 6 };
        }
    }
}

/// The levels of 256 values, and the greatest magnitude.
#[inline(always)]
fn ternaries(x: &[f32; 256]) -> (f32, [u8; 256]) {
    let d = magnitude(x);
    let id = inverse(d);
    let mut q = [0; 256];
    for i in 0..256 {
        q[i] = ternary(x[i] * id);
    }
    if id.is_infinite() {
        // Infinite and NaN products: `lroundf` gives the least 64-bit integer, whose low bits are 0; plus one.
        q = [1; 256];
    }
    (d, q)
}

/// The byte for five digits in base three, the first one highest: a fraction of 256, rounded up.
#[inline(always)]
fn fraction(digits: [u8; 5]) -> u8 {
    let number = digits.iter().fold(0u16, |n, &d| n * 3 + u16::from(d));
    (number * 256).div_ceil(243) as u8
}

/// TQ1_0: five values a byte.
#[inline(always)]
fn five_a_byte(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<256>().0.iter().zip(out.as_chunks_mut::<54>().0) {
        let (d, q) = ternaries(x);
        for m in 0..32 {
            out[m] = fraction([q[m], q[m + 32], q[m + 64], q[m + 96], q[m + 128]]);
        }
        for m in 0..16 {
            let q = &q[160 + m..];
            out[32 + m] = fraction([q[0], q[16], q[32], q[48], q[64]]);
        }
        for m in 0..4 {
            let q = &q[240 + m..];
            out[48 + m] = fraction([q[0], q[4], q[8], q[12], 0]);
        }
        out[52..].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    }
}

/// TQ2_0: four values a byte.
#[inline(always)]
fn four_a_byte(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<256>().0.iter().zip(out.as_chunks_mut::<66>().0) {
        let (d, q) = ternaries(x);
        for (q, out) in q.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
            for m in 0..32 {
                out[m] = q[m] | q[m + 32] << 2 | q[m + 64] << 4 | q[m + 96] << 6;
            }
        }
        out[64..].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    }
}

/// Halfway between the magnitudes that follow each other in [`E2M1`].
const E2M1_HALFWAY: [f32; 7] = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0];

/// Up to here, in units of `d`, [`nearest_e2m1`] is [`searched_e2m1`].
const E2M1_RANGE: f32 = 16.0;

/// The code of the E2M1 value nearest to `x`, the one nearer to 0 of two; `halfway` is [`E2M1_HALFWAY`] times `d`.
///
/// The products are exact, for `d` has few digits; so are the differences that [`searched_e2m1`] compares, where it is
/// close.
#[inline(always)]
fn nearest_e2m1(x: f32, halfway: &[f32; 7]) -> u8 {
    let mut code = 0;
    for &halfway in halfway {
        code += u32::from(x.abs() > halfway);
    }
    let sign = if x < 0.0 { 8 } else { 0 };
    (code + if code == 0 { 0 } else { sign }) as u8
}

/// The code of the E2M1 value nearest to `x` in units of `d`, the first of two (`best_index_mxfp4`).
///
/// Far outside the range, differences are rounded until all are the same.
fn searched_e2m1(x: f32, d: f32) -> u8 {
    let (mut best, mut error) = (0, (f32::from(E2M1[0]) * d - x).abs());
    for (code, value) in E2M1.iter().enumerate().skip(1) {
        let e = (f32::from(*value) * d - x).abs();
        if e < error {
            (best, error) = (code as u8, e);
        }
    }
    best
}

/// Codes of a block with this greatest magnitude, the first half in the low nibbles.
#[inline(always)]
fn e2m1<const LEN: usize>(x: &[f32; LEN], peak: f32, d: f32, out: &mut [u8]) {
    let mut q = [0; LEN];
    if peak <= E2M1_RANGE * d {
        let halfway = E2M1_HALFWAY.map(|h| h * d);
        for i in 0..LEN {
            q[i] = nearest_e2m1(x[i], &halfway);
        }
    } else {
        for i in 0..LEN {
            q[i] = searched_e2m1(x[i], d);
        }
    }
    for j in 0..LEN / 2 {
        out[j] = q[j] | q[j + LEN / 2] << 4;
    }
}

/// MXFP4: a power of two for 32 values.
#[inline(always)]
fn power_of_two(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<17>().0) {
        let peak = magnitude(x);
        out[0] = if peak > 0.0 { (floor_log2(peak) + 125) as u8 } else { 0 };
        let d = e8m0_half(out[0]);
        e2m1(x, peak, d, &mut out[1..]);
    }
}

/// `floorf(log2f(x))` for a positive number: just below a power of two, the logarithm rounds up to it.
#[inline(always)]
fn floor_log2(x: f32) -> i32 {
    (f64::from(x).log2() as f32).floor() as i32
}

/// NVFP4: an 8-bit float for 16 values.
#[inline(always)]
fn small_float(x: &[f32], out: &mut [u8]) {
    for (x, out) in x.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<36>().0) {
        let (scales, codes) = out.split_at_mut(4);
        let blocks = x.as_chunks::<16>().0.iter().zip(codes.chunks_exact_mut(8));
        for ((x, codes), scale) in blocks.zip(scales) {
            let peak = magnitude(x);
            *scale = to_ue4m3(peak / 6.0);
            e2m1(x, peak, ue4m3(*scale), codes);
        }
    }
}

multiversion! {
    /// `quantize_row_q1_0_ref`.
    pub(super) fn quantize_q1_0(x: &[f32], out: &mut [u8]) = signs;
}
multiversion! {
    /// `quantize_row_q2_0_ref`.
    pub(super) fn quantize_q2_0(x: &[f32], out: &mut [u8]) = two_bits;
}
multiversion! {
    /// `quantize_row_tq1_0_ref`.
    pub(super) fn quantize_tq1_0(x: &[f32], out: &mut [u8]) = five_a_byte;
}
multiversion! {
    /// `quantize_row_tq2_0_ref`.
    pub(super) fn quantize_tq2_0(x: &[f32], out: &mut [u8]) = four_a_byte;
}
multiversion! {
    /// `quantize_row_mxfp4_ref`.
    pub(super) fn quantize_mxfp4(x: &[f32], out: &mut [u8]) = power_of_two;
}
multiversion! {
    /// `quantize_row_nvfp4_ref`.
    pub(super) fn quantize_nvfp4(x: &[f32], out: &mut [u8]) = small_float;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_known, known_row, quantized};
    use super::*;
    use crate::gguf::GgmlType;

    /// Recorded from `ggml_quantize_chunk` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3).
    #[test]
    fn known_answers() {
        check_known(GgmlType::Q1_0, 128, false, "343c487b4f7560cb00a971acc6b11ac74a80");
        check_known(GgmlType::Q2_0, 64, false, "d03f50649656951451565125996101509198");
        check_known(
            GgmlType::TQ1_0,
            256,
            false,
            "290d767b348bf856d0a083f8d2629383807061bc055689338902729ab6a3809c9998ebe86480d49fc9990e97\
             7c054ed4db6cfa8fd03f",
        );
        check_known(
            GgmlType::TQ2_0,
            256,
            false,
            "1450458564652a018699952a1651499555a111924001656465000519122955595614494a555619144a555185\
             1540a1198949aa59511495a88589902a05514915d03f",
        );
        check_known(GgmlType::MXFP4, 32, false, "7d0f2f5b75ffba67fb37f35ed7766411c0");
        check_known(
            GgmlType::NVFP4,
            64,
            false,
            "2a2a292a7f2eda746f3a160a30e244c67e5b15be1d7ebd7c99f4671e5cfebf5fdf5ecd79",
        );
    }

    #[test]
    fn scales_of_zeros_are_zero() {
        for (ty, n) in
            [(GgmlType::MXFP4, 32), (GgmlType::NVFP4, 64), (GgmlType::Q2_0, 64), (GgmlType::TQ2_0, 256)]
        {
            let zeros = quantized(ty, &vec![0.0; n], None);
            let mut values = vec![1.0; n];
            super::super::dequantize(ty, &zeros, &mut values);
            assert!(values.iter().all(|v| *v == 0.0), "{ty}");
        }
    }

    #[test]
    fn e2m1_codes_are_those_of_the_search() {
        for d in [0.25f32, 1.0, 1.375, 2f32.powi(123), 2f32.powi(-128), 1.75 * 2f32.powi(-9)] {
            let halfway = E2M1_HALFWAY.map(|h| h * d);
            let mut values = vec![0.0, d * E2M1_RANGE, f32::from_bits(1), d * 0.1];
            values.extend(E2M1.map(|v| f32::from(v) * d));
            values.extend(halfway);
            for x in values.into_iter().flat_map(|x| [x, x.next_up(), x.next_down()]).flat_map(|x| [x, -x]) {
                if x.abs() <= d * E2M1_RANGE {
                    assert_eq!(nearest_e2m1(x, &halfway), searched_e2m1(x, d), "{x:e} in units of {d:e}");
                }
            }
        }
    }

    #[test]
    fn logarithms_round_up_just_below_powers_of_two() {
        // Recorded from `floorf(log2f(x))` of glibc.
        for (x, want) in [
            (1.0f32, 0),
            (1.0f32.next_down(), -1),
            (1e30, 99),
            (2f32.powi(100).next_down(), 100),
            (1e-45, -149),
        ] {
            assert_eq!(floor_log2(x), want, "{x:e}");
        }
    }

    #[test]
    fn bytes_of_ternaries_hold_their_digits() {
        let row = known_row(256);
        let mut values = vec![0.0; 256];
        super::super::dequantize(GgmlType::TQ1_0, &quantized(GgmlType::TQ1_0, &row, None), &mut values);
        let d = f32::from_bits(values.iter().map(|v| v.abs().to_bits()).max().unwrap());
        let peak = magnitude(&row);
        for (x, value) in row.iter().zip(&values) {
            assert_eq!(f32::from(ternary(x / peak)) - 1.0, value / d, "{x}");
        }
    }
}
