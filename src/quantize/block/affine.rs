//! The search for a block's scale and minimum: `x ~ scale * code + min` with codes from 0 and a minimum of at most 0.
//!
//! In: `LEN` values and weights of each block. Out: a [`Fit`]. The reference's `make_qkx2_quants` and
//! `make_qkx3_quants`, which differ in nothing that finite values can show.
//!
//! A first guess spans the block's range. Then a grid of inverse scales is tried; for each, the codes are fixed and the
//! best scale and minimum for them follow by weighted least squares. A candidate wins if its error is less, and the
//! next ones are then tried from the minimum that it found: that dependence is part of the result.

use super::lanes::{Aligned, Lanes, ROUNDABLE, TILE, nearest_int, nearest_within, round_cut, select};

/// Less than half: what is no further from an integer becomes that integer.
const ROUNDED_OFF: f32 = 0.49;

/// Which candidates are tried.
pub(super) struct Grid {
    /// The largest code.
    pub(super) top: f32,
    /// Candidate `k` of `0..=steps` makes the range `start + k * step + top` codes wide.
    pub(super) start: f32,
    pub(super) step: f32,
    pub(super) steps: usize,
}

/// What the search found, for each block.
pub(super) struct Fit<const N: usize> {
    pub(super) scale: Lanes<N>,
    /// The minimum, negated: what a K-quant stores.
    pub(super) min: Lanes<N>,
    /// The codes of the search are `code_scale * (x - code_min)`, rounded and cut to `0..=top`; needed where the scale
    /// is later rounded to zero, because the reference leaves those codes as they are.
    code_scale: Lanes<N>,
    code_min: Lanes<N>,
}

impl<const N: usize> Fit<N> {
    /// That of blocks without a range.
    pub(super) const EMPTY: Self =
        Self { scale: [0.0; N], min: [0.0; N], code_scale: [0.0; N], code_min: [0.0; N] };

    /// The code of a value of this block, as the search had it.
    pub(super) fn code(&self, lane: usize, x: f32, top: i32) -> u8 {
        nearest_int(self.code_scale[lane] * (x - self.code_min[lane])).min(top).max(0) as u8
    }
}

/// The values and weights of all blocks.
struct Blocks<'a, const N: usize, const LEN: usize> {
    x: &'a [Lanes<N>; LEN],
    weights: &'a [Lanes<N>; LEN],
    /// Smallest and largest value; for a flat block a largest that keeps infinities out of its lane.
    low: Lanes<N>,
    high: Lanes<N>,
    top: f32,
}

/// Searches all blocks; `ABSOLUTE` weighs absolute instead of squared differences.
#[inline(always)]
pub(super) fn search<const N: usize, const LEN: usize, const ABSOLUTE: bool>(
    x: &[Lanes<N>; LEN],
    weights: &[Lanes<N>; LEN],
    grid: &Grid,
) -> Fit<N> {
    let (mut low, mut high) = (x[0], x[0]);
    let mut sum_w = weights[0];
    let mut sum_x = [0.0; N];
    for lane in 0..N {
        sum_x[lane] = weights[0][lane] * x[0][lane];
    }
    for i in 1..LEN {
        for lane in 0..N {
            let (x, w) = (x[i][lane], weights[i][lane]);
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            sum_w[lane] += w;
            sum_x[lane] += w * x;
        }
    }
    let mut flat = [0.0; N];
    let (mut min, mut inverse, mut scale) = ([0.0; N], [0.0; N], [0.0; N]);
    for lane in 0..N {
        min[lane] = if low[lane] > 0.0 { 0.0 } else { low[lane] };
        flat[lane] = if high[lane] == min[lane] { 1.0 } else { 0.0 };
        high[lane] += flat[lane];
        inverse[lane] = grid.top / (high[lane] - min[lane]);
        scale[lane] = 1.0 / inverse[lane];
    }
    let first_min = min;
    let (mut code_scale, mut code_min) = (inverse, min);
    let mut codes = Aligned([[0.0; N]; LEN]);
    let blocks = Blocks { x, weights, low, high, top: grid.top };
    blocks.encode(&inverse, &min, &mut codes.0);
    let mut best = blocks.error::<ABSOLUTE>(&codes.0, &scale, &min);

    for k in 0..=grid.steps {
        let width = grid.start + grid.step * k as f32 + grid.top;
        for lane in 0..N {
            inverse[lane] = width / (high[lane] - min[lane]);
        }
        let sums = blocks.encode(&inverse, &min, &mut codes.0);
        let (mut this_scale, mut this_min) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            let (l, l2, xl) = (sums.l[lane], sums.l2[lane], sums.xl[lane]);
            let (w, x) = (sum_w[lane], sum_x[lane]);
            let d = w * l2 - l * l;
            let (scale, min) = ((w * xl - x * l) / d, (l2 * x - l * xl) / d);
            let through_zero = xl / l2;
            this_scale[lane] = select(min > 0.0, through_zero, scale);
            this_min[lane] = select(min > 0.0, 0.0, min);
        }
        let error = blocks.error::<ABSOLUTE>(&codes.0, &this_scale, &this_min);
        let old = Fit { scale, min, code_scale, code_min };
        for lane in 0..N {
            let d = sum_w[lane] * sums.l2[lane] - sums.l[lane] * sums.l[lane];
            let better = (d > 0.0) & (error[lane] < best[lane]);
            best[lane] = select(better, error[lane], best[lane]);
            scale[lane] = select(better, this_scale[lane], old.scale[lane]);
            code_scale[lane] = select(better, inverse[lane], old.code_scale[lane]);
            code_min[lane] = select(better, old.min[lane], old.code_min[lane]);
            min[lane] = select(better, this_min[lane], old.min[lane]);
        }
    }
    for lane in 0..N {
        let flat = flat[lane] != 0.0;
        scale[lane] = if flat { 0.0 } else { scale[lane] };
        min[lane] = -if flat { first_min[lane] } else { min[lane] };
        code_scale[lane] = if flat { 0.0 } else { code_scale[lane] };
        code_min[lane] = if flat { first_min[lane] } else { code_min[lane] };
    }
    Fit { scale, min, code_scale, code_min }
}

/// Weighted sums over a block: of its codes, their squares, and their products with the values.
struct Sums<const N: usize> {
    l: Lanes<N>,
    l2: Lanes<N>,
    xl: Lanes<N>,
}

impl<const N: usize, const LEN: usize> Blocks<'_, N, LEN> {
    /// Finds the codes for a scale and minimum, and their sums.
    #[inline(always)]
    fn encode(&self, inverse: &Lanes<N>, min: &Lanes<N>, codes: &mut [Lanes<N>; LEN]) -> Sums<N> {
        // Rounding is monotonic: what holds for both ends of the range holds for all between.
        let (mut roundable, mut above, mut below) = (true, true, true);
        let top = self.top + ROUNDED_OFF;
        for lane in 0..N {
            let first = inverse[lane] * (self.low[lane] - min[lane]);
            let last = inverse[lane] * (self.high[lane] - min[lane]);
            roundable &= (first.abs() <= ROUNDABLE) & (last.abs() <= ROUNDABLE);
            above &= (first >= -ROUNDED_OFF) & (last >= -ROUNDED_OFF);
            below &= (first <= top) & (last <= top);
        }
        // All codes come first: a chain of operations from each value to its sums keeps the processor waiting.
        match (roundable, above, below) {
            (true, true, true) => self.codes::<true, false, false>(inverse, min, codes),
            (true, false, true) => self.codes::<true, true, false>(inverse, min, codes),
            (true, ..) => self.codes::<true, true, true>(inverse, min, codes),
            (false, ..) => self.codes::<false, true, true>(inverse, min, codes),
        }
        let mut sums = Sums { l: [0.0; N], l2: [0.0; N], xl: [0.0; N] };
        let tiles = self.x.as_chunks::<TILE>().0.iter().zip(self.weights.as_chunks::<TILE>().0);
        for ((x, weights), codes) in tiles.zip(codes.as_chunks::<TILE>().0) {
            for lane in 0..N {
                let (mut sum_l, mut sum_l2, mut sum_xl) = (sums.l[lane], sums.l2[lane], sums.xl[lane]);
                for i in 0..TILE {
                    let l = codes[i][lane];
                    let wl = weights[i][lane] * l;
                    sum_l += wl;
                    sum_l2 += wl * l;
                    sum_xl += wl * x[i][lane];
                }
                (sums.l[lane], sums.l2[lane], sums.xl[lane]) = (sum_l, sum_l2, sum_xl);
            }
        }
        sums
    }

    /// The codes, cut to 0 (`LOW`) and to the top (`HIGH`) where some need that.
    #[inline(always)]
    fn codes<const ROUNDABLE: bool, const LOW: bool, const HIGH: bool>(
        &self,
        inverse: &Lanes<N>,
        min: &Lanes<N>,
        codes: &mut [Lanes<N>; LEN],
    ) {
        for (x, codes) in self.x.iter().zip(codes.iter_mut()) {
            for lane in 0..N {
                let v = inverse[lane] * (x[lane] - min[lane]);
                codes[lane] = if ROUNDABLE {
                    round_cut::<LOW, HIGH>(v, 0.0, self.top)
                } else {
                    nearest_within(v, 0.0, self.top)
                };
            }
        }
    }

    /// The weighted error of these codes with a scale and minimum.
    #[inline(always)]
    fn error<const ABSOLUTE: bool>(
        &self,
        codes: &[Lanes<N>; LEN],
        scale: &Lanes<N>,
        min: &Lanes<N>,
    ) -> Lanes<N> {
        let mut error = [0.0; N];
        let tiles = self.x.as_chunks::<TILE>().0.iter().zip(self.weights.as_chunks::<TILE>().0);
        for ((x, weights), codes) in tiles.zip(codes.as_chunks::<TILE>().0) {
            for lane in 0..N {
                let (scale, min) = (scale[lane], min[lane]);
                let mut sum = error[lane];
                for i in 0..TILE {
                    let diff = scale * codes[i][lane] + min - x[i][lane];
                    sum += weights[i][lane] * if ABSOLUTE { diff.abs() } else { diff * diff };
                }
                error[lane] = sum;
            }
        }
        error
    }
}
