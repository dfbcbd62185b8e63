//! A publication from its files to its receipt: everything is in the repository in one commit, or nothing is.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::HubOptions;
use super::client::Client;
use super::commit::{Committed, Ready};
use super::error::HubError;
use super::preupload::{self, Way};
use super::publication::{Content, Item, Publication, items};
use super::receipt::{FileState, RECEIPT_FORMAT, Receipt, ReceiptFile};
use super::remote::{self, BRANCH, RepoState};
use super::rights::check_visibility;
use super::select::RemoteFile;
use super::snapshot::Session;
use super::upload::{FILES, Uploader};
use super::verify::verify;
use crate::base::cancel::Cancel;
use crate::event::{Code, Event, Observer};

/// The repository before the commit, and what has to be done for each file.
struct Before {
    state: RepoState,
    ways: Vec<Way>,
    states: Vec<FileState>,
}

/// Publishes: creates the repository if it is missing, has the card checked, sends what the Hub has not, commits once, and
/// compares what the repository then shows.
///
/// Until the commit, nothing of it can be seen. A run that ended anywhere may be repeated: what is there already is found
/// by its hash, sent bytes are not sent again, and no second commit is made.
///
/// # Errors
/// [`HubError`]; [`HubError::Unlike`], [`HubError::Unreadable`] and [`HubError::Unchecked`] come after the commit, all
/// others leave the repository as it was, but for [`HubError::Doubtful`].
pub fn publish(
    publication: &Publication,
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Receipt, HubError> {
    let started = Timestamp::now();
    let repo = &publication.to.repo;
    let session = Session::new(repo, Some(BRANCH), options, observer, cancel).writing();
    session.online()?;
    if options.token.is_none() {
        return Err(HubError::NoToken { repo: repo.clone() });
    }
    let items = items(publication)?;
    let before = session.run(async |client| prepare(client, publication, &items, cancel).await)?;
    let missing = items.iter().zip(&before.ways).zip(&before.states);
    let missing: Vec<&Item<'_>> = missing
        .filter(|((item, way), state)| **way == Way::Store && **state == FileState::Sent && !item.is_stored())
        .map(|((item, _), _)| item)
        .collect();
    if !missing.is_empty() {
        send(publication, &missing, options, observer, cancel)?;
    }

    let Before { state, ways, states } = before;
    let private = state.private;
    let ready = Ready { publication, items: &items, ways: &ways, cancel };
    let committed = session.run_to_end(async |client| ready.commit(client, state).await)?;
    tell(publication, &committed, &states, observer);

    let reading = Session::new(repo, Some(&committed.commit), options, observer, cancel);
    let verified = reading.run(async |client| verify(client, publication, &items, &committed.commit).await);
    let tags = verified.map_err(|error| match error {
        error @ (HubError::Unlike { .. } | HubError::Unreadable { .. }) => error,
        source => {
            let (repo, commit) = (repo.clone(), committed.commit.clone());
            HubError::Unchecked { repo, commit, source: Box::new(source) }
        }
    })?;
    let text = format!("`{repo}` shows what was published: {} files", items.len());
    observer.event(Event::new(Code::PublicationVerified, text).about(repo.to_string()));

    let endpoint = options.endpoint.trim_end_matches('/').to_owned();
    let url = committed.url.unwrap_or_else(|| format!("{endpoint}/{repo}/commit/{}", committed.commit));
    let file = |(item, state): (&Item<'_>, &FileState)| ReceiptFile {
        path: item.path.to_owned(),
        size: item.size,
        sha256: item.sha256.clone(),
        state: *state,
    };
    Ok(Receipt {
        format_version: RECEIPT_FORMAT,
        endpoint,
        repo: repo.to_string(),
        private,
        commit: committed.commit,
        url,
        pull_request: committed.pull_request,
        parent: committed.parent,
        files: items.iter().zip(&states).map(file).collect(),
        deleted: publication.delete.clone(),
        tags,
        started: started.to_string(),
        finished: Timestamp::now().to_string(),
    })
}

/// Everything before the first byte of a large file is sent.
async fn prepare(
    client: &Client<'_>,
    publication: &Publication,
    items: &[Item<'_>],
    cancel: &Cancel,
) -> Result<Before, HubError> {
    let to = &publication.to;
    let card = publication.card.as_ref().and_then(|path| items.iter().find(|item| item.path == path));
    let mut state = remote::find(client, &to.repo).await?;
    if let Some(state) = &state {
        check_visibility(to, state)?;
    }
    // A card that is there was taken once.
    if let Some(card) = card
        && !state.as_ref().and_then(|s| s.file(card.path)).is_some_and(|there| card.is(there))
    {
        for remark in preupload::remarks(client, &to.repo, card.path, &card.bytes()?).await? {
            let text = format!("`{}`: the Hub remarks: {}", card.path, remark.trim_end_matches('.'));
            client.observer.event(Event::new(Code::CardRemarks, text).about(to.repo.to_string()));
        }
    }
    if state.is_none() {
        remote::found(client, &to.repo, to.private).await?;
        state = remote::find(client, &to.repo).await?;
    }
    let Some(state) = state else {
        return Err(HubError::RepoNotFound { repo: to.repo.clone(), signed_in: true });
    };
    if let Some(parent) = publication.parent.as_ref().filter(|parent| **parent != state.head) {
        let before = remote::at(client, &to.repo, parent).await?;
        let ready = Ready { publication, items, ways: &[], cancel };
        ready.check_conflict(&before.files, &state)?;
    }
    let (mut ways, mut states) = (vec![Way::Store; items.len()], vec![FileState::Unchanged; items.len()]);
    let unlike = |item: &Item<'_>| !state.file(item.path).is_some_and(|there| item.is(there));
    let (places, changed): (Vec<usize>, Vec<&Item<'_>>) =
        items.iter().enumerate().filter(|(_, item)| unlike(item)).unzip();
    let found = preupload::ways(client, to, &changed).await?;
    for ((place, item), way) in places.into_iter().zip(changed).zip(found) {
        let is_same = |file: &RemoteFile| file.sha256.as_ref() == Some(&item.sha256);
        let there = way == Way::Store && !item.is_stored() && state.files.iter().any(is_same);
        ways[place] = way;
        states[place] = if there { FileState::AlreadyThere } else { FileState::Sent };
    }
    for (item, state) in items.iter().zip(&states).filter(|(_, state)| **state != FileState::Sent) {
        let text = match state {
            FileState::Unchanged => format!("`{}` is in `{}` already, the same", item.path, to.repo),
            _ => format!("the content of `{}` is in `{}` already", item.path, to.repo),
        };
        client.observer.event(Event::new(Code::FileThere, text).about(to.repo.to_string()));
    }
    Ok(Before { state, ways, states })
}

/// Sends files into the Hub's store. Nobody sees them there before a commit names them.
fn send(
    publication: &Publication,
    missing: &[&Item<'_>],
    options: &HubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), HubError> {
    let Publication { to, transport, .. } = publication;
    let uploader = Uploader::open(to, options, *transport, observer, cancel)?;
    let next = AtomicUsize::new(0);
    // Until the end: what a broken connection lost is read again.
    let texts = Mutex::new(Vec::new());
    let work = || {
        while let Some(item) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = send_one(&uploader, item, &texts) {
                // The other one stops after its file.
                next.store(missing.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let ended: Vec<Result<(), HubError>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..FILES.min(missing.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("sending does not panic")).collect()
    });
    ended.into_iter().collect::<Result<(), HubError>>()?;
    uploader.finish().map(drop)
}

fn send_one(
    uploader: &Uploader<'_>,
    item: &Item<'_>,
    texts: &Mutex<Vec<NamedTempFile>>,
) -> Result<(), HubError> {
    match item.content {
        Content::Uploaded(_) => {}
        Content::File { path, .. } => {
            uploader.file(item.path, path, item.size, &item.sha256)?;
        }
        Content::Text(bytes) => {
            // The repository's .gitattributes puts small files into the store, too. LFS sends files of this machine.
            let io = |source| HubError::Io { path: item.path.into(), source };
            let mut file = NamedTempFile::new().map_err(io)?;
            file.write_all(bytes).map_err(io)?;
            uploader.file(item.path, file.path(), item.size, &item.sha256)?;
            texts.lock().expect("no holder panics").push(file);
        }
    }
    Ok(())
}

/// Says what was committed.
fn tell(publication: &Publication, committed: &Committed, states: &[FileState], observer: &dyn Observer) {
    let repo = &publication.to.repo;
    let short = &committed.commit[..8];
    let (code, text) = match (&committed.parent, &committed.pull_request) {
        (None, _) => (Code::NothingNew, format!("`{repo}` has all of it already, at commit {short}")),
        (_, Some(pull)) => {
            (Code::Published, format!("proposed to `{repo}`: pull request {} ({})", pull.number, pull.url))
        }
        _ => (Code::Published, format!("`{repo}` has the files, in commit {short}")),
    };
    let changed = states.iter().filter(|state| **state != FileState::Unchanged).count();
    let event = Event::new(code, text)
        .about(repo.to_string())
        .with("commit", committed.commit.as_str())
        .with("files", changed)
        .with("deleted", publication.delete.len());
    observer.event(event);
}
