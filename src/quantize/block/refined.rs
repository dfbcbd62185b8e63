//! The search for a block's scale by refinement, for Q3_K: codes from -4 to 3, `x ~ scale * code`.
//!
//! In: values of each block. Out: a [`Fit`]. The reference's `make_q3_quants` with `do_rmse`.
//!
//! Codes start from the scale that puts the largest value on -4. Then, up to five times over, each code in turn is
//! chosen anew against the best scale for all the others, and kept if the whole block is explained better.

use super::lanes::{Lanes, nearest_within, select};
use super::symmetric::EMPTY;

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
