//! Q6_K: super-blocks of 16 blocks of 16 values, `x ~ d * scale * code`, codes from -32 to 31, signed scales of 8 bits.
//!
//! Bytes of a super-block (`block_q6_K`): 128 of the codes' lower four bits, 64 of their upper two, 16 of scales,
//! `d` (f16).

use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::{Aligned, nearest_int, transpose};
use super::super_block::{self, Kind, SUPER_BLOCK, encode_symmetric, whole_batch};
use super::symmetric::{self, EMPTY, Fit};
use crate::quantize::simd::multiversion;

/// Bytes of a super-block.
const BYTES: usize = 210;

/// Values in a block.
const BLOCK: usize = 16;

/// Blocks in a super-block.
const BLOCKS: usize = SUPER_BLOCK / BLOCK;

/// Blocks searched at once.
const LANES: usize = 64;

/// Values searched at once.
const BATCH: usize = LANES * BLOCK;

multiversion! {
    /// Quantizes whole super-blocks of 256 values (`quantize_row_q6_K_ref`).
    pub(super) fn quantize_q6_k(x: &[f32], out: &mut [u8]) = super_block::quantize::<Q6K, BATCH>;
}

multiversion! {
    /// Quantizes whole rows by importance, one weight a column (`quantize_q6_K`).
    pub(super) fn quantize_q6_k_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) = quantize_weighted;
}

/// The type, for what the K-quants share.
enum Q6K {}

impl Kind<BATCH> for Q6K {
    const BYTES: usize = BYTES;
    type Fit = Fit<LANES>;

    /// A value weighs its square.
    #[inline(always)]
    fn search(x: &[f32; BATCH]) -> Fit<LANES> {
        let mut t = Aligned([[0.0; LANES]; BLOCK]);
        transpose(x, &mut t.0);
        let mut weights = Aligned(t.0);
        for w in weights.0.as_flattened_mut() {
            *w *= *w;
        }
        symmetric::search(&t.0, &weights.0, 32.0)
    }

    #[inline(always)]
    fn encode(x: &[f32], fit: &Fit<LANES>, index: usize, out: &mut [u8]) {
        encode(x, fit, index, out);
    }
}

#[inline(always)]
fn quantize_weighted(x: &[f32], importance: &[f32], out: &mut [u8]) {
    const SUPERS: usize = BATCH / SUPER_BLOCK;
    let columns = importance.len() / SUPER_BLOCK;
    let mut padded = [0.0; BATCH];
    for (n, (x, out)) in x.chunks(BATCH).zip(out.chunks_mut(SUPERS * BYTES)).enumerate() {
        let x = whole_batch(x, &mut padded);
        let mut batch = [0.0; BATCH];
        for (i, out) in batch.chunks_exact_mut(SUPER_BLOCK).enumerate() {
            let column = (n * SUPERS + i) % columns;
            out.copy_from_slice(&importance[column * SUPER_BLOCK..(column + 1) * SUPER_BLOCK]);
        }
        let (mut t, mut weights) = (Aligned([[0.0; LANES]; BLOCK]), Aligned([[0.0; LANES]; BLOCK]));
        transpose(x, &mut t.0);
        transpose(&batch, &mut weights.0);
        let fit = symmetric::search(&t.0, &weights.0, 32.0);
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(BYTES)).enumerate() {
            encode(x, &fit, i, out);
        }
    }
}

#[inline(always)]
fn encode(x: &[f32], fit: &Fit<LANES>, index: usize, out: &mut [u8]) {
    let lane = index * BLOCKS;
    let scales = &fit.scale[lane..lane + BLOCKS];
    let (mut amax, mut max) = (0.0, 0.0);
    for &scale in scales {
        if scale.abs() > amax {
            (amax, max) = (scale.abs(), scale);
        }
    }
    if amax < EMPTY {
        out.fill(0);
        return;
    }
    let inverse = -128.0 / max;
    let d = f32_to_f16(1.0 / inverse);
    let (ql, rest) = out.split_at_mut(128);
    let (qh, tail) = rest.split_at_mut(64);
    let mut codes = [0; SUPER_BLOCK];
    for (j, (x, codes)) in x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).enumerate() {
        let eight = nearest_int(inverse * scales[j]).min(127) as i8;
        tail[j] = eight as u8;
        let scale = f16_to_f32(d) * f32::from(eight);
        if scale == 0.0 {
            for (code, &x) in codes.iter_mut().zip(x) {
                *code = fit.code(lane + j, x, 32);
            }
        } else {
            encode_symmetric(x, scale, 32, codes);
        }
    }
    tail[16..].copy_from_slice(&d.to_le_bytes());
    let outs = ql.chunks_exact_mut(64).zip(qh.chunks_exact_mut(32));
    for (q, (ql, qh)) in codes.chunks_exact(128).zip(outs) {
        for l in 0..32 {
            ql[l] = q[l] & 15 | q[l + 64] << 4;
            ql[l + 32] = q[l + 32] & 15 | q[l + 96] << 4;
            qh[l] = q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6;
        }
    }
}
