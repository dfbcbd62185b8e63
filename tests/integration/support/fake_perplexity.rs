//! A llama-perplexity that computes nothing: it takes the command lines of the real one, writes files of the same
//! format, and prints the lines that the real one was heard to print, with figures that follow from the file's size.
//!
//! Faults: `nan`, `cut` (the disk is full), `sums` (it ends before its closing lines).

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};

use jamph_quantizer::checkpoint::GgufModel;
use jamph_quantizer::gguf::{Array, Value};

/// What was asked for.
#[derive(Default)]
struct Asked {
    model: String,
    file: Option<String>,
    probabilities: Option<String>,
    compare: bool,
    context: u32,
    chunks: u32,
}

fn read(args: &[String]) -> Asked {
    let mut asked = Asked::default();
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{flag} has no value")).clone();
        match flag.as_str() {
            "--model" => asked.model = value(),
            "--file" => asked.file = Some(value()),
            "--kl-divergence-base" => asked.probabilities = Some(value()),
            "--kl-divergence" => asked.compare = true,
            "--ctx-size" => asked.context = value().parse().unwrap(),
            "--chunks" => asked.chunks = value().parse().unwrap(),
            "--batch-size" | "--threads" | "--ppl-output-type" => {
                value().parse::<u32>().unwrap();
            }
            other => panic!("error: invalid argument: {other}"),
        }
    }
    asked
}

/// Runs it.
pub(crate) fn run(args: &[String], fault: Option<&str>) -> Result<(), String> {
    let asked = read(args);
    let model = GgufModel::open(asked.model.as_ref()).map_err(|e| format!("error loading model: {e}"))?;
    let tokens = model.files[0].header.metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array);
    let vocabulary = tokens.map_or(0, Array::len) as u32;
    let size = model.files.iter().map(|f| fs::metadata(&f.path).unwrap().len()).sum();
    if asked.compare {
        compare(&asked, vocabulary, size, fault);
    } else {
        alone(&asked, vocabulary, size, fault);
    }
    Ok(())
}

fn rows(context: u32) -> u32 {
    context - 1 - context / 2
}

/// The perplexity of a file alone; more for a smaller file.
fn perplexity(size: u64) -> f64 {
    10.0 + 1e6 / size as f64
}

fn alone(asked: &Asked, vocabulary: u32, size: u64, fault: Option<&str>) {
    eprintln!("0.00.819.999 I perplexity: tokenizing the input ..");
    let text = fs::read(asked.file.as_ref().expect("error: --file")).unwrap();
    let context = asked.context;
    // A token is a byte.
    if (text.len() as u64) < 2 * u64::from(context) {
        eprintln!(
            "0.00.8 E perplexity: you need at least {} tokens to evaluate perplexity with a context of {context}\n0.00.8 E perplexity: the data file you provided tokenizes to only {} tokens",
            2 * context,
            text.len()
        );
        return;
    }
    let chunks = asked.chunks.min(text.len() as u32 / context);
    if let Some(path) = &asked.probabilities {
        let mut out = BufWriter::new(File::create(path).unwrap());
        out.write_all(b"_logits_").unwrap();
        for number in [context, vocabulary, chunks] {
            out.write_all(&number.to_le_bytes()).unwrap();
        }
        let row = 2 * (2 * vocabulary.div_ceil(2) + 4);
        let bytes = u64::from(chunks) * (4 * u64::from(context) + u64::from(rows(context)) * u64::from(row));
        let written = if fault == Some("cut") { bytes / 2 } else { bytes };
        std::io::copy(&mut std::io::repeat(0).take(written), &mut out).unwrap();
        out.flush().unwrap();
    }
    eprintln!(
        "0.00.831.601 I perplexity: calculating perplexity over {chunks} chunks, n_ctx={context}, batch_size={context}, n_seq=1"
    );
    println!("0.00 minutes");
    for chunk in 0..chunks {
        println!("{:8}  {:.4}  2.424120  0.188604", chunk * context, perplexity(size));
    }
    println!();
    if fault == Some("sums") {
        eprintln!("Unexpected negative standard deviation of log(prob)");
        return;
    }
    let value = if fault == Some("nan") { "nan".to_owned() } else { format!("{:.4}", perplexity(size)) };
    eprintln!("0.04.758.156 I Final estimate: PPL = {value} +/- 0.12345");
}

fn compare(asked: &Asked, vocabulary: u32, size: u64, fault: Option<&str>) {
    let path = asked.probabilities.as_ref().expect("error: --kl-divergence-base");
    let mut header = [0; 20];
    File::open(path).unwrap().read_exact(&mut header).unwrap();
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!(&header[..8], b"_logits_");
    let (context, base, chunks) = (number(8), number(12), number(16));
    if base != vocabulary {
        eprintln!("0.00.1 E kl_divergence: inconsistent vocabulary ({base} vs {vocabulary})");
    }
    eprintln!(
        "0.00.580.030 I kl_divergence: computing over {chunks} chunks, n_ctx={context}, batch_size={context}, n_seq=1"
    );
    println!("0.02 minutes\n");
    println!(
        "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p"
    );
    // Smaller files are worse; those of the example differ little.
    let kld = 0.02 * (2_650_000.0 / size as f64).powi(40);
    let same = 100.0 / (1.0 + kld);
    for chunk in 1..=chunks {
        println!(
            "{chunk:4}    {:9.4} ± {:9.4}    {:10.5} ± {:10.5}    {kld:10.5} ± {:10.5}    {:6.3} ± {:6.3} %    {same:6.3} ± {:6.3} %",
            11.9745, 2.2941, 0.05865, 0.0216, 0.00308, 5.212, 0.399, 1.731
        );
    }
    println!();
    if fault == Some("sums") {
        return;
    }
    let mean = if fault == Some("nan") { "nan".to_owned() } else { format!("{kld:10.6}") };
    println!(
        "====== Perplexity statistics ======
Mean PPL(Q)                   :  {:.6} ±   0.294087
Mean PPL(base)                :  10.000000 ±   0.129975
Cor(ln(PPL(Q)), ln(PPL(base))):  99.37%
Mean ln(PPL(Q)/PPL(base))     :   0.058654 ±   0.021602
Mean PPL(Q)/PPL(base)         :   {:.6} ±   0.022907
Mean PPL(Q)-PPL(base)         :   0.682151 ±   0.298074

====== KL divergence statistics ======
Mean    KLD: {mean} ±   0.003080
Maximum KLD: {:10.6}
99.9%   KLD:   0.418082
99.0%   KLD: {:10.6}
95.0%   KLD:   0.116689
90.0%   KLD:   0.090497
Median  KLD: {:10.6}
10.0%   KLD:   0.001960

====== Token probability statistics ======
Mean    Δp: -0.562 ± 0.326 %
RMS Δp    :  5.212 ± 0.399 %
Same top p: {same:6.3} ± 1.731 %
",
        10.0 * (1.0 + kld),
        1.0 + kld,
        kld * 20.0,
        kld * 8.0,
        kld * 0.7
    );
}
