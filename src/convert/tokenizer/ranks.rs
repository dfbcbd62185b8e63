//! Tokens by rank: what vocabularies have that state no merges.
//!
//! In: byte strings and their ranks, as [`tekken`](super::tekken) and [`tiktoken`](super::tiktoken) read them. Out: lists of
//! merges, encodings, and the letters in which GGUF files have bytes. A vocabulary that would take long to look through is
//! refused before that is done.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::TokenizerError as E;
use crate::gguf::Strings;

/// Work that finding merges may take, in bytes that are looked up, which bounds their text, too: thirty times that of
/// Mistral's own file.
const MOST_LOOKED_UP: u64 = 1 << 28;

/// Tokens and their ranks.
#[derive(Debug)]
pub(super) struct Ranks<'a>(HashMap<&'a [u8], u32>);

impl<'a> Ranks<'a> {
    /// Takes the tokens of `field` in a file.
    pub(super) fn new(
        file: &str,
        field: &'static str,
        tokens: impl Iterator<Item = (&'a [u8], u32)> + Clone,
    ) -> Result<Self, E> {
        let work = tokens.clone().map(|(token, _)| (token.len() as u64).saturating_pow(2));
        if work.fold(0u64, u64::saturating_add) > MOST_LOOKED_UP {
            return Err(E::field(file, field, "of tokens as long as words", &serde_json::Value::Null));
        }
        let mut ranks = HashMap::with_capacity(tokens.size_hint().0);
        for (token, rank) in tokens {
            if ranks.insert(token, rank).is_some() {
                return Err(E::field(file, field, "without a token twice", &rank.into()));
            }
        }
        Ok(Ranks(ranks))
    }

    /// The rank of a token.
    pub(super) fn of(&self, token: &[u8]) -> Option<u32> {
        self.0.get(token).copied()
    }

    /// What bytes become where two neighbours are merged for as long as they make a token of a rank below this one: those
    /// of the lowest rank first, of several the first.
    pub(super) fn parts<'t>(&self, bytes: &'t [u8], below: u32) -> Vec<&'t [u8]> {
        let mut ends: Vec<usize> = (0..=bytes.len()).collect();
        loop {
            let made =
                ends.windows(3).enumerate().filter_map(|(at, w)| Some((self.of(&bytes[w[0]..w[2]])?, at)));
            match made.min() {
                Some((rank, at)) if rank < below => ends.remove(at + 1),
                _ => return ends.windows(2).map(|w| &bytes[w[0]..w[1]]).collect(),
            };
        }
    }
}

/// Adds a merge of two tokens.
pub(super) fn push_merge(left: &[u8], right: &[u8], merges: &mut Strings, line: &mut String) {
    line.clear();
    push_printable(left, line);
    line.push(' ');
    push_printable(right, line);
    merges.push(line.as_bytes());
}

/// The letters that stand for bytes in byte-level BPE: those that are printed for themselves, the others, in their order,
/// for the letters from U+0100 on.
static LETTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let is_printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = '\u{100}'..;
    let mut letters = ['\0'; 256];
    for (letter, byte) in letters.iter_mut().zip(0u8..=255) {
        let other = if is_printed(byte) { None } else { others.next() };
        *letter = other.unwrap_or(char::from(byte));
    }
    letters
});

/// Bytes in the letters that stand for them.
pub(super) fn push_printable(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|byte| LETTERS[usize::from(*byte)]));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_has_a_letter_of_its_own() {
        let mut letters = String::new();
        push_printable(&(0..=255).collect::<Vec<u8>>(), &mut letters);
        assert_eq!(letters.chars().collect::<HashSet<_>>().len(), 256);
        let at = |byte: usize| letters.chars().nth(byte);
        assert_eq!([at(0), at(0x20), at(0x7f), at(0xad), at(0xff)], ['Ā', 'Ġ', 'ġ', 'Ń', 'ÿ'].map(Some));
    }

    #[test]
    fn neighbours_of_the_lowest_rank_are_merged_first() {
        let tokens: [(&[u8], u32); 5] = [(b"bc", 0), (b"ab", 1), (b"cd", 2), (b"abc", 3), (b"abcd", 4)];
        let ranks = Ranks::new("f", "v", tokens.into_iter()).unwrap();
        let check = |bytes: &str, below, expected: &[&str]| {
            let parts = ranks.parts(bytes.as_bytes(), below);
            let parts: Vec<&str> = parts.into_iter().map(|p| std::str::from_utf8(p).unwrap()).collect();
            assert_eq!(parts, expected, "{bytes} below {below}");
        };
        check("abcd", u32::MAX, &["abcd"]);
        check("abcd", 4, &["abc", "d"]);
        check("abcd", 3, &["a", "bc", "d"]);
        check("abcd", 0, &["a", "b", "c", "d"]);
        check("ababx", u32::MAX, &["ab", "ab", "x"]);
        check("a", 9, &["a"]);
        check("", 9, &[]);
    }

    #[test]
    fn vocabularies_that_take_long_are_refused() {
        let long = vec![b'x'; 1 << 14];
        let error = Ranks::new("f", "v", std::iter::once((&*long, 0))).map(|_| ());
        assert!(error.is_ok());
        let longer = vec![b'x'; (1 << 14) + 1];
        let error = Ranks::new("f", "v", std::iter::once((&*longer, 0))).unwrap_err().to_string();
        assert_eq!(error, "`f`: `v` must be of tokens as long as words, not `null`");
    }
}
