//! Block kernels: rows of f32 to the bytes of a ggml type and back, bit for bit as the reference's x86-64 build.
//!
//! In: whole rows of values. Out: blocks, little endian, as a GGUF file holds them. It knows no tensors, files or
//! threads: the engine cuts slabs of rows and calls this from as many threads as it likes. It refuses nothing at run
//! time: [`supports`] says which types can be written, and lengths that do not fit are a caller's bug and panic.
//!
//! "As the reference" is `ggml-quants.c` built without `-march`, so without FMA and F16C. Where that code would
//! convert a float to an integer that cannot hold it, the reference is what x86-64's conversion gives.

mod affine;
mod coarse;
mod codebook;
mod decode;
mod float;
mod grids;
mod half;
mod iq1;
mod iq2;
mod iq3;
mod iq4;
mod k45;
mod lanes;
mod lattice;
mod legacy;
mod legacy_weighted;
mod magnitude;
mod positive;
mod q2_k;
mod q3_k;
mod q4_k;
mod q5_k;
mod q6_k;
mod refined;
mod super_block;
mod symmetric;
mod validate;
mod weighted;

use crate::gguf::GgmlType;
pub use validate::{first_non_finite, validate};

/// Whether [`quantize`] can write this type: all but integers, Q8_1 and Q8_K.
#[rustfmt::skip]
pub fn supports(ty: GgmlType) -> bool {
    use GgmlType::*;
    matches!(
        ty,
        F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K
            | IQ4_NL | IQ4_XS | TQ1_0 | TQ2_0 | MXFP4 | NVFP4 | Q1_0 | Q2_0
            | IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S
    )
}

/// Whether the reference refuses to write this type without an importance matrix
/// (`ggml_quantize_requires_imatrix`).
pub fn requires_importance(ty: GgmlType) -> bool {
    matches!(ty, GgmlType::IQ2_XXS | GgmlType::IQ2_XS | GgmlType::IQ1_S)
}

/// Whether the kernel stores each byte once; others put bits to those that are there.
fn is_written_whole(ty: GgmlType) -> bool {
    matches!(ty, GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q5_0 | GgmlType::Q5_1 | GgmlType::Q8_0)
}

/// Quantizes whole rows of `row` values each: `ggml_quantize_chunk`.
///
/// `importance` has one weight a column and counts for every row; types that have no weighted form ignore it.
/// Values are expected to be finite ([`first_non_finite`] tells). What `out` held before does not matter.
///
/// # Panics
/// Where the type is not one that [`supports`] admits, `row` is no multiple of its block size, `x` is no whole number
/// of rows, `out` has another size than the result, or `importance` has another length than a row or is missing for a
/// type that [`requires_importance`].
pub fn quantize(ty: GgmlType, x: &[f32], row: usize, importance: Option<&[f32]>, out: &mut [u8]) {
    assert!(row > 0 && row.is_multiple_of(ty.block_size()), "rows of {row} do not fit {ty}");
    assert!(x.len().is_multiple_of(row), "{} values are no whole rows of {row}", x.len());
    assert_eq!(out.len(), x.len() / ty.block_size() * ty.block_bytes(), "size of the {ty} output");
    assert!(importance.is_none_or(|w| w.len() == row), "one importance a column");
    assert!(importance.is_some() || !requires_importance(ty), "{ty} needs importance");
    if ty.block_size() > 1 && !is_written_whole(ty) {
        out.fill(0);
    }
    match ty {
        GgmlType::F32 => float::quantize_f32(x, out),
        GgmlType::F16 => float::quantize_f16(x, out),
        GgmlType::BF16 => float::quantize_bf16(x, out),
        GgmlType::Q4_0 => match importance {
            None => legacy::quantize_q4_0(x, out),
            Some(importance) => legacy_weighted::quantize_symmetric(x, importance, 4, out),
        },
        GgmlType::Q4_1 => match importance {
            None => legacy::quantize_q4_1(x, out),
            Some(importance) => legacy_weighted::quantize_affine(x, importance, 4, out),
        },
        GgmlType::Q5_0 => match importance {
            None => legacy::quantize_q5_0(x, out),
            Some(importance) => legacy_weighted::quantize_symmetric(x, importance, 5, out),
        },
        GgmlType::Q5_1 => match importance {
            None => legacy::quantize_q5_1(x, out),
            Some(importance) => legacy_weighted::quantize_affine(x, importance, 5, out),
        },
        GgmlType::Q8_0 => legacy::quantize_q8_0(x, out),
        GgmlType::Q2_K => match importance {
            Some(importance) => q2_k::quantize_q2_k_weighted(x, importance, out),
            None => q2_k::quantize_q2_k(x, out),
        },
        GgmlType::Q3_K => match importance {
            Some(importance) => q3_k::quantize_q3_k_weighted(x, importance, out),
            None => q3_k::quantize_q3_k(x, out),
        },
        GgmlType::Q4_K => match importance {
            Some(importance) => q4_k::quantize_q4_k_weighted(x, importance, out),
            None => q4_k::quantize_q4_k(x, out),
        },
        GgmlType::Q5_K => match importance {
            Some(importance) => q5_k::quantize_q5_k_weighted(x, importance, out),
            None => q5_k::quantize_q5_k(x, out),
        },
        GgmlType::Q6_K => match importance {
            Some(importance) => q6_k::quantize_q6_k_weighted(x, importance, out),
            None => q6_k::quantize_q6_k(x, out),
        },
        GgmlType::Q1_0 => coarse::quantize_q1_0(x, out),
        GgmlType::Q2_0 => coarse::quantize_q2_0(x, out),
        GgmlType::TQ1_0 => coarse::quantize_tq1_0(x, out),
        GgmlType::TQ2_0 => coarse::quantize_tq2_0(x, out),
        GgmlType::MXFP4 => coarse::quantize_mxfp4(x, out),
        GgmlType::NVFP4 => coarse::quantize_nvfp4(x, out),
        GgmlType::IQ4_NL => iq4::quantize_iq4_nl(x, importance, out),
        GgmlType::IQ4_XS => iq4::quantize_iq4_xs(x, importance, out),
        GgmlType::IQ1_S => iq1::quantize_iq1_s(x, weights_of(importance), out),
        GgmlType::IQ1_M => iq1::quantize_iq1_m(x, importance, out),
        GgmlType::IQ2_XXS => iq2::quantize_iq2_xxs(x, weights_of(importance), out),
        GgmlType::IQ2_XS => iq2::quantize_iq2_xs(x, weights_of(importance), out),
        GgmlType::IQ2_S => iq2::quantize_iq2_s(x, importance, out),
        GgmlType::IQ3_XXS => iq3::quantize_iq3_xxs(x, importance, out),
        GgmlType::IQ3_S => iq3::quantize_iq3_s(x, importance, out),
        _ => panic!("{ty} cannot be written"),
    }
}

/// The importance of a type that [`requires_importance`].
fn weights_of(importance: Option<&[f32]>) -> &[f32] {
    importance.expect("checked by `quantize`")
}

/// The values of whole blocks as f32: `ggml_get_type_traits(ty)->to_float`.
///
/// # Panics
/// For integers, Q8_1 and Q8_K; where the lengths do not belong together.
pub fn dequantize(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    let size = ty.bytes_of(out.len() as u64);
    assert_eq!(size, Some(bytes.len() as u64), "bytes for {} values of {ty}", out.len());
    let Some(decoder) = decode::decoder_of(ty) else { panic!("{ty} cannot be read") };
    decoder(bytes, out);
}

#[cfg(test)]
mod coarse_tests;
#[cfg(test)]
mod iq_tests;
#[cfg(test)]
mod k_tests;
#[cfg(test)]
mod legacy_weighted_tests;
#[cfg(test)]
mod testing;
