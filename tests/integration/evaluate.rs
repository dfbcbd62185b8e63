//! Measuring outputs, with a stand-in for llama-perplexity: what is measured and what is known, where the figures go,
//! and what a gate keeps back.

use jamph_quantizer::card::QuantizationMetadata;
use jamph_quantizer::card::metadata::Evaluation;

use crate::support::command::{Ran, Sandbox};
use crate::support::hub::{Hub, Role};
use crate::support::llama::Llama;

const YAML: &str = "version: 1
defaults: { methods: [Q8_0, Q4_0], publish: { owner: me }, evaluate: { chunks: 3, context: 128 } }
models: [{ source: ./tiny }]
";

struct World {
    hub: Hub,
    sandbox: Sandbox,
    llama: Llama,
}

impl World {
    fn new(yaml: &str) -> Self {
        let hub = Hub::start();
        let token = hub.token("me", Role::Write);
        let mut sandbox = Sandbox::with_tiny();
        let llama = Llama::install(&mut sandbox);
        sandbox.write("models.yaml", yaml);
        sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", token);
        World { hub, sandbox, llama }
    }

    fn run(&self, words: &str) -> Ran {
        self.sandbox.run(words)
    }

    fn yaml(&self, from: &str, to: &str) {
        let yaml = self.sandbox.text("models.yaml");
        assert!(yaml.contains(from), "{yaml}");
        self.sandbox.write("models.yaml", yaml.replace(from, to));
    }

    fn published(&self) -> QuantizationMetadata {
        QuantizationMetadata::from_json(&self.hub.read("me/tiny", "quantization_metadata.json")).unwrap()
    }

    fn page(&self, name: &str) -> String {
        String::from_utf8(self.hub.read("me/tiny", name)).unwrap()
    }

    /// Methods and their figures in the repository.
    fn figures(&self) -> Vec<(String, Option<Evaluation>)> {
        self.published().outputs.into_iter().map(|o| (o.recipe.method, o.evaluation)).collect()
    }

    /// How often the stand-in was started since.
    fn measured(&self) -> usize {
        self.llama.count("llama-perplexity")
    }
}

#[test]
fn figures_are_measured_once_and_published() {
    let world = World::new(YAML);
    let plan =
        world.run("plan").code(0).stdout("measure Q8_0, Q4_0 over `evaluation.txt`: 3 chunks of 128 tokens");
    let plan = plan.stdout("of probabilities and");
    drop(plan);
    let ran = world.run("run").code(0).stdout("KLD 0.0");
    // The base once, then each output.
    assert_eq!(world.measured(), 3, "{ran}");
    let calls = world.llama.calls();
    let words: Vec<String> = calls.iter().map(|c| c.arguments.join(" ")).collect();
    assert!(words[0].contains("base.gguf --ctx-size 128 --batch-size 128"), "{}", words[0]);
    assert!(words[0].contains("--chunks 3") && !words[0].contains("--kl-divergence "), "{}", words[0]);
    assert!(words[1..].iter().all(|w| w.contains("--kl-divergence --kl-divergence-base")), "{words:?}");
    assert!(!calls.iter().any(|c| c.variables.iter().any(|v| v == "HF_TOKEN")));
    // Nothing of it stays.
    assert!(
        world.sandbox.tree("output").iter().all(|f| !f.contains("scratch") && !f.contains("probabilities"))
    );

    let figures = world.figures();
    let kld = |i: usize| figures[i].1.as_ref().unwrap().divergence.as_ref().unwrap().mean_kld.value;
    assert_eq!(figures.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["Q4_0", "Q8_0"]);
    assert!(kld(0) > kld(1) && kld(1) > 0.0);
    let first = figures[0].1.as_ref().unwrap();
    assert_eq!((first.context, first.chunks, first.chunks_asked, first.predictions), (128, 3, 3, 3 * 63));
    assert_eq!(first.tool, "llama.cpp b11312 (0c1e57098)");
    for (page, part) in [
        ("README.md", "![Size against quality](./evaluation.svg)"),
        ("README.md", "| Method | Size | Mean KLD |"),
        ("MODEL_LOG.md", "| KL divergence | mean "),
        ("evaluation.svg", ">Q4_0</text>"),
    ] {
        assert!(world.page(page).contains(part), "{part} is not in {page}");
    }
    let local = world.sandbox.text("output/tiny-evaluation.svg");
    assert_eq!(local, world.page("evaluation.svg"));

    // A rerun measures nothing, here or on another machine.
    world.run("run").code(0);
    world.run("plan").code(0).stdout("up to date").without("measure Q");
    let log = world.sandbox.text("output/tiny-q8_0/MODEL_LOG.md");
    assert!(log.contains("| Same top token |"), "{log}");
    assert_eq!(world.measured(), 3);

    // A new method is measured alone, and stands beside the others.
    world.yaml("[Q8_0, Q4_0]", "[Q8_0, Q4_0, Q5_0]");
    world.run("run").code(0);
    assert_eq!(world.measured(), 5, "the base and the new one");
    assert!(world.figures().iter().all(|(_, f)| f.is_some()) && world.figures().len() == 3);
    assert!(world.page("evaluation.svg").contains(">Q5_0</text>"));
}

#[test]
fn what_is_published_without_figures_gets_them() {
    let world = World::new(&YAML.replace(", evaluate: { chunks: 3, context: 128 }", ""));
    world.run("run").code(0);
    assert!(world.figures().iter().all(|(_, f)| f.is_none()));
    assert!(!world.hub.head("me/tiny").files.contains_key("evaluation.svg"));
    world.sandbox.write("models.yaml", YAML);
    // The outputs are here still.
    world.run("plan --matrix").code(0).stdout("\"id\":\"tiny\"");
    world.run("run").code(0).stdout("up to date");
    assert_eq!(world.measured(), 3);
    assert!(world.figures().iter().all(|(_, f)| f.is_some()));
    // Other chunks are other figures; the outputs are gone, so they are made once more.
    world.yaml("chunks: 3", "chunks: 4");
    std::fs::remove_dir_all(world.sandbox.path("output")).unwrap();
    world.run("plan").code(0).stdout("make: published, but not measured yet");
    let before = world.published().outputs[0].sha256.clone();
    world.run("run").code(0);
    assert_eq!(world.measured(), 6);
    let after = world.published();
    assert_eq!(after.outputs[0].sha256, before);
    assert_eq!(after.outputs[0].evaluation.as_ref().unwrap().chunks, 4);
    assert_eq!(world.hub.leaks().len(), 0);
}

#[test]
fn what_is_not_good_enough_is_not_published() {
    let world = World::new(YAML);
    world.run("run --skip-upload").code(0);
    let metadata = |stem: &str| {
        let text = world.sandbox.read(&format!("output/{stem}/quantization_metadata.json"));
        QuantizationMetadata::from_json(&text).unwrap().outputs.remove(0)
    };
    let kld = |stem: &str| metadata(stem).evaluation.unwrap().divergence.unwrap().mean_kld.value;
    let (good, bad) = (kld("tiny-q8_0"), kld("tiny-q4_0"));
    let between = (good + bad) / 2.0;
    world.yaml("context: 128 }", &format!("context: 128, require: {{ mean_kld: {between} }} }}"));
    let ran = world.run("run").code(6);
    let ran = ran.stderr("LCP-033").stderr("PLN-004").stderr("hint: an importance matrix may help");
    assert!(ran.stderr.contains("`Q4_0` is not published: `mean_kld` is "), "{ran}");
    assert!(ran.stdout.contains("not good enough") && ran.stdout.contains("published: "), "{ran}");
    assert_eq!(world.figures().iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["Q8_0"]);
    assert!(!world.hub.head("me/tiny").files.contains_key("tiny-q4_0.gguf"));
    assert_eq!(world.measured(), 3, "what is known is not measured again");
    let result = world.run("run --json").code(6).result();
    assert_eq!(result["jobs"][0]["rejected"][0]["method"], "Q4_0");
    // Who requires less gets it.
    world.yaml(&format!("mean_kld: {between}"), "mean_kld: 9");
    world.run("run").code(0);
    assert_eq!(world.figures().len(), 2);
    assert_eq!(world.measured(), 3);
    // What is published stays, whatever is required later.
    world.yaml("mean_kld: 9", &format!("mean_kld: {between}"));
    world.run("run").code(0).stderr("LCP-034");
    assert_eq!(world.figures().len(), 2);
}

#[test]
fn a_tool_that_fails_leaves_the_outputs_unpublished() {
    let world = World::new(YAML);
    for (fault, part) in [
        ("cut", "where the probabilities of 3 chunks take"),
        ("nan", "measured `Final estimate: PPL = nan`"),
        ("sums", "did not print `Final estimate: PPL =`"),
        ("crash", "the disk is on fire"),
    ] {
        world.llama.fault("llama-perplexity", fault);
        let ran = world.run("run");
        assert_ne!(ran.code, Some(0), "{ran}");
        assert!(ran.stderr.contains(part), "{part}\n{ran}");
        assert!(!world.hub.exists("me/tiny"));
    }
    // The outputs are whole; the next run only measures.
    world.llama.mend();
    world.run("run").code(0).stdout("up to date");
    assert_eq!(world.figures().len(), 2);
}

#[test]
fn streams_and_figures_exclude_each_other() {
    let world = World::new(YAML);
    let ran = world.run("plan --stream").code(3);
    assert!(ran.stderr.contains("`evaluate` measures files"), "{ran}");
}

#[test]
fn perplexity_alone_needs_no_base() {
    let world = World::new(&YAML.replace("context: 128", "context: 128, kl_divergence: false"));
    world.run("run").code(0).stdout("perplexity ");
    assert_eq!(world.measured(), 2);
    assert!(world.figures().iter().all(|(_, f)| f.as_ref().unwrap().divergence.is_none()));
}

#[test]
fn the_command_measures_files_and_outputs() {
    let world = World::new(YAML);
    world.sandbox.write("models.yaml", YAML.replace(", evaluate: { chunks: 3, context: 128 }", ""));
    world.run("run --skip-upload").code(0);
    let chunks = "--chunks 3 --context 128";
    // Without a base there is nothing to compare with.
    world.run(&format!("evaluate output {chunks}")).code(2).stderr("--base names no unquantized model");
    let ran = world.run(&format!("evaluate output --base tiny {chunks} --picture all.svg")).code(0);
    assert!(ran.stdout.contains("Q4_0") && ran.stdout.contains("KLD 0.0"), "{ran}");
    assert_eq!(world.measured(), 3);
    assert!(world.sandbox.text("all.svg").contains(">Q8_0</text>"));
    let card = world.sandbox.text("output/tiny-q4_0/README.md");
    assert!(card.contains("## Quality") && card.contains("fair, KLD 0.0"), "{card}");
    // Known figures are shown, and measured again only if that is wanted.
    world.run(&format!("evaluate output {chunks}")).code(0);
    assert_eq!(world.measured(), 3);
    world.run(&format!("evaluate output/tiny-q4_0 --base tiny {chunks} --force")).code(0);
    assert_eq!(world.measured(), 5);
    // GGUF files by themselves, against one of them.
    let q8 = "output/tiny-q8_0/tiny-q8_0.gguf";
    let ran =
        world.run(&format!("evaluate output/tiny-q4_0/tiny-q4_0.gguf --base {q8} {chunks} --json")).code(0);
    assert_eq!(ran.result()["outputs"][0]["name"], "tiny-q4_0");
    let ran = world.run(&format!("evaluate output {chunks} --require mean_kld=0.000001")).code(6);
    assert!(ran.stderr.contains("not good enough: `Q4_0`: `mean_kld` is"), "{ran}");
    world
        .run(&format!("evaluate tiny --base tiny {chunks}"))
        .code(3)
        .stderr("has no GGUF file and no output");
}
