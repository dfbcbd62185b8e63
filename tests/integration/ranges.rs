//! Weights read from a Hub while they are downloaded, also from one that goes wrong.

use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::event::Code;
use jamph_quantizer::hub::{Ended, HubError, HubOptions, Plan, Ranges, RemoteFile, RepoId, read_ahead};

use crate::support::client::{Heard, impatient, random_bytes};
use crate::support::hub::{Fault, File, Hub, On, Repo};

/// Bytes of each file.
const SIZE: usize = 300_000;

/// Bytes of a span; there are three reads in it.
const SPAN: u64 = 21_000;

/// Bytes of a read.
const READ: u64 = 7_000;

/// The first byte that is read; before it is the header.
const START: u64 = 500;

fn content(seed: u32) -> Vec<u8> {
    random_bytes(seed).take(SIZE).collect()
}

/// A Hub with two files, and what is read of them.
struct Case {
    hub: Hub,
    commit: String,
    contents: [Vec<u8>; 2],
    files: Vec<RemoteFile>,
    reads: Vec<(usize, Range<u64>)>,
    window: u64,
    options: HubOptions,
    heard: Heard,
    cancel: Cancel,
}

impl Case {
    /// Files that are read in order, but for their headers.
    fn new() -> Self {
        let contents = [content(1), content(2)];
        let names = ["model-1.safetensors", "model-2.safetensors"];
        let repo = Repo::new([
            (names[0], File::large(contents[0].clone())),
            (names[1], File::large(contents[1].clone())),
        ]);
        let commit = repo.commit();
        let hub = Hub::start();
        hub.add("o/m", repo);
        let files = names.iter().zip(&contents).map(|(name, bytes)| RemoteFile {
            path: (*name).to_owned(),
            size: SIZE as u64,
            sha256: Some(jamph_quantizer::base::hash::sha256(bytes)),
            blob: String::new(),
        });
        let mut reads = Vec::new();
        for file in 0..2 {
            let starts = (START..SIZE as u64).step_by(READ as usize);
            reads.extend(starts.map(|start| (file, start..(start + READ).min(SIZE as u64))));
        }
        let mut options = HubOptions::new(hub.endpoint(), "never-written");
        options.connections = 3;
        options.retry = impatient();
        Case {
            files: files.collect(),
            hub,
            commit,
            contents,
            reads,
            window: 5 * SPAN,
            options,
            heard: Heard::default(),
            cancel: Cancel::new(),
        }
    }

    fn during<T>(&self, work: impl FnOnce(&Ranges) -> T) -> (T, Result<(), HubError>) {
        let repo = RepoId::parse("o/m").unwrap();
        let plan = Plan {
            repo: &repo,
            commit: &self.commit,
            files: &self.files,
            reads: &self.reads,
            span: SPAN,
            window: self.window,
        };
        read_ahead(&plan, &self.options, &self.heard, &self.cancel, work)
    }

    /// Whether a read gives the file's bytes.
    fn read(&self, ranges: &Ranges, file: usize, range: Range<u64>) -> Result<(), Ended> {
        let mut found = vec![0; (range.end - range.start) as usize];
        ranges.read(file, range.start, &mut found)?;
        assert!(found == self.contents[file][range.start as usize..range.end as usize], "{file} {range:?}");
        Ok(())
    }

    /// Reads all that was announced, from so many threads; the bytes must be those of the files.
    fn read_all(&self, ranges: &Ranges, threads: usize) -> Result<(), Ended> {
        let next = Mutex::new(self.reads.iter());
        std::thread::scope(|scope| {
            let read = || {
                loop {
                    let taken = next.lock().unwrap().next();
                    let Some((file, range)) = taken else { return Ok(()) };
                    self.read(ranges, *file, range.clone())?;
                }
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap())
        })
    }

    /// All bytes come, and no more of them are held than the window allows.
    #[track_caller]
    fn check(&self) {
        let ((done, most), fetched) = self.during(|ranges| (self.read_all(ranges, 3), ranges.most_held()));
        fetched.unwrap();
        done.unwrap();
        // A thread that took its read and has not begun it may be passed by others.
        assert!(most <= self.window + 3 * READ, "{most} held");
    }

    #[track_caller]
    fn check_fails(&self) -> HubError {
        let (done, fetched) = self.during(|ranges| self.read_all(ranges, 3));
        assert_eq!(done, Err(Ended));
        fetched.unwrap_err()
    }

    fn count(&self, code: Code) -> usize {
        self.heard.count(code)
    }
}

#[test]
fn what_is_read_is_what_is_there() {
    let case = Case::new();
    let (done, fetched) = case.during(|ranges| case.read_all(ranges, 1));
    fetched.unwrap();
    done.unwrap();
    // Every byte once, and one question to the Hub a file.
    assert_eq!(case.hub.sent(), 2 * (SIZE as u64 - START));
    assert_eq!(case.hub.seen().iter().filter(|s| s.on == On::Resolve).count(), 2);
}

#[test]
fn any_window_will_do() {
    for window in [1, SPAN, 2 * SPAN, 1 << 30] {
        let mut case = Case::new();
        case.window = window;
        let ((done, most), fetched) = case.during(|ranges| (case.read_all(ranges, 1), ranges.most_held()));
        fetched.unwrap();
        done.unwrap();
        // There is always room for what is read and what comes next.
        assert!(most <= window.max(2 * SPAN), "{most} held of {window}");
    }
}

#[test]
fn any_order_will_do() {
    let case = Case::new();
    let ((), fetched) = case.during(|ranges| {
        case.read(ranges, 1, 12..34_567).unwrap();
        for (file, range) in case.reads.iter().rev() {
            case.read(ranges, *file, range.clone()).unwrap();
        }
        // Twice, though announced once.
        case.read(ranges, 0, case.reads[0].1.clone()).unwrap();
    });
    fetched.unwrap();
}

#[test]
fn work_may_end_before_its_reads() {
    let case = Case::new();
    let (done, fetched) = case.during(|ranges| case.read(ranges, 0, case.reads[0].1.clone()));
    assert_eq!((done, fetched.is_ok()), (Ok(()), true));
}

#[test]
fn what_breaks_off_goes_on() {
    let short = || Fault::Short(3000);
    let faults: [&[(On, u32, Fault)]; 6] = [
        &[(On::Cdn, 3, Fault::Cut(4321))],
        &[(On::Cdn, 3, short())],
        &[(On::Cdn, 1, Fault::Cut(0)), (On::Cdn, 2, Fault::Status(503, vec![]))],
        &[(On::Resolve, 2, Fault::Status(500, vec![]))],
        // An address that has expired: the Hub gives another one.
        &[(On::Cdn, 2, Fault::Status(403, vec![]))],
        &[(On::Resolve, 1, Fault::Status(429, vec![("retry-after", "0".to_owned())]))],
    ];
    for faults in faults {
        let case = Case::new();
        for (on, times, fault) in faults {
            case.hub.fault(*on, *times, fault.clone());
        }
        case.check();
        assert!(case.count(Code::DownloadRetried) > 0, "{faults:?}");
    }
}

#[test]
fn what_came_is_not_fetched_again() {
    let case = Case::new();
    case.hub.fault(On::Cdn, 3, Fault::Cut(8192));
    let (done, fetched) = case.during(|ranges| case.read_all(ranges, 1));
    fetched.unwrap();
    done.unwrap();
    assert_eq!(case.hub.sent(), 2 * (SIZE as u64 - START));
}

#[test]
fn a_stalled_connection_is_dropped() {
    let mut case = Case::new();
    case.options.retry.stall = Duration::from_millis(200);
    case.hub.fault(On::Cdn, 2, Fault::Stall(1000));
    case.check();
}

#[test]
fn what_stays_broken_is_an_error() {
    let case = Case::new();
    case.hub.fault(On::Cdn, 1000, Fault::Status(500, vec![]));
    assert!(matches!(case.check_fails(), HubError::Status { status: 500, .. }));
    let case = Case::new();
    case.hub.fault(On::Resolve, 1, Fault::Status(404, vec![("x-error-code", "EntryNotFound".to_owned())]));
    assert!(matches!(case.check_fails(), HubError::EntryNotFound { .. }));
}

#[test]
fn bytes_of_another_version_are_never_mixed_in() {
    let case = Case::new();
    let (done, fetched) = case.during(|ranges| {
        case.read(ranges, 0, case.reads[0].1.clone()).unwrap();
        case.hub.fault(On::Cdn, 1, Fault::NewEtag);
        case.read_all(ranges, 3)
    });
    assert_eq!(done, Err(Ended));
    assert!(matches!(fetched, Err(HubError::Changing { .. })), "{fetched:?}");
}

#[test]
fn a_server_without_ranges_is_named() {
    let case = Case::new();
    case.hub.fault(On::Cdn, 1000, Fault::NoRanges);
    let error = case.check_fails();
    assert!(matches!(error, HubError::NoRanges { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("--stream=false"));
}

#[test]
fn it_stops_at_once() {
    let case = Case::new();
    case.hub.fault(On::Cdn, 1000, Fault::Stall(10));
    let (asked, done) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| case.during(|ranges| case.read_all(ranges, 3)));
        std::thread::sleep(Duration::from_millis(200));
        case.cancel.cancel();
        (Instant::now(), reading.join().unwrap())
    });
    assert!(matches!(done, (Err(Ended), Err(HubError::Cancelled { .. }))));
    // Connections alone would take twenty seconds.
    assert!(asked.elapsed() < Duration::from_secs(5));
}
