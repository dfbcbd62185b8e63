//! The pass against a plain walk over the same weights.

use super::*;
use crate::arch::Factors;
use crate::convert::{Change, OutType, Part, Recipe, RowOrder, TensorRecipe};
use crate::gguf::Metadata;
use crate::quantize::block;
use crate::quantize::imatrix::Entry;

struct Memory(Vec<u8>);

impl Weights for Memory {
    fn read(&self, _: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(())
    }
}

/// Seeded values in a source of F32, and tensors over them.
fn model(values: usize) -> (Vec<f32>, Memory) {
    let mut state = 1u64;
    let floats: Vec<f32> = (0..values)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    let bytes = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    (floats, Memory(bytes))
}

fn recipe(name: &str, shape: &[u64], ty: GgmlType, offsets: &[u64], order: RowOrder) -> TensorRecipe {
    let parts = offsets.iter().map(|o| Part::new(name, 0, o * 4, GgmlType::F32)).collect();
    TensorRecipe {
        name: name.to_owned(),
        shape: shape.to_vec(),
        ty,
        source: Recipe::Rows { parts, order, change: Change::None },
    }
}

fn blueprint(tensors: Vec<TensorRecipe>) -> Blueprint {
    Blueprint {
        architecture: "llama".to_owned(),
        out_type: OutType::BF16,
        metadata: Metadata::new(),
        tensors,
    }
}

fn header(blueprint: &Blueprint, ty: impl Fn(&TensorRecipe) -> GgmlType) -> Header {
    let tensors = blueprint.tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), ty(t)));
    Header::new(blueprint.metadata.clone(), tensors)
}

fn example() -> (Vec<f32>, Memory, Blueprint) {
    let (floats, memory) = model(64 * 48 * 3);
    let tensors = vec![
        recipe("plain", &[64, 48], GgmlType::BF16, &[0], RowOrder::Natural),
        recipe("rope", &[64, 48], GgmlType::BF16, &[64 * 48], RowOrder::Rope { heads: 6 }),
        recipe("rope.bias", &[48], GgmlType::F32, &[7], RowOrder::Rope { heads: 6 }),
        recipe("experts", &[64, 8, 3], GgmlType::BF16, &[0, 64 * 8, 64 * 16], RowOrder::Natural),
        recipe("norm", &[33], GgmlType::F32, &[5], RowOrder::Natural),
        recipe("vector.of.parts", &[24], GgmlType::F32, &[40, 8, 90], RowOrder::Natural),
        TensorRecipe {
            name: "computed".to_owned(),
            shape: vec![5],
            ty: GgmlType::F32,
            source: Recipe::Values(vec![1.0, 2.0, 3.0, 4.0, 5.0]),
        },
    ];
    (floats, memory, blueprint(tensors))
}

/// What a file must hold, made row by row without any engine.
fn expected(floats: &[f32], blueprint: &Blueprint, header: &Header) -> Vec<u8> {
    let mut out = header.to_bytes();
    for (recipe, info) in blueprint.tensors.iter().zip(&header.tensors) {
        let values: Vec<f32> = match &recipe.source {
            Recipe::Values(v) => v.clone(),
            Recipe::Rows { parts, order, .. } => {
                let n = recipe.shape.iter().product::<u64>() / parts.len() as u64;
                let row = if recipe.shape.len() == 1 { 1 } else { recipe.shape[0] };
                let rows = n / row;
                let from = |part: &Part, r: u64| {
                    let source = order.source_row(r, rows);
                    let at = (part.offset / 4 + source * row) as usize;
                    floats[at..at + row as usize].to_vec()
                };
                parts.iter().flat_map(|p| (0..rows).flat_map(move |r| from(p, r))).collect()
            }
        };
        let mut base = vec![0; recipe.ty.bytes_of(values.len() as u64).unwrap() as usize];
        block::quantize(recipe.ty, &values, recipe.shape[0] as usize, None, &mut base);
        let mut values = values;
        block::dequantize(recipe.ty, &base, &mut values);
        let mut bytes = vec![0; info.bytes() as usize];
        block::quantize(info.ty, &values, recipe.shape[0] as usize, None, &mut bytes);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(32), 0);
    }
    out
}

fn quantized(t: &TensorRecipe, ty: GgmlType) -> GgmlType {
    if t.ty == GgmlType::BF16 { ty } else { t.ty }
}

#[test]
fn outputs_are_those_of_a_plain_walk_whatever_the_threads_and_slabs() {
    let (floats, memory, blueprint) = example();
    let types = [GgmlType::BF16, GgmlType::F16, GgmlType::F32, GgmlType::F16];
    let headers: Vec<Header> = types.iter().map(|ty| header(&blueprint, |t| quantized(t, *ty))).collect();
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    for threads in [1, 2, 7] {
        for slab_values in [1, 100, 64 * 16, 1 << 20] {
            let mut sinks = vec![Vec::new(); types.len()];
            let outputs = headers
                .iter()
                .zip(&mut sinks)
                .map(|(header, sink)| Output { name: "x", header, recipes: &recipes, parts: &[], sink })
                .collect();
            let options = PassOptions { threads, slab_values, ..PassOptions::default() };
            let report = pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &()).unwrap();
            for (header, sink) in headers.iter().zip(&sinks) {
                assert!(*sink == expected(&floats, &blueprint, header), "{threads} threads, {slab_values}");
            }
            // Every source byte is read once, and each slab quantized once a type: F16 serves two outputs.
            assert_eq!(report.bytes_read, 4 * (64 * 48 * 2 + 48 + 64 * 24 + 33 + 24 + 5));
            let matrix_slabs = report.slabs - 6;
            assert_eq!(report.quantized[&GgmlType::F16], matrix_slabs);
            assert_eq!(report.quantized[&GgmlType::BF16], matrix_slabs);
            assert_eq!(report.quantized[&GgmlType::F32], matrix_slabs);
        }
    }
}

/// Values are changed in the precision of the source, each by the factors of its row, wherever slabs begin.
#[test]
fn changes_are_those_of_a_plain_walk() {
    let (floats, memory) = model(8 * 6);
    let factors = Factors { all: vec![1.1, 0.3], rows: vec![(2, 0.7), (5, 1.9)] };
    let expected = |change: &Change| -> Vec<f32> {
        let changed = |(at, x): (usize, &f32)| match change {
            Change::NegativeExp => -(f64::from(*x).exp() as f32),
            Change::Plus(number) => x + number,
            Change::Times(_) => {
                let x = x * 1.1 * 0.3;
                match at / 8 {
                    0 | 1 => x * 0.7,
                    2..5 => x * 1.9,
                    _ => x,
                }
            }
            Change::None => *x,
        };
        floats.iter().enumerate().map(changed).collect()
    };
    for change in [Change::NegativeExp, Change::Plus(1.0), Change::Times(factors), Change::None] {
        let mut tensor = recipe("t", &[8, 6], GgmlType::F32, &[0], RowOrder::Natural);
        let Recipe::Rows { change: own, .. } = &mut tensor.source else { panic!("rows") };
        *own = change.clone();
        let blueprint = blueprint(vec![tensor]);
        let header = header(&blueprint, |t| t.ty);
        let mut out = header.to_bytes();
        out.extend(expected(&change).iter().flat_map(|x| x.to_le_bytes()));
        for slab_values in [1, 16, 1000] {
            let mut sink = Vec::new();
            let outputs =
                vec![Output { name: "x", header: &header, recipes: &[0], parts: &[], sink: &mut sink }];
            let options = PassOptions { threads: 2, slab_values, ..PassOptions::default() };
            pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &()).unwrap();
            assert!(sink == out, "{change:?} in slabs of {slab_values}");
        }
    }
}

/// Half precision stays half, after each factor.
#[test]
fn changes_of_half_precision_round_after_each_step() {
    use half::f16;
    let x = f16::from_f32(0.337);
    let memory = Memory(x.to_le_bytes().to_vec());
    let rounded = |x: f32| f16::from_f32(x).to_f32();
    let x = x.to_f32();
    let factors = Factors { all: vec![0.7, 1.3], rows: Vec::new() };
    let cases = [
        (Change::Times(factors), rounded(rounded(x * 0.7) * 1.3)),
        (Change::Plus(1.0), rounded(x + 1.0)),
        (Change::NegativeExp, -rounded(f64::from(x).exp() as f32)),
    ];
    for (change, expected) in cases {
        let mut tensor = recipe("t", &[1], GgmlType::F32, &[0], RowOrder::Natural);
        let Recipe::Rows { change: own, parts, .. } = &mut tensor.source else { panic!("rows") };
        (*own, parts[0].ty) = (change.clone(), GgmlType::F16);
        let blueprint = blueprint(vec![tensor]);
        let header = header(&blueprint, |t| t.ty);
        let mut sink = Vec::new();
        let outputs = vec![Output { name: "x", header: &header, recipes: &[0], parts: &[], sink: &mut sink }];
        let options = PassOptions::default();
        pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &()).unwrap();
        let mut out = header.to_bytes();
        out.extend(expected.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        assert!(sink == out, "{change:?}");
    }
}

/// Every expert's rows are quantized by its own importance, wherever slabs and parts begin; a tensor of which the matrix
/// has nothing, or another size, is quantized without.
#[test]
fn importance_follows_the_experts_whatever_the_threads_and_slabs() {
    const WIDTH: usize = 256;
    let (floats, memory) = model(WIDTH * 15);
    let tensors = vec![
        recipe("by.expert", &[256, 5, 3], GgmlType::F32, &[0, 256 * 5, 256 * 10], RowOrder::Natural),
        recipe("stacked", &[256, 5, 3], GgmlType::F32, &[0], RowOrder::Natural),
        recipe("without", &[256, 5], GgmlType::F32, &[0], RowOrder::Natural),
        recipe("other", &[256, 5], GgmlType::F32, &[0], RowOrder::Natural),
    ];
    let blueprint = blueprint(tensors);
    let weights: Vec<f32> = floats[..WIDTH * 3].iter().map(|x| x * x).collect();
    let entry = |weights: &[f32]| Entry { weights: weights.to_vec(), idle: Vec::new() };
    let imatrix = Imatrix::of([
        ("by.expert", entry(&weights)),
        ("stacked", entry(&weights)),
        ("other", entry(&weights[..WIDTH - 1])),
    ]);
    let row = GgmlType::Q4_K.block_bytes();
    let mut experts = vec![0; 15 * row];
    for (expert, out) in experts.chunks_exact_mut(5 * row).enumerate() {
        let (x, w) = (&floats[expert * 5 * WIDTH..][..5 * WIDTH], &weights[expert * WIDTH..][..WIDTH]);
        block::quantize(GgmlType::Q4_K, x, WIDTH, Some(w), out);
    }
    let mut plain = vec![0; 5 * row];
    block::quantize(GgmlType::Q4_K, &floats[..5 * WIDTH], WIDTH, None, &mut plain);
    assert_ne!(experts[..5 * row], plain);

    let header = header(&blueprint, |_| GgmlType::Q4_K);
    let mut expected = header.to_bytes();
    for tensor in [&experts, &experts, &plain, &plain] {
        expected.extend_from_slice(tensor);
        expected.resize(expected.len().next_multiple_of(32), 0);
    }
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    for threads in [1, 3] {
        for rows in [1, 2, 4, 7, 100] {
            let mut sink = Vec::new();
            let outputs =
                vec![Output { name: "x", header: &header, recipes: &recipes, parts: &[], sink: &mut sink }];
            let options = PassOptions { threads, slab_values: rows * WIDTH as u64, ..PassOptions::default() };
            pass(&memory, &blueprint, outputs, Some(&imatrix), &options, &Cancel::new(), &()).unwrap();
            assert!(sink == expected, "{threads} threads, slabs of {rows} rows");
        }
    }
}

#[test]
fn a_type_that_demands_importance_is_refused_without() {
    let (_, memory) = model(256);
    let blueprint = blueprint(vec![recipe("t", &[256, 1], GgmlType::F32, &[0], RowOrder::Natural)]);
    let header = header(&blueprint, |_| GgmlType::IQ2_XS);
    let mut sink = Vec::new();
    let outputs = vec![Output { name: "x", header: &header, recipes: &[0], parts: &[], sink: &mut sink }];
    let found = pass(&memory, &blueprint, outputs, None, &PassOptions::default(), &Cancel::new(), &());
    assert!(matches!(found, Err(PassError::Importance { tensor, ty: GgmlType::IQ2_XS }) if tensor == "t"));
}

#[test]
fn losses_are_those_of_the_whole_tensors_whatever_the_threads() {
    let (floats, memory, blueprint) = example();
    let headers = [GgmlType::Q4_0, GgmlType::BF16, GgmlType::Q4_0, GgmlType::Q8_0]
        .map(|ty| header(&blueprint, |t| quantized(t, ty)));
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    let run = |threads, slab_values, stats| {
        let mut sinks = [const { Vec::new() }; 4];
        let outputs = headers
            .iter()
            .zip(&mut sinks)
            .map(|(header, sink)| Output { name: "x", header, recipes: &recipes, parts: &[], sink })
            .collect();
        let options = PassOptions { threads, slab_values, stats, ..PassOptions::default() };
        pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &()).unwrap()
    };
    let report = run(1, 64 * 8, true);
    for threads in [2, 7] {
        assert_eq!(run(threads, 64 * 8, true).losses, report.losses);
    }
    // The base file is what counts as the source, and what is as in the base file is not measured.
    let types = |report: &PassReport| -> Vec<Vec<GgmlType>> {
        report.losses.iter().map(|t| t.iter().map(|(ty, _)| *ty).collect()).collect()
    };
    let both = vec![GgmlType::Q4_0, GgmlType::Q8_0];
    assert_eq!(types(&report), [both.clone(), both.clone(), vec![], both, vec![], vec![], vec![]]);
    assert_eq!(types(&run(2, 64 * 8, false)), Vec::<Vec<GgmlType>>::new());

    let base = |bytes: &[u8], ty| {
        let mut values = vec![0.0; 64 * 48];
        block::dequantize(ty, bytes, &mut values);
        values
    };
    let mut bytes = vec![0; 64 * 48 * 2];
    block::quantize(GgmlType::BF16, &floats[..64 * 48], 64, None, &mut bytes);
    let x = base(&bytes, GgmlType::BF16);
    let mut bytes = vec![0; 64 * 48 / 32 * 18];
    block::quantize(GgmlType::Q4_0, &x, 64, None, &mut bytes);
    let y = base(&bytes, GgmlType::Q4_0);
    let square = |x: f32| f64::from(x).powi(2);
    let signal: f64 = x.iter().map(|x| square(*x)).sum();
    let noise: f64 = x.iter().zip(&y).map(|(x, y)| square(x - y)).sum();
    let loss = report.loss(0, GgmlType::Q4_0).unwrap();
    assert!((loss.relative_rmse() / (noise / signal).sqrt() - 1.0).abs() < 1e-5, "{loss:?}");
    assert_eq!(loss.values, 64 * 48);
}

#[test]
fn the_largest_slab_is_foretold() {
    let (_, _, blueprint) = example();
    for size in [1, 100, 64 * 16, 1 << 20] {
        for (recipe, r) in blueprint.tensors.iter().enumerate() {
            let slabs = slabs(&blueprint, &[recipe], size);
            let of = |f: fn(&slab::Slab) -> u64| slabs.iter().map(f).max().unwrap();
            let held = 3 * of(|s| s.source_bytes) + 4 * of(|s| s.values);
            assert_eq!(largest(r, size), (of(|s| s.values), held), "{} {size}", r.name);
        }
    }
}

#[test]
fn the_reads_are_foretold() {
    struct Heard<'a>(&'a Memory, Mutex<Vec<(usize, Range<u64>)>>);
    impl Weights for Heard<'_> {
        fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
            self.1.lock().unwrap().push((shard, offset..offset + buf.len() as u64));
            self.0.read(shard, offset, buf)
        }
    }
    let (_, memory, blueprint) = example();
    let header = header(&blueprint, |t| t.ty);
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    for slab_values in [1, 100, 64 * 16, 1 << 20] {
        let options = PassOptions { slab_values, ..PassOptions::default() };
        let heard = Heard(&memory, Mutex::default());
        let mut sink = Vec::new();
        let outputs =
            vec![Output { name: "x", header: &header, recipes: &recipes, parts: &[], sink: &mut sink }];
        pass(&heard, &blueprint, outputs, None, &options, &Cancel::new(), &()).unwrap();
        assert_eq!(reads(&blueprint, &recipes, &options), heard.1.into_inner().unwrap());
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let (_, mut memory, blueprint) = example();
    let at = 64 * 48 + 64 * 11 + 3; // row 11 of `rope`: head 1, first half; it comes out as row 8 + 2 * 3
    memory.0[4 * at..4 * at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let header = header(&blueprint, |t| quantized(t, GgmlType::F16));
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    let run = |check_finite| {
        let mut sink = Vec::new();
        let outputs =
            vec![Output { name: "x", header: &header, recipes: &recipes, parts: &[], sink: &mut sink }];
        let options = PassOptions { threads: 2, slab_values: 512, check_finite, ..PassOptions::default() };
        pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &())
    };
    match run(true) {
        Err(PassError::NotFinite { tensor, index, values }) => {
            assert_eq!((tensor.as_str(), index, values), ("rope", 64 * 14 + 3, 64 * 48));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failing_sink_stops_the_pass_and_is_named() {
    struct Full(usize);
    impl Sink for Full {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(())
        }
    }
    let (_, memory, blueprint) = example();
    let header = header(&blueprint, |t| quantized(t, GgmlType::F16));
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    for threads in [1, 3] {
        let (mut full, mut fine) = (Full(9000), Vec::new());
        let outputs = vec![
            Output { name: "fine", header: &header, recipes: &recipes, parts: &[], sink: &mut fine },
            Output { name: "full", header: &header, recipes: &recipes, parts: &[], sink: &mut full },
        ];
        let options = PassOptions { threads, slab_values: 64, ..PassOptions::default() };
        match pass(&memory, &blueprint, outputs, None, &options, &Cancel::new(), &()) {
            Err(PassError::Write { output, source }) => {
                assert_eq!((output.as_str(), source.kind()), ("full", io::ErrorKind::StorageFull));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_thread_that_panics_ends_the_pass() {
    /// Every thread but this one panics, and this one first waits for that.
    struct Panicking {
        memory: Memory,
        here: std::thread::ThreadId,
        both: std::sync::Barrier,
        met: AtomicBool,
    }
    impl Weights for Panicking {
        fn read(&self, shard: usize, offset: u64, buf: &mut [u8]) -> Result<(), CheckpointError> {
            let here = std::thread::current().id() == self.here;
            if !here || !self.met.swap(true, Ordering::Relaxed) {
                self.both.wait();
            }
            assert!(here, "a panic that is wanted");
            self.memory.read(shard, offset, buf)
        }
    }
    let (_, memory, blueprint) = example();
    let here = std::thread::current().id();
    let weights = Panicking { memory, here, both: std::sync::Barrier::new(2), met: AtomicBool::new(false) };
    let header = header(&blueprint, |t| t.ty);
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    let mut sink = Vec::new();
    let outputs = vec![Output { name: "x", header: &header, recipes: &recipes, parts: &[], sink: &mut sink }];
    // Many more slabs than may be under way.
    let options = PassOptions { threads: 2, slab_values: 64, ..PassOptions::default() };
    let ended = pass(&weights, &blueprint, outputs, None, &options, &Cancel::new(), &());
    assert!(matches!(ended, Err(PassError::Panicked)), "{ended:?}");
}

#[test]
fn a_cancelled_pass_says_so() {
    let (_, memory, blueprint) = example();
    let header = header(&blueprint, |t| t.ty);
    let recipes: Vec<usize> = (0..blueprint.tensors.len()).collect();
    let mut sink = Vec::new();
    let outputs = vec![Output { name: "x", header: &header, recipes: &recipes, parts: &[], sink: &mut sink }];
    let cancel = Cancel::new();
    cancel.cancel();
    let found = pass(&memory, &blueprint, outputs, None, &PassOptions::default(), &cancel, &());
    assert!(matches!(found, Err(PassError::Cancelled)));
}
