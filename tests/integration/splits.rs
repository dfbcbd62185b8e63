//! Outputs in several files, byte for byte as the reference splits them (`scripts/record-splits`).

use std::path::{Path, PathBuf};

use jamph_quantizer::base::atomic::Outlives;
use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::checkpoint::{Checkpoint, GgufModel, Weights};
use jamph_quantizer::config::Split;
use jamph_quantizer::convert::{Blueprint, ConvertOptions, OutType, blueprint};
use jamph_quantizer::quantize::split::{Part, keep, split, split_converted};
use jamph_quantizer::quantize::{Layout, Method, Options, layout};
use jamph_quantizer::run::files::{self, Target, Work};

/// The files that the reference wrote: name, size and sha256.
fn recorded(way: &str, limit: &str) -> Vec<(String, u64, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/splits.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let files: Vec<_> = text
        .lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [w, l, name, bytes, sha256] if (w, l) == (way, limit) => {
                Some((name.to_owned(), bytes.parse().unwrap(), sha256.to_owned()))
            }
            _ => None,
        })
        .collect();
    assert!(!files.is_empty(), "nothing is recorded of {way} {limit}");
    files
}

/// Writes `x.gguf`, or its parts, and compares the files with the recorded ones.
#[track_caller]
fn check(
    way: &str,
    limit: &str,
    weights: &dyn Weights,
    blueprint: &Blueprint,
    layout: Layout,
    parts: Vec<Part>,
    folder: &Path,
) {
    let target = Target { name: way.to_owned(), path: folder.join("x.gguf"), layout, parts };
    let work = Work {
        threads: 3,
        memory: None,
        check_finite: true,
        hash: true,
        stats: true,
        outlives: Outlives::Process,
        task: way.to_owned(),
    };
    let bytes = target.bytes();
    let (written, _) =
        files::write(weights, blueprint, &[target], None, &work, &Cancel::new(), &()).expect("a pass");
    assert_eq!(written[0].bytes(), bytes, "{way} {limit}: the size that was foretold");
    let found: Vec<_> = written[0]
        .files
        .iter()
        .map(|f| {
            assert_eq!(std::fs::metadata(&f.path).unwrap().len(), f.bytes);
            let name = f.path.file_name().unwrap().to_string_lossy().into_owned();
            (name, f.bytes, f.sha256.clone().unwrap())
        })
        .collect();
    assert_eq!(found, recorded(way, limit), "{way} {limit}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), found.len(), "nothing else is left");
}

fn limit(text: &str) -> Split {
    match text.strip_suffix('M') {
        Some(n) => Split::Size(n.parse::<u64>().unwrap() * 1_000_000),
        None => Split::Tensors(text.parse().unwrap()),
    }
}

fn example() -> (Checkpoint, Blueprint) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let options = ConvertOptions { out_type: OutType::BF16, ..ConvertOptions::default() };
    let blueprint = blueprint(&checkpoint, &options, &()).unwrap();
    (checkpoint, blueprint)
}

fn q4_k_m() -> &'static Method {
    Method::from_name("Q4_K_M").unwrap()
}

const LIMITS: [&str; 5] = ["1M", "2M", "100M", "4", "7"];

#[test]
fn conversions_are_split_as_by_the_converter() {
    let (checkpoint, blueprint) = example();
    for text in LIMITS {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::converted(&blueprint).unwrap();
        let parts = split_converted(&layout, limit(text)).unwrap().unwrap_or_default();
        check("converter", text, &checkpoint, &blueprint, layout, parts, tmp.path());
    }
}

#[test]
fn outputs_are_split_as_by_gguf_split() {
    let (checkpoint, blueprint) = example();
    for text in LIMITS {
        let tmp = tempfile::tempdir().unwrap();
        let layout = layout(&blueprint, q4_k_m(), &Options::default()).unwrap();
        let parts = split(&layout, limit(text)).unwrap();
        check("gguf-split", text, &checkpoint, &blueprint, layout, parts, tmp.path());
    }
}

#[test]
fn a_kept_split_is_that_of_the_input() {
    let (checkpoint, blueprint) = example();
    let tmp = tempfile::tempdir().unwrap();
    let (input, output) = (tmp.path().join("in"), tmp.path().join("out"));
    let layout_in = Layout::converted(&blueprint).unwrap();
    let parts = split_converted(&layout_in, limit("7")).unwrap().unwrap();
    check("converter", "7", &checkpoint, &blueprint, layout_in, parts, &folder(&input));

    let model = GgufModel::open(&input.join("x-00001-of-00003.gguf")).unwrap();
    let blueprint = Blueprint::from_gguf(&model).unwrap();
    let options = Options { keep_split: true, ..Options::default() };
    let layout = layout(&blueprint, q4_k_m(), &options).unwrap();
    let parts = keep(&layout, &blueprint).unwrap();
    check("keep-split", "7", &model, &blueprint, layout, parts, &folder(&output));
}

fn folder(path: &Path) -> PathBuf {
    std::fs::create_dir(path).unwrap();
    path.to_owned()
}
