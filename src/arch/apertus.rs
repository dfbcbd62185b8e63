//! Apertus: norms of queries and keys, no gate, and an activation with numbers of its own in every layer.

use super::llama::{LLAMA_KEYS, LLAMA_LIKE};
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS, PLAIN_FFN};
use super::{Family, Tensor};

/// `ApertusModel` in the reference's `conversion/llama.py`.
pub(super) static APERTUS: Family = Family {
    name: "apertus",
    architectures: &["ApertusForCausalLM"],
    tensors: &[ENDS, ATTENTION, HEAD_NORMS, PLAIN_FFN, &[Tensor::RopeFreqs]],
    names: &[
        (Tensor::AttnNorm, &["model.layers.{}.attention_layernorm"]),
        (Tensor::FfnNorm, &["model.layers.{}.feedforward_layernorm"]),
    ],
    rope_rows: &[],
    scalars: &[
        (".act_fn.alpha_n", "xielu.alpha_n"),
        (".act_fn.alpha_p", "xielu.alpha_p"),
        (".act_fn.beta", "xielu.beta"),
        (".act_fn.eps", "xielu.eps"),
    ],
    keys: LLAMA_KEYS,
    ..LLAMA_LIKE
};
