//! Idefics 3 and SmolVLM.

use serde_json::Value as Json;

use super::{EPSILON, GELU, Held, PROJECTOR, SCALE, Seeing, Tower, row, single_or};
use crate::arch::HparamError;
use crate::arch::hparams;
use crate::gguf::Value;

/// `SmolVLMModel` in the reference's `conversion/smolvlm.py`.
pub(super) static IDEFICS3: Tower = Tower {
    name: "Idefics 3, SmolVLM",
    architectures: &["Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"],
    starts: &[
        ("model.vision_model.", "model.vision_model."),
        ("model.connector.", "model.connector."),
        ("vision_model.", "vision_model."),
        ("vision_tower.", "vision_tower."),
    ],
    rows: &[
        row("model.vision_model.embeddings.patch_embedding", "v.patch_embd").held(Held::F32),
        row("model.vision_model.embeddings.position_embedding", "v.position_embd").held(Held::F32),
        row("model.vision_model.encoder.layers.{}.layer_norm1", "v.blk.{}.ln1"),
        row("model.vision_model.encoder.layers.{}.self_attn.q_proj", "v.blk.{}.attn_q"),
        row("model.vision_model.encoder.layers.{}.self_attn.k_proj", "v.blk.{}.attn_k"),
        row("model.vision_model.encoder.layers.{}.self_attn.v_proj", "v.blk.{}.attn_v"),
        row("model.vision_model.encoder.layers.{}.self_attn.out_proj", "v.blk.{}.attn_out"),
        row("model.vision_model.encoder.layers.{}.layer_norm2", "v.blk.{}.ln2"),
        row("model.vision_model.encoder.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
        row("model.vision_model.encoder.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
        row("model.vision_model.post_layernorm", "v.post_ln"),
        row("model.connector.modality_projection.proj", "mm.model.fc"),
    ],
    keys: &[
        (PROJECTOR, |_| Ok(Some("idefics3".into()))),
        (EPSILON, |s| single_or(s.tower, "layer_norm_eps", 1e-5)),
        (SCALE, |s| Ok(Some(s.model.count(&["scale_factor"])?.unwrap_or(2).into()))),
        GELU,
        ("clip.vision.preproc_image_size", longest_edge),
    ],
    ..Tower::PLAIN
};

/// What a picture is made as large as, before it is cut into squares.
fn longest_edge(s: &Seeing<'_>) -> Result<Option<Value>, HparamError> {
    const KEY: &str = "longest_edge";
    match s.preprocessor.get("size").and_then(Json::as_object).and_then(|size| size.get(KEY)) {
        Some(edge) => match hparams::count(KEY, edge) {
            Ok(edge) => Ok(Some(edge.into())),
            Err(_) => Err(HparamError::preprocessor(KEY, "a number")),
        },
        None => Ok(Some(s.tower.required_count(&["image_size"])?.into())),
    }
}
