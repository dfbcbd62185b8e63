//! DeepSeek: experts besides shared ones; from the second version on, keys and values made of a narrow vector, whose
//! matrices are split so that llama.cpp can multiply queries with the narrow vector itself.

use serde_json::Value as Json;

use super::hparams::double;
use super::key::{NO_ROPE_SCALING, ROPE_DIMENSIONS, VOCABULARY_SIZE, count_if, count_of, single_of};
use super::tensor_sets::{ATTENTION, ENDS, GATED_FFN, HEAD_NORMS, NEXTN, ROUTED_EXPERTS, SHARED_EXPERTS};
use super::{
    By, Cut, Extent, Family, Heads, HparamError, Hparams, Key, Model, MoreLayers, Stack, Store, Tensor,
    Vocabulary, When,
};
use crate::gguf::Value;

/// Experts one by one.
pub(super) const EXPERTS: &[Stack] = &[Stack {
    before: "model.layers.{}.mlp.experts.",
    count: &["n_routed_experts"],
    members: &[
        ("down_proj", Tensor::FfnDownExps),
        ("gate_proj", Tensor::FfnGateExps),
        ("up_proj", Tensor::FfnUpExps),
    ],
}];

/// Shapes of the shared experts' matrices: as wide as all of them together.
const SHARED: [(Tensor, &[Extent]); 3] = [
    (Tensor::FfnGateShexp, &[Extent::Any, Extent::Embedding]),
    (Tensor::FfnUpShexp, &[Extent::Any, Extent::Embedding]),
    (Tensor::FfnDownShexp, &[Extent::Embedding, Extent::Any]),
];

/// `DeepseekModel` in the reference's `conversion/deepseek.py`.
pub(super) static DEEPSEEK: Family = Family {
    name: "deepseek",
    architectures: &["DeepseekForCausalLM"],
    tensors: &[ENDS, ATTENTION, GATED_FFN, ROUTED_EXPERTS, SHARED_EXPERTS],
    shapes: &SHARED,
    stacks: EXPERTS,
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    keys: &[
        Key::Common,
        ROPE_DIMENSIONS,
        NO_ROPE_SCALING,
        count_of("leading_dense_block_count", &["first_k_dense_replace"]),
        VOCABULARY_SIZE,
        count_of("expert_feed_forward_length", &["moe_intermediate_size"]),
        Key::Is("expert_weights_scale", |_| Ok(Some(1f32.into()))),
        count_of("expert_count", &["n_routed_experts"]),
        count_of("expert_shared_count", &["n_shared_experts"]),
    ],
    vocabulary: Vocabulary::Qwen2,
    ..Family::PLAIN
};

/// `DeepseekV2Model` in the reference's `conversion/deepseek.py`: the second version and the third,
/// and the text model of Kimi VL.
pub(super) static DEEPSEEK2: Family = Family {
    architectures: &["DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "KimiVLForConditionalGeneration"],
    more_layers: MoreLayers::LeftOut,
    keys: MLA_KEYS,
    vocabulary: Vocabulary::DeepSeek2,
    ..MLA
};

/// `Glm4MoeLiteModel` in the reference's `conversion/glm.py`: GLM 4.7 Flash, which has the layers of DeepSeek.
pub(super) static GLM4_MOE_LITE: Family = Family {
    architectures: &["Glm4MoeLiteForCausalLM"],
    more_layers: MoreLayers::Kept(PREDICTING),
    keys: &[Key::All(MLA_KEYS), Key::Of("nextn_predict_layers", Store::Count, When::NotZero, PREDICTING)],
    vocabulary: Vocabulary::Glm,
    ..MLA
};

const PREDICTING: &[&str] = &["num_nextn_predict_layers"];

/// What models with the layers of DeepSeek's second version have in common.
const MLA: Family = Family {
    name: "deepseek2",
    tensors: &[
        ENDS,
        GATED_FFN,
        ROUTED_EXPERTS,
        SHARED_EXPERTS,
        NEXTN,
        &[
            Tensor::AttnNorm,
            Tensor::AttnQ,
            Tensor::AttnQA,
            Tensor::AttnQB,
            Tensor::AttnKvAMqa,
            Tensor::AttnKB,
            Tensor::AttnVB,
            Tensor::AttnQANorm,
            Tensor::AttnKvANorm,
            Tensor::AttnOut,
            Tensor::FfnExpProbsB,
        ],
    ],
    shapes: &[
        SHARED[0],
        SHARED[1],
        SHARED[2],
        (Tensor::AttnQ, &[Extent::Any, Extent::Embedding]),
        (Tensor::AttnOut, &[Extent::Embedding, Extent::Any]),
    ],
    cuts: &[Cut {
        name: "model.layers.{}.self_attn.kv_b_proj",
        transposed: false,
        by: By::KeyHeads(&[(Extent::Nope, true), (Extent::ValueHead, false)]),
        into: &[Tensor::AttnKB, Tensor::AttnVB],
    }],
    stacks: EXPERTS,
    tied_output: false,
    adjust: |h: &mut Hparams| {
        // All heads share a key, which is the narrow vector.
        h.set("num_key_value_heads", 1.into());
        h.set_default("rms_norm_eps", || 1e-6.into());
        Ok(())
    },
    ..Family::PLAIN
};

/// Their metadata.
const MLA_KEYS: &[Key] = &[
    Key::Common,
    Key::Is("leading_dense_block_count", leading_dense),
    VOCABULARY_SIZE,
    count_if("attention.q_lora_rank", &["q_lora_rank"]),
    Key::Is("attention.kv_lora_rank", |m| Ok(Some(latent(m)?.into()))),
    Key::Is("attention.key_length", |m| Ok(Some((latent(m)? + turning(m)?).into()))),
    Key::Is("attention.value_length", |m| Ok(Some(latent(m)?.into()))),
    Key::Is("attention.key_length_mla", |m| {
        Ok(Some((m.hparams.required_count(&["qk_nope_head_dim"])? + turning(m)?).into()))
    }),
    count_of("attention.value_length_mla", &["v_head_dim"]),
    count_of("expert_feed_forward_length", &["moe_intermediate_size", "intermediate_size"]),
    count_if("expert_count", &["n_routed_experts"]),
    Key::Is("expert_shared_count", |m| Ok(Some(m.hparams.count(&["n_shared_experts"])?.unwrap_or(0).into()))),
    Key::Of("expert_weights_scale", Store::Single, When::Given, &["routed_scaling_factor"]),
    Key::Of("expert_weights_norm", Store::Flag, When::NotZero, &["norm_topk_prob"]),
    Key::Is("rope.dimension_count", |m| Ok(Some(turning(m)?.into()))),
    Key::Is("rope.scaling.yarn_log_multiplier", |m| match m.rope.whole("mscale_all_dim") {
        Some(value) => Ok(Some(((0.1 * double("mscale_all_dim", value)?) as f32).into())),
        None => Ok(None),
    }),
];

/// The leading layers without experts: of a model without any, all.
fn leading_dense(m: &Model<'_>) -> Result<Option<Value>, HparamError> {
    let h = m.hparams;
    let stated = h.count(&["first_k_dense_replace"])?;
    let without = || if h.get("n_routed_experts").is_some_and(Json::is_number) { Ok(0) } else { m.layers() };
    Ok(Some(stated.map_or_else(without, Ok)?.into()))
}

/// Width of what keys and values are made of.
fn latent(m: &Model<'_>) -> Result<u32, HparamError> {
    match m.hparams.has("kv_lora_rank") {
        true => m.hparams.required_count(&["kv_lora_rank"]),
        false => Ok(512),
    }
}

/// Values of a key that turn.
fn turning(m: &Model<'_>) -> Result<u32, HparamError> {
    m.hparams.required_count(&["qk_rope_head_dim"])
}

/// `Dots1Model` in the reference's `conversion/dots1.py`.
pub(super) static DOTS1: Family = Family {
    name: "dots1",
    architectures: &["Dots1ForCausalLM"],
    tensors: &[
        ENDS,
        ATTENTION,
        HEAD_NORMS,
        GATED_FFN,
        ROUTED_EXPERTS,
        SHARED_EXPERTS,
        &[Tensor::FfnExpProbsB],
    ],
    shapes: &SHARED,
    stacks: EXPERTS,
    keys: &[
        Key::Common,
        count_if("expert_feed_forward_length", &["moe_intermediate_size"]),
        count_if("expert_shared_feed_forward_length", &["shared_expert_intermediate_size"]),
        count_of("leading_dense_block_count", &["first_k_dense_replace"]),
        count_of("expert_shared_count", &["n_shared_experts"]),
        single_of("expert_weights_scale", &["routed_scaling_factor"]),
        Key::Of("expert_weights_norm", Store::Flag, When::Always, &["norm_topk_prob"]),
    ],
    ..Family::PLAIN
};
