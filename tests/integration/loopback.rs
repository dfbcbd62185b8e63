//! The loopback Hub itself: that it refuses what a Hub refuses, and goes wrong where it is told to. What it does for
//! clients that mean well is in `tests/peers`.

use std::time::Duration;

use jamph_quantizer::base::hash;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::hub::{Fault, File, Hub, On, Repo, Role, Settings};

const REPO: &str = "me/model";

/// A Hub with a repository, and whoever talks to it.
struct Talk {
    hub: Hub,
    token: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// An answer; none where the connection broke.
#[derive(Debug, PartialEq)]
struct Answer {
    status: Option<u16>,
    body: Vec<u8>,
    etag: Option<String>,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, Some(status), "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Talk {
    fn new() -> Self {
        // Parts of four bytes.
        let hub = Hub::with(Settings { part: Some(4), ..Settings::default() });
        hub.add(REPO, Repo::new([("config.json", File::small("{}")), ("w.bin", File::large("0123456789"))]));
        let token = hub.token("me", Role::Write);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Talk { hub, token, http: http.timeout(Duration::from_secs(20)).build().unwrap(), runtime }
    }

    fn send(&self, request: RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let Ok(response) = request.send().await else {
                return Answer { status: None, body: vec![], etag: None };
            };
            let status = response.status().as_u16();
            let etag = response.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
            match response.bytes().await {
                Ok(body) => Answer { status: Some(status), body: body.to_vec(), etag },
                Err(_) => Answer { status: None, body: vec![], etag },
            }
        })
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.hub.endpoint())).bearer_auth(&self.token)
    }

    fn get(&self, path: &str) -> Answer {
        self.send(self.ask(Method::GET, path))
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.ask(Method::POST, path).json(body))
    }

    fn commit(&self, parent: Option<&str>, line: &Value) -> Answer {
        let header = json!({"key": "header", "value": {"summary": "s", "parentCommit": parent}});
        let body = format!("{header}\n{line}\n");
        self.send(self.ask(Method::POST, "/api/models/me/model/commit/main").body(body))
    }

    /// Asks where an object goes to.
    fn batch(&self, content: &str) -> Value {
        let object = json!({"oid": hash::sha256(content.as_bytes()), "size": content.len()});
        let asked = json!({"operation": "upload", "transfers": ["basic", "multipart"], "objects": [object],
            "ref": {"name": "main"}});
        self.post("/me/model.git/info/lfs/objects/batch", &asked).is(200).json()["objects"][0].clone()
    }

    fn put(&self, url: &Value, body: &str) -> Answer {
        self.send(self.http.put(url.as_str().unwrap()).body(body.to_owned()))
    }
}

fn small(path: &str, content: &str) -> Value {
    json!({"key": "file", "value": {"path": path, "content": content, "encoding": "utf-8"}})
}

fn large(path: &str, content: &str) -> Value {
    let oid = hash::sha256(content.as_bytes());
    json!({"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": content.len()}})
}

#[test]
fn a_commit_names_only_large_files_that_came_whole() {
    let talk = Talk::new();
    let content = "abcdefghij";
    talk.commit(None, &large("x.gguf", content)).is(400);
    let upload = &talk.batch(content)["actions"]["upload"];
    assert_eq!(upload["header"]["chunk_size"], "4");
    let part = |n: usize| &upload["header"][format!("{n:05}")];
    let complete = |parts: &[(usize, &str)]| {
        let parts: Vec<Value> = parts.iter().map(|(n, e)| json!({"partNumber": n, "etag": e})).collect();
        let body = json!({"oid": hash::sha256(content.as_bytes()), "parts": parts});
        talk.send(talk.http.post(upload["href"].as_str().unwrap()).json(&body))
    };
    talk.put(part(1), "abc").is(400);
    let first = talk.put(part(1), "abcd").is(200).etag.unwrap();
    let second = talk.put(part(2), "efgh").is(200).etag.unwrap();
    complete(&[(1, &first), (2, &second)]).is(400);
    let third = talk.put(part(3), "ij").is(200).etag.unwrap();
    complete(&[(1, &first), (2, &second), (3, "\"other\"")]).is(400);
    talk.commit(None, &large("x.gguf", content)).is(400);
    complete(&[(1, &first), (2, &second), (3, &third)]).is(200);
    talk.commit(None, &large("x.gguf", content)).is(200);
    assert_eq!(talk.hub.read(REPO, "x.gguf"), content.as_bytes());
    // It is there now, and no rule covered its name.
    assert!(talk.batch(content).get("actions").is_none());
    let attributes = String::from_utf8(talk.hub.read(REPO, ".gitattributes")).unwrap();
    assert!(attributes.contains("x.gguf filter=lfs"), "{attributes}");
}

#[test]
fn objects_whose_bytes_are_others_are_refused() {
    let talk = Talk::new();
    let upload = talk.batch("abc")["actions"]["upload"]["href"].clone();
    talk.put(&upload, "abd").is(400);
    talk.commit(None, &large("x.gguf", "abc")).is(400);
    let upload = talk.batch("abc")["actions"]["upload"]["href"].clone();
    talk.put(&upload, "abc").is(200);
    talk.commit(None, &large("x.gguf", "abc")).is(200);
}

#[test]
fn a_part_that_is_cut_leaves_nothing() {
    let talk = Talk::new();
    let upload = talk.batch("abc")["actions"]["upload"]["href"].clone();
    talk.hub.fault(On::Part, 1, Fault::Cut(1));
    assert_eq!(talk.put(&upload, "abc").status, None);
    talk.commit(None, &large("x.gguf", "abc")).is(400);
    talk.put(&upload, "abc").is(200);
    talk.commit(None, &large("x.gguf", "abc")).is(200);
}

#[test]
fn commits_that_fail_did_or_did_not_happen() {
    let talk = Talk::new();
    let check = |fault: Fault, status: Option<u16>, happens: bool| {
        let before = talk.hub.history(REPO).len();
        talk.hub.fault(On::Commit, 1, fault);
        assert_eq!(talk.commit(None, &small("a", "a")).status, status);
        assert_eq!(talk.hub.history(REPO).len() - before, usize::from(happens));
    };
    check(Fault::Status(504, vec![]), Some(504), false);
    check(Fault::Status(429, vec![("ratelimit", "\"api\";r=0;t=1".to_owned())]), Some(429), false);
    check(Fault::Cut(10), None, false);
    check(Fault::After(504), Some(504), true);
    check(Fault::Lost, None, true);
    check(Fault::Late(Duration::from_millis(1)), Some(200), true);
}

#[test]
fn a_stale_parent_is_refused() {
    let talk = Talk::new();
    let head = talk.hub.head(REPO).id;
    let theirs = talk.hub.push(REPO, [("b", Some(File::small("b")))]);
    talk.commit(Some(&head), &small("a", "a")).is(412);
    talk.commit(Some(&theirs), &small("a", "a")).is(200);
    assert_eq!(talk.hub.head(REPO).parent, Some(theirs));
}

#[test]
fn tokens_do_what_their_role_lets_them() {
    let mut talk = Talk::new();
    let fine = |scope: &str| Role::FineGrained(vec![scope.to_owned()]);
    for (name, role, shown, status) in [
        ("me", Role::Read, "read", 403),
        ("you", Role::Write, "write", 403),
        ("you", fine("you"), "fineGrained", 403),
        ("you", fine(REPO), "fineGrained", 200),
        ("me", Role::Write, "write", 200),
    ] {
        talk.token = talk.hub.token(name, role);
        assert_eq!(talk.get("/api/whoami-v2").is(200).json()["auth"]["accessToken"]["role"], shown);
        talk.commit(None, &small("a", "a")).is(status);
        talk.get("/api/models/me/model/xet-write-token/main").is(status);
    }
}

#[test]
fn a_token_that_is_revoked_is_refused() {
    let talk = Talk::new();
    talk.hub.revoke_after(&talk.token, 2);
    talk.get("/api/whoami-v2").is(200);
    talk.get("/api/models/me/model").is(200);
    talk.get("/api/models/me/model").is(401);
    talk.commit(None, &small("a", "a")).is(401);
}

#[test]
fn tokens_of_the_store_expire_and_are_its_own() {
    let talk = Talk::new();
    let at_store = |token: &str| {
        let url = format!("{}/v1/xorbs/default/{}", talk.hub.cas(), "0".repeat(64));
        talk.send(talk.http.post(url).bearer_auth(token).body("x")).status
    };
    let given = |kind: &str| {
        let answer = talk.get(&format!("/api/models/me/model/xet-{kind}-token/main")).is(200).json();
        answer["accessToken"].as_str().unwrap().to_owned()
    };
    // Not a chunk, but nobody without the right hears that.
    assert_eq!(at_store(&given("write")), Some(500));
    assert_eq!(at_store(&given("read")), Some(401));
    talk.hub.xet_lifetime(Duration::ZERO);
    assert_eq!(at_store(&given("write")), Some(401));
    assert!(talk.hub.leaks().is_empty());
    assert_eq!(at_store(&talk.token), Some(401));
    assert_eq!(talk.hub.leaks().len(), 1);
}

#[test]
fn bodies_are_cut_shortened_and_flipped() {
    let talk = Talk::new();
    let path = "/me/model/resolve/main/config.json";
    let faults = [Fault::Cut(1), Fault::Short(1), Fault::Flip];
    faults.into_iter().for_each(|fault| talk.hub.fault(On::Resolve, 1, fault));
    assert_eq!(talk.get(path).status, None);
    assert_eq!(talk.get(path).is(200).body, b"{");
    assert_eq!(talk.get(path).is(200).body, b"{|");
    assert_eq!(talk.get(path).is(200).body, b"{}");
}

#[test]
fn faults_strike_where_and_when_they_are_told_to() {
    let talk = Talk::new();
    talk.hub.fault_after(On::Info, 1, 1, Fault::Status(500, vec![]));
    let path = "/api/models/me/model";
    assert_eq!([(); 3].map(|()| talk.get(path).status), [Some(200), Some(500), Some(200)]);
    talk.hub.fault_at(On::Resolve, "w.bin", 1, Fault::Status(500, vec![]));
    talk.get("/me/model/resolve/main/config.json").is(200);
    talk.get("/me/model/resolve/main/w.bin").is(500);
    talk.get("/me/model/resolve/main/w.bin").is(302);
    assert_eq!((talk.hub.count(On::Info), talk.hub.count(On::Resolve)), (3, 3));
}

#[test]
fn a_folder_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Hub::with(Settings { folder: Some(folder.path().to_owned()), ..Settings::default() });
    let hub = start();
    hub.add(REPO, Repo::new([("config.json", File::small("{}")), ("w.bin", File::large([7, 0, 255]))]));
    hub.push(REPO, [("a", Some(File::small("a")))]);
    let history: Vec<String> = hub.history(REPO).into_iter().map(|c| c.id).collect();
    drop(hub);
    let hub = start();
    assert_eq!(hub.history(REPO).into_iter().map(|c| c.id).collect::<Vec<_>>(), history);
    assert_eq!(hub.read(REPO, "w.bin"), [7, 0, 255]);
}
