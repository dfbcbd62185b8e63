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
        imatrix_file: None,
        imatrix_coverage: None,
        tensor_types: types.iter().map(|(ty, n)| ((*ty).to_owned(), *n)).collect(),
        quality: None,
        tensors: Vec::new(),
        parts: Vec::new(),
        evaluation: None,
        checked: None,
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

/// What was measured of an output: mean and 99th percentile of the KL divergence, share of the same top tokens, ratio
/// of the perplexities.
fn evaluation(kld: f64, kld_99: f64, same_top: f64, ratio: f64) -> Evaluation {
    let measured = |value: f64, error: f64| Measured { value, error: Some(error) };
    Evaluation {
        text: EvaluationText {
            name: "evaluation.txt".to_owned(),
            sha256: crate::base::hash::sha256(b"text"),
        },
        context: 512,
        chunks: 16,
        chunks_asked: 16,
        predictions: 4080,
        perplexity: measured(12.34 * ratio, 0.31),
        divergence: Some(Divergence {
            base_perplexity: measured(12.34, 0.3),
            perplexity_ratio: measured(ratio, 0.002),
            mean_kld: measured(kld, kld / 40.0),
            median_kld: kld * 0.7,
            kld_99,
            max_kld: kld_99 * 4.0,
            same_top: measured(same_top, 0.004),
        }),
        tool: "llama.cpp b11312 (0c1e57098)".to_owned(),
        measured: "2026-11-23T05:01:12Z".to_owned(),
        seconds: 21.5,
    }
}

/// The example, measured.
fn evaluated() -> QuantizationMetadata {
    let mut metadata = example();
    metadata.outputs[0].evaluation = Some(evaluation(0.000_912, 0.0081, 0.984, 1.0003));
    metadata.outputs[1].evaluation = Some(evaluation(0.042_551, 0.41, 0.917, 1.0241));
    metadata
}

#[test]
fn the_card_of_measured_outputs() {
    insta::assert_snapshot!(card(&fields(), &evaluated(), Some("my-org/jamph-qwen2.5-0.5b")).render());
}

#[test]
fn the_log_of_measured_outputs() {
    let log = log::render("jamph-qwen2.5-0.5b", &evaluated());
    let from = log.find("\n## Q4_K_M").expect("its section");
    insta::assert_snapshot!(&log[from..]);
}

#[test]
fn figures_that_come_later_make_the_card_that_it_would_have_been() {
    let (before, after) = (example(), evaluated());
    let render = |metadata| card(&fields(), metadata, Some("me/x")).render();
    assert_eq!(refreshed(&render(&before), &after), Some(render(&after)));
    assert_eq!(refreshed(&render(&after), &before), Some(render(&before)));
    assert_eq!(refreshed("# Mine\n\n## Files\n", &after), None);
    let (old, new) = (log::render("x y", &before), log::render("x y", &after));
    assert_eq!(log::refreshed(&old, &after), new);
}

#[test]
fn figures_over_other_texts_are_not_compared() {
    let mut metadata = evaluated();
    let other = metadata.outputs[0].evaluation.as_mut().unwrap();
    other.text.sha256 = "0".repeat(64);
    other.text.name = "x`|<b>.txt".to_owned();
    let text = card(&fields(), &metadata, None).render();
    assert_eq!(text.matches("| Method | Size | Mean KLD |").count(), 2, "{text}");
    assert!(text.contains("can be compared with each other"), "{text}");
    assert!(!text.contains("evaluation.svg"), "one point is no picture\n{text}");
    assert_eq!(picture::picture("x", &metadata.outputs), None);
    for o in &mut metadata.outputs {
        o.evaluation.as_mut().unwrap().divergence = None;
        o.evaluation.as_mut().unwrap().text.sha256 = "1".repeat(64);
    }
    let text = card(&fields(), &metadata, None).render();
    assert!(text.contains("| Q8_0 | 531 MB | 12.3 ± 0.3 |"), "{text}");
    assert!(!text.contains("KLD") && text.contains("./evaluation.svg"), "{text}");
}

#[test]
fn the_picture() {
    let mut outputs = Vec::new();
    for (method, size, kld) in [
        ("Q2_K", 88.2e6, 0.273),
        ("Q3_K_M", 93.5e6, 0.109),
        ("Q4_0", 91.7e6, 0.081),
        ("Q4_K_S", 102.0e6, 0.052),
        ("Q4_K_M", 105.5e6, 0.042),
        ("IQ4_NL", 102.1e6, 0.051),
        ("Q6_K", 138.4e6, 0.0021),
        ("Q8_0", 144.8e6, 0.0009),
        ("BF16", 270.9e6, -0.000_001),
    ] {
        let mut output = output(method, size as u64, 4.0, &[]);
        output.evaluation = Some(evaluation(kld, kld * 9.0, 0.9, 1.01));
        outputs.push(output);
    }
    let svg = picture::picture("SmolLM2-135M", &outputs).unwrap();
    insta::assert_snapshot!(svg);
    outputs.reverse();
    assert_eq!(picture::picture("SmolLM2-135M", &outputs), Some(svg), "the order does not matter");
    assert_eq!(picture::picture("x", &outputs[..1]), None);
    assert_eq!(picture::picture("x", &[]), None);
}

#[test]
fn the_picture_of_perplexities_is_linear() {
    let mut metadata = evaluated();
    for o in &mut metadata.outputs {
        o.evaluation.as_mut().unwrap().divergence = None;
    }
    let svg = picture::picture("x", &metadata.outputs).unwrap();
    assert!(svg.contains(">perplexity; lower is better<"), "{svg}");
    for tick in ["12.4", "12.5", "12.6"] {
        assert!(svg.contains(&format!(">{tick}<")), "{tick}\n{svg}");
    }
}

/// Whether a text is well-formed XML, as far as a picture goes: one root, elements nested, attributes quoted, no
/// character that XML lacks.
#[track_caller]
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>') && !text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        for entity in text.split('&').skip(1) {
            let name = entity.split_once(';').map(|(name, _)| name);
            assert!(name.is_some_and(|n| ["amp", "lt", "gt", "quot", "#39"].contains(&n)), "{entity:?}");
        }
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!tag.contains(['<', '&']), "{tag}");
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(
            ["svg", "title", "desc", "style", "rect", "text", "line", "circle", "polyline"].contains(&name),
            "{tag}"
        );
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!((open, rest), (Vec::new(), "\n"));
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

    #[test]
    fn a_picture_is_well_formed_whatever_is_in_the_metadata(
        title in any::<String>(),
        rows in proptest::collection::vec((any::<String>(), any::<u64>(), any::<f64>(), any::<f64>()), 2..12),
        compared in any::<bool>(),
    ) {
        let outputs: Vec<Output> = rows
            .iter()
            .map(|(method, size, kld, ratio)| {
                let mut output = output(method, *size, 4.0, &[]);
                let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
                let mut figures = evaluation(finite(*kld), 1.0, 0.5, finite(*ratio));
                figures.perplexity.value = finite(figures.perplexity.value);
                figures.divergence = figures.divergence.filter(|_| compared);
                output.evaluation = Some(figures);
                output
            })
            .collect();
        let svg = picture::picture(&title, &outputs).unwrap();
        assert_well_formed(&svg);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
    }
}
