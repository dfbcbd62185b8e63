//! A model card's front matter: no panic, whatever YAML it holds.
#![no_main]

use jamph_quantizer::base::front_matter;
use jamph_quantizer::card::inherit;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(card) = front_matter::parse(bytes) {
        let fields = inherit::from_card(&card, Some("owner/name"));
        let _ = inherit::resolve(&[&fields], &[]);
    }
});
