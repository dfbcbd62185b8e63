//! Pages that are generated from the source: stale ones fail. `JAMPH_UPDATE=1 cargo test` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use jamph_quantizer::{cli, config, report};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[track_caller]
pub fn check(path: &str, text: &str) {
    let file = root().join(path);
    #[allow(clippy::disallowed_methods, reason = "the switch of the person who runs the tests")]
    if std::env::var_os("JAMPH_UPDATE").is_some_and(|value| value == "1") {
        fs::write(&file, text).unwrap();
    }
    // A checkout on Windows may have changed the line ends.
    let found = fs::read_to_string(&file).unwrap_or_default().replace("\r\n", "\n");
    assert!(found == text, "{path} is stale: JAMPH_UPDATE=1 cargo test");
}

#[test]
fn generated_schema() {
    check("docs/models.schema.json", &config::schema(&cli::vocabulary()));
}

#[test]
fn generated_exit_codes() {
    check("docs/exit-codes.md", &cli::exit_codes());
}

#[test]
fn generated_command_line() {
    check("docs/cli.md", &cli::reference());
}

#[test]
fn generated_families() {
    check("docs/families.md", &cli::families());
}

#[test]
fn generated_log_codes() {
    check("docs/log-codes.md", &report::log_codes());
}

#[test]
fn generated_schema_knows_what_the_reader_knows() {
    let schema = config::schema(&cli::vocabulary());
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let keys =
        |at: &serde_json::Value| at["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&schema), ["version", "llama_cpp", "defaults", "models", "exclude"]);
    let model = keys(&schema["definitions"]["Model"]);
    for key in keys(&schema["definitions"]["Settings"]) {
        assert!(model.contains(&key), "{key}");
    }
    assert_eq!(schema["definitions"]["Model"]["required"], serde_json::json!(["source"]));
    // Editors show the descriptions.
    for (name, definition) in schema["definitions"].as_object().unwrap() {
        assert!(definition["description"].is_string(), "{name}");
    }
}
