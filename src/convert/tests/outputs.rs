//! Which tensors there are, in which order, and of which type.

use super::*;

#[test]
fn tensors_come_by_shard_and_name_with_their_rows_in_order() {
    let config = llama(json!({ "num_hidden_layers": 1 }));
    let (_dir, checkpoint) = folder(&config, &layers("model.", "BF16"));
    let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
    let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "token_embd.weight",
            "blk.0.attn_norm.weight",
            "blk.0.ffn_down.weight",
            "blk.0.ffn_gate.weight",
            "blk.0.ffn_up.weight",
            "blk.0.ffn_norm.weight",
            "blk.0.attn_k.weight",
            "blk.0.attn_output.weight",
            "blk.0.attn_q.weight",
            "blk.0.attn_v.weight",
            "output_norm.weight",
        ]
    );
    for t in &tensors {
        let heads = match t.name.as_str() {
            "blk.0.attn_q.weight" => Some(2),
            "blk.0.attn_k.weight" => Some(1),
            _ => None,
        };
        let expected = heads.map_or(RowOrder::Natural, |heads| RowOrder::Rope { heads });
        let Recipe::Rows { parts, order, .. } = &t.source else { panic!("{}", t.name) };
        assert_eq!(*order, expected, "{}", t.name);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].offset, checkpoint.tensor(&parts[0].name).unwrap().entry.range.start);
        let norm = t.name.contains("norm");
        assert_eq!(t.ty, if norm { GgmlType::F32 } else { GgmlType::BF16 }, "{}", t.name);
    }
    assert_eq!(tensors[0].shape, [8, 10]);
}

#[test]
fn shards_come_one_after_the_other() {
    let rows = layers("model.", "F16");
    let (dir, _) = folder(&llama(json!({})), &rows);
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let (last, first) = rows.split_at(2);
    write_shard(&dir.path().join("model-00001-of-00002.safetensors"), first);
    write_shard(&dir.path().join("model-00002-of-00002.safetensors"), last);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let tensors = convert(&checkpoint, OutType::Auto).unwrap().tensors;
    let ends: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).skip(9).collect();
    assert_eq!(ends, ["token_embd.weight", "output_norm.weight"]);
}

#[test]
fn output_types() {
    use GgmlType::{BF16, F16, F32, Q8_0};
    let check = |dtype: &'static str, out_type: OutType, width: u64, expected: GgmlType, file_type: u32| {
        let config = llama(json!({ "hidden_size": width, "head_dim": 4 }));
        let mut rows = layers("model.", dtype);
        for (_, _, shape) in &mut rows {
            shape.iter_mut().filter(|n| **n == 8).for_each(|n| *n = width);
        }
        let o_proj = rows.iter_mut().find(|(name, ..)| name.contains("o_proj")).unwrap();
        o_proj.2 = vec![width, 8];
        let q_proj = rows.iter_mut().find(|(name, ..)| name.contains("q_proj")).unwrap();
        q_proj.2 = vec![8, width];
        let (_dir, checkpoint) = folder(&config, &rows);
        let found = convert(&checkpoint, out_type).unwrap();
        assert_eq!(found.tensors[0].ty, expected, "{dtype} {out_type:?} {width}");
        assert_eq!(found.metadata.get("general.file_type"), Some(&file_type.into()));
    };
    check("F32", OutType::F32, 8, F32, 0);
    check("BF16", OutType::F16, 8, F16, 1);
    check("BF16", OutType::Q8_0, 8, F16, 7);
    check("BF16", OutType::Q8_0, 32, Q8_0, 7);
    check("BF16", OutType::Auto, 8, BF16, 32);
    check("F16", OutType::Auto, 8, F16, 1);
    check("F32", OutType::Auto, 8, F16, 1);
    check("F64", OutType::BF16, 8, BF16, 32);
}

#[test]
fn auto_passes_over_vectors_and_wide_types() {
    let mut rows = layers("model.", "BF16");
    for row in &mut rows {
        if row.0.contains("embed") || row.0.contains("down") {
            row.1 = "F32";
        } else if row.2.len() == 1 {
            row.1 = "F16";
        }
    }
    let (_dir, checkpoint) = folder(&llama(json!({})), &rows);
    let found = convert(&checkpoint, OutType::Auto).unwrap();
    assert_eq!(found.tensors[0].ty, GgmlType::BF16);
}

#[test]
fn llama3_factors_are_the_first_tensor() {
    let scaling = json!({ "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192 });
    let (_dir, checkpoint) = folder(&llama(json!({ "rope_scaling": scaling })), &layers("model.", "BF16"));
    let found = convert(&checkpoint, OutType::BF16).unwrap();
    assert_eq!(found.tensors[0].name, "rope_freqs.weight");
    assert_eq!(found.tensors[0].shape, [2]);
    assert_eq!(found.tensors[0].ty, GgmlType::F32);
    // Waves of 6.3 and 628 steps, both shorter than 8192 / 4.
    assert_eq!(found.tensors[0].source, Recipe::Values(vec![1.0, 1.0]));
}

#[test]
fn prefixes_are_put_before_and_dropped() {
    for (architecture, prefix) in [("LlamaModel", ""), ("LlamaForCausalLM", "language_model.model.")] {
        let config = llama(json!({ "architectures": [architecture] }));
        let (_dir, checkpoint) = folder(&config, &layers(prefix, "BF16"));
        let tensors = convert(&checkpoint, OutType::BF16).unwrap().tensors;
        assert_eq!(tensors[0].name, "token_embd.weight", "{architecture}");
        let q = tensors.iter().find(|t| t.name == "blk.0.attn_q.weight").unwrap();
        assert!(matches!(&q.source, Recipe::Rows { order: RowOrder::Rope { heads: 2 }, .. }));
    }
}

#[test]
fn tensors_of_no_use_are_left_out() {
    let mut rows = layers("model.", "BF16");
    rows.push(("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), "F32", vec![2]));
    rows.push(("model.vision_tower.patch.weight".to_owned(), "U8", vec![3, 3]));
    let (_dir, checkpoint) = folder(&llama(json!({})), &rows);
    assert_eq!(convert(&checkpoint, OutType::BF16).unwrap().tensors.len(), 11);
}

#[test]
fn a_text_model_within_another_is_found() {
    let text = json!({ "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 10, "model_type": "gemma3_text" });
    let config = json!({ "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text });
    let (dir, checkpoint) = folder(&config, &layers("language_model.model.", "BF16"));
    // A row without a token is cut off.
    let tokenizer = json!({ "model": { "vocab": { "a": 0, "b": 1 } }, "added_tokens": [] });
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let found = convert(&checkpoint, OutType::BF16).unwrap();
    assert_eq!(found.tensors[0].shape, [8, 2]);
    let norm = found.tensors.iter().find(|t| t.name == "output_norm.weight").unwrap();
    assert!(matches!(norm.source, Recipe::Rows { change: Change::Plus(1.0), .. }));
    assert_eq!(found.metadata.get("gemma3.attention.sliding_window"), Some(&4096u32.into()));
    assert_eq!(found.metadata.get("gemma3.rope.freq_base_swa"), Some(&10000f32.into()));
}

/// T5's embeddings stand under up to three names.
#[test]
fn the_first_of_shared_tensors_counts() {
    let config = json!({
        "architectures": ["T5EncoderModel"], "model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1,
        "num_heads": 2, "vocab_size": 10
    });
    let rows: Vec<Row> = [
        ("shared.weight", vec![10, 8]),
        ("encoder.embed_tokens.weight", vec![10, 8]),
        ("encoder.block.0.layer.0.layer_norm.weight", vec![8]),
    ]
    .map(|(name, shape)| (name.to_owned(), "F32", shape))
    .into();
    let (_dir, checkpoint) = folder(&config, &rows);
    let found = convert(&checkpoint, OutType::F32).unwrap();
    let names: Vec<&str> = found.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["enc.blk.0.attn_norm.weight", "token_embd.weight"]);
    let Recipe::Rows { parts, .. } = &found.tensors[1].source else { panic!("rows") };
    assert_eq!(parts[0].name, "encoder.embed_tokens.weight");
    assert_eq!(found.metadata.get("t5encoder.context_length"), Some(&512u32.into()));
}

#[test]
fn numbers_of_layers_become_metadata() {
    let config =
        llama(json!({ "architectures": ["ApertusForCausalLM"], "model_type": "apertus", "head_dim": 4,
        "rope_scaling": null }));
    let name = "model.layers.0.mlp.act_fn.beta";
    let rows = vec![
        (name.to_owned(), "BF16", vec![]),
        ("model.layers.0.mlp.act_fn.alpha_n".to_owned(), "F32", vec![1]),
        ("model.layers.0.feedforward_layernorm.weight".to_owned(), "BF16", vec![8]),
    ];
    let (dir, checkpoint) = folder(&config, &rows);
    let set = |name: &str, bytes: &[u8]| {
        let file = dir.path().join("model.safetensors");
        let mut all = std::fs::read(&file).unwrap();
        let at = checkpoint.tensor(name).unwrap().entry.range.start as usize;
        all[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(file, all).unwrap();
    };
    set(name, &half::bf16::from_f32(0.5).to_le_bytes());
    set("model.layers.0.mlp.act_fn.alpha_n", &0.3f32.to_le_bytes());
    let found = convert(&Checkpoint::open(dir.path()).unwrap(), OutType::BF16).unwrap();
    assert_eq!(found.metadata.get("xielu.beta"), Some(&vec![0.5f32].into()));
    assert_eq!(found.metadata.get("xielu.alpha_n"), Some(&vec![0.3f32].into()));
    assert_eq!(found.tensors.len(), 1);

    let two = [(name.to_owned(), "BF16", vec![2])];
    assert!(matches!(refused(&config, &two), E::Shape { found, .. } if found == [2]));
    let beyond = [("model.layers.1.mlp.act_fn.beta".to_owned(), "BF16", vec![1])];
    assert!(matches!(refused(&config, &beyond), E::Number { .. }));
}

#[test]
fn an_output_that_equals_the_embeddings_is_left_out_where_the_family_says_so() {
    let config = json!({
        "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1,
        "vocab_size": 10
    });
    let rows = vec![
        ("backbone.embeddings.weight".to_owned(), "F32", vec![10, 8]),
        ("backbone.layers.0.mixer.A_log".to_owned(), "F32", vec![16, 4]),
        ("lm_head.weight".to_owned(), "F32", vec![10, 8]),
    ];
    let (dir, checkpoint) = folder(&config, &rows);
    let names = |checkpoint: &Checkpoint| {
        let tensors = convert(checkpoint, OutType::BF16).unwrap().tensors;
        assert!(matches!(tensors[1].source, Recipe::Rows { change: Change::NegativeExp, .. }));
        assert_eq!((tensors[1].shape.as_slice(), tensors[1].ty), ([4, 16].as_slice(), GgmlType::F32));
        tensors.into_iter().map(|t| t.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&checkpoint), ["token_embd.weight", "blk.0.ssm_a"]);
    let file = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() = 1;
    std::fs::write(file, bytes).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(names(&checkpoint), ["token_embd.weight", "blk.0.ssm_a", "output.weight"]);
}
