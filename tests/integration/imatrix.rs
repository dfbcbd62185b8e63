//! Importance matrices of both forms, byte for byte as the reference uses them (`scripts/record-imatrix`).

use std::fs;
use std::path::Path;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash::sha256;
use jamph_quantizer::checkpoint::GgufModel;
use jamph_quantizer::convert::Blueprint;
use jamph_quantizer::quantize::imatrix::Selection;
use jamph_quantizer::quantize::pass::{Output, PassOptions, pass};
use jamph_quantizer::quantize::{Imatrix, Layout, Method, Options, layout};

use crate::support::imatrices::files;

/// What the reference wrote, as `FORM METHOD SELECTION BYTES SHA256`, and what it was given, as `input FILE SHA256`.
fn recorded() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/imatrix.txt")).unwrap()
}

#[test]
fn imatrix_outputs_are_the_references() {
    let dir = tempfile::tempdir().unwrap();
    let text = recorded();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    for (name, bytes) in files() {
        let hash = sha256(&bytes);
        assert!(lines.contains(&vec!["input", name, &hash]), "{name} is not what the reference was given");
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let model = GgufModel::open(&dir.path().join("model.gguf")).unwrap();
    let blueprint = Blueprint::from_gguf(&model).unwrap();

    let mut done = 0;
    let mut differing = Vec::new();
    for form in ["imatrix.gguf", "imatrix.dat"] {
        for chosen in ["all", "without-exps"] {
            let exclude = if chosen == "all" { vec![] } else { vec!["exps".to_owned()] };
            let selection = Selection { include: vec![], exclude };
            let imatrix = Imatrix::open(&dir.path().join(form), form, &selection).unwrap().unwrap();
            let options = Options { imatrix: Some(imatrix.origin.clone()), ..Options::default() };
            let of_this: Vec<_> = lines.iter().filter(|l| l[0] == form && l[2] == chosen).collect();
            let layouts: Vec<Layout> = of_this
                .iter()
                .map(|l| layout(&blueprint, Method::from_name(l[1]).unwrap(), &options).unwrap())
                .collect();
            let mut sinks = vec![Vec::new(); layouts.len()];
            let outputs = layouts.iter().zip(&mut sinks).zip(&of_this).map(|((layout, sink), line)| Output {
                name: line[1],
                header: &layout.header,
                recipes: &layout.recipes,
                parts: &[],
                sink,
            });
            // Slabs that end within experts.
            let options =
                PassOptions { threads: 2, slab_values: 256 * 100, stats: false, ..PassOptions::default() };
            let cancel = Cancel::new();
            pass(&model, &blueprint, outputs.collect(), Some(&imatrix), &options, &cancel, &()).unwrap();
            for (made, line) in sinks.iter().zip(&of_this) {
                done += 1;
                if [made.len().to_string(), sha256(made)] != line[3..] {
                    differing.push(line[..3].join(" "));
                }
            }
        }
    }
    assert_eq!(done, lines.iter().filter(|l| l.len() == 5 && l[0] != "#").count());
    assert!(done > 10, "{done}");
    assert!(differing.is_empty(), "these differ from the reference: {differing:?}");
}
