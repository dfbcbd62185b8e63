//! ModernBert and EuroBert: encoders with rotary embeddings and byte-level BPE.

use super::bert::{BERT_KEYS, BERT_LIKE, NOT_CAUSAL};
use super::key::{NO_ROPE_SCALING, VOCABULARY_SIZE, count_of};
use super::tensor_sets::{ATTENTION, GATED_FFN};
use super::{Extent, Family, HparamError, Key, Store, Tensor, Vocabulary, When};

/// `ModernBertModel` in the reference's `conversion/bert.py`: most layers attend to a window.
pub(super) static MODERN_BERT: Family = Family {
    name: "modern-bert",
    architectures: &["ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"],
    stripped: &["model.", "bert."],
    tensors: &[&[
        Tensor::TokenEmbd,
        Tensor::TokenEmbdNorm,
        Tensor::OutputNorm,
        Tensor::AttnNorm,
        Tensor::AttnOut,
        Tensor::AttnQkv,
        Tensor::FfnUp,
        Tensor::FfnDown,
        Tensor::FfnNorm,
        Tensor::Cls,
        Tensor::ClsOut,
        Tensor::ClsNorm,
    ]],
    shapes: &[
        (Tensor::AttnQkv, &[Extent::ThreeEmbedding, Extent::Embedding]),
        // The gate is in it.
        (Tensor::FfnUp, &[Extent::TwoFeedForward, Extent::Embedding]),
    ],
    keys: &[
        Key::All(BERT_KEYS),
        count_of("attention.sliding_window", &["local_attention"]),
        Key::Of(
            "attention.sliding_window_pattern",
            Store::Count,
            When::Given,
            &["global_attn_every_n_layers"],
        ),
        NO_ROPE_SCALING,
        VOCABULARY_SIZE,
        Key::Is("hidden_activation", |m| {
            const ACTIVATION: &str = "hidden_activation";
            match m.hparams.get(ACTIVATION) {
                None => Ok(None),
                Some(value) => match value.as_str() {
                    Some("") => Ok(None),
                    Some(name) => Ok(Some(name.into())),
                    None => Err(HparamError::wrong(ACTIVATION, value, "a name")),
                },
            }
        }),
    ],
    vocabulary: Vocabulary::ModernBert,
    ..BERT_LIKE
};

/// `EuroBertModel` in the reference's `conversion/bert.py`.
pub(super) static EURO_BERT: Family = Family {
    name: "eurobert",
    architectures: &["EuroBertModel", "JinaEmbeddingsV5Model"],
    stripped: &["model."],
    tensors: &[ATTENTION, GATED_FFN, &[Tensor::TokenEmbd, Tensor::OutputNorm]],
    keys: &[Key::Common, NOT_CAUSAL, NO_ROPE_SCALING, Key::Pooling],
    vocabulary: Vocabulary::EuroBert,
    ..Family::PLAIN
};
