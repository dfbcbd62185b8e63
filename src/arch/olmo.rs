//! OLMo 1 to 3. The first has norms without weights; the others have them after attention and feed-forward only.

use super::key::count_if;
use super::tensor_sets::{ENDS, HEAD_NORMS};
use super::{Extent, Family, Heads, Key, Store, Tensor, When};

/// `OlmoModel` in the reference's `conversion/olmo.py`.
pub(super) static OLMO: Family = Family {
    name: "olmo",
    architectures: &["OlmoForCausalLM", "OLMoForCausalLM"],
    tensors: &[&[
        Tensor::TokenEmbd,
        Tensor::Output,
        Tensor::AttnQ,
        Tensor::AttnK,
        Tensor::AttnV,
        Tensor::AttnOut,
        Tensor::FfnGate,
        Tensor::FfnDown,
        Tensor::FfnUp,
    ]],
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    keys: &[
        Key::Common,
        Key::Is("attention.layer_norm_epsilon", |_| Ok(Some(1e-5f32.into()))),
        Key::Of("attention.clamp_kqv", Store::Single, When::Given, &["clip_qkv"]),
    ],
    ..Family::PLAIN
};

/// `Olmo2Model` in the reference's `conversion/olmo.py`.
pub(super) static OLMO2: Family = Family {
    name: "olmo2",
    architectures: &["Olmo2ForCausalLM", "Olmo3ForCausalLM"],
    tensors: &[
        ENDS,
        HEAD_NORMS,
        &[
            Tensor::AttnQ,
            Tensor::AttnK,
            Tensor::AttnV,
            Tensor::AttnOut,
            Tensor::AttnPostNorm,
            Tensor::FfnPostNorm,
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::FfnUp,
        ],
    ],
    shapes: &[(Tensor::AttnQNorm, &[Extent::Query]), (Tensor::AttnKNorm, &[Extent::Key])],
    keys: &[
        Key::Common,
        count_if("attention.sliding_window", &["sliding_window"]),
        Key::Is("attention.sliding_window_pattern", |m| {
            if !m.hparams.has("sliding_window") {
                return Ok(None);
            }
            let pattern = match m.window_layers()? {
                Some(pattern) => pattern,
                None => (1..=m.layers()?).map(|layer| layer % 4 != 0).collect(),
            };
            Ok(Some(pattern.into()))
        }),
    ],
    ..Family::PLAIN
};
