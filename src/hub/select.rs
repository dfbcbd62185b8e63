//! Which files of a repository make a checkpoint.
//!
//! Weights are what the reference's converter would open: the shards that `model.safetensors.index.json` names, else
//! `model*.safetensors`, at the root; of Mistral's own format `consolidated*.safetensors`, where it is the only one. With them come the files that conversion and the model card read. No pickle,
//! no other format, no folder of another format (`onnx/`, `original/`) ever.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::error::HubError;
use crate::base::file_name::{is_licence, is_safe_path};
use crate::base::repo_id::RepoId;
use crate::safetensors::{PARAMS, ShardIndex, shard_prefix};

/// The index of sharded weights.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Longest file beside the weights, as [`Checkpoint`](crate::checkpoint::Checkpoint) reads them.
const LONGEST_SMALL: u64 = 1 << 28;

/// A file of a repository at one commit, as the Hub lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Path in the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, for files in LFS or Xet storage (all weights are).
    pub sha256: Option<String>,
    /// Git's name of the blob: of the file itself, where there is no SHA-256.
    pub blob: String,
}

impl RemoteFile {
    /// Whether it holds weights.
    pub fn is_weights(&self) -> bool {
        self.path.ends_with(".safetensors")
    }
}

/// The files beside the weights.
pub(super) fn small_files(repo: &RepoId, tree: &[RemoteFile]) -> Result<Vec<RemoteFile>, HubError> {
    let mut chosen = Vec::new();
    for file in tree.iter().filter(|f| is_wanted(&f.path)) {
        if file.size <= LONGEST_SMALL {
            chosen.push(file.clone());
        } else if is_read(&file.path) {
            return Err(HubError::TooLong { repo: repo.clone(), path: file.path.clone(), size: file.size });
        }
    }
    check(repo, &chosen)?;
    Ok(chosen)
}

/// The shards, given the index where the repository has one.
pub(super) fn weights(
    repo: &RepoId,
    tree: &[RemoteFile],
    index: Option<&ShardIndex>,
) -> Result<Vec<RemoteFile>, HubError> {
    let chosen: Vec<RemoteFile> = match index {
        Some(index) => {
            let find = |shard: &str| {
                let missing = || HubError::MissingShard { repo: repo.clone(), shard: shard.to_owned() };
                tree.iter().find(|f| f.path == shard).cloned().ok_or_else(missing)
            };
            index.shards().into_iter().map(find).collect::<Result<_, _>>()?
        }
        None => {
            let prefix = shard_prefix(tree.iter().map(|f| f.path.as_str()));
            let is_shard = |f: &&RemoteFile| f.path.starts_with(prefix) && f.path.ends_with(".safetensors");
            tree.iter().filter(is_shard).filter(|f| !f.path.contains('/')).cloned().collect()
        }
    };
    if chosen.is_empty() {
        let repo = repo.clone();
        let first = |ends: &[&str]| tree.iter().find(|f| ends.iter().any(|e| f.path.ends_with(e)));
        return Err(match (first(&[".bin", ".pt", ".pth", ".ckpt"]), first(&[".gguf"])) {
            (Some(file), _) => HubError::PickleOnly { repo, file: file.path.clone() },
            (None, Some(file)) => HubError::GgufOnly { repo, file: file.path.clone() },
            (None, None) => HubError::NoWeights { repo },
        });
    }
    // Git stores no such blob; and without a SHA-256 a file is held in memory to be verified.
    if let Some(file) = chosen.iter().find(|f| f.sha256.is_none() && f.size > LONGEST_SMALL) {
        return Err(HubError::TooLong { repo: repo.clone(), path: file.path.clone(), size: file.size });
    }
    check(repo, &chosen)?;
    Ok(chosen)
}

/// Whether a file belongs to a checkpoint, weights aside.
fn is_wanted(path: &str) -> bool {
    // The two folders that the reference looks into.
    if let Some((folder, "config.json")) = path.split_once('/') {
        return folder.ends_with("_Pooling");
    }
    if let Some(name) = path.strip_prefix("additional_chat_templates/") {
        return name.ends_with(".jinja") && !name.contains('/');
    }
    !path.contains('/') && (is_read(path) || path.ends_with(".json"))
}

/// Whether conversion or the model card reads it.
fn is_read(path: &str) -> bool {
    const NAMES: [&str; 11] = [
        "README.md",
        "config.json",
        PARAMS,
        "tekken.json",
        "generation_config.json",
        "merges.txt",
        "vocab.json",
        "vocab.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tiktoken.model",
    ];
    const STARTS: [&str; 2] = ["tokenizer.", "tokenizer_config."];
    const ENDS: [&str; 3] = [".jinja", ".tiktoken", ".safetensors.index.json"];
    NAMES.contains(&path)
        || is_licence(path)
        || path.starts_with("tokenization_") && path.ends_with(".py")
        || STARTS.iter().any(|s| path.starts_with(s))
        || ENDS.iter().any(|e| path.ends_with(e))
}

fn check(repo: &RepoId, files: &[RemoteFile]) -> Result<(), HubError> {
    let mut seen = HashSet::new();
    for file in files {
        if !is_safe_path(&file.path) {
            return Err(HubError::HostilePath { repo: repo.clone(), path: file.path.clone() });
        }
        if !seen.insert(file.path.to_lowercase()) {
            return Err(HubError::SamePath { repo: repo.clone(), path: file.path.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo() -> RepoId {
        RepoId::parse("o/n").unwrap()
    }

    fn tree(paths: &[&str]) -> Vec<RemoteFile> {
        let file =
            |p: &&str| RemoteFile { path: (*p).to_owned(), size: 1, sha256: None, blob: String::new() };
        paths.iter().map(file).collect()
    }

    fn names(files: Result<Vec<RemoteFile>, HubError>) -> Vec<String> {
        files.unwrap().into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn small_files_are_what_conversion_and_card_read() {
        let wanted = [
            "config.json",
            "params.json",
            "tekken.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer.model.v3",
            "qwen.tiktoken",
            "tiktoken.model",
            "tokenization_qwen.py",
            "chat_template.jinja",
            "additional_chat_templates/tool_use.jinja",
            "1_Pooling/config.json",
            "merges.txt",
            "README.md",
            "LICENSE.txt",
            "USE_POLICY.md",
            "preprocessor_config.json",
            INDEX,
        ];
        let unwanted = [
            "model.safetensors",
            "pytorch_model.bin",
            "training_args.bin",
            "onnx/config.json",
            "original/tokenizer.model",
            "additional_chat_templates/deep/x.jinja",
            "modeling_x.py",
            "x.gguf",
            "../config.json",
        ];
        let all: Vec<&str> = wanted.iter().chain(&unwanted).copied().collect();
        assert_eq!(names(small_files(&repo(), &tree(&all))), wanted);
    }

    #[test]
    fn weights_are_what_the_index_names_else_all_at_the_root() {
        let files =
            tree(&["model.safetensors", "model-1.safetensors", "x/model.safetensors", "lora.safetensors"]);
        assert_eq!(names(weights(&repo(), &files, None)), ["model.safetensors", "model-1.safetensors"]);
        // Mistral's own format is downloaded where there is no other, and not beside another.
        let own = tree(&["params.json", "consolidated.safetensors"]);
        assert_eq!(names(weights(&repo(), &own, None)), ["consolidated.safetensors"]);
        let both = [own, tree(&["config.json", "model.safetensors"])].concat();
        assert_eq!(names(weights(&repo(), &both, None)), ["model.safetensors"]);
        let index = |json: &str| ShardIndex::parse(json.as_bytes()).unwrap();
        let one = index(r#"{"weight_map":{"a":"model-1.safetensors"}}"#);
        assert_eq!(names(weights(&repo(), &files, Some(&one))), ["model-1.safetensors"]);
        let gone = index(r#"{"weight_map":{"a":"model-2.safetensors"}}"#);
        assert!(matches!(weights(&repo(), &files, Some(&gone)), Err(HubError::MissingShard { .. })));
    }

    #[test]
    fn other_formats_are_refused() {
        let refused = |paths: &[&str]| weights(&repo(), &tree(paths), None).unwrap_err();
        assert!(matches!(refused(&["a.gguf", "pytorch_model.bin"]), HubError::PickleOnly { .. }));
        assert!(matches!(refused(&["a.gguf", "config.json"]), HubError::GgufOnly { .. }));
        assert!(matches!(refused(&["onnx/model.safetensors"]), HubError::NoWeights { .. }));
    }

    #[test]
    fn hostile_listings_are_refused() {
        let small = |paths: &[&str]| small_files(&repo(), &tree(paths)).unwrap_err();
        assert!(matches!(small(&["..\\x.json"]), HubError::HostilePath { .. }));
        assert!(matches!(small(&["additional_chat_templates/..\\x.jinja"]), HubError::HostilePath { .. }));
        assert!(matches!(small(&["nul.json"]), HubError::HostilePath { .. }));
        assert!(matches!(small(&["Config.json", "config.json"]), HubError::SamePath { .. }));
        let shards = weights(&repo(), &tree(&["model\\..\\x.safetensors"]), None).unwrap_err();
        assert!(matches!(shards, HubError::HostilePath { .. }));

        let mut long = tree(&["tokenizer.json", "log.json"]);
        long[1].size = LONGEST_SMALL + 1;
        assert_eq!(names(small_files(&repo(), &long)), ["tokenizer.json"]);
        long[0].size = LONGEST_SMALL + 1;
        assert!(matches!(small_files(&repo(), &long), Err(HubError::TooLong { .. })));
    }
}
