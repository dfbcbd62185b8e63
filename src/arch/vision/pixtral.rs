//! Pixtral's tower: that of Mistral from 3.1 on, and of Pixtral itself as transformers has it.

use super::{EPSILON, Held, MERGE, Made, PROJECTOR, Tower, activation, row, single_or};
use crate::arch::HparamError;

/// `LlavaVisionModel` in the reference's `conversion/llava.py`, which is for no other tower: LLaVA's own, a CLIP, it
/// refuses.
pub(super) static PIXTRAL: Tower = Tower {
    name: "Pixtral, Mistral 3",
    architectures: &["LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration"],
    starts: &[
        ("multi_modal_projector.", "multi_modal_projector."),
        ("vision_tower.", "vision_tower."),
        // The reference would take a token's embedding out of these, which are elsewhere in what is published.
        ("model.embed_tokens.", "model.embed_tokens."),
    ],
    token: Some("[IMG_BREAK]"),
    rows: &[
        row("vision_tower.patch_conv", "v.patch_embd").held(Held::Kernel),
        row("vision_tower.ln_pre", "v.pre_ln"),
        row("vision_tower.transformer.layers.{}.attention_norm", "v.blk.{}.ln1"),
        row("vision_tower.transformer.layers.{}.attention.q_proj", "v.blk.{}.attn_q").made(Made::RopeRows),
        row("vision_tower.transformer.layers.{}.attention.k_proj", "v.blk.{}.attn_k").made(Made::RopeRows),
        row("vision_tower.transformer.layers.{}.attention.v_proj", "v.blk.{}.attn_v"),
        row("vision_tower.transformer.layers.{}.attention.o_proj", "v.blk.{}.attn_out"),
        row("vision_tower.transformer.layers.{}.ffn_norm", "v.blk.{}.ln2"),
        row("vision_tower.transformer.layers.{}.feed_forward.gate_proj", "v.blk.{}.ffn_gate"),
        row("vision_tower.transformer.layers.{}.feed_forward.up_proj", "v.blk.{}.ffn_up"),
        row("vision_tower.transformer.layers.{}.feed_forward.down_proj", "v.blk.{}.ffn_down"),
        row("multi_modal_projector.norm", "mm.input_norm"),
        row("multi_modal_projector.patch_merger.merging_layer", "mm.patch_merger").held(Held::Kernel),
        row("multi_modal_projector.linear_{}", "mm.{}"),
    ],
    adjust: |h, _| match h.get("model_type") {
        Some(kind) if kind == "pixtral" => Ok(()),
        Some(kind) => Err(HparamError::unsupported("model_type", kind)),
        None => Err(HparamError::missing(&["model_type"])),
    },
    keys: &[
        (PROJECTOR, |_| Ok(Some("pixtral".into()))),
        (EPSILON, |s| single_or(s.tower, "layer_norm_eps", 1e-5)),
        ("clip.use_silu", |s| activation(s, "silu")),
        ("clip.use_gelu", |s| activation(s, "gelu")),
        (MERGE, |s| Ok(s.model.count(&["spatial_merge_size"])?.map(Into::into))),
    ],
    ..Tower::PLAIN
};
