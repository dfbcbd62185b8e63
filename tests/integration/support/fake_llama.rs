//! One program that stands in for llama.cpp's own, by the name it is started under: what it does of their work is real
//! (files are read and written), what it prints is what the real ones print (recorded of llama.cpp 0c1e57098).
//!
//! Beside it, in its folder: `calls.log` gets a line of JSON for every call, with arguments and environment; `faults`
//! holds lines of the form `llama-imatrix crash`, which make a program misbehave. The programs:
//!
//! | name | does |
//! |---|---|
//! | `llama-imatrix` | a matrix with a value for every column of every layer's matrices, from the names and the text |
//! | `llama-perplexity` | figures that follow from a file's size; a base's probabilities, all zero, as a file |
//! | `llama-completion` | loads a GGUF file and says a few words |
//! | `python3` | `convert_hf_to_gguf.py` for checkpoints whose family is `Novel`: a llama under another name |
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a stand-in of a program")]
#![allow(clippy::disallowed_methods, reason = "its environment is what is tested")]

#[path = "fake_perplexity.rs"]
mod perplexity;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::checkpoint::{Checkpoint, GgufModel};
use jamph_quantizer::convert::{Blueprint, ConvertOptions, OutType, blueprint};
use jamph_quantizer::gguf::{Array, GgmlType, Header, Metadata, Value};
use jamph_quantizer::quantize::Layout;
use jamph_quantizer::quantize::pass::{Output, PassOptions, pass};
use serde_json::json;

fn main() -> ExitCode {
    let me = std::env::args_os().next().map(PathBuf::from).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = me.file_stem().unwrap().to_string_lossy().into_owned();
    let folder = me.parent().unwrap();
    if arguments == ["--version"] {
        eprintln!("version: 11312 (0c1e57098)\nbuilt with GNU 12.2.0 for Linux x86_64");
        return ExitCode::SUCCESS;
    }
    note(folder, &name, &arguments);
    let fault = fault(folder, &name);
    match fault.as_deref() {
        Some("crash") => {
            for line in 0..40 {
                eprintln!("0.00.{line:03}.000 I loading, step {line}");
            }
            eprintln!("0.00.090.000 E the disk is on fire");
            std::process::abort();
        }
        Some("hang") => {
            println!("hanging");
            fs::write(folder.join("hanging"), std::process::id().to_string()).unwrap();
            std::thread::sleep(Duration::from_secs(120));
        }
        Some("slow") => std::thread::sleep(Duration::from_millis(1100)),
        Some("silent") => return ExitCode::SUCCESS,
        _ => {}
    }
    let done = match name.as_str() {
        "llama-imatrix" => imatrix(&arguments, fault.as_deref()),
        "llama-completion" => completion(&arguments),
        "llama-perplexity" => perplexity::run(&arguments, fault.as_deref()),
        "python3" | "python" => python(&arguments),
        other => Err(format!("no program is called {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("0.00.100.000 E {why}");
            ExitCode::FAILURE
        }
    }
}

fn note(folder: &Path, name: &str, arguments: &[String]) {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let here = std::env::current_dir().unwrap();
    let call = json!({ "program": name, "arguments": arguments, "environment": environment, "folder": here });
    let log = fs::File::options().append(true).create(true).open(folder.join("calls.log"));
    writeln!(log.unwrap(), "{call}").unwrap();
}

/// What is to go wrong with a program.
fn fault(folder: &Path, name: &str) -> Option<String> {
    let faults = fs::read_to_string(folder.join("faults")).unwrap_or_default();
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    faults.lines().find_map(of)
}

fn value<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|a| a == flag)?;
    arguments.get(at + 1).map(String::as_str)
}

fn needed<'a>(arguments: &'a [String], flag: &str) -> Result<&'a str, String> {
    value(arguments, flag).ok_or_else(|| format!("error while handling argument \"{flag}\": expected value"))
}

fn model(arguments: &[String]) -> Result<GgufModel, String> {
    let path = needed(arguments, "-m")?;
    GgufModel::open(Path::new(path))
        .map_err(|error| format!("llama_model_load: error loading model: {error}"))
}

fn imatrix(arguments: &[String], fault: Option<&str>) -> Result<(), String> {
    let model = model(arguments)?;
    let context: usize = needed(arguments, "-c")?.parse().unwrap();
    let text_name = needed(arguments, "-f")?;
    let text = fs::read(text_name).map_err(|e| format!("error: failed to open file '{text_name}': {e}"))?;
    eprintln!("0.00.370.651 I compute_imatrix: tokenizing the input ..");
    // A token has four bytes or so.
    let tokens = text.len() / 4;
    if tokens < 2 * context {
        eprintln!(
            "0.00.371.000 E compute_imatrix: you need at least {} tokens for a context of {context} tokens",
            2 * context
        );
        return Err(format!("compute_imatrix: the data file you provided tokenizes to only {tokens} tokens"));
    }
    let most = value(arguments, "--chunks").map_or(usize::MAX, |n| n.parse().unwrap());
    let chunks = (tokens / context).min(most);
    eprintln!(
        "0.00.374.979 I compute_imatrix: computing over {chunks} chunks, n_ctx={context}, batch_size=2048, n_seq=4"
    );
    eprintln!("0.05.993.760 I compute_imatrix: 5.62 seconds per pass - ETA ");
    println!("0.03 minutes");
    let perplexity = if fault == Some("nan") { "nan".to_owned() } else { "29.0251".to_owned() };
    for chunk in 1..=chunks {
        print!("[{chunk}]{perplexity},");
        std::io::stdout().flush().unwrap();
    }
    println!();
    if fault == Some("nan") {
        println!("Unexpected negative standard deviation of log(prob)");
    } else {
        println!("Final estimate: PPL = {perplexity} +/- 2.68318");
    }
    let mut metadata = Metadata::new();
    metadata.set("general.type", "imatrix");
    metadata.set("imatrix.datasets", Value::Array(Array::strings([text_name])));
    metadata.set("imatrix.chunk_count", chunks as u32);
    metadata.set("imatrix.chunk_size", context as u32);
    let mut tensors: Vec<(String, Vec<u64>, Vec<f32>)> = Vec::new();
    for tensor in model.files.iter().flat_map(|f| &f.header.tensors) {
        let is_matrix =
            tensor.name.starts_with("blk.") && tensor.name.ends_with(".weight") && tensor.shape.len() > 1;
        if !is_matrix {
            continue;
        }
        let (columns, experts) = (tensor.shape[0], tensor.shape.get(2).copied().unwrap_or(1));
        let mut random = seed(&text, &tensor.name);
        let mut unit = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 40) as f32 / 16_777_216.0
        };
        let count = (chunks * context) as f32;
        let sums = (0..columns * experts).map(|_| unit() * unit() * count).collect();
        tensors.push((format!("{}.in_sum2", tensor.name), vec![columns, experts], sums));
        tensors.push((format!("{}.counts", tensor.name), vec![1, experts], vec![count; experts as usize]));
    }
    let lines = tensors.iter().map(|(name, shape, _)| (name.clone(), shape.clone(), GgmlType::F32));
    let mut bytes = Header::new(metadata, lines).to_bytes();
    for (.., values) in tensors {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    fs::write(needed(arguments, "-o")?, bytes).map_err(|e| e.to_string())
}

/// The same number for the same text and name (FNV-1a).
fn seed(text: &[u8], name: &str) -> u64 {
    text.iter()
        .chain(name.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn completion(arguments: &[String]) -> Result<(), String> {
    let model = model(arguments)?;
    let metadata = &model.files[0].header.metadata;
    metadata
        .get("general.architecture")
        .ok_or("llama_model_load: error loading model: key not found in model: general.architecture")?;
    println!(" comes to mind when I think of the\n");
    eprintln!(
        "0.00.374.421 I common_perf_print:        eval time =      92.17 ms /     7 runs   (   13.17 ms per token,    75.94 tokens per second)"
    );
    Ok(())
}

/// `python3 -c …` asks for modules; `python3 … convert_hf_to_gguf.py FOLDER --outfile FILE --outtype TYPE` converts.
fn python(arguments: &[String]) -> Result<(), String> {
    let Some(at) = arguments.iter().position(|a| a.ends_with("convert_hf_to_gguf.py")) else {
        println!("3.11.7");
        return Ok(());
    };
    let folder = Path::new(&arguments[at + 1]);
    println!("INFO:hf-to-gguf:Loading model: {}", folder.file_name().unwrap().to_string_lossy());
    let config = fs::read_to_string(folder.join("config.json")).map_err(|e| e.to_string())?;
    if !config.contains("NovelForCausalLM") {
        return Err("ERROR:hf-to-gguf:Model is not supported".to_owned());
    }
    if config.contains("auto_map") || fs::read_dir(folder).unwrap().any(|e| is_code(&e.unwrap().path())) {
        return Err("the folder has code of its own".to_owned());
    }
    // A llama under another name.
    let known = tempfile::tempdir().unwrap();
    let copy = known.path().join(folder.file_name().unwrap());
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    let config = config.replace("NovelForCausalLM", "LlamaForCausalLM").replace("\"novel\"", "\"llama\"");
    fs::write(copy.join("config.json"), config).unwrap();
    let checkpoint = Checkpoint::open(&copy).map_err(|e| e.to_string())?;
    let out_type = match needed(arguments, "--outtype")? {
        "f32" => OutType::F32,
        "f16" => OutType::F16,
        "bf16" => OutType::BF16,
        "q8_0" => OutType::Q8_0,
        _ => OutType::Auto,
    };
    let model_name = value(arguments, "--model-name").map(str::to_owned);
    let options = ConvertOptions { out_type, model_name, ..ConvertOptions::default() };
    let blueprint = blueprint(&checkpoint, &options, &()).map_err(|e| e.to_string())?;
    write(&checkpoint, &blueprint, Path::new(needed(arguments, "--outfile")?));
    println!("INFO:hf-to-gguf:Model successfully exported to {}", needed(arguments, "--outfile")?);
    Ok(())
}

fn is_code(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "py")
}

fn write(checkpoint: &Checkpoint, blueprint: &Blueprint, path: &Path) {
    let layout = Layout::converted(blueprint).unwrap();
    let mut sink = Vec::new();
    let output = Output {
        name: "base",
        header: &layout.header,
        recipes: &layout.recipes,
        parts: &[],
        sink: &mut sink,
    };
    let (options, cancel) = (PassOptions::default(), Cancel::new());
    pass(checkpoint, blueprint, vec![output], None, &options, &cancel, &()).unwrap();
    fs::write(path, sink).unwrap();
}
