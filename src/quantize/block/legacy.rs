//! Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: 32 values share a scale (and a minimum), found without search.
//!
//! In: finite values, a multiple of 32. Out: blocks as `quantize_row_*_ref` writes them. Only maxima and element-wise
//! steps happen here, so the order of operations inside a block is free, but for what the reference's order decides:
//! which of two equal magnitudes gives the sign, and which of two zeros the minimum. Such blocks take the scalar way.
//!
//! Values are compared as integers, because the compiler may reorder those maxima. Scales are worked out for a group
//! of blocks at a time, the rest block by block. With AVX-512 the compiler takes a block's maxima one by one, however
//! they are written, at half the speed.

use super::half::f32_to_f16;
use crate::quantize::simd::multiversion;

/// Values of a block.
pub(super) const QK: usize = 32;
/// Blocks whose scales are computed side by side.
const GROUP: usize = 32;

type Block = [f32; QK];
const SIGN: u32 = 1 << 31;

/// A value for each block of a group.
type Each<T> = [T; GROUP];

/// The bits of the greatest value as a signed integer and as an unsigned one.
///
/// Where values have either sign, these are the greatest positive and the most negative.
#[inline(always)]
fn extremes(x: &Block) -> (i32, u32) {
    let (mut high, mut low) = (i32::MIN, 0);
    for v in x {
        high = high.max(v.to_bits() as i32);
        low = low.max(v.to_bits());
    }
    (high, low)
}

/// For each block the first of the values with the greatest magnitude, sign and all; 0 where all are 0.
#[inline(always)]
fn signed_peaks(blocks: &[Block]) -> Each<f32> {
    let (mut highs, mut lows) = ([0; GROUP], [0; GROUP]);
    for (b, x) in blocks.iter().enumerate() {
        let (mut high, mut low) = extremes(x);
        if high as u32 == low ^ SIGN {
            (high, low) = untie(x, high);
        }
        (highs[b], lows[b]) = (high, low);
    }
    let mut peaks = [0.0; GROUP];
    for b in 0..GROUP {
        let positive = f32::from_bits(highs[b].max(0) as u32);
        let negative = f32::from_bits(lows[b].max(SIGN));
        peaks[b] = if positive >= -negative { positive } else { negative };
    }
    peaks
}

/// [`extremes`] without the one that is not the first of two opposite values.
#[cold]
#[inline(never)]
fn untie(x: &Block, high: i32) -> (i32, u32) {
    let first = x.iter().map(|v| v.to_bits()).find(|v| v & !SIGN == high as u32);
    match first {
        Some(low) if high > 0 && low & SIGN != 0 => (0, low),
        _ => (high, SIGN),
    }
}

/// For each block the least and the greatest value; among zeros the first.
#[inline(always)]
fn ranges(blocks: &[Block]) -> (Each<f32>, Each<f32>) {
    let (mut min, mut max) = ([0.0; GROUP], [0.0; GROUP]);
    for (b, x) in blocks.iter().enumerate() {
        let (high, low) = extremes(x);
        (min[b], max[b]) = (f32::from_bits(low), f32::from_bits(high as u32));
        if high < 0 || low <= SIGN {
            (min[b], max[b]) = one_sided_range(x);
        }
    }
    (min, max)
}

/// The float as an integer of the same order; its own inverse. -0 comes before 0.
#[inline(always)]
fn ordered(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The least and the greatest value; among zeros the first.
#[cold]
#[inline(never)]
fn one_sided_range(x: &Block) -> (f32, f32) {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for v in x {
        let v = ordered(v.to_bits() as i32);
        low = low.min(v);
        high = high.max(v);
    }
    let (low, high) = (f32::from_bits(ordered(low) as u32), f32::from_bits(ordered(high) as u32));
    if low == 0.0 {
        let zero = x.iter().copied().find(|&v| v == 0.0).unwrap_or(0.0);
        return (zero, if high == 0.0 { zero } else { high });
    }
    (low, high)
}

/// The integer part of a value from 0 to 255, in the low byte.
///
/// A conversion that has to mind its limits takes longer.
#[inline(always)]
fn floor(x: f32) -> u32 {
    const MAGIC: f32 = (1 << 23) as f32;
    let nearest = x + MAGIC;
    nearest.to_bits().wrapping_sub(u32::from(nearest - MAGIC > x))
}

/// `(x - min) * inverse + offset`, cut to integers of `BITS` bits.
#[inline(always)]
fn levels<const BITS: u32>(x: &Block, min: f32, inverse: f32, offset: f32) -> [u8; QK] {
    let max = ((1 << BITS) - 1) as f32;
    let mut q = [0; QK];
    for i in 0..QK {
        let level = (x[i] - min) * inverse + offset;
        q[i] = floor(if level < max { level } else { max }) as u8;
    }
    q
}

/// Writes levels of 4 or 5 bits: first bit 4 of each where there are 5, then the low nibbles, the second half of them
/// above.
#[inline(always)]
pub(super) fn pack(q: &[u8; QK], bits: u32, out: &mut [u8]) {
    let nibbles = if bits == 5 {
        let (high, nibbles) = out.split_at_mut(4);
        high.copy_from_slice(&fifth_bits(q).to_le_bytes());
        nibbles
    } else {
        out
    };
    pack_nibbles(q, nibbles);
}

#[inline(always)]
fn pack_nibbles(q: &[u8; QK], out: &mut [u8]) {
    for j in 0..QK / 2 {
        out[j] = (q[j] & 15) | (q[j + QK / 2] << 4);
    }
}

/// Writes the fifth bits of a group's levels, after `header` bytes of each block. Apart from all else: of a block's own,
/// still in registers, the compiler makes bytes one by one, which takes as long as the rest.
#[inline(always)]
fn write_fifths<const BYTES: usize>(q: &[[u8; QK]; GROUP], header: usize, out: &mut [[u8; BYTES]]) {
    for (q, out) in q.iter().zip(out) {
        out[header..header + 4].copy_from_slice(&fifth_bits(q).to_le_bytes());
    }
}

/// Bit 4 of each level, the first one lowest.
///
/// A product gathers the bits of eight levels, too, but the compiler makes vectors of four products, which it then takes
/// apart byte by byte.
#[inline(always)]
fn fifth_bits(q: &[u8; QK]) -> u32 {
    const FIFTHS: u64 = 0x1010_1010_1010_1010;
    // Bit n of byte j: that of level 8 n + j.
    let mut bits = 0;
    for (n, eight) in q.as_chunks().0.iter().enumerate() {
        bits |= (u64::from_le_bytes(*eight) & FIFTHS) >> (4 - n);
    }
    // Bits and bytes change places, in squares of two, four and eight.
    for (distance, upper) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let swapped = (bits ^ (bits >> distance)) & upper;
        bits ^= swapped ^ (swapped << distance);
    }
    bits as u32
}

/// What the steps of a group's blocks come to.
struct Scales {
    /// What values are multiplied with.
    inverse: Each<f32>,
    /// The f16 that is stored.
    half: Each<u16>,
    /// Whether there are blocks that [`is_lost`].
    lost: bool,
}

/// Whether the step, or its inverse, is infinite. Levels are infinite or NaN then, or all 0; and the reference's
/// conversion to integers makes them all 0.
#[inline(always)]
fn is_lost(inverse: f32, d: f32) -> bool {
    !(inverse.abs() <= f32::MAX && d.abs() <= f32::MAX)
}

impl Scales {
    #[inline(always)]
    fn new(d: &Each<f32>) -> Self {
        let (mut inverse, mut half, mut lost) = ([0.0; GROUP], [0; GROUP], 0);
        for b in 0..GROUP {
            inverse[b] = if d[b] == 0.0 { 0.0 } else { 1.0 / d[b] };
            lost |= i32::from(is_lost(inverse[b], d[b]));
        }
        halves(d, &mut half);
        Scales { inverse, half, lost: lost != 0 }
    }
}

#[inline(always)]
fn halves(x: &Each<f32>, out: &mut Each<u16>) {
    for b in 0..GROUP {
        out[b] = f32_to_f16(x[b]);
    }
}

/// Q4_0 (`BITS` 4) and Q5_0 (5): a scale, no minimum.
#[inline(always)]
fn symmetric<const BITS: u32, const BYTES: usize>(x: &[f32], out: &mut [u8]) {
    let half_range = (1 << (BITS - 1)) as f32;
    let (blocks, out) = (x.as_chunks::<QK>().0, out.as_chunks_mut::<BYTES>().0);
    for (blocks, out) in blocks.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        let mut d = signed_peaks(blocks);
        for d in &mut d {
            *d /= -half_range;
        }
        let scales = Scales::new(&d);
        let mut five = [[0; QK]; GROUP];
        for (b, (x, out)) in blocks.iter().zip(&mut *out).enumerate() {
            out[..2].copy_from_slice(&scales.half[b].to_le_bytes());
            let q = levels::<BITS>(x, 0.0, scales.inverse[b], half_range + 0.5);
            pack_nibbles(&q, &mut out[BYTES - QK / 2..]);
            if BITS == 5 {
                five[b] = q;
            }
        }
        if BITS == 5 {
            write_fifths(&five, 2, out);
        }
        if scales.lost {
            clear_lost(&d, &scales, 2, out);
        }
    }
}

/// Q4_1 (`BITS` 4) and Q5_1 (5): a scale and a minimum.
#[inline(always)]
fn with_minimum<const BITS: u32, const BYTES: usize>(x: &[f32], out: &mut [u8]) {
    let steps = ((1 << BITS) - 1) as f32;
    let (blocks, out) = (x.as_chunks::<QK>().0, out.as_chunks_mut::<BYTES>().0);
    for (blocks, out) in blocks.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        let (min, max) = ranges(blocks);
        let (mut d, mut m) = ([0.0; GROUP], [0; GROUP]);
        for b in 0..GROUP {
            d[b] = (max[b] - min[b]) / steps;
        }
        let scales = Scales::new(&d);
        halves(&min, &mut m);
        let mut five = [[0; QK]; GROUP];
        for (b, (x, out)) in blocks.iter().zip(&mut *out).enumerate() {
            out[..2].copy_from_slice(&scales.half[b].to_le_bytes());
            out[2..4].copy_from_slice(&m[b].to_le_bytes());
            let q = levels::<BITS>(x, min[b], scales.inverse[b], 0.5);
            pack_nibbles(&q, &mut out[BYTES - QK / 2..]);
            if BITS == 5 {
                five[b] = q;
            }
        }
        if BITS == 5 {
            write_fifths(&five, 4, out);
        }
        if scales.lost {
            clear_lost(&d, &scales, 4, out);
        }
    }
}

#[cold]
#[inline(never)]
fn clear_lost<const BYTES: usize>(d: &Each<f32>, scales: &Scales, header: usize, out: &mut [[u8; BYTES]]) {
    for (b, out) in out.iter_mut().enumerate() {
        if is_lost(scales.inverse[b], d[b]) {
            out[header..].fill(0);
        }
    }
}

/// Rounds half away from zero, as `roundf`, for magnitudes below 2^22; the low byte is 0 for infinities and NaN.
#[inline(always)]
fn round(x: f32) -> i32 {
    // Round half to even by the magic number, then see to the halves that went towards zero.
    const MAGIC: f32 = 1.5 * (1 << 23) as f32;
    let nearest = x + MAGIC;
    let away = if x - (nearest - MAGIC) == 0.5f32.copysign(x) { 1 | (x.to_bits() as i32 >> 31) } else { 0 };
    (nearest.to_bits() as i32).wrapping_add(away)
}

#[inline(always)]
fn q8_0(x: &[f32], out: &mut [u8]) {
    let (blocks, out) = (x.as_chunks::<QK>().0, out.as_chunks_mut::<34>().0);
    for (blocks, out) in blocks.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
        // A plain maximum of magnitudes has no branch, and then the compiler makes vectors across blocks, of single values
        // gathered.
        let mut d = signed_peaks(blocks);
        for d in &mut d {
            *d = d.abs() / 127.0;
        }
        let scales = Scales::new(&d);
        for (b, (x, out)) in blocks.iter().zip(out).enumerate() {
            out[..2].copy_from_slice(&scales.half[b].to_le_bytes());
            let mut q = [0; QK];
            for i in 0..QK {
                q[i] = round(x[i] * scales.inverse[b]) as u8;
            }
            out[2..].copy_from_slice(&q);
        }
    }
}

multiversion! {
    /// `quantize_row_q4_0_ref`.
    pub(super) fn quantize_q4_0(x: &[f32], out: &mut [u8]) = symmetric::<4, 18>, at most Avx2;
}
multiversion! {
    /// `quantize_row_q4_1_ref`.
    pub(super) fn quantize_q4_1(x: &[f32], out: &mut [u8]) = with_minimum::<4, 20>, at most Avx2;
}
multiversion! {
    /// `quantize_row_q5_0_ref`.
    pub(super) fn quantize_q5_0(x: &[f32], out: &mut [u8]) = symmetric::<5, 22>, at most Avx2;
}
multiversion! {
    /// `quantize_row_q5_1_ref`.
    pub(super) fn quantize_q5_1(x: &[f32], out: &mut [u8]) = with_minimum::<5, 24>, at most Avx2;
}
multiversion! {
    /// `quantize_row_q8_0_ref`.
    pub(super) fn quantize_q8_0(x: &[f32], out: &mut [u8]) = q8_0, at most Avx2;
}

#[cfg(test)]
mod tests {
    use super::super::half::f32_to_f16;
    use super::super::testing::{check_defined, check_known, values};
    use super::*;
    use crate::gguf::GgmlType;
    use proptest::prelude::*;

    /// What x86-64 makes of a float on the way to 8 bits by way of 32.
    fn to_u8(x: f32) -> u8 {
        if x.abs() < 2147483648.0 { x as i32 as u8 } else { 0 }
    }

    fn inverse(d: f32) -> f32 {
        if d == 0.0 { 0.0 } else { 1.0 / d }
    }

    fn packed(header: &[f32], q: &[u8], five: bool) -> Vec<u8> {
        let mut out: Vec<u8> = header.iter().flat_map(|&h| f32_to_f16(h).to_le_bytes()).collect();
        if five {
            out.extend(
                q.iter().enumerate().fold(0u32, |bits, (i, q)| bits | u32::from(q >> 4) << i).to_le_bytes(),
            );
        }
        out.extend((0..16).map(|j| (q[j] & 15) | (q[j + 16] & 15) << 4));
        out
    }

    fn symmetric(x: &[f32], bits: u32) -> Vec<u8> {
        let half_range = (1 << (bits - 1)) as f32;
        let mut peak = 0f32;
        for &v in x {
            peak = if peak.abs() < v.abs() { v } else { peak };
        }
        let d = peak / -half_range;
        let q: Vec<u8> =
            x.iter().map(|v| to_u8(v * inverse(d) + (half_range + 0.5)).min((1 << bits) - 1)).collect();
        packed(&[d], &q, bits == 5)
    }

    fn with_minimum(x: &[f32], bits: u32) -> Vec<u8> {
        let (mut min, mut max) = (f32::MAX, f32::MIN);
        for &v in x {
            min = if v < min { v } else { min };
            max = if v > max { v } else { max };
        }
        let d = (max - min) / ((1 << bits) - 1) as f32;
        let q: Vec<u8> = x.iter().map(|v| to_u8((v - min) * inverse(d) + 0.5).min((1 << bits) - 1)).collect();
        packed(&[d, min], &q, bits == 5)
    }

    fn q8_0(x: &[f32]) -> Vec<u8> {
        let d = x.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
        let mut out = f32_to_f16(d).to_le_bytes().to_vec();
        out.extend(x.iter().map(|v| to_u8((v * inverse(d)).round())));
        out
    }

    proptest! {
        #[test]
        fn wide_kernels_do_as_the_scalar_definition(blocks in prop::collection::vec(values(QK), 1..40)) {
            let x = blocks.concat();
            check_defined(GgmlType::Q4_0, &x, |x| symmetric(x, 4));
            check_defined(GgmlType::Q5_0, &x, |x| symmetric(x, 5));
            check_defined(GgmlType::Q4_1, &x, |x| with_minimum(x, 4));
            check_defined(GgmlType::Q5_1, &x, |x| with_minimum(x, 5));
            check_defined(GgmlType::Q8_0, &x, q8_0);
        }
    }

    #[test]
    fn rounds_half_away_from_zero() {
        for n in -128i16..128 {
            for x in [f32::from(n), f32::from(n) + 0.5, f32::from(n) - 0.5] {
                for x in [x, x.next_up(), x.next_down()] {
                    assert_eq!(round(x) as u8, x.round() as i32 as u8, "{x:?}");
                }
            }
        }
    }

    /// Recorded from `ggml_quantize_chunk` of the reference (llama-cpp-python 0.3.36, ggml 0.25.3).
    #[test]
    fn known_answers() {
        for (ty, want) in [
            (GgmlType::Q4_0, "d0338093b7eb2167ce26af29b45ffdca8968"),
            (GgmlType::Q4_1, "2b34d0bf8093a6da2167bd269f29a45ffcb98867"),
            (GgmlType::Q5_0, "d02f48fb4f7500266dc631de8d5d3f4368aff97411c0"),
            (GgmlType::Q5_1, "0830d0bf487b4f7500255db631ce7c4c3e4258aff87400cf"),
            (GgmlType::Q8_0, "e02381aee9328af064e77716c47f492208fd0011315e9be63ea61a9e30d07e3b06df"),
        ] {
            check_known(ty, QK, false, want);
        }
    }
}
