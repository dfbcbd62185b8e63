//! The two 16-bit floats: scalar conversions that vectorise, for scales and for whole rows.
//!
//! Rounding is to nearest, ties to even, subnormals kept. NaNs are as in the reference's portable code
//! (`ggml-impl.h`, what its x86-64 base build uses): the way to f16 makes every NaN 0x7e00 with its sign, the way to
//! bf16 keeps the upper payload and sets the quiet bit, the way back from f16 keeps the payload and sets the quiet bit.

/// Bits of the largest finite f32, and so the last that is not infinite or NaN.
const F32_INF: u32 = 0x7f80_0000;

/// The f16 nearest to `x`, as bits.
#[inline(always)]
pub(crate) fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    // Rebias the exponent, round half to even on the 13 bits that go; a carry into the exponent is right.
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13;
    // One unit in the last place of 0.5 is the smallest f16: the addition rounds, the difference counts units.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let bounded = if magnitude >= 0x4780_0000 { 0x7c00 } else { finite };
    let any = if magnitude > F32_INF { 0x7e00 } else { bounded };
    sign | any as u16
}

/// The value of the f16 with these bits.
#[inline(always)]
pub(crate) fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7fff);
    let normal = (magnitude << 13) + (112 << 23);
    // Counts of the smallest f16 (2^-24) are exact in f32.
    let subnormal = (f32::from_bits(0.5f32.to_bits() + magnitude) - 0.5).to_bits();
    let special = (magnitude << 13) | F32_INF | if magnitude > 0x7c00 { 0x40_0000 } else { 0 };
    let finite = if magnitude < 0x400 { subnormal } else { normal };
    f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { finite })
}

/// The bf16 nearest to `x`, as bits.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > F32_INF { quiet } else { rounded }) as u16
}

/// The value of the bf16 with these bits.
#[inline(always)]
pub(crate) fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_comes_back() {
        for h in 0..=u16::MAX {
            let x = f16_to_f32(h);
            let want = if x.is_nan() { h & 0x8000 | 0x7e00 } else { h };
            assert_eq!(f32_to_f16(x), want, "{h:#06x} is {x}");
            assert_eq!(x.is_nan(), h & 0x7fff > 0x7c00, "{h:#06x}");
        }
    }

    #[test]
    fn f16_rounds_half_to_even_between_every_pair() {
        for h in 0..0x7bff_u16 {
            let (low, high) = (f64::from(f16_to_f32(h)), f64::from(f16_to_f32(h + 1)));
            // The midpoint of two neighbours is exact in f32.
            let middle = ((low + high) / 2.0) as f32;
            let even = h + (h & 1);
            for (x, want) in [(middle, even), (middle.next_down(), h), (middle.next_up(), h + 1)] {
                assert_eq!(f32_to_f16(x), want, "{x:e}");
                assert_eq!(f32_to_f16(-x), want | 0x8000, "{:e}", -x);
            }
        }
    }

    /// Recorded from `ggml_fp32_to_fp16` and `ggml_fp16_to_fp32` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3).
    #[test]
    fn f16_at_the_edges_as_the_reference() {
        for (bits, want) in [
            (65504f32.to_bits(), 0x7bff),
            (65519.996f32.to_bits(), 0x7bff),
            (65520f32.to_bits(), 0x7c00),
            (1e30f32.to_bits(), 0x7c00),
            (f32::INFINITY.to_bits(), 0x7c00),
            (f32::NEG_INFINITY.to_bits(), 0xfc00),
            (0x7fc0_0000, 0x7e00),
            (0x7f80_0001, 0x7e00),
            (0xff8a_bcde, 0xfe00),
            (0x8000_0000, 0x8000),
            (0x0000_0001, 0x0000),
            (0x3300_0000, 0x0000),
            (0x3300_0001, 0x0001),
        ] {
            assert_eq!(f32_to_f16(f32::from_bits(bits)), want, "{bits:#010x}");
        }
        for (h, want) in
            [(0x7c01, 0x7fc0_2000), (0xfd55, 0xffea_a000), (0x7e00, 0x7fc0_0000), (0x0001, 0x3380_0000)]
        {
            assert_eq!(f16_to_f32(h).to_bits(), want, "{h:#06x}");
        }
    }

    /// Recorded from `ggml_fp32_to_bf16` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3).
    #[test]
    fn bf16_at_the_edges_as_the_reference() {
        for (bits, want) in [
            (0x3f80_8000, 0x3f80),
            (0x3f81_8000, 0x3f82),
            (0x3f80_8001, 0x3f81),
            (0x7f7f_ffff, 0x7f80),
            (0x7f80_0001, 0x7fc0),
            (0xffbf_ffff, 0xffff),
            (0x0000_8000, 0x0000),
            (0x0000_8001, 0x0001),
            (0xff80_0000, 0xff80),
        ] {
            assert_eq!(f32_to_bf16(f32::from_bits(bits)), want, "{bits:#010x}");
        }
    }
}
