//! The checkpoint of a job, by its headers, and its files as the metadata records them: what tells later whether the
//! source is still the same.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::JobError;
use super::prepared::Setting;
use crate::base::cancel::Cancel;
use crate::base::{hash, units};
use crate::card::metadata::{QuantizationMetadata, Source as SourceFacts, SourceFile};
use crate::checkpoint::Checkpoint;
use crate::config::{self, Model, Source};
use crate::convert::Blueprint;
use crate::event::{Code, Event, Observer};
use crate::hub;

/// Opens a folder, or reads the headers of a checkpoint on the Hub.
pub(super) fn open(
    source: &Source,
    setting: &Setting,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(Checkpoint, Option<hub::Description>), JobError> {
    let (checkpoint, remote) = match source {
        Source::Folder(path) => (Checkpoint::open(path)?, None),
        Source::Hub { repo, revision } => {
            let found = hub::describe(
                repo,
                revision.as_ref().map(config::Revision::as_str),
                &setting.hub,
                observer,
                cancel,
            )?;
            let shards = found.shards.iter().map(|s| (s.file.path.clone(), s.header.clone())).collect();
            let mut checkpoint = Checkpoint::from_headers(&found.folder, shards)?;
            checkpoint.origin.repo = Some(repo.to_string());
            checkpoint.origin.commit = Some(found.commit.clone());
            (checkpoint, Some(found))
        }
    };
    let bytes = checkpoint.weight_bytes();
    let text = format!(
        "`{source}`: {} in {}, {}",
        units::counted(checkpoint.tensors.len(), "tensor"),
        units::counted(checkpoint.shards.len(), "file"),
        units::decimal(bytes)
    );
    observer.event(
        Event::new(Code::CheckpointOpened, text)
            .about(&*checkpoint.name)
            .with("weight_bytes", bytes)
            .with("commit", checkpoint.origin.commit.clone()),
    );
    Ok((checkpoint, remote))
}
/// The source's files with everything that tells whether they changed: of a remote one what the Hub says, of a folder
/// the sizes with the hashes of the small ones and the times of the large ones.
pub(super) fn source_files(
    checkpoint: &Checkpoint,
    remote: Option<&hub::Description>,
) -> Result<Vec<SourceFile>, JobError> {
    match remote {
        Some(found) => {
            // Git knows small files by another hash; they are here already.
            let small = |f: &hub::RemoteFile| {
                let path = found.folder.join(&f.path);
                let bytes = std::fs::read(&path).map_err(|source| JobError::Io { path, source })?;
                Ok::<_, JobError>(hash::sha256(&bytes))
            };
            let file = |f: &hub::RemoteFile| {
                let known = f.sha256.clone().map(Ok);
                let sha256 = known.or_else(|| (!f.is_weights()).then(|| small(f))).transpose()?;
                Ok(SourceFile { path: f.path.clone(), size: f.size, modified_ns: None, sha256 })
            };
            let mut files = found.files.iter().map(file).collect::<Result<Vec<_>, JobError>>()?;
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        }
        None => {
            local_files(checkpoint).map_err(|source| JobError::Io { path: checkpoint.folder.clone(), source })
        }
    }
}

/// The source, as the metadata records it.
pub(super) fn source_facts(
    model: &Model,
    checkpoint: &Checkpoint,
    files: Vec<SourceFile>,
    blueprint: &Blueprint,
) -> SourceFacts {
    SourceFacts {
        name: checkpoint.name.clone(),
        repo: checkpoint.origin.repo.clone(),
        revision: match &model.source {
            Source::Hub { revision, .. } => revision.as_ref().map(ToString::to_string),
            Source::Folder(_) => None,
        },
        commit: checkpoint.origin.commit.clone(),
        files,
        architecture: blueprint.architecture.clone(),
        parameters: blueprint.tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum(),
    }
}

/// The files of a folder that may decide bytes: weights, configuration, tokenizer, card.
fn local_files(checkpoint: &Checkpoint) -> io::Result<Vec<SourceFile>> {
    const SMALL: u64 = 32 << 20;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&checkpoint.folder)? {
        let entry = entry?;
        let path = entry.file_name().to_string_lossy().into_owned();
        let weights = checkpoint.shards.contains(&path);
        let decides = ["json", "jinja", "txt", "model", "md"]
            .iter()
            .any(|e| Path::new(&path).extension().is_some_and(|x| x == *e));
        let about = std::fs::metadata(entry.path())?;
        if !about.is_file() || !(weights || decides) {
            continue;
        }
        let small = !weights && about.len() <= SMALL;
        let modified = about.modified()?.duration_since(UNIX_EPOCH).ok();
        files.push(SourceFile {
            path,
            size: about.len(),
            modified_ns: (!small).then_some(modified).flatten().and_then(|t| t.as_nanos().try_into().ok()),
            sha256: if small { Some(hash::sha256(&std::fs::read(entry.path())?)) } else { None },
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Hashes weights of a folder that `known` has with the same size and another time of change, as after a checkout: only
/// their bytes tell whether they are the same.
pub(super) fn identify(
    source: &mut SourceFacts,
    checkpoint: &Checkpoint,
    known: &QuantizationMetadata,
    cancel: &Cancel,
) -> Result<(), JobError> {
    let known: Vec<&SourceFile> = known.outputs.iter().flat_map(|o| &known.made(o).source.files).collect();
    for file in source.files.iter_mut().filter(|f| f.sha256.is_none()) {
        let of_another_time = |k: &&&SourceFile| {
            k.path == file.path
                && k.size == file.size
                && k.sha256.is_some()
                && k.modified_ns != file.modified_ns
        };
        if known.iter().any(|k| of_another_time(&k)) {
            file.sha256 = Some(hashed(&checkpoint.folder.join(&file.path), cancel)?);
        }
    }
    Ok(())
}

/// Hashes the weights of a folder, so that others can tell what their outputs were made from.
pub(super) fn identify_all(
    source: &mut SourceFacts,
    checkpoint: &Checkpoint,
    cancel: &Cancel,
) -> Result<(), JobError> {
    for file in source.files.iter_mut().filter(|f| f.sha256.is_none()) {
        file.sha256 = Some(hashed(&checkpoint.folder.join(&file.path), cancel)?);
    }
    Ok(())
}

fn hashed(path: &Path, cancel: &Cancel) -> Result<String, JobError> {
    hash::sha256_file(path, cancel).map_err(|source| match source.kind() {
        io::ErrorKind::Interrupted => JobError::Stopped,
        _ => JobError::Io { path: path.to_owned(), source },
    })
}
