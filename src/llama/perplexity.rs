//! llama-perplexity: its command lines, what it prints, and the file of probabilities that it leaves.
//!
//! In: a GGUF file, a text, and how much of it. Out: the perplexity; or, against a base whose probabilities were kept,
//! how far the predictions are from the base's. The tool ends with success whatever happens to it once the model is
//! loaded (a text that is too short, a full disk, a failed computation), so that nothing is believed but its closing
//! lines, with finite figures, and a file of probabilities of exactly the size that follows from the model.
//!
//! The lines and the file's format are those of `tools/perplexity/perplexity.cpp`, functions `perplexity` and
//! `kl_divergence`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Toolchain, ToolchainError};
use crate::base::cancel::Cancel;
use crate::base::process::{Process, ProcessError};
use crate::base::units;

/// The tool's name.
pub const TOOL: &str = "llama-perplexity";

/// What the file of probabilities begins with.
const MAGIC: &[u8; 8] = b"_logits_";

/// Bytes before its tokens: the magic, tokens in a chunk, vocabulary, chunks.
const HEADER: u64 = 8 + 3 * 4;

/// Predictions with which the tool prints its sums.
const FEWEST: u64 = 100;

/// Lines that are kept for an error's text.
const TAIL: usize = 12;

/// What is measured on.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    /// The text.
    pub text: &'a Path,
    /// Tokens in a chunk. The predictions in its second half count.
    pub context: u32,
    /// Chunks, at most.
    pub chunks: u32,
    /// Threads that compute.
    pub threads: usize,
}

/// A figure and its standard error, where it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The figure; finite.
    pub value: f64,
    /// Its standard error; finite.
    pub error: Option<f64>,
}

/// What the tool says of a file alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// The perplexity.
    pub perplexity: Figure,
    /// Chunks that were measured.
    pub chunks: u32,
}

/// What the tool says of a file against a base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The perplexity.
    pub perplexity: Figure,
    /// The base's over the same chunks.
    pub base: Figure,
    /// The one divided by the other.
    pub ratio: Figure,
    /// Mean of the KL divergence.
    pub mean_kld: Figure,
    /// Its median.
    pub median_kld: f64,
    /// Its 99th percentile.
    pub kld_99: f64,
    /// Its maximum.
    pub max_kld: f64,
    /// Share of the predictions with the base's most likely token: 0 to 1.
    pub same_top: Figure,
}

/// A base's probabilities over a text, on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Probabilities {
    /// The file.
    pub path: PathBuf,
    /// The base's perplexity over the text.
    pub perplexity: Figure,
    /// Tokens in a chunk.
    pub context: u32,
    /// Tokens that the base knows.
    pub vocabulary: u32,
    /// Chunks in the file: as many as were asked for, or as the text has.
    pub chunks: u32,
}

/// Why something could not be measured.
#[derive(Debug, Error)]
pub enum PerplexityError {
    /// The tool is not there.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The tool failed, or was stopped.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The text has fewer tokens than the tool takes.
    #[error("`{text}` has {tokens} tokens, and chunks of {context} tokens need at least {needed}", needed = 2 * context)]
    TooShort {
        /// The text.
        text: PathBuf,
        /// Its tokens.
        tokens: u64,
        /// Tokens in a chunk.
        context: u32,
    },
    /// There are too few predictions for the tool to sum up.
    #[error("{predictions} predictions are too few, {FEWEST} is the least")]
    TooFew {
        /// Predictions.
        predictions: u64,
    },
    /// The tool ended well and did not say what it was run for.
    #[error("`{TOOL}` did not print `{line}`; its last lines:\n{}", tail.join("\n"))]
    Silent {
        /// What its line begins with.
        line: &'static str,
        /// What it said last.
        tail: Vec<String>,
    },
    /// A figure is none.
    #[error("`{TOOL}` measured `{line} {text}`")]
    NotFinite {
        /// What the line begins with.
        line: &'static str,
        /// What stood there.
        text: String,
    },
    /// The file of probabilities cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of probabilities is not whole: the disk is full, or the computation ended early.
    #[error("`{path}` has {} where the probabilities of {chunks} chunks take {}", units::decimal(*found), units::decimal(*expected))]
    Cut {
        /// The file.
        path: PathBuf,
        /// Chunks that its header tells of.
        chunks: u32,
        /// Bytes that these take.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The disk has no room for the probabilities.
    #[error("`{folder}` has {} free where the probabilities take {}", units::decimal(*free), units::decimal(*needed))]
    Space {
        /// Where they were to be.
        folder: PathBuf,
        /// Bytes that they take.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The file of probabilities is none.
    #[error("`{path}` does not begin as a file of probabilities does")]
    NoProbabilities {
        /// The file.
        path: PathBuf,
    },
    /// The file has other tokens than the base.
    #[error("it has {found} tokens and the base has {base}: they are not of one model")]
    Vocabulary {
        /// Tokens of the file.
        found: u32,
        /// Tokens of the base.
        base: u32,
    },
}

/// Bytes that a base's probabilities take: for each prediction one 16-bit number a token, and four more.
pub fn probabilities_bytes(vocabulary: u32, context: u32, chunks: u32) -> u64 {
    let row = 2 * (2 * u64::from(vocabulary.div_ceil(2)) + 4);
    HEADER + u64::from(chunks) * (4 * u64::from(context) + predictions(context) * row)
}

/// Predictions of a chunk that count.
pub fn predictions(context: u32) -> u64 {
    u64::from(context.saturating_sub(1 + context / 2))
}

impl Chunks<'_> {
    /// The arguments that all runs have in common. A batch holds one chunk: the tool keeps the probabilities of a whole
    /// batch in memory.
    fn arguments(&self, process: Process, model: &Path) -> Process {
        let number = |n: u64| n.to_string();
        process
            .arg("--model")
            .arg(model)
            .arg("--ctx-size")
            .arg(number(self.context.into()))
            .arg("--batch-size")
            .arg(number(self.context.into()))
            .arg("--threads")
            .arg(number(self.threads as u64))
    }

    /// The arguments that say which text.
    fn text(&self, process: Process) -> Process {
        process.arg("--file").arg(self.text).arg("--chunks").arg(self.chunks.to_string())
    }

    /// Measures a file's perplexity alone. `done` hears how many chunks are measured.
    ///
    /// # Errors
    /// [`PerplexityError`].
    pub fn perplexity(
        &self,
        toolchain: &Toolchain,
        model: &Path,
        cancel: &Cancel,
        done: &mut dyn FnMut(u32),
    ) -> Result<Perplexity, PerplexityError> {
        // One line a chunk, so that progress can be heard.
        let process =
            self.text(self.arguments(toolchain.process(TOOL)?, model)).args(["--ppl-output-type", "1"]);
        let heard = run(&process, cancel, done)?;
        self.long_enough(&heard)?;
        let perplexity = heard.figure("Final estimate: PPL =")?;
        Ok(Perplexity { perplexity, chunks: heard.chunks })
    }

    /// Keeps a base's probabilities in a file, which is replaced.
    ///
    /// # Errors
    /// [`PerplexityError`]; what is in the file then is of no use.
    pub fn keep_probabilities(
        &self,
        toolchain: &Toolchain,
        base: &Path,
        to: &Path,
        cancel: &Cancel,
        done: &mut dyn FnMut(u32),
    ) -> Result<Probabilities, PerplexityError> {
        let process = self.text(self.arguments(toolchain.process(TOOL)?, base));
        let process = process.args(["--ppl-output-type", "1"]).arg("--kl-divergence-base").arg(to);
        let heard = run(&process, cancel, done)?;
        self.long_enough(&heard)?;
        // An infinite perplexity is one of a model that computes nonsense; nothing can be compared with that.
        let perplexity = heard.figure("Final estimate: PPL =")?;
        Probabilities::open(to, perplexity)
    }

    fn long_enough(&self, heard: &Heard) -> Result<(), PerplexityError> {
        match heard.tokens {
            Some(tokens) => {
                Err(PerplexityError::TooShort { text: self.text.to_owned(), tokens, context: self.context })
            }
            None => Ok(()),
        }
    }
}

impl Probabilities {
    /// A file that the tool wrote, if it is whole, and what it said of the base.
    ///
    /// # Errors
    /// It is cut short, or none.
    pub fn open(path: &Path, perplexity: Figure) -> Result<Self, PerplexityError> {
        let io = |source| PerplexityError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        let none = || PerplexityError::NoProbabilities { path: path.to_owned() };
        let mut header = [0; HEADER as usize];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(none()),
            done => done.map_err(io)?,
        }
        let number = |at: usize| {
            let bytes: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
            u32::try_from(i32::from_le_bytes(bytes)).ok().filter(|n| *n > 0)
        };
        let numbers = (number(8), number(12), number(16));
        let (MAGIC, (Some(context), Some(vocabulary), Some(chunks))) =
            (header.first_chunk::<8>().expect("it is longer"), numbers)
        else {
            return Err(none());
        };
        let expected = probabilities_bytes(vocabulary, context, chunks);
        if found != expected {
            return Err(PerplexityError::Cut { path: path.to_owned(), chunks, expected, found });
        }
        Ok(Probabilities { path: path.to_owned(), perplexity, context, vocabulary, chunks })
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        probabilities_bytes(self.vocabulary, self.context, self.chunks)
    }

    /// Predictions that are compared.
    pub fn predictions(&self) -> u64 {
        u64::from(self.chunks) * predictions(self.context)
    }

    /// Measures a file against the base. The text is in the file of probabilities, as tokens.
    ///
    /// # Errors
    /// [`PerplexityError`].
    pub fn compare(
        &self,
        toolchain: &Toolchain,
        model: &Path,
        threads: usize,
        cancel: &Cancel,
        done: &mut dyn FnMut(u32),
    ) -> Result<Comparison, PerplexityError> {
        if self.predictions() < FEWEST {
            return Err(PerplexityError::TooFew { predictions: self.predictions() });
        }
        let chunks = Chunks { text: Path::new(""), context: self.context, chunks: self.chunks, threads };
        let process = chunks.arguments(toolchain.process(TOOL)?, model).arg("--kl-divergence");
        let process = process.arg("--kl-divergence-base").arg(&self.path);
        let heard = run(&process, cancel, done)?;
        if let Some((found, base)) = heard.vocabularies {
            return Err(PerplexityError::Vocabulary { found, base });
        }
        heard.comparison(self.perplexity)
    }
}

/// What a run of the tool said.
#[derive(Debug, Default)]
struct Heard {
    /// Its lines that may be results, and its last ones.
    lines: Vec<String>,
    /// Chunks that it has told of.
    chunks: u32,
    /// Tokens of a text that is too short.
    tokens: Option<u64>,
    /// Tokens of the base and of the file, where they differ: the file's, the base's.
    vocabularies: Option<(u32, u32)>,
}

fn run(process: &Process, cancel: &Cancel, done: &mut dyn FnMut(u32)) -> Result<Heard, PerplexityError> {
    let mut heard = Heard::default();
    process.run(cancel, |_, line| {
        let before = heard.chunks;
        heard.hear(line);
        if heard.chunks != before {
            done(heard.chunks);
        }
    })?;
    Ok(heard)
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let words = || line.split_whitespace();
        let after = |text: &str| line.split_once(text).map(|(_, rest)| rest);
        let number = |rest: &str| {
            let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u64>().ok()
        };
        if let Some(tokens) = after("the data file you provided tokenizes to only").and_then(number) {
            self.tokens = Some(tokens);
        }
        if let Some(two) = after("inconsistent vocabulary (") {
            let mut two = two.split(" vs ").filter_map(number).filter_map(|n| u32::try_from(n).ok());
            if let (Some(base), Some(found)) = (two.next(), two.next()) {
                self.vocabularies = Some((found, base));
            }
        }
        // A chunk's line has nothing but numbers: its own, or that of its first token, and figures.
        let is_row = words().count() >= 4
            && words().all(|w| matches!(w, "±" | "%" | "+/-") || w.parse::<f64>().is_ok());
        if is_row && words().next().is_some_and(|first| first.parse::<u64>().is_ok()) {
            self.chunks += 1;
            return;
        }
        self.lines.push(line.to_owned());
        // A tool that prints without end must not fill the memory.
        if self.lines.len() > 4096 {
            self.lines.drain(..2048);
        }
    }

    /// What stands after the beginning of a line, a prefix of the log left out.
    fn after(&self, line: &'static str) -> Result<&str, PerplexityError> {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let wanted = squeezed(line);
        let found = self.lines.iter().rev().find(|l| squeezed(l).contains(&wanted));
        let rest = found.and_then(|found| {
            // The wanted words in order, with any space between.
            let mut rest = found.as_str();
            for word in line.split_whitespace() {
                rest = rest.split_once(word)?.1;
            }
            Some(rest)
        });
        rest.ok_or_else(|| PerplexityError::Silent { line, tail: self.tail() })
    }

    fn tail(&self) -> Vec<String> {
        self.lines[self.lines.len().saturating_sub(TAIL)..].to_vec()
    }

    /// `value ± error`, with or without a percent sign.
    fn figure(&self, line: &'static str) -> Result<Figure, PerplexityError> {
        let rest = self.after(line)?;
        let mut numbers = rest.split(['±', '%']).flat_map(|part| part.split("+/-")).map(str::trim);
        let text = numbers.next().unwrap_or_default();
        let finite = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        let value = finite(text)
            .ok_or_else(|| PerplexityError::NotFinite { line, text: text.chars().take(80).collect() })?;
        // The error of what does not vary is computed as the root of less than nothing.
        Ok(Figure { value, error: numbers.next().and_then(finite) })
    }

    /// `base` is the base's perplexity as it was computed. The tool has its own, of probabilities that end sixteen nats
    /// below the largest: too low a one where a model often finds the text all but impossible.
    fn comparison(&self, base: Figure) -> Result<Comparison, PerplexityError> {
        let share = |figure: Figure| Figure {
            value: figure.value / 100.0,
            error: figure.error.map(|error| error / 100.0),
        };
        let perplexity = self.figure("Mean PPL(Q) :")?;
        let ratio = self.figure("Mean PPL(Q)/PPL(base) :")?;
        Ok(Comparison {
            perplexity,
            base,
            ratio: Figure { value: perplexity.value / base.value, ..ratio },
            mean_kld: self.figure("Mean KLD:")?,
            median_kld: self.figure("Median KLD:")?.value,
            kld_99: self.figure("99.0% KLD:")?.value,
            max_kld: self.figure("Maximum KLD:")?.value,
            same_top: share(self.figure("Same top p:")?),
        })
    }
}

impl PerplexityError {
    /// Whether the user stopped it.
    pub fn is_stop(&self) -> bool {
        matches!(self, PerplexityError::Process(ProcessError::Cancelled { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What llama-perplexity of llama.cpp 0c1e57098 printed for SmolLM2-135M-Instruct and data/evaluation.txt: standard
    /// output, then standard error. `short` was given another text, `cut` and `vocabulary` damaged probabilities.
    fn recorded(name: &str) -> Heard {
        let text = match name {
            "base" => include_str!("../../tests/recorded/llama-perplexity/base.txt"),
            "q2_k" => include_str!("../../tests/recorded/llama-perplexity/q2_k.txt"),
            "bf16" => include_str!("../../tests/recorded/llama-perplexity/bf16.txt"),
            "short" => include_str!("../../tests/recorded/llama-perplexity/short.txt"),
            "cut" => include_str!("../../tests/recorded/llama-perplexity/cut.txt"),
            _ => include_str!("../../tests/recorded/llama-perplexity/vocabulary.txt"),
        };
        heard(text)
    }

    fn heard(text: &str) -> Heard {
        let mut heard = Heard::default();
        text.lines().for_each(|line| heard.hear(line));
        heard
    }

    fn figure(value: f64, error: f64) -> Figure {
        Figure { value, error: Some(error) }
    }

    const BASE: Figure = Figure { value: 70.0821, error: Some(10.085_08) };

    #[test]
    fn what_the_tool_says_of_a_base_is_read() {
        let base = recorded("base");
        assert_eq!(base.figure("Final estimate: PPL =").unwrap(), BASE);
        assert_eq!((base.chunks, base.tokens, base.vocabularies), (2, None, None));
    }

    #[test]
    fn what_the_tool_says_of_an_output_is_read() {
        let q2 = recorded("q2_k");
        assert_eq!(q2.chunks, 2);
        let found = q2.comparison(BASE).unwrap();
        assert_eq!(found.perplexity, figure(102.599_008, 14.231_773));
        assert_eq!(found.base, BASE);
        assert!((found.ratio.value - 102.599_008 / 70.0821).abs() < 1e-12);
        assert_eq!(found.ratio.error, Some(0.070_992));
        assert_eq!(found.mean_kld, figure(0.599_654, 0.022_488));
        assert_eq!(found.kld_99, 2.617_232);
        assert!((found.same_top.value - 0.464_71).abs() < 1e-9);
        assert!((found.same_top.error.unwrap() - 0.022_11).abs() < 1e-9);
        assert!(found.median_kld < found.mean_kld.value && found.kld_99 < found.max_kld);
        // The base itself.
        let same = recorded("bf16").comparison(BASE).unwrap();
        assert_eq!((same.same_top.value, same.mean_kld.value.abs()), (1.0, 0.0));
        assert!((same.ratio.value - 1.0).abs() < 1e-6, "{}", same.ratio.value);
    }

    #[test]
    fn a_tool_that_gave_up_is_not_believed() {
        let short = recorded("short");
        assert_eq!(short.tokens, Some(177));
        let text = Path::new("short.txt");
        let chunks = Chunks { text, context: 512, chunks: 4, threads: 1 };
        let error = chunks.long_enough(&short).unwrap_err().to_string();
        assert_eq!(error, "`short.txt` has 177 tokens, and chunks of 512 tokens need at least 1024");
        let cut = recorded("cut").comparison(BASE).unwrap_err();
        assert!(matches!(cut, PerplexityError::Silent { line: "Mean PPL(Q) :", .. }), "{cut}");
        assert!(cut.to_string().contains("failed reading log-probs for chunk"), "{cut}");
        assert_eq!(recorded("vocabulary").vocabularies, Some((49152, 49150)));
        let nothing = heard("").comparison(BASE).unwrap_err();
        assert!(matches!(nothing, PerplexityError::Silent { .. }));
    }

    #[test]
    fn figures_that_are_none_are_refused() {
        let of = |value: &str| heard(&format!("Mean    KLD: {value}")).figure("Mean KLD:");
        assert_eq!(of("  0.042551 ±   0.003080").unwrap(), figure(0.042_551, 0.003_080));
        assert_eq!(of(" 0.5 +/- 0.25").unwrap(), figure(0.5, 0.25));
        assert_eq!(of(" -0.000001 ±  -nan").unwrap(), Figure { value: -0.000_001, error: None });
        assert_eq!(of("3.5 ± inf").unwrap(), Figure { value: 3.5, error: None });
        for value in ["nan ± nan", "-nan(ind) ± 0.1", "inf", "", "low"] {
            assert!(matches!(of(value), Err(PerplexityError::NotFinite { .. })), "{value}");
        }
    }

    #[test]
    fn chunks_are_counted_and_nothing_else() {
        for (line, chunks) in [
            ("     512  70.0821  4.249667  0.143904", 1),
            (
                "   1       6.7041 ±    1.7666       0.04724 ±    0.02371       0.03571 ±    0.00372     5.595 ±  0.546 %    94.488 ±  2.033 %",
                1,
            ),
            ("0.37 minutes", 0),
            ("1 2 3", 0),
            ("", 0),
            ("[1]6.3948,[2]11.2923,", 0),
        ] {
            assert_eq!(heard(line).chunks, chunks, "{line}");
        }
    }

    #[test]
    fn probabilities_take_what_the_model_and_the_text_say() {
        // As the real tool wrote them.
        assert_eq!(probabilities_bytes(49152, 512, 2), 50_143_236);
        assert_eq!(probabilities_bytes(49152, 256, 2), 24_973_316);
        assert_eq!((predictions(512), predictions(256), predictions(1)), (255, 127, 0));
    }

    #[test]
    fn probabilities_that_are_not_whole_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Probabilities::open(&path, BASE)
        };
        let header = |numbers: [i32; 3]| {
            let numbers = numbers.iter().flat_map(|n| n.to_le_bytes());
            MAGIC.iter().copied().chain(numbers).collect::<Vec<u8>>()
        };
        let mut whole = header([128, 7, 2]);
        whole.resize(probabilities_bytes(7, 128, 2) as usize, 0);
        let found = open(&whole).unwrap();
        assert_eq!((found.context, found.vocabulary, found.chunks), (128, 7, 2));
        assert_eq!((found.predictions(), found.bytes()), (126, whole.len() as u64));
        let cut = open(&whole[..whole.len() - 1]);
        assert!(matches!(cut, Err(PerplexityError::Cut { chunks: 2, .. })));
        for bytes in [&b"_logits_"[..], b"", &header([128, -7, 2]), &header([0, 7, 2])] {
            assert!(matches!(open(bytes), Err(PerplexityError::NoProbabilities { .. })), "{bytes:?}");
        }
        whole[0] = b'x';
        assert!(matches!(open(&whole), Err(PerplexityError::NoProbabilities { .. })));
        // What the text does not have was not kept.
        let few = Probabilities { chunks: 1, ..found };
        assert_eq!(few.predictions(), 63);
    }
}
