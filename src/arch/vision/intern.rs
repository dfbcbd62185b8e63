//! InternVL's tower, InternViT.

use serde_json::Value as Json;

use super::{EPSILON, Held, Made, PROJECTOR, SCALE, Seeing, Tower, activation, row, single_or};
use crate::arch::hparams::double;
use crate::arch::{HparamError, Hparams};
use crate::gguf::Value;

/// `InternVisionModel` in the reference's `conversion/internvl.py`.
pub(super) static INTERN: Tower = Tower {
    name: "InternVL",
    architectures: &["InternVisionModel"],
    starts: &[
        ("vision_model", "vision_tower.vision_model"),
        ("mlp", "mlp"),
        ("model.vision_tower", "model.vision_tower"),
        ("model.multi_modal_projector", "model.multi_modal_projector"),
    ],
    unsuffixed: &[".ls", ".lambda_", "position_embedding"],
    rows: &[
        row("vision_tower.vision_model.embeddings.class_embedding", "v.class_embd"),
        row("vision_tower.vision_model.embeddings.patch_embedding", "v.patch_embd").held(Held::Kernel),
        row("vision_tower.vision_model.embeddings.position_embedding", "v.position_embd").held(Held::F32),
        row("vision_tower.vision_model.encoder.layers.{}.norm1", "v.blk.{}.ln1"),
        row("vision_tower.vision_model.encoder.layers.{}.attn.qkv", "v.blk.{}.attn_qkv").made(Made::Thirds),
        row("vision_tower.vision_model.encoder.layers.{}.attn.q_norm", "v.blk.{}.attn_q_norm"),
        row("vision_tower.vision_model.encoder.layers.{}.attn.k_norm", "v.blk.{}.attn_k_norm"),
        row("vision_tower.vision_model.encoder.layers.{}.attn.proj", "v.blk.{}.attn_out"),
        row("vision_tower.vision_model.encoder.layers.{}.norm2", "v.blk.{}.ln2"),
        row("vision_tower.vision_model.encoder.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
        row("vision_tower.vision_model.encoder.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
        row("vision_tower.vision_model.encoder.layers.{}.ls1", "v.blk.{}.ls1"),
        row("vision_tower.vision_model.encoder.layers.{}.ls2", "v.blk.{}.ls2"),
        row("mlp1.{}", "mm.model.mlp.{}"),
    ],
    adjust: |h, _| {
        for key in ["image_size", "patch_size"] {
            if let Some(side) = h.get(key).and_then(Json::as_array).and_then(|sides| sides.first()).cloned() {
                h.set(key, side);
            }
        }
        Ok(())
    },
    keys: &[
        (PROJECTOR, |_| Ok(Some("internvl".into()))),
        (EPSILON, |s| match s.tower.has("layer_norm_eps") {
            true => single_or(s.tower, "layer_norm_eps", 0.0),
            false => Err(HparamError::missing(&["layer_norm_eps"])),
        }),
        ("clip.use_silu", |s| activation(s, "silu")),
        ("clip.use_gelu", |s| activation(s, "gelu")),
        (SCALE, |s| scale(s.model, "downsample_ratio")),
        ("clip.vision.preproc_min_tiles", |s| tiles(s, "min_dynamic_patch")),
        ("clip.vision.preproc_max_tiles", |s| tiles(s, "max_dynamic_patch")),
    ],
    ..Tower::PLAIN
};

/// Patches on a side that become one token, of the share of them that is left.
pub(super) fn scale(h: &Hparams, key: &str) -> Result<Option<Value>, HparamError> {
    let ratio = h.get(key).ok_or_else(|| HparamError::missing(&[key]))?;
    let scale = 1.0 / double(key, ratio)?;
    if !(0.0..=f64::from(u32::MAX)).contains(&scale) {
        return Err(HparamError::wrong(key, ratio, "a share"));
    }
    Ok(Some((scale as u32).into()))
}

/// A number of squares that a picture is cut into.
fn tiles(s: &Seeing<'_>, key: &str) -> Result<Option<Value>, HparamError> {
    Ok(s.model.count(&[key])?.filter(|tiles| *tiles > 0).map(Into::into))
}
