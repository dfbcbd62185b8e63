//! Issues, and comments on them and on pull requests.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Extension, Json, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::SignedIn;
use super::{GitHub, Shared};

/// A comment, an issue, or what a pull request says.
#[derive(Clone, Debug)]
pub struct Note {
    /// Its own number among all notes.
    pub id: u64,
    /// The number of the issue or pull request that it is, or that it is about.
    pub number: u64,
    pub title: Option<String>,
    pub body: String,
    pub open: bool,
    /// Who wrote it, and what they are to the repository.
    pub author: (&'static str, &'static str),
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Issue,
    Pull,
    Comment,
}

/// Somebody from outside.
pub const STRANGER: (&str, &str) = ("User", "NONE");
/// A workflow's own token.
const BOT: (&str, &str) = ("Bot", "NONE");

#[derive(Default)]
pub(super) struct Notes(Mutex<Vec<Note>>);

impl Notes {
    fn add(&self, note: Note) -> Note {
        let mut notes = self.0.lock().unwrap();
        let id = notes.len() as u64 + 1;
        let number = if note.kind == Kind::Comment { note.number } else { id };
        let note = Note { id, number, ..note };
        notes.push(note.clone());
        note
    }

    fn change(&self, find: impl Fn(&Note) -> bool, by: &Value) -> Option<Note> {
        let mut notes = self.0.lock().unwrap();
        let note = notes.iter_mut().find(|n| find(n))?;
        let text = |key: &str| by.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(body) = text("body") {
            note.body = body;
        }
        note.title = text("title").or(note.title.take());
        note.open = text("state").map_or(note.open, |state| state == "open");
        Some(note.clone())
    }
}

fn note(
    kind: Kind,
    number: u64,
    title: Option<&str>,
    body: &str,
    author: (&'static str, &'static str),
) -> Note {
    let (title, body) = (title.map(str::to_owned), body.to_owned());
    Note { id: 0, number, title, body, open: true, author, kind }
}

impl GitHub {
    /// Opens a pull request; gives its number.
    pub fn pull_request(&self, title: &str) -> u64 {
        self.shared.notes.add(note(Kind::Pull, 0, Some(title), "", STRANGER)).number
    }

    /// Somebody opens an issue.
    pub fn issue(&self, title: &str, body: &str, author: (&'static str, &'static str)) -> u64 {
        self.shared.notes.add(note(Kind::Issue, 0, Some(title), body, author)).number
    }

    /// Somebody comments.
    pub fn say(&self, number: u64, body: &str, author: (&'static str, &'static str)) {
        self.shared.notes.add(note(Kind::Comment, number, None, body, author));
    }

    /// The comments on an issue or a pull request.
    pub fn comments(&self, number: u64) -> Vec<Note> {
        let notes = self.shared.notes.0.lock().unwrap();
        notes.iter().filter(|n| n.kind == Kind::Comment && n.number == number).cloned().collect()
    }

    /// Every issue, the oldest first.
    pub fn issues(&self) -> Vec<Note> {
        self.shared.notes.0.lock().unwrap().iter().filter(|n| n.kind == Kind::Issue).cloned().collect()
    }
}

pub(super) fn routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/repos/{owner}/{repo}/issues", get(list).post(open))
        .route("/repos/{owner}/{repo}/issues/{number}", patch(change))
        .route("/repos/{owner}/{repo}/issues/{number}/comments", get(comments).post(comment))
        .route("/repos/{owner}/{repo}/issues/comments/{id}", patch(change_comment))
}

#[derive(Deserialize)]
struct Page {
    per_page: usize,
    page: usize,
}

impl Page {
    fn of(&self, notes: Vec<Value>) -> Response {
        let from = (self.page - 1) * self.per_page;
        Json(notes.into_iter().skip(from).take(self.per_page).collect::<Value>()).into_response()
    }
}

fn shown(shared: &Shared, (owner, repo): (&str, &str), n: &Note) -> Value {
    let page = match n.kind {
        Kind::Pull => format!("pull/{}", n.number),
        Kind::Issue => format!("issues/{}", n.number),
        Kind::Comment => format!("issues/{}#issuecomment-{}", n.number, n.id),
    };
    let mut json = json!({
        "id": n.id, "html_url": format!("{}/{owner}/{repo}/{page}", shared.api), "body": n.body,
        "user": { "login": "someone", "type": n.author.0 }, "author_association": n.author.1,
    });
    if n.kind != Kind::Comment {
        json["number"] = n.number.into();
        json["title"] = n.title.clone().into();
        json["state"] = if n.open { "open" } else { "closed" }.into();
    }
    if n.kind == Kind::Pull {
        json["pull_request"] = json!({ "url": format!("{}/pulls/{}", shared.api, n.number) });
    }
    json
}

fn refused() -> Response {
    let message = json!({ "message": "Resource not accessible by integration" });
    (StatusCode::FORBIDDEN, Json(message)).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response()
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Response {
    let notes = shared.notes.0.lock().unwrap();
    let open = notes.iter().rev().filter(|n| n.kind != Kind::Comment && n.open);
    page.of(open.map(|n| shown(&shared, (&owner, &repo), n)).collect())
}

async fn open(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    Extension(signed): Extension<SignedIn>,
    Json(new): Json<Value>,
) -> Response {
    if !signed.0 {
        return refused();
    }
    let made = note(Kind::Issue, 0, new["title"].as_str(), new["body"].as_str().unwrap_or_default(), BOT);
    let made = shared.notes.add(made);
    (StatusCode::CREATED, Json(shown(&shared, (&owner, &repo), &made))).into_response()
}

async fn change(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, number)): Path<(String, String, u64)>,
    Extension(signed): Extension<SignedIn>,
    Json(by): Json<Value>,
) -> Response {
    if !signed.0 {
        return refused();
    }
    match shared.notes.change(|n| n.kind != Kind::Comment && n.number == number, &by) {
        Some(n) => Json(shown(&shared, (&owner, &repo), &n)).into_response(),
        None => not_found(),
    }
}

async fn comments(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, number)): Path<(String, String, u64)>,
    Query(page): Query<Page>,
) -> Response {
    let notes = shared.notes.0.lock().unwrap();
    let of = notes.iter().filter(|n| n.kind == Kind::Comment && n.number == number);
    page.of(of.map(|n| shown(&shared, (&owner, &repo), n)).collect())
}

async fn comment(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, number)): Path<(String, String, u64)>,
    Extension(signed): Extension<SignedIn>,
    Json(new): Json<Value>,
) -> Response {
    if !signed.0 {
        return refused();
    }
    let made =
        shared.notes.add(note(Kind::Comment, number, None, new["body"].as_str().unwrap_or_default(), BOT));
    (StatusCode::CREATED, Json(shown(&shared, (&owner, &repo), &made))).into_response()
}

async fn change_comment(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, id)): Path<(String, String, u64)>,
    Extension(signed): Extension<SignedIn>,
    Json(by): Json<Value>,
) -> Response {
    if !signed.0 {
        return refused();
    }
    match shared.notes.change(|n| n.kind == Kind::Comment && n.id == id, &by) {
        Some(n) => Json(shown(&shared, (&owner, &repo), &n)).into_response(),
        None => not_found(),
    }
}
