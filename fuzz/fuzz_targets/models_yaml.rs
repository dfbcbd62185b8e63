//! models.yaml: no panic, and every problem has a place that can be shown.
#![no_main]

use std::path::Path;

use jamph_quantizer::config::{Around, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let vocabulary = jamph_quantizer::cli::vocabulary();
    if let Err(problems) = parse(bytes, "models.yaml", Path::new("."), &vocabulary, &Around::default()) {
        assert!(!problems.list.is_empty());
        let _ = problems.render();
    }
});
