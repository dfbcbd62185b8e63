//! GitHub's runner, as far as a step meets it: its variables and files, and the commands that it takes from the log.
//!
//! What is a command is decided as the runner decides it (actions/runner, `ActionCommand.cs`, `ActionCommandManager.cs`),
//! so that a test sees what the runner would do, and not what the program meant.

use std::collections::BTreeMap;
use std::fs;

use super::command::{Ran, Sandbox};

/// Names of commands that the runner knows; all others are text.
const KNOWN: [&str; 11] = [
    "add-mask",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "notice",
    "save-state",
    "set-output",
    "warning",
];

/// A command that the runner took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub name: String,
    pub properties: BTreeMap<String, String>,
    pub data: String,
}

impl Taken {
    pub fn property(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }
}

/// Makes runs in this sandbox steps of a job.
pub fn within(sandbox: &mut Sandbox) {
    let at = |name: &str| sandbox.path(name).display().to_string();
    let variables = [
        ("CI", "true".to_owned()),
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("GITHUB_OUTPUT", at("output.txt")),
        ("GITHUB_STEP_SUMMARY", at("summary.md")),
        ("GITHUB_WORKSPACE", at("")),
        ("GITHUB_REPOSITORY", "o/n".to_owned()),
        ("GITHUB_RUN_ID", "17".to_owned()),
        ("GITHUB_SERVER_URL", "https://github.example".to_owned()),
        ("GITHUB_WORKFLOW", "quantize".to_owned()),
        ("GITHUB_EVENT_PATH", at("event.json")),
        ("RUNNER_TEMP", at("temp")),
        // Nobody listens there.
        ("GITHUB_API_URL", "http://127.0.0.1:9".to_owned()),
    ];
    for (name, value) in variables {
        sandbox.set(name, value.trim_end_matches('/'));
    }
    fs::create_dir_all(sandbox.path("temp")).unwrap();
    sandbox.write("event.json", "{}");
}

/// The outputs that steps have set since the last look.
pub fn outputs(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let text = fs::read_to_string(sandbox.path("output.txt")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.path("output.txt"));
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (name, end) = line.split_once("<<").unwrap_or_else(|| panic!("{line} begins no output"));
        let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        outputs.insert(name.to_owned(), value.join("\n"));
    }
    outputs
}

/// What steps have added to the summary since the last look.
pub fn summary(sandbox: &Sandbox) -> String {
    let text = fs::read_to_string(sandbox.path("summary.md")).unwrap_or_default();
    let _ = fs::remove_file(sandbox.path("summary.md"));
    text
}

/// The commands that the runner takes from what a run said.
pub fn commands(ran: &Ran) -> Vec<Taken> {
    let mut taken = Vec::new();
    for stream in [&ran.stderr, &ran.stdout] {
        let mut stopped: Option<String> = None;
        for line in stream.split(['\n', '\r']) {
            let known = |name: &str| {
                let stop = name.eq_ignore_ascii_case("stop-commands");
                stop || stopped.as_deref() == Some(name) || KNOWN.iter().any(|k| k.eq_ignore_ascii_case(name))
            };
            let Some(found) = second(line, known).or_else(|| first(line, known)) else { continue };
            match &stopped {
                Some(word) if found.name == *word => stopped = None,
                Some(_) => {}
                None if found.name == "stop-commands" => stopped = Some(found.data),
                None => taken.push(found),
            }
        }
        assert_eq!(stopped, None, "commands stay stopped\n{ran}");
    }
    taken
}

/// `::name key=value::data` at the beginning of a line.
fn second(line: &str, known: impl Fn(&str) -> bool) -> Option<Taken> {
    let (head, data) = line.trim_start().strip_prefix("::")?.split_once("::")?;
    let (name, list) = head.split_once(' ').unwrap_or((head, ""));
    known(name).then(|| taken(name, list, ',', data))
}

/// `##[name key=value;]data` anywhere in it.
fn first(line: &str, known: impl Fn(&str) -> bool) -> Option<Taken> {
    let (head, data) = line.split_once("##[")?.1.split_once(']')?;
    let (name, list) = head.split_once(' ').unwrap_or((head, ""));
    known(name).then(|| taken(name, list, ';', data))
}

fn taken(name: &str, list: &str, between: char, data: &str) -> Taken {
    let properties = list.split(between).filter_map(|pair| pair.trim().split_once('='));
    let properties = properties.map(|(key, value)| (key.to_owned(), plain(value))).collect();
    Taken { name: name.to_owned(), properties, data: plain(data) }
}

fn plain(text: &str) -> String {
    let pairs = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What a run said, without the lines by which the runner learns its secrets: those it does not show.
pub fn log(ran: &Ran) -> String {
    let lines = ran.stdout.lines().chain(ran.stderr.lines());
    lines.filter(|line| !line.starts_with("::add-mask::")).collect::<Vec<_>>().join("\n")
}
