//! Literals by others in messages: in backticks, cut where they are long.

/// A literal for use in a message.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_literals_are_cut_between_characters() {
        assert_eq!(quote("x y"), "`x y`");
        assert_eq!(quote(&"ü".repeat(60)), format!("`{}`", "ü".repeat(60)));
        assert_eq!(quote(&"ü".repeat(61)), format!("`{}…`", "ü".repeat(60)));
    }
}
