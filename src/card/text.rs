//! Text by others inside Markdown, lists without repetitions, and times.

use std::time::Duration;

use crate::base::units;

/// Text in a line or table cell of Markdown: it shows as it is, and is neither markup, nor HTML, nor a new line.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut after_letter = false;
    while let Some(c) = chars.next() {
        let inside_word = after_letter && chars.peek().is_some_and(|c| c.is_alphanumeric());
        after_letter = c.is_alphanumeric();
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '_' if inside_word => out.push(c),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '!' | '$' => out.extend(['\\', c]),
            _ if is_odd(c) => out.push(' '),
            _ => out.push(c),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text that can stand between backticks, also in a table, or on a line of a code block.
pub(super) fn code(text: &str) -> String {
    let kept = text.chars().map(|c| if is_odd(c) || "`|".contains(c) { ' ' } else { c });
    kept.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One word of a command line.
pub(super) fn shell(text: &str) -> String {
    let word = code(text);
    let safe = |c: char| c.is_alphanumeric() || "-_./:@".contains(c);
    if !word.is_empty() && word.chars().all(safe) { word } else { format!("'{}'", word.replace('\'', "")) }
}

/// Controls, line ends, and what turns the direction of text.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Items in their order, each once.
pub(super) fn once<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all
}

/// A time that something took.
pub(super) fn duration(seconds: f64) -> String {
    // A time from a file may be anything.
    units::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_neutralised() {
        assert_eq!(plain("a|b\n# `x` <script>"), r"a\|b # \`x\` &lt;script&gt;");
        assert_eq!(plain("[x](javascript:y)"), r"\[x\](javascript:y)");
        assert_eq!(plain("Q4_K_M _x_ a__b"), r"Q4_K_M \_x\_ a\_\_b");
        assert_eq!(code("a`b|c\nd"), "a b c d");
        assert_eq!(shell("x'; rm -rf ~ #"), "'x; rm -rf ~ #'");
        assert_eq!(shell("owner/name:Q4_K_M"), "owner/name:Q4_K_M");
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_cell(text in any::<String>()) {
            let (plain, code) = (plain(&text), code(&text));
            prop_assert!(!plain.contains(['\n', '\r', '<', '>']) && !code.contains(['\n', '\r', '`', '|']));
            let bytes = plain.as_bytes();
            for (i, _) in plain.match_indices(['|', '`']) {
                let slashes = bytes[..i].iter().rev().take_while(|b| **b == b'\\').count();
                prop_assert!(slashes % 2 == 1, "{plain}");
            }
        }
    }
}
