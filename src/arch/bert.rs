//! Bert and its kin: encoders that embed texts or rank them, with absolute positions and norms behind each part.
//!
//! They share a `general.architecture`, and differ in the names of their tensors, their tokenizers, and in where the
//! positions start. Jina's second generation has no positions, and gates.

use super::key::labels;
use super::tensor_sets::HEAD_NORMS;
use super::{Extent, Family, HparamError, Hparams, Key, Skip, Tensor, Vocabulary};
use crate::gguf::Value;

/// What classes derived from `BertModel` have of it.
pub(super) const BERT_LIKE: Family = Family {
    stripped: &["bert."],
    // The names that TensorFlow gave the parts of norms.
    endings: &[(".gamma", ".weight"), (".beta", ".bias")],
    skipped: SKIPPED,
    labelled: LABELLED,
    shapes: SHAPES,
    keys: BERT_KEYS,
    vocabulary: Vocabulary::Bert,
    ..Family::PLAIN
};

/// `BertModel.filter_tensors`: positions that count upwards, and the heads of pre-training.
const SKIPPED: &[Skip] = &[
    Skip::Name("embeddings.position_ids"),
    Skip::Name("pooler.dense.weight"),
    Skip::Name("pooler.dense.bias"),
    Skip::Prefix("cls.predictions"),
    Skip::Prefix("cls.seq_relationship"),
];

/// `BertModel.modify_tensors`.
const LABELLED: &[(&str, &str)] =
    &[("classifier.weight", "classifier.out_proj.weight"), ("classifier.bias", "classifier.out_proj.bias")];

/// Keys have as many heads as queries.
const SHAPES: &[(Tensor, &[Extent])] = &[
    (Tensor::AttnK, &[Extent::Query, Extent::Embedding]),
    (Tensor::AttnV, &[Extent::Query, Extent::Embedding]),
];

const BERT_TENSORS: &[&[Tensor]] = &[&[
    Tensor::TokenEmbd,
    Tensor::TokenEmbdNorm,
    Tensor::TokenTypes,
    Tensor::PosEmbd,
    Tensor::AttnOutNorm,
    Tensor::AttnQ,
    Tensor::AttnK,
    Tensor::AttnV,
    Tensor::AttnOut,
    Tensor::FfnDown,
    Tensor::FfnUp,
    Tensor::LayerOutNorm,
    Tensor::Cls,
    Tensor::ClsOut,
]];

/// `BertModel.set_gguf_parameters`.
pub(super) const BERT_KEYS: &[Key] = &[Key::Common, NOT_CAUSAL, Key::Pooling, LABELS];

/// `{arch}.attention.causal`: each token attends to those after it as well.
pub(super) const NOT_CAUSAL: Key = Key::Is("attention.causal", |_| Ok(Some(false.into())));

/// `{arch}.classifier.output_labels`.
const LABELS: Key = Key::Is("classifier.output_labels", |m| Ok(labels(m.hparams)?.map(Value::from)));

/// `BertModel` in the reference's `conversion/bert.py`.
pub(super) static BERT: Family = Family {
    name: "bert",
    architectures: &["BertModel", "BertForMaskedLM", "BertForSequenceClassification"],
    tensors: BERT_TENSORS,
    ..BERT_LIKE
};

/// `DistilBertModel` in the reference's `conversion/bert.py`.
pub(super) static DISTIL_BERT: Family = Family {
    name: "bert",
    architectures: &["DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification"],
    stripped: &["distilbert.", "bert."],
    skipped: &[
        SKIPPED[0],
        SKIPPED[1],
        SKIPPED[2],
        SKIPPED[3],
        SKIPPED[4],
        // The head of pre-training.
        Skip::Prefix("vocab_"),
    ],
    tensors: BERT_TENSORS,
    keys: &[Key::Is("attention.layer_norm_epsilon", |_| Ok(Some(1e-12f32.into()))), Key::All(BERT_KEYS)],
    ..BERT_LIKE
};

/// `RobertaModel` in the reference's `conversion/bert.py`.
pub(super) static ROBERTA: Family = Family {
    name: "bert",
    architectures: &["RobertaModel", "RobertaForSequenceClassification"],
    stripped: &["roberta.", "bert."],
    cut_rows: &[(Tensor::PosEmbd, first_position)],
    tensors: BERT_TENSORS,
    adjust: fewer_positions,
    vocabulary: Vocabulary::Roberta,
    ..BERT_LIKE
};

/// `XLMRobertaModel` in the reference's `conversion/bert.py`, but for adapters (`lora_adaptations`).
pub(super) static XLM_ROBERTA: Family = Family {
    name: "bert",
    architectures: &["XLMRobertaModel", "XLMRobertaForSequenceClassification"],
    stripped: &["roberta.", "bert."],
    cut_rows: &[(Tensor::PosEmbd, first_position)],
    tensors: BERT_TENSORS,
    adjust: |h| {
        const ADAPTERS: &str = "lora_adaptations";
        match h.get(ADAPTERS).filter(|v| v.as_array().is_none_or(|list| !list.is_empty())) {
            Some(adapters) => Err(HparamError::unsupported(ADAPTERS, adapters)),
            None => fewer_positions(h),
        }
    },
    vocabulary: Vocabulary::XlmRoberta,
    ..BERT_LIKE
};

/// The position of a text's first token: those before belong to padding.
fn first_position(h: &Hparams) -> Result<u64, HparamError> {
    Ok(h.count(&["pad_token_id"])?.map_or(0, |padding| u64::from(padding) + 1))
}

fn fewer_positions(h: &mut Hparams) -> Result<(), HparamError> {
    const POSITIONS: &str = "max_position_embeddings";
    if let Some(positions) = h.count(&[POSITIONS])? {
        let left = u64::from(positions).checked_sub(first_position(h)?);
        let left = left.ok_or_else(|| HparamError::unsupported(POSITIONS, &positions.into()))?;
        h.set(POSITIONS, left.into());
    }
    Ok(())
}

/// `JinaBertV2Model` in the reference's `conversion/bert.py`.
pub(super) static JINA_BERT: Family = Family {
    name: "jina-bert-v2",
    architectures: &["JinaBertModel", "JinaBertForMaskedLM"],
    tensors: &[
        HEAD_NORMS,
        &[
            Tensor::TokenEmbd,
            Tensor::TokenEmbdNorm,
            Tensor::TokenTypes,
            Tensor::AttnNorm2,
            Tensor::AttnOutNorm,
            Tensor::AttnQ,
            Tensor::AttnK,
            Tensor::AttnV,
            Tensor::AttnOut,
            Tensor::FfnUp,
            Tensor::FfnGate,
            Tensor::FfnDown,
            Tensor::LayerOutNorm,
            Tensor::Cls,
        ],
    ],
    shapes: &[
        SHAPES[0],
        SHAPES[1],
        (Tensor::AttnQNorm, &[Extent::Embedding]),
        (Tensor::AttnKNorm, &[Extent::Embedding]),
        // Most have the gate in it.
        (Tensor::FfnUp, &[Extent::Any, Extent::Embedding]),
    ],
    vocabulary: Vocabulary::JinaBert,
    ..BERT_LIKE
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_start_behind_the_padding() {
        let check = |json: &str, cut: u64, left: Option<u32>| {
            let mut h = Hparams::new(serde_json::from_str(json).unwrap());
            assert_eq!(first_position(&h), Ok(cut), "{json}");
            let adjusted =
                (XLM_ROBERTA.adjust)(&mut h).map(|()| h.required_count(&["max_position_embeddings"]));
            assert_eq!(adjusted.ok().and_then(Result::ok), left, "{json}");
        };
        check(r#"{"pad_token_id": 1, "max_position_embeddings": 514}"#, 2, Some(512));
        check(r#"{"pad_token_id": null, "max_position_embeddings": 512}"#, 0, Some(512));
        check(r#"{"pad_token_id": 9, "max_position_embeddings": 4}"#, 10, None);
        check(r#"{"pad_token_id": 1, "max_position_embeddings": 514, "lora_adaptations": ["a"]}"#, 2, None);
    }
}
