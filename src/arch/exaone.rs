//! Exaone 4: norms after attention and feed-forward only. (What the reference makes of Exaone 3, llama.cpp does not load: it
//! lacks `attention.layer_norm_rms_epsilon`.)

use super::key::{VOCABULARY_SIZE, count_if};
use super::tensor_sets::{ENDS, HEAD_NORMS};
use super::{Computed, Family, Key, Tensor};

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
