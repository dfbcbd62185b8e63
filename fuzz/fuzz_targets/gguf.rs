//! GGUF headers: no panic, no memory for lengths that are only claimed; what is read is written back the same.
#![no_main]

use jamph_quantizer::gguf::read_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((header, _)) = read_header(bytes) {
        let written = header.to_bytes();
        let (again, _) = read_header(&*written).expect("what was written can be read");
        assert_eq!(written, again.to_bytes());
    }
});
