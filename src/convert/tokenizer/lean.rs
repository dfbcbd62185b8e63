//! Byte-pair encoding of a few short texts by a large vocabulary.
//!
//! In: every token and merge of a tokenizer. Out: a model for the `tokenizers` library that knows all tokens by name, and
//! of the merges those that the texts at hand can need. The library's own model, built of all merges, takes longer than
//! all else that a conversion does before its first weight, for a few hundred words.
//!
//! Why the result is the same: where every character of a word is a token, whatever a merge makes stands in that word. So
//! two bytes that are neighbours in it are neighbours in some word; merges for which that does not hold never come to
//! pass, and the others keep their order. For other words, all merges count: a character that is no token may be left out
//! or become another token, and those beside it meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokenizers::models::bpe::trainer::BpeTrainer;
use tokenizers::models::bpe::{BPE, Error, Vocab};
use tokenizers::{Model, Token};

use super::json::{Merges, Vocabulary};

/// Tokens with their ids, found by name.
pub(super) struct Tokens {
    pub(super) listed: Vocabulary,
    /// Numbers of tokens, by hash; `u32::MAX` where there is none.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Tokens {
    /// `None` where a token is listed twice, or there are too many.
    pub(super) fn new(listed: Vocabulary) -> Option<Self> {
        let slots = (listed.ids.len() * 2).next_power_of_two();
        let mut tokens = Tokens { slots: vec![u32::MAX; slots], hasher: RandomState::new(), listed };
        for (number, token) in (0..u32::MAX).zip(tokens.listed.tokens.clone().iter()) {
            match tokens.slot(token) {
                (slot, None) => tokens.slots[slot] = number,
                (_, Some(_)) => return None,
            }
        }
        (tokens.listed.ids.len() < u32::MAX as usize).then_some(tokens)
    }

    /// Where a token is, or would be; and its number.
    fn slot(&self, token: &[u8]) -> (usize, Option<u32>) {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(token) as usize & mask;
        loop {
            match self.slots[slot] {
                u32::MAX => return (slot, None),
                number if self.listed.tokens[number as usize] == *token => return (slot, Some(number)),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn number(&self, token: &[u8]) -> Option<u32> {
        self.slot(token).1
    }

    /// The token of this id.
    pub(super) fn text(&self, id: u32) -> Option<String> {
        let number = self.listed.ids.iter().position(|i| *i == id)?;
        Some(String::from_utf8_lossy(&self.listed.tokens[number]).into_owned())
    }

    /// All of them with their ids.
    pub(super) fn all(&self) -> HashMap<String, u32> {
        let Vocabulary { tokens, ids, .. } = &self.listed;
        tokens.iter().map(|t| String::from_utf8_lossy(t).into_owned()).zip(ids.iter().copied()).collect()
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.number(token.as_bytes()).map(|number| self.listed.ids[number as usize])
    }
}

impl Merges {
    pub(super) fn len(&self) -> usize {
        match self {
            Merges::Joined(lines) => lines.len(),
            Merges::Pairs(tokens) => tokens.len() / 2,
        }
    }

    /// A merge's two sides; `None` for a line that is a remark.
    ///
    /// # Errors
    /// The line itself, where it is no pair.
    pub(super) fn pair(&self, rank: usize) -> Result<Option<[&[u8]; 2]>, &[u8]> {
        match self {
            Merges::Pairs(tokens) => Ok(Some([&tokens[2 * rank], &tokens[2 * rank + 1]])),
            Merges::Joined(lines) if lines[rank].starts_with(b"#version") => Ok(None),
            Merges::Joined(lines) => {
                let line = &lines[rank];
                let mut sides = line.split(|b| *b == b' ');
                match (sides.next(), sides.next(), sides.next()) {
                    (Some(left), Some(right), None) => Ok(Some([left, right])),
                    _ => Err(line),
                }
            }
        }
    }
}

/// What a BPE model has beside its tokens and merges.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits {
    pub(super) unk_token: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) fuse_unk: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
}

/// Pairs of bytes.
struct BytePairs(Box<[u64; 1 << 10]>);

impl BytePairs {
    fn none() -> Self {
        BytePairs(Box::new([0; 1 << 10]))
    }

    fn all() -> Self {
        BytePairs(Box::new([u64::MAX; 1 << 10]))
    }

    fn are_all(&self) -> bool {
        self.0.iter().all(|bits| *bits == u64::MAX)
    }

    fn has(&self, [a, b]: [u8; 2]) -> bool {
        self.0[usize::from(a) << 2 | usize::from(b) >> 6] >> (b & 63) & 1 == 1
    }

    fn has_all_of(&self, text: &[u8]) -> bool {
        text.windows(2).all(|pair| self.has([pair[0], pair[1]]))
    }

    fn add(&mut self, text: &[u8]) {
        for pair in text.windows(2) {
            self.0[usize::from(pair[0]) << 2 | usize::from(pair[1]) >> 6] |= 1 << (pair[1] & 63);
        }
    }
}

/// The model. It grows with the words that it is asked for.
pub(super) struct Lean {
    tokens: Arc<Tokens>,
    merges: Merges,
    traits: Traits,
    state: Mutex<State>,
}

struct State {
    /// Those of all words so far.
    pairs: BytePairs,
    /// Whether words are only taken note of.
    listening: bool,
    /// Made for the words so far; none where there are new ones.
    bpe: Option<BPE>,
}

impl Lean {
    /// Checks that merges are made of tokens and make tokens.
    ///
    /// # Errors
    /// The library's, for the first one of which that does not hold.
    pub(super) fn new(tokens: Arc<Tokens>, merges: Merges, traits: Traits) -> Result<Self, Error> {
        // With these, results are more than the word has: all merges count.
        let whole =
            [&traits.prefix, &traits.suffix].iter().any(|t| t.as_ref().is_some_and(|t| !t.is_empty()));
        let pairs = if whole { BytePairs::all() } else { BytePairs::none() };
        let lean =
            Lean { tokens, merges, traits, state: Mutex::new(State { pairs, listening: false, bpe: None }) };
        lean.check()?;
        Ok(lean)
    }

    fn check(&self) -> Result<(), Error> {
        let missing =
            |token: &[u8]| Error::MergeTokenOutOfVocabulary(String::from_utf8_lossy(token).into_owned());
        let cut = self.traits.prefix.as_ref().map_or(0, String::len);
        let (mut made, mut next) = (Vec::new(), 0);
        for [left, right] in self.pairs() {
            for side in [left, right] {
                self.tokens.number(side).ok_or_else(|| missing(side))?;
            }
            made.clear();
            made.extend_from_slice(left);
            made.extend_from_slice(right.get(cut..).unwrap_or_default());
            // Most vocabularies list what merges make in the order of the merges.
            let number = match self.tokens.listed.tokens.get(next) {
                Some(token) if *token == *made => next,
                _ => self.tokens.number(&made).ok_or_else(|| missing(&made))? as usize,
            };
            next = number + 1;
        }
        Ok(())
    }

    fn pairs(&self) -> impl Iterator<Item = [&[u8]; 2]> {
        (0..self.merges.len()).filter_map(|rank| self.merges.pair(rank).ok().flatten())
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Takes note of the words that come of this, so that one model serves them all.
    pub(super) fn listen(&self, listening: bool) {
        self.state().listening = listening;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The library's model, of what these pairs of bytes may need.
    fn build(&self, pairs: &BytePairs) -> tokenizers::Result<BPE> {
        let Vocabulary { tokens, ids, .. } = &self.tokens.listed;
        let always = |token: &[u8]| {
            token.len() < 2
                || self.traits.byte_fallback && token.starts_with(b"<0x")
                || self.traits.unk_token.as_ref().is_some_and(|unk| unk.as_bytes() == token)
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let vocab: Vocab = tokens
            .iter()
            .zip(ids)
            .filter(|(token, _)| always(token) || pairs.has_all_of(token))
            .map(|(token, id)| (text(token), *id))
            .collect();
        let needed = |[left, right]: &[&[u8]; 2]| {
            let joint = left.last().zip(right.first()).is_none_or(|(a, b)| pairs.has([*a, *b]));
            joint && pairs.has_all_of(left) && pairs.has_all_of(right)
        };
        let merges = self.pairs().filter(needed).map(|[left, right]| (text(left), text(right))).collect();
        let Traits { unk_token, prefix, suffix, fuse_unk, byte_fallback, ignore_merges } =
            self.traits.clone();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(fuse_unk)
            .byte_fallback(byte_fallback)
            .ignore_merges(ignore_merges);
        if let Some(unk) = unk_token {
            builder = builder.unk_token(unk);
        }
        if let Some(prefix) = prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build()
    }
}

impl Model for Lean {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let mut state = self.state();
        let State { pairs, listening, bpe } = &mut *state;
        if !pairs.has_all_of(word.as_bytes()) {
            pairs.add(word.as_bytes());
            *bpe = None;
        }
        let is_token = |c: char| self.tokens.id(c.encode_utf8(&mut [0; 4])).is_some();
        if !pairs.are_all() && !word.chars().all(is_token) {
            *pairs = BytePairs::all();
            *bpe = None;
        }
        if *listening {
            return Ok(Vec::new());
        }
        let bpe = match bpe {
            Some(bpe) => bpe,
            none => none.insert(self.build(pairs)?),
        };
        bpe.tokenize(word)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokens.id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokens.text(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.tokens.all()
    }

    fn get_vocab_size(&self) -> usize {
        self.tokens.listed.ids.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("this model is not for keeping".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::TokenizerJson;
    use super::super::known::TEXT;
    use super::*;

    /// The example's tokenizer, which is cut out of a real one.
    const TINY: &str = include_str!("../../../examples/tiny/tokenizer.json");

    fn lean(change: impl FnOnce(&mut serde_json::Value), traits: Traits) -> (Lean, BPE) {
        let mut json: serde_json::Value = serde_json::from_str(TINY).unwrap();
        change(&mut json["model"]);
        let parsed = || serde_json::from_value::<TokenizerJson>(json.clone()).unwrap().model;
        let model = parsed();
        let tokens = Arc::new(Tokens::new(model.vocab).unwrap());
        let lean = Lean::new(tokens, model.merges, traits).unwrap();
        let whole = lean.build(&BytePairs::all()).unwrap();
        assert_eq!(whole.get_vocab().len(), parsed().vocab.ids.len());
        (lean, whole)
    }

    #[track_caller]
    fn check(lean: &Lean, whole: &BPE, words: &[&str]) {
        for word in words {
            let ids = |tokens: Vec<Token>| tokens.into_iter().map(|t| (t.id, t.offsets)).collect::<Vec<_>>();
            assert_eq!(ids(lean.tokenize(word).unwrap()), ids(whole.tokenize(word).unwrap()), "{word}");
        }
    }

    #[test]
    fn words_become_what_the_whole_model_makes_of_them() {
        let (lean, whole) = lean(|_| (), Traits::default());
        // As a byte-level tokenizer passes them: each of them is all tokens.
        let words = TEXT.split(|c: char| !c.is_ascii_alphanumeric()).map(|word| format!("Ġ{word}"));
        let words: Vec<String> = words.collect();
        check(&lean, &whole, &words.iter().map(String::as_str).collect::<Vec<_>>());
        check(&lean, &whole, &["", "a", "the", "Ġthe", "Ġinternational", "xqzj", "ĠĠĠĠ", "ĊĊ", "Ã©"]);
        assert!(!lean.state().pairs.are_all());
        // The space is none.
        check(&lean, &whole, &["the end", TEXT]);
        assert!(lean.state().pairs.are_all());
        // Far fewer merges were needed.
        let mut few = BytePairs::none();
        few.add("Ġthe".as_bytes());
        let few = lean.build(&few).unwrap();
        assert!(few.get_vocab().len() < whole.get_vocab().len() / 2, "{few:?} of {whole:?}");
        assert_eq!(few.tokenize("Ġthe").unwrap(), whole.tokenize("Ġthe").unwrap());
    }

    #[test]
    fn traits_of_the_model_hold_for_the_lean_one() {
        let unk = || Traits { unk_token: Some("!".to_owned()), fuse_unk: true, ..Traits::default() };
        for traits in [
            unk(),
            Traits { ignore_merges: true, ..Traits::default() },
            Traits { suffix: Some("e".to_owned()), ..unk() },
        ] {
            let (lean, whole) = lean(|_| (), traits);
            check(&lean, &whole, &["Ġthe", "日本", "a日b", "he", "Ġinternational"]);
        }
        let bytes = |model: &mut serde_json::Value| {
            for byte in 0..=255u32 {
                model["vocab"][format!("<{byte:#04X}>")] = (90_000 + byte).into();
            }
        };
        let (lean, whole) = lean(bytes, Traits { byte_fallback: true, ..unk() });
        check(&lean, &whole, &["日本", "a日b"]);
    }

    #[test]
    fn broken_merges_and_tokens_are_found() {
        let tokens = |list: &[&str]| Vocabulary {
            tokens: list.iter().collect(),
            ids: (0..list.len() as u32).collect(),
            scores: Vec::new(),
        };
        assert!(Tokens::new(tokens(&["a", "b", "a"])).is_none());
        for (vocabulary, missing) in [(&["a", "ab"][..], "b"), (&["b", "ab"], "a"), (&["a", "b"], "ab")] {
            let merges = Merges::Pairs(["a", "b"].iter().collect());
            let tokens = Arc::new(Tokens::new(tokens(vocabulary)).unwrap());
            let error = Lean::new(tokens, merges, Traits::default()).err().unwrap().to_string();
            assert_eq!(error, format!("Token `{missing}` out of vocabulary"));
        }
    }
}
