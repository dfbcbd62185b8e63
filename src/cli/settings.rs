//! The environment, read once and typed.
//!
//! In goes a function that looks a variable up, out come [`Settings`], or every variable that is wrong. An empty
//! variable counts as one that is not set. The token alone is looked up each time it is wanted and kept nowhere: it may
//! be short-lived, and what is not kept cannot leak. Nothing else in the program reads the environment.

mod actions;
mod children;

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::base::token::{Token, TokenError};
use crate::base::units;
use crate::github::PUBLIC_API;
use crate::hub::{DEFAULT_ENDPOINT, TokenSource, Workflow};
use crate::quantize::simd;

pub use actions::Actions;
pub use children::Variables;

/// Where a token may be, in the order in which they are tried.
const TOKENS: [&str; 2] = ["HF_TOKEN", "HUGGINGFACE_TOKEN"];
/// Where a token of GitHub may be, in the order in which they are tried.
const GITHUB_TOKENS: [&str; 2] = ["GITHUB_TOKEN", "GH_TOKEN"];
/// Where the file with the token of `hf auth login` is, if not at its usual place.
const TOKEN_FILE: &str = "HF_TOKEN_PATH";
/// Where a job of GitHub Actions asks for its identity, and the secret for that.
const IDENTITY: [&str; 2] = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];

/// How a variable is looked up.
pub type Lookup = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// What the environment says.
pub struct Settings {
    /// Address of the Hub, without a slash at its end (`HF_ENDPOINT`).
    pub hub: String,
    /// Where Hugging Face's tools keep their files (`HF_HOME`; else the usual folder of the user).
    pub hub_home: Option<PathBuf>,
    /// The user's cache (`XDG_CACHE_HOME`; else `.cache` in the user's folder).
    pub user_cache: Option<PathBuf>,
    /// Whether the Hub may not be asked (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Whether colours are unwanted (`NO_COLOR`).
    pub no_colour: bool,
    /// Whether the program runs in continuous integration (`CI`).
    pub ci: bool,
    /// The job of GitHub Actions that it runs in (`GITHUB_ACTIONS`).
    pub actions: Option<Actions>,
    /// Address of GitHub's API, without a slash at its end (`GITHUB_API_URL`).
    pub github_api: String,
    /// The repository on GitHub, `owner/name` (`GITHUB_REPOSITORY`).
    pub github_repo: Option<String>,
    /// Folder with llama.cpp's programs, to be used as they are (`JAMPH_LLAMA_CPP`).
    pub llama_cpp: Option<PathBuf>,
    /// The Python that llama.cpp's converter runs in (`JAMPH_PYTHON`).
    pub python: Option<PathBuf>,
    /// Whether llama.cpp's converter takes families that are not known here (`JAMPH_FALLBACK`).
    pub fallback: Option<bool>,
    /// Folder of the outputs (`JAMPH_OUTPUT`).
    pub output: Option<PathBuf>,
    /// Folder of what is downloaded (`JAMPH_CACHE`).
    pub cache: Option<PathBuf>,
    /// Prefix of file names (`JAMPH_PREFIX`, `MODEL_PREFIX`).
    pub prefix: Option<String>,
    /// Owner of the repositories (`JAMPH_OWNER`, `HF_USERNAME`).
    pub owner: Option<String>,
    /// Whether outputs stay on this machine (`JAMPH_SKIP_UPLOAD`).
    pub skip_upload: bool,
    /// Whether a model's outputs are uploaded while the next one is worked on (`JAMPH_ASYNC_UPLOAD`).
    pub async_upload: Option<bool>,
    /// Whether repositories that are created are private (`JAMPH_PRIVATE`).
    pub private: Option<bool>,
    /// Whether outputs are written straight into the upload (`JAMPH_STREAM`).
    pub stream: Option<bool>,
    /// Widest vector instructions that may be used (`JAMPH_SIMD`).
    pub simd: Option<simd::Level>,
    /// Threads that work (`JAMPH_THREADS`).
    pub threads: Option<NonZeroUsize>,
    /// Bytes of memory that may be used (`JAMPH_MEMORY`).
    pub memory: Option<u64>,
    lookup: Lookup,
}

/// A variable that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Neither yes nor no.
    #[error("`{name}` is `{value}`, which is none of 1/0, true/false, yes/no, on/off")]
    Boolean {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not one of a few words.
    #[error("`{name}` is `{value}`, which is none of {allowed}")]
    Choice {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Not a number from one.
    #[error("`{name}` is `{value}`, which is no whole number from 1")]
    Number {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a size.
    #[error("`{name}` is `{value}`, which is no size such as `8GB` or `512MiB`")]
    Size {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        source: units::SizeError,
    },
    /// Not the address of a Hub. The value may hold a password and is not shown.
    #[error("`{name}` is no address such as `{example}`")]
    Address {
        /// The variable.
        name: &'static str,
        /// What it may be.
        example: &'static str,
    },
    /// Not a token. The value is not shown.
    #[error("`{name}` holds no token")]
    Token {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        source: TokenError,
    },
    /// The file with the token cannot be read.
    #[error("`{name}` names `{path}`, which cannot be read: {kind}")]
    TokenFile {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        kind: std::io::ErrorKind,
    },
    /// Not UTF-8. The value is not shown.
    #[error("`{name}` is not UTF-8")]
    Encoding {
        /// The variable.
        name: &'static str,
    },
}

impl Settings {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// Every variable that is wrong.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_process() -> Result<Self, Vec<SettingError>> {
        Settings::new(Box::new(|name| std::env::var_os(name)))
    }

    /// Reads an environment.
    ///
    /// # Errors
    /// Every variable that is wrong.
    pub fn new(lookup: Lookup) -> Result<Self, Vec<SettingError>> {
        let mut reader = Reader { lookup: &lookup, errors: Vec::new() };
        let hub =
            reader.address("HF_ENDPOINT", DEFAULT_ENDPOINT).unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let user_cache = reader.path("XDG_CACHE_HOME").or_else(|| {
            let home = reader.path("HOME").or_else(|| reader.path("USERPROFILE"));
            home.map(|home| home.join(".cache"))
        });
        let hub_home =
            reader.path("HF_HOME").or_else(|| user_cache.as_ref().map(|cache| cache.join("huggingface")));
        let offline = reader.boolean("HF_HUB_OFFLINE").unwrap_or(false);
        // https://no-color.org: any value but an empty one.
        let no_colour = reader.path("NO_COLOR").is_some();
        let ci = reader.presence("CI");
        let actions = reader.presence("GITHUB_ACTIONS").then(|| Actions::read(&mut reader));
        let github_api =
            reader.address("GITHUB_API_URL", PUBLIC_API).unwrap_or_else(|| PUBLIC_API.to_owned());
        let github_repo = reader.text("GITHUB_REPOSITORY");
        let llama_cpp = reader.path("JAMPH_LLAMA_CPP");
        let python = reader.path("JAMPH_PYTHON");
        let fallback = reader.boolean("JAMPH_FALLBACK");
        let output = reader.path("JAMPH_OUTPUT");
        let cache = reader.path("JAMPH_CACHE");
        let prefix = reader.text("JAMPH_PREFIX").or_else(|| reader.text("MODEL_PREFIX"));
        let owner = reader.text("JAMPH_OWNER").or_else(|| reader.text("HF_USERNAME"));
        let skip_upload = reader.boolean("JAMPH_SKIP_UPLOAD").unwrap_or(false);
        let async_upload = reader.boolean("JAMPH_ASYNC_UPLOAD");
        let private = reader.boolean("JAMPH_PRIVATE");
        let stream = reader.boolean("JAMPH_STREAM");
        let simd = reader.simd("JAMPH_SIMD");
        let threads = reader.number("JAMPH_THREADS");
        let memory = reader.size("JAMPH_MEMORY");
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok(Settings {
            hub,
            hub_home,
            user_cache,
            offline,
            no_colour,
            ci,
            actions,
            github_api,
            github_repo,
            llama_cpp,
            python,
            fallback,
            output,
            cache,
            prefix,
            owner,
            skip_upload,
            async_upload,
            private,
            stream,
            simd,
            threads,
            memory,
            lookup,
        })
    }

    /// The token, as the environment has it now; else that of the file which `hf auth login` wrote.
    ///
    /// # Errors
    /// What is set is no token, or names a file that cannot be read.
    pub fn token(&self) -> Result<Option<Token>, SettingError> {
        for name in TOKENS {
            if let Some(token) = self.secret(name)? {
                return Ok(Some(token));
            }
        }
        self.token_of_file()
    }

    /// The token for GitHub's API, as the environment has it now.
    ///
    /// # Errors
    /// What is set is no token.
    pub fn github_token(&self) -> Result<Option<Token>, SettingError> {
        for name in GITHUB_TOKENS {
            if let Some(token) = self.secret(name)? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// Where a person sees this run of a workflow.
    pub fn run_url(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let repo = self.github_repo.as_ref().filter(|name| name.chars().all(plain))?;
        let actions = self.actions.as_ref()?;
        Some(format!("{}/{repo}/actions/runs/{}", actions.server, actions.run?))
    }

    fn secret(&self, name: &'static str) -> Result<Option<Token>, SettingError> {
        let Some(value) = (self.lookup)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let text = value.to_str().ok_or(SettingError::Encoding { name })?;
        Token::new(text).map(Some).map_err(|source| SettingError::Token { name, source })
    }

    fn token_of_file(&self) -> Result<Option<Token>, SettingError> {
        let name = TOKEN_FILE;
        let named = (self.lookup)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = named {
            return match fs::read_to_string(&path) {
                Ok(text) => {
                    Token::new(&text).map(Some).map_err(|source| SettingError::Token { name, source })
                }
                Err(error) => Err(SettingError::TokenFile { name, path, kind: error.kind() }),
            };
        }
        // Nobody asked for the usual file: what cannot be read, or is no token, is none.
        let text = self.hub_home.as_ref().and_then(|home| fs::read_to_string(home.join("token")).ok());
        Ok(text.and_then(|text| Token::new(&text).ok()))
    }

    /// Where a token for an upload comes from, as the environment has it now.
    ///
    /// # Errors
    /// As [`Settings::token`].
    pub fn token_source(&self) -> Result<TokenSource, SettingError> {
        let [url, secret] = IDENTITY;
        let workflow = match ((self.lookup)(url).filter(|url| !url.is_empty()), self.secret(secret)?) {
            (Some(address), Some(token)) => {
                let address = address.into_string().map_err(|_| SettingError::Encoding { name: url })?;
                Some(Workflow { url: address, token })
            }
            _ => None,
        };
        Ok(TokenSource { workflow, given: self.token()? })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("hub", &self.hub).finish_non_exhaustive()
    }
}

struct Reader<'a> {
    lookup: &'a Lookup,
    errors: Vec<SettingError>,
}

impl Reader<'_> {
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        match self.raw(name)?.into_string() {
            Ok(text) => Some(text),
            Err(_) => {
                self.errors.push(SettingError::Encoding { name });
                None
            }
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// Variables of others, who do not keep to our words: `CI=woodpecker` is a yes.
    fn presence(&self, name: &str) -> bool {
        let no = |value: &OsString| value.to_str().is_some_and(|text| boolean(text) == Some(false));
        self.raw(name).is_some_and(|value| !no(&value))
    }

    fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.text(name)?;
        let known = boolean(&value);
        if known.is_none() {
            self.errors.push(SettingError::Boolean { name, value });
        }
        known
    }

    fn simd(&mut self, name: &'static str) -> Option<simd::Level> {
        let value = self.text(name)?;
        let level = value.to_ascii_lowercase().parse().ok();
        if level.is_none() {
            let allowed = "`baseline`, `avx2`, `avx512`";
            self.errors.push(SettingError::Choice { name, value, allowed });
        }
        level
    }

    fn number(&mut self, name: &'static str) -> Option<NonZeroUsize> {
        let value = self.text(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.errors.push(SettingError::Number { name, value });
        }
        number
    }

    fn size(&mut self, name: &'static str) -> Option<u64> {
        let value = self.text(name)?;
        units::parse_size(&value)
            .map_err(|source| self.errors.push(SettingError::Size { name, value, source }))
            .ok()
    }

    fn address(&mut self, name: &'static str, example: &'static str) -> Option<String> {
        let value = self.text(name)?;
        let trimmed = value.trim().trim_end_matches('/');
        let rest = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        let fits = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default();
            !host.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains(['@', '?', '#'])
        };
        if rest.is_some_and(fits) {
            return Some(trimmed.to_owned());
        }
        self.errors.push(SettingError::Address { name, example });
        None
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn read(variables: &'static [(&str, &str)]) -> Result<Settings, Vec<SettingError>> {
        Settings::new(Box::new(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        }))
    }

    #[test]
    fn nothing_set_gives_the_built_in_values() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.hub, "https://huggingface.co");
        assert_eq!((settings.hub_home, settings.prefix, settings.owner), (None, None, None));
        assert!(!(settings.offline || settings.no_colour || settings.ci || settings.actions.is_some()));
    }

    #[test]
    fn variables_are_typed() {
        let settings = read(&[
            ("HF_ENDPOINT", "http://127.0.0.1:8080/"),
            ("HF_HUB_OFFLINE", "Yes"),
            ("HOME", "/home/me"),
            ("NO_COLOR", "0"),
            ("CI", "woodpecker"),
            ("GITHUB_ACTIONS", "false"),
            ("JAMPH_OUTPUT", "out"),
            ("JAMPH_CACHE", ""),
            ("MODEL_PREFIX", "old-"),
            ("JAMPH_OWNER", "new"),
            ("HF_USERNAME", "old"),
            ("JAMPH_SKIP_UPLOAD", "no"),
            ("JAMPH_ASYNC_UPLOAD", "off"),
            ("JAMPH_PRIVATE", "1"),
            ("JAMPH_SIMD", "AVX2"),
            ("JAMPH_THREADS", "2"),
            ("JAMPH_MEMORY", "1.5GiB"),
        ])
        .unwrap();
        assert_eq!(settings.hub, "http://127.0.0.1:8080");
        assert_eq!(settings.hub_home, Some("/home/me/.cache/huggingface".into()));
        assert!(settings.offline && settings.no_colour && settings.ci && settings.actions.is_none());
        assert_eq!((settings.output, settings.cache), (Some("out".into()), None));
        assert_eq!((settings.prefix.as_deref(), settings.owner.as_deref()), (Some("old-"), Some("new")));
        let publishing = (settings.skip_upload, settings.async_upload, settings.private, settings.stream);
        assert_eq!(publishing, (false, Some(false), Some(true), None));
        assert_eq!(
            (settings.simd, settings.threads.map(NonZeroUsize::get)),
            (Some(simd::Level::Avx2), Some(2))
        );
        assert_eq!(settings.memory, Some(3 << 29));
    }

    #[test]
    fn every_variable_that_is_wrong_is_named() {
        let errors = read(&[
            ("HF_ENDPOINT", "https://me:pw@host"),
            ("HF_HUB_OFFLINE", "maybe"),
            ("JAMPH_SIMD", "neon"),
            ("JAMPH_THREADS", "0"),
            ("JAMPH_MEMORY", "8"),
        ])
        .unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "`HF_ENDPOINT` is no address such as `https://huggingface.co`",
                "`HF_HUB_OFFLINE` is `maybe`, which is none of 1/0, true/false, yes/no, on/off",
                "`JAMPH_SIMD` is `neon`, which is none of `baseline`, `avx2`, `avx512`",
                "`JAMPH_THREADS` is `0`, which is no whole number from 1",
                "`JAMPH_MEMORY` is `8`, which is no size such as `8GB` or `512MiB`",
            ]
        );
    }

    #[test]
    fn the_token_is_read_afresh_and_never_shown() {
        let value = Arc::new(Mutex::new(None::<OsString>));
        let shared = Arc::clone(&value);
        let settings = Settings::new(Box::new(move |name| {
            (name == "HUGGINGFACE_TOKEN").then(|| shared.lock().unwrap().clone()).flatten()
        }))
        .unwrap();
        assert_eq!(settings.token(), Ok(None));
        *value.lock().unwrap() = Some("hf_secret".into());
        assert_eq!(settings.token().unwrap().unwrap().reveal(), "hf_secret");
        *value.lock().unwrap() = Some("hf_two words".into());
        let error = settings.token().unwrap_err();
        assert_eq!(error.to_string(), "`HUGGINGFACE_TOKEN` holds no token");
        assert!(!format!("{settings:?} {error:?}").contains("hf_"));
    }

    #[test]
    fn the_token_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("token"), "hf_home\n").unwrap();
        fs::write(at("other"), "hf_named\n").unwrap();
        fs::write(at("two"), "hf_a hf_b").unwrap();
        let read = |variables: &[(&'static str, OsString)]| {
            let variables = variables.to_vec();
            let value =
                move |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.clone());
            Settings::new(Box::new(value)).unwrap().token()
        };
        let home = ("HF_HOME", folder.path().as_os_str().to_owned());
        let named = |name: &str| ("HF_TOKEN_PATH", at(name).into_os_string());
        let check = |variables: &[(&'static str, OsString)], token: &str| {
            assert_eq!(read(variables).unwrap().unwrap().reveal(), token);
        };
        check(std::slice::from_ref(&home), "hf_home");
        check(&[home.clone(), named("other")], "hf_named");
        check(&[home.clone(), named("other"), ("HF_TOKEN", "hf_set".into())], "hf_set");
        assert_eq!(read(&[("HF_HOME", at("nowhere").into())]), Ok(None));
        assert!(matches!(read(&[named("nowhere")]), Err(SettingError::TokenFile { .. })));
        let error = read(&[home, named("two")]).unwrap_err();
        assert_eq!(error.to_string(), "`HF_TOKEN_PATH` holds no token");
        fs::write(at("token"), "hf_a hf_b").unwrap();
        assert_eq!(read(&[("HF_HOME", folder.path().into())]), Ok(None));
    }

    #[test]
    fn a_workflow_has_an_identity_where_both_variables_are_set() {
        const URL: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github.example/id?x=1");
        const SECRET: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "abc.def.ghi");
        let source = read(&[URL, SECRET, ("HF_TOKEN", "hf_a")]).unwrap().token_source().unwrap();
        let workflow = source.workflow.clone().unwrap();
        assert_eq!((workflow.url.as_str(), workflow.token.reveal()), (URL.1, SECRET.1));
        assert!(!format!("{source:?}").contains("abc") && source.given.is_some());
        assert_eq!(read(&[URL]).unwrap().token_source().unwrap(), TokenSource::default());
    }

    #[test]
    fn the_first_token_wins() {
        let settings = read(&[("HUGGINGFACE_TOKEN", "hf_b"), ("HF_TOKEN", "hf_a")]).unwrap();
        assert_eq!(settings.token().unwrap().unwrap().reveal(), "hf_a");
    }
}
