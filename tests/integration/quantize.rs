//! `llama-quantize` itself: the seeded models by every method and with every option, byte for byte (`scripts/record-quantize`).
//!
//! Command lines of nothing but files, a method and an importance matrix are done by the library, all methods of a model
//! in one pass; the others by the program, as they stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash::sha256;
use jamph_quantizer::checkpoint::GgufModel;
use jamph_quantizer::convert::Blueprint;
use jamph_quantizer::quantize::imatrix::Selection;
use jamph_quantizer::quantize::pass::{Output, PassOptions, pass};
use jamph_quantizer::quantize::simd::{self, Level};
use jamph_quantizer::quantize::{Imatrix, Method, Options, layout};
use serde_json::Value;

use crate::support::command::Sandbox;
use crate::support::models::files;

/// What was recorded: a command line of `llama-quantize`, and what came of it.
struct Line {
    words: String,
    result: String,
}

impl Line {
    /// Model, matrix (`-` for none) and method, where nothing else was asked for.
    fn plain(&self) -> Option<(&str, &str, &str)> {
        match self.words.split(' ').collect::<Vec<_>>()[..] {
            [model, "out.gguf", method] if !model.starts_with("from-") => Some((model, "-", method)),
            ["--imatrix", matrix, model, "out.gguf", method] => Some((model, matrix, method)),
            _ => None,
        }
    }

    /// The reference's words, where it refused, and what this program says in their place.
    fn refusal(&self) -> Option<(&str, String)> {
        let words = self.result.strip_prefix("refused ")?;
        let own = if let Some(rest) = words.strip_prefix("this quantization requires an imatrix!, ") {
            let (tensor, ty) = rest.split_once(" as ").unwrap();
            let method = self.words.rsplit(' ').next().unwrap();
            let ty = ty.to_uppercase();
            format!("tensor `{tensor}`: `{method}` makes it `{ty}`, which requires an importance matrix")
        } else if let Some(rest) = words.strip_prefix("Missing importance matrix for tensor ") {
            let tensor = rest.split(' ').next().unwrap();
            format!("the importance matrix has nothing for tensor `{tensor}`")
        } else if let Some(ty) = words.strip_prefix("requantizing from type ") {
            format!("is `{}` already", ty.split(' ').next().unwrap().to_uppercase())
        } else if let Some(ty) = words.strip_prefix("no tensor type fallback is defined for type ") {
            format!("do not fit `{}`, and the reference names no type in its place", ty.to_uppercase())
        } else if let Some(name) = words.strip_prefix("invalid ftype ") {
            format!("unknown method `{}`", name.trim_matches('\''))
        } else if let Some(name) = words.strip_prefix("invalid ggml_type ") {
            format!("unknown tensor type `{}`", name.trim_matches('\''))
        } else if words.starts_with("GGML_ASSERT(imatrix != NULL)") {
            "importance matrix".to_owned()
        } else if words.starts_with("invalid layer id") {
            "is no layer number".to_owned()
        } else {
            assert_eq!(words, "usage", "{}", self.words);
            let of_types = self.words.starts_with("--tensor-type");
            if of_types { "is not of the form" } else { "the value must start with" }.to_owned()
        };
        Some((words, own))
    }
}

/// The inputs, in a folder, and what the reference made of them.
fn recorded() -> (Sandbox, Vec<Line>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/quantize.txt");
    let text = fs::read_to_string(path).unwrap();
    let mut files: BTreeMap<_, _> = files().into_iter().collect();
    let types = "attn_v=q8_0\nffn_down=q5_k blk\\.2=bf16\n\n  token_embd=iq4_xs\n";
    files.insert("types.txt".to_owned(), types.into());
    let given: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("input ")).collect();
    let made: Vec<String> = files.iter().map(|(name, bytes)| format!("{name} {}", facts(bytes))).collect();
    assert_eq!(made, given, "this is not what the reference was given");
    let sandbox = Sandbox::new();
    for (name, bytes) in files {
        sandbox.write(&name, bytes);
    }
    let line = |(words, result): (&str, &str)| Line { words: words.to_owned(), result: result.to_owned() };
    (sandbox, text.lines().filter_map(|l| l.split_once(" : ").map(line)).collect())
}

fn facts(bytes: &[u8]) -> String {
    format!("{} {}", bytes.len(), sha256(bytes))
}

/// Holds every plain line of a model and a matrix against what this program makes, all methods in one pass.
fn differing(
    sandbox: &Sandbox,
    lines: &[Line],
    (model, matrix): (&str, &str),
    threads: usize,
) -> Vec<String> {
    let weights = GgufModel::open(&sandbox.path(model)).unwrap();
    let blueprint = Blueprint::from_gguf(&weights).unwrap();
    let open = || Imatrix::open(&sandbox.path(matrix), matrix, &Selection::default()).unwrap().unwrap();
    let imatrix = (matrix != "-").then(open);
    let options = Options { imatrix: imatrix.as_ref().map(|i| i.origin.clone()), ..Options::default() };

    let (mut differing, mut layouts) = (Vec::new(), Vec::new());
    for line in lines {
        let Some((of_model, of_matrix, name)) = line.plain() else { continue };
        if (of_model, of_matrix) != (model, matrix) {
            continue;
        }
        let made = match Method::from_name(name) {
            Ok(method) => layout(&blueprint, method, &options).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match (made, line.refusal()) {
            (Ok(layout), None) => layouts.push((line, layout)),
            (Err(error), Some((_, words))) if error.contains(&words) => {}
            (made, _) => differing.push(format!(
                "{}: {}; the reference: {}",
                line.words,
                made.map_or_else(|e| e, |layout| format!("{} bytes", layout.file_bytes())),
                line.result
            )),
        }
    }
    let mut sinks = vec![Vec::new(); layouts.len()];
    let outputs = layouts.iter().zip(&mut sinks).map(|((line, layout), sink)| Output {
        name: &line.words,
        header: &layout.header,
        recipes: &layout.recipes,
        parts: &[],
        sink,
    });
    // Slabs that end within experts and batches of lanes.
    let options = PassOptions { threads, slab_values: 256 * 19, ..PassOptions::default() };
    let cancel = Cancel::new();
    pass(&weights, &blueprint, outputs.collect(), imatrix.as_ref(), &options, &cancel, &()).unwrap();
    for (made, (line, _)) in sinks.iter().zip(&layouts) {
        if facts(made) != line.result {
            differing.push(format!("{}: {} bytes; the reference: {}", line.words, made.len(), line.result));
        }
    }
    differing
}

/// Every method of a model, by no matrix and by one of either form; none is left out of the record.
fn check(model: &str) {
    let (sandbox, lines) = recorded();
    let mut wrong = Vec::new();
    for matrix in ["-".to_owned(), format!("{model}.imatrix"), format!("{model}.dat")] {
        let model = format!("{model}.gguf");
        let of_this = lines.iter().filter_map(Line::plain).filter(|l| (l.0, l.1) == (&model, &matrix));
        let mut names: Vec<&str> = of_this.map(|l| l.2).filter(|name| *name != "NVFP4").collect();
        names.sort_unstable();
        let mut all: Vec<&str> = Method::ALL.iter().flat_map(Method::names).collect();
        all.sort_unstable();
        assert_eq!(names, all, "{model} {matrix}");
        wrong.extend(differing(&sandbox, &lines, (&model, &matrix), 2));
    }
    assert!(wrong.is_empty(), "these differ from the reference:\n{}", wrong.join("\n"));
}

#[test]
fn every_method_of_a_llama() {
    check("llama");
}

#[test]
fn every_method_of_a_qwen2() {
    check("qwen2");
}

#[test]
fn every_method_of_experts() {
    check("experts");
}

#[test]
fn every_method_of_widths_that_fit_few_types() {
    check("narrow");
}

/// The level is the process's; tests that run meanwhile compute with fewer lanes and get the same bytes, too.
#[test]
fn neither_threads_nor_vectors_change_a_byte() {
    let (sandbox, lines) = recorded();
    let mut wrong = Vec::new();
    let runs =
        [(Level::Avx512, 1), (Level::Avx512, 2), (Level::Avx512, 7), (Level::Avx2, 2), (Level::Baseline, 2)];
    for (widest, threads) in runs {
        let level = simd::limit(widest);
        for matrix in ["-", "experts.imatrix"] {
            let found = differing(&sandbox, &lines, ("experts.gguf", matrix), threads);
            wrong.extend(found.iter().map(|line| format!("{line} ({threads} threads, {level})")));
        }
    }
    simd::limit(Level::Avx512);
    assert!(wrong.is_empty(), "these differ from the reference:\n{}", wrong.join("\n"));
}

/// Holds recorded lines against what the program makes of them, in order: some make the input of others.
fn check_program(wanted: impl Fn(&str) -> bool) {
    let (sandbox, lines) = recorded();
    let outputs = || sandbox.tree("").into_iter().filter(|name| name.starts_with("/out"));
    let (mut wrong, mut done) = (Vec::new(), 0);
    for line in lines.iter().filter(|l| l.plain().is_none() && wanted(&l.words)) {
        done += 1;
        let ran = sandbox.run(&format!("--json --threads 2 quantize {}", line.words));
        let made = match (ran.code, line.refusal()) {
            (Some(0), None) if line.words.starts_with("--dry-run") => foretold(&ran.result(), line),
            (Some(0), None) => match line.words.rsplit(' ').nth(1) {
                Some("out.gguf") => {
                    outputs().map(|name| facts(&sandbox.read(&name[1..]))).collect::<Vec<_>>().join(" ")
                }
                other => facts(&sandbox.read(other.unwrap())),
            },
            (Some(0), Some(_)) => "not refused".to_owned(),
            (_, Some((words, own))) if ran.to_string().contains(&own) => format!("refused {words}"),
            _ => ran.to_string(),
        };
        if made != line.result {
            wrong.push(format!("{}\n  {made}\n  the reference: {}", line.words, line.result));
        }
        for name in outputs() {
            fs::remove_file(sandbox.path(&name[1..])).unwrap();
        }
    }
    assert!(done > 30, "only {done} lines");
    assert!(wrong.is_empty(), "{} of {done} differ from the reference:\n{}", wrong.len(), wrong.join("\n"));
}

/// What `llama-quantize --dry-run` says of the tensors' size. Where layers are left out, it divides their bits among the
/// input's weights; this program, among the output's.
fn foretold(result: &Value, line: &Line) -> String {
    assert_eq!(result["written"], false);
    let mib = result["tensor_bytes"].as_u64().unwrap() as f64 / 1_048_576.0;
    let bits = result["bits_per_weight"].as_f64().unwrap();
    if line.words.contains("--prune-layers") {
        let (_, theirs) = line.result.split_once(" (").unwrap();
        assert_ne!(theirs, format!("{bits:.2} BPW)"));
        return format!("{mib:.2} MiB ({theirs}");
    }
    format!("{mib:.2} MiB ({bits:.2} BPW)")
}

#[test]
fn every_option() {
    check_program(|words| !words.contains("from-") && !words.starts_with("--dry-run"));
}

#[test]
fn every_type_is_read_again() {
    check_program(|words| words.contains("from-"));
}

#[test]
fn dry_runs_foretell_the_sizes() {
    check_program(|words| words.starts_with("--dry-run"));
}
