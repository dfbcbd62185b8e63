//! `llama_cpp:`: which one is meant, and what contradicts itself.

use super::Resolve;
use super::layer::plain;
use crate::config::model::{LlamaCpp, LlamaSource};
use crate::config::problem::Problem;
use crate::config::raw::RawLlamaCpp;
use crate::config::read::At;

impl Resolve<'_> {
    /// Which llama.cpp is meant. Contradictions are reported; what is left of them is read all the same.
    pub(super) fn llama_cpp(&mut self, section: At<RawLlamaCpp>) -> LlamaCpp {
        let RawLlamaCpp { tag, commit, source, subfolder, native, installed, python } = section.value;
        let refuse = |problems: &mut Vec<Problem>, place, text: &str, hint: &str| {
            problems.push(Problem::new(place, text).hint(hint));
        };
        if let Some(installed) = &installed
            && (tag.is_some() || commit.is_some() || source.is_some() || native.is_some())
        {
            let text = "`llama_cpp` has `installed` and says which one to get";
            refuse(
                self.problems,
                installed.place,
                text,
                "what is installed is used as it is: leave the other keys out",
            );
        }
        if let (Some(subfolder), None) = (&subfolder, &source) {
            let text = "`llama_cpp` has a `subfolder` and no `source`";
            refuse(
                self.problems,
                subfolder.place,
                text,
                "releases and commits on GitHub are taken from their root",
            );
        }
        let says_nothing = tag.is_none()
            && commit.is_none()
            && source.is_none()
            && native.is_none()
            && installed.is_none()
            && python.is_none();
        if says_nothing && section.clean {
            let text = "`llama_cpp` says no version";
            refuse(
                self.problems,
                section.place,
                text,
                "give it a `tag`, a `commit`, a `source` or `installed`",
            );
        }
        LlamaCpp {
            tag: tag.map(|tag| tag.value.0),
            commit: commit.map(|commit| commit.value.0),
            source: source.map(|source| match source.value.0 {
                LlamaSource::Path(path) => LlamaSource::Path(self.path(path)),
                url @ LlamaSource::Url(_) => url,
            }),
            subfolder: subfolder.map(|subfolder| subfolder.value.0),
            native: plain(native).unwrap_or(false),
            installed: installed.map(|path| self.path(path.value.0)),
            // A name without a folder is looked up.
            python: python.map(|path| match path.value.0 {
                name if name.components().count() == 1 => name,
                path => self.path(path),
            }),
        }
    }
}
