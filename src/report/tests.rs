//! What the reporters write.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use indicatif::ProgressDrawTarget;

use super::*;
use crate::base::token::Token;
use crate::event::{Code, Event, Progress};

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// Seconds after noon.
fn clock() -> Timestamp {
    Timestamp::from_second(43_200 + NOW.get()).unwrap()
}

#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Out {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A story that every reporter is told.
fn tell(observer: &dyn Observer) {
    NOW.set(0);
    observer.event(Event::new(Code::RunStarted, "jamph-quantizer 0.1.0"));
    NOW.set(1);
    observer.event(Event::new(Code::SpaceChecked, "plenty").with("free", 7u64));
    observer.event(
        Event::new(Code::DownloadRetried, "401 for hf_abcdefghijklmnop\n::error::x\u{1b}[31m").about("a/b"),
    );
    for (second, done) in [(1, 0), (2, 4), (3, 12), (4, 13), (15, 14), (16, 50), (17, 100)] {
        NOW.set(second);
        observer.progress(Progress::bytes("model.safetensors", done * 1_000_000, 100_000_000));
    }
    observer.progress(Progress::bytes("config.json", 600, 600));
    for (second, done) in [(18, 0), (20, 3)] {
        NOW.set(second);
        observer.progress(Progress::things("building", "step", done, 12));
    }
    observer.event(
        Event::new(Code::JobFailed, "token s3cr3t-value refused").about("a/b").with("file", "s3cr3t-value"),
    );
}

#[test]
fn lines() {
    let out = Out::default();
    tell(&Lines::new(out.clone(), clock, Level::Info, Redactor::new(["s3cr3t-value"])));
    insta::assert_snapshot!(out.text(), @r"
    12:00:00 CLI-001 jamph-quantizer 0.1.0
    12:00:01 MDL-005 warning: a/b: 401 for ***
      | ::error::x�[31m
    12:00:03 CLI-005 model.safetensors: 12 % (12.0 MB of 100 MB, 6.00 MB/s)
    12:00:15 CLI-005 model.safetensors: 14 % (14.0 MB of 100 MB, 1.00 MB/s)
    12:00:16 CLI-005 model.safetensors: 50 % (50.0 MB of 100 MB, 3.33 MB/s)
    12:00:17 CLI-005 model.safetensors: 100 % (100 MB of 100 MB, 6.25 MB/s)
    12:00:20 CLI-005 building: 25 % (step 3 of 12)
    12:00:20 PLN-004 error: a/b: token *** refused
    ");
}

#[test]
fn quiet_lines_have_no_progress() {
    let out = Out::default();
    tell(&Lines::new(out.clone(), clock, Level::Warning, Redactor::new(["s3cr3t-value"])));
    insta::assert_snapshot!(out.text(), @r"
    12:00:01 MDL-005 warning: a/b: 401 for ***
      | ::error::x�[31m
    12:00:20 PLN-004 error: a/b: token *** refused
    ");
}

#[test]
fn json() {
    let out = Out::default();
    tell(&Json::new(out.clone(), clock, Redactor::new(["s3cr3t-value"])));
    insta::assert_snapshot!(out.text(), @r#"
    {"time":"1970-01-01T12:00:00Z","code":"CLI-001","level":"info","text":"jamph-quantizer 0.1.0"}
    {"time":"1970-01-01T12:00:01Z","code":"PLN-003","level":"detail","text":"plenty","fields":{"free":7}}
    {"time":"1970-01-01T12:00:01Z","code":"MDL-005","level":"warning","subject":"a/b","text":"401 for ***\n::error::x\u001b[31m"}
    {"time":"1970-01-01T12:00:03Z","code":"CLI-005","level":"info","subject":"model.safetensors","text":"12 %","fields":{"done":12000000,"total":100000000}}
    {"time":"1970-01-01T12:00:15Z","code":"CLI-005","level":"info","subject":"model.safetensors","text":"14 %","fields":{"done":14000000,"total":100000000}}
    {"time":"1970-01-01T12:00:16Z","code":"CLI-005","level":"info","subject":"model.safetensors","text":"50 %","fields":{"done":50000000,"total":100000000}}
    {"time":"1970-01-01T12:00:17Z","code":"CLI-005","level":"info","subject":"model.safetensors","text":"100 %","fields":{"done":100000000,"total":100000000}}
    {"time":"1970-01-01T12:00:20Z","code":"CLI-005","level":"info","subject":"building","text":"25 %","fields":{"done":3,"total":12,"unit":"step"}}
    {"time":"1970-01-01T12:00:20Z","code":"PLN-004","level":"error","subject":"a/b","text":"token *** refused","fields":{"file":"***"}}
    "#);
}

#[test]
fn terminal_colours_by_level_and_only_if_asked() {
    let line = |colour, code| {
        let hidden = ProgressDrawTarget::hidden();
        Terminal::on(hidden, colour, Level::Info, Redactor::default()).line(&Event::new(code, "x"))
    };
    assert_eq!(line(false, Code::JobFailed), "PLN-004 error: x");
    assert_eq!(line(true, Code::JobFailed), "\u{1b}[31mPLN-004 error: x\u{1b}[0m");
    assert_eq!(line(true, Code::RunStarted), "CLI-001 x");
    // Bars come and go without a terminal, too.
    tell(&Terminal::on(ProgressDrawTarget::hidden(), true, Level::Detail, Redactor::default()));
}

#[test]
fn a_closed_stream_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    tell(&Lines::new(Closed, clock, Level::Detail, Redactor::default()));
    tell(&Json::new(Closed, clock, Redactor::default()));
}

#[test]
fn actions_annotate_group_and_mask() {
    let out = Out::default();
    let redactor = Redactor::new(["s3cr3t-value"]);
    let lines = Box::new(Lines::new(out.clone(), clock, Level::Info, redactor.clone()));
    let actions = Actions::new(out.clone(), lines, false, redactor);
    let said = std::mem::take(&mut *out.0.lock().unwrap());
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("::add-mask::s3cr3t-value\n"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("::add-mask::")), "{said}");

    NOW.set(0);
    actions.event(Event::new(Code::CheckpointOpened, "4 tensors").about("tiny"));
    actions.event(Event::new(Code::CheckpointOpened, "again").about("tiny"));
    actions.event(Event::new(Code::DownloadRetried, "soon ##[error]x").about("tiny"));
    actions.event(
        Event::new(Code::CardNotice, "no licence\n::error::x").about("tiny").with("hint", "state one"),
    );
    let failed = Event::new(Code::JobFailed, "s3cr3t-value, 100 %").about("a,b");
    actions.event(failed.with("file", "m.yaml").with("line", 4u64).with("column", 5u64));
    actions.event(Event::new(Code::CheckpointOpened, "x").about("other"));
    actions.event(Event::new(Code::RunFinished, "done"));
    actions.secret(&Token::new("exchanged").unwrap());
    insta::assert_snapshot!(out.text(), @r"
    ::group::tiny
    12:00:00 MDL-001 tiny: 4 tensors
    12:00:00 MDL-001 tiny: again
    12:00:00 MDL-005 warning: tiny: soon ##�[error]x
    ::warning title=MCD-002 tiny::no licence%0A::error::x%0Ahint: state one
    ::endgroup::
    ::error file=m.yaml,line=4,col=5,title=PLN-004 a%2Cb::***, 100 %25
    ::group::other
    12:00:00 MDL-001 other: x
    ::endgroup::
    12:00:00 CLI-002 done
    ::add-mask::ZXhjaGFuZ2Vk
    ::add-mask::V4Y2hhbmdlZ
    ::add-mask::leGNoYW5nZW
    ::add-mask::exchanged
    ");
}
