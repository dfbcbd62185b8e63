//! What is not converted, and what is said of it.

use super::*;

#[test]
fn of_mistrals_own_format_what_is_not_supported_is_named() {
    let check = |params: &str, expected: &str| {
        let folder = TempDir::new().unwrap();
        write_shard(
            &folder.path().join("consolidated.safetensors"),
            &[("norm.weight".to_owned(), "BF16", vec![8])],
        );
        std::fs::write(folder.path().join("params.json"), params).unwrap();
        let e = config::read(&Checkpoint::open(folder.path()).unwrap(), &()).err().unwrap();
        let cause = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{e}: {cause}").contains(expected), "{e}: {cause}");
    };
    check("[]", "`params.json` is no valid JSON");
    check(
        r#"{"moe": {"num_experts": 8}}"#,
        "`params.json`, in Mistral's own format, is not supported: the configuration's `moe`",
    );
    check(r#"{"n_layers": 99999999999}"#, "`n_layers` is `99999999999`, which is not supported");
    check(r#"{"quantization": {"qformat_weight": "int4"}}"#, "`quantization`");
}

#[test]
fn what_is_not_supported_is_named() {
    let rows = layers("model.", "BF16");
    let with = |name: &str, dtype, shape: &[u64]| {
        let mut rows = rows.clone();
        rows.retain(|(n, ..)| n != name);
        rows.push((name.to_owned(), dtype, shape.to_vec()));
        rows
    };
    let plain = llama(json!({}));

    let e = refused(&llama(json!({ "architectures": ["NoSuchModel"] })), &rows);
    assert!(matches!(&e, E::Architecture(name) if name == "NoSuchModel"), "{e}");
    let e = refused(&llama(json!({ "architectures": [] })), &rows);
    assert!(matches!(&e, E::NoArchitecture), "{e}");
    let e = refused(&llama(json!({ "model_type": "xlnet" })), &rows);
    assert!(matches!(&e, E::ModelType { model_type, .. } if model_type == "xlnet"), "{e}");
    let e = refused(&llama(json!({ "model_type": null })), &rows);
    assert!(matches!(&e, E::NoModelType), "{e}");
    let e = refused(&llama(json!({ "quantization_config": { "quant_method": "gptq" } })), &rows);
    assert!(matches!(&e, E::Quantized { method } if method == "gptq"), "{e}");
    let nvfp4 = json!({ "quantization_config": { "quant_method": "modelopt", "quant_algo": "NVFP4" } });
    let e = refused(&llama(nvfp4), &rows);
    assert!(matches!(&e, E::Quantized { method } if method == "NVFP4"), "{e}");
    let e = refused(&llama(json!({ "thinker_config": {} })), &rows);
    assert!(matches!(&e, E::Hparam(HparamError::Unsupported { key, .. }) if key == "thinker_config"), "{e}");
    let e = refused(&llama(json!({ "llm_config": { "architectures": ["NoSuchModel"] } })), &rows);
    assert!(matches!(&e, E::Architecture(name) if name == "NoSuchModel"), "{e}");
    let e = refused(&llama(json!({ "num_hidden_layers": u32::MAX })), &rows);
    assert!(
        matches!(&e, E::Hparam(HparamError::Unsupported { key, .. }) if key == "num_hidden_layers"),
        "{e}"
    );
    let e = refused(&llama(json!({ "text_config": 7 })), &rows);
    assert!(matches!(&e, E::Hparam(HparamError::Type { key, .. }) if key == "text_config"), "{e}");
    let e = refused(&llama(json!({ "max_position_embeddings": 256.0 })), &rows);
    assert!(
        matches!(&e, E::Hparam(HparamError::Type { key, .. }) if key == "max_position_embeddings"),
        "{e}"
    );

    let mut unknown = llama(json!({ "model_type": "no_such_type" }));
    unknown.as_object_mut().unwrap().remove("num_key_value_heads");
    let e = refused(&unknown, &rows);
    assert!(e.to_string().contains("`num_key_value_heads`"), "{e}");

    let e = refused(&plain, &with("model.layers.0.mlp.rotor.weight", "BF16", &[8, 8]));
    assert!(matches!(&e, E::Unmapped { name, .. } if name.contains("rotor")), "{e}");
    let e = refused(&plain, &with("model.layers.1.mlp.up_proj.weight", "BF16", &[12, 8]));
    assert!(matches!(&e, E::Unmapped { .. }), "a layer too many: {e}");
    let e = refused(&plain, &with("model.layers.0.mlp.experts.0.up_proj.weight", "BF16", &[8, 8]));
    assert!(matches!(&e, E::Expert { .. }), "{e}");
    let expert = |number: u32| format!("model.layers.0.block_sparse_moe.experts.{number}.w1.weight");
    let e = refused(&plain, &with(&expert(0), "BF16", &[12, 8]));
    assert!(e.to_string().contains("`num_local_experts`"), "{e}");
    let two = llama(json!({ "num_local_experts": 2 }));
    let e = refused(&two, &with(&expert(2), "BF16", &[12, 8]));
    assert!(matches!(&e, E::Number { count: 2, .. }), "{e}");
    let e = refused(&two, &with(&expert(1), "BF16", &[12, 8]));
    assert!(matches!(&e, E::Stack { found: 1, wanted: 6, .. }), "{e}");
    let e = refused(&plain, &with("model.layers.0.mlp.up_proj.weight", "I64", &[12, 8]));
    assert!(matches!(&e, E::Dtype { .. }), "{e}");
    let e = refused(&plain, &with("model.layers.0.mlp.up_proj.weight", "BF16", &[12, 9]));
    assert_eq!(
        e.to_string(),
        "tensor `model.layers.0.mlp.up_proj.weight` has the shape [12, 9], not [12, 8]"
    );
    let e = refused(&plain, &with("model.norm.weight", "BF16", &[]));
    assert!(matches!(&e, E::Shape { .. }), "{e}");
    let e = refused(&plain, &with("layers.0.mlp.up_proj.weight", "BF16", &[12, 8]));
    assert!(matches!(&e, E::Collision { name, .. } if name == "blk.0.ffn_up.weight"), "{e}");
}
