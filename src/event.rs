//! What happened, as data. Modules emit events; `report/` turns them into text.
//!
//! Every kind of event has a stable code. The list of codes is the table below; docs/log-codes.md is generated from it.

use crate::base::token::Token;

/// How much an event matters to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use to whoever looks for a cause.
    Detail,
    /// The ordinary course of the work.
    Info,
    /// Something the user should know; the work goes on.
    Warning,
    /// A job or the whole run failed.
    Error,
}

macro_rules! codes {
    ($($code:ident = $text:literal, $level:ident, $doc:literal;)*) => {
        /// The stable code of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $doc] $code,)* }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$code,)*];

            /// The code as it stands in a log line (`QTZ-001`).
            pub const fn text(self) -> &'static str {
                match self { $(Code::$code => $text,)* }
            }

            /// The level that events of this code have.
            pub const fn level(self) -> Level {
                match self { $(Code::$code => Level::$level,)* }
            }

            /// One line on what the code means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$code => $doc,)* }
            }
        }
    };
}

// Append; never renumber: users filter logs by these. CFG-002 and CFG-003 were never written.
codes! {
    RunStarted = "CLI-001", Info, "The program starts: version, command and machine.";
    RunFinished = "CLI-002", Info, "The program ends: what was done, how long it took.";
    Interrupted = "CLI-003", Warning, "The user stopped the run; nothing half is left under a final name.";
    NothingPublished = "CLI-004", Warning, "The outputs stay on this machine: nothing was published.";
    Progressed = "CLI-005", Info, "How far a piece of long work has come.";
    ConfigRead = "CFG-001", Info, "A models.yaml was read and is valid.";
    JobPlanned = "PLN-001", Info, "A job was planned: model, methods, exact sizes.";
    JobUpToDate = "PLN-002", Info, "Outputs are there and match their recipes; they are kept.";
    SpaceChecked = "PLN-003", Detail, "Free disk and memory were compared with what the job needs.";
    JobFailed = "PLN-004", Error, "A job failed; the others go on.";
    Waiting = "PLN-005", Info, "Another run works on the same outputs; this one waits for it.";
    Unlocked = "PLN-006", Detail, "The cache cannot be written, so that other runs cannot be kept off the same outputs.";
    Streaming = "PLN-007", Info, "Outputs go straight into the upload, not to the disk: it was asked for, or the disk is too small.";
    CheckpointOpened = "MDL-001", Info, "A checkpoint was opened: revision, files, weights.";
    DownloadStarted = "MDL-002", Info, "A file of a megabyte or more is being downloaded.";
    DownloadResumed = "MDL-003", Info, "A download goes on where it was interrupted.";
    DownloadVerified = "MDL-004", Detail, "A downloaded file has the size and sha256 that the Hub states.";
    DownloadRetried = "MDL-005", Warning, "A request failed and is tried again.";
    BlueprintMade = "CNV-001", Info, "The conversion was worked out from the headers; no weight was read.";
    TensorSkipped = "CNV-002", Detail, "A source tensor has no place in the output.";
    Converted = "CNV-003", Detail, "A checkpoint was converted.";
    ConfigTakenPlain = "CNV-004", Warning, "A configuration that transformers refuses is read as it stands, as the reference does.";
    AdapterNotice = "CNV-005", Warning, "Something in an adapter's configuration has no place in a GGUF file, and is not heeded there.";
    TowerLeftOut = "CNV-006", Info, "A model that sees is converted without its vision tower, which llama.cpp needs for pictures.";
    RatesInexact = "CNV-007", Warning, "Rates are made of logarithms in single precision: one of a hundred may differ from the reference's in its last bit.";
    PassStarted = "QTZ-001", Info, "One pass over the weights begins, for all the methods named.";
    MethodWritten = "QTZ-002", Detail, "A quantized file is whole, under its final name.";
    TensorFallback = "QTZ-003", Warning, "Tensors whose width does not fit a type took its fallback.";
    PassFinished = "QTZ-004", Info, "The pass is over: time, throughput, peak memory.";
    ImatrixCovers = "QTZ-005", Info, "How much of an output is quantized by importance, and what the matrix has nothing for.";
    ImatrixGaps = "QTZ-006", Warning, "There is no importance matrix where one is needed, or it has nothing for tensors or experts that it should have.";
    CardWritten = "MCD-001", Info, "The model card, log and metadata of an output were written.";
    CardNotice = "MCD-002", Warning, "The source's card lacks something, or something in it could not be used.";
    GateOpen = "MCD-003", Warning, "The source asks its users to accept terms; the repository does not.";
    RightsChecked = "HUF-001", Info, "The token may write to the repository, or may create it.";
    UploadRetried = "HUF-002", Warning, "A request of an upload failed and is tried again.";
    RepositoryCreated = "HUF-003", Info, "A repository was created.";
    CardRemarks = "HUF-004", Warning, "The Hub has remarks about a card, and takes it.";
    FileThere = "HUF-005", Detail, "The repository has a file already; it is not sent.";
    CommitDoubted = "HUF-006", Warning, "It was not clear whether a commit happened; the repository was looked at.";
    CommitRebased = "HUF-007", Info, "Somebody else committed other files meanwhile; the commit goes on top of theirs.";
    Published = "HUF-008", Info, "A model's files are in its repository, in one commit.";
    NothingNew = "HUF-009", Info, "The repository has all of it already; there was nothing to commit.";
    PublicationVerified = "HUF-010", Info, "What the repository shows was compared with what was published.";
    TagTaken = "HUF-011", Warning, "A tag of llama.cpp's `-hf repository:TAG` gives another file than the one of its name.";
    IdentityExchanged = "HUF-012", Detail, "The workflow's identity was exchanged for a token of the Hub.";
    IdentityRefused = "HUF-013", Warning, "The workflow's identity got no token; the one that was given is used.";
    UploadStarted = "HUF-014", Info, "A file is being uploaded.";
    UploadFinished = "HUF-015", Info, "The Hub's store has a file, and its sha256 is what was computed here.";
    ScratchMoved = "HUF-016", Warning, "The cache folder cannot be written; an upload keeps its notes elsewhere.";
    ReceiptLost = "HUF-017", Warning, "A publication's receipt could not be left beside the outputs; the publication has happened.";
    StreamRestarted = "HUF-018", Warning, "Streams failed and are made again from their beginning; what was sent is not sent twice.";
    SourceShown = "HUF-019", Warning, "The source is private, and what is made of it is published for everybody.";
    CommentWritten = "GHA-001", Info, "A pull request has the plan as a comment.";
    IssueOpened = "GHA-002", Warning, "Something fails: an issue was opened that tracks it.";
    IssueUpdated = "GHA-003", Warning, "Something still fails: the issue that tracks it was changed.";
    IssueClosed = "GHA-004", Info, "Everything works again: the issue that tracked failures was closed.";
    FilesAttached = "GHA-005", Info, "Files were attached to a release.";
    GithubWaited = "GHA-006", Info, "GitHub's rate limit is used up for now; the request waits.";
    GithubRefused = "GHA-007", Warning, "GitHub took no comment or issue; nothing else depends on it.";
    StepFileLost = "GHA-008", Warning, "The step's summary or its outputs could not be written.";
    JobDoubtful = "GHA-009", Warning, "A model cannot be planned; its job of the matrix will say why.";
    ResultMissing = "GHA-010", Error, "A job of the matrix left no result.";
    ToolchainReady = "LCP-001", Info, "llama.cpp's programs are there: which ones, and where.";
    ToolchainDownload = "LCP-002", Info, "An archive of llama.cpp is being downloaded.";
    ToolchainVerified = "LCP-003", Detail, "A downloaded archive is the one that GitHub states or that was recorded.";
    ToolchainRetried = "LCP-004", Warning, "A request to GitHub failed and is tried again.";
    ToolchainUnfit = "LCP-005", Warning, "A release has no programs that run here; it is built from source.";
    ToolchainWaits = "LCP-006", Info, "Another process makes or checks the same build of llama.cpp; this one waits for it.";
    ToolchainHealed = "LCP-007", Warning, "A build in the cache was not what it was when it was made; it was made anew.";
    BuildStarted = "LCP-008", Info, "llama.cpp is being built.";
    BuildFinished = "LCP-009", Info, "llama.cpp was built.";
    PinRecorded = "LCP-010", Info, "What was downloaded for the first time is recorded in jamph.lock.";
    PinLost = "LCP-011", Warning, "jamph.lock cannot be written: the next run takes its download for a first one again.";
    BaseMade = "LCP-020", Info, "The model in its own type is written as a file, for llama.cpp's programs.";
    ImatrixStarted = "LCP-021", Info, "llama-imatrix computes an importance matrix over a text.";
    ImatrixComputed = "LCP-022", Info, "An importance matrix was computed.";
    ImatrixCached = "LCP-023", Info, "An importance matrix was computed before and is taken from the cache.";
    Checked = "LCP-024", Info, "llama.cpp loads an output and generates a few tokens from it.";
    FallbackStarted = "LCP-025", Warning, "This program does not know the model's family: llama.cpp's own converter takes it, which costs disk, memory and time.";
    FallbackFinished = "LCP-026", Info, "llama.cpp's own converter made the base.";
    PythonMade = "LCP-027", Info, "A Python environment for llama.cpp's converter is being made.";
    MeasuringStarted = "LCP-030", Info, "llama-perplexity measures outputs over a text.";
    BaseMeasured = "LCP-031", Info, "The unquantized model's probabilities over a text are on the disk, to compare with.";
    Measured = "LCP-032", Info, "What an output's predictions lose was measured.";
    OutputRejected = "LCP-033", Warning, "An output is not what `evaluate.require` asks for, or could not be measured; it is not published.";
    PublishedBelow = "LCP-034", Warning, "An output that is published is not what `evaluate.require` asks for now; it stays.";
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which kind it is.
    pub code: Code,
    /// The job or file that it belongs to, if any.
    pub subject: Option<String>,
    /// One line for people, without the code or a final period.
    pub text: String,
    /// Named figures for machines, in order. People see one of them: `hint`, what to do next.
    pub fields: Vec<(&'static str, serde_json::Value)>,
}

impl Event {
    /// An event of this kind.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Event { code, subject: None, text: text.into(), fields: Vec::new() }
    }

    /// Names the job or file that it belongs to.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds a figure for machines.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// How far a piece of long work has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is being worked on; equal for all reports of one piece of work.
    pub task: String,
    /// Done so far.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of this name, in the singular (`step`); their plural takes an `s`.
    Things(&'static str),
}

impl Progress {
    /// Bytes of a piece of work.
    pub fn bytes(task: impl Into<String>, done: u64, total: u64) -> Self {
        Progress { task: task.into(), done, total, unit: Unit::Bytes }
    }

    /// Things of a piece of work, by their name in the singular.
    pub fn things(task: impl Into<String>, name: &'static str, done: u64, total: u64) -> Self {
        Progress { task: task.into(), done, total, unit: Unit::Things(name) }
    }
}

/// Who listens. Implementations are called from many threads.
pub trait Observer: Sync + Send {
    /// Something happened.
    fn event(&self, event: Event);

    /// Long work moved on. The last report of a piece of work has `done == total`, or never comes if it failed.
    fn progress(&self, progress: Progress);

    /// There is a new secret. Whoever hands lines on to others keeps it out of them.
    fn secret(&self, _secret: &Token) {}
}

/// Nobody listens.
impl Observer for () {
    fn event(&self, _: Event) {}
    fn progress(&self, _: Progress) {}
}

/// Says of every event which job it belongs to, and passes it on.
pub struct About<'a> {
    /// Who listens.
    pub observer: &'a dyn Observer,
    /// The job.
    pub subject: &'a str,
}

impl Observer for About<'_> {
    fn event(&self, event: Event) {
        self.observer.event(event.about(self.subject));
    }

    fn progress(&self, progress: Progress) {
        self.observer.progress(progress);
    }

    fn secret(&self, secret: &Token) {
        self.observer.secret(secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            let text = code.text();
            assert!(seen.insert(text), "{text} twice");
            let (area, number) = text.split_once('-').unwrap();
            assert!(area.len() == 3 && number.len() == 3, "{text}");
            assert!(number.bytes().all(|b| b.is_ascii_digit()), "{text}");
        }
    }
}
