//! Byte for byte what the reference writes with `--mmproj`: the vision towers of the seeded checkpoints that see, converted
//! to every type. The expected hashes are the reference's (`scripts/record-mmproj`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jamph_quantizer::arch::vision::TOWERS;
use jamph_quantizer::base::hash::sha256;
use jamph_quantizer::checkpoint::Checkpoint;
use jamph_quantizer::convert::{ConvertError, ConvertOptions, mmproj};
use jamph_quantizer::quantize::Layout;
use serde::Deserialize;

use crate::parity::{File, Reference, compare, out_type, root, write};
use crate::support::command::Sandbox;
use crate::support::families::{self, BOTH, Family};
use crate::support::hub::{Hub, Role};

/// What `scripts/record-mmproj` wrote.
#[derive(Deserialize)]
struct Record {
    reference: Reference,
    /// What the reference calls the file of `auto`, where it is not told.
    name: String,
    inputs: BTreeMap<String, String>,
    convert: BTreeMap<String, File>,
}

macro_rules! towers {
    ($($test:ident: $folder:literal;)*) => {
        $(#[test] fn $test() { check($folder); })*

        #[test]
        fn every_tower_has_a_test_and_a_record() {
            let mut tested = [$($folder),*];
            tested.sort_unstable();
            let mut made: Vec<String> = seeing().into_iter().map(|f| f.folder).collect();
            made.sort();
            assert_eq!(made, tested);
            let records = fs::read_dir(root().join("tests/parity/mmproj")).expect("a folder");
            let names = records.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
            let mut recorded: Vec<String> =
                names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
            recorded.sort();
            assert_eq!(recorded, tested);
        }
    };
}

towers! {
    qwen2_vl_f16: "Qwen2-VL-7B-Instruct";
    qwen2_5_vl_sharded: "Qwen2.5-VL-7B-Instruct";
    qwen3_vl_deepstack: "Qwen3-VL-2B-Instruct";
    qwen3_5: "Qwen3.5-4B";
    gemma3: "gemma-3-12b-it";
    pixtral_f16: "pixtral-12b";
    mistral3_patch_merger: "Mistral-Small-3.2-24B-Instruct-2506";
    smolvlm: "SmolVLM-500M-Instruct";
    idefics3_f32: "Idefics3-8B-Llama3";
    internvl: "InternVL3-2B";
    llama4: "Llama-4-Maverick-17B-128E-Instruct";
}

fn seeing() -> Vec<Family> {
    let tests = root().join("tests");
    let mut all = families::seeing(&tests).expect("checkpoints");
    all.extend(families::all(&tests).expect("families").into_iter().filter(|f| f.folder == BOTH));
    all
}

fn checkpoint(family: &Family, tmp: &Path) -> PathBuf {
    let tokenizer = fs::read(root().join("examples/tiny/tokenizer.json")).expect("the tokenizer");
    family.write(tmp, &tokenizer).expect("space");
    tmp.join(&family.folder)
}

fn record(folder: &str) -> Record {
    let json = fs::read(root().join("tests/parity/mmproj").join(format!("{folder}.json"))).expect("a record");
    serde_json::from_slice(&json).expect("a record's JSON")
}

fn check(folder: &str) {
    let record = record(folder);
    assert_eq!(record.reference.package, "llama-cpp-python==0.3.36");
    assert_eq!(record.reference.commit, "0c1e57098");
    let tmp = tempfile::tempdir().expect("a temporary folder");
    let family = seeing().into_iter().find(|f| f.folder == folder).expect("a fixture");
    let dir = checkpoint(&family, tmp.path());
    for (name, expected) in &record.inputs {
        let bytes = fs::read(dir.join(name)).expect(name);
        assert_eq!(sha256(&bytes), *expected, "{folder}/{name} is not what the reference was given");
    }
    let checkpoint = Checkpoint::open(&dir).expect("a checkpoint");
    let mut differing = Vec::new();
    assert_eq!(record.convert.len(), 5);
    for (name, expected) in &record.convert {
        let options = ConvertOptions { out_type: out_type(name), ..ConvertOptions::default() };
        let blueprint = mmproj(&checkpoint, &options, &()).expect("a supported tower");
        let layout = Layout::converted(&blueprint).expect("a layout");
        let made = write(&checkpoint, &blueprint, &[(name, layout)], false, 2);
        compare(name, &made[0], expected, &mut differing);
    }
    assert!(differing.is_empty(), "{folder} differs from the reference:\n{}", differing.join("\n"));
}

/// A file has the name, too, that the reference gives it.
#[test]
fn the_command_writes_what_the_reference_writes() {
    for folder in ["gemma-3-12b-it", "Qwen2.5-VL-7B-Instruct", "InternVL3-2B"] {
        let (sandbox, record) = (Sandbox::new(), record(folder));
        let family = seeing().into_iter().find(|f| f.folder == folder).expect("a fixture");
        let dir = checkpoint(&family, &sandbox.path(""));
        sandbox.run(&format!("convert {folder} --mmproj")).code(0);
        let made = fs::read(dir.join(&record.name)).expect(&record.name);
        assert_eq!(
            File { bytes: made.len() as u64, sha256: sha256(&made) },
            record.convert["auto"],
            "{folder}"
        );
        sandbox.run(&format!("inspect {folder}/{}", record.name)).code(0).stdout("clip");
    }
}

#[test]
fn a_text_model_has_no_tower() {
    let sandbox = Sandbox::with_tiny();
    let wanted = "is no model that sees, or its vision tower is not supported";
    sandbox.run("convert tiny --mmproj").code(3).stderr(wanted);
    assert!(!sandbox.tree("tiny").iter().any(|file| file.ends_with(".gguf")));
}

/// A Hub with a model that sees, and a folder where the program may write.
struct World {
    hub: Hub,
    sandbox: Sandbox,
    record: Record,
}

impl World {
    fn new(models: &str) -> Self {
        let (hub, mut sandbox) = (Hub::start(), Sandbox::new());
        let family = seeing().into_iter().find(|f| f.folder == BOTH).expect("a fixture");
        let dir = checkpoint(&family, &sandbox.path(""));
        hub.add_folder(&format!("them/{BOTH}"), &dir).expect("a repository");
        let token = hub.token("me", Role::Write);
        sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", token);
        let world = World { hub, sandbox, record: record(BOTH) };
        world.list(models);
        world
    }

    fn list(&self, methods: &str) {
        let models = format!(
            "version: 1\nmodels: [{{ source: them/{BOTH}, name: q, methods: {methods}, publish: {{ owner: me }} }}]\n"
        );
        self.sandbox.write("models.yaml", models);
    }

    /// Names and hashes of the repository's GGUF files.
    fn published(&self) -> BTreeMap<String, String> {
        let files = self.hub.head("me/q").files;
        files
            .into_iter()
            .filter(|(path, _)| path.ends_with(".gguf"))
            .map(|(path, e)| (path, e.sha256))
            .collect()
    }

    fn card(&self) -> String {
        String::from_utf8(self.hub.read("me/q", "README.md")).expect("text")
    }
}

#[test]
fn a_published_model_gains_its_tower() {
    let world = World::new("[Q8_0]");
    let without = "the model sees, and its vision tower is none of the outputs";
    world.sandbox.run("run").code(0).stderr(without);
    let text = world.published();
    assert_eq!(text.keys().collect::<Vec<_>>(), ["q-q8_0.gguf"]);
    assert!(!world.card().contains("mmproj"));

    world.list("[Q8_0, mmproj: F16]");
    world.sandbox.run("plan").code(0).stdout("mmproj-F16").without(without);
    world.sandbox.run("run").code(0);
    let both = world.published();
    assert_eq!(both.keys().collect::<Vec<_>>(), ["mmproj-q-f16.gguf", "q-q8_0.gguf"]);
    assert_eq!(both["q-q8_0.gguf"], text["q-q8_0.gguf"]);
    assert_eq!(both["mmproj-q-f16.gguf"], world.record.convert["f16"].sha256);
    let last = world.hub.head("me/q");
    assert_eq!(last.summary, "Add mmproj-F16");
    let card = world.card();
    for part in [
        "| [`mmproj-q-f16.gguf`](./mmproj-q-f16.gguf) | mmproj-F16 |",
        "--mmproj mmproj-q-f16.gguf",
        "llama-cli -hf me/q:Q8_0",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    let local = world.sandbox.read("output/mmproj-q-f16/mmproj-q-f16.gguf");
    assert_eq!(sha256(&local), both["mmproj-q-f16.gguf"]);

    world.sandbox.run("run").code(0).stdout("up to date");
    assert_eq!(world.hub.head("me/q").id, last.id);

    // What is no longer listed goes, if that is wanted.
    world.list("[Q8_0, mmproj: Q8_0]");
    world.sandbox.run("run --prune").code(0);
    let other = world.published();
    assert_eq!(other.keys().collect::<Vec<_>>(), ["mmproj-q-q8_0.gguf", "q-q8_0.gguf"]);
    assert_eq!(other["mmproj-q-q8_0.gguf"], world.record.convert["q8_0"].sha256);
}

#[test]
fn towers_are_streamed_as_well() {
    let world = World::new("[Q8_0, mmproj: F16, mmproj: BF16]");
    world.sandbox.run("run --stream").code(0);
    let published = world.published();
    let names = ["mmproj-q-bf16.gguf", "mmproj-q-f16.gguf", "q-q8_0.gguf"];
    assert_eq!(published.keys().collect::<Vec<_>>(), names);
    assert_eq!(published["mmproj-q-f16.gguf"], world.record.convert["f16"].sha256);
    assert_eq!(published["mmproj-q-bf16.gguf"], world.record.convert["bf16"].sha256);
    assert!(!world.sandbox.tree("output").iter().any(|file| file.ends_with(".gguf")));
    world.sandbox.run("run --stream").code(0).stdout("up to date");
}

#[test]
fn a_tower_may_be_made_by_itself() {
    let sandbox = Sandbox::new();
    let family = seeing().into_iter().find(|f| f.folder == BOTH).expect("a fixture");
    checkpoint(&family, &sandbox.path(""));
    sandbox.run(&format!("process ./{BOTH} --methods mmproj:q8_0 --skip-upload")).code(0);
    let stem = format!("mmproj-{}-q8_0", BOTH.to_lowercase());
    let made = sandbox.read(&format!("output/{stem}/{stem}.gguf"));
    assert_eq!(sha256(&made), record(BOTH).convert["q8_0"].sha256);
    let card = sandbox.text(&format!("output/{stem}/README.md"));
    assert!(card.contains(&format!("llama-server -m model.gguf --mmproj {stem}.gguf")), "{card}");
}

#[test]
fn what_is_no_tower_is_refused_before_any_work() {
    let sandbox = Sandbox::with_tiny();
    let wanted = "`LlamaForCausalLM` is no model that sees, or its vision tower is not supported";
    sandbox.run("process ./tiny --methods Q8_0,mmproj:F16 --skip-upload").code(3).stderr(wanted);
    assert!(!sandbox.path("output").exists());
    let wanted = "`Q4_K_M` is no type of a vision tower";
    sandbox.run("process ./tiny --methods mmproj:Q4_K_M --skip-upload").code(2).stderr(wanted);
}

#[test]
fn every_tower_is_tested() {
    let architectures: Vec<String> = seeing().iter().flat_map(Family::architectures).collect();
    for tower in TOWERS {
        let tested = tower.architectures.iter().any(|a| architectures.iter().any(|tested| tested == a));
        assert!(tested, "no checkpoint has the tower of {}", tower.name);
    }
}

/// The reference refuses LLaVA's own tower, a CLIP, too.
#[test]
fn what_the_reference_refuses_is_refused() {
    let refused = |folder: &str, wanted: &str| {
        let tmp = tempfile::tempdir().expect("a temporary folder");
        let family = families::all(&root().join("tests")).expect("families");
        let family = family.into_iter().find(|f| f.folder == folder).expect("a family");
        let checkpoint = Checkpoint::open(&checkpoint(&family, tmp.path())).expect("a checkpoint");
        let error: ConvertError = mmproj(&checkpoint, &ConvertOptions::default(), &()).expect_err("no tower");
        assert_eq!(error.to_string(), wanted);
    };
    refused(
        "llava-1.5-7b-hf",
        "the configuration's `model_type` is `\"clip_vision_model\"`, which is not supported",
    );
    refused("phi-4", "`Phi3ForCausalLM` is no model that sees, or its vision tower is not supported");
}
