//! Which point of an IQ type's grid a group of values becomes.
//!
//! In: levels rounded value by value, and what a level costs each value. Out: a point of the grid as the grid writes it
//! ([`super::grids`]). Levels that are on the grid stay; for others the reference has listed the points near them,
//! sorted by distance and index, and takes the first of the cheapest (`iq2xs_init_impl`, `iq3xs_init_impl` and
//! `iq*_find_best_neighbour*` of `ggml-quants.c`). The lists are made at first use.
//!
//! Eight neighbours are tried at once, each summing its costs in the reference's order. Where no cost is finite the
//! reference stops the process; here the first neighbour is taken.

use super::grids::{GRID_IQ1, GRID_IQ2_S, GRID_IQ2_XS, GRID_IQ2_XXS, GRID_IQ3_S, GRID_IQ3_XXS};
use crate::quantize::simd::{self, Level};
use std::sync::OnceLock;

/// Neighbours tried at once.
const CHUNK: usize = 8;

/// Levels that a value of a group of `GROUP` values has, up to 8.
pub(super) type Levels = [f32; 8];

/// Odd numbers, the levels of all grids but IQ1's.
pub(super) const ODD: Levels = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// What rounded levels, numbered as in [`Lattice::cell`], become: the point itself, or the first of some chunks of
/// neighbours and their number.
#[derive(Clone, Copy)]
struct Cell(u32);

impl Cell {
    const OFF_GRID: u32 = 1 << 31;

    fn on_grid(point: u16) -> Self {
        Cell(u32::from(point))
    }

    fn off_grid(first: usize, chunks: usize) -> Self {
        assert!(first < 1 << 22 && chunks < 1 << 9, "the grids are small");
        Cell(Self::OFF_GRID | (first << 9 | chunks) as u32)
    }
}

/// A grid with the neighbours of what is not on it: 3 levels for each of 8 values, or 8 for each of 4.
pub(super) struct Lattice<const GROUP: usize> {
    cells: Box<[Cell]>,
    /// Points, filled up with repetitions of a list's last.
    neighbours: Box<[[u16; CHUNK]]>,
    /// Where in the grid a point is.
    indices: Box<[u16]>,
}

impl<const GROUP: usize> Lattice<GROUP> {
    /// Bits of a value in a point.
    pub(super) const BITS: usize = if GROUP == 8 { 2 } else { 3 };

    /// Levels of a value.
    pub(super) const RADIX: usize = if GROUP == 8 { 3 } else { 8 };

    /// Lists, for whatever is not on the grid, the points at the `distances` smallest distances.
    fn new(grid: &[u16], distances: usize) -> Self {
        let level = |point: u16, i: usize| i32::from(point >> (i * Self::BITS)) & ((1 << Self::BITS) - 1);
        let mut indices = vec![u16::MAX; 1 << (GROUP * Self::BITS)];
        for (index, &point) in grid.iter().enumerate() {
            indices[usize::from(point)] = index as u16;
        }
        let mut neighbours = Vec::new();
        // Squares of distances are at most 4 * 7^2; a bucket for each keeps the grid's order.
        let mut near: Vec<Vec<u16>> = vec![Vec::new(); GROUP * (Self::RADIX - 1).pow(2) + 1];
        let cell_of = |cell: usize| {
            let mut point = 0;
            for i in 0..GROUP {
                point |= (cell / Self::RADIX.pow(i as u32) % Self::RADIX) << (i * Self::BITS);
            }
            let point = point as u16;
            if indices[usize::from(point)] != u16::MAX {
                return Cell::on_grid(point);
            }
            near.iter_mut().for_each(Vec::clear);
            for &other in grid {
                let square: i32 = (0..GROUP).map(|i| (level(other, i) - level(point, i)).pow(2)).sum();
                near[square as usize].push(other);
            }
            let nearest = near.iter().filter(|points| !points.is_empty()).take(distances);
            let list: Vec<u16> = nearest.flatten().copied().collect();
            let first = neighbours.len();
            for points in list.chunks(CHUNK) {
                let mut chunk = [points[points.len() - 1]; CHUNK];
                chunk[..points.len()].copy_from_slice(points);
                neighbours.push(chunk);
            }
            Cell::off_grid(first, neighbours.len() - first)
        };
        let cells = (0..Self::RADIX.pow(GROUP as u32)).map(cell_of).collect();
        Lattice { cells, neighbours: neighbours.into(), indices: indices.into() }
    }

    /// The level of value `i` of a point.
    #[inline(always)]
    pub(super) fn level(point: u16, i: usize) -> usize {
        usize::from(point >> (i * Self::BITS)) & ((1 << Self::BITS) - 1)
    }

    /// The place of a point in the grid, which is what a block stores.
    #[inline(always)]
    pub(super) fn index(&self, point: u16) -> u16 {
        self.indices[usize::from(point)]
    }

    /// The point for these levels, the first value's being the lowest digit of `cell`; and whether they are no point.
    ///
    /// Off the grid it is the neighbour with the least sum of `w * (scale * levels[level] - x)^2`.
    #[inline(always)]
    pub(super) fn point(
        &self,
        cell: usize,
        scale: f32,
        levels: &Levels,
        x: &[f32; GROUP],
        w: &[f32; GROUP],
        lookup: Lookup,
    ) -> (u16, bool) {
        let Cell(cell) = self.cells[cell];
        if cell & Cell::OFF_GRID == 0 {
            return (cell as u16, false);
        }
        let (first, chunks) = ((cell & !Cell::OFF_GRID) as usize >> 9, (cell & 511) as usize);
        (cheapest(&self.neighbours[first..first + chunks], scale, levels, x, w, lookup), true)
    }
}

/// How costs are looked up.
#[derive(Clone, Copy)]
pub(super) struct Lookup {
    avx2: bool,
}

impl Lookup {
    /// The way for the level in use.
    pub(super) fn new() -> Self {
        Lookup { avx2: simd::level() >= Level::Avx2 }
    }
}

#[inline(always)]
fn cheapest<const GROUP: usize>(
    chunks: &[[u16; CHUNK]],
    scale: f32,
    levels: &Levels,
    x: &[f32; GROUP],
    w: &[f32; GROUP],
    lookup: Lookup,
) -> u16 {
    #[cfg(target_arch = "x86_64")]
    if lookup.avx2 {
        // SAFETY: `Lookup::new` has found AVX2.
        #[allow(unsafe_code, reason = "calls a target_feature function after detection")]
        return unsafe { avx2::cheapest(chunks, scale, levels, x, w) };
    }
    let _ = lookup.avx2;
    let mut costs = [[0.0; 8]; GROUP];
    for i in 0..GROUP {
        for l in 0..8 {
            let diff = scale * levels[l] - x[i];
            costs[i][l] = w[i] * diff * diff;
        }
    }
    let (mut best, mut cheapest) = (f32::MAX, chunks[0][0]);
    for points in chunks {
        let mut sums = [0.0; CHUNK];
        for (i, costs) in costs.iter().enumerate() {
            for j in 0..CHUNK {
                sums[j] += costs[Lattice::<GROUP>::level(points[j], i)];
            }
        }
        for j in 0..CHUNK {
            if sums[j] < best {
                (best, cheapest) = (sums[j], points[j]);
            }
        }
    }
    cheapest
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{CHUNK, Levels};
    use std::arch::x86_64::{
        __m256, __m256i, _CMP_EQ_OQ, _CMP_LT_OQ, _mm_setr_epi16, _mm256_add_ps, _mm256_blendv_ps,
        _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepu16_epi32, _mm256_cvtsi256_si32,
        _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_permute_ps, _mm256_permute2f128_ps,
        _mm256_permutevar_ps, _mm256_permutevar8x32_epi32, _mm256_permutevar8x32_ps, _mm256_set1_epi32,
        _mm256_set1_ps, _mm256_setr_ps, _mm256_setzero_ps, _mm256_srli_epi32, _mm256_sub_ps,
    };

    /// Neighbours in the lanes; a vector for each value has its costs by level, so that a permutation by the levels of
    /// eight neighbours gives their eight costs.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn cheapest<const GROUP: usize>(
        chunks: &[[u16; CHUNK]],
        scale: f32,
        levels: &Levels,
        x: &[f32; GROUP],
        w: &[f32; GROUP],
    ) -> u16 {
        let [l0, l1, l2, l3, l4, l5, l6, l7] = *levels;
        // Permutations of four look at their own half only.
        let levels = if GROUP == 8 {
            _mm256_setr_ps(l0, l1, l2, l3, l0, l1, l2, l3)
        } else {
            _mm256_setr_ps(l0, l1, l2, l3, l4, l5, l6, l7)
        };
        let scaled = _mm256_mul_ps(_mm256_set1_ps(scale), levels);
        let mut costs = [_mm256_setzero_ps(); GROUP];
        for i in 0..GROUP {
            let diff = _mm256_sub_ps(scaled, _mm256_set1_ps(x[i]));
            costs[i] = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(w[i]), diff), diff);
        }
        let mut best = _mm256_set1_ps(f32::MAX);
        let mut place = _mm256_set1_epi32(0);
        for (n, points) in chunks.iter().enumerate() {
            let [p0, p1, p2, p3, p4, p5, p6, p7] = points.map(|p| p as i16);
            let mut levels = _mm256_cvtepu16_epi32(_mm_setr_epi16(p0, p1, p2, p3, p4, p5, p6, p7));
            let mut sum = cost::<GROUP>(costs[0], levels);
            for costs in &costs[1..] {
                levels =
                    if GROUP == 8 { _mm256_srli_epi32::<2>(levels) } else { _mm256_srli_epi32::<3>(levels) };
                sum = _mm256_add_ps(sum, cost::<GROUP>(*costs, levels));
            }
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(sum, best);
            best = _mm256_blendv_ps(best, sum, less);
            let here = _mm256_castsi256_ps(_mm256_set1_epi32(n as i32));
            place = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(place), here, less));
        }
        let least = _mm256_min_ps(best, _mm256_permute2f128_ps::<1>(best, best));
        let least = _mm256_min_ps(least, _mm256_permute_ps::<0b01_00_11_10>(least));
        let least = _mm256_min_ps(least, _mm256_permute_ps::<0b10_11_00_01>(least));
        let mut equal = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(best, least)) as u32;
        // Of equal sums the first in the list counts: the lowest chunk, then the lowest lane.
        let mut first = usize::MAX;
        while equal != 0 {
            let lane = equal.trailing_zeros();
            let chunk = _mm256_permutevar8x32_epi32(place, _mm256_set1_epi32(lane as i32));
            first = first.min(_mm256_cvtsi256_si32(chunk) as usize * CHUNK + lane as usize);
            equal &= equal - 1;
        }
        chunks[first / CHUNK][first % CHUNK]
    }

    /// The costs of eight levels, the lowest bits of each number.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn cost<const GROUP: usize>(costs: __m256, levels: __m256i) -> __m256 {
        if GROUP == 8 { _mm256_permutevar_ps(costs, levels) } else { _mm256_permutevar8x32_ps(costs, levels) }
    }
}

macro_rules! lattices {
    ($($(#[$meta:meta])* $name:ident: $group:literal values of $grid:ident, $distances:literal distances;)*) => {
        $($(#[$meta])*
        pub(super) fn $name() -> &'static Lattice<$group> {
            static LATTICE: OnceLock<Lattice<$group>> = OnceLock::new();
            LATTICE.get_or_init(|| Lattice::new(&$grid, $distances))
        })*
    };
}

lattices! {
    /// IQ2_XXS.
    iq2_xxs: 8 values of GRID_IQ2_XXS, 2 distances;
    /// IQ2_XS.
    iq2_xs: 8 values of GRID_IQ2_XS, 2 distances;
    /// IQ2_S.
    iq2_s: 8 values of GRID_IQ2_S, 1 distances;
    /// IQ1_S and IQ1_M.
    iq1: 8 values of GRID_IQ1, 3 distances;
    /// IQ3_XXS.
    iq3_xxs: 4 values of GRID_IQ3_XXS, 2 distances;
    /// IQ3_S.
    iq3_s: 4 values of GRID_IQ3_S, 3 distances;
}

#[cfg(test)]
pub(super) mod tests {
    use super::{CHUNK, Cell, Lattice};

    /// Checks every list against a sort of the whole grid by distance and place.
    pub(in super::super) fn check_neighbours<const GROUP: usize>(lattice: &Lattice<GROUP>, distances: usize) {
        let radix = Lattice::<GROUP>::RADIX;
        let mut grid: Vec<(u16, u16)> = (0..=u16::MAX)
            .zip(&lattice.indices)
            .filter(|(_, index)| **index != u16::MAX)
            .map(|(point, &index)| (index, point))
            .collect();
        grid.sort_unstable();
        for (n, &Cell(cell)) in
            lattice.cells.iter().enumerate().filter(|(_, cell)| cell.0 & Cell::OFF_GRID != 0)
        {
            let digit = |i: usize| n / radix.pow(i as u32) % radix;
            let distance = |point: u16| -> usize {
                (0..GROUP).map(|i| Lattice::<GROUP>::level(point, i).abs_diff(digit(i)).pow(2)).sum()
            };
            let mut sorted: Vec<(usize, u16)> =
                grid.iter().map(|&(_, point)| (distance(point), point)).collect();
            sorted.sort_by_key(|&(distance, _)| distance);
            let mut near: Vec<usize> = sorted.iter().map(|&(distance, _)| distance).collect();
            near.dedup();
            let farthest = near[distances.min(near.len()) - 1];
            let want: Vec<u16> = sorted
                .iter()
                .take_while(|(distance, _)| *distance <= farthest)
                .map(|&(_, point)| point)
                .collect();
            let (first, chunks) = ((cell & !Cell::OFF_GRID) as usize >> 9, (cell & 511) as usize);
            let got = lattice.neighbours[first..first + chunks].as_flattened();
            assert_eq!(got[..want.len()], want, "cell {n}");
            assert!(
                got.len() - want.len() < CHUNK && got[want.len()..].iter().all(|p| Some(p) == want.last())
            );
        }
    }
}
