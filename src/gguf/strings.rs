//! Lists of strings: those of a vocabulary are a few hundred thousand, each a few bytes long.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Strings of bytes, as the file has them: each behind its length, all in one piece of memory. A clone shares it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    list: Arc<List>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct List {
    /// For each string its length as a little-endian u64, then its bytes.
    wire: Vec<u8>,
    /// Where the bytes of each begin in `wire`.
    starts: Vec<usize>,
}

/// Bytes of a length.
const LENGTH: usize = size_of::<u64>();

impl Strings {
    /// No strings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a string at the end.
    pub fn push(&mut self, string: impl AsRef<[u8]>) {
        self.push_all(&[string.as_ref()]);
    }

    /// Adds one string that is put together of these pieces.
    pub fn push_all(&mut self, pieces: &[&[u8]]) {
        let List { wire, starts } = Arc::make_mut(&mut self.list);
        let length: usize = pieces.iter().map(|p| p.len()).sum();
        wire.extend_from_slice(&(length as u64).to_le_bytes());
        starts.push(wire.len());
        pieces.iter().for_each(|p| wire.extend_from_slice(p));
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.list.starts.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A string by its number.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let List { wire, starts } = &*self.list;
        let start = *starts.get(index)?;
        let end = starts.get(index + 1).map_or(wire.len(), |next| next - LENGTH);
        Some(&wire[start..end])
    }

    /// The first string.
    pub fn first(&self) -> Option<&[u8]> {
        self.get(0)
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|i| &self[i])
    }

    /// All of them as they stand in a file, each behind its length.
    pub fn wire(&self) -> &[u8] {
        &self.list.wire
    }
}

impl Index<usize> for Strings {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.get(index).expect("an index within the list")
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(items: I) -> Self {
        let mut strings = Strings::new();
        items.into_iter().for_each(|item| strings.push(item));
        strings
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_and_stand_behind_their_lengths() {
        let items: [&[u8]; 4] = [b"ab", b"", b"\xff", b"c d"];
        let strings: Strings = items.into_iter().collect();
        assert_eq!(strings.iter().collect::<Vec<_>>(), items);
        assert_eq!((strings.get(1), strings.get(4)), (Some(&b""[..]), None));
        assert_eq!(strings.wire()[..11], *b"\x02\0\0\0\0\0\0\0ab\0");
        let mut more = strings.clone();
        more.push_all(&[b"c", b" d"]);
        assert_eq!((more.len(), strings.len()), (5, 4));
        assert_eq!(more[3], more[4]);
        assert!(Strings::new().is_empty() && Strings::new().first().is_none());
    }
}
