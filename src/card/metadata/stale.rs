//! Whether an output is what would be made now, and why not.

use thiserror::Error;

use super::recipe::Recipe;
use super::source::Source;
use super::{Output, QuantizationMetadata};

/// Why an output would be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Stale {
    /// The metadata does not know the file.
    #[error("`{0}` is not in the metadata")]
    NotListed(String),
    /// The source has another commit or other files.
    #[error("the source changed: {0}")]
    Source(String),
    /// Another llama.cpp decides what is right.
    #[error("the reference changed: {was}, now {now}")]
    Reference {
        /// Then.
        was: String,
        /// Now.
        now: String,
    },
    /// The program makes other bytes of the same recipe now.
    #[error("the recipe format changed: {was}, now {now}")]
    RecipeVersion {
        /// Then.
        was: u32,
        /// Now.
        now: u32,
    },
    /// Other options.
    #[error("the options changed")]
    Recipe,
}

/// What would be made now.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// File name.
    pub file: &'a str,
    /// How it would be made.
    pub recipe: &'a Recipe,
    /// From what.
    pub source: &'a Source,
    /// The llama.cpp release.
    pub reference: &'a str,
    /// The recipe version of this program.
    pub recipe_version: u32,
}

impl QuantizationMetadata {
    /// The output of this name, if it is what would be made now. Whether the file itself is still as it was (its size,
    /// its hash) is for the caller to see.
    ///
    /// # Errors
    /// [`Stale`] says what changed.
    pub fn up_to_date(&self, wanted: &Wanted<'_>) -> Result<&Output, Stale> {
        let output = self.outputs.iter().find(|o| o.file == wanted.file);
        let output = output.ok_or_else(|| Stale::NotListed(wanted.file.to_owned()))?;
        let made = self.made(output);
        if made.reference != wanted.reference {
            let (was, now) = (made.reference.to_owned(), wanted.reference.to_owned());
            return Err(Stale::Reference { was, now });
        }
        let was = made.program.recipe_version;
        if was != wanted.recipe_version {
            return Err(Stale::RecipeVersion { was, now: wanted.recipe_version });
        }
        made.source.same_as(wanted.source)?;
        if output.recipe != *wanted.recipe {
            return Err(Stale::Recipe);
        }
        Ok(output)
    }
}
