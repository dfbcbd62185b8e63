//! A models.yaml as the rest of the program sees it: every model with its settings, nothing left to look up.

use std::path::PathBuf;

use super::problem::Place;
use super::source::{Revision, Source};
use crate::base::repo_id::{RepoId, RepoIdError};
use crate::gguf::GgmlType;

/// Every model of a models.yaml, or the one of the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// The toolchain, where the file names one.
    pub llama_cpp: Option<LlamaCpp>,
    /// The models, in the order of the file.
    pub models: Vec<Model>,
}

/// One model: what to make of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Where its entry begins.
    pub place: Place,
    /// Where it comes from; a folder's path is relative to the file's folder already.
    pub source: Source,
    /// Its name in file names, in lower case.
    pub name: String,
    /// Goes before every file name.
    pub prefix: String,
    /// Proper names of the methods; none where all are excluded.
    pub methods: Vec<String>,
    /// The methods whose outputs its repository keeps where others go: its own, those that the file lists though the
    /// command line names fewer, and those of other entries for the same repository.
    pub listed: Vec<String>,
    /// How the checkpoint is converted.
    pub convert: Convert,
    /// Changes to what the methods do.
    pub quantize: Quantize,
    /// Types by tensor name; the first match wins.
    pub tensor_types: Vec<TensorType>,
    /// The importance matrix.
    pub imatrix: Option<Imatrix>,
    /// What to measure on.
    pub evaluate: Option<Evaluate>,
    /// Whether llama.cpp loads each output and generates a few tokens before anything is published.
    pub check: bool,
    /// When an output is split.
    pub split: Option<Split>,
    /// Where the outputs are published.
    pub publish: Publish,
    /// The model card.
    pub card: Card,
    /// What the card says in place of the source's own.
    pub metadata: Metadata,
}

/// What the names of a vision tower's types begin with, and those of its files: by it, llama.cpp finds them beside a model
/// (`find_best_mmproj` in its `common/download.cpp`) and takes them for none.
pub const TOWER: &str = "mmproj-";

impl Model {
    /// Name of a method's file without its ending, and of its folder: `{prefix}{model}-{method}`; of a vision tower's,
    /// `mmproj-{prefix}{model}-{type}`.
    pub fn stem(&self, method: &str) -> String {
        let (start, method) = match method.strip_prefix(TOWER) {
            Some(ty) => (TOWER, ty),
            None => ("", method),
        };
        format!("{start}{}{}-{}", self.prefix, self.name, method.to_ascii_lowercase())
    }

    /// The repository that it is published to, where one is named or has an owner: `{owner}/{prefix}{model}`.
    ///
    /// # Errors
    /// That is no name on the Hub.
    pub fn repo(&self) -> Result<Option<RepoId>, RepoIdError> {
        match (&self.publish.repo, &self.publish.owner) {
            (Some(repo), _) => Ok(Some(repo.clone())),
            (None, Some(owner)) => RepoId::parse(&format!("{owner}/{}{}", self.prefix, self.name)).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Settings by key, each of which a lower layer may give: the command line, a model's entry or the defaults.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Proper names of methods.
    pub methods: Option<Vec<String>>,
    /// Goes before every file name.
    pub prefix: Option<String>,
    /// How the checkpoint is converted.
    pub convert: Convert,
    /// Changes to what the methods do.
    pub quantize: Quantize,
    /// Types by tensor name.
    pub tensor_types: Option<Vec<TensorType>>,
    /// The importance matrix.
    pub imatrix: Option<Imatrix>,
    /// What to measure on.
    pub evaluate: Option<Evaluate>,
    /// Whether the outputs are tried out before they are published.
    pub check: Option<bool>,
    /// When an output is split.
    pub split: Option<Split>,
    /// Where the outputs are published.
    pub publish: Publish,
    /// The model card.
    pub card: Card,
    /// What the card says.
    pub metadata: Metadata,
}

/// A struct of optional fields, and how a layer of them lies over another.
macro_rules! layered {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name { $($(#[$field_meta])* pub $field: Option<$ty>,)* }

        impl $name {
            /// These values, and where there is none, those of the layer below.
            #[must_use]
            pub fn or(self, below: Self) -> Self {
                $name { $($field: self.$field.or(below.$field),)* }
            }
        }
    };
}

layered! {
    /// How the checkpoint is converted.
    Convert {
        /// The type that most tensors are converted to.
        outtype: OutType,
        /// Name of the pre-tokenizer, in place of the one that is recognised.
        pre_tokenizer: String,
        /// `general.name`, in place of the one that follows from the card.
        model_name: String,
        /// Whether llama.cpp's own converter takes the families that this program does not know; where nothing is said,
        /// it does where a llama.cpp is named.
        fallback: bool,
    }
}

layered! {
    /// Changes to what the methods do. What is not said is off.
    Quantize {
        /// All tensors get the method's default type.
        pure: bool,
        /// `output.weight` stays as it is.
        leave_output_tensor: bool,
        /// Type of `output.weight`.
        output_tensor_type: GgmlType,
        /// Type of the token embeddings.
        token_embedding_type: GgmlType,
        /// File with types by tensor name, which stand behind the model's own.
        tensor_type_file: PathBuf,
        /// Tensors that the conversion quantized are quantized again.
        allow_requantize: bool,
        /// The importance matrix is used only for tensors whose name has one of these.
        include_weights: Vec<String>,
        /// The importance matrix is not used for tensors whose name has one of these.
        exclude_weights: Vec<String>,
        /// Layers to leave out, in order, each once.
        prune_layers: Vec<u32>,
        /// Metadata to set, in the order of the file.
        override_kv: Vec<(String, KvValue)>,
    }
}

layered! {
    /// Where the outputs are published.
    Publish {
        /// User or organisation.
        owner: String,
        /// The repository.
        repo: RepoId,
        /// Whether a repository that is created is private.
        private: bool,
        /// Whether the outputs are written into the upload, and not to the disk.
        stream: bool,
        /// Whether a pull request is opened, and nothing else changed.
        create_pr: bool,
        /// Whether files of methods that are no longer listed are deleted.
        prune: bool,
        /// Whether Xet storage is used where the Hub has it.
        xet: bool,
    }
}

layered! {
    /// The model card.
    Card {
        /// File with the notice at its beginning.
        description: PathBuf,
        /// Tags that are added.
        tags: Vec<String>,
        /// Who quantized the model.
        quantized_by: String,
    }
}

layered! {
    /// What the card says about the model, in place of the source's own card.
    Metadata {
        /// The Hub's identifier of the licence.
        license: String,
        /// Its name, where the identifier is `other`.
        license_name: String,
        /// Where it stands.
        license_link: String,
        /// ISO 639 codes.
        languages: Vec<String>,
        /// Datasets that the model was trained on.
        datasets: Vec<String>,
        /// The task.
        pipeline_tag: String,
        /// The library.
        library_name: String,
        /// The model that this one comes from, where the source is not it.
        base_model: RepoId,
    }
}

/// What `--outtype` knows.
#[allow(missing_docs, reason = "the variants are the reference's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutType {
    F32,
    F16,
    BF16,
    Q8_0,
    /// The type of the source, as far as it has 16 bits.
    Auto,
}

impl OutType {
    /// Every output type.
    pub const ALL: [OutType; 5] = [OutType::F32, OutType::F16, OutType::BF16, OutType::Q8_0, OutType::Auto];

    /// As the command line has it.
    pub const fn name(self) -> &'static str {
        match self {
            OutType::F32 => "f32",
            OutType::F16 => "f16",
            OutType::BF16 => "bf16",
            OutType::Q8_0 => "q8_0",
            OutType::Auto => "auto",
        }
    }
}

/// A type for the tensors whose name matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Regular expression; it compiles.
    pub pattern: String,
    /// The type.
    pub ty: GgmlType,
}

/// A value of the metadata.
#[allow(missing_docs, reason = "the variants are their types")]
#[derive(Clone, Debug, PartialEq)]
pub enum KvValue {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
}

/// Where an importance matrix comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imatrix {
    /// It is computed from a text.
    Dataset {
        /// The text.
        text: Dataset,
        /// How many chunks of it; all if it is not said.
        chunks: Option<u32>,
    },
    /// It is a file.
    File {
        /// Where it is.
        path: PathBuf,
        /// How it was named, which becomes part of the outputs.
        given: String,
    },
    /// It is downloaded.
    Url(String),
    /// It is in a repository on the Hub.
    Repo {
        /// The repository.
        repo: RepoId,
        /// Branch, tag or commit; `main` if it is not said.
        revision: Option<Revision>,
        /// Its path there; the only one there if it is not said.
        file: Option<String>,
    },
}

/// A text to compute or to measure on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// The one that comes with the program.
    BuiltIn,
    /// A file.
    File(PathBuf),
    /// It is downloaded.
    Url(String),
}

/// What to measure of the outputs, on what, and what they must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluate {
    /// The text.
    pub dataset: Dataset,
    /// How many chunks of it, at most.
    pub chunks: u32,
    /// Tokens in a chunk.
    pub context: u32,
    /// Whether the KL divergence is measured, or the perplexity alone.
    pub kl_divergence: bool,
    /// What an output must reach to be published.
    pub require: Require,
}

impl Default for Evaluate {
    /// Some 4,000 predictions: the mean of their KL divergence is known to two or three percent.
    fn default() -> Self {
        let dataset = Dataset::BuiltIn;
        Evaluate { dataset, chunks: 16, context: 512, kl_divergence: true, require: Require::default() }
    }
}

impl Evaluate {
    /// Predictions that are looked at, at most: those in the second half of each chunk, but for the last token's, which
    /// has no successor.
    pub fn predictions(&self) -> u64 {
        u64::from(self.chunks) * u64::from(self.context - 1 - self.context / 2)
    }
}

/// What an output must reach to be published. What is not said is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Require {
    /// Mean of the KL divergence, at most.
    pub mean_kld: Option<f64>,
    /// Its 99th percentile, at most.
    pub kld_99: Option<f64>,
    /// Share of the predictions with the same most likely token, at least.
    pub same_top: Option<f64>,
    /// Perplexity, at most.
    pub perplexity: Option<f64>,
    /// Perplexity in that of the unquantized model, at most.
    pub perplexity_ratio: Option<f64>,
}

impl Require {
    /// Whether it asks for a comparison with the unquantized model.
    pub fn compares(&self) -> bool {
        [self.mean_kld, self.kld_99, self.same_top, self.perplexity_ratio].iter().any(Option::is_some)
    }
}

/// When an output is split into several files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Bytes of one file, at most.
    Size(u64),
    /// Tensors of one file, at most.
    Tensors(u32),
}

/// Which llama.cpp the steps take that need one, and where it comes from. What is not said is what is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlamaCpp {
    /// A release, `b11312` or `v0.5.0`; beside a source, what that source is.
    pub tag: Option<String>,
    /// A commit, all 40 digits; beside a tag or a source, what that has to be or is.
    pub commit: Option<String>,
    /// Where its source is, in place of GitHub.
    pub source: Option<LlamaSource>,
    /// The folder of the source that is llama.cpp's.
    pub subfolder: Option<String>,
    /// Whether it is built for this processor alone.
    pub native: bool,
    /// A folder that has its programs, which are used as they are.
    pub installed: Option<PathBuf>,
    /// The Python that its converter runs in.
    pub python: Option<PathBuf>,
}

/// Where llama.cpp's source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LlamaSource {
    /// A folder, or an archive.
    Path(PathBuf),
    /// The address of an archive.
    Url(String),
}
