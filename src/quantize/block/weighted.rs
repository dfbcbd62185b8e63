//! What the K-quants by importance share: batches of super-blocks with their importance and mean squares, the walk over
//! them, and the search of those with scales and minima.

use super::affine::{self, Fit, Grid};
use super::lanes::{Aligned, Lanes, transpose};
use super::positive;
use super::super_block::SUPER_BLOCK;

/// Super-blocks in a batch: as many lanes as the search over a super-block's scales has.
pub(super) const SUPERS: usize = 16;

/// Super-blocks with the importance of each value; the last batch is filled up with zeros.
pub(super) struct Batch {
    pub(super) x: [f32; SUPERS * SUPER_BLOCK],
    pub(super) importance: [f32; SUPERS * SUPER_BLOCK],
    /// The sum of squares of each super-block, added up in order.
    pub(super) squares: [f32; SUPERS],
}

impl Batch {
    pub(super) const EMPTY: Self = Self {
        x: [0.0; SUPERS * SUPER_BLOCK],
        importance: [0.0; SUPERS * SUPER_BLOCK],
        squares: [0.0; SUPERS],
    };

    /// Takes over at most a batch of values, the first of them being super-block `first` of all rows.
    #[inline(always)]
    pub(super) fn fill(&mut self, x: &[f32], first: usize, importance: &[f32]) {
        self.x[..x.len()].copy_from_slice(x);
        self.x[x.len()..].fill(0.0);
        let columns = importance.len() / SUPER_BLOCK;
        for (i, out) in self.importance.chunks_exact_mut(SUPER_BLOCK).enumerate() {
            let column = (first + i) % columns;
            out.copy_from_slice(&importance[column * SUPER_BLOCK..(column + 1) * SUPER_BLOCK]);
        }
        self.squares = [0.0; SUPERS];
        for i in 0..SUPER_BLOCK {
            for (block, sum) in self.squares.iter_mut().enumerate() {
                let x = self.x[block * SUPER_BLOCK + i];
                *sum += x * x;
            }
        }
    }
}

/// A type whose blocks are searched by importance, [`SUPERS`] super-blocks at a time. As for [`Kind`], its functions are
/// `#[inline(always)]`.
///
/// [`Kind`]: super::super_block::Kind
pub(super) trait Weighted {
    /// Bytes of a super-block.
    const BYTES: usize;

    /// What the searches find.
    type Found;

    /// Searches the blocks of a batch, and the scales over them.
    fn search(batch: &Batch) -> Self::Found;

    /// Writes super-block `index` of the batch.
    fn encode(x: &[f32], found: &Self::Found, index: usize, out: &mut [u8]);
}

/// Quantizes whole rows by importance, one weight a column.
#[inline(always)]
pub(super) fn quantize_weighted<K: Weighted>(x: &[f32], importance: &[f32], out: &mut [u8]) {
    let mut batch = Batch::EMPTY;
    for (n, (x, out)) in x.chunks(SUPERS * SUPER_BLOCK).zip(out.chunks_mut(SUPERS * K::BYTES)).enumerate() {
        batch.fill(x, n * SUPERS, importance);
        let found = K::search(&batch);
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(K::BYTES)).enumerate() {
            K::encode(x, &found, i, out);
        }
    }
}

/// Lanes of the affine searches. Four vectors of AVX-512: with two, it is a fifth slower; AVX2 does not mind.
pub(super) const LANES: usize = 64;

/// What the affine searches by importance found for a batch: a scale and a minimum for each block, and over them those of
/// each super-block.
pub(super) struct Affine<const BLOCKS: usize, const GROUPS: usize> {
    pub(super) fits: [Fit<LANES>; GROUPS],
    pub(super) scales: positive::Fit<SUPERS, BLOCKS>,
    pub(super) mins: positive::Fit<SUPERS, BLOCKS>,
}

/// Searches the blocks of a batch by squared differences, then the scales and minima of each super-block, which are whole
/// numbers up to `top`. A value's weight grows with `factor` times the mean square of its super-block.
///
/// `BATCH` is [`LANES`] blocks of `BLOCK` values, of which there are `GROUPS`.
#[inline(always)]
pub(super) fn search_affine<
    const BLOCK: usize,
    const BLOCKS: usize,
    const GROUPS: usize,
    const BATCH: usize,
>(
    batch: &Batch,
    grid: &Grid,
    factor: f32,
    top: f32,
) -> Affine<BLOCKS, GROUPS> {
    let mut fits = [const { Fit::EMPTY }; GROUPS];
    let (mut scales, mut mins, mut sums) =
        ([[0.0; SUPERS]; BLOCKS], [[0.0; SUPERS]; BLOCKS], [[0.0; SUPERS]; BLOCKS]);
    let (xs, importances) = (batch.x.as_chunks::<BATCH>().0, batch.importance.as_chunks::<BATCH>().0);
    for (group, (x, importance)) in xs.iter().zip(importances).enumerate() {
        let (mut t, mut weights) = (Aligned([[0.0; LANES]; BLOCK]), Aligned([[0.0; LANES]; BLOCK]));
        transpose(x, &mut t.0);
        transpose(importance, &mut weights.0);
        let first = group * LANES / BLOCKS;
        let mut sigma2 = [0.0; LANES];
        for (lane, sigma2) in sigma2.iter_mut().enumerate() {
            *sigma2 = factor * batch.squares[first + lane / BLOCKS] / SUPER_BLOCK as f32;
        }
        let sum = weigh(&t.0, &mut weights.0, &sigma2);
        let fit = affine::search::<LANES, BLOCK, false>(&t.0, &weights.0, grid);
        for (lane, &sum) in sum.iter().enumerate() {
            let (block, sup) = (lane % BLOCKS, first + lane / BLOCKS);
            scales[block][sup] = fit.scale[lane];
            mins[block][sup] = fit.min[lane];
            sums[block][sup] = sum;
        }
        fits[group] = fit;
    }
    let (scales, mins) = (positive::search(&scales, &sums, top), positive::search(&mins, &sums, top));
    Affine { fits, scales, mins }
}

/// Weighs each value: its importance times the root of its square plus that of the super-block. Gives the sums, too.
#[inline(always)]
pub(super) fn weigh<const N: usize, const LEN: usize>(
    x: &[Lanes<N>; LEN],
    weights: &mut [Lanes<N>; LEN],
    sigma2: &Lanes<N>,
) -> Lanes<N> {
    let mut sums = [0.0; N];
    for (w, x) in weights.iter_mut().zip(x) {
        for lane in 0..N {
            w[lane] *= (sigma2[lane] + x[lane] * x[lane]).sqrt();
            sums[lane] += w[lane];
        }
    }
    sums
}
