//! Outputs that never touch the disk: what is published is what files would be, also where the Hub goes wrong on the way.
//! The compiled program against a Hub on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::command::{Ran, Sandbox};
use crate::support::hub::{Fault, File, Hub, On, Role, Settings};

/// Methods that share blocks, and that do not.
const METHODS: &str = "Q8_0,Q4_0,Q4_K_M,IQ4_XS,BF16,Q2_K";

/// Small files that a job may leave in its cache and among its outputs, in bytes.
const SMALL: u64 = 256 << 10;

/// A Hub with the example's checkpoint, and a folder where the program may write.
struct World {
    hub: Hub,
    sandbox: Sandbox,
    token: String,
}

impl World {
    fn new() -> Self {
        World::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let hub = Hub::with(settings);
        hub.add_folder("them/tiny", &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny")).unwrap();
        let token = hub.token("me", Role::Write);
        let mut sandbox = Sandbox::new();
        sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
        World { hub, sandbox, token }
    }

    /// A job of the Hub's checkpoint, published as `me/{repo}`.
    fn process(&self, repo: &str, words: &str) -> Ran {
        self.sandbox.run(&format!("process them/tiny --repo me/{repo} {words}"))
    }

    fn stream(&self, repo: &str) -> Ran {
        self.process(repo, &format!("--methods {METHODS} --stream"))
    }

    /// Names and hashes of a repository's GGUF files.
    fn ggufs(&self, repo: &str) -> BTreeMap<String, String> {
        let files = self.hub.head(&format!("me/{repo}")).files;
        files.into_iter().filter(|(p, _)| p.ends_with(".gguf")).map(|(p, e)| (p, e.sha256)).collect()
    }

    /// The card, and the metadata without what differs from run to run.
    fn papers(&self, repo: &str) -> (String, Value) {
        let id = format!("me/{repo}");
        let card = String::from_utf8(self.hub.read(&id, "README.md")).unwrap().replace(&id, "me/repo");
        let mut metadata: Value =
            serde_json::from_slice(&self.hub.read(&id, "quantization_metadata.json")).unwrap();
        metadata["run"] = Value::Null;
        for output in metadata["outputs"].as_array_mut().unwrap() {
            output.as_object_mut().unwrap().remove("seconds");
            output.as_object_mut().unwrap().remove("origin");
        }
        (card.replace(repo, "repo"), metadata)
    }

    /// The commits of the program.
    fn commits(&self, repo: &str) -> usize {
        self.hub.history(&format!("me/{repo}")).into_iter().filter(|c| c.parent.is_some()).count()
    }

    /// The program left nothing but small files, and none that holds weights.
    #[track_caller]
    fn is_clean(&self) {
        let mut bytes = 0;
        for folder in ["output", ".home"] {
            for file in self.sandbox.tree(folder) {
                assert!(!file.contains(".gguf") && !file.contains("/.partial/"), "{file}");
                assert!(!file.ends_with(".safetensors") || file.contains("/.headers/"), "{file}");
                bytes += std::fs::metadata(self.sandbox.path(&file)).map_or(0, |about| about.len());
            }
        }
        assert!(bytes < SMALL, "{bytes} bytes: {:#?}", self.sandbox.tree(".home"));
        assert_eq!(self.hub.leaks().len(), 0);
    }
}

#[test]
fn streams_publish_what_files_would() {
    let world = World::new();
    let ran = world.stream("streamed").code(0).without(&world.token);
    assert!(ran.stderr.contains("the outputs go straight into the upload: as asked for"), "{ran}");
    world.is_clean();
    assert_eq!(world.commits("streamed"), 1);
    assert_eq!(world.hub.count(On::Part), 0, "nothing went by LFS");
    let receipt: Value =
        serde_json::from_slice(&world.sandbox.read("output/streamed/publish_receipt.json")).unwrap();
    assert_eq!(receipt["files"].as_array().unwrap().len(), 6 + 4);

    world.process("filed", &format!("--methods {METHODS} --stream=false")).code(0);
    assert_eq!(world.ggufs("streamed").len(), 6);
    assert_eq!(world.ggufs("streamed"), world.ggufs("filed"));
    assert_eq!(world.papers("streamed"), world.papers("filed"));
    for (name, _) in world.ggufs("filed") {
        let folder = name.trim_end_matches(".gguf");
        let local = world.sandbox.read(&format!("output/{folder}/{name}"));
        assert!(world.hub.read("me/streamed", &name) == local, "{name}");
    }
    // What is published stays as it is.
    world.hub.forget();
    world.stream("streamed").code(0).without("one pass");
    assert_eq!((world.commits("streamed"), world.hub.count(On::Cdn)), (1, 0));
}

#[test]
fn the_weights_are_downloaded_once_for_all() {
    let world = World::new();
    world.stream("six").code(0);
    let weights =
        std::fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny/model.safetensors"));
    let length = |range: String| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
    };
    let read = world.hub.seen().into_iter().filter(|s| s.on == On::Cdn && s.path.contains("/them/tiny/"));
    let read: u64 = read.filter_map(|s| s.range).map(length).sum();
    // The first request for the header is for a little more.
    let size = weights.unwrap().len();
    assert!((size..size + (300 << 10)).contains(&read), "{read} of {size}");
}

#[test]
fn split_outputs_are_a_stream_a_file() {
    let world = World::new();
    let split = "--methods Q8_0,Q4_K_M --split-max-tensors 7";
    world.process("streamed", &format!("{split} --stream")).code(0);
    world.is_clean();
    world.process("filed", split).code(0);
    assert!(world.ggufs("streamed").len() > 4);
    assert_eq!(world.ggufs("streamed"), world.ggufs("filed"));
    assert_eq!(world.papers("streamed"), world.papers("filed"));
}

#[test]
fn folders_can_be_streamed_too() {
    let world = World::new();
    world.sandbox.tiny("tiny");
    world.sandbox.run("process tiny --methods Q8_0,Q4_0 --repo me/streamed --stream").code(0);
    world.is_clean();
    world.sandbox.run("process tiny --methods Q8_0,Q4_0 --repo me/filed").code(0);
    assert_eq!(world.ggufs("streamed").len(), 2);
    assert_eq!(world.ggufs("streamed"), world.ggufs("filed"));
    assert_eq!(world.papers("streamed"), world.papers("filed"));
}

#[test]
fn a_new_method_is_streamed_beside_what_is_there() {
    let world = World::new();
    world.process("tiny", "--methods Q8_0").code(0);
    world.process("tiny", "--methods Q8_0,Q4_0 --stream").code(0);
    assert_eq!(world.ggufs("tiny").len(), 2);
    assert_eq!(world.papers("tiny").1["outputs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_plan_tells_that_the_outputs_are_streamed() {
    let world = World::new();
    let yaml = "version: 1\ndefaults: { methods: [Q8_0], publish: { owner: me, stream: true } }\n\
                models: [{ source: them/tiny }]\n";
    world.sandbox.write("models.yaml", yaml);
    world
        .sandbox
        .run("plan")
        .code(0)
        .stdout("streamed, no weights or outputs on the disk: as asked for")
        .stdout(" to download, 0 B to write into `output`");
    let job = &world.sandbox.run("plan --json").code(0).result()["jobs"][0];
    assert_eq!((&job["stream"], &job["disk_needed"]), (&json!({"why": "asked"}), &json!(0)));
    let job = &world.sandbox.run("plan --json --stream=false").code(0).result()["jobs"][0];
    assert_eq!(job["stream"], Value::Null);
    assert!(job["disk_needed"].as_u64().unwrap() > job["write_bytes"].as_u64().unwrap());
}

/// `/sys` has no room for anybody, and says so.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_too_small_makes_a_job_stream() {
    let world = World::new();
    let job = "process them/tiny --repo me/tiny --methods Q8_0 --output /sys/output";
    let plan = &world.sandbox.run(&format!("{job} --dry-run --json")).code(0).result()["jobs"][0];
    assert_eq!((&plan["stream"]["why"], &plan["stream"]["free"]), (&json!("small_disk"), &json!(0)));
    let ran = world.sandbox.run(job).code(0);
    assert!(ran.stderr.contains("the disk has 0 B free where"), "{ran}");
    assert!(ran.stderr.contains("publish_receipt.json` cannot be written"), "{ran}");
    assert_eq!(world.ggufs("tiny").len(), 1);
    world.is_clean();
    world.sandbox.run(&format!("{job} --force --stream=false")).code(1).stderr("/sys");
    // Where nothing is published there is nothing to stream to.
    world.sandbox.run(&format!("{job} --skip-upload")).code(1);
}

#[test]
fn what_cannot_be_streamed_is_refused_before_any_work() {
    let world = World::with(Settings { xet: false, ..Settings::default() });
    world.stream("tiny").code(3).stderr("has no Xet store").stderr("hint: ");
    assert_eq!((world.hub.count(On::Cdn), world.hub.count(On::Commit)), (1, 0), "the header alone was read");
    world
        .sandbox
        .run("process them/tiny --methods Q8_0 --stream")
        .code(3)
        .stderr("the outputs cannot be streamed: nothing says where they are published");
    for flag in ["--no-xet", "--skip-upload"] {
        let ran = world.process("tiny", &format!("--methods Q8_0 --stream {flag}"));
        ran.code(2).stderr(&format!("--stream cannot be used with {flag}"));
    }
    let yaml = "version: 1\ndefaults: { methods: [Q8_0], publish: { owner: me, stream: true, xet: false } }\n\
                models: [{ source: them/tiny }]\n";
    world.sandbox.write("models.yaml", yaml);
    world.sandbox.run("run").code(3).stderr("that takes Xet storage, which is turned off");
    world.sandbox.run("run --stream=false").code(0);
}

#[test]
fn what_breaks_off_goes_on() {
    let faults: [&[(On, u32, Fault)]; 6] = [
        &[(On::Cdn, 2, Fault::Cut(300_000))],
        &[(On::Cdn, 2, Fault::Short(1000)), (On::Resolve, 1, Fault::Status(500, vec![]))],
        &[(On::Cdn, 1, Fault::Expire)],
        &[(On::Xorb, 2, Fault::Cut(100_000))],
        &[(On::Xorb, 1, Fault::Lost), (On::Shard, 1, Fault::Status(500, vec![]))],
        &[(On::Xorb, 1, Fault::Status(429, vec![("retry-after", "1".to_owned())]))],
    ];
    for faults in faults {
        let world = World::new();
        // The headers of the shards are read first.
        world.process("tiny", "--methods Q8_0 --dry-run").code(0);
        for (on, times, fault) in faults {
            world.hub.fault(*on, *times, fault.clone());
        }
        let ran = world.process("tiny", "--methods Q8_0,Q4_0 --stream");
        assert_eq!(ran.code, Some(0), "{faults:?}\n{ran}");
        assert_eq!((world.commits("tiny"), world.ggufs("tiny").len()), (1, 2), "{faults:?}");
        world.is_clean();
    }
}

/// Bytes of two versions in one file would be worse than none.
#[test]
fn streams_that_were_fed_two_versions_are_made_again() {
    let world = World::new();
    world.process("tiny", "--methods Q8_0 --dry-run").code(0);
    world.hub.fault(On::Cdn, 1, Fault::Cut(10_000));
    world.hub.fault(On::Cdn, 1, Fault::NewEtag);
    let ran = world.process("tiny", "--methods Q8_0,Q4_0 --stream").code(0);
    assert!(ran.stderr.contains("the streams are made again from their beginning"), "{ran}");
    world.process("filed", "--methods Q8_0,Q4_0").code(0);
    assert_eq!(world.ggufs("tiny"), world.ggufs("filed"));
    assert_eq!(world.commits("tiny"), 1);

    let world = World::new();
    world.process("other", "--methods Q8_0 --dry-run").code(0);
    for _ in 0..100 {
        world.hub.fault(On::Cdn, 1, Fault::Cut(10_000));
        world.hub.fault(On::Cdn, 1, Fault::NewEtag);
    }
    let ran = world.process("other", "--methods Q8_0,Q4_0 --stream").code(1);
    assert!(ran.stderr.contains("kept changing while it was read"), "{ran}");
    assert_eq!(world.commits("other"), 0);
}

#[test]
fn a_store_that_stays_broken_leaves_nothing_published_and_a_rerun_ends_it() {
    let world = World::new();
    world.hub.fault(On::Xorb, 10_000, Fault::Status(400, vec![]));
    let ran = world.process("tiny", "--methods Q8_0,Q4_0 --stream");
    assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
    assert_eq!(world.commits("tiny"), 0);
    world.is_clean();
    world.hub.heal();
    world.process("tiny", "--methods Q8_0,Q4_0 --stream").code(0);
    assert_eq!((world.commits("tiny"), world.ggufs("tiny").len()), (1, 2));
}

#[test]
fn a_source_that_changes_meanwhile_is_never_mixed() {
    let world = World::new();
    world.process("tiny", "--methods Q8_0 --dry-run").code(0);
    let card = "---\nlicense: mit\n---\nanother one\n";
    world.hub.push("them/tiny", [("README.md", Some(File::small(card)))]);
    // The commit that the job was laid out for is read to its end.
    world.hub.fault_after(On::Cdn, 1, 1, Fault::NewEtag);
    world.process("tiny", "--methods Q8_0 --stream").code(0);
    world.process("filed", "--methods Q8_0").code(0);
    assert_eq!(world.ggufs("tiny"), world.ggufs("filed"));
}

#[test]
fn a_stream_that_is_killed_leaves_nothing_half_and_a_rerun_ends_it() {
    for (on, milliseconds) in [(On::Cdn, 0), (On::Xorb, 0), (On::Shard, 0), (On::Commit, 5)] {
        let world = World::new();
        let words = "process them/tiny --repo me/tiny --methods Q8_0,Q4_0 --stream";
        world.sandbox.run(&format!("{words} --dry-run")).code(0);
        world.hub.forget();
        let mut child = world.sandbox.start(words);
        while world.hub.count(on) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        if world.hub.exists("me/tiny") && world.commits("tiny") > 0 {
            assert_eq!((world.commits("tiny"), world.ggufs("tiny").len()), (1, 2), "{on:?}");
        }
        world.sandbox.run(words).code(0);
        assert_eq!((world.commits("tiny"), world.ggufs("tiny").len()), (1, 2), "{on:?}");
        world.is_clean();
    }
}
