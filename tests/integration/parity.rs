//! Byte for byte what the reference writes: the seeded checkpoints of every family, converted to every type and quantized
//! by every method. The expected hashes are the reference's (`scripts/record-parity`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash::{hex, sha256};
use jamph_quantizer::checkpoint::{Checkpoint, Weights};
use jamph_quantizer::convert::{Blueprint, ConvertOptions, OutType, blueprint};
use jamph_quantizer::quantize::pass::{Output, PassOptions, Sink, pass};
use jamph_quantizer::quantize::simd::{self, Level};
use jamph_quantizer::quantize::{Layout, Method, Options, layout};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::support::families::{self, Family};
use crate::support::fixtures::FIXTURES;

/// What `scripts/record-parity` wrote.
#[derive(Deserialize)]
struct Record {
    reference: Reference,
    base: String,
    inputs: BTreeMap<String, String>,
    convert: BTreeMap<String, File>,
    quantize: BTreeMap<String, File>,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct Reference {
    pub(crate) package: String,
    pub(crate) commit: String,
}

#[derive(Debug, Deserialize, PartialEq)]
pub(crate) struct File {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

macro_rules! parity {
    ($($test:ident: $folder:literal;)*) => {
        $(#[test] fn $test() { check($folder); })*

        #[test]
        fn every_fixture_has_a_test_and_a_record() {
            let mut tested = [$($folder),*];
            let fixtures = FIXTURES.iter().map(|f| f.folder.to_owned());
            let families = families().into_iter().map(|f| f.folder);
            let mut made: Vec<String> = fixtures.chain(families).collect();
            made.sort();
            tested.sort_unstable();
            assert_eq!(made, tested);
            let mut recorded: Vec<String> = fs::read_dir(root().join("tests/parity"))
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
                .filter(|name| name != "mixture-models")
                .collect();
            recorded.sort();
            assert_eq!(recorded, tested);
        }
    };
}

parity! {
    the_example: "tiny";
    llama_untied_f16_llama3_rope_sharded: "Small-Llama-256-Instruct-v0.2";
    llama_f32_linear_rope: "llama-wide-96";
    llama_of_a_width_that_fits_no_block: "odd-llama-40";
    mistral_nine_layers_sharded: "Mistral-9L-Chat";
    qwen2_biases_yarn: "Qwen2.5-96-Instruct";
    qwen2_untied_f32: "qwen2-32-base";
    qwen3_norms_of_heads: "Qwen3-256";
    qwen3_untied_f16_yarn_sharded: "qwen3-64-thinking-2507";
    mistral_pieces: "Mistral-7B-v0.1-tiny";
    llama_pieces_without_their_model: "Llama-2-pieces-hf";
    mistral_tekken3_f16: "Mistral-Nemo-tekken-2407";
    mistral_tekken7: "Mistral-Small-24B-Instruct-2501-tekken";
    mistral3_tekken11: "Mistral-Small-3.2-24B-Instruct-2506";
    mistral3_tekken13: "Devstral-Small-2507";
    mistral_own_format: "Mistral-Small-3.1-24B-Base-2503-params";
    mistral3_own_format_fp8: "Ministral-3-3B-Instruct-2512-params";
    mixtral_sharded: "Mixtral-8x7B-Instruct-v0.1";
    mixtral_f16: "Mixtral-4x-dolphin";
    qwen2_moe_shared_expert: "Qwen1.5-MoE-A2.7B-Chat";
    qwen3_moe: "Qwen3-30B-A3B-Instruct-2507";
    qwen3_moe_stacked_f32: "qwen3-moe-stacked";
    olmoe: "OLMoE-1B-7B-0924";
    gemma_one_key_head: "gemma-2b-it";
    gemma_f16: "gemma-1.1-half";
    gemma2_sharded: "gemma-2-9b-it";
    gemma3: "gemma-3-1b-it";
    gemma3_with_vision: "gemma-3-4b-it";
    phi3: "Phi-3-mini-4k-instruct";
    phi3_long_rope: "Phi-3.5-mini-instruct";
    phi4_f16: "phi-4";
    phi2_f16: "phi-2";
    phi_moe: "Phi-3.5-MoE-instruct";
    smollm3: "SmolLM3-3B";
    arcee_llama3_rope: "AFM-4.5B";
    starcoder2: "starcoder2-3b";
    seed_oss: "Seed-OSS-36B-Instruct";
    granite: "granite-3.3-2b-instruct";
    granite_moe: "granite-3.1-1b-a400m-instruct";
    granite_moe_shared: "granite-shared-preview";
    olmo: "OLMo-7B-0724-hf";
    olmo2: "OLMo-2-1124-7B-Instruct";
    olmo3_yarn: "Olmo-3-7B-Think";
    command_r_f16: "c4ai-command-r-v01";
    command_r_norms_of_heads: "c4ai-command-r-plus";
    cohere2: "c4ai-command-r7b-12-2024";
    stablelm: "stablelm-2-1_6b-chat";
    glm4: "GLM-4-9B-0414";
    ernie: "ERNIE-4.5-0.3B-PT";
    ernie_fused: "ERNIE-4.5-0.3B-Paddle";
    exaone4_llama3_rope: "EXAONE-4.0-1.2B";
    hunyuan: "Hunyuan-1.8B-Instruct";
    lfm2: "LFM2-350M";
    lfm2_moe: "LFM2-8B-A1B";
    minicpm_long_rope: "MiniCPM-2B-sft-bf16";
    nemotron: "Minitron-4B-Base";
    bert_pooled_f32: "bge-small-en-v1.5";
    bert_masked_with_old_names: "bert-base-uncased";
    bert_reranker_f16: "ms-marco-MiniLM-L6-v2";
    distilbert_classifier: "distilbert-sst2";
    roberta: "stsb-roberta-base";
    xlm_roberta_f16_sharded: "bge-m3";
    xlm_roberta_reranker_without_its_model: "bge-reranker-v2-m3";
    jina_bert_words: "jina-embeddings-v2-base-en";
    jina_bert_norms: "jina-embeddings-v2-base-de";
    nomic_bert_f32: "nomic-embed-text-v1.5";
    modern_bert: "modernbert-embed-base";
    modern_bert_reranker_f16: "gte-reranker-modernbert-base";
    euro_bert: "EuroBERT-210m";
    t5_gated: "flan-t5-small";
    t5_f32_shared_embeddings: "t5-small";
    t5_encoder_f16: "t5-v1_1-encoder";
    qwen2_vl: "Qwen2-VL-2B-Instruct";
    qwen2_5_vl_sharded: "Qwen2.5-VL-3B-Instruct";
    qwen3_vl: "Qwen3-VL-2B-Instruct";
    qwen3_vl_moe: "Qwen3-VL-30B-A3B-Instruct";
    qwen3_reranker: "Qwen3-Reranker-0.6B";
    qwen3_reranker_untied_f32: "qwen3-reranker-untied";
    qwen3_embedding: "Qwen3-Embedding-0.6B";
    mistral3: "Mistral-Small-3.1-24B-Instruct-2503";
    llava_f16: "llava-1.5-7b-hf";
    smolvlm: "SmolVLM2-256M-Video-Instruct";
    llama_embed: "llama-embed-nemotron-8b";
    gemma_embedding: "embeddinggemma-300m";
    qwen3_fp8_blocks_sharded: "Qwen3-8B-FP8";
    qwen3_moe_fp8_blocks: "Qwen3-30B-A3B-FP8";
    llama_modelopt_fp8_f16: "Llama-3.1-8B-Instruct-FP8";
    llama_compressed_fp8_channels: "Llama-3.3-70B-FP8-dynamic";
    qwen2_compressed_int8: "Qwen2.5-7B-w8a8";
    llama_compressed_int4: "Llama-3.1-8B-w4a16";
    qwen3_compressed_int4_zeros_sharded: "Qwen3-4B-w4a16-asym";
    deepseek: "deepseek-moe-16b-chat";
    deepseek2: "DeepSeek-V2";
    deepseek3_fp8_predicting: "DeepSeek-V3-0324";
    glm4_moe_lite_predicting: "GLM-4.7-Flash";
    dots1: "dots.llm1.inst";
    minimax_m2_fp8_blocks: "MiniMax-M2";
    gpt_oss_mxfp4_sharded: "gpt-oss-20b";
    gpt_oss: "gpt-oss-20b-BF16";
    glm4_moe_predicting: "GLM-4.5-Air";
    ernie_moe: "ERNIE-4.5-21B-A3B-PT";
    qwen35_with_vision: "Qwen3.5-9B";
    qwen35_moe_f16: "Qwen3.5-35B-A3B";
    llama4_with_vision_sharded: "Llama-4-Scout-17B-16E-Instruct";
    llama4_without_experts_f16: "MobileLLM-R1-140M";
    ministral3: "Ministral-3-3B-Instruct-2512";
    exaone_llama3_rope: "EXAONE-3.5-2.4B-Instruct";
    internvl_text_sharded: "InternVL3-2B-Instruct";
    qwen2_vl_without_output_f16: "Qwen2-VL-embedding";
    jina_v5: "jina-embeddings-v5-text-nano";
    mt5: "mt5-small";
    umt5_f16_sharded: "umt5-small";
    umt5_base: "umt5-base-model";
    falcon_groups_of_heads: "falcon-40b-instruct";
    falcon_one_key_head: "falcon-7b-first";
    gemma3n: "gemma-3n-E2B-text";
    gemma3n_with_vision_and_sound_f16: "gemma-3n-E4B-it";
    mpt: "mpt-7b-chat";
    qwen3_next_sharded_predicting: "Qwen3-Next-80B-A3B-Instruct";
    gpt2_f32: "gpt2-medium";
    gpt2_f16_sharded: "distilgpt2";
    gpt_neox: "pythia-410m";
    bloom: "bloomz-560m";
    internlm2: "internlm2-chat-1_8b";
    internlm3: "internlm3-8b-instruct";
    glm: "glm-4-9b-chat-hf";
    apertus_sharded: "Apertus-8B-Instruct-2509";
    minicpm3: "MiniCPM3-4B";
    starcoder: "starcoderbase-1b";
    mamba: "mamba-130m-hf";
    falcon_mamba: "falcon-mamba-7b";
    mamba2_groups: "Mamba-Codestral-7B-v0.1";
    falcon_h1: "Falcon-H1-0.5B-Instruct";
    falcon_h1_f16: "Falcon-H1-half";
    jamba_sharded: "Jamba-tiny-dev";
    granite_hybrid: "granite-4.0-h-tiny";
    granite_hybrid_dense: "granite-4.0-h-350m";
    granite_4_attention_only: "granite-4.0-micro";
    nemotron_h: "Nemotron-H-8B-Base-8K";
    qwen_ranks: "Qwen-7B-Chat";
    hunyuan_moe_ranks: "Hunyuan-A13B-Instruct";
    hunyuan_ranks_f16: "Hunyuan-7B-Instruct-ranks";
    kimi_ranks: "Kimi-K2-Instruct";
    kimi_vl_ranks: "Kimi-VL-A3B-Instruct";
    nemotron_h_moe: "NVIDIA-Nemotron-3-Nano-30B-A3B";
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn record(folder: &str) -> Record {
    let json = fs::read(root().join("tests/parity").join(format!("{folder}.json"))).expect("a record");
    serde_json::from_slice(&json).expect("a record's JSON")
}

fn check(folder: &str) {
    let record = record(folder);
    assert_eq!(record.reference.package, "llama-cpp-python==0.3.36");
    assert_eq!(record.reference.commit, "0c1e57098");

    let tmp = tempfile::tempdir().expect("a temporary folder");
    let dir = checkpoint_folder(folder, tmp.path());
    for (name, expected) in &record.inputs {
        let bytes = fs::read(dir.join(name)).expect(name);
        assert_eq!(sha256(&bytes), *expected, "{folder}/{name} is not what the reference was given");
    }

    let checkpoint = Checkpoint::open(&dir).expect("a checkpoint");
    let pre_tokenizer = families().into_iter().find(|f| f.folder == folder).and_then(|f| f.pre_tokenizer);
    let convert = |name: &str| {
        let pre_tokenizer = pre_tokenizer.clone();
        let options = ConvertOptions { out_type: out_type(name), pre_tokenizer, ..ConvertOptions::default() };
        blueprint(&checkpoint, &options, &()).expect("a supported checkpoint")
    };
    let mut differing = Vec::new();
    for (name, expected) in &record.convert {
        let blueprint = convert(name);
        let layout = Layout::converted(&blueprint).expect("a layout");
        let made = write(&checkpoint, &blueprint, &[(name, layout)], false, 1);
        compare(&format!("{name} conversion"), &made[0], expected, &mut differing);
    }
    let blueprint = convert(&record.base);
    quantize(&record, &checkpoint, &blueprint, 2, &mut differing);
    assert!(differing.is_empty(), "{folder} differs from the reference:\n{}", differing.join("\n"));
}

/// Every recorded method, in one pass.
fn quantize(
    record: &Record,
    checkpoint: &Checkpoint,
    blueprint: &Blueprint,
    threads: usize,
    differing: &mut Vec<String>,
) {
    let layouts: Vec<(&str, Layout)> = record
        .quantize
        .keys()
        .map(|name| {
            let method = Method::from_name(name).expect("a method");
            (name.as_str(), layout(blueprint, method, &Options::default()).expect("a layout"))
        })
        .collect();
    if layouts.is_empty() {
        // What the reference does not quantize.
        let method = Method::from_name("Q8_0").expect("a method");
        layout(blueprint, method, &Options::default()).expect_err("a refusal");
        return;
    }
    let made = write(checkpoint, blueprint, &layouts, true, threads);
    for ((name, expected), made) in record.quantize.iter().zip(&made) {
        compare(name, made, expected, differing);
    }
}

/// The level is the process's; tests that run meanwhile compute with fewer lanes and get the same bytes, too.
#[test]
fn neither_threads_nor_vectors_change_a_byte() {
    let record = record("tiny");
    let checkpoint = Checkpoint::open(&root().join("examples/tiny")).expect("a checkpoint");
    let options = ConvertOptions { out_type: out_type(&record.base), ..ConvertOptions::default() };
    let blueprint = blueprint(&checkpoint, &options, &()).expect("a supported checkpoint");
    let mut differing = Vec::new();
    for widest in [Level::Baseline, Level::Avx2, Level::Avx512] {
        let level = simd::limit(widest);
        for threads in [1, 2, 7] {
            let before = differing.len();
            quantize(&record, &checkpoint, &blueprint, threads, &mut differing);
            if differing.len() > before {
                differing.push(format!("  with {threads} threads and {level}"));
            }
        }
    }
    assert!(differing.is_empty(), "tiny differs from the reference:\n{}", differing.join("\n"));
}

/// The example as it stands in the repository; any other checkpoint is made now.
fn checkpoint_folder(folder: &str, tmp: &Path) -> PathBuf {
    let example = root().join("examples/tiny");
    if folder == "tiny" {
        return example;
    }
    let tokenizer = fs::read(example.join("tokenizer.json")).expect("the tokenizer");
    match FIXTURES.iter().find(|f| f.folder == folder) {
        Some(fixture) => fixture.write(tmp, &tokenizer),
        None => families().iter().find(|f| f.folder == folder).expect("a fixture").write(tmp, &tokenizer),
    }
    .expect("space");
    tmp.join(folder)
}

fn families() -> Vec<Family> {
    families::all(&root().join("tests")).expect("families")
}

#[test]
fn the_example_is_what_its_seed_gives() {
    for (name, bytes) in FIXTURES[0].files() {
        assert!(
            fs::read(root().join("examples/tiny").join(&name)).expect(&name) == bytes,
            "examples/tiny/{name}"
        );
    }
}

/// The type that `--outtype` calls so.
pub(crate) fn out_type(name: &str) -> OutType {
    match name {
        "f32" => OutType::F32,
        "f16" => OutType::F16,
        "bf16" => OutType::BF16,
        "q8_0" => OutType::Q8_0,
        "auto" => OutType::Auto,
        other => panic!("unknown type {other}"),
    }
}

/// Makes the files, all in one pass, and keeps only their sizes and hashes.
pub(crate) fn write(
    weights: &dyn Weights,
    blueprint: &Blueprint,
    layouts: &[(&str, Layout)],
    check_finite: bool,
    threads: usize,
) -> Vec<File> {
    let mut sinks: Vec<Hashed> = layouts.iter().map(|_| Hashed::default()).collect();
    let outputs = layouts
        .iter()
        .zip(&mut sinks)
        .map(|((name, layout), sink)| Output {
            name,
            header: &layout.header,
            recipes: &layout.recipes,
            parts: &[],
            sink,
        })
        .collect();
    let options = PassOptions { check_finite, threads, ..PassOptions::default() };
    pass(weights, blueprint, outputs, None, &options, &Cancel::new(), &()).expect("a pass");
    let files: Vec<File> =
        sinks.into_iter().map(|s| File { bytes: s.bytes, sha256: hex(&s.hash.finalize()) }).collect();
    for (file, (name, layout)) in files.iter().zip(layouts) {
        assert_eq!(file.bytes, layout.file_bytes(), "{name}: the size that was foretold");
    }
    files
}

#[derive(Default)]
struct Hashed {
    hash: Sha256,
    bytes: u64,
}

impl Sink for Hashed {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Notes what is not as the reference has it.
pub(crate) fn compare(what: &str, made: &File, expected: &File, differing: &mut Vec<String>) {
    if made != expected {
        differing.push(format!("  {what}: {} bytes, the reference wrote {}", made.bytes, expected.bytes));
    }
}
