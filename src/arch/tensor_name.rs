//! Which tensor a name in a checkpoint stands for, and its name in a GGUF file.
//!
//! In: names as checkpoints have them. Out: [`Mapped`], or what else a name says: that its tensor is of another part of
//! the model, of a layer beyond the others, or computed by a runtime.

use super::{Extent, Family, Tensor};

/// What a checkpoint's tensor is in the GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Which tensor.
    pub tensor: Tensor,
    /// The layer, for those that stand in layers.
    pub layer: Option<u32>,
    /// Whether it is the tensor's bias.
    pub bias: bool,
}

impl Mapped {
    /// Name in the GGUF file.
    pub fn name(&self) -> String {
        let suffix = match self.bias {
            true => ".bias",
            false if self.tensor.is_bare() => "",
            false => ".weight",
        };
        let layer = self.layer.map(|n| n.to_string()).unwrap_or_default();
        self.tensor.name().replace("{}", &layer) + suffix
    }

    /// Extents in the checkpoint's order, of those that the family has for the weight.
    pub fn extents(&self, family: &Family) -> &'static [Extent] {
        let all = family.extents(self.tensor);
        match self.bias && !self.tensor.is_bias() {
            true if self.tensor.is_squeezed() => &all[..1],
            true => &all[..all.len().saturating_sub(1).max(1)],
            false => all,
        }
    }
}

/// What the checkpoint's tensor `name` is in a model of the family that has so many layers.
pub fn map_name(name: &str, family: &Family, layers: u32) -> Option<Mapped> {
    let stem = stem(name);
    family.all_tensors().find_map(|tensor| {
        let (text, bias) = if tensor.is_bare() { (name, false) } else { stem? };
        let layer = family.names(tensor).iter().find_map(|alias| layer_in(text, alias, layers))?;
        Some(Mapped { tensor, layer, bias })
    })
}

/// The usual form of the name of a text model's tensor (`ModelBase.filter_tensors`).
pub fn usual_name(name: &str) -> String {
    let name = name.replace("language_model.", "");
    match name.strip_suffix("e_score_correction_bias") {
        Some(before) => format!("{before}e_score_correction.bias"),
        None => name,
    }
}

/// The usual name of a tensor of layers that predict more tokens than the next, which is called `mtp.` something, in a
/// model of `layers` other layers (`_QwenMtpMixin.filter_tensors`).
pub fn predicting_name(name: &str, layers: u32) -> Option<String> {
    const NAMES: [(&str, &str); 4] = [
        ("fc", "eh_proj"),
        ("pre_fc_norm_embedding", "enorm"),
        ("pre_fc_norm_hidden", "hnorm"),
        ("norm", "shared_head.norm"),
    ];
    let name = name.strip_prefix("model.").unwrap_or(name).strip_prefix("mtp.")?;
    if let Some((layer, rest)) = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
        return Some(format!("model.layers.{}.{rest}", layers.checked_add(number(layer)?)?));
    }
    let (module, suffix) = name.split_once('.')?;
    let (_, usual) = NAMES.iter().find(|(own, _)| *own == module && !suffix.contains('.'))?;
    Some(format!("model.layers.{layers}.{usual}.{suffix}"))
}

/// Whether the tensor belongs to a layer beyond `layers` of them.
pub fn is_beyond(name: &str, layers: u32) -> bool {
    let digits = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
    digits.and_then(number).is_some_and(|layer| layer >= layers)
}

/// The name of a tensor without `.weight` or `.bias`, and whether it was the latter.
pub fn stem(name: &str) -> Option<(&str, bool)> {
    match name.strip_suffix(".bias") {
        Some(stem) => Some((stem, true)),
        None => Some((name.strip_suffix(".weight")?, false)),
    }
}

/// The layer, if any, of `stem` if that is `alias`; `{}` in the latter is one of `layers` layers.
pub fn layer_in(stem: &str, alias: &str, layers: u32) -> Option<Option<u32>> {
    let Some((before, after)) = alias.split_once("{}") else { return (alias == stem).then_some(None) };
    let digits = stem.strip_prefix(before)?.strip_suffix(after)?;
    let layer = number(digits)?;
    (layer < layers).then_some(Some(layer))
}

/// The number that the digits write, if they write it as everybody does.
pub fn number(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Prefixes of tensors that belong to other parts of a multimodal model than its text model.
const OTHER_MODALITY_PREFIXES: &[&str] = &[
    "mlp",
    "vit.",
    "vpm.",
    "siglip2.",
    "conformer.",
    "merger.",
    "resampler.",
    "sound_encoder.",
    "sound_projection.",
    "speech_embeddings.",
];

/// Parts of names of such tensors.
const OTHER_MODALITY_PARTS: &[&str] = &[
    "visual.",
    "vision.",
    "audio.",
    "talker.",
    "vision_",
    "audio_",
    "token2wav.",
    "code2wav.",
    "projector.",
    "pre_mm_projector_norm",
    "image_newline",
    "view_seperator",
    "patch_embed",
    "patch_merger.",
    "patch_merge_mlp.",
    "model.connector.",
];

/// Endings of tensors that hold what a runtime computes by itself.
const COMPUTED: &[&str] = &[".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];

/// Whether the checkpoint's tensor `name` belongs to the text model (`TextModel.filter_tensors`).
pub fn is_text(name: &str) -> bool {
    !OTHER_MODALITY_PREFIXES.iter().any(|p| name.starts_with(p))
        && !OTHER_MODALITY_PARTS.iter().any(|p| name.contains(p))
}

/// Whether the tensor holds what a runtime computes by itself (the loop in `ModelBase.prepare_tensors`).
pub fn is_computed(name: &str) -> bool {
    COMPUTED.iter().any(|s| name.ends_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_to_layers_that_exist() {
        let tensors: &[&[Tensor]] =
            &[&[Tensor::TokenEmbd, Tensor::AttnQ, Tensor::Output], &[Tensor::SsmA, Tensor::SsmDt]];
        let family = Family { tensors, ..Family::PLAIN };
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(map_name(name, &family, 3).map(|m| m.name()).as_deref(), expected, "{name}");
        };
        check("model.embed_tokens.weight", Some("token_embd.weight"));
        check("embed_tokens.weight", Some("token_embd.weight"));
        check("lm_head.weight", Some("output.weight"));
        check("model.layers.2.self_attn.q_proj.weight", Some("blk.2.attn_q.weight"));
        check("model.layers.0.self_attn.q_proj.bias", Some("blk.0.attn_q.bias"));
        check("model.layers.3.self_attn.q_proj.weight", None);
        check("model.layers.02.self_attn.q_proj.weight", None);
        check("model.layers.+1.self_attn.q_proj.weight", None);
        check("model.layers.x.self_attn.q_proj.weight", None);
        check("model.layers.1.self_attn.k_proj.weight", None);
        check("model.layers.1.self_attn.q_proj", None);
        check("backbone.layers.1.mixer.A_log", Some("blk.1.ssm_a"));
        check("backbone.layers.1.mixer.A_log.weight", None);
        check("backbone.layers.1.mixer.dt_proj.bias", Some("blk.1.ssm_dt.bias"));
    }

    #[test]
    fn biases_have_the_rows_extent() {
        let tensors: &[&[Tensor]] = &[&[Tensor::AttnK, Tensor::FfnUpExps]];
        let family = Family { tensors, ..Family::PLAIN };
        let extents = |name| map_name(name, &family, 1).unwrap().extents(&family);
        assert_eq!(extents("model.layers.0.self_attn.k_proj.bias"), [Extent::Key]);
        let expected = [Extent::Experts, Extent::ExpertFeedForward];
        assert_eq!(extents("model.layers.0.mlp.experts.up_proj.bias"), expected);
    }

    #[test]
    fn layers_that_predict_have_usual_names() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(predicting_name(name, 3).as_deref(), expected, "{name}");
        };
        check("mtp.layers.0.mlp.up_proj.weight", Some("model.layers.3.mlp.up_proj.weight"));
        check("model.mtp.layers.1.mlp.up_proj.weight", Some("model.layers.4.mlp.up_proj.weight"));
        check("mtp.fc.weight", Some("model.layers.3.eh_proj.weight"));
        check("mtp.pre_fc_norm_hidden.weight", Some("model.layers.3.hnorm.weight"));
        check("mtp.other.weight", None);
        check("model.layers.1.mlp.up_proj.weight", None);
        assert!(is_beyond("model.layers.3.eh_proj.weight", 3));
        assert!(!is_beyond("model.layers.2.mlp.up_proj.weight", 3) && !is_beyond("lm_head.weight", 3));
        assert_eq!(usual_name("x.gate.e_score_correction_bias"), "x.gate.e_score_correction.bias");
    }

    #[test]
    fn other_modalities_and_computed_tensors_are_told_from_weights() {
        for name in ["model.vision_tower.x.weight", "mlp.0.weight", "model.audio_tower.y.weight"] {
            assert!(!is_text(name), "{name}");
        }
        assert!(is_text("model.layers.0.mlp.up_proj.weight"));
        assert!(is_computed("model.layers.0.self_attn.rotary_emb.inv_freq"));
        assert!(!is_computed("model.layers.0.self_attn.q_proj.bias"));
    }
}
