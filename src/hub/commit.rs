//! The commit: one, however often it takes to bring it there.
//!
//! A commit names its parent, so the Hub takes it on top of that one or not at all. What became of a request that ended
//! without an answer is looked up before another one is made: where the repository has every file as it should be, it is
//! done. Where somebody else committed meanwhile, the commit goes on top of theirs, unless they changed a file of ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::shown;
use super::client::{Call, Client, Reply, Subject};
use super::error::HubError;
use super::preupload::Way;
use super::publication::{Item, Publication};
use super::receipt::PullRequest;
use super::remote::{self, BRANCH, RepoState};
use super::retry::{Again, Failure, Tries};
use super::select::RemoteFile;
use super::snapshot::raised;
use crate::base::cancel::Cancel;
use crate::base::repo_id::is_commit;
use crate::event::{Code, Event};

/// How often somebody else may be first.
const REBASES: u32 = 10;

/// Pull requests that are looked at, the newest first.
const PULL_REQUESTS: usize = 10;

/// The Hub works on a commit for longer than on other requests.
const PATIENCE: u32 = 4;

/// A publication that is ready to be committed: whatever belongs into the store is there.
pub(super) struct Ready<'a> {
    pub(super) publication: &'a Publication,
    pub(super) items: &'a [Item<'a>],
    /// How each of the items goes.
    pub(super) ways: &'a [Way],
    pub(super) cancel: &'a Cancel,
}

/// Where the files are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Committed {
    pub(super) commit: String,
    /// What the Hub calls its address, if it said.
    pub(super) url: Option<String>,
    /// The commit below; `None` where nothing had to be committed.
    pub(super) parent: Option<String>,
    pub(super) pull_request: Option<PullRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCommit {
    commit_oid: String,
    commit_url: Option<String>,
    pull_request_url: Option<String>,
}

#[derive(Deserialize)]
struct RawDiscussions {
    #[serde(default)]
    discussions: Vec<RawDiscussion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDiscussion {
    num: u64,
    title: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    is_pull_request: bool,
}

/// What became of one request.
enum Outcome {
    Done(RawCommit),
    /// Another commit is at the tip, or so it says.
    Stale(Failure),
    /// It did not happen.
    Refused(Failure),
    /// It may have happened.
    Doubtful(Failure),
}

impl Ready<'_> {
    /// Commits on top of the state that the ways were found for.
    pub(super) async fn commit(
        &self,
        client: &Client<'_>,
        mut base: RepoState,
    ) -> Result<Committed, HubError> {
        let repo = &self.publication.to.repo;
        let subject = Subject { repo, revision: BRANCH, path: None };
        let (mut tries, mut rebases) = (Tries::default(), 0);
        if self.is_in(&base.files) {
            return Ok(Committed { commit: base.head, url: None, parent: None, pull_request: None });
        }
        // An earlier run may have ended between the request and its answer.
        if let Some(found) = self.unless_stopped(self.proposed(client, &base)).await? {
            return Ok(found);
        }
        loop {
            if self.cancel.is_cancelled() {
                return Err(HubError::Unpublished { repo: repo.clone() });
            }
            let (stale, gave_up) = match self.request(client, &base).await? {
                Outcome::Done(raw) => return Ok(self.committed(client, raw, base)),
                Outcome::Refused(failure) => {
                    self.wait(client, subject, &mut tries, failure).await?;
                    continue;
                }
                Outcome::Stale(failure) => (Some(failure), None),
                Outcome::Doubtful(failure) => {
                    let text = "it is not clear whether the commit happened; looking at the repository";
                    client.observer.event(Event::new(Code::CommitDoubted, text).about(repo.to_string()));
                    (None, self.wait(client, subject, &mut tries, failure).await.err())
                }
            };
            let doubtful = |error| {
                let source = Box::new(match error {
                    HubError::Unpublished { repo } => HubError::Cancelled { repo },
                    error => error,
                });
                HubError::Doubtful { repo: repo.clone(), source }
            };
            let looked = self.look(client, &base, gave_up.is_some()).await;
            let (now, proposed) = looked.map_err(doubtful)?;
            if self.is_in(&now.files) {
                let (commit, parent) = (now.head, Some(base.head));
                return Ok(Committed { commit, url: None, parent, pull_request: None });
            }
            if let Some(found) = proposed {
                return Ok(found);
            }
            if let Some(error) = gave_up {
                return Err(error);
            }
            if now.head != base.head {
                self.check_conflict(&base.files, &now)?;
                rebases += 1;
                if rebases > REBASES {
                    return Err(HubError::Restless { repo: repo.clone(), times: rebases });
                }
                let text = format!("`{repo}` got commit {} meanwhile; going on top of it", &now.head[..8]);
                client.observer.event(Event::new(Code::CommitRebased, text).about(repo.to_string()));
                base = now;
            } else if let Some(failure) = stale {
                // A Hub that lags behind itself catches up; one that goes on like this is not asked for ever.
                self.wait(client, subject, &mut tries, failure).await?;
            }
        }
    }

    /// Whether every file is there, and none that is to go.
    pub(super) fn is_in(&self, files: &[RemoteFile]) -> bool {
        let has = |item: &Item<'_>| files.iter().any(|f| f.path == item.path && item.is(f));
        self.items.iter().all(has)
            && !self.publication.delete.iter().any(|d| files.iter().any(|f| f.path == *d))
    }

    /// What others did since is in the way if it is about one of our paths, and not just what we want there.
    pub(super) fn check_conflict(&self, before: &[RemoteFile], now: &RepoState) -> Result<(), HubError> {
        let find = |files: &[RemoteFile], path: &str| files.iter().find(|f| f.path == path).cloned();
        let wanted = self.items.iter().map(|item| (item.path, Some(item)));
        let unwanted = self.publication.delete.iter().map(|path| (path.as_str(), None));
        for (path, item) in wanted.chain(unwanted) {
            let (before, there) = (find(before, path), find(&now.files, path));
            let as_wished = match (item, &there) {
                (Some(item), Some(there)) => item.is(there),
                (None, there) => there.is_none(),
                (Some(_), None) => false,
            };
            if before != there && !as_wished {
                let repo = self.publication.to.repo.clone();
                return Err(HubError::Conflict { repo, path: path.to_owned(), head: now.head.clone() });
            }
        }
        Ok(())
    }

    async fn wait(
        &self,
        client: &Client<'_>,
        subject: Subject<'_>,
        tries: &mut Tries,
        failure: Failure,
    ) -> Result<(), HubError> {
        self.unless_stopped(client.wait(subject, tries, failure)).await
    }

    /// The repository now, and what is proposed to it. A look that is the last one in any case is not given up when the
    /// user stops the work.
    async fn look(
        &self,
        client: &Client<'_>,
        base: &RepoState,
        last: bool,
    ) -> Result<(RepoState, Option<Committed>), HubError> {
        let looked = async {
            let now = remote::at(client, &self.publication.to.repo, BRANCH).await?;
            Ok((now, self.proposed(client, base).await?))
        };
        if last { looked.await } else { self.unless_stopped(looked).await }
    }

    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, HubError>>,
    ) -> Result<T, HubError> {
        tokio::select! {
            biased;
            done = work => done,
            () = raised(self.cancel) => {
                Err(HubError::Unpublished { repo: self.publication.to.repo.clone() })
            }
        }
    }

    /// One request. It is not given up when the user stops the work: what becomes of it should be known.
    async fn request(&self, client: &Client<'_>, base: &RepoState) -> Result<Outcome, HubError> {
        let to = &self.publication.to;
        let subject = Subject { repo: &to.repo, revision: BRANCH, path: None };
        let mut url = client.url(&["api", "models", to.repo.owner(), to.repo.name(), "commit", BRANCH]);
        url.set_query(to.create_pr.then_some("create_pr=1"));
        let mut call = Call::post(url, "application/x-ndjson", self.lines(base)?).also(&[412]);
        call.patience = Some(client.retry.stall * PATIENCE);
        let outcome = match client.ask_once(subject, call).await {
            Ok(Reply { status: 412, url, .. }) => Outcome::Stale(Failure::soon(HubError::Protocol {
                url: shown(&url),
                why: "it takes no commit on top of the one that it says is the newest",
            })),
            Ok(reply) => match reply.json::<RawCommit>() {
                Ok(raw) if is_commit(&raw.commit_oid) => Outcome::Done(raw),
                Ok(_) => Outcome::Doubtful(Failure::soon(HubError::Protocol {
                    url: shown(&reply.url),
                    why: "the commit is no hash",
                })),
                Err(error) => Outcome::Doubtful(Failure::soon(error)),
            },
            Err(failure) => match failure.again {
                Again::Never | Again::Limited(_) => Outcome::Refused(failure),
                Again::Soon => Outcome::Doubtful(failure),
            },
        };
        Ok(outcome)
    }

    /// The body: a header, then a line for each file that is not there yet.
    fn lines(&self, base: &RepoState) -> Result<String, HubError> {
        let p = self.publication;
        let header = json!({ "summary": p.summary, "description": p.description, "parentCommit": base.head });
        let mut lines = json!({ "key": "header", "value": header }).to_string();
        let mut line = |key: &str, value: Value| {
            lines.push('\n');
            lines.push_str(&json!({ "key": key, "value": value }).to_string());
        };
        for (item, way) in self.items.iter().zip(self.ways) {
            if base.file(item.path).is_some_and(|there| item.is(there)) {
                continue;
            }
            match way {
                Way::Inline => {
                    let content = STANDARD.encode(item.bytes()?);
                    line("file", json!({ "path": item.path, "content": content, "encoding": "base64" }));
                }
                Way::Store => line(
                    "lfsFile",
                    json!({ "path": item.path, "algo": "sha256", "oid": item.sha256, "size": item.size }),
                ),
            }
        }
        for path in p.delete.iter().filter(|path| base.file(path).is_some()) {
            line("deletedFile", json!({ "path": path }));
        }
        Ok(lines)
    }

    fn committed(&self, client: &Client<'_>, raw: RawCommit, base: RepoState) -> Committed {
        let pull_request = raw.pull_request_url.as_deref().and_then(|url| {
            let number = url.rsplit('/').next()?.parse().ok()?;
            Some(self.pull_request(client, number))
        });
        Committed { commit: raw.commit_oid, url: raw.commit_url, parent: Some(base.head), pull_request }
    }

    fn pull_request(&self, client: &Client<'_>, number: u64) -> PullRequest {
        let repo = &self.publication.to.repo;
        let url = client.url(&[repo.owner(), repo.name(), "discussions", &number.to_string()]);
        PullRequest { number, url: url.into() }
    }

    /// The open pull request that proposes just this, where one was asked for.
    async fn proposed(&self, client: &Client<'_>, base: &RepoState) -> Result<Option<Committed>, HubError> {
        let to = &self.publication.to;
        if !to.create_pr {
            return Ok(None);
        }
        let subject = Subject { repo: &to.repo, revision: BRANCH, path: None };
        let mut url = client.url(&["api", "models", to.repo.owner(), to.repo.name(), "discussions"]);
        url.set_query(Some("type=pull_request&status=open"));
        // Repositories may have no discussions, and a token no right to them.
        let reply = client.ask(subject, || Call::get(url.clone()).also(&[403, 404])).await?;
        if reply.status >= 400 {
            return Ok(None);
        }
        let mut open = reply.json::<RawDiscussions>()?.discussions;
        let ours = |d: &RawDiscussion| {
            d.is_pull_request && d.status == "open" && d.title == self.publication.summary
        };
        open.retain(ours);
        open.sort_by_key(|d| std::cmp::Reverse(d.num));
        for discussion in open.into_iter().take(PULL_REQUESTS) {
            let there = match remote::at(client, &to.repo, &format!("refs/pr/{}", discussion.num)).await {
                Ok(there) => there,
                Err(HubError::RevisionNotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            if self.is_in(&there.files) {
                let (parent, pull_request) =
                    (Some(base.head.clone()), self.pull_request(client, discussion.num));
                return Ok(Some(Committed {
                    commit: there.head,
                    url: None,
                    parent,
                    pull_request: Some(pull_request),
                }));
            }
        }
        Ok(None)
    }
}
