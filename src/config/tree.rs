//! A YAML document as a tree in which every node knows its place.
//!
//! In goes the text of a models.yaml, out comes a [`Node`], or the one [`Problem`] that kept the text from being YAML.
//! Nothing is interpreted here beyond YAML's own scalar types, so that [`super::read`] can report everything that is
//! wrong with a document at once. Aliases and merge keys are expanded within serde-saphyr's budgets: what a hostile
//! document can make us allocate is bounded by [`limits`].

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Options, Spanned};

use super::problem::{Place, Problem};

/// Bytes that a models.yaml may have. A thousand models take a tenth of it.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// Nodes of the expanded tree.
const MAX_NODES: usize = 50_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where the value is used: for an alias, the alias itself.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// A value as YAML's core schema reads it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Entries in the order of the document; a key may come twice.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What it is, for "found ...".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::new(
            Place::START,
            format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len()),
        ));
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, limits()) {
        Ok(root) => Ok(node(root)),
        Err(error) => Err(syntax(&error)),
    }
}

fn limits() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            max_events: 4 * MAX_NODES,
            max_nodes: MAX_NODES,
            max_aliases: 1000,
            max_anchors: 1000,
            max_recorded_anchor_events: MAX_NODES,
            max_recorded_anchor_bytes: 4 * MAX_BYTES,
            max_depth: 32,
            flow_nesting_limit: 32,
            max_documents: 1,
            max_total_scalar_bytes: 4 * MAX_BYTES,
            max_merge_keys: 1000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1000,
        },
        // Reported by `read`, with the place of both.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Says in our words what a user can meet; serde-saphyr's own text carries the place, which is told apart here.
fn syntax(error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map_or(Place::START, place);
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default().to_owned();
    // A limit that is met within an alias comes wrapped, so the text is what tells.
    if text.starts_with("budget breached: Documents") {
        return Problem::new(place, "a second document begins here")
            .hint("keep one document in the file: remove the `---`");
    }
    if text.starts_with("budget breached") || text.starts_with("alias replay") {
        return Problem::new(place, "the document is too large, or its aliases multiply it beyond reason");
    }
    if text.starts_with("recursion limit") {
        return Problem::new(place, "the document is nested too deeply");
    }
    let hint = if text.contains("tabs disallowed") {
        Some("indent with spaces")
    } else if text.contains("unsupported tag") {
        Some("leave the tag out; strings may be put in quotes")
    } else if text.contains("weak recursion") {
        return Problem::new(place, "an alias refers to the value that it is part of");
    } else if text.contains("mapping values are not allowed") {
        Some("look at the indentation, and put text that holds `: ` in quotes")
    } else {
        None
    };
    Problem { place, text, hint: hint.map(str::to_owned) }
}

fn place(location: Location) -> Place {
    Place {
        line: usize::try_from(location.line()).unwrap_or(1).max(1),
        column: usize::try_from(location.column()).unwrap_or(1).max(1),
        width: usize::try_from(location.span().len()).unwrap_or(1).max(1),
    }
}

fn node(raw: Spanned<Raw>) -> Node {
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(items) => Value::List(items.into_iter().map(node).collect()),
        Raw::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (node(key), node(value))).collect())
        }
    };
    Node { place: place(raw.referenced), value }
}

enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
