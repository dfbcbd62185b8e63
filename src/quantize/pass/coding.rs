//! Decoding of weights that are quantized in the checkpoint: bytes to F32, and to ggml's MXFP4.
//!
//! In: the bytes of some rows, their scales, and where the rows are in their tensor. Out: what the reference's converter
//! makes of them (`ModelBase.dequant_model`, `ModelBase.repack_mxfp4_blocks`): in single precision a subtraction and a
//! multiplication a value, or the very codes in another order.

use crate::convert::{Coding, Element};
use crate::quantize::block;

/// Bytes of the codes of a block of 32 values.
const MX_CODES: usize = 16;
const MX_VALUES: u64 = 32;
/// Floats that are widened at once.
const AT_ONCE: usize = 64;

/// A place in a stack of matrices.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) matrix: u64,
    pub(super) row: u64,
    pub(super) column: u64,
}

/// Scales or zeros that were read: those from a number on.
pub(super) struct Read<'a, T> {
    pub(super) values: &'a [T],
    pub(super) first: u64,
}

/// What decoding the values of some rows takes.
pub(super) struct Decoder<'a> {
    coding: &'a Coding,
    scales: Option<Read<'a, f32>>,
    /// Words, row of words by row of words.
    zeros: Read<'a, u8>,
    block: [u64; 2],
    strides: [u64; 3],
    table: [f32; 256],
}

impl<'a> Decoder<'a> {
    /// `scales` are there if the coding has them, `zeros` have the first row of words that is needed.
    pub(super) fn new(coding: &'a Coding, scales: Read<'a, f32>, zeros: Read<'a, u8>) -> Self {
        let (block, strides) = coding.scales.as_ref().map_or(([1, 1], [0; 3]), |s| (s.block, s.strides));
        let scales = coding.scales.is_some().then_some(scales);
        Decoder { coding, scales, zeros, block, strides, table: table(coding.element) }
    }

    /// Values along a row of the source, from `place` on; `raw` begins with the first of them.
    pub(super) fn row(&self, mut raw: &[u8], mut place: Place, mut out: &mut [[u8; 4]]) {
        while !out.is_empty() {
            let run = match self.strides[2] {
                0 => out.len() as u64,
                _ => self.block[1] - place.column % self.block[1],
            };
            let (run, rest) = out.split_at_mut(run.min(out.len() as u64) as usize);
            self.run(raw, place, run);
            place.column += run.len() as u64;
            out = rest;
            // A word may belong to two runs, so the words of a row are counted from its beginning.
            if !matches!(self.coding.element, Element::Packed { .. }) {
                raw = &raw[self.coding.element.bytes(run.len() as u64, self.coding.columns) as usize..];
            }
        }
    }

    /// Values that have the same scale.
    fn run(&self, raw: &[u8], place: Place, out: &mut [[u8; 4]]) {
        let scale = self.scale(place);
        match self.coding.element {
            Element::Packed { bits } => {
                let zero = self.zero(place, bits);
                unpack(raw, place.column, bits, out.len(), |n, number| {
                    out[n] = scaled((number - zero) as f32, scale);
                });
            }
            Element::Ggml(ty) => {
                let mut values = [0.0; AT_ONCE];
                let raw = raw.chunks(AT_ONCE * ty.block_bytes());
                for (out, raw) in out.chunks_mut(AT_ONCE).zip(raw) {
                    let values = &mut values[..out.len()];
                    block::dequantize(ty, &raw[..out.len() * ty.block_bytes()], values);
                    for (out, value) in out.iter_mut().zip(values) {
                        *out = scaled(*value, scale);
                    }
                }
            }
            Element::E4M3 | Element::E5M2 | Element::I8 | Element::Mxfp4 | Element::Zero => {
                for (out, byte) in out.iter_mut().zip(raw) {
                    *out = scaled(self.table[usize::from(*byte)], scale);
                }
            }
        }
    }

    /// Values down a column of the source, every `down` rows from `place` on, as far from each other in `raw` as `step`.
    pub(super) fn column(&self, raw: &[u8], step: usize, down: u64, place: Place, out: &mut [[u8; 4]]) {
        for (n, out) in out.iter_mut().enumerate() {
            let place = Place { row: place.row + n as u64 * down, ..place };
            self.run(&raw[n * step..], place, std::slice::from_mut(out));
        }
    }

    fn scale(&self, place: Place) -> Option<f32> {
        let scales = self.scales.as_ref()?;
        let number = place.matrix * self.strides[0]
            + place.row / self.block[0] * self.strides[1]
            + place.column / self.block[1] * self.strides[2];
        Some(scales.values[(number - scales.first) as usize])
    }

    /// The number that stands for zero.
    fn zero(&self, place: Place, bits: u32) -> i32 {
        if self.coding.zeros.is_none() {
            return 1 << (bits - 1);
        }
        let in_word = u64::from(32 / bits);
        let word = place.row / in_word - self.zeros.first;
        let at = word * self.strides[1] + place.column / self.block[1];
        let mut zero = 0;
        let words = &self.zeros.values[at as usize * 4..];
        unpack(words, place.row % in_word, bits, 1, |_, number| zero = number);
        zero
    }
}

fn scaled(value: f32, scale: Option<f32>) -> [u8; 4] {
    scale.map_or(value, |scale| value * scale).to_le_bytes()
}

/// `count` of the numbers that are packed into words, from `first` on.
fn unpack(words: &[u8], first: u64, bits: u32, count: usize, mut each: impl FnMut(usize, i32)) {
    let in_word = u64::from(32 / bits);
    let mut words =
        words.as_chunks::<4>().0[(first / in_word) as usize..].iter().map(|w| u32::from_le_bytes(*w));
    let (mut word, mut left) = (words.next().unwrap_or_default(), in_word - first % in_word);
    word >>= u64::from(bits) * (first % in_word);
    for n in 0..count {
        if left == 0 {
            (word, left) = (words.next().unwrap_or_default(), in_word);
        }
        each(n, (word & ((1 << bits) - 1)) as i32);
        word >>= bits;
        left -= 1;
    }
}

/// Blocks of ggml's MXFP4: the exponent, then the codes, those of the second half in the upper bits.
pub(super) fn repack(codes: &[u8], exponents: &[u8], values: u64, out: &mut [u8]) {
    let blocks = (values / MX_VALUES) as usize;
    let codes = codes.as_chunks::<MX_CODES>().0[..blocks].iter();
    for ((out, exponent), codes) in
        out.as_chunks_mut::<{ 1 + MX_CODES }>().0.iter_mut().zip(exponents).zip(codes)
    {
        let code = |n: usize| (codes[n / 2] >> (n % 2 * 4)) & 0xf;
        out[0] = *exponent;
        for (n, byte) in out[1..].iter_mut().enumerate() {
            *byte = code(n) | code(n + MX_CODES) << 4;
        }
    }
}

/// The values of the bytes of an element of one byte.
fn table(element: Element) -> [f32; 256] {
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        match element {
            Element::E4M3 => e4m3(byte),
            Element::E5M2 => half::f16::from_bits(u16::from(byte) << 8).to_f32(),
            Element::I8 => f32::from(byte as i8),
            Element::Ggml(_) | Element::Packed { .. } | Element::Mxfp4 | Element::Zero => 0.0,
        }
    })
}

/// torch's `float8_e4m3fn`.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xf), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The values that its bytes have.
    pub(in super::super) fn value(element: Element, byte: u8) -> f32 {
        table(element)[usize::from(byte)]
    }

    /// `torch.tensor([...], dtype=torch.uint8).view(torch.float8_e4m3fn).float()`, and the same of `float8_e5m2`.
    #[test]
    fn small_floats_have_torchs_values() {
        let check = |element, pairs: &[(u8, f32)]| {
            for (byte, expected) in pairs {
                let found = value(element, *byte);
                assert_eq!(found.to_bits(), expected.to_bits(), "{element:?} {byte:#04x}: {found}");
            }
        };
        let e4m3: [(u8, f32); 8] = [
            (0x00, 0.0),
            (0x80, -0.0),
            (0x01, 0.001953125),
            (0x07, 0.013671875),
            (0x08, 0.015625),
            (0x38, 1.0),
            (0x7e, 448.0),
            (0xc5, -3.25),
        ];
        check(Element::E4M3, &e4m3);
        assert!(value(Element::E4M3, 0x7f).is_nan() && value(Element::E4M3, 0xff).is_nan());
        let e5m2: [(u8, f32); 5] =
            [(0x01, 1.0 / 65536.0), (0x3c, 1.0), (0x7b, 57344.0), (0x7c, f32::INFINITY), (0xc1, -2.5)];
        check(Element::E5M2, &e5m2);
        check(Element::I8, &[(0x80, -128.0), (0x7f, 127.0), (0xff, -1.0)]);
    }

    #[test]
    fn numbers_are_unpacked_from_anywhere() {
        let words: Vec<u8> = [0x7654_3210u32, 0xfedc_ba98].iter().flat_map(|w| w.to_le_bytes()).collect();
        for (first, count) in [(0, 16), (3, 9), (8, 1), (15, 1)] {
            let mut found = Vec::new();
            unpack(&words, first, 4, count, |n, number| found.push((n, number)));
            let expected: Vec<(usize, i32)> = (0..count).map(|n| (n, (first as usize + n) as i32)).collect();
            assert_eq!(found, expected);
        }
    }
}
