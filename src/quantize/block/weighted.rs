//! What the K-quants by importance share: batches of super-blocks with their importance and mean squares.

use super::lanes::Lanes;
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
