//! The tensors of a model: their names in GGUF files, their names in checkpoints, their shapes.
//!
//! A row a tensor, shared by all families. Names in GGUF files and the names that map to them: `TENSOR_NAMES` in
//! `constants.py` and `mappings_cfg`/`block_mappings_cfg` in `tensor_mapping.py` of gguf-py; of the latter, those under
//! which the families here publish. `{}` is the layer's number.

use super::Dimensions;

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
    /// Width of what keys and values are made of.
    Latent,
    /// Values of a key that do not turn.
    Nope,
    /// Width of a value.
    ValueHead,
    /// Width of a key in a linear attention.
    LinearKey,
    /// Width of all values of a linear attention that share a key.
    LinearValues,
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
            Extent::Latent => d.latent,
            Extent::Nope => d.nope,
            Extent::ValueHead => d.value_head,
            Extent::LinearKey => d.linear.map(|linear| linear.key),
            Extent::LinearValues => d.linear.map(|linear| linear.values_of_a_key() * linear.value),
            Extent::One => Some(1),
            Extent::Any => None,
        }
    }
}

macro_rules! tensors {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, [$($extent:ident),*], [$($alias:literal),*];)*) => {
        /// A tensor, or one in each layer.
        #[allow(missing_docs, reason = "the variants are the reference's names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Tensor { $($(#[$meta])* $variant,)* }

        impl Tensor {
            /// Name in a GGUF file, without `.weight` or `.bias`.
            pub const fn name(self) -> &'static str {
                match self { $(Tensor::$variant => $name,)* }
            }

            /// Names in checkpoints, without `.weight` or `.bias`.
            pub const fn aliases(self) -> &'static [&'static str] {
                match self { $(Tensor::$variant => &[$($alias,)*],)* }
            }

            /// Extents of the weight in the checkpoint's order, rows first; a bias has all but the last of them.
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
    AttnQA = "blk.{}.attn_q_a", [Any, Embedding],
        ["model.layers.{}.self_attn.q_a_proj"];
    AttnQB = "blk.{}.attn_q_b", [Any, Any],
        ["model.layers.{}.self_attn.q_b_proj"];
    AttnQANorm = "blk.{}.attn_q_a_norm", [Any],
        ["model.layers.{}.self_attn.q_a_layernorm"];
    AttnKvAMqa = "blk.{}.attn_kv_a_mqa", [Any, Embedding],
        ["model.layers.{}.self_attn.kv_a_proj_with_mqa"];
    AttnKB = "blk.{}.attn_k_b", [KeyHeads, Latent, Nope],
        ["model.layers.{}.self_attn.k_b_proj"];
    AttnVB = "blk.{}.attn_v_b", [KeyHeads, ValueHead, Latent],
        ["model.layers.{}.self_attn.v_b_proj"];
    AttnKvB = "blk.{}.attn_kv_b", [Any, Any],
        ["model.layers.{}.self_attn.kv_b_proj"];
    AttnKvANorm = "blk.{}.attn_kv_a_norm", [Any],
        ["model.layers.{}.self_attn.kv_a_layernorm"];
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
    /// Without a suffix in the GGUF file.
    FfnNormBare = "blk.{}.ffn_norm", [Embedding],
        ["model.layers.{}.pre_ff_layernorm.weight"];
    FfnPostNorm = "blk.{}.post_ffw_norm", [Embedding],
        [
            "model.layers.{}.post_feedforward_layernorm", "layers.{}.post_feedforward_layernorm",
            "model.layers.{}.post_mlp_layernorm"
        ];
    FfnGateInp = "blk.{}.ffn_gate_inp", [Experts, Embedding],
        [
            "model.layers.{}.block_sparse_moe.gate", "model.layers.{}.mlp.gate",
            "model.layers.{}.block_sparse_moe.router.layer", "model.layers.{}.mlp.router",
            "model.layers.{}.feed_forward.gate", "encoder.layers.{}.mlp.router.layer",
            "model.layers.{}.feed_forward.router"
        ];
    FfnGateInpShexp = "blk.{}.ffn_gate_inp_shexp", [One, Embedding],
        ["model.layers.{}.mlp.shared_expert_gate"];
    FfnGate = "blk.{}.ffn_gate", [FeedForward, Embedding],
        [
            "model.layers.{}.mlp.gate_proj", "layers.{}.mlp.gate_proj", "model.layers.{}.feed_forward.w1",
            "encoder.layers.{}.mlp.fc12", "encoder.layer.{}.mlp.gated_layers_w",
            "model.layers.{}.feed_forward.gate_proj"
        ];
    FfnDown = "blk.{}.ffn_down", [Embedding, FeedForward],
        [
            "model.layers.{}.mlp.down_proj", "layers.{}.mlp.down_proj",
            "model.layers.{}.mlp.c_proj", "model.layers.{}.feed_forward.w2",
            "encoder.layer.{}.output.dense", "transformer.layer.{}.ffn.lin2", "encoder.layers.{}.mlp.fc2",
            "encoder.layer.{}.mlp.wo", "encoder.layer.{}.mlp.down_layer", "layers.{}.mlp.Wo",
            "model.layers.{}.feed_forward.down_proj"
        ];
    FfnUp = "blk.{}.ffn_up", [FeedForward, Embedding],
        [
            "model.layers.{}.mlp.up_proj", "layers.{}.mlp.up_proj",
            "model.layers.{}.mlp.c_fc", "model.layers.{}.mlp.gate_up_proj",
            "model.layers.{}.feed_forward.w3", "encoder.layer.{}.intermediate.dense",
            "transformer.layer.{}.ffn.lin1", "encoder.layers.{}.mlp.fc1", "encoder.layers.{}.mlp.fc11",
            "encoder.layer.{}.mlp.gated_layers", "encoder.layer.{}.mlp.gated_layers_v",
            "encoder.layer.{}.mlp.up_gated_layer", "layers.{}.mlp.Wi",
            "model.layers.{}.feed_forward.up_proj"
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
        [
            "model.layers.{}.feed_forward.expert_bias", "model.layers.{}.mlp.gate.e_score_correction",
            "model.layers.{}.mlp.moe_statics.e_score_correction",
            "model.layers.{}.block_sparse_moe.e_score_correction"
        ];
    FfnGateShexp = "blk.{}.ffn_gate_shexp", [SharedFeedForward, Embedding],
        [
            "model.layers.{}.mlp.shared_expert.gate_proj", "model.layers.{}.mlp.shared_experts.gate_proj",
            "model.layers.{}.feed_forward.shared_expert.gate_proj"
        ];
    FfnDownShexp = "blk.{}.ffn_down_shexp", [Embedding, SharedFeedForward],
        [
            "model.layers.{}.mlp.shared_expert.down_proj", "model.layers.{}.shared_mlp.output_linear",
            "model.layers.{}.mlp.shared_experts.down_proj", "model.layers.{}.feed_forward.shared_expert.down_proj"
        ];
    FfnUpShexp = "blk.{}.ffn_up_shexp", [SharedFeedForward, Embedding],
        [
            "model.layers.{}.mlp.shared_expert.up_proj", "model.layers.{}.mlp.shared_experts.up_proj",
            "model.layers.{}.feed_forward.shared_expert.up_proj"
        ];
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
    SsmIn = "blk.{}.ssm_in", [Any, Embedding],
        ["backbone.layers.{}.mixer.in_proj", "model.layers.{}.mamba.in_proj"];
    SsmConv1d = "blk.{}.ssm_conv1d", [Any, One, Any],
        ["backbone.layers.{}.mixer.conv1d", "model.layers.{}.mamba.conv1d"];
    SsmX = "blk.{}.ssm_x", [Any, Any],
        ["backbone.layers.{}.mixer.x_proj", "model.layers.{}.mamba.x_proj"];
    SsmDt = "blk.{}.ssm_dt", [Any, Any],
        ["backbone.layers.{}.mixer.dt_proj", "model.layers.{}.mamba.dt_proj"];
    SsmDtNorm = "blk.{}.ssm_dt_norm", [Any],
        ["model.layers.{}.mamba.dt_layernorm"];
    SsmA = "blk.{}.ssm_a", [Any, Any],
        ["backbone.layers.{}.mixer.A_log", "model.layers.{}.mamba.A_log"];
    SsmBNorm = "blk.{}.ssm_b_norm", [Any],
        ["model.layers.{}.mamba.b_layernorm", "model.layers.{}.mamba.B_layernorm"];
    SsmCNorm = "blk.{}.ssm_c_norm", [Any],
        ["model.layers.{}.mamba.c_layernorm", "model.layers.{}.mamba.C_layernorm"];
    SsmD = "blk.{}.ssm_d", [Any],
        ["backbone.layers.{}.mixer.D", "model.layers.{}.mamba.D"];
    SsmNorm = "blk.{}.ssm_norm", [Any],
        ["backbone.layers.{}.mixer.norm", "model.layers.{}.mamba.norm"];
    SsmOut = "blk.{}.ssm_out", [Embedding, Any],
        ["backbone.layers.{}.mixer.out_proj", "model.layers.{}.mamba.out_proj"];
    AttnGate = "blk.{}.attn_gate", [Any, Embedding],
        ["model.layers.{}.linear_attn.in_proj_z"];
    SsmBetaAlpha = "blk.{}.ssm_ba", [Any, Embedding],
        ["model.layers.{}.linear_attn.in_proj_ba"];
    SsmBeta = "blk.{}.ssm_beta", [Any, Embedding],
        ["model.layers.{}.linear_attn.in_proj_b"];
    SsmAlpha = "blk.{}.ssm_alpha", [Any, Embedding],
        ["model.layers.{}.linear_attn.in_proj_a"];
    NextnEhProj = "blk.{}.nextn.eh_proj", [Embedding, Any],
        ["model.layers.{}.eh_proj"];
    NextnEmbedTokens = "blk.{}.nextn.embed_tokens", [Vocabulary, Embedding],
        ["model.layers.{}.embed_tokens"];
    NextnEnorm = "blk.{}.nextn.enorm", [Embedding],
        ["model.layers.{}.enorm"];
    NextnHnorm = "blk.{}.nextn.hnorm", [Embedding],
        ["model.layers.{}.hnorm"];
    NextnSharedHeadHead = "blk.{}.nextn.shared_head_head", [Vocabulary, Embedding],
        ["model.layers.{}.shared_head.head"];
    NextnSharedHeadNorm = "blk.{}.nextn.shared_head_norm", [Embedding],
        ["model.layers.{}.shared_head.norm"];
    ShortconvConv = "blk.{}.shortconv.conv", [Embedding, One, Any],
        ["model.layers.{}.conv.conv"];
    ShortconvInProj = "blk.{}.shortconv.in_proj", [ThreeEmbedding, Embedding],
        ["model.layers.{}.conv.in_proj"];
    ShortconvOutProj = "blk.{}.shortconv.out_proj", [Embedding, Embedding],
        ["model.layers.{}.conv.out_proj"];
}

impl Tensor {
    /// Whether the name has no suffix in the GGUF file; those in checkpoints are whole.
    pub const fn is_bare(self) -> bool {
        matches!(self, Tensor::SsmA | Tensor::SsmD | Tensor::FfnNormBare)
    }

    /// Whether the checkpoint has logarithms of rates, and the GGUF file the rates, less than nothing.
    pub const fn is_rate(self) -> bool {
        matches!(self, Tensor::SsmA)
    }

    /// Whether there is a bias only, of the weight's extents.
    pub const fn is_bias(self) -> bool {
        matches!(self, Tensor::FfnExpProbsB)
    }

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
                | Tensor::SsmConv1d
                | Tensor::ShortconvConv
        )
    }

    /// Whether an extent of one in the middle of the checkpoint's shape is left out.
    pub const fn is_squeezed(self) -> bool {
        matches!(self, Tensor::ShortconvConv | Tensor::SsmConv1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
