//! models.yaml as it is written: what each key may hold. The JSON Schema is generated from here; the descriptions are
//! what editors show.

use super::model::OutType;
use super::read::{List, section};
use super::scalar::{
    Bound, Context, Count, DatasetName, FilePath, KvOverrides, LlamaCommit, LlamaPlace, LlamaTag, Method,
    Owner, Pattern, PreTokenizer, Prefix, Share, Size, Stem, Subfolder, TensorTypeName, Url, Version,
};
use super::source::{Revision, Source};
use crate::base::repo_id::RepoId;

section! {
    /// Models to quantize, how, and where they go.
    RawConfig {
        /// Version of this file's format. Always 1.
        #[schemars(required)]
        #[allow(dead_code, reason = "there is one version; reading it is all that it is for")]
        version: Version,
        /// The llama.cpp toolchain, for the steps that need one.
        llama_cpp: RawLlamaCpp,
        /// What holds for every model that does not say otherwise.
        defaults: RawSettings,
        /// The models, one entry each.
        #[schemars(required)]
        models: List<RawModel>,
        /// Files not to make, though a list of methods names them.
        exclude: List<RawExclude>,
    } requires ["version" = "1", "models" = "[{ source: owner/name }]"]
}

section! {
    /// One model.
    RawModel {
        /// Where it comes from: `owner/name` or `owner/name@revision` on the Hub, or `./folder` beside this file.
        #[schemars(required)]
        source: Source,
        /// Branch, tag or commit on the Hub.
        revision: Revision,
        /// What file names call the model; the repository's or folder's own name if it is not said.
        name: Stem,
    } requires ["source" = "owner/name"] and settings: RawSettings
}

section! {
    /// What can be said for all models or for one. What a model says wins over the defaults, key by key.
    RawSettings {
        /// The quantization methods, one output file each; `mmproj: F16` (or F32, BF16, Q8_0) is the vision tower of a model
        /// that sees.
        methods: List<Method>,
        /// Goes before every file name: `{prefix}{model}-{method}.gguf`.
        prefix: Prefix,
        /// How the checkpoint is converted.
        convert: RawConvert,
        /// Changes to what the methods do, as `llama-quantize` has them.
        quantize: RawQuantize,
        /// Types for tensors whose name matches; the first match wins.
        tensor_types: List<RawTensorType>,
        /// The importance matrix: one of `dataset`, `file`, `url` and `repo`.
        imatrix: RawImatrix,
        /// Measure the outputs against the unquantized model.
        evaluate: RawEvaluate,
        /// Have llama.cpp load each output and generate a few tokens before anything is published.
        check: bool,
        /// Split large outputs into several files.
        split: RawSplit,
        /// Where the outputs are published.
        publish: RawPublish,
        /// The model card.
        card: RawCard,
        /// What the card says about the model, in place of what the source's own card says.
        metadata: RawMetadata,
    }
}

section! {
    /// How the checkpoint is converted.
    RawConvert {
        /// The type that most tensors are converted to before they are quantized (`--outtype`).
        outtype: OutType,
        /// Name of the pre-tokenizer, for a tokenizer that is not recognised.
        pre_tokenizer: PreTokenizer,
        /// The model's name in the metadata (`general.name`).
        model_name: String,
        /// Leave families that this program does not know to llama.cpp's own converter; `true` where a `llama_cpp` is
        /// named.
        fallback: bool,
    }
}

section! {
    /// Changes to what the methods do.
    RawQuantize {
        /// Quantize all tensors to the method's default type.
        pure: bool,
        /// Leave `output.weight` as it is.
        leave_output_tensor: bool,
        /// Type of `output.weight`.
        output_tensor_type: TensorTypeName,
        /// Type of the token embeddings.
        token_embedding_type: TensorTypeName,
        /// File with a type for tensors by name, one `pattern=type` a line; they stand behind those of `tensor_types`.
        tensor_type_file: FilePath,
        /// Quantize tensors again that the conversion quantized (`outtype: q8_0`).
        allow_requantize: bool,
        /// Use the importance matrix only for tensors whose name has one of these.
        include_weights: List<String>,
        /// Do not use the importance matrix for tensors whose name has one of these.
        exclude_weights: List<String>,
        /// Numbers of the layers to leave out.
        prune_layers: List<u32>,
        /// Metadata to set in the outputs, by key.
        override_kv: KvOverrides,
    }
}

section! {
    /// A type for tensors by name.
    RawTensorType {
        /// Regular expression that is searched in the tensor's name.
        #[schemars(required)]
        r#match: Pattern,
        /// The type that they get.
        #[schemars(required)]
        r#type: TensorTypeName,
    } requires ["match" = "attn_v", "type" = "Q8_0"]
}

section! {
    /// An importance matrix: one of `dataset`, `file`, `url` and `repo`.
    RawImatrix {
        /// Text to compute it from: a file, an https address, or `default` for the one that comes with the program.
        dataset: DatasetName,
        /// How many chunks of the dataset to use.
        chunks: Count,
        /// A finished matrix, on this machine; with `repo`, its name in the repository.
        file: FilePath,
        /// A finished matrix, by its https address.
        url: Url,
        /// A finished matrix, in a repository on the Hub.
        repo: RepoId,
        /// With `repo`: branch, tag or commit.
        revision: Revision,
    }
}

section! {
    /// Measure the outputs against the unquantized model, with llama.cpp's llama-perplexity.
    RawEvaluate {
        /// Text to measure on: a file, an https address, or `default` for the one that comes with the program, which is
        /// another one than that of importance matrices. That one if it is not said.
        dataset: DatasetName,
        /// How many chunks of it to use, at most. 16 if it is not said.
        chunks: Count,
        /// Tokens in a chunk; the predictions in its second half count. 512 if it is not said.
        context: Context,
        /// Measure the KL divergence, not only the perplexity. True if it is not said.
        kl_divergence: bool,
        /// What an output must reach to be published.
        require: RawRequire,
    }
}

section! {
    /// What an output must reach to be published; the job publishes the others.
    RawRequire {
        /// Mean of the KL divergence, at most.
        mean_kld: Bound,
        /// The KL divergence that 99 % of the predictions stay below, at most.
        kld_99: Bound,
        /// Share of the predictions whose most likely token is the unquantized model's, at least, such as 0.9.
        same_top: Share,
        /// Perplexity, at most.
        perplexity: Bound,
        /// Perplexity divided by that of the unquantized model, at most, such as 1.05.
        perplexity_ratio: Bound,
    }
}

section! {
    /// When an output is split: one of `max_size` and `max_tensors`.
    RawSplit {
        /// Largest size of one file, such as `45GB`.
        max_size: Size,
        /// Most tensors in one file.
        max_tensors: Count,
    }
}

section! {
    /// Where the outputs are published.
    RawPublish {
        /// User or organisation that owns the repositories.
        owner: Owner,
        /// The repository, `owner/name`; `{owner}/{prefix}{model}` if it is not said.
        repo: RepoId,
        /// Whether a repository that is created is private.
        private: bool,
        /// Write the outputs straight into the upload: neither they nor the source's weights take space on the disk.
        stream: bool,
        /// Open a pull request, in place of a commit.
        create_pr: bool,
        /// Delete files of methods that are no longer listed, where this program made them.
        prune: bool,
        /// Use Xet storage where the Hub has it; if not, Git LFS.
        xet: bool,
    }
}

section! {
    /// The model card.
    RawCard {
        /// File with the notice that the card begins with.
        description: FilePath,
        /// Tags that are added to the card.
        tags: List<String>,
        /// Who quantized the model.
        quantized_by: String,
    }
}

section! {
    /// What the card says about the model.
    RawMetadata {
        /// Licence, by the Hub's identifier (`apache-2.0`, `other`).
        license: String,
        /// The licence's name, where `license` is `other`.
        license_name: String,
        /// Where the licence stands, where `license` is `other`.
        license_link: String,
        /// Languages, by their ISO 639 codes.
        languages: List<String>,
        /// Datasets that the model was trained on.
        datasets: List<String>,
        /// The task, such as `text-generation`.
        pipeline_tag: String,
        /// The library that the card names.
        library_name: String,
        /// The model that this one comes from, where the source is not it.
        base_model: RepoId,
    }
}

section! {
    /// Files not to make.
    RawExclude {
        /// The model's source, as its entry gives it.
        #[schemars(required)]
        source: Source,
        /// The method.
        #[schemars(required)]
        method: Method,
    } requires ["source" = "owner/name", "method" = "Q8_0"]
}

section! {
    /// The llama.cpp toolchain: a release or commit on GitHub, another source, or what is installed.
    RawLlamaCpp {
        /// A release, such as `b11312`; beside `source`, what that source is.
        tag: LlamaTag,
        /// A commit, all 40 digits. Beside `tag`, what the tag has to be.
        commit: LlamaCommit,
        /// Where the source is, in place of GitHub: a folder, an archive (.tar.gz) beside this file, or its https address.
        source: LlamaPlace,
        /// The folder of the source that has llama.cpp's CMakeLists.txt, where that is not its root.
        subfolder: Subfolder,
        /// Build it for this processor alone, in place of taking a release's programs.
        native: bool,
        /// A folder with llama.cpp's programs, which are used as they are.
        installed: FilePath,
        /// The Python that llama.cpp's own converter runs in, with all that it imports; else an environment is made for it.
        python: FilePath,
    }
}
