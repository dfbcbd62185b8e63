//! The result of a conversion before any weight is read.

use crate::arch::Factors;
use crate::checkpoint::Dtype;
use crate::gguf::{GgmlType, Metadata};

/// What `convert_hf_to_gguf.py --outtype` knows.
#[allow(missing_docs, reason = "the variants are the reference's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutType {
    F32,
    F16,
    BF16,
    Q8_0,
    /// The type of the first tensor of two or more dimensions that has a 16-bit type, else F16.
    Auto,
}

impl OutType {
    /// What `auto` stands for among tensors of these types, in order: the first 16-bit one, else F16.
    pub(super) fn resolve(self, types: impl IntoIterator<Item = Dtype>) -> Self {
        if self != OutType::Auto {
            return self;
        }
        let of_16_bits = |ty| match ty {
            Dtype::BF16 => Some(OutType::BF16),
            Dtype::F16 => Some(OutType::F16),
            _ => None,
        };
        types.into_iter().find_map(of_16_bits).unwrap_or(OutType::F16)
    }

    /// The type of a matrix whose rows have so many values: F16 where they are no whole blocks.
    pub(super) fn of_rows(self, values: u64) -> GgmlType {
        let ty = match self {
            OutType::F32 => GgmlType::F32,
            OutType::F16 | OutType::Auto => GgmlType::F16,
            OutType::BF16 => GgmlType::BF16,
            OutType::Q8_0 => GgmlType::Q8_0,
        };
        if values.is_multiple_of(ty.block_size() as u64) { ty } else { GgmlType::F16 }
    }

    /// `general.file_type` (`LlamaFileType`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            OutType::F32 => 0,
            OutType::F16 | OutType::Auto => 1,
            OutType::Q8_0 => 7,
            OutType::BF16 => 32,
        }
    }
}

/// A whole GGUF file but for the weights, and how to make those.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// `general.architecture`: `llama`, `qwen2moe`, `gemma3`.
    pub architecture: String,
    /// The type that most tensors have; never [`OutType::Auto`].
    pub out_type: OutType,
    /// Metadata in the converter's order, `general.file_type` included.
    pub metadata: Metadata,
    /// The tensors in the converter's order.
    pub tensors: Vec<TensorRecipe>,
}

/// How one output tensor is made.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRecipe {
    /// GGUF name (`blk.0.attn_q.weight`).
    pub name: String,
    /// Extents in ggml's order: the row length first.
    pub shape: Vec<u64>,
    /// Type in the converter's output. A quantization starts from the values as this type holds them.
    pub ty: GgmlType,
    /// Where the values come from.
    pub source: Recipe,
}

impl TensorRecipe {
    /// Values in a row.
    pub fn row_values(&self) -> u64 {
        self.shape[0]
    }

    /// Rows in all, over every outer dimension.
    pub fn rows(&self) -> u64 {
        self.shape[1..].iter().product()
    }
}

/// Where the values of an output tensor come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// Rows of source tensors.
    Rows {
        /// The sources, one after the other along the outermost dimension (one, or one an expert); all of the same
        /// type and with the same number of values.
        parts: Vec<Part>,
        /// Which row of a part becomes which row of the output.
        order: RowOrder,
        /// What is done to each value.
        change: Change,
    },
    /// Values that the conversion computed (`rope_freqs.weight`).
    Values(Vec<f32>),
}

/// What is done to each value of a source, in the precision that it has (BF16 counts as F32).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// A number is added.
    Plus(f32),
    /// Multiplied with numbers, one after the other.
    Times(Factors),
    /// A rate in place of its logarithm, and less than nothing: `-exp(x)`.
    NegativeExp,
}

/// One source tensor, or rows of one: mostly a contiguous run of bytes in a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name in the checkpoint, for messages.
    pub name: String,
    /// Number of the shard.
    pub shard: usize,
    /// First byte in the shard.
    pub offset: u64,
    /// How the source holds the values: F32, F16, BF16 or F64 in a checkpoint, any type in a GGUF file. Of one that has
    /// a coding, the type of what comes out of it.
    pub ty: GgmlType,
    /// Where the values lie that are not one row after the other.
    pub strides: Option<Strides>,
    /// What the bytes mean that are no values of `ty`.
    pub coding: Option<Box<Coding>>,
}

impl Part {
    /// Rows that stand one after the other.
    pub fn new(name: impl Into<String>, shard: usize, offset: u64, ty: GgmlType) -> Self {
        Part { name: name.into(), shard, offset, ty, strides: None, coding: None }
    }

    /// Values between neighbours, in rows of `row` values.
    pub fn strides(&self, row: u64) -> Strides {
        self.strides.unwrap_or(Strides { row, column: 1 })
    }
}

/// Values in the source from a value of a part to its neighbours. `column` is 1 unless the source is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// To the value below.
    pub row: u64,
    /// To the next value of the row.
    pub column: u64,
}

/// Weights that are quantized in the checkpoint, and how the reference makes numbers of them.
///
/// The tensor is a stack of matrices of `rows` by `columns`; `start` is the part's first value among all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Coding {
    /// How the bytes hold the values.
    pub element: Element,
    /// Rows of a matrix.
    pub rows: u64,
    /// Values in a row of a matrix.
    pub columns: u64,
    /// The part's first value in the tensor.
    pub start: u64,
    /// What each value is multiplied with.
    pub scales: Option<Scales>,
    /// What is taken from each value before that: numbers as wide as the values, packed along the rows, one for each scale.
    pub zeros: Option<Zeros>,
}

/// How a quantized tensor holds its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A type that ggml has as well.
    Ggml(GgmlType),
    /// A sign, four bits of exponent, three of mantissa; no infinities.
    E4M3,
    /// The upper byte of an F16.
    E5M2,
    /// A byte with a sign.
    I8,
    /// Unsigned numbers of so many bits in little-endian words of 32, the lowest bits first; rows begin with a word.
    Packed {
        /// Bits of a number.
        bits: u32,
    },
    /// Sixteen bytes for 32 values, two in a byte, the lower bits first; the scales are exponents. They become ggml's MXFP4.
    Mxfp4,
    /// There are no bytes: every value is zero.
    Zero,
}

/// Scales of a quantized tensor: one for each block of each of its matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// Number of the shard.
    pub shard: usize,
    /// First byte in the shard.
    pub offset: u64,
    /// How they are stored.
    pub ty: GgmlType,
    /// Rows and columns of a block.
    pub block: [u64; 2],
    /// Scales from a matrix, a row of blocks, a block to the next; 0 where the next has the same.
    pub strides: [u64; 3],
}

/// The numbers that stand for zero in a [`Element::Packed`] tensor of one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Zeros {
    /// Number of the shard.
    pub shard: usize,
    /// First byte in the shard.
    pub offset: u64,
}

impl Element {
    /// Bytes of `values` values of rows of `columns`, which are whole rows where several share a word.
    pub fn bytes(self, values: u64, columns: u64) -> u64 {
        match self {
            Element::Ggml(ty) => ty.bytes_of(values).expect("types without blocks"),
            Element::E4M3 | Element::E5M2 | Element::I8 => values,
            Element::Packed { bits } => values / columns * columns.div_ceil(u64::from(32 / bits)) * 4,
            Element::Mxfp4 => values / 2,
            Element::Zero => 0,
        }
    }
}

/// The order in which a part's rows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// As they stand.
    Natural,
    /// Within each head, the two halves interleaved: llama.cpp's layout of rotary embeddings.
    /// Row `2 i + j` of a head is row `j * half + i` of the source.
    Rope {
        /// Heads in the tensor.
        heads: u64,
    },
    /// The rows as they stand, but the values of each in tiles: blocks of them come by group, and become all groups' first
    /// ones, all groups' second ones, and so on.
    TiledColumns {
        /// Groups in a row.
        groups: u64,
        /// Blocks of a group.
        each: u64,
    },
}

impl RowOrder {
    /// The source row of output row `row`, in a tensor of `rows` rows.
    pub fn source_row(self, row: u64, rows: u64) -> u64 {
        match self {
            RowOrder::Natural | RowOrder::TiledColumns { .. } => row,
            RowOrder::Rope { heads } => {
                let per_head = rows / heads;
                let (head, within) = (row / per_head, row % per_head);
                head * per_head + (within % 2) * (per_head / 2) + within / 2
            }
        }
    }

    /// The block of the source's row of each block of the output's; empty where they stay.
    pub fn source_blocks(self) -> Vec<usize> {
        match self {
            RowOrder::TiledColumns { groups, each } => {
                tiles(groups, each).map(|block| block as usize).collect()
            }
            RowOrder::Natural | RowOrder::Rope { .. } => Vec::new(),
        }
    }
}

/// Numbers of blocks that come by group: all groups' first ones, all groups' second ones, and so on.
pub(super) fn tiles(groups: u64, each: u64) -> impl Iterator<Item = u64> {
    (0..each).flat_map(move |n| (0..groups).map(move |group| group * each + n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_the_first_type_of_16_bits() {
        use Dtype::{BF16, F16, F32, F64};
        let check = |types: &[Dtype], expected| {
            assert_eq!(OutType::Auto.resolve(types.iter().copied()), expected, "{types:?}");
            assert_eq!(OutType::Q8_0.resolve(types.iter().copied()), OutType::Q8_0);
        };
        check(&[F32, BF16, F16], OutType::BF16);
        check(&[F16, BF16], OutType::F16);
        check(&[F64, F32], OutType::F16);
        check(&[], OutType::F16);
    }

    #[test]
    fn rows_of_no_whole_blocks_are_half() {
        for (out, values, expected) in [
            (OutType::Q8_0, 64, GgmlType::Q8_0),
            (OutType::Q8_0, 48, GgmlType::F16),
            (OutType::BF16, 5, GgmlType::BF16),
            (OutType::F32, 1, GgmlType::F32),
        ] {
            assert_eq!(out.of_rows(values), expected, "{out:?} {values}");
        }
    }

    #[test]
    fn tiles_take_one_of_each_group() {
        assert_eq!(tiles(3, 2).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(RowOrder::TiledColumns { groups: 2, each: 3 }.source_blocks(), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn rope_order_interleaves_the_halves_of_each_head() {
        let order = RowOrder::Rope { heads: 2 };
        let rows: Vec<u64> = (0..8).map(|r| order.source_row(r, 8)).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
