//! Mistral's tokenizer file: no panic and no endless work, whatever it claims.
#![no_main]

use jamph_quantizer::convert::tokenizer;
use jamph_quantizer::gguf::Metadata;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = tokenizer::write_tekken(bytes, &mut Metadata::new());
});
