//! NomicBert: Bert with rotary embeddings and gates, and in its second version with experts.

use super::bert::BERT_LIKE;
use super::{Extent, Family, HparamError, Hparams, Skip, Tensor, Vocabulary};

/// `NomicBertModel` in the reference's `conversion/bert.py`, but for the version with experts.
pub(super) static NOMIC_BERT: Family = Family {
    name: "nomic-bert",
    architectures: &["NomicBertModel"],
    skipped: &[
        Skip::Name("embeddings.position_ids"),
        Skip::Name("pooler.dense.weight"),
        Skip::Name("pooler.dense.bias"),
        Skip::Prefix("cls.predictions"),
        Skip::Prefix("cls.seq_relationship"),
        Skip::Part("mlp.experts.bias"),
    ],
    tensors: &[&[
        Tensor::TokenEmbd,
        Tensor::TokenEmbdNorm,
        Tensor::TokenTypes,
        Tensor::AttnOutNorm,
        Tensor::AttnQkv,
        Tensor::AttnOut,
        Tensor::FfnGate,
        Tensor::FfnDown,
        Tensor::FfnUp,
        Tensor::LayerOutNorm,
    ]],
    shapes: &[(Tensor::AttnQkv, &[Extent::ThreeEmbedding, Extent::Embedding])],
    adjust,
    vocabulary: Vocabulary::NomicBert,
    ..BERT_LIKE
};

/// `NomicBertModel.__init__`: what the models were trained for, and what llama.cpp computes.
fn adjust(h: &mut Hparams) -> Result<(), HparamError> {
    const EXPERTS: &str = "moe_every_n_layers";
    if let Some(every) = h.get(EXPERTS).filter(|v| v.as_u64() != Some(0)) {
        return Err(HparamError::unsupported(EXPERTS, every));
    }
    const POSITIONS: &str = "n_positions";
    let trained = match h.get("max_trained_positions") {
        Some(_) => h.required_count(&["max_trained_positions"])?,
        None => 2048,
    };
    let positions = match (h.required_count(&[POSITIONS])?, trained) {
        (8192, 2048) => 2048u32,
        (2048, 2048) => 512,
        (other, _) => return Err(HparamError::unsupported(POSITIONS, &other.into())),
    };
    for (key, expected) in [
        ("activation_function", serde_json::json!("swiglu")),
        ("causal", false.into()),
        ("qkv_proj_bias", false.into()),
        ("mlp_fc1_bias", false.into()),
        ("mlp_fc2_bias", false.into()),
        ("prenorm", false.into()),
        ("rotary_emb_interleaved", false.into()),
        ("rotary_emb_scale_base", serde_json::Value::Null),
    ] {
        let stated = h.values().get(key).ok_or_else(|| HparamError::missing(&[key]))?;
        if *stated != expected {
            return Err(HparamError::unsupported(key, stated));
        }
    }
    const FRACTION: &str = "rotary_emb_fraction";
    let fraction = h.get(FRACTION).ok_or_else(|| HparamError::missing(&[FRACTION]))?;
    if fraction.as_f64() != Some(1.0) {
        return Err(HparamError::unsupported(FRACTION, fraction));
    }
    h.set(POSITIONS, positions.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_llama_cpp_computes_passes() {
        let config = || -> Hparams {
            let json = r#"{"n_positions": 8192, "max_trained_positions": 2048, "activation_function": "swiglu",
                "causal": false, "qkv_proj_bias": false, "mlp_fc1_bias": false, "mlp_fc2_bias": false,
                "prenorm": false, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false,
                "rotary_emb_scale_base": null}"#;
            Hparams::new(serde_json::from_str(json).unwrap())
        };
        let mut h = config();
        adjust(&mut h).unwrap();
        assert_eq!(h.required_count(&["n_positions"]), Ok(2048));
        for (key, value) in [
            ("n_positions", serde_json::json!(1024)),
            ("activation_function", "gelu".into()),
            ("causal", true.into()),
            ("prenorm", true.into()),
            ("rotary_emb_fraction", 0.5.into()),
            ("rotary_emb_scale_base", 2.into()),
            ("moe_every_n_layers", 2.into()),
        ] {
            let mut h = config();
            h.set(key, value);
            assert!(matches!(adjust(&mut h), Err(HparamError::Unsupported { .. })), "{key}");
        }
    }
}
