//! Tests of the types of few levels: plain scalar code, which is the definition, against the kernels at every level.

use super::codebook::{E2M1, e8m0_half, to_ue4m3, ue4m3};
use super::half::f32_to_f16;
use super::testing::{check_defined, values};
use crate::gguf::GgmlType::{self, MXFP4, NVFP4, Q1_0, Q2_0, TQ1_0, TQ2_0};
use proptest::prelude::*;

/// The bytes of one block.
type Definition = fn(&[f32]) -> Vec<u8>;

fn largest(x: &[f32]) -> f32 {
    let mut max = 0.0;
    for v in x {
        max = if v.abs() > max { v.abs() } else { max };
    }
    max
}

fn inverse(d: f32) -> f32 {
    if d > 0.0 { 1.0 / d } else { 0.0 }
}

fn q1_0(x: &[f32]) -> Vec<u8> {
    let mut sum = 0.0;
    for v in x {
        sum += v.abs();
    }
    let mut out = f32_to_f16(sum / 128.0).to_le_bytes().to_vec();
    out.extend(x.chunks(8).map(|x| (0..8).fold(0, |byte, i| byte | u8::from(x[i] >= 0.0) << i)));
    out
}

/// Four codes a byte, `step` values apart.
fn crumbs(codes: &[u8], step: usize) -> Vec<u8> {
    let of = |codes: &[u8], j: usize| (0..4).fold(0, |byte, i| byte | codes[j + step * i] << (2 * i));
    codes.chunks(4 * step).flat_map(|codes| (0..step).map(move |j| of(codes, j))).collect()
}

fn q2_0(x: &[f32]) -> Vec<u8> {
    let d = largest(x);
    // By way of 32 bits: what does not fit is the least integer.
    let int = |v: f32| if v.abs() < 2147483648.0 { v as i32 } else { i32::MIN };
    let codes: Vec<u8> = x.iter().map(|x| (int((x * inverse(d)).round()) + 1).clamp(0, 3) as u8).collect();
    [&f32_to_f16(d).to_le_bytes()[..], &crumbs(&codes, 1)].concat()
}

/// `lroundf` has 64 bits, of which the lowest count.
fn ternaries(x: &[f32]) -> (f32, Vec<u8>) {
    let d = largest(x);
    let int = |v: f32| if v.abs() < 2f32.powi(63) { v as i64 } else { i64::MIN };
    (d, x.iter().map(|x| (int((x * inverse(d)).round()) + 1) as u8).collect())
}

fn tq1_0(x: &[f32]) -> Vec<u8> {
    let (d, codes) = ternaries(x);
    let mut out = Vec::new();
    for (start, bytes, digits) in [(0, 32, 5), (160, 16, 5), (240, 4, 4)] {
        for j in 0..bytes {
            let mut number = 0u32;
            for n in 0..digits {
                number = 3 * number + u32::from(codes[start + j + bytes * n]);
            }
            let number = if digits == 4 { 3 * number } else { number };
            out.push((number * 256).div_ceil(243) as u8);
        }
    }
    out.extend(f32_to_f16(d).to_le_bytes());
    out
}

fn tq2_0(x: &[f32]) -> Vec<u8> {
    let (d, codes) = ternaries(x);
    [&crumbs(&codes, 32)[..], &f32_to_f16(d).to_le_bytes()].concat()
}

/// `best_index_mxfp4` for each value, the second half of them in the upper nibbles.
fn nearest(x: &[f32], d: f32) -> Vec<u8> {
    let code = |x: f32| {
        let error = |code: usize| (f32::from(E2M1[code]) * d - x).abs();
        (1..16).fold(0, |best, code| if error(code) < error(best) { code } else { best }) as u8
    };
    let half = x.len() / 2;
    (0..half).map(|j| code(x[j]) | code(x[j + half]) << 4).collect()
}

fn mxfp4(x: &[f32]) -> Vec<u8> {
    let peak = largest(x);
    let log2 = f64::from(peak).log2() as f32;
    let scale = if peak > 0.0 { (log2.floor() as i32 - 2 + 127) as u8 } else { 0 };
    [&[scale][..], &nearest(x, e8m0_half(scale))].concat()
}

fn nvfp4(x: &[f32]) -> Vec<u8> {
    let scales: Vec<u8> = x.chunks(16).map(|x| to_ue4m3(largest(x) / 6.0)).collect();
    let codes = x.chunks(16).zip(&scales).flat_map(|(x, scale)| nearest(x, ue4m3(*scale)));
    scales.iter().copied().chain(codes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn kernels_do_as_the_scalar_definition(
        x in prop::collection::vec(values(64), 4..20).prop_map(|v| v.concat()),
    ) {
        let definitions: [(GgmlType, Definition); 6] =
            [(Q1_0, q1_0), (Q2_0, q2_0), (TQ1_0, tq1_0), (TQ2_0, tq2_0), (MXFP4, mxfp4), (NVFP4, nvfp4)];
        for (ty, define) in definitions {
            let whole = x.len() - x.len() % ty.block_size();
            check_defined(ty, &x[..whole], define);
        }
    }
}
