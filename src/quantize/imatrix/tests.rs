//! Both forms, as they should be and as they should not.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::convert::{Blueprint, OutType, Recipe, TensorRecipe};
use crate::gguf::{Array, Header, Metadata, Value};
use crate::quantize::{LayoutError, Method, Options, layout};

fn open(bytes: &[u8], selection: &Selection) -> Result<Option<Imatrix>, ImatrixError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    fs::write(&path, bytes).unwrap();
    Imatrix::open(&path, "given/m", selection)
}

fn all(bytes: &[u8]) -> Result<Imatrix, ImatrixError> {
    open(bytes, &Selection::default()).map(|m| m.expect("nothing was left out"))
}

#[track_caller]
fn refused(bytes: &[u8], why: &Malformed) {
    match all(bytes) {
        Err(ImatrixError::Malformed { why: found, .. }) => assert_eq!(found, *why),
        other => panic!("{other:?}"),
    }
}

fn keys() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", Value::Array(Array::strings(["a.txt", "b.txt"])));
    metadata.set("imatrix.chunk_count", 17u32);
    metadata.set("imatrix.chunk_size", 512u32);
    metadata
}

/// A file of the GGUF form: names, shapes and values.
fn gguf_file(metadata: Metadata, tensors: &[(&str, &[u64], GgmlType, &[f32])]) -> Vec<u8> {
    let header = Header::new(
        metadata,
        tensors.iter().map(|(name, shape, ty, _)| ((*name).to_owned(), shape.to_vec(), *ty)),
    );
    let mut bytes = header.to_bytes();
    for (.., values) in tensors {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes
}

/// A file of the older form: names, calls and values, then what follows.
fn legacy_file(entries: &[(&[u8], i32, &[f32])], rest: &[u8]) -> Vec<u8> {
    let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, calls, values) in entries {
        bytes.extend((name.len() as i32).to_le_bytes());
        bytes.extend_from_slice(name);
        bytes.extend(calls.to_le_bytes());
        bytes.extend((values.len() as i32).to_le_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    bytes.extend_from_slice(rest);
    bytes
}

const F32: GgmlType = GgmlType::F32;

fn example() -> Vec<u8> {
    let sums = [6.0, 9.0, 1.0, 2.0, 5.0, 7.0];
    gguf_file(
        keys(),
        &[
            ("b.experts.in_sum2", &[2, 3], F32, &sums),
            ("b.experts.counts", &[1, 3], F32, &[3.0, 0.0, 2.4]),
            ("a.plain.in_sum2", &[2, 1], F32, &[8.0, 4.0]),
            ("a.plain.counts", &[1, 1], F32, &[4.0]),
            ("unrelated", &[1], F32, &[0.0]),
        ],
    )
}

#[test]
fn sums_are_divided_by_the_tokens_of_their_expert() {
    let m = all(&example()).unwrap();
    assert_eq!(
        m.origin,
        ImatrixOrigin {
            file: "given/m".to_owned(),
            dataset: Some("a.txt".to_owned()),
            entries: 2,
            chunks: Some(17)
        }
    );
    assert_eq!(
        m.entry("b.experts"),
        // The second expert saw nothing; 2.4 tokens are 2.
        Some(&Entry { weights: vec![2.0, 3.0, 1.0, 1.0, 2.5, 3.5], idle: vec![1] })
    );
    assert_eq!(m.weights("a.plain", &[2, 9]), Some(&[2.0, 1.0][..]));
    assert_eq!(m.weights("a.plain", &[3, 9]), None);
    assert_eq!(m.weights("b.experts", &[2, 9, 3]).map(<[f32]>::len), Some(6));
    assert_eq!(m.bytes(), 4 * 8);
}

#[test]
fn the_older_form_is_divided_by_its_calls() {
    let rest = [&9i32.to_le_bytes()[..], &5i32.to_le_bytes(), b"c.txt"].concat();
    let entries: &[(&[u8], i32, &[f32])] =
        &[(b"a", 4, &[8.0, 2.0]), (b"b", 0, &[3.0]), (b"a\0x", 2, &[5.0, 7.0, 1.0]), (b"c", -1, &[6.0])];
    let m = all(&legacy_file(entries, &rest)).unwrap();
    assert_eq!((m.origin.dataset.as_deref(), m.origin.chunks, m.origin.entries), (Some("c.txt"), Some(9), 3));
    // A name that comes twice has its last values; without calls, values stay.
    assert_eq!(m.entry("a").unwrap().weights, [2.5, 3.5, 0.5]);
    assert_eq!(m.entry("b").unwrap().weights, [3.0]);
    assert_eq!(m.entry("c").unwrap().weights, [6.0]);
}

#[test]
fn what_follows_the_older_form_may_be_missing() {
    let file = |rest: &[u8]| all(&legacy_file(&[(b"a", 1, &[1.0])], rest)).unwrap().origin;
    let long = [&2i32.to_le_bytes()[..], &99i32.to_le_bytes(), b"cut"].concat();
    let negative = [(-2i32).to_le_bytes(), (-1i32).to_le_bytes()].concat();
    for (rest, chunks) in [
        (&[][..], None),
        (&[3][..], Some(3)),
        (&2i32.to_le_bytes(), Some(2)),
        (&long, Some(2)),
        (&negative, None),
    ] {
        let origin = file(rest);
        assert_eq!((origin.chunks, origin.dataset), (chunks, None), "{rest:?}");
    }
}

#[test]
fn a_selection_is_by_parts_of_names() {
    let entries = |include: &[&str], exclude: &[&str]| {
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        let selection = Selection { include: list(include), exclude: list(exclude) };
        open(&example(), &selection).unwrap().map(|m| m.entries.into_keys().collect::<Vec<_>>())
    };
    assert_eq!(entries(&["experts", "nothing"], &[]), Some(vec!["b.experts".to_owned()]));
    assert_eq!(entries(&[], &["experts"]), Some(vec!["a.plain".to_owned()]));
    assert_eq!(entries(&[], &["a", "experts"]), None);
    assert_eq!(entries(&["nothing"], &[]), None);
}

#[test]
fn malformed_files_say_what_is_wrong() {
    let half = &[("a.in_sum2", &[1u64][..], F32, &[1.0][..])];
    refused(&gguf_file(keys(), half), &Malformed::Half("a".to_owned()));
    let uneven: &[(&str, &[u64], GgmlType, &[f32])] =
        &[("a.in_sum2", &[3], F32, &[1.0; 3]), ("a.counts", &[2], F32, &[1.0; 2])];
    refused(&gguf_file(keys(), uneven), &Malformed::Uneven("a".to_owned()));
    let empty: &[(&str, &[u64], GgmlType, &[f32])] =
        &[("a.in_sum2", &[3], F32, &[1.0; 3]), ("a.counts", &[0], F32, &[])];
    refused(&gguf_file(keys(), empty), &Malformed::Uneven("a".to_owned()));
    let typed: &[(&str, &[u64], GgmlType, &[f32])] =
        &[("a.in_sum2", &[1], F32, &[1.0]), ("a.counts", &[1], GgmlType::I32, &[1.0])];
    refused(&gguf_file(keys(), typed), &Malformed::NotF32("a".to_owned()));
    refused(&gguf_file(keys(), &[("other", &[1], F32, &[1.0])]), &Malformed::Empty);
    for key in ["imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"] {
        let mut metadata = keys();
        metadata.remove(key);
        refused(&gguf_file(metadata, half), &Malformed::MissingKey(key));
    }
    let mut metadata = keys();
    metadata.set("imatrix.chunk_count", 17u64);
    refused(&gguf_file(metadata, half), &Malformed::KeyType("imatrix.chunk_count"));
    let cut = example();
    assert!(matches!(all(&cut[..cut.len() - 40]), Err(ImatrixError::Gguf(_))));

    refused(b"", &Malformed::Empty);
    refused(&0i32.to_le_bytes(), &Malformed::Empty);
    refused(&legacy_file(&[(b"a", 1, &[])], b""), &Malformed::Length(1));
    let whole = legacy_file(&[(b"a", 1, &[1.0]), (b"b", 1, &[1.0])], b"");
    refused(&whole[..whole.len() - 1], &Malformed::Ends(2));
    // Two gigabytes are claimed, and none is there.
    let claim = [1i32, i32::MAX, 0].map(i32::to_le_bytes).concat();
    refused(&claim, &Malformed::Ends(1));
    let claim = [1i32, 0, 1, i32::MAX, 0].map(i32::to_le_bytes).concat();
    refused(&claim, &Malformed::Ends(1));
    let claim = [1i32, -1, 0].map(i32::to_le_bytes).concat();
    refused(&claim, &Malformed::Length(1));
}

#[test]
fn values_that_are_not_finite_are_refused_where_they_are_used() {
    let bytes = legacy_file(&[(b"good", 1, &[1.0]), (b"bad", 1, &[1.0, f32::NAN])], b"");
    match all(&bytes) {
        Err(ImatrixError::NotFinite { tensor, .. }) => assert_eq!(tensor, "bad"),
        other => panic!("{other:?}"),
    }
    let without = Selection { exclude: vec!["bad".to_owned()], ..Selection::default() };
    assert_eq!(open(&bytes, &without).unwrap().unwrap().origin.entries, 1);
    // A count that no integer holds is none, so its columns all count the same.
    for count in [f32::INFINITY, f32::NAN, -3.0, 1e19, 0.4] {
        let file: &[(&str, &[u64], GgmlType, &[f32])] =
            &[("a.in_sum2", &[2], F32, &[3.0, 4.0]), ("a.counts", &[1], F32, &[count])];
        let entry = Entry { weights: vec![1.0, 1.0], idle: vec![0] };
        assert_eq!(all(&gguf_file(keys(), file)).unwrap().entry("a"), Some(&entry), "{count}");
    }
}

fn blueprint(tensors: &[(&str, &[u64])]) -> Blueprint {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("general.file_type", 32u32);
    metadata.set("llama.block_count", 3u32);
    let tensors = tensors
        .iter()
        .map(|(name, shape)| TensorRecipe {
            name: (*name).to_owned(),
            shape: shape.to_vec(),
            ty: if shape.len() == 1 { F32 } else { GgmlType::BF16 },
            source: Recipe::Values(Vec::new()),
        })
        .collect();
    Blueprint { architecture: "llama".to_owned(), out_type: OutType::BF16, metadata, tensors }
}

fn entry(values: usize, idle: &[u32]) -> Entry {
    Entry { weights: vec![1.0; values], idle: idle.to_vec() }
}

fn cover(
    blueprint: &Blueprint,
    m: &Imatrix,
    method: &str,
    options: Options,
) -> Result<Coverage, ImatrixError> {
    let method = Method::from_name(method).expect("known");
    let options = Options { imatrix: Some(m.origin.clone()), ..options };
    m.cover(&layout(blueprint, method, &options).expect("fits"), blueprint, method)
}

#[test]
fn coverage_tells_tensors_and_experts_without_importance() {
    let base = blueprint(&[
        ("token_embd.weight", &[256, 8]),
        ("output_norm.weight", &[256]),
        ("blk.0.attn_q.weight", &[256, 4]),
        ("blk.1.attn_q.weight", &[256, 4]),
        ("blk.2.attn_q.weight", &[256, 4]),
        ("blk.2.ffn_up_exps.weight", &[256, 4, 3]),
    ]);
    let m = Imatrix::of([
        ("token_embd.weight", entry(7, &[])),
        ("blk.0.attn_q.weight", entry(256, &[])),
        ("blk.2.attn_q.weight", entry(256, &[])),
        ("blk.2.ffn_up_exps.weight", entry(3 * 256, &[0, 2])),
    ]);
    let found = cover(&base, &m, "Q8_0", Options::default()).unwrap();
    let idle = Idle { tensor: "blk.2.ffn_up_exps.weight".to_owned(), experts: vec![0, 2] };
    let without = ["token_embd.weight", "blk.1.attn_q.weight"].map(str::to_owned).to_vec();
    assert_eq!(found, Coverage { quantized: 5, without, idle: vec![idle] });
    assert!(found.has_gaps());
    assert_eq!(
        found.describe(),
        "3 of 5 quantized tensors weighted; nothing for `token_embd.weight`, `blk.1.attn_q.weight`; \
         2 experts without activations, first 0 of `blk.2.ffn_up_exps.weight`"
    );
    // Without layer 1, layer 2 is called 1 and has the importance of layer 2.
    let pruned = Options { prune_layers: vec![1], ..Options::default() };
    let found = cover(&base, &m, "Q8_0", pruned).unwrap();
    assert_eq!(found.without, ["token_embd.weight"]);
    assert_eq!(found.idle[0].tensor, "blk.1.ffn_up_exps.weight");
    // What is not quantized needs nothing.
    assert_eq!(cover(&base, &m, "BF16", Options::default()).unwrap(), Coverage::default());
}

#[test]
fn a_matrix_of_another_model_is_refused() {
    let base = blueprint(&[("blk.0.ffn_up_exps.weight", &[256, 4, 2])]);
    let m = Imatrix::of([("blk.0.ffn_up_exps.weight", entry(256, &[]))]);
    assert_eq!(
        cover(&base, &m, "Q8_0", Options::default()).expect_err("another size").to_string(),
        "the importance matrix has 256 values for tensor `blk.0.ffn_up_exps.weight`, which has 512 columns"
    );
}

#[test]
fn types_that_demand_importance_are_refused_without() {
    let base = blueprint(&[("blk.0.attn_q.weight", &[256, 4]), ("blk.0.ffn_up.weight", &[256, 4])]);
    let m = Imatrix::of([("blk.0.ffn_up.weight", entry(256, &[]))]);
    assert_eq!(
        cover(&base, &m, "IQ2_XS", Options::default()).expect_err("no entry").to_string(),
        "the importance matrix has nothing for tensor `blk.0.attn_q.weight`, which `IQ2_XS` makes `IQ2_XS`"
    );
    // The reference would die in the middle of the file here.
    let output = blueprint(&[("output.weight", &[256, 4])]);
    let pure = Options { pure: true, ..Options::default() };
    let found = cover(&output, &m, "IQ2_XS", pure.clone());
    assert!(matches!(found, Err(ImatrixError::Missing { .. })), "{found:?}");
    let method = Method::from_name("IQ2_XS").expect("known");
    assert!(matches!(layout(&output, method, &pure), Err(LayoutError::ImatrixRequired { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a file holds, reading it ends with an answer.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&bytes, &Selection::default());
    }

    /// Files with a few bytes of them changed, or cut short.
    #[test]
    fn damaged_files_are_read_or_refused(
        legacy: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end: prop::sample::Index,
    ) {
        let entries: &[(&[u8], i32, &[f32])] = &[(b"a.weight", 4, &[8.0, 2.0]), (b"b.weight", 2, &[3.0])];
        let rest = [&9i32.to_le_bytes()[..], &5i32.to_le_bytes(), b"c.txt"].concat();
        let mut bytes = if legacy { legacy_file(entries, &rest) } else { example() };
        for (at, to) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        if changes.is_empty() {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(Some(m)) = open(&bytes, &Selection::default()) {
            prop_assert_eq!(m.origin.entries as usize, m.entries.len());
            prop_assert!(m.entries.values().all(|e| e.weights.iter().all(|w| w.is_finite())));
        }
    }
}
