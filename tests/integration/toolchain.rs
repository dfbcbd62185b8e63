//! Getting a llama.cpp: from GitHub, from other sources, from the cache; with a cmake that is a script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jamph_quantizer::base::hash::sha256;
use serde_json::{Value, json};

use crate::support::command::{Ran, Sandbox};
use crate::support::github::archive::{Member, file, program, tar_gz};
use crate::support::github::{Fault, GitHub, Release};

const REPO: &str = "ggml-org/llama.cpp";
const TAG: &str = "b11429";
const COMMIT: &str = "1111111111111111111111111111111111111111";
const OTHER: &str = "2222222222222222222222222222222222222222";

/// Writes down how it was called and what it sees; builds scripts.
const CMAKE: &str = r#"#!/bin/sh
echo "$1" >> "$HOME/cmake.log"
env > "$HOME/cmake.env"
case "$1" in
-S)
    mkdir -p "$4"
    cp "$2/says" "$4/says"
    ;;
--build)
    if [ -f "$HOME/slow" ]; then sleep "$(cat "$HOME/slow")"; fi
    if [ -f "$HOME/broken" ]; then
        echo "[1/2] Building CXX object a.o"
        for i in $(seq 50); do echo "a.cpp:$i: error: no such type" >&2; done
        exit 2
    fi
    mkdir -p "$2/bin"
    for tool in llama-imatrix llama-perplexity llama-completion llama-server; do
        { echo '#!/bin/sh'; echo "echo built from $(cat "$2/says") >&2"; } > "$2/bin/$tool"
        chmod 755 "$2/bin/$tool"
    done
    echo "[2/2] Linking CXX executable"
    ;;
esac
"#;

/// Says its version, or what processor it builds for.
const CXX: &str = r#"#!/bin/sh
case "$*" in
*native*) cat "$HOME/processor" ;;
*) echo 'c++ (Test) 1.0' ;;
esac
"#;

/// The program's world: a GitHub, a cmake, a compiler.
struct World {
    github: GitHub,
    sandbox: Sandbox,
}

impl World {
    fn new() -> Self {
        let github = GitHub::start();
        let mut sandbox = Sandbox::new();
        sandbox.write("path/cmake", CMAKE);
        sandbox.write("path/c++", CXX);
        for name in ["cmake", "c++"] {
            fs::set_permissions(sandbox.path("path").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(sandbox.path(".home")).unwrap();
        let path = format!("{}:/usr/bin:/bin", sandbox.path("path").display());
        sandbox.set("PATH", path).set("GITHUB_API_URL", github.api());
        let cache = sandbox.path("cache").display().to_string();
        sandbox.set("JAMPH_CACHE", cache);
        World { github, sandbox }
    }

    /// With a release that has programs for this system, and the source of its commit.
    fn with_release() -> Self {
        let world = World::new();
        world.github.release(REPO, release().asset(&archive_name(), programs("exit 0")));
        world.github.source(REPO, COMMIT, tree("GitHub source"));
        world
    }

    fn run(&self, words: &str) -> Ran {
        self.sandbox.run(words)
    }

    /// The result of an installation that works.
    #[track_caller]
    fn install(&self, words: &str) -> Value {
        self.run(&format!("toolchain install {words} --json")).code(0).result()
    }

    /// How often cmake compiled.
    fn builds(&self) -> usize {
        let log = fs::read_to_string(self.sandbox.path(".home/cmake.log")).unwrap_or_default();
        log.lines().filter(|line| *line == "--build").count()
    }

    /// Entries of the cache under their final names.
    fn entries(&self) -> Vec<String> {
        let Ok(listing) = fs::read_dir(self.sandbox.path("cache/llama.cpp")) else { return Vec::new() };
        let names = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.len() == 32).collect()
    }

    /// What the lock file says.
    fn lock(&self, file: &str) -> Value {
        serde_json::from_str(&self.sandbox.text(file)).unwrap()
    }
}

fn release() -> Release {
    Release::new(TAG, COMMIT)
}

fn archive_name() -> String {
    let system = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("macos", "aarch64") => "macos-arm64",
        ("macos", _) => "macos-x64",
        (_, "aarch64") => "ubuntu-arm64",
        _ => "ubuntu-x64",
    };
    format!("llama-{TAG}-bin-{system}.tar.gz")
}

/// A release's archive, whose programs do this.
fn programs(script: &str) -> Vec<u8> {
    let tool = program(&format!("#!/bin/sh\n{script}\n"));
    tar_gz([
        ("llama-b11429/llama-imatrix", tool.clone()),
        ("llama-b11429/llama-perplexity", tool.clone()),
        ("llama-b11429/llama-completion", tool.clone()),
        ("llama-b11429/llama-server", tool),
        ("llama-b11429/libllama.so.0", file("library")),
        ("llama-b11429/libllama.so", Member::Link("libllama.so.0")),
    ])
}

/// A source tree with the converter, that says what it is.
fn tree(says: &str) -> Vec<u8> {
    tree_at("ggml-org-llama.cpp-1111111", says)
}

fn tree_at(root: &str, says: &str) -> Vec<u8> {
    let names = [
        "says",
        "CMakeLists.txt",
        "ggml/CMakeLists.txt",
        "convert_hf_to_gguf.py",
        "gguf-py/gguf/x.py",
        "src/y.cpp",
    ];
    let paths = names.map(|name| format!("{root}/{name}"));
    tar_gz(paths.iter().map(|path| (path.as_str(), file(says))))
}

#[test]
fn a_releases_programs_are_taken_checked_and_kept() {
    let mut world = World::with_release();
    let token = world.github.token("me");
    world.sandbox.set("GITHUB_TOKEN", token.as_str());
    world.sandbox.write(
        "models.yaml",
        format!("version: 1\nllama_cpp: {{ tag: {TAG} }}\nmodels: [{{ source: a/b, methods: [Q8_0] }}]\n"),
    );
    let result = world.install("");
    assert_eq!((&result["tag"], &result["commit"]), (&json!(TAG), &json!(COMMIT)));
    assert_eq!(
        (&result["origin"], &result["came"], &result["save"]),
        (&json!("prebuilt"), &json!("made"), &json!(true))
    );
    let folder = Path::new(result["folder"].as_str().unwrap());
    assert!(folder.join("bin/llama-imatrix").is_file() && folder.join("bin/libllama.so").is_symlink());
    assert!(!folder.join("bin/llama-server").exists() && !folder.join(".work").exists());
    assert_eq!(fs::read_to_string(folder.join("converter/gguf-py/gguf/x.py")).unwrap(), "GitHub source");
    assert!(!folder.join("converter/src").exists());
    let lock = world.lock("jamph.lock");
    assert_eq!(lock["commits"], json!({ TAG: COMMIT }));
    assert_eq!(lock["archives"].as_object().unwrap().len(), 2);
    assert_eq!(world.builds(), 0);
    assert!(world.github.leaks().is_empty());
    assert!(world.github.seen().iter().any(|seen| seen.authorization == Some(format!("Bearer {token}"))));

    world.github.forget();
    let again = world.install("");
    assert_eq!((&again["came"], &again["folder"]), (&json!("cached"), &result["folder"]));
    assert_eq!(world.github.seen().len(), 0, "all of it is on record");
    world.run("toolchain install").code(0).stdout("llama.cpp b11429 (111111111): in the cache");
}

#[test]
fn programs_that_do_not_run_here_are_built() {
    let world = World::with_release();
    world.github.release(REPO, release().asset(&archive_name(), programs("echo no GLIBC_2.99 >&2; exit 1")));
    let ran = world.run(&format!("toolchain install {TAG}")).code(0);
    let ran = ran.stderr("LCP-005 warning").stderr("no GLIBC_2.99").stderr("LCP-009");
    ran.stdout("llama.cpp b11429 (111111111): built");
    assert_eq!((world.builds(), world.entries().len()), (1, 1));
    // The build serves from now on; the programs that do not run are not fetched again.
    world.github.forget();
    let again = world.install(TAG);
    assert_eq!((&again["origin"], &again["came"]), (&json!("built"), &json!("cached")));
    assert_eq!(world.github.seen().len(), 0);
    let tool = again["tools"]["llama-imatrix"].as_str().unwrap();
    assert!(fs::read_to_string(tool).unwrap().contains("GitHub source"));
}

#[test]
fn releases_without_programs_are_built() {
    for release in [
        release(),
        release().asset("llama-b11429-bin-win-cpu-x64.zip", "zip"),
        release().asset(&archive_name(), programs("exit 0")).stating(None),
    ] {
        let world = World::with_release();
        world.github.release(REPO, release);
        world.run(&format!("toolchain install {TAG}")).code(0).stderr("LCP-005").stdout("built");
        assert_eq!(world.builds(), 1);
    }
    // Some want no others than their own.
    let world = World::with_release();
    let result = world.install(&format!("{TAG} --native"));
    assert_eq!(result["origin"], "built");
    assert_eq!(world.github.count("/releases/"), 0);
}

#[test]
fn what_is_not_what_github_states_is_refused() {
    let world = World::with_release();
    let wrong = format!("sha256:{}", "0".repeat(64));
    world.github.release(REPO, release().asset(&archive_name(), programs("exit 0")).stating(Some(&wrong)));
    let ran = world.run(&format!("toolchain install {TAG}")).code(5);
    ran.stderr("GitHub states 0000000000").stderr("hint: ");
    assert_eq!((world.entries().len(), world.builds()), (0, 0));

    // On the way: cut connections are tried again, wrong bytes are not taken.
    let world = World::with_release();
    world.github.fault("/download/", 1, Fault::Cut(100));
    world.github.fault("/releases/tags", 1, Fault::Status(503, Vec::new()));
    world.run(&format!("toolchain install {TAG}")).code(0).stdout("downloaded");
    for fault in [Fault::Flip, Fault::Short(100)] {
        let world = World::with_release();
        world.github.fault("legacy.tar.gz", 1, fault);
        let ran = world.run(&format!("toolchain install {TAG}")).code(5);
        ran.stderr("cannot read the archive");
        assert_eq!(world.entries().len(), 0);
        // Nothing is recorded of what came damaged: the next time, the right one is taken.
        world.run(&format!("toolchain install {TAG}")).code(0).stdout("downloaded");
    }
}

#[test]
fn what_an_address_gives_must_be_a_source() {
    let world = World::new();
    let url = world.github.file("x.tar.gz", "<html>Sign in to download</html>");
    let words = format!("--source {url}?sig=SECRET --subfolder vendor/llama.cpp");
    let install = || world.run(&format!("toolchain install {words}")).without("SECRET");
    install().code(5).stderr("cannot read the archive");
    // An address that has expired, one that is wrong, and a host that has had enough of it: none is GitHub's business.
    let refused = |status: u16| {
        world.github.fault("/files/", 1, Fault::Status(status, vec![("retry-after", "3600")]));
        install().code(5).stderr("`llama_cpp.source` takes a folder or an archive").without("rate limit")
    };
    refused(403).stderr("answers with status 403");
    refused(404).stderr("there is no archive at `");
    refused(429).stderr("answers with status 429");
    assert!(world.entries().is_empty());
    // Nothing of all that is recorded. A connection that breaks is made again.
    let root = "llama_cpp_python-1/vendor/llama.cpp";
    world.github.file("x.tar.gz", tree_at(root, "a source"));
    world.github.fault("/files/", 1, Fault::Cut(50));
    install().code(0).stderr("LCP-004").stdout("built");
    let lock = world.lock("cache/llama.cpp/jamph.lock");
    assert_eq!(lock["archives"], json!({ (url.as_str()): sha256(&tree_at(root, "a source")) }));
    assert!(!world.sandbox.text("cache/llama.cpp/jamph.lock").contains("SECRET"));
    // An archive of something else has nothing to build.
    let url = world.github.file("y.tar.gz", tree_at("other-1/src", "no source"));
    world.run(&format!("toolchain install --source {url}")).code(5).stderr("is no source tree of llama.cpp");
    assert!(world.sandbox.tree("cache").iter().all(|path| !path.contains(".download-")));
}

#[test]
fn an_archive_that_is_cut_or_hostile_is_refused() {
    let whole = programs("exit 0");
    let tool = || ("llama-b11429/llama-imatrix", program("#!/bin/sh\n"));
    let hostile: [(Vec<u8>, &str); 8] = [
        (whole[..whole.len() / 2].to_vec(), "cannot read the archive"),
        (b"not gzip at all".to_vec(), "cannot read the archive"),
        (tar_gz([tool(), ("/etc/jamph-was-here", file("x"))]), "leaves the folder"),
        (tar_gz([tool(), ("r/../../../../jamph-was-here", file("x"))]), "leaves the folder"),
        (tar_gz([tool(), ("r/out", Member::Link("/etc"))]), "links out of the folder"),
        (tar_gz([tool(), ("r/hard", Member::Hard("/etc/passwd"))]), "is neither a file"),
        (tar_gz([tool(), ("r/null", Member::Device)]), "is neither a file"),
        (tar_gz([tool(), ("r/bomb", Member::Zeros(80 << 20))]), "holds more than"),
    ];
    for (archive, why) in hostile {
        let world = World::with_release();
        // The digest is right: GitHub has the bad archive itself.
        world.github.release(REPO, release().asset(&archive_name(), archive));
        world.run(&format!("toolchain install {TAG}")).code(5).stderr(why);
        assert_eq!((world.entries().len(), world.builds()), (0, 0), "{why}");
        assert!(!world.sandbox.tree(".").iter().any(|path| path.contains("jamph-was-here")));
        assert!(!Path::new("/etc/jamph-was-here").exists());
    }
}

#[test]
fn what_was_recorded_is_what_is_taken() {
    let world = World::with_release();
    world.sandbox.write("models.yaml", "version: 1\nmodels: [{ source: a/b, methods: [Q8_0] }]\n");
    let native = format!("toolchain install {TAG} --native");
    world.run(&native).code(0).stderr("LCP-010 `b11429` is recorded in `jamph.lock`").stdout("built");
    // Another machine has the lock file and no cache; the source is another one now.
    fs::remove_dir_all(world.sandbox.path("cache")).unwrap();
    world.github.source(REPO, COMMIT, tree("another source"));
    let ran = world.run(&native).code(5);
    ran.stderr("`jamph.lock` has `").stderr("hint: somebody replaced it");
    assert_eq!(world.entries().len(), 0);
    // A tag that was moved.
    world.github.source(REPO, OTHER, tree("another commit"));
    world.github.release(REPO, Release::new(TAG, OTHER).asset(&archive_name(), programs("exit 0")));
    let ran = world.run(&format!("toolchain install {TAG}")).code(5);
    ran.stderr(&format!("`{TAG}` is the commit {OTHER}, and it has to be {COMMIT}"));
    // What the user says that it has to be counts as well.
    let ran = world.run(&format!("toolchain install {TAG} --commit {OTHER}")).code(5);
    ran.stderr("`jamph.lock` has `");
}

#[test]
fn the_latest_release_is_found_and_is_no_step_back() {
    let world = World::with_release();
    world.github.release(REPO, Release::new("v0.6.0", COMMIT).asset("nightly-tag.txt", format!("{TAG}\n")));
    world.github.latest(REPO, "v0.6.0");
    let result = world.install("latest");
    assert_eq!((&result["tag"], &result["origin"]), (&json!(TAG), &json!("prebuilt")));
    let lock = world.lock("cache/llama.cpp/jamph.lock");
    assert_eq!((&lock["releases"], &lock["commits"]), (&json!({ "v0.6.0": TAG }), &json!({ TAG: COMMIT })));
    // By its other name it is the same one, and needs no connection.
    world.github.forget();
    assert_eq!(world.install("v0.6.0")["came"], "cached");
    assert_eq!(world.github.seen().len(), 0);

    // Where nothing else is, the one that is built in is in use.
    let bare = World::with_release();
    bare.github.release(REPO, Release::new("v0.1.0", COMMIT).asset("nightly-tag.txt", "b11000\n"));
    bare.github.latest(REPO, "v0.1.0");
    bare.run("toolchain install latest").code(5).stderr("is `b11000`, and `b11312` is in use");

    world.github.release(REPO, Release::new("v0.6.1", OTHER).asset("nightly-tag.txt", "b11000\n"));
    world.github.latest(REPO, "v0.6.1");
    let ran = world.run("toolchain install latest").code(5);
    ran.stderr("the latest release is `b11000`, and `b11429` is in use").stderr("name `b11000` itself");
    // What names nothing, or nonsense, is no release.
    for text in ["", "main", "b1/../../x"] {
        world.github.release(REPO, Release::new("v0.6.2", OTHER).asset("nightly-tag.txt", text));
        world.github.latest(REPO, "v0.6.2");
        world.run("toolchain install latest").code(5).stderr("names no tag with its programs");
    }
}

#[test]
fn releases_with_security_holes_are_refused() {
    let world = World::with_release();
    world.run("toolchain install b8145").code(5).stderr("CVE-2026-33298").stderr("take b8146 or later");
    world.github.release(REPO, Release::new("v0.0.9", COMMIT).asset("nightly-tag.txt", "b8000"));
    world.run("toolchain install v0.0.9").code(5).stderr("CVE-2026-33298");
    assert_eq!(world.github.count("/tarball/") + world.builds(), 0);
    world.run("toolchain install b99999").code(5).stderr("there is no commit of `b99999`");
    world.run("toolchain install banana").code(2).stderr("no release of llama.cpp");
}

#[test]
fn rate_limits_say_what_helps() {
    let mut world = World::with_release();
    let spent = || Fault::Status(403, vec![("x-ratelimit-remaining", "0")]);
    world.github.fault("/commits/", 1, spent());
    world
        .run(&format!("toolchain install {TAG}"))
        .code(5)
        .stderr("rate limit")
        .stderr("hint: set GITHUB_TOKEN");
    world.github.token("me");
    world.sandbox.set("GITHUB_TOKEN", "ghs_ofsomebodyelse0123456789");
    let ran = world.run(&format!("toolchain install {TAG}")).code(4);
    ran.stderr("GitHub refuses the token").without("ofsomebodyelse");
    world.sandbox.set("HF_HUB_OFFLINE", "1").unset("GITHUB_TOKEN");
    world.run(&format!("toolchain install {TAG}")).code(5).stderr("the network may not be used");
}

#[test]
fn two_at_once_build_one() {
    let world = World::with_release();
    world.sandbox.write(".home/slow", "1");
    let words = format!("toolchain install {TAG} --native --json");
    let children: Vec<_> = (0..2).map(|_| world.sandbox.start(&words)).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let mut came = Vec::new();
    for output in outputs {
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().next_back().unwrap_or_else(|| panic!("{output:?}", output = output.stderr));
        came.push(serde_json::from_str::<Value>(last).unwrap()["came"].as_str().unwrap_or(last).to_owned());
    }
    came.sort();
    assert_eq!((came, world.builds()), (vec!["cached".to_owned(), "made".to_owned()], 1));
}

#[test]
fn damage_is_healed() {
    let world = World::with_release();
    let install = || world.install(&format!("{TAG} --native"));
    let tool = install()["tools"]["llama-imatrix"].as_str().unwrap().to_owned();
    let whole = fs::read(&tool).unwrap();
    fs::write(&tool, "#!/bin/sh\necho something else\n").unwrap();
    let healed = install();
    assert_eq!((&healed["came"], world.builds()), (&json!("healed"), 2));
    assert_eq!(fs::read(&tool).unwrap(), whole);
    assert_eq!(install()["came"], "cached");
    // As a way of copying leaves it that knows of no programs.
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(install()["came"], "healed");
}

#[test]
fn a_build_for_one_processor_is_not_anothers() {
    let world = World::with_release();
    let install = |words: &str| world.install(&format!("{TAG} --commit {COMMIT} {words}"))["key"].clone();
    world.sandbox.write(".home/processor", "#define __AVX512F__ 1\n");
    let (portable, native) = (install(""), install("--native"));
    world.sandbox.write(".home/processor", "#define __AVX2__ 1\n");
    assert_eq!(install(""), portable);
    let other = install("--native");
    assert_ne!(other, native);
    world.sandbox.write(".home/processor", "#define __AVX512F__ 1\n");
    assert_eq!((install("--native"), world.builds()), (native, 2));
}

#[test]
fn a_build_that_is_stopped_leaves_nothing() {
    let world = World::with_release();
    world.sandbox.write(".home/slow", "600");
    let child = world.sandbox.start(&format!("toolchain install {TAG} --native"));
    let start = Instant::now();
    while world.builds() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "it never built");
        std::thread::sleep(Duration::from_millis(20));
    }
    world.sandbox.shell(&format!("kill -INT {}", child.id())).status().unwrap();
    Ran::from(child.wait_with_output().unwrap()).code(130);
    let left = world.sandbox.tree("cache");
    let known = |path: &String| path.ends_with(".lock");
    assert!(!left.is_empty() && left.iter().all(known), "{left:?}");
    fs::remove_file(world.sandbox.path(".home/slow")).unwrap();
    assert_eq!(world.install(&format!("{TAG} --native"))["came"], "made");
}

#[test]
fn a_build_that_fails_shows_why_and_leaves_nothing() {
    let world = World::with_release();
    world.sandbox.write(".home/broken", "");
    let ran = world.run(&format!("toolchain install {TAG} --native")).code(5);
    let ran = ran.stderr("cannot build llama.cpp").stderr("a.cpp:50: error: no such type");
    ran.without("a.cpp:9: error");
    assert_eq!(world.entries().len(), 0);
    fs::remove_file(world.sandbox.path(".home/broken")).unwrap();
    assert_eq!(world.install(&format!("{TAG} --native"))["came"], "made");
    // Without a compiler or cmake it is said what to install.
    fs::remove_file(world.sandbox.path("path/cmake")).unwrap();
    let mut bare = world;
    bare.sandbox.set("PATH", bare.sandbox.path("path").display().to_string());
    let ran = bare.run(&format!("toolchain install --commit {COMMIT}")).code(5);
    ran.stderr("`cmake` is needed to build llama.cpp").stderr("hint: install cmake");
}

#[test]
fn a_build_sees_no_secrets_and_no_network() {
    let mut world = World::with_release();
    let token = world.github.token("me");
    for (name, value) in [
        ("HF_TOKEN", "hf_0123456789abcdef0123"),
        ("GITHUB_TOKEN", &token),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("CXXFLAGS", "-O1"),
    ] {
        world.sandbox.set(name, value);
    }
    world.install(&format!("{TAG} --native"));
    let seen = world.sandbox.text(".home/cmake.env");
    for secret in ["hf_0123", &token, "wJalr", "HF_", "GITHUB_", "JAMPH_"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
    for expected in ["CXXFLAGS=-O1", "https_proxy=http://127.0.0.1:9", "GIT_DIR="] {
        assert!(seen.contains(expected), "{expected} in {seen}");
    }
}

#[test]
fn other_sources() {
    let world = World::new();
    let archive = tree_at("llama_cpp_python-1/vendor/llama.cpp", "an archive");
    world.sandbox.write("dl/x.tar.gz", &archive);
    let words = "--source dl/x.tar.gz --subfolder vendor/llama.cpp";
    let built = world.install(words);
    assert_eq!((&built["tag"], &built["origin"]), (&Value::Null, &json!("built")));
    let says =
        |result: &Value| fs::read_to_string(result["tools"]["llama-imatrix"].as_str().unwrap()).unwrap();
    assert!(says(&built).contains("an archive"));
    assert_eq!(world.install(words)["came"], "cached");
    // The same bytes under another name are the same build; other bytes are not.
    world.sandbox.write("dl/y.tar.gz", &archive);
    assert_eq!(world.install("--source dl/y.tar.gz --subfolder vendor/llama.cpp")["key"], built["key"]);
    world.sandbox.write("dl/x.tar.gz", tree_at("llama_cpp_python-1/vendor/llama.cpp", "another archive"));
    assert_ne!(world.install(words)["key"], built["key"]);
    world
        .run("toolchain install --source dl/y.tar.gz --subfolder nowhere")
        .code(5)
        .stderr("has no folder `nowhere`");
    world
        .run("toolchain install --source dl/z.tar.gz")
        .code(5)
        .stderr("cannot read the source `dl/z.tar.gz`");

    for name in ["says", "CMakeLists.txt", "ggml/CMakeLists.txt", "convert_hf_to_gguf.py"] {
        world.sandbox.write(&format!("tree/{name}"), "a folder");
    }
    let folder = world.install("--source tree");
    assert!(says(&folder).contains("a folder"));
    world.sandbox.write("tree/says", "a changed folder");
    assert!(says(&world.install("--source tree")).contains("a changed folder"));
    assert_eq!(world.sandbox.tree("tree").len(), 4, "nothing is built in it");

    let url = world.github.file("x.tar.gz", archive);
    let from_url = format!("--source {url} --subfolder vendor/llama.cpp");
    assert_eq!(world.install(&from_url)["key"], built["key"]);
    fs::remove_dir_all(world.sandbox.path("cache")).unwrap();
    assert_eq!(world.install(&from_url)["came"], "made");
    // The file is another one, and the first is on record.
    world.github.file("x.tar.gz", tree_at("p/vendor/llama.cpp", "another"));
    let entry = world.entries().remove(0);
    fs::remove_dir_all(world.sandbox.path("cache/llama.cpp").join(entry)).unwrap();
    world
        .run(&format!("toolchain install {from_url}"))
        .code(5)
        .stderr("for it")
        .stderr("hint: somebody replaced it");
    assert!(world.sandbox.tree("cache").iter().all(|path| !path.contains(".download-")));
}

#[test]
fn installed_programs_need_nothing() {
    let mut world = World::new();
    for tool in ["llama-imatrix", "llama-perplexity"] {
        let path = format!("opt/bin/{tool}");
        world.sandbox.write(&path, "#!/bin/sh\necho 'version: 11500 (abcdef012)' >&2\n");
        fs::set_permissions(world.sandbox.path(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    world.sandbox.write(
        "models.yaml",
        "version: 1\nllama_cpp: { installed: opt }\nmodels: [{ source: a/b, methods: [Q8_0] }]\n",
    );
    let result = world.install("");
    assert_eq!((&result["tag"], &result["commit"]), (&json!("b11500"), &json!("abcdef012")));
    assert_eq!(
        (&result["origin"], &result["came"], &result["save"]),
        (&json!("installed"), &Value::Null, &json!(false))
    );
    assert_eq!(world.run("toolchain key --json").code(0).result()["key"], Value::Null);
    world.sandbox.set("JAMPH_LLAMA_CPP", world.sandbox.path("nowhere").display().to_string());
    world.run("toolchain install").code(5).stderr("has no `llama-imatrix`");
    assert!(world.github.seen().is_empty() && world.entries().is_empty());
}

#[test]
fn the_cache_is_listed_named_and_pruned() {
    let world = World::with_release();
    world.run("toolchain list").code(0).stdout("no builds of llama.cpp in `");
    world.run("toolchain prune").code(2);
    let before = world.run(&format!("toolchain key {TAG} --json")).code(0).result();
    assert_eq!((&before["hit"], world.entries().len()), (&json!(false), 0));
    let built = world.install(&format!("{TAG} --native"));
    let prebuilt = world.install(TAG);
    let after = world.run(&format!("toolchain key {TAG} --json")).code(0).result();
    assert_eq!((&after["hit"], &after["key"]), (&json!(true), &before["key"]));
    assert_eq!(after["entries"][0], prebuilt["key"]);
    let native = world.run(&format!("toolchain key {TAG} --native")).code(0).stdout;
    assert!(native.starts_with("jamph-llama.cpp-") && native.contains(TAG), "{native}");
    assert_ne!(json!(native.trim()), before["key"]);

    let list = world.run("toolchain list --json").code(0).result();
    let keys: Vec<&Value> = list["builds"].as_array().unwrap().iter().map(|build| &build["key"]).collect();
    assert_eq!(keys, [&prebuilt["key"], &built["key"]]);
    let list = world.run("toolchain list").code(0);
    let list = list.stdout("b11429 (111111111)  prebuilt ").stdout("built, native ");
    list.stdout("2 builds, ");
    world.run("toolchain prune --older-than 1d").code(0).stdout("0 builds removed, 0 B; 2 kept");
    world.run("toolchain prune --keep 1").code(0).stdout("removed b11429 (111111111), built, native");
    assert_eq!(json!(world.entries()), json!([prebuilt["key"]]));
    world.run("toolchain prune --older-than soon").code(2).stderr("is no age");
    world.run("toolchain prune --keep 0 --json").code(0).stdout("\"kept\":0");
    assert!(world.entries().is_empty());
}

#[test]
fn the_doctor_knows_it() {
    let mut world = World::with_release();
    world.sandbox.write("models.yaml", format!("version: 1\nllama_cpp: {{ tag: {TAG}, native: true }}\nmodels: [{{ source: a/b, methods: [Q8_0] }}]\n"));
    let says = |world: &World, text: &str| _ = world.run("doctor").stdout(text);
    says(&world, "ok     llama.cpp: it is fetched or built when it is first needed");
    assert_eq!(world.github.seen().len(), 0, "nothing is asked");
    let folder = world.install("")["folder"].as_str().unwrap().to_owned();
    says(&world, &format!("ok     llama.cpp b11429 (111111111) in `{folder}`"));
    let path = world.sandbox.path("nowhere").display().to_string();
    world.sandbox.set("JAMPH_LLAMA_CPP", &path);
    says(&world, "has no `llama-imatrix`");
    world.sandbox.unset("JAMPH_LLAMA_CPP").set("JAMPH_CACHE", &path).set("PATH", &path);
    says(&world, "note   llama.cpp is not here, and `cmake` is not installed");
}
