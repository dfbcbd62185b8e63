//! What the K-quants share: super-blocks of 256 values, half-precision scales, codes from a scale and minimum.

use super::lanes::nearest_int;

/// Values in a super-block.
pub(super) const SUPER_BLOCK: usize = 256;

/// A type whose blocks are searched `BATCH` values at a time, whole super-blocks, without importance.
///
/// The functions are `#[inline(always)]`, so that they are compiled with the instructions of whoever calls
/// [`quantize`].
pub(super) trait Kind<const BATCH: usize> {
    /// Bytes of a super-block.
    const BYTES: usize;

    /// What the search finds.
    type Fit;

    /// Searches the blocks of a batch.
    fn search(x: &[f32; BATCH]) -> Self::Fit;

    /// Writes super-block `index` of the batch.
    fn encode(x: &[f32], fit: &Self::Fit, index: usize, out: &mut [u8]);
}

/// Quantizes whole super-blocks.
#[inline(always)]
pub(super) fn quantize<K: Kind<BATCH>, const BATCH: usize>(x: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; BATCH];
    for (x, out) in x.chunks(BATCH).zip(out.chunks_mut(BATCH / SUPER_BLOCK * K::BYTES)) {
        let fit = K::search(whole_batch(x, &mut padded));
        for (i, (x, out)) in x.chunks_exact(SUPER_BLOCK).zip(out.chunks_exact_mut(K::BYTES)).enumerate() {
            K::encode(x, &fit, i, out);
        }
    }
}

/// The batch itself, or the last one filled up with zeros.
#[inline(always)]
pub(super) fn whole_batch<'a, const BATCH: usize>(
    x: &'a [f32],
    padded: &'a mut [f32; BATCH],
) -> &'a [f32; BATCH] {
    if let Ok(x) = x.try_into() {
        x
    } else {
        padded[..x.len()].copy_from_slice(x);
        padded
    }
}

/// `round((x + min) / scale)` within `0..=top`.
#[inline(always)]
pub(super) fn encode_affine(x: &[f32], scale: f32, min: f32, top: i32, codes: &mut [u8]) {
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = nearest_int((x + min) / scale).min(top).max(0) as u8;
    }
}

/// `round(x / scale)` within `-half..half`, plus `half`.
#[inline(always)]
pub(super) fn encode_symmetric(x: &[f32], scale: f32, half: i32, codes: &mut [u8]) {
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = (nearest_int(x / scale).min(half - 1).max(-half) + half) as u8;
    }
}

/// Four 2-bit codes a byte, from every 128 codes: the values 32 apart share a byte.
#[inline(always)]
pub(super) fn pack_crumbs(codes: &[u8; SUPER_BLOCK], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(128).zip(out.chunks_exact_mut(32)) {
        for l in 0..32 {
            out[l] = codes[l] | codes[l + 32] << 2 | codes[l + 64] << 4 | codes[l + 96] << 6;
        }
    }
}
