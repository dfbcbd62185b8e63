//! The search for a scale of positive numbers by importance: `x ~ scale * code`, codes from 0.
//!
//! In: `LEN` numbers and weights of each super-block; the numbers are its blocks' scales or minima. Out: a [`Fit`]. The
//! reference's `make_qp_quants`.
//!
//! Nine scales are tried around the one that spans the range; then, up to five times over, each code in turn is chosen
//! anew against the best scale for all the others, and kept if the whole is explained better.

use super::lanes::{Lanes, nearest_int, select};
use super::symmetric::EMPTY;

/// How often the codes are gone through.
const SWEEPS: usize = 5;

/// What the search found, for each super-block.
pub(super) struct Fit<const N: usize, const LEN: usize> {
    pub(super) scale: Lanes<N>,
    codes: [Lanes<N>; LEN],
}

impl<const N: usize, const LEN: usize> Fit<N, LEN> {
    /// The codes of a super-block.
    pub(super) fn codes(&self, lane: usize) -> [u8; LEN] {
        self.codes.map(|codes| codes[lane] as u8)
    }
}

/// The nearest integer up to `top`. Below zero (where a block's scale is) it is what it is here, but wraps as a code.
#[inline(always)]
fn nearest(v: f32, top: f32) -> f32 {
    nearest_int(v).min(top as i32) as f32
}

/// As the byte that holds a code.
#[inline(always)]
fn byte(code: f32) -> f32 {
    (code as i32 & 255) as f32
}

/// Searches all super-blocks.
#[inline(always)]
pub(super) fn search<const N: usize, const LEN: usize>(
    x: &[Lanes<N>; LEN],
    weights: &[Lanes<N>; LEN],
    top: f32,
) -> Fit<N, LEN> {
    let mut max = [0.0; N];
    for x in x {
        for lane in 0..N {
            max[lane] = if max[lane] > x[lane] { max[lane] } else { x[lane] };
        }
    }
    let (mut inverse, mut best) = ([0.0; N], [0.0; N]);
    let mut empty = [false; N];
    for lane in 0..N {
        empty[lane] = max[lane] < EMPTY;
        // Keeps infinities out of the lane.
        max[lane] = select(empty[lane], 1.0, max[lane]);
        inverse[lane] = top / max[lane];
    }
    for (x, w) in x.iter().zip(weights) {
        for lane in 0..N {
            let code = byte(nearest_int(inverse[lane] * x[lane]) as f32);
            let diff = x[lane] - 1.0 / inverse[lane] * code;
            best[lane] += w[lane] * diff * diff;
        }
    }
    for k in (-4..=4).filter(|&k| k != 0) {
        let width = 0.1 * k as f32 + top;
        let (mut candidate, mut error) = ([0.0; N], [0.0; N]);
        for lane in 0..N {
            candidate[lane] = width / max[lane];
        }
        for (x, w) in x.iter().zip(weights) {
            for lane in 0..N {
                let code = nearest(candidate[lane] * x[lane], top);
                let diff = x[lane] - 1.0 / candidate[lane] * code;
                error[lane] += w[lane] * diff * diff;
            }
        }
        for lane in 0..N {
            let better = error[lane] < best[lane];
            best[lane] = select(better, error[lane], best[lane]);
            inverse[lane] = select(better, candidate[lane], inverse[lane]);
        }
    }

    let mut codes = [[0.0; N]; LEN];
    let (mut sum_lx, mut sum_l2) = ([0.0; N], [0.0; N]);
    for ((x, w), codes) in x.iter().zip(weights).zip(&mut codes) {
        for lane in 0..N {
            let l = nearest(inverse[lane] * x[lane], top);
            sum_lx[lane] += w[lane] * x[lane] * l;
            sum_l2[lane] += w[lane] * l * l;
            codes[lane] = byte(l);
        }
    }
    for _ in 0..SWEEPS {
        // As in `refined`: what does not change would not change later either.
        let mut changed = [0_u32; N];
        for ((x, w), codes) in x.iter().zip(weights).zip(&mut codes) {
            for lane in 0..N {
                let (x, w, l) = (x[lane], w[lane], codes[lane]);
                let (lx, l2) = (sum_lx[lane], sum_l2[lane]);
                let other_lx = lx - w * x * l;
                let other_l2 = l2 - w * l * l;
                let new = nearest(x * other_l2 / other_lx, top);
                let new_lx = other_lx + w * x * new;
                let new_l2 = other_l2 + w * new * new;
                let better = (other_lx > 0.0)
                    & (other_l2 > 0.0)
                    & (new != l)
                    & (new_lx * new_lx * l2 > lx * lx * new_l2);
                // Not a `select`, which would become a masked store.
                codes[lane] = l + select(better, byte(new) - l, 0.0);
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
        let fits = !empty[lane] & (sum_l2[lane] > 0.0);
        scale[lane] = select(fits, sum_lx[lane] / sum_l2[lane], 0.0);
        for codes in &mut codes {
            codes[lane] = select(empty[lane], 0.0, codes[lane]);
        }
    }
    Fit { scale, codes }
}
