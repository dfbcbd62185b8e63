//! A vocabulary such as tiktoken's: no panic and no endless work, whatever it claims.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = jamph_quantizer::convert::tokenizer::tiktoken_merges(bytes);
});
