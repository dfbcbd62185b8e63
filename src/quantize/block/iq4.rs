//! IQ4_NL and IQ4_XS: codes that name one of sixteen uneven levels; a scale for 32 values, found by search.
//!
//! In: values, and importances of columns where there are some. Out: blocks as `quantize_iq4_nl` and `quantize_iq4_xs`
//! write them. The search (`quantize_row_iq4_nl_impl`) tries fifteen scales around the one that maps the greatest
//! magnitude to the outermost level, and keeps the one with the best weighted fit; it runs on one block a lane.
//!
//! Bytes of an IQ4_NL block: `d` (f16), 16 of codes. Of an IQ4_XS super-block: `d` (f16), the upper two bits of eight
//! scales, their lower four bits, 128 of codes.

use super::codebook::IQ4;
use super::half::f32_to_f16;
use super::lanes::{Lanes, nearest_int, transpose};
use crate::quantize::simd::multiversion;

/// Values of a block.
const LEN: usize = 32;
/// Blocks in flight: eight super-blocks of IQ4_XS. With 32, AVX2 is an eighth faster and AVX-512 a sixth slower.
const N: usize = 64;
/// Blocks of a super-block.
const BLOCKS: usize = 8;

/// Below this, the reference takes a block to be zero (`GROUP_MAX_EPS`).
const ZERO: f32 = 1e-15;

/// From here on a value takes the next level: halfway between two, which no rounding moves.
const BOUNDS: [f32; 15] = {
    let mut bounds = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        bounds[i] = (IQ4[i] as f32 + IQ4[i + 1] as f32) / 2.0;
        i += 1;
    }
    bounds
};

/// The level nearest to `v`, the upper one of two; the last one for NaN (`best_index_int8`).
#[inline(always)]
fn nearest_level(v: f32) -> f32 {
    let mut level = f32::from(IQ4[0]);
    for i in 0..15 {
        level = if v < BOUNDS[i] { level } else { f32::from(IQ4[i + 1]) };
    }
    level
}

/// The code of [`nearest_level`].
#[inline(always)]
fn nearest_code(v: f32) -> u32 {
    let mut code = 15;
    for bound in BOUNDS {
        code -= u32::from(v < bound);
    }
    code
}

/// The values of `N` blocks, first those with index 0.
type Blocks = [Lanes<N>; LEN];

/// How well a scale fits: the sums of `w q x` and of `w q q` for the levels `q` that values take with it.
#[inline(always)]
fn fit(x: &Blocks, weights: &Blocks, inverse: &Lanes<N>) -> (Lanes<N>, Lanes<N>) {
    let (mut sum_qx, mut sum_qq) = ([0.0; N], [0.0; N]);
    // One value a lane is body enough: with more, the loop over them would not be unrolled.
    for (x, w) in x.iter().zip(weights) {
        for lane in 0..N {
            let q = nearest_level(inverse[lane] * x[lane]);
            let wq = w[lane] * q;
            sum_qx[lane] += wq * x[lane];
            sum_qq[lane] += wq * q;
        }
    }
    (sum_qx, sum_qq)
}

/// The first of the values with the greatest magnitude, of each block.
#[inline(always)]
fn peaks(x: &Blocks) -> Lanes<N> {
    let mut peaks = [0.0f32; N];
    for x in x {
        for lane in 0..N {
            peaks[lane] = if x[lane].abs() > peaks[lane].abs() { x[lane] } else { peaks[lane] };
        }
    }
    peaks
}

/// The scale of each block.
#[inline(always)]
fn search(x: &Blocks, weights: &Blocks) -> Lanes<N> {
    let peaks = peaks(x);
    let (mut scale, mut best, mut inverse) = ([0.0; N], [0.0; N], [0.0; N]);
    for k in 0..16 {
        let first = k == 0;
        let outermost = (k - 8 + i32::from(IQ4[0])) as f32;
        for lane in 0..N {
            let exact = 1.0 / (-peaks[lane] / f32::from(IQ4[0]));
            inverse[lane] = if first { exact } else { outermost / peaks[lane] };
        }
        let (sum_qx, sum_qq) = fit(x, weights, &inverse);
        for lane in 0..N {
            let (qx, qq) = (sum_qx[lane], sum_qq[lane]);
            let better = (qq > 0.0) & (first | (qx * qx > best[lane] * qq));
            let candidate = qx / qq;
            scale[lane] = if better { candidate } else { scale[lane] };
            best[lane] = if better { candidate * qx } else { best[lane] };
        }
    }
    for lane in 0..N {
        scale[lane] = if peaks[lane].abs() < ZERO { 0.0 } else { scale[lane] };
    }
    scale
}

/// Squares of the values, or importances times `sqrt(sigma2 + x^2)` with twice the mean square of `around` values.
#[inline(always)]
fn weigh(x: &[f32], importance: Option<&[f32]>, column: usize, around: usize, weights: &mut [f32]) {
    let Some(importance) = importance else {
        for (w, x) in weights.iter_mut().zip(x) {
            *w = x * x;
        }
        return;
    };
    for (n, (x, w)) in x.chunks_exact(around).zip(weights.chunks_exact_mut(around)).enumerate() {
        let sigma2 = x.iter().fold(0.0, |sum, x| sum + x * x) * (2.0 / around as f32);
        let columns = &importance[(column + n * around) % importance.len()..][..around];
        for ((w, x), importance) in w.iter_mut().zip(x).zip(columns) {
            *w = importance * (sigma2 + x * x).sqrt();
        }
    }
}

/// The scales of `N` blocks of consecutive values.
#[inline(always)]
fn scales(x: &[f32; N * LEN], importance: Option<&[f32]>, column: usize, around: usize) -> Lanes<N> {
    let (mut weights, mut values) = ([0.0; N * LEN], [[0.0; N]; LEN]);
    weigh(x, importance, column, around, &mut weights);
    transpose(x, &mut values);
    let mut lanes = [[0.0; N]; LEN];
    transpose(&weights, &mut lanes);
    search(&values, &lanes)
}

/// Writes the codes of a block: the first 16 in the low nibbles.
#[inline(always)]
fn encode(x: &[f32], scale: f32, out: &mut [u8]) {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut codes = [0; LEN];
    for i in 0..LEN {
        codes[i] = nearest_code(inverse * x[i]);
    }
    for j in 0..LEN / 2 {
        out[j] = (codes[j] | codes[j + LEN / 2] << 4) as u8;
    }
}

/// The values at `start`, or the last ones filled up with zeros.
#[inline(always)]
fn batch(x: &[f32]) -> [f32; N * LEN] {
    let mut batch = [0.0; N * LEN];
    batch[..x.len()].copy_from_slice(x);
    batch
}

#[inline(always)]
fn nl(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    for (n, (x, out)) in x.chunks(N * LEN).zip(out.chunks_mut(N * 18)).enumerate() {
        let x = batch(x);
        let scales = scales(&x, importance, n * N * LEN, LEN);
        for ((x, out), scale) in x.chunks_exact(LEN).zip(out.chunks_exact_mut(18)).zip(scales) {
            out[..2].copy_from_slice(&f32_to_f16(scale).to_le_bytes());
            encode(x, scale, &mut out[2..]);
        }
    }
}

#[inline(always)]
fn xs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    for (n, (x, out)) in x.chunks(N * LEN).zip(out.chunks_mut(N / BLOCKS * 136)).enumerate() {
        let x = batch(x);
        let scales = scales(&x, importance, n * N * LEN, BLOCKS * LEN);
        let super_blocks = x.chunks_exact(BLOCKS * LEN).zip(scales.chunks_exact(BLOCKS));
        for ((x, scales), out) in super_blocks.zip(out.chunks_exact_mut(136)) {
            super_block(x, scales, out);
        }
    }
}

/// Quantizes the scales of a super-block, and its values with them.
#[inline(always)]
fn super_block(x: &[f32], scales: &[f32], out: &mut [u8]) {
    let mut peak = 0.0f32;
    for scale in scales {
        peak = if scale.abs() > peak.abs() { *scale } else { peak };
    }
    let d = -peak / 32.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (mut high, mut low) = (0, [0; BLOCKS / 2]);
    for (b, (scale, x)) in scales.iter().zip(x.chunks_exact(LEN)).enumerate() {
        let level = nearest_int(inverse * scale).clamp(-32, 31);
        let code = (level + 32) as u16;
        low[b / 2] |= ((code & 15) << (b % 2 * 4)) as u8;
        high |= code >> 4 << (2 * b);
        encode(x, d * level as f32, &mut out[8 + 16 * b..][..16]);
    }
    out[..2].copy_from_slice(&f32_to_f16(d).to_le_bytes());
    out[2..4].copy_from_slice(&high.to_le_bytes());
    out[4..8].copy_from_slice(&low);
}

multiversion! {
    /// `quantize_iq4_nl`; importances are those of a row's columns.
    pub(super) fn quantize_iq4_nl(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = nl;
}
multiversion! {
    /// `quantize_iq4_xs`; importances are those of a row's columns.
    pub(super) fn quantize_iq4_xs(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = xs;
}

#[cfg(test)]
mod tests {
    use super::super::half::f32_to_f16;
    use super::super::testing::{check_defined_with, check_known, values};
    use super::*;
    use crate::gguf::GgmlType;
    use proptest::prelude::*;

    fn code(v: f32) -> usize {
        (0..16)
            .min_by(|&a, &b| {
                let far = |i: usize| (f64::from(IQ4[i]) - f64::from(v)).abs();
                far(a).total_cmp(&far(b)).then(b.cmp(&a))
            })
            .unwrap()
    }

    fn scale(x: &[f32], weights: &[f32]) -> f32 {
        let peak = x.iter().fold(0f32, |p, &v| if v.abs() > p.abs() { v } else { p });
        if peak.abs() < 1e-15 {
            return 0.0;
        }
        let inverses = (-7..=7).map(|step| (step - 127) as f32 / peak);
        let (mut best, mut scale) = (None, 0.0);
        for inverse in [1.0 / (peak / 127.0)].into_iter().chain(inverses) {
            let (mut qx, mut qq) = (0.0f32, 0.0f32);
            for (x, w) in x.iter().zip(weights) {
                let q = f32::from(IQ4[code(inverse * x)]);
                qx += w * q * x;
                qq += w * q * q;
            }
            if qq > 0.0 && best.is_none_or(|best| qx * qx > best * qq) {
                scale = qx / qq;
                best = Some(scale * qx);
            }
        }
        scale
    }

    fn weights(x: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
        let sigma2 = x.iter().fold(0.0, |s, v| s + v * v) * (2.0 / x.len() as f32);
        match importance {
            None => x.iter().map(|v| v * v).collect(),
            Some(w) => x.iter().zip(w).map(|(v, w)| w * (sigma2 + v * v).sqrt()).collect(),
        }
    }

    fn codes(x: &[f32], scale: f32) -> Vec<u8> {
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        (0..16).map(|j| (code(inverse * x[j]) | code(inverse * x[j + 16]) << 4) as u8).collect()
    }

    fn nl(x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
        let scale = scale(x, &weights(x, importance));
        [&f32_to_f16(scale).to_le_bytes()[..], &codes(x, scale)].concat()
    }

    fn xs(x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
        let weights = weights(x, importance);
        let scales: Vec<f32> = x.chunks(32).zip(weights.chunks(32)).map(|(x, w)| scale(x, w)).collect();
        let d = scales.iter().fold(0f32, |p, &v| if v.abs() > p.abs() { v } else { p }) / -32.0;
        let (mut high, mut low, mut all) = (0u16, [0u8; 4], Vec::new());
        for (b, (scale, x)) in scales.iter().zip(x.chunks(32)).enumerate() {
            let level = if d == 0.0 { 0.0 } else { (1.0 / d * scale).round_ties_even().clamp(-32.0, 31.0) };
            let code = (level + 32.0) as u16;
            low[b / 2] |= ((code & 15) as u8) << (b % 2 * 4);
            high |= (code >> 4) << (2 * b);
            all.extend(codes(x, d * level));
        }
        [&f32_to_f16(d).to_le_bytes()[..], &high.to_le_bytes(), &low, &all].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn wide_search_does_as_the_scalar_definition(
            blocks in prop::collection::vec(values(256), 1..4),
            importance in prop::collection::vec(0f32..9.0, 256),
        ) {
            // Squares must not overflow: what comes of infinities is for the reference to know.
            let x: Vec<f32> = blocks.concat().iter().map(|v| v.clamp(-1e5, 1e5)).collect();
            for importance in [None, Some(&importance[..])] {
                check_defined_with(GgmlType::IQ4_XS, &x, importance, xs);
                check_defined_with(GgmlType::IQ4_NL, &x, importance, nl);
            }
        }
    }

    #[test]
    fn levels_change_halfway() {
        for bound in BOUNDS {
            for v in [bound.next_down(), bound, bound.next_up()] {
                assert_eq!(nearest_code(v) as usize, code(v), "{v}");
                assert_eq!(nearest_level(v), f32::from(IQ4[code(v)]), "{v}");
            }
        }
    }

    /// Recorded from `ggml_quantize_chunk` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3).
    #[test]
    fn known_answers() {
        check_known(GgmlType::IQ4_NL, 32, false, "3a248092b6ec1167ce26af2ab44ffdca8958");
        check_known(GgmlType::IQ4_NL, 32, true, "dea38f6e4a14efa931ea60e64cc0033577b8");
        check_known(
            GgmlType::IQ4_XS,
            256,
            false,
            "3a90300f201ffc338092b6ec1167ce26af2ab44ffdca895844231314172b4e72c80f56df37d15df9c51a6dbf\
             e0f1101f1dfae5b16c14ce4452dc34df5a05c2714f2f1f1113265b9f723f08c14af067ee31a5f91c4d6d8c8b\
             27252310ecb6611ab139df34aafe3f713503e2c2b3b5c9ed00358de23cc32ed8d540fda94513f2e2e3e5e90d\
             2166cd03",
        );
        check_known(
            GgmlType::IQ4_XS,
            256,
            true,
            "1690330f1f0fdd328f6e4a14efa931ea60e64cc0033577b844231314172b4e72c80f56df37d15df9c41a6dbf\
             e0f1101f1dfae5b16c14ce4452dc34df5a05c2714f2f1f1113265b9f723f08c14af067ee31a5f91c4d6d8c8b\
             27251200fdb6500ac139df24aafe2f713503e2c2b3b5c9ed00358de23cc32ed8d540fda94513f2e2e3e5f90d\
             2066ce03",
        );
    }
}
