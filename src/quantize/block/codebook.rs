//! Small tables and number formats of the 4-bit types.

/// The values of IQ4_NL and IQ4_XS, in steps of the scale. From llama.cpp (`kvalues_iq4nl` in `ggml-common.h` of ggml
/// 0.25.3; MIT licence, see NOTICE).
pub(super) const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of the 4-bit float E2M1, by code (OCP Microscaling Formats 1.0).
pub(super) const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of the power of two that this E8M0 byte is; [`E2M1`] has twice its values. 0xff, which is NaN by the format,
/// is a power like the others (`ggml_e8m0_to_fp32_half`).
#[inline(always)]
pub(super) fn e8m0_half(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

/// Half of the value of this UE4M3 byte; 0x7f, which is NaN by the format, is 0 (`ggml_ue4m3_to_fp32`).
#[inline(always)]
pub(super) fn ue4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (byte >> 3 & 15, f32::from(byte & 7));
    if byte == 0x7f {
        0.0
    } else if exponent == 0 {
        mantissa / 1024.0
    } else {
        // 2^(exponent - 8), a normal number.
        (1.0 + mantissa / 8.0) * f32::from_bits((u32::from(exponent) + 119) << 23)
    }
}

/// The UE4M3 byte for this value, rounded half up; 448 from 248 on, 0 for NaN (`ggml_fp32_to_ue4m3`).
#[inline(always)]
pub(super) fn to_ue4m3(x: f32) -> u8 {
    if x.is_nan() || x <= 0.0 {
        return 0;
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 120;
    if exponent <= 0 {
        // Subnormal: units of 2^-9. One that rounds to a normal number stays below it.
        return ((x * 512.0 + 0.5) as i32).min(7) as u8;
    }
    // Rounding carries into the exponent; the reference does without what the highest exponent has below 448.
    let rounded = ((bits >> 20) + (bits >> 19 & 1)) as i32 - (120 << 3);
    if rounded < 0x78 { rounded as u8 } else { 0x7e }
}
