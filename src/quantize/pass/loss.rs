//! What quantizing lost: the error of the blocks that were made against the values they were made from, summed while
//! both are in the cache.
//!
//! In: a slab's values, its blocks, and the importance of its columns where there is a matrix. Out: a [`Loss`] for each
//! tensor and type. Sums run in f32 over a fixed number of lanes within a chunk, then in f64 in file order: threads, slab
//! order and SIMD level change no digit.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::gguf::GgmlType;
use crate::quantize::block;
use crate::quantize::simd::multiversion;

/// Values that are decoded and compared at a time: 16 KiB, which stay in the first-level cache. A multiple of every
/// type's block.
const CHUNK: usize = 4096;

/// Partial sums side by side: two AVX-512 registers, at every level.
const LANES: usize = 32;

/// The error of values that were quantized, against what they were. Sums of weighted squares: the weights are the
/// importance matrix's, or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Of the values.
    pub signal: f64,
    /// Of the differences.
    pub noise: f64,
    /// Sum of the weights themselves.
    pub weight: f64,
    /// Number of values.
    pub values: u64,
}

impl Loss {
    /// Root of the mean square error, relative to the root of the mean square of the values.
    pub fn relative_rmse(&self) -> f64 {
        if self.noise == 0.0 { 0.0 } else { (self.noise / self.signal).sqrt() }
    }

    /// Signal to noise in decibels; `None` where nothing was lost.
    pub fn snr_db(&self) -> Option<f64> {
        (self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }

    /// Several tensors as one. Importance has no common scale: each tensor's is brought to a mean of 1.
    pub fn of_tensors<'a>(tensors: impl IntoIterator<Item = &'a Loss>) -> Loss {
        let mut sum = Loss::default();
        for loss in tensors {
            let scale = if loss.weight > 0.0 { loss.values as f64 / loss.weight } else { 0.0 };
            sum.add(&Loss {
                signal: loss.signal * scale,
                noise: loss.noise * scale,
                weight: loss.values as f64,
                values: loss.values,
            });
        }
        sum
    }

    /// Two parts of a tensor as one.
    pub(super) fn add(&mut self, other: &Loss) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.weight += other.weight;
        self.values += other.values;
    }
}

/// Compares what was made of a slab with the slab. Holds what all types have in common.
pub(super) struct Meter<'a> {
    values: &'a [f32],
    importance: Option<&'a [f32]>,
    weight: f64,
}

impl<'a> Meter<'a> {
    /// `values` are whole rows; `importance` has one weight a column and counts for every row.
    pub(super) fn new(values: &'a [f32], importance: Option<&'a [f32]>) -> Self {
        let weight = match importance {
            None => values.len() as f64,
            Some(weights) => {
                let row: f64 = weights.iter().map(|w| f64::from(*w)).sum();
                row * (values.len() / weights.len().max(1)) as f64
            }
        };
        Meter { values, importance, weight }
    }

    /// The loss of these blocks. `decoded` is a buffer.
    pub(super) fn loss(&self, ty: GgmlType, blocks: &[u8], decoded: &mut Vec<f32>) -> Loss {
        let at = |value: usize| value / ty.block_size() * ty.block_bytes();
        let (mut signal, mut noise) = (0.0, 0.0);
        for (range, weights) in chunks(self.values.len(), self.importance) {
            decoded.resize(range.len(), 0.0);
            block::dequantize(ty, &blocks[at(range.start)..at(range.end)], decoded);
            let sums = match weights {
                None => sums(&self.values[range], decoded),
                Some(weights) => weighted_sums(&self.values[range], decoded, weights),
            };
            (signal, noise) = (signal + sums.0, noise + sums.1);
        }
        Loss { signal, noise, weight: self.weight, values: self.values.len() as u64 }
    }
}

/// Ranges of at most [`CHUNK`] values with their weights; with weights, none crosses a row.
fn chunks(values: usize, importance: Option<&[f32]>) -> impl Iterator<Item = (Range<usize>, Option<&[f32]>)> {
    let row = importance.map_or(values, <[f32]>::len).max(1);
    (0..values).step_by(row).flat_map(move |start| {
        (start..start + row).step_by(CHUNK).map(move |from| {
            let range = from..(from + CHUNK).min(start + row);
            (range.clone(), importance.map(|w| &w[range.start - start..range.end - start]))
        })
    })
}

/// Defines two sums of terms over slices of one length, each in f32 in each lane, then of the lanes in f64.
macro_rules! sums {
    ($(#[$meta:meta])* $name:ident($($arg:ident),+) = $first:expr, $second:expr;) => {
        $(#[$meta])*
        fn $name($($arg: &[f32]),+) -> (f64, f64) {
            #[inline(always)]
            fn kernel($($arg: &[f32]),+) -> (f64, f64) {
                $(let $arg = $arg.as_chunks::<LANES>();)+
                let (mut first, mut second) = ([0.0f32; LANES], [0.0f32; LANES]);
                let whole = 0..[$($arg.0.len()),+].into_iter().min().unwrap_or(0);
                for chunk in whole {
                    $(let $arg = &$arg.0[chunk];)+
                    for lane in 0..LANES {
                        $(let $arg = $arg[lane];)+
                        first[lane] += $first;
                        second[lane] += $second;
                    }
                }
                let rest = 0..[$($arg.1.len()),+].into_iter().min().unwrap_or(0);
                for lane in rest {
                    $(let $arg = $arg.1[lane];)+
                    first[lane] += $first;
                    second[lane] += $second;
                }
                let sum = |lanes: [f32; LANES]| lanes.into_iter().map(f64::from).sum();
                (sum(first), sum(second))
            }
            multiversion! {
                fn run($($arg: &[f32]),+) -> (f64, f64) = kernel;
            }
            run($($arg),+)
        }
    };
}

sums! {
    /// Of the squares of the values, and of their differences.
    sums(x, y) = x * x, (y - x) * (y - x);
}
sums! {
    /// [`sums`], each term times its weight.
    weighted_sums(x, y, w) = w * (x * x), w * ((y - x) * (y - x));
}

/// Adds up the losses of slabs in file order, in whatever order they come.
#[derive(Default)]
pub(super) struct Tally {
    next: usize,
    waiting: BTreeMap<usize, (usize, Vec<(GgmlType, Loss)>)>,
    /// For each tensor, its loss in each type.
    pub(super) tensors: Vec<Vec<(GgmlType, Loss)>>,
}

impl Tally {
    pub(super) fn new(tensors: usize) -> Self {
        Tally { tensors: vec![Vec::new(); tensors], ..Tally::default() }
    }

    /// Takes what slab number `slab`, of this tensor, lost.
    pub(super) fn add(&mut self, slab: usize, tensor: usize, losses: Vec<(GgmlType, Loss)>) {
        self.waiting.insert(slab, (tensor, losses));
        while let Some((tensor, losses)) = self.waiting.remove(&self.next) {
            let sums = &mut self.tensors[tensor];
            for (ty, loss) in losses {
                match sums.iter_mut().find(|(t, _)| *t == ty) {
                    Some((_, sum)) => sum.add(&loss),
                    None => sums.push((ty, loss)),
                }
            }
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::block::quantize;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * (1.0 + (i % 5) as f32)).collect()
    }

    #[track_caller]
    fn check(ty: GgmlType, rows: usize, row: usize, importance: Option<&[f32]>) {
        let x = values(rows * row);
        let mut blocks = vec![0; ty.bytes_of(x.len() as u64).unwrap() as usize];
        quantize(ty, &x, row, None, &mut blocks);
        let mut y = vec![0.0; x.len()];
        block::dequantize(ty, &blocks, &mut y);
        let mut expected = Loss { values: x.len() as u64, ..Loss::default() };
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            let w = importance.map_or(1.0, |w| f64::from(w[i % row]));
            expected.signal += w * f64::from(*x).powi(2);
            expected.noise += w * (f64::from(*x) - f64::from(*y)).powi(2);
            expected.weight += w;
        }
        let found = Meter::new(&x, importance).loss(ty, &blocks, &mut Vec::new());
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs();
        assert!(close(found.signal, expected.signal), "{found:?} {expected:?}");
        assert!(close(found.noise, expected.noise), "{found:?} {expected:?}");
        assert!(close(found.weight, expected.weight), "{found:?} {expected:?}");
        assert_eq!(found.values, expected.values);
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        for (rows, row) in [(1, 32), (3, 576), (2, 4096), (7, 4864), (40, 256)] {
            let importance: Vec<f32> = (0..row).map(|i| 0.1 + (i % 13) as f32).collect();
            for ty in [GgmlType::Q8_0, GgmlType::Q4_0, GgmlType::F16] {
                check(ty, rows, row, None);
                check(ty, rows, row, Some(&importance));
            }
        }
        check(GgmlType::Q4_K, 5, 4352, None);
        check(GgmlType::Q2_K, 9, 1024, Some(&[0.5; 1024]));
    }

    #[test]
    fn figures_follow_from_the_sums() {
        let loss = Loss { signal: 400.0, noise: 4.0, weight: 10.0, values: 10 };
        assert_eq!((loss.relative_rmse(), loss.snr_db()), (0.1, Some(20.0)));
        let exact = Loss { noise: 0.0, ..loss };
        assert_eq!((exact.relative_rmse(), exact.snr_db()), (0.0, None));
        // Ten times the importance does not make a tensor count ten times.
        let heavy = Loss { signal: 4000.0, noise: 40.0, weight: 100.0, values: 10 };
        assert_eq!(Loss::of_tensors([&heavy, &exact]).snr_db(), Loss::of_tensors([&loss, &exact]).snr_db());
    }

    #[test]
    fn slabs_are_added_in_file_order() {
        let loss = |noise| vec![(GgmlType::Q8_0, Loss { noise, ..Loss::default() })];
        // The sum of these depends on their order.
        let slabs = [1e16, 1.0, 1.0, -1e16];
        let mut sums = Vec::new();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            let mut tally = Tally::new(1);
            for slab in order {
                tally.add(slab, 0, loss(slabs[slab]));
            }
            sums.push(tally.tensors[0][0].1.noise);
        }
        assert_eq!(sums, [sums[0]; 3]);
    }
}
