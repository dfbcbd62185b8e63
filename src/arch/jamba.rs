//! Jamba: layers as Mamba's, attention in some, and experts in some.

use super::hparams::count;
use super::key::{BLOCK_COUNT, count_of, integers};
use super::mamba::{epsilon, or, stated_or};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS};
use super::{Family, HparamError, Key, Stack, Tensor, Vocabulary};

/// `JambaModel` in the reference's `conversion/jamba.py`.
pub(super) static JAMBA: Family = Family {
    name: "jamba",
    architectures: &["JambaForCausalLM"],
    // Mini-Jamba.
    renamed: &[(".moe.", ".feed_forward.")],
    tensors: &[
        ENDS,
        ATTENTION,
        GATED_FFN,
        ROUTED_EXPERTS,
        &[
            Tensor::SsmIn,
            Tensor::SsmConv1d,
            Tensor::SsmX,
            Tensor::SsmDt,
            Tensor::SsmDtNorm,
            Tensor::SsmA,
            Tensor::SsmBNorm,
            Tensor::SsmCNorm,
            Tensor::SsmD,
            Tensor::SsmOut,
        ],
    ],
    names: &[
        (Tensor::OutputNorm, &["model.final_layernorm"]),
        (Tensor::FfnGateInp, &["model.layers.{}.feed_forward.router"]),
        (Tensor::FfnNorm, &["model.layers.{}.pre_ff_layernorm", "model.layers.{}.pre_moe_layernorm"]),
        (Tensor::FfnGate, &["model.layers.{}.feed_forward.gate_proj"]),
        (Tensor::FfnDown, &["model.layers.{}.feed_forward.down_proj"]),
        (Tensor::FfnUp, &["model.layers.{}.feed_forward.up_proj"]),
    ],
    stacks: &[Stack {
        before: "model.layers.{}.feed_forward.experts.",
        count: &["num_local_experts", "num_experts"],
        members: &[
            ("down_proj", Tensor::FfnDownExps),
            ("gate_proj", Tensor::FfnGateExps),
            ("up_proj", Tensor::FfnUpExps),
        ],
    }],
    keys: &[
        BLOCK_COUNT,
        count_of("context_length", &["max_position_embeddings", "n_ctx"]),
        count_of("embedding_length", WIDTH),
        count_of("feed_forward_length", &["intermediate_size"]),
        count_of("attention.head_count", &["num_attention_heads"]),
        Key::Is("attention.head_count_kv", |m| {
            let number = |key: &str| m.hparams.required_count(&[key]);
            let (offset, period) = (number("attn_layer_offset")?, number("attn_layer_period")?);
            let heads = number("num_key_value_heads")?;
            let attends = |layer: u32| {
                layer.checked_sub(offset).is_some_and(|beyond| beyond.checked_rem(period) == Some(0))
            };
            let heads: Vec<u32> = (0..m.layers()?).map(|i| if attends(i) { heads } else { 0 }).collect();
            integers("num_key_value_heads", &heads.into())
        }),
        Key::Is("ssm.conv_kernel", |m| stated_or(m, &["mamba_d_conv"], 4)),
        Key::Is("ssm.inner_size", |m| {
            const EXPAND: &str = "mamba_expand";
            let expand = m.hparams.get(EXPAND).ok_or_else(|| HparamError::missing(&[EXPAND]))?;
            Ok(Some(count(EXPAND, expand)?.saturating_mul(m.hparams.required_count(WIDTH)?).into()))
        }),
        Key::Is("ssm.state_size", |m| stated_or(m, &["mamba_d_state"], 16)),
        Key::Is("ssm.time_step_rank", |m| {
            let usual = m.hparams.required_count(WIDTH)?.div_ceil(16);
            Ok(Some(or(m.hparams, &["mamba_dt_rank"], usual)?.into()))
        }),
        Key::Is("attention.layer_norm_rms_epsilon", |m| epsilon(m, 1e-6)),
        count_of("expert_count", &["num_local_experts", "num_experts"]),
        count_of("expert_used_count", &["num_experts_per_tok", "num_experts_per_token"]),
        Key::FileType,
    ],
    vocabulary: Vocabulary::Jamba,
    ..Family::PLAIN
};

const WIDTH: &[&str] = &["hidden_size", "mamba_d_model"];
