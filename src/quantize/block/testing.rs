//! What the kernels' tests share: values of many kinds, every SIMD level, and answers of the reference.

use crate::base::hash::{hex, sha256};
use crate::gguf::GgmlType;
use crate::quantize::simd::{self, Level};
use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Runs a test with the kernels of each level that this processor has; tests that do so wait for each other.
pub(super) fn at_every_level(test: impl Fn(Level)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
        if simd::limit(level) == level {
            test(level);
        }
    }
    simd::limit(Level::Avx512);
}

/// The row that recorded answers were made from: `x[i] = ((7 i^2 + 37 i) mod 251 - 125) / 64`.
pub(super) fn known_row(n: usize) -> Vec<f32> {
    (0..n).map(|i| (((7 * i * i + 37 * i) % 251) as f32 - 125.0) / 64.0).collect()
}

/// The importance that recorded answers were made with: `w[i] = ((5 i) mod 17 + 1) / 4`.
pub(super) fn known_importance(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((5 * i % 17) as f32 + 1.0) / 4.0).collect()
}

/// Quantizes one row with the public function, into a buffer that has been used before.
pub(super) fn quantized(ty: GgmlType, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xa5; ty.bytes_of(x.len() as u64).unwrap() as usize];
    super::quantize(ty, x, x.len(), importance, &mut out);
    out
}

/// Checks an answer of the reference for [`known_row`], at every level.
pub(super) fn check_known(ty: GgmlType, n: usize, weighted: bool, want: &str) {
    let importance = known_importance(n);
    at_every_level(|level| {
        let got = quantized(ty, &known_row(n), weighted.then_some(&importance));
        assert_eq!(hex(&got), want, "{ty} with {level}");
    });
}

/// Blocks of very different size, some of them empty.
fn uneven_row(n: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as f32 - 32_768.0
    };
    (0..n).map(|i| next() * next() * 2.0_f32.powi(-36) * [1.0, 0.25, 2e-4, 0.0, 3.0][i / 16 % 5]).collect()
}

/// Checks hashes of what the reference made of two rows of `known_row(2560)` and of `uneven_row(2560)` at every level;
/// where it is weighted, by `known_importance(1280)`.
pub(super) fn check_hashes(ty: GgmlType, weighted: bool, want: [&str; 2]) {
    let importance = known_importance(1280);
    at_every_level(|level| {
        let got = [known_row(2560), uneven_row(2560)].map(|x| {
            let mut out = vec![0xa5; ty.bytes_of(2560).unwrap() as usize];
            super::quantize(ty, &x, 1280, weighted.then_some(&importance), &mut out);
            sha256(&out)
        });
        assert_eq!(got, want, "{ty} with {level}, weighted: {weighted}");
    });
}

/// Checks a kernel against its scalar definition for these values, at every level.
pub(super) fn check_defined(ty: GgmlType, x: &[f32], define: impl Fn(&[f32]) -> Vec<u8>) {
    check_defined_with(ty, x, None, |x, _| define(x));
}

/// [`check_defined`] with importances for the first values of a row, the same for all after them.
pub(super) fn check_defined_with(
    ty: GgmlType,
    x: &[f32],
    importance: Option<&[f32]>,
    define: impl Fn(&[f32], Option<&[f32]>) -> Vec<u8>,
) {
    let (size, bytes) = (ty.block_size(), ty.block_bytes());
    let row: Option<Vec<f32>> = importance.map(|w| w.iter().copied().cycle().take(x.len()).collect());
    let blocks = x.chunks_exact(size).enumerate();
    let want: Vec<u8> =
        blocks.flat_map(|(b, x)| define(x, row.as_ref().map(|w| &w[b * size..][..size]))).collect();
    at_every_level(|level| {
        let got = quantized(ty, x, row.as_deref());
        for (b, (got, want)) in got.chunks_exact(bytes).zip(want.chunks_exact(bytes)).enumerate() {
            assert_eq!(hex(got), hex(want), "{ty} with {level}, block of {:?}", &x[b * size..][..size]);
        }
    });
}

/// `n` finite values of one kind: as weights are, far apart, subnormal, huge, tied, zeros of either sign.
pub(super) fn values(n: usize) -> impl Strategy<Value = Vec<f32>> {
    let of = |each: BoxedStrategy<f32>| prop::collection::vec(each, n);
    let arbitrary = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite());
    let like_weights = (-1.0f32..1.0, -1.0f32..1.0, -1.0f32..1.0).prop_map(|(a, b, c)| a * b * c * 0.1);
    let subnormal = any::<u32>().prop_map(|b| f32::from_bits(b & 0x80ff_ffff));
    let halves = (-9i32..=9, 0i32..2).prop_map(|(n, s)| n as f32 * 0.5 * if s == 0 { 1.0 } else { -1.0 });
    let zeros = prop::sample::select(vec![0.0f32, -0.0, 0.0, -0.0, 1.0, -1.0]);
    prop_oneof![
        4 => of(like_weights.clone().boxed()),
        2 => of(like_weights.clone().prop_map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).boxed()),
        2 => of(arbitrary.boxed()),
        1 => of(subnormal.boxed()),
        1 => of(halves.boxed()),
        1 => of(zeros.boxed()),
        1 => of(like_weights.prop_map(f32::abs).boxed()),
        1 => of((1e4f32..1e38).boxed()),
        1 => (-2.0f32..2.0).prop_map(move |v| vec![v; n]),
    ]
}
