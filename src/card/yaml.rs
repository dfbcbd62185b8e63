//! Writing YAML front matter from values that may hold anything.
//!
//! A string stands plain only where every YAML reader, of 1.1 and of 1.2, reads it as that string; otherwise it is
//! double-quoted on one line with every odd character escaped. So no value can end the front matter or add a key.

use std::fmt::Write as _;

use crate::base::front_matter::{Kind, Node, is_plain_text};

/// A string as a YAML scalar.
pub(super) fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./+ ".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with(' ')
        && text.chars().all(safe)
        && is_plain_text(text)
        // Truth values for some readers of YAML 1.1.
        && !["y", "Y", "n", "N"].contains(&text);
    if plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Controls, line ends, what turns the direction of text, and what is no character.
            _ if c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}'..='\u{ffff}') =>
            {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string");
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Adds `key: value` at an indent of `depth` levels, with lists and mappings in block style.
pub(super) fn pair(out: &mut String, depth: usize, key: &str, node: &Node) {
    write!(out, "{:indent$}{}:", "", scalar(key), indent = 2 * depth).expect("writing to a string");
    value(out, depth, node);
}

fn value(out: &mut String, depth: usize, node: &Node) {
    match node {
        Node::Scalar(..) => {
            out.push(' ');
            out.push_str(&plain(node));
            out.push('\n');
        }
        Node::List(items) if items.is_empty() => out.push_str(" []\n"),
        Node::Map(pairs) if pairs.is_empty() => out.push_str(" {}\n"),
        Node::List(items) => {
            out.push('\n');
            for item in items {
                write!(out, "{:indent$}-", "", indent = 2 * depth).expect("writing to a string");
                value(out, depth + 1, item);
            }
        }
        Node::Map(pairs) => {
            out.push('\n');
            for (key, node) in pairs {
                let Node::Scalar(key, _) = key else { continue };
                pair(out, depth + 1, key, node);
            }
        }
    }
}

fn plain(node: &Node) -> String {
    match node {
        Node::Scalar(_, Kind::Null) => "null".to_owned(),
        Node::Scalar(_, Kind::Bool(b)) => b.to_string(),
        Node::Scalar(_, Kind::Int(Some(n))) => n.to_string(),
        Node::Scalar(text, _) => scalar(text),
        Node::List(_) | Node::Map(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::front_matter;

    #[track_caller]
    fn round_trip(text: &str) {
        let mut out = String::from("---\n");
        pair(&mut out, 0, "key", &Node::text(text));
        pair(&mut out, 0, "list", &Node::List(vec![Node::text(text), Node::text("end")]));
        pair(&mut out, 0, text, &Node::text("value"));
        out.push_str("---\n");
        let back = front_matter::parse(out.as_bytes()).unwrap_or_else(|e| panic!("{e:?}\n{out}"));
        let expected = if text == "key" || text == "list" { None } else { back.get("key") };
        assert!(expected.is_none_or(|node| *node == Node::text(text)), "{out}");
        if text != "list" {
            assert_eq!(
                back.get("list"),
                Some(&Node::List(vec![Node::text(text), Node::text("end")])),
                "{out}"
            );
        }
        assert_eq!(back.get(text), Some(&Node::text("value")), "{out}");
    }

    #[test]
    fn awkward_strings_come_back() {
        for text in [
            "",
            " ",
            "no",
            "y",
            "NULL",
            "~",
            "1.0",
            "2024-01-01",
            "0x1f",
            "a: b",
            "a #b",
            "- a",
            "a\n---\nb",
            "---",
            "'",
            "\"",
            "\\",
            "{a}",
            "[a]",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%",
            "@",
            "`",
            "\u{1b}[0m",
            "\u{2028}",
            "\u{202e}x",
            "apache-2.0",
            "Qwen/Qwen2.5-0.5B",
            "a ",
            "\u{85}",
            "\u{feff}",
            "\t",
            "🤗",
            "=",
            "<<",
            "x: &y z",
        ] {
            round_trip(text);
        }
    }

    #[test]
    fn plain_strings_stay_readable() {
        for text in ["apache-2.0", "Qwen/Qwen2.5-0.5B", "text-generation", "llama.cpp", "Llama 3.2 Community"]
        {
            assert_eq!(scalar(text), text);
        }
        for text in ["no", "7b", "on", "null", "y", "a: b"] {
            assert_eq!(scalar(text), format!("\"{text}\""));
        }
    }

    #[test]
    fn nested_values_come_back() {
        let card = front_matter::parse(
            b"---\nextra_gated_fields:\n  Name: text\n  I agree: checkbox\n  Kind:\n    type: select\n    options:\n    - A\n    - {label: B, value: 2}\n    - []\n    - no\n---\n",
        )
        .unwrap();
        let mut out = String::from("---\n");
        pair(&mut out, 0, "extra_gated_fields", card.get("extra_gated_fields").unwrap());
        out.push_str("---\n");
        assert_eq!(front_matter::parse(out.as_bytes()).unwrap(), card, "{out}");
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text in any::<String>()) {
            round_trip(&text);
        }
    }
}
