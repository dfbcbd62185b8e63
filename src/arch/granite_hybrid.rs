//! Granite 4: layers as Mamba 2's, attention in some or in all, with experts or without.
//!
//! One class of checkpoints is four families: where all layers attend, the file is that of a Granite without state-space
//! layers.

use super::granite::{
    ATTENTION_SCALE, EMBEDDING_SCALE, GRANITE_LIKE, LOGIT_SCALE, RESIDUAL_SCALE, SHARED_FEED_FORWARD,
};
use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE, count_of, integers};
use super::mamba::{A_COLUMN, D_COLUMN, ENDLESS, TIME_STEP, VECTOR_A};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS, STATE_SPACE};
use super::{Extent, Family, HparamError, Hparams, Key, Model, Reshape, Split, Tensor, Vocabulary};
use crate::gguf::Value;

/// `GraniteHybridModel` in the reference's `conversion/granite.py`, with experts.
pub(super) static GRANITE_HYBRID: Family =
    Family { name: "granitehybrid", architectures: &["GraniteMoeHybridForCausalLM"], variant, ..EXPERTS };

/// The same without experts.
static DENSE_HYBRID: Family = Family { name: "granitehybrid", ..DENSE };

/// The same, where all layers attend.
static DENSE_ATTENTION: Family = Family { name: "granite", ..DENSE };

/// The same with experts.
static EXPERTS_ATTENTION: Family = Family { name: "granitemoe", ..EXPERTS };

const HYBRID: Family = Family {
    renamed: &[("text_model.", ""), TIME_STEP],
    shapes: &[VECTOR_A],
    reshaped: &[A_COLUMN, D_COLUMN, NORM_GROUPS],
    plain_config: true,
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        ATTENTION_SCALE,
        EMBEDDING_SCALE,
        RESIDUAL_SCALE,
        LOGIT_SCALE,
        SHARED_FEED_FORWARD,
        CONV_KERNEL,
        STATE_SIZE,
        GROUP_COUNT,
        Key::Is("ssm.inner_size", |m| Ok(Some(inner(m.hparams, &["expand", "num_heads"])?.into()))),
        TIME_STEP_RANK,
        Key::Is("rope.dimension_count", |m| {
            let stated = m.hparams.count(&["attn_rotary_emb"])?;
            Ok(stated.filter(|n| *n != 0).map(Into::into))
        }),
        Key::Is("attention.head_count_kv", |m| key_heads(m, &attending(m.hparams)?)),
        Key::Is("rope.scaling.finetuned", |m| Ok(Some(all_attend(m.hparams)?.into()))),
        Key::Is("context_length", |m| Ok((!all_attend(m.hparams)?).then(|| ENDLESS.into()))),
    ],
    vocabulary: Vocabulary::Mamba2,
    ..GRANITE_LIKE
};

const EXPERTS: Family = Family {
    tensors: &[ENDS, ATTENTION, ROUTED_EXPERTS, SHARED_EXPERTS, STATE_SPACE, &[Tensor::FfnNorm]],
    splits: &[
        Split {
            name: "model.layers.{}.block_sparse_moe.input_linear",
            into: &[Tensor::FfnGateExps, Tensor::FfnUpExps],
        },
        Split {
            name: "model.layers.{}.shared_mlp.input_linear",
            into: &[Tensor::FfnGateShexp, Tensor::FfnUpShexp],
        },
    ],
    ..HYBRID
};

const DENSE: Family = Family {
    tensors: &[ENDS, ATTENTION, GATED_FFN, STATE_SPACE],
    names: &[(Tensor::FfnDown, &["model.layers.{}.shared_mlp.output_linear"])],
    shapes: &[
        VECTOR_A,
        (Tensor::FfnGate, &[Extent::SharedFeedForward, Extent::Embedding]),
        (Tensor::FfnUp, &[Extent::SharedFeedForward, Extent::Embedding]),
        (Tensor::FfnDown, &[Extent::Embedding, Extent::SharedFeedForward]),
    ],
    splits: &[Split {
        name: "model.layers.{}.shared_mlp.input_linear",
        into: &[Tensor::FfnGate, Tensor::FfnUp],
    }],
    ..HYBRID
};

const GROUPS: &[&str] = &["n_groups", "num_groups", "mamba_n_groups", "mamba_num_groups"];

/// Norms of state-space layers have a row a group.
pub(super) const NORM_GROUPS: (Tensor, Reshape) =
    (Tensor::SsmNorm, Reshape::Rows(|h| h.required_count(GROUPS)));
pub(super) const GROUP_COUNT: Key = count_of("ssm.group_count", GROUPS);
pub(super) const CONV_KERNEL: Key =
    count_of("ssm.conv_kernel", &["conv_kernel", "d_conv", "mamba_conv_kernel", "mamba_d_conv"]);
pub(super) const STATE_SIZE: Key = count_of(
    "ssm.state_size",
    &[
        "state_size",
        "d_state",
        "state_dim",
        "ssm_state_size",
        "mamba_state_size",
        "mamba_d_state",
        "mamba_state_dim",
    ],
);
pub(super) const TIME_STEP_RANK: Key =
    count_of("ssm.time_step_rank", &["n_heads", "num_heads", "mamba_n_heads", "mamba_num_heads"]);

/// The family that a configuration speaks of; its vocabulary is padded only where there are state-space layers.
fn variant(h: &mut Hparams) -> Result<Option<&'static Family>, HparamError> {
    let hybrid = !all_attend(h)?;
    h.set("pad_vocab_size_multiple", if hybrid { 8 } else { 1 }.into());
    let is_some = |keys: &[&str]| Ok::<_, HparamError>(h.count(keys)?.is_some_and(|n| n != 0));
    let experts = is_some(&["num_local_experts"])?;
    let used = is_some(&["num_experts_per_tok", "num_experts_per_token"])?;
    match (hybrid, experts) {
        (true, true) => Ok(None),
        (true, false) => Ok(Some(&DENSE_HYBRID)),
        (false, _) if experts != used => {
            let stated = h.get("num_experts_per_tok").cloned().unwrap_or_default();
            Err(HparamError::unsupported("num_experts_per_tok", &stated))
        }
        (false, true) => Ok(Some(&EXPERTS_ATTENTION)),
        (false, false) => Ok(Some(&DENSE_ATTENTION)),
    }
}

/// Which layers attend: as `layer_types` says, or the listed ones, or one of every so many.
fn attending(h: &Hparams) -> Result<Vec<bool>, HparamError> {
    let layers = h.required_count(super::LAYERS)?;
    let list = |key: &str| h.get(key).and_then(|v| v.as_array()).filter(|list| !list.is_empty());
    if let Some(types) = list("layer_types") {
        return Ok((0..layers as usize).map(|i| types.get(i).is_some_and(|t| t == "attention")).collect());
    }
    if let Some(listed) = list("attn_layer_indices") {
        return Ok((0..layers).map(|i| listed.iter().any(|n| n.as_u64() == Some(i.into()))).collect());
    }
    let period = h.required_count(&["attn_layer_period"])?;
    let offset = h.required_count(&["attn_layer_offset"])?;
    Ok((0..layers).map(|i| i.checked_rem(period) == Some(offset)).collect())
}

fn all_attend(h: &Hparams) -> Result<bool, HparamError> {
    Ok(attending(h)?.into_iter().all(|attends| attends))
}

/// Key heads of each layer: none where it does not attend.
pub(super) fn key_heads(m: &Model<'_>, attending: &[bool]) -> Result<Option<Value>, HparamError> {
    let heads = m.hparams.required_count(&["num_key_value_heads", "n_head_kv"])?;
    let heads: Vec<u32> = attending.iter().map(|attends| if *attends { heads } else { 0 }).collect();
    integers("num_key_value_heads", &heads.into())
}

/// The width of state-space layers: that of a head or of the model, times the first of these.
pub(super) fn inner(h: &Hparams, times: &[&str]) -> Result<u32, HparamError> {
    let prefixed: Vec<String> = times.iter().map(|key| format!("mamba_{key}")).collect();
    let keys: Vec<&str> = times.iter().copied().chain(prefixed.iter().map(String::as_str)).collect();
    let width = h.required_count(&["mamba_head_dim", "hidden_size", "d_model"])?;
    let inner = h.required_count(&keys)?.saturating_mul(width);
    let head = super::mamba::or(h, &["d_head", "mamba_d_head"], 64)?;
    if inner.is_multiple_of(head) { Ok(inner) } else { Err(HparamError::unsupported("d_head", &head.into())) }
}
