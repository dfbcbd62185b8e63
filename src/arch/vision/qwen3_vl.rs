//! Qwen3-VL and the towers of Qwen3.5: the output of some layers goes past the others (deepstack).

use serde_json::Value as Json;

use super::{EPSILON, GELU, Held, MERGE, Made, PROJECTOR, Seeing, Tower, row, single_or};
use crate::arch::{HparamError, Hparams};
use crate::gguf::Value;

/// The layers whose output goes past the others.
const INDEXES: &str = "deepstack_visual_indexes";

/// `Qwen3VLVisionModel` in the reference's `conversion/qwen3vl.py`.
pub(super) static QWEN3_VL: Tower = Tower {
    name: "Qwen3-VL, Qwen3.5",
    architectures: &[
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
    ],
    starts: &[("model.visual.", "visual."), ("visual.", "visual.")],
    rows: &[
        row("visual.patch_embed.proj", "v.patch_embd").made(Made::Frames).held(Held::Kernel),
        row("visual.pos_embed", "v.position_embd").held(Held::F32),
        row("visual.blocks.{}.norm1", "v.blk.{}.ln1"),
        row("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_qkv"),
        row("visual.blocks.{}.attn.proj", "v.blk.{}.attn_out"),
        row("visual.blocks.{}.norm2", "v.blk.{}.ln2"),
        row("visual.blocks.{}.mlp.linear_fc1", "v.blk.{}.ffn_up"),
        row("visual.blocks.{}.mlp.linear_fc2", "v.blk.{}.ffn_down"),
        row("visual.deepstack_merger_list.{}.norm", "v.deepstack.{}.norm").made(Made::Listed(INDEXES)),
        row("visual.deepstack_merger_list.{}.linear_fc1", "v.deepstack.{}.fc1").made(Made::Listed(INDEXES)),
        row("visual.deepstack_merger_list.{}.linear_fc2", "v.deepstack.{}.fc2").made(Made::Listed(INDEXES)),
        row("visual.merger.norm", "v.post_ln"),
        row("visual.merger.linear_fc1", "mm.0"),
        row("visual.merger.linear_fc2", "mm.2"),
    ],
    adjust: |h, _| {
        if !h.has("image_size") {
            let count = |key: &str, default| h.count(&[key]).map(|n| n.unwrap_or(default));
            // There is a position for each patch of a square.
            let (positions, patch) = (count("num_position_embeddings", 2304)?, count("patch_size", 16)?);
            h.set("image_size", ((f64::from(positions).sqrt() * f64::from(patch)) as u64).into());
        }
        for (key, own) in [("num_attention_heads", "num_heads"), ("num_hidden_layers", "depth")] {
            h.set(key, h.get(own).cloned().unwrap_or_default());
        }
        Ok(())
    },
    keys: &[
        (PROJECTOR, |_| Ok(Some("qwen3vl_merger".into()))),
        GELU,
        (MERGE, |s| Ok(s.tower.count(&["spatial_merge_size"])?.map(Into::into))),
        (EPSILON, |s| {
            let text = s.model.get("text_config").and_then(Json::as_object).cloned().unwrap_or_default();
            single_or(&Hparams::new(text), "rms_norm_eps", 1e-6)
        }),
        ("clip.vision.is_deepstack_layers", deepstack),
    ],
    ..Tower::PLAIN
};

/// For each layer, whether its output goes past the others.
fn deepstack(s: &Seeing<'_>) -> Result<Option<Value>, HparamError> {
    let mut layers = vec![false; s.tower.required_count(&["num_hidden_layers"])? as usize];
    if let Some(list) = s.tower.get(INDEXES) {
        let wrong = || HparamError::wrong(INDEXES, list, "a list of layers");
        for index in list.as_array().ok_or_else(wrong)? {
            let layer = index.as_u64().and_then(|index| layers.get_mut(usize::try_from(index).ok()?));
            *layer.ok_or_else(wrong)? = true;
        }
    }
    Ok((!layers.is_empty()).then(|| layers.into()))
}
