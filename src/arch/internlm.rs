//! InternLM 2, whose keys and values stand with the queries that share them, and InternLM 3, a Llama.

use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN};
use super::{By, Cut, Family, Heads, Key, Skip, Tensor, Vocabulary};

/// `InternLM2Model` in the reference's `conversion/internlm.py`.
pub(super) static INTERNLM2: Family = Family {
    name: "internlm2",
    architectures: &["InternLM2ForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    names: &[
        (Tensor::TokenEmbd, &["model.tok_embeddings"]),
        (Tensor::Output, &["output"]),
        (Tensor::AttnNorm, &["model.layers.{}.attention_norm"]),
        (Tensor::AttnOut, &["model.layers.{}.attention.wo"]),
        (Tensor::FfnNorm, &["model.layers.{}.ffn_norm"]),
        (Tensor::FfnGate, &["model.layers.{}.feed_forward.w1"]),
        (Tensor::FfnDown, &["model.layers.{}.feed_forward.w2"]),
        (Tensor::FfnUp, &["model.layers.{}.feed_forward.w3"]),
    ],
    cuts: &[Cut {
        name: "model.layers.{}.attention.wqkv",
        transposed: false,
        by: By::Groups {
            heads: |h| {
                let heads = h.required_count(&["num_attention_heads"])?;
                Ok((heads, h.required_count(&["num_key_value_heads"])?))
            },
            rope: true,
        },
        into: &[Tensor::AttnQ, Tensor::AttnK, Tensor::AttnV],
    }],
    vocabulary: Vocabulary::InternLm2,
    ..Family::PLAIN
};

/// `InternLM3Model` in the reference's `conversion/internlm.py`.
pub(super) static INTERNLM3: Family = Family {
    name: "llama",
    architectures: &["InternLM3ForCausalLM"],
    skipped: &[Skip::Prefix("vision_model")],
    tensors: &[ENDS, ATTENTION, GATED_FFN],
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    keys: &[Key::Common, VOCABULARY_SIZE, ROPE_DIMENSIONS],
    vocabulary: Vocabulary::InternLm3,
    ..Family::PLAIN
};
