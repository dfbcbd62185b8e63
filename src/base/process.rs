//! Child processes: an environment of their own, every line heard, and no survivor when the run stops.
//!
//! In: a program, its arguments, the variables that it may see. Out: its lines as they come, and how it ended. A child
//! sees nothing of this process's environment but what the caller lists, so that no token reaches it; nothing is
//! quoted, because no shell is between.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::cancel::Cancel;

/// Lines that are kept for an error's text.
const TAIL: usize = 30;

/// Longest line that is kept whole; a child may print anything.
const LONGEST_LINE: u64 = 16 << 10;

/// How often a quiet child is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the last lines of a child that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A program to be run.
#[derive(Clone, Debug)]
pub struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    /// What ends lines besides line feed and carriage return.
    also: Option<u8>,
}

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Why a child did not do its work.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It is not there, or may not be run.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be waited for.
    #[error("lost `{program}`")]
    Lost {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("`{program}` failed ({status}); its last lines:\n{}", tail.join("\n"))]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        tail: Vec<String>,
    },
    /// The user stopped the run; the child was ended.
    #[error("`{program}` was stopped")]
    Cancelled {
        /// The program's name.
        program: String,
    },
}

impl Process {
    /// A program, by its path or by a name that the system looks up.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Process {
            program: program.into(),
            arguments: Vec::new(),
            folder: None,
            environment: Vec::new(),
            also: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// The folder that it works in.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Ends lines of its standard output at this byte, too: programs print figures of long work one after the other in one line.
    #[must_use]
    pub fn also_ends_at(mut self, byte: u8) -> Self {
        self.also = Some(byte);
        self
    }

    /// Lets it see variables. It sees no others.
    #[must_use]
    pub fn environment(mut self, variables: &[(OsString, OsString)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Lets it see one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The program's name, for messages.
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// Runs it to its end and hands on every line. Carriage returns end lines too, as progress bars use them.
    ///
    /// # Errors
    /// [`ProcessError`]. Where `cancel` was raised, the child and its own children have been ended.
    pub fn run(&self, cancel: &Cancel, mut heard: impl FnMut(Pipe, &str)) -> Result<(), ProcessError> {
        let start = |source| ProcessError::Start { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        own_group(&mut command);
        let mut child = Running(command.spawn().map_err(start)?);
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.0.stdout.take() {
            listen(out, Pipe::Out, self.also, sender.clone());
        }
        if let Some(err) = child.0.stderr.take() {
            listen(err, Pipe::Err, None, sender);
        }
        let mut tail = VecDeque::with_capacity(TAIL);
        let lost = |source| ProcessError::Lost { program: self.program.clone(), source };
        let mut ended = None;
        let status = loop {
            if cancel.is_cancelled() {
                child.end();
                return Err(ProcessError::Cancelled { program: self.name() });
            }
            // What it said last may still be on its way when it has ended.
            match lines.recv_timeout(if ended.is_some() { LAST_WORDS } else { LOOK_AGAIN }) {
                Ok((pipe, line)) => {
                    heard(pipe, &line);
                    if tail.len() == TAIL {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                Err(RecvTimeoutError::Timeout) => match ended {
                    // A grandchild may hold the pipes open after the child's end.
                    Some(status) => break status,
                    None => ended = child.0.try_wait().map_err(lost)?,
                },
                Err(RecvTimeoutError::Disconnected) => match child.0.try_wait().map_err(lost)? {
                    Some(status) => break status,
                    None => thread::sleep(LOOK_AGAIN),
                },
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(ProcessError::Failed { program: self.name(), status, tail: tail.into() })
    }

    /// Runs it and gives its standard output, as text.
    ///
    /// # Errors
    /// As [`Process::run`].
    pub fn output(&self, cancel: &Cancel) -> Result<String, ProcessError> {
        let mut text = String::new();
        self.run(cancel, |pipe, line| {
            if pipe == Pipe::Out {
                text.push_str(line);
                text.push('\n');
            }
        })?;
        Ok(text)
    }
}

/// The first of `folders` that has a program of this name.
pub fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let file = if cfg!(windows) { format!("{name}.exe") } else { name.to_owned() };
    folders.iter().map(|folder| folder.join(&file)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// A child that is ended when it is dropped before its time, a panic in a listener included.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        end_group(&self.0);
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

/// A group of its own, so that compilers started by a build end with it.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

#[cfg(unix)]
fn end_group(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::TERM);
        thread::sleep(LOOK_AGAIN);
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end_group(_: &Child) {}

/// Reads lines until the pipe closes or nobody hears them any more.
fn listen(
    pipe: impl Read + Send + 'static,
    which: Pipe,
    also: Option<u8>,
    lines: mpsc::Sender<(Pipe, String)>,
) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        loop {
            let mut bytes = Vec::new();
            match read_line(&mut reader, also, &mut bytes) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end();
            if !line.is_empty() && lines.send((which, line.to_owned())).is_err() {
                return;
            }
        }
    });
}

/// Reads up to the next line feed or carriage return; false at the end.
fn read_line(reader: &mut impl BufRead, also: Option<u8>, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r') || also == Some(*b));
        let part = end.unwrap_or(bytes.len());
        if (line.len() as u64) < LONGEST_LINE {
            line.extend_from_slice(&bytes[..part]);
        }
        reader.consume(part + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Process {
        Process::new("/bin/sh").args(["-c", script]).env("PATH", "/usr/bin:/bin")
    }

    fn lines(process: &Process) -> (Vec<(Pipe, String)>, Result<(), ProcessError>) {
        let mut lines = Vec::new();
        let done = process.run(&Cancel::new(), |pipe, line| lines.push((pipe, line.to_owned())));
        (lines, done)
    }

    #[test]
    fn every_line_is_heard() {
        let (lines, done) = lines(&shell("printf 'one\\n\\ntwo\\r3 %%\\n'; echo oh >&2"));
        done.unwrap();
        let out: Vec<_> = lines.iter().filter(|(p, _)| *p == Pipe::Out).map(|(_, l)| l.as_str()).collect();
        assert_eq!(out, ["one", "two", "3 %"]);
        assert!(lines.contains(&(Pipe::Err, "oh".to_owned())));
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let (_, done) = lines(&shell("for i in $(seq 100); do echo line $i; done; exit 3"));
        let Err(ProcessError::Failed { program, status, tail }) = done else { panic!("{done:?}") };
        assert_eq!((&*program, status.code()), ("sh", Some(3)));
        assert_eq!((tail.len(), &*tail[TAIL - 1]), (TAIL, "line 100"));
        let (_, done) = lines(&Process::new("/no/such/program"));
        assert!(done.unwrap_err().to_string().contains("cannot start `/no/such/program`"));
    }

    #[test]
    fn a_child_sees_what_it_is_given_and_nothing_else() {
        let process = shell("env").env("GIVEN", "a b");
        let seen = process.output(&Cancel::new()).unwrap();
        let names: Vec<_> = seen.lines().filter_map(|l| l.split('=').next()).collect();
        assert!(seen.contains("GIVEN=a b\n"), "{seen}");
        // The shell itself sets the last three.
        let known = ["PATH", "GIVEN", "PWD", "OLDPWD", "SHLVL", "_"];
        assert!(names.iter().all(|n| known.contains(n)), "{seen}");
    }

    #[test]
    fn children_of_a_child_end_with_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let alive = folder.path().join("alive");
        let script = "(while :; do date > \"$0\"; sleep 0.05; done) & echo started; wait";
        let process = shell(script).arg(&alive);
        let cancel = Cancel::new();
        let done = process.run(&cancel, |_, _| cancel.cancel());
        assert!(matches!(done, Err(ProcessError::Cancelled { .. })), "{done:?}");
        std::fs::remove_file(&alive).ok();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(400) {
            assert!(!alive.exists(), "the grandchild still writes");
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn programs_are_found_in_order() {
        let folders: Vec<PathBuf> = ["/no/such/folder".into(), "/usr/bin".into(), "/bin".into()].into();
        assert!(find("sh", &folders).is_some_and(|p| p.ends_with("bin/sh")));
        assert_eq!(find("no-such-program", &folders), None);
    }
}
