//! From outputs to what one commit does to a repository.

use super::merge::{Merged, merge};
use super::there::There;
use crate::base::hash;
use crate::card::metadata::{self, QuantizationMetadata};
use crate::card::{self, Card, Fields, log, picture};
use crate::config::TOWER;
use crate::hub::{Content, Destination, Publication, PublishFile, RemoteFile, Transport};

/// An output that is ready: its metadata, which lists it alone, and its files.
#[derive(Clone, Debug)]
pub struct Output {
    /// What it is.
    pub metadata: QuantizationMetadata,
    /// Its files, in the order of the metadata.
    pub files: Vec<PublishFile>,
    /// The file of the importance matrix, where it was computed for this output.
    pub imatrix: Option<PublishFile>,
}

/// A file of the source's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What the card is made from, beside the outputs.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// The card's fields, resolved.
    pub fields: &'a Fields,
    /// The notice.
    pub description: &'a str,
    /// Who made the outputs.
    pub quantized_by: Option<&'a str>,
    /// The source's terms.
    pub licences: &'a [Licence],
}

/// What is to be published of one model.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Where.
    pub to: &'a Destination,
    /// What the card says.
    pub texts: Texts<'a>,
    /// The outputs that are new.
    pub outputs: &'a [Output],
    /// The methods that stay, where outputs of others are to go.
    pub listed: Option<&'a [String]>,
    /// How files are sent.
    pub transport: Transport,
}

impl Order<'_> {
    /// What one commit on top of what is there does; `None` where nothing would change.
    pub fn publication(&self, there: Option<&There>) -> Option<Publication> {
        let made: Vec<QuantizationMetadata> = self.outputs.iter().map(|o| o.metadata.clone()).collect();
        let merged = merge(there, &made, self.listed)?;
        let tree: &[RemoteFile] = there.map_or(&[], |t| &t.state.files);
        let mut files: Vec<PublishFile> = Vec::new();
        for output in self.outputs {
            let parts = output.metadata.outputs.iter().flat_map(metadata::Output::files);
            for (part, file) in parts.zip(&output.files) {
                if !part.is_in(tree) {
                    files.push(file.clone());
                }
            }
            // Outputs of one job share it.
            let part = output.metadata.outputs.iter().find_map(metadata::Output::computed_imatrix);
            if let (Some(part), Some(file)) = (part, &output.imatrix)
                && !part.is_in(tree)
                && !files.iter().any(|f| f.path == file.path)
            {
                files.push(file.clone());
            }
        }
        let text = |(path, bytes): (String, Vec<u8>)| PublishFile { path, content: Content::Text(bytes) };
        let texts = self.render(&merged.metadata);
        let mut delete = merged.delete.clone();
        // A picture of figures that are gone.
        let is_picture = |path: &str| path == picture::FILE_NAME;
        let ours = there
            .and_then(|t| t.metadata.as_ref())
            .is_some_and(|m| picture::picture("", &m.outputs).is_some());
        if ours && tree.iter().any(|f| is_picture(&f.path)) && !texts.iter().any(|(path, _)| is_picture(path))
        {
            delete.push(picture::FILE_NAME.to_owned());
        }
        let texts = texts.into_iter().filter(|(path, bytes)| !is(tree, path, bytes));
        files.extend(texts.map(text));
        if files.is_empty() && delete.is_empty() {
            return None;
        }
        // No tag names a vision tower: llama.cpp takes it along.
        let tags = merged.metadata.outputs.iter().filter(|o| !o.recipe.method.starts_with(TOWER));
        let source = &merged.metadata.source;
        let from = match (&source.repo, &source.commit) {
            (Some(repo), Some(commit)) => format!("`{repo}` at `{commit}`"),
            (Some(repo), None) => format!("`{repo}`"),
            (None, _) => format!("`{}`", source.name),
        };
        let program = &merged.metadata.program;
        Some(Publication {
            to: self.to.clone(),
            parent: there.map(|t| t.state.head.clone()),
            summary: self.summary(&merged, there),
            description: format!("From {from}, by {} {}.", program.name, program.version),
            card: files.iter().find(|f| f.path == card::FILE_NAME).map(|f| f.path.clone()),
            tags: tags.map(|o| (o.recipe.method.clone(), o.file.clone())).collect(),
            files,
            delete,
            transport: self.transport,
        })
    }

    /// The front matter of the repository's card, which does not depend on the outputs.
    pub fn front_matter(&self) -> String {
        let names: Vec<String> = self.texts.licences.iter().map(|l| l.name.clone()).collect();
        card::front_matter(self.texts.fields, self.quantized_by(), &names)
    }

    fn quantized_by(&self) -> Option<&str> {
        self.texts.quantized_by.or(Some(self.to.repo.owner()))
    }

    /// The texts of the repository: by name, all of them.
    fn render(&self, metadata: &QuantizationMetadata) -> Vec<(String, Vec<u8>)> {
        let Texts { fields, description, licences, .. } = self.texts;
        let repo = &self.to.repo;
        let title = repo.name();
        let names: Vec<String> = licences.iter().map(|l| l.name.clone()).collect();
        let card = Card {
            title,
            repo: Some(repo.as_str()),
            fields,
            quantized_by: self.quantized_by(),
            description,
            licences: &names,
            metadata,
        };
        let mut texts = vec![
            (card::FILE_NAME.to_owned(), card.render().into_bytes()),
            (log::FILE_NAME.to_owned(), log::render(title, metadata).into_bytes()),
            (metadata::FILE_NAME.to_owned(), metadata.to_json().into_bytes()),
        ];
        let picture = picture::picture(title, &metadata.outputs);
        texts.extend(picture.map(|svg| (picture::FILE_NAME.to_owned(), svg.into_bytes())));
        texts.extend(licences.iter().map(|l| (l.name.clone(), l.bytes.clone())));
        texts
    }

    /// The commit's first line.
    fn summary(&self, merged: &Merged, there: Option<&There>) -> String {
        let was = |method: &str| {
            let published = there.and_then(|t| t.metadata.as_ref());
            published.is_some_and(|m| m.outputs.iter().any(|o| o.recipe.method == method))
        };
        let methods = self.outputs.iter().flat_map(|o| &o.metadata.outputs).map(|o| &*o.recipe.method);
        let (old, new): (Vec<&str>, Vec<&str>) = methods.partition(|method| was(method));
        let gone: Vec<&str> = merged.gone.iter().map(String::as_str).collect();
        let parts = [("add", new), ("replace", old), ("remove", gone)];
        let parts = parts.into_iter().filter(|(_, methods)| !methods.is_empty());
        let text = parts.map(|(verb, methods)| format!("{verb} {}", methods.join(", ")));
        let text = text.collect::<Vec<_>>().join("; ");
        let mut letters = text.chars();
        match letters.next() {
            Some(first) => first.to_uppercase().collect::<String>() + letters.as_str(),
            None => "Update the card, log and metadata".to_owned(),
        }
    }
}

/// Whether the files of a commit have these very bytes under this name.
fn is(tree: &[RemoteFile], path: &str, bytes: &[u8]) -> bool {
    tree.iter().find(|f| f.path == path).is_some_and(|f| {
        f.size == bytes.len() as u64
            && match &f.sha256 {
                Some(sha256) => *sha256 == hash::sha256(bytes),
                None => f.blob == hash::git_blob(bytes),
            }
    })
}
