//! What every command gets: settings and global options resolved, a reporter, and the flag that Ctrl-C raises.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Global;
use super::failure::{Failure, Kind};
use super::runner;
use super::settings::{Actions, Settings};
use crate::base::atomic::Outlives;
use crate::base::cancel::Cancel;
use crate::base::redact::Redactor;
use crate::base::token::Token;
use crate::base::units;
use crate::config::{Around, Layer, LlamaCpp};
use crate::event::{Level, Observer};
use crate::github::{GithubError, GithubOptions};
use crate::hub::{HubOptions, TokenSource};
use crate::llama::cache::Cache;
use crate::llama::python::PythonSource;
use crate::llama::{self, Request, ToolchainError, Wanted, pins};
use crate::quantize::simd;
use crate::report::{self, Format};
use crate::run::Setting;
use crate::run::files::Work;

/// Where outputs go if nobody says.
const OUTPUT: &str = "output";

/// What of llama.cpp jobs may need.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) llama: Arc<Wanted>,
    pub(super) python: PythonSource,
    /// Whether families that are not known here are left to its converter: where somebody named a llama.cpp.
    pub(super) fallback: bool,
}

/// What every command gets.
pub(super) struct Context {
    pub(super) json: bool,
    pub(super) cancel: Cancel,
    pub(super) observer: Box<dyn Observer>,
    pub(super) redactor: Redactor,
    pub(super) threads: usize,
    memory: Option<u64>,
    settings: Settings,
    hub: HubOptions,
}

impl Context {
    /// Precedence: command line, environment, what is built in.
    ///
    /// # Errors
    /// An option or a variable is wrong.
    pub(super) fn new(global: &Global) -> Result<Self, Failure> {
        let settings = Settings::from_process().map_err(|errors| {
            let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Failure::new(Kind::Usage, anyhow::anyhow!(text)).hint("correct or unset the variable")
        })?;
        if let Some(actions) = &settings.actions {
            runner::set(actions);
        }
        let token = settings
            .token()
            .map_err(|e| Failure::new(Kind::Credentials, e).hint("correct or unset the variable"))?;
        let memory = match &global.memory {
            None => settings.memory,
            Some(text) => Some(units::parse_size(text).map_err(|e| {
                Failure::usage(format!("`--memory {text}`: {e}"))
                    .hint("write it with its unit, such as `512MB` or `2GiB`")
            })?),
        };
        let threads = match global.threads {
            Some(0) => return Err(Failure::usage("`--threads 0`: at least one thread is needed")),
            Some(n) => n,
            None => match settings.threads {
                Some(n) => n.get(),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
        };
        if let Some(widest) = settings.simd {
            simd::limit(widest);
        }
        let cancel = Cancel::new();
        let raise = cancel.clone();
        ctrlc::set_handler(move || raise.cancel()).map_err(|e| Failure::new(Kind::Internal, e))?;

        let cache = cache_folder(&settings);
        let mut hub = HubOptions::new(settings.hub.clone(), cache);
        hub.offline = settings.offline;
        hub.token = token;
        let redactor = redactor(&settings, hub.token.as_ref());
        let least = match (global.quiet, global.verbose) {
            (true, _) => Level::Warning,
            (_, true) => Level::Detail,
            _ => Level::Info,
        };
        let observer = match &settings.actions {
            Some(_) => report::actions(global.json, least, redactor.clone()),
            None => report::reporter(format(global, &settings), least, redactor.clone()),
        };
        Ok(Context { json: global.json, cancel, observer, redactor, threads, memory, settings, hub })
    }

    /// What stands above and below a models.yaml.
    pub(super) fn around(&self, above: Layer) -> Around {
        let mut below = Layer::default();
        below.prefix.clone_from(&self.settings.prefix);
        below.publish.owner.clone_from(&self.settings.owner);
        below.publish.private = self.settings.private;
        below.publish.stream = self.settings.stream;
        Around { above, below }
    }

    /// Where outputs go.
    pub(super) fn output(&self, given: Option<&PathBuf>) -> PathBuf {
        given.or(self.settings.output.as_ref()).cloned().unwrap_or_else(|| PathBuf::from(OUTPUT))
    }

    /// What the jobs of a run share.
    pub(super) fn setting(
        &self,
        output: Option<&PathBuf>,
        force: bool,
        keep_files: bool,
        tools: &Tools,
    ) -> Setting {
        Setting {
            output: self.output(output),
            hub: self.hub.clone(),
            tokens: TokenSource { workflow: None, given: self.hub.token.clone() },
            force,
            publish: !(self.settings.skip_upload || self.settings.offline),
            keep_files,
            stats: true,
            threads: self.threads,
            memory: self.memory,
            llama: Arc::clone(&tools.llama),
            fallback: tools.fallback,
            python: tools.python.clone(),
        }
    }

    /// What of llama.cpp the jobs of a models.yaml may need; nothing is done before it is needed.
    ///
    /// # Errors
    /// As [`Context::wanted`].
    pub(super) fn tools(&self, asked: Option<&LlamaCpp>, models_yaml: &Path) -> Result<Tools, Failure> {
        let given = asked.and_then(|llama| llama.python.clone());
        let named = asked.is_some() || self.settings.llama_cpp.is_some();
        Ok(Tools {
            llama: Arc::new(self.wanted(asked, models_yaml)?),
            python: PythonSource {
                given: given.or_else(|| self.settings.python.clone()),
                cache: self.hub.cache.clone(),
                offline: self.hub.offline,
            },
            fallback: self.settings.fallback.unwrap_or(named),
        })
    }

    /// The llama.cpp that a models.yaml asks for, or that the environment names; nothing is done before it is needed.
    /// What is downloaded is recorded beside the models.yaml, or in the cache where there is none.
    ///
    /// # Errors
    /// It is below the security minimum, or the token for GitHub is none.
    pub(super) fn wanted(&self, asked: Option<&LlamaCpp>, models_yaml: &Path) -> Result<Wanted, Failure> {
        let installed = self.settings.llama_cpp.clone().map(Request::Installed);
        let request = installed.map_or_else(|| Request::new(asked).map_err(ToolchainError::from), Ok)?;
        Ok(Wanted::new(request, self.toolchain_setup(models_yaml)?))
    }

    /// What getting a llama.cpp needs to know.
    ///
    /// # Errors
    /// The token for GitHub is none.
    pub(super) fn toolchain_setup(&self, models_yaml: &Path) -> Result<llama::Setup, Failure> {
        let wrong = |e| Failure::new(Kind::Credentials, e).hint("correct or unset the variable");
        let settings = &self.settings;
        let beside = models_yaml.is_file().then(|| models_yaml.with_file_name(pins::FILE));
        Ok(llama::Setup {
            cache: self.hub.cache.clone(),
            lock: beside.unwrap_or_else(|| Cache::new(&self.hub.cache).root().join(pins::FILE)),
            api: settings.github_api.clone(),
            token: settings.github_token().map_err(wrong)?,
            offline: settings.offline,
            patience: llama::Patience::default(),
            jobs: self.threads,
            environment: settings.for_programs(),
            compilers: settings.for_compilers(),
            packages: settings.for_packages(),
            search: settings.search(),
        })
    }

    /// Where a token for an upload comes from, as the environment has it now.
    ///
    /// # Errors
    /// What is set is no token.
    pub(super) fn tokens(&self) -> Result<TokenSource, Failure> {
        let wrong = |e| Failure::new(Kind::Credentials, e).hint("correct or unset the variable");
        self.settings.token_source().map_err(wrong)
    }

    /// The job of GitHub Actions that this runs in.
    pub(super) fn actions(&self) -> Option<&Actions> {
        self.settings.actions.as_ref()
    }

    /// How GitHub is reached.
    ///
    /// # Errors
    /// There is no repository, or what is set is no token.
    pub(super) fn github(&self) -> Result<GithubOptions, Failure> {
        let token = self.settings.github_token();
        let token =
            token.map_err(|e| Failure::new(Kind::Credentials, e).hint("correct or unset the variable"))?;
        let (variable, why) = ("GITHUB_REPOSITORY", "not set");
        let repo = self.settings.github_repo.as_deref().ok_or(GithubError::Setting { variable, why })?;
        Ok(GithubOptions::new(&self.settings.github_api, repo, token)?)
    }

    /// Where a person sees this run of a workflow.
    pub(super) fn run_url(&self) -> Option<String> {
        self.settings.run_url()
    }

    /// How the Hub is reached.
    pub(super) fn hub(&self) -> &HubOptions {
        &self.hub
    }

    /// Whether outputs stay on this machine, as the environment says.
    pub(super) fn skips_uploads(&self) -> bool {
        self.settings.skip_upload
    }

    /// Whether uploads go on behind the next job.
    pub(super) fn uploads_behind(&self, flag: Option<bool>) -> bool {
        flag.or(self.settings.async_upload).unwrap_or(true)
    }

    /// How a single step works.
    pub(super) fn work(&self, task: &str) -> Work {
        Work {
            threads: self.threads,
            memory: self.memory,
            check_finite: true,
            hash: false,
            stats: true,
            // As the tools that they stand in for, single steps do not wait for the disk.
            outlives: Outlives::Process,
            task: task.to_owned(),
        }
    }
}

/// Takes out every secret that the environment has. One that is none hides nothing, and is said where it is used.
fn redactor(settings: &Settings, token: Option<&Token>) -> Redactor {
    let github = settings.github_token().ok().flatten();
    let workflow = settings.token_source().ok().and_then(|source| source.workflow).map(|w| w.token);
    let all = [token.cloned(), github, workflow];
    Redactor::new(all.iter().flatten().map(Token::reveal))
}

fn format(global: &Global, settings: &Settings) -> Format {
    if global.json {
        Format::Json
    } else if io::stderr().is_terminal() && !settings.ci {
        Format::Terminal { colour: !settings.no_colour }
    } else {
        Format::Lines
    }
}

/// `JAMPH_CACHE`, else a folder of our own in the user's cache.
fn cache_folder(settings: &Settings) -> PathBuf {
    let name = env!("CARGO_PKG_NAME");
    settings
        .cache
        .clone()
        .or_else(|| settings.user_cache.as_ref().map(|c| c.join(name)))
        .unwrap_or_else(|| PathBuf::from(".cache").join(name))
}
