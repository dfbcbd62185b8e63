//! Importance matrices, the smoke test and the fallback conversion, with stand-ins for llama.cpp's programs: what is
//! asked of them, what becomes of what they give, and what stays when they fail.

use std::fs;
use std::time::{Duration, Instant};

use jamph_quantizer::base::hash::sha256;
use jamph_quantizer::card::QuantizationMetadata;
use jamph_quantizer::checkpoint::GgufModel;
use jamph_quantizer::gguf::Value;

use crate::support::command::{Ran, Sandbox};
use crate::support::github::GitHub;
use crate::support::hub::{Hub, Role};
use crate::support::llama::{Call, Llama};

const YAML: &str = "version: 1
defaults: { methods: [Q4_0, IQ2_XXS], imatrix: { dataset: text.txt, chunks: 3 } }
models: [{ source: ./tiny }]
";

/// A text of some 7 chunks, for a stand-in that takes four bytes for a token.
fn text() -> String {
    "Det var en gang en tekst som ingen leste, men alle regnet på. ".repeat(240)
}

struct World {
    sandbox: Sandbox,
    llama: Llama,
}

impl World {
    fn new(yaml: &str) -> Self {
        let mut sandbox = Sandbox::with_tiny();
        let llama = Llama::install(&mut sandbox);
        sandbox.write("models.yaml", yaml);
        sandbox.write("text.txt", text());
        sandbox.set("HF_TOKEN", "hf_secret").set("GITHUB_TOKEN", "ghp_secret");
        World { sandbox, llama }
    }

    fn run(&self, words: &str) -> Ran {
        self.sandbox.run(words)
    }

    fn metadata(&self, stem: &str) -> QuantizationMetadata {
        let text = self.sandbox.read(&format!("output/{stem}/quantization_metadata.json"));
        QuantizationMetadata::from_json(&text).unwrap()
    }

    /// What a header says of the matrix: its file, its text, its tensors, its chunks.
    fn header(&self, path: &str) -> (String, String, u64, u64) {
        let model = GgufModel::open(&self.sandbox.path(path)).unwrap();
        let metadata = &model.files[0].header.metadata;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap().to_owned();
        let number = |key: &str| metadata.get(key).and_then(Value::as_u64).unwrap();
        (
            text("quantize.imatrix.file"),
            text("quantize.imatrix.dataset"),
            number("quantize.imatrix.entries_count"),
            number("quantize.imatrix.chunks_count"),
        )
    }
}

#[test]
fn a_matrix_is_computed_once_and_used_for_every_method() {
    let world = World::new(YAML);
    let plan = world.run("plan").code(0);
    let plan = plan
        .stdout("importance matrix `tiny-imatrix.gguf`: to be computed over at most 3 chunks of `text.txt`");
    let plan = plan.stdout("on the disk meanwhile: the model as a file for llama.cpp");
    assert!(world.llama.calls().is_empty(), "planning asks for the version alone");
    let sizes = world.run("plan --json").result();
    let planned: Vec<u64> = sizes["jobs"][0]["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["bytes"].as_u64().unwrap())
        .collect();
    drop(plan);

    world.run("run").code(0);
    let calls = world.llama.calls();
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.program, "llama-imatrix");
    let words = call.arguments.join(" ");
    assert!(words.contains("-f text.txt -o tiny-imatrix.gguf -c 512 -t "), "{words}");
    assert!(words.ends_with("--chunks 3"), "{words}");
    for secret in ["HF_TOKEN", "GITHUB_TOKEN", "HF_ENDPOINT"] {
        assert!(!call.variables.iter().any(|v| v == secret), "{:?}", call.variables);
    }
    assert!(!call.folder.exists(), "the scratch folder is gone");
    let tree = world.sandbox.tree("output");
    let of = |stem: &str, matrix: &str| {
        [
            "LICENSE",
            "MODEL_LOG.md",
            "README.md",
            "quantization_metadata.json",
            &format!("{stem}.gguf"),
            matrix,
        ]
        .map(|name| format!("output/{stem}/{name}"))
    };
    let mut expected: Vec<String> =
        ["tiny-q4_0", "tiny-iq2_xxs"].iter().flat_map(|s| of(s, "tiny-imatrix.gguf")).collect();
    expected.sort();
    assert_eq!(tree, expected);

    let header = world.header("output/tiny-q4_0/tiny-q4_0.gguf");
    assert_eq!((&*header.0, &*header.1, header.3), ("tiny-imatrix.gguf", "text.txt", 3));
    let metadata = world.metadata("tiny-iq2_xxs");
    let output = &metadata.outputs[0];
    let recipe = output.recipe.imatrix.as_ref().unwrap();
    assert_eq!(recipe.dataset_sha256.as_deref(), Some(&*sha256(text().as_bytes())));
    assert_eq!((recipe.chunks, recipe.tool.as_deref()), (Some(3), Some("llama.cpp b11312")));
    let file = output.imatrix_file.as_ref().unwrap();
    let matrix = world.sandbox.read("output/tiny-iq2_xxs/tiny-imatrix.gguf");
    assert_eq!((file.size, &file.sha256), (matrix.len() as u64, &sha256(&matrix)));
    assert_eq!((file.perplexity, file.chunks), (Some(29.0251), Some(3)));
    assert_eq!(u64::from(file.entries.unwrap()), header.2);
    // What was planned without the matrix is what was made, to the byte.
    let made = [world.metadata("tiny-q4_0").outputs[0].size, output.size];
    assert_eq!(planned, made);
    let card = world.sandbox.text("output/tiny-q4_0/README.md");
    assert!(
        card.contains(&format!(
            "`tiny-imatrix.gguf` from text.txt (SHA-256 `{}`), 3 chunks, with llama.cpp b11312",
            recipe.dataset_sha256.clone().unwrap()
        )),
        "{card}"
    );

    // The same matrix, given as a file, gives the same weights.
    let given = Sandbox::with_tiny();
    given.write("tiny-imatrix.gguf", &matrix);
    given.run("process tiny --methods IQ2_XXS --imatrix tiny-imatrix.gguf").code(0);
    assert_eq!(
        sha256(&given.read("output/tiny-iq2_xxs/tiny-iq2_xxs.gguf")),
        sha256(&world.sandbox.read("output/tiny-iq2_xxs/tiny-iq2_xxs.gguf"))
    );

    // Nothing changed: nothing is asked of llama.cpp, nor of a cache that is gone.
    world.run("run").code(0).stderr("2 of 2 outputs up to date");
    fs::remove_dir_all(world.sandbox.path(".home")).unwrap();
    world.run("run").code(0).stderr("2 of 2 outputs up to date");
    assert_eq!(world.llama.count("llama-imatrix"), 1);
}

#[test]
fn what_decides_a_matrix_makes_outputs_stale() {
    let world = World::new(YAML);
    world.run("run").code(0);
    let edit = |from: &str, to: &str| {
        let yaml = world.sandbox.text("models.yaml");
        assert!(yaml.contains(from));
        world.sandbox.write("models.yaml", yaml.replace(from, to));
    };
    // Another method with the same matrix takes it from the cache.
    edit("IQ2_XXS]", "IQ2_XXS, Q5_0]");
    world.run("plan").code(0).stdout("`tiny-imatrix.gguf`: from the cache");
    world.run("run").code(0).stderr("2 of 3 outputs up to date");
    assert_eq!(world.llama.count("llama-imatrix"), 1);
    // More chunks make another one, and all outputs anew.
    edit("chunks: 3", "chunks: 4");
    let plan = world.run("plan").code(0);
    assert_eq!(plan.stdout.matches("make: the options changed").count(), 3, "{plan}");
    world.run("run").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 2);
    assert_eq!(world.header("output/tiny-q5_0/tiny-q5_0.gguf").3, 4);
    // So does another text under the same name; going back takes what is there.
    world.sandbox.write("text.txt", text() + "En til.");
    world.run("run").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 3);
    world.sandbox.write("text.txt", text());
    world.run("run").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 3);
    // What somebody damaged in the cache is computed anew.
    for entry in fs::read_dir(world.sandbox.path(".home/.cache/jamph-quantizer/imatrix")).unwrap() {
        let file = entry.unwrap().path().join("imatrix.gguf");
        if file.exists() {
            fs::write(file, "damaged").unwrap();
        }
    }
    world.run("run --force").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 4);
}

#[test]
fn a_program_that_fails_leaves_nothing() {
    let world = World::new(YAML);
    let nothing = |ran: Ran| {
        let ran = ran.code(3).without("hf_secret");
        assert_eq!(world.sandbox.tree("output"), Vec::<String>::new(), "{ran}");
        ran
    };
    world.llama.fault("llama-imatrix", "crash");
    let ran = nothing(world.run("run"));
    let ran = ran.stderr("the importance matrix could not be computed");
    // Its last lines, and not its first.
    let ran = ran.stderr("the disk is on fire");
    assert!(ran.stderr.contains("loading, step 39") && !ran.stderr.contains("loading, step 2\n"), "{ran}");
    world.llama.fault("llama-imatrix", "nan");
    nothing(world.run("run").stderr("the model's predictions are NaN or infinite (chunk 1)"));
    world.llama.fault("llama-imatrix", "silent");
    nothing(world.run("run").stderr("`llama-imatrix` ended without a matrix"));
    world.llama.mend();
    world.sandbox.write("text.txt", "too short");
    let ran = nothing(world.run("run").stderr("take a longer text"));
    ran.stderr("you need at least 1024 tokens");
    world.sandbox.write("text.txt", " \n");
    nothing(world.run("run").stderr("is empty"));
    world.sandbox.write("text.txt", text());
    world.run("run").code(0);
}

#[cfg(unix)]
#[test]
fn a_program_ends_with_the_run() {
    let world = World::new(YAML);
    world.llama.fault("llama-imatrix", "hang");
    let child = world.sandbox.start("run");
    let start = Instant::now();
    let hanging = loop {
        if let Some(hanging) = world.llama.hanging() {
            break hanging;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "it never hung");
        std::thread::sleep(Duration::from_millis(20));
    };
    world.sandbox.shell(&format!("kill -INT {}", child.id())).status().unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).code(130);
    let alive =
        world.sandbox.shell(&format!("kill -0 {hanging}")).stderr(std::process::Stdio::null()).status();
    assert!(!alive.unwrap().success(), "the program is still there: {ran}");
    assert_eq!(world.sandbox.tree("output"), Vec::<String>::new(), "{ran}");
    // What a killed run leaves is swept by the next.
    world.sandbox.write("output/.tiny.scratch/base.gguf", "half");
    world.llama.mend();
    world.run("run").code(0);
    assert!(!world.sandbox.path("output/.tiny.scratch").exists());
}

#[test]
fn without_a_llama_cpp_the_exit_code_says_so() {
    let mut world = World::new(YAML);
    world.sandbox.set("JAMPH_LLAMA_CPP", world.sandbox.path("nowhere").display().to_string());
    world.run("run").code(5).stderr("`llama_cpp.installed` and JAMPH_LLAMA_CPP name a folder");
}

#[test]
fn a_matrix_of_a_repository_is_pinned_and_named() {
    let hub = Hub::start();
    let computed = World::new(YAML);
    computed.run("imatrix tiny --dataset text.txt").code(0).stdout("tiny-imatrix.gguf  ");
    let matrix = computed.sandbox.read("tiny-imatrix.gguf");
    let folder = computed.sandbox.path("upload");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/Tiny.imatrix"), &matrix).unwrap();
    fs::write(folder.join("README.md"), "---\nlicense: mit\n---\n").unwrap();
    hub.add_folder("them/matrices", &folder).unwrap();
    let mut sandbox = Sandbox::with_tiny();
    sandbox.set("HF_ENDPOINT", hub.endpoint());
    sandbox.write(
        "models.yaml",
        "version: 1\nmodels: [{ source: ./tiny, methods: [IQ2_XXS], imatrix: { repo: them/matrices } }]\n",
    );
    sandbox.run("run --skip-upload").code(0);
    let text = sandbox.read("output/tiny-iq2_xxs/quantization_metadata.json");
    let output = QuantizationMetadata::from_json(&text).unwrap().outputs.remove(0);
    let recipe = output.recipe.imatrix.unwrap();
    assert_eq!((&*recipe.file, recipe.sha256), ("Tiny.imatrix", Some(sha256(&matrix))));
    let commit = hub.head("them/matrices").id;
    let origin = output.imatrix_file.unwrap().origin.unwrap();
    assert_eq!(origin, format!("them/matrices/sub/Tiny.imatrix at {commit}"));
    // Offline, the cache has it.
    sandbox.set("HF_HUB_OFFLINE", "1");
    sandbox.run("plan --skip-upload").code(0).stdout("up to date");
    // A name that is not there.
    sandbox.unset("HF_HUB_OFFLINE");
    let yaml = sandbox.text("models.yaml").replace("them/matrices", "them/matrices, file: other.gguf");
    sandbox.write("models.yaml", yaml);
    sandbox.run("run --skip-upload").code(3).stderr("`them/matrices` has no file `other.gguf`");
}

#[test]
fn a_matrix_at_an_address_is_taken_and_named() {
    let github = GitHub::start();
    let computed = World::new(YAML);
    computed.run("imatrix tiny --dataset text.txt --chunks 3").code(0);
    let matrix = computed.sandbox.read("tiny-imatrix.gguf");
    let url = github.file("m.gguf", matrix.clone());
    let yaml = format!(
        "version: 1\nmodels: [{{ source: ./tiny, methods: [IQ2_XXS], imatrix: {{ url: '{url}?sig=SECRET' }} }}]\n"
    );
    let mut world = World::new(&yaml);
    let run = |world: &World, code: i32| world.run("run").code(code).without("SECRET");
    run(&world, 0);
    let output = world.metadata("tiny-iq2_xxs").outputs.remove(0);
    let recipe = output.recipe.imatrix.unwrap();
    assert_eq!((&*recipe.file, recipe.sha256), ("m.gguf", Some(sha256(&matrix))));
    assert_eq!(output.imatrix_file.unwrap().origin.as_ref(), Some(&url), "what may be secret is left out");
    let tree = world.sandbox.tree("output");
    assert!(!tree.iter().any(|file| file.ends_with("m.gguf")), "{tree:?}");
    for file in tree.iter().filter(|file| !file.ends_with(".gguf")) {
        assert!(!world.sandbox.text(file).contains("SECRET"), "{file}");
    }
    assert!(world.llama.calls().is_empty(), "nothing is computed");
    assert!(github.seen().iter().all(|seen| seen.authorization.is_none()), "no token is sent");
    // It is the bytes that count.
    run(&world, 0).stderr("1 of 1 output up to date");
    computed.run("imatrix tiny --dataset text.txt --chunks 4").code(0);
    github.file("m.gguf", computed.sandbox.read("tiny-imatrix.gguf"));
    world.run("plan").code(0).stdout("make: the options changed");
    run(&world, 0);
    // Offline, what came last serves.
    world.sandbox.set("HF_HUB_OFFLINE", "1");
    run(&world, 0).stderr("1 of 1 output up to date");
    world.sandbox.write("models.yaml", yaml.replace("m.gguf", "n.gguf"));
    run(&world, 3).stderr("is not in the cache");
    world.sandbox.unset("HF_HUB_OFFLINE");
    run(&world, 3).stderr("answered 404").stderr("hint: the address has to give the file itself");
    github.file("n.gguf", "no matrix");
    run(&world, 3).stderr("it ends within entry 1");
    github.file("n.gguf", &matrix[..matrix.len() / 2]);
    run(&world, 3);
    assert!(world.metadata("tiny-iq2_xxs").outputs[0].recipe.imatrix.is_some(), "what was made stays");
}

#[test]
fn a_text_at_an_address_is_downloaded_and_named() {
    let github = GitHub::start();
    let url = github.file("calibration.txt", text());
    let world = World::new(&YAML.replace("text.txt", &format!("'{url}?sig=SECRET'")));
    world.run("run").code(0).without("SECRET");
    let header = world.header("output/tiny-q4_0/tiny-q4_0.gguf");
    assert_eq!((&*header.1, header.3), ("calibration.txt", 3));
    let recipe = world.metadata("tiny-q4_0").outputs.remove(0).recipe.imatrix.unwrap();
    assert_eq!(recipe.dataset_sha256, Some(sha256(text().as_bytes())));
    assert!(github.seen().iter().all(|seen| seen.authorization.is_none()), "no token is sent");
    // A text of the same name from this machine is the same text.
    world.sandbox.write("calibration.txt", text());
    let yaml = world.sandbox.text("models.yaml").replace(&format!("'{url}?sig=SECRET'"), "calibration.txt");
    world.sandbox.write("models.yaml", yaml);
    world.run("run").code(0).stderr("2 of 2 outputs up to date");
    assert_eq!(world.llama.count("llama-imatrix"), 1);
}

#[test]
fn a_text_may_be_called_as_the_base_is() {
    let world = World::new(&YAML.replace("text.txt", "base.gguf"));
    world.sandbox.write("base.gguf", text());
    world.run("run").code(0);
    assert_eq!(world.header("output/tiny-q4_0/tiny-q4_0.gguf").1, "base.gguf");
}

#[test]
fn all_that_can_be_asked_of_a_model_at_once() {
    let hub = Hub::start();
    let asked = "chunks: 3 }, check: true, publish: { owner: me }, evaluate: { chunks: 2, context: 128 }";
    let mut world = World::new(&YAML.replace("chunks: 3 }", asked));
    let token = hub.token("me", Role::Write);
    world.sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
    let plan = world.run("plan").code(0);
    let plan = plan.stdout("importance matrix `tiny-imatrix.gguf`: to be computed");
    plan.stdout("measure Q4_0, IQ2_XXS over `evaluation.txt`");
    world.run("run").code(0).stderr("LCP-020");
    // In this order: what is published was tried out first, and what does not load is not measured.
    let calls = world.llama.calls();
    let programs: Vec<&str> = calls.iter().map(|call| &*call.program).collect();
    assert_eq!(
        programs,
        [
            "llama-imatrix",
            "llama-completion",
            "llama-completion",
            "llama-perplexity",
            "llama-perplexity",
            "llama-perplexity"
        ]
    );
    let after = |call: &Call, flag: &str| {
        let at = call.arguments.iter().position(|a| a == flag).unwrap();
        call.arguments[at + 1].clone()
    };
    assert_eq!(after(&calls[0], "-m"), after(&calls[3], "--model"), "the base is made once");
    for secret in ["HF_TOKEN", "GITHUB_TOKEN"] {
        assert!(calls.iter().all(|call| !call.variables.iter().any(|v| v == secret)));
    }
    let published = hub.read("me/tiny", "quantization_metadata.json");
    let published = QuantizationMetadata::from_json(&published).unwrap();
    assert_eq!(published.outputs.len(), 2);
    for output in &published.outputs {
        assert_eq!(output.checked.as_deref(), Some("llama.cpp b11312 (0c1e57098)"));
        assert_eq!(output.evaluation.as_ref().map(|e| (e.chunks, e.predictions)), Some((2, 2 * 63)));
        assert_eq!(output.imatrix_file.as_ref().unwrap().chunks, Some(3));
    }
    let mut names: Vec<String> = hub.head("me/tiny").files.into_keys().collect();
    names.retain(|name| name.ends_with(".gguf") || name.ends_with(".svg"));
    assert_eq!(names, ["evaluation.svg", "tiny-imatrix.gguf", "tiny-iq2_xxs.gguf", "tiny-q4_0.gguf"]);
    assert!(world.sandbox.tree("output").iter().all(|file| !file.contains("scratch")));
    // All of it is known now, here and elsewhere.
    world.run("run").code(0).stderr("2 of 2 outputs published and up to date");
    world.run("run --output other").code(0).stderr("2 of 2 outputs published and up to date");
    assert_eq!(world.llama.calls().len(), 6);
}

#[test]
fn the_command_computes_over_a_gguf_file_too() {
    let world = World::new(YAML);
    world.run("convert tiny --outfile base.gguf").code(0);
    let ran = world.run("imatrix base.gguf -d text.txt --chunks 2 -o m.gguf --json").code(0);
    let result = ran.result();
    assert_eq!((result["path"].as_str(), result["chunks"].as_u64()), (Some("m.gguf"), Some(2)));
    let of_folder = world.run("imatrix tiny -d text.txt --chunks 2 -o f.gguf --json").code(0).result();
    // Two files of one content, of two names of the text's matrix.
    assert_eq!(result["entries"], of_folder["entries"]);
    world.run("quantize --imatrix m.gguf base.gguf out.gguf IQ2_XXS").code(0);
    // The second time, the cache has it.
    world.run("imatrix base.gguf -d text.txt --chunks 2 -o m.gguf").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 2);
    // The text that comes along needs no name.
    world.run("imatrix base.gguf -o d.gguf").code(0).stdout(" chunks");
    let call = world.llama.calls().pop().unwrap();
    assert!(call.arguments.contains(&"jamph-calibration-1.txt".to_owned()), "{call:?}");
}

const CHECKED: &str = "version: 1
defaults: { methods: [Q8_0, Q4_0], check: true, publish: { owner: me } }
models: [{ source: ./tiny }]
";

#[test]
fn an_output_that_does_not_work_is_not_published() {
    let hub = Hub::start();
    let mut world = World::new(CHECKED);
    let token = hub.token("me", Role::Write);
    world.sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
    world.llama.fault("llama-completion", "crash");
    let ran =
        world.run("run").code(3).stderr("does not work with llama.cpp (Q8_0)").stderr("the disk is on fire");
    assert!(!ran.stderr.contains("HUF-008"), "{ran}");
    assert!(!hub.exists("me/tiny"), "nothing is there");
    let metadata = world.sandbox.path("output/tiny-q8_0/quantization_metadata.json");
    assert!(!metadata.exists(), "it is none that a run finished");
    world.llama.fault("llama-completion", "silent");
    world.run("run").code(3).stderr("`llama-completion` ended without a token");
    world.llama.mend();
    world.run("run").code(0);
    let output = world.metadata("tiny-q4_0").outputs.remove(0);
    assert_eq!(output.checked.as_deref(), Some("llama.cpp b11312 (0c1e57098)"));
    assert!(world.sandbox.text("output/tiny-q4_0/MODEL_LOG.md").contains("loads it and generates from it"));
    let call = world.llama.calls().pop().unwrap();
    assert!(call.arguments.windows(2).any(|w| w[0] == "-m" && w[1].ends_with("tiny-q4_0.gguf")), "{call:?}");
    assert!(!call.variables.iter().any(|v| v == "HF_TOKEN"), "{call:?}");
    assert!(hub.exists("me/tiny"));
}

#[test]
fn what_was_made_without_a_check_is_tried_out_before_it_is_published() {
    let hub = Hub::start();
    let mut world = World::new(&CHECKED.replace("check: true, ", ""));
    let token = hub.token("me", Role::Write);
    world.sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
    world.run("run --skip-upload").code(0);
    assert_eq!(world.llama.count("llama-completion"), 0);
    world.llama.fault("llama-completion", "crash");
    world.run("run --check").code(3).stderr("does not work with llama.cpp");
    world.llama.mend();
    world.run("run --check").code(0);
    let published = hub.read("me/tiny", "quantization_metadata.json");
    let published = QuantizationMetadata::from_json(&published).unwrap();
    let checked: Vec<_> = published.outputs.iter().map(|o| o.checked.as_deref()).collect();
    assert_eq!(checked, [Some("llama.cpp b11312 (0c1e57098)"); 2]);
    assert!(world.sandbox.text("output/tiny-q8_0/MODEL_LOG.md").contains("loads it and generates from it"));
}

#[test]
fn a_computed_matrix_is_published_with_its_outputs() {
    let hub = Hub::start();
    let mut world =
        World::new(&YAML.replace("chunks: 3 }", "chunks: 3 }, publish: { owner: me, prune: true }"));
    let token = hub.token("me", Role::Write);
    world.sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
    world.run("run").code(0);
    let names = |hub: &Hub| -> Vec<String> {
        hub.head("me/tiny").files.into_keys().filter(|n| n.ends_with(".gguf")).collect()
    };
    assert_eq!(names(&hub), ["tiny-imatrix.gguf", "tiny-iq2_xxs.gguf", "tiny-q4_0.gguf"]);
    let matrix = world.sandbox.read("output/tiny-q4_0/tiny-imatrix.gguf");
    assert_eq!(hub.read("me/tiny", "tiny-imatrix.gguf"), matrix);
    // Elsewhere, without a cache: all is published, and nothing computed.
    world.run("run --output other").code(0).stderr("2 of 2 outputs published and up to date");
    assert_eq!(world.llama.count("llama-imatrix"), 1);
    // Streamed outputs come with the matrix that is in the cache.
    world.run("run --force --stream").code(0);
    assert_eq!(world.llama.count("llama-imatrix"), 1);
    assert_eq!(hub.read("me/tiny", "tiny-imatrix.gguf"), matrix);
    // Without one in the cache they are refused: it takes a file of the model.
    fs::remove_dir_all(world.sandbox.path(".home/.cache/jamph-quantizer/imatrix")).unwrap();
    world.run("plan --force --stream").code(3).stderr("the importance matrix is computed from a file");
    // No output has one any more, and it goes.
    let yaml = world.sandbox.text("models.yaml");
    let yaml = yaml.replace("[Q4_0, IQ2_XXS], imatrix: { dataset: text.txt, chunks: 3 }", "[Q4_0]");
    world.sandbox.write("models.yaml", yaml);
    world.run("run").code(0);
    assert_eq!(names(&hub), ["tiny-q4_0.gguf"]);
}

/// The example's checkpoint as one of a family that nobody here knows.
fn novel(sandbox: &Sandbox) {
    let config = sandbox.text("tiny/config.json");
    let config = config.replace("LlamaForCausalLM", "NovelForCausalLM").replace("\"llama\"", "\"novel\"");
    let config = config.replacen('{', "{ \"auto_map\": { \"AutoConfig\": \"code.NovelConfig\" },", 1);
    sandbox.write("tiny/config.json", config);
    sandbox.write("tiny/code.py", "raise SystemExit('code of a checkpoint was run')\n");
}

const NOVEL: &str = "version: 1
defaults: { methods: [Q8_0, Q4_K_M] }
models: [{ source: ./tiny }]
";

#[test]
fn a_family_that_is_not_known_goes_through_llama_cpps_converter() {
    let world = World::new(NOVEL);
    world.run("run").code(0);
    let known: Vec<_> =
        ["q8_0", "q4_k_m"].map(|m| world.sandbox.read(&format!("output/tiny-{m}/tiny-{m}.gguf"))).into();
    fs::remove_dir_all(world.sandbox.path("output")).unwrap();
    novel(&world.sandbox);

    let plan = world.run("plan").code(0).stdout("converted by llama.cpp b11312's own converter");
    plan.stdout("`NovelForCausalLM` is not supported")
        .stdout("Q8_0, Q4_K_M: sizes are known once it was converted");
    world.llama.fault("python3", "slow");
    world.run("run").code(0).stderr("LCP-025").stderr("LCP-026");
    world.llama.mend();
    let made: Vec<_> =
        ["q8_0", "q4_k_m"].map(|m| world.sandbox.read(&format!("output/tiny-{m}/tiny-{m}.gguf"))).into();
    assert!(made == known, "the same weights, in the same bytes");
    // The first conversion happens before anything else is known; it is part of the run all the same.
    let run = world.metadata("tiny-q8_0").run;
    let first = &run.steps[0];
    assert_eq!(first.what, "converted the checkpoint with llama.cpp b11312's own converter");
    assert!(first.seconds.is_some_and(|s| s >= 1.0) && run.seconds >= 1.0, "{first:?}");
    assert_eq!(first.started, run.started);
    let output = world.metadata("tiny-q8_0").outputs.remove(0);
    assert_eq!(output.recipe.converter.as_deref(), Some("llama.cpp b11312"));
    let card = world.sandbox.text("output/tiny-q8_0/README.md");
    assert!(
        card.contains("| Converted | by llama.cpp b11312, whose own converter knows this family |"),
        "{card}"
    );
    let call =
        world.llama.calls().into_iter().find(|c| c.arguments.iter().any(|a| a.ends_with(".py"))).unwrap();
    for secret in ["HF_TOKEN", "GITHUB_TOKEN"] {
        assert!(!call.variables.iter().any(|v| v == secret), "{call:?}");
    }
    for needed in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME"] {
        assert!(call.variables.iter().any(|v| v == needed), "{call:?}");
    }
    assert!(
        call.arguments.windows(2).any(|w| w == ["--outtype", "auto"] || w == ["--outtype", "f32"]),
        "{call:?}"
    );
    assert!(world.sandbox.tree("output").iter().all(|f| !f.contains("scratch")));

    // It is up to date, and its sizes are known without another conversion.
    let conversions = world.llama.count("python3");
    world.run("run").code(0).stderr("2 of 2 outputs up to date");
    world.run("plan --force").code(0).stdout("bytes").stdout("converted by");
    assert_eq!(world.llama.count("python3"), conversions);
    // Made anew, it is converted anew: nothing of gigabytes is kept.
    world.run("run --force").code(0);
    assert_eq!(world.llama.count("python3"), conversions + 2);
}

#[test]
fn the_fallback_can_be_refused_and_can_fail() {
    let mut world = World::new(NOVEL);
    novel(&world.sandbox);
    let refused = world.run("run --fallback=false").code(3);
    refused.stderr("the architecture `NovelForCausalLM` is not supported").stderr("--fallback leaves it to");
    let yaml =
        world.sandbox.text("models.yaml").replace("[Q8_0, Q4_K_M]", "[Q8_0], convert: { fallback: false }");
    world.sandbox.write("models.yaml", yaml);
    world.run("run").code(3).stderr("is not supported");
    world.sandbox.write("models.yaml", NOVEL);
    assert_eq!(world.llama.count("python3"), 0);
    // The converter does not know it either.
    let config = world.sandbox.text("tiny/config.json").replace("NovelForCausalLM", "OtherForCausalLM");
    world.sandbox.write("tiny/config.json", config);
    world.run("run").code(3).stderr("ERROR:hf-to-gguf:Model is not supported");
    assert_eq!(world.sandbox.tree("output"), Vec::<String>::new());
    // A Python without the libraries.
    let python = world.sandbox.path("llama/nothing").display().to_string();
    world.sandbox.set("JAMPH_PYTHON", python);
    world.run("run").code(5).stderr("cannot be used for llama.cpp's converter").stderr("JAMPH_PYTHON");
    // Nobody named a llama.cpp: the refusal says what to do.
    world.sandbox.unset("JAMPH_LLAMA_CPP");
    world.run("run").code(3).stderr("--fallback leaves it to llama.cpp's own converter");
}

/// An uv that writes down how it was called and what it saw; its environments have the stand-in for a Python.
#[cfg(unix)]
const UV: &str = r#"#!/bin/sh
echo "$1" >> "$HOME/uv.log"
env > "$HOME/uv.env"
echo half > "$TMPDIR/unpacked"
if [ -f "$HOME/broken" ] && [ "$1" = pip ]; then echo 'error: no matching distribution' >&2; exit 1; fi
if [ "$1" = venv ]; then
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$HOME/../llama/python3" "$folder/bin/python"
fi
"#;

#[cfg(unix)]
#[test]
fn a_python_environment_is_made_once_and_whole() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new(NOVEL);
    novel(&world.sandbox);
    let list = "llama/requirements/requirements-convert_hf_to_gguf.txt";
    world.sandbox.write(list, "numpy==2\n");
    world.sandbox.write("path/uv", UV);
    fs::set_permissions(world.sandbox.path("path/uv"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(world.sandbox.path(".home")).unwrap();
    let path = format!("{}:/usr/bin:/bin", world.sandbox.path("path").display());
    world.sandbox.unset("JAMPH_PYTHON").set("PATH", path);
    world.sandbox.set("PIP_INDEX_URL", "https://packages.example/").set("HTTPS_PROXY", "http://127.0.0.1:9");
    let environments = |world: &World| {
        let python = world.sandbox.path(".home/.cache/jamph-quantizer/python");
        let names = fs::read_dir(python).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).count()
    };
    let made = |world: &World| world.sandbox.text(".home/uv.log").lines().collect::<Vec<_>>().join(" ");

    world.sandbox.write(".home/broken", "");
    let ran =
        world.run("run").code(5).stderr("the Python environment for llama.cpp's converter could not be made");
    ran.stderr("error: no matching distribution").without("hf_secret");
    assert_eq!(environments(&world), 0, "nothing half stays");
    fs::remove_file(world.sandbox.path(".home/broken")).unwrap();
    world.run("run").code(0).stderr("LCP-027");
    let seen = world.sandbox.text(".home/uv.env");
    for (part, there) in [
        ("PIP_INDEX_URL=https://packages.example/", true),
        ("HTTPS_PROXY=http://127.0.0.1:9", true),
        ("HF_TOKEN", false),
        ("GITHUB_TOKEN", false),
    ] {
        assert_eq!(seen.contains(part), there, "{part} in {seen}");
    }
    assert_eq!((environments(&world), &*made(&world)), (1, "venv pip venv pip"));
    // It serves from now on, also without a connection; another list asks for another one.
    world.sandbox.set("HF_HUB_OFFLINE", "1");
    world.run("run --force").code(0);
    assert_eq!(made(&world), "venv pip venv pip");
    world.sandbox.write(list, "numpy==3\n");
    world.run("run --force").code(5).stderr("offline: the Python environment");
    world.sandbox.unset("HF_HUB_OFFLINE");
    world.run("run --force").code(0);
    assert_eq!((environments(&world), &*made(&world)), (2, "venv pip venv pip venv pip"));
}
