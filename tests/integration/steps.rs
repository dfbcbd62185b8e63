//! The program as a step of GitHub Actions: summary, outputs, annotations, masks; a matrix, its jobs and their
//! report. The compiled program against a Hub on loopback; what is a command, the runner's own rules decide.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::command::{Ran, Sandbox};
use crate::support::hub::{Hub, Role};
use crate::support::llama::Llama;
use crate::support::runner::{self, Taken, commands, outputs, summary};

/// A model that can be made, and one that is not there.
const TWO: &str = "version: 1
defaults: { methods: [Q8_0, Q4_0], publish: { owner: me } }
models:
  - { source: them/tiny }
  - { source: them/broken }
";

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
        let mut sandbox = Sandbox::new();
        sandbox.write("models.yaml", yaml);
        runner::within(&mut sandbox);
        sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
        sandbox.set("GITHUB_TOKEN", GITHUB_TOKEN);
        World { hub, sandbox, token }
    }

    /// Runs a step, and sees that no secret is in anything that it leaves.
    #[track_caller]
    fn step(&self, words: &str) -> Ran {
        let ran = self.sandbox.run(words);
        let log = runner::log(&ran);
        let files = self.sandbox.tree("").into_iter().map(|file| file.trim_start_matches('/').to_owned());
        let texts = files.filter(|file| !file.ends_with(".gguf") && !file.ends_with('/'));
        for secret in [self.token.as_str(), GITHUB_TOKEN] {
            for form in forms(secret) {
                assert!(!log.contains(&form), "{form} is in\n{log}");
                for file in texts.clone() {
                    let text = String::from_utf8_lossy(&self.sandbox.read(&file)).into_owned();
                    assert!(!text.contains(&form), "{form} is in {file}");
                }
            }
        }
        assert_eq!(self.hub.leaks().len(), 0);
        ran
    }
}

const GITHUB_TOKEN: &str = "ghs_0123456789abcdefghijklmnopqrstuvwxyz";

/// A secret as it stands, in base64 at each of its three beginnings, and within an address.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    let middle = |text: String, skip: usize| text[skip..text.len() - 2].to_owned();
    vec![
        secret.to_owned(),
        secret.replace('_', "%5F"),
        middle(encode(secret), 0),
        middle(encode(&format!("u{secret}")), 2),
        middle(encode(&format!("us{secret}")), 3),
    ]
}

fn named<'a>(taken: &'a [Taken], name: &str) -> Vec<&'a Taken> {
    taken.iter().filter(|t| t.name == name).collect()
}

#[test]
fn a_run_leaves_its_summary_its_outputs_and_its_annotations() {
    let world = World::new(TWO);
    let ran = world.step("run --result results/all.json").code(10);
    let taken = commands(&ran);

    let errors = named(&taken, "error");
    assert_eq!(errors.len(), 1, "{ran}");
    let place = ["file", "line", "col", "title"].map(|name| errors[0].property(name));
    assert_eq!(place, ["models.yaml", "5", "5", "PLN-004 broken"]);
    assert!(errors[0].data.contains("`them/broken`") && errors[0].data.contains("\nhint: "), "{errors:?}");

    let masks: Vec<&str> = named(&taken, "add-mask").iter().map(|m| m.data.as_str()).collect();
    for secret in [world.token.as_str(), GITHUB_TOKEN] {
        for form in forms(secret).into_iter().filter(|form| !form.contains('%')) {
            assert!(
                masks.iter().any(|mask| mask.contains(&form) || form.contains(*mask)),
                "{form}: {masks:?}"
            );
        }
    }
    let groups = named(&taken, "group");
    assert!(groups.iter().any(|g| g.data == "tiny"), "{groups:?}");
    assert_eq!(groups.len(), named(&taken, "endgroup").len());

    let outputs = outputs(&world.sandbox);
    assert_eq!(outputs["published"], "[\"me/tiny\"]");
    assert_eq!(outputs["failed"], "[\"broken\"]");
    let result: Value = serde_json::from_str(&outputs["result"]).unwrap();
    assert_eq!(result["models"][0]["status"], "published");
    assert_eq!(result["models"][1]["entry"], json!({"file": "models.yaml", "line": 5, "column": 5}));

    let text = summary(&world.sandbox);
    let head = world.hub.head("me/tiny").id;
    for part in [
        "❌ 1 failed · ✅ 1 published",
        "| `tiny` | ✅ published | 2 outputs |",
        &format!("[`me/tiny`]({}/me/tiny/commit/{head})", world.hub.endpoint()),
        &format!("{}/me/tiny/blob/{head}/tiny-q4_0.gguf)", world.hub.endpoint()),
        "x-axis [\"Q4_0\", \"Q8_0\"]",
        "> **Failed**: ",
        "> Entry: `models.yaml:5`",
        "<details><summary>Times</summary>",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let report = std::fs::read_to_string(&outputs["report"]).unwrap();
    assert_eq!(report.trim_end(), text.trim_end());
    let results: Value = serde_json::from_slice(&world.sandbox.read("results/all.json")).unwrap();
    assert_eq!(results["models"][0]["metadata"]["outputs"].as_array().unwrap().len(), 2);

    // Nothing left to do but what fails.
    let ran = world.step("run --only tiny").code(0);
    assert_eq!(named(&commands(&ran), "error").len(), 0);
    assert!(summary(&world.sandbox).contains("➖ 1 up to date"));
    assert_eq!(runner::outputs(&world.sandbox)["published"], "[]");
}

#[test]
fn a_matrix_its_jobs_and_their_report() {
    let world = World::new(TWO);
    let planned = world.step("plan --matrix").code(0);
    let matrix: Value = serde_json::from_str(planned.stdout.trim_end()).unwrap();
    let set = outputs(&world.sandbox);
    assert_eq!((set["matrix"].as_str(), set["has-work"].as_str()), (planned.stdout.trim_end(), "true"));
    let jobs = matrix["include"].as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{matrix}");
    assert_eq!((&jobs[0]["id"], &jobs[0]["methods"]), (&json!("tiny"), &json!("Q8_0, Q4_0")));
    assert_eq!((&jobs[0]["repo"], &jobs[1]["id"]), (&json!("me/tiny"), &json!("broken")));
    assert!(jobs[0]["disk_bytes"].as_u64().unwrap() > jobs[0]["write_bytes"].as_u64().unwrap());
    let warnings = commands(&planned);
    assert_eq!(named(&warnings, "warning")[0].property("title"), "GHA-009 broken");
    assert!(summary(&world.sandbox).contains("2 outputs of 1 model to make, 1 model that cannot be made"));

    world.sandbox.write("matrix.json", &planned.stdout);
    world.step("run --job tiny --result results/a/tiny.json").code(0);
    world.step("run --job nothing").code(2).stderr("no job is called `nothing`, only `tiny`, `broken`");
    outputs(&world.sandbox);
    summary(&world.sandbox);

    // A job whose runner was lost left nothing.
    let ran = world.step("report results --matrix matrix.json").code(10).stdout("tiny  published  http");
    assert_eq!(named(&commands(&ran), "error")[0].property("title"), "GHA-010 broken");
    let set = outputs(&world.sandbox);
    assert_eq!((set["published"].as_str(), set["failed"].as_str()), ("[\"me/tiny\"]", "[\"broken\"]"));
    assert!(summary(&world.sandbox).contains("its job `broken` left no result"));

    let failed = world.step("run --job broken --result results/b/broken.json");
    assert_eq!(failed.code, Some(3), "{failed}");
    world.sandbox.write("results/b/other.json", "{\"x\": 1}");
    let ran = world.step("report results --matrix matrix.json --json").code(10);
    let statuses: Vec<Value> =
        ran.result()["models"].as_array().unwrap().iter().map(|m| m["status"].clone()).collect();
    assert_eq!(statuses, ["published", "failed"]);
    // The annotation is the job's own.
    assert_eq!(named(&commands(&ran), "error").len(), 0, "{ran}");

    let again = world.step("plan --matrix").code(0);
    let matrix: Value = serde_json::from_str(again.stdout.trim_end()).unwrap();
    assert_eq!(matrix["include"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_to_do_is_no_job() {
    let world = World::new(&TWO.replace("  - { source: them/broken }\n", ""));
    world.step("run").code(0);
    outputs(&world.sandbox);
    let ran = world.step("plan --matrix").code(0);
    assert_eq!(ran.stdout, "{\"include\":[]}\n");
    assert_eq!(outputs(&world.sandbox)["has-work"], "false");
    world.sandbox.write("matrix.json", &ran.stdout);
    world.step("report nowhere --matrix matrix.json").code(0).stdout("everything is up to date");
    world.step("report nowhere").code(3).stderr("cannot read `nowhere`");
    assert_eq!(outputs(&world.sandbox)["failed"], "[]");
    world.sandbox.write("bad/x.json", "{\"format_version\": 9, \"models\": []}");
    world.step("report bad").code(3).stderr("it has format version 9");
    world.step("report matrix.json").code(3).stderr("`matrix.json` is no result of a job");
}

/// Nothing is wrong with a model of a family that only llama.cpp's converter knows: it is a job, without sizes.
#[test]
fn what_llama_cpp_has_to_convert_is_a_job() {
    let mut sandbox = Sandbox::with_tiny();
    let llama = Llama::install(&mut sandbox);
    let config = sandbox.text("tiny/config.json").replace("LlamaForCausalLM", "NovelForCausalLM");
    sandbox.write("tiny/config.json", config.replace("\"llama\"", "\"novel\""));
    sandbox.write("models.yaml", "version: 1\nmodels: [{ source: ./tiny, methods: [Q8_0, Q4_K_M] }]\n");
    runner::within(&mut sandbox);

    let planned = sandbox.run("plan --matrix").code(0);
    let taken = commands(&planned);
    assert!(named(&taken, "error").is_empty() && named(&taken, "warning").is_empty(), "{planned}");
    let matrix: Value = serde_json::from_str(&planned.stdout).unwrap();
    let job = &matrix["include"][0];
    assert_eq!((&job["id"], &job["methods"]), (&json!("tiny"), &json!("Q8_0, Q4_K_M")), "{matrix}");
    assert!(job["disk_bytes"].as_u64().unwrap() > 0, "{matrix}");
    assert_eq!(outputs(&sandbox)["has-work"], "true");
    let text = summary(&sandbox);
    for part in [
        "2 outputs of 1 model to make.\n",
        "own converter (the architecture `NovelForCausalLM` is not supported",
        "| `Q8_0` |  |  | 🔨 known once it was converted |\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // The plan for people is in the summary, too.
    sandbox.run("plan").code(0).stdout("sizes are known once it was converted");
    assert_eq!(summary(&sandbox), text);
    assert!(llama.calls().is_empty(), "planning converts nothing");
}

#[test]
fn what_is_wrong_with_the_file_is_shown_at_its_line() {
    let world =
        World::new("version: 1\nmodels:\n  - { source: them/tiny, methods: [Q4_O] }\n  - { sorce: x }\n");
    let ran = world.step("plan").code(3);
    let taken = commands(&ran);
    let places: Vec<[&str; 2]> =
        named(&taken, "error").iter().map(|e| [e.property("file"), e.property("line")]).collect();
    assert!(places.contains(&["models.yaml", "3"]) && places.contains(&["models.yaml", "4"]), "{places:?}");
    assert!(summary(&world.sandbox).contains("nothing can be planned"));
}

/// Whatever a models.yaml, a result or an event says, the runner takes no command from it.
#[test]
fn the_texts_of_others_are_no_commands() {
    let evil = "::error::x ##[add-mask]y ::set-output name=z::1";
    let world = World::new(&format!(
        "version: 1\nmodels:\n  - {{ source: them/tiny, \"{evil}\": 1 }}\n  - {{ source: \"{evil}\" }}\n"
    ));
    for words in ["plan", "plan --json", "validate", "run --json", "plan --matrix"] {
        let ran = world.step(words).code(3);
        for command in commands(&ran) {
            let ours = ["add-mask", "error", "group", "endgroup"].contains(&command.name.as_str());
            assert!(ours && command.data != "y" && command.data != "x", "{command:?} in\n{ran}");
        }
    }
    let model = json!({"model": format!("{evil}\n{evil}"), "status": "failed", "error": evil, "hint": evil,
                       "source": evil, "url": format!("https://x/{evil}")});
    let result = json!({"format_version": 1, "version": "1", "started": evil, "seconds": 1e300, "job": evil,
                        "models": [model]});
    world.sandbox.write("results/x.json", result.to_string());
    let matrix = json!({"include": [{"id": evil, "models": evil}, {"id": "##[error]lost"}]});
    world.sandbox.write("matrix.json", matrix.to_string());
    outputs(&world.sandbox);
    for words in ["report results --matrix matrix.json", "report results --json"] {
        let ran = world.step(words).code(11);
        let taken = commands(&ran);
        let others = |t: &&Taken| !["add-mask", "error"].contains(&t.name.as_str()) || t.data == "y";
        assert_eq!(taken.iter().filter(others).count(), 0, "{taken:?}");
        let set = outputs(&world.sandbox);
        assert_eq!(set.keys().collect::<Vec<_>>(), ["failed", "published", "report", "result"]);
        assert!(!summary(&world.sandbox).contains("\n::"));
    }
}
