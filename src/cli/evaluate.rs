//! `evaluate`: outputs or GGUF files against the unquantized model, with llama-perplexity.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::args::EvaluateArgs;
use super::config::load;
use super::failure::{Failure, Kind};
use super::{Context, jobs, print};
use crate::base::file_name::is_safe_name;
use crate::base::{atomic, hash, units};
use crate::card::metadata::{self, Conditions, Evaluation, Output, QuantizationMetadata};
use crate::card::picture;
use crate::checkpoint::{GgufFile, GgufModel};
use crate::config::{Around, Evaluate, Layer, Require};
use crate::event::{Code, Event};
use crate::plan::{Shortfall, shortfalls};
use crate::publish::{self, FolderError};
use crate::run::base::{Base, Scratch};
use crate::run::{Bench, JobError, Text, Tools, base_of, vocabulary};

/// A file that is to be measured.
#[derive(Debug)]
struct Subject {
    /// What it is called: its method, or its file's name.
    name: String,
    /// The (first) file.
    path: PathBuf,
    /// Bytes of all its files.
    size: u64,
    /// Its figures.
    evaluation: Option<Evaluation>,
    /// The folder whose metadata lists it, and where there.
    listed: Option<(PathBuf, usize)>,
}

/// Runs the command.
///
/// # Errors
/// There is nothing to measure or nothing to measure with, or an output is not what is required.
pub(super) fn run(args: &EvaluateArgs, context: &Context) -> Result<(), Failure> {
    let require = require(&args.require)?;
    let compare = !args.no_kl_divergence;
    if !compare && require.compares() {
        return Err(Failure::usage("what --require asks for is not measured with --no-kl-divergence"));
    }
    let usual = Evaluate::default();
    let dataset = jobs::dataset(&args.dataset)?;
    let text = Text::read(&dataset, context.hub(), &*context.observer, &context.cancel)?;
    let wanted = Conditions {
        text: text.identity().clone(),
        context: args.context.unwrap_or(usual.context),
        chunks: args.chunks.unwrap_or(usual.chunks),
        compare,
    };
    let (mut subjects, mut folders) = find(&args.paths)?;
    for subject in &mut subjects {
        subject.evaluation = subject.evaluation.take().filter(|e| !args.force && e.is_under(&wanted));
    }
    if subjects.iter().any(|s| s.evaluation.is_none()) {
        measure(&mut subjects, &mut folders, &wanted, &text, args, context)?;
    }
    if let Some(path) = &args.picture {
        let title = args.base.as_deref().map(title).unwrap_or_default();
        let svg = picture::picture(title, &pictured(&subjects))
            .ok_or_else(|| Failure::usage("--picture: there are no two outputs to compare"))?;
        atomic::write(path, svg.as_bytes())
            .map_err(|source| Failure::from(JobError::Io { path: path.clone(), source }))?;
    }
    let judged: Vec<(&Subject, Vec<Shortfall>)> = subjects
        .iter()
        .map(|s| (s, s.evaluation.as_ref().map(|e| shortfalls(&require, e)).unwrap_or_default()))
        .collect();
    print(&if context.json { result_json(&judged) } else { result_text(&judged) })?;
    let short: Vec<String> = judged
        .iter()
        .filter(|(_, short)| !short.is_empty())
        .map(|(s, short)| format!("`{}`: {}", s.name, join(short)))
        .collect();
    if short.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(Kind::Quality, anyhow::anyhow!("not good enough: {}", short.join("; ")));
    Err(failure.hint("quantize with more bits or an importance matrix, or require less"))
}

/// Measures what is not measured yet; figures of outputs are kept in their folders at once.
fn measure(
    subjects: &mut [Subject],
    folders: &mut BTreeMap<PathBuf, QuantizationMetadata>,
    wanted: &Conditions,
    text: &Text,
    args: &EvaluateArgs,
    context: &Context,
) -> Result<(), Failure> {
    let (observer, cancel) = (&*context.observer, &context.cancel);
    let llama = if args.config.is_file() { load(&args.config, &Around::default())?.llama_cpp } else { None };
    let tools = context.tools(llama.as_ref(), &args.config)?;
    // Nothing is published, and no output made: what is there of them does not count.
    let mut setting = context.setting(None, true, false, &tools);
    setting.publish = false;
    let paths: Vec<_> = args.paths.iter().map(std::path::absolute).collect();
    let work = hash::sha256(format!("{:?}", (paths, &args.base)).as_bytes());
    let base = Base::new(Scratch::among(&context.hub().cache.join("evaluate"), &work[..32], cancel)?);
    let (gguf, tokens) = match (&args.base, wanted.compare) {
        (_, false) => (None, 0),
        (None, true) => {
            return Err(Failure::usage("--base names no unquantized model to compare with")
                .hint("name its GGUF file or its checkpoint, or measure with --no-kl-divergence"));
        }
        (Some(name), true) if Path::new(name).is_file() => {
            let path = PathBuf::from(name);
            let tokens = vocabulary(&GgufModel::open(&path)?.files[0].header.metadata);
            (Some(path), tokens)
        }
        (Some(name), true) => {
            let model = jobs::any_model(name, Layer::default(), context)?;
            let (path, tokens) = base_of(&model, &base, &setting, observer, cancel)?;
            (Some(path), tokens)
        }
    };
    let tools = Tools {
        toolchain: setting.llama.obtain(cancel, observer)?,
        threads: context.threads,
        subject: "evaluate",
        observer,
        cancel,
    };
    let bench = Bench::open(tools, wanted, text, gguf.as_deref(), tokens, base.scratch()?)?;
    for subject in subjects.iter_mut().filter(|s| s.evaluation.is_none()) {
        let figures = bench.measure(&subject.name, &subject.path)?;
        subject.evaluation = Some(figures.clone());
        let Some((folder, i)) = &subject.listed else { continue };
        let Some(metadata) = folders.get_mut(folder) else { continue };
        metadata.outputs[*i].evaluation = Some(figures);
        let files = publish::refreshed(folder, metadata)?;
        atomic::write_each(files).map_err(|(path, source)| JobError::Io { path, source })?;
        let text = format!("the figures are in `{}`", folder.join(metadata::FILE_NAME).display());
        observer.event(Event::new(Code::CardWritten, text).about(&*subject.name));
    }
    Ok(())
}

/// The files that paths stand for: a GGUF file for itself; a folder for the outputs of its metadata, or else for its
/// GGUF files, or else for those of the folders in it that have metadata.
fn find(paths: &[PathBuf]) -> Result<(Vec<Subject>, BTreeMap<PathBuf, QuantizationMetadata>), Failure> {
    let (mut subjects, mut folders) = (Vec::new(), BTreeMap::new());
    for path in paths {
        let before = subjects.len();
        if !path.is_dir() {
            subjects.push(plain(path)?);
            continue;
        }
        let entries = entries(path)?;
        let has_metadata = |folder: &PathBuf| folder.join(metadata::FILE_NAME).is_file();
        if has_metadata(path) {
            outputs(path, &mut subjects, &mut folders)?;
        } else {
            for file in entries.iter().filter(|file| file.is_file() && is_first(file)) {
                subjects.push(plain(file)?);
            }
            if subjects.len() == before {
                for folder in entries.iter().filter(|folder| has_metadata(folder)) {
                    outputs(folder, &mut subjects, &mut folders)?;
                }
            }
        }
        if subjects.len() == before {
            let text = format!("`{}` has no GGUF file and no output of this program", path.display());
            return Err(Failure::new(Kind::Input, anyhow::anyhow!(text)));
        }
    }
    Ok((subjects, folders))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let error = |source| FolderError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(error)?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(error)?;
    entries.sort();
    Ok(entries)
}

/// Whether a file is a GGUF, of a split one the first.
fn is_first(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".gguf") else { return false };
    let number = stem.rsplit_once("-of-").and_then(|(before, count)| {
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        let number = before.rsplit_once('-')?.1;
        (digits(count) && digits(number)).then_some(number)
    });
    number.is_none_or(|number| number == "00001")
}

/// A GGUF file that nothing is known of.
fn plain(path: &Path) -> Result<Subject, Failure> {
    let model = GgufModel::open(path)?;
    let size = |file: &GgufFile| fs::metadata(&file.path).map_or(0, |m| m.len());
    Ok(Subject {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        path: path.to_owned(),
        size: model.files.iter().map(size).sum(),
        evaluation: None,
        listed: None,
    })
}

/// The outputs that a folder's metadata lists and that are there.
fn outputs(
    folder: &Path,
    subjects: &mut Vec<Subject>,
    folders: &mut BTreeMap<PathBuf, QuantizationMetadata>,
) -> Result<(), Failure> {
    let path = folder.join(metadata::FILE_NAME);
    let text = fs::read(&path).map_err(|source| FolderError::Io { path, source })?;
    let metadata = QuantizationMetadata::from_json(&text)
        .map_err(|source| FolderError::Metadata { folder: folder.to_owned(), source })?;
    for (i, output) in metadata.outputs.iter().enumerate() {
        let path = folder.join(&output.file);
        // A name that leaves the folder is none of ours.
        if is_safe_name(&output.file) && path.is_file() {
            subjects.push(Subject {
                name: output.recipe.method.clone(),
                path,
                size: output.size,
                evaluation: output.evaluation.clone(),
                listed: Some((folder.to_owned(), i)),
            });
        }
    }
    folders.insert(folder.to_owned(), metadata);
    Ok(())
}

/// `mean_kld=0.05`, several of them.
fn require(given: &[String]) -> Result<Require, Failure> {
    let mut require = Require::default();
    for text in given {
        let wrong = |why: String| {
            Failure::usage(format!("--require {text}: {why}"))
                .hint("write `mean_kld=0.05`, `kld_99=0.5`, `same_top=0.95`, `perplexity=20` or `perplexity_ratio=1.02`")
        };
        let (key, number) = text.split_once('=').ok_or_else(|| wrong("it has no `=`".to_owned()))?;
        let number: f64 = number
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite() && *n >= 0.0)
            .ok_or_else(|| wrong(format!("`{number}` is no number that a figure can have")))?;
        let place = match key {
            "mean_kld" => &mut require.mean_kld,
            "kld_99" => &mut require.kld_99,
            "same_top" if number <= 1.0 => &mut require.same_top,
            "same_top" => return Err(wrong("a share is at most 1".to_owned())),
            "perplexity" => &mut require.perplexity,
            "perplexity_ratio" => &mut require.perplexity_ratio,
            _ => return Err(wrong(format!("`{key}` is no figure"))),
        };
        *place = Some(number);
    }
    Ok(require)
}

/// The name of the model that a base is.
fn title(base: &str) -> &str {
    let name = base.trim_end_matches(['/', '\\']);
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.strip_suffix(".gguf").unwrap_or(name)
}

/// What a picture needs to know of outputs.
fn pictured(subjects: &[Subject]) -> Vec<Output> {
    let output = |s: &Subject| {
        let mut output = Output { file: s.name.clone(), size: s.size, ..Output::default() };
        output.recipe.method.clone_from(&s.name);
        output.evaluation.clone_from(&s.evaluation);
        output
    };
    subjects.iter().map(output).collect()
}

fn join(short: &[Shortfall]) -> String {
    short.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn result_text(judged: &[(&Subject, Vec<Shortfall>)]) -> String {
    let mut out = String::new();
    let longest = judged.iter().map(|(s, _)| s.name.chars().count()).max().unwrap_or(0);
    for (subject, short) in judged {
        let Some(evaluation) = &subject.evaluation else { continue };
        let mark = if short.is_empty() { "" } else { "  not good enough" };
        let (name, size) = (&subject.name, units::decimal(subject.size));
        let _ = writeln!(out, "{name:longest$}  {size:>9}  {}{mark}", evaluation.summary());
    }
    out
}

fn result_json(judged: &[(&Subject, Vec<Shortfall>)]) -> String {
    let output = |(subject, short): &(&Subject, Vec<Shortfall>)| {
        let short: Vec<String> = short.iter().map(ToString::to_string).collect();
        json!({"name": subject.name, "path": subject.path, "bytes": subject.size,
               "evaluation": subject.evaluation, "short": short})
    };
    format!("{}\n", json!({ "outputs": judged.iter().map(output).collect::<Json>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_file_of_a_split_is_one() {
        for (name, first) in [
            ("a.gguf", true),
            ("a-00001-of-00003.gguf", true),
            ("a-00002-of-00003.gguf", false),
            ("a-2-of-3.gguf", true),
            ("a.bin", false),
            ("imatrix.gguf.part", false),
        ] {
            assert_eq!(is_first(Path::new(name)), first, "{name}");
        }
    }

    #[test]
    fn requirements_are_figures_and_numbers() {
        let read = |given: &[&str]| require(&given.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let found = read(&["mean_kld=0.05", "same_top=0.9", "perplexity=20"]).unwrap();
        let (mean_kld, same_top, perplexity) = (Some(0.05), Some(0.9), Some(20.0));
        assert_eq!(found, Require { mean_kld, same_top, perplexity, ..Require::default() });
        for (given, part) in [
            ("mean_kld", "no `=`"),
            ("mean_kld=low", "`low` is no number"),
            ("mean_kld=-1", "`-1` is no number"),
            ("kld_99=nan", "`nan` is no number"),
            ("same_top=95", "at most 1"),
            ("kdl=1", "`kdl` is no figure"),
        ] {
            let error = read(&[given]).unwrap_err().render();
            assert!(error.contains(part), "{error}");
        }
    }
}
