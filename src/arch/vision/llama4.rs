//! Llama 4's tower. The reference gives the second norm of a layer the name that Gemma 4's has (`attn_post_norm`), where its
//! llama.cpp looks for `ln2`.

use super::intern::scale;
use super::{EPSILON, GELU, Held, PROJECTOR, SCALE, Tower, row, single_or};
use crate::arch::HparamError;

/// `Llama4VisionModel` in the reference's `conversion/llama4.py`.
pub(super) static LLAMA4: Tower = Tower {
    name: "Llama 4",
    architectures: &["Llama4ForConditionalGeneration"],
    starts: &[("vision_model.", "vision_model."), ("multi_modal_projector.", "multi_modal_projector.")],
    unsuffixed: &["positional_embedding_vlm"],
    rows: &[
        row("vision_model.class_embedding", "v.class_embd"),
        row("vision_model.positional_embedding_vlm", "v.position_embd").held(Held::F32),
        row("vision_model.patch_embedding.linear", "v.patch_embd").held(Held::Kernel),
        row("vision_model.layernorm_pre", "v.pre_ln"),
        row("vision_model.model.layers.{}.input_layernorm", "v.blk.{}.ln1"),
        row("vision_model.model.layers.{}.self_attn.q_proj", "v.blk.{}.attn_q"),
        row("vision_model.model.layers.{}.self_attn.k_proj", "v.blk.{}.attn_k"),
        row("vision_model.model.layers.{}.self_attn.v_proj", "v.blk.{}.attn_v"),
        row("vision_model.model.layers.{}.self_attn.o_proj", "v.blk.{}.attn_out"),
        row("vision_model.model.layers.{}.post_attention_layernorm", "v.blk.{}.attn_post_norm"),
        row("vision_model.model.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
        row("vision_model.model.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
        row("vision_model.layernorm_post", "v.post_ln"),
        row("vision_model.vision_adapter.mlp.fc{}", "mm.model.mlp.{}"),
        row("multi_modal_projector.linear_1", "mm.model.fc"),
    ],
    adjust: |h, _| {
        const ACT: &str = "hidden_act";
        match h.get(ACT) {
            Some(act) if act == "gelu" => Ok(()),
            Some(other) => Err(HparamError::unsupported(ACT, other)),
            None => Err(HparamError::missing(&[ACT])),
        }
    },
    keys: &[
        (PROJECTOR, |_| Ok(Some("llama4".into()))),
        (EPSILON, |s| match s.tower.has("norm_eps") {
            true => single_or(s.tower, "norm_eps", 0.0),
            false => Err(HparamError::missing(&["norm_eps"])),
        }),
        (SCALE, |s| scale(s.tower, "pixel_shuffle_ratio")),
        GELU,
    ],
    ..Tower::PLAIN
};
