//! A job's evaluation: what is known already, what is measured, and which outputs are good enough to be published.
//!
//! In: a job whose outputs lie in their folders. Out: figures in their metadata, cards and logs, and the outputs that
//! `evaluate.require` turns away. Figures belong to files, by their hashes: what an earlier run measured of the same
//! bytes, over the same text and as many chunks of it, is not measured again, wherever it stands. Outputs that go
//! straight into an upload cannot be measured, and are not streamed where they are to be.

use std::fmt;
use std::path::PathBuf;

use super::JobError;
use super::base::Base;
use super::measure::{Bench, Text, Tools};
use super::prepared::{Planned, Prepared, Setting};
use super::{deliver, job};
use crate::base::atomic;
use crate::base::cancel::Cancel;
use crate::base::causes::causes;
use crate::base::units;
use crate::card::metadata::{self, Conditions, Evaluation, FilePart, QuantizationMetadata};
use crate::card::picture;
use crate::config::{Model, Require};
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::gguf::{Array, Metadata, Value};
use crate::plan::{Decision, Shortfall, Why, shortfalls};
use crate::publish;

/// What a job measures its outputs on, and what they must reach.
#[derive(Clone, Debug)]
pub struct Evaluating {
    /// What is measured on.
    pub wanted: Conditions,
    /// What is required.
    pub require: Require,
    /// Bytes that the base's probabilities take while that lasts, at most.
    pub probabilities: u64,
    text: Text,
}

/// An output that is not published.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The method's name.
    pub method: &'static str,
    /// Its (first) file, which stays.
    pub path: PathBuf,
    /// Why.
    pub why: Rejection,
}

/// Why an output is not published.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// It is not good enough.
    Quality(Vec<Shortfall>),
    /// It could not be measured, and why.
    Unmeasured(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Quality(all) => {
                f.write_str(&all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Rejection::Unmeasured(why) => write!(f, "it could not be measured: {why}"),
        }
    }
}

/// What is known of an output.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Figures as they would be measured now, by the files that they are of.
    pub(super) known: Vec<(Vec<FilePart>, Evaluation)>,
    /// Those of the files that are kept or published.
    pub evaluation: Option<Evaluation>,
}

/// What measuring a job's outputs gave.
#[derive(Debug, Default)]
pub(super) struct Evaluated {
    /// The figures of all outputs that have some, by method.
    pub(super) figures: Vec<(&'static str, Evaluation)>,
    /// The outputs that are not published.
    pub(super) rejected: Vec<Rejected>,
}

impl Evaluating {
    /// What a model asks for, if it does.
    ///
    /// # Errors
    /// The text cannot be read.
    pub(super) fn of(
        model: &Model,
        blueprint: &Blueprint,
        setting: &Setting,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<Self>, JobError> {
        let Some(evaluate) = &model.evaluate else { return Ok(None) };
        let text = Text::read(&evaluate.dataset, &setting.hub, observer, cancel)?;
        let wanted = Conditions {
            text: text.identity().clone(),
            context: evaluate.context,
            chunks: evaluate.chunks,
            compare: evaluate.kl_divergence,
        };
        let probabilities = text.probabilities(vocabulary(&blueprint.metadata), &wanted);
        Ok(Some(Evaluating { wanted, require: evaluate.require, probabilities, text }))
    }

    /// Finds what is known of an output, and sees to it that one that is not measured comes to lie in its folder.
    /// `local` decides on the output as if it were not published.
    pub(super) fn look(
        &self,
        planned: &mut Planned,
        published: Option<&QuantizationMetadata>,
        local: impl FnOnce(&Planned) -> Decision,
    ) {
        let file = planned.file_name();
        let found = std::fs::read(planned.folder.join(metadata::FILE_NAME)).ok();
        let here = found.and_then(|text| QuantizationMetadata::from_json(&text).ok());
        let of = |m: Option<&QuantizationMetadata>| {
            m.and_then(|m| m.outputs.iter().find(|o| o.file == file)).cloned()
        };
        let (here, there) = (of(here.as_ref()), of(published));
        let known = here.iter().chain(&there).filter(|o| o.recipe.out_type == planned.recipe.out_type);
        let figures = known.filter_map(|o| Some((o.files(), o.evaluation.clone()?)));
        planned.figures.known = figures.filter(|(_, e)| e.is_under(&self.wanted)).collect();
        let known = |planned: &Planned, output: &Option<metadata::Output>| {
            output.as_ref().and_then(|o| planned.figures_of(&o.files())).cloned()
        };
        if planned.decision == Decision::Published {
            planned.figures.evaluation = known(planned, &there);
            // What the repository itself does not tell must be told there.
            let told = there.as_ref().and_then(|o| o.evaluation.as_ref());
            if told.is_some_and(|e| e.is_under(&self.wanted)) {
                return;
            }
            planned.decision = match local(planned) {
                Decision::Keep => Decision::Keep,
                _ => Decision::Make(Why::Unmeasured),
            };
        }
        planned.figures.evaluation = match planned.decision {
            Decision::Keep => known(planned, &here),
            _ => None,
        };
    }
}

impl Planned {
    /// What was measured of files with these hashes.
    pub(super) fn figures_of(&self, files: &[FilePart]) -> Option<&Evaluation> {
        self.figures
            .known
            .iter()
            .find(|(known, _)| !known.is_empty() && known == files)
            .map(|(_, figures)| figures)
    }
}

impl Prepared {
    /// The outputs that are to be measured. Of those that are made anew, some may turn out to be known.
    pub fn to_measure(&self) -> impl Iterator<Item = &Planned> {
        let wanted = self.evaluating.is_some();
        self.outputs
            .iter()
            .filter(move |o| wanted && o.tower.is_none())
            .filter(|o| o.decision != Decision::Published && o.figures.evaluation.is_none())
    }

    /// Whether the base is needed as a file, to compare with.
    pub fn compares(&self) -> bool {
        self.evaluating.as_ref().is_some_and(|e| e.wanted.compare) && self.to_measure().next().is_some()
    }

    /// Bytes that the base's probabilities take of the disk, while outputs are measured.
    pub fn probabilities(&self) -> u64 {
        self.evaluating.as_ref().filter(|_| self.compares()).map_or(0, |e| e.probabilities)
    }
}

/// The base of a model by itself, and how many tokens it knows.
///
/// # Errors
/// [`JobError`]; as for a job.
pub fn base_of(
    model: &Model,
    base: &Base,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(PathBuf, u32), JobError> {
    let mut prepared = job::convert_first(model, base, setting, observer, cancel)?;
    job::fetch(&mut prepared, setting, observer, cancel)?;
    let path = base.path(&prepared, setting, observer, cancel)?.to_owned();
    job::forget_weights(&prepared, setting, cancel)?;
    Ok((path, vocabulary(&prepared.blueprint.metadata)))
}

/// Tokens that a model knows, by its metadata.
pub fn vocabulary(metadata: &Metadata) -> u32 {
    let tokens = metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array).map(Array::len);
    tokens.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// Measures the outputs that lie in their folders and are not measured yet, and says which are not good enough.
///
/// # Errors
/// [`JobError`]: there is no toolchain, or the base cannot be measured.
pub(super) fn evaluate(
    prepared: &Prepared,
    base: &Base,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Evaluated, JobError> {
    let mut done = Evaluated::default();
    let Some(evaluating) = &prepared.evaluating else { return Ok(done) };
    let name = &*prepared.model.name;
    let mut bench: Option<Bench<'_>> = None;
    let mut all: Vec<metadata::Output> = Vec::new();
    for output in prepared.outputs.iter().filter(|o| o.tower.is_none()) {
        let method = output.method.name;
        if output.decision == Decision::Published {
            if let Some(figures) = &output.figures.evaluation {
                warn_published(evaluating, method, figures, name, observer);
                done.figures.push((method, figures.clone()));
            }
            continue;
        }
        let mut metadata = deliver::finished(&output.folder)?.metadata;
        let Some(made) = metadata.outputs.first_mut() else { continue };
        let known = made.evaluation.clone().filter(|e| e.is_under(&evaluating.wanted));
        let figures = match known.or_else(|| output.figures_of(&made.files()).cloned()) {
            Some(figures) => figures,
            None => {
                let bench = match &mut bench {
                    Some(bench) => bench,
                    none => {
                        let tools = Tools {
                            toolchain: setting.llama.obtain(cancel, observer)?,
                            threads: setting.threads,
                            subject: name,
                            observer,
                            cancel,
                        };
                        none.insert(open(prepared, evaluating, base, tools, setting)?)
                    }
                };
                match bench.measure(method, &output.path()) {
                    Ok(figures) => figures,
                    Err(error) if error.is_stop() => return Err(JobError::Stopped),
                    Err(error) => {
                        let why = Rejection::Unmeasured(causes(&error));
                        done.rejected.push(Rejected { method, path: output.path(), why });
                        continue;
                    }
                }
            }
        };
        if made.evaluation.as_ref() != Some(&figures) {
            made.evaluation = Some(figures.clone());
            let files = publish::refreshed(&output.folder, &metadata)?;
            atomic::write_each(files).map_err(|(path, source)| JobError::Io { path, source })?;
        }
        all.extend(metadata.outputs);
        let short = shortfalls(&evaluating.require, &figures);
        if !short.is_empty() {
            done.rejected.push(Rejected { method, path: output.path(), why: Rejection::Quality(short) });
        }
        done.figures.push((method, figures));
    }
    // Published outputs have their picture in the repository.
    let title = format!("{}{name}", prepared.model.prefix);
    if let Some(svg) = picture::picture(&title, &all) {
        let path = setting.output.join(format!("{title}-{}", picture::FILE_NAME));
        atomic::write(&path, svg.as_bytes()).map_err(|source| JobError::Io { path, source })?;
    }
    for Rejected { method, why, .. } in &done.rejected {
        let text = format!("`{method}` is not published: {why}");
        observer.event(Event::new(Code::OutputRejected, text).about(name).with("method", *method));
    }
    Ok(done)
}

/// Everything that the first file to be measured needs.
fn open<'a>(
    prepared: &Prepared,
    evaluating: &'a Evaluating,
    base: &Base,
    tools: Tools<'a>,
    setting: &Setting,
) -> Result<Bench<'a>, JobError> {
    let wanted = &evaluating.wanted;
    let methods: Vec<&str> = prepared.to_measure().map(|o| o.method.name).collect();
    let text = format!(
        "measuring {} over `{}`: {} of {} tokens{}",
        methods.join(", "),
        wanted.text.name,
        units::counted(wanted.chunks as usize, "chunk"),
        wanted.context,
        match wanted.compare {
            true => format!(
                ", against the unquantized model, whose probabilities take up to {} meanwhile",
                units::decimal(evaluating.probabilities)
            ),
            false => String::new(),
        }
    );
    tools
        .observer
        .event(Event::new(Code::MeasuringStarted, text).about(tools.subject).with("methods", methods));
    let scratch = base.scratch()?;
    let base = match wanted.compare {
        true => Some(base.path(prepared, setting, tools.observer, tools.cancel)?),
        false => None,
    };
    let vocabulary = vocabulary(&prepared.blueprint.metadata);
    Bench::open(tools, wanted, &evaluating.text, base, vocabulary, scratch).map_err(|error| {
        match error.is_stop() {
            true => JobError::Stopped,
            false => JobError::Measure { source: error },
        }
    })
}

/// An output that is published already stays where it is, whatever is required of it now.
fn warn_published(
    evaluating: &Evaluating,
    method: &str,
    figures: &Evaluation,
    name: &str,
    observer: &dyn Observer,
) {
    let short = shortfalls(&evaluating.require, figures);
    if short.is_empty() {
        return;
    }
    let text = format!("`{method}` is published, and would not be now: {}", Rejection::Quality(short));
    let hint = "leave the method out and run with --prune to remove it";
    observer.event(Event::new(Code::PublishedBelow, text).about(name).with("hint", hint));
}
