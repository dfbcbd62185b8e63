//! A repository's life: made, added to, changed by others, pruned. Commits are applied to a tree in memory.

use super::merge::merge;
use super::order::{Licence, Order, Output, Texts};
use super::there::There;
use crate::base::hash;
use crate::base::repo_id::RepoId;
use crate::card::metadata::{
    self, FORMAT_VERSION, FilePart, Program, QuantizationMetadata, Recipe, Run, Source,
};
use crate::card::{DEFAULT_DESCRIPTION, Fields, inherit};
use crate::hub::{Content, Destination, Publication, PublishFile, RemoteFile, RepoState, Transport};

/// What a run on a day made of a method: one file, or several.
fn made(method: &str, day: u32, commit: &str, files: &[(&str, u64)]) -> Output {
    let part = |(name, size): &(&str, u64)| FilePart {
        file: (*name).to_owned(),
        size: *size,
        sha256: hash::sha256(format!("{name} of {commit}").as_bytes()),
    };
    let parts: Vec<FilePart> = files.iter().map(part).collect();
    let whole = (parts.len() == 1).then(|| parts[0].sha256.clone());
    let publish = |part: &FilePart| PublishFile {
        path: part.file.clone(),
        content: Content::File {
            path: part.file.clone().into(),
            size: part.size,
            sha256: part.sha256.clone(),
        },
    };
    let files = parts.iter().map(publish).collect();
    let output = metadata::Output {
        file: parts[0].file.clone(),
        size: parts.iter().map(|p| p.size).sum(),
        sha256: whole.clone(),
        recipe: Recipe { method: method.to_owned(), ..Recipe::default() },
        parts: if whole.is_some() { Vec::new() } else { parts },
        ..metadata::Output::default()
    };
    let metadata = QuantizationMetadata {
        format_version: FORMAT_VERSION,
        program: Program { name: "jamph-quantizer".to_owned(), version: "1".to_owned(), recipe_version: 1 },
        reference: "r".to_owned(),
        source: Source {
            name: "m".to_owned(),
            repo: Some("o/m".to_owned()),
            commit: Some(commit.to_owned()),
            ..Source::default()
        },
        outputs: vec![output],
        run: Run {
            started: format!("2026-11-{day:02}T00:00:00Z"),
            finished: format!("2026-11-{day:02}T00:01:00Z"),
            ..Run::default()
        },
    };
    Output { metadata, files, imatrix: None }
}

/// The repository of a test, and what a job says of it.
struct Repo {
    to: Destination,
    fields: Fields,
    description: String,
    licences: Vec<Licence>,
    listed: Option<Vec<String>>,
    there: Option<There>,
}

impl Repo {
    fn new() -> Self {
        Repo {
            to: Destination { repo: RepoId::parse("me/my-m").unwrap(), private: true, create_pr: false },
            fields: inherit::resolve(&[], &[]).0,
            description: DEFAULT_DESCRIPTION.to_owned(),
            licences: vec![Licence { name: "LICENSE".to_owned(), bytes: b"terms\n".to_vec() }],
            listed: None,
            there: None,
        }
    }

    fn publication(&self, outputs: &[Output]) -> Option<Publication> {
        let texts = Texts {
            fields: &self.fields,
            description: &self.description,
            quantized_by: None,
            licences: &self.licences,
        };
        let order = Order {
            to: &self.to,
            texts,
            outputs,
            listed: self.listed.as_deref(),
            transport: Transport::Auto,
        };
        order.publication(self.there.as_ref())
    }

    /// Does what is to be done, and nothing a second time. Gives the summary and the paths that were sent and deleted.
    #[track_caller]
    fn publish(&mut self, outputs: &[Output]) -> (String, Vec<String>, Vec<String>) {
        let publication = self.publication(outputs).expect("something to do");
        let head = self.there.as_ref().map(|t| t.state.head.clone());
        assert_eq!(publication.parent, head);
        let mut there = self.there.take().unwrap_or(There {
            state: RepoState { head: String::new(), private: true, gated: false, files: Vec::new() },
            metadata: None,
            unreadable: None,
        });
        there.state.head.push('x');
        let paths: Vec<String> = publication.files.iter().map(|f| f.path.clone()).collect();
        let files = &mut there.state.files;
        files.retain(|f| !paths.contains(&f.path) && !publication.delete.contains(&f.path));
        for PublishFile { path, content } in publication.files {
            let file = match content {
                Content::Text(bytes) => {
                    if path == metadata::FILE_NAME {
                        there.metadata = Some(QuantizationMetadata::from_json(&bytes).unwrap());
                    }
                    RemoteFile { path, size: bytes.len() as u64, sha256: None, blob: hash::git_blob(&bytes) }
                }
                Content::File { size, sha256, .. } => {
                    RemoteFile { path, size, sha256: Some(sha256), blob: String::new() }
                }
                Content::Uploaded(_) => unreachable!("no streams here"),
            };
            files.push(file);
        }
        self.there = Some(there);
        assert!(self.publication(outputs).is_none(), "a second time");
        assert!(self.publication(&[]).is_none(), "without outputs");
        (publication.summary, paths, publication.delete)
    }

    fn files(&self) -> Vec<&str> {
        let files = self.there.iter().flat_map(|t| &t.state.files);
        let mut files: Vec<&str> = files.map(|f| &*f.path).filter(|p| p.ends_with(".gguf")).collect();
        files.sort_unstable();
        files
    }

    fn methods(&self) -> Vec<&str> {
        let metadata = self.there.as_ref().and_then(|t| t.metadata.as_ref());
        metadata.iter().flat_map(|m| &m.outputs).map(|o| &*o.recipe.method).collect()
    }
}

const TEXTS: [&str; 4] = ["README.md", "MODEL_LOG.md", "quantization_metadata.json", "LICENSE"];

#[test]
fn a_repository_is_made_and_added_to() {
    let mut repo = Repo::new();
    let q8 = made("Q8_0", 1, "c1", &[("m-q8_0.gguf", 80)]);
    let (summary, paths, delete) = repo.publish(std::slice::from_ref(&q8));
    assert_eq!(summary, "Add Q8_0");
    assert_eq!(paths, ["m-q8_0.gguf", TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[3]]);
    assert!(delete.is_empty());

    // The smaller one comes first, whenever it was made; the licence is there already.
    let q4 = made("Q4_K_M", 2, "c2", &[("m-q4_k_m.gguf", 40)]);
    let (summary, paths, _) = repo.publish(std::slice::from_ref(&q4));
    assert_eq!(summary, "Add Q4_K_M");
    assert_eq!(paths, ["m-q4_k_m.gguf", TEXTS[0], TEXTS[1], TEXTS[2]]);
    assert_eq!(repo.methods(), ["Q4_K_M", "Q8_0"]);
    let metadata = repo.there.as_ref().unwrap().metadata.clone().unwrap();
    assert_eq!(metadata.source.commit.as_deref(), Some("c2"), "of the last run");
    let made = metadata.made(&metadata.outputs[1]);
    assert_eq!(made.source.commit.as_deref(), Some("c1"), "each output keeps its own");
    assert_eq!(made.run.started, "2026-11-01T00:00:00Z");

    // Both in one go give the same files.
    let mut other = Repo::new();
    other.publish(&[q4, q8]);
    assert_eq!(other.there.unwrap().metadata, Some(metadata));
}

#[test]
fn what_is_made_anew_replaces_what_is_there() {
    let mut repo = Repo::new();
    repo.publish(&[
        made("Q8_0", 1, "c1", &[("m-q8_0.gguf", 80)]),
        made("F16", 1, "c1", &[("m-f16.gguf", 160)]),
    ]);
    let split = made("F16", 2, "c1", &[("m-f16-1-of-2.gguf", 80), ("m-f16-2-of-2.gguf", 82)]);
    let (summary, _, delete) = repo.publish(&[split]);
    assert_eq!((summary.as_str(), delete), ("Replace F16", vec!["m-f16.gguf".to_owned()]));
    assert_eq!(repo.files(), ["m-f16-1-of-2.gguf", "m-f16-2-of-2.gguf", "m-q8_0.gguf"]);

    let (summary, _, delete) = repo.publish(&[
        made("F16", 3, "c2", &[("m-f16.gguf", 161)]),
        made("Q8_0", 3, "c2", &[("m-q8_0.gguf", 80)]),
        made("Q2_K", 3, "c2", &[("m-q2_k.gguf", 20)]),
    ]);
    assert_eq!(summary, "Add Q2_K; replace F16, Q8_0");
    assert_eq!(delete, ["m-f16-1-of-2.gguf", "m-f16-2-of-2.gguf"]);
    let metadata = repo.there.unwrap().metadata.unwrap();
    assert!(metadata.outputs.iter().all(|o| o.origin.is_none()), "all are of one run");
}

#[test]
fn texts_alone_are_rewritten_where_only_they_change() {
    let mut repo = Repo::new();
    repo.publish(&[made("Q8_0", 1, "c1", &[("m-q8_0.gguf", 80)])]);
    repo.description = "Another notice.".to_owned();
    let (summary, paths, delete) = repo.publish(&[]);
    assert_eq!(summary, "Update the card, log and metadata");
    assert_eq!((paths, delete), (vec!["README.md".to_owned()], Vec::new()));
    repo.licences[0].bytes = b"other terms\n".to_vec();
    assert_eq!(repo.publish(&[]).1, ["LICENSE"]);
}

#[test]
fn only_methods_that_are_no_longer_listed_are_pruned() {
    let mut repo = Repo::new();
    repo.publish(&[
        made("Q8_0", 1, "c1", &[("m-q8_0.gguf", 80)]),
        made("Q4_K_M", 1, "c1", &[("m-q4_k_m.gguf", 40)]),
    ]);
    let mine = |path: &str| RemoteFile { path: path.to_owned(), size: 1, sha256: None, blob: String::new() };
    repo.there.as_mut().unwrap().state.files.push(mine("mine.gguf"));
    repo.listed = Some(vec!["q4_k_m".to_owned()]);
    let (summary, paths, delete) = repo.publish(&[]);
    assert_eq!((summary.as_str(), delete), ("Remove Q8_0", vec!["m-q8_0.gguf".to_owned()]));
    assert_eq!(paths, [TEXTS[0], TEXTS[1], TEXTS[2]]);
    assert_eq!((repo.files(), repo.methods()), (vec!["m-q4_k_m.gguf", "mine.gguf"], vec!["Q4_K_M"]));

    // Nothing would be left to tell of; the repository stays as it is.
    repo.listed = Some(Vec::new());
    assert!(repo.publication(&[]).is_none());
}

#[test]
fn what_others_did_to_files_is_theirs() {
    let mut repo = Repo::new();
    repo.publish(&[
        made("Q8_0", 1, "c1", &[("m-q8_0.gguf", 80)]),
        made("Q4_K_M", 1, "c1", &[("m-q4_k_m.gguf", 40)]),
        made("Q2_K", 1, "c1", &[("m-q2_k.gguf", 20)]),
    ]);
    // One was deleted by hand, one replaced.
    let files = &mut repo.there.as_mut().unwrap().state.files;
    files.retain(|f| f.path != "m-q8_0.gguf");
    files.iter_mut().find(|f| f.path == "m-q4_k_m.gguf").unwrap().size = 41;
    repo.listed = Some(vec!["Q2_K".to_owned(), "Q8_0".to_owned()]);
    let (_, paths, delete) = repo.publish(&[]);
    // The card tells of neither; nothing that is not ours is deleted.
    assert_eq!((paths.len(), delete), (3, Vec::new()));
    assert_eq!((repo.files(), repo.methods()), (vec!["m-q2_k.gguf", "m-q4_k_m.gguf"], vec!["Q2_K"]));
}

#[test]
fn nothing_from_nothing() {
    assert!(merge(None, &[], None).is_none());
    assert!(Repo::new().publication(&[]).is_none());
}
