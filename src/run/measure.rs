//! Measuring files with llama-perplexity: a base's probabilities once, then each file against them.
//!
//! In: a toolchain, a text, a base, files. Out: figures with what they were measured on, as the metadata keeps them.
//! The base's probabilities are large (16 bits a token of the vocabulary and prediction); they lie in a scratch folder
//! and go when the measuring ends, however it ends.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use super::importance::{self, ImportanceError};
use crate::base::cancel::Cancel;
use crate::base::{hash, space, units};
use crate::card::metadata::{Conditions, Divergence, Evaluation, EvaluationText, Measured};
use crate::config::Dataset;
use crate::event::{Code, Event, Observer, Progress};
use crate::hub::HubOptions;
use crate::llama::Toolchain;
use crate::llama::perplexity::{
    Chunks, Comparison, Figure, PerplexityError, Probabilities, predictions, probabilities_bytes,
};

/// The text that is measured on where nobody names another one. Not the one that importance matrices are computed
/// from: measured on that, they would look better than they are.
const BUILT_IN: &[u8] = include_bytes!("../../data/evaluation.txt");

/// Its name.
const BUILT_IN_NAME: &str = "evaluation.txt";

/// The text, as a file.
const TEXT: &str = "evaluation-text.txt";

/// The base's probabilities.
const PROBABILITIES: &str = "base.probabilities";

/// A text to measure on.
#[derive(Clone, Debug)]
pub struct Text {
    identity: EvaluationText,
    bytes: Cow<'static, [u8]>,
}

impl Text {
    /// A file, what is at an address, or the text that comes with the program.
    ///
    /// # Errors
    /// It cannot be read, is empty or too long.
    pub fn read(
        dataset: &Dataset,
        hub: &HubOptions,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, ImportanceError> {
        if *dataset == Dataset::BuiltIn {
            let identity = EvaluationText { name: BUILT_IN_NAME.to_owned(), sha256: hash::sha256(BUILT_IN) };
            return Ok(Text { identity, bytes: BUILT_IN.into() });
        }
        let importance::Text { name, sha256, bytes } =
            importance::Text::read(dataset, hub, observer, cancel)?;
        Ok(Text { identity: EvaluationText { name, sha256 }, bytes: bytes.into() })
    }

    /// As the metadata names it.
    pub fn identity(&self) -> &EvaluationText {
        &self.identity
    }

    /// Chunks that it has, at most: a token has a byte at least.
    pub fn most_chunks(&self, context: u32) -> u32 {
        u32::try_from(self.bytes.len() as u64 / u64::from(context.max(1))).unwrap_or(u32::MAX)
    }

    /// Bytes that a base's probabilities over it take, at most.
    pub fn probabilities(&self, vocabulary: u32, wanted: &Conditions) -> u64 {
        match wanted.compare {
            true => {
                let chunks = wanted.chunks.min(self.most_chunks(wanted.context));
                probabilities_bytes(vocabulary, wanted.context, chunks)
            }
            false => 0,
        }
    }
}

/// What measuring needs.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where llama-perplexity is.
    pub toolchain: &'a Toolchain,
    /// Threads that compute.
    pub threads: usize,
    /// What messages are about.
    pub subject: &'a str,
    /// Who listens.
    pub observer: &'a dyn Observer,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// Files are measured here, one after the other.
pub struct Bench<'a> {
    tools: Tools<'a>,
    conditions: &'a Conditions,
    text: PathBuf,
    probabilities: Option<Probabilities>,
    /// What is removed at the end.
    files: Vec<PathBuf>,
}

impl<'a> Bench<'a> {
    /// Prepares to measure: computes the base's probabilities, where there is one to compare with. They are kept in the
    /// folder `scratch`; `vocabulary` is the number of tokens that the base knows.
    ///
    /// # Errors
    /// [`PerplexityError`].
    pub fn open(
        tools: Tools<'a>,
        conditions: &'a Conditions,
        text: &Text,
        base: Option<&Path>,
        vocabulary: u32,
        scratch: &Path,
    ) -> Result<Self, PerplexityError> {
        let io = |source| PerplexityError::Io { path: scratch.to_owned(), source };
        let scratch = &std::path::absolute(scratch).map_err(io)?;
        let file = scratch.join(TEXT);
        fs::write(&file, &text.bytes).map_err(io)?;
        let mut bench =
            Bench { tools, conditions, text: file.clone(), probabilities: None, files: vec![file] };
        let Some(base) = base else { return Ok(bench) };
        let needed = text.probabilities(vocabulary, conditions);
        if let Some(free) = space::free(scratch).ok().flatten().filter(|free| *free < needed) {
            return Err(PerplexityError::Space { folder: scratch.to_owned(), needed, free });
        }
        let to = scratch.join(PROBABILITIES);
        bench.files.push(to.clone());
        let start = Instant::now();
        let Tools { toolchain, cancel, .. } = tools;
        let probabilities = bench.with_progress("the unquantized model", None, |done| {
            bench.chunks().keep_probabilities(toolchain, &absolute(base), &to, cancel, done)
        })?;
        let text = format!(
            "the unquantized model's probabilities over {} of {} tokens: {} in {}",
            units::counted(probabilities.chunks as usize, "chunk"),
            probabilities.context,
            units::decimal(probabilities.bytes()),
            units::duration(start.elapsed())
        );
        tools.observer.event(
            Event::new(Code::BaseMeasured, text)
                .about(tools.subject)
                .with("chunks", probabilities.chunks)
                .with("bytes", probabilities.bytes()),
        );
        bench.probabilities = Some(probabilities);
        Ok(bench)
    }

    fn chunks(&self) -> Chunks<'_> {
        let Conditions { context, chunks, .. } = *self.conditions;
        Chunks { text: &self.text, context, chunks, threads: self.tools.threads }
    }

    /// Measures a file; of a split one, the first.
    ///
    /// # Errors
    /// [`PerplexityError`].
    pub fn measure(&self, name: &str, file: &Path) -> Result<Evaluation, PerplexityError> {
        let Tools { toolchain, threads, cancel, subject, observer } = self.tools;
        let (start, file) = (Instant::now(), absolute(file));
        let mut evaluation = Evaluation {
            text: self.conditions.text.clone(),
            context: self.conditions.context,
            chunks_asked: self.conditions.chunks,
            tool: toolchain.reference().to_string(),
            ..Evaluation::default()
        };
        match &self.probabilities {
            Some(base) => {
                let found = self.with_progress(name, Some(base), |done| {
                    base.compare(toolchain, &file, threads, cancel, done)
                })?;
                evaluation.chunks = base.chunks;
                evaluation.perplexity = measured(found.perplexity);
                evaluation.divergence = Some(divergence(&found));
            }
            None => {
                let found = self.with_progress(name, None, |done| {
                    self.chunks().perplexity(toolchain, &file, cancel, done)
                })?;
                evaluation.chunks = found.chunks;
                evaluation.perplexity = measured(found.perplexity);
            }
        }
        evaluation.predictions = u64::from(evaluation.chunks) * predictions(evaluation.context);
        evaluation.measured = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        evaluation.seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        observer.event(told(name, &evaluation).about(subject));
        Ok(evaluation)
    }

    /// Work whose progress is told by chunks.
    fn with_progress<T>(
        &self,
        what: &str,
        base: Option<&Probabilities>,
        work: impl FnOnce(&mut dyn FnMut(u32)) -> Result<T, PerplexityError>,
    ) -> Result<T, PerplexityError> {
        let total = u64::from(base.map_or(self.conditions.chunks, |base| base.chunks));
        let task = format!("{}: measuring {what}", self.tools.subject);
        let tell = |done| self.tools.observer.progress(Progress::things(&*task, "chunk", done, total));
        let done = work(&mut |chunks| {
            if u64::from(chunks) < total {
                tell(u64::from(chunks));
            }
        })?;
        tell(total);
        Ok(done)
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        for file in &self.files {
            // What cannot be removed goes with the folder.
            let _ = fs::remove_file(file);
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn measured(figure: Figure) -> Measured {
    Measured { value: figure.value, error: figure.error }
}

fn divergence(found: &Comparison) -> Divergence {
    Divergence {
        base_perplexity: measured(found.base),
        perplexity_ratio: measured(found.ratio),
        mean_kld: measured(found.mean_kld),
        median_kld: found.median_kld,
        kld_99: found.kld_99,
        max_kld: found.max_kld,
        same_top: measured(found.same_top),
    }
}

/// What was measured of a file.
fn told(name: &str, evaluation: &Evaluation) -> Event {
    let perplexity = evaluation.perplexity.value;
    let event = Event::new(Code::Measured, format!("`{name}`: {}", evaluation.summary()))
        .with("method", name)
        .with("perplexity", perplexity)
        .with("seconds", evaluation.seconds);
    match &evaluation.divergence {
        Some(d) => event
            .with("mean_kld", d.mean_kld.value)
            .with("kld_99", d.kld_99)
            .with("same_top", d.same_top.value)
            .with("perplexity_ratio", d.perplexity_ratio.value),
        None => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dataset: &Dataset) -> Result<Text, ImportanceError> {
        let root = tempfile::tempdir().unwrap();
        Text::read(dataset, &HubOptions::new("http://127.0.0.1:9", root.path()), &(), &Cancel::new())
    }

    #[test]
    fn the_text_that_comes_along_is_long_enough_and_plain() {
        let text = read(&Dataset::BuiltIn).unwrap();
        let chars = std::str::from_utf8(&text.bytes).expect("it is UTF-8").chars();
        assert!(chars.filter(|c| c.is_control() && *c != '\n').count() == 0);
        // English takes more than four bytes a token.
        assert!(text.bytes.len() as u64 / 5 > 2 * 16 * 512, "{}", text.bytes.len());
        assert!(text.most_chunks(512) >= 64);
    }

    /// Otherwise importance matrices of the text that comes along would look better than they are.
    #[test]
    fn the_texts_that_come_along_have_no_line_in_common() {
        let lines = |text: &'static str| {
            let long = text.lines().map(str::trim).filter(|line| line.len() > 60);
            long.collect::<std::collections::HashSet<_>>()
        };
        let ours = lines(std::str::from_utf8(BUILT_IN).unwrap());
        let theirs = lines(include_str!("../../data/calibration.txt"));
        assert!(ours.len() > 300, "{}", ours.len());
        let both: Vec<_> = ours.intersection(&theirs).collect();
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn a_text_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        fs::write(&path, "abc").unwrap();
        let text = read(&Dataset::File(path)).unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(*text.identity(), EvaluationText { name: "t.txt".to_owned(), sha256 });
        assert!(read(&Dataset::File(folder.path().join("none"))).is_err());
    }
}
