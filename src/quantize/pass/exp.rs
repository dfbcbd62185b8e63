//! `exp` as torch has it on x86-64: that of Intel's MKL, which is not always correctly rounded.
//!
//! Of BF16's 65,280 finite numbers, all but those of a table come out as the nearest number; F16 hides the difference. Of
//! numbers that use all bits of F32, one of a hundred has another last bit in torch, which is not known here.

use half::bf16;

/// BF16 numbers whose exponential is one step above the nearest number. Recorded from torch 2.11 on x86-64 with AVX2, as are
/// those below, of all of them.
const ABOVE: [u16; 28] = [
    0x3b49, 0x3b4e, 0x3b61, 0x3df0, 0x3ec1, 0x3ed7, 0x3fb6, 0x404c, 0x407f, 0x40ac, 0x40e5, 0x4226, 0x425d,
    0x428f, 0xbae9, 0xbafa, 0xbafe, 0xbb03, 0xbb17, 0xbb1c, 0xbb24, 0xbc42, 0xbcc5, 0xbd0e, 0xbd95, 0xbdc2,
    0xbe0d, 0xbf52,
];

/// And one step below.
const BELOW: [u16; 17] = [
    0x3380, 0x3ad9, 0x3e43, 0x3f7a, 0x4070, 0x4079, 0x40e1, 0x4279, 0xbb33, 0xbb3a, 0xbb55, 0xbc0d, 0xbc69,
    0xbc9d, 0xbc9e, 0xbd11, 0xbf67,
];

/// The exponential of a number.
pub(super) fn exp(x: f32) -> f32 {
    let nearest = f64::from(x).exp() as f32;
    let short = bf16::from_f32(x);
    if short.to_f32().to_bits() != x.to_bits() {
        return nearest;
    }
    if ABOVE.binary_search(&short.to_bits()).is_ok() {
        nearest.next_up()
    } else if BELOW.binary_search(&short.to_bits()).is_ok() {
        nearest.next_down()
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `torch.exp` gave for these BF16 numbers; for the number of others, all of them were compared.
    #[test]
    fn a_few_are_not_the_nearest() {
        let recorded = [
            (0x3fb6, 0x4084_a2e6),
            (0x3380, 0x3f80_0000),
            (0xbf67, 0x3ecf_ad25),
            (0x3f80, 0x402d_f854),
            (0x428f, 0x730e_4a5e),
            (0xbb55, 0x3f7f_2b58),
        ];
        for (x, expected) in recorded {
            assert_eq!(exp(bf16::from_bits(x).to_f32()).to_bits(), expected, "{x:#x}");
        }
        assert!(ABOVE.is_sorted() && BELOW.is_sorted());
    }

    #[test]
    fn numbers_of_more_bits_are_the_nearest() {
        for x in [0.337f32, -1.234_567, 3.376_266_5] {
            assert_eq!(exp(x), f64::from(x).exp() as f32);
        }
    }
}
