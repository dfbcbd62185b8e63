//! Publishing to a Hub, also to one that goes wrong: whatever happens, a repository has its old commit or the new one.

use std::fs;

use jamph_quantizer::base::cancel::Cancel;
use jamph_quantizer::base::hash;
use jamph_quantizer::base::token::Token;
use jamph_quantizer::event::Code;
use jamph_quantizer::gguf::{GgmlType, Header, Metadata};
use jamph_quantizer::hub::{
    Content, Destination, FileState, HubError, HubOptions, Publication, PublishFile, Receipt, RepoId, Rights,
    TokenSource, Transport, Uploader, Workflow, check_rights, create, publish, read_file, state,
};

use crate::support::client::{Heard, impatient, random_bytes};
use crate::support::hub::{Fault, File, Hub, On, Repo, Role, Settings};

const REPO: &str = "me/model";
const CARD: &str = "---\nlicense: apache-2.0\ntags: [gguf]\n---\n# model\n";
const LOG: &str = "# log\n";

/// A GGUF file of one tensor whose bytes follow from a number.
fn gguf(number: u32) -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", format!("number {number}"));
    let values = 60_000;
    let header = Header::new(metadata, [("a.weight".to_owned(), vec![values], GgmlType::F16)]);
    let mut bytes = header.to_bytes();
    bytes.extend(random_bytes(number).take(header.data_bytes() as usize));
    bytes
}

/// A Hub where `me` may write, and a client with little patience.
struct Case {
    hub: Hub,
    folder: tempfile::TempDir,
    options: HubOptions,
    token: String,
    heard: Heard,
    cancel: Cancel,
}

impl Case {
    fn new() -> Self {
        Case::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let hub = Hub::with(settings);
        let token = hub.token("me", Role::Write);
        let folder = tempfile::tempdir().unwrap();
        let mut options = HubOptions::new(hub.endpoint(), folder.path().join("cache"));
        options.token = Some(Token::new(&token).unwrap());
        options.retry = impatient();
        Case { hub, folder, options, token, heard: Heard::default(), cancel: Cancel::new() }
    }

    /// The repository is there, with a card of its own and somebody's notes.
    fn with_repo(self) -> Self {
        let files =
            [("README.md", File::small("---\nlicense: mit\n---\nold\n")), ("notes.txt", File::small("x"))];
        self.hub.add(REPO, Repo::new(files));
        self
    }

    fn to(&self) -> Destination {
        Destination { repo: repo(), private: false, create_pr: false }
    }

    /// A card, a log and a file for each method; those are on this machine.
    fn publication(&self, methods: &[(&str, u32)]) -> Publication {
        let text = |path: &str, text: &str| PublishFile {
            path: path.to_owned(),
            content: Content::Text(text.as_bytes().to_vec()),
        };
        let mut files = vec![text("README.md", CARD), text("MODEL_LOG.md", LOG)];
        let mut tags = Vec::new();
        for (method, number) in methods {
            let name = format!("model-{}.gguf", method.to_lowercase());
            let (path, bytes) = (self.folder.path().join(&name), gguf(*number));
            fs::write(&path, &bytes).unwrap();
            let (size, sha256) = (bytes.len() as u64, hash::sha256(&bytes));
            files.push(PublishFile { path: name.clone(), content: Content::File { path, size, sha256 } });
            tags.push(((*method).to_owned(), name));
        }
        Publication {
            to: self.to(),
            parent: None,
            summary: "Publish the quantizations".to_owned(),
            description: "two of them".to_owned(),
            files,
            delete: Vec::new(),
            card: Some("README.md".to_owned()),
            tags,
            transport: Transport::Auto,
        }
    }

    fn publish(&self, publication: &Publication) -> Result<Receipt, HubError> {
        let published = publish(publication, &self.options, &self.heard, &Cancel::new());
        assert_eq!(self.hub.leaks().len(), 0, "{:?}", self.hub.leaks());
        let said = format!("{published:?} {}", self.heard.said());
        assert!(!said.contains(&self.token), "{said}");
        published
    }

    fn rights(&self, to: &Destination) -> Result<Rights, HubError> {
        check_rights(to, &self.options, &self.heard, &Cancel::new())
    }

    fn hook(&self, code: Code, hook: impl FnOnce() + Send + 'static) {
        self.heard.hook(code, hook);
    }

    fn count(&self, code: Code) -> usize {
        self.heard.count(code)
    }

    fn commits(&self) -> usize {
        self.hub.history(REPO).len()
    }

    /// The tip of a revision has all files of the publication.
    #[track_caller]
    fn has(&self, publication: &Publication, revision: &str) {
        for file in &publication.files {
            let expected = match &file.content {
                Content::Text(bytes) => bytes.clone(),
                Content::File { path, .. } => fs::read(path).unwrap(),
                Content::Uploaded(_) => continue,
            };
            assert!(self.hub.read_at(REPO, revision, &file.path) == expected, "{}", file.path);
        }
    }
}

fn repo() -> RepoId {
    RepoId::parse(REPO).unwrap()
}

fn states(receipt: &Receipt) -> Vec<(&str, FileState)> {
    receipt.files.iter().map(|f| (f.path.as_str(), f.state)).collect()
}

use FileState::{AlreadyThere, Sent, Unchanged};

#[test]
fn a_model_is_published_in_one_commit() {
    let case = Case::new();
    let mut publication = case.publication(&[("Q4_K_M", 1), ("Q8_0", 2)]);
    publication.to.private = true;
    let receipt = case.publish(&publication).unwrap();

    assert!(case.hub.is_private(REPO));
    let history = case.hub.history(REPO);
    assert_eq!((history.len(), history[1].id.as_str()), (2, receipt.commit.as_str()));
    assert_eq!(
        (history[1].summary.as_str(), history[1].description.as_str()),
        ("Publish the quantizations", "two of them")
    );
    assert_eq!(receipt.parent.as_deref(), Some(history[0].id.as_str()));
    assert_eq!(receipt.url, format!("{}/{REPO}/commit/{}", case.hub.endpoint(), receipt.commit));
    assert!(receipt.private && receipt.pull_request.is_none());
    case.has(&publication, "main");
    // Small files are in git itself, large ones in the store.
    let files = &history[1].files;
    assert!(!files["README.md"].lfs && files["model-q8_0.gguf"].lfs);
    assert!(receipt.files.iter().all(|f| f.state == Sent));
    let sha256 = hash::sha256(CARD.as_bytes());
    assert_eq!(
        (receipt.files[0].path.as_str(), receipt.files[0].sha256.as_str()),
        ("README.md", sha256.as_str())
    );
    assert!(receipt.tags.iter().all(|t| t.gives.as_ref() == Some(&t.file)));
    for code in [Code::RepositoryCreated, Code::Published, Code::PublicationVerified] {
        assert_eq!(case.count(code), 1, "{code:?}");
    }
    let json = serde_json::to_string(&receipt).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);

    // Once more: nothing is sent and nothing committed.
    case.hub.forget();
    let again = case.publish(&publication).unwrap();
    assert_eq!((again.commit.as_str(), again.parent.as_deref()), (receipt.commit.as_str(), None));
    assert!(again.files.iter().all(|f| f.state == Unchanged));
    assert_eq!((case.hub.received(), case.hub.count(On::Commit), case.commits()), (0, 0, 2));
    assert_eq!(case.count(Code::NothingNew), 1);
}

#[test]
fn what_the_hub_has_is_not_sent_again() {
    let case = Case::new().with_repo();
    case.publish(&case.publication(&[("Q4_K_M", 1)])).unwrap();
    case.hub.forget();
    let mut publication = case.publication(&[("Q4_K_M", 1), ("Q8_0", 2)]);
    publication.files[1].content = Content::Text("# another log\n".into());
    let receipt = case.publish(&publication).unwrap();
    let expected = [
        ("README.md", Unchanged),
        ("MODEL_LOG.md", Sent),
        ("model-q4_k_m.gguf", Unchanged),
        ("model-q8_0.gguf", Sent),
    ];
    assert_eq!(states(&receipt), expected);
    assert!(case.hub.received() < 2 * gguf(2).len() as u64, "{}", case.hub.received());
    assert_eq!(case.hub.count(On::ValidateYaml), 0, "the card is the same");
    case.has(&publication, "main");
    assert_eq!(case.hub.read(REPO, "notes.txt"), b"x");

    // Another name for the same content, and one name less.
    case.hub.forget();
    publication.files[2].path = "renamed-q4_k_m.gguf".to_owned();
    publication.delete = vec!["model-q4_k_m.gguf".to_owned(), "never-there.gguf".to_owned()];
    publication.tags[0].1 = "renamed-q4_k_m.gguf".to_owned();
    let receipt = case.publish(&publication).unwrap();
    assert_eq!(states(&receipt)[2], ("renamed-q4_k_m.gguf", AlreadyThere));
    assert_eq!((case.hub.received(), case.commits()), (0, 4));
    assert!(!case.hub.head(REPO).files.contains_key("model-q4_k_m.gguf"));
    case.has(&publication, "main");
}

#[test]
fn a_hub_without_xet_gets_whole_files() {
    let case = Case::with(Settings { xet: false, ..Settings::default() }).with_repo();
    let publication = case.publication(&[("Q8_0", 1)]);
    case.rights(&case.to()).unwrap();
    case.publish(&publication).unwrap();
    case.has(&publication, "main");
}

#[test]
fn what_was_streamed_is_named_by_the_commit() {
    let case = Case::new().with_repo();
    let bytes = gguf(7);
    let uploader =
        Uploader::open(&case.to(), &case.options, Transport::Auto, &case.heard, &case.cancel).unwrap();
    let mut stream = uploader.stream("model-q8_0.gguf", bytes.len() as u64).unwrap();
    for piece in bytes.chunks(10_000) {
        stream.append(piece).unwrap();
    }
    let uploaded = stream.finish(&hash::sha256(&bytes)).unwrap();
    uploader.finish().unwrap();
    case.hub.forget();
    let mut publication = case.publication(&[]);
    let content = Content::Uploaded(uploaded);
    publication.files.push(PublishFile { path: "model-q8_0.gguf".to_owned(), content });
    let receipt = case.publish(&publication).unwrap();
    assert_eq!((states(&receipt)[2], case.hub.received()), (("model-q8_0.gguf", Sent), 0));
    assert!(case.hub.read(REPO, "model-q8_0.gguf") == bytes);
}

#[test]
fn a_hub_that_checks_no_cards_takes_them() {
    let case = Case::new();
    case.hub.fault(On::ValidateYaml, 9, Fault::Status(404, vec![]));
    case.publish(&case.publication(&[])).unwrap();
}

#[test]
fn the_attributes_may_send_a_text_to_the_store() {
    let case = Case::new();
    let rule = "*.md filter=lfs diff=lfs merge=lfs -text\n";
    case.hub.add(REPO, Repo::new([(".gitattributes", File::small(rule))]));
    let publication = case.publication(&[]);
    case.publish(&publication).unwrap();
    assert!(case.hub.head(REPO).files["README.md"].lfs);
    case.has(&publication, "main");
}

#[test]
fn a_commit_happens_once_whatever_its_answer() {
    let limited = || vec![("ratelimit", "\"api\";r=0;t=0".to_owned())];
    for (name, times, fault) in [
        ("429", 2, Fault::Status(429, limited())),
        ("500", 2, Fault::Status(500, vec![])),
        ("504, did not happen", 2, Fault::Status(504, vec![])),
        ("504, happened", 9, Fault::After(504)),
        ("answer lost", 9, Fault::Lost),
        ("request cut", 2, Fault::Cut(40)),
        ("412 for nothing", 2, Fault::Status(412, vec![])),
    ] {
        let case = Case::new().with_repo();
        case.hub.fault(On::Commit, times, fault);
        let publication = case.publication(&[("Q8_0", 1)]);
        let receipt = case.publish(&publication).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((case.commits(), case.hub.head(REPO).id), (2, receipt.commit), "{name}");
        case.has(&publication, "main");
        let doubted = ["500", "504, did not happen", "504, happened", "answer lost", "request cut"];
        assert_eq!(case.count(Code::CommitDoubted) > 0, doubted.contains(&name), "{name}");
    }
}

#[test]
fn a_hub_that_stays_broken_keeps_the_old_commit() {
    for (on, fault) in [
        (On::Commit, Fault::Status(503, vec![])),
        (On::Commit, Fault::Status(429, vec![])),
        (On::Commit, Fault::Status(400, vec![])),
        (On::Commit, Fault::Status(403, vec![])),
        (On::Commit, Fault::Status(412, vec![])),
        (On::Preupload, Fault::Status(500, vec![])),
        (On::Preupload, Fault::Lost),
        (On::ValidateYaml, Fault::Status(500, vec![])),
        (On::Tree, Fault::Status(502, vec![])),
        (On::Commit, Fault::ToCdn),
    ] {
        let case = Case::new().with_repo();
        case.hub.fault(on, u32::MAX, fault.clone());
        let error = case.publish(&case.publication(&[])).unwrap_err();
        assert_eq!(case.commits(), 1, "{on:?} {fault:?}: {error}");
        case.hub.heal();
        case.publish(&case.publication(&[])).unwrap();
        assert_eq!(case.commits(), 2, "{on:?} {fault:?}");
    }
}

#[test]
fn an_account_that_is_missing_is_named() {
    let case = Case::new();
    case.hub.fault(On::Create, 1, Fault::Status(404, vec![]));
    let error = create(&repo(), false, &case.options, &case.heard, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("there is no account `me`"), "{error}");
}

#[test]
fn a_creation_waits_for_another_of_the_same_owner() {
    let case = Case::new();
    case.hub.fault(On::Create, 2, Fault::Busy);
    create(&repo(), false, &case.options, &case.heard, &Cancel::new()).unwrap();
    assert_eq!((case.hub.repos().len(), case.count(Code::RepositoryCreated)), (1, 1));

    // The same status where it is there already is no error; where it stays busy, the repository is not taken to be there.
    create(&repo(), false, &case.options, &case.heard, &Cancel::new()).unwrap();
    assert_eq!(case.count(Code::RepositoryCreated), 1);
    let case = Case::new();
    case.hub.fault(On::Create, 100, Fault::Busy);
    let error = create(&repo(), false, &case.options, &case.heard, &Cancel::new()).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 409, .. }), "{error}");
    assert!(error.to_string().contains("conflicting operation"), "{error}");
    assert_eq!(case.hub.repos().len(), 0);
}

#[test]
fn a_commit_that_cannot_be_looked_up_is_found_by_the_next_run() {
    let case = Case::new().with_repo();
    case.hub.fault(On::Commit, 1, Fault::After(504));
    // Head and listing are read once before.
    case.hub.fault_after(On::Info, 1, 9, Fault::Status(500, vec![]));
    let publication = case.publication(&[]);
    let error = case.publish(&publication).unwrap_err();
    assert!(matches!(error, HubError::Doubtful { .. }), "{error}");
    case.hub.heal();
    assert!(case.publish(&publication).unwrap().files.iter().all(|f| f.state == Unchanged));
    assert_eq!(case.commits(), 2);
}

/// A card that the Hub has a remark about, which is heard between the reading of the head and the commit.
fn remarkable(case: &Case) -> Publication {
    let mut publication = case.publication(&[]);
    publication.files[0].content = Content::Text("no front matter\n".into());
    publication
}

#[test]
fn a_commit_goes_on_top_of_somebody_elses() {
    let case = std::sync::Arc::new(Case::new().with_repo());
    let publication = remarkable(&case);
    let other = case.clone();
    case.hook(Code::CardRemarks, move || _ = other.hub.push(REPO, [("theirs.txt", Some(File::small("y")))]));
    let receipt = case.publish(&publication).unwrap();
    let history = case.hub.history(REPO);
    assert_eq!((history.len(), receipt.parent.as_deref()), (3, Some(history[1].id.as_str())));
    assert_eq!((case.count(Code::CommitRebased), case.count(Code::CardRemarks)), (1, 1));
    assert_eq!(case.hub.read(REPO, "theirs.txt"), b"y");
    case.has(&publication, "main");
}

#[test]
fn what_somebody_else_wrote_is_not_replaced_unseen() {
    for (path, file) in [("README.md", Some(File::small("theirs"))), ("README.md", None)] {
        let case = std::sync::Arc::new(Case::new().with_repo());
        let (other, theirs) = (case.clone(), file.clone());
        case.hook(Code::CardRemarks, move || _ = other.hub.push(REPO, [(path, theirs)]));
        let error = case.publish(&remarkable(&case)).unwrap_err();
        assert!(matches!(&error, HubError::Conflict { path, .. } if path == "README.md"), "{error}");
        assert_eq!((case.commits(), case.hub.head(REPO).files.contains_key(path)), (2, file.is_some()));
        // Nor is what was there before the run, but not when its files were made.
        let mut publication = case.publication(&[]);
        publication.parent = Some(case.hub.history(REPO)[0].id.clone());
        assert!(matches!(case.publish(&publication), Err(HubError::Conflict { .. })));
        assert_eq!(case.commits(), 2);
        publication.parent = Some(case.hub.head(REPO).id);
        case.publish(&publication).unwrap();
        assert_eq!(case.commits(), 3);
    }
}

#[test]
fn two_runs_at_once_make_one_commit() {
    let case = std::sync::Arc::new(Case::new().with_repo());
    let (other, theirs) = (case.clone(), remarkable(&case));
    // Its runtime cannot start within that of the first one.
    let both = move || {
        let second = move || publish(&theirs, &other.options, &(), &Cancel::new());
        std::thread::spawn(second).join().unwrap().unwrap();
    };
    case.hook(Code::CardRemarks, both);
    let receipt = case.publish(&remarkable(&case)).unwrap();
    assert_eq!((case.commits(), receipt.commit), (2, case.hub.head(REPO).id));
}

#[test]
fn a_commit_is_found_below_somebody_elses() {
    for (path, clash) in [("theirs.txt", false), ("README.md", true)] {
        let case = std::sync::Arc::new(Case::new().with_repo());
        case.hub.fault(On::Commit, 1, Fault::After(504));
        let other = case.clone();
        case.hook(Code::CommitDoubted, move || {
            _ = other.hub.push(REPO, [(path, Some(File::small("theirs")))]);
        });
        let published = case.publish(&case.publication(&[]));
        assert_eq!(matches!(published, Err(HubError::Conflict { .. })), clash, "{published:?}");
        assert_eq!(published.is_ok(), !clash);
        assert_eq!((case.commits(), case.hub.count(On::Commit)), (3, 1), "ours, and theirs on top of it");
    }
}

#[test]
fn other_commits_since_the_files_were_made_do_no_harm() {
    let case = Case::new().with_repo();
    let mut publication = case.publication(&[]);
    publication.parent = Some(case.hub.head(REPO).id);
    case.hub.push(REPO, [("theirs.txt", Some(File::small("y"))), ("notes.txt", None)]);
    case.publish(&publication).unwrap();
    assert_eq!(case.commits(), 3);
    case.has(&publication, "main");
}

#[test]
fn a_token_that_ends_leaves_the_old_commit_or_the_new_one() {
    let case = Case::new().with_repo();
    case.rights(&case.to()).unwrap();
    case.hub.revoke(&case.token);
    let error = case.publish(&case.publication(&[])).unwrap_err();
    assert!(error.is_about_credentials() && error.hint().is_some(), "{error}");
    assert_eq!(case.commits(), 1);

    let mut finished = false;
    for requests in 1..20 {
        let case = Case::new().with_repo();
        case.hub.revoke_after(&case.token, requests);
        let publication = case.publication(&[]);
        match case.publish(&publication) {
            Ok(_) => finished = true,
            Err(HubError::Unchecked { source, .. }) => {
                assert!(source.is_about_credentials(), "{source}");
                assert_eq!(case.commits(), 2);
            }
            Err(error) => {
                assert!(error.is_about_credentials(), "{requests}: {error}");
                assert_eq!(case.commits(), 1, "{requests}");
            }
        }
        if case.commits() == 2 {
            case.has(&publication, "main");
        }
    }
    assert!(finished);
}

#[test]
fn rights_are_known_before_any_work() {
    let mut case = Case::new().with_repo();
    let rights = case.rights(&case.to()).unwrap();
    assert_eq!(rights.account.unwrap().name, "me");
    assert_eq!(rights.state.unwrap().head, case.hub.head(REPO).id);
    let to = |name: &str, private: bool| Destination {
        repo: RepoId::parse(name).unwrap(),
        private,
        create_pr: false,
    };
    assert!(case.rights(&to("me/new", true)).unwrap().state.is_none());
    assert!(matches!(case.rights(&to(REPO, true)), Err(HubError::Public { .. })));
    case.hub.add("them/model", Repo::new([]));
    let mut proposal = to("them/model", false);
    assert!(matches!(case.rights(&proposal), Err(HubError::Forbidden { .. })));
    proposal.create_pr = true;
    case.rights(&proposal).unwrap();

    let mut with = |role, organisations: &[&str], name: &str| {
        let token = "hf_0123456789";
        case.hub.member(token, "me", organisations, role);
        case.options.token = Some(Token::new(token).unwrap());
        case.rights(&to(name, false))
    };
    with(Role::Write, &["team"], "team/new").unwrap();
    let error = with(Role::Write, &["team"], "them/new").unwrap_err();
    assert!(matches!(error, HubError::NotOurs { .. }) && error.is_about_credentials(), "{error}");
    assert!(error.hint().unwrap().contains("`team`"));
    let error = with(Role::Read, &[], REPO).unwrap_err();
    assert!(matches!(error, HubError::ReadOnly { .. }) && error.is_about_credentials(), "{error}");
    with(Role::FineGrained(vec![REPO.to_owned()]), &[], REPO).unwrap();
    with(Role::FineGrained(vec!["me".to_owned()]), &[], "me/new").unwrap();
    let error = with(Role::FineGrained(vec![REPO.to_owned()]), &[], "me/new").unwrap_err();
    assert!(matches!(error, HubError::NotOurs { .. }), "{error}");
    let error = with(Role::FineGrained(vec!["me/other".to_owned()]), &[], REPO).unwrap_err();
    assert!(matches!(error, HubError::Forbidden { .. }) && error.hint().is_some(), "{error}");

    case.options.token = None;
    for error in [case.rights(&to(REPO, false)).map(drop), case.publish(&case.publication(&[])).map(drop)] {
        assert!(matches!(error, Err(HubError::NoToken { .. })), "{error:?}");
    }
    case.options.offline = true;
    assert!(matches!(case.rights(&to(REPO, false)), Err(HubError::NotOffline { .. })));
    assert_eq!(case.commits(), 1);
    assert_eq!(case.hub.repos().len(), 2, "nothing was created by asking");
}

#[test]
fn a_card_that_the_hub_refuses_stops_it() {
    let case = Case::new();
    let mut publication = case.publication(&[("Q8_0", 1)]);
    publication.files[0].content = Content::Text("---\nlicense: [1]\nbase_model: a b\n---\n".into());
    let error = case.publish(&publication).unwrap_err();
    let HubError::CardRefused { problems, .. } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 2);
    assert!(error.to_string().contains("\"license\" must be"), "{error}");
    assert!(!case.hub.exists(REPO) && case.hub.received() == 0);
}

#[test]
fn a_file_that_the_repository_ignores_stops_it() {
    let case = Case::new();
    case.hub.add(REPO, Repo::new([(".gitignore", File::small("*.gguf\n"))]));
    let error = case.publish(&case.publication(&[("Q8_0", 1)])).unwrap_err();
    assert!(matches!(&error, HubError::Ignored { path, .. } if path == "model-q8_0.gguf"), "{error}");
    assert_eq!((case.commits(), case.hub.received()), (1, 0));
}

#[test]
fn a_public_repository_gets_nothing_private() {
    let case = Case::new().with_repo();
    let mut publication = case.publication(&[]);
    publication.to.private = true;
    assert!(matches!(case.publish(&publication), Err(HubError::Public { .. })));
    assert_eq!(case.commits(), 1);
}

#[test]
fn a_pull_request_is_made_once() {
    for fault in [None, Some(Fault::After(504)), Some(Fault::Status(500, vec![])), Some(Fault::Lost)] {
        let case = Case::new().with_repo();
        if let Some(fault) = &fault {
            case.hub.fault(On::Commit, 1, fault.clone());
        }
        let mut publication = case.publication(&[("Q8_0", 1)]);
        publication.to.create_pr = true;
        for _ in 0..2 {
            let receipt = case.publish(&publication).unwrap();
            let request = receipt.pull_request.expect("one was made");
            let url = format!("{}/{REPO}/discussions/1", case.hub.endpoint());
            assert_eq!((request.number, request.url), (1, url), "{fault:?}");
            assert_eq!(receipt.commit, case.hub.history_of(REPO, "refs/pr/1").pop().unwrap().id);
            assert_eq!(receipt.parent, Some(case.hub.head(REPO).id));
        }
        assert_eq!(case.hub.pull_requests(REPO), ["refs/pr/1"], "{fault:?}");
        assert_eq!(case.commits(), 1, "main is as it was");
        case.has(&publication, "refs/pr/1");
    }
}

#[test]
fn a_workflow_is_trusted_with_one_repository() {
    let mut case = Case::new().with_repo();
    let given = case.options.token.take();
    let Workflow { url, token } = Workflow {
        url: case.hub.workflow().request_url.clone(),
        token: Token::new(&case.hub.workflow().request_token).unwrap(),
    };
    let mut source = TokenSource { workflow: Some(Workflow { url, token }), given: None };
    let exchange =
        |case: &Case, source: &TokenSource| source.token(&repo(), &case.options, &case.heard, &Cancel::new());
    let error = exchange(&case, &source).unwrap_err();
    assert!(matches!(error, HubError::NotTrusted { .. }) && error.is_about_credentials(), "{error}");
    source.given.clone_from(&given);
    assert_eq!(exchange(&case, &source).unwrap(), given, "what was given stands in");
    assert_eq!(case.count(Code::IdentityRefused), 1);
    source.given = None;

    case.hub.trust(REPO);
    case.options.token = exchange(&case, &source).unwrap();
    case.rights(&case.to()).unwrap();
    let publication = case.publication(&[("Q8_0", 1)]);
    case.publish(&publication).unwrap();
    case.has(&publication, "main");
    let elsewhere = Destination { repo: RepoId::parse("me/new").unwrap(), ..case.to() };
    let error = case
        .rights(&elsewhere)
        .map(drop)
        .and_then(|()| create(&elsewhere.repo, false, &case.options, &(), &Cancel::new()));
    assert!(error.unwrap_err().is_about_credentials());

    // It lives for an hour: each upload has its own.
    let first = case.options.token.clone();
    case.hub.expire_exchanged();
    let changed = Publication { delete: vec!["notes.txt".to_owned()], ..publication.clone() };
    assert!(case.publish(&changed).unwrap_err().is_about_credentials());
    case.options.token = exchange(&case, &source).unwrap();
    assert_ne!(case.options.token, first);
    case.publish(&changed).unwrap();
    assert_eq!(case.commits(), 3);
    // GitHub's secret went to GitHub, the Hub's tokens to the Hub.
    for seen in case.hub.seen() {
        let to_github = seen.authorization.as_deref() == Some("Bearer github-runner");
        assert_eq!(to_github, seen.on == On::IdToken, "{seen:?}");
        assert!(seen.on != On::Exchange || seen.authorization.is_none(), "{seen:?}");
    }
    source.workflow =
        Some(Workflow { url: case.hub.workflow().request_url.clone(), token: Token::new("wrong").unwrap() });
    let error = exchange(&case, &source).unwrap_err();
    assert!(
        matches!(error, HubError::NoIdentity { .. }) && !format!("{error:?}").contains("wrong"),
        "{error}"
    );
}

#[test]
fn what_the_hub_shows_is_compared() {
    // A header that does not come as it was sent.
    let case = Case::new().with_repo();
    case.hub.fault(On::Cdn, 9, Fault::Short(20));
    let error = case.publish(&case.publication(&[("Q8_0", 1)])).unwrap_err();
    assert!(matches!(error, HubError::Unchecked { .. } | HubError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("is in `me/model`"), "{error}");
    assert_eq!(case.commits(), 2);

    // A tag that finds another file, by llama.cpp's rule.
    let case = Case::new();
    let receipt = case.publish(&case.publication(&[("BF16", 1), ("F16", 2)])).unwrap();
    let gives: Vec<_> = receipt.tags.iter().map(|t| t.gives.as_deref().unwrap()).collect();
    assert_eq!(gives, ["model-bf16.gguf", "model-bf16.gguf"]);
    assert_eq!(case.count(Code::TagTaken), 1);
}

#[test]
fn what_is_not_gguf_is_found_out() {
    let case = Case::new();
    let mut publication = case.publication(&[]);
    let content = Content::Text(b"GGUX and what not".to_vec());
    publication.files.push(PublishFile { path: "model-q8_0.gguf".to_owned(), content });
    let error = case.publish(&publication).unwrap_err();
    assert!(matches!(&error, HubError::Unreadable { path, .. } if path == "model-q8_0.gguf"), "{error}");
}

#[test]
fn a_repository_can_be_looked_at() {
    let case = Case::new();
    let options = &case.options;
    let look = || state(&repo(), options, &(), &Cancel::new()).unwrap();
    assert!(look().is_none());
    create(&repo(), true, options, &case.heard, &Cancel::new()).unwrap();
    create(&repo(), true, options, &case.heard, &Cancel::new()).unwrap();
    assert_eq!(case.count(Code::RepositoryCreated), 1);
    let there = look().unwrap();
    assert!(there.private && !there.gated && there.file(".gitattributes").is_some());
    case.publish(&case.publication(&[("Q8_0", 1)])).unwrap();
    let there = look().unwrap();
    let read = |path: &str, limit| read_file(&repo(), &there.head, path, limit, options, &(), &Cancel::new());
    assert_eq!(read("README.md", 1000).unwrap().unwrap(), CARD.as_bytes());
    assert_eq!(read("model-q8_0.gguf", 1 << 20).unwrap().unwrap(), gguf(1));
    assert_eq!(read("nowhere.json", 10).unwrap(), None);
    assert!(matches!(read("README.md", 10), Err(HubError::TooLong { .. })));
    assert_eq!(case.hub.leaks().len(), 0);
}

#[test]
fn a_user_who_stops_it_keeps_the_old_commit() {
    let case = Case::new().with_repo();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = publish(&case.publication(&[]), &case.options, &case.heard, &cancel).unwrap_err();
    assert!(matches!(error, HubError::Unpublished { .. }), "{error}");
    assert_eq!(case.commits(), 1);

    // In the middle of a doubt it is looked up all the same.
    for (fault, commits) in [(Fault::After(504), 2), (Fault::Status(504, vec![]), 1)] {
        let case = Case::new().with_repo();
        case.hub.fault(On::Commit, 1, fault);
        let cancel = Cancel::new();
        let stop = cancel.clone();
        case.hook(Code::CommitDoubted, move || stop.cancel());
        let published = publish(&case.publication(&[]), &case.options, &case.heard, &cancel);
        match published.unwrap_err() {
            HubError::Unchecked { .. } => assert_eq!(commits, 2),
            HubError::Unpublished { .. } => assert_eq!(commits, 1),
            error => panic!("{error}"),
        }
        assert_eq!(case.commits(), commits);
    }
}
