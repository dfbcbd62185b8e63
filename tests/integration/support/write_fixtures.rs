//! Writes the seeded checkpoints as folders, for `scripts/record-parity` and for the example.
//!
//! `cargo run --example fixtures -- INTO [FOLDER…]` writes those folders, or all, into `INTO`.

mod fixtures;

use std::path::Path;
use std::{env, fs, io};

use fixtures::FIXTURES;

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let into = args.next().ok_or_else(|| io::Error::other("usage: fixtures INTO [FOLDER...]"))?;
    let only: Vec<String> = args.collect();
    let tokenizer = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny/tokenizer.json"))?;
    for fixture in FIXTURES.iter().filter(|f| only.is_empty() || only.iter().any(|name| name == f.folder)) {
        fixture.write(Path::new(&into), &tokenizer)?;
    }
    Ok(())
}
