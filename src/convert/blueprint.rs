//! The result of a conversion before any weight is read.

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
        /// What is added to each value, in the precision that the source has (BF16 counts as F32).
        plus: f32,
    },
    /// Values that the conversion computed (`rope_freqs.weight`).
    Values(Vec<f32>),
}

/// One source tensor: a contiguous run of bytes in a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name in the checkpoint, for messages.
    pub name: String,
    /// Number of the shard.
    pub shard: usize,
    /// First byte in the shard.
    pub offset: u64,
    /// How the source holds the values: F32, F16, BF16 or F64 in a checkpoint, any type in a GGUF file.
    pub ty: GgmlType,
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
}

impl RowOrder {
    /// The source row of output row `row`, in a tensor of `rows` rows.
    pub fn source_row(self, row: u64, rows: u64) -> u64 {
        match self {
            RowOrder::Natural => row,
            RowOrder::Rope { heads } => {
                let per_head = rows / heads;
                let (head, within) = (row / per_head, row % per_head);
                head * per_head + (within % 2) * (per_head / 2) + within / 2
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rope_order_interleaves_the_halves_of_each_head() {
        let order = RowOrder::Rope { heads: 2 };
        let rows: Vec<u64> = (0..8).map(|r| order.source_row(r, 8)).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
