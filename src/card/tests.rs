//! One example with two methods, as a person would read it; and what must hold for hostile input.

use proptest::prelude::*;

use super::inherit::{from_card, resolve};
use super::metadata::*;
use super::*;
use crate::base::front_matter::{self, Node};

fn output(method: &str, size: u64, bits_per_weight: f64, types: &[(&str, u64)]) -> Output {
    Output {
        file: format!("jamph-qwen2.5-0.5b-{}.gguf", method.to_lowercase()),
        size,
        sha256: Some(crate::base::hash::sha256(method.as_bytes())),
        recipe: Recipe { method: method.to_owned(), ..Recipe::default() },
        bits_per_weight,
        imatrix_coverage: None,
        tensor_types: types.iter().map(|(ty, n)| ((*ty).to_owned(), *n)).collect(),
        quality: None,
        tensors: Vec::new(),
        parts: Vec::new(),
        seconds: 1.25,
        origin: None,
    }
}

fn example() -> QuantizationMetadata {
    let mut q4 =
        output("Q4_K_M", 397_807_936, 6.44, &[("q4_K", 24), ("q5_0", 132), ("q8_0", 13), ("f32", 121)]);
    q4.recipe.imatrix = Some(Imatrix {
        file: "qwen2.5-0.5b.imatrix.gguf".to_owned(),
        dataset: Some("calibration.txt".to_owned()),
        chunks: Some(128),
        ..Imatrix::default()
    });
    q4.recipe.tensor_types = vec![TensorTypeRule { pattern: "attn_v".to_owned(), ty: "q8_0".to_owned() }];
    q4.quality = Some(Quality::new(0.0429, Some(27.35)));
    let tensor =
        |name: &str, ty: &str, quality| TensorQuality { name: name.to_owned(), ty: ty.to_owned(), quality };
    q4.tensors = vec![
        tensor("token_embd.weight", "q8_0", Quality::new(0.005, Some(46.02))),
        tensor("blk.0.ffn_down.weight", "q4_K", Quality::new(0.071, Some(22.97))),
        tensor("blk.0.attn_q.weight", "q5_0", Quality::new(0.0, None)),
    ];
    let step = |started: &str, what: &str, seconds| Step {
        started: started.to_owned(),
        what: what.to_owned(),
        seconds,
    };
    QuantizationMetadata {
        format_version: FORMAT_VERSION,
        program: Program {
            name: "jamph-quantizer".to_owned(),
            version: "0.1.0".to_owned(),
            recipe_version: 1,
        },
        reference: "llama.cpp 0.5.0 (0c1e57098)".to_owned(),
        source: Source {
            name: "Qwen2.5-0.5B".to_owned(),
            repo: Some("Qwen/Qwen2.5-0.5B".to_owned()),
            revision: Some("main".to_owned()),
            commit: Some("060db6499f32faf8b98477b0a26969ef7d8b9987".to_owned()),
            files: vec![SourceFile {
                path: "model.safetensors".to_owned(),
                size: 988_097_824,
                modified_ns: None,
                sha256: Some(crate::base::hash::sha256(b"weights")),
            }],
            architecture: "qwen2".to_owned(),
            parameters: 494_032_768,
        },
        outputs: vec![output("Q8_0", 531_068_096, 8.6, &[("q8_0", 169), ("f32", 121)]), q4],
        run: Run {
            started: "2026-11-23T04:57:33Z".to_owned(),
            finished: "2026-11-23T04:57:38Z".to_owned(),
            seconds: 5.2,
            machine: Machine {
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
                simd: "avx512".to_owned(),
                threads: 2,
                peak_memory: Some(412_000_000),
            },
            steps: vec![
                step("2026-11-23T04:57:33Z", "opened Qwen/Qwen2.5-0.5B: 290 tensors in 1 shard", Some(0.1)),
                step("2026-11-23T04:57:33Z", "wrote Q4_K_M and Q8_0 in one pass", Some(4.9)),
            ],
        },
    }
}

const SOURCE_CARD: &[u8] = b"---
license: apache-2.0
license_link: LICENSE
language:
- en
- no
pipeline_tag: text-generation
library_name: transformers
tags: [chat, safetensors]
datasets:
- nav-educational-corpus
---
# Qwen2.5
";

fn fields() -> Fields {
    let source = from_card(&front_matter::parse(SOURCE_CARD).unwrap(), Some("Qwen/Qwen2.5-0.5B"));
    let defaults = Fields { tags: Some(vec!["education".to_owned()]), ..Fields::default() };
    let (fields, notices) = resolve(&[&defaults, &source], &[]);
    assert_eq!(notices, []);
    fields
}

fn card<'a>(fields: &'a Fields, metadata: &'a QuantizationMetadata, repo: Option<&'a str>) -> Card<'a> {
    Card {
        title: "jamph-qwen2.5-0.5b",
        repo,
        fields,
        quantized_by: Some("my-org"),
        description: DEFAULT_DESCRIPTION,
        licences: &[],
        metadata,
    }
}

#[test]
fn the_published_card() {
    insta::assert_snapshot!(card(&fields(), &example(), Some("my-org/jamph-qwen2.5-0.5b")).render());
}

#[test]
fn the_card_of_a_local_folder() {
    let mut metadata = example();
    metadata.source = Source { name: "my model".to_owned(), repo: None, commit: None, ..metadata.source };
    metadata.outputs.truncate(1);
    let fields = resolve(&[&Fields::default()], &[]).0;
    insta::assert_snapshot!(card(&fields, &metadata, None).render());
}

#[test]
fn every_file_of_a_split_is_listed() {
    let mut metadata = example();
    let part =
        |n: u64| FilePart { file: format!("x-{n:05}-of-00002.gguf"), size: n, sha256: format!("{n}a") };
    let output = &mut metadata.outputs[0];
    output.parts = vec![part(1), part(2)];
    output.file.clone_from(&output.parts[0].file);
    output.sha256 = None;
    let card = card(&fields(), &metadata, None).render();
    for text in [
        "| [`x-00001-of-00002.gguf`](./x-00001-of-00002.gguf) and 1 more | Q8_0 |",
        "| `x-00001-of-00002.gguf` | `1a` |",
        "| `x-00002-of-00002.gguf` | `2a` |",
        "all must be in one folder",
    ] {
        assert!(card.contains(text), "{text} is not in\n{card}");
    }
    let log = log::render("x", &metadata);
    for text in
        ["`x-00001-of-00002.gguf`, 1 bytes, SHA-256 `1a`", "`x-00002-of-00002.gguf`, 2 bytes, SHA-256 `2a`"]
    {
        assert!(log.contains(text), "{text} is not in\n{log}");
    }
    assert_eq!(QuantizationMetadata::from_json(metadata.to_json().as_bytes()).unwrap(), metadata);
}

#[test]
fn the_log() {
    insta::assert_snapshot!(log::render("jamph-qwen2.5-0.5b", &example()));
}

#[test]
fn the_metadata() {
    insta::assert_snapshot!(example().to_json());
}

#[test]
fn metadata_is_read_back_and_tolerates_what_it_does_not_know() {
    let mut metadata = example();
    metadata.outputs[0].quality = Some(Quality::new(0.0, Some(f64::INFINITY)));
    assert_eq!(QuantizationMetadata::from_json(metadata.to_json().as_bytes()).unwrap(), metadata);
    let mut json: serde_json::Value = serde_json::from_str(&metadata.to_json()).unwrap();
    json["later"] = 1.into();
    json["outputs"][0]["later"] = 1.into();
    assert_eq!(QuantizationMetadata::from_json(json.to_string().as_bytes()).unwrap(), metadata);
    json["format_version"] = 2.into();
    let read = |json: &serde_json::Value| QuantizationMetadata::from_json(json.to_string().as_bytes());
    assert!(matches!(read(&json), Err(MetadataError::Version(2))));
    json["format_version"] = "1".into();
    assert!(matches!(read(&json), Err(MetadataError::NoVersion)));
    assert!(matches!(QuantizationMetadata::from_json(b"{"), Err(MetadataError::Json(_))));
}

#[test]
fn an_output_is_up_to_date_until_something_that_decides_its_bytes_changes() {
    let metadata = example();
    let recipe = &metadata.outputs[0].recipe;
    let file = metadata.outputs[0].file.as_str();
    let wanted =
        Wanted { file, recipe, source: &metadata.source, reference: &metadata.reference, recipe_version: 1 };
    assert_eq!(metadata.up_to_date(&wanted), Ok(&metadata.outputs[0]));
    let other = Recipe { pure: true, ..recipe.clone() };
    assert_eq!(metadata.up_to_date(&Wanted { recipe: &other, ..wanted }), Err(Stale::Recipe));
    assert!(matches!(metadata.up_to_date(&Wanted { file: "x", ..wanted }), Err(Stale::NotListed(_))));
    assert!(matches!(
        metadata.up_to_date(&Wanted { reference: "x", ..wanted }),
        Err(Stale::Reference { .. })
    ));
    assert_eq!(
        metadata.up_to_date(&Wanted { recipe_version: 2, ..wanted }),
        Err(Stale::RecipeVersion { was: 1, now: 2 })
    );
    // Another commit of the same files is the same model; the card and the licence are for people.
    let mut moved = Source { commit: Some("x".to_owned()), ..metadata.source.clone() };
    assert!(metadata.up_to_date(&Wanted { source: &moved, ..wanted }).is_ok());
    let file = |path: &str| SourceFile { path: path.to_owned(), ..moved.files[0].clone() };
    moved.files.extend([file("README.md"), file("LICENSE")]);
    assert!(metadata.up_to_date(&Wanted { source: &moved, ..wanted }).is_ok());
    moved.files[0].sha256 = Some("other".to_owned());
    assert!(matches!(metadata.up_to_date(&Wanted { source: &moved, ..wanted }), Err(Stale::Source(_))));
}

/// As in a repository to which a method was added later.
fn of_two_runs() -> QuantizationMetadata {
    let mut metadata = example();
    let old = metadata.made(&metadata.outputs[0]).to_origin();
    metadata.outputs[0].origin = Some(Box::new(old));
    metadata.source.commit = Some("9987060db6499f32faf8b98477b0a26969ef7d8b".to_owned());
    metadata.run.started = "2026-12-24T18:00:00Z".to_owned();
    metadata.run.finished = "2026-12-24T18:01:00Z".to_owned();
    metadata.run.steps.truncate(1);
    metadata
}

#[test]
fn outputs_of_several_runs_say_which_they_are_of() {
    let (fields, metadata, licences) = (fields(), of_two_runs(), ["LICENSE".to_owned()]);
    let card = Card { licences: &licences, ..card(&fields, &metadata, Some("my-org/x")) };
    insta::assert_snapshot!(card.render());
    insta::assert_snapshot!(log::render("jamph-qwen2.5-0.5b", &metadata));
    assert_eq!(QuantizationMetadata::from_json(metadata.to_json().as_bytes()).unwrap(), metadata);
}

#[test]
fn the_notice_of_a_card_comes_back() {
    let (fields, metadata) = (fields(), example());
    for description in [DEFAULT_DESCRIPTION, "", "One line", "## Files\n\nA list of my own.\n\nThe end."] {
        let text = Card { description, ..card(&fields, &metadata, None) }.render();
        assert_eq!(notice_of(&text), Some(description.trim()));
    }
    assert_eq!(notice_of("# Another card\n"), None);
}

#[test]
fn a_local_source_is_the_same_while_its_files_are() {
    let file = |path: &str, size, modified_ns, sha256: Option<&str>| SourceFile {
        path: path.to_owned(),
        size,
        modified_ns,
        sha256: sha256.map(str::to_owned),
    };
    let source = |files: Vec<SourceFile>| Source { name: "m".to_owned(), files, ..Source::default() };
    let was = source(vec![file("a", 1, Some(5), None), file("b", 2, Some(5), Some("h"))]);
    assert_eq!(was.same_as(&was), Ok(()));
    for now in [
        vec![file("a", 1, Some(5), None)],
        vec![file("a", 1, Some(6), None), file("b", 2, Some(5), Some("h"))],
        vec![file("a", 2, Some(5), None), file("b", 2, Some(5), Some("h"))],
        vec![file("a", 1, Some(5), None), file("b", 2, Some(5), Some("i"))],
        vec![file("a", 1, Some(5), None), file("b", 2, Some(5), Some("h")), file("c", 0, Some(5), None)],
    ] {
        assert!(matches!(was.same_as(&source(now.clone())), Err(Stale::Source(_))), "{now:?}");
    }
    let touched = source(vec![file("a", 1, Some(5), None), file("b", 2, Some(9), Some("h"))]);
    assert_eq!(was.same_as(&touched), Ok(()), "a hash says more than a time");
    assert!(source(vec![]).same_as(&source(vec![])).is_err(), "nothing known is nothing proven");
}

/// `JAMPH_UPDATE=1 cargo test` writes the schema anew.
#[test]
#[allow(clippy::disallowed_methods, reason = "the switch that rewrites generated files, in tests only")]
fn the_schema_under_docs_is_current() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/quantization_metadata.schema.json");
    let schema = schema();
    if std::env::var_os("JAMPH_UPDATE").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(written == schema, "{} is stale; run `JAMPH_UPDATE=1 cargo test`", path.display());
}

#[test]
fn hostile_names_stay_inside_their_places() {
    let mut metadata = example();
    let hostile = "x\n---\n# `|<script>alert(1)</script>](javascript:x)";
    metadata.source.name = hostile.to_owned();
    metadata.source.repo = Some(hostile.to_owned());
    metadata.outputs[0].file = hostile.to_owned();
    metadata.outputs[0].recipe.method = hostile.to_owned();
    metadata.run.steps[0].what = hostile.to_owned();
    let text =
        Card { title: hostile, quantized_by: Some(hostile), ..card(&fields(), &metadata, Some(hostile)) }
            .render();
    for text in [text, log::render(hostile, &metadata)] {
        let mut fenced = false;
        // The front matter is quoted YAML; another test reads it back.
        for line in
            text.strip_prefix("---\n").map_or(text.as_str(), |t| t.split_once("\n---\n").unwrap().1).lines()
        {
            fenced ^= line.starts_with("```");
            let outside_code = line.replace("\\`", "").replace("\\]", "");
            let outside_code = outside_code.split('`').step_by(2).collect::<String>();
            assert!(
                fenced || !(outside_code.contains('<') || outside_code.contains("](javascript")),
                "{line}"
            );
            assert!(!line.starts_with("# `") && line != "---", "{line}");
        }
        assert!(!fenced);
    }
}

proptest! {
    #[test]
    fn front_matter_comes_back_whatever_is_in_it(
        tag in any::<String>(), name in any::<String>(), by in any::<String>(), key in "[a-z_]{1,10}", prompt in any::<String>(),
    ) {
        let fields = Fields {
            license: Some(License { id: "other".to_owned(), name: Some(name.clone()), link: None }),
            tags: Some(vec![tag.clone()]),
            gate: Some(vec![(format!("extra_gated_{key}"), Node::text(prompt.as_str()))]),
            ..Fields::default()
        };
        let text = Card { quantized_by: Some(&by), ..card(&fields, &example(), None) }.render();
        let back = front_matter::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(back.get("license_name").and_then(Node::as_text), Some(name.as_str()));
        prop_assert_eq!(back.get("quantized_by").and_then(Node::as_text), Some(by.as_str()));
        prop_assert_eq!(back.get("tags"), Some(&Node::List(vec![Node::text(tag)])));
        prop_assert_eq!(back.get(&format!("extra_gated_{key}")).and_then(Node::as_text), Some(prompt.as_str()));
    }
}
