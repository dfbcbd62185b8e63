//! Families with little of their own: SmolLM 3, Arcee, StarCoder 2, Seed-OSS.

use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE};
use super::llama::{LLAMA_KEYS, LLAMA_LIKE};
use super::tensor_sets::{ATTENTION, ENDS, PLAIN_FFN};
use super::{Family, Key, Tensor};

/// `SmolLM3Model` in the reference's `conversion/llama.py`.
pub(super) static SMOLLM3: Family =
    Family { name: "smollm3", architectures: &["SmolLM3ForCausalLM"], keys: LLAMA_KEYS, ..LLAMA_LIKE };

/// `ArceeModel` in the reference's `conversion/llama.py`: a feed-forward part without a gate.
pub(super) static ARCEE: Family = Family {
    name: "arcee",
    architectures: &["ArceeForCausalLM"],
    tensors: &[ENDS, ATTENTION, &[Tensor::RopeFreqs, Tensor::FfnNorm, Tensor::FfnDown, Tensor::FfnUp]],
    keys: &[Key::Common, VOCABULARY_SIZE, ROPE_DIMENSIONS, Key::Pooling],
    ..LLAMA_LIKE
};

/// `StarCoder2Model` in the reference's `conversion/starcoder.py`: biases everywhere, no gate.
pub(super) static STARCODER2: Family = Family {
    name: "starcoder2",
    architectures: &["Starcoder2ForCausalLM"],
    tensors: &[ENDS, ATTENTION, PLAIN_FFN],
    ..Family::PLAIN
};

/// `SeedOssModel` in the reference's `conversion/olmo.py`.
pub(super) static SEED_OSS: Family = Family {
    name: "seed_oss",
    architectures: &["SeedOssForCausalLM"],
    tensors: &[ENDS, ATTENTION, &[Tensor::AttnPostNorm, Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp]],
    ..Family::PLAIN
};
