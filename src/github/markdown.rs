//! Untrusted text within Markdown that GitHub renders.
//!
//! In: names, paths and messages that others chose. Out: Markdown that shows them and does nothing else: no markup, no
//! HTML, no link, no mention of a person, no reference to an issue, no end of a table's cell. Every function gives one
//! line that may stand within a paragraph, a cell or a list item, but not at the beginning of a line.
//!
//! Sources: GitHub Flavored Markdown, sections 2.3 (entities stand for no structure), 4.10 (tables) and 6.3 (code
//! spans). Mentions and references are found in the rendered text, where only code and a character between keep them
//! from being seen.

use std::fmt::Write as _;

/// Longest message that is shown, in characters.
const LONGEST: usize = 1000;

/// A text as code, which GitHub reads nothing into.
pub fn code(text: &str) -> String {
    let text = one_line(text);
    let plain = |c: char| c.is_alphanumeric() || " ._-/+=@:,#()…".contains(c);
    if text.trim() == text && !text.is_empty() && text.chars().all(plain) {
        return format!("`{text}`");
    }
    // Backticks would end a span of code, and bars a cell, whatever is before them.
    format!("<code>{}</code>", entities(&text, |_, c, _| c == ' ' || c.is_alphanumeric()))
}

/// A text as prose, as far as GitHub could read something into it.
pub fn prose(text: &str) -> String {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    entities(&one_line(text), |before, c, after| match c {
        // Within a word, as in a method's name or a path, they are nothing else.
        '_' | '/' => word(before) && word(after),
        // `:smile:`, `https:`
        ':' => matches!(after, None | Some(' ')),
        c => c.is_alphanumeric() || " ,;()'-?%+=\"".contains(c),
    })
}

/// A message as this program writes them: prose, with literals in backticks.
pub fn message(text: &str) -> String {
    if text.matches('`').count() % 2 == 1 {
        return code(text);
    }
    let text = one_line(text);
    let parts = text.split('`').enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { code(part) } else { prose(part) }).collect()
}

/// A link whose text is code; the text alone where the address is none of the web.
pub fn link(text: &str, url: &str) -> String {
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return code(text);
    }
    let mut address = String::with_capacity(url.len());
    for byte in url.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => address.push(char::from(byte)),
            b'-' | b'.' | b'_' | b'~' | b':' | b'/' | b'?' | b'#' | b'&' | b'=' | b'%' | b'+' | b',' => {
                address.push(char::from(byte));
            }
            _ => {
                let _ = write!(address, "%{byte:02X}");
            }
        }
    }
    format!("[{}]({address})", code(text))
}

/// A comment that nobody sees, by which a text is found again. `about` is part of it as a hash, whatever it holds.
pub fn marker(kind: &str, about: &str) -> String {
    let hash = crate::base::hash::sha256(about.as_bytes());
    format!("<!-- jamph-quantizer:{kind}:{} -->", &hash[..16])
}

/// Not more than so many bytes of a text.
pub(super) fn cut(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

/// One line of limited length; nothing that moves a cursor or turns the direction of writing.
fn one_line(text: &str) -> String {
    let text = text.trim_matches(['\n', '\r']);
    let mut out: String = text
        .chars()
        .take(LONGEST)
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().count() > LONGEST {
        out.push('…');
    }
    out
}

/// `plain` says of a character, with its neighbours, whether it may stand as it is.
fn entities(text: &str, plain: impl Fn(Option<char>, char, Option<char>) -> bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut before = None;
    let mut left = text.chars().peekable();
    while let Some(c) = left.next() {
        let after = left.peek().copied();
        match c {
            // `GH-1` is an issue.
            '-' if out.to_ascii_lowercase().ends_with("gh") && after.is_some_and(|c| c.is_ascii_digit()) => {
                out.push_str("-&#8203;");
            }
            // A zero width space keeps what follows from being a name or a number.
            '@' | '#' => {
                let _ = write!(out, "&#{};&#8203;", u32::from(c));
            }
            // `www.` begins a link.
            '.' if !out.to_ascii_lowercase().ends_with("www") => out.push('.'),
            c if plain(before, c, after) || !c.is_ascii() => out.push(c),
            c => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
        }
        before = Some(c);
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What others may choose to do harm.
    pub(crate) const HOSTILE: &[&str] = &[
        "`",
        "a`b``c",
        "| x | y |",
        "\\",
        "\\|",
        "a\\`|b",
        "<script>alert(1)</script>",
        "<!--",
        "--> x",
        "</code>@octocat",
        "@octocat",
        "#1 GH-1 o/n#1",
        "[x](javascript:alert(1))",
        "![x](https://evil.example/x.png)",
        "https://evil.example www.evil.example",
        "a\nb\r\n# c",
        "::error::x",
        "##[error]x",
        "\u{202e}gpj.exe",
        "\u{1b}[31m",
        "```\n<b>",
        "$x^2$ $$y$$",
        "&lt;b&gt; &#60;b&#62;",
        "*a* _b_ ~c~",
        " `a` ",
        "- [ ] x",
        ":smile:",
        "",
        " ",
    ];

    /// What is left of Markdown without its spans of code, in which GitHub finds nothing.
    pub(crate) fn outside_code(markdown: &str) -> String {
        let spans = regex::Regex::new("`[^`\n]*`|<code>[^<]*</code>").unwrap();
        spans.replace_all(markdown, "").into_owned()
    }

    /// The text within a span of code or `<code>`, as a browser shows it.
    fn shown(markdown: &str) -> String {
        if let Some(span) = markdown.strip_prefix('`').and_then(|m| m.strip_suffix('`')) {
            return span.to_owned();
        }
        decode(markdown.strip_prefix("<code>").and_then(|m| m.strip_suffix("</code>")).unwrap())
    }

    fn decode(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("&#") {
            let (number, left) = after.split_once(';').unwrap();
            out.push_str(before);
            out.extend(char::from_u32(number.parse().unwrap()));
            rest = left;
        }
        out + rest
    }

    #[test]
    fn code_shows_a_text_and_nothing_else() {
        for text in HOSTILE {
            let markdown = code(text);
            let inner = markdown.trim_start_matches("<code>").trim_end_matches("</code>");
            let inner = inner.strip_prefix('`').and_then(|m| m.strip_suffix('`')).unwrap_or(inner);
            assert!(!inner.contains(['`', '|', '<', '>', '\n', '\r', '\\']), "{text:?}: {markdown}");
            let seen = shown(&markdown).replace('\u{200b}', "");
            assert_eq!(seen, one_line(text), "{markdown}");
        }
        assert_eq!(code("them/tiny-q4_k_m.gguf"), "`them/tiny-q4_k_m.gguf`");
        assert_eq!(code("a|b"), "<code>a&#124;b</code>");
    }

    #[test]
    fn prose_is_neither_markup_nor_mention() {
        for text in HOSTILE {
            let markdown = prose(text);
            assert!(!markdown.contains(['`', '|', '<', '>', '[', ']', '*', '@', '\n', '\\', '$']));
            assert!(!markdown.contains(":/") && !markdown.contains(":s") && !markdown.contains(" _"));
            assert!(!markdown.to_lowercase().contains("www."), "{markdown}");
            assert_eq!(decode(&markdown).replace('\u{200b}', ""), one_line(text));
            // What is left of a `#` is that of an entity.
            assert!(markdown.match_indices('#').all(|(i, _)| markdown[..i].ends_with('&')), "{markdown}");
        }
        assert_eq!(prose("a, b (c)"), "a, b (c)");
        assert_eq!(prose("Q4_K_M in a/b: _x_ :s: 1?"), "Q4_K_M in a/b: &#95;x&#95; &#58;s: 1?");
        assert!(decode(&prose("@a #1 GH-1")).contains("@\u{200b}a #\u{200b}1 GH-\u{200b}1"));
    }

    #[test]
    fn messages_keep_their_literals() {
        assert_eq!(message("`them/x` is not there"), "`them/x` is not there");
        assert_eq!(message("odd ` tick"), "<code>odd &#96; tick</code>");
        assert_eq!(message("for @a: `b|c`"), "for &#64;&#8203;a: <code>b&#124;c</code>");
    }

    #[test]
    fn links_are_of_the_web() {
        assert_eq!(link("a", "https://x.example/o/n"), "[`a`](https://x.example/o/n)");
        assert_eq!(link("a", "javascript:alert(1)"), "`a`");
        let odd = link("a](b", "https://x.example/a b)<c>|\"\n");
        assert_eq!(odd, "[<code>a&#93;&#40;b</code>](https://x.example/a%20b%29%3Cc%3E%7C%22%0A)");
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "x".repeat(5000);
        assert!(code(&long).chars().count() < 1010 && code(&long).ends_with("…`"));
    }

    #[test]
    fn markers_hold_nothing_of_what_they_are_about() {
        let marker = marker("plan", "--> <script>");
        assert!(marker.starts_with("<!-- jamph-quantizer:plan:") && marker.matches("-->").count() == 1);
    }
}
