//! The YAML front matter of a model card, as the reference's converter reads it.
//!
//! In: the bytes of a `README.md`, from anyone. Out: a [`Node`] tree with plain scalars typed by YAML 1.1's rules,
//! which are PyYAML's (`no` is false, `1_000` and `12:30` are integers, `1e5` is text), each with its source text.
//! Before that, the repairs that `gguf.Metadata.load_model_card` makes: tabs become spaces and `- no` is quoted.
//! It refuses what PyYAML refuses (unknown tags, a second document, collections as keys), aliases inside what they
//! name, and trees beyond [`MAX_DEPTH`] or [`MAX_WEIGHT`].

mod scalar;

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self as granit, Event, Parser, ScalarStyle, ScanError, Tag};
use thiserror::Error;

use self::scalar::resolve;

/// Deepest nesting of collections.
pub const MAX_DEPTH: usize = 64;
/// Most bytes of text in a tree, aliases expanded, with [`NODE_WEIGHT`] for each node.
pub const MAX_WEIGHT: usize = 16 << 20;
/// What a node weighs beside its text.
const NODE_WEIGHT: usize = 64;

/// Why a card's front matter cannot be used.
#[derive(Debug, Error)]
pub enum FrontMatterError {
    /// The card is no UTF-8 text.
    #[error("the card is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// A control character, which YAML does not allow.
    #[error("the front matter has the control character {0:?}")]
    Control(char),
    /// No YAML.
    #[error("the front matter is not valid YAML")]
    Yaml(#[from] Box<ScanError>),
    /// A scalar that looks like a number or date and is none, or has a tag that it does not fit.
    #[error("`{text}` is no valid {what}")]
    Scalar {
        /// The scalar.
        text: String,
        /// What it was taken for.
        what: &'static str,
    },
    /// A tag that is not one of the safe ones.
    #[error("the front matter has the unknown tag `{0}`")]
    UnknownTag(String),
    /// A list or mapping used as a key.
    #[error("a key of the front matter is a list or mapping")]
    CollectionKey,
    /// `<<` whose value is no mapping.
    #[error("`<<` in the front matter names no mapping")]
    Merge,
    /// An alias inside the node that it names.
    #[error("an alias in the front matter names the node that it is in")]
    Recursive,
    /// A second document before the closing `---`.
    #[error("the front matter has more than one YAML document")]
    Documents,
    /// Deeper than [`MAX_DEPTH`] or heavier than [`MAX_WEIGHT`].
    #[error("the front matter is nested too deeply or its aliases expand to too much")]
    TooLarge,
    /// A list or scalar where the keys should be.
    #[error("the front matter is no mapping")]
    NotAMapping,
}

/// A YAML or JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Anything but a collection: its text without quotes and escapes, and what the reference takes it for.
    Scalar(String, Kind),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping; of equal keys the last counts.
    Map(Vec<(Node, Node)>),
}

/// What the reference takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer; `None` beyond 64 bits.
    Int(Option<i64>),
    /// A float.
    Float(f64),
    /// A string.
    Text,
    /// A date or binary value, for which no metadata has a place.
    Other,
}

impl Node {
    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Node::Scalar(text.into(), Kind::Text)
    }

    /// A JSON value as Python's `json` reads it.
    pub fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Node::Scalar("null".to_owned(), Kind::Null),
            Json::Bool(b) => Node::Scalar(b.to_string(), Kind::Bool(*b)),
            Json::String(s) => Node::text(s.as_str()),
            Json::Array(items) => Node::List(items.iter().map(Node::from_json).collect()),
            Json::Object(map) => {
                Node::Map(map.iter().map(|(k, v)| (Node::text(k.as_str()), Node::from_json(v))).collect())
            }
            Json::Number(n) => {
                let kind = if n.is_i64() || n.is_u64() {
                    Kind::Int(n.as_i64())
                } else {
                    n.as_f64().map_or(Kind::Other, Kind::Float)
                };
                Node::Scalar(n.to_string(), kind)
            }
        }
    }

    /// The string, if this is one (and not a number or truth value).
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Scalar(text, Kind::Text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Node::Map(pairs) = self else { return None };
        pairs.iter().rev().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
    }

    /// Whether this is an empty value, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Node::Scalar(_, Kind::Null))
    }

    /// Python's truth: false for nothing, zero, and what is empty.
    pub fn is_truthy(&self) -> bool {
        match self {
            Node::Scalar(text, kind) => match kind {
                Kind::Null => false,
                Kind::Bool(b) => *b,
                Kind::Int(n) => *n != Some(0),
                Kind::Float(x) => *x != 0.0,
                Kind::Text => !text.is_empty(),
                Kind::Other => true,
            },
            Node::List(items) => !items.is_empty(),
            Node::Map(pairs) => !pairs.is_empty(),
        }
    }

    /// What the node weighs against [`MAX_WEIGHT`].
    fn weight(&self) -> usize {
        NODE_WEIGHT
            + match self {
                Node::Scalar(text, _) => text.len(),
                Node::List(items) => items.iter().map(Node::weight).sum(),
                Node::Map(pairs) => pairs.iter().map(|(k, v)| k.weight() + v.weight()).sum(),
            }
    }
}

/// The front matter of a card. A card without one gives an empty mapping.
///
/// # Errors
/// [`FrontMatterError`] says what is wrong; the reference's converter stops on all of these but
/// [`FrontMatterError::NotAMapping`], which it takes for an empty mapping.
pub fn parse(card: &[u8]) -> Result<Node, FrontMatterError> {
    let text = std::str::from_utf8(card)?.replace("\r\n", "\n").replace('\r', "\n");
    let Some(yaml) = between_fences(&text) else { return Ok(Node::Map(Vec::new())) };
    let yaml = yaml.replace("- no\n", "- \"no\"\n").replace('\t', "  ");
    if let Some(c) = yaml.chars().find(|c| !printable(*c)) {
        return Err(FrontMatterError::Control(c));
    }
    match load(&yaml)? {
        map @ Node::Map(_) => Ok(map),
        _ => Err(FrontMatterError::NotAMapping),
    }
}

/// Whether a plain scalar of this text is a string, and not a number, date, truth value or nothing.
pub fn is_plain_text(text: &str) -> bool {
    matches!(resolve(text), Ok(Kind::Text))
}

/// The lines between the first line, `---`, and the next such line or the end.
fn between_fences(text: &str) -> Option<String> {
    // The line ends of Python's `str.splitlines`.
    let ends = |c: char| matches!(c, '\n' | '\u{b}'..='\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = text.strip_suffix(ends).unwrap_or(text).split(ends);
    if lines.next() != Some("---") {
        return None;
    }
    let mut yaml = String::new();
    for line in lines.take_while(|line| *line != "---") {
        yaml.push_str(line);
        yaml.push('\n');
    }
    Some(if yaml.is_empty() { "\n".to_owned() } else { yaml })
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A collection that is being read.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<Node>,
}

fn load(yaml: &str) -> Result<Node, FrontMatterError> {
    let options = granit::options! {
        emit_comments: false,
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut root = None;
    let mut stack: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut weight = 0;
    for event in Parser::new_from_str_with_options(yaml, options) {
        let (event, _) = event.map_err(Box::new)?;
        let (node, anchor) = match event {
            Event::DocumentStart(..) if root.is_some() => return Err(FrontMatterError::Documents),
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq")?;
                open(&mut stack, Node::List(Vec::new()), anchor)?;
                continue;
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map")?;
                open(&mut stack, Node::Map(Vec::new()), anchor)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { node, anchor, .. }) = stack.pop() else { continue };
                (merged(node)?, anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                weight += NODE_WEIGHT + text.len();
                (scalar(text.into_owned(), style, tag.as_deref())?, anchor)
            }
            Event::Alias(id) => {
                let node = anchors.get(&id).ok_or(FrontMatterError::Recursive)?;
                weight += node.weight();
                if weight > MAX_WEIGHT {
                    return Err(FrontMatterError::TooLarge);
                }
                (node.clone(), 0)
            }
            _ => continue,
        };
        if weight > MAX_WEIGHT {
            return Err(FrontMatterError::TooLarge);
        }
        if anchor != 0 {
            weight += node.weight();
            anchors.insert(anchor, node.clone());
        }
        let is_key = matches!(stack.last(), Some(Open { node: Node::Map(_), key: None, .. }));
        if let Node::Scalar(text, Kind::Other) = &node
            && ["<<", "="].contains(&text.as_str())
            && !is_key
        {
            return Err(FrontMatterError::Scalar { text: text.clone(), what: "value" });
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some(Open { node: Node::List(items), .. }) => items.push(node),
            Some(Open { node: Node::Map(pairs), key, .. }) => match key.take() {
                Some(k) => pairs.push((k, node)),
                None if matches!(node, Node::Scalar(..)) => *key = Some(node),
                None => return Err(FrontMatterError::CollectionKey),
            },
            Some(Open { node: Node::Scalar(..), .. }) => {}
        }
    }
    Ok(root.unwrap_or_else(|| Node::Scalar(String::new(), Kind::Null)))
}

fn open(stack: &mut Vec<Open>, node: Node, anchor: usize) -> Result<(), FrontMatterError> {
    if stack.len() >= MAX_DEPTH {
        return Err(FrontMatterError::TooLarge);
    }
    stack.push(Open { node, anchor, key: None });
    Ok(())
}

/// Puts what `<<` names before the mapping's own pairs, so that its own count; of several, the first counts.
fn merged(node: Node) -> Result<Node, FrontMatterError> {
    let is_merge = |k: &Node| matches!(k, Node::Scalar(text, Kind::Other) if text == "<<");
    let Node::Map(pairs) = node else { return Ok(node) };
    if !pairs.iter().any(|(k, _)| is_merge(k)) {
        return Ok(Node::Map(pairs));
    }
    let (mut first, mut own) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        match value {
            _ if !is_merge(&key) => own.push((key, value)),
            Node::Map(pairs) => first.extend(pairs),
            Node::List(maps) => {
                for map in maps.into_iter().rev() {
                    let Node::Map(pairs) = map else { return Err(FrontMatterError::Merge) };
                    first.extend(pairs);
                }
            }
            Node::Scalar(..) => return Err(FrontMatterError::Merge),
        }
    }
    first.extend(own);
    Ok(Node::Map(first))
}

fn collection_tag(tag: Option<&Tag>, fits: &'static str) -> Result<(), FrontMatterError> {
    match tag {
        Some(tag) if !is_bare(tag) && tag.core_suffix() != Some(fits) => Err(unknown(tag)),
        _ => Ok(()),
    }
}

/// Whether this is `!` alone.
fn is_bare(tag: &Tag) -> bool {
    format!("{}{}", tag.handle(), tag.suffix()) == "!"
}

fn unknown(tag: &Tag) -> FrontMatterError {
    FrontMatterError::UnknownTag(format!("{}{}", tag.handle(), tag.suffix()))
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, FrontMatterError> {
    let kind = match tag {
        None if style != ScalarStyle::Plain => Kind::Text,
        None => resolve(&text)?,
        // Not what YAML says of `!`, but what PyYAML makes of it.
        Some(tag) if is_bare(tag) => resolve(&text)?,
        Some(tag) => {
            let bad = |what| FrontMatterError::Scalar { text: text.clone(), what };
            match tag.core_suffix() {
                Some("str") => Kind::Text,
                Some("null") => Kind::Null,
                Some("bool") => match resolve(&text)? {
                    kind @ Kind::Bool(_) => kind,
                    _ => return Err(bad("truth value")),
                },
                Some("int") => match resolve(&text)? {
                    kind @ Kind::Int(_) => kind,
                    _ => return Err(bad("integer")),
                },
                Some("float") => match resolve(&text)? {
                    Kind::Int(Some(n)) => Kind::Float(n as f64),
                    kind @ Kind::Float(_) => kind,
                    _ => return Err(bad("number")),
                },
                _ => return Err(unknown(tag)),
            }
        }
    };
    Ok(Node::Scalar(text, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Result<Node, FrontMatterError> {
        parse(format!("---\n{text}\n---\nbody: no\n").as_bytes())
    }

    #[test]
    fn the_fence_decides_what_is_read() {
        for none in ["", "# Title\n", "\u{feff}---\na: 1\n---\n", " ---\na: 1\n---\n"] {
            assert_eq!(parse(none.as_bytes()).unwrap(), Node::Map(vec![]), "{none:?}");
        }
        for one in ["---\na: b\n---\n# T\n", "---\r\na: b\r\n---\r\n", "---\na: b", "---\ra:\tb\r---"] {
            assert_eq!(parse(one.as_bytes()).unwrap().get("a"), Some(&Node::text("b")), "{one:?}");
        }
        assert!(matches!(parse(b"---\n- a\n"), Err(FrontMatterError::NotAMapping)));
        assert!(matches!(parse(b"---\na: \xff\n"), Err(FrontMatterError::Utf8(_))));
    }

    #[test]
    fn norwegian_is_a_language() {
        let card = yaml("language:\n- no\n- en").unwrap();
        assert_eq!(card.get("language"), Some(&Node::List(vec![Node::text("no"), Node::text("en")])));
    }

    #[test]
    fn aliases_merge_keys_and_duplicates() {
        let card = yaml("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\nd: 1\nd: two").unwrap();
        assert_eq!(card.get("a"), card.get("b"));
        let c = card.get("c").unwrap();
        assert_eq!(c.get("k"), Some(&Node::Scalar("3".into(), Kind::Int(Some(3)))));
        assert_eq!(c.get("l"), Some(&Node::Scalar("2".into(), Kind::Int(Some(2)))));
        assert_eq!(card.get("d"), Some(&Node::text("two")));
    }

    #[test]
    fn hostile_input_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let alias = format!("*a{},", i - 1).repeat(9);
            bomb += &format!("a{i}: &a{i} [{alias}]\n");
        }
        assert!(matches!(yaml(&bomb), Err(FrontMatterError::TooLarge)));
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(yaml(&deep).is_err());
        assert!(
            yaml(&format!("a:\n{}", (1..200).map(|n| format!("{}b:\n", " ".repeat(n))).collect::<String>()))
                .is_err()
        );
        assert!(matches!(yaml("a: &a [*a]"), Err(FrontMatterError::Recursive)));
        assert!(matches!(yaml("a: !!python/object:os.system x"), Err(FrontMatterError::UnknownTag(_))));
        assert!(matches!(yaml("a: \u{1}"), Err(FrontMatterError::Control('\u{1}'))));
        assert!(matches!(
            yaml("a: 1\n...\nb: 2"),
            Err(FrontMatterError::Documents | FrontMatterError::Yaml(_))
        ));
        assert!(matches!(yaml("{a: b}: c"), Err(FrontMatterError::CollectionKey)));
        assert!(matches!(yaml("model_name: {{ name }}"), Err(FrontMatterError::CollectionKey)));
        assert!(matches!(yaml("a: b: c"), Err(FrontMatterError::Yaml(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-a: \\n\\[\\]{},&*!|>'\"#%?1.~<=é\u{85}]{0,60}") {
            let _ = yaml(&text);
        }
    }
}
