//! Tensors that become several, parts of one, or matrices of other extents.

use super::*;

/// A model of two experts, 6 wide.
fn mixtral() -> (Json, Vec<Row>) {
    let config =
        json!({ "architectures": ["MixtralForCausalLM"], "num_local_experts": 2, "intermediate_size": 6 });
    let mut rows = layers("model.", "BF16");
    rows.retain(|(name, ..)| !name.contains("mlp"));
    rows.push(("model.layers.0.block_sparse_moe.gate.weight".to_owned(), "BF16", vec![2, 8]));
    for (expert, name) in [(1, "w1"), (0, "w3"), (0, "w1"), (1, "w3"), (0, "w2"), (1, "w2")] {
        let shape = if name == "w2" { vec![8, 6] } else { vec![6, 8] };
        rows.push((format!("model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight"), "BF16", shape));
    }
    (llama(config), rows)
}

#[test]
fn experts_become_one_tensor_of_a_part_each() {
    let (config, mut rows) = mixtral();
    let (_dir, checkpoint) = folder(&config, &rows);
    let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
    let gate = tensors.iter().find(|t| t.name == "blk.0.ffn_gate_exps.weight").unwrap();
    assert_eq!((gate.shape.as_slice(), gate.ty), ([8, 6, 2].as_slice(), GgmlType::BF16));
    let Recipe::Rows { parts, order: RowOrder::Natural, change: Change::None } = &gate.source else {
        panic!("{gate:?}")
    };
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let named = |expert| format!("model.layers.0.block_sparse_moe.experts.{expert}.w1.weight");
    assert_eq!(names, [named(0), named(1)]);
    let router = tensors.iter().find(|t| t.name == "blk.0.ffn_gate_inp.weight").unwrap();
    assert_eq!(router.ty, GgmlType::F32);

    let at = rows.iter().position(|(name, ..)| *name == named(1)).unwrap();
    rows[at].1 = "F16";
    assert!(matches!(refused(&config, &rows), E::MixedTypes { name, .. } if name == named(1)));
    // A configuration without a class may leave a width unsaid.
    let mut unsaid = config;
    unsaid["model_type"] = json!("novel");
    unsaid.as_object_mut().unwrap().remove("intermediate_size");
    rows[at] = (named(1), "BF16", vec![5, 8]);
    assert!(matches!(refused(&unsaid, &rows), E::Shape { name, .. } if name == named(1)));
}

#[test]
fn fused_matrices_are_cut_by_the_widths_stated() {
    let config =
        llama(json!({ "architectures": ["Ernie4_5ForCausalLM"], "model_type": "ernie4_5", "head_dim": 4 }));
    let mut rows = layers("ernie.", "F32");
    rows.retain(|(name, ..)| {
        !["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].iter().any(|p| name.contains(p))
    });
    rows.push(("ernie.layers.0.self_attn.qkv_proj.weight".to_owned(), "F32", vec![16, 8]));
    rows.push(("ernie.layers.0.mlp.up_gate_proj.weight".to_owned(), "F32", vec![24, 8]));
    let (_dir, checkpoint) = folder(&config, &rows);
    let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
    let fused = checkpoint.tensor("ernie.layers.0.self_attn.qkv_proj.weight").unwrap().entry.range.start;
    for (name, shape, before) in
        [("attn_q", [8, 8], 0), ("attn_k", [8, 4], 8 * 8 * 4), ("attn_v", [8, 4], 12 * 8 * 4)]
    {
        let tensor = tensors.iter().find(|t| t.name == format!("blk.0.{name}.weight")).unwrap();
        let Recipe::Rows { parts, .. } = &tensor.source else { panic!("{name}") };
        assert_eq!((tensor.shape.as_slice(), parts[0].offset), (shape.as_slice(), fused + before), "{name}");
    }
    rows.last_mut().unwrap().2 = vec![25, 8];
    assert!(matches!(refused(&config, &rows), E::Shape { found, .. } if found == [25, 8]));
    // Widths whose sum is that of the matrix, but for what 64 bits do not hold.
    rows.last_mut().unwrap().2 = vec![24, 8];
    let mut hostile = config;
    hostile["head_dim"] = json!((1u64 << 62) + 4);
    rows.retain(|(name, ..)| !name.contains("o_proj"));
    assert!(matches!(refused(&hostile, &rows), E::Shape { found, .. } if found == [16, 8]));
}

#[test]
fn rerankers_keep_the_rows_of_their_answers() {
    let tied = json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 4, "tie_word_embeddings": true
    });
    let (dir, checkpoint) = folder(&llama(tied), &layers("model.", "BF16"));
    let plain = convert(&checkpoint, OutType::BF16).unwrap();
    assert_eq!(plain.metadata.get("qwen3.pooling_type"), None);

    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file("README.md", "---\n---\n# Qwen3-Reranker-0.6B\n");
    file("tokenizer_config.json", r#"{ "tokenizer_class": "Qwen2Tokenizer", "unk_token": "e" }"#);
    let vocab = |list: &str| {
        file(
            "tokenizer.json",
            &format!(r#"{{ "model": {{ "type": "BPE", "vocab": {list}, "merges": [] }} }}"#),
        );
    };
    let answers = |expected: [u64; 2]| {
        let found = convert(&checkpoint, OutType::BF16).unwrap();
        let names: Vec<&str> = found.tensors.iter().map(|t| t.name.as_str()).take(2).collect();
        assert_eq!(names, ["cls.output.weight", "token_embd.weight"]);
        let Recipe::Rows { parts, .. } = &found.tensors[0].source else { panic!("rows") };
        let Recipe::Rows { parts: whole, .. } = &found.tensors[1].source else { panic!("rows") };
        let rows: Vec<u64> = parts.iter().map(|p| (p.offset - whole[0].offset) / 16).collect();
        assert_eq!((rows.as_slice(), found.tensors[0].shape.as_slice()), (&expected[..], &[8, 2][..]));
        assert_eq!(found.metadata.get("qwen3.pooling_type"), Some(&4u32.into()));
    };
    vocab(r#"{ "e": 1, "no": 3, "yes": 7 }"#);
    answers([7, 3]);
    // What is no token is the unknown one.
    vocab(r#"{ "e": 1, "yes": 9 }"#);
    answers([9, 1]);
    vocab(r#"{ "e": 1, "yes": 10 }"#);
    assert!(matches!(convert(&checkpoint, OutType::BF16), Err(E::Shape { .. })));
}

/// A Roberta whose texts start at position 2.
#[test]
fn positions_of_padding_are_cut_off() {
    let config = json!({
        "architectures": ["XLMRobertaForSequenceClassification"], "model_type": "xlm-roberta", "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10,
        "max_position_embeddings": 6, "pad_token_id": 1, "id2label": { "0": "LABEL_0" }
    });
    let rows: Vec<Row> = [
        ("roberta.embeddings.position_embeddings.weight", "F16", vec![6, 8]),
        ("roberta.embeddings.position_ids", "I64", vec![1, 6]),
        ("roberta.encoder.layer.0.output.LayerNorm.gamma", "F16", vec![8]),
        ("roberta.encoder.layer.0.output.LayerNorm.beta", "F16", vec![8]),
        ("classifier.weight", "F16", vec![1, 8]),
        ("classifier.bias", "F16", vec![1]),
    ]
    .map(|(name, ty, shape)| (name.to_owned(), ty, shape))
    .into();
    let (_dir, checkpoint) = folder(&config, &rows);
    let found = convert(&checkpoint, OutType::Auto).unwrap();
    let names: Vec<(&str, &[u64])> = found.tensors.iter().map(|t| (t.name.as_str(), &*t.shape)).collect();
    assert_eq!(
        names,
        [
            ("cls.output.bias", &[1][..]),
            ("cls.output.weight", &[8, 1]),
            ("position_embd.weight", &[8, 4]),
            ("blk.0.layer_output_norm.bias", &[8]),
            ("blk.0.layer_output_norm.weight", &[8]),
        ]
    );
    let Recipe::Rows { parts, .. } = &found.tensors[2].source else { panic!("rows") };
    let source = checkpoint.tensor("roberta.embeddings.position_embeddings.weight").unwrap();
    assert_eq!(parts[0].offset, source.entry.range.start + 2 * 8 * 2);
    assert_eq!(found.tensors[2].ty, GgmlType::F32);
    assert_eq!(found.metadata.get("bert.context_length"), Some(&4u32.into()));
    let labels = Value::from(vec!["LABEL_0".to_owned()]);
    assert_eq!(found.metadata.get("bert.classifier.output_labels"), Some(&labels));
}

#[test]
fn groups_of_heads_become_a_run_of_rows_each() {
    let config = json!({
        "architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "hidden_size": 16, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 10
    });
    let name = "model.layers.0.attention.wqkv.weight";
    let rows = vec![(name.to_owned(), "F32", vec![(4 + 2 * 2) * 4, 16])];
    let (_dir, checkpoint) = folder(&config, &rows);
    let start = checkpoint.tensor(name).unwrap().entry.range.start;
    let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
    let rope = RowOrder::Rope { heads: 1 };
    let expected: [(&str, u64, &[u64], RowOrder); 3] = [
        ("blk.0.attn_q.weight", 16, &[0, 1, 4, 5], rope),
        ("blk.0.attn_k.weight", 8, &[2, 6], rope),
        ("blk.0.attn_v.weight", 8, &[3, 7], RowOrder::Natural),
    ];
    assert_eq!(tensors.len(), expected.len());
    for (tensor, (name, rows, heads, expected)) in tensors.iter().zip(expected) {
        assert_eq!((tensor.name.as_str(), tensor.shape.as_slice()), (name, [16, rows].as_slice()));
        let Recipe::Rows { parts, order, .. } = &tensor.source else { panic!("{name}") };
        let head_bytes = 4 * 16 * 4;
        let found: Vec<u64> = parts.iter().map(|part| (part.offset - start) / head_bytes).collect();
        assert_eq!((found.as_slice(), *order), (heads, expected), "{name}");
    }
    for shape in [vec![31, 16], vec![32, 8], vec![32]] {
        let rows = [(name.to_owned(), "F32", shape.clone())];
        assert!(matches!(refused(&config, &rows), E::Shape { found, .. } if found == shape));
    }
}

#[test]
fn vectors_of_state_space_layers_become_matrices() {
    let config = json!({
        "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 8, "num_hidden_layers": 1,
        "vocab_size": 10, "head_dim": 4, "n_groups": 2
    });
    let rows: Vec<Row> =
        [("A_log", vec![4]), ("D", vec![4]), ("norm.weight", vec![16]), ("conv1d.weight", vec![16, 1, 4])]
            .map(|(name, shape)| (format!("backbone.layers.0.mixer.{name}"), "F32", shape))
            .into();
    let (_dir, checkpoint) = folder(&config, &rows);
    let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
    let found: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.clone(), t.ty)).collect();
    let expected = [
        ("blk.0.ssm_a", vec![1, 4], GgmlType::F32),
        ("blk.0.ssm_d", vec![1, 4], GgmlType::F32),
        ("blk.0.ssm_conv1d.weight", vec![4, 16], GgmlType::F32),
        ("blk.0.ssm_norm.weight", vec![8, 2], GgmlType::F32),
    ];
    assert_eq!(found, expected);
}
