//! From the tree to typed structs, gathering every problem on the way.
//!
//! [`section!`] declares a struct from which three things follow: the struct itself, its reader, and its part of the
//! JSON Schema. A value that cannot be read is reported and left out; the rest of the document is still read.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problem::{Place, Problem, closest};
use super::tree::{Node, Value};
use super::vocabulary::Vocabulary;
use crate::base::quote::quote;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub place: Place,
    pub value: T,
    /// Whether no part of it was reported: only then does what is absent mean that it was not given.
    pub clean: bool,
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What reading needs to know, and the problems that it found.
pub(crate) struct Reader<'a> {
    pub vocabulary: &'a Vocabulary<'a>,
    pub problems: Vec<Problem>,
    /// The key whose value is being read, for messages.
    key: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary<'a>) -> Self {
        Reader { vocabulary, problems: Vec::new(), key: "the document".to_owned() }
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn expected(&mut self, what: &str, node: &Node) {
        let problem = self.wrong_kind(what, node);
        self.report(problem);
    }

    fn wrong_kind(&self, what: &str, node: &Node) -> Problem {
        let key = &self.key;
        let problem = match &node.value {
            Value::Null => Problem::new(node.place, format!("{key} has no value"))
                .hint(format!("write {what}, or leave the key out")),
            found => Problem::new(node.place, format!("{key} must be {what}, not {}", found.kind())),
        };
        match (&node.value, what) {
            (Value::Text(text), "a list") if text.len() <= 60 => problem.hint(format!("write `[{text}]`")),
            (Value::Text(text), "true or false") => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" | "1" => problem.hint("write `true`"),
                "no" | "off" | "false" | "0" => problem.hint("write `false`"),
                _ => problem,
            },
            _ => problem,
        }
    }

    /// Reads `node`.
    fn item<T: Read>(&mut self, node: &Node) -> Option<At<T>> {
        let before = self.problems.len();
        let value = T::read(node, self)?;
        Some(At { place: node.place, value, clean: self.problems.len() == before })
    }

    /// Reads `node` as the value of `key`.
    pub(crate) fn value<T: Read>(&mut self, key: &str, node: &Node) -> Option<At<T>> {
        let outer = std::mem::replace(&mut self.key, quote(key));
        let value = self.item(node);
        self.key = outer;
        value
    }
}

/// What can be read from a node. `None` means that a problem was reported.
pub(crate) trait Read: Sized {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// The entries of a mapping that are not read yet.
pub(crate) struct Entries<'n> {
    entries: Vec<(&'n str, &'n Node, &'n Node)>,
}

impl<'n> Entries<'n> {
    /// The entries of `node`, each key once.
    pub(crate) fn new(node: &'n Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(pairs) = &node.value else {
            reader.expected("a mapping", node);
            return None;
        };
        let mut entries: Vec<(&str, &Node, &Node)> = Vec::with_capacity(pairs.len());
        let mut seen = std::collections::HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            let Value::Text(name) = &key.value else {
                reader
                    .report(Problem::new(key.place, format!("a key must be text, not {}", key.value.kind())));
                continue;
            };
            if let Some(first) = seen.insert(name.as_str(), key.place.line) {
                reader.report(
                    Problem::new(key.place, format!("{} is given twice", quote(name)))
                        .hint(format!("it stands on line {first} already")),
                );
                continue;
            }
            entries.push((name, key, value));
        }
        Some(Entries { entries })
    }

    /// The entry of this name, if it is there.
    pub(crate) fn take<T: Read>(&mut self, name: &str, reader: &mut Reader<'_>) -> Option<At<T>> {
        let index = self.entries.iter().position(|(key, ..)| *key == name)?;
        let (key, _, node) = self.entries.swap_remove(index);
        reader.value(key, node)
    }

    /// Reports a key that is not there.
    pub(crate) fn require(&self, name: &str, example: &str, node: &Node, reader: &mut Reader<'_>) {
        if !self.entries.iter().any(|(key, ..)| *key == name) {
            let hint = format!("add `{name}: {example}`");
            reader.report(Problem::new(node.place, format!("`{name}` is missing")).hint(hint));
        }
    }

    /// Reports what is left.
    pub(crate) fn refuse_others(self, known: &[&'static str], reader: &mut Reader<'_>) {
        for (name, key, _) in self.entries {
            let problem = Problem::new(key.place, format!("unknown key {}", quote(name)));
            reader.report(match closest(name, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("the keys here are {}", list(known))),
            });
        }
    }

    /// What is left, as it stands.
    pub(crate) fn rest(self) -> Vec<(&'n str, &'n Node, &'n Node)> {
        self.entries
    }
}

/// Names for a message: `a`, `b`, `c`.
pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Declares a mapping: a struct whose fields are all optional, its reader, and its schema. A key that is required and
/// not there is reported by the reader, so that whoever uses the struct passes over what is absent.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $ty:ty,)*
    } $(requires [$($required:literal = $example:literal),*])? $(and $shared:ident: $shared_ty:ty)?) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub $field: Option<$crate::config::read::At<$ty>>,)*
            $(#[schemars(flatten)] pub $shared: $shared_ty,)?
        }

        impl $name {
            /// The keys of the mapping.
            pub(crate) fn keys() -> Vec<&'static str> {
                #[allow(unused_mut, reason = "not every section shares another's keys")]
                let mut keys = vec![$(stringify!($field).trim_start_matches("r#"),)*];
                $(keys.extend(<$shared_ty>::keys());)?
                keys
            }

            /// Takes the entries that it knows.
            pub(crate) fn take(
                entries: &mut $crate::config::read::Entries<'_>,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Self {
                $name {
                    $($field: entries.take(stringify!($field).trim_start_matches("r#"), reader),)*
                    $($shared: <$shared_ty>::take(entries, reader),)?
                }
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::tree::Node,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let mut entries = $crate::config::read::Entries::new(node, reader)?;
                $($(entries.require($required, $example, node, reader);)*)?
                let section = $name::take(&mut entries, reader);
                entries.refuse_others(&$name::keys(), reader);
                Some(section)
            }
        }
    };
}
pub(crate) use section;

/// A list with at least one item.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub Vec<At<T>>);

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("list of {}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<T>() })
    }
}

impl<T: Read> Read for List<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.expected("a list", node);
            return None;
        };
        if items.is_empty() {
            let key = reader.key.clone();
            reader.report(
                Problem::new(node.place, format!("{key} is an empty list"))
                    .hint("name at least one, or leave the key out"),
            );
            return None;
        }
        let item_key = format!("an item of {}", reader.key);
        let outer = std::mem::replace(&mut reader.key, item_key);
        let read = items.iter().filter_map(|item| reader.item(item)).collect();
        reader.key = outer;
        Some(List(read))
    }
}

impl Read for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                reader.expected("true or false", node);
                None
            }
        }
    }
}

impl Read for u32 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Integer(value) if u32::try_from(value).is_ok() => u32::try_from(value).ok(),
            Value::Integer(_) => {
                let key = reader.key.clone();
                reader.report(Problem::new(node.place, format!("{key} must lie between 0 and {}", u32::MAX)));
                None
            }
            _ => {
                reader.expected("a whole number", node);
                None
            }
        }
    }
}

/// Why a text is refused, and what to do about it.
pub(crate) struct Wrong {
    pub text: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Wrong { text: text.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What is written as text.
pub(crate) trait FromText: Sized {
    /// What to do about a number or boolean in its place.
    const UNQUOTED: &'static str = "put it in quotes";

    fn from_text(text: &str, reader: &Reader<'_>) -> Result<Self, Wrong>;
}

impl<T: FromText> Read for T {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            let problem = reader.wrong_kind("text", node);
            let unquoted = matches!(node.value, Value::Bool(_) | Value::Integer(_) | Value::Float(_));
            reader.report(if unquoted { problem.hint(T::UNQUOTED) } else { problem });
            return None;
        };
        match T::from_text(text, reader) {
            Ok(value) => Some(value),
            Err(Wrong { text, hint }) => {
                reader.report(Problem { place: node.place, text, hint });
                None
            }
        }
    }
}

/// Text with something in it, and nothing that cannot be shown.
impl FromText for String {
    fn from_text(text: &str, reader: &Reader<'_>) -> Result<Self, Wrong> {
        if text.trim().is_empty() {
            return Err(
                Wrong::new(format!("{} is empty", reader.key)).hint("give it a value, or leave it out")
            );
        }
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(Wrong::new(format!("{} holds a control character", reader.key)));
        }
        Ok(text.to_owned())
    }
}
