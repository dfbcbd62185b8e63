//! Small checkpoints made here. What is expected of them is what the reference's converter wrote for the same files
//! (read from its output), or what its source says where it ends with an exception.

mod keys;

use std::path::Path;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::config::{self, Config};
use super::{
    Change, ConvertError as E, OutType, Recipe, RowOrder, TensorRecipe, computed, parameters, tensors,
};
use crate::arch::{HparamError, Rope};
use crate::checkpoint::Checkpoint;
use crate::gguf::{GgmlType, Metadata, Value};

type Row = (String, &'static str, Vec<u64>);

/// A shard of zeros, its header in the order given.
fn write_shard(path: &Path, tensors: &[Row]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "F64" | "I64" => 8,
            "F32" => 4,
            "U8" => 1,
            _ => 2,
        };
        let start = end;
        end += shape.iter().product::<u64>() * width;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        assert!(header.insert(name.clone(), entry).is_none());
    }
    let json = serde_json::to_vec(&header).unwrap();
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.resize(bytes.len() + end as usize, 0);
    std::fs::write(path, bytes).unwrap();
}

/// One layer of a model of 8 wide, two heads of 4, one key head, 12 in the feed-forward layer, 10 tokens.
fn layers(prefix: &str, dtype: &'static str) -> Vec<Row> {
    let in_layer = [
        ("self_attn.q_proj.weight", vec![8, 8]),
        ("self_attn.k_proj.weight", vec![4, 8]),
        ("self_attn.v_proj.weight", vec![4, 8]),
        ("self_attn.o_proj.weight", vec![8, 8]),
        ("mlp.gate_proj.weight", vec![12, 8]),
        ("mlp.up_proj.weight", vec![12, 8]),
        ("mlp.down_proj.weight", vec![8, 12]),
        ("input_layernorm.weight", vec![8]),
        ("post_attention_layernorm.weight", vec![8]),
    ];
    let mut rows = vec![
        (format!("{prefix}norm.weight"), dtype, vec![8]),
        (format!("{prefix}embed_tokens.weight"), dtype, vec![10, 8]),
    ];
    rows.extend(in_layer.into_iter().map(|(name, shape)| (format!("{prefix}layers.0.{name}"), dtype, shape)));
    rows
}

fn llama(more: Json) -> Json {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5
    });
    let Json::Object(more) = more else { panic!("an object") };
    config.as_object_mut().unwrap().extend(more);
    config
}

fn folder(config: &Json, tensors: &[Row]) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    write_shard(&dir.path().join("model.safetensors"), tensors);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    (dir, checkpoint)
}

struct Converted {
    metadata: Metadata,
    tensors: Vec<TensorRecipe>,
}

fn convert(checkpoint: &Checkpoint, out_type: OutType) -> Result<Converted, E> {
    let config: Config = config::read(checkpoint, &())?;
    let rope = Rope::new(&config.hparams)?;
    let out_type = tensors::resolve(out_type, checkpoint, config.family);
    let computed::Made { metadata: computed, recipes: tensors } =
        tensors::recipes(checkpoint, &config, &rope, out_type, &())?;
    let mut metadata = Metadata::new();
    for (key, value) in computed {
        metadata.set(key, value);
    }
    parameters::write(checkpoint, &config, &rope, out_type, &mut metadata)?;
    Ok(Converted { metadata, tensors })
}

#[track_caller]
fn refused(config: &Json, tensors: &[Row]) -> E {
    let (_dir, checkpoint) = folder(config, tensors);
    match convert(&checkpoint, OutType::Auto) {
        Ok(_) => panic!("converted"),
        Err(e) => e,
    }
}

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
