//! The action, the workflows and what is generated from them, held against each other as text. `tests/action/run` runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::generated::{check, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap().replace("\r\n", "\n")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut found: Vec<String> =
        entries.map(|e| format!("{folder}/{}", e.unwrap().file_name().to_string_lossy())).collect();
    found.sort();
    found
}

fn workflows() -> Vec<String> {
    let all = [files(".github/workflows"), files("examples/workflows")].concat();
    assert!(all.len() >= 6, "{all:?}");
    all
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no mapping"))
}

fn keys(value: &Value) -> BTreeSet<String> {
    object(value).keys().cloned().collect()
}

/// Every step below, of jobs and of composite actions.
fn steps(document: &Value) -> Vec<&Value> {
    let jobs = document.get("jobs").map(|jobs| object(jobs).values().collect::<Vec<_>>());
    let holders = jobs.unwrap_or_else(|| vec![&document["runs"]]);
    holders.iter().filter_map(|holder| holder["steps"].as_array()).flatten().collect()
}

/// Variables `ACTION_…` of a text.
fn variables(text: &str) -> BTreeSet<String> {
    let pattern = regex::Regex::new(r"\bACTION_[A-Z_]+\b").unwrap();
    pattern.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The tables of README.md, from action.yml.
fn tables() -> String {
    let action = yaml("action.yml");
    let mut text = String::from("| input | means | default |\n|---|---|---|\n");
    for (name, input) in object(&action["inputs"]) {
        let default = match input["default"].as_str() {
            None => String::new(),
            Some(value) => format!("`{}`", value.trim_start_matches("${{ ").trim_end_matches(" }}")),
        };
        text += &format!("| `{name}` | {} | {default} |\n", cell(input["description"].as_str().unwrap()));
    }
    text += "\n| output | is |\n|---|---|\n";
    for (name, output) in object(&action["outputs"]) {
        text += &format!("| `{name}` | {} |\n", cell(output["description"].as_str().unwrap()));
    }
    text
}

#[test]
fn generated_tables_of_the_action() {
    let readme = read("README.md");
    let (start, end) = ("<!-- generated from action.yml -->\n", "<!-- end -->");
    let (before, rest) = readme.split_once(start).expect("README.md has its place for the tables");
    let (_, after) = rest.split_once(end).expect("README.md says where the tables end");
    check("README.md", &format!("{before}{start}{}{end}{after}", tables()));
}

#[test]
fn generated_twin_of_the_action() {
    let (_, body) =
        read("action.yml").split_once("\nname: ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let head = "# Generated from ../action.yml, which says everything: `JAMPH_UPDATE=1 cargo test` rewrites it. The same action \
                under a\n# name that the reusable workflow can give it: `$/action`; `$/` alone is none.\nname: ";
    let body = body.replace("$GITHUB_ACTION_PATH/action/", "$GITHUB_ACTION_PATH/");
    check("action/action.yml", &format!("{head}{body}"));
}

#[test]
fn inputs_reach_scripts_through_the_environment_alone() {
    for path in [vec!["action.yml".to_owned()], workflows()].concat() {
        for step in steps(&yaml(&path)) {
            let run = step["run"].as_str().unwrap_or_default();
            assert!(!run.contains("${{"), "{path}: {run}");
        }
    }
}

#[test]
fn every_input_is_used_and_every_variable_has_one() {
    let text = read("action.yml");
    let action = yaml("action.yml");
    let scripts: String = ["install", "toolchain", "run"].map(|s| read(&format!("action/{s}.sh"))).concat();
    for name in keys(&action["inputs"]) {
        assert!(text.contains(&format!("inputs.{name}")), "{name}");
        let variable = format!("ACTION_{}", name.to_uppercase().replace('-', "_"));
        if !["ACTION_CACHE", "ACTION_WORKING_DIRECTORY"].contains(&variable.as_str()) {
            assert!(variables(&scripts).contains(&variable), "no script reads {variable}");
        }
    }
    assert_eq!(variables(&text), variables(&scripts));
    for step in steps(&action).iter().filter(|step| step["run"].is_string()) {
        assert_eq!(step["shell"], "bash --noprofile --norc -euo pipefail {0}");
    }
}

#[test]
fn actions_are_pinned_by_commit_and_jobs_bounded() {
    let pinned = regex::Regex::new(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    // Of this repository: the same commit, or what the tag of a release names.
    let own = regex::Regex::new(r"uses: (\$/action|[\w-]+/jamph-quantizer[\w./-]*@v\d+)$").unwrap();
    for path in [vec!["action.yml".to_owned()], workflows()].concat() {
        for line in read(&path).lines().filter(|line| line.contains("uses: ")) {
            assert!(pinned.is_match(line) || own.is_match(line), "{path}: {line}");
        }
        let document = yaml(&path);
        let Some(jobs) = document.get("jobs") else { continue };
        assert_eq!(document["permissions"], serde_json::json!({}), "{path}");
        for (name, job) in object(jobs) {
            assert!(job["permissions"].is_object(), "{path}: {name}");
            assert!(job.get("uses").is_some() || job.get("timeout-minutes").is_some(), "{path}: {name}");
        }
        for step in steps(&document) {
            if step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout@")) {
                assert_eq!(step["with"]["persist-credentials"], false, "{path}");
            }
        }
    }
}

#[test]
fn callers_name_inputs_that_there_are() {
    let action = keys(&yaml("action.yml")["inputs"]);
    let reusable = &yaml(".github/workflows/quantize.yml")["on"]["workflow_call"];
    let granted = ["contents", "id-token", "issues", "pull-requests"];
    for path in workflows() {
        let document = yaml(&path);
        for step in steps(&document) {
            let uses = step["uses"].as_str().unwrap_or_default();
            if (uses.contains("jamph-quantizer@") || uses == "$/action") && step.get("with").is_some() {
                let unknown: Vec<_> = keys(&step["with"]).difference(&action).cloned().collect();
                assert!(unknown.is_empty(), "{path}: {unknown:?}");
            }
        }
        for job in object(&document["jobs"]).values() {
            if !job["uses"].as_str().is_some_and(|uses| uses.contains("/quantize.yml@")) {
                continue;
            }
            for (part, known) in [("with", &reusable["inputs"]), ("secrets", &reusable["secrets"])] {
                let given = job.get(part).map(keys).unwrap_or_default();
                assert!(given.is_subset(&keys(known)), "{path}: {given:?}");
            }
            // A called workflow that asks for more than its caller has does not start.
            assert_eq!(keys(&job["permissions"]), granted.map(str::to_owned).into(), "{path}");
        }
    }
    let asked: BTreeSet<String> = object(&yaml(".github/workflows/quantize.yml")["jobs"])
        .values()
        .flat_map(|job| keys(&job["permissions"]))
        .collect();
    assert_eq!(asked, granted.map(str::to_owned).into());
    // What the workflow passes on means the same there.
    let inputs = yaml("action.yml")["inputs"].clone();
    for (name, input) in object(&reusable["inputs"]) {
        if let Some(of_action) = inputs.get(name).filter(|_| name != "release-url") {
            let (ours, theirs) = (&input["default"], of_action["default"].as_str().unwrap_or_default());
            let ours = ours.as_str().map_or_else(|| ours.to_string(), str::to_owned);
            assert_eq!(ours, theirs, "{name}");
        }
    }
}

#[test]
fn the_pinned_programs_are_listed_as_the_action_reads_them() {
    let line = regex::Regex::new(
        r"^(#.*|version \d+\.\d+\.\d+|from https://\S+[^/]|[0-9a-f]{64}  jamph-quantizer-\d+\.\d+\.\d+-[a-z0-9_-]+\.tar\.gz)$",
    )
    .unwrap();
    for text in read("action/release.txt").lines() {
        assert!(line.is_match(text), "{text}");
    }
}

#[test]
fn the_image_is_built_from_what_it_is_given() {
    let given: Vec<String> =
        read(".dockerignore").lines().filter_map(|line| line.strip_prefix('!').map(str::to_owned)).collect();
    let mut sources = Vec::new();
    sources_below(&root().join("src"), &mut sources);
    let pattern = regex::Regex::new(r#"include_(?:str|bytes)!\("([^"]+)"\)"#).unwrap();
    for file in sources {
        let text = fs::read_to_string(&file).unwrap();
        for found in pattern.captures_iter(text.split("\n#[cfg(test)]\n").next().unwrap()) {
            let path = file.parent().unwrap().join(&found[1]);
            let path = fs::canonicalize(&path).unwrap();
            let path = path.strip_prefix(fs::canonicalize(root()).unwrap()).unwrap();
            assert!(given.iter().any(|g| path.starts_with(g)), "{} is not given to docker", path.display());
        }
    }
    let manifest = read("Cargo.toml");
    for path in manifest.lines().filter_map(|line| line.strip_prefix("path = \"")) {
        let path = Path::new(path.trim_end_matches('"'));
        assert!(given.iter().any(|g| path.starts_with(g)), "{} is not given to docker", path.display());
    }
}

fn sources_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}
