//! The tensors of a model: their names in GGUF files, their names in checkpoints, their shapes.
//!
//! A row a tensor, shared by all families. Names in GGUF files and the names that map to them: `TENSOR_NAMES` in
//! `constants.py` and `mappings_cfg`/`block_mappings_cfg` in `tensor_mapping.py` of gguf-py; of the latter, those under
//! which the families here publish. `{}` is the layer's number.

use super::{Dimensions, Family};

/// An extent of a tensor, in terms of the model's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Tokens in the vocabulary.
    Vocabulary,
    /// Width of the residual stream.
    Embedding,
    /// Width of the feed-forward layer.
    FeedForward,
    /// Query heads times the width of a head.
    Query,
    /// Key (and value) heads times the width of a head.
    Key,
    /// Width of a head.
    Head,
    /// Query heads.
    Heads,
    /// Key heads.
    KeyHeads,
    /// Query, key and value heads times the width of a head.
    QueryKeyValue,
    /// Twice the width of the feed-forward layer.
    TwoFeedForward,
    /// Experts.
    Experts,
    /// Width of an expert's feed-forward layer.
    ExpertFeedForward,
    /// Width of the shared experts' feed-forward layer.
    SharedFeedForward,
    /// Three times the width of the residual stream.
    ThreeEmbedding,
    /// Positions in a text.
    Positions,
    /// One.
    One,
    /// Whatever the checkpoint has.
    Any,
}

impl Extent {
    /// Its size in a model, where the configuration gives it; none that no tensor can have.
    pub fn of(self, d: &Dimensions) -> Option<u64> {
        let by_head = |heads: Option<u64>| heads?.checked_mul(d.head?);
        match self {
            Extent::Vocabulary => d.vocabulary,
            Extent::Embedding => d.embedding,
            Extent::FeedForward => d.feed_forward,
            Extent::Query => by_head(d.heads),
            Extent::Key => by_head(d.key_heads),
            Extent::Head => d.head,
            Extent::Heads => d.heads,
            Extent::KeyHeads => d.key_heads,
            Extent::QueryKeyValue => by_head(d.heads?.checked_add(d.key_heads?.checked_mul(2)?)),
            Extent::TwoFeedForward => d.feed_forward?.checked_mul(2),
            Extent::Experts => d.experts,
            Extent::ExpertFeedForward => d.expert_feed_forward,
            Extent::SharedFeedForward => d.shared_feed_forward,
            Extent::ThreeEmbedding => d.embedding?.checked_mul(3),
            Extent::Positions => d.positions,
            Extent::One => Some(1),
            Extent::Any => None,
        }
    }
}

macro_rules! tensors {
    ($($variant:ident = $name:literal, [$($extent:ident),*], [$($alias:literal),*];)*) => {
        /// A tensor, or one in each layer.
        #[allow(missing_docs, reason = "the variants are the reference's names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Tensor { $($variant,)* }

        impl Tensor {
            /// Name in a GGUF file, without `.weight` or `.bias`.
            pub const fn name(self) -> &'static str {
                match self { $(Tensor::$variant => $name,)* }
            }

            /// Names in checkpoints, without `.weight` or `.bias`.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(Tensor::$variant => &[$($alias,)*],)* }
            }

            /// Extents of the weight in the checkpoint's order, rows first; a bias has the first of them.
            /// Empty where no checkpoint has the tensor.
            pub const fn extents(self) -> &'static [Extent] {
                match self { $(Tensor::$variant => &[$(Extent::$extent,)*],)* }
            }
        }
    };
}

tensors! {
    TokenEmbd = "token_embd", [Vocabulary, Embedding],
        [
            "model.embed_tokens", "embed_tokens", "embeddings.word_embeddings", "embeddings.tok_embeddings", "shared",
            "encoder.embed_tokens", "decoder.embed_tokens"
        ];
    TokenEmbdNorm = "token_embd_norm", [Embedding],
        ["model.embedding_norm", "embeddings.LayerNorm", "embeddings.norm", "emb_ln"];
    TokenTypes = "token_types", [Any, Embedding],
        ["embeddings.token_type_embeddings"];
    PosEmbd = "position_embd", [Positions, Embedding],
        ["embeddings.position_embeddings"];
    OutputNorm = "output_norm", [Embedding],
        ["model.norm", "norm", "final_norm"];
    Output = "output", [Vocabulary, Embedding],
        ["lm_head", "model.lm_head"];
    RopeFreqs = "rope_freqs", [], [];
    RopeFactorsLong = "rope_factors_long", [], [];
    RopeFactorsShort = "rope_factors_short", [], [];
    AttnNorm = "blk.{}.attn_norm", [Embedding],
        [
            "model.layers.{}.input_layernorm", "layers.{}.input_layernorm", "model.layers.{}.operator_norm",
            "layers.{}.attn_norm"
        ];
    AttnNorm2 = "blk.{}.attn_norm_2", [Embedding],
        ["encoder.layer.{}.layer_norm_1"];
    AttnQkv = "blk.{}.attn_qkv", [QueryKeyValue, Embedding],
        ["model.layers.{}.self_attn.qkv_proj", "encoder.layers.{}.attn.Wqkv", "layers.{}.attn.Wqkv"];
    AttnQ = "blk.{}.attn_q", [Query, Embedding],
        [
            "model.layers.{}.self_attn.q_proj", "layers.{}.self_attn.q_proj",
            "encoder.layer.{}.attention.self.query", "transformer.layer.{}.attention.q_lin"
        ];
    AttnQNorm = "blk.{}.attn_q_norm", [Head],
        [
            "model.layers.{}.self_attn.q_norm", "layers.{}.self_attn.q_norm",
            "model.layers.{}.self_attn.q_layernorm", "model.layers.{}.self_attn.query_layernorm",
            "encoder.layer.{}.attention.self.layer_norm_q"
        ];
    AttnK = "blk.{}.attn_k", [Key, Embedding],
        [
            "model.layers.{}.self_attn.k_proj", "layers.{}.self_attn.k_proj",
            "encoder.layer.{}.attention.self.key", "transformer.layer.{}.attention.k_lin"
        ];
    AttnKNorm = "blk.{}.attn_k_norm", [Head],
        [
            "model.layers.{}.self_attn.k_norm", "layers.{}.self_attn.k_norm",
            "model.layers.{}.self_attn.k_layernorm", "model.layers.{}.self_attn.key_layernorm",
            "encoder.layer.{}.attention.self.layer_norm_k"
        ];
    AttnV = "blk.{}.attn_v", [Key, Embedding],
        [
            "model.layers.{}.self_attn.v_proj", "layers.{}.self_attn.v_proj",
            "encoder.layer.{}.attention.self.value", "transformer.layer.{}.attention.v_lin"
        ];
    AttnOut = "blk.{}.attn_output", [Embedding, Query],
        [
            "model.layers.{}.self_attn.o_proj", "layers.{}.self_attn.o_proj", "model.layers.{}.self_attn.out_proj",
            "encoder.layer.{}.attention.output.dense", "transformer.layer.{}.attention.out_lin",
            "encoder.layers.{}.attn.out_proj", "layers.{}.attn.Wo"
        ];
    AttnOutNorm = "blk.{}.attn_output_norm", [Embedding],
        [
            "encoder.layer.{}.attention.output.LayerNorm", "transformer.layer.{}.sa_layer_norm",
            "encoder.layers.{}.norm1"
        ];
    AttnSinks = "blk.{}.attn_sinks", [Heads],
        ["model.layers.{}.self_attn.sinks"];
    AttnPostNorm = "blk.{}.post_attention_norm", [Embedding],
        ["model.layers.{}.post_attention_layernorm", "layers.{}.post_attention_layernorm"];
    SelfAttnPostNorm = "blk.{}.post_attention_norm", [Embedding],
        ["model.layers.{}.post_self_attn_layernorm"];
    FfnNorm = "blk.{}.ffn_norm", [Embedding],
        [
            "model.layers.{}.post_attention_layernorm", "layers.{}.post_attention_layernorm", "model.layers.{}.ffn_norm",
            "layers.{}.mlp_norm"
        ];
    FfnPreNorm = "blk.{}.ffn_norm", [Embedding],
        ["model.layers.{}.pre_feedforward_layernorm", "layers.{}.pre_feedforward_layernorm"];
    FfnPostNorm = "blk.{}.post_ffw_norm", [Embedding],
        [
            "model.layers.{}.post_feedforward_layernorm", "layers.{}.post_feedforward_layernorm",
            "model.layers.{}.post_mlp_layernorm"
        ];
    FfnGateInp = "blk.{}.ffn_gate_inp", [Experts, Embedding],
        [
            "model.layers.{}.block_sparse_moe.gate", "model.layers.{}.mlp.gate",
            "model.layers.{}.block_sparse_moe.router.layer", "model.layers.{}.mlp.router",
            "model.layers.{}.feed_forward.gate", "encoder.layers.{}.mlp.router.layer"
        ];
    FfnGateInpShexp = "blk.{}.ffn_gate_inp_shexp", [One, Embedding],
        ["model.layers.{}.mlp.shared_expert_gate"];
    FfnGate = "blk.{}.ffn_gate", [FeedForward, Embedding],
        [
            "model.layers.{}.mlp.gate_proj", "layers.{}.mlp.gate_proj", "model.layers.{}.feed_forward.w1",
            "encoder.layers.{}.mlp.fc12", "encoder.layer.{}.mlp.gated_layers_w"
        ];
    FfnDown = "blk.{}.ffn_down", [Embedding, FeedForward],
        [
            "model.layers.{}.mlp.down_proj", "layers.{}.mlp.down_proj",
            "model.layers.{}.mlp.c_proj", "model.layers.{}.feed_forward.w2",
            "encoder.layer.{}.output.dense", "transformer.layer.{}.ffn.lin2", "encoder.layers.{}.mlp.fc2",
            "encoder.layer.{}.mlp.wo", "encoder.layer.{}.mlp.down_layer", "layers.{}.mlp.Wo"
        ];
    FfnUp = "blk.{}.ffn_up", [FeedForward, Embedding],
        [
            "model.layers.{}.mlp.up_proj", "layers.{}.mlp.up_proj",
            "model.layers.{}.mlp.c_fc", "model.layers.{}.mlp.gate_up_proj",
            "model.layers.{}.feed_forward.w3",
            "encoder.layer.{}.intermediate.dense", "transformer.layer.{}.ffn.lin1",
            "encoder.layers.{}.mlp.fc1", "encoder.layers.{}.mlp.fc11",
            "encoder.layer.{}.mlp.gated_layers", "encoder.layer.{}.mlp.gated_layers_v",
            "encoder.layer.{}.mlp.up_gated_layer", "layers.{}.mlp.Wi"
        ];
    FfnGateExps = "blk.{}.ffn_gate_exps", [Experts, ExpertFeedForward, Embedding],
        ["model.layers.{}.mlp.experts.gate_proj"];
    FfnDownExps = "blk.{}.ffn_down_exps", [Experts, Embedding, ExpertFeedForward],
        [
            "model.layers.{}.mlp.experts.down_proj", "model.layers.{}.block_sparse_moe.output_linear",
            "encoder.layers.{}.mlp.experts.mlp.w2"
        ];
    FfnUpExps = "blk.{}.ffn_up_exps", [Experts, ExpertFeedForward, Embedding],
        ["model.layers.{}.mlp.experts.up_proj", "encoder.layers.{}.mlp.experts.mlp.w1"];
    FfnExpProbsB = "blk.{}.exp_probs_b", [Experts],
        ["model.layers.{}.feed_forward.expert_bias"];
    FfnGateShexp = "blk.{}.ffn_gate_shexp", [SharedFeedForward, Embedding],
        ["model.layers.{}.mlp.shared_expert.gate_proj"];
    FfnDownShexp = "blk.{}.ffn_down_shexp", [Embedding, SharedFeedForward],
        ["model.layers.{}.mlp.shared_expert.down_proj", "model.layers.{}.shared_mlp.output_linear"];
    FfnUpShexp = "blk.{}.ffn_up_shexp", [SharedFeedForward, Embedding],
        ["model.layers.{}.mlp.shared_expert.up_proj"];
    PerLayerTokenEmbd = "per_layer_token_embd", [Any, Any],
        ["model.embed_tokens_per_layer"];
    PerLayerModelProj = "per_layer_model_proj", [Any, Embedding],
        ["model.per_layer_model_projection"];
    PerLayerInpGate = "blk.{}.inp_gate", [Any, Embedding],
        ["model.layers.{}.per_layer_input_gate"];
    PerLayerProj = "blk.{}.proj", [Embedding, Any],
        ["model.layers.{}.per_layer_projection"];
    PerLayerProjNorm = "per_layer_proj_norm", [Any],
        ["model.per_layer_projection_norm"];
    PerLayerPostNorm = "blk.{}.post_norm", [Embedding],
        ["model.layers.{}.post_per_layer_input_norm"];
    AltupProj = "altup_proj", [Any, Embedding, Embedding],
        [];
    AltupUnembdProj = "altup_unembd_proj", [Any, Embedding, Embedding],
        [];
    AltupCorrectCoef = "blk.{}.altup_correct_coef", [Any, Any],
        ["model.layers.{}.altup.correction_coefs"];
    AltupCorrectScale = "blk.{}.altup_correct_scale", [Embedding],
        ["model.layers.{}.altup.correct_output_scale"];
    AltupPredictCoef = "blk.{}.altup_predict_coef", [Any, Any],
        ["model.layers.{}.altup.prediction_coefs"];
    AltupRouter = "blk.{}.altup_router", [Any, Embedding],
        ["model.layers.{}.altup.modality_router"];
    AltupRouterNorm = "blk.{}.altup_router_norm", [Embedding],
        ["model.layers.{}.altup.router_norm"];
    LaurelL = "blk.{}.laurel_l", [Any, Embedding],
        ["model.layers.{}.laurel.linear_left"];
    LaurelR = "blk.{}.laurel_r", [Embedding, Any],
        ["model.layers.{}.laurel.linear_right"];
    LaurelPostNorm = "blk.{}.laurel_post_norm", [Embedding],
        ["model.layers.{}.laurel.post_laurel_norm"];
    LayerOutNorm = "blk.{}.layer_output_norm", [Embedding],
        [
            "encoder.layer.{}.output.LayerNorm", "transformer.layer.{}.output_layer_norm", "encoder.layers.{}.norm2",
            "encoder.layer.{}.mlp.layernorm", "encoder.layer.{}.layer_norm_2"
        ];
    Cls = "cls", [Any, Embedding],
        ["classifier", "classifier.dense", "pre_classifier", "head.dense"];
    ClsOut = "cls.output", [Any, Embedding],
        ["classifier.out_proj"];
    ClsNorm = "cls.norm", [Embedding],
        ["head.norm"];
    EncAttnNorm = "enc.blk.{}.attn_norm", [Embedding],
        ["encoder.block.{}.layer.0.layer_norm"];
    EncAttnQ = "enc.blk.{}.attn_q", [Query, Embedding],
        ["encoder.block.{}.layer.0.SelfAttention.q"];
    EncAttnK = "enc.blk.{}.attn_k", [Query, Embedding],
        ["encoder.block.{}.layer.0.SelfAttention.k"];
    EncAttnV = "enc.blk.{}.attn_v", [Query, Embedding],
        ["encoder.block.{}.layer.0.SelfAttention.v"];
    EncAttnOut = "enc.blk.{}.attn_o", [Embedding, Query],
        ["encoder.block.{}.layer.0.SelfAttention.o"];
    EncAttnRelB = "enc.blk.{}.attn_rel_b", [Any, Heads],
        ["encoder.block.{}.layer.0.SelfAttention.relative_attention_bias"];
    EncFfnNorm = "enc.blk.{}.ffn_norm", [Embedding],
        ["encoder.block.{}.layer.1.layer_norm"];
    EncFfnGate = "enc.blk.{}.ffn_gate", [FeedForward, Embedding],
        ["encoder.block.{}.layer.1.DenseReluDense.wi_0"];
    EncFfnDown = "enc.blk.{}.ffn_down", [Embedding, FeedForward],
        ["encoder.block.{}.layer.1.DenseReluDense.wo"];
    EncFfnUp = "enc.blk.{}.ffn_up", [FeedForward, Embedding],
        ["encoder.block.{}.layer.1.DenseReluDense.wi", "encoder.block.{}.layer.1.DenseReluDense.wi_1"];
    EncOutputNorm = "enc.output_norm", [Embedding],
        ["encoder.final_layer_norm"];
    DecAttnNorm = "dec.blk.{}.attn_norm", [Embedding],
        ["decoder.block.{}.layer.0.layer_norm"];
    DecAttnQ = "dec.blk.{}.attn_q", [Query, Embedding],
        ["decoder.block.{}.layer.0.SelfAttention.q"];
    DecAttnK = "dec.blk.{}.attn_k", [Query, Embedding],
        ["decoder.block.{}.layer.0.SelfAttention.k"];
    DecAttnV = "dec.blk.{}.attn_v", [Query, Embedding],
        ["decoder.block.{}.layer.0.SelfAttention.v"];
    DecAttnOut = "dec.blk.{}.attn_o", [Embedding, Query],
        ["decoder.block.{}.layer.0.SelfAttention.o"];
    DecAttnRelB = "dec.blk.{}.attn_rel_b", [Any, Heads],
        ["decoder.block.{}.layer.0.SelfAttention.relative_attention_bias"];
    DecCrossAttnNorm = "dec.blk.{}.cross_attn_norm", [Embedding],
        ["decoder.block.{}.layer.1.layer_norm"];
    DecCrossAttnQ = "dec.blk.{}.cross_attn_q", [Query, Embedding],
        ["decoder.block.{}.layer.1.EncDecAttention.q"];
    DecCrossAttnK = "dec.blk.{}.cross_attn_k", [Query, Embedding],
        ["decoder.block.{}.layer.1.EncDecAttention.k"];
    DecCrossAttnV = "dec.blk.{}.cross_attn_v", [Query, Embedding],
        ["decoder.block.{}.layer.1.EncDecAttention.v"];
    DecCrossAttnOut = "dec.blk.{}.cross_attn_o", [Embedding, Query],
        ["decoder.block.{}.layer.1.EncDecAttention.o"];
    DecCrossAttnRelB = "dec.blk.{}.cross_attn_rel_b", [Any, Heads],
        ["decoder.block.{}.layer.1.EncDecAttention.relative_attention_bias"];
    DecFfnNorm = "dec.blk.{}.ffn_norm", [Embedding],
        ["decoder.block.{}.layer.2.layer_norm"];
    DecFfnGate = "dec.blk.{}.ffn_gate", [FeedForward, Embedding],
        ["decoder.block.{}.layer.2.DenseReluDense.wi_0"];
    DecFfnDown = "dec.blk.{}.ffn_down", [Embedding, FeedForward],
        ["decoder.block.{}.layer.2.DenseReluDense.wo"];
    DecFfnUp = "dec.blk.{}.ffn_up", [FeedForward, Embedding],
        ["decoder.block.{}.layer.2.DenseReluDense.wi", "decoder.block.{}.layer.2.DenseReluDense.wi_1"];
    DecOutputNorm = "dec.output_norm", [Embedding],
        ["decoder.final_layer_norm"];
    ShortconvConv = "blk.{}.shortconv.conv", [Embedding, One, Any],
        ["model.layers.{}.conv.conv"];
    ShortconvInProj = "blk.{}.shortconv.in_proj", [ThreeEmbedding, Embedding],
        ["model.layers.{}.conv.in_proj"];
    ShortconvOutProj = "blk.{}.shortconv.out_proj", [Embedding, Embedding],
        ["model.layers.{}.conv.out_proj"];
}

impl Tensor {
    /// Whether the matrix stays F32 whatever type is asked for (the list in `ModelBase.prepare_tensors`).
    pub const fn stays_f32(self) -> bool {
        matches!(
            self,
            Tensor::FfnGateInp
                | Tensor::FfnGateInpShexp
                | Tensor::PosEmbd
                | Tensor::TokenTypes
                | Tensor::AltupCorrectCoef
                | Tensor::AltupPredictCoef
                | Tensor::ShortconvConv
        )
    }

    /// Whether an extent of one in the middle of the checkpoint's shape is left out.
    pub const fn is_squeezed(self) -> bool {
        matches!(self, Tensor::ShortconvConv)
    }
}

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
        let suffix = if self.bias { ".bias" } else { ".weight" };
        let layer = self.layer.map(|n| n.to_string()).unwrap_or_default();
        self.tensor.name().replace("{}", &layer) + suffix
    }

    /// Extents in the checkpoint's order, of those that the family has for the weight.
    pub fn extents(&self, family: &Family) -> &'static [Extent] {
        let all = family.extents(self.tensor);
        if self.bias { &all[..all.len().min(1)] } else { all }
    }
}

/// What the checkpoint's tensor `name` is in a model of `layers` layers that has `tensors`.
pub fn map_name(name: &str, tensors: &[Tensor], layers: u32) -> Option<Mapped> {
    let (stem, bias) = stem(name)?;
    tensors.iter().find_map(|&tensor| {
        let layer = tensor.aliases().iter().find_map(|alias| layer_in(stem, alias, layers))?;
        Some(Mapped { tensor, layer, bias })
    })
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
        let all = [Tensor::TokenEmbd, Tensor::AttnQ, Tensor::Output];
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(map_name(name, &all, 3).map(|m| m.name()).as_deref(), expected, "{name}");
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
    }

    #[test]
    fn biases_have_the_rows_extent() {
        let m = map_name("model.layers.0.self_attn.k_proj.bias", &[Tensor::AttnK], 1).unwrap();
        assert_eq!(m.extents(&Family::PLAIN), [Extent::Key]);
    }

    #[test]
    fn extents_that_no_tensor_has_are_unknown() {
        let most = Some(u64::MAX);
        let all = Dimensions {
            embedding: most,
            feed_forward: most,
            heads: most,
            key_heads: most,
            head: most,
            ..Dimensions::default()
        };
        for extent in [
            Extent::Query,
            Extent::Key,
            Extent::QueryKeyValue,
            Extent::TwoFeedForward,
            Extent::ThreeEmbedding,
        ] {
            assert_eq!(extent.of(&all), None, "{extent:?}");
        }
        let small = Dimensions { heads: Some(4), key_heads: Some(2), head: Some(8), ..Dimensions::default() };
        assert_eq!(Extent::QueryKeyValue.of(&small), Some(64));
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
