//! The names that a models.yaml may use and that are not known to this layer.

use super::model::TOWER;
use super::problem::closest;
use super::read::{Wrong, list};
use crate::base::quote::quote;

/// A quantization method by its names.
#[derive(Clone, Copy, Debug)]
pub struct MethodName<'a> {
    /// As it stands in file names and tables (`Q4_K_M`).
    pub name: &'a str,
    /// What else it may be called (`Q4_K`).
    pub aliases: &'a [&'a str],
}

/// What the layer above knows and this one does not.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    /// The methods that can be asked for.
    pub methods: &'a [MethodName<'a>],
}

impl<'a> Vocabulary<'a> {
    /// The proper name of a method that was written in either case or by an alias.
    pub(crate) fn method(&self, typed: &str) -> Result<&'a str, Wrong> {
        let is = |name: &str| name.eq_ignore_ascii_case(typed);
        if let Some(method) =
            self.methods.iter().find(|m| is(m.name) || m.aliases.iter().any(|alias| is(alias)))
        {
            return Ok(method.name);
        }
        if let Some(ty) =
            typed.split_once(':').filter(|(key, _)| format!("{key}-") == TOWER).map(|(_, ty)| ty)
        {
            return self.tower(ty.trim());
        }
        let names: Vec<&str> = self.methods.iter().map(|method| method.name).collect();
        let wrong = Wrong::new(format!("unknown method {}", quote(typed)));
        Err(match closest(typed, names.iter().copied()) {
            Some(near) => wrong.hint(format!("did you mean `{near}`?")),
            None => wrong.hint(format!("the methods are {}", list(&names))),
        })
    }

    /// The types of vision towers.
    pub(crate) fn towers(&self) -> impl Iterator<Item = &'a str> {
        self.methods.iter().filter_map(|method| method.name.strip_prefix(TOWER))
    }

    /// The proper name of a vision tower's type.
    pub(crate) fn tower(&self, typed: &str) -> Result<&'a str, Wrong> {
        let named = |name: &&str| name.strip_prefix(TOWER).is_some_and(|ty| ty.eq_ignore_ascii_case(typed));
        self.methods.iter().map(|method| method.name).find(named).ok_or_else(|| {
            let types: Vec<&str> = self.towers().collect();
            Wrong::new(format!("{} is no type of a vision tower", quote(typed)))
                .hint(format!("the types are {}", list(&types)))
        })
    }
}
