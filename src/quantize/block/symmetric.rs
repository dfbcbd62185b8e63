//! The search for a block's scale where codes run from `-half` to `half - 1`: `x ~ scale * code`.
//!
//! In: `LEN` values and weights of each block. Out: a [`Fit`]. The reference's `make_qx_quants` with weights.
//!
//! The value largest in magnitude is first put on `-half`, then a little beside it; the codes that this gives fix the
//! best scale by weighted least squares, and the candidate that explains most wins.

use super::lanes::{Aligned, Lanes, TILE, nearest_int, nearest_within, round_within, select};

/// A block with nothing larger than this counts as empty (`GROUP_MAX_EPS`).
pub(super) const EMPTY: f32 = 1e-15;

/// What the search found, for each block.
pub(super) struct Fit<const N: usize> {
    /// 0 for an empty block.
    pub(super) scale: Lanes<N>,
    /// The codes of the search are `code_scale * x`, rounded and cut; needed where the scale is later rounded to zero,
    /// because the reference leaves those codes as they are.
    code_scale: Lanes<N>,
    empty: Lanes<N>,
}

impl<const N: usize> Fit<N> {
    /// That of empty blocks.
    pub(super) const EMPTY: Self = Self { scale: [0.0; N], code_scale: [0.0; N], empty: [1.0; N] };

    /// The code of a value of this block as the search had it, from 0. Those of an empty block are all 0, which
    /// stands for `-half`.
    pub(super) fn code(&self, lane: usize, x: f32, half: i32) -> u8 {
        if self.empty[lane] != 0.0 {
            return 0;
        }
        (nearest_int(self.code_scale[lane] * x).min(half - 1).max(-half) + half) as u8
    }
}

/// Searches all blocks.
#[inline(always)]
pub(super) fn search<const N: usize, const LEN: usize>(
    x: &[Lanes<N>; LEN],
    weights: &[Lanes<N>; LEN],
    half: f32,
) -> Fit<N> {
    let (mut amax, mut max, mut bits) = ([0.0; N], [0.0; N], [0; N]);
    for x in x.as_chunks::<TILE>().0 {
        for lane in 0..N {
            // Copies, so that no select becomes a masked store.
            let mut largest = (amax[lane], max[lane], bits[lane]);
            for x in x {
                let ax = x[lane].abs();
                let larger = ax > largest.0;
                largest.0 = select(larger, ax, largest.0);
                largest.1 = select(larger, x[lane], largest.1);
                largest.2 = ax.to_bits().max(largest.2);
            }
            (amax[lane], max[lane], bits[lane]) = largest;
        }
    }
    // As integers, infinities and NaNs are larger than all other magnitudes.
    let finite = bits.iter().fold(0, |max, &bits| bits.max(max)) <= f32::MAX.to_bits();
    let mut empty = [0.0; N];
    for lane in 0..N {
        empty[lane] = if amax[lane] < EMPTY { 1.0 } else { 0.0 };
        // Keeps infinities out of the lane.
        max[lane] = if amax[lane] < EMPTY { 1.0 } else { max[lane] };
    }
    let mut weighted = Aligned([[0.0; N]; LEN]);
    for i in 0..LEN {
        for lane in 0..N {
            weighted.0[i][lane] = weights[i][lane] * x[i][lane];
        }
    }
    let blocks = Blocks { x, weights, weighted: &weighted.0, half, finite };

    let mut code_scale = [0.0; N];
    for lane in 0..N {
        code_scale[lane] = -half / max[lane];
    }
    let (sum_lx, sum_l2) = blocks.sums(&code_scale);
    let (mut scale, mut best) = ([0.0; N], [0.0; N]);
    for lane in 0..N {
        scale[lane] = if sum_l2[lane] == 0.0 { 0.0 } else { sum_lx[lane] / sum_l2[lane] };
        best[lane] = scale[lane] * sum_lx[lane];
    }
    for k in (-9..=9).filter(|&k| k != 0) {
        let beside = -(half + 0.1 * k as f32);
        let mut inverse = [0.0; N];
        for lane in 0..N {
            inverse[lane] = beside / max[lane];
        }
        let (sum_lx, sum_l2) = blocks.sums(&inverse);
        let (old_scale, old_code_scale) = (scale, code_scale);
        for lane in 0..N {
            let (lx, l2) = (sum_lx[lane], sum_l2[lane]);
            let better = (l2 > 0.0) & (lx * lx > best[lane] * l2);
            // Divided in any case: a division under a condition would keep the loop from becoming vectors.
            let quotient = lx / l2;
            let gain = quotient * lx;
            scale[lane] = select(better, quotient, old_scale[lane]);
            best[lane] = select(better, gain, best[lane]);
            code_scale[lane] = select(better, inverse[lane], old_code_scale[lane]);
        }
    }
    for lane in 0..N {
        scale[lane] = if empty[lane] == 0.0 { scale[lane] } else { 0.0 };
    }
    Fit { scale, code_scale, empty }
}

struct Blocks<'a, const N: usize, const LEN: usize> {
    x: &'a [Lanes<N>; LEN],
    weights: &'a [Lanes<N>; LEN],
    /// The products of the two.
    weighted: &'a [Lanes<N>; LEN],
    half: f32,
    finite: bool,
}

impl<const N: usize, const LEN: usize> Blocks<'_, N, LEN> {
    /// The weighted sums of code times value and of squared codes.
    #[inline(always)]
    fn sums(&self, inverse: &Lanes<N>) -> (Lanes<N>, Lanes<N>) {
        // No finite value comes out beyond `half + 0.9`.
        if self.finite { self.sums_by::<true>(inverse) } else { self.sums_by::<false>(inverse) }
    }

    #[inline(always)]
    fn sums_by<const FINITE: bool>(&self, inverse: &Lanes<N>) -> (Lanes<N>, Lanes<N>) {
        let (low, high) = (-self.half, self.half - 1.0);
        let (mut sum_lx, mut sum_l2) = ([0.0; N], [0.0; N]);
        let tiles = self.weights.as_chunks::<TILE>().0.iter().zip(self.weighted.as_chunks::<TILE>().0);
        for (x, (weights, weighted)) in self.x.as_chunks::<TILE>().0.iter().zip(tiles) {
            for lane in 0..N {
                let inverse = inverse[lane];
                let (mut lx, mut l2) = (sum_lx[lane], sum_l2[lane]);
                for i in 0..TILE {
                    let v = inverse * x[i][lane];
                    let l = if FINITE { round_within(v, low, high) } else { nearest_within(v, low, high) };
                    lx += weighted[i][lane] * l;
                    l2 += weights[i][lane] * l * l;
                }
                (sum_lx[lane], sum_l2[lane]) = (lx, l2);
            }
        }
        (sum_lx, sum_l2)
    }
}
