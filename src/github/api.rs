//! What is written on GitHub: a comment on a pull request, an issue, files of a release.
//!
//! In: texts with a hidden marker, or named files. Out: what there is now. Each of them is there once, however often and
//! from however many runs it is asked for. What others wrote is never changed: a text counts as ours only if it has the
//! marker and was written by a bot or by somebody who may write to the repository.

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, GithubOptions, run};
use super::error::GithubError;
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::event::{Code, Event, Observer};

/// Pages of comments that are looked through.
const COMMENT_PAGES: usize = 30;
/// Pages of open issues that are looked through, those last changed first.
const ISSUE_PAGES: usize = 10;
/// Pages of files of a release.
const ASSET_PAGES: usize = 10;

/// A comment or an issue.
#[derive(Clone, Debug, Deserialize)]
struct Note {
    /// Of a comment.
    id: u64,
    /// Of an issue.
    #[serde(default)]
    number: u64,
    html_url: String,
    #[serde(default)]
    title: String,
    body: Option<String>,
    user: Option<User>,
    #[serde(default)]
    author_association: String,
    /// Issues are listed with pull requests.
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    #[serde(rename = "type", default)]
    kind: String,
}

impl Note {
    fn is_ours(&self, marker: &str) -> bool {
        let bot = self.user.as_ref().is_some_and(|user| user.kind == "Bot");
        let trusted = bot || ["OWNER", "MEMBER", "COLLABORATOR"].contains(&&*self.author_association);
        let marked = self.body.as_deref().is_some_and(|body| body.starts_with(marker));
        trusted && marked && self.pull_request.is_none()
    }

    /// GitHub may give line ends back as it got them from a browser.
    fn says(&self, text: &str) -> bool {
        self.body.as_deref().is_some_and(|body| body.replace("\r\n", "\n").trim_end() == text.trim_end())
    }
}

/// Writes a comment on a pull request, or changes the one that is there.
///
/// # Errors
/// [`GithubError`].
pub fn comment(
    pull_request: u64,
    marker: &str,
    text: &str,
    options: &GithubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<String, GithubError> {
    let what = format!("comment on pull request {pull_request}");
    let body = format!("{marker}\n{text}");
    let note = run(&what, options, observer, cancel, async |client| {
        let path = format!("issues/{pull_request}/comments");
        let find = async || {
            let notes: Vec<Note> = client.list(&what, &format!("{path}?"), COMMENT_PAGES).await?;
            Ok(notes.into_iter().find(|note| note.is_ours(marker)))
        };
        let post = async || client.post(&path, &json!({ "body": body })).await;
        let (note, _) = client.create(&what, find, post).await?;
        if note.says(&body) {
            return Ok(note);
        }
        client.patch(&what, &format!("issues/comments/{}", note.id), &json!({ "body": body })).await
    })?;
    let event = Event::new(Code::CommentWritten, format!("the plan is a comment: {}", note.html_url));
    observer.event(event.with("url", note.html_url.as_str()));
    Ok(note.html_url)
}

/// What the issue that tracks failures shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// Something fails.
    Fails {
        /// The issue's title.
        title: String,
        /// Its text.
        text: String,
    },
    /// Everything works.
    Works {
        /// The comment with which an issue that is open is closed.
        text: String,
    },
}

/// Opens the issue that tracks failures, changes it, or closes it. Gives its address where there is one.
///
/// # Errors
/// [`GithubError`].
pub fn track(
    tracked: &Tracked,
    marker: &str,
    options: &GithubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Option<String>, GithubError> {
    let what = "keep the issue that tracks failures";
    let done = run(what, options, observer, cancel, async |client| {
        let find = async || {
            let path = "issues?state=open&sort=updated&direction=desc";
            let notes: Vec<Note> = client.list(what, path, ISSUE_PAGES).await?;
            // Of several, the oldest.
            Ok(notes.into_iter().filter(|note| note.is_ours(marker)).min_by_key(|note| note.number))
        };
        match tracked {
            Tracked::Fails { title, text } => {
                let body = format!("{marker}\n{text}");
                let new = json!({ "title": title, "body": body });
                let post = async || client.post("issues", &new).await;
                let (note, there) = client.create(what, find, post).await?;
                if note.says(&body) && note.title == *title {
                    let code = if there { Code::IssueUpdated } else { Code::IssueOpened };
                    return Ok(Some((code, note)));
                }
                let note = client.patch(what, &format!("issues/{}", note.number), &new).await?;
                Ok(Some((Code::IssueUpdated, note)))
            }
            Tracked::Works { text } => {
                let Some(note) = find().await? else { return Ok(None) };
                close(client, what, &note, text).await?;
                Ok(Some((Code::IssueClosed, note)))
            }
        }
    })?;
    Ok(done.map(|(code, note)| {
        let verb = match code {
            Code::IssueOpened => "opened",
            Code::IssueClosed => "closed",
            _ => "updated",
        };
        let event = Event::new(code, format!("the issue that tracks failures is {verb}: {}", note.html_url));
        observer.event(event.with("url", note.html_url.as_str()));
        note.html_url
    }))
}

/// Closed first: an issue that is open is one that fails, whatever happens between. The text names the run, so that no
/// other comment is taken for it.
async fn close(client: &Client<'_>, what: &str, note: &Note, text: &str) -> Result<(), GithubError> {
    let closed = json!({ "state": "closed", "state_reason": "completed" });
    let _: Note = client.patch(what, &format!("issues/{}", note.number), &closed).await?;
    let path = format!("issues/{}/comments", note.number);
    let find = async || {
        let notes: Vec<Note> = client.list(what, &format!("{path}?"), COMMENT_PAGES).await?;
        Ok(notes.into_iter().find(|note| note.is_ours("") && note.says(text)))
    };
    let post = async || client.post::<Note>(&path, &json!({ "body": text })).await;
    client.create(what, find, post).await.map(drop)
}

/// Which release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseRef {
    /// By its number.
    Id(u64),
    /// By its tag.
    Tag(String),
}

/// A file of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetFile {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct RawRelease {
    id: u64,
    html_url: String,
    upload_url: String,
}

#[derive(Debug, Deserialize)]
struct RawAsset {
    id: u64,
    name: String,
    size: u64,
    #[serde(default)]
    state: String,
    digest: Option<String>,
}

impl RawAsset {
    fn is(&self, file: &AssetFile) -> bool {
        let digest = format!("sha256:{}", hash::sha256(&file.bytes));
        self.name == file.name
            && self.state == "uploaded"
            && self.size == file.bytes.len() as u64
            && self.digest.as_ref() == Some(&digest)
    }
}

/// Attaches files to a release. One that is there with the same bytes stays; another one of the same name is replaced.
///
/// # Errors
/// [`GithubError`]; files before the one that failed are attached.
pub fn attach(
    release: &ReleaseRef,
    files: &[AssetFile],
    options: &GithubOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<String, GithubError> {
    let what = "attach files to the release";
    let (url, sent) = run(what, options, observer, cancel, async |client| {
        let path = match release {
            ReleaseRef::Id(id) => format!("releases/{id}"),
            ReleaseRef::Tag(tag) => format!("releases/tags/{}", escaped(tag)),
        };
        let release: RawRelease = client.get(what, &path).await?;
        let list = format!("releases/{}/assets?", release.id);
        let mut sent = 0;
        for file in files {
            let to = client.options.upload_address(&release.upload_url, &file.name);
            let to = to.ok_or_else(|| GithubError::Elsewhere { url: release.upload_url.clone() })?;
            let find = async || {
                let there: Vec<RawAsset> = client.list(what, &list, ASSET_PAGES).await?;
                if there.iter().any(|asset| asset.is(file)) {
                    return Ok(Some(()));
                }
                for old in there.iter().filter(|asset| asset.name == file.name) {
                    client.delete(what, &format!("releases/assets/{}", old.id)).await?;
                }
                Ok(None)
            };
            let post = async || client.upload(to.clone(), file.bytes.clone().into()).await;
            let ((), there) = client.create(what, find, post).await?;
            sent += usize::from(!there);
        }
        Ok((release.html_url, sent))
    })?;
    let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
    let text = format!("attached to the release {url}: {}", names.join(", "));
    observer.event(Event::new(Code::FilesAttached, text).with("url", url.as_str()).with("sent", sent));
    Ok(url)
}

/// A tag within an address.
fn escaped(tag: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    tag.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: &str, association: &str, body: &str) -> Note {
        Note {
            id: 1,
            number: 2,
            html_url: String::new(),
            title: String::new(),
            body: Some(body.to_owned()),
            user: Some(User { kind: kind.to_owned() }),
            author_association: association.to_owned(),
            pull_request: None,
        }
    }

    #[test]
    fn only_what_we_wrote_is_ours() {
        let marker = "<!-- jamph-quantizer:plan:0 -->";
        let text = format!("{marker}\nx");
        assert!(note("Bot", "NONE", &text).is_ours(marker));
        assert!(note("User", "MEMBER", &text).is_ours(marker));
        // Anybody may write a marker.
        assert!(!note("User", "CONTRIBUTOR", &text).is_ours(marker));
        assert!(!note("User", "FIRST_TIME_CONTRIBUTOR", &text).is_ours(marker));
        assert!(!note("Bot", "NONE", &format!("> {text}")).is_ours(marker));
        assert!(!note("Bot", "NONE", "x").is_ours(marker));
        assert!(note("Bot", "NONE", &text.replace('\n', "\r\n")).says(&text));
    }

    #[test]
    fn tags_are_one_piece_of_an_address() {
        assert_eq!(escaped("v1.0/../x?y#z"), "v1.0%2F..%2Fx%3Fy%23z");
    }
}
