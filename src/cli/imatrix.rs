//! `imatrix`: an importance matrix of a model, computed by llama-imatrix over a text.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::ImatrixArgs;
use super::config::load;
use super::failure::Failure;
use super::{Context, jobs, print};
use crate::base::units;
use crate::card::metadata::ImatrixFile;
use crate::config::{self, Around, Dataset, Layer};
use crate::run::importance::{self, Alone};

/// Runs the command.
///
/// # Errors
/// The source or the text cannot be read, or there is no llama.cpp.
pub(super) fn run(args: &ImatrixArgs, context: &Context) -> Result<(), Failure> {
    let dataset = jobs::dataset(&args.dataset)?;
    let file = &args.config;
    let llama = if file.is_file() { load(file, &Around::default())?.llama_cpp } else { None };
    let tools = context.tools(llama.as_ref(), file)?;
    // Nothing is published, and no output made: what is there of them does not count.
    let mut setting = context.setting(None, true, args.keep_files, &tools);
    setting.publish = false;
    let path = Path::new(&args.source);
    let is_gguf = path.is_file() && path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let (outfile, made) = if is_gguf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let outfile = outfile(args, &stem);
        let alone = Alone { outfile: &outfile, setting: &setting };
        (outfile.clone(), alone.of_file(path, &dataset, args.chunks, &*context.observer, &context.cancel)?)
    } else {
        let model = model(args, dataset, context)?;
        let outfile = outfile(args, &format!("{}{}", model.prefix, model.name));
        let alone = Alone { outfile: &outfile, setting: &setting };
        (outfile.clone(), alone.of_model(&model, &*context.observer, &context.cancel)?)
    };
    print(&result(&outfile, &made, context.json))
}

fn outfile(args: &ImatrixArgs, stem: &str) -> PathBuf {
    let name = importance::file_name(stem);
    match &args.outfile {
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) => file.clone(),
        None => PathBuf::from(name),
    }
}

fn model(args: &ImatrixArgs, text: Dataset, context: &Context) -> Result<config::Model, Failure> {
    let imatrix = Some(config::Imatrix::Dataset { text, chunks: args.chunks });
    let mut above = Layer { imatrix, ..Layer::default() };
    above.convert.fallback = args.fallback;
    jobs::any_model(&args.source, above, context)
}

fn result(outfile: &Path, made: &ImatrixFile, as_json: bool) -> String {
    if as_json {
        let ImatrixFile { size, sha256, entries, chunks, perplexity, .. } = made;
        return format!(
            "{}\n",
            json!({ "path": outfile, "bytes": size, "sha256": sha256, "entries": entries, "chunks": chunks,
                    "perplexity": perplexity })
        );
    }
    let chunks =
        made.chunks.map(|n| format!(", {}", units::counted(n as usize, "chunk"))).unwrap_or_default();
    let entries =
        made.entries.map(|n| format!(", {}", units::counted(n as usize, "tensor"))).unwrap_or_default();
    let perplexity = made.perplexity.map(|p| format!(", perplexity {p:.4}")).unwrap_or_default();
    format!("{}  {}{entries}{chunks}{perplexity}\n", outfile.display(), units::decimal(made.size))
}
