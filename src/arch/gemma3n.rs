//! Gemma 3n: Gemma 3 with several residual streams (AltUp), embeddings of their own in each layer, and layers that share
//! keys and values.

use super::gemma::GEMMA3_KEYS;
use super::hparams::double;
use super::key::count_of;
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS};
use super::{Extent, Family, HparamError, Key, Model, Stack, Tensor, Vocabulary};
use crate::gguf::Value;

/// `Gemma3NModel` in the reference's `conversion/gemma.py`.
pub(super) static GEMMA3N: Family = Family {
    name: "gemma3n",
    architectures: &["Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"],
    endings: &[("_scale", "_scale.weight")],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        &[
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
            Tensor::AttnPostNorm,
            Tensor::FfnPreNorm,
            Tensor::FfnPostNorm,
            Tensor::PerLayerTokenEmbd,
            Tensor::PerLayerModelProj,
            Tensor::PerLayerInpGate,
            Tensor::PerLayerProj,
            Tensor::PerLayerProjNorm,
            Tensor::PerLayerPostNorm,
            Tensor::AltupProj,
            Tensor::AltupUnembdProj,
            Tensor::AltupCorrectCoef,
            Tensor::AltupCorrectScale,
            Tensor::AltupPredictCoef,
            Tensor::AltupRouter,
            Tensor::AltupRouterNorm,
            Tensor::LaurelL,
            Tensor::LaurelR,
            Tensor::LaurelPostNorm,
        ],
    ],
    shapes: &[(Tensor::TokenEmbd, &[Extent::Any, Extent::Embedding])],
    filled_rows: &[Tensor::TokenEmbd, Tensor::PerLayerTokenEmbd],
    stacks: &[
        Stack {
            before: "model.altup_projections.",
            count: &[PROJECTIONS],
            members: &[("", Tensor::AltupProj)],
        },
        Stack {
            before: "model.altup_unembed_projections.",
            count: &[PROJECTIONS],
            members: &[("", Tensor::AltupUnembdProj)],
        },
    ],
    variant: |h| match h.required_count(&["altup_num_inputs"])? {
        STREAMS => {
            h.set(PROJECTIONS, (STREAMS - 1).into());
            Ok(None)
        }
        other => Err(HparamError::unsupported("altup_num_inputs", &other.into())),
    },
    keys: &[
        Key::All(GEMMA3_KEYS),
        count_of("altup.active_idx", &["altup_active_idx"]),
        count_of("altup.num_inputs", &["altup_num_inputs"]),
        count_of("embedding_length_per_layer_input", &["hidden_size_per_layer_input"]),
        count_of("attention.shared_kv_layers", &["num_kv_shared_layers"]),
        Key::Is("activation_sparsity_scale", sparsity),
        Key::Is("attention.sliding_window_pattern", |m| {
            let layers = m.window_layers()?.ok_or_else(|| HparamError::missing(&["layer_types"]))?;
            Ok(Some(layers.into()))
        }),
    ],
    vocabulary: Vocabulary::Gemma3n,
    ..Family::PLAIN
};

/// Residual streams that the reference knows; the first has no projection.
const STREAMS: u32 = 4;

/// Set by the above: how many streams have one.
const PROJECTIONS: &str = "altup_projections";

/// How many standard deviations from the mean the part that is left of a layer's activations begins. Source: torch 2.11 on
/// x86-64, `Normal(0, 1).icdf` of the parts that models have, as the reference computes them.
const SPARSITY: &[(f64, u32)] = &[(0.0, 0xff80_0000), (0.95, 0x3fd2_8a90)];

fn sparsity(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    const PATTERN: &str = "activation_sparsity_pattern";
    let stated = m.hparams.get(PATTERN).ok_or_else(|| HparamError::missing(&[PATTERN]))?;
    let list = stated.as_array().ok_or_else(|| HparamError::wrong(PATTERN, stated, "a list"))?;
    let scale = |part: &serde_json::Value| {
        let known = SPARSITY.iter().find(|(known, _)| double(PATTERN, part).is_ok_and(|part| part == *known));
        known.map(|(_, bits)| f32::from_bits(*bits)).ok_or_else(|| HparamError::unsupported(PATTERN, part))
    };
    Ok(Some(list.iter().map(scale).collect::<Result<Vec<f32>, _>>()?.into()))
}
