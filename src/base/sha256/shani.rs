//! SHA-256 by x86-64's SHA instructions, on two streams in step.
//!
//! Two rounds wait for the two before, and take four cycles; the processor could begin others every second cycle. So the
//! rounds of both streams take turns. A third stream has no registers left: four are a seventh faster, and are spilled.
//! Words are held as the instructions want them: A, B, E, F and C, D, G, H.

use std::arch::x86_64::*;

use super::{Block, State};

/// Section 4.2.2.
#[rustfmt::skip]
const K: [[u32; 4]; 16] = [
    [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5],
    [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
    [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3],
    [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
    [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc],
    [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
    [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7],
    [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
    [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13],
    [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
    [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3],
    [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
    [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5],
    [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
    [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208],
    [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
];

/// Whether this processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")
}

/// Hashes the blocks of both streams, as many of each as the shorter has.
///
/// # Panics
/// Where [`is_there`] says no.
pub(super) fn run(states: &mut [&mut State; 2], blocks: [&[Block]; 2]) {
    let [one, other] = states;
    assert!(is_there(), "SHA instructions");
    // SAFETY: the processor has the instructions.
    #[allow(unsafe_code, reason = "calls a target_feature function after detection")]
    unsafe {
        compress(one, other, blocks);
    }
}

// Loops by number, and no closures: the library's adapters are compiled without these instructions, so what would take
// them in is not inlined, and twice as slow.

#[target_feature(enable = "sha,avx")]
fn compress(one: &mut State, other: &mut State, blocks: [&[Block]; 2]) {
    let mut words = [from_state(one), from_state(other)];
    for (first, second) in blocks[0].iter().zip(blocks[1]) {
        let before = words;
        let mut schedule = [message(first), message(second)];
        for turn in 0..4 {
            // Places that are numbers, not variables, keep all of it in registers.
            rounds::<0>(&mut words, &mut schedule, turn);
            rounds::<1>(&mut words, &mut schedule, turn);
            rounds::<2>(&mut words, &mut schedule, turn);
            rounds::<3>(&mut words, &mut schedule, turn);
        }
        for i in 0..2 {
            for half in 0..2 {
                words[i][half] = _mm_add_epi32(words[i][half], before[i][half]);
            }
        }
    }
    *one = to_state(words[0]);
    *other = to_state(words[1]);
}

/// Four rounds of both streams, with the words at `AT`, which then are those of the rounds sixteen later.
#[inline]
#[target_feature(enable = "sha,avx")]
fn rounds<const AT: usize>(words: &mut [[__m128i; 2]; 2], schedule: &mut [[__m128i; 4]; 2], turn: usize) {
    let constants = words_of(K[turn * 4 + AT]);
    for i in 0..2 {
        let w = &mut schedule[i];
        let [abef, cdgh] = words[i];
        let now = w[AT];
        let sum = _mm_add_epi32(now, constants);
        let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        words[i] = [abef, cdgh];
        if turn < 3 {
            let (next, third, last) = (w[(AT + 1) % 4], w[(AT + 2) % 4], w[(AT + 3) % 4]);
            let sum = _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8(last, third, 4));
            w[AT] = _mm_sha256msg2_epu32(sum, last);
        }
    }
}

/// A block's sixteen words, which are big endian.
#[inline]
#[target_feature(enable = "sha,avx")]
fn message(block: &Block) -> [__m128i; 4] {
    let four = block.as_chunks().0;
    [message_words(four[0]), message_words(four[1]), message_words(four[2]), message_words(four[3])]
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn message_words(bytes: [u8; 16]) -> __m128i {
    let big_endian = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let bytes = u128::from_le_bytes(bytes);
    _mm_shuffle_epi8(_mm_set_epi64x((bytes >> 64) as i64, bytes as i64), big_endian)
}

/// Four words, the first one lowest.
#[inline]
#[target_feature(enable = "sha,avx")]
fn words_of(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words;
    _mm_set_epi32(d.cast_signed(), c.cast_signed(), b.cast_signed(), a.cast_signed())
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn from_state(state: &State) -> [__m128i; 2] {
    let [a, b, c, d, e, f, g, h] = *state;
    [words_of([f, e, b, a]), words_of([h, g, d, c])]
}

#[inline]
#[target_feature(enable = "sha,avx")]
fn to_state(words: [__m128i; 2]) -> State {
    let [[f, e, b, a], [h, g, d, c]] = [lanes(words[0]), lanes(words[1])];
    [a, b, c, d, e, f, g, h]
}

/// From the lowest lane up.
#[inline]
#[target_feature(enable = "sha,avx")]
fn lanes(v: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32(v, 0).cast_unsigned(),
        _mm_extract_epi32(v, 1).cast_unsigned(),
        _mm_extract_epi32(v, 2).cast_unsigned(),
        _mm_extract_epi32(v, 3).cast_unsigned(),
    ]
}
