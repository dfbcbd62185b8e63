//! MiniCPM 1 and 2: Llama's layers with factors on embeddings, residuals and logits.

use super::hparams::double;
use super::{Computed, Family, Heads, HparamError, Key, Model, Tensor, Vocabulary};

/// `MiniCPMModel` in the reference's `conversion/minicpm.py`.
pub(super) static MINICPM: Family = Family {
    name: "minicpm",
    architectures: &["MiniCPMForCausalLM"],
    tensors: &[
        Tensor::TokenEmbd,
        Tensor::OutputNorm,
        Tensor::Output,
        Tensor::RopeFactorsLong,
        Tensor::RopeFactorsShort,
        Tensor::AttnNorm,
        Tensor::AttnQ,
        Tensor::AttnK,
        Tensor::AttnV,
        Tensor::AttnOut,
        Tensor::FfnNorm,
        Tensor::FfnGate,
        Tensor::FfnDown,
        Tensor::FfnUp,
    ],
    rope_rows: &[("q_proj", Heads::Query), ("k_proj", Heads::Key)],
    computed: &[Computed::RopeFactors],
    keys: &[
        Key::Common,
        Key::Is("embedding_scale", |m| Ok(Some((number(m, "scale_emb")? as f32).into()))),
        Key::Is("residual_scale", |m| {
            Ok(Some(((number(m, "scale_depth")? / number(m, "num_hidden_layers")?.sqrt()) as f32).into()))
        }),
        Key::Is("logit_scale", |m| {
            Ok(Some(((number(m, "hidden_size")? / number(m, "dim_model_base")?) as f32).into()))
        }),
    ],
    vocabulary: Vocabulary::SentencePiece,
    ..Family::PLAIN
};

fn number(m: &Model<'_>, key: &str) -> Result<f64, HparamError> {
    double(key, m.hparams.get(key).ok_or_else(|| HparamError::missing(&[key]))?)
}
