//! Writes what the parity tests are about, for the reference to work on.
//!
//! `cargo run --example fixtures -- checkpoints INTO [FOLDER…]` writes those seeded checkpoints, or all, into `INTO`;
//! `seeing INTO [FOLDER…]` those that see; `models INTO` the seeded GGUF files and importance matrices,
//! `adapters INTO` the LoRA adapters.

mod adapters;
mod families;
mod fixtures;
mod models;
mod pieces;
mod random;
mod tekken;
mod weights;

use std::path::Path;
use std::{env, fs, io};

use fixtures::FIXTURES;

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tokenizer = || fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny/tokenizer.json"));
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["checkpoints", into, ref only @ ..] => {
            let tokenizer = tokenizer()?;
            let wanted = |folder: &str| only.is_empty() || only.contains(&folder);
            for fixture in FIXTURES.iter().filter(|f| wanted(f.folder)) {
                fixture.write(Path::new(into), &tokenizer)?;
            }
            for family in families::all(&tests)? {
                if wanted(&family.folder) {
                    family.write(Path::new(into), &tokenizer)?;
                }
            }
            Ok(())
        }
        ["seeing", into, ref only @ ..] => {
            let tokenizer = tokenizer()?;
            let mut seeing = families::seeing(&tests)?;
            seeing.extend(families::all(&tests)?.into_iter().filter(|f| f.folder == families::BOTH));
            seeing.retain(|f| only.is_empty() || only.contains(&&*f.folder));
            seeing.iter().try_for_each(|family| family.write(Path::new(into), &tokenizer))
        }
        ["models", into] => models::files()
            .into_iter()
            .try_for_each(|(name, bytes)| fs::write(Path::new(into).join(name), bytes)),
        ["adapters", into] => adapters::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))?
            .into_iter()
            .try_for_each(|adapter| adapter.write(Path::new(into))),
        _ => Err(io::Error::other(
            "usage: fixtures checkpoints|seeing INTO [FOLDER...] | fixtures models|adapters INTO",
        )),
    }
}
