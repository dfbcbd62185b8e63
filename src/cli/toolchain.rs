//! `toolchain`: get a llama.cpp, list what the cache has, name it for another cache, remove it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::args::{LlamaArgs, PruneArgs, ToolchainCommand};
use super::config::load;
use super::failure::Failure;
use super::{Context, print};
use crate::base::repo_id::is_commit;
use crate::base::{hash, units};
use crate::config::{self, Around, LlamaCpp, LlamaSource};
use crate::llama::cache::{Cache, Came, Entry, Facts};
use crate::llama::wanted::Keys;
use crate::llama::{Obtained, Origin, Request, TOOLS, Toolchain, ToolchainError, Wanted};

/// What asks for the latest release.
const LATEST: &str = "latest";

/// Runs `toolchain`.
///
/// # Errors
/// The command line is wrong, or there is no such llama.cpp.
pub(super) fn run(command: &ToolchainCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ToolchainCommand::Install(args) => install(args, context),
        ToolchainCommand::List => list(context),
        ToolchainCommand::Key(args) => key(args, context),
        ToolchainCommand::Prune(args) => prune(args, context),
    }
}

/// What the command line asks for, else the environment, else models.yaml.
fn wanted(args: &LlamaArgs, context: &Context) -> Result<Wanted, Failure> {
    let path = &args.config;
    let file = if path.is_file() { load(path, &Around::default())?.llama_cpp } else { None };
    let says_which = args.tag.is_some() || args.commit.is_some() || args.source.is_some();
    if args.tag.as_deref() == Some(LATEST) {
        if args.commit.is_some() || args.source.is_some() {
            return Err(Failure::usage("`latest` is a release, and another source is named too"));
        }
        let in_use = file.as_ref().and_then(|llama| llama.tag.as_deref());
        let setup = context.toolchain_setup(path)?;
        return Ok(Wanted::latest(setup, in_use, args.native, &*context.observer, &context.cancel)?);
    }
    if !says_which && !args.native {
        return context.wanted(file.as_ref(), path);
    }
    let asked = LlamaCpp {
        tag: args.tag.clone().map(tag).transpose()?,
        commit: args.commit.clone().map(commit).transpose()?,
        source: args.source.as_deref().map(source),
        subfolder: args.subfolder.clone(),
        native: args.native,
        installed: None,
        python: None,
    };
    let asked = match file {
        Some(file) if !says_which => LlamaCpp { native: true, installed: None, ..file },
        _ => asked,
    };
    let request = Request::new(Some(&asked)).map_err(ToolchainError::from)?;
    Ok(Wanted::new(request, context.toolchain_setup(path)?))
}

fn tag(text: String) -> Result<String, Failure> {
    match config::is_llama_tag(&text) {
        true => Ok(text),
        false => Err(Failure::usage(format!("`{text}` is no release of llama.cpp"))
            .hint("releases are called `b` and a number, such as `b11312`, or `v0.5.0`; `latest` asks for the last one")),
    }
}

fn commit(text: String) -> Result<String, Failure> {
    match is_commit(&text) {
        true => Ok(text),
        false => Err(Failure::usage(format!("`{text}` is no commit")).hint("all 40 digits are needed")),
    }
}

fn source(text: &str) -> LlamaSource {
    if text.contains("://") { LlamaSource::Url(text.to_owned()) } else { LlamaSource::Path(text.into()) }
}

fn install(args: &LlamaArgs, context: &Context) -> Result<(), Failure> {
    let wanted = wanted(args, context)?;
    let obtained = wanted.obtain_whole(&context.cancel, &*context.observer)?;
    print(&match context.json {
        true => format!("{}\n", installed_json(obtained)),
        false => installed(obtained),
    })
}

/// What is there of a toolchain: programs and the converter's script.
fn contents(toolchain: &Toolchain) -> (Vec<(&'static str, String)>, Option<String>) {
    let place = |tool: &'static str| Some((tool, toolchain.tool(tool).ok()?.display().to_string()));
    let converter = toolchain.converter().ok().map(|folder| folder.display().to_string());
    (TOOLS.into_iter().filter_map(place).collect(), converter)
}

fn installed(obtained: &Obtained) -> String {
    let Obtained { toolchain, came, bytes } = obtained;
    let reference = toolchain.reference();
    let how = match (came, reference.origin) {
        (None, _) => "installed by somebody",
        (Some(Came::Cached), _) => "in the cache",
        (Some(Came::Made), Origin::Prebuilt) => "downloaded",
        (Some(Came::Made), _) => "built",
        (Some(Came::Healed), _) => "was damaged, made anew",
    };
    let size = bytes.map(|bytes| format!(", {}", units::decimal(bytes))).unwrap_or_default();
    let mut text = format!("{reference}: {how}{size}\n  {}\n", toolchain.folder().display());
    let (tools, converter) = contents(toolchain);
    let mut names: Vec<&str> = tools.iter().map(|(name, _)| *name).collect();
    names.extend(converter.is_some().then_some("convert_hf_to_gguf.py"));
    let _ = writeln!(text, "  {}", names.join("  "));
    text
}

fn installed_json(obtained: &Obtained) -> Json {
    let Obtained { toolchain, came, bytes } = obtained;
    let reference = toolchain.reference();
    let (tools, converter) = contents(toolchain);
    let tools: serde_json::Map<String, Json> =
        tools.into_iter().map(|(name, path)| (name.to_owned(), path.into())).collect();
    let came = came.map(|came| match came {
        Came::Cached => "cached",
        Came::Made => "made",
        Came::Healed => "healed",
    });
    json!({ "tag": reference.tag, "commit": reference.commit, "key": reference.key, "origin": reference.origin,
            "came": came, "save": came.is_some_and(|came| came != "cached"), "folder": toolchain.folder(),
            "tools": tools, "converter": converter, "bytes": bytes })
}

fn list(context: &Context) -> Result<(), Failure> {
    let cache = Cache::new(&context.hub().cache);
    let entries = cache.list().map_err(ToolchainError::from)?;
    if context.json {
        let entries: Vec<Json> = entries.iter().map(entry_json).collect();
        return print(&format!("{}\n", json!({ "path": cache.root(), "builds": entries })));
    }
    if entries.is_empty() {
        return print(&format!("no builds of llama.cpp in `{}`\n", cache.root().display()));
    }
    let now = SystemTime::now();
    let rows: Vec<[String; 5]> = entries.iter().map(|entry| row(entry, now)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for [name, how, size, used, key] in &rows {
        let _ = writeln!(
            text,
            "{name:0$}  {how:1$}  {size:>2$}  {used:3$}  {key}",
            widths[0], widths[1], widths[2], widths[3]
        );
    }
    let total: u64 = entries.iter().map(Entry::bytes).sum();
    let builds = units::counted(entries.len(), "build");
    let _ = writeln!(text, "{builds}, {} in `{}`", units::decimal(total), cache.root().display());
    print(&text)
}

fn row(entry: &Entry, now: SystemTime) -> [String; 5] {
    let age = now.duration_since(entry.used).unwrap_or_default();
    [
        name(&entry.manifest.facts),
        how(&entry.manifest.facts).to_owned(),
        units::decimal(entry.bytes()),
        format!("used {} ago", ago(age)),
        entry.key.as_str().to_owned(),
    ]
}

/// `b11312 (0c1e57098)`, or what else names a source.
fn name(facts: &Facts) -> String {
    let short = |text: &str| text.get(..9).unwrap_or(text).to_owned();
    let commit = facts.commit.as_deref().map(short);
    match (&facts.tag, commit, &facts.content) {
        (Some(tag), Some(commit), _) => format!("{tag} ({commit})"),
        (Some(tag), None, _) => tag.clone(),
        (None, Some(commit), _) => commit,
        (None, None, Some(content)) => short(content.trim_start_matches("sha256:")),
        (None, None, None) => "?".to_owned(),
    }
}

fn how(facts: &Facts) -> &'static str {
    match facts.compiler {
        Some(_) if facts.flags.iter().any(|flag| flag == "GGML_NATIVE=ON") => "built, native",
        Some(_) => "built",
        None => "prebuilt",
    }
}

/// An age in its largest unit.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => units::counted((seconds / 86_400) as usize, "day"),
    }
}

fn entry_json(entry: &Entry) -> Json {
    let used =
        jiff::Timestamp::try_from(entry.used).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    json!({ "key": entry.key.as_str(), "facts": entry.manifest.facts, "bytes": entry.bytes(),
            "files": entry.manifest.files.len(), "folder": entry.folder, "used": used.ok() })
}

fn key(args: &LlamaArgs, context: &Context) -> Result<(), Failure> {
    let wanted = wanted(args, context)?;
    let keys = wanted.keys(&context.cancel, &*context.observer)?;
    let name = keys.as_ref().and_then(cache_key);
    if context.json {
        let cache = Cache::new(&context.hub().cache);
        let there = |facts: &Option<Facts>| match facts {
            Some(facts) => {
                cache.find(facts, &*context.observer, &context.cancel).map(|found| found.is_some())
            }
            None => Ok(false),
        };
        let hit = match &keys {
            Some(keys) => there(&keys.prebuilt).and_then(|hit| Ok(hit || there(&keys.built)?)),
            None => Ok(false),
        };
        let hit = hit.map_err(ToolchainError::from)?;
        let entries: Vec<String> = keys
            .iter()
            .flat_map(|keys| [&keys.prebuilt, &keys.built])
            .flatten()
            .map(|facts| facts.key().as_str().to_owned())
            .collect();
        return print(&format!(
            "{}\n",
            json!({ "key": name, "path": cache.root(), "hit": hit, "entries": entries })
        ));
    }
    print(&name.map(|name| name + "\n").unwrap_or_default())
}

/// A name that differs wherever another build could be needed: of a release's own programs, and of the build that
/// takes their place where they do not run.
fn cache_key(keys: &Keys) -> Option<String> {
    let facts: Vec<&Facts> = [&keys.prebuilt, &keys.built].into_iter().flatten().collect();
    let first = facts.first()?;
    let digits: Vec<String> = facts.iter().map(|facts| facts.key().as_str().to_owned()).collect();
    let digits = hash::sha256(digits.join("-").as_bytes());
    let version =
        first.tag.as_deref().or(first.commit.as_deref().and_then(|c| c.get(..9))).unwrap_or("source");
    Some(format!("jamph-llama.cpp-{}-{}-{version}-{}", first.os, first.arch, &digits[..16]))
}

fn prune(args: &PruneArgs, context: &Context) -> Result<(), Failure> {
    let older_than = args.older_than.as_deref().map(age).transpose()?;
    let cache = Cache::new(&context.hub().cache);
    let before = cache.list().map_err(ToolchainError::from)?;
    let removed = cache.prune(args.keep, older_than).map_err(ToolchainError::from)?;
    let gone: Vec<&Entry> = before.iter().filter(|entry| removed.contains(&entry.key)).collect();
    let bytes: u64 = gone.iter().map(|entry| entry.bytes()).sum();
    if context.json {
        let removed: Vec<Json> = gone.iter().map(|entry| entry_json(entry)).collect();
        return print(&format!(
            "{}\n",
            json!({ "removed": removed, "kept": before.len() - gone.len(), "bytes": bytes })
        ));
    }
    let mut text = String::new();
    for entry in &gone {
        let facts = &entry.manifest.facts;
        let _ = writeln!(text, "removed {}, {}, {}", name(facts), how(facts), units::decimal(entry.bytes()));
    }
    let (builds, kept) = (units::counted(gone.len(), "build"), before.len() - gone.len());
    let _ = writeln!(text, "{builds} removed, {}; {kept} kept", units::decimal(bytes));
    print(&text)
}

/// Reads an age (`30d`, `12h`, `2w`, `45m`).
fn age(text: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::usage(format!("`--older-than {text}` is no age"))
            .hint("write it as `30d`, `12h`, `2w` or `45m`")
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].trim().parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let seconds = |text: &str| age(text).map(|age| age.as_secs()).ok();
        assert_eq!(seconds("30d"), Some(30 * 86_400));
        assert_eq!(seconds("12h"), Some(12 * 3600));
        assert_eq!((seconds("2 w"), seconds("45m")), (Some(14 * 86_400), Some(2700)));
        for wrong in ["", "d", "3", "-1d", "1y", "1.5d", "3é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        let shown: Vec<String> = [5, 61, 7300, 90_000, 900_000].map(|s| ago(Duration::from_secs(s))).into();
        assert_eq!(shown, ["5 s", "1 min", "2 h", "1 day", "10 days"]);
    }

    fn facts(tag: Option<&str>, commit: Option<&str>, content: Option<&str>) -> Facts {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Facts {
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            tag: text(tag),
            commit: text(commit),
            content: text(content),
            flags: Vec::new(),
            compiler: None,
            libc: None,
        }
    }

    #[test]
    fn sources_have_names() {
        let commit = Some("0c1e57098bba43ac29e6e3b677cdceebdd22334f");
        assert_eq!(name(&facts(Some("b11312"), commit, None)), "b11312 (0c1e57098)");
        assert_eq!(name(&facts(None, commit, None)), "0c1e57098");
        assert_eq!(name(&facts(None, None, Some("sha256:0123456789abc"))), "012345678");
    }

    #[test]
    fn a_key_differs_where_a_build_does() {
        let key = |prebuilt: Option<Facts>, built: Option<Facts>| cache_key(&Keys { prebuilt, built });
        let (one, other) = (facts(Some("b11312"), None, None), facts(Some("b11312"), None, Some("x")));
        let both = key(Some(one.clone()), Some(other.clone())).unwrap();
        assert!(both.starts_with("jamph-llama.cpp-linux-x86_64-b11312-"), "{both}");
        assert_ne!(key(Some(one.clone()), None).unwrap(), both);
        assert_ne!(key(Some(other), Some(one)).unwrap(), both);
        assert_eq!(key(None, None), None);
    }
}
