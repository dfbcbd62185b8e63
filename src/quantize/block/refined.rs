//! The search for a block's scale by refinement, for Q3_K: codes from -4 to 3, `x ~ scale * code`.
//!
//! In: values of each block. Out: a [`Fit`]. The reference's `make_q3_quants` with `do_rmse`.
//!
//! Codes start from the scale that puts the largest value on -4. Then, up to five times over, each code in turn is
//! chosen anew against the best scale for all the others, and kept if the whole block is explained better.
//!
//! Half a code a block changes, so almost all of these steps come to nothing. In lanes that cannot be skipped, and the
//! time is the latency of one step after the other. With AVX2 eight blocks are gone through by intrinsics instead, and
//! only where one of them may change a code is the rest of the step done: the others then do not wait for each other,
//! and blocks that are done early are left. That is 2.3 times as fast.

use super::lanes::{Lanes, ROUNDER, nearest_within, select};
use super::symmetric::EMPTY;
#[cfg(target_arch = "x86_64")]
use crate::quantize::simd::{self, Level};

/// The largest magnitude of a code.
const HALF: f32 = 4.0;

/// How often the codes are gone through.
const SWEEPS: usize = 5;

/// What the search found, for each block.
pub(super) struct Fit<const N: usize, const LEN: usize> {
    /// 0 for an empty block.
    pub(super) scale: Lanes<N>,
    codes: [Lanes<N>; LEN],
}

impl<const N: usize, const LEN: usize> Fit<N, LEN> {
    /// Code `i` of a block as the search had it, from 0. Those of an empty block are all 0, which stands for -4.
    pub(super) fn code(&self, lane: usize, i: usize) -> u8 {
        (self.codes[i][lane] + HALF) as u8
    }
}

/// Searches all blocks.
///
/// Each step needs the sums of the one before and a division, so time goes by in latency: the more blocks, the better.
#[inline(always)]
pub(super) fn search<const N: usize, const LEN: usize>(x: &[Lanes<N>; LEN]) -> Fit<N, LEN> {
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= Level::Avx2 {
        // SAFETY: the level is at most what was found on this processor.
        #[allow(unsafe_code, reason = "calls a target_feature function after detection")]
        return unsafe { avx2::search(x) };
    }
    let (mut amax, mut max) = ([0.0; N], [0.0; N]);
    for x in x {
        for lane in 0..N {
            let ax = x[lane].abs();
            let larger = ax > amax[lane];
            amax[lane] = select(larger, ax, amax[lane]);
            max[lane] = select(larger, x[lane], max[lane]);
        }
    }
    let mut inverse = [0.0; N];
    for lane in 0..N {
        // Keeps infinities out of the lanes of empty blocks.
        inverse[lane] = if amax[lane] < EMPTY { 0.0 } else { -HALF / max[lane] };
    }
    let mut codes = [[0.0; N]; LEN];
    let (mut sum_lx, mut sum_l2) = ([0.0; N], [0.0; N]);
    for (x, codes) in x.iter().zip(&mut codes) {
        for lane in 0..N {
            let x = x[lane];
            let w = x * x;
            let l = nearest_within(inverse[lane] * x, -HALF, HALF - 1.0);
            sum_lx[lane] += w * x * l;
            sum_l2[lane] += w * l * l;
            codes[lane] = l;
        }
    }
    for _ in 0..SWEEPS {
        // A block without a change would not change in a further sweep either, so all can go on until all are done.
        let mut changed = [0_u32; N];
        for (x, codes) in x.iter().zip(&mut codes) {
            for lane in 0..N {
                let (x, l) = (x[lane], codes[lane]);
                let (lx, l2) = (sum_lx[lane], sum_l2[lane]);
                let w = x * x;
                let other_lx = lx - w * x * l;
                let other_l2 = l2 - w * l * l;
                let new = nearest_within(x * other_l2 / other_lx, -HALF, HALF - 1.0);
                let new_lx = other_lx + w * x * new;
                let new_l2 = other_l2 + w * new * new;
                let better = (other_lx > 0.0)
                    & (new != l)
                    & (new_l2 > 0.0)
                    & (new_lx * new_lx * l2 > lx * lx * new_l2);
                // Not a `select`, which would become a masked store.
                codes[lane] = l + select(better, new - l, 0.0);
                sum_lx[lane] = select(better, new_lx, lx);
                sum_l2[lane] = select(better, new_l2, l2);
                changed[lane] |= u32::from(better);
            }
        }
        if changed == [0; N] {
            break;
        }
    }
    let mut scale = [0.0; N];
    for lane in 0..N {
        let fits = (amax[lane] >= EMPTY) & (sum_l2[lane] > 0.0);
        scale[lane] = if fits { sum_lx[lane] / sum_l2[lane] } else { 0.0 };
        for codes in &mut codes {
            codes[lane] = select(amax[lane] < EMPTY, -HALF, codes[lane]);
        }
    }
    Fit { scale, codes }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{EMPTY, Fit, HALF, Lanes, ROUNDER, SWEEPS};
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _CMP_LT_OQ, _CMP_NEQ_UQ, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256,
        _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps,
        _mm256_cmpeq_epi32, _mm256_div_ps, _mm256_extract_epi32, _mm256_max_epi32, _mm256_min_epi32,
        _mm256_movemask_ps, _mm256_mul_ps, _mm256_or_ps, _mm256_or_si256, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_setr_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sub_ps,
    };

    /// The search of the parent module, eight blocks at a time.
    #[target_feature(enable = "avx2")]
    pub(super) fn search<const N: usize, const LEN: usize>(x: &[Lanes<N>; LEN]) -> Fit<N, LEN> {
        let mut fit = Fit { scale: [0.0; N], codes: [[0.0; N]; LEN] };
        for first in (0..N).step_by(8) {
            let mut blocks = [_mm256_setzero_ps(); LEN];
            for (block, x) in blocks.iter_mut().zip(x) {
                *block = load(&x[first..]);
            }
            let (scale, codes) = search_eight(&blocks);
            store(scale, &mut fit.scale[first..]);
            for (out, codes) in fit.codes.iter_mut().zip(codes) {
                store(codes, &mut out[first..]);
            }
        }
        fit
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn search_eight<const LEN: usize>(x: &[__m256; LEN]) -> (__m256, [__m256; LEN]) {
        let zero = _mm256_setzero_ps();
        let magnitude = |x: __m256| _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x));
        let (mut weights, mut weighted) = ([zero; LEN], [zero; LEN]);
        let mut largest = _mm256_setzero_si256();
        for i in 0..LEN {
            weights[i] = _mm256_mul_ps(x[i], x[i]);
            weighted[i] = _mm256_mul_ps(weights[i], x[i]);
            // Magnitudes compare as the integers of their bits.
            largest = _mm256_max_epi32(largest, magnitude(x[i]));
        }
        // The first of those as large, sign and all.
        let mut max = zero;
        for &x in x.iter().rev() {
            let largest = _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude(x), largest));
            max = _mm256_blendv_ps(max, x, largest);
        }
        let empty = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_castsi256_ps(largest), _mm256_set1_ps(EMPTY));
        let inverse = _mm256_andnot_ps(empty, _mm256_div_ps(_mm256_set1_ps(-HALF), max));
        let mut codes = [zero; LEN];
        // None is beyond -4 by more than an error of rounding.
        let rounder = _mm256_set1_ps(ROUNDER);
        let high = _mm256_castps_si256(_mm256_set1_ps(ROUNDER + HALF - 1.0));
        for i in 0..LEN {
            let code = _mm256_castps_si256(_mm256_add_ps(_mm256_mul_ps(inverse, x[i]), rounder));
            codes[i] = _mm256_sub_ps(_mm256_castsi256_ps(_mm256_min_epi32(code, high)), rounder);
        }
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for i in 0..LEN {
            sum_lx = _mm256_add_ps(sum_lx, _mm256_mul_ps(weighted[i], codes[i]));
            sum_l2 = _mm256_add_ps(sum_l2, _mm256_mul_ps(_mm256_mul_ps(weights[i], codes[i]), codes[i]));
        }
        // Steps since the last change: after as many as there are values, nothing would change any more.
        let mut unchanged = 0;
        'sweeps: for _ in 0..SWEEPS {
            for i in 0..LEN {
                let l = codes[i];
                let other_lx = _mm256_sub_ps(sum_lx, _mm256_mul_ps(weighted[i], l));
                let other_l2 = _mm256_sub_ps(sum_l2, _mm256_mul_ps(_mm256_mul_ps(weights[i], l), l));
                let new = nearest_code(_mm256_div_ps(_mm256_mul_ps(x[i], other_l2), other_lx));
                let differs = _mm256_cmp_ps::<_CMP_NEQ_UQ>(new, l);
                let possible = _mm256_and_ps(differs, _mm256_cmp_ps::<_CMP_GT_OQ>(other_lx, zero));
                unchanged += 1;
                if _mm256_movemask_ps(possible) != 0 {
                    let new_lx = _mm256_add_ps(other_lx, _mm256_mul_ps(weighted[i], new));
                    let new_l2 = _mm256_add_ps(other_l2, _mm256_mul_ps(_mm256_mul_ps(weights[i], new), new));
                    let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(new_l2, zero);
                    let gain = _mm256_cmp_ps::<_CMP_GT_OQ>(
                        _mm256_mul_ps(_mm256_mul_ps(new_lx, new_lx), sum_l2),
                        _mm256_mul_ps(_mm256_mul_ps(sum_lx, sum_lx), new_l2),
                    );
                    let better = _mm256_and_ps(_mm256_and_ps(possible, positive), gain);
                    sum_lx = _mm256_blendv_ps(sum_lx, new_lx, better);
                    sum_l2 = _mm256_blendv_ps(sum_l2, new_l2, better);
                    // Not a blend, which would become a masked store.
                    codes[i] = _mm256_add_ps(l, _mm256_and_ps(better, _mm256_sub_ps(new, l)));
                    if _mm256_movemask_ps(better) != 0 {
                        unchanged = 0;
                    }
                }
                if unchanged == LEN {
                    break 'sweeps;
                }
            }
        }
        let fits = _mm256_andnot_ps(empty, _mm256_cmp_ps::<_CMP_GT_OQ>(sum_l2, zero));
        // The codes of empty blocks are 0 so far, and their bits, too.
        let of_empty = _mm256_and_ps(empty, _mm256_set1_ps(-HALF));
        for code in &mut codes {
            *code = _mm256_or_ps(*code, of_empty);
        }
        (_mm256_and_ps(fits, _mm256_div_ps(sum_lx, sum_l2)), codes)
    }

    /// `nearest_within` for the codes of this type: what it does beyond 2^22, too.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn nearest_code(v: __m256) -> __m256 {
        // What the lower bits of the rounder are.
        const ZERO: i32 = 1 << 22;
        let rounder = _mm256_set1_ps(ROUNDER);
        let low = _mm256_set1_epi32(ZERO - HALF as i32);
        let high = _mm256_set1_epi32(ZERO + HALF as i32 - 1);
        let bits = _mm256_castps_si256(_mm256_add_ps(v, rounder));
        let code = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
        let code = _mm256_min_epi32(_mm256_max_epi32(code, low), high);
        let exponent = _mm256_set1_epi32(0x4b00_0000);
        _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(code, exponent)), rounder)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(x: &[f32]) -> __m256 {
        _mm256_setr_ps(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7])
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(v: __m256, out: &mut [f32]) {
        let v = _mm256_castps_si256(v);
        let lanes = [
            _mm256_extract_epi32::<0>(v),
            _mm256_extract_epi32::<1>(v),
            _mm256_extract_epi32::<2>(v),
            _mm256_extract_epi32::<3>(v),
            _mm256_extract_epi32::<4>(v),
            _mm256_extract_epi32::<5>(v),
            _mm256_extract_epi32::<6>(v),
            _mm256_extract_epi32::<7>(v),
        ];
        for (out, lane) in out[..8].iter_mut().zip(lanes) {
            *out = f32::from_bits(lane as u32);
        }
    }
}
