//! Who asks: tokens and what they may do, and the exchange of a workflow's identity for a token.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jamph_quantizer::base::hash;
use serde_json::{Value, json};

use super::attributes;
use super::repo::{Entry, Repository};
use super::{Answer, Refused, Shared, refuse};

/// Seconds that a token lives which was given for a workflow's identity.
const EXCHANGED: u64 = 3600;

/// What a token may do.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Read,
    Write,
    /// Writes to these repositories, or to all of these owners.
    FineGrained(Vec<String>),
}

/// Where a workflow gets its identity, as GitHub's runner says in the variables of these names.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`
    pub request_url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`
    pub request_token: String,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    organizations: Vec<String>,
    role: Role,
    /// The one repository of a token that was given for an identity.
    only: Option<String>,
    expires: Option<Instant>,
    /// Requests until it is revoked.
    left: Option<u32>,
}

/// Whoever sent a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Nobody,
    /// A token that this Hub did not give, while it gave none: taken for a sound one of somebody else.
    Stranger(String),
    Known(String, Box<Account>),
}

#[derive(Default)]
pub(super) struct Accounts {
    tokens: Mutex<HashMap<String, Account>>,
    /// Repositories that trust the workflow.
    trusting: Mutex<BTreeSet<String>>,
    /// Identity tokens that were given, and for whom.
    identities: Mutex<HashMap<String, String>>,
}

impl Accounts {
    pub(super) fn add(&self, token: &str, name: &str, organizations: &[&str], role: Role) {
        let account = Account {
            name: name.to_owned(),
            organizations: organizations.iter().map(|&o| o.to_owned()).collect(),
            role,
            only: None,
            expires: None,
            left: None,
        };
        self.tokens.lock().unwrap().insert(token.to_owned(), account);
    }

    /// The token is good for so many more requests.
    pub(super) fn revoke_after(&self, token: &str, requests: u32) {
        self.tokens.lock().unwrap().get_mut(token).expect("the token was given").left = Some(requests);
    }

    /// The tokens that were given for an identity end.
    pub(super) fn expire_exchanged(&self) {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.values_mut().filter(|a| a.only.is_some()).for_each(|a| a.expires = Some(Instant::now()));
    }

    pub(super) fn trust(&self, repo: &str) {
        self.trusting.lock().unwrap().insert(repo.to_owned());
    }

    /// Every token of this Hub: what must not be seen elsewhere.
    pub(super) fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn caller(&self, authorization: Option<&str>) -> Answer<Caller> {
        let Some(token) = authorization.and_then(|a| a.strip_prefix("Bearer ")) else {
            return Ok(Caller::Nobody);
        };
        let mut tokens = self.tokens.lock().unwrap();
        if tokens.is_empty() {
            return Ok(Caller::Stranger(token.to_owned()));
        }
        let invalid = || {
            let text = "Invalid credentials in Authorization header";
            let headers = [("x-error-message", text), ("www-authenticate", "Bearer")];
            Refused::from((StatusCode::UNAUTHORIZED, headers, Json(json!({"error": text}))).into_response())
        };
        let account = tokens.get_mut(token).ok_or_else(invalid)?;
        let expired = account.expires.is_some_and(|end| end <= Instant::now());
        match &mut account.left {
            _ if expired => return Err(invalid()),
            Some(0) => return Err(invalid()),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(Caller::Known(token.to_owned(), Box::new(account.clone())))
    }
}

impl Caller {
    pub(super) fn is_somebody(&self) -> bool {
        !matches!(self, Caller::Nobody)
    }

    /// Whether the token may write to this repository (`owner/name`).
    pub(super) fn may_write(&self, repo: &str) -> bool {
        let Caller::Known(_, account) = self else { return false };
        let owner = repo.split('/').next().unwrap_or_default();
        match &account.role {
            _ if account.only.is_some() => account.only.as_deref() == Some(repo),
            Role::Read => false,
            Role::Write => account.belongs(owner),
            Role::FineGrained(scopes) => scopes.iter().any(|s| s == owner || s == repo),
        }
    }

    /// Whether the token may propose changes to a repository that it can see.
    pub(super) fn may_propose(&self) -> bool {
        matches!(self, Caller::Known(..))
    }

    pub(super) fn sees(&self, repo: &str, repository: &Repository) -> bool {
        let to = repository.private_to.as_deref();
        (!repository.private && to.is_none())
            || match self {
                Caller::Nobody => false,
                Caller::Stranger(token) => to == Some(token),
                Caller::Known(token, account) => {
                    to == Some(token)
                        || self.may_write(repo)
                        || (account.only.is_none() && account.belongs_to(repo))
                }
            }
    }

    /// Whether the gate is open: for the repository's own people, and whom they let in.
    pub(super) fn is_let_in(&self, repo: &str, repository: &Repository) -> bool {
        match self {
            _ if !repository.gated => true,
            Caller::Nobody => false,
            Caller::Stranger(token) => repository.granted.contains(token),
            Caller::Known(token, account) => account.belongs_to(repo) || repository.granted.contains(token),
        }
    }

    /// 401 for nobody, 403 for somebody without the right.
    pub(super) fn refused(&self, why: &str) -> Response {
        let status = if self.is_somebody() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        let headers = [("x-error-message", why.to_owned())];
        (status, headers, Json(json!({"error": why}))).into_response()
    }
}

impl Account {
    fn belongs(&self, owner: &str) -> bool {
        self.name == owner || self.organizations.iter().any(|o| o == owner)
    }

    fn belongs_to(&self, repo: &str) -> bool {
        self.belongs(repo.split('/').next().unwrap_or_default())
    }
}

/// `GET /api/whoami-v2`
pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Response {
    let Caller::Known(_, account) = caller else {
        return refuse(401, "Unauthorized");
    };
    let organizations: Vec<Value> = account
        .organizations
        .iter()
        .map(|name| json!({"type": "org", "name": name, "fullname": name, "roleInOrg": "write"}))
        .collect();
    let auth = match (&account.only, &account.role) {
        (Some(repo), _) => json!({"type": "oauth", "resource": repo}),
        (None, Role::FineGrained(scopes)) => {
            let scoped: Vec<Value> = scopes.iter().map(|s| scope(s, &account)).collect();
            json!({"type": "access_token", "accessToken": {"displayName": "loopback", "role": "fineGrained",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "fineGrained": {"canReadGatedRepos": true, "global": [], "scoped": scoped}}})
        }
        (None, role) => {
            let role = if *role == Role::Write { "write" } else { "read" };
            json!({"type": "access_token", "accessToken": {"displayName": "loopback", "role": role,
                "createdAt": "2026-01-01T00:00:00.000Z"}})
        }
    };
    Json(json!({"type": "user", "id": hash::git_blob(account.name.as_bytes()), "name": account.name,
        "fullname": account.name, "email": null, "isPro": false, "canPay": false, "orgs": organizations,
        "auth": auth}))
    .into_response()
}

fn scope(name: &str, account: &Account) -> Value {
    let kind = match name {
        _ if name.contains('/') => "model",
        _ if name == account.name => "user",
        _ => "org",
    };
    json!({"entity": {"_id": hash::git_blob(name.as_bytes()), "type": kind, "name": name},
        "permissions": ["repo.content.read", "repo.write"]})
}

/// `POST /api/repos/create`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<Value>,
) -> Response {
    if !asked["type"].is_null() && asked["type"] != "model" {
        return refuse(400, "NotAModel");
    }
    let Some((owner, name)) = whose(&caller, &asked) else {
        return caller.refused("Invalid username or password.");
    };
    let id = format!("{owner}/{name}");
    let exchanged = matches!(&caller, Caller::Known(_, account) if account.only.is_some());
    if exchanged || !caller.may_write(&id) {
        return caller.refused(&format!(
            "You don't have the rights to create a model under the namespace \"{owner}\""
        ));
    }
    let url = format!("{}/{id}", shared.api);
    let mut repos = shared.repos.lock().unwrap();
    if repos.contains_key(&id) {
        let text = "You already created this model repo";
        return (StatusCode::CONFLICT, Json(json!({"error": text, "url": url}))).into_response();
    }
    let first = Entry::regular(attributes::DEFAULT.into());
    let mut repository = Repository::new([(".gitattributes".to_owned(), first)].into(), "initial commit");
    repository.private = asked["private"] == true || asked["visibility"] == "private";
    repos.insert(id.clone(), repository);
    Json(json!({"url": url, "name": id, "id": hash::git_blob(id.as_bytes())})).into_response()
}

/// `DELETE /api/repos/delete`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<Value>,
) -> Response {
    let Some((owner, name)) = whose(&caller, &asked) else {
        return caller.refused("Invalid username or password.");
    };
    let id = format!("{owner}/{name}");
    if !caller.may_write(&id) {
        return caller.refused("You don't have the rights to delete this model");
    }
    match shared.repos.lock().unwrap().remove(&id) {
        None => refuse(404, "RepoNotFound"),
        Some(_) => "OK".into_response(),
    }
}

fn whose(caller: &Caller, asked: &Value) -> Option<(String, String)> {
    let Caller::Known(_, account) = caller else { return None };
    let owner = asked["organization"].as_str().unwrap_or(&account.name);
    Some((owner.to_owned(), asked["name"].as_str()?.to_owned()))
}

/// What a workflow asks GitHub for its identity: `GET …?…&audience=`.
pub(super) async fn identity(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if token != Some(&format!("Bearer {}", shared.workflow.request_token)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let audience = query.get("audience").map_or("https://github.com/loopback", String::as_str);
    let mut identities = shared.accounts.identities.lock().unwrap();
    let token = format!(
        "eyJhbGciOiJub25lIn0.{}.loopback",
        hash::git_blob(format!("identity {}", identities.len()).as_bytes())
    );
    identities.insert(token.clone(), audience.to_owned());
    Json(json!({"count": token.len(), "value": token})).into_response()
}

/// `POST /oauth/token`: a token for one repository that trusts the workflow; JSON or a form.
pub(super) async fn exchange(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|t| t.to_str().unwrap().contains("json"));
    let asked: Option<HashMap<String, String>> =
        if is_json { serde_json::from_slice(&body).ok() } else { Some(form(&body)) };
    let refuse = |error: &str, why: &str| {
        (StatusCode::BAD_REQUEST, Json(json!({"error": error, "error_description": why}))).into_response()
    };
    let Some(asked) = asked else { return refuse("invalid_request", "neither JSON nor a form") };
    let text = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    if text("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
        return refuse("unsupported_grant_type", "unknown grant type");
    }
    if text("subject_token_type") != "urn:ietf:params:oauth:token-type:id_token" {
        return refuse("invalid_request", "unknown type of token");
    }
    let audience = shared.accounts.identities.lock().unwrap().get(text("subject_token")).cloned();
    let ours = |audience: &str| {
        [shared.api.as_str(), "https://huggingface.co"].contains(&audience.trim_end_matches('/'))
    };
    if !audience.is_some_and(|a| ours(&a)) {
        return refuse("invalid_grant", "the identity is not known, or for somebody else");
    }
    let repo = text("resource");
    let there = shared.repos.lock().unwrap().contains_key(repo);
    if !there || !shared.accounts.trusting.lock().unwrap().contains(repo) {
        return refuse("invalid_target", "no trusted publisher of this repository");
    }
    let mut tokens = shared.accounts.tokens.lock().unwrap();
    let token = format!("hf_jwt_{}", hash::git_blob(format!("exchanged {}", tokens.len()).as_bytes()));
    let account = Account {
        name: repo.split('/').next().unwrap_or_default().to_owned(),
        organizations: Vec::new(),
        role: Role::Write,
        only: Some(repo.to_owned()),
        expires: Some(Instant::now() + Duration::from_secs(EXCHANGED)),
        left: None,
    };
    tokens.insert(token.clone(), account);
    Json(json!({"access_token": token, "token_type": "bearer", "expires_in": EXCHANGED,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}))
    .into_response()
}

/// `application/x-www-form-urlencoded`
pub(super) fn form(body: &[u8]) -> HashMap<String, String> {
    pairs(body).into_iter().collect()
}

/// The pairs of a form, in order; a name may come twice.
pub(super) fn pairs(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name), unescape(value))
    };
    text.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or(0) as u8;
        out.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()) << 4 | digit(bytes.next()),
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}
