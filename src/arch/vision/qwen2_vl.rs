//! Qwen2-VL and 2.5-VL.

use serde_json::{Value as Json, json};

use super::{EPSILON, Held, Made, PROJECTOR, Seeing, Tower, row, single_or};
use crate::arch::{HparamError, Hparams};
use crate::gguf::Value;

/// `Qwen2VLVisionModel` in the reference's `conversion/qwenvl.py`.
pub(super) static QWEN2_VL: Tower = Tower {
    name: "Qwen2-VL, Qwen2.5-VL",
    architectures: &["Qwen2VLModel", "Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    starts: &[("visual.", "visual.")],
    rows: &[
        row("visual.patch_embed.proj", "v.patch_embd").made(Made::Frames).held(Held::Kernel),
        row("visual.blocks.{}.norm1", "v.blk.{}.ln1"),
        row("visual.blocks.{}.attn.qkv", "v.blk.{}.attn_qkv").made(Made::Thirds),
        row("visual.blocks.{}.attn.proj", "v.blk.{}.attn_out"),
        row("visual.blocks.{}.norm2", "v.blk.{}.ln2"),
        row("visual.blocks.{}.mlp.fc1", "v.blk.{}.ffn_up"),
        row("visual.blocks.{}.mlp.fc2", "v.blk.{}.ffn_down"),
        row("visual.blocks.{}.mlp.gate_proj", "v.blk.{}.ffn_gate"),
        row("visual.blocks.{}.mlp.up_proj", "v.blk.{}.ffn_up"),
        row("visual.blocks.{}.mlp.down_proj", "v.blk.{}.ffn_down"),
        row("visual.merger.ln_q", "v.post_ln"),
        row("visual.merger.mlp.{}", "mm.{}"),
    ],
    adjust: |h, _| {
        if !h.has("image_size") {
            h.set("image_size", 560.into());
        }
        for (key, own) in [("num_attention_heads", "num_heads"), ("num_hidden_layers", "depth")] {
            h.set(key, h.get(own).cloned().unwrap_or_default());
        }
        // 2-VL's `hidden_size` is the width of what comes out.
        if h.has("embed_dim") {
            h.set("intermediate_size", h.get("hidden_size").cloned().unwrap_or_default());
            h.set("hidden_size", h.get("embed_dim").cloned().unwrap_or_default());
        }
        Ok(())
    },
    keys: &[
        (PROJECTOR, |s| {
            Ok(Some(if is_second_and_half(s.model)? { "qwen2.5vl_merger" } else { "qwen2vl_merger" }.into()))
        }),
        ("clip.use_silu", |s| Ok(is_second_and_half(s.model)?.then_some(true.into()))),
        ("clip.vision.n_wa_pattern", windows),
        (EPSILON, |s| single_or(s.model, "rms_norm_eps", 1e-6)),
    ],
    ..Tower::PLAIN
};

/// Whether it is 2.5-VL, and not 2-VL.
fn is_second_and_half(model: &Hparams) -> Result<bool, HparamError> {
    const KEY: &str = "model_type";
    match model.text(KEY) {
        Some("qwen2_vl") => Ok(false),
        Some("qwen2_5_vl") => Ok(true),
        Some(other) => Err(HparamError::unsupported(KEY, &json!(other))),
        None => Err(HparamError::missing(&[KEY])),
    }
}

/// Every so many layers attend to the whole picture, and the others to windows of it.
fn windows(s: &Seeing<'_>) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "fullatt_block_indexes";
    if !is_second_and_half(s.model)? {
        return Ok(None);
    }
    let list = s.tower.get(KEY).ok_or_else(|| HparamError::missing(&[KEY]))?;
    let wrong = || HparamError::wrong(KEY, list, "a list of layers at equal distances");
    let layers: Option<Vec<u64>> = list.as_array().and_then(|l| l.iter().map(Json::as_u64).collect());
    let layers = layers.ok_or_else(wrong)?;
    let every = layers.first().and_then(|first| first.checked_add(1)).ok_or_else(wrong)?;
    if layers.windows(2).any(|pair| pair[1].checked_sub(pair[0]) != Some(every)) {
        return Err(wrong());
    }
    Ok(Some(u32::try_from(every).map_err(|_| wrong())?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_repeat() {
        let check = |kind: &str, list: &str, expected: Result<Option<Value>, ()>| {
            let model =
                Hparams::new(serde_json::from_str(&format!(r#"{{"model_type": "{kind}"}}"#)).unwrap());
            let tower = format!(r#"{{"fullatt_block_indexes": {list}}}"#);
            let tower = Hparams::new(serde_json::from_str(&tower).unwrap());
            let seeing = Seeing { model: &model, tower: &tower, preprocessor: &model };
            assert_eq!(windows(&seeing).map_err(|_| ()), expected, "{kind} {list}");
        };
        check("qwen2_5_vl", "[7, 15, 23, 31]", Ok(Some(8u32.into())));
        check("qwen2_5_vl", "[0]", Ok(Some(1u32.into())));
        check("qwen2_vl", "[7, 9]", Ok(None));
        for wrong in ["[7, 16]", "[]", "[3, 1]", "7", "null"] {
            check("qwen2_5_vl", wrong, Err(()));
        }
        check("qwen2_5_omni", "[7]", Err(()));
    }
}
