//! The type of each tensor, as `llama-quantize --dry-run` gave it for models of many shapes (`scripts/record-mixtures`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jamph_quantizer::convert::{Blueprint, OutType, Recipe, TensorRecipe};
use jamph_quantizer::gguf::{GgmlType, Metadata, Value};
use jamph_quantizer::quantize::options::{parse_layers, parse_type};
use jamph_quantizer::quantize::{ImatrixOrigin, LayoutError, Method, Options, Override, TensorType, layout};

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn types_are_the_references() {
    let models: Vec<serde_json::Value> =
        serde_json::from_str(&recorded("mixture-models.json")).expect("valid JSON");
    let models: BTreeMap<&str, Blueprint> =
        models.iter().map(|m| (m["name"].as_str().expect("a name"), blueprint(m))).collect();
    let text = recorded("mixtures.txt");
    assert!(text.starts_with("# reference: llama.cpp 0c1e57098, from llama-cpp-python==0.3.36\n"));

    let mut model = "";
    let mut expected: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("model ") {
            model = name;
        } else {
            let (left, types) = line.split_once(" : ").expect("a colon");
            let (method, setting) = left.split_once(' ').expect("method and setting");
            assert_eq!(expected.insert((model, method, setting), types), None, "{line}");
        }
    }
    let mut checked = 0;
    for (&(model, method, setting), &types) in &expected {
        check(&models[model], model, method, setting, types);
        checked += 1;
        if setting == "-" && !expected.contains_key(&(model, method, "imatrix")) {
            check(&models[model], model, method, "imatrix", types);
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} layouts were checked");
}

fn check(blueprint: &Blueprint, model: &str, name: &str, setting: &str, expected: &str) {
    let method = Method::from_name(name).expect("a method of the reference");
    let case = format!("{model} {name} {setting}");
    let options = options(setting);
    let (expected, needs_imatrix) = match expected.strip_suffix("; needs an imatrix") {
        Some(types) => (types, true),
        None => (expected, false),
    };
    match layout(blueprint, method, &Options { dry_run: true, ..options.clone() }) {
        Ok(made) => {
            let types =
                made.header.tensors.iter().filter(|t| t.shape.len() > 1).map(|t| (t.name.as_str(), t.ty));
            assert_eq!(summary(types), expected, "{case}");
        }
        Err(LayoutError::NoFallback { ty, .. }) => {
            let words =
                format!("error no tensor type fallback is defined for type {}", ty.name().to_lowercase());
            assert_eq!(words, expected, "{case}");
            return;
        }
        Err(error) => panic!("{case}: {error}"),
    }
    let refused = match layout(blueprint, method, &options) {
        Ok(_) => false,
        Err(LayoutError::ImatrixRequired { .. }) => true,
        Err(error) => panic!("{case}: {error}"),
    };
    assert_eq!(refused, needs_imatrix, "{case}");
}

/// Types in the recorded file's form.
fn summary<'a>(types: impl Iterator<Item = (&'a str, GgmlType)>) -> String {
    let mut kinds: Vec<(String, Vec<GgmlType>)> = Vec::new();
    let mut counts: Vec<(GgmlType, usize)> = Vec::new();
    for (name, ty) in types {
        let kind = kind(name);
        match kinds.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, types)) => types.push(ty),
            None => kinds.push((kind, vec![ty])),
        }
        match counts.iter_mut().find(|(t, _)| *t == ty) {
            Some((_, n)) => *n += 1,
            None => counts.push((ty, 1)),
        }
    }
    let top = counts.iter().map(|(_, n)| *n).max().expect("there are tensors");
    let most = counts.iter().find(|(_, n)| *n == top).expect("one of them").0;
    let mut parts = vec![most.to_string()];
    for (kind, types) in kinds.iter().filter(|(_, types)| types.iter().any(|t| *t != most)) {
        let runs: Vec<String> = types
            .chunk_by(|a, b| a == b)
            .map(|run| if run.len() > 1 { format!("{}*{}", run[0], run.len()) } else { run[0].to_string() })
            .collect();
        parts.push(format!("{kind} {}", runs.join(",")));
    }
    parts.join("; ")
}

/// A tensor's name without the number of its layer.
fn kind(name: &str) -> String {
    match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) => format!("blk.*.{rest}"),
        None => name.to_owned(),
    }
}

fn options(setting: &str) -> Options {
    let mut options = Options::default();
    let mut words = setting.split(' ');
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word {
            "-" => {}
            "imatrix" => {
                options.imatrix = Some(ImatrixOrigin {
                    file: "imatrix.gguf".to_owned(),
                    dataset: None,
                    entries: 1,
                    chunks: None,
                });
            }
            "--pure" => options.pure = true,
            "--leave-output-tensor" => options.leave_output_tensor = true,
            "--output-tensor-type" => options.output_tensor_type = Some(parse_type(value()).expect("a type")),
            "--token-embedding-type" => {
                options.token_embedding_type = Some(parse_type(value()).expect("a type"));
            }
            "--tensor-type" => {
                options.tensor_types.push(TensorType::parse(value()).expect("a pattern and type"));
            }
            "--prune-layers" => options.prune_layers = parse_layers(value()).expect("layers"),
            "--override-kv" => options.override_kv.push(Override::parse(value()).expect("an override")),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn blueprint(model: &serde_json::Value) -> Blueprint {
    let mut metadata = Metadata::new();
    for (key, value) in model["metadata"].as_object().expect("pairs") {
        let value = match value {
            serde_json::Value::String(s) => Value::from(s.as_str()),
            serde_json::Value::Array(items) => {
                items.iter().map(|n| n.as_i64().expect("an integer") as i32).collect::<Vec<_>>().into()
            }
            v if v.is_u64() => Value::U32(v.as_u64().expect("an integer") as u32),
            v => Value::F32(v.as_f64().expect("a number") as f32),
        };
        metadata.set(key, value);
    }
    let base = GgmlType::from_name(model["type"].as_str().expect("a type")).expect("known");
    let layers = model["layers"].as_u64().expect("a number");
    let mut tensors = Vec::new();
    for (pattern, shape) in model["tensors"].as_object().expect("tensors") {
        let shape: Vec<u64> =
            shape.as_array().expect("extents").iter().map(|n| n.as_u64().expect("an extent")).collect();
        for layer in 0..if pattern.contains('*') { layers } else { 1 } {
            tensors.push(TensorRecipe {
                name: pattern.replace('*', &layer.to_string()),
                shape: shape.clone(),
                ty: if shape.len() == 1 { GgmlType::F32 } else { base },
                source: Recipe::Values(Vec::new()),
            });
        }
    }
    let architecture = model["metadata"]["general.architecture"].as_str().expect("a name").to_owned();
    Blueprint { architecture, out_type: OutType::BF16, metadata, tensors }
}
