//! Files and streams into a Hub's store, also into one that goes wrong.

use std::error::Error as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash;
use jamph_quantizer::base::token::Token;
use jamph_quantizer::event::Code;
use jamph_quantizer::hub::{
    Destination, HubError, HubOptions, RepoId, Retry, Transport, UploadStream, Uploaded, Uploader,
};
use serde_json::json;

use crate::support::client::Heard;
use crate::support::hub::{Fault, Hub, On, Repo, Role, Settings};

/// The sizes at which something changes: nothing, a piece of memory, what Xet takes at once, a xorb.
const SIZES: [usize; 7] = [0, 1, 1 << 20, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 70 << 20];

/// Bytes that do not repeat.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A Hub with the empty repository `o/m`, and a client with little patience.
struct Case {
    hub: Hub,
    folder: tempfile::TempDir,
    options: HubOptions,
    heard: Heard,
    cancel: Cancel,
}

fn options(endpoint: &str, cache: &Path, token: &str) -> HubOptions {
    let mut options = HubOptions::new(endpoint, cache);
    options.token = Some(Token::new(token).unwrap());
    options.retry = Retry {
        attempts: 2,
        first: Duration::from_millis(5),
        longest: Duration::from_millis(50),
        stall: Duration::from_secs(5),
        rate_limit: Duration::from_secs(5),
    };
    options
}

fn destination() -> Destination {
    Destination { repo: RepoId::parse("o/m").unwrap(), private: false, create_pr: false }
}

impl Case {
    fn new() -> Self {
        Case::with(Settings::default())
    }

    fn lfs() -> Self {
        Case::with(Settings { xet: false, ..Settings::default() })
    }

    fn with(settings: Settings) -> Self {
        let hub = Hub::with(settings);
        hub.add("o/m", Repo::default());
        let folder = tempfile::tempdir().unwrap();
        let token = hub.token("o", Role::Write);
        let options = options(hub.endpoint(), &folder.path().join("cache"), &token);
        Case { hub, folder, options, heard: Heard::default(), cancel: Cancel::new() }
    }

    fn impatient(mut self) -> Self {
        self.options.retry.stall = Duration::from_millis(250);
        self
    }

    fn try_open(&self) -> Result<Uploader<'_>, HubError> {
        Uploader::open(&destination(), &self.options, Transport::Auto, &self.heard, &self.cancel)
    }

    fn open(&self) -> Uploader<'_> {
        self.try_open().unwrap()
    }

    fn local(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What the Hub has of these files, once a commit names them.
    fn published(&self, files: &[Uploaded]) -> Vec<Vec<u8>> {
        let mut body = json!({ "key": "header", "value": { "summary": "x" } }).to_string();
        for Uploaded { path, size, sha256 } in files {
            let value = json!({ "path": path, "algo": "sha256", "oid": sha256, "size": size });
            body += &format!("\n{}", json!({ "key": "lfsFile", "value": value }));
        }
        let url = format!("{}/api/models/o/m/commit/main", self.hub.endpoint());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let token = self.options.token.as_ref().unwrap().reveal();
        let sent =
            client.post(url).bearer_auth(token).header("content-type", "application/x-ndjson").body(body);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async { sent.send().await.unwrap().error_for_status() });
        answer.expect("the store has the files");
        files.iter().map(|file| self.hub.read("o/m", &file.path)).collect()
    }

    /// What is left of the folders for Xet's notes.
    fn notes(&self) -> Vec<PathBuf> {
        entries(&self.options.cache.join("xet"))
    }

    #[track_caller]
    fn check_clean(&self) {
        assert_eq!(self.notes(), Vec::<PathBuf>::new());
        assert!(self.hub.leaks().is_empty(), "{:?}", self.hub.leaks());
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect()
}

/// Appends in pieces of an odd size.
fn fill(stream: &mut UploadStream<'_>, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(300_007).try_for_each(|piece| stream.append(piece))
}

fn send(uploader: &Uploader<'_>, path: &str, bytes: &[u8]) -> Result<Uploaded, HubError> {
    let mut stream = uploader.stream(path, bytes.len() as u64)?;
    fill(&mut stream, bytes).map_err(cause)?;
    stream.finish(&hash::sha256(bytes))
}

/// Ends the upload, and what it keeps on the disk with it.
fn end(uploader: Uploader<'_>) -> Result<Vec<Uploaded>, HubError> {
    let files = uploader.finish();
    drop(uploader);
    files
}

fn cause(error: io::Error) -> HubError {
    *error.into_inner().unwrap().downcast::<HubError>().unwrap()
}

#[test]
fn streams_of_every_size() {
    let case = Case::new();
    let uploader = case.open();
    assert!(uploader.takes_streams());
    let contents: Vec<_> = SIZES.iter().enumerate().map(|(i, size)| bytes(i as u64, *size)).collect();
    for (i, content) in contents.iter().enumerate() {
        send(&uploader, &format!("{i}.gguf"), content).unwrap();
    }
    let files = end(uploader).unwrap();
    assert_eq!(files.len(), SIZES.len());
    assert!(case.published(&files) == contents);
    assert_eq!(case.heard.count(Code::UploadFinished), SIZES.len());
    for file in &files {
        let reports = case.heard.progress.lock().unwrap();
        let last = reports.iter().rfind(|p| p.task == file.path).unwrap();
        assert_eq!((last.done, last.total), (file.size, file.size));
    }
    case.check_clean();
}

#[test]
fn files_of_every_size() {
    for case in [Case::new(), Case::lfs()] {
        let contents: Vec<_> = SIZES.iter().enumerate().map(|(i, size)| bytes(i as u64, *size)).collect();
        let uploader = case.open();
        thread::scope(|scope| {
            for (i, content) in contents.iter().enumerate() {
                let (case, uploader) = (&case, &uploader);
                scope.spawn(move || {
                    let local = case.local(&i.to_string(), content);
                    let sha256 = hash::sha256(content);
                    uploader.file(&format!("{i}.gguf"), &local, content.len() as u64, &sha256).unwrap();
                });
            }
        });
        let mut files = end(uploader).unwrap();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(case.published(&files) == contents);
        assert_eq!(case.heard.count(Code::UploadFinished), SIZES.len());
        case.check_clean();
    }
}

#[test]
fn streams_at_different_speeds() {
    let case = Case::new();
    let uploader = case.open();
    let contents: Vec<_> = (0..4).map(|i| bytes(i / 2, (20 << 20) + i as usize * 77)).collect();
    thread::scope(|scope| {
        for (i, content) in contents.iter().enumerate() {
            let uploader = &uploader;
            scope.spawn(move || {
                let mut stream = uploader.stream(&format!("{i}.gguf"), content.len() as u64).unwrap();
                for piece in content.chunks(1 << 20) {
                    thread::sleep(Duration::from_millis(i as u64 * 3));
                    stream.append(piece).unwrap();
                }
                stream.finish(&hash::sha256(content)).unwrap();
            });
        }
    });
    let mut files = end(uploader).unwrap();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(case.published(&files) == contents);
    case.check_clean();
}

#[test]
fn what_is_there_is_not_sent_again() {
    let content = bytes(1, 12 << 20);
    let (sha256, size) = (hash::sha256(&content), content.len() as u64);
    for case in [Case::new(), Case::lfs()] {
        let local = case.local("a", &content);
        let mut sent = Vec::new();
        for path in ["a.gguf", "b.gguf"] {
            let uploader = case.open();
            uploader.file(path, &local, size, &sha256).unwrap();
            end(uploader).unwrap();
            sent.push(case.hub.received());
        }
        assert!(sent[0] >= size && sent[1] < sent[0] + size / 4, "{sent:?}");
    }
}

#[test]
fn a_cut_connection_is_made_up_for() {
    let content = bytes(2, 9 << 20);
    let (sha256, size) = (hash::sha256(&content), content.len() as u64);
    for (case, on) in [(Case::new(), On::Xorb), (Case::lfs(), On::Part)] {
        case.hub.fault_after(on, 0, 1, Fault::Cut(100_000));
        case.hub.fault(on, 1, Fault::Lost);
        let local = case.local("a", &content);
        let uploader = case.open();
        uploader.file("a.gguf", &local, size, &sha256).unwrap();
        let files = end(uploader).unwrap();
        assert!(case.published(&files) == [content.clone()]);
        case.check_clean();
    }
}

#[test]
fn a_stream_outlives_a_cut_connection() {
    let case = Case::new();
    case.hub.fault(On::Xorb, 1, Fault::Cut(100_000));
    case.hub.fault(On::Shard, 1, Fault::Lost);
    let content = bytes(3, 66 << 20);
    let uploader = case.open();
    send(&uploader, "a.gguf", &content).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content]);
    case.check_clean();
}

#[test]
fn a_file_is_sent_anew_where_its_round_fails() {
    let case = Case::new();
    // More often than single requests are tried.
    case.hub.fault(On::Shard, 3, Fault::Status(500, Vec::new()));
    let content = bytes(4, 20 << 20);
    let local = case.local("a", &content);
    let uploader = case.open();
    uploader.file("a.gguf", &local, content.len() as u64, &hash::sha256(&content)).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content.clone()]);
    assert_eq!(case.heard.count(Code::UploadRetried), 1);
    assert!(case.hub.received() < content.len() as u64 * 3 / 2, "{}", case.hub.received());
    case.check_clean();
}

#[test]
fn a_store_that_stays_broken_is_an_error() {
    for as_stream in [true, false] {
        let case = Case::new();
        case.hub.fault(On::Xorb, u32::MAX, Fault::Status(500, Vec::new()));
        let content = bytes(5, 1 << 20);
        let uploader = case.open();
        if as_stream {
            send(&uploader, "a.gguf", &content).unwrap();
        } else {
            let local = case.local("a", &content);
            uploader.file("a.gguf", &local, content.len() as u64, &hash::sha256(&content)).unwrap();
        }
        let error = end(uploader).unwrap_err();
        assert!(matches!(error, HubError::Xet { .. }), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("500"), "{:?}", error.source());
        assert_eq!(case.heard.count(Code::UploadRetried), if as_stream { 0 } else { 2 });
        assert_eq!(case.heard.count(Code::UploadFinished), 0);
        case.check_clean();
    }
}

#[test]
fn what_stands_still_is_cut() {
    let content = bytes(6, 9 << 20);
    let (sha256, size) = (hash::sha256(&content), content.len() as u64);
    for (case, on) in [(Case::new(), On::Xorb), (Case::lfs(), On::Part)] {
        let case = case.impatient();
        case.hub.fault(on, 1, Fault::Stall(50_000));
        let local = case.local("a", &content);
        let uploader = case.open();
        uploader.file("a.gguf", &local, size, &sha256).unwrap();
        let files = end(uploader).unwrap();
        assert!(case.published(&files) == [content.clone()]);
        assert_eq!(case.heard.count(Code::UploadRetried), 1);
    }
    let case = Case::new().impatient();
    case.hub.fault(On::Xorb, u32::MAX, Fault::Stall(50_000));
    let uploader = case.open();
    // Two xorbs stand still, and no more is taken.
    let long = bytes(7, 145 << 20);
    let error = send(&uploader, "a.gguf", &long).unwrap_err();
    assert!(matches!(error, HubError::UploadStalled { .. }), "{error:?}");
    drop(uploader);
    case.check_clean();
}

#[test]
fn a_stream_can_be_made_again() {
    let case = Case::new();
    case.hub.fault(On::Shard, 3, Fault::Status(500, Vec::new()));
    let (content, other) = (bytes(8, 10 << 20), bytes(9, 1 << 20));
    let local = case.local("b", &other);
    let uploader = case.open();
    uploader.file("b.gguf", &local, other.len() as u64, &hash::sha256(&other)).unwrap();
    let mut stream = uploader.stream("a.gguf", content.len() as u64).unwrap();
    fill(&mut stream, &content[..9 << 20]).unwrap();
    drop(stream);
    assert!(send(&uploader, "c.gguf", &other).is_err());
    uploader.restart().unwrap();
    send(&uploader, "a.gguf", &content).unwrap();
    // The store fails, and what came from streams is lost.
    assert!(end(uploader).is_err());

    let uploader = case.open();
    send(&uploader, "a.gguf", &content).unwrap();
    uploader.restart().unwrap();
    send(&uploader, "a.gguf", &content).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content]);
    case.check_clean();
}

#[test]
fn other_bytes_than_announced_are_refused() {
    let case = Case::new();
    let content = bytes(10, 3 << 20);
    let (sha256, size) = (hash::sha256(&content), content.len() as u64);
    let wrong = hash::sha256(b"");

    let uploader = case.open();
    let mut stream = uploader.stream("a.gguf", size - 1).unwrap();
    let error = cause(fill(&mut stream, &content).unwrap_err());
    assert!(matches!(error, HubError::SentOther { what: "size", .. }), "{error:?}");
    drop(stream);
    assert!(end(uploader).is_err());

    let uploader = case.open();
    let mut stream = uploader.stream("a.gguf", size + 1).unwrap();
    fill(&mut stream, &content).unwrap();
    let error = stream.finish(&sha256).unwrap_err();
    assert!(matches!(error, HubError::SentOther { what: "size", .. }), "{error:?}");
    drop(uploader);

    let uploader = case.open();
    let mut stream = uploader.stream("a.gguf", size).unwrap();
    fill(&mut stream, &content).unwrap();
    let error = stream.finish(&wrong).unwrap_err();
    assert!(matches!(error, HubError::SentOther { what: "sha256", .. }), "{error:?}");
    drop(uploader);
    case.check_clean();

    for case in [Case::new(), Case::lfs()] {
        let local = case.local("a", &content);
        let uploader = case.open();
        let error = uploader.file("a.gguf", &local, size, &wrong).unwrap_err();
        assert!(matches!(error, HubError::SentOther { what: "sha256", .. }), "{error:?}");
        let error = uploader.file("a.gguf", &local, size + 1, &sha256).unwrap_err();
        assert!(matches!(error, HubError::SentOther { what: "size", .. }), "{error:?}");
        assert_eq!(case.heard.count(Code::UploadRetried), 0);
    }
}

#[test]
fn tokens_of_the_store_are_renewed() {
    let case = Case::with(Settings { xet_lifetime: Duration::from_secs(1), ..Settings::default() });
    let content = bytes(11, 5 << 20);
    let uploader = case.open();
    thread::sleep(Duration::from_millis(1100));
    send(&uploader, "a.gguf", &content).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content]);
    assert!(case.hub.count(On::WriteToken) > 1);
    case.check_clean();
}

#[test]
fn a_stop_is_heeded() {
    for (case, on) in [(Case::new(), On::Xorb), (Case::new(), On::Shard), (Case::lfs(), On::Part)] {
        let mut case = case;
        // Nothing else would end it.
        case.options.retry.stall = Duration::from_secs(24 * 60 * 60);
        case.hub.fault(on, u32::MAX, Fault::Stall(0));
        let content = bytes(12, 2 << 20);
        let local = case.local("a", &content);
        let uploader = case.open();
        thread::scope(|scope| {
            scope.spawn(|| {
                while case.hub.count(on) == 0 {
                    thread::sleep(Duration::from_millis(10));
                }
                case.cancel.cancel();
            });
            let sent = uploader.file("a.gguf", &local, content.len() as u64, &hash::sha256(&content));
            let error = sent.and_then(|_| end(uploader)).unwrap_err();
            assert!(matches!(error, HubError::Unpublished { .. }), "{error:?}");
        });
        case.check_clean();
    }
}

#[test]
fn without_xet_there_are_files_but_no_streams() {
    let case = Case::lfs();
    let uploader = case.open();
    assert!(!uploader.takes_streams());
    let error = uploader.stream("a.gguf", 5).err().unwrap();
    assert!(matches!(error, HubError::NoXet { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--stream"));
    assert_eq!(case.notes(), Vec::<PathBuf>::new());
    // A Hub that has Xet can be told that it is not wanted.
    let case = Case::new();
    let uploader =
        Uploader::open(&destination(), &case.options, Transport::NoXet, &case.heard, &case.cancel).unwrap();
    let local = case.local("a", b"bytes");
    uploader.file("a.gguf", &local, 5, &hash::sha256(b"bytes")).unwrap();
    let files = end(uploader).unwrap();
    assert_eq!(case.published(&files), [b"bytes"]);
    assert_eq!((case.hub.count(On::Part), case.hub.count(On::WriteToken)), (1, 0));
}

#[test]
fn addresses_of_parts_expire() {
    let case = Case::lfs();
    // The second part finds its address expired, the completion gets lost after it was done, the check fails once.
    case.hub.fault_after(On::Part, 1, 1, Fault::Status(403, Vec::new()));
    case.hub.fault(On::Complete, 1, Fault::Lost);
    case.hub.fault(On::Verify, 1, Fault::Status(500, Vec::new()));
    let content = bytes(13, 16 << 20);
    let local = case.local("a", &content);
    let uploader = case.open();
    uploader.file("a.gguf", &local, content.len() as u64, &hash::sha256(&content)).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content]);
    assert!(case.hub.count(On::Batch) >= 2);
    case.check_clean();
}

#[test]
fn who_may_not_write_hears_it_at_once() {
    let mut case = Case::new();
    case.options.token = Some(Token::new(&case.hub.token("reader", Role::Read)).unwrap());
    let error = case.try_open().err().unwrap();
    assert!(error.is_about_credentials(), "{error:?}");
    let mut case = Case::new();
    case.options.offline = true;
    let error = case.try_open().err().unwrap();
    assert!(matches!(error, HubError::NotOffline { .. }), "{error:?}");
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let mut case = Case::new();
    let file = case.local("file", b"");
    case.options.cache = file.join("cache");
    let content = bytes(14, 1 << 20);
    let uploader = case.open();
    send(&uploader, "a.gguf", &content).unwrap();
    let files = end(uploader).unwrap();
    assert!(case.published(&files) == [content]);
    assert_eq!(case.heard.count(Code::ScratchMoved), 1);
}

/// What the processes below are told.
const ENDPOINT: &str = "JAMPH_TEST_ENDPOINT";
const CACHE: &str = "JAMPH_TEST_CACHE";
const TOKEN: &str = "JAMPH_TEST_TOKEN";

/// The options of this process, if it was started by [`again`].
#[allow(clippy::disallowed_methods, reason = "it is the test that reads it, not the program")]
fn told() -> Option<HubOptions> {
    let told = |name| std::env::var(name).ok();
    Some(options(&told(ENDPOINT)?, Path::new(&told(CACHE)?), &told(TOKEN)?))
}

/// This test in a process of its own, in an environment of its own.
fn again(case: &Case, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", test]).env_clear();
    let token = case.options.token.as_ref().unwrap().reveal();
    command.env(ENDPOINT, case.hub.endpoint()).env(CACHE, &case.options.cache).env(TOKEN, token);
    command
}

#[test]
fn nothing_is_written_below_the_home_directory() {
    const CONTENT: &[u8] = b"content";
    if let Some(options) = told() {
        let (heard, cancel) = (Heard::default(), Cancel::new());
        let opened = Uploader::open(&destination(), &options, Transport::Auto, &heard, &cancel);
        let uploader = opened.map_err(|e| e.to_string()).unwrap();
        send(&uploader, "a.gguf", CONTENT).unwrap();
        end(uploader).unwrap();
        return;
    }
    let case = Case::new();
    let home = case.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let test = "upload::nothing_is_written_below_the_home_directory";
    // A home that stays empty, and one in which nobody can make a folder.
    let nowhere = case.local("nowhere", b"");
    for home in [&home, &nowhere] {
        let ran = again(&case, test).env("HOME", home).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
    assert_eq!(entries(&home), Vec::<PathBuf>::new());
    let size = CONTENT.len() as u64;
    let file = Uploaded { path: "a.gguf".to_owned(), size, sha256: hash::sha256(CONTENT) };
    assert_eq!(case.published(&[file]), [CONTENT]);
    case.check_clean();
    // Where there is no place at all for the notes, it is said.
    let mut case = case;
    case.options.cache = nowhere.join("cache");
    let ran = again(&case, test).env("HOME", &nowhere).env("TMPDIR", &nowhere).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr) + String::from_utf8_lossy(&ran.stdout);
    assert!(!ran.status.success() && said.contains("can be written"), "{said}");
}

#[test]
fn a_killed_process_leaves_nothing_for_long() {
    if let Some(options) = told() {
        let (heard, cancel) = (Heard::default(), Cancel::new());
        let uploader = Uploader::open(&destination(), &options, Transport::Auto, &heard, &cancel).unwrap();
        let mut stream = uploader.stream("a.gguf", 10 << 20).unwrap();
        fill(&mut stream, &bytes(15, 9 << 20)).unwrap();
        println!("now");
        thread::park();
    }
    let case = Case::new();
    let mut command = again(&case, "upload::a_killed_process_leaves_nothing_for_long");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut said, mut out) = (Vec::new(), child.stdout.take().unwrap());
    while !String::from_utf8_lossy(&said).contains("now") {
        let mut some = [0; 256];
        let n = out.read(&mut some).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&some[..n]);
    }
    // One that lives keeps its folder while others come and go.
    let uploader = case.open();
    assert_eq!(case.notes().len(), 4);
    drop(uploader);
    assert_eq!(case.notes().len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(case.notes().len(), 2);
    drop(case.open());
    case.check_clean();
}
