//! GPT-2: matrices that lie on their side.

use super::key::{BLOCK_COUNT, count_of, single_of};
use super::tensor_sets::{ENDS, FUSED_ATTENTION, PLAIN_FFN};
use super::{Cut, Extent, Family, Key, Skip, Tensor};

/// `GPT2Model` in the reference's `conversion/gpt2.py`. Where that ends with an exception over the masks of attention
/// which it means to pass over, they are passed over.
pub(super) static GPT2: Family = Family {
    name: "gpt2",
    architectures: &["GPT2LMHeadModel"],
    stripped: &["transformer."],
    skipped: &[Skip::Suffix(".attn.bias"), Skip::Suffix(".attn.masked_bias")],
    tensors: &[ENDS, FUSED_ATTENTION, PLAIN_FFN, &[Tensor::PosEmbd]],
    names: &[
        (Tensor::TokenEmbd, &["wte"]),
        (Tensor::PosEmbd, &["wpe"]),
        (Tensor::OutputNorm, &["ln_f"]),
        (Tensor::AttnNorm, &["h.{}.ln_1"]),
        (Tensor::FfnNorm, &["h.{}.ln_2"]),
    ],
    shapes: &[(Tensor::PosEmbd, &[Extent::Any, Extent::Embedding])],
    cuts: &[
        Cut::on_its_side("h.{}.attn.c_attn", &[Tensor::AttnQkv]),
        Cut::on_its_side("h.{}.attn.c_proj", &[Tensor::AttnOut]),
        Cut::on_its_side("h.{}.mlp.c_proj", &[Tensor::FfnDown]),
        Cut::on_its_side("h.{}.mlp.c_fc", &[Tensor::FfnUp]),
    ],
    keys: &[
        BLOCK_COUNT,
        count_of("context_length", &["n_ctx"]),
        count_of("embedding_length", &["n_embd"]),
        Key::Is("feed_forward_length", |m| {
            Ok(Some(m.hparams.required_count(&["n_embd"])?.saturating_mul(4).into()))
        }),
        count_of("attention.head_count", &["n_head"]),
        single_of("attention.layer_norm_epsilon", &["layer_norm_epsilon"]),
        Key::FileType,
    ],
    ..Family::PLAIN
};
