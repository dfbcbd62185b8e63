//! Tests of Q4_0 to Q5_1 by importance: plain scalar code, which is the definition, against the kernels at every level.
//! The searches are those of the K-quants' definition.

use super::half::f32_to_f16;
use super::k_tests::{affine, symmetric};
use super::testing::{at_every_level, values};
use crate::gguf::GgmlType::{self, Q4_0, Q4_1, Q5_0, Q5_1};
use proptest::prelude::*;

/// One row.
fn define(ty: GgmlType, row: &[f32], importance: &[f32]) -> Vec<u8> {
    let bits = if matches!(ty, Q4_0 | Q4_1) { 4 } else { 5 };
    let mut sum = 0.0;
    for x in row {
        sum += x * x;
    }
    let sigma2 = sum / row.len() as f32;
    let mut out = Vec::new();
    for (x, importance) in row.chunks(32).zip(importance.chunks(32)) {
        let weights: Vec<f32> = x.iter().zip(importance).map(|(x, w)| w * (sigma2 + x * x).sqrt()).collect();
        let codes = if matches!(ty, Q4_0 | Q5_0) {
            let (scale, codes) = symmetric(x, &weights, 1 << (bits - 1));
            out.extend(f32_to_f16(scale).to_le_bytes());
            codes
        } else {
            let (scale, min, codes) = affine(x, &weights, (1 << bits) - 1, (-0.9, 0.05, 36), false);
            out.extend(f32_to_f16(scale).to_le_bytes());
            out.extend(f32_to_f16(-min).to_le_bytes());
            codes
        };
        if bits == 5 {
            let fifth = (0..32).fold(0, |bits, j| bits | u32::from(codes[j] >> 4) << j);
            out.extend(fifth.to_le_bytes());
        }
        out.extend((0..16).map(|j| codes[j] & 15 | (codes[j + 16] & 15) << 4));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Rows of 1 to 20 blocks, so that batches end within rows and rows within batches.
    #[test]
    fn wide_kernels_do_as_the_scalar_definition(
        rows in prop::collection::vec(prop::collection::vec(values(32), 20).prop_map(|v| v.concat()), 1..4),
        blocks in 1usize..=20,
        w in prop::collection::vec(prop_oneof![4 => 0.0f32..4.0, 1 => Just(0.0)], 20 * 32),
    ) {
        let (row, importance) = (32 * blocks, &w[..32 * blocks]);
        let x: Vec<f32> = rows.iter().flat_map(|x| &x[..row]).copied().collect();
        for ty in [Q4_0, Q4_1, Q5_0, Q5_1] {
            let want: Vec<u8> = x.chunks(row).flat_map(|x| define(ty, x, importance)).collect();
            at_every_level(|level| {
                let mut got = vec![0; want.len()];
                super::quantize(ty, &x, row, Some(importance), &mut got);
                assert!(got == want, "{ty} with {level}, rows of {blocks} blocks");
            });
        }
    }
}
