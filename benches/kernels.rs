//! Block kernels, in values a second on one core: `cargo bench --bench kernels`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use jamph_quantizer::gguf::GgmlType::{self, *};
use jamph_quantizer::quantize::block::{dequantize, quantize};

const TYPES: &[GgmlType] = &[
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0,
    MXFP4, NVFP4, Q1_0, Q2_0,
];

/// Those that importances change.
const WEIGHTED: &[GgmlType] = &[Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS];
const ROW: usize = 2048;
const ROWS: usize = 64;

fn main() {
    divan::main();
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

fn run(bencher: Bencher<'_, '_>, ty: GgmlType, importance: Option<&[f32]>) {
    let x = weights();
    let mut out = vec![0; x.len() / ty.block_size() * ty.block_bytes()];
    bencher
        .counter(ItemsCount::new(x.len()))
        .bench_local(|| quantize(ty, black_box(&x), ROW, importance, &mut out));
}

#[divan::bench(args = TYPES)]
fn plain(bencher: Bencher<'_, '_>, ty: GgmlType) {
    run(bencher, ty, None);
}

#[divan::bench(args = WEIGHTED)]
fn by_importance(bencher: Bencher<'_, '_>, ty: GgmlType) {
    let importance: Vec<f32> = (0..ROW).map(|i| ((5 * i % 17) as f32 + 1.0) / 4.0).collect();
    run(bencher, ty, Some(&importance));
}

#[divan::bench(args = TYPES)]
fn back_to_f32(bencher: Bencher<'_, '_>, ty: GgmlType) {
    let mut x = weights();
    let mut bytes = vec![0; x.len() / ty.block_size() * ty.block_bytes()];
    quantize(ty, &x, ROW, None, &mut bytes);
    bencher.counter(ItemsCount::new(x.len())).bench_local(|| dequantize(ty, black_box(&bytes), &mut x));
}
