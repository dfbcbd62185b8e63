//! Qwen 3 Next and the Qwen 3.5 line: linear attention in most layers, gated attention in the others, and layers that
//! predict more tokens than the next.

use super::key::count_of;
use super::qwen_moe::QWEN_MOE;
use super::tensor_sets::{ATTENTION, ENDS, HEAD_NORMS, NEXTN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{By, Cut, Extent, Family, HparamError, Key, LAYERS, Model, MoreLayers, Tensor, Tiled};
use crate::gguf::Value;

/// `Qwen3NextModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN3_NEXT: Family = Family {
    name: "qwen3next",
    architectures: &["Qwen3NextForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        ROUTED_EXPERTS,
        SHARED_EXPERTS,
        NEXTN,
        LINEAR_ATTENTION,
        &[Tensor::FfnGateInpShexp, Tensor::SsmBetaAlpha],
    ],
    cuts: &[Cut {
        name: "model.layers.{}.linear_attn.in_proj_qkvz",
        transposed: false,
        by: By::LinearKeys(&[
            Extent::LinearKey,
            Extent::LinearKey,
            Extent::LinearValues,
            Extent::LinearValues,
        ]),
        into: &[Tensor::AttnQkv, Tensor::AttnQkv, Tensor::AttnQkv, Tensor::AttnGate],
    }],
    keys: NEXT_KEYS,
    ..NEXT_LIKE
};

/// A layer whose attention is linear, but for what its steps and rates come of; and a norm that all layers have.
const LINEAR_ATTENTION: &[Tensor] = &[
    Tensor::AttnPostNorm,
    Tensor::AttnGate,
    Tensor::AttnQkv,
    Tensor::SsmA,
    Tensor::SsmConv1d,
    Tensor::SsmDt,
    Tensor::SsmNorm,
    Tensor::SsmOut,
];

/// What the Qwen 3.5 line has of Qwen 3 Next.
const NEXT_LIKE: Family = Family {
    renamed: &[(".dt_bias", ".dt_proj.bias")],
    names: &[
        (Tensor::AttnQkv, &["model.layers.{}.linear_attn.in_proj_qkv"]),
        (Tensor::SsmA, &["model.layers.{}.linear_attn.A_log"]),
        (Tensor::SsmConv1d, &["model.layers.{}.linear_attn.conv1d"]),
        (Tensor::SsmDt, &["model.layers.{}.linear_attn.dt_proj"]),
        (Tensor::SsmNorm, &["model.layers.{}.linear_attn.norm"]),
        (Tensor::SsmOut, &["model.layers.{}.linear_attn.out_proj"]),
    ],
    shapes: &[
        // Half of it are gates.
        (Tensor::AttnQ, &[Extent::Any, Extent::Embedding]),
        (Tensor::AttnQkv, &[Extent::Any, Extent::Embedding]),
        (Tensor::SsmA, &[Extent::Any]),
    ],
    shifted_norms: true,
    unshifted: &["linear_attn.norm.weight"],
    more_layers: MoreLayers::KeptApart(PREDICTING),
    ..QWEN_MOE
};

/// `Qwen3_5TextModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN35: Family = Family {
    name: "qwen35",
    architectures: &["Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        NEXTN,
        LINEAR_ATTENTION,
        &[Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp, Tensor::SsmBeta, Tensor::SsmAlpha],
    ],
    ..QWEN35_LIKE
};

/// `Qwen3_5MoeTextModel` in the reference's `conversion/qwen.py`.
pub(super) static QWEN35_MOE: Family = Family {
    name: "qwen35moe",
    architectures: &["Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        ROUTED_EXPERTS,
        SHARED_EXPERTS,
        NEXTN,
        LINEAR_ATTENTION,
        &[Tensor::FfnGateInpShexp, Tensor::SsmBeta, Tensor::SsmAlpha],
    ],
    ..QWEN35_LIKE
};

/// `_LinearAttentionVReorderBase`: values of the same key are apart in the GGUF file.
const QWEN35_LIKE: Family = Family {
    tiled: &[
        (Tensor::AttnQkv, Tiled::RowsAfterKeys),
        (Tensor::AttnGate, Tiled::Rows),
        (Tensor::SsmBeta, Tiled::Row),
        (Tensor::SsmAlpha, Tiled::Row),
        (Tensor::SsmA, Tiled::Row),
        (Tensor::SsmDt, Tiled::Row),
        (Tensor::SsmConv1d, Tiled::RowsAfterKeys),
        (Tensor::SsmOut, Tiled::Columns),
    ],
    keys: &[
        Key::All(NEXT_KEYS),
        Key::Is("rope.dimension_sections", |m| {
            // Those that a configuration states are written before.
            Ok(m.rope.whole("mrope_section").is_none().then(|| vec![11i32, 11, 10, 0].into()))
        }),
    ],
    ..NEXT_LIKE
};

const PREDICTING: &[&str] = &["mtp_num_hidden_layers"];

const NEXT_KEYS: &[Key] = &[
    Key::All(QWEN_MOE.keys),
    Key::Of("nextn_predict_layers", super::Store::Count, super::When::NotZero, PREDICTING),
    count_of("ssm.conv_kernel", &["linear_conv_kernel_dim"]),
    count_of("ssm.state_size", &["linear_key_head_dim"]),
    count_of("ssm.group_count", &["linear_num_key_heads"]),
    count_of("ssm.time_step_rank", &["linear_num_value_heads"]),
    Key::Is("ssm.inner_size", |m| {
        let (width, heads) = ("linear_value_head_dim", "linear_num_value_heads");
        let size = m.hparams.required_count(&[width])?.checked_mul(m.hparams.required_count(&[heads])?);
        Ok(Some(size.ok_or_else(|| HparamError::missing(&[width, heads]))?.into()))
    }),
    Key::Is("attention.recurrent_layers", recurrent_layers),
    Key::Is("full_attention_interval", |m| {
        Ok(Some(m.hparams.count(&["full_attention_interval"])?.unwrap_or(4).into()))
    }),
    Key::Is("rope.dimension_count", |m| {
        let turning = f64::from(m.head_width()?) * m.rope.turning_part(0.25)?;
        Ok(Some((turning as u32).into()))
    }),
];

/// Which layers have a linear attention; those that predict have none.
fn recurrent_layers(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    let Some(types) = m.hparams.get("layer_types") else { return Ok(None) };
    let layers = m.hparams.required_count(LAYERS)?;
    let list = types.as_array().filter(|list| list.len() as u64 == u64::from(layers));
    let list = list.ok_or_else(|| HparamError::wrong("layer_types", types, "one for each layer"))?;
    let mut recurrent: Vec<bool> = list.iter().map(|t| t == "linear_attention").collect();
    recurrent.resize(list.len() + m.hparams.count(PREDICTING)?.unwrap_or(0) as usize, false);
    Ok(Some(recurrent.into()))
}
