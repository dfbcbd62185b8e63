//! Blocks of every type back to f32, bit for bit as `dequantize_row_*` of the reference.
//!
//! In: whole blocks. Out: their values. Every bit pattern has a value; a scale that is NaN or infinite gives what the
//! arithmetic gives ([`super::validate`] finds those).

mod fp4;
mod grid;
mod k;
mod simple;
mod ternary;

use crate::gguf::GgmlType;

/// Turns whole blocks into values.
type Decoder = fn(&[u8], &mut [f32]);

/// Makes a [`Decoder`] of a function from one block's bytes to its values. `at most Avx2`: see [`multiversion!`]; most
/// tables and odd widths of codes become gathers of single bytes with AVX-512.
///
/// [`multiversion!`]: crate::quantize::simd::multiversion
macro_rules! decoder {
    (
        $(#[$meta:meta])*
        $name:ident, $bytes:literal bytes, $values:literal values = $block:path $(, at most $most:ident)?;
    ) => {
        $(#[$meta])*
        pub(super) fn $name(bytes: &[u8], out: &mut [f32]) {
            #[inline(always)]
            fn kernel(bytes: &[u8], out: &mut [f32]) {
                let (blocks, out) = (bytes.as_chunks::<$bytes>().0, out.as_chunks_mut::<$values>().0);
                for (block, out) in blocks.iter().zip(out) {
                    $block(block, out);
                }
            }
            $crate::quantize::simd::multiversion! {
                fn decode(bytes: &[u8], out: &mut [f32]) = kernel $(, at most $most)?;
            }
            decode(bytes, out);
        }
    };
}
use decoder;

/// The f16 at this place of a block.
#[inline(always)]
fn f16_at(block: &[u8], at: usize) -> f32 {
    super::half::f16_to_f32(u16_at(block, at))
}

/// The 16-bit number at this place of a block.
#[inline(always)]
fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The 32-bit number at this place of a block.
#[inline(always)]
fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// How to read this type; `None` for integers, Q8_1 and Q8_K, which the reference cannot turn into f32 either. F64 is
/// there for safetensors sources, which the converter rounds; of GGUF files llama-quantize takes none.
pub(super) fn decoder_of(ty: GgmlType) -> Option<Decoder> {
    Some(match ty {
        GgmlType::F32 => super::float::dequantize_f32,
        GgmlType::F16 => super::float::dequantize_f16,
        GgmlType::BF16 => super::float::dequantize_bf16,
        GgmlType::F64 => super::float::dequantize_f64,
        GgmlType::Q1_0 => simple::q1_0,
        GgmlType::Q2_0 => simple::q2_0,
        GgmlType::Q4_0 => simple::q4_0,
        GgmlType::Q4_1 => simple::q4_1,
        GgmlType::Q5_0 => simple::q5_0,
        GgmlType::Q5_1 => simple::q5_1,
        GgmlType::Q8_0 => simple::q8_0,
        GgmlType::Q2_K => k::q2_k,
        GgmlType::Q3_K => k::q3_k,
        GgmlType::Q4_K => k::q4_k,
        GgmlType::Q5_K => k::q5_k,
        GgmlType::Q6_K => k::q6_k,
        GgmlType::TQ1_0 => ternary::tq1_0,
        GgmlType::TQ2_0 => ternary::tq2_0,
        GgmlType::MXFP4 => fp4::mxfp4,
        GgmlType::NVFP4 => fp4::nvfp4,
        GgmlType::IQ4_NL => fp4::iq4_nl,
        GgmlType::IQ4_XS => fp4::iq4_xs,
        GgmlType::IQ1_S => grid::iq1_s,
        GgmlType::IQ1_M => grid::iq1_m,
        GgmlType::IQ2_XXS => grid::iq2_xxs,
        GgmlType::IQ2_XS => grid::iq2_xs,
        GgmlType::IQ2_S => grid::iq2_s,
        GgmlType::IQ3_XXS => grid::iq3_xxs,
        GgmlType::IQ3_S => grid::iq3_s,
        GgmlType::Q8_1 | GgmlType::Q8_K | GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64 => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::at_every_level;
    use super::super::{dequantize, validate};
    use super::decoder_of;
    use crate::gguf::GgmlType;

    /// Blocks of the bytes `s >> 24` with `s = 1664525 s + 1013904223`, skipping those with a bad scale.
    fn known_blocks(ty: GgmlType, n: usize) -> Vec<u8> {
        let mut s = 1u32;
        let mut blocks = Vec::new();
        while blocks.len() < n * ty.block_bytes() {
            let block: Vec<u8> = (0..ty.block_bytes())
                .map(|_| {
                    s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (s >> 24) as u8
                })
                .collect();
            if validate(ty, &block).is_none() {
                blocks.extend(block);
            }
        }
        blocks
    }

    fn fnv1a(values: &[f32]) -> u64 {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn doubles_are_rounded_to_the_nearest() {
        let bytes: Vec<u8> = [0.1f64, 1.0 + f64::from(f32::EPSILON) / 2.0, 1e300]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let mut values = [0.0; 3];
        dequantize(GgmlType::F64, &bytes, &mut values);
        assert_eq!(values, [0.1, 1.0, f32::INFINITY]);
    }

    /// Recorded from `ggml_get_type_traits(ty)->to_float` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3) for
    /// 64 blocks of each type: FNV-1a of the values' bytes.
    #[test]
    fn values_as_the_reference() {
        let known = [
            (GgmlType::F16, 0x57a5_d378_a0ad_2e69),
            (GgmlType::Q4_0, 0xb107_6d6b_b675_93f8),
            (GgmlType::Q4_1, 0x07aa_2194_c32d_e1ec),
            (GgmlType::Q5_0, 0xac07_f2bb_4f56_74e8),
            (GgmlType::Q5_1, 0xf97e_0b27_eb34_c13e),
            (GgmlType::Q8_0, 0x92b4_c001_9958_7557),
            (GgmlType::Q2_K, 0xed44_c8d0_90ce_824f),
            (GgmlType::Q3_K, 0x5b8e_8ec3_988c_f0fe),
            (GgmlType::Q4_K, 0x1144_309c_f8aa_5e6c),
            (GgmlType::Q5_K, 0x6467_2898_23b4_c66f),
            (GgmlType::Q6_K, 0xec34_140a_8d19_fb29),
            (GgmlType::IQ2_XXS, 0xd1ce_0874_14d9_97a2),
            (GgmlType::IQ2_XS, 0x2f56_5c64_67d7_6524),
            (GgmlType::IQ3_XXS, 0x527c_f940_efea_f199),
            (GgmlType::IQ1_S, 0xc8c5_18b6_1dbc_eaf6),
            (GgmlType::IQ4_NL, 0x6668_acc5_4b75_3e83),
            (GgmlType::IQ3_S, 0xd91f_6dd2_edf6_bc62),
            (GgmlType::IQ2_S, 0xf317_b8f8_f285_8984),
            (GgmlType::IQ4_XS, 0x45d2_e69c_908e_0d65),
            (GgmlType::IQ1_M, 0xe480_be23_f028_0974),
            (GgmlType::BF16, 0xa7ca_3e54_3a83_a783),
            (GgmlType::TQ1_0, 0xdab5_9738_a5f0_47b4),
            (GgmlType::TQ2_0, 0x5f4d_09fb_1c6c_b70a),
            (GgmlType::MXFP4, 0x21ec_07ae_cf1a_a194),
            (GgmlType::NVFP4, 0xebf5_11f7_9ad9_084a),
            (GgmlType::Q1_0, 0xb7f6_c6ef_91c2_5aa5),
            (GgmlType::Q2_0, 0xc55a_46bf_0802_819d),
        ];
        for (ty, want) in known {
            at_every_level(|level| {
                let mut values = vec![0.0; 64 * ty.block_size()];
                dequantize(ty, &known_blocks(ty, 64), &mut values);
                assert_eq!(fnv1a(&values), want, "{ty} with {level}");
            });
        }
        for &ty in GgmlType::ALL {
            // F64 is no type that the reference decodes.
            let recorded = matches!(ty, GgmlType::F32 | GgmlType::F64) || known.iter().any(|k| k.0 == ty);
            assert_eq!(decoder_of(ty).is_some(), recorded, "{ty}");
        }
    }

    /// However many blocks are decoded at a time.
    #[test]
    fn blocks_do_not_mind_their_neighbours() {
        for &ty in GgmlType::ALL.iter().filter(|ty| decoder_of(**ty).is_some()) {
            let blocks = known_blocks(ty, 70);
            let decoded = |blocks: &[u8]| {
                let mut values = vec![0.0; blocks.len() / ty.block_bytes() * ty.block_size()];
                dequantize(ty, blocks, &mut values);
                values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            at_every_level(|level| {
                let one_by_one: Vec<u32> = blocks.chunks(ty.block_bytes()).flat_map(decoded).collect();
                assert_eq!(decoded(&blocks), one_by_one, "{ty} with {level}");
            });
        }
    }
}
