//! Safetensors headers and shard indexes: no panic; every range stays in the file.
#![no_main]

use jamph_quantizer::safetensors::{ShardHeader, ShardIndex};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ShardIndex::parse(bytes);
    let size = 8 + 2 * bytes.len() as u64;
    if let Ok(header) = ShardHeader::parse(bytes, size) {
        assert!(header.tensors.iter().all(|t| t.range.start <= t.range.end && t.range.end <= size));
    }
});
