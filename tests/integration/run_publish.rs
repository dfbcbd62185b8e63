//! Publishing as a person meets it: what comes to be in a repository, what a rerun does about what changed since, and
//! what stays whole whatever goes wrong. The compiled program against a Hub on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jamph_quantizer::card::QuantizationMetadata;
use serde_json::{Value, json};

use crate::support::command::{Ran, Sandbox};
use crate::support::hub::{Commit, Fault, File, Hub, On, Role};

/// One model of the Hub.
const ONE: &str = "version: 1
defaults: { methods: [Q8_0, Q4_0], publish: { owner: me } }
models: [{ source: them/tiny }]
";

/// Two models of one folder.
const TWO: &str = "version: 1
defaults: { methods: [Q8_0, Q4_0], publish: { owner: me } }
models:
  - { source: ./tiny, name: one }
  - { source: ./tiny, name: two }
";

const TEXTS: [&str; 4] = ["LICENSE", "MODEL_LOG.md", "README.md", "quantization_metadata.json"];

/// A Hub with the example's checkpoint, and a folder with a models.yaml whose owner's token is set.
struct World {
    hub: Hub,
    sandbox: Sandbox,
    token: String,
}

impl World {
    fn new(yaml: &str) -> Self {
        let hub = Hub::start();
        hub.add_folder("them/tiny", &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny")).unwrap();
        let token = hub.token("me", Role::Write);
        let mut world = World { hub, sandbox: Sandbox::with_tiny(), token };
        world.sandbox.write("models.yaml", yaml);
        world.sandbox.set("HF_ENDPOINT", world.hub.endpoint()).set("HF_TOKEN", &world.token);
        world
    }

    /// A folder without outputs and without a cache, as on another machine.
    fn elsewhere(&mut self) {
        let yaml = self.sandbox.read("models.yaml");
        self.sandbox = Sandbox::with_tiny();
        self.sandbox.write("models.yaml", yaml);
        self.sandbox.set("HF_ENDPOINT", self.hub.endpoint()).set("HF_TOKEN", &self.token);
    }

    fn run(&self, words: &str) -> Ran {
        self.sandbox.run(words)
    }

    fn yaml(&self, from: &str, to: &str) {
        let yaml = self.sandbox.text("models.yaml");
        assert!(yaml.contains(from), "{yaml}");
        self.sandbox.write("models.yaml", yaml.replace(from, to));
    }

    /// Names and hashes of what a repository shows, but for what the Hub itself put there.
    fn files(&self, repo: &str) -> BTreeMap<String, String> {
        let files = self.hub.head(repo).files;
        files.into_iter().filter(|(p, _)| p != ".gitattributes").map(|(p, e)| (p, e.sha256)).collect()
    }

    fn metadata(&self, repo: &str) -> QuantizationMetadata {
        QuantizationMetadata::from_json(&self.hub.read(repo, "quantization_metadata.json")).unwrap()
    }

    fn methods(&self, repo: &str) -> Vec<String> {
        self.metadata(repo).outputs.into_iter().map(|o| o.recipe.method).collect()
    }

    fn card(&self, repo: &str) -> String {
        String::from_utf8(self.hub.read(repo, "README.md")).unwrap()
    }

    /// The commits of the program, without the one that a repository begins with.
    fn commits(&self, repo: &str) -> Vec<Commit> {
        let history = self.hub.history(repo);
        history.into_iter().filter(|c| c.parent.is_some()).collect()
    }

    /// Nothing was asked for but what is there.
    #[track_caller]
    fn only_read(&self) {
        let seen = self.hub.seen();
        assert!(seen.iter().all(|s| s.method == "GET" || s.method == "HEAD"), "{seen:#?}");
    }

    /// A repository shows what the outputs' folders have, and its card, log and metadata tell of nothing else.
    #[track_caller]
    fn is_whole(&self, repo: &str, stem: &str, methods: &[&str]) {
        let files = self.files(repo);
        let ggufs: Vec<String> = methods.iter().map(|m| format!("{stem}-{m}.gguf").to_lowercase()).collect();
        let mut names: Vec<&str> = ggufs.iter().map(String::as_str).chain(TEXTS).collect();
        names.sort_unstable();
        assert_eq!(files.keys().collect::<Vec<_>>(), names);
        let metadata = self.metadata(repo);
        for output in &metadata.outputs {
            assert_eq!(Some(&files[&output.file]), output.sha256.as_ref());
        }
        assert_eq!(metadata.outputs.len(), methods.len());
        let card = self.card(repo);
        for name in &ggufs {
            assert!(card.contains(name), "{card}");
        }
        assert_eq!(self.hub.leaks().len(), 0);
    }
}

/// What the receipts beside a model's outputs say.
fn receipts(sandbox: &Sandbox, stems: &[&str]) -> Vec<Value> {
    let read = |stem: &&str| sandbox.read(&format!("output/{stem}/publish_receipt.json"));
    stems.iter().map(|stem| serde_json::from_slice(&read(stem)).unwrap()).collect()
}

#[test]
fn a_run_publishes_and_a_rerun_only_looks() {
    let mut world = World::new(ONE);
    let plan = world.run("plan").code(0);
    assert!(plan.stdout.contains("to me/tiny: to be created, public"), "{plan}");
    assert!(!world.hub.exists("me/tiny"));

    let ran = world.run("run").code(0).without(&world.token);
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
    let commits = world.commits("me/tiny");
    assert_eq!(commits.len(), 1, "one commit");
    assert_eq!(commits[0].summary, "Add Q8_0, Q4_0");
    let url = format!("published: {}/me/tiny (commit {})", world.hub.endpoint(), &commits[0].id[..12]);
    assert!(ran.stdout.contains(&url), "{ran}");
    for method in ["q8_0", "q4_0"] {
        let name = format!("tiny-{method}");
        let local = world.sandbox.read(&format!("output/{name}/{name}.gguf"));
        assert!(local == world.hub.read("me/tiny", &format!("{name}.gguf")));
    }
    for receipt in receipts(&world.sandbox, &["tiny-q8_0", "tiny-q4_0"]) {
        assert_eq!(receipt["commit"], commits[0].id);
        assert_eq!(receipt["files"].as_array().unwrap().len(), 6);
    }
    let card = world.card("me/tiny");
    for part in ["llama-cli -hf me/tiny:Q4_0", "base_model: them/tiny", "quantized_by: me", "./LICENSE"] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }

    // Here, and on a machine that has nothing, not even the weights.
    for elsewhere in [false, true] {
        if elsewhere {
            world.elsewhere();
        }
        world.hub.forget();
        world.run("plan").code(0).stdout("everything is up to date").stdout("published, up to date");
        let ran = world.run("run --json").code(0).quiet();
        world.only_read();
        assert_eq!(world.hub.count(On::Whoami), 0);
        let result = ran.result();
        assert_eq!((&result["published"], &result["jobs"][0]["receipt"]), (&json!(false), &Value::Null));
        assert_eq!(result["jobs"][0]["published"].as_array().unwrap().len(), 2, "{ran}");
    }
    assert!(world.hub.sent() < 1_000_000, "weights");
    assert_eq!(world.commits("me/tiny").len(), 1);
}

#[test]
fn a_new_method_adds_its_file_and_keeps_the_others() {
    let mut world = World::new(ONE);
    world.run("run").code(0);
    let before = world.files("me/tiny");
    world.yaml("[Q8_0, Q4_0]", "[Q8_0, Q4_0, Q2_K]");
    world.elsewhere();
    let plan = world.run("plan --json").code(0).result();
    let outputs = plan["jobs"][0]["outputs"].as_array().unwrap().clone();
    let make: Vec<bool> = outputs.iter().map(|o| o["make"].as_bool().unwrap()).collect();
    assert_eq!(make, [false, false, true], "{plan}");
    assert_eq!(plan["jobs"][0]["publish_bytes"], outputs[2]["bytes"]);

    world.run("run").code(0).stderr("one pass over the weights for Q2_K");
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0", "Q2_K"]);
    let after = world.files("me/tiny");
    for name in ["tiny-q8_0.gguf", "tiny-q4_0.gguf", "LICENSE"] {
        assert_eq!(before[name], after[name]);
    }
    assert_eq!(world.sandbox.tree("output").iter().filter(|f| f.ends_with(".gguf")).count(), 1);
    assert_eq!(world.commits("me/tiny").last().unwrap().summary, "Add Q2_K");
    // One of the earlier ones is asked for alone: there is nothing to do, and nothing goes.
    world.run("run --methods Q8_0").code(0).stderr("1 of 1 output published and up to date");
    assert_eq!(world.files("me/tiny"), after);
}

#[test]
fn the_source_is_made_anew_where_its_model_changed_and_not_where_its_card_did() {
    let world = World::new(ONE);
    world.run("run").code(0);
    let before = world.files("me/tiny");
    let push = |path: &str, text: &str| world.hub.push("them/tiny", [(path, Some(File::small(text)))]);

    push("notes.txt", "no file of the model");
    push("README.md", "---\nlicense: apache-2.0\n---\n# Better words\n");
    let ran = world.run("run").code(0).without("one pass over the weights");
    let mut after = world.files("me/tiny");
    // The licence that the card states is inherited; no more is said anew.
    assert!(world.card("me/tiny").contains("license: apache-2.0"), "{ran}");
    assert_ne!(before["README.md"], after["README.md"]);
    after.insert("README.md".to_owned(), before["README.md"].clone());
    assert_eq!(before, after);
    assert_eq!(world.commits("me/tiny").last().unwrap().summary, "Update the card, log and metadata");

    push("generation_config.json", r#"{"eos_token_id": 1, "temperature": 0.5}"#);
    world.run("plan").code(0).stdout("make: the source changed: `generation_config.json` is another file");
    world.run("run").code(0).stderr("one pass over the weights for Q8_0, Q4_0");
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
    assert_eq!(world.commits("me/tiny").last().unwrap().summary, "Replace Q8_0, Q4_0");
}

#[test]
fn another_notice_rewrites_the_card_alone() {
    let mut world = World::new(ONE);
    world.run("run").code(0);
    let before = world.files("me/tiny");
    world.yaml("owner: me }", "owner: me }, card: { description: notice.md }");
    world.elsewhere();
    world.sandbox.write("notice.md", "Handle with care.\n");
    world.run("plan").code(0).stdout("rewrite README.md");
    world.hub.forget();
    world.run("run").code(0).without("one pass");
    assert_eq!((world.hub.received(), world.hub.sent()), (0, 0), "no large file moved");
    assert!(world.card("me/tiny").contains("\nHandle with care.\n"));
    let mut after = world.files("me/tiny");
    after.insert("README.md".to_owned(), before["README.md"].clone());
    assert_eq!(before, after);
    world.hub.forget();
    world.run("run").code(0);
    world.only_read();
}

#[test]
fn only_what_is_ours_and_no_longer_listed_is_pruned() {
    let world = World::new(ONE);
    world.run("run").code(0);
    world.hub.push("me/tiny", [("mine.gguf", Some(File::large("by hand")))]);
    world.yaml("[Q8_0, Q4_0]", "[Q8_0]");
    world.run("run").code(0);
    assert_eq!(world.methods("me/tiny").len(), 2, "nothing goes unasked");
    world.run("plan --prune").code(0).stdout("delete tiny-q4_0.gguf");
    world.run("run --prune").code(0);
    let files = world.files("me/tiny");
    assert!(!files.contains_key("tiny-q4_0.gguf") && files.contains_key("mine.gguf"), "{files:?}");
    assert_eq!(world.methods("me/tiny"), ["Q8_0"]);
    assert!(!world.card("me/tiny").contains("Q4_0"));
    assert_eq!(world.commits("me/tiny").last().unwrap().summary, "Remove Q4_0");
}

#[test]
fn what_is_forced_is_made_and_the_same_bytes_are_not_sent_again() {
    let world = World::new(ONE);
    world.run("run").code(0);
    let before = world.files("me/tiny");
    world.hub.forget();
    world.run("run --force").code(0).stderr("one pass over the weights for Q8_0, Q4_0");
    assert_eq!(world.hub.received(), 0, "{:?}", world.hub.seen());
    let after = world.files("me/tiny");
    for name in ["tiny-q8_0.gguf", "tiny-q4_0.gguf", "LICENSE"] {
        assert_eq!(before[name], after[name]);
    }
    // What was damaged at the Hub is found and sent again.
    world.hub.push("me/tiny", [("tiny-q8_0.gguf", Some(File::large("damaged")))]);
    world.run("plan").code(0).stdout("made already: publish");
    world.run("run").code(0).without("one pass");
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

#[test]
fn a_model_that_fails_does_not_keep_the_others_from_being_published() {
    let world = World::new(TWO);
    // Its weights, and not those of the other.
    world.sandbox.tiny("broken");
    std::fs::remove_file(world.sandbox.path("broken/tokenizer.json")).unwrap();
    world.yaml("./tiny, name: one", "./broken, name: one");
    world.run("run").code(10).stderr("one: `");
    world.is_whole("me/two", "two", &["Q4_0", "Q8_0"]);
    assert!(!world.hub.exists("me/one"));

    // Publishing fails: what was made stays, and a rerun only publishes.
    world.yaml("./broken, name: one", "./tiny, name: one");
    world.hub.fault_at(On::Commit, "me/one", 1, Fault::Status(403, vec![]));
    let ran = world.run("run --json").code(10).without(&world.token).result();
    assert_eq!(ran["jobs"][0]["made"].as_array().unwrap().len(), 2, "{ran}");
    assert!(ran["jobs"][0]["error"].as_str().unwrap().contains("forbidden"), "{ran}");
    assert_eq!(world.commits("me/one").len(), 0);
    world.hub.heal();
    world.run("run").code(0).without("one pass").stdout("published: ");
    world.is_whole("me/one", "one", &["Q4_0", "Q8_0"]);
}

/// Where in a text something stands.
#[track_caller]
fn at(ran: &Ran, part: &str) -> usize {
    ran.stderr.find(part).unwrap_or_else(|| panic!("no {part:?} in\n{ran}"))
}

#[test]
fn the_next_model_is_worked_on_while_the_last_one_uploads() {
    for behind in [true, false] {
        let world = World::new(TWO);
        world.hub.fault_at(On::Commit, "me/one", 1, Fault::Late(Duration::from_secs(3)));
        let ran = world.run(&format!("run --async-upload={behind}")).code(0);
        assert_eq!(at(&ran, "two: one pass") < at(&ran, "HUF-008 one:"), behind, "{ran}");
        for name in ["one", "two"] {
            world.is_whole(&format!("me/{name}"), name, &["Q4_0", "Q8_0"]);
        }
        let ran = world.run("run").code(0);
        assert_eq!(ran.stdout.matches("up to date").count(), 4, "{ran}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_upload_publishes_nothing_and_goes_on() {
    let world = World::new(ONE);
    world.hub.fault(On::Preupload, 1, Fault::Stall(0));
    let child = world.sandbox.start("run");
    while world.hub.count(On::Preupload) == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap()).code(130);
    assert!(ran.stderr.contains("CLI-003 warning: tiny: stopped"), "{ran}");
    assert_eq!(world.commits("me/tiny").len(), 0);
    world.hub.heal();
    world.run("run").code(0).without("one pass");
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

#[test]
fn nothing_is_worked_on_where_it_could_not_be_published() {
    let mut world = World::new(ONE);
    let reader = world.hub.token("reader", Role::Read);
    for (token, said) in [
        (None, "publishing to `me/tiny` needs a token"),
        (Some(reader), "may only read"),
        (Some(world.hub.token("other", Role::Write)), "`other` may not create one for `me`"),
    ] {
        match &token {
            Some(token) => world.sandbox.set("HF_TOKEN", token),
            None => world.sandbox.unset("HF_TOKEN"),
        };
        world.run("run").code(4).stderr(said).stderr("hint: ").without("one pass");
        assert!(world.hub.sent() < 1_000_000, "weights");
        assert!(world.sandbox.tree("output").is_empty());
    }
    // Without publishing there is no need of a token.
    world.sandbox.unset("HF_TOKEN");
    world.hub.forget();
    world.run("run --skip-upload").code(0);
    assert!(world.hub.seen().iter().all(|s| !s.path.contains("me/tiny")));
}

#[test]
fn what_a_killed_run_left_of_its_receipt_goes() {
    let world = World::new(ONE);
    world.run("run").code(0);
    let left = "output/tiny-q8_0/.publish_receipt.json.dead.part";
    world.sandbox.write(left, "{");
    assert!(world.sandbox.tree("output").iter().any(|f| f == left));
    world.run("run").code(0);
    assert!(!world.sandbox.tree("output").iter().any(|f| f == left));
}

#[test]
fn a_card_that_is_refused_costs_no_work_and_leaves_no_repository() {
    for words in ["run", "run --stream"] {
        let world = World::new(ONE);
        world.hub.fault(On::ValidateYaml, u32::MAX, Fault::Status(400, vec![]));
        world.run(words).code(3).stderr("the Hub refuses");
        assert!(!world.hub.exists("me/tiny"), "{words}");
        assert!(!world.sandbox.tree("output").iter().any(|f| f.ends_with(".gguf")), "{words}");
    }
    let world = World::new(ONE);
    world.run("run --skip-upload").code(0);
    world.hub.fault(On::ValidateYaml, u32::MAX, Fault::Status(400, vec![]));
    world.run("upload output --repo me/tiny").code(3).stderr("the Hub refuses");
    assert!(!world.hub.exists("me/tiny"));
}

#[test]
fn a_token_that_is_revoked_meanwhile_costs_no_work() {
    let world = World::new(ONE);
    // The requests before the one that creates the repository find the token good.
    world.run("run").code(0);
    let seen = world.hub.seen();
    let good = seen.iter().take_while(|s| s.on != On::Create).filter(|s| s.authorization.is_some());
    let good = good.count() as u32;

    let mut again = World::new(ONE);
    again.hub.revoke_after(&again.token, good);
    let ran = again.run("run").code(4);
    assert!(ran.stderr.contains("the token was refused") && ran.stderr.contains("hint: "), "{ran}");
    assert!(!again.hub.exists("me/tiny"));
    assert_eq!(again.sandbox.tree("output").iter().filter(|f| f.ends_with(".gguf")).count(), 2);
    let token = again.hub.token("me", Role::FineGrained(vec!["me".to_owned()]));
    again.sandbox.set("HF_TOKEN", &token);
    again.run("run").code(0).without("one pass");
    again.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

/// What a repository and the folders of its outputs have, but for times.
fn state(world: &World) -> (BTreeMap<String, String>, Vec<String>, Value) {
    let mut files = world.files("me/tiny");
    // They tell of times.
    files.retain(|name, _| name.ends_with(".gguf") || name == "LICENSE");
    let mut tree = world.sandbox.tree("output");
    // There is none where the commit was the last thing that a killed run did.
    tree.retain(|name| !name.ends_with("publish_receipt.json"));
    let mut metadata = serde_json::to_value(world.metadata("me/tiny")).unwrap();
    metadata["run"] = Value::Null;
    for output in metadata["outputs"].as_array_mut().unwrap() {
        let output = output.as_object_mut().unwrap();
        output.remove("origin");
        output.remove("seconds");
    }
    (files, tree, metadata)
}

/// Splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_nothing_half_and_a_rerun_ends_it() {
    let undisturbed = World::new(ONE);
    undisturbed.run("run").code(0);
    let (requests, expected) = (undisturbed.hub.seen().len() as u64, state(&undisturbed));
    let mut seed = 4;
    for _ in 0..10 {
        // A moment after one of the requests; some of them are followed by work here.
        let (after, milliseconds) = (random(&mut seed) % requests, random(&mut seed) % 60);
        let world = World::new(ONE);
        let mut child = world.sandbox.start("run");
        while (world.hub.seen().len() as u64) < after && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();

        let moment = format!("killed {milliseconds} ms after request {after} of {requests}");
        if world.hub.exists("me/tiny") {
            let commits = world.commits("me/tiny");
            assert!(commits.len() <= 1, "{moment}");
            assert!(commits.iter().all(|c| expected.0.keys().all(|f| c.files.contains_key(f))), "{moment}");
        }
        world.hub.forget();
        let ran = world.run("run");
        assert_eq!(ran.code, Some(0), "{moment}\n{ran}");
        assert_eq!(world.commits("me/tiny").len(), 1, "{moment}");
        let found = state(&world);
        if found.1.is_empty() {
            // It was published before it was killed, or nothing was here any more.
            assert_eq!((found.0, found.2), (expected.0.clone(), expected.2.clone()), "{moment}");
        } else {
            assert_eq!(found, expected, "{moment}");
        }
        assert_eq!(world.hub.leaks().len(), 0);
    }
}

#[test]
fn two_runs_at_once_do_the_work_once() {
    let world = World::new(ONE);
    let children = [world.sandbox.start("run"), world.sandbox.start("run")];
    let ran = children.map(|child| Ran::from(child.wait_with_output().unwrap()).code(0));
    assert_eq!(ran.iter().filter(|r| r.stderr.contains("one pass")).count(), 1, "{}\n{}", ran[0], ran[1]);
    assert_eq!(world.commits("me/tiny").len(), 1);
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

#[test]
fn two_machines_at_once_publish_both_of_what_they_made() {
    let world = World::new(ONE);
    let other = Sandbox::new();
    other.write("models.yaml", world.sandbox.text("models.yaml").replace("[Q8_0, Q4_0]", "[Q2_K, Q8_0]"));
    let mut other = other;
    other.set("HF_ENDPOINT", world.hub.endpoint()).set("HF_TOKEN", &world.token);
    // One commits while the other has worked out its own.
    world.hub.fault_after(On::Preupload, 0, 2, Fault::Late(Duration::from_millis(700)));
    let children = [world.sandbox.start("run"), other.start("run")];
    for child in children {
        Ran::from(child.wait_with_output().unwrap()).code(0);
    }
    world.is_whole("me/tiny", "tiny", &["Q2_K", "Q4_0", "Q8_0"]);
}

#[test]
fn folders_are_uploaded_alone_or_together() {
    let world = World::new(ONE);
    let ran = world.run("process tiny --methods Q8_0,Q4_0 --prefix my-").code(0);
    assert!(ran.stderr.contains("nothing was published: nothing says where"), "{ran}");
    world.run("upload output/my-tiny-q8_0 --repo me/hand --private").code(0).stdout("published: ");
    world.is_whole("me/hand", "my-tiny", &["Q8_0"]);
    assert!(world.hub.is_private("me/hand"));
    world.run("upload output --repo me/hand").code(0);
    world.is_whole("me/hand", "my-tiny", &["Q4_0", "Q8_0"]);
    let card = world.card("me/hand");
    world.run("upload output --repo me/hand").code(0).stdout("up to date: ");
    assert_eq!(receipts(&world.sandbox, &["my-tiny-q8_0"])[0]["repo"], "me/hand");
    // A run of the same gives the same card.
    world.run("process tiny --methods Q8_0,Q4_0 --prefix my- --repo me/hand").code(0).without("one pass");
    assert_eq!(world.card("me/hand"), card);

    world.run("upload output --repo me/hand --create-pr").code(0).stdout("up to date: ");
    world.run("upload output/my-tiny-q8_0 --repo me/pulled --create-pr").code(0).stdout("proposed: ");
    assert_eq!(world.hub.pull_requests("me/pulled").len(), 1);
    assert_eq!(world.commits("me/pulled").len(), 0, "on main");

    std::fs::write(world.sandbox.path("output/my-tiny-q8_0/my-tiny-q8_0.gguf"), "damaged").unwrap();
    world
        .run("upload output --repo me/damaged")
        .code(3)
        .stderr("is not the file that its metadata describes");
    world.run("upload tiny --repo me/x").code(3).stderr("has no output of this program");
    world.run("process tiny --methods F16 --name other").code(0);
    std::fs::remove_dir_all(world.sandbox.path("output/my-tiny-q8_0")).unwrap();
    assert!(!world.hub.exists("me/damaged"));
}

#[test]
fn what_is_proposed_is_not_proposed_again() {
    let world = World::new(ONE);
    world.run("run --create-pr").code(0).stdout("proposed: ");
    let ran = world.run("run --create-pr").code(0).stdout("proposed already: ");
    assert!(ran.stderr.contains("a pull request has the outputs already"), "{ran}");
    world.run("plan --create-pr").code(0).stdout("proposed already: ").stdout("everything is up to date");
    assert_eq!(world.hub.pull_requests("me/tiny").len(), 1);
    assert_eq!(world.commits("me/tiny").len(), 0, "on main");
    // Another method is another proposal; what is not merged comes along.
    world.yaml("[Q8_0, Q4_0]", "[Q8_0, Q4_0, Q2_K]");
    world.run("run --create-pr").code(0).stdout("proposed: ").stderr("one pass over the weights for Q2_K (");
    assert_eq!(world.hub.pull_requests("me/tiny").len(), 2);
    world.run("run").code(0).stdout("published: ");
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0", "Q2_K"]);
}

#[test]
fn without_xet_files_go_by_lfs() {
    let world = World::new(ONE);
    world.run("run --no-xet").code(0);
    assert!(world.hub.count(On::Part) > 0 && world.hub.count(On::Xorb) == 0);
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

#[test]
fn the_same_files_in_another_checkout_are_the_same_model() {
    let mut world = World::new(TWO);
    world.run("run --only one").code(0);
    world.elsewhere();
    // The weights have another time of change here.
    world.run("plan --only one").code(0).stdout("everything is up to date");
    let weights = world.sandbox.path("tiny/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    world.run("plan --only one").code(0).stdout("`model.safetensors` is another file");
}

#[test]
fn a_gate_comes_along_and_what_the_hub_does_not_gate_is_told() {
    let world = World::new(ONE);
    let token = world.token.clone();
    let card = "---\nlicense: other\nlicense_name: mine\nextra_gated_prompt: Be good.\n---\n";
    world.hub.push("them/tiny", [("README.md", Some(File::small(card)))]);
    world.hub.gate("them/tiny");
    world.hub.let_in("them/tiny", &token);
    world.run("run").code(0).stderr("the source is gated, and `me/tiny` is not");
    let card = world.card("me/tiny");
    assert!(
        card.contains("extra_gated_prompt: Be good.") && card.contains("license_link: LICENSE"),
        "{card}"
    );
}

#[test]
fn a_private_source_that_is_published_for_everybody_is_told() {
    let told = "the source is private, and `me/open` is for everybody";
    let yaml = "version: 1\nmodels: [{ source: me/secret, methods: [Q8_0], publish: { repo: me/open } }]\n";
    for (yaml, says) in [(yaml.to_owned(), true), (yaml.replace("me/open", "me/open, private: true"), false)]
    {
        let world = World::new(&yaml);
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny");
        world.hub.add_folder("me/secret", &tiny).unwrap();
        world.hub.hide("me/secret");
        let ran = world.run("run").code(0);
        assert_eq!(ran.stderr.contains(told), says, "{ran}");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_nothing_half_is_left() {
    let world = World::new(TWO);
    // A limit on the size of files stands in for a disk; both stop a write in its midst.
    let program = env!("CARGO_BIN_EXE_jamph-quantizer");
    let limited = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} run --only one");
        Ran::from(world.sandbox.shell(&script).output().unwrap())
    };
    let ran = limited(2048);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("one: cannot write `Q8_0`") && ran.stderr.contains("hint: "), "{ran}");
    assert!(world.sandbox.tree("output").is_empty(), "{:?}", world.sandbox.tree("output"));
    assert!(!world.hub.exists("me/one"));
    world.run("run --only one").code(0);
    world.is_whole("me/one", "one", &["Q4_0", "Q8_0"]);
}

#[cfg(unix)]
#[test]
fn a_home_and_a_cache_that_cannot_be_written_do_not_matter() {
    let mut world = World::new(TWO);
    // Nobody can make folders below a file, not even root.
    world.sandbox.write("file", "");
    let below = world.sandbox.path("file/home").display().to_string();
    world.sandbox.set("HOME", &below);
    world.run("run --only one").code(0);
    world.is_whole("me/one", "one", &["Q4_0", "Q8_0"]);
    world.sandbox.unset("HOME");
    world.run("run --only two").code(0);
    // What comes from the Hub needs a cache.
    world.sandbox.set("HOME", &below);
    world.sandbox.write("models.yaml", ONE);
    world.run("run").code(1).stderr("hint: JAMPH_CACHE names another folder");
    world.sandbox.set("JAMPH_CACHE", world.sandbox.path("cache").display().to_string());
    world.run("run").code(0);
    world.is_whole("me/tiny", "tiny", &["Q4_0", "Q8_0"]);
}

/// As in a container whose home was made by root: whoever runs the program owns nothing of it.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_home_of_another_user_does_not_matter() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const OWNER: u32 = 54_321;
    const USER: u32 = 65_432;

    let mut world = World::new(TWO);
    let home = world.sandbox.path("home");
    std::fs::create_dir_all(home.join(".cache")).unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    if let Err(error) =
        chown(home.join(".cache"), Some(OWNER), None).and_then(|()| chown(&home, Some(OWNER), None))
    {
        eprintln!("left out: only root can give a folder to another user: {error}");
        return;
    }
    mode(&home.join(".cache"), 0o555);
    mode(&home, 0o555);
    world.sandbox.set("HOME", home.display().to_string());
    let folder = world.sandbox.path("");
    mode(&folder, 0o777);
    let program = env!("CARGO_BIN_EXE_jamph-quantizer");
    let as_other = |script: &str| world.sandbox.shell(script).uid(USER).gid(USER).output();
    if !as_other(&format!("test -x {program}")).is_ok_and(|done| done.status.success()) {
        eprintln!("left out: another user cannot run `{program}`");
        return;
    }
    Ran::from(as_other(&format!("exec {program} run --only one")).unwrap()).code(0);
    world.is_whole("me/one", "one", &["Q4_0", "Q8_0"]);
    Ran::from(as_other(&format!("exec {program} run --only one --force --no-xet")).unwrap()).code(0);
    assert_eq!(world.sandbox.tree("home"), ["home/.cache/"]);
}
