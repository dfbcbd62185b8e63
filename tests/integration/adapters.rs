//! LoRA adapters, byte for byte what `convert_lora_to_gguf.py` writes of them. The expected hashes are the reference's
//! (`scripts/record-adapters`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash::sha256;
use jamph_quantizer::checkpoint::Checkpoint;
use jamph_quantizer::convert::{ConvertOptions, OutType, adapter_blueprint};
use jamph_quantizer::quantize::Layout;
use jamph_quantizer::quantize::pass::{Output, PassOptions, pass};
use serde::Deserialize;

use crate::support::adapters::{self, Adapter};
use crate::support::command::Sandbox;
use crate::support::hub::{File as HubFile, Hub, Repo};

/// A line of `tests/parity/adapters.jsonl`.
#[derive(Deserialize)]
struct Record {
    adapter: String,
    inputs: BTreeMap<String, String>,
    convert: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    /// The name that the reference gives it.
    name: String,
    bytes: u64,
    sha256: String,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn records() -> Vec<Record> {
    let lines = fs::read_to_string(tests().join("parity/adapters.jsonl")).expect("the records");
    lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

fn convert(adapter: &Checkpoint, base: &Checkpoint, out_type: OutType) -> Vec<u8> {
    let options = ConvertOptions { out_type, ..ConvertOptions::default() };
    let blueprint = adapter_blueprint(adapter, base, &options, &()).expect("a supported adapter");
    let layout = Layout::converted(&blueprint).expect("a layout");
    let mut bytes = Vec::new();
    let output = Output {
        name: "adapter",
        header: &layout.header,
        recipes: &layout.recipes,
        parts: &[],
        sink: &mut bytes,
    };
    // Small slabs, so that there are several a tensor.
    let options =
        PassOptions { check_finite: false, threads: 2, slab_values: 1000, ..PassOptions::default() };
    pass(adapter, &blueprint, vec![output], None, &options, &Cancel::new(), &()).expect("a pass");
    assert_eq!(bytes.len() as u64, layout.file_bytes(), "the size that was foretold");
    bytes
}

#[test]
fn adapters_are_what_the_reference_writes() {
    let (records, adapters) = (records(), adapters::all(&tests()).expect("adapters"));
    let names = |adapters: &[Adapter]| adapters.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    assert_eq!(records.iter().map(|r| r.adapter.clone()).collect::<Vec<_>>(), names(&adapters));
    let mut differing = Vec::new();
    for (record, adapter) in records.iter().zip(&adapters) {
        let tmp = tempfile::tempdir().expect("a temporary folder");
        adapter.write(tmp.path()).expect("space");
        let folder = tmp.path().join(&adapter.name);
        for (name, expected) in &record.inputs {
            let bytes = fs::read(folder.join(name)).expect(name);
            assert_eq!(sha256(&bytes), *expected, "{}: {name} is not what the reference had", adapter.name);
        }
        let opened = Checkpoint::open_adapter(&folder.join(&adapter.folder)).expect("an adapter");
        let base = Checkpoint::without_weights(&folder.join("base")).expect("a base");
        for (out_type, expected) in &record.convert {
            let ty = match out_type.as_str() {
                "f32" => OutType::F32,
                "f16" => OutType::F16,
                "bf16" => OutType::BF16,
                "q8_0" => OutType::Q8_0,
                other => panic!("unknown type {other}"),
            };
            let made = convert(&opened, &base, ty);
            if sha256(&made) != expected.sha256 {
                let (name, ours, theirs) = (&adapter.name, made.len(), expected.bytes);
                differing.push(format!("{name} as {out_type}: {ours} bytes, the reference wrote {theirs}"));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// The adapter `name` and its base in the sandbox; the adapter's folder there, and its record.
fn unpack(sandbox: &Sandbox, name: &str) -> (String, Record) {
    let adapter = adapters::all(&tests()).unwrap().into_iter().find(|a| a.name == name).unwrap();
    adapter.write(&sandbox.path("")).unwrap();
    let record = records().into_iter().find(|r| r.adapter == name).unwrap();
    (format!("{name}/{}", adapter.folder), record)
}

#[test]
fn the_command_writes_the_file_under_the_reference_s_name() {
    let sandbox = Sandbox::new();
    let (folder, record) = unpack(&sandbox, "llama");
    let expected = &record.convert["f32"];
    sandbox.run(&format!("convert {folder} --base llama/base")).code(0).stdout(&expected.name);
    assert_eq!(sha256(&sandbox.read(&format!("{folder}/{}", expected.name))), expected.sha256);
    let ran =
        sandbox.run(&format!("convert {folder} --base llama/base --outtype q8_0 --outfile a-{{ftype}}.gguf"));
    ran.code(0).stdout("`a-q8_0.gguf`: Q8_0");
    assert_eq!(sha256(&sandbox.read("a-q8_0.gguf")), record.convert["q8_0"].sha256);
    // A folder is no base, and a checkpoint has none.
    sandbox.run(&format!("convert {folder} --base {folder}")).code(3).stderr("has no `config.json`");
    sandbox.tiny("tiny");
    sandbox.run("convert tiny --base llama/base").code(2).stderr("is no LoRA adapter");
}

#[test]
fn adapters_and_their_bases_come_from_the_hub() {
    let hub = Hub::start();
    let mut sandbox = Sandbox::new();
    sandbox.set("HF_ENDPOINT", hub.endpoint());
    let (folder, record) = unpack(&sandbox, "qwen2");
    let name = Path::new(&folder).file_name().unwrap().to_str().unwrap().to_owned();
    let here = sandbox.run(&format!("convert {folder}")).code(3);
    here.stderr("the configuration of the base model `someone/base` cannot be had")
        .stderr("hint: name it with --base");

    let config = sandbox.read("qwen2/base/config.json");
    hub.add(
        "someone/base",
        Repo::new([("config.json", HubFile::small(config)), ("model.safetensors", HubFile::large("no"))]),
    );
    let file = |name: &str| sandbox.read(&format!("{folder}/{name}"));
    let adapter = Repo::new([
        ("adapter_config.json", HubFile::small(file("adapter_config.json"))),
        ("adapter_model.safetensors", HubFile::large(file("adapter_model.safetensors"))),
        ("optimizer.pt", HubFile::large("no")),
    ]);
    hub.add(&format!("them/{name}"), adapter);
    sandbox.run(&format!("convert them/{name}")).code(0);
    let expected = &record.convert["f32"];
    assert_eq!(sha256(&sandbox.read(&expected.name)), expected.sha256);
    // Nothing else was fetched.
    assert!(
        hub.seen()
            .iter()
            .all(|seen| !seen.path.contains("optimizer") && !seen.path.ends_with("/model.safetensors"))
    );
    sandbox.run("convert them/none").code(3);
    sandbox.run("convert someone/base").code(3).stderr("adapter_config.json");
}

#[test]
fn what_stands_in_the_way_is_named() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value), expected: &str) {
        let sandbox = Sandbox::new();
        let (folder, _) = unpack(&sandbox, "llama");
        let (config, base) = (format!("{folder}/adapter_config.json"), "llama/base/config.json");
        let json = |path: &str| serde_json::from_slice(&sandbox.read(path)).unwrap();
        let (mut stated, mut model) = (json(&config), json(base));
        change(&mut stated, &mut model);
        sandbox.write(&config, stated.to_string());
        sandbox.write(base, model.to_string());
        sandbox.run(&format!("convert {folder} --base llama/base --dry-run")).code(3).stderr(expected);
    }
    check(|stated, _| stated["peft_type"] = "IA3".into(), "is of the type `IA3`");
    check(|stated, _| stated["lora_alpha"] = "x".into(), "`lora_alpha`, where a number belongs");
    check(|stated, _| drop(stated.as_object_mut().unwrap().remove("lora_alpha")), "has no `lora_alpha`");
    check(|stated, _| stated["alora_invocation_tokens"] = serde_json::json!([1, -1]), "a list of token ids");
    check(|stated, _| stated["invocation_string"] = "now".into(), "hint: write the text's token ids");
    check(|_, model| model["num_hidden_layers"] = 1.into(), "layers.1.");
    check(|_, model| model["hidden_size"] = 96.into(), "has the shape");
    check(|_, model| model["architectures"] = serde_json::json!(["NovelForCausalLM"]), "`NovelForCausalLM`");
    let bits = serde_json::json!({ "quant_method": "bitsandbytes", "load_in_4bit": true });
    check(|_, model| model["quantization_config"] = bits, "quantized already (`bitsandbytes`)");
}
