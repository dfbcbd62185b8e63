//! What metadata, card and log say of an output's importance matrix.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inherit::repo_id;
use super::metadata::{FilePart, Output};
use super::text;

/// The file of an importance matrix: what is known once it is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImatrixFile {
    /// Its name.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Tensors that it has values for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// Chunks of the text that it was computed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// The unquantized model's perplexity over the text, where this program computed the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Where it was taken from: an address, or a file of a repository on the Hub and its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Output {
    /// The file of the matrix, where it was computed for this output and so is published with it.
    pub fn computed_imatrix(&self) -> Option<FilePart> {
        self.recipe.imatrix.as_ref()?.dataset_sha256.as_ref()?;
        let ImatrixFile { file, size, sha256, .. } = self.imatrix_file.clone()?;
        Some(FilePart { file, size, sha256 })
    }
}

/// The matrix in one line of Markdown: its file, what it was computed over and with, where it is from.
pub(super) fn line(output: &Output) -> Option<String> {
    let recipe = output.recipe.imatrix.as_ref()?;
    let file = output.imatrix_file.as_ref();
    let mut line = format!("`{}`", text::code(&recipe.file));
    let mut add = |part: String| line.push_str(&part);
    if let Some(dataset) = &recipe.dataset {
        add(format!(" from {}", text::plain(dataset)));
    }
    if let Some(sha256) = &recipe.dataset_sha256 {
        add(format!(" (SHA-256 `{}`)", text::code(sha256)));
    }
    if let Some(chunks) = file.and_then(|f| f.chunks).or(recipe.chunks) {
        add(format!(", {chunks} chunks"));
    }
    if let Some(tool) = &recipe.tool {
        add(format!(", with {}", text::plain(tool)));
    }
    if let Some(origin) = file.and_then(|f| f.origin.as_ref()) {
        add(format!("; taken from {}", origin_link(origin)));
    }
    Some(line)
}

/// The address, or the repository, as a link where that is safe.
fn origin_link(origin: &str) -> String {
    let repo = origin.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
    match repo_id(&repo).filter(|_| !origin.contains("://")) {
        Some(repo) => format!("[{}](https://huggingface.co/{repo})", text::plain(origin)),
        None => text::plain(origin),
    }
}

/// What the log has on it beside the coverage.
pub(super) fn described(output: &Output) -> Option<String> {
    let file = output.imatrix_file.as_ref()?;
    let mut out =
        format!("`{}`, {} bytes, SHA-256 `{}`", text::code(&file.file), file.size, text::code(&file.sha256));
    if let Some(perplexity) = file.perplexity {
        write!(out, "; the unquantized model's perplexity over its text is {perplexity:.4}")
            .expect("writing to a string");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::metadata::{Imatrix, Recipe};

    fn output(recipe: Imatrix, file: Option<ImatrixFile>) -> Output {
        let recipe = Recipe { imatrix: Some(recipe), ..Recipe::default() };
        Output { recipe, imatrix_file: file, ..Output::default() }
    }

    #[test]
    fn a_computed_matrix_names_its_text() {
        let recipe = Imatrix {
            file: "m-imatrix.gguf".to_owned(),
            dataset: Some("t.txt".to_owned()),
            dataset_sha256: Some("aa".to_owned()),
            chunks: Some(200),
            tool: Some("llama.cpp b1".to_owned()),
            ..Imatrix::default()
        };
        let made = ImatrixFile {
            file: "m-imatrix.gguf".to_owned(),
            size: 7,
            sha256: "bb".to_owned(),
            chunks: Some(100),
            perplexity: Some(12.5),
            ..ImatrixFile::default()
        };
        let output = output(recipe, Some(made));
        let expected = "`m-imatrix.gguf` from t.txt (SHA-256 `aa`), 100 chunks, with llama.cpp b1";
        assert_eq!(line(&output).as_deref(), Some(expected));
        let part = FilePart { file: "m-imatrix.gguf".to_owned(), size: 7, sha256: "bb".to_owned() };
        assert_eq!(output.computed_imatrix(), Some(part));
        assert!(described(&output).unwrap().ends_with("perplexity over its text is 12.5000"));
    }

    #[test]
    fn a_matrix_of_others_names_its_origin_and_is_not_published() {
        let recipe =
            Imatrix { file: "i.gguf".to_owned(), sha256: Some("bb".to_owned()), ..Imatrix::default() };
        let taken = |origin: &str| {
            let file = ImatrixFile { origin: Some(origin.to_owned()), ..ImatrixFile::default() };
            output(recipe.clone(), Some(file))
        };
        let hub = taken("them/m/i.gguf at 0123");
        assert_eq!(
            line(&hub).as_deref(),
            Some("`i.gguf`; taken from [them/m/i.gguf at 0123](https://huggingface.co/them/m)")
        );
        assert_eq!(hub.computed_imatrix(), None);
        let web = line(&taken("https://example.org/i.gguf")).unwrap();
        assert!(web.ends_with("taken from https://example.org/i.gguf"), "{web}");
    }
}
