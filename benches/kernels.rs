//! Block kernels on one core: `cargo bench --bench kernels [-- NAME...]`, where a name is a part of a type's, like `q4`,
//! or `sha256`: the hash of one output, and of two in step. `baseline`, `avx2` or `avx512` among them is the widest level
//! in use, to compare levels.
//!
//! For each type and direction, a line with
//!
//! - `Mweight/s`: millions of weights a second, from the fastest of many short runs: other work on the machine only
//!   ever makes a run slower;
//! - `GB/s`: the bytes of the f32 values and of the blocks, one of them read, the other written, a second;
//! - `of peak`: that, as a share of what this core does at most. The peak is the rate at which the same values are
//!   copied by `copy_from_slice`, bytes read and written, measured in the same way just before. The values fit the
//!   second- or third-level cache, as a slab's do. Moving fewer bytes one way than the other can be faster than a copy,
//!   hence shares above 100 %. Searches spend hundreds of operations a weight, which no copy shows: their measure is
//!   the reference (`scripts/bench-reference`).

#![allow(clippy::print_stdout, reason = "prints its results")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use jamph_quantizer::base::sha256::{Sha256, update_both};
use jamph_quantizer::gguf::GgmlType::{self, *};
use jamph_quantizer::quantize::block::{dequantize, quantize, requires_importance};
use jamph_quantizer::quantize::simd;

const TYPES: &[GgmlType] = &[
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0,
    MXFP4, NVFP4, Q1_0, Q2_0, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S,
];

/// Those that importances change.
const WEIGHTED: &[GgmlType] = &[
    Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS,
    IQ2_S, IQ3_XXS, IQ3_S,
];
const ROW: usize = 2048;
const ROWS: usize = 64;

/// Time spent on a line, but at least three runs.
const BUDGET: Duration = Duration::from_millis(100);

fn main() {
    // Cargo passes `--bench`.
    let names: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).map(|a| a.to_lowercase()).collect();
    let (levels, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| n.parse::<simd::Level>().is_ok());
    for level in levels.iter().filter_map(|n| n.parse().ok()) {
        simd::limit(level);
    }
    let wanted = |ty: &&GgmlType| {
        names.is_empty() || names.iter().any(|n| ty.name().to_lowercase().contains(n.as_str()))
    };
    let x = weights();
    let importance: Vec<f32> = (0..ROW).map(|i| ((5 * i % 17) as f32 + 1.0) / 4.0).collect();
    let mut y = vec![0.0; x.len()];
    let copy = fastest(|| y.copy_from_slice(black_box(&x)));
    let peak = 2.0 * size_of_val(&x[..]) as f64 / copy;
    println!("{}, copying {:.1} GB/s\n", simd::level(), peak / 1e9);
    println!("{:<8} {:<14} {:>10} {:>8} {:>8}", "type", "", "Mweight/s", "GB/s", "of peak");
    let report = |ty: GgmlType, what: &str, seconds: f64| {
        let moved = (size_of_val(&x[..]) + bytes_of(ty, x.len())) as f64 / seconds;
        let weights = x.len() as f64 / seconds / 1e6;
        let share = 100.0 * moved / peak;
        println!("{:<8} {what:<14} {weights:>10.1} {:>8.2} {share:>7.1}%", ty.name(), moved / 1e9);
    };
    for &ty in TYPES.iter().filter(wanted) {
        let mut blocks = vec![0; bytes_of(ty, x.len())];
        if !requires_importance(ty) {
            report(ty, "", fastest(|| quantize(ty, black_box(&x), ROW, None, &mut blocks)));
        }
        if WEIGHTED.contains(&ty) {
            let seconds = fastest(|| quantize(ty, black_box(&x), ROW, Some(&importance), &mut blocks));
            report(ty, "by importance", seconds);
        }
        report(ty, "back to f32", fastest(|| dequantize(ty, black_box(&blocks), &mut y)));
    }
    if names.is_empty() || names.iter().any(|n| "sha256".contains(n.as_str())) {
        hashes();
    }
}

/// Bytes a second, of one stream and of two together.
fn hashes() {
    let bytes = vec![7; 1 << 20];
    let (mut one, mut other) = (Sha256::default(), Sha256::default());
    let line = |what: &str, seconds: f64, bytes: usize| {
        println!("{:<8} {what:<14} {:>10} {:>8.2}", "sha256", "", bytes as f64 / seconds / 1e9);
    };
    line("one stream", fastest(|| one.update(black_box(&bytes))), bytes.len());
    let both = fastest(|| update_both([&mut one, &mut other], [black_box(&bytes); 2]));
    line("two in step", both, 2 * bytes.len());
}

fn bytes_of(ty: GgmlType, values: usize) -> usize {
    values / ty.block_size() * ty.block_bytes()
}

/// Sums of uniform numbers, near enough to a normal distribution.
fn weights() -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    (0..ROW * ROWS).map(|_| 0.02 * (0..6).map(|_| uniform()).sum::<f32>()).collect()
}

/// Seconds of the fastest run.
fn fastest(mut run: impl FnMut()) -> f64 {
    let (begin, mut best, mut runs) = (Instant::now(), f64::MAX, 0);
    while runs < 3 || begin.elapsed() < BUDGET {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
