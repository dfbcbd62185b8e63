//! Checkpoints from a Hub, also from one that goes wrong.

use std::path::Path;
use std::time::Duration;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::token::Token;
use jamph_quantizer::checkpoint::Checkpoint;
use jamph_quantizer::event::Code;
use jamph_quantizer::hub::{
    Description, HubError, HubOptions, RepoId, Snapshot, describe, remove_weights, snapshot,
};

use crate::support::client::{Heard, impatient, random_bytes};
use crate::support::hub::{Fault, File, Hub, On, Repo, Seen};

/// Bytes of a request of a large file.
const SPAN: u64 = 10_000;

/// Elements of the one tensor of each shard.
const ELEMENTS: usize = 20_000;

/// One tensor of bf16, in bytes that differ from place to place.
fn shard(name: &str) -> Vec<u8> {
    let header = format!(
        r#"{{"{name}":{{"dtype":"BF16","shape":[{ELEMENTS}],"data_offsets":[0,{}]}}}}"#,
        ELEMENTS * 2
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(random_bytes(name.len() as u32 + 1).take(ELEMENTS * 2));
    bytes
}

fn single() -> Repo {
    Repo::new([
        ("README.md", File::small("---\nlicense: apache-2.0\n---\n")),
        ("config.json", File::small("{}")),
        ("model.safetensors", File::large(shard("a"))),
        ("tokenizer.json", File::small("{\"model\":{}}")),
    ])
}

fn sharded() -> Repo {
    let index = r#"{"metadata":{},"weight_map":{"a":"model-1.safetensors","bb":"model-2.safetensors"}}"#;
    Repo::new([
        (".gitattributes", File::small("x")),
        ("LICENSE", File::small("do")),
        ("additional_chat_templates/tool_use.jinja", File::small("{{ x }}")),
        ("config.json", File::small("{}")),
        ("empty.json", File::small("")),
        ("model-1.safetensors", File::large(shard("a"))),
        ("model-2.safetensors", File::large(shard("bb"))),
        ("model.safetensors.index.json", File::small(index)),
        ("onnx/model.onnx", File::large("no")),
        ("other.safetensors", File::large("no")),
        ("pytorch_model.bin", File::large("no")),
    ])
}

/// A Hub with the repository `o/m-0.5B`, an empty cache, and a client with little patience.
struct Case {
    hub: Hub,
    cache: tempfile::TempDir,
    options: HubOptions,
    heard: Heard,
}

impl Case {
    fn new(repo: Repo) -> Self {
        let hub = Hub::start();
        hub.add("o/m-0.5B", repo);
        hub.refer("o/m-0.5B", "refs/pr/1");
        let cache = tempfile::tempdir().unwrap();
        let mut options = HubOptions::new(hub.endpoint(), cache.path());
        options.span = SPAN;
        options.connections = 3;
        options.retry = impatient();
        Case { hub, cache, options, heard: Heard::default() }
    }

    fn signed_in(mut self, token: &str) -> Self {
        self.options.token = Some(Token::new(token).unwrap());
        self
    }

    fn get(&self) -> Result<Snapshot, HubError> {
        self.get_at(None)
    }

    fn get_at(&self, revision: Option<&str>) -> Result<Snapshot, HubError> {
        snapshot(&RepoId::parse("o/m-0.5B").unwrap(), revision, &self.options, &self.heard, &Cancel::new())
    }

    fn describe(&self) -> Result<Description, HubError> {
        describe(&RepoId::parse("o/m-0.5B").unwrap(), None, &self.options, &self.heard, &Cancel::new())
    }

    fn count(&self, code: Code) -> usize {
        self.heard.count(code)
    }

    /// Every file of the snapshot is what the repository has, and nothing unfinished is left.
    #[track_caller]
    fn is_whole(&self, snapshot: &Snapshot, repo: &Repo) {
        for file in &snapshot.files {
            let found = std::fs::read(snapshot.folder.join(&file.path)).unwrap();
            assert_eq!(found, repo.files[&file.path].bytes, "{}", file.path);
        }
        assert!(!snapshot.folder.parent().unwrap().join(".partial").exists());
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files_below(&path).into_iter().map(|f| format!("{name}/{f}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn a_sharded_checkpoint_becomes_a_folder() {
    let case = Case::new(sharded()).signed_in("hf_secret");
    let snapshot = case.get().unwrap();
    assert_eq!(snapshot.commit, sharded().commit());
    assert_eq!(snapshot.folder.file_name().unwrap(), "m-0.5B");
    case.is_whole(&snapshot, &sharded());
    let wanted = [
        "LICENSE",
        "additional_chat_templates/tool_use.jinja",
        "config.json",
        "empty.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(files_below(&snapshot.folder), wanted);
    let checkpoint = Checkpoint::open(&snapshot.folder).unwrap();
    assert_eq!(checkpoint.name, "m-0.5B");
    assert_eq!(checkpoint.tensors.len(), 2);

    // The token went to the Hub with every request, and nowhere else.
    let seen = case.hub.seen();
    assert!(seen.iter().any(|s| s.on == On::Cdn) && seen.iter().filter(|s| s.on == On::Tree).count() == 4);
    for request in seen {
        let expected = (request.on != On::Cdn).then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
    // A shard came in ranges, after one request that asked where it is.
    let ranges = |s: &&Seen| s.on == On::Cdn && s.path.ends_with("model-1.safetensors");
    assert_eq!(
        case.hub.seen().iter().filter(ranges).count() as u64,
        (ELEMENTS as u64 * 2).div_ceil(SPAN) + 1
    );
    let resolved = |s: &&Seen| s.on == On::Resolve && s.path.ends_with("model-1.safetensors");
    assert_eq!(case.hub.seen().iter().filter(resolved).count(), 1);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let mut case = Case::new(single());
    let first = case.get_at(Some("refs/pr/1")).unwrap();
    case.hub.forget();
    assert_eq!(case.get_at(Some("refs/pr/1")).unwrap(), first);
    assert_eq!(case.hub.seen().len(), 1, "the revision is resolved anew, nothing else");
    case.hub.forget();
    assert_eq!(case.get_at(Some(&first.commit)).unwrap(), first);
    case.options.offline = true;
    assert_eq!(case.get_at(Some(&first.commit)).unwrap(), first);
    assert_eq!(case.get_at(Some("refs/pr/1")).unwrap(), first);
    assert!(case.hub.seen().is_empty());
    assert!(matches!(case.get(), Err(HubError::Offline { .. })));

    std::fs::remove_file(first.folder.join("config.json")).unwrap();
    let error = case.get_at(Some("refs/pr/1")).unwrap_err();
    assert!(error.to_string().contains("`config.json` is missing"), "{error}");
    case.options.offline = false;
    case.is_whole(&case.get().unwrap(), &single());
}

#[test]
fn dropped_connections_are_taken_up_again() {
    let case = Case::new(single());
    case.hub.fault(On::Cdn, 5, Fault::Cut(6_000));
    case.is_whole(&case.get().unwrap(), &single());
    assert!(case.count(Code::DownloadRetried) > 0);
    // What came before each cut was kept.
    let size = single().files["model.safetensors"].bytes.len();
    assert!(case.hub.sent() < size as u64 + 2 * 6_000, "{} of {size}", case.hub.sent());
}

#[test]
fn a_failed_download_goes_on_in_the_next_run() {
    let mut case = Case::new(single());
    case.options.retry.attempts = 1;
    case.options.connections = 1;
    case.hub.fault(On::Cdn, 2, Fault::Cut(6_000));
    assert!(matches!(case.get(), Err(HubError::Connection { .. })));
    let commit = case.cache.path().join("hub/o--m-0.5B").join(single().commit());
    assert!(!commit.join("m-0.5B/model.safetensors").exists());
    assert!(commit.join(".partial/model.safetensors.part").exists());
    case.hub.heal();
    case.hub.forget();
    case.is_whole(&case.get().unwrap(), &single());
    assert!(case.count(Code::DownloadResumed) > 0);
    let request =
        case.hub.seen().into_iter().find(|s| s.path.ends_with("model.safetensors") && s.on == On::Cdn);
    let request = request.unwrap();
    assert_eq!(request.range.as_deref(), Some("bytes=6000-9999"));
    assert!(request.if_range.is_some());
}

#[test]
fn a_stopped_download_goes_on_in_the_next_run() {
    let case = Case::new(single());
    let cancel = Cancel::new();
    case.heard.stop_at(2 * SPAN, &cancel);
    // One answer never ends, so that there is something to stop.
    case.hub.fault(On::Cdn, 1, Fault::Stall(3_000));
    let repo = RepoId::parse("o/m-0.5B").unwrap();
    let stopped = snapshot(&repo, None, &case.options, &case.heard, &cancel);
    assert!(matches!(stopped, Err(HubError::Cancelled { .. })), "{stopped:?}");
    case.hub.heal();
    case.hub.forget();
    case.is_whole(&case.get().unwrap(), &single());
    assert!(case.hub.sent() <= ELEMENTS as u64 * 2 - SPAN, "{} bytes were sent again", case.hub.sent());
}

#[test]
fn what_a_killed_process_left_of_whole_files_goes() {
    let case = Case::new(single());
    let snapshot = case.get().unwrap();
    let partial = snapshot.folder.parent().unwrap().join(".partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("config.json.part.json"), "{}").unwrap();
    case.is_whole(&case.get().unwrap(), &single());
}

#[test]
fn wrong_bytes_are_fetched_once_more_and_then_refused() {
    let case = Case::new(single());
    case.hub.fault(On::Cdn, 1, Fault::Flip);
    case.hub.fault(On::Resolve, 1, Fault::Flip);
    case.is_whole(&case.get().unwrap(), &single());

    let case = Case::new(single());
    case.hub.fault(On::Cdn, 100, Fault::Flip);
    let error = case.get().unwrap_err();
    let HubError::Mismatch { what: "sha256", .. } = error else { panic!("{error}") };
    let folder = case.cache.path().join("hub/o--m-0.5B").join(single().commit()).join("m-0.5B");
    assert!(!files_below(&folder).iter().any(|f| f == "model.safetensors"));

    let case = Case::new(single());
    case.hub.fault(On::Resolve, 100, Fault::Flip);
    let error = case.get().unwrap_err();
    assert!(matches!(error, HubError::Mismatch { what: "git blob", .. }), "{error}");
}

#[test]
fn rate_limits_are_waited_for() {
    let case = Case::new(single());
    let limit = vec![("ratelimit", r#""api";r=0;t=0"#.to_owned())];
    case.hub.fault(On::Info, 1, Fault::Status(429, limit.clone()));
    case.is_whole(&case.get().unwrap(), &single());
    assert_eq!(case.count(Code::DownloadRetried), 1);

    let case = Case::new(single());
    let long = vec![("retry-after", "3600".to_owned())];
    case.hub.fault(On::Tree, 1, Fault::Status(429, long));
    assert!(matches!(case.get(), Err(HubError::RateLimited { seconds: Some(3600), .. })));
}

#[test]
fn servers_in_trouble_are_asked_again_but_not_for_ever() {
    let case = Case::new(single());
    for on in [On::Info, On::Tree, On::Resolve, On::Cdn] {
        case.hub.fault(on, 3, Fault::Status(503, Vec::new()));
    }
    case.is_whole(&case.get().unwrap(), &single());

    let case = Case::new(single());
    case.hub.fault(On::Info, 100, Fault::Status(500, vec![("x-request-id", "r-17".to_owned())]));
    let error = case.get().unwrap_err();
    assert!(matches!(error, HubError::Status { status: 500, .. }), "{error}");
    assert!(error.to_string().contains("r-17"));
    assert_eq!(case.hub.seen().len(), 4);
}

#[test]
fn an_expired_signature_is_asked_for_again() {
    let case = Case::new(single());
    case.hub.fault(On::Cdn, 2, Fault::Status(403, Vec::new()));
    case.is_whole(&case.get().unwrap(), &single());
}

#[test]
fn a_silent_connection_is_dropped() {
    let mut case = Case::new(single());
    case.options.retry.stall = Duration::from_millis(300);
    case.hub.fault(On::Cdn, 1, Fault::Stall(3_000));
    case.is_whole(&case.get().unwrap(), &single());
    assert!(case.count(Code::DownloadRetried) > 0);
}

#[test]
fn a_body_that_ends_early_is_taken_up_again() {
    let case = Case::new(single());
    case.hub.fault(On::Cdn, 3, Fault::Short(4_000));
    case.hub.fault(On::Resolve, 1, Fault::Short(1));
    case.is_whole(&case.get().unwrap(), &single());
}

#[test]
fn content_that_changes_meanwhile_is_fetched_anew() {
    let mut case = Case::new(single());
    case.options.connections = 1;
    case.hub.fault(On::Cdn, 2, Fault::Cut(6_000));
    case.hub.fault(On::Cdn, 1, Fault::NewEtag);
    case.is_whole(&case.get().unwrap(), &single());

    let mut case = Case::new(single());
    case.options.connections = 1;
    case.hub.fault(On::Cdn, 1000, Fault::NewEtag);
    assert!(matches!(case.get(), Err(HubError::Changing { .. })));
}

#[test]
fn servers_without_ranges_serve_too() {
    let case = Case::new(single());
    case.hub.fault(On::Cdn, 1000, Fault::NoRanges);
    case.is_whole(&case.get().unwrap(), &single());

    let case = Case::new(single());
    case.hub.fault(On::Cdn, 1000, Fault::NoRanges);
    let described = case.describe().unwrap();
    assert_eq!(described.shards.len(), 1);
}

#[test]
fn refusals_say_what_to_do() {
    let hint = |case: &Case, revision: Option<&str>| {
        let error = case.get_at(revision).unwrap_err();
        format!("{error:?} {}", error.hint().unwrap_or_default())
    };
    let gated = || Repo { gated: true, ..single() };
    let text = hint(&Case::new(gated()), None);
    assert!(text.starts_with("Gated") && text.contains("/o/m-0.5B and set HF_TOKEN"), "{text}");
    let text = hint(&Case::new(gated()).signed_in("hf_secret"), None);
    assert!(text.contains("accept its terms") && !text.contains("secret"), "{text}");

    let private = || Repo { private_to: Some("hf_owner".to_owned()), ..single() };
    let text = hint(&Case::new(private()), None);
    assert!(text.starts_with("RepoNotFound") && text.contains("HF_TOKEN"), "{text}");
    let text = hint(&Case::new(private()).signed_in("hf_other"), None);
    assert!(text.starts_with("RepoNotFound") && text.contains("needs read access"), "{text}");
    let case = Case::new(private()).signed_in("hf_owner");
    case.is_whole(&case.get().unwrap(), &private());

    assert!(hint(&Case::new(single()), Some("v9")).starts_with("RevisionNotFound"));
    let case = Case::new(single()).signed_in("hf_old");
    case.hub.fault(On::Info, 1, Fault::Status(401, Vec::new()));
    assert!(hint(&case, None).contains("wrong or expired"));

    assert!(hint(&Case::new(Repo::new([("pytorch_model.bin", File::large("x"))])), None).contains("convert"));
    assert!(hint(&Case::new(Repo::new([("m-Q4_K_M.gguf", File::large("x"))])), None).contains("base_model"));
    assert!(hint(&Case::new(Repo::new([("config.json", File::small("{}"))])), None).starts_with("NoWeights"));
}

#[test]
fn the_token_stays_at_the_hub_wherever_it_redirects() {
    let case = Case::new(sharded()).signed_in("hf_secret");
    case.hub.fault(On::Info, 1, Fault::ToCdn);
    case.hub.fault(On::Tree, 1, Fault::PageAtCdn);
    let error = case.get().unwrap_err();
    assert!(matches!(error, HubError::Protocol { .. }), "{error}");
    let seen = case.hub.seen();
    assert!(seen.iter().any(|s| s.on == On::Cdn));
    assert!(seen.iter().all(|s| s.on != On::Cdn || s.authorization.is_none()), "{seen:?}");
    let all = format!("{:?} {} {error:?}", case.options, case.heard.said());
    assert!(!all.contains("secret"), "{all}");
}

#[test]
fn signatures_of_addresses_are_not_shown() {
    let mut case = Case::new(single());
    case.options.retry.attempts = 2;
    case.hub.fault(On::Cdn, 100, Fault::Cut(0));
    let error = case.get().unwrap_err();
    let all = format!("{error:?} {error} {}", case.heard.said());
    assert!(!all.contains("signature"), "{all}");
}

#[test]
fn hostile_names_are_refused_before_anything_is_written() {
    for name in ["..\\config.json", "c:config.json", "nul.json", "additional_chat_templates/..\\x.jinja"] {
        let mut repo = single();
        repo.files.insert(name.to_owned(), File::small("{}"));
        let case = Case::new(repo);
        let error = case.get().unwrap_err();
        assert!(matches!(error, HubError::HostilePath { .. }), "{name}: {error}");
        assert_eq!(files_below(case.cache.path()), ["hub/o--m-0.5B/.lock"]);
    }
    let mut repo = single();
    repo.files.insert("../config.json".to_owned(), File::small("evil"));
    let case = Case::new(repo);
    case.is_whole(&case.get().unwrap(), &single());
}

#[test]
fn a_description_reads_headers_and_no_weights() {
    let mut case = Case::new(sharded());
    let described = case.describe().unwrap();
    assert_eq!(described.shards.len(), 2);
    assert_eq!(described.shards[1].header.tensors[0].name, "bb");
    assert!(described.folder.join("config.json").exists());
    assert!(!described.folder.join("model-1.safetensors").exists());
    let weights: u64 = described.shards.iter().map(|s| s.file.size).sum();
    assert_eq!(described.missing_bytes(), weights);

    case.options.offline = true;
    assert_eq!(case.describe().unwrap(), described);
    assert!(matches!(case.get(), Err(HubError::Offline { .. })));
    case.options.offline = false;
    case.is_whole(&case.get().unwrap(), &sharded());
    assert_eq!(case.describe().unwrap().missing_bytes(), 0);
}

#[test]
fn removed_weights_leave_what_planning_needs() {
    let mut case = Case::new(sharded());
    let before = case.get().unwrap();
    let described = case.describe().unwrap();
    let remove = |case: &Case| {
        remove_weights(&described.repo, &before.commit, &case.options, &Cancel::new()).unwrap();
    };
    remove(&case);
    remove(&case);
    assert!(!before.folder.join("model-1.safetensors").exists());
    case.options.offline = true;
    assert_eq!(case.describe().unwrap(), described);
    case.options.offline = false;
    case.is_whole(&case.get().unwrap(), &sharded());
}

#[test]
fn a_damaged_cache_heals() {
    let case = Case::new(single());
    let snapshot = case.get().unwrap();
    let commit = snapshot.folder.parent().unwrap();
    std::fs::write(commit.join("listing.json"), "{").unwrap();
    std::fs::write(snapshot.folder.join("model.safetensors"), "short").unwrap();
    case.is_whole(&case.get().unwrap(), &single());
    case.is_whole(&case.get_at(Some(&snapshot.commit)).unwrap(), &single());
}

#[test]
fn long_headers_come_in_two_requests() {
    // Enough empty tensors that the header is longer than what the first request brings.
    let entries: Vec<String> = (0..6000)
        .map(|i| format!(r#""layer.{i:040}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    let mut repo = single();
    repo.files.insert("model.safetensors".to_owned(), File::large(bytes));
    let case = Case::new(repo);
    assert_eq!(case.describe().unwrap().shards[0].header.tensors.len(), 6000);
    assert_eq!(
        case.hub.seen().iter().filter(|s| s.on == On::Cdn && s.path.ends_with("model.safetensors")).count(),
        2
    );
}

#[test]
fn two_at_once_fetch_everything_once() {
    let case = Case::new(single());
    let both = std::thread::scope(|scope| {
        let runs = [scope.spawn(|| case.get().unwrap()), scope.spawn(|| case.get().unwrap())];
        runs.map(|run| run.join().unwrap())
    });
    assert_eq!(both[0], both[1]);
    case.is_whole(&both[0], &single());
    let size = single().files["model.safetensors"].bytes.len();
    assert_eq!(case.hub.sent(), size as u64);
}
