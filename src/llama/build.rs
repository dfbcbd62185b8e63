//! Building llama.cpp from a source tree, with cmake.
//!
//! In: a tree, a folder to build in, a folder to install to. Out: the tools that this program calls, the libraries they
//! load, and the converter for families that `arch/` does not know. The build may not use the network; its programs
//! find their libraries beside themselves, wherever the folder is moved to.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{TOOLS, install};
use crate::base::cancel::Cancel;
use crate::base::hash;
use crate::base::process::{self, Process, ProcessError};
use crate::event::{Observer, Progress};

/// How llama.cpp is built.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// For this processor alone, in place of one library for each kind of processor.
    pub native: bool,
    /// Compilers at a time.
    pub jobs: usize,
    /// The variables that the build may see: `PATH`, `CC`, `CXX`, and the like; no tokens.
    pub environment: Vec<(OsString, OsString)>,
    /// Where programs are looked for: the folders of `PATH`.
    pub search: Vec<PathBuf>,
    /// What the programs say that they are: number of the release, commit.
    pub version: (u32, String),
}

/// Why llama.cpp could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A program that is needed is not installed.
    #[error("`{program}` is needed to build llama.cpp and is not installed")]
    Missing {
        /// The program.
        program: &'static str,
    },
    /// It is no tree of llama.cpp.
    #[error("`{folder}` is no source tree of llama.cpp: it has no `{file}`")]
    NoTree {
        /// The folder.
        folder: PathBuf,
        /// What it lacks.
        file: &'static str,
    },
    /// A step failed.
    #[error("cannot {step} llama.cpp")]
    Step {
        /// `configure`, `build`, `run`.
        step: &'static str,
        /// With the last lines of what it said.
        source: ProcessError,
    },
    /// The build went through, and one of its tools is not there.
    #[error("the build made no `{tool}`")]
    NoTool {
        /// The tool.
        tool: &'static str,
    },
    /// A file cannot be copied.
    #[error("cannot copy `{path}`")]
    Copy {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BuildError {
    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            BuildError::Missing { program: "cmake" } => Some(
                "install cmake and a C++ compiler (Debian: `apt install cmake g++`; macOS: `brew install cmake`)",
            ),
            BuildError::Missing { .. } => {
                Some("install a C++ compiler (Debian: `apt install g++`; macOS: `xcode-select --install`)")
            }
            BuildError::NoTree { .. } => Some(
                "`llama_cpp.source` names the folder that has llama.cpp's CMakeLists.txt; `subfolder` leads there",
            ),
            _ => None,
        }
    }
}

/// Options that decide a build, sorted; they are part of its key.
pub fn flags(native: bool) -> Vec<String> {
    let mut flags: Vec<String> = [
        "BUILD_SHARED_LIBS=ON",
        "CMAKE_BUILD_TYPE=Release",
        "GGML_CCACHE=OFF",
        "LLAMA_BUILD_APP=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        "LLAMA_BUILD_SERVER=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_UI=OFF",
        "LLAMA_CURL=OFF",
        "LLAMA_OPENSSL=OFF",
        "LLAMA_USE_PREBUILT_UI=OFF",
    ]
    .map(str::to_owned)
    .into();
    let processor: &[&str] = if native {
        &["GGML_NATIVE=ON"]
    } else {
        &["GGML_BACKEND_DL=ON", "GGML_CPU_ALL_VARIANTS=ON", "GGML_NATIVE=OFF"]
    };
    flags.extend(processor.iter().map(|f| (*f).to_owned()));
    flags.sort();
    flags
}

/// The compiler that a build would use, with its version, as its first line says.
///
/// # Errors
/// There is none, or it does not run.
pub fn compiler(options: &BuildOptions, cancel: &Cancel) -> Result<String, BuildError> {
    let process = the_compiler(options).ok_or(BuildError::Missing { program: "c++" })?.arg("--version");
    let text =
        process.output(cancel).map_err(|source| BuildError::Step { step: "run the compiler of", source })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What the compiler takes this processor for: a hash of what it says of the instructions that it would use for it. None
/// where it does not say.
pub fn processor(options: &BuildOptions, cancel: &Cancel) -> Option<String> {
    let native = if cfg!(target_arch = "aarch64") { "-mcpu=native" } else { "-march=native" };
    let macros = the_compiler(options)?.args([native, "-dM", "-E", "-x", "c++", "-"]).output(cancel).ok()?;
    let mut macros: Vec<&str> = macros.lines().collect();
    macros.sort_unstable();
    Some(hash::sha256(macros.join("\n").as_bytes())[..16].to_owned())
}

/// The compiler that cmake takes: what `CXX` says, a program and perhaps words after it, or else what is there.
fn the_compiler(options: &BuildOptions) -> Option<Process> {
    let stated = options.environment.iter().find(|(name, value)| name == "CXX" && !value.is_empty());
    let process = match stated.map(|(_, value)| Path::new(value)) {
        Some(path) if path.is_file() => Process::new(path),
        Some(words) => {
            let words = words.to_string_lossy();
            let mut words = words.split_whitespace();
            Process::new(words.next()?).args(words)
        }
        None => Process::new(
            ["c++", "g++", "clang++"].iter().find_map(|name| process::find(name, &options.search))?,
        ),
    };
    Some(process.environment(&options.environment))
}

/// The C library that programs here are linked with, as `ldd` says; `None` where there is none to name.
pub fn libc(options: &BuildOptions, cancel: &Cancel) -> Option<String> {
    let ldd = process::find("ldd", &options.search)?;
    let mut first = None;
    let heard = |_, line: &str| {
        first.get_or_insert_with(|| line.to_owned());
    };
    // musl's ldd says its name and fails.
    let _ = Process::new(ldd).arg("--version").environment(&options.environment).run(cancel, heard);
    first
}

/// Configures and builds a tree in `scratch`, and installs what is used of it.
///
/// # Errors
/// [`BuildError`], with the compiler's last lines.
pub fn build(
    tree: &Path,
    scratch: &Path,
    into: &Path,
    options: &BuildOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    for file in ["CMakeLists.txt", "ggml/CMakeLists.txt"] {
        if !tree.join(file).is_file() {
            return Err(BuildError::NoTree { folder: tree.to_owned(), file });
        }
    }
    let cmake = process::find("cmake", &options.search).ok_or(BuildError::Missing { program: "cmake" })?;
    let environment = without_network(&options.environment, scratch);
    let origin = if cfg!(target_os = "macos") { "@loader_path" } else { "$ORIGIN" };
    let mut configure = Process::new(&cmake)
        .arg("-S")
        .arg(tree)
        .arg("-B")
        .arg(scratch)
        .args(flags(options.native).iter().map(|flag| format!("-D{flag}")))
        .arg("-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON")
        .arg(format!("-DCMAKE_INSTALL_RPATH={origin}"))
        .arg("-DFETCHCONTENT_FULLY_DISCONNECTED=ON")
        .arg(format!("-DLLAMA_BUILD_NUMBER={}", options.version.0))
        .arg(format!("-DLLAMA_BUILD_COMMIT={}", options.version.1))
        .environment(&environment);
    if process::find("ninja", &options.search).is_some() {
        configure = configure.args(["-G", "Ninja"]);
    }
    let step = |step| move |source| BuildError::Step { step, source };
    configure.run(cancel, |_, _| {}).map_err(step("configure"))?;
    let compile = Process::new(&cmake)
        .arg("--build")
        .arg(scratch)
        .args(["-j", &options.jobs.to_string(), "--target"])
        .args(TOOLS)
        .environment(&environment);
    let heard = |_, line: &str| {
        if let Some((done, total)) = progress(line) {
            observer.progress(Progress::things("building llama.cpp", "step", done, total));
        }
    };
    compile.run(cancel, heard).map_err(step("build"))?;
    let bin = into.join("bin");
    install::programs(&scratch.join("bin"), &bin)?;
    install::converter(tree, &into.join("converter"))?;
    install::start_all(&bin, &options.environment, cancel).map_err(step("run what was built of"))
}

/// What a build may see: with proxies that nobody answers at, so that what asks the network fails at once, and without
/// a git repository around it, whose commit would be told for llama.cpp's.
fn without_network(environment: &[(OsString, OsString)], scratch: &Path) -> Vec<(OsString, OsString)> {
    const NOWHERE: &str = "http://127.0.0.1:9";
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let mut environment = environment.to_vec();
    environment.extend(proxies.map(|name| (name.into(), NOWHERE.into())));
    environment.push(("GIT_DIR".into(), scratch.join("no-git").into()));
    environment.push(("GIT_TERMINAL_PROMPT".into(), "0".into()));
    environment
}

/// How far a line of ninja (`[12/345] …`) or make (`[ 12%] …`) says the build has come.
fn progress(line: &str) -> Option<(u64, u64)> {
    let (inside, _) = line.strip_prefix('[')?.split_once(']')?;
    match inside.split_once('/') {
        Some((done, total)) => Some((done.trim().parse().ok()?, total.trim().parse().ok()?)),
        None => Some((inside.strip_suffix('%')?.trim().parse().ok()?, 100)),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A cmake that writes down how it was called, and builds shell scripts.
    const CMAKE: &str = r#"#!/bin/sh
echo "$@" >> "$LOG"
case "$1" in
-S) mkdir -p "$4" ;;
--build)
    mkdir -p "$2/bin"
    for tool in llama-imatrix llama-perplexity llama-completion llama-bench; do
        printf '#!/bin/sh\nexit %s\n' "${EXIT:-0}" > "$2/bin/$tool"; chmod 755 "$2/bin/$tool"
    done
    echo x > "$2/bin/libllama.so.0"; ln -s libllama.so.0 "$2/bin/libllama.so"
    echo "[1/2] CC a.o"; echo "[ 50%] CC b.o" >&2
    ;;
esac
exit "${CMAKE_EXIT:-0}"
"#;

    struct Bench {
        root: tempfile::TempDir,
        options: BuildOptions,
    }

    impl Bench {
        fn new(variables: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for file in [
                "tree/CMakeLists.txt",
                "tree/ggml/CMakeLists.txt",
                "tree/convert_hf_to_gguf.py",
                "tree/gguf-py/gguf/a.py",
            ] {
                let path = root.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file).unwrap();
            }
            let bin = root.path().join("path");
            fs::create_dir(&bin).unwrap();
            fs::write(bin.join("cmake"), CMAKE).unwrap();
            fs::set_permissions(bin.join("cmake"), fs::Permissions::from_mode(0o755)).unwrap();
            let mut environment: Vec<(OsString, OsString)> = vec![("PATH".into(), "/usr/bin:/bin".into())];
            environment.push(("LOG".into(), root.path().join("log").into()));
            environment.extend(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
            let version = (11312, "0c1e57098".to_owned());
            let options = BuildOptions { native: false, jobs: 3, environment, search: vec![bin], version };
            Bench { root, options }
        }

        fn build(&self) -> Result<(), BuildError> {
            let path = |name: &str| self.root.path().join(name);
            build(&path("tree"), &path("scratch"), &path("into"), &self.options, &(), &Cancel::new())
        }
    }

    #[test]
    fn what_is_used_is_installed() {
        let bench = Bench::new(&[]);
        bench.build().unwrap();
        let into = bench.root.path().join("into");
        let mut names: Vec<_> = fs::read_dir(into.join("bin"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["libllama.so", "libllama.so.0", "llama-completion", "llama-imatrix", "llama-perplexity"]
        );
        assert_eq!(fs::read_link(into.join("bin/libllama.so")).unwrap(), Path::new("libllama.so.0"));
        assert!(into.join("converter/gguf-py/gguf/a.py").is_file());
        let log = fs::read_to_string(bench.root.path().join("log")).unwrap();
        let calls: Vec<_> = log.lines().collect();
        for part in [
            "-DGGML_NATIVE=OFF",
            "-DGGML_CPU_ALL_VARIANTS=ON",
            "-DLLAMA_USE_PREBUILT_UI=OFF",
            "$ORIGIN",
            "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
            "-DLLAMA_BUILD_NUMBER=11312",
        ] {
            assert!(calls[0].contains(part) || cfg!(target_os = "macos"), "{part}: {log}");
        }
        assert!(calls[1].ends_with("-j 3 --target llama-imatrix llama-perplexity llama-completion"), "{log}");
    }

    #[test]
    fn a_compiler_is_found_as_cmake_finds_it() {
        let write = |bench: &Bench, name: &str| {
            let path = bench.options.search[0].join(name);
            let script = "#!/bin/sh\ncase \"$*\" in *-dM*) cat \"$0.macros\" ;; *) echo \"$0 $*\" ;; esac\n";
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let mut bench = Bench::new(&[]);
        let cancel = Cancel::new();
        let missing = compiler(&bench.options, &cancel);
        assert!(matches!(missing, Err(BuildError::Missing { program: "c++" })));
        assert_eq!(processor(&bench.options, &cancel), None);
        let plain = write(&bench, "g++");
        assert_eq!(compiler(&bench.options, &cancel).unwrap(), format!("{} --version", plain.display()));
        let wrapped = write(&bench, "wrap");
        let says = |cxx: String, bench: &mut Bench| {
            bench.options.environment.retain(|(name, _)| name != "CXX");
            bench.options.environment.push(("CXX".into(), cxx.into()));
            compiler(&bench.options, &cancel).unwrap()
        };
        let wrapped = wrapped.display();
        assert_eq!(says(format!("{wrapped} g++"), &mut bench), format!("{wrapped} g++ --version"));
        assert_eq!(says(wrapped.to_string(), &mut bench), format!("{wrapped} --version"));
        assert_eq!(says(String::new(), &mut bench), format!("{} --version", plain.display()));

        // Of a processor, what the compiler says counts, in whatever order.
        let of = |macros: &str| {
            fs::write(bench.options.search[0].join("g++.macros"), macros).unwrap();
            processor(&bench.options, &cancel).unwrap()
        };
        let one = of("#define __AVX2__ 1\n#define __FMA__ 1\n");
        assert_eq!(of("#define __FMA__ 1\n#define __AVX2__ 1\n"), one);
        assert_ne!(of("#define __AVX2__ 1\n"), one);
    }

    #[test]
    fn failures_are_named() {
        let failed = Bench::new(&[("CMAKE_EXIT", "1")]).build().unwrap_err();
        assert!(matches!(failed, BuildError::Step { step: "configure", .. }), "{failed:?}");
        let failed = Bench::new(&[("EXIT", "127")]).build().unwrap_err();
        assert!(matches!(failed, BuildError::Step { step: "run what was built of", .. }), "{failed:?}");
        let mut bench = Bench::new(&[]);
        bench.options.search.clear();
        let failed = bench.build().unwrap_err();
        assert!(matches!(failed, BuildError::Missing { program: "cmake" }) && failed.hint().is_some());
        fs::remove_file(bench.root.path().join("tree/ggml/CMakeLists.txt")).unwrap();
        assert!(matches!(bench.build(), Err(BuildError::NoTree { file: "ggml/CMakeLists.txt", .. })));
    }

    #[test]
    fn lines_of_progress() {
        let check = |line: &str, expected| assert_eq!(progress(line), expected, "{line}");
        check("[12/345] Building CXX object", Some((12, 345)));
        check("[ 12%] Building CXX object", Some((12, 100)));
        check("[100%] Built target ggml", Some((100, 100)));
        check("-- [ok]", None);
        check("[warning] x", None);
    }
}
