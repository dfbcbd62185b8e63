//! The search of IQ2 and IQ3 for a block's scale: `|x| ~ scale * level` with levels from a grid.
//!
//! In: the [`Blocks`] of a super-block, signs split off. Out: a [`Fit`].
//!
//! Scales around the one that gives the largest magnitude the highest level are tried; for each, groups of values go to
//! points of the grid ([`super::lattice`]), and the best scale for those points follows by least squares. Groups that
//! the best candidate had off the grid are then placed once more with the scale found. The blocks are in the lanes, but
//! for the neighbours of what is off the grid.

use super::half::f32_to_f16;
use super::lanes::{Lanes, ROUNDABLE, ROUNDER, nearest_int, select};
use super::lattice::{Lattice, Lookup, ODD};
use super::super_block::SUPER_BLOCK;

/// Scales of IQ2 and IQ3 are odd multiples of `d`, up to this.
const RANGE: f32 = 31.0;

/// The largest scale's number.
const TOP: i32 = 15;

/// Groups in a block: 8 of 4 values, 4 of 8, 2 of 8.
const GROUPS: usize = 8;

/// A super-block's blocks, one after the other.
pub(super) struct Blocks<const N: usize, const LEN: usize> {
    /// Magnitudes; with even signs one of a group may be negative.
    pub(super) x: [[f32; LEN]; N],
    /// The same, first values first.
    pub(super) tx: [Lanes<N>; LEN],
    pub(super) weights: [Lanes<N>; LEN],
    /// Square roots of the weights.
    roots: [[f32; LEN]; N],
    /// Bits of negative values, eight a byte.
    pub(super) signs: [[u8; 4]; N],
    /// The largest of `x`, and the largest magnitude.
    pub(super) max: Lanes<N>,
    largest: Lanes<N>,
}

impl<const N: usize, const LEN: usize> Blocks<N, LEN> {
    /// Splits signs and magnitudes; `EVEN` makes the number of signs in each group of 8 even by turning the value that
    /// matters least, and keeps the lower 7.
    #[inline(always)]
    pub(super) fn new<const EVEN: bool>(x: &[f32; SUPER_BLOCK], weights: &[f32; SUPER_BLOCK]) -> Self {
        let mut blocks = Blocks {
            x: [[0.0; LEN]; N],
            tx: [[0.0; N]; LEN],
            weights: [[0.0; N]; LEN],
            roots: [[0.0; LEN]; N],
            signs: [[0; 4]; N],
            max: [0.0; N],
            largest: [0.0; N],
        };
        let values = x.as_chunks::<8>().0.iter().zip(weights.as_chunks::<8>().0);
        for (g, (x, weights)) in values.enumerate() {
            let (block, g) = (g * 8 / LEN, g % (LEN / 8));
            let mut signs = 0;
            for (i, &x) in x.iter().enumerate() {
                signs |= u8::from(x < 0.0) << i;
            }
            let mut signed = signs;
            if EVEN && !signs.count_ones().is_multiple_of(2) {
                let (mut least, mut turned) = (weights[0] * x[0] * x[0], 0);
                for i in 1..8 {
                    let matter = weights[i] * x[i] * x[i];
                    if matter < least {
                        (least, turned) = (matter, i);
                    }
                }
                signed ^= 1 << turned;
            }
            for i in 0..8 {
                let at = 8 * g + i;
                let v = if signed >> i & 1 == 1 { -x[i] } else { x[i] };
                blocks.x[block][at] = v;
                blocks.tx[at][block] = v;
                blocks.weights[at][block] = weights[i];
            }
            blocks.signs[block][g] = if EVEN { signed & 127 } else { signed };
        }
        for block in 0..N {
            for i in 0..LEN {
                blocks.roots[block][i] = weights[block * LEN + i].sqrt();
            }
        }
        blocks.max = blocks.tx[0];
        for x in &blocks.tx {
            for (lane, &x) in x.iter().enumerate() {
                let (max, largest) = (blocks.max[lane], blocks.largest[lane]);
                blocks.max[lane] = if max > x { max } else { x };
                blocks.largest[lane] = if largest > x.abs() { largest } else { x.abs() };
            }
        }
        blocks
    }
}

/// What is placed again with the scale found, if that is positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// All groups.
    All,
    /// All groups of a block, if the best candidate had any off the grid.
    AllIfAny,
    /// The groups that the best candidate had off the grid.
    OffGrid,
}

/// How a type searches.
pub(super) struct Search<const GROUP: usize> {
    pub(super) lattice: &'static Lattice<GROUP>,
    pub(super) lookup: Lookup,
    /// Candidates are `top + k * step` for `k` in `-steps..=steps`, over the range.
    pub(super) steps: i32,
    pub(super) step: f32,
    pub(super) again: Again,
}

/// What the search found, for each block.
pub(super) struct Fit<const N: usize> {
    /// Zero for blocks that the search has not looked at.
    pub(super) scale: Lanes<N>,
    points: [[u16; N]; GROUPS],
}

impl<const N: usize> Fit<N> {
    /// The point of a group.
    pub(super) fn point(&self, block: usize, group: usize) -> u16 {
        self.points[group][block]
    }
}

/// Points of all groups, bits of the groups that were off the grid, and the sums that follow from them.
struct Placed<const N: usize> {
    points: [[u16; N]; GROUPS],
    off_grid: [u32; N],
    sum_qx: Lanes<N>,
    sum_q2: Lanes<N>,
}

impl<const GROUP: usize> Search<GROUP> {
    /// Level of the largest magnitude.
    const TOP: f32 = if GROUP == 8 { 5.0 } else { 15.0 };

    /// Searches the `active` blocks; `range` is what the largest level should stand for, `scale` what a block has that
    /// no candidate improves.
    #[inline(always)]
    pub(super) fn run<const N: usize, const LEN: usize>(
        &self,
        blocks: &Blocks<N, LEN>,
        active: &[bool; N],
        range: &Lanes<N>,
        scale: &Lanes<N>,
    ) -> Fit<N> {
        let mut range = *range;
        let mut roundable = true;
        for lane in 0..N {
            // Keeps infinities out of the lane.
            range[lane] = select(active[lane], range[lane], 1.0);
            let widest = (Self::TOP + self.steps as f32 * self.step) / range[lane];
            roundable &= !active[lane] | (widest * blocks.largest[lane] <= ROUNDABLE);
        }
        let mut scale = *scale;
        let mut best = [0.0; N];
        let mut points = [[0; N]; GROUPS];
        // Groups to place again, by bits.
        let mut again = [if self.again == Again::OffGrid { 0 } else { u32::MAX }; N];
        for k in -self.steps..=self.steps {
            let width = Self::TOP + k as f32 * self.step;
            let (mut inverse, mut this_scale) = ([0.0; N], [0.0; N]);
            for lane in 0..N {
                inverse[lane] = width / range[lane];
                this_scale[lane] = 1.0 / inverse[lane];
            }
            let placed = if roundable {
                self.place::<N, LEN, true>(blocks, &this_scale, &inverse, &[u32::MAX; N], &points)
            } else {
                self.place::<N, LEN, false>(blocks, &this_scale, &inverse, &[u32::MAX; N], &points)
            };
            let mut better = [false; N];
            for lane in 0..N {
                let (qx, q2) = (placed.sum_qx[lane], placed.sum_q2[lane]);
                better[lane] = (q2 > 0.0) & (qx * qx > best[lane] * q2);
                scale[lane] = select(better[lane], qx / q2, scale[lane]);
                best[lane] = select(better[lane], scale[lane] * qx, best[lane]);
            }
            for lane in 0..N {
                let off_grid = if self.again == Again::AllIfAny && placed.off_grid[lane] != 0 {
                    u32::MAX
                } else {
                    placed.off_grid[lane]
                };
                again[lane] = if better[lane] & (self.again != Again::All) { off_grid } else { again[lane] };
            }
            for (points, placed) in points.iter_mut().zip(&placed.points) {
                for lane in 0..N {
                    points[lane] = if better[lane] { placed[lane] } else { points[lane] };
                }
            }
        }
        let mut inverse = [0.0; N];
        for lane in 0..N {
            again[lane] = if scale[lane] > 0.0 { again[lane] } else { 0 };
            inverse[lane] = 1.0 / scale[lane];
        }
        let placed = self.place::<N, LEN, false>(blocks, &scale, &inverse, &again, &points);
        for lane in 0..N {
            let changed = (again[lane] != 0) & (placed.sum_q2[lane] > 0.0);
            scale[lane] = select(changed, placed.sum_qx[lane] / placed.sum_q2[lane], scale[lane]);
            scale[lane] = select(active[lane], scale[lane], 0.0);
        }
        Fit { scale, points: placed.points }
    }

    /// Places the groups whose bits are set in `which` with these scales; the others stay at `points`.
    #[inline(always)]
    fn place<const N: usize, const LEN: usize, const ROUNDABLE: bool>(
        &self,
        blocks: &Blocks<N, LEN>,
        scale: &Lanes<N>,
        inverse: &Lanes<N>,
        which: &[u32; N],
        points: &[[u16; N]; GROUPS],
    ) -> Placed<N> {
        let mut placed = Placed { points: *points, off_grid: [0; N], sum_qx: [0.0; N], sum_q2: [0.0; N] };
        for (g, x) in blocks.tx.as_chunks::<GROUP>().0.iter().enumerate() {
            let mut cells = [0; N];
            for lane in 0..N {
                let inverse = inverse[lane];
                let mut cell = 0;
                for i in (0..GROUP).rev() {
                    let level = nearest_level::<GROUP, ROUNDABLE>(0.5 * (inverse * x[i][lane] - 1.0));
                    cell = cell * Lattice::<GROUP>::RADIX as u32 + level;
                }
                cells[lane] = cell;
            }
            for lane in 0..N {
                if which[lane] >> g & 1 == 1 {
                    let x = &blocks.x[lane].as_chunks::<GROUP>().0[g];
                    let w = &blocks.roots[lane].as_chunks::<GROUP>().0[g];
                    let (point, off_grid) =
                        self.lattice.point(cells[lane] as usize, scale[lane], &ODD, x, w, self.lookup);
                    placed.points[g][lane] = point;
                    placed.off_grid[lane] |= u32::from(off_grid) << g;
                }
            }
        }
        let values = blocks.tx.as_chunks::<GROUP>().0.iter().zip(blocks.weights.as_chunks::<GROUP>().0);
        for ((x, weights), points) in values.zip(&placed.points) {
            for lane in 0..N {
                let mut point = u32::from(points[lane]);
                let (mut sum_qx, mut sum_q2) = (placed.sum_qx[lane], placed.sum_q2[lane]);
                for i in 0..GROUP {
                    let q = (2 * (point & if GROUP == 8 { 3 } else { 7 }) + 1) as i32 as f32;
                    point >>= Lattice::<GROUP>::BITS;
                    sum_qx += weights[i][lane] * x[i][lane] * q;
                    sum_q2 += weights[i][lane] * q * q;
                }
                (placed.sum_qx[lane], placed.sum_q2[lane]) = (sum_qx, sum_q2);
            }
        }
        placed
    }
}

/// The nearest level's number.
#[inline(always)]
fn nearest_level<const GROUP: usize, const ROUNDABLE: bool>(v: f32) -> u32 {
    let top = Lattice::<GROUP>::RADIX - 1;
    if ROUNDABLE {
        let v = v + ROUNDER;
        let v = if v > ROUNDER { v } else { ROUNDER };
        let v = if v < ROUNDER + top as f32 { v } else { ROUNDER + top as f32 };
        v.to_bits() & 7
    } else {
        nearest_int(v).min(top as i32).max(0) as u32
    }
}

/// A value's weight is its importance times the root of its square plus `sigma2`; without importance, its square plus
/// `floor`.
#[inline(always)]
pub(super) fn weigh(
    x: &[f32; SUPER_BLOCK],
    importance: Option<&[f32; SUPER_BLOCK]>,
    sigma2: f32,
    floor: f32,
) -> [f32; SUPER_BLOCK] {
    let mut weights = [0.0; SUPER_BLOCK];
    if let Some(importance) = importance {
        for i in 0..SUPER_BLOCK {
            weights[i] = importance[i] * (sigma2 + x[i] * x[i]).sqrt();
        }
    } else {
        for i in 0..SUPER_BLOCK {
            weights[i] = floor + x[i] * x[i];
        }
    }
    weights
}

/// The sum of squares, added up in order.
#[inline(always)]
pub(super) fn sum_of_squares(x: &[f32; SUPER_BLOCK]) -> f32 {
    let mut sum = 0.0;
    for x in x {
        sum += x * x;
    }
    sum
}

/// The importance of a super-block's columns, the super-blocks of all rows counted through.
#[inline(always)]
pub(super) fn columns(importance: Option<&[f32]>, super_block: usize) -> Option<&[f32; SUPER_BLOCK]> {
    let columns = importance?.as_chunks().0;
    Some(&columns[super_block % columns.len()])
}

/// Super-blocks of values and their bytes, with their numbers.
#[inline(always)]
pub(super) fn super_blocks<'a, const BYTES: usize>(
    x: &'a [f32],
    out: &'a mut [u8],
) -> impl Iterator<Item = (usize, (&'a [f32; SUPER_BLOCK], &'a mut [u8; BYTES]))> {
    x.as_chunks().0.iter().zip(out.as_chunks_mut().0).enumerate()
}

/// Writes `d`, stretched by what the reference found to be best, and gives the numbers of the blocks' scales; `None` where
/// no block has one.
#[inline(always)]
pub(super) fn write_scale<const N: usize>(scale: &Lanes<N>, stretch: f32, out: &mut [u8]) -> Option<[u8; N]> {
    let scale = scale.map(f32::abs);
    let max = largest(&scale);
    if max == 0.0 {
        return None;
    }
    out[..2].copy_from_slice(&f32_to_f16(max / RANGE * stretch).to_le_bytes());
    Some(scale_codes(&scale, max, RANGE, TOP))
}

/// Two codes a byte.
#[inline(always)]
pub(super) fn pack_nibbles<const N: usize>(codes: &[u8; N], out: &mut [u8]) {
    for (codes, out) in codes.as_chunks::<2>().0.iter().zip(out) {
        *out = codes[0] | codes[1] << 4;
    }
}

/// Scales in odd steps of `max / range`, numbered from 0 to `top`.
#[inline(always)]
pub(super) fn scale_codes<const N: usize>(scale: &Lanes<N>, max: f32, range: f32, top: i32) -> [u8; N] {
    let inverse = 1.0 / (max / range);
    let mut codes = [0; N];
    for lane in 0..N {
        codes[lane] = nearest_int(0.5 * (inverse * scale[lane] - 1.0)).min(top).max(0) as u8;
    }
    codes
}

/// The largest scale.
#[inline(always)]
pub(super) fn largest<const N: usize>(scale: &Lanes<N>) -> f32 {
    let mut max = 0.0;
    for &scale in scale {
        max = if max > scale { max } else { scale };
    }
    max
}
