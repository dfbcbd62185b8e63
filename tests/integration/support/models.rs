//! Seeded models as GGUF files, and importance matrices of them in both forms.
//!
//! In: a row of [`MODELS`]. Out: the files that `scripts/record-quantize` gives the reference and the tests give this
//! program, the same bytes on every machine. `llama-quantize` looks at hyper-parameters and at shapes, never at whether
//! they belong together; so the matrices have the widths that matter and few rows. The values are meant to be awkward:
//! within a row, runs of zeros of either sign, constants, ties, outliers, magnitudes from 1e-9 to 1e4.

use half::{bf16, f16};
use jamph_quantizer::gguf::{Array, GgmlType, Header, Metadata, Value};

use super::random::Random;

/// One model.
pub(crate) struct Model {
    /// Name of its files.
    pub(crate) name: &'static str,
    architecture: &'static str,
    /// Type of the matrices.
    ty: GgmlType,
    layers: u32,
    width: u32,
    heads: u32,
    kv_heads: u32,
    experts: u32,
    /// Name, row length, rows. Those of attention and feed-forward are in every layer, `_exps` for every expert.
    matrices: &'static [(&'static str, u64, u64)],
}

/// Untied and in F32; tied, in BF16, with biases, many layers and four query heads a key head; with experts, in F16; and
/// of widths that fit few types, one of them none but the unquantized.
pub(crate) const MODELS: [Model; 4] = [
    Model {
        name: "llama",
        architecture: "llama",
        ty: GgmlType::F32,
        layers: 2,
        width: 256,
        heads: 4,
        kv_heads: 2,
        experts: 0,
        matrices: &[
            ("token_embd", 256, 37),
            ("attn_q", 256, 24),
            ("attn_k", 256, 9),
            ("attn_v", 256, 9),
            ("attn_output", 256, 24),
            ("ffn_gate", 256, 21),
            ("ffn_up", 256, 21),
            ("ffn_down", 512, 13),
            ("output", 256, 37),
        ],
    },
    Model {
        name: "qwen2",
        architecture: "qwen2",
        ty: GgmlType::BF16,
        layers: 8,
        width: 256,
        heads: 8,
        kv_heads: 2,
        experts: 0,
        matrices: &[
            ("token_embd", 256, 41),
            ("attn_q", 256, 8),
            ("attn_k", 256, 3),
            ("attn_v", 256, 3),
            ("attn_output", 256, 8),
            ("ffn_gate", 256, 5),
            ("ffn_up", 256, 5),
            ("ffn_down", 768, 3),
        ],
    },
    Model {
        name: "experts",
        architecture: "qwen3moe",
        ty: GgmlType::F16,
        layers: 2,
        width: 256,
        heads: 4,
        kv_heads: 1,
        experts: 5,
        matrices: &[
            ("token_embd", 256, 33),
            ("output", 256, 33),
            ("attn_q", 256, 12),
            ("attn_k", 256, 5),
            ("attn_v", 256, 5),
            ("attn_output", 256, 12),
            ("ffn_gate_exps", 256, 3),
            ("ffn_up_exps", 256, 3),
            ("ffn_down_exps", 512, 3),
        ],
    },
    Model {
        name: "narrow",
        architecture: "llama",
        ty: GgmlType::F16,
        layers: 3,
        width: 96,
        heads: 3,
        kv_heads: 3,
        experts: 0,
        matrices: &[
            ("token_embd", 96, 40),
            ("attn_q", 160, 24),
            ("attn_k", 192, 9),
            ("attn_v", 64, 13),
            ("attn_output", 40, 24),
            ("ffn_gate", 320, 11),
            ("ffn_up", 288, 11),
            ("ffn_down", 480, 10),
            ("output", 96, 40),
        ],
    },
];

/// Chunks that the matrices claim to be computed on.
const CHUNKS: u32 = 17;

/// Every file by name: models, matrices of both forms (`llama.imatrix`, `llama.dat`), and the one of many layers in
/// three files. The same bytes on every machine.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for model in &MODELS {
        files.push((format!("{}.gguf", model.name), file(model.metadata(), model.tensors())));
        files.push((format!("{}.imatrix", model.name), model.gguf_form()));
        files.push((format!("{}.dat", model.name), model.older_form()));
    }
    files.extend(MODELS[1].parts());
    files
}

/// A line of a header, and the bytes.
type Tensor = (String, Vec<u64>, GgmlType, Vec<u8>);

/// What a matrix has for a tensor: its name, columns, sums, and how many tokens each expert saw.
type Entry = (String, u64, Vec<f32>, Vec<f32>);

fn file(metadata: Metadata, tensors: Vec<Tensor>) -> Vec<u8> {
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

impl Model {
    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", self.architecture);
        metadata.set("general.name", self.name);
        let mut add = |key: &str, value: Value| metadata.set(format!("{}.{key}", self.architecture), value);
        add("block_count", self.layers.into());
        add("context_length", 512u32.into());
        add("embedding_length", self.width.into());
        add("feed_forward_length", (2 * self.width).into());
        add("attention.head_count", self.heads.into());
        add("attention.head_count_kv", self.kv_heads.into());
        add("rope.dimension_count", (self.width / self.heads).into());
        add("vocab_size", 40u32.into());
        add("attention.layer_norm_rms_epsilon", 1e-5f32.into());
        add("rope.freq_base", 10000.0f32.into());
        if self.experts > 0 {
            add("expert_count", self.experts.into());
            add("expert_used_count", 2u32.into());
            add("expert_feed_forward_length", 512u32.into());
        }
        let file_type: u32 = match self.ty {
            GgmlType::F32 => 0,
            GgmlType::F16 => 1,
            _ => 32,
        };
        metadata.set("general.file_type", file_type);
        metadata.set("general.quantization_version", 2u32);
        metadata
    }

    /// Name, row length, rows and experts of every matrix that is quantized.
    fn matrices(&self) -> Vec<(String, u64, u64, u64)> {
        let (mut all, mut layers) = (Vec::new(), Vec::new());
        for &(kind, row, rows) in self.matrices {
            let experts = if kind.ends_with("_exps") { self.experts.into() } else { 1 };
            if kind.starts_with("attn") || kind.starts_with("ffn") {
                layers.push((kind, row, rows, experts));
            } else {
                all.push((format!("{kind}.weight"), row, rows, experts));
            }
        }
        for layer in 0..self.layers {
            let of_layer = layers.iter();
            all.extend(of_layer.map(|(kind, a, b, c)| (format!("blk.{layer}.{kind}.weight"), *a, *b, *c)));
        }
        all
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        let width = u64::from(self.width);
        let mut plain = |name: String, shape: Vec<u64>| {
            let mut random = Random::new(self.name, &name);
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| 1.0 + random.bell()).collect();
            tensors.push((name, shape, GgmlType::F32, floats(&values)));
        };
        plain("output_norm.weight".to_owned(), vec![width]);
        for layer in 0..self.layers {
            plain(format!("blk.{layer}.attn_norm.weight"), vec![width]);
            plain(format!("blk.{layer}.ffn_norm.weight"), vec![width]);
            if self.architecture == "qwen2" {
                plain(format!("blk.{layer}.attn_q.bias"), vec![8]);
            }
            if self.experts > 0 {
                plain(format!("blk.{layer}.ffn_gate_inp.weight"), vec![width, self.experts.into()]);
            }
        }
        for (name, row, rows, experts) in self.matrices() {
            let mut random = Random::new(self.name, &name);
            let mut data = Vec::new();
            for value in (0..rows * experts).flat_map(|_| values(&mut random, row)) {
                match self.ty {
                    GgmlType::F32 => data.extend(value.to_le_bytes()),
                    GgmlType::F16 => data.extend(f16::from_f32(value).to_le_bytes()),
                    _ => data.extend(bf16::from_f32(value).to_le_bytes()),
                }
            }
            let shape = if experts > 1 { vec![row, rows, experts] } else { vec![row, rows] };
            tensors.push((name, shape, self.ty, data));
        }
        tensors
    }

    /// The file in three.
    fn parts(&self) -> Vec<(String, Vec<u8>)> {
        let tensors = self.tensors();
        let parts: Vec<&[Tensor]> = tensors.chunks(tensors.len().div_ceil(3)).collect();
        let part = |(n, part): (usize, &&[Tensor])| {
            let mut metadata = if n == 0 { self.metadata() } else { Metadata::new() };
            metadata.set("split.no", n as u16);
            metadata.set("split.count", parts.len() as u16);
            metadata.set("split.tensors.count", tensors.len() as i32);
            let name = format!("{}-{:05}-of-{:05}.gguf", self.name, n + 1, parts.len());
            (name, file(metadata, part.to_vec()))
        };
        parts.iter().enumerate().map(part).collect()
    }

    /// Sums and counts of the tensors that have any. Every second expert saw nothing, in the first layer's keys no
    /// column counts, there is nothing for `output.weight` where there are experts, and the embeddings then have
    /// another number of columns, which is let by for them alone.
    fn entries(&self) -> Vec<Entry> {
        let matrices = self.matrices().into_iter();
        let entry = |(name, row, rows, experts): (String, u64, u64, u64)| {
            let mut random = Random::new(self.name, &format!("{name}.importance"));
            let columns = if name == "token_embd.weight" && self.experts > 0 { rows } else { row };
            let counts: Vec<f32> = (0..experts).map(|e| [1024.0, 0.0, 37.0, 0.0, 1.0][e as usize]).collect();
            let scale = if name == "blk.0.attn_k.weight" { 0.0 } else { 1.0 };
            let sum = |i: u64| {
                let unit = (random.bits() >> 40) as f32 / 16_777_216.0;
                let kind = random.bits() % 24;
                let mean = match kind {
                    0 => 0.0,
                    1 => unit * 400.0,
                    2 => unit / 65536.0,
                    _ => unit * unit * unit,
                };
                mean * scale * counts[(i / columns) as usize]
            };
            let sums = (0..columns * experts).map(sum).collect();
            (name, columns, sums, counts)
        };
        matrices.filter(|(name, ..)| self.experts == 0 || name != "output.weight").map(entry).collect()
    }

    fn gguf_form(&self) -> Vec<u8> {
        let mut metadata = Metadata::new();
        metadata.set("general.type", "imatrix");
        metadata.set("imatrix.datasets", Value::Array(Array::strings(["one.txt", "two.txt"])));
        metadata.set("imatrix.chunk_count", CHUNKS);
        metadata.set("imatrix.chunk_size", 512u32);
        let mut tensors = Vec::new();
        for (name, columns, sums, counts) in self.entries() {
            let experts = counts.len() as u64;
            tensors.push((format!("{name}.in_sum2"), vec![columns, experts], GgmlType::F32, floats(&sums)));
            tensors.push((format!("{name}.counts"), vec![1, experts], GgmlType::F32, floats(&counts)));
        }
        file(metadata, tensors)
    }

    fn older_form(&self) -> Vec<u8> {
        let entries = self.entries();
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
}

/// A row: runs of 8 to 256 values, each of one kind.
fn values(random: &mut Random, row: u64) -> Vec<f32> {
    let mut values = Vec::new();
    while (values.len() as u64) < row {
        let length = [8, 16, 32, 32, 64, 256][random.bits() as usize % 6];
        let kind = random.bits() % 24;
        let scale = random.bell();
        for i in 0..length {
            let bell = random.bell();
            values.push(match kind {
                0 => 0.0,
                1 => [0.0, -0.0][i % 2],
                2 => scale,
                3 => scale * [1.0, -1.0][random.bits() as usize % 2],
                4 | 5 => (bell * 256.0).trunc() / 64.0,
                6 | 7 => bell * if random.bits().is_multiple_of(16) { 64.0 } else { 1.0 },
                8 => bell / 65536.0,
                9 => bell * 1e-8,
                10 => bell * 20000.0,
                11 => 0.25 + bell,
                12 => -0.3 - bell,
                13 => bell * if random.bits().is_multiple_of(8) { 1.0 } else { 0.0 },
                14 => (bell * 16.0).round() * scale,
                15 | 16 => bell * bell * bell * 64.0,
                _ => bell,
            });
        }
    }
    values.truncate(row as usize);
    values
}
