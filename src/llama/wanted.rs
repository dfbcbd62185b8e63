//! A toolchain that is not there yet: nothing happens before somebody first needs it.
//!
//! In: a [`Request`] and a [`Setup`]. Out, when it is first asked for: a [`Toolchain`], from the cache, from a
//! release's own programs, or built; then the same one. What the cache has is used without a connection, once
//! `jamph.lock` knows the commit of a tag.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::DEFAULT_TAG;
use super::build::BuildError;
use super::cache::{Cache, Came, Facts};
use super::error::ToolchainError;
use super::pins::{Kind, Pins};
use super::release::Patience;
use super::request::{Request, RequestError, number, secure};
use super::session::Session;
use super::toolchain::Toolchain;
use crate::base::cancel::Cancel;
use crate::base::token::Token;
use crate::event::Observer;

/// What getting a toolchain needs to know of this machine and its user.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder of caches.
    pub cache: PathBuf,
    /// `jamph.lock`.
    pub lock: PathBuf,
    /// GitHub's API.
    pub api: String,
    /// Sent to the API's origin only; reading releases needs none.
    pub token: Option<Token>,
    /// Make no connection.
    pub offline: bool,
    /// How patient requests are.
    pub patience: Patience,
    /// Compilers at a time.
    pub jobs: usize,
    /// The variables that programs may see: `PATH`, `HOME`, places for temporary files; no tokens.
    pub environment: Vec<(OsString, OsString)>,
    /// What a compiler may see besides: `CC`, `CXXFLAGS`, and the like.
    pub compilers: Vec<(OsString, OsString)>,
    /// What fetches Python packages may see besides: proxies, certificates, indexes.
    pub packages: Vec<(OsString, OsString)>,
    /// Where programs are looked for: the folders of `PATH`.
    pub search: Vec<PathBuf>,
}

/// A toolchain that is had when it is needed.
#[derive(Debug)]
pub struct Wanted {
    request: Request,
    setup: Setup,
    obtaining: Mutex<()>,
    obtained: OnceLock<Obtained>,
}

/// A toolchain, and how it came.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The toolchain.
    pub toolchain: Toolchain,
    /// How it came to be there; none for one that somebody installed.
    pub came: Option<Came>,
    /// Bytes of its entry in the cache.
    pub bytes: Option<u64>,
}

/// What an entry of the cache is named after.
#[derive(Clone, Debug)]
pub struct Keys {
    /// A release's own programs, where there may be some for this system.
    pub prebuilt: Option<Facts>,
    /// A build, where there is a compiler.
    pub built: Option<Facts>,
}

impl Wanted {
    /// Asks for nothing yet.
    pub fn new(request: Request, setup: Setup) -> Self {
        Wanted { request, setup, obtaining: Mutex::default(), obtained: OnceLock::new() }
    }

    /// What GitHub calls the latest release, unless that is older than what is in use.
    ///
    /// # Errors
    /// GitHub does not say, or it would be a step back.
    pub fn latest(
        setup: Setup,
        in_use: Option<&str>,
        native: bool,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Self, ToolchainError> {
        let session = Session { setup: &setup, observer, cancel };
        let github = session.github("the latest release")?;
        let release = github.latest()?;
        let tag = github.tag_of(&release)?;
        let mut pins = Pins::open(&setup.lock)?;
        // Where nobody names another one, the one that is built in is in use.
        let known = pins.tags().chain([in_use.unwrap_or(DEFAULT_TAG)]).filter_map(number).max();
        if let (Some(latest), Some(known)) = (number(&tag), known)
            && latest < known
        {
            return Err(RequestError::Downgrade { latest: tag, known: format!("b{known}") }.into());
        }
        secure(&tag)?;
        if release.tag_name != tag {
            session.pin(&mut pins, Kind::Release, &release.tag_name, &tag)?;
        }
        Ok(Wanted::new(Request::release(&tag, None, native), setup))
    }

    /// The toolchain; what it takes is done at the first call.
    ///
    /// # Errors
    /// Why there is none. The next call tries again.
    pub fn obtain(&self, cancel: &Cancel, observer: &dyn Observer) -> Result<&Toolchain, ToolchainError> {
        Ok(&self.obtain_whole(cancel, observer)?.toolchain)
    }

    /// As [`Wanted::obtain`], with how it came.
    ///
    /// # Errors
    /// As [`Wanted::obtain`].
    pub fn obtain_whole(
        &self,
        cancel: &Cancel,
        observer: &dyn Observer,
    ) -> Result<&Obtained, ToolchainError> {
        let _one = self.obtaining.lock().unwrap_or_else(PoisonError::into_inner);
        if self.obtained.get().is_none() {
            let session = Session { setup: &self.setup, observer, cancel };
            let obtained = session.obtain(&self.request)?;
            session.say(&obtained);
            // Nobody else sets it: the lock is held.
            let _ = self.obtained.set(obtained);
        }
        Ok(self.obtained.get().expect("it was set above"))
    }

    /// What its entry of the cache is or would be named after; none for an installed one.
    ///
    /// # Errors
    /// GitHub does not say which commit a tag is, or a source cannot be read.
    pub fn keys(&self, cancel: &Cancel, observer: &dyn Observer) -> Result<Option<Keys>, ToolchainError> {
        if matches!(self.request, Request::Installed(_)) {
            return Ok(None);
        }
        let session = Session { setup: &self.setup, observer, cancel };
        let resolved = session.resolve(&self.request)?;
        let built = match session.built_facts(&resolved) {
            Ok(facts) => Some(facts),
            Err(ToolchainError::Build(BuildError::Missing { .. })) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Keys { prebuilt: session.prebuilt_facts(&resolved), built }))
    }

    /// Without a connection from now on: what is not known already stays unknown.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.setup.offline = true;
        self
    }

    /// What is asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The variables that a child may see.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.setup.environment
    }

    /// What fetches Python packages may see besides.
    pub fn packages(&self) -> &[(OsString, OsString)] {
        &self.setup.packages
    }

    /// The folders of `PATH`.
    pub fn search(&self) -> &[PathBuf] {
        &self.setup.search
    }

    /// Where the builds are kept.
    pub fn cache(&self) -> Cache {
        Cache::new(&self.setup.cache)
    }
}
