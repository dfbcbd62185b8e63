//! F32, F16 and BF16: rows of values in both directions; F64 as a source. Little endian, as the file has them.

use super::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::quantize::simd::multiversion;

#[inline(always)]
fn to_f32_bytes(x: &[f32], out: &mut [u8]) {
    for (o, v) in out.as_chunks_mut().0.iter_mut().zip(x) {
        *o = v.to_le_bytes();
    }
}

#[inline(always)]
fn to_f16_bytes(x: &[f32], out: &mut [u8]) {
    for (o, v) in out.as_chunks_mut().0.iter_mut().zip(x) {
        *o = f32_to_f16(*v).to_le_bytes();
    }
}

#[inline(always)]
fn to_bf16_bytes(x: &[f32], out: &mut [u8]) {
    for (o, v) in out.as_chunks_mut().0.iter_mut().zip(x) {
        *o = f32_to_bf16(*v).to_le_bytes();
    }
}

#[inline(always)]
fn from_f32_bytes(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *o = f32::from_le_bytes(*b);
    }
}

#[inline(always)]
fn from_f16_bytes(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *o = f16_to_f32(u16::from_le_bytes(*b));
    }
}

#[inline(always)]
fn from_bf16_bytes(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *o = bf16_to_f32(u16::from_le_bytes(*b));
    }
}

/// F64 bytes as values, each rounded to the nearest: torch's `to(torch.float32)`.
pub(super) fn dequantize_f64(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.as_chunks().0) {
        *o = f64::from_le_bytes(*b) as f32;
    }
}

multiversion! {
    /// Values as F32, unchanged.
    pub(super) fn quantize_f32(x: &[f32], out: &mut [u8]) = to_f32_bytes;
}
multiversion! {
    /// `ggml_fp32_to_fp16_row`.
    pub(super) fn quantize_f16(x: &[f32], out: &mut [u8]) = to_f16_bytes;
}
multiversion! {
    /// `ggml_fp32_to_bf16_row_ref`.
    pub(super) fn quantize_bf16(x: &[f32], out: &mut [u8]) = to_bf16_bytes;
}
multiversion! {
    /// F32 bytes as values.
    pub(super) fn dequantize_f32(bytes: &[u8], out: &mut [f32]) = from_f32_bytes;
}
multiversion! {
    /// `ggml_fp16_to_fp32_row`.
    pub(super) fn dequantize_f16(bytes: &[u8], out: &mut [f32]) = from_f16_bytes;
}
multiversion! {
    /// `ggml_bf16_to_fp32_row`.
    pub(super) fn dequantize_bf16(bytes: &[u8], out: &mut [f32]) = from_bf16_bytes;
}
