//! What may be typed: the command line, as clap reads it. Nothing is checked against the world here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Quantization as code: Hugging Face checkpoints to GGUF, many methods in one pass
#[derive(Debug, Parser)]
#[command(name = "jamph-quantizer", version, arg_required_else_help = true, max_term_width = 110)]
pub(super) struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub(super) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// One JSON object a line instead of text: events, then the result
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Warnings, errors and the result only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Details as well
    #[arg(long, short, global = true)]
    pub(super) verbose: bool,
    /// Threads that compute [default: one a core]
    #[arg(long, global = true, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Most memory to use for weights, as 512MB or 2GiB [default: a quarter of what is free, at most 4 GiB]
    #[arg(long, global = true, value_name = "SIZE")]
    pub(super) memory: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The main job: every model of a models.yaml whose outputs are not up to date
    Run(RunArgs),
    /// One model without a models.yaml
    Process(Box<ProcessArgs>),
    /// What `run` would do, with exact sizes, before any weight is read
    Plan(PlanArgs),
    /// What came of the jobs of a matrix: one summary, one issue, files of a release
    Report(ReportArgs),
    /// Publish an output's folder, or several of one model, in one commit
    Upload(UploadArgs),
    /// A checkpoint to GGUF, as `convert_hf_to_gguf.py` does it
    Convert(ConvertArgs),
    /// A GGUF file to another type, as `llama-quantize` does it
    Quantize(QuantizeArgs),
    /// An importance matrix: how much each weight's input counts, computed by llama-imatrix over a text
    Imatrix(ImatrixArgs),
    /// How far outputs are from the unquantized model: perplexity and KL divergence, measured by llama-perplexity
    Evaluate(EvaluateArgs),
    /// Metadata, tensors, types and sizes of a GGUF or safetensors file or a checkpoint
    Inspect(InspectArgs),
    /// llama.cpp's programs, for what the engine does not do itself
    Toolchain(ToolchainArgs),
    /// Check a models.yaml and say everything that is wrong with it
    Validate(ConfigArgs),
    /// Say what is missing on this machine: tokens and their rights, folders, disk
    Doctor(ConfigArgs),
    /// Which architectures are converted natively, and which by llama.cpp's own converter
    Families,
    /// Print the JSON Schema of models.yaml
    Schema,
    /// Write a starter models.yaml, and a workflow for GitHub Actions
    Init(InitArgs),
}

/// `toolchain`.
#[derive(Debug, Args)]
pub(super) struct ToolchainArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: ToolchainCommand,
}

/// The commands of `toolchain`.
#[derive(Debug, Subcommand)]
pub(super) enum ToolchainCommand {
    /// Get a llama.cpp: from the cache, a release's own programs, or built
    Install(LlamaArgs),
    /// The builds in the cache, the last used first
    List,
    /// A name for the build that `install` gives, for a cache of continuous integration (`actions/cache`)
    Key(LlamaArgs),
    /// Remove builds from the cache
    Prune(PruneArgs),
}

/// Which llama.cpp.
#[derive(Debug, Default, Args)]
pub(super) struct LlamaArgs {
    /// A release, such as b11312 or v0.5.0, or `latest` [default: what models.yaml says, else b11312]
    #[arg(value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// Where `llama_cpp:` is looked for, and beside which jamph.lock stands
    #[arg(long, value_name = "MODELS_YAML", default_value = "models.yaml")]
    pub(super) config: PathBuf,
    /// A commit, all 40 digits; with a tag, what the tag has to be
    #[arg(long, value_name = "COMMIT")]
    pub(super) commit: Option<String>,
    /// The source in place of GitHub's: a folder, an archive (.tar.gz), or its https address
    #[arg(long, value_name = "PLACE")]
    pub(super) source: Option<String>,
    /// The folder of the source that has llama.cpp's CMakeLists.txt
    #[arg(long, value_name = "FOLDER", requires = "source")]
    pub(super) subfolder: Option<String>,
    /// Build it for this processor alone
    #[arg(long)]
    pub(super) native: bool,
}

/// `toolchain prune`.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Keep so many that were used last
    #[arg(long, value_name = "N", required_unless_present = "older_than")]
    pub(super) keep: Option<usize>,
    /// Remove only what was not used for so long, as 30d, 12h or 2w
    #[arg(long, value_name = "AGE")]
    pub(super) older_than: Option<String>,
}

/// Which models.yaml.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The file
    #[arg(default_value = "models.yaml", value_name = "MODELS_YAML")]
    pub(super) config: PathBuf,
}

/// What changes a run.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct WorkArgs {
    /// Methods, separated by commas, with mmproj:F16 for pictures; `run` takes those of the models.yaml if none are named
    #[arg(long, value_delimiter = ',', value_name = "METHODS")]
    pub(super) methods: Vec<String>,
    /// Make outputs again that are up to date
    #[arg(long)]
    pub(super) force: bool,
    /// Plan only; write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep downloaded sources
    #[arg(long)]
    pub(super) keep_files: bool,
    /// Do not measure what quantizing loses
    #[arg(long)]
    pub(super) no_stats: bool,
    /// Where outputs go [default: output]
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Whether a model's outputs are uploaded while the next model is worked on [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) async_upload: Option<bool>,
    /// Write what came of it as JSON, for `report`
    #[arg(long, value_name = "FILE")]
    pub(super) result: Option<PathBuf>,
    /// Write what came of it for people, as Markdown [default in GitHub Actions: in the runner's own folder]
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// What llama.cpp does.
    #[command(flatten)]
    pub(super) tools: ToolArgs,
    /// How outputs are published.
    #[command(flatten)]
    pub(super) publish: PublishArgs,
}

/// What llama.cpp does.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "llama.cpp")]
pub(super) struct ToolArgs {
    /// Have llama.cpp load each output and generate a few tokens before anything is published
    #[arg(long)]
    pub(super) check: bool,
    /// Leave families that are not known here to llama.cpp's own converter [default: where `llama_cpp` or
    /// JAMPH_LLAMA_CPP names one]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) fallback: Option<bool>,
}

/// How outputs are published.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Publishing")]
pub(super) struct PublishArgs {
    /// Leave the outputs on this machine, and do not ask what is published
    #[arg(long)]
    pub(super) skip_upload: bool,
    /// Make repositories that are not there yet private
    #[arg(long)]
    pub(super) private: bool,
    /// Open a pull request, in place of a commit
    #[arg(long)]
    pub(super) create_pr: bool,
    /// Delete published files of methods that are no longer listed
    #[arg(long)]
    pub(super) prune: bool,
    /// Write the outputs straight into the upload: no weights and no outputs on the disk [default: where the disk is
    /// too small]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) stream: Option<bool>,
    /// Upload through Git LFS, also where the Hub has Xet storage
    #[arg(long)]
    pub(super) no_xet: bool,
}

/// `upload`.
#[derive(Debug, Args)]
pub(super) struct UploadArgs {
    /// An output's folder, or one that holds several of one model
    #[arg(value_name = "FOLDER")]
    pub(super) folder: PathBuf,
    /// The repository
    #[arg(long, value_name = "OWNER/NAME")]
    pub(super) repo: String,
    /// Make the repository private where it is not there yet
    #[arg(long)]
    pub(super) private: bool,
    /// Open a pull request, in place of a commit
    #[arg(long)]
    pub(super) create_pr: bool,
    /// Upload through Git LFS, also where the Hub has Xet storage
    #[arg(long)]
    pub(super) no_xet: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Which models.yaml.
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Only the model of this name or source
    #[arg(long, value_name = "MODEL")]
    pub(super) only: Option<String>,
    /// Only one job of the matrix that `plan --matrix` gives
    #[arg(long, value_name = "ID", conflicts_with = "only")]
    pub(super) job: Option<String>,
    /// What changes the run.
    #[command(flatten)]
    pub(super) work: WorkArgs,
}

/// `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Which models.yaml.
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Only the model of this name or source
    #[arg(long, value_name = "MODEL")]
    pub(super) only: Option<String>,
    /// Only these methods, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "METHODS")]
    pub(super) methods: Vec<String>,
    /// Where outputs go [default: output]
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Plan as if nothing were there
    #[arg(long)]
    pub(super) force: bool,
    /// Print a matrix for GitHub Actions: a job for each repository that has something to do, 256 at most
    #[arg(long)]
    pub(super) matrix: bool,
    /// Write the plan as a comment on the pull request that this runs for, in place of an earlier one
    #[arg(long)]
    pub(super) comment: bool,
    /// What llama.cpp does.
    #[command(flatten)]
    pub(super) tools: ToolArgs,
    /// How outputs are published.
    #[command(flatten)]
    pub(super) publish: PublishArgs,
}

/// `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Files that `run --result` wrote, or folders that have such
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// The matrix that `plan --matrix` printed: jobs without a result have failed
    #[arg(long, value_name = "FILE")]
    pub(super) matrix: Option<PathBuf>,
    /// The models.yaml that the jobs are of
    #[arg(long, value_name = "MODELS_YAML", default_value = "models.yaml")]
    pub(super) config: PathBuf,
    /// Write what came of it for people, as Markdown [default in GitHub Actions: in the runner's own folder]
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Keep an issue open on GitHub while jobs fail, and close it when none does
    #[arg(long)]
    pub(super) track_issue: bool,
    /// Attach the report, checksums and metadata to a release on GitHub [default: the one that this runs for]
    #[arg(long, value_name = "TAG", num_args = 0..=1, require_equals = true)]
    pub(super) release: Option<Option<String>>,
}

/// `process`.
#[derive(Debug, Args)]
pub(super) struct ProcessArgs {
    /// owner/name[@revision] on the Hub, or a folder
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// What changes the run.
    #[command(flatten)]
    pub(super) work: WorkArgs,
    /// Prefix of the outputs' names
    #[arg(long, value_name = "TEXT")]
    pub(super) prefix: Option<String>,
    /// Name of the model in the outputs' names [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// The model that the card names as its base [default: the source]
    #[arg(long, value_name = "OWNER/NAME")]
    pub(super) source_model: Option<String>,
    /// Licence identifier for the card [default: the source's]
    #[arg(long, value_name = "ID")]
    pub(super) license: Option<String>,
    /// Library for the card [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(super) library: Option<String>,
    /// Tags for the card, separated by commas, beside the source's
    #[arg(long, value_delimiter = ',', value_name = "TAGS")]
    pub(super) tags: Vec<String>,
    /// Datasets for the card, separated by commas [default: the source's]
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    pub(super) datasets: Vec<String>,
    /// Repository to publish to [default: {owner}/{prefix}{name}, where JAMPH_OWNER is set]
    #[arg(long, value_name = "OWNER/NAME")]
    pub(super) repo: Option<String>,
    /// Compute the importance matrix over a text: a file, an https address, or `default` for the one that comes along
    #[arg(long, value_name = "TEXT", conflicts_with = "imatrix")]
    pub(super) imatrix_dataset: Option<String>,
    /// How many chunks of the text to use, at most [default: all]
    #[arg(long, value_name = "N", requires = "imatrix_dataset", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) imatrix_chunks: Option<u32>,
    /// When outputs are split.
    #[command(flatten)]
    pub(super) split: SplitArgs,
    /// Changes to every method.
    #[command(flatten)]
    pub(super) recipe: RecipeArgs,
}

/// `convert`'s output types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the reference's names")]
pub(super) enum OutTypeArg {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    Auto,
}

/// `convert`.
#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// The checkpoint's folder; or a LoRA adapter's, or its repository as owner/name
    #[arg(value_name = "FOLDER")]
    pub(super) folder: PathBuf,
    /// Base model of a LoRA adapter, of which config.json is read: a folder, or owner/name [default: the repository that
    /// the adapter names]
    #[arg(long, value_name = "SOURCE", conflicts_with = "mmproj")]
    pub(super) base: Option<String>,
    /// Type of the weights; auto: the source's 16-bit type [default: auto; of a LoRA adapter f32]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(super) outtype: Option<OutTypeArg>,
    /// File to write; {ftype} is replaced [default: a name from the metadata, in the folder, or here if that is on the
    /// Hub]
    #[arg(long, value_name = "FILE")]
    pub(super) outfile: Option<PathBuf>,
    /// Convert what makes tokens of pictures, as a file of its own for llama.cpp, in place of the text model
    #[arg(long, conflicts_with_all = ["pre_tokenizer", "split_max_size", "split_max_tensors"])]
    pub(super) mmproj: bool,
    /// Name of the model in the metadata
    #[arg(long, value_name = "NAME")]
    pub(super) model_name: Option<String>,
    /// Pre-tokenizer, where it is not recognised
    #[arg(long, value_name = "NAME")]
    pub(super) pre_tokenizer: Option<String>,
    /// When the output is split.
    #[command(flatten)]
    pub(super) split: SplitArgs,
    /// Say what would be written; write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// When an output is split into several files.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Several files")]
pub(super) struct SplitArgs {
    /// Split into files of at most this size, as 45GB or 500M
    #[arg(long, value_name = "SIZE", conflicts_with = "split_max_tensors")]
    pub(super) split_max_size: Option<String>,
    /// Split into files of at most so many tensors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) split_max_tensors: Option<u32>,
}

/// What changes a method: the options of `llama-quantize`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Changes to the method")]
pub(super) struct RecipeArgs {
    /// The method's own type for every tensor, no mixture
    #[arg(long)]
    pub(super) pure: bool,
    /// Leave output.weight as it is
    #[arg(long)]
    pub(super) leave_output_tensor: bool,
    /// Type of output.weight
    #[arg(long, value_name = "TYPE")]
    pub(super) output_tensor_type: Option<String>,
    /// Type of the token embeddings
    #[arg(long, value_name = "TYPE")]
    pub(super) token_embedding_type: Option<String>,
    /// Type of the tensors whose name matches, as attn_v=q8_0; the first match counts
    #[arg(long, value_name = "REGEX=TYPE")]
    pub(super) tensor_type: Vec<String>,
    /// File with one REGEX=TYPE a line
    #[arg(long, value_name = "FILE")]
    pub(super) tensor_type_file: Option<PathBuf>,
    /// Layers to leave out, separated by commas
    #[arg(long, value_name = "LAYERS")]
    pub(super) prune_layers: Option<String>,
    /// Metadata to set, as llama.context_length=int:4096
    #[arg(long, value_name = "KEY=TYPE:VALUE")]
    pub(super) override_kv: Vec<String>,
    /// Quantize tensors again that are quantized already
    #[arg(long)]
    pub(super) allow_requantize: bool,
    /// Importance matrix, as llama-imatrix writes it
    #[arg(long, value_name = "FILE")]
    pub(super) imatrix: Option<PathBuf>,
    /// Use the importance matrix only for tensors whose name has this; may be given more than once
    #[arg(long, value_name = "TEXT", requires = "imatrix", conflicts_with = "exclude_weights")]
    pub(super) include_weights: Vec<String>,
    /// Do not use the importance matrix for tensors whose name has this; may be given more than once
    #[arg(long, value_name = "TEXT", requires = "imatrix")]
    pub(super) exclude_weights: Vec<String>,
}

/// `quantize`.
#[derive(Debug, Args)]
#[command(override_usage = "jamph-quantizer quantize [OPTIONS] <IN.gguf> [OUT.gguf] <METHOD> [THREADS]")]
pub(super) struct QuantizeArgs {
    /// The file, the file to write [default: ggml-model-METHOD.gguf beside it], the method or its number, and the number of threads
    #[arg(required = true, num_args = 2..=4, value_name = "ARGS")]
    pub(super) args: Vec<String>,
    /// Changes to the method.
    #[command(flatten)]
    pub(super) recipe: RecipeArgs,
    /// Split the output as the input is split
    #[arg(long)]
    pub(super) keep_split: bool,
    /// Do not measure what quantizing loses
    #[arg(long)]
    pub(super) no_stats: bool,
    /// Say what would be written; write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `imatrix`.
#[derive(Debug, Args)]
pub(super) struct ImatrixArgs {
    /// owner/name[@revision] on the Hub, a checkpoint's folder, or a GGUF file in 16 or 32 bits
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// The text: a file, an https address, or `default` for the one that comes along
    #[arg(long, short, value_name = "TEXT", default_value = "default")]
    pub(super) dataset: String,
    /// How many chunks of the text to use, at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) chunks: Option<u32>,
    /// File to write [default: the model's name with -imatrix.gguf]
    #[arg(long, short, value_name = "FILE")]
    pub(super) outfile: Option<PathBuf>,
    /// Keep downloaded sources
    #[arg(long)]
    pub(super) keep_files: bool,
    /// Leave families that are not known here to llama.cpp's own converter [default: where `llama_cpp` or
    /// JAMPH_LLAMA_CPP names one]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) fallback: Option<bool>,
    /// Where `llama_cpp:` is looked for, and beside which jamph.lock stands
    #[arg(long, value_name = "MODELS_YAML", default_value = "models.yaml")]
    pub(super) config: PathBuf,
}

/// `evaluate`.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// GGUF files, folders of them, outputs' folders, or folders of such
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// The unquantized model: a GGUF file in 16 or 32 bits, a checkpoint's folder, or owner/name[@revision] on the Hub
    #[arg(long, short, value_name = "SOURCE")]
    pub(super) base: Option<String>,
    /// The text: a file, an https address, or `default` for the one that comes along
    #[arg(long, short, value_name = "TEXT", default_value = "default")]
    pub(super) dataset: String,
    /// How many chunks of the text to use, at most [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) chunks: Option<u32>,
    /// Tokens in a chunk; the predictions in its second half count [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(super) context: Option<u32>,
    /// Measure the perplexity alone; that needs no --base
    #[arg(long)]
    pub(super) no_kl_divergence: bool,
    /// What every file must reach, as mean_kld=0.05, kld_99=0.5, same_top=0.95, perplexity=20, perplexity_ratio=1.02
    #[arg(long, value_name = "FIGURE=BOUND", value_delimiter = ',')]
    pub(super) require: Vec<String>,
    /// Write size against quality as a picture (SVG)
    #[arg(long, value_name = "FILE")]
    pub(super) picture: Option<PathBuf>,
    /// Measure again what outputs' metadata has figures of
    #[arg(long)]
    pub(super) force: bool,
    /// Where `llama_cpp:` is looked for, and beside which jamph.lock stands
    #[arg(long, value_name = "MODELS_YAML", default_value = "models.yaml")]
    pub(super) config: PathBuf,
}

/// `inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A GGUF file, a safetensors file, or a checkpoint's folder
    #[arg(value_name = "FILE")]
    pub(super) path: PathBuf,
    /// Every tensor, and arrays in full
    #[arg(long)]
    pub(super) all: bool,
}

/// `init`.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The file to write
    #[arg(default_value = "models.yaml", value_name = "MODELS_YAML")]
    pub(super) config: PathBuf,
    /// Write a workflow for GitHub Actions into .github/workflows, too; a models.yaml that is there stays
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_missing_value = "schedule", require_equals = true)]
    pub(super) workflow: Option<WorkflowArg>,
    /// Replace what is there
    #[arg(long)]
    pub(super) force: bool,
}

/// When a workflow that `init` writes runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum WorkflowArg {
    /// Every week, when models.yaml changes, by hand
    Schedule,
    /// When a release is published
    Release,
    /// On pull requests that change models.yaml: the plan
    PullRequest,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
