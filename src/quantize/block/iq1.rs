//! IQ1_S and IQ1_M: groups of 8 values, `x ~ d * scale * (level + shift)` with levels -1, 0 and 1 from a grid of 2048
//! points and a shift of an eighth up or down.
//!
//! Bytes of a super-block:
//! - `block_iq1_s`: `d` (f16); 32 of points; for each block of 32 values two bytes with 3 upper bits of each point, 3
//!   bits of scale and the sign of the shift.
//! - `block_iq1_m`: 32 of points; for each block of 16 values a byte with 3 upper bits and the sign of the shift of each
//!   point; 8 of scales, 3 bits a block, with 4 bits of `d` on top of every four.
//!
//! Sorted values split into those of level -1, 0 and 1 at two places. All pairs of places and all shifts are tried by
//! means of running sums; what is not on the grid goes to a neighbour, and the scale follows by least squares.

use super::half::f32_to_f16;
use super::lanes::{Lanes, select};
use super::lattice::{self, Lattice, Levels, Lookup};
use super::magnitude::{columns, largest, scale_codes, sum_of_squares, weigh};
use super::super_block::SUPER_BLOCK;
use crate::quantize::simd::multiversion;

/// Below this a block's largest magnitude is nothing.
const EMPTY_S: f32 = 1e-12;
const EMPTY_M: f32 = 1e-7;

/// The levels shifted up and down, by code.
const UP: [f32; 3] = [-0.875, 0.125, 1.125];
const DOWN: [f32; 3] = [-1.125, -0.125, 0.875];

/// Scales are odd multiples of `d`, up to this.
const RANGE: f32 = 15.0;

/// The largest scale's number.
const TOP: i32 = 7;

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_iq1_s`).
    pub(super) fn quantize_iq1_s(x: &[f32], importance: &[f32], out: &mut [u8]) = iq1_s;
}

multiversion! {
    /// Quantizes whole rows, by importance if there is any, one weight a column (`quantize_iq1_m`).
    pub(super) fn quantize_iq1_m(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) = iq1_m;
}

/// The blocks of a super-block in their order of size, which is the original one where values are equal.
struct Sorted<const N: usize, const LEN: usize> {
    /// How many of the block's values come before this one.
    rank: [[u32; N]; LEN],
    max: Lanes<N>,
}

impl<const N: usize, const LEN: usize> Sorted<N, LEN> {
    #[inline(always)]
    fn new(x: &[f32; SUPER_BLOCK]) -> Self {
        let mut t = [[0.0; N]; LEN];
        super::lanes::transpose(x, &mut t);
        let mut rank = [[0; N]; LEN];
        let mut max = [0.0; N];
        for j in 0..LEN {
            for lane in 0..N {
                let x = t[j][lane].abs();
                max[lane] = if max[lane] > x { max[lane] } else { x };
            }
            for k in 0..j {
                for lane in 0..N {
                    let before = u32::from(t[j][lane] < t[k][lane]);
                    rank[k][lane] += before;
                    rank[j][lane] += 1 - before;
                }
            }
        }
        Sorted { rank, max }
    }
}

/// Where a block is split, and with which shifts: [`UP`] or [`DOWN`] for each of its halves or quarters.
#[derive(Clone, Copy)]
struct Split<const N: usize> {
    scale: Lanes<N>,
    score: Lanes<N>,
    /// The first ranks of levels 0 and 1 and the number of the shifts; negative if there is none.
    found: [i32; N],
}

impl<const N: usize> Split<N> {
    #[inline(always)]
    fn consider(&mut self, sum_qx: &Lanes<N>, sum_q2: &Lanes<N>, what: i32) {
        let mut any = false;
        let mut better = [false; N];
        for lane in 0..N {
            let (qx, q2) = (sum_qx[lane], sum_q2[lane]);
            better[lane] = (q2 > 0.0) & (qx * qx > self.score[lane] * q2);
            any |= better[lane];
        }
        if any {
            let old = *self;
            for lane in 0..N {
                let scale = sum_qx[lane] / sum_q2[lane];
                self.scale[lane] = select(better[lane], scale, old.scale[lane]);
                self.score[lane] = select(better[lane], scale * sum_qx[lane], old.score[lane]);
                self.found[lane] = if better[lane] { what } else { old.found[lane] };
            }
        }
    }
}

/// A block placed on the grid.
struct Placed<const GROUPS: usize> {
    points: [u16; GROUPS],
    scale: f32,
}

/// Places a block of `GROUPS` groups, whose levels are split at two ranks (turned around where the scale is negative).
#[inline(always)]
fn place<const GROUPS: usize>(
    lattice: &Lattice<8>,
    lookup: Lookup,
    x: &[[f32; 8]],
    weights: &[[f32; 8]],
    code_of: impl Fn(usize) -> usize,
    shifted: [&[f32; 3]; GROUPS],
    scale: f32,
) -> Placed<GROUPS> {
    let mut placed = Placed { points: [0; GROUPS], scale };
    let mut all_on_grid = true;
    for g in 0..GROUPS {
        let mut cell = 0;
        for i in (0..8).rev() {
            cell = 3 * cell + code_of(8 * g + i);
        }
        let [a, b, c] = *shifted[g];
        let levels: Levels = [a, b, c, 0.0, a, b, c, 0.0];
        let (point, off_grid) = lattice.point(cell, scale, &levels, &x[g], &weights[g], lookup);
        placed.points[g] = point;
        all_on_grid &= !off_grid;
    }
    if !all_on_grid {
        let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
        for g in 0..GROUPS {
            add_up(placed.points[g], shifted[g], 1.0, &x[g], &weights[g], &mut sum_qx, &mut sum_q2);
        }
        if sum_qx > 0.0 && sum_q2 > 0.0 {
            placed.scale = sum_qx / sum_q2;
        }
    }
    placed
}

/// Adds up a group's products with its values and with itself.
#[inline(always)]
fn add_up(
    point: u16,
    shifted: &[f32; 3],
    scale: f32,
    x: &[f32; 8],
    weights: &[f32; 8],
    sum_qx: &mut f32,
    sum_q2: &mut f32,
) {
    for i in 0..8 {
        let q = shifted[Lattice::<8>::level(point, i)] * scale;
        *sum_qx += weights[i] * q * x[i];
        *sum_q2 += weights[i] * q * q;
    }
}

#[inline(always)]
fn iq1_s(x: &[f32], importance: &[f32], out: &mut [u8]) {
    let (lattice, lookup) = (lattice::iq1(), Lookup::new());
    let super_blocks = x.as_chunks::<SUPER_BLOCK>().0.iter().zip(out.as_chunks_mut::<50>().0);
    for (n, (x, out)) in super_blocks.enumerate() {
        let weights = weigh(x, columns(Some(importance), n), 2.0 * sum_of_squares(x) / 256.0, 0.0);
        let sorted = Sorted::<8, 32>::new(x);
        let split = split_s(&sorted, x, &weights);
        out.fill(0);
        let (mut scales, mut shift) = ([0.0; 8], [0; 8]);
        for b in 0..8 {
            if split.found[b] < 0 {
                continue;
            }
            let (mut scale, mut down) = (split.scale[b], split.found[b] & 1);
            let turn = scale < 0.0;
            if turn {
                (scale, down) = (-scale, 1 - down);
            }
            let (first, second) = (split.found[b] as u32 >> 1 & 63, split.found[b] as u32 >> 7);
            let code_of = |i: usize| {
                let rank = sorted.rank[i][b];
                let code = usize::from(rank >= first) + usize::from(rank >= second);
                if turn { 2 - code } else { code }
            };
            let shifted = if down == 1 { &DOWN } else { &UP };
            let (x, weights) = (x.as_chunks::<8>().0, weights.as_chunks::<8>().0);
            let groups = 4 * b..4 * b + 4;
            let (x, weights) = (&x[groups.clone()], &weights[groups]);
            let placed = place::<4>(lattice, lookup, x, weights, code_of, [shifted; 4], scale);
            let mut high = 0;
            for g in 0..4 {
                let index = lattice.index(placed.points[g]);
                out[2 + 4 * b + g] = index as u8;
                high |= index >> 8 << (3 * g);
            }
            out[34 + 2 * b..][..2].copy_from_slice(&high.to_le_bytes());
            (scales[b], shift[b]) = (placed.scale, down as u8);
        }
        let max = largest(&scales);
        if max > 0.0 {
            out[..2].copy_from_slice(&f32_to_f16(max / RANGE * 1.125).to_le_bytes());
            for (b, code) in scale_codes(&scales, max, RANGE, TOP).into_iter().enumerate() {
                out[35 + 2 * b] |= (code | shift[b] << 3) << 4;
            }
        }
    }
}

/// Tries all splits of each block of 32.
#[inline(always)]
fn split_s(sorted: &Sorted<8, 32>, x: &[f32; SUPER_BLOCK], weights: &[f32; SUPER_BLOCK]) -> Split<8> {
    const N: usize = 8;
    let (mut sum_x, mut sum_w) = ([[0.0; N]; 33], [[0.0; N]; 33]);
    for i in 0..32 {
        for lane in 0..N {
            let rank = sorted.rank[i][lane] as usize;
            let at = lane * 32 + i;
            sum_x[rank + 1][lane] = weights[at] * x[at];
            sum_w[rank + 1][lane] = weights[at];
        }
    }
    for i in 0..32 {
        for lane in 0..N {
            sum_x[i + 1][lane] += sum_x[i][lane];
            sum_w[i + 1][lane] += sum_w[i][lane];
        }
    }
    let mut split = Split { scale: sorted.max, score: [-f32::MAX; N], found: [-1; N] };
    let [u0, u1, u2] = UP;
    let [d0, d1, d2] = DOWN;
    for first in 0..=32 {
        for second in first..=32 {
            let (mut up_qx, mut up_q2) = ([0.0; N], [0.0; N]);
            let (mut down_qx, mut down_q2) = ([0.0; N], [0.0; N]);
            for lane in 0..N {
                let (x0, w0) = (sum_x[first][lane], sum_w[first][lane]);
                let (x1, w1) = (sum_x[second][lane] - x0, sum_w[second][lane] - w0);
                let x2 = sum_x[32][lane] - sum_x[second][lane];
                let w2 = sum_w[32][lane] - sum_w[second][lane];
                up_qx[lane] = x0 * u0 + x1 * u1 + x2 * u2;
                up_q2[lane] = w0 * u0 * u0 + w1 * u1 * u1 + w2 * u2 * u2;
                down_qx[lane] = x0 * d0 + x1 * d1 + x2 * d2;
                down_q2[lane] = w0 * d0 * d0 + w1 * d1 * d1 + w2 * d2 * d2;
            }
            let what = (second << 7 | first << 1) as i32;
            split.consider(&up_qx, &up_q2, what);
            split.consider(&down_qx, &down_q2, what | 1);
        }
    }
    for lane in 0..N {
        if sorted.max[lane] < EMPTY_S {
            split.found[lane] = -1;
        }
    }
    split
}

#[inline(always)]
fn iq1_m(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let (lattice, lookup) = (lattice::iq1(), Lookup::new());
    let super_blocks = x.as_chunks::<SUPER_BLOCK>().0.iter().zip(out.as_chunks_mut::<56>().0);
    for (n, (x, out)) in super_blocks.enumerate() {
        let weights = weigh(x, columns(importance, n), 2.0 * sum_of_squares(x) / 256.0, 0.0);
        let sorted = Sorted::<16, 16>::new(x);
        let split = split_m(&sorted, x, &weights);
        let (x, weights) = (x.as_chunks::<8>().0, weights.as_chunks::<8>().0);
        out.fill(0);
        let (mut scales, mut shifts) = ([0.0; 16], [[&UP; 2]; 16]);
        let mut points = [[0; 2]; 16];
        for b in 0..16 {
            if split.found[b] < 0 {
                continue;
            }
            let (mut scale, mut shift) = (split.scale[b], split.found[b] & 3);
            let turn = scale < 0.0;
            if turn {
                (scale, shift) = (-scale, 3 - shift);
            }
            let (first, second) = (split.found[b] as u32 >> 2 & 31, split.found[b] as u32 >> 7);
            let code_of = |i: usize| {
                let rank = sorted.rank[i][b];
                let code = usize::from(rank >= first) + usize::from(rank >= second);
                if turn { 2 - code } else { code }
            };
            let shifted = [if shift < 2 { &UP } else { &DOWN }, if shift % 2 == 0 { &UP } else { &DOWN }];
            let groups = 2 * b..2 * b + 2;
            let (x, weights) = (&x[groups.clone()], &weights[groups]);
            let placed = place::<2>(lattice, lookup, x, weights, code_of, shifted, scale);
            let index = placed.points.map(|point| lattice.index(point));
            out[2 * b] = index[0] as u8;
            out[2 * b + 1] = index[1] as u8;
            out[32 + b] = (index[0] >> 8 | index[1] >> 8 << 4) as u8;
            out[32 + b] |= [0, 0x80, 0x08, 0x88][shift as usize];
            (scales[b], shifts[b], points[b]) = (placed.scale, shifted, placed.points);
        }
        let max = largest(&scales);
        if max == 0.0 {
            // The reference writes the shifts together with the scales.
            out[32..48].iter_mut().for_each(|high| *high &= 0x77);
            continue;
        }
        let codes = scale_codes(&scales, max, RANGE, TOP);
        let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
        for b in 0..16 {
            let scale = f32::from(2 * codes[b] + 1);
            for g in 0..2 {
                let (x, w) = (&x[2 * b + g], &weights[2 * b + g]);
                add_up(points[b][g], shifts[b][g], scale, x, w, &mut sum_qx, &mut sum_q2);
            }
        }
        let d = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { max / RANGE };
        let d = f32_to_f16(d * 1.1125);
        for (n, out) in out[48..].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let mut four = d >> (4 * n) << 12;
            for i in 0..4 {
                four |= u16::from(codes[4 * n + i]) << (3 * i);
            }
            *out = four.to_le_bytes();
        }
    }
}

/// Tries all splits of each block of 16, and all shifts of its two halves.
#[inline(always)]
fn split_m(sorted: &Sorted<16, 16>, x: &[f32; SUPER_BLOCK], weights: &[f32; SUPER_BLOCK]) -> Split<16> {
    const N: usize = 16;
    let (mut sum_x, mut sum_w) = ([[[0.0; N]; 17]; 2], [[[0.0; N]; 17]; 2]);
    for i in 0..16 {
        for lane in 0..N {
            let rank = sorted.rank[i][lane] as usize;
            let at = lane * 16 + i;
            sum_x[i / 8][rank + 1][lane] = weights[at] * x[at];
            sum_w[i / 8][rank + 1][lane] = weights[at];
        }
    }
    for h in 0..2 {
        for i in 0..16 {
            for lane in 0..N {
                sum_x[h][i + 1][lane] += sum_x[h][i][lane];
                sum_w[h][i + 1][lane] += sum_w[h][i][lane];
            }
        }
    }
    let mut split = Split { scale: sorted.max, score: [-f32::MAX; N], found: [-1; N] };
    let (up, down) = (UP[2], DOWN[2]);
    let (up_1, up_2) = (UP[0] * UP[0] - UP[1] * UP[1], UP[1] * UP[1] - UP[2] * UP[2]);
    let (down_1, down_2) = (DOWN[0] * DOWN[0] - DOWN[1] * DOWN[1], DOWN[1] * DOWN[1] - DOWN[2] * DOWN[2]);
    for first in 0..=16 {
        for second in first..=16 {
            let (mut sum_qx, mut sum_q2) = ([[0.0; N]; 4], [[0.0; N]; 4]);
            for lane in 0..N {
                let (mut up_qx, mut up_q2) = ([0.0; 2], [0.0; 2]);
                let (mut down_qx, mut down_q2) = ([0.0; 2], [0.0; 2]);
                for h in 0..2 {
                    let (x, w) = (sum_x[h][16][lane], sum_w[h][16][lane]);
                    let lower = sum_x[h][first][lane] + sum_x[h][second][lane];
                    let (w1, w2) = (sum_w[h][first][lane], sum_w[h][second][lane]);
                    up_qx[h] = x * up - lower;
                    down_qx[h] = x * down - lower;
                    up_q2[h] = w * up * up + w1 * up_1 + w2 * up_2;
                    down_q2[h] = w * down * down + w1 * down_1 + w2 * down_2;
                }
                for (k, (a, b)) in [(up_qx, up_qx), (up_qx, down_qx), (down_qx, up_qx), (down_qx, down_qx)]
                    .into_iter()
                    .enumerate()
                {
                    sum_qx[k][lane] = a[0] + b[1];
                }
                for (k, (a, b)) in [(up_q2, up_q2), (up_q2, down_q2), (down_q2, up_q2), (down_q2, down_q2)]
                    .into_iter()
                    .enumerate()
                {
                    sum_q2[k][lane] = a[0] + b[1];
                }
            }
            for k in 0..4 {
                let what = (second << 7 | first << 2 | k) as i32;
                split.consider(&sum_qx[k], &sum_q2[k], what);
            }
        }
    }
    for lane in 0..N {
        if sorted.max[lane] < EMPTY_M {
            split.found[lane] = -1;
        }
    }
    split
}
