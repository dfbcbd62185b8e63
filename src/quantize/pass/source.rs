//! Rows of a part: reading their bytes wherever they lie in the source, and decoding those that are quantized there.
//!
//! In: a part and a range of its rows. Out: the rows one after the other, as the part's type holds them, and beforehand
//! what will be read. Memory is that of the rows, with the gaps between them where they lie close together.

use std::ops::Range;

use super::coding::{Decoder, Place, Read, repack};
use crate::checkpoint::{CheckpointError, Weights};
use crate::convert::{Coding, Element, Part, Scales, Strides};
use crate::quantize::block;

/// How many times the wanted bytes are read at most for the sake of one read in place of many.
const GAPS: u64 = 4;

/// Bytes that a read of a transposed source is to bring at least.
const LEAST: u64 = 1024;

/// Rows of a part.
#[derive(Clone)]
pub(super) struct Rows<'a> {
    pub(super) part: &'a Part,
    /// Which of its rows; at least one.
    pub(super) rows: Range<u64>,
    /// Values in a row.
    pub(super) values: u64,
}

/// Bytes of the source: reads of the same length, and where a value is among what they bring.
struct Spans {
    offset: u64,
    bytes: u64,
    count: u64,
    /// From the start of a read to that of the next.
    step: u64,
    /// From a value to the one below, and to the next in its row.
    row: u64,
    column: u64,
}

impl Rows<'_> {
    /// Bytes of the values in the source, without gaps.
    pub(super) fn source_bytes(&self) -> u64 {
        let values = (self.rows.end - self.rows.start) * self.values;
        self.bytes(values) + self.scales().map_or(0, |(_, range)| range.end - range.start)
    }

    /// Bytes that are read apart from what is made of them.
    pub(super) fn gaps_and_codes(&self) -> u64 {
        let spans = self.spans();
        if self.is_plain() { 0 } else { spans.bytes * spans.count }
    }

    /// Bytes of the rows as the part's type holds them.
    pub(super) fn made_bytes(&self) -> u64 {
        self.part.ty.bytes_of((self.rows.end - self.rows.start) * self.values).unwrap_or(0)
    }

    /// Rows that are worth reading at once: where each of the source's has little of them, that little is some.
    pub(super) fn least(&self) -> u64 {
        if self.strides().column == 1 {
            return 1;
        }
        (LEAST / self.bytes(self.strides().row)).max(1)
    }

    /// Shard and bytes of every read that [`Reader::fill`] makes, in its order.
    pub(super) fn reads(&self) -> Vec<(usize, Range<u64>)> {
        if self.is_zero() {
            return Vec::new();
        }
        let spans = self.spans();
        let start = |n: u64| spans.offset + n * spans.step;
        let weights = (0..spans.count).map(|n| (self.part.shard, start(n)..start(n) + spans.bytes));
        weights.chain(self.scales()).chain(self.zeros()).collect()
    }

    /// Whether the source has the very bytes that are wanted, one after the other.
    fn is_plain(&self) -> bool {
        self.part.coding.is_none() && self.strides() == Strides { row: self.values, column: 1 }
    }

    /// Whether there is nothing to read.
    fn is_zero(&self) -> bool {
        self.part.coding.as_ref().is_some_and(|coding| coding.element == Element::Zero)
    }

    fn strides(&self) -> Strides {
        self.part.strides(self.values)
    }

    fn bytes(&self, values: u64) -> u64 {
        match &self.part.coding {
            None => self.part.ty.bytes_of(values).expect("rows are whole blocks of the source type"),
            Some(coding) => coding.element.bytes(values, coding.columns),
        }
    }

    fn spans(&self) -> Spans {
        let strides = self.strides();
        let below = (self.rows.end - self.rows.start - 1) * strides.row;
        let offset = self.part.offset + self.bytes(self.rows.start * strides.row);
        let all = below + (self.values - 1) * strides.column + 1;
        let wanted = (self.rows.end - self.rows.start) * self.values;
        if strides.column == 1 || all <= GAPS * wanted {
            let bytes = self.bytes(all);
            let (row, column) = match strides.column {
                1 => (self.bytes(strides.row), 0),
                column => (self.bytes(strides.row), self.bytes(column)),
            };
            return Spans { offset, bytes, count: 1, step: 0, row, column };
        }
        // A column of the source for each row: a piece of each of its rows.
        let bytes = self.bytes(below + 1);
        let (step, row) = (self.bytes(strides.column), self.bytes(strides.row));
        Spans { offset, bytes, count: self.values, step, row, column: bytes }
    }

    fn place(&self, coding: &Coding, row: u64, column: u64) -> Place {
        let strides = self.strides();
        let value = coding.start + row * strides.row + column * strides.column;
        let (above, column) = (value / coding.columns, value % coding.columns);
        Place { matrix: above / coding.rows, row: above % coding.rows, column }
    }

    /// The places of the first and the last value.
    fn ends(&self, coding: &Coding) -> (Place, Place) {
        (self.place(coding, self.rows.start, 0), self.place(coding, self.rows.end - 1, self.values - 1))
    }

    /// Numbers of the first and the last scale that may be needed.
    fn scale_numbers(&self, coding: &Coding, scales: &Scales) -> (u64, u64) {
        let (first, last) = self.ends(coding);
        let in_matrix = |row: u64, column: u64| {
            row / scales.block[0] * scales.strides[1] + column / scales.block[1] * scales.strides[2]
        };
        let (mut low, mut high) = (0, in_matrix(coding.rows - 1, coding.columns - 1));
        if first.matrix == last.matrix {
            (low, high) = (in_matrix(first.row, 0), in_matrix(last.row, coding.columns - 1));
        }
        (first.matrix * scales.strides[0] + low, last.matrix * scales.strides[0] + high)
    }

    fn scales(&self) -> Option<(usize, Range<u64>)> {
        let coding = self.part.coding.as_ref()?;
        let scales = coding.scales.as_ref()?;
        let (first, last) = self.scale_numbers(coding, scales);
        let size = scales.ty.block_bytes() as u64;
        Some((scales.shard, scales.offset + first * size..scales.offset + (last + 1) * size))
    }

    /// Rows of words that have the zeros.
    fn zero_rows(&self, coding: &Coding) -> Option<Range<u64>> {
        let Element::Packed { bits } = coding.element else { return None };
        let (first, last) = self.ends(coding);
        let in_word = u64::from(32 / bits);
        Some(first.row / in_word..last.row / in_word + 1)
    }

    fn zeros(&self) -> Option<(usize, Range<u64>)> {
        let coding = self.part.coding.as_ref()?;
        let (zeros, scales) = (coding.zeros.as_ref()?, coding.scales.as_ref()?);
        let words = self.zero_rows(coding)?;
        let at = |row: u64| zeros.offset + row * scales.strides[1] * 4;
        Some((zeros.shard, at(words.start)..at(words.end)))
    }
}

/// One thread's buffers.
#[derive(Default)]
pub(super) struct Reader {
    raw: Vec<u8>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<u8>,
}

impl Reader {
    /// Reads the rows into `out`, one after the other, as the part's type holds them.
    pub(super) fn fill(
        &mut self,
        weights: &dyn Weights,
        rows: &Rows<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CheckpointError> {
        let part = rows.part;
        let count = (rows.rows.end - rows.rows.start) as usize;
        let row_bytes = part.ty.bytes_of(rows.values).expect("rows are whole blocks of their type") as usize;
        out.resize(count * row_bytes, 0);
        if rows.is_zero() {
            out.fill(0);
            return Ok(());
        }
        let spans = rows.spans();
        if rows.is_plain() {
            return weights.read(part.shard, spans.offset, out);
        }
        self.raw.resize((spans.bytes * spans.count) as usize, 0);
        for (n, piece) in (0..).zip(self.raw.chunks_exact_mut(spans.bytes as usize)) {
            weights.read(part.shard, spans.offset + n * spans.step, piece)?;
        }
        match &part.coding {
            None => gather(&self.raw, &spans, row_bytes, part.ty.block_bytes(), out),
            Some(coding) => {
                read(weights, rows.scales(), &mut self.codes)?;
                read(weights, rows.zeros(), &mut self.zeros)?;
                self.decode(rows, coding, &spans, row_bytes, out);
            }
        }
        Ok(())
    }

    fn decode(&mut self, rows: &Rows<'_>, coding: &Coding, spans: &Spans, row_bytes: usize, out: &mut [u8]) {
        let mut first = 0;
        self.scales.clear();
        if let Some(scales) = &coding.scales {
            first = rows.scale_numbers(coding, scales).0;
            if coding.element != Element::Mxfp4 {
                self.scales.resize(self.codes.len() / scales.ty.block_bytes(), 0.0);
                block::dequantize(scales.ty, &self.codes, &mut self.scales);
            }
        }
        let zeros =
            Read { values: &self.zeros, first: rows.zero_rows(coding).map_or(0, |words| words.start) };
        let decoder = Decoder::new(coding, Read { values: &self.scales, first }, zeros);
        for (n, out) in (0..).zip(out.chunks_exact_mut(row_bytes)) {
            let place = rows.place(coding, rows.rows.start + n, 0);
            let raw = &self.raw[(n * spans.row) as usize..];
            match (coding.element, &coding.scales) {
                (Element::Mxfp4, Some(scales)) => {
                    let scale = place.matrix * scales.strides[0] + place.row * scales.strides[1] - first;
                    repack(raw, &self.codes[scale as usize..], rows.values, out);
                }
                _ if spans.column == 0 => decoder.row(raw, place, out.as_chunks_mut().0),
                _ => {
                    let down = rows.strides().column / coding.columns;
                    decoder.column(raw, spans.column as usize, down, place, out.as_chunks_mut().0);
                }
            }
        }
    }
}

fn read(
    weights: &dyn Weights,
    from: Option<(usize, Range<u64>)>,
    into: &mut Vec<u8>,
) -> Result<(), CheckpointError> {
    let Some((shard, range)) = from else {
        into.clear();
        return Ok(());
    };
    into.resize((range.end - range.start) as usize, 0);
    weights.read(shard, range.start, into)
}

/// Values that are as they are wanted, but not where.
fn gather(raw: &[u8], spans: &Spans, row_bytes: usize, size: usize, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(row_bytes).enumerate() {
        let row = &raw[n * spans.row as usize..];
        if spans.column == 0 {
            out.copy_from_slice(&row[..row_bytes]);
            continue;
        }
        for (value, out) in out.chunks_exact_mut(size).enumerate() {
            out.copy_from_slice(&row[value * spans.column as usize..][..size]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::coding::tests::value as number;
    use super::*;
    use crate::convert::Zeros;
    use crate::gguf::GgmlType;

    struct Memory(Vec<Vec<u8>>, std::sync::Mutex<Vec<(usize, Range<u64>)>>);

    impl Weights for Memory {
        fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
            self.1.lock().unwrap().push((shard, offset..offset + buf.len() as u64));
            buf.copy_from_slice(&self.0[shard][offset as usize..][..buf.len()]);
            Ok(())
        }
    }

    /// The part's rows, read whole and in every smaller number of rows; the reads are those that were foretold.
    #[track_caller]
    fn filled(part: &Part, rows: u64, values: u64, shards: &[Vec<u8>]) -> Vec<u8> {
        let memory = Memory(shards.to_vec(), Default::default());
        let (mut reader, mut whole) = (Reader::default(), Vec::new());
        for step in (1..=rows).rev() {
            let (mut made, mut start) = (Vec::new(), 0);
            while start < rows {
                let rows = Rows { part, rows: start..(start + step).min(rows), values };
                let mut out = Vec::new();
                reader.fill(&memory, &rows, &mut out).unwrap();
                made.extend(out);
                assert_eq!(rows.reads(), std::mem::take(&mut *memory.1.lock().unwrap()));
                start += step;
            }
            if step == rows {
                whole = made;
            } else {
                assert_eq!(made, whole, "{step} rows at a time");
            }
        }
        whole
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn strides_take_turns_and_transpose() {
        // Two matrices of 6 by 40 after one value that is none of theirs.
        let source: Vec<f32> = (0..1 + 2 * 6 * 40).map(|n| n as f32).collect();
        let shards = [bytes(source.iter().copied())];
        let part = |first: u64, row: u64, column: u64| Part {
            strides: Some(Strides { row, column }),
            ..Part::new("x", 0, (1 + first) * 4, GgmlType::F32)
        };
        let at = |row: usize, column: usize| source[1 + row * 40 + column];
        // Every second row of both, from the second on.
        let expected: Vec<f32> = (0..6).flat_map(|r| (0..40).map(move |c| at(2 * r + 1, c))).collect();
        assert_eq!(floats(&filled(&part(40, 80, 1), 6, 40, &shards)), expected);
        // The second matrix transposed, and every second row of that.
        let expected: Vec<f32> = (0..40).flat_map(|c| (0..6).map(move |r| at(6 + r, c))).collect();
        assert_eq!(floats(&filled(&part(240, 1, 40), 40, 6, &shards)), expected);
        let expected: Vec<f32> = (0..20).flat_map(|c| (0..6).map(move |r| at(6 + r, 2 * c))).collect();
        assert_eq!(floats(&filled(&part(240, 2, 40), 20, 6, &shards)), expected);
        // Every second value of each row.
        let expected: Vec<f32> = (0..12).flat_map(|r| (0..20).map(move |c| at(r, 2 * c + 1))).collect();
        assert_eq!(floats(&filled(&part(1, 40, 2), 12, 20, &shards)), expected);
    }

    fn coding(element: Element, rows: u64, columns: u64, scales: Scales) -> Coding {
        Coding { element, rows, columns, start: 0, scales: Some(scales), zeros: None }
    }

    #[test]
    fn scales_belong_to_blocks() {
        // Two matrices of 5 by 7 in blocks of 2 by 3, the last of them cut off.
        let codes: Vec<u8> = (0..70).map(|n| 0x30 + n as u8 % 13).collect();
        let scales: Vec<f32> = (0..18).map(|n| 0.3 + n as f32).collect();
        let shards = [codes.clone(), bytes(scales.iter().copied())];
        let blocks = Scales { shard: 1, offset: 0, ty: GgmlType::F32, block: [2, 3], strides: [9, 3, 1] };
        let value = |matrix: usize, row: usize, column: usize| {
            number(Element::E4M3, codes[matrix * 35 + row * 7 + column])
                * scales[matrix * 9 + row / 2 * 3 + column / 3]
        };
        let mut part = Part::new("x", 0, 0, GgmlType::F32);
        part.coding = Some(Box::new(coding(Element::E4M3, 5, 7, blocks.clone())));
        let expected: Vec<f32> = (0..10).flat_map(|r| (0..7).map(move |c| value(r / 5, r % 5, c))).collect();
        assert_eq!(floats(&filled(&part, 10, 7, &shards)), expected);

        // Rows 1 to 3 of the second matrix, transposed.
        part.offset = 35 + 7;
        part.strides = Some(Strides { row: 1, column: 7 });
        part.coding = Some(Box::new(Coding { start: 42, ..coding(Element::E4M3, 5, 7, blocks) }));
        let expected: Vec<f32> = (0..7).flat_map(|c| (1..4).map(move |r| value(1, r, c))).collect();
        assert_eq!(floats(&filled(&part, 7, 3, &shards)), expected);

        // One scale for each row, and one for all.
        part = Part::new("x", 0, 0, GgmlType::F32);
        let mut one = |block: [u64; 2], strides: [u64; 3]| {
            let scales = Scales { shard: 1, offset: 0, ty: GgmlType::F32, block, strides };
            part.coding = Some(Box::new(coding(Element::I8, 10, 7, scales)));
            floats(&filled(&part, 10, 7, &shards))
        };
        let expected: Vec<f32> =
            codes.iter().enumerate().map(|(n, code)| f32::from(*code as i8) * scales[n / 7]).collect();
        assert_eq!(one([1, 1], [0, 1, 0]), expected);
        let expected: Vec<f32> = codes.iter().map(|code| f32::from(*code as i8) * scales[0]).collect();
        assert_eq!(one([1, 1], [0, 0, 0]), expected);
    }

    #[test]
    fn packed_numbers_less_their_zeros() {
        // Four rows of 8 numbers of 4 bits, two groups each; zeros packed along the rows.
        let words: [u32; 4] = [0x7654_3210, 0xfedc_ba98, 0x8888_8888, 0x0f0f_0f0f];
        let scales = [0.5f32, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0];
        let zeros: [u32; 2] = [0x0000_4321, 0x0000_8765];
        let le = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let shards = [le(&words), bytes(scales), le(&zeros)];
        let groups = Scales { shard: 1, offset: 0, ty: GgmlType::F32, block: [1, 4], strides: [0, 2, 1] };
        let mut part = Part::new("x", 0, 0, GgmlType::F32);
        let mut check = |zeros: Option<Zeros>, zero: &dyn Fn(usize, usize) -> i32| {
            let coding = Coding { zeros, ..coding(Element::Packed { bits: 4 }, 4, 8, groups.clone()) };
            part.coding = Some(Box::new(coding));
            let value = |row: usize, column: usize| {
                let number = (words[row] >> (4 * column) & 0xf) as i32;
                (number - zero(row, column / 4)) as f32 * scales[row * 2 + column / 4]
            };
            let expected: Vec<f32> =
                (0..4).flat_map(|r| (0..8).map(move |c| (r, c))).map(|(r, c)| value(r, c)).collect();
            assert_eq!(floats(&filled(&part, 4, 8, &shards)), expected);
        };
        check(None, &|_, _| 8);
        check(Some(Zeros { shard: 2, offset: 0 }), &|row, group| (zeros[group] >> (4 * row) & 0xf) as i32);
    }

    #[test]
    fn microscaling_blocks_get_ggmls_order() {
        // Two rows of two blocks; the part has the second row only.
        let codes: Vec<u8> = (0..64).map(|n| (n * 37 + 11) as u8).collect();
        let shards = [codes.clone(), vec![120, 121, 122, 123]];
        let scales = Scales { shard: 1, offset: 0, ty: GgmlType::I8, block: [1, 32], strides: [4, 2, 1] };
        let coding = Coding { start: 64, ..coding(Element::Mxfp4, 2, 64, scales) };
        let part = Part { coding: Some(Box::new(coding)), ..Part::new("x", 0, 32, GgmlType::MXFP4) };
        let found = filled(&part, 1, 64, &shards);
        let nibble = |n: usize| codes[32 + n / 2] >> (n % 2 * 4) & 0xf;
        let mut expected = Vec::new();
        for block in 0..2 {
            expected.push(122 + block as u8);
            expected.extend((0..16).map(|n| nibble(block * 32 + n) | nibble(block * 32 + n + 16) << 4));
        }
        assert_eq!(found, expected);
    }
}
