//! `quantize`: a GGUF file to another type, as `llama-quantize` does it.

use std::path::{Path, PathBuf};

use super::args::{QuantizeArgs, RecipeArgs};
use super::failure::{Failure, Kind};
use super::output::{self, Outcome};
use super::{Context, print};
use crate::checkpoint::GgufModel;
use crate::convert::Blueprint;
use crate::event::{Code, Event};
use crate::quantize::imatrix::Selection;
use crate::quantize::options::{parse_layers, parse_type};
use crate::quantize::simd;
use crate::quantize::{
    Imatrix, LayoutError, Method, Options, Override, TensorType, UnknownMethod, layout as lay_out, split,
};
use crate::run::files::{self, Target};

/// Runs the command.
///
/// # Errors
/// The file, the method or an option is wrong, or the work failed.
pub(super) fn run(args: &QuantizeArgs, context: &Context) -> Result<(), Failure> {
    let typed = Typed::read(&args.args)?;
    let imatrix = match &args.recipe.imatrix {
        Some(path) => {
            let (include, exclude) =
                (args.recipe.include_weights.clone(), args.recipe.exclude_weights.clone());
            Imatrix::open(path, &path.display().to_string(), &Selection { include, exclude })?
        }
        None => None,
    };
    let mut options = options(&args.recipe)?;
    options.imatrix = imatrix.as_ref().map(|imatrix| imatrix.origin.clone());
    options.dry_run = args.dry_run;
    options.keep_split = args.keep_split;
    let model = GgufModel::open(&typed.input)?;
    let blueprint = Blueprint::from_gguf(&model)?;
    let layout = lay_out(&blueprint, typed.method, &options)?;
    layout.check_built(&blueprint)?;
    if let Some(imatrix) = &imatrix {
        match imatrix.cover(&layout, &blueprint, typed.method) {
            Ok(coverage) => context.observer.event(coverage.event(typed.method.name)),
            Err(error) if args.dry_run => warn(context, &error),
            Err(error) => return Err(error.into()),
        }
    }
    let output = typed
        .output
        .unwrap_or_else(|| typed.input.with_file_name(format!("ggml-model-{}.gguf", typed.method.name)));
    let parts = if args.keep_split { split::keep(&layout, &blueprint)? } else { Vec::new() };
    for path in files::paths(&output, &parts) {
        if model.files.iter().any(|f| same_file(&f.path, &path)) {
            return Err(
                Failure::usage(format!("`{}` is the input", path.display())).hint("name another file")
            );
        }
    }
    let name = typed.method.name;
    let targets = [Target { name: name.to_owned(), path: output, layout, parts }];
    if args.dry_run {
        let real = Options { dry_run: false, ..options };
        if let Err(error @ LayoutError::ImatrixRequired { .. }) = lay_out(&blueprint, typed.method, &real) {
            warn(context, &error);
        }
        let result = output::describe(&targets[0], name, Outcome::Planned, context.json);
        return print(&result);
    }
    let text = format!("one pass over the weights for {name} ({})", simd::level());
    context.observer.event(Event::new(Code::PassStarted, text));
    let mut work = context.work(name);
    work.threads = typed.threads.unwrap_or(work.threads);
    work.stats = !args.no_stats;
    let (_, report) = files::write(
        &model,
        &blueprint,
        &targets,
        imatrix.as_ref(),
        &work,
        &context.cancel,
        &*context.observer,
    )?;
    let [target] = &targets;
    let snr = report.file_loss(&target.layout.header).and_then(|l| l.snr_db());
    print(&output::describe(target, name, Outcome::Written { snr }, context.json))
}

/// Says of a dry run what would stop a real one.
fn warn(context: &Context, error: &dyn std::error::Error) {
    context.observer.event(Event::new(Code::ImatrixGaps, format!("it cannot be written like this: {error}")));
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The positions of `llama-quantize`: `IN.gguf [OUT.gguf] METHOD [THREADS]`.
#[derive(Debug)]
struct Typed {
    input: PathBuf,
    output: Option<PathBuf>,
    method: &'static Method,
    threads: Option<usize>,
}

impl Typed {
    fn read(args: &[String]) -> Result<Self, Failure> {
        let (input, rest) =
            args.split_first().ok_or_else(|| Failure::usage("name a GGUF file and a method"))?;
        // With the output left out, the method comes second; so does a single argument that is no GGUF file's name.
        let (output, rest) = match rest {
            [first] if !first.to_ascii_lowercase().ends_with(".gguf") => (None, rest),
            [first, ..] if method(first).is_ok() => (None, rest),
            [output, rest @ ..] => (Some(PathBuf::from(output)), rest),
            [] => (None, rest),
        };
        let (name, rest) =
            rest.split_first().ok_or_else(|| Failure::usage("name a method after the files"))?;
        let threads = match rest {
            [] => None,
            [n] => match n.parse() {
                Ok(n) if n > 0 => Some(n),
                _ => return Err(Failure::usage(format!("`{n}` is no number of threads"))),
            },
            [_, more, ..] => return Err(Failure::usage(format!("`{more}` is one argument too many"))),
        };
        Ok(Typed { input: input.into(), output, method: method(name)?, threads })
    }
}

/// A method by its name or, as `llama-quantize` takes it too, by the number of its file type.
fn method(typed: &str) -> Result<&'static Method, UnknownMethod> {
    let numbered = || Method::from_file_type(typed.parse().ok()?);
    Method::from_name(typed).or_else(|unknown| numbered().ok_or(unknown))
}

/// The options of `llama-quantize`, from the command line, but for the importance matrix.
///
/// # Errors
/// A type, pattern, layer or value is wrong, or the file of types cannot be read.
pub(super) fn options(args: &RecipeArgs) -> Result<Options, Failure> {
    let mut tensor_types: Vec<TensorType> =
        args.tensor_type.iter().map(|t| TensorType::parse(t)).collect::<Result<_, _>>()?;
    if let Some(path) = &args.tensor_type_file {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::new(
                Kind::Input,
                anyhow::Error::new(e).context(format!("cannot read `{}`", path.display())),
            )
        })?;
        tensor_types.extend(TensorType::parse_list(&text)?);
    }
    Ok(Options {
        pure: args.pure,
        leave_output_tensor: args.leave_output_tensor,
        output_tensor_type: args.output_tensor_type.as_deref().map(parse_type).transpose()?,
        token_embedding_type: args.token_embedding_type.as_deref().map(parse_type).transpose()?,
        tensor_types,
        prune_layers: args.prune_layers.as_deref().map(parse_layers).transpose()?.unwrap_or_default(),
        override_kv: args.override_kv.iter().map(|o| Override::parse(o)).collect::<Result<_, _>>()?,
        allow_requantize: args.allow_requantize,
        dry_run: false,
        keep_split: false,
        imatrix: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str], expected: Result<(Option<&str>, &str, Option<usize>), &str>) {
        let args: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
        match (Typed::read(&args), expected) {
            (Ok(t), Ok((output, method, threads))) => {
                assert_eq!(t.output.as_deref(), output.map(Path::new));
                assert_eq!((t.method.name, t.threads), (method, threads));
            }
            (Err(e), Err(part)) => assert!(e.render().contains(part), "{}", e.render()),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn positions_are_those_of_llama_quantize() {
        check(&["in", "out", "q4_k_m"], Ok((Some("out"), "Q4_K_M", None)));
        check(&["in", "Q8_0"], Ok((None, "Q8_0", None)));
        check(&["in", "Q8_0", "3"], Ok((None, "Q8_0", Some(3))));
        check(&["in", "out", "Q4_K", "2"], Ok((Some("out"), "Q4_K_M", Some(2))));
        check(&["in", "15"], Ok((None, "Q4_K_M", None)));
        check(&["in", "7", "2"], Ok((None, "Q8_0", Some(2))));
        check(&["in", "out", "0", "2"], Ok((Some("out"), "F32", Some(2))));
        check(&["in", "4"], Err("unknown method `4`"));
        check(&["in", "out.gguf"], Err("name a method"));
        check(&["in", "Q4_K_N"], Err("unknown method `Q4_K_N`"));
        check(&["in", "out", "Q4_K_N"], Err("Q4_K_N"));
        check(&["in", "out", "Q8_0", "x"], Err("no number of threads"));
        check(&["in", "Q8_0", "2", "3"], Err("too many"));
    }
}
