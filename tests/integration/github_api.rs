//! What the program writes on GitHub: a comment, an issue, files of a release. The compiled program against a Hub and a
//! GitHub on loopback.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::command::{Ran, Sandbox};
use crate::support::github::{Fault, GitHub, STRANGER, Seen};
use crate::support::hub::{Hub, Role};
use crate::support::runner;

const ONE: &str = "version: 1
defaults: { methods: [Q4_0], publish: { owner: me } }
models: [{ source: them/tiny }]
";

/// A repository on GitHub with a models.yaml, and a Hub with its model.
struct World {
    hub: Hub,
    github: GitHub,
    sandbox: Sandbox,
    token: String,
}

impl World {
    fn new() -> Self {
        let (hub, github) = (Hub::start(), GitHub::start());
        hub.add_folder("them/tiny", &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny")).unwrap();
        let mut sandbox = Sandbox::new();
        sandbox.write("models.yaml", ONE);
        runner::within(&mut sandbox);
        let token = github.token("workflow");
        sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", hub.token("me", Role::Write));
        sandbox.set("GITHUB_API_URL", github.api()).set("GITHUB_TOKEN", &token);
        World { hub, github, sandbox, token }
    }

    fn event(&self, event: &Value) {
        self.sandbox.write("event.json", event.to_string());
    }

    #[track_caller]
    fn step(&self, words: &str) -> Ran {
        let ran = self.sandbox.run(words);
        assert!(!runner::log(&ran).contains(&self.token), "{ran}");
        assert_eq!(self.github.leaks().len(), 0, "a token went elsewhere");
        // Nothing on GitHub holds a secret, either.
        let sent = self.github.seen().into_iter().filter_map(|seen| seen.json);
        assert!(sent.map(|json| json.to_string()).all(|json| !json.contains(&self.token)));
        ran
    }

    /// Requests that changed something.
    fn writes(&self) -> Vec<String> {
        let seen = self.github.seen().into_iter().filter(|seen| seen.method != "GET");
        seen.map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    fn result(&self, name: &str, models: &[(&str, &str)]) {
        let model = |(model, status): &(&str, &str)| {
            let error = (*status == "failed").then_some("`them/x` is not there, @octocat");
            json!({"model": model, "status": status, "error": error,
                   "outputs": [{"method": "Q4_0", "made": true, "bits_per_weight": 4.5,
                                "files": [{"name": format!("{model}-q4_0.gguf"), "size": 7, "sha256": "a".repeat(64)}]}],
                   "metadata": {"format_version": 1, "of": model}})
        };
        let models: Vec<Value> = models.iter().map(model).collect();
        let result = json!({"format_version": 1, "version": "1", "started": "2026-11-23T00:00:00Z", "seconds": 1.5,
                            "models": models});
        self.sandbox.write(name, result.to_string());
    }
}

#[test]
fn a_pull_request_has_one_comment_with_the_plan() {
    let world = World::new();
    let number = world.github.pull_request("::error::add a model");
    world.event(&json!({ "pull_request": { "number": number } }));
    let ran = world.step("plan --comment").code(0).stderr("GHA-001");
    let comments = world.github.comments(number);
    assert_eq!(comments.len(), 1, "{ran}");
    let text = comments[0].body.clone();
    assert!(
        text.starts_with("<!-- jamph-quantizer:plan:") && text.contains("1 output of 1 model to make"),
        "{text}"
    );
    assert!(text.contains("| `Q4_0` |") && text.contains("To `me/tiny`: to be created, public"), "{text}");

    // The same plan is no change.
    world.github.forget();
    world.step("plan --comment").code(0);
    assert_eq!(world.writes(), Vec::<String>::new());

    // Another plan, in place; and what is wrong with the file, too.
    world.sandbox.write("models.yaml", ONE.replace("[Q4_0]", "[Q4_0, Q8_0]"));
    world.step("plan --comment --matrix").code(0);
    assert!(world.github.comments(number)[0].body.contains("2 outputs of 1 model to make"));
    world.sandbox.write("models.yaml", ONE.replace("Q4_0", "Q4_O"));
    world.step("plan --comment").code(3);
    let comments = world.github.comments(number);
    assert!(
        comments.len() == 1 && comments[0].body.contains("The models.yaml has 1 problem"),
        "{comments:?}"
    );
    assert_eq!(comments[0].id, number + 1);
}

#[test]
fn comments_of_others_are_left_alone() {
    let world = World::new();
    let number = world.github.pull_request("x");
    world.event(&json!({ "pull_request": { "number": number } }));
    world.step("plan --comment").code(0);
    let marked = world.github.comments(number)[0].body.clone();

    // Somebody writes the marker first; and so many comments that ours is on a later page.
    let other = world.github.pull_request("y");
    world.github.say(other, &marked, STRANGER);
    (0..150).for_each(|i| world.github.say(other, &format!("{i}"), STRANGER));
    world.event(&json!({ "pull_request": { "number": other } }));
    for _ in 0..2 {
        world.step("plan --comment --force").code(0);
    }
    let comments = world.github.comments(other);
    assert_eq!((comments.len(), &comments[0].body), (152, &marked));
}

#[test]
fn an_answer_that_is_lost_makes_no_second_comment() {
    let world = World::new();
    let number = world.github.pull_request("x");
    world.event(&json!({ "pull_request": { "number": number } }));
    world.github.fault_on("POST", "/comments", 1, Fault::Lost);
    world.step("plan --comment").code(0).stderr("GHA-001");
    assert_eq!(world.github.comments(number).len(), 1);

    // Nor does a server that is overloaded, or a rate limit, which is waited for.
    let number = world.github.pull_request("y");
    world.event(&json!({ "pull_request": { "number": number } }));
    world.github.fault_on("GET", "/comments", 1, Fault::Status(502, vec![]));
    world.github.fault_on("POST", "/comments", 1, Fault::Status(403, vec![("retry-after", "1")]));
    world.step("plan --comment").code(0).stderr("GHA-006 GitHub's rate limit: waiting 1 s to comment");
    assert_eq!(world.github.comments(number).len(), 1);
}

#[test]
fn who_may_not_comment_still_plans() {
    let mut world = World::new();
    let number = world.github.pull_request("x");
    let warned = |ran: &Ran| {
        let taken = runner::commands(ran);
        taken.iter().any(|t| t.name == "warning" && t.property("title") == "GHA-007")
    };
    // No pull request; a token that may only read, as a fork's; none at all.
    assert!(warned(&world.step("plan --comment").code(0)));
    world.event(&json!({ "pull_request": { "number": number } }));
    world.github.fault_on("POST", "/comments", 1, Fault::Status(403, vec![]));
    assert!(warned(&world.step("plan --comment").code(0)));
    world.sandbox.unset("GITHUB_TOKEN");
    let ran = world.step("plan --comment").code(0);
    assert!(warned(&ran) && runner::log(&ran).contains("no token was given"), "{ran}");
    assert_eq!(world.github.comments(number).len(), 0);
    // A limit that lasts is not waited for.
    world.sandbox.set("GITHUB_TOKEN", &world.token);
    world.github.fault_on("GET", "/comments", 1, Fault::Status(429, vec![("retry-after", "7200")]));
    let ran = world.step("plan --comment").code(0);
    assert!(runner::log(&ran).contains("GitHub's rate limit is used up"), "{ran}");
    let _ = &world.hub;
}

#[test]
fn who_is_no_job_of_actions_is_told_what_is_missing() {
    let mut world = World::new();
    world.github.pull_request("x");
    world.sandbox.unset("GITHUB_ACTIONS");
    world.step("plan --comment").code(0).stderr("GHA-007 warning: there is no pull request");
    world.sandbox.unset("GITHUB_REPOSITORY");
    world.step("plan --comment").code(0).stderr("GHA-007 warning: `GITHUB_REPOSITORY` is not set");
    assert_eq!(world.github.seen().len(), 0);
}

#[test]
fn a_proxy_carries_requests() {
    let mut world = World::new();
    let number = world.github.pull_request("x");
    world.event(&json!({ "pull_request": { "number": number } }));
    // Nobody has that name: only who takes requests for others can answer.
    let proxy = world.github.api().to_owned();
    world.sandbox.set("GITHUB_API_URL", "http://github.invalid").set("http_proxy", proxy);
    world.step("plan --comment").code(0).stderr("GHA-001");
    assert_eq!(world.github.comments(number).len(), 1);
}

#[test]
fn a_redirect_takes_no_token_along() {
    let world = World::new();
    world.result("r/bad.json", &[("bad", "failed")]);
    let elsewhere = format!("{}/elsewhere", world.github.content());
    world.github.fault_on("GET", "/issues", 1, Fault::Status(301, vec![("location", elsewhere.leak())]));
    // Each step looks for tokens that came elsewhere.
    world.step("report r --track-issue").code(11);
    assert_eq!(world.github.count("/elsewhere"), 1);
    assert_eq!(world.github.issues().len(), 0);
}

#[test]
fn one_issue_tracks_what_fails() {
    let world = World::new();
    world.github.issue("something else", "x", STRANGER);
    world.result("r/ok.json", &[("good", "published")]);
    world.step("report r --track-issue").code(0);
    assert_eq!(world.github.issues().len(), 1, "all is well");

    world.result("r/bad.json", &[("bad", "failed")]);
    world.step("report r --track-issue").code(10);
    let opened = world.github.issues();
    assert_eq!((opened.len(), opened[1].title.as_deref()), (2, Some("Quantization fails: 1 model")));
    let text = &opened[1].body;
    assert!(text.contains("- `bad`: `them/x` is not there, &#64;&#8203;octocat"), "{text}");
    assert!(text.contains("(https://github.example/o/n/actions/runs/17)"), "{text}");

    // Somebody copies it; the answer to the next request is lost.
    world.github.issue("copy", text, STRANGER);
    world.result("r/worse.json", &[("worse", "failed")]);
    world.github.fault_on("PATCH", "/issues/", 1, Fault::Status(500, vec![]));
    world.step("report r --track-issue").code(10);
    let issues = world.github.issues();
    assert_eq!((issues.len(), issues[1].title.as_deref()), (3, Some("Quantization fails: 2 models")));
    assert_eq!(&issues[2].body, text);

    std::fs::remove_file(world.sandbox.path("r/bad.json")).unwrap();
    std::fs::remove_file(world.sandbox.path("r/worse.json")).unwrap();
    // The answer to the last word is lost: it is not said twice.
    world.github.fault_on("POST", "/comments", 1, Fault::Lost);
    for _ in 0..2 {
        world.step("report r --track-issue").code(0);
    }
    let issues = world.github.issues();
    let open: Vec<bool> = issues.iter().map(|i| i.open).collect();
    assert_eq!(open, [true, false, true]);
    let said = world.github.comments(issues[1].number);
    assert!(said.len() == 1 && said[0].body.starts_with("It works again. "), "{said:?}");

    // The next failure is a new issue.
    world.result("r/bad.json", &[("bad", "failed")]);
    world.github.fault_on("POST", "/issues", 1, Fault::Lost);
    world.step("report r --track-issue").code(10);
    assert_eq!(world.github.issues().len(), 4);
}

#[test]
fn a_release_gets_what_was_made() {
    let mut world = World::new();
    let id = world.github.publish_release("v1/2");
    world.result("r/a.json", &[("one", "published"), ("two", "up_to_date")]);
    // No event, no tag.
    world.step("report r --release").code(2);
    world.event(&json!({ "release": { "id": id } }));
    world.github.fault_on("POST", "/assets", 1, Fault::Lost);
    world.step("report r --release").code(0).stderr("GHA-005");
    let files = world.github.attached(id);
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(
        names,
        [
            "SHA256SUMS",
            "one.quantization_metadata.json",
            "quantization-report.md",
            "quantization-results.json",
            "two.quantization_metadata.json"
        ]
    );
    let sums = String::from_utf8(files["SHA256SUMS"].clone()).unwrap();
    assert_eq!(sums, format!("{0}  one-q4_0.gguf\n{0}  two-q4_0.gguf\n", "a".repeat(64)));

    // Again: nothing is sent. Others: only they are.
    world.github.forget();
    world.step("report r --release").code(0);
    assert_eq!(world.writes(), Vec::<String>::new());
    world.result("r/a.json", &[("one", "published")]);
    world.step("report r --release=v1/2").code(0);
    assert_eq!(world.writes().iter().filter(|w| w.starts_with("POST")).count(), 3, "{:?}", world.writes());
    assert!(world.github.attached(id)["SHA256SUMS"].len() < sums.len());

    // By hand, outside Actions.
    world.result("r/a.json", &[("zero", "published")]);
    world.sandbox.unset("GITHUB_ACTIONS");
    world.step("report r --release=v1/2").code(0);
    assert!(world.github.attached(id).contains_key("zero.quantization_metadata.json"));
    world.sandbox.set("GITHUB_ACTIONS", "true");

    // An Enterprise's API has a path, and its uploads have another one.
    let api = world.github.api().to_owned();
    world.sandbox.set("GITHUB_API_URL", format!("{api}/api/v3"));
    world.result("r/a.json", &[("enterprise", "published")]);
    world.github.forget();
    world.step("report r --release").code(0);
    assert!(world.github.attached(id).contains_key("enterprise.quantization_metadata.json"));
    let strays =
        |seen: &&Seen| !seen.path.starts_with("/api/v3/repos/") && !seen.path.starts_with("/uploads/repos/");
    assert_eq!(world.github.seen().iter().filter(strays).count(), 0, "{:?}", world.writes());
    world.sandbox.set("GITHUB_API_URL", api);

    // What says that it takes files elsewhere gets none; no token, no file.
    world.github.forget();
    world.github.take_files_at(world.github.content());
    world.result("r/a.json", &[("three", "published")]);
    world.step("report r --release").code(1);
    assert_eq!(world.writes(), Vec::<String>::new());
    world.sandbox.unset("GITHUB_TOKEN");
    world.step("report r --release").code(4);
}
