//! Numbers: how many, how much, which version.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::config::problem::Problem;
use crate::config::read::{Read, Reader};
use crate::config::tree::{Node, Value};

/// A number of things, at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub u32);

schema!(Count, { "type": "integer", "minimum": 1, "maximum": u32::MAX });

impl Read for Count {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match u32::read(node, reader)? {
            0 => {
                reader.report(Problem::new(node.place, "the number must be at least 1"));
                None
            }
            count => Some(Count(count)),
        }
    }
}

/// Tokens in a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context(pub u32);

impl Context {
    /// Half of a chunk is measured: with fewer tokens that is next to nothing.
    const LEAST: u32 = 64;
    /// More than any model takes.
    const MOST: u32 = 1 << 20;
}

schema!(Context, { "type": "integer", "minimum": Context::LEAST, "maximum": Context::MOST });

impl Read for Context {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let tokens = u32::read(node, reader)?;
        if (Self::LEAST..=Self::MOST).contains(&tokens) {
            return Some(Context(tokens));
        }
        let text = format!("a chunk has from {} to {} tokens", Self::LEAST, Self::MOST);
        reader.report(Problem::new(node.place, text).hint("512 is usual"));
        None
    }
}

/// A number that is not negative.
fn number(node: &Node, reader: &mut Reader<'_>) -> Option<f64> {
    let value = match node.value {
        Value::Float(value) => value,
        Value::Integer(value) => value as f64,
        _ => {
            reader.expected("a number", node);
            return None;
        }
    };
    let wrong = match value {
        _ if !value.is_finite() => "the number must be finite",
        _ if value < 0.0 => "the number must not be negative",
        _ => return Some(value),
    };
    reader.report(Problem::new(node.place, wrong));
    None
}

/// What a figure may be, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound(pub f64);

schema!(Bound, { "type": "number", "minimum": 0 });

impl Read for Bound {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        number(node, reader).map(Bound)
    }
}

/// A part of a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(pub f64);

schema!(Share, { "type": "number", "minimum": 0, "maximum": 1 });

impl Read for Share {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match number(node, reader)? {
            share if share <= 1.0 => Some(Share(share)),
            percent => {
                let problem = Problem::new(node.place, "a share is at most 1");
                let percent = format!("write {percent} % as `{}`", percent / 100.0);
                reader.report(problem.hint(percent));
                None
            }
        }
    }
}

/// The format's version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version;

schema!(Version, { "const": 1 });

impl Read for Version {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Integer(1) => Some(Version),
            Value::Integer(other) => {
                reader.report(
                    Problem::new(node.place, format!("version {other} of the format is not known"))
                        .hint("this program reads `version: 1`"),
                );
                None
            }
            _ => {
                reader.expected("a whole number", node);
                None
            }
        }
    }
}
