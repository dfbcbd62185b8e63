//! An adapter's configuration and the header of its weights: no panic, whatever they state. The first two bytes divide the
//! two.
#![no_main]

use std::fs;
use std::path::Path;

use jamph_quantizer::checkpoint::{ADAPTER_CONFIG, Checkpoint};
use jamph_quantizer::convert::{ConvertOptions, adapter_blueprint};
use jamph_quantizer::safetensors::{HeaderError, ShardHeader};

const BASE: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
 "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 100}"#;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((at, rest)) = bytes.split_first_chunk() else { return };
    let (config, header) = rest.split_at(usize::from(u16::from_le_bytes(*at)).min(rest.len()));
    // The file is as long as the header says: what else its length may be, `safetensors` tries.
    let Err(HeaderError::Size { expected, .. }) = ShardHeader::parse(header, 0) else { return };
    let Ok(header) = ShardHeader::parse(header, expected) else { return };
    if expected > 1 << 40 {
        return;
    }
    let folder = std::env::temp_dir().join(format!("jamph-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("config.json"), BASE).expect("space");
    fs::write(folder.join(ADAPTER_CONFIG), config).expect("space");
    let Ok(adapter) = Checkpoint::from_headers(Path::new(&folder), vec![("x".to_owned(), header)]) else { return };
    let base = Checkpoint::without_weights(&folder).expect("a folder");
    let _ = adapter_blueprint(&adapter, &base, &ConvertOptions::default(), &());
});
