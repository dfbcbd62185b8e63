//! Nemotron-H and Nemotron 3: layers of one part each, which is as Mamba 2's, or attention, or a feed-forward part, the
//! latter with experts in newer models.

use serde_json::Value as Json;

use super::granite::GRANITE_LIKE;
use super::granite_hybrid::{
    CONV_KERNEL, GROUP_COUNT, NORM_GROUPS, STATE_SIZE, TIME_STEP_RANK, inner, key_heads,
};
use super::hparams::single;
use super::key::{ROPE_DIMENSIONS, VOCABULARY_SIZE, count_if, count_of, integers};
use super::mamba::{A_COLUMN, D_COLUMN, ENDLESS, TIME_STEP, VECTOR_A};
use super::tensor_sets::{ATTENTION, ENDS, STATE_SPACE};
use super::{Extent, Family, HparamError, Hparams, Key, Model, Stack, Store, Tensor, Vocabulary, When};

/// `NemotronHModel` in the reference's `conversion/nemotron.py`, without experts.
pub(super) static NEMOTRON_H: Family = Family {
    name: "nemotron_h",
    architectures: &["NemotronHForCausalLM"],
    variant,
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        CONV_KERNEL,
        STATE_SIZE,
        GROUP_COUNT,
        INNER_SIZE,
        TIME_STEP_RANK,
        KEY_HEADS,
        NO_ROPE,
        CONTEXT,
        count_of("attention.key_length", &[HEAD]),
        count_of("attention.value_length", &[HEAD]),
        Key::Is("feed_forward_length", |m| {
            let width = m.hparams.required_count(&["intermediate_size", "n_inner", "hidden_dim"])?;
            feed_forward(m, width, '-')
        }),
    ],
    ..NEMOTRON_H_LIKE
};

/// The same with experts.
static NEMOTRON_H_MOE: Family = Family {
    name: "nemotron_h_moe",
    names: &[
        (Tensor::TokenEmbd, EMBEDDINGS),
        (Tensor::OutputNorm, OUTPUT_NORM),
        (Tensor::AttnNorm, NORM),
        (Tensor::AttnQ, QUERY),
        (Tensor::AttnK, KEY),
        (Tensor::AttnV, VALUE),
        (Tensor::AttnOut, ATTENTION_OUTPUT),
        (Tensor::FfnGateInp, &["backbone.layers.{}.mixer.gate"]),
        (Tensor::FfnExpProbsB, &["backbone.layers.{}.mixer.gate.e_score_correction"]),
        (Tensor::FfnUpShexp, &["backbone.layers.{}.mixer.shared_experts.up_proj"]),
        (Tensor::FfnDownShexp, &["backbone.layers.{}.mixer.shared_experts.down_proj"]),
    ],
    tensors: &[
        ENDS,
        ATTENTION,
        STATE_SPACE,
        &[
            Tensor::FfnGateInp,
            Tensor::FfnUpExps,
            Tensor::FfnDownExps,
            Tensor::FfnDownShexp,
            Tensor::FfnUpShexp,
            Tensor::FfnExpProbsB,
        ],
    ],
    shapes: &[
        VECTOR_A,
        (Tensor::FfnUpShexp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnDownShexp, &[Extent::Embedding, Extent::Any]),
        (Tensor::FfnGateInp, &[Extent::Any, Extent::Embedding]),
        (Tensor::FfnExpProbsB, &[Extent::Any]),
    ],
    stacks: &[Stack {
        before: "backbone.layers.{}.mixer.experts.",
        count: &["n_routed_experts"],
        members: &[("down_proj", Tensor::FfnDownExps), ("up_proj", Tensor::FfnUpExps)],
    }],
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        ROPE_DIMENSIONS,
        CONV_KERNEL,
        STATE_SIZE,
        GROUP_COUNT,
        INNER_SIZE,
        TIME_STEP_RANK,
        KEY_HEADS,
        NO_ROPE,
        CONTEXT,
        count_of("attention.key_length", &[HEAD]),
        count_of("attention.value_length", &[HEAD]),
        Key::Is("feed_forward_length", |m| {
            feed_forward(m, m.hparams.required_count(&["moe_intermediate_size"])?, 'E')
        }),
        count_of("expert_used_count", &["num_experts_per_tok"]),
        count_of("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_of("expert_shared_feed_forward_length", &["moe_shared_expert_intermediate_size"]),
        count_of("expert_count", &["n_routed_experts"]),
        count_of("expert_shared_count", &["n_shared_experts"]),
        Key::Of("expert_weights_norm", Store::Flag, When::Always, &["norm_topk_prob"]),
        Key::Is("expert_weights_scale", |m| {
            const SCALE: &str = "routed_scaling_factor";
            let scale = m.hparams.get(SCALE).ok_or_else(|| HparamError::missing(&[SCALE]))?;
            Ok(Some(single(SCALE, scale)?.into()))
        }),
        count_of("expert_group_count", &["n_group"]),
        count_if("moe_latent_size", &["moe_latent_size"]),
    ],
    ..NEMOTRON_H_LIKE
};

const NEMOTRON_H_LIKE: Family = Family {
    renamed: &[("text_model.", ""), TIME_STEP, ("e_score_correction_bias", "e_score_correction.bias")],
    tensors: &[ENDS, ATTENTION, STATE_SPACE, &[Tensor::FfnDown, Tensor::FfnUp]],
    names: &[
        (Tensor::TokenEmbd, EMBEDDINGS),
        (Tensor::OutputNorm, OUTPUT_NORM),
        (Tensor::AttnNorm, NORM),
        (Tensor::AttnQ, QUERY),
        (Tensor::AttnK, KEY),
        (Tensor::AttnV, VALUE),
        (Tensor::AttnOut, ATTENTION_OUTPUT),
        (Tensor::FfnUp, &["backbone.layers.{}.mixer.up_proj"]),
        (Tensor::FfnDown, &["backbone.layers.{}.mixer.down_proj"]),
    ],
    shapes: &[VECTOR_A],
    reshaped: &[A_COLUMN, D_COLUMN, NORM_GROUPS],
    adjust: |h| {
        h.remove("head_dim");
        Ok(())
    },
    vocabulary: Vocabulary::NemotronH,
    ..GRANITE_LIKE
};

const EMBEDDINGS: &[&str] = &["backbone.embeddings"];
const OUTPUT_NORM: &[&str] = &["backbone.norm_f"];
const NORM: &[&str] = &["backbone.layers.{}.norm"];
const QUERY: &[&str] = &["backbone.layers.{}.mixer.q_proj"];
const KEY: &[&str] = &["backbone.layers.{}.mixer.k_proj"];
const VALUE: &[&str] = &["backbone.layers.{}.mixer.v_proj"];
const ATTENTION_OUTPUT: &[&str] = &["backbone.layers.{}.mixer.o_proj"];

/// Where the width of attention's heads is kept: under its other name, Granite's keys would count it.
const HEAD: &str = "attention_head_dim";
const PATTERN: &str = "hybrid_override_pattern";
const LAYER_TYPES: &str = "layers_block_type";

const INNER_SIZE: Key = Key::Is("ssm.inner_size", |m| Ok(Some(inner(m.hparams, &["num_heads"])?.into())));
const KEY_HEADS: Key = Key::Is("attention.head_count_kv", |m| {
    let attending: Vec<bool> = parts(m.hparams)?.into_iter().map(|part| part == '*').collect();
    key_heads(m, &attending)
});
const NO_ROPE: Key = Key::Is("rope.scaling.finetuned", |_| Ok(Some(false.into())));
const CONTEXT: Key = Key::Is("context_length", |_| Ok(Some(ENDLESS.into())));

/// The feed-forward width of each layer; 0 where it has another part.
fn feed_forward(m: &Model<'_>, width: u32, letter: char) -> Result<Option<crate::gguf::Value>, HparamError> {
    let widths = parts(m.hparams)?.into_iter().map(|part| if part == letter { width } else { 0 });
    integers("intermediate_size", &widths.collect::<Vec<u32>>().into())
}

/// What each layer is, by the letters of the pattern: M as Mamba's, * attention, - dense, E with experts.
fn parts(h: &Hparams) -> Result<Vec<char>, HparamError> {
    let pattern = [PATTERN, LAYER_TYPES].into_iter().find_map(|key| Some((key, h.get(key)?)));
    let (key, pattern) = pattern.ok_or_else(|| HparamError::missing(&[PATTERN, LAYER_TYPES]))?;
    let parts: Option<Vec<char>> = match pattern {
        Json::String(letters) => Some(letters.chars().collect()),
        Json::Array(types) => {
            let letter = |t: &Json| match t.as_str()? {
                "mamba" | "linear_attention" => Some('M'),
                "attention" | "full_attention" => Some('*'),
                "moe" => Some('E'),
                _ => Some('?'),
            };
            types.iter().map(letter).collect()
        }
        _ => None,
    };
    let parts = parts.ok_or_else(|| HparamError::wrong(key, pattern, "a pattern of layers"))?;
    match parts.len() as u64 == u64::from(h.required_count(super::LAYERS)?) {
        true if parts.contains(&'M') => Ok(parts),
        true => Err(HparamError::unsupported(key, pattern)),
        false => Err(HparamError::wrong(key, pattern, "a pattern of as many layers as there are")),
    }
}

/// The family that a configuration speaks of.
fn variant(h: &mut Hparams) -> Result<Option<&'static Family>, HparamError> {
    const PREDICTING: &str = "num_nextn_predict_layers";
    if let Some(types) = h.get(LAYER_TYPES).and_then(Json::as_array) {
        let layers = types.len();
        h.set("num_hidden_layers", layers.into());
    }
    let width = h.required_count(&["head_dim", HEAD])?;
    h.set("head_dim", width.into());
    h.set(HEAD, width.into());
    // Whatever the configuration says.
    h.set("pad_vocab_size_multiple", 8.into());
    if !h.has("num_experts_per_tok") {
        return Ok(None);
    }
    match h.get(PREDICTING).filter(|n| n.as_u64() != Some(0)) {
        Some(layers) => Err(HparamError::unsupported(PREDICTING, layers)),
        None => Ok(Some(&NEMOTRON_H_MOE)),
    }
}
