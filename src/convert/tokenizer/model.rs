//! The models that a tokenizer may have: byte-pair encoding, WordPiece, or a mere list of tokens.
//!
//! In: words, as the tokenizer's other parts pass them. Out: tokens. A Unigram model is a list here: its tokens are
//! written with their scores, and no text is encoded with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::models::bpe::trainer::BpeTrainer;
use tokenizers::{Model, Result, Token};

use super::lean::{Lean, Tokens};

/// A tokenizer's model.
pub(super) enum Encoder {
    /// Byte-pair encoding.
    Pairs(Box<Lean>),
    /// WordPiece.
    Words(WordPiece),
    /// Unigram.
    Listed(Arc<Tokens>),
}

/// Greedy: the longest token that a word starts with, then the longest that the rest starts with. Source:
/// `models/wordpiece` of the `tokenizers` library.
pub(super) struct WordPiece {
    pub(super) tokens: Arc<Tokens>,
    /// What a word becomes that is not made of tokens.
    pub(super) unknown: String,
    /// What tokens begin with that stand within a word.
    pub(super) prefix: String,
    /// Characters of the longest word that is looked at.
    pub(super) longest: usize,
}

impl WordPiece {
    fn pieces(&self, word: &str) -> Option<Vec<Token>> {
        if word.chars().count() > self.longest {
            return None;
        }
        let (mut pieces, mut start) = (Vec::new(), 0);
        while start < word.len() {
            let mut ends = word[start..].char_indices().rev().map(|(at, c)| start + at + c.len_utf8());
            let piece = ends.find_map(|end| {
                let value = match start {
                    0 => word[..end].to_owned(),
                    _ => format!("{}{}", self.prefix, &word[start..end]),
                };
                let id = self.tokens.id(&value)?;
                Some(Token { id, value, offsets: (start, end) })
            })?;
            start = piece.offsets.1;
            pieces.push(piece);
        }
        Some(pieces)
    }

    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        if let Some(pieces) = self.pieces(word) {
            return Ok(pieces);
        }
        let id = self.tokens.id(&self.unknown).ok_or("the unknown token is not in `vocab`")?;
        Ok(vec![Token { id, value: self.unknown.clone(), offsets: (0, word.len()) }])
    }
}

impl Encoder {
    fn tokens(&self) -> &Tokens {
        match self {
            Encoder::Pairs(lean) => lean.tokens(),
            Encoder::Words(words) => &words.tokens,
            Encoder::Listed(tokens) => tokens,
        }
    }
}

impl Model for Encoder {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        match self {
            Encoder::Pairs(lean) => lean.tokenize(word),
            Encoder::Words(words) => words.tokenize(word),
            Encoder::Listed(_) => Err("no text is encoded with this model".into()),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokens().id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokens().text(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.tokens().all()
    }

    fn get_vocab_size(&self) -> usize {
        self.tokens().listed.ids.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("this model is not for keeping".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::models::wordpiece::WordPiece as Theirs;

    use super::super::json::Vocabulary;
    use super::*;

    #[test]
    fn words_become_what_the_library_makes_of_them() {
        let list = ["[UNK]", "un", "##aff", "##able", "a", "##b", "ä", "##ä", "##äb", "日", "##!"];
        let listed = Vocabulary {
            tokens: list.iter().collect(),
            ids: (0..list.len() as u32).collect(),
            scores: Vec::new(),
        };
        let ours = Encoder::Words(WordPiece {
            tokens: Arc::new(Tokens::new(listed).unwrap()),
            unknown: "[UNK]".to_owned(),
            prefix: "##".to_owned(),
            longest: 8,
        });
        let vocab: tokenizers::models::bpe::Vocab =
            list.iter().zip(0u32..).map(|(token, id)| ((*token).to_owned(), id)).collect();
        let theirs = Theirs::builder().vocab(vocab).max_input_chars_per_word(8).build().unwrap();
        for word in [
            "unaffable",
            "unaff",
            "ab",
            "abb",
            "ääb",
            "aäbb",
            "日",
            "日本",
            "un!",
            "",
            "x",
            "unx",
            "aaaaaaaaa",
        ] {
            let ids = |tokens: Vec<Token>| {
                tokens.into_iter().map(|t| (t.id, t.value, t.offsets)).collect::<Vec<_>>()
            };
            assert_eq!(ids(ours.tokenize(word).unwrap()), ids(theirs.tokenize(word).unwrap()), "{word}");
        }
        assert_eq!(ours.token_to_id("##äb"), Some(8));
        assert_eq!(ours.id_to_token(9).as_deref(), Some("日"));
    }
}
