//! Exaone 3, and Exaone 4, whose norms come after attention and feed-forward only.

use super::key::{VOCABULARY_SIZE, count_if};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS};
use super::{Computed, Family, HparamError, Key, Tensor};

/// `ExaoneModel` in the reference's `conversion/exaone.py`.
pub(super) static EXAONE: Family = Family {
    name: "exaone",
    architectures: &["ExaoneForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN, &[Tensor::RopeFreqs]],
    names: &[
        (Tensor::TokenEmbd, &["transformer.wte"]),
        (Tensor::OutputNorm, &["transformer.ln_f"]),
        (Tensor::AttnNorm, &["transformer.h.{}.ln_1"]),
        (Tensor::AttnQ, &["transformer.h.{}.attn.attention.q_proj"]),
        (Tensor::AttnK, &["transformer.h.{}.attn.attention.k_proj"]),
        (Tensor::AttnV, &["transformer.h.{}.attn.attention.v_proj"]),
        (Tensor::AttnOut, &["transformer.h.{}.attn.attention.out_proj"]),
        (Tensor::FfnNorm, &["transformer.h.{}.ln_2"]),
        (Tensor::FfnGate, &["transformer.h.{}.mlp.c_fc_0"]),
        (Tensor::FfnDown, &["transformer.h.{}.mlp.c_proj"]),
        (Tensor::FfnUp, &["transformer.h.{}.mlp.c_fc_1"]),
    ],
    computed: &[Computed::Llama3 { factor: 8.0 }],
    adjust: |h| match h.get(ACTIVATION) {
        Some(function) if function == "silu" => Ok(()),
        Some(other) => Err(HparamError::unsupported(ACTIVATION, other)),
        None => Err(HparamError::missing(&[ACTIVATION])),
    },
    keys: &[
        Key::Common,
        Key::Is("rope.dimension_count", |m| {
            let width = f64::from(m.divided_width()?);
            Ok(Some(((m.rope.turning_part(1.0)? * width) as u32).into()))
        }),
    ],
    ..Family::PLAIN
};

const ACTIVATION: &str = "activation_function";

/// `Exaone4Model` in the reference's `conversion/exaone.py`.
pub(super) static EXAONE4: Family = Family {
    name: "exaone4",
    architectures: &["Exaone4ForCausalLM"],
    tensors: &[
        ENDS,
        HEAD_NORMS,
        &[
            Tensor::RopeFreqs,
            Tensor::AttnQ,
            Tensor::AttnK,
            Tensor::AttnV,
            Tensor::AttnOut,
            Tensor::AttnPostNorm,
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
            Tensor::FfnPostNorm,
        ],
    ],
    computed: &[Computed::Llama3 { factor: 16.0 }],
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        count_if("attention.sliding_window", &["sliding_window"]),
        Key::Is("attention.sliding_window_pattern", |m| {
            const PATTERN: &str = "sliding_window_pattern";
            if m.hparams.get("sliding_window").is_none() {
                return Ok(None);
            }
            if let Some(pattern) = m.window_layers()? {
                return Ok(Some(pattern.into()));
            }
            let pattern: Vec<bool> = match m.hparams.get(PATTERN) {
                Some(serde_json::Value::String(letters)) if !letters.is_empty() => {
                    letters.chars().cycle().take(m.layers()? as usize).map(|c| c == 'L').collect()
                }
                Some(serde_json::Value::Number(_)) => {
                    let every = m.hparams.required_count(&[PATTERN])?.max(1);
                    (1..=m.layers()?).map(|layer| layer % every != 0).collect()
                }
                _ => return Ok(None),
            };
            Ok(Some(pattern.into()))
        }),
    ],
    ..Family::PLAIN
};
