//! Small checkpoints made here. What is expected of them is what the reference's converter wrote for the same files
//! (read from its output), or what its source says where it ends with an exception.

mod keys;
mod outputs;
mod refusals;
mod rows;

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
