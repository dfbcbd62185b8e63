//! Gemma 3: a SigLIP tower, and a norm and a matrix behind it.

use super::{EPSILON, GELU, Held, Made, PROJECTOR, SCALE, Seeing, Tower, row, single_or};
use crate::arch::HparamError;
use crate::gguf::Value;

/// `Gemma3VisionModel` in the reference's `conversion/gemma.py`.
pub(super) static GEMMA3: Tower = Tower {
    name: "Gemma 3",
    architectures: &["Gemma3ForConditionalGeneration"],
    starts: &[
        ("multi_modal_projector.", "multi_modal_projector."),
        ("multimodal_projector.", "multimodal_projector."),
        ("vision_tower.", "vision_tower."),
        ("vision_model.", "vision_model."),
    ],
    skipped: &["vision_model.head."],
    renamed: &[("_weight", ".weight")],
    rows: &[
        row("vision_tower.vision_model.embeddings.patch_embedding", "v.patch_embd").held(Held::F32),
        row("vision_tower.vision_model.embeddings.position_embedding", "v.position_embd").held(Held::F32),
        row("vision_tower.vision_model.encoder.layers.{}.layer_norm1", "v.blk.{}.ln1"),
        row("vision_tower.vision_model.encoder.layers.{}.self_attn.q_proj", "v.blk.{}.attn_q"),
        row("vision_tower.vision_model.encoder.layers.{}.self_attn.k_proj", "v.blk.{}.attn_k"),
        row("vision_tower.vision_model.encoder.layers.{}.self_attn.v_proj", "v.blk.{}.attn_v"),
        row("vision_tower.vision_model.encoder.layers.{}.self_attn.out_proj", "v.blk.{}.attn_out"),
        row("vision_tower.vision_model.encoder.layers.{}.layer_norm2", "v.blk.{}.ln2"),
        row("vision_tower.vision_model.encoder.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
        row("vision_tower.vision_model.encoder.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
        row("vision_tower.vision_model.post_layernorm", "v.post_ln"),
        row("multi_modal_projector.mm_input_projection", "mm.input_projection").held(Held::F16),
        // Stored less one, as Gemma's norms are; those of the tower are not.
        row("multi_modal_projector.mm_soft_emb_norm", "mm.soft_emb_norm").made(Made::PlusOne),
    ],
    keys: &[
        (PROJECTOR, |_| Ok(Some("gemma3".into()))),
        (EPSILON, |s| single_or(s.tower, "layer_norm_eps", 1e-6)),
        GELU,
        (SCALE, scale),
    ],
    ..Tower::PLAIN
};

/// Patches on a side that become one token, where those are not the usual four.
fn scale(s: &Seeing<'_>) -> Result<Option<Value>, HparamError> {
    const TOKENS: &str = "image_seq_length";
    let tokens =
        s.preprocessor.count(&[TOKENS]).map_err(|_| HparamError::preprocessor(TOKENS, "a number"))?;
    let tokens = tokens.unwrap_or(256);
    let (image, patch) = (s.tower.required_count(&["image_size"])?, s.tower.required_count(&["patch_size"])?);
    let side = f64::from(tokens).sqrt() as u32;
    let scale = image.checked_div(patch).and_then(|patches| patches.checked_div(side));
    let scale = scale.ok_or_else(|| HparamError::NotFinite { key: SCALE.to_owned() })?;
    Ok((scale > 0 && scale != 4).then(|| scale.into()))
}
