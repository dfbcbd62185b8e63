//! A seeded model with experts as a GGUF file, and an importance matrix of it in both forms.

use half::bf16;
use jamph_quantizer::gguf::{Array, GgmlType, Header, Metadata, Value};

const WIDTH: u64 = 256;
const EXPERTS: u64 = 3;
const CHUNKS: u32 = 17;

/// The model's matrices but the router: name, row length, rows and experts.
const MATRICES: [(&str, u64, u64, u64); 9] = [
    ("token_embd.weight", WIDTH, 32, 1),
    ("output.weight", WIDTH, 32, 1),
    ("blk.0.attn_q.weight", WIDTH, 256, 1),
    ("blk.0.attn_k.weight", WIDTH, 64, 1),
    ("blk.0.attn_v.weight", WIDTH, 64, 1),
    ("blk.0.attn_output.weight", WIDTH, 256, 1),
    ("blk.0.ffn_gate_exps.weight", WIDTH, 256, EXPERTS),
    ("blk.0.ffn_up_exps.weight", WIDTH, 256, EXPERTS),
    ("blk.0.ffn_down_exps.weight", 256, WIDTH, EXPERTS),
];

/// The files: the same bytes on every machine.
pub(crate) fn files() -> [(&'static str, Vec<u8>); 3] {
    [("model.gguf", model()), ("imatrix.gguf", gguf_form()), ("imatrix.dat", older_form())]
}

/// Numbers from a seed: splitmix64.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
    }

    /// About a normal distribution.
    fn bell(&mut self) -> f32 {
        (0..4).map(|_| self.unit()).sum::<f32>() / 16.0 - 0.125
    }
}

fn file(metadata: Metadata, tensors: Vec<(String, Vec<u64>, GgmlType, Vec<u8>)>) -> Vec<u8> {
    let lines = tensors.iter().map(|(name, shape, ty, _)| (name.clone(), shape.clone(), *ty));
    let mut bytes = Header::new(metadata, lines).to_bytes();
    for (.., data) in tensors {
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn model() -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "qwen3moe");
    metadata.set("general.name", "experts");
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 512),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", 256),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 64),
        ("vocab_size", 32),
        ("expert_count", EXPERTS as u32),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 256),
    ] {
        metadata.set(format!("qwen3moe.{key}"), value);
    }
    metadata.set("qwen3moe.attention.layer_norm_rms_epsilon", 1e-5f32);
    metadata.set("qwen3moe.rope.freq_base", 10000.0f32);
    metadata.set("general.file_type", 32u32);
    metadata.set("general.quantization_version", 2u32);
    let mut random = Random(1);
    let mut tensors = Vec::new();
    for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"] {
        tensors.push((name.to_owned(), vec![WIDTH], GgmlType::F32, floats(&[1.0; WIDTH as usize])));
    }
    let router: Vec<f32> = (0..WIDTH * EXPERTS).map(|_| random.bell()).collect();
    let name = "blk.0.ffn_gate_inp.weight".to_owned();
    tensors.push((name, vec![WIDTH, EXPERTS], GgmlType::F32, floats(&router)));
    for (name, row, rows, experts) in MATRICES {
        let shape = if experts > 1 { vec![row, rows, experts] } else { vec![row, rows] };
        let data = (0..row * rows * experts).flat_map(|_| bf16::from_f32(random.bell()).to_le_bytes());
        tensors.push((name.to_owned(), shape, GgmlType::BF16, data.collect()));
    }
    file(metadata, tensors)
}

/// Sums and counts of the tensors that have any. The second expert saw nothing; the embeddings have another number of
/// columns, which is let by for them alone.
fn entries() -> Vec<(&'static str, u64, Vec<f32>, Vec<f32>)> {
    let mut random = Random(2);
    MATRICES
        .iter()
        .filter(|(name, ..)| *name != "output.weight")
        .map(|(name, row, rows, experts)| {
            let columns = if *name == "token_embd.weight" { *rows } else { *row };
            let counts: Vec<f32> = (0..*experts).map(|e| [1024.0, 0.0, 37.0][e as usize]).collect();
            let sum = |i: u64| {
                let unit = random.unit();
                unit * unit * unit * counts[(i / columns) as usize]
            };
            (*name, columns, (0..columns * experts).map(sum).collect(), counts)
        })
        .collect()
}

fn gguf_form() -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", Value::Array(Array::strings(["one.txt", "two.txt"])));
    metadata.set("imatrix.chunk_count", CHUNKS);
    metadata.set("imatrix.chunk_size", 512u32);
    let mut tensors = Vec::new();
    for (name, columns, sums, counts) in entries() {
        let experts = counts.len() as u64;
        tensors.push((format!("{name}.in_sum2"), vec![columns, experts], GgmlType::F32, floats(&sums)));
        tensors.push((format!("{name}.counts"), vec![1, experts], GgmlType::F32, floats(&counts)));
    }
    file(metadata, tensors)
}

fn older_form() -> Vec<u8> {
    let entries = entries();
    let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, _, sums, _) in entries {
        bytes.extend((name.len() as i32).to_le_bytes());
        bytes.extend(name.bytes());
        bytes.extend(7i32.to_le_bytes());
        bytes.extend((sums.len() as i32).to_le_bytes());
        bytes.extend(floats(&sums));
    }
    bytes.extend(CHUNKS.to_le_bytes());
    bytes.extend(5i32.to_le_bytes());
    bytes.extend(*b"a.txt");
    bytes
}
