//! A folder of outputs, as an earlier run left it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::order::{Licence, Output};
use crate::base::file_name::{is_licence, is_safe_name};
use crate::base::front_matter;
use crate::card::inherit::{self, Fields};
use crate::card::metadata::{self, FilePart, MetadataError, QuantizationMetadata};
use crate::card::{self, DEFAULT_DESCRIPTION, log, notice_of, picture};
use crate::hub::{Content, PublishFile};

/// Longest licence file that comes along.
const LONGEST_LICENCE: u64 = 4 << 20;

/// What a folder has for a repository.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// The outputs.
    pub outputs: Vec<Output>,
    /// The folders that they are in.
    pub folders: Vec<PathBuf>,
    /// What their card says.
    pub fields: Fields,
    /// Its notice.
    pub description: String,
    /// Who made them.
    pub quantized_by: Option<String>,
    /// The source's terms.
    pub licences: Vec<Licence>,
}

/// Why a folder is not published.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Metadata that cannot be read.
    #[error("`{folder}`")]
    Metadata {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: MetadataError,
    },
    /// No output in it.
    #[error("`{folder}` has no output of this program")]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// Outputs of several models.
    #[error("`{folder}` has outputs of several models: {}", list(models))]
    Several {
        /// The folder.
        folder: PathBuf,
        /// The models' names.
        models: Vec<String>,
    },
    /// A file that is not what the metadata says.
    #[error("`{path}` is not the file that its metadata describes")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The files of an output in its folder, as its metadata lists them.
///
/// # Errors
/// A file is missing or has another size.
pub fn files_of(metadata: &QuantizationMetadata, folder: &Path) -> Result<Vec<PublishFile>, FolderError> {
    let mut files = Vec::new();
    for part in metadata.outputs.iter().flat_map(metadata::Output::files) {
        let path = folder.join(&part.file);
        let size = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        // A name that leaves the folder is none of ours.
        if !is_safe_name(&part.file) || size != Some(part.size) {
            return Err(FolderError::Damaged { path });
        }
        let content = Content::File { path, size: part.size, sha256: part.sha256 };
        files.push(PublishFile { path: part.file, content });
    }
    Ok(files)
}

/// The texts of a folder whose metadata changed after they were written: the card, the log, the picture and, last, the
/// metadata. A card that was changed by hand stays as it is.
///
/// # Errors
/// One cannot be read.
pub fn refreshed(
    folder: &Path,
    metadata: &QuantizationMetadata,
) -> Result<Vec<(PathBuf, Vec<u8>)>, FolderError> {
    let read = |name: &str| {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Io { path, source }),
        }
    };
    let readme = read(card::FILE_NAME)?.and_then(|text| card::refreshed(&text, metadata));
    let log = read(log::FILE_NAME)?.map(|log| log::refreshed(&log, metadata));
    let title = folder.file_name().unwrap_or_default().to_string_lossy();
    let texts = [
        (card::FILE_NAME, readme),
        (log::FILE_NAME, log),
        (picture::FILE_NAME, picture::picture(&title, &metadata.outputs)),
        (metadata::FILE_NAME, Some(metadata.to_json())),
    ];
    Ok(texts.into_iter().filter_map(|(name, text)| Some((folder.join(name), text?.into_bytes()))).collect())
}

/// The importance matrix beside an output, where it was computed for it and is still there.
pub fn imatrix_of(metadata: &QuantizationMetadata, folder: &Path) -> Option<PublishFile> {
    let FilePart { file, size, sha256 } =
        metadata.outputs.iter().find_map(metadata::Output::computed_imatrix)?;
    let path = folder.join(&file);
    let same = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == size);
    (is_safe_name(&file) && same)
        .then_some(PublishFile { path: file, content: Content::File { path, size, sha256 } })
}

/// The licence files of a folder, by name.
///
/// # Errors
/// One cannot be read.
pub fn licences_of(folder: &Path) -> Result<Vec<Licence>, FolderError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { path, source }
    };
    let mut licences = Vec::new();
    for entry in fs::read_dir(folder).map_err(error(folder))? {
        let path = entry.map_err(error(folder))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| is_licence(n)) else {
            continue;
        };
        let about = fs::metadata(&path).map_err(error(&path))?;
        if about.is_file() && about.len() <= LONGEST_LICENCE {
            let bytes = fs::read(&path).map_err(error(&path))?;
            licences.push(Licence { name: name.to_owned(), bytes });
        }
    }
    licences.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(licences)
}

/// Reads one output's folder, or a folder of several of one model.
///
/// # Errors
/// [`FolderError`] names the file.
pub fn read_folder(folder: &Path) -> Result<Outputs, FolderError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| FolderError::Io { path, source }
    };
    let mut folders = vec![folder.to_owned()];
    if !folder.join(metadata::FILE_NAME).is_file() {
        let entries = fs::read_dir(folder).map_err(error(folder))?;
        folders = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(error(folder))?;
        folders.retain(|path| path.join(metadata::FILE_NAME).is_file());
        folders.sort();
    }
    let mut outputs = Vec::new();
    for folder in &folders {
        let path = folder.join(metadata::FILE_NAME);
        let text = fs::read(&path).map_err(error(&path))?;
        let metadata = QuantizationMetadata::from_json(&text)
            .map_err(|source| FolderError::Metadata { folder: folder.clone(), source })?;
        let (files, imatrix) = (files_of(&metadata, folder)?, imatrix_of(&metadata, folder));
        outputs.push(Output { metadata, files, imatrix });
    }
    let mut models: Vec<String> = outputs.iter().map(|o| o.metadata.source.name.clone()).collect();
    models.sort();
    models.dedup();
    let Some(first) = folders.first() else { return Err(FolderError::Empty { folder: folder.to_owned() }) };
    if models.len() > 1 {
        return Err(FolderError::Several { folder: folder.to_owned(), models });
    }
    let path = first.join(card::FILE_NAME);
    let text = fs::read(&path).map_err(error(&path))?;
    // A card that somebody spoilt says nothing.
    let card = front_matter::parse(&text).unwrap_or(front_matter::Node::Map(Vec::new()));
    let (fields, _) = inherit::resolve(&[&inherit::from_card(&card, None)], &[]);
    let description = String::from_utf8(text).ok();
    let description = description.as_deref().and_then(notice_of).unwrap_or(DEFAULT_DESCRIPTION.trim());
    Ok(Outputs {
        outputs,
        fields,
        description: description.to_owned(),
        quantized_by: card.get("quantized_by").and_then(|n| n.as_text()).map(str::to_owned),
        licences: licences_of(first)?,
        folders,
    })
}
