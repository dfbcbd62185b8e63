//! The keys that hyper-parameters become.

use super::*;

/// All keys but those of every model, in order.
#[track_caller]
fn check_keys(config: &Json, expected: &[(&str, Value)]) {
    let (_dir, checkpoint) = folder(config, &layers("model.", "BF16"));
    let found = convert(&checkpoint, OutType::BF16).unwrap().metadata;
    let found: Vec<(&str, &Value)> = found.iter().collect();
    let expected: Vec<(&str, &Value)> = expected.iter().map(|(k, v)| (*k, v)).collect();
    assert_eq!(found, expected);
}

#[test]
fn keys_of_a_llama() {
    check_keys(
        &llama(json!({})),
        &[
            ("llama.block_count", 1u32.into()),
            ("llama.context_length", 256u32.into()),
            ("llama.embedding_length", 8u32.into()),
            ("llama.feed_forward_length", 12u32.into()),
            ("llama.attention.head_count", 2u32.into()),
            ("llama.attention.head_count_kv", 1u32.into()),
            ("llama.rope.freq_base", 10000f32.into()),
            ("llama.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            ("llama.attention.key_length", 4u32.into()),
            ("llama.attention.value_length", 4u32.into()),
            ("general.file_type", 32u32.into()),
            ("llama.vocab_size", 10u32.into()),
            ("llama.rope.dimension_count", 4u32.into()),
            ("general.quantization_version", 2u32.into()),
        ],
    );
}

#[test]
fn keys_of_a_mistral_with_yarn() {
    let config = json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "rope_theta": 1_000_000,
        "rope_scaling": { "type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "beta_fast": 32,
            "attention_factor": null, "attn_factor": 2.0 }
    });
    check_keys(
        &llama(config),
        &[
            ("llama.block_count", 1u32.into()),
            ("llama.context_length", 256u32.into()),
            ("llama.embedding_length", 8u32.into()),
            ("llama.feed_forward_length", 12u32.into()),
            ("llama.attention.head_count", 2u32.into()),
            ("llama.attention.head_count_kv", 1u32.into()),
            ("llama.rope.scaling.type", "yarn".into()),
            ("llama.rope.scaling.factor", 4f32.into()),
            ("llama.rope.scaling.original_context_length", 64u32.into()),
            ("llama.rope.scaling.yarn_beta_fast", 32f32.into()),
            ("llama.rope.freq_base", 1e6f32.into()),
            ("llama.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            ("general.file_type", 32u32.into()),
            ("llama.vocab_size", 10u32.into()),
            ("llama.rope.dimension_count", 4u32.into()),
            ("general.quantization_version", 2u32.into()),
        ],
    );
}

#[test]
fn keys_of_a_qwen2() {
    let config = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "sliding_window": 128, "classifier_pooling": "mean",
        "rope_scaling": { "type": "linear", "factor": 2.5 }
    });
    check_keys(
        &llama(config),
        &[
            ("qwen2.block_count", 1u32.into()),
            ("qwen2.context_length", 256u32.into()),
            ("qwen2.embedding_length", 8u32.into()),
            ("qwen2.feed_forward_length", 12u32.into()),
            ("qwen2.attention.head_count", 2u32.into()),
            ("qwen2.attention.head_count_kv", 1u32.into()),
            ("qwen2.rope.scaling.type", "linear".into()),
            ("qwen2.rope.scaling.factor", 2.5f32.into()),
            ("qwen2.rope.freq_base", 10000f32.into()),
            ("qwen2.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            ("general.file_type", 32u32.into()),
            ("qwen2.classifier.pooling_type", 1u32.into()),
            ("general.quantization_version", 2u32.into()),
        ],
    );
}

#[test]
fn a_refused_configuration_is_read_without_defaults() {
    let config = llama(json!({ "rope_scaling": { "rope_type": "linear" }, "rope_theta": 500_000 }));
    let (_dir, checkpoint) = folder(&config, &layers("model.", "BF16"));
    let metadata = convert(&checkpoint, OutType::BF16).unwrap().metadata;
    assert_eq!(metadata.get("llama.attention.key_length"), None);
    assert_eq!(metadata.get("llama.rope.dimension_count"), Some(&4u32.into()));
    assert_eq!(metadata.get("llama.rope.freq_base"), Some(&500_000f32.into()));
}

#[test]
fn pooling_comes_from_the_module_that_pools() {
    let check = |settings: Json, expected: u32| {
        let config = llama(json!({ "architectures": ["Qwen2Model"], "model_type": "qwen2" }));
        let (dir, checkpoint) = folder(&config, &layers("", "BF16"));
        let modules =
            json!([{ "type": "x.Transformer", "path": "" }, { "type": "x.Pooling", "path": "1_Pooling" }]);
        std::fs::write(dir.path().join("modules.json"), modules.to_string()).unwrap();
        std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        std::fs::write(dir.path().join("1_Pooling/config.json"), settings.to_string()).unwrap();
        let metadata = convert(&checkpoint, OutType::BF16).unwrap().metadata;
        assert_eq!(metadata.get("qwen2.pooling_type"), Some(&expected.into()), "{settings}");
    };
    check(json!({ "pooling_mode_mean_tokens": false, "pooling_mode_lasttoken": true }), 3);
    check(json!({ "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true }), 1);
    check(json!({ "pooling_mode": "cls" }), 2);
}

#[test]
fn hostile_module_paths_stay_in_the_folder() {
    for path in ["../x", "/etc", "a/../../b", "c:\\x"] {
        let config = llama(json!({ "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2" }));
        let (dir, checkpoint) = folder(&config, &layers("model.", "BF16"));
        let modules = json!([{ "type": "x.Pooling", "path": path }]);
        std::fs::write(dir.path().join("modules.json"), modules.to_string()).unwrap();
        assert!(matches!(convert(&checkpoint, OutType::BF16), Err(E::Pooling { .. })), "{path}");
    }
}
