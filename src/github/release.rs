//! What a release gets of results: the report, checksums, metadata.
//!
//! In: [`Results`]. Out: named files. Pure. Names and hashes that are none are left out: a line of `SHA256SUMS` names a
//! file that somebody will look for.

use std::collections::BTreeSet;

use super::api::AssetFile;
use super::results::{ModelResult, OutputFile, Results};
use super::summary::summary;

/// The files of a release.
pub fn release_files(results: &Results) -> Vec<AssetFile> {
    let file = |name: String, text: String| AssetFile { name, bytes: text.into_bytes() };
    let mut files = vec![
        file("quantization-report.md".to_owned(), summary(results, "Quantization", usize::MAX)),
        file("quantization-results.json".to_owned(), format!("{}\n", results.in_short())),
    ];
    let sums = checksums(results);
    if !sums.is_empty() {
        files.push(file("SHA256SUMS".to_owned(), sums));
    }
    let mut names = BTreeSet::new();
    for (m, metadata) in results.models.iter().filter_map(|m| Some((m, m.metadata.as_ref()?))) {
        let name = unique(&asset_name(m), &mut names);
        files.push(file(format!("{name}.quantization_metadata.json"), format!("{metadata:#}\n")));
    }
    files
}

/// Of every output's files, as `sha256sum --check` takes them.
fn checksums(results: &Results) -> String {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let plain =
        |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_control() || "\\/".contains(c));
    let fits = |f: &&OutputFile| hex(&f.sha256) && plain(&f.name);
    let files = results.models.iter().flat_map(|m| &m.outputs).flat_map(|o| &o.files).filter(fits);
    let lines: BTreeSet<(&str, &str)> = files.map(|f| (&*f.name, &*f.sha256)).collect();
    lines.into_iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
}

/// A name that GitHub keeps as it is.
fn asset_name(m: &ModelResult) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = m.model.chars().map(plain).take(80).collect();
    let name = name.trim_matches('.');
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut own = name.to_owned();
    let mut n = 2;
    while !taken.insert(own.clone()) {
        own = format!("{name}-{n}");
        n += 1;
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::results::OutputResult;

    #[test]
    fn a_release_gets_report_checksums_and_metadata() {
        let file = |name: &str, sha256: &str| OutputFile {
            name: name.to_owned(),
            size: 1,
            sha256: sha256.to_owned(),
        };
        let hash = "a".repeat(64);
        let output = OutputResult {
            files: vec![
                file("b.gguf", &hash),
                file("a.gguf", &hash),
                file("evil\nname", &hash),
                file("../x", &hash),
                file("c.gguf", "none"),
            ],
            ..OutputResult::default()
        };
        let model = |name: &str| ModelResult {
            model: name.to_owned(),
            outputs: vec![output.clone()],
            metadata: Some(serde_json::json!({ "format_version": 1 })),
            ..ModelResult::default()
        };
        let results = Results { models: vec![model("../a b"), model("..\\a b")], ..Results::default() };
        let files = release_files(&results);
        let names: Vec<&str> = files.iter().map(|f| &*f.name).collect();
        assert_eq!(
            names,
            [
                "quantization-report.md",
                "quantization-results.json",
                "SHA256SUMS",
                "-a-b.quantization_metadata.json",
                "-a-b-2.quantization_metadata.json",
            ]
        );
        let sums = String::from_utf8(files[2].bytes.clone()).unwrap();
        assert_eq!(sums, format!("{hash}  a.gguf\n{hash}  b.gguf\n"));
        assert_eq!(release_files(&Results::default()).len(), 2);
    }
}
