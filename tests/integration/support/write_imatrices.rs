//! Writes the seeded model and importance matrices, for `scripts/record-imatrix`.
//!
//! `cargo run --example imatrices -- INTO` writes them into `INTO`.

mod imatrices;

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let into = env::args().nth(1).ok_or_else(|| io::Error::other("usage: imatrices INTO"))?;
    for (name, bytes) in imatrices::files() {
        fs::write(Path::new(&into).join(name), bytes)?;
    }
    Ok(())
}
