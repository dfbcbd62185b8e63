//! Mamba 1 and 2: state-space layers, no attention.

use super::hparams::double;
use super::key::BLOCK_COUNT;
use super::tensor_sets::{ENDS, STATE_SPACE};
use super::{Extent, Family, HparamError, Hparams, Key, Model, Reshape, Tensor, Vocabulary};
use crate::gguf::Value;

/// Positions of a model whose own number nothing states.
pub(super) const ENDLESS: u32 = 1 << 20;

/// `MambaModel` in the reference's `conversion/mamba.py`.
pub(super) static MAMBA: Family = Family {
    name: "mamba",
    architectures: &["MambaForCausalLM", "MambaLMHeadModel", "FalconMambaForCausalLM"],
    tensors: &[
        ENDS,
        &[
            Tensor::AttnNorm,
            Tensor::SsmIn,
            Tensor::SsmConv1d,
            Tensor::SsmX,
            Tensor::SsmDt,
            Tensor::SsmA,
            Tensor::SsmD,
            Tensor::SsmOut,
        ],
    ],
    names: NAMES,
    distinct_output: true,
    keys: &[
        CONTEXT,
        EMBEDDING,
        NO_FEED_FORWARD,
        NO_HEADS,
        BLOCK_COUNT,
        Key::Is("ssm.conv_kernel", |m| stated_or(m, &["conv_kernel", "d_conv"], 4)),
        Key::Is("ssm.inner_size", |m| {
            let inner = or(m.hparams, &["intermediate_size", "d_inner"], twice_width(m)?)?;
            // Others than twice the width are refused, as by the reference.
            if inner != twice_width(m)? {
                return Err(HparamError::unsupported("intermediate_size", &inner.into()));
            }
            Ok(Some(inner.into()))
        }),
        Key::Is("ssm.state_size", |m| stated_or(m, &["state_size", "d_state"], 16)),
        Key::Is("ssm.time_step_rank", |m| {
            let usual = m.hparams.required_count(WIDTH)?.div_ceil(16);
            stated_or(m, &["time_step_rank", "dt_rank"], usual)
        }),
        EPSILON,
        Key::Is("ssm.dt_b_c_rms", |m| {
            Ok(Some((m.hparams.text("model_type") == Some("falcon_mamba")).into()))
        }),
        Key::FileType,
    ],
    vocabulary: Vocabulary::Mamba,
    ..MAMBA_LIKE
};

/// `Mamba2Model` in the reference's `conversion/mamba.py`.
pub(super) static MAMBA2: Family = Family {
    name: "mamba2",
    architectures: &["Mamba2ForCausalLM"],
    // Codestral's names.
    renamed: &[("model.backbone", "backbone"), ("model.lm_head", "lm_head"), TIME_STEP],
    tensors: &[ENDS, STATE_SPACE, &[Tensor::AttnNorm]],
    names: NAMES,
    shapes: &[VECTOR_A],
    reshaped: &[A_COLUMN, D_COLUMN, (Tensor::SsmNorm, Reshape::Rows(|h| or(h, &["n_groups"], 1)))],
    keys: &[
        CONTEXT,
        EMBEDDING,
        NO_FEED_FORWARD,
        NO_HEADS,
        BLOCK_COUNT,
        Key::Is("ssm.conv_kernel", |m| stated_or(m, &["conv_kernel", "d_conv"], 4)),
        Key::Is("ssm.inner_size", |m| Ok(Some(inner(m.hparams)?.into()))),
        Key::Is("ssm.state_size", |m| stated_or(m, &["state_size", "d_state"], 128)),
        Key::Is("ssm.time_step_rank", |m| {
            let (inner, head) = (inner(m.hparams)?, or(m.hparams, &["mamba_d_head", "head_dim"], 64)?);
            if !inner.is_multiple_of(head) {
                return Err(HparamError::unsupported("head_dim", &head.into()));
            }
            Ok(Some((inner / head).into()))
        }),
        Key::Is("ssm.group_count", |m| stated_or(m, &["n_groups"], 1)),
        EPSILON,
        Key::FileType,
    ],
    vocabulary: Vocabulary::Mamba2,
    ..MAMBA_LIKE
};

const MAMBA_LIKE: Family = Family { plain_config: true, ..Family::PLAIN };

/// How the bias of the time step is named in all families with layers as Mamba 2's, and how it is mapped.
pub(super) const TIME_STEP: (&str, &str) = (".dt_bias", ".dt_proj.bias");

/// There is a rate a head, not one for each value of the state.
pub(super) const VECTOR_A: (Tensor, &[Extent]) = (Tensor::SsmA, &[Extent::Any]);
pub(super) const A_COLUMN: (Tensor, Reshape) = (Tensor::SsmA, Reshape::Column);
pub(super) const D_COLUMN: (Tensor, Reshape) = (Tensor::SsmD, Reshape::Column);

const NAMES: &[(Tensor, &[&str])] = &[
    (Tensor::TokenEmbd, &["backbone.embeddings", "backbone.embedding"]),
    (Tensor::OutputNorm, &["backbone.norm_f"]),
    (Tensor::AttnNorm, &["backbone.layers.{}.norm"]),
];

const WIDTH: &[&str] = &["hidden_size", "d_model", "dim"];

const CONTEXT: Key = Key::Is("context_length", |_| Ok(Some(ENDLESS.into())));
const EMBEDDING: Key = Key::Is("embedding_length", |m| Ok(Some(m.hparams.required_count(WIDTH)?.into())));
const NO_FEED_FORWARD: Key = Key::Is("feed_forward_length", |_| Ok(Some(0u32.into())));
const NO_HEADS: Key = Key::Is("attention.head_count", |_| Ok(Some(0u32.into())));
const EPSILON: Key = Key::Is("attention.layer_norm_rms_epsilon", |m| epsilon(m, 1e-5));

/// A count, or what stands for one that is absent, null or zero.
pub(super) fn or(h: &Hparams, keys: &[&str], default: u32) -> Result<u32, HparamError> {
    Ok(h.count(keys)?.filter(|n| *n != 0).unwrap_or(default))
}

/// The same as a value.
pub(super) fn stated_or(m: &Model<'_>, keys: &[&str], default: u32) -> Result<Option<Value>, HparamError> {
    Ok(Some(or(m.hparams, keys, default)?.into()))
}

/// What norms add before they divide.
pub(super) fn epsilon(m: &Model<'_>, default: f64) -> Result<Option<Value>, HparamError> {
    let stated = m.hparams.find(&["layer_norm_epsilon", "rms_norm_eps"]);
    let stated = stated.map(|(key, value)| double(key, value)).transpose()?.filter(|x| *x != 0.0);
    Ok(Some((stated.unwrap_or(default) as f32).into()))
}

fn twice_width(m: &Model<'_>) -> Result<u32, HparamError> {
    Ok(m.hparams.required_count(WIDTH)?.saturating_mul(2))
}

/// The width of Mamba 2's layers; others than the model's width times the stated factor are refused.
fn inner(h: &Hparams) -> Result<u32, HparamError> {
    let usual = or(h, &["mamba_expand", "expand"], 2)?.saturating_mul(h.required_count(WIDTH)?);
    let inner = or(h, &["mamba_d_ssm", "intermediate_size", "d_inner"], usual)?;
    if inner == usual { Ok(inner) } else { Err(HparamError::unsupported("intermediate_size", &inner.into())) }
}
