//! One block in each vector lane: how a block's search runs on `N` blocks at once.
//!
//! A search adds up a block's values in an order that decides bits, so its vectors run across blocks. `t[i][lane]` is
//! value `i` of block `lane`, and the innermost loop is always `for lane in 0..N`, with a body that is the scalar
//! search of one block. The compiler turns that loop into vectors of whatever level it compiles for.
//!
//! Learned by looking at the machine code: the loop must reach the loop vectorizer, which takes all lanes of a body at
//! once and well. Loops around one operation (as a vector type with operators has them) are unrolled before that, and
//! what the other vectorizer makes of the pieces is four times slower. So bodies are long: [`TILE`] values of a block.
//! That also keeps running sums in registers within a tile. Closures as arguments are poison, too: where they are not
//! inlined they are compiled for the baseline.

/// Values of a block handled in the body of one loop over the lanes.
pub(super) const TILE: usize = 8;

/// A number for each of `N` blocks.
pub(super) type Lanes<const N: usize> = [f32; N];

/// Values that start on a line of the cache, so that no vector of them lies across two.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// `1.5 * 2^23`: adding it leaves no bits for a fraction, so the sum is rounded to an integer, half to even.
pub(super) const ROUNDER: f32 = 12_582_912.0;

/// Up to here [`round_within`] is [`nearest_within`].
pub(super) const ROUNDABLE: f32 = 4_194_303.0;

/// Rounds to the nearest integer, half to even; from 2^22 on, and for NaN, meaningless like the reference's.
#[inline(always)]
pub(super) fn nearest_int(v: f32) -> i32 {
    ((v + ROUNDER).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// [`nearest_int`] within `low..=high`, as a float.
#[inline(always)]
pub(super) fn nearest_within(v: f32, low: f32, high: f32) -> f32 {
    nearest_int(v).min(high as i32).max(low as i32) as f32
}

/// [`nearest_within`] in fewer operations, for numbers up to [`ROUNDABLE`].
#[inline(always)]
pub(super) fn round_within(v: f32, low: f32, high: f32) -> f32 {
    round_cut::<true, true>(v, low, high)
}

/// [`round_within`], where numbers are known not to need one of the limits or both.
#[inline(always)]
pub(super) fn round_cut<const LOW: bool, const HIGH: bool>(v: f32, low: f32, high: f32) -> f32 {
    let v = v + ROUNDER;
    let v = if !LOW || v > ROUNDER + low { v } else { ROUNDER + low };
    let v = if !HIGH || v < ROUNDER + high { v } else { ROUNDER + high };
    v - ROUNDER
}

/// Turns `N` blocks of `LEN` values, one after the other, into the first values of all, the second of all...
#[inline(always)]
pub(super) fn transpose<const N: usize, const LEN: usize>(x: &[f32], out: &mut [Lanes<N>; LEN]) {
    for (lane, x) in x[..N * LEN].chunks_exact(LEN).enumerate() {
        for i in 0..LEN {
            out[i][lane] = x[i];
        }
    }
}

/// `yes` or `no`, both computed: an `if` may become a branch, and a loop with a branch no vectors.
///
/// The result should not replace `no` in memory, or it becomes a masked store, which takes a dozen cycles on AMD's
/// processors: read from a copy.
#[inline(always)]
pub(super) fn select(condition: bool, yes: f32, no: f32) -> f32 {
    let mask = u32::from(condition).wrapping_neg();
    f32::from_bits((yes.to_bits() & mask) | (no.to_bits() & !mask))
}
