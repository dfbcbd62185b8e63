//! The program as a person meets it: what it says, what it leaves, and how it fails.

use std::path::Path;

use jamph_quantizer::base::hash;
use serde_json::json;

use crate::support::command::{Ran, Sandbox};
use crate::support::hub::{File, Hub, Repo};

/// Two models of one checkpoint.
const TWO: &str = "version: 1
defaults: { methods: [F16, Q8_0] }
models:
  - { source: ./tiny, name: one }
  - { source: ./tiny, name: two }
";

/// The files of an output.
fn output(stem: &str) -> Vec<String> {
    let gguf = format!("{stem}.gguf");
    let mut files = ["LICENSE", "MODEL_LOG.md", "README.md", &gguf, "quantization_metadata.json"];
    files.sort_unstable();
    files.map(|file| format!("output/{stem}/{file}")).to_vec()
}

fn outputs(stems: &[&str]) -> Vec<String> {
    stems.iter().flat_map(|stem| output(stem)).collect()
}

/// Overwrites the first weight of a tensor of bf16 with NaN.
fn poison(path: &Path, tensor: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let at = 8 + length + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 2].copy_from_slice(&[0xc0, 0x7f]);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_run_makes_everything_and_a_rerun_nothing() {
    let sandbox = Sandbox::with_tiny();
    let yaml = "version: 1
defaults: { prefix: my- }
models:
  - { source: ./tiny, methods: [Q8_0, Q4_K_M, Q2_K] }
";
    sandbox.write("models.yaml", yaml);
    let ran = sandbox.run("run").code(0);
    let expected = ["my-tiny-q2_k", "my-tiny-q4_k_m", "my-tiny-q8_0"];
    assert_eq!(sandbox.tree("output"), outputs(&expected));
    assert_eq!(ran.stdout.lines().count(), 3, "{ran}");
    insta::assert_snapshot!(ran.log(), @r"
    CFG-001 `models.yaml` is valid: 1 model, 3 outputs
    CLI-001 jamph-quantizer 0.1.0, # threads
    MDL-001 tiny: `tiny`: 20 tensors in 1 file, 3.08 MB
    CNV-001 tiny: 20 tensors and 32 metadata keys for LlamaForCausalLM
    PLN-001 tiny: planned: Q8_0 2663968 bytes, Q4_K_M 2643488 bytes, Q2_K 2634144 bytes
    QTZ-001 tiny: one pass over the weights for Q8_0, Q4_K_M, Q2_K (#)
    QTZ-003 warning: tiny: tensors whose width does not fit took another type, such as Q5_0 in place of Q4_K at width 32: 12 in Q4_K_M, 12 in Q2_K
    QTZ-004 tiny: 3.08 MB of weights read once, 3 outputs in # s
    MCD-001 tiny: model cards, logs and metadata written
    CLI-004 warning: nothing was published: nothing says where; the outputs are in `output`
      | hint: `publish: { owner: NAME }` or JAMPH_OWNER says where; --skip-upload, that this is meant
    CLI-002 3 outputs made; # s
    ");

    let before = sandbox.read("output/my-tiny-q2_k/quantization_metadata.json");
    sandbox.run("plan").code(0).stdout("everything is up to date");
    let ran = sandbox.run("run").code(0).stderr("3 of 3 outputs up to date");
    assert_eq!(ran.stdout.matches("up to date").count(), 3, "{ran}");
    assert_eq!(sandbox.read("output/my-tiny-q2_k/quantization_metadata.json"), before);

    // What is gone is made again, and nothing else.
    std::fs::remove_dir_all(sandbox.path("output/my-tiny-q8_0")).unwrap();
    sandbox.run("run").code(0).stderr("one pass over the weights for Q8_0 (");
    assert_eq!(sandbox.tree("output"), outputs(&expected));
    assert_eq!(sandbox.read("output/my-tiny-q2_k/quantization_metadata.json"), before);

    sandbox.run("run --force --skip-upload").code(0).without("up to date").without("published");
    assert_ne!(sandbox.read("output/my-tiny-q2_k/quantization_metadata.json"), before);
}

#[test]
fn a_change_makes_again_only_what_it_touches() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write("models.yaml", TWO);
    sandbox.run("run").code(0);
    let all = outputs(&["one-f16", "one-q8_0", "two-f16", "two-q8_0"]);
    assert_eq!(sandbox.tree("output"), all);

    // An option of one model.
    sandbox.write("models.yaml", TWO.replace("name: two }", "name: two, quantize: { pure: true } }"));
    sandbox
        .run("run")
        .code(0)
        .stderr("one: 2 of 2 outputs up to date")
        .stderr("two: one pass over the weights");

    // A file that is not what its metadata states.
    std::fs::write(sandbox.path("output/one-f16/one-f16.gguf"), "short").unwrap();
    let ran = sandbox.run("plan --json").code(0).result();
    let why = |job: usize, output: usize| ran["jobs"][job]["outputs"][output]["why"].clone();
    assert_eq!(why(0, 0), "the file is missing or was changed");
    assert_eq!([why(0, 1), why(1, 0), why(1, 1)], [json!(null), json!(null), json!(null)]);

    // The source itself.
    sandbox.write("tiny/generation_config.json", r#"{"eos_token_id": 1}"#);
    let ran = sandbox.run("plan --json").code(0).result();
    assert!(ran["jobs"][1]["outputs"].as_array().unwrap().iter().all(|o| o["make"] == true), "{ran}");
}

#[test]
fn a_plan_states_exact_sizes_and_writes_nothing() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write("models.yaml", TWO);
    let before = sandbox.tree(".");
    sandbox.run("plan").code(0).stdout("make: new").stdout("in all: 0 B to download");
    let plan = sandbox.run("plan --json --only two").code(0).result();
    sandbox.run("run --dry-run").code(0).stdout("make: new");
    assert_eq!(sandbox.tree("."), before);

    sandbox.run("run --only two").code(0);
    for output in plan["jobs"][0]["outputs"].as_array().unwrap() {
        let made = sandbox.read(output["path"].as_str().unwrap());
        assert_eq!(output["bytes"], made.len(), "{output}");
    }
    assert_eq!(sandbox.tree("output"), outputs(&["two-f16", "two-q8_0"]));
}

#[test]
fn json_is_json_to_the_last_line() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write("models.yaml", TWO);
    let ran = sandbox.run("run --json --methods Q8_0").code(0).quiet();
    let (lines, result) = (ran.json(), ran.result());
    assert!(lines[..lines.len() - 1].iter().all(|l| l["code"].is_string() && l["time"].is_string()), "{ran}");
    let made = &result["jobs"][0]["made"][0];
    assert_eq!(made["sha256"], hash::sha256(&sandbox.read(made["path"].as_str().unwrap())));
    assert_eq!(result["published"], false);

    let kept = sandbox.run("run --json --methods Q8_0").code(0).quiet().result();
    assert_eq!(kept["jobs"][0]["kept"][0], json!({ "method": "Q8_0", "path": made["path"] }));
    for words in [
        "inspect tiny",
        "validate",
        "init other.yaml",
        "convert tiny --outfile x.gguf",
        "quantize x.gguf Q4_0",
        "inspect x.gguf",
    ] {
        let ran = sandbox.run(&format!("{words} --json")).code(0).quiet();
        assert!(ran.result().is_object(), "{ran}");
    }

    // Errors, too.
    let error = sandbox.run("run none.yaml --json").code(3).quiet().result();
    assert_eq!(error["exit_code"], 3);
    sandbox.write("bad.yaml", "version: 1\nmodels:\n  - { source: ./tiny, methods: [Q4_KM] }\n");
    let error = sandbox.run("validate bad.yaml --json").code(3).quiet().result();
    let problem = json!({ "file": "bad.yaml", "line": 3, "column": 33, "text": "unknown method `Q4_KM`",
                          "hint": "did you mean `Q4_K_M`?" });
    assert_eq!(error["problems"], json!([problem]));
}

#[test]
fn the_single_steps_give_what_one_pass_gives() {
    let sandbox = Sandbox::with_tiny();
    sandbox.run("process tiny --methods BF16,Q4_K_M").code(0);
    sandbox
        .run("convert tiny --outfile base-{ftype}.gguf")
        .code(0)
        .stdout("`base-bf16.gguf`: BF16, 20 tensors");
    sandbox.run("quantize base-bf16.gguf q4.gguf Q4_K_M").code(0).stdout("`q4.gguf`: Q4_K_M, 20 tensors");
    assert!(sandbox.read("q4.gguf") == sandbox.read("output/tiny-q4_k_m/tiny-q4_k_m.gguf"));
    sandbox.run("quantize base-bf16.gguf base-bf16.gguf BF16").code(2).stderr("is the input");
    sandbox.run("quantize q4.gguf q8.gguf Q8_0").code(3).stderr("hint: start from the checkpoint");
    sandbox.run("quantize base-bf16.gguf Q4_K_N").code(2).stderr("did you mean `Q4_K_M`");
    sandbox.run("quantize base-bf16.gguf no.gguf Q8_0 --dry-run").code(0).stdout("would write `no.gguf`");
    assert!(!sandbox.path("no.gguf").exists() && !sandbox.path("q8.gguf").exists());
}

/// Runs `process bad --methods Q8_0,Q4_0` on a checkpoint that was spoilt; it must fail with this message and leave
/// nothing.
#[track_caller]
fn check_bad(spoil: impl FnOnce(&Sandbox), expected: &str) {
    let sandbox = Sandbox::new();
    sandbox.tiny("bad");
    spoil(&sandbox);
    let ran = sandbox.run("process bad --methods Q8_0,Q4_0").code(3).stderr("PLN-004 error: bad: ");
    let error =
        ran.log().lines().skip_while(|l| !l.starts_with("PLN-004")).take(2).collect::<Vec<_>>().join("\n");
    assert_eq!(error.trim_start_matches("PLN-004 error: bad: "), expected, "{ran}");
    assert_eq!(ran.stdout, "");
    assert!(!sandbox.path("output").exists(), "{:?}", sandbox.tree("output"));
}

#[test]
fn bad_checkpoints_fail_with_a_hint_and_leave_nothing() {
    let remove = |file: &'static str| move |s: &Sandbox| std::fs::remove_file(s.path(file)).unwrap();
    check_bad(
        |s| {
            std::fs::rename(s.path("bad/model.safetensors"), s.path("bad/pytorch_model.bin")).unwrap();
        },
        "`bad` has pickle weights only (`pytorch_model.bin`)
  | hint: pickle files can run code when read, so this program does not read them; convert the repository to \
         safetensors first: https://huggingface.co/spaces/safetensors/convert",
    );
    check_bad(
        |s| s.write("bad/model.safetensors", &s.read("bad/model.safetensors")[..1_000_000]),
        "shard `bad/model.safetensors`: the file has 1000000 bytes where its header describes 3086736: it is \
         truncated or was added to
  | hint: the file is damaged or incomplete; fetch it again",
    );
    check_bad(
        |s| poison(&s.path("bad/model.safetensors"), "model.layers.1.mlp.up_proj.weight"),
        "tensor `blk.1.ffn_up.weight` has a weight that is NaN or infinite (value 0 of 8192)
  | hint: the checkpoint is damaged or its training diverged; quantizing it would give garbage",
    );
    check_bad(
        |s| {
            let config = s.text("bad/config.json").replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4");
            s.write("bad/config.json", config);
        },
        "`config.json` states 4 layers, but there is no tensor of layer 2
  | hint: a shard is missing, or `num_hidden_layers` is not that of these weights; fetch the checkpoint again",
    );
    check_bad(
        remove("bad/tokenizer.json"),
        "there is no `tokenizer.json`
  | hint: a checkpoint has its tokenizer beside its weights: `tokenizer.json`, `tokenizer.model`, or `vocab.json` and `merges.txt`",
    );
    check_bad(
        remove("bad/config.json"),
        "`bad` has no `config.json`
  | hint: a checkpoint has config.json beside its weights, or params.json in Mistral's own format",
    );
    check_bad(
        |s| s.write("bad/config.json", "{"),
        "`config.json` is no valid JSON of its kind: EOF while parsing an object at line 1 column 1
  | hint: the file is damaged or incomplete; fetch it again",
    );
    check_bad(
        |s| s.write("bad/config.json", s.text("bad/config.json").replace("LlamaFor", "FooFor")),
        "the architecture `FooForCausalLM` is not supported
  | hint: --fallback leaves it to llama.cpp's own converter, which needs a llama.cpp and a Python",
    );
}

#[test]
fn what_convert_does_not_know_is_for_other_commands() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write("tiny/config.json", sandbox.text("tiny/config.json").replace("LlamaFor", "FooFor"));
    sandbox
        .run("convert tiny")
        .code(3)
        .stderr("the architecture `FooForCausalLM` is not supported")
        .stderr("hint: `process` with --fallback leaves it to llama.cpp's own converter");
}

#[test]
fn a_job_that_fails_harms_no_other() {
    let sandbox = Sandbox::with_tiny();
    sandbox.tiny("bad");
    poison(&sandbox.path("bad/model.safetensors"), "model.layers.0.mlp.up_proj.weight");
    let yaml = "version: 1
defaults: { methods: [Q8_0] }
models:
  - source: ./bad
  - source: ./tiny
  - source: ./gone
";
    sandbox.write("models.yaml", yaml);
    sandbox
        .run("run")
        .code(10)
        .stderr("error: 2 of 3 jobs failed: `bad`, `gone`")
        .stderr("PLN-004 error: bad: tensor `blk.0.ffn_up.weight`")
        .stderr("PLN-004 error: gone: `gone` is no folder")
        .stderr("1 output made, 2 jobs failed");
    assert_eq!(sandbox.tree("output"), output("tiny-q8_0"));

    std::fs::remove_dir_all(sandbox.path("tiny")).unwrap();
    let ran = sandbox.run("run --json").code(11).quiet();
    assert_eq!(ran.result()["jobs"].as_array().unwrap().len(), 3, "{ran}");
}

#[test]
fn wrong_words_are_usage_errors() {
    let sandbox = Sandbox::with_tiny();
    for (words, part) in [
        ("run --frobnicate", "unexpected argument"),
        ("process tiny", "error: no methods are named\nhint: add `--methods Q4_K_M`"),
        ("process tiny --methods Q4_KM", "error: unknown method `Q4_KM`\nhint: did you mean `Q4_K_M`?"),
        ("process nowhere --methods Q8_0", "hint: name a repository as owner/name[@revision], or a folder"),
        ("process tiny --methods Q8_0 --memory much", "`--memory much`: it does not start with a number"),
        ("process tiny --methods Q8_0 --threads 0", "at least one thread"),
        ("process tiny --methods Q8_0 --tensor-type attn_v=q99", "q99"),
    ] {
        sandbox.run(words).code(2).stderr(part);
    }
    sandbox.run("run").code(3).stderr("hint: `jamph-quantizer init` writes a first one");
    sandbox.run("inspect nothing").code(3).stderr("cannot read `nothing`");
    sandbox
        .run("inspect tiny/README.md")
        .code(3)
        .stderr("hint: GGUF files, safetensors files and the folders");
    sandbox.run("process tiny --methods IQ2_XXS").code(3).stderr("requires an importance matrix");
    assert!(!sandbox.path("output").exists());

    sandbox.write("models.yaml", TWO);
    sandbox.run("run --only three").code(2).stderr("no model is called `three`, only `one`, `two`");
}

#[test]
fn an_output_that_cannot_be_written_says_where() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write("file", "");
    sandbox
        .run("process tiny --methods Q8_0 -o file")
        .code(1)
        .stderr("hint: write somewhere else with --output");
    sandbox
        .run("process tiny --methods Q8_0 --memory 1KB")
        .code(1)
        .stderr("of memory where 1.00 kB are allowed");
    assert_eq!(sandbox.text("file"), "");
    assert!(!sandbox.path("output").exists());
}

/// An importance matrix in the older form: for each tensor its name and the values of a row.
fn matrix(tensors: &[(&str, usize)]) -> Vec<u8> {
    let int = |n: usize| (n as i32).to_le_bytes().to_vec();
    let mut bytes = int(tensors.len());
    for (name, row) in tensors {
        bytes.extend([int(name.len()), name.as_bytes().to_vec(), int(1), int(*row)].concat());
        bytes.extend((0..*row).flat_map(|i| (1.0 + (i % 7) as f32).to_le_bytes()));
    }
    bytes
}

#[test]
fn options_mean_the_same_wherever_they_stand() {
    let sandbox = Sandbox::with_tiny();
    sandbox.write(
        "m.dat",
        matrix(&[("blk.0.ffn_up.weight", 32), ("blk.1.ffn_up.weight", 32), ("blk.1.attn_q.weight", 32)]),
    );
    sandbox.write("types.txt", "ffn_down=q5_1\nattn_v=q8_0\n");
    let flags = "--imatrix m.dat --tensor-type attn_k=q4_1 --tensor-type-file types.txt --prune-layers 0 \
                 --output-tensor-type q6_k --token-embedding-type q5_0 --override-kv general.name=str:Other";
    let keys = "imatrix: { file: m.dat }, tensor_types: [{ match: attn_k, type: q4_1 }]";
    let quantize = "tensor_type_file: types.txt, prune_layers: [0], output_tensor_type: q6_k, \
                    token_embedding_type: q5_0, override_kv: { general.name: Other }";
    sandbox.run("convert tiny --outfile tiny.gguf").code(0);
    let mut made = Vec::new();
    for (flag, key) in [
        ("", ""),
        ("--include-weights attn --include-weights blk.0", ", include_weights: [attn, blk.0]"),
        ("--exclude-weights ffn_up", ", exclude_weights: [ffn_up]"),
    ] {
        sandbox.run(&format!("quantize tiny.gguf step.gguf Q4_0 {flags} {flag}")).code(0);
        sandbox.run(&format!("process tiny --methods Q4_0 --skip-upload {flags} {flag}")).code(0);
        let step = sandbox.read("step.gguf");
        assert!(step == sandbox.read("output/tiny-q4_0/tiny-q4_0.gguf"), "process {flag}");
        let log = String::from_utf8(sandbox.read("output/tiny-q4_0/MODEL_LOG.md")).unwrap();
        assert!(log.contains("--override-kv general.name=str:Other"), "{log}");
        let yaml = format!(
            "version: 1\nmodels: [{{ source: ./tiny, methods: [Q4_0], {keys}, quantize: {{ {quantize}{key} }} }}]\n"
        );
        sandbox.write("models.yaml", yaml);
        // The same recipe, so nothing is left to do.
        sandbox.run("plan").code(0).stdout("everything is up to date");
        sandbox.run("run --skip-upload --output again").code(0);
        assert!(step == sandbox.read("again/tiny-q4_0/tiny-q4_0.gguf"), "models.yaml{key}");
        made.push(step);
    }
    assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2]);

    // A conversion to Q8_0 is quantized again only if that is meant.
    let yaml =
        "version: 1\nmodels: [{ source: ./tiny, name: a, methods: [Q4_0], convert: { outtype: q8_0 } }]\n";
    sandbox.write("models.yaml", yaml);
    sandbox.run("plan").code(3).stderr("--allow-requantize");
    sandbox.write("models.yaml", yaml.replace(" }]", ", quantize: { allow_requantize: true } }]"));
    sandbox.run("plan").code(0).stdout("make: new");
}

#[test]
fn a_rerun_that_is_refused_or_fails_keeps_what_is_there() {
    let sandbox = Sandbox::with_tiny();
    sandbox.run("process tiny --methods Q8_0,F16 --skip-upload").code(0);
    let before: Vec<_> = sandbox.tree("output").iter().map(|f| (f.clone(), sandbox.read(f))).collect();
    let unchanged = || {
        let now: Vec<_> = sandbox.tree("output").iter().map(|f| (f.clone(), sandbox.read(f))).collect();
        assert!(now == before, "{:?}", sandbox.tree("output"));
    };
    sandbox.run("process tiny --methods Q8_0,F16 --pure --memory 1kB").code(1).stderr("of memory where");
    unchanged();
    // Found in the midst of the pass.
    poison(&sandbox.path("tiny/model.safetensors"), "model.layers.1.mlp.up_proj.weight");
    sandbox.run("process tiny --methods Q8_0,F16").code(3).stderr("NaN or infinite");
    unchanged();
}

#[test]
fn files_of_another_split_go_once_the_new_ones_are_there() {
    let sandbox = Sandbox::with_tiny();
    let ggufs = || -> Vec<String> {
        let tree = sandbox.tree("output/tiny-q8_0");
        tree.iter().filter_map(|f| Some(f.strip_suffix(".gguf")?.rsplit_once('/')?.1.to_owned())).collect()
    };
    let process =
        |flags: &str| sandbox.run(&format!("process tiny --methods Q8_0 --skip-upload --json{flags}"));
    process("").code(0);
    assert_eq!(ggufs(), ["tiny-q8_0"]);
    let made = process(" --split-max-tensors 8").code(0).result()["jobs"][0]["made"][0].clone();
    assert_eq!(ggufs(), ["tiny-q8_0-00001-of-00003", "tiny-q8_0-00002-of-00003", "tiny-q8_0-00003-of-00003"]);
    // Each file has its own size and hash; the whole has none.
    let written = made["files"].as_array().unwrap();
    assert_eq!((written.len(), &made["sha256"]), (3, &json!(null)));
    for file in written {
        let bytes = sandbox.read(file["path"].as_str().unwrap());
        assert_eq!(
            (file["bytes"].as_u64().unwrap(), &file["sha256"]),
            (bytes.len() as u64, &json!(hash::sha256(&bytes)))
        );
    }
    let metadata = sandbox.read("output/tiny-q8_0/quantization_metadata.json");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let output = &metadata["outputs"][0];
    assert_eq!((output["parts"].as_array().unwrap().len(), output.get("sha256")), (3, None));
    assert_eq!(output["parts"][2]["sha256"], written[2]["sha256"]);

    sandbox.write("output/tiny-q8_0/mine.gguf", "not of this program");
    process(" --split-max-tensors 8").code(0).stdout("up to date");
    process(" --split-max-tensors 16").code(0);
    assert_eq!(ggufs(), ["mine", "tiny-q8_0-00001-of-00002", "tiny-q8_0-00002-of-00002"]);
    process("").code(0);
    assert_eq!(ggufs(), ["mine", "tiny-q8_0"]);
}

#[test]
fn variables_are_checked_and_stand_below_the_command_line() {
    let mut sandbox = Sandbox::with_tiny();
    sandbox.set("HF_HUB_OFFLINE", "maybe").set("JAMPH_THREADS", "many");
    sandbox
        .run("process tiny --methods Q8_0")
        .code(2)
        .stderr("`HF_HUB_OFFLINE` is `maybe`, which is none of 1/0, true/false, yes/no, on/off")
        .stderr("`JAMPH_THREADS` is `many`")
        .stderr("hint: correct or unset the variable");
    sandbox.unset("HF_HUB_OFFLINE").unset("JAMPH_THREADS").set("HF_TOKEN", "not a token");
    sandbox
        .run("process tiny --methods Q8_0")
        .code(4)
        .stderr("`HF_TOKEN` holds no token")
        .without("not a token");

    sandbox.unset("HF_TOKEN").set("MODEL_PREFIX", "env-").set("JAMPH_OUTPUT", "there");
    sandbox.run("process tiny --methods F16").code(0).stdout("there/env-tiny-f16/env-tiny-f16.gguf");
    sandbox.run("process tiny --methods F16 --prefix cli- -o here").code(0).stdout("here/cli-tiny-f16/");
}

#[test]
fn quiet_leaves_warnings_and_the_result() {
    let sandbox = Sandbox::with_tiny();
    let ran = sandbox.run("process tiny --methods F16 --skip-upload --quiet").code(0).quiet();
    assert_eq!(ran.stdout.lines().count(), 1, "{ran}");
    sandbox.run("process tiny --methods F16 --quiet").code(0).stderr("nothing was published");
    sandbox.run("process tiny --methods F16 --force --verbose").code(0).stderr("PLN-003 tiny: at most");
}

#[test]
fn the_starter_is_valid_and_never_replaced_unasked() {
    let sandbox = Sandbox::new();
    sandbox.run("init").code(0).stdout("`models.yaml` is written");
    sandbox.run("validate").code(0).quiet().stdout("`models.yaml` is valid: 1 model, 3 outputs");
    sandbox.write("models.yaml", "mine");
    sandbox.run("init").code(2).stderr("hint: --force replaces it");
    assert_eq!(sandbox.text("models.yaml"), "mine");
    let schema: serde_json::Value = serde_json::from_str(&sandbox.run("schema").code(0).stdout).unwrap();
    assert_eq!(schema["type"], "object");
}

#[test]
fn a_workflow_is_written_beside_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.write("models.yaml", "mine");
    sandbox.run("init --workflow").code(0).stdout("`.github/workflows/quantize.yml` is written");
    assert_eq!(sandbox.text("models.yaml"), "mine");
    let example = include_str!("../../examples/workflows/quantize.yml");
    assert_eq!(sandbox.text(".github/workflows/quantize.yml"), example);
    sandbox.run("init --workflow").code(2).stderr("`.github/workflows/quantize.yml` is there already");
    sandbox
        .run("init ./quant/models.yaml --workflow=pull-request")
        .code(0)
        .stdout("`./quant/models.yaml` is written");
    let text = sandbox.text(".github/workflows/pull-request.yml");
    assert!(
        text.contains("paths: [quant/models.yaml]") && text.contains("config: quant/models.yaml"),
        "{text}"
    );
    sandbox.run("init ../models.yaml --workflow").code(2).stderr("a workflow cannot name `../models.yaml`");
    sandbox.run("init a:b.yaml --workflow=release").code(2).stderr("with a plain path below it");
}

#[test]
fn every_mistake_in_a_models_yaml_comes_at_once() {
    let sandbox = Sandbox::new();
    let yaml = "version: 1
defaults:
  prefx: a-
models:
  - source: Qwen/Qwen2.5-0.5B
    methods: [Q4_KM]
  - source: nope
";
    sandbox.write("models.yaml", yaml);
    for command in ["validate", "plan", "run"] {
        sandbox
            .run(command)
            .code(3)
            .stderr("models.yaml:3:3: unknown key `prefx`")
            .stderr("models.yaml:6:15: unknown method `Q4_KM`")
            .stderr("models.yaml:7:13: `nope` is not of the form `owner/name`")
            .stderr("problems in `models.yaml`");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let sandbox = Sandbox::with_tiny();
    for words in ["schema", "inspect tiny --all", "process tiny --methods F16 --json", "help run"] {
        let mut child = sandbox.start(words);
        drop(child.stdout.take());
        let ran = Ran::from(child.wait_with_output().unwrap()).code(0);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("pipe"), "{ran}");
    }
}

#[test]
fn every_command_has_help() {
    let sandbox = Sandbox::new();
    let reference = include_str!("../../docs/cli.md");
    let commands: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("## ")).skip(1).collect();
    assert!(commands.contains(&"run") && commands.contains(&"toolchain prune"), "{commands:?}");
    for command in commands {
        let usage = format!("Usage: jamph-quantizer {command} ");
        sandbox.run(&format!("{command} --help")).code(0).quiet().stdout(usage.trim_end());
    }
    sandbox.run("").code(2).stderr("Usage: jamph-quantizer");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing_half_and_goes_on() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::thread::sleep;
    use std::time::Duration;

    let sandbox = Sandbox::with_tiny();
    sandbox.fixture("Mistral-9L-Chat");
    let yaml = "version: 1
models:
  - { source: ./tiny, methods: [F16] }
  - { source: ./Mistral-9L-Chat, name: long, methods: [Q2_K, Q3_K_M, Q4_K_M, Q5_K_M] }
";
    sandbox.write("models.yaml", yaml);
    let mut child = sandbox.start("run --threads 1");
    // The second model is being written as soon as its folder holds something.
    while sandbox.tree("output").iter().all(|file| !file.contains("/long-q5_k_m/.")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output_of = child.wait_with_output().unwrap();
    assert_eq!(output_of.status.signal(), None);
    Ran::from(output_of)
        .code(130)
        .stderr("CLI-003 warning: long: stopped")
        .stderr("hint: the same command goes on from here")
        .stdout("tiny-f16.gguf");
    assert_eq!(sandbox.tree("output"), output("tiny-f16"));

    let jobs = sandbox.run("plan --json").code(0).result()["jobs"].clone();
    assert_eq!(
        (&jobs[0]["outputs"][0]["make"], &jobs[1]["outputs"][0]["make"]),
        (&json!(false), &json!(true))
    );
}

/// A Hub with the example's checkpoint as `org/model`, and a sandbox that knows its address.
fn on_the_hub() -> (Hub, Sandbox, Repo) {
    let mut sandbox = Sandbox::with_tiny();
    let mut files = Vec::new();
    for path in sandbox.tree("tiny") {
        let name = path.trim_start_matches("tiny/").to_owned();
        let bytes = sandbox.read(&path);
        let large = name.ends_with(".safetensors");
        files.push((name, if large { File::large(bytes) } else { File::small(bytes) }));
    }
    std::fs::remove_dir_all(sandbox.path("tiny")).unwrap();
    let repo = Repo::new(files.iter().map(|(name, file)| (name.as_str(), file.clone())));
    let hub = Hub::start();
    hub.add("org/model", repo.clone());
    hub.refer("org/model", "refs/pr/1");
    sandbox.set("HF_ENDPOINT", hub.endpoint()).set("JAMPH_CACHE", "cache");
    (hub, sandbox, repo)
}

fn weights(sandbox: &Sandbox) -> Vec<String> {
    let is_large = |file: &String| sandbox.read(file).len() > 1_000_000;
    sandbox.tree("cache").into_iter().filter(|f| !f.ends_with('/')).filter(is_large).collect()
}

#[test]
fn a_repository_is_fetched_made_and_cleared_away() {
    let (hub, mut sandbox, repo) = on_the_hub();
    // Planning reads the headers only.
    sandbox.run("process org/model --methods F16 --dry-run").code(0).stdout("in all: 3.09 MB to download");
    assert!(hub.sent() < 1_000_000, "{}", hub.sent());
    sandbox.run("process org/model --methods F16").code(0).stderr("downloading `model.safetensors`");
    assert_eq!(sandbox.tree("output"), output("model-f16"));
    assert_eq!(weights(&sandbox), [] as [String; 0]);

    let text = sandbox.text("output/model-f16/quantization_metadata.json");
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metadata["source"]["commit"], repo.commit());
    assert!(sandbox.text("output/model-f16/README.md").contains("base_model: org/model\n"));

    // Up to date: nothing is fetched.
    hub.forget();
    sandbox.run("process org/model --methods F16").code(0).stdout("up to date");
    assert!(hub.sent() < 1_000_000, "{}", hub.sent());

    // Kept sources serve the next run, also without the Hub.
    sandbox.run("process org/model@refs/pr/1 --methods F16 --name kept --keep-files").code(0);
    assert_eq!(weights(&sandbox).len(), 1);
    let of_commit = format!("process org/model@{} --methods Q8_0 --keep-files", repo.commit());
    sandbox.set("HF_HUB_OFFLINE", "1").set("HF_ENDPOINT", "http://127.0.0.1:9");
    sandbox.run(&of_commit).code(0).stdout("model-q8_0.gguf");
    sandbox
        .run("process org/other --methods Q8_0")
        .code(3)
        .stderr("offline: `org/other` at `main` is not in the cache `cache`")
        .stderr("hint: run once without HF_HUB_OFFLINE");
}

#[test]
fn a_private_repository_needs_its_token_and_no_one_sees_it() {
    const TOKEN: &str = "hf_abcdefghijklmnopqrstuvwxyz";
    let (hub, mut sandbox, mut repo) = on_the_hub();
    repo.private_to = Some(TOKEN.to_owned());
    hub.add("org/model", repo);
    sandbox.run("process org/model --methods F16").code(3).stderr("set HF_TOKEN to a token that may read it");
    sandbox.set("HF_TOKEN", TOKEN);
    sandbox.run("process org/model --methods F16 --json --keep-files").code(0).without("hf_abc");
    for file in sandbox.tree(".").iter().filter(|f| !f.ends_with('/')) {
        assert!(!sandbox.read(file).windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()), "{file}");
    }
    sandbox.run("process org/none --methods F16").code(3).stderr("org/none").without("hf_abc");
}
