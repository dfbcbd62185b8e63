//! The tensor types of ggml: their numbers, names, block sizes.
//!
//! Source: `enum ggml_type` in `ggml.h` and `GGML_QUANT_SIZES` in gguf-py's `constants.py`.

use std::fmt;

macro_rules! types {
    ($($variant:ident = $id:literal, $name:literal, $block:literal, $bytes:expr;)*) => {
        /// How the values of a tensor are stored in a GGUF file.
        #[allow(non_camel_case_types, missing_docs, reason = "the field writes these names so")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum GgmlType { $($variant = $id,)* }

        impl GgmlType {
            /// Every type that a GGUF file of today may hold, by number.
            pub const ALL: &'static [GgmlType] = &[$(GgmlType::$variant,)*];

            /// The type with this number in a GGUF file.
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(GgmlType::$variant),)* _ => None }
            }

            /// Upper-case name, as model cards and `--tensor-type` write it (`Q4_K`).
            pub fn name(self) -> &'static str {
                match self { $(GgmlType::$variant => $name,)* }
            }

            /// Values in one block.
            pub const fn block_size(self) -> usize {
                match self { $(GgmlType::$variant => $block,)* }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> usize {
                match self { $(GgmlType::$variant => $bytes,)* }
            }
        }
    };
}

types! {
    F32 = 0, "F32", 1, 4;
    F16 = 1, "F16", 1, 2;
    Q4_0 = 2, "Q4_0", 32, 2 + 16;
    Q4_1 = 3, "Q4_1", 32, 2 + 2 + 16;
    Q5_0 = 6, "Q5_0", 32, 2 + 4 + 16;
    Q5_1 = 7, "Q5_1", 32, 2 + 2 + 4 + 16;
    Q8_0 = 8, "Q8_0", 32, 2 + 32;
    Q8_1 = 9, "Q8_1", 32, 2 + 2 + 32;
    Q2_K = 10, "Q2_K", 256, 2 + 2 + 256 / 16 + 256 / 4;
    Q3_K = 11, "Q3_K", 256, 2 + 256 / 4 + 256 / 8 + 12;
    Q4_K = 12, "Q4_K", 256, 2 + 2 + 256 / 2 + 12;
    Q5_K = 13, "Q5_K", 256, 2 + 2 + 256 / 2 + 256 / 8 + 12;
    Q6_K = 14, "Q6_K", 256, 2 + 256 / 2 + 256 / 4 + 256 / 16;
    Q8_K = 15, "Q8_K", 256, 4 + 256 + 256 / 8;
    IQ2_XXS = 16, "IQ2_XXS", 256, 2 + 256 / 4;
    IQ2_XS = 17, "IQ2_XS", 256, 2 + 256 / 4 + 256 / 32;
    IQ3_XXS = 18, "IQ3_XXS", 256, 2 + 256 / 4 + 256 / 8;
    IQ1_S = 19, "IQ1_S", 256, 2 + 256 / 8 + 256 / 16;
    IQ4_NL = 20, "IQ4_NL", 32, 2 + 16;
    IQ3_S = 21, "IQ3_S", 256, 2 + 256 / 4 + 256 / 8 + 256 / 32 + 4;
    IQ2_S = 22, "IQ2_S", 256, 2 + 256 / 4 + 256 / 16;
    IQ4_XS = 23, "IQ4_XS", 256, 2 + 2 + 256 / 2 + 256 / 64;
    I8 = 24, "I8", 1, 1;
    I16 = 25, "I16", 1, 2;
    I32 = 26, "I32", 1, 4;
    I64 = 27, "I64", 1, 8;
    F64 = 28, "F64", 1, 8;
    IQ1_M = 29, "IQ1_M", 256, 256 / 8 + 256 / 16 + 256 / 32;
    BF16 = 30, "BF16", 1, 2;
    TQ1_0 = 34, "TQ1_0", 256, 2 + 4 * 13;
    TQ2_0 = 35, "TQ2_0", 256, 2 + 64;
    MXFP4 = 39, "MXFP4", 32, 1 + 16;
    NVFP4 = 40, "NVFP4", 64, 4 + 32;
    Q1_0 = 41, "Q1_0", 128, 2 + 16;
    Q2_0 = 42, "Q2_0", 64, 2 + 16;
}

impl GgmlType {
    /// The type's number in a GGUF file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The type of this name, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// Whether values share scales in blocks (`ggml_is_quantized`).
    pub const fn is_quantized(self) -> bool {
        self.block_size() > 1
    }

    /// Bytes of `n` values, or `None` where `n` is no multiple of the block size or the size overflows.
    pub fn bytes_of(self, n: u64) -> Option<u64> {
        let block = self.block_size() as u64;
        if !n.is_multiple_of(block) {
            return None;
        }
        (n / block).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_round_trip() {
        for &t in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(t.id()), Some(t));
            assert_eq!(GgmlType::from_name(&t.name().to_lowercase()), Some(t));
        }
        assert_eq!(GgmlType::from_id(4), None);
    }

    #[test]
    fn bytes_need_whole_blocks() {
        assert_eq!(GgmlType::Q4_K.bytes_of(512), Some(288));
        assert_eq!(GgmlType::Q4_K.bytes_of(576), None);
        assert_eq!(GgmlType::F32.bytes_of(u64::MAX), None);
    }
}
