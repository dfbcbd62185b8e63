//! gpt-oss: experts in MXFP4, which stay as they are, gate and up in turns; sinks beside the keys.

use super::key::count_of;
use super::tensor_sets::{ATTENTION, ENDS, ROUTED_EXPERTS};
use super::{By, Cut, Family, Key, Tensor};

/// `GptOssModel` in the reference's `conversion/gpt_oss.py`.
pub(super) static GPT_OSS: Family = Family {
    name: "gpt-oss",
    architectures: &["GptOssForCausalLM"],
    renamed: &[("down_proj_bias", "down_proj.bias"), ("gate_up_proj_bias", "gate_up_proj.bias")],
    unsuffixed: &[".self_attn.sinks"],
    tensors: &[ENDS, ATTENTION, ROUTED_EXPERTS, &[Tensor::AttnPostNorm, Tensor::AttnSinks]],
    cuts: &[
        Cut {
            name: "model.layers.{}.mlp.experts.gate_up_proj",
            transposed: true,
            by: By::Turns,
            into: &[Tensor::FfnGateExps, Tensor::FfnUpExps],
        },
        Cut::on_its_side("model.layers.{}.mlp.experts.down_proj", &[Tensor::FfnDownExps]),
    ],
    microscaled: true,
    keys: &[
        Key::Common,
        count_of("attention.sliding_window", &["sliding_window"]),
        count_of("expert_feed_forward_length", &["intermediate_size"]),
    ],
    ..Family::PLAIN
};
