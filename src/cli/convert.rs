//! `convert`: a checkpoint to GGUF, as `convert_hf_to_gguf.py` does it, or a LoRA adapter, as `convert_lora_to_gguf.py` does.

use std::path::{Path, PathBuf};

use super::args::{ConvertArgs, OutTypeArg};
use super::failure::Failure;
use super::output::{self, Outcome};
use super::{Context, print};
use crate::base::units;
use crate::checkpoint::{ADAPTER_CONFIG, Checkpoint};
use crate::config::Source;
use crate::convert::{
    Blueprint, ConvertError, ConvertOptions, OutType, adapter_blueprint, blueprint, mmproj,
};
use crate::event::{Code, Event};
use crate::gguf::Value;
use crate::quantize::Layout;
use crate::quantize::split::split_converted;
use crate::run::adapter::{self, Adapter};
use crate::run::files::{self, Target};

/// Runs the command.
///
/// # Errors
/// The checkpoint cannot be converted, or the work failed.
pub(super) fn run(args: &ConvertArgs, context: &Context) -> Result<(), Failure> {
    let found = find(args, context)?;
    let options = ConvertOptions {
        out_type: args.outtype.map_or(found.usual_type(), |ty| match ty {
            OutTypeArg::F32 => OutType::F32,
            OutTypeArg::F16 => OutType::F16,
            OutTypeArg::Bf16 => OutType::BF16,
            OutTypeArg::Q8_0 => OutType::Q8_0,
            OutTypeArg::Auto => OutType::Auto,
        }),
        model_name: args.model_name.clone(),
        pre_tokenizer: args.pre_tokenizer.clone(),
        ..ConvertOptions::default()
    };
    let (checkpoint, blueprint) = match found {
        Found::Checkpoint(checkpoint) if args.mmproj => {
            let blueprint = mmproj(&checkpoint, &options, &*context.observer)?;
            (*checkpoint, blueprint)
        }
        Found::Checkpoint(checkpoint) => {
            let blueprint = blueprint(&checkpoint, &options, &*context.observer).map_err(refused)?;
            (*checkpoint, blueprint)
        }
        Found::Adapter(found) => {
            let Adapter { adapter, base } = *found;
            let blueprint =
                adapter_blueprint(&adapter, &base, &options, &*context.observer).map_err(refused_adapter)?;
            (adapter, blueprint)
        }
    };
    let layout = Layout::converted(&blueprint)?;
    let path = match &args.outfile {
        Some(path) if !path.is_dir() => fill(path, &blueprint),
        Some(folder) => folder.join(default_name(&blueprint, args.mmproj)),
        None if checkpoint.origin.repo.is_some() => default_name(&blueprint, args.mmproj).into(),
        None => args.folder.join(default_name(&blueprint, args.mmproj)),
    };
    let parts = match super::jobs::split_limit(&args.split)? {
        Some(limit) => split_converted(&layout, limit)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let name = checkpoint.name.clone();
    let target = Target { name: name.clone(), path, layout, parts };
    let outcome = if args.dry_run { Outcome::Planned } else { Outcome::Written { snr: None } };
    let result = output::describe(&target, type_name(&blueprint), outcome, context.json);
    if args.dry_run {
        return print(&result);
    }
    // The reference's converter lets weights by that are not finite; quantizing them is refused.
    let work = files::Work { check_finite: false, stats: false, ..context.work(&name) };
    let (written, _) =
        files::write(&checkpoint, &blueprint, &[target], None, &work, &context.cancel, &*context.observer)?;
    for file in written.into_iter().flat_map(|w| w.files) {
        let text = format!("`{}`: {}", file.path.display(), units::decimal(file.bytes));
        context.observer.event(Event::new(Code::Converted, text).about(&*name).with("bytes", file.bytes));
    }
    print(&result)
}

/// What is to be converted.
enum Found {
    Checkpoint(Box<Checkpoint>),
    Adapter(Box<Adapter>),
}

impl Found {
    /// The type that the reference's script for it takes if none is asked for. (Adapters are small.)
    fn usual_type(&self) -> OutType {
        match self {
            Found::Checkpoint(_) => OutType::Auto,
            Found::Adapter(_) => OutType::F32,
        }
    }
}

/// Tells adapters from checkpoints, which only a folder can be.
fn find(args: &ConvertArgs, context: &Context) -> Result<Found, Failure> {
    let source = |text: &str| {
        Source::parse_with(text, Path::is_dir).map_err(|e| Failure::usage(format!("`{text}`: {e}")))
    };
    let folder = args.folder.is_dir();
    let repo = if folder { None } else { args.folder.to_str().and_then(|text| source(text).ok()) };
    let adapter = match repo {
        Some(repo @ Source::Hub { .. }) => repo,
        _ if !args.mmproj && Checkpoint::is_adapter(&args.folder) => Source::Folder(args.folder.clone()),
        _ if args.base.is_some() && folder => {
            let text =
                format!("`{}` is no LoRA adapter: it has no `{ADAPTER_CONFIG}`", args.folder.display());
            return Err(Failure::usage(text).hint("--base is for adapters"));
        }
        _ => return Ok(Found::Checkpoint(Box::new(Checkpoint::open(&args.folder)?))),
    };
    let base = args.base.as_deref().map(source).transpose()?;
    let found = adapter::open(&adapter, base.as_ref(), context.hub(), &*context.observer, &context.cancel)?;
    Ok(Found::Adapter(Box::new(found)))
}

fn type_name(blueprint: &Blueprint) -> &'static str {
    match blueprint.out_type {
        OutType::F32 => "F32",
        OutType::F16 => "F16",
        OutType::BF16 | OutType::Auto => "BF16",
        OutType::Q8_0 => "Q8_0",
    }
}

/// This command stands in for llama.cpp's converter and never starts it; others do.
fn refused(error: ConvertError) -> Failure {
    let hint = "`process` with --fallback leaves it to llama.cpp's own converter";
    match error.is_about_support() {
        true => Failure::from(error).hint(hint),
        false => Failure::from(error),
    }
}

/// Where the base model is not known here, it is known nowhere else in this program.
fn refused_adapter(error: ConvertError) -> Failure {
    let hint = match &error {
        ConvertError::Quantized { .. } => "name the model that the base was quantized from with --base",
        ConvertError::NoConfig(_) => {
            "name the base model with --base: a folder with its config.json, or owner/name"
        }
        error if error.is_about_support() => {
            "`jamph-quantizer families` lists the families that adapters can be of"
        }
        _ => return Failure::from(error),
    };
    Failure::from(error).hint(hint)
}

/// `{ftype}` in any of the spellings that the reference knows.
fn fill(path: &Path, blueprint: &Blueprint) -> PathBuf {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return path.to_owned() };
    let (lower, upper) = (type_name(blueprint).to_lowercase(), type_name(blueprint));
    let mut name = name.to_owned();
    for (key, value) in [("ftype", lower.as_str()), ("outtype", &lower), ("FTYPE", upper), ("OUTTYPE", upper)]
    {
        name = name.replace(&format!("{{{key}}}"), value);
    }
    path.with_file_name(name)
}

/// The name that the GGUF naming convention gives (`gguf.naming_convention` of gguf-py); a tower's says so, and not how
/// large it is.
fn default_name(blueprint: &Blueprint, mmproj: bool) -> String {
    let text = |key: &str| blueprint.metadata.get(key).and_then(Value::as_str);
    let dashed = |s: &str| s.trim().replace(' ', "-");
    let name = text("general.basename").or(text("general.name")).unwrap_or("ggml-model");
    let mut name = dashed(name).replace(['/', '\\'], "-");
    for key in ["general.size_label", "general.finetune", "general.version"] {
        if mmproj && key == "general.size_label" {
            continue;
        }
        if let Some(part) = text(key) {
            name += "-";
            name += &dashed(part).replace(['/', '\\'], "-");
        }
    }
    let start = if mmproj { "mmproj-" } else { "" };
    let kind = if text("general.type") == Some("adapter") { "-LoRA" } else { "" };
    format!("{start}{}-{}{kind}.gguf", name.trim_start_matches('.'), type_name(blueprint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Metadata;

    fn example(pairs: &[(&str, &str)]) -> Blueprint {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.set(*key, *value);
        }
        Blueprint { architecture: "llama".to_owned(), out_type: OutType::BF16, metadata, tensors: Vec::new() }
    }

    #[test]
    fn names_follow_the_convention() {
        let full = [
            ("general.name", "Mini Model Chat"),
            ("general.basename", "Mini Model"),
            ("general.size_label", "135M"),
            ("general.finetune", "Instruct"),
            ("general.version", "v2"),
        ];
        assert_eq!(default_name(&example(&full), true), "mmproj-Mini-Model-Instruct-v2-BF16.gguf");
        assert_eq!(default_name(&example(&full), false), "Mini-Model-135M-Instruct-v2-BF16.gguf");
        assert_eq!(default_name(&example(&full[..1]), false), "Mini-Model-Chat-BF16.gguf");
        assert_eq!(default_name(&example(&[("general.name", "../../etc/x")]), false), "-..-etc-x-BF16.gguf");
        assert_eq!(default_name(&example(&[]), false), "ggml-model-BF16.gguf");
        let adapter = [("general.type", "adapter"), ("general.name", "Mini Lora")];
        assert_eq!(default_name(&example(&adapter), false), "Mini-Lora-BF16-LoRA.gguf");
    }

    #[test]
    fn templates_are_filled() {
        let name = |t: &str| fill(Path::new(t), &example(&[])).to_string_lossy().into_owned();
        assert_eq!(name("x-{ftype}-{OUTTYPE}.gguf"), "x-bf16-BF16.gguf");
        assert_eq!(name("plain.gguf"), "plain.gguf");
    }
}
