//! What a commit shows, compared with what was published: names, sizes, hashes, headers, tags.

use std::io;

use tokio::time::sleep;

use super::client::{Client, Subject};
use super::error::HubError;
use super::publication::{Item, Publication};
use super::receipt::ReceiptTag;
use super::remote::{self, RepoState, address};
use super::select::RemoteFile;
use super::tag;
use crate::base::repo_id::RepoId;
use crate::event::{Code, Event};
use crate::gguf::{ReadError, read_header};

/// Bytes of the first request for a header; one with a large vocabulary needs some more.
const FIRST: u64 = 1 << 20;

/// Longest header that is read.
const LONGEST: u64 = 256 << 20;

/// How often a commit is looked for that does not show at once.
const LOOKS: u32 = 4;

/// Compares a commit with what it should have; gives what the tags find in it.
///
/// # Errors
/// [`HubError::Unlike`] and [`HubError::Unreadable`] name the file; others say why nothing could be compared.
pub(super) async fn verify(
    client: &Client<'_>,
    publication: &Publication,
    items: &[Item<'_>],
    commit: &str,
) -> Result<Vec<ReceiptTag>, HubError> {
    let repo = &publication.to.repo;
    let state = look(client, repo, commit).await?;
    for item in items {
        compare(repo, commit, item, state.file(item.path))?;
    }
    if let Some(path) = publication.delete.iter().find(|path| state.file(path).is_some()) {
        return Err(HubError::Unlike {
            repo: repo.clone(),
            commit: commit.to_owned(),
            path: path.clone(),
            difference: "it was to be removed".to_owned(),
        });
    }
    for item in items.iter().filter(|item| item.path.ends_with(".gguf")) {
        check_header(client, repo, commit, item).await?;
    }
    let tags = publication.tags.iter().map(|(tag, file)| {
        let gives = tag::resolve(state.files.iter().map(|f| f.path.as_str()), tag);
        ReceiptTag { tag: tag.clone(), file: file.clone(), gives: gives.map(str::to_owned) }
    });
    let tags: Vec<ReceiptTag> = tags.collect();
    for ReceiptTag { tag, file, gives } in tags.iter().filter(|t| t.gives.as_ref() != Some(&t.file)) {
        let gives = gives.as_ref().map_or("nothing".to_owned(), |gives| format!("`{gives}`"));
        let text = format!("llama.cpp's `-hf {repo}:{tag}` gives {gives} instead of `{file}`");
        let hint = format!("name the file: `-hf {repo} -hff {file}`");
        client.observer.event(Event::new(Code::TagTaken, text).about(repo.to_string()).with("hint", hint));
    }
    Ok(tags)
}

/// The commit's files. It may take the Hub a moment to show it.
async fn look(client: &Client<'_>, repo: &RepoId, commit: &str) -> Result<RepoState, HubError> {
    for look in 0..LOOKS {
        match remote::at(client, repo, commit).await {
            Err(HubError::RevisionNotFound { .. }) if look + 1 < LOOKS => {
                sleep(client.retry.first * (1 << look)).await;
            }
            looked => return looked,
        }
    }
    unreachable!("the last look returns")
}

fn compare(repo: &RepoId, commit: &str, item: &Item<'_>, there: Option<&RemoteFile>) -> Result<(), HubError> {
    let difference = match there {
        None => "it is missing".to_owned(),
        Some(there) if there.size != item.size => format!("{} bytes instead of {}", there.size, item.size),
        Some(there) if !item.is(there) => match (&there.sha256, &item.blob) {
            (None, Some(blob)) => format!("git calls it {} instead of {blob}", there.blob),
            (sha256, _) => {
                let found = sha256.as_deref().unwrap_or("none");
                format!("SHA-256 {found} instead of {}", item.sha256)
            }
        },
        Some(_) => return Ok(()),
    };
    let (repo, commit, path) = (repo.clone(), commit.to_owned(), item.path.to_owned());
    Err(HubError::Unlike { repo, commit, path, difference })
}

/// Reads the file's beginning through the addresses that everybody uses, and parses it.
async fn check_header(
    client: &Client<'_>,
    repo: &RepoId,
    commit: &str,
    item: &Item<'_>,
) -> Result<(), HubError> {
    let unreadable = |source| HubError::Unreadable {
        repo: repo.clone(),
        commit: commit.to_owned(),
        path: item.path.to_owned(),
        source,
    };
    let subject = Subject { repo, revision: commit, path: Some(item.path) };
    let url = client.url(&address(repo, commit, item.path));
    let longest = item.size.min(LONGEST);
    let (mut bytes, mut next) = (Vec::new(), FIRST.min(longest));
    loop {
        let there = bytes.len() as u64;
        if next > there {
            bytes.extend(client.range(subject, &url, there..next).await?);
        }
        match read_header(bytes.as_slice()) {
            Ok((header, start)) if start.saturating_add(header.data_bytes()) > item.size => {
                return Err(unreadable(ReadError::Io(io::ErrorKind::UnexpectedEof.into())));
            }
            Ok(_) => return Ok(()),
            Err(ReadError::Io(_)) if next < longest => next = (next * 4).min(longest),
            Err(error) => return Err(unreadable(error)),
        }
    }
}
