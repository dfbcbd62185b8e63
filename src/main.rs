//! The program `jamph-quantizer`: everything is in the library.

fn main() {}
