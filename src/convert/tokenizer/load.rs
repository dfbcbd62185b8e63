//! The tokenizer that transformers' `AutoTokenizer` would load from a folder.
//!
//! In: the folder's tokenizer files. Out: [`Loaded`]. Refuses every model but those that are asked for, and what would make
//! the `tokenizers` library panic.

use std::collections::HashSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::TokenizerError as E;
use super::added::Specials;
use super::class::Class;
use super::json::{
    AddedEntry, Merges, Model, TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, TokenizerJson, truthy,
};
use super::known::TEXT;
use super::lean::{Lean, Tokens, Traits};
use super::model::{Encoder, WordPiece};
use super::slow;
use crate::gguf::Strings;

/// Types of models in `tokenizer.json`.
pub(super) const BPE: &str = "BPE";
pub(super) const WORD_PIECE: &str = "WordPiece";
pub(super) const UNIGRAM: &str = "Unigram";

/// Bytes of all added tokens; their automaton is a multiple of that. The longest known are 0.2 MB.
const MAX_ADDED_BYTES: usize = 1 << 22;

/// The library's tokenizer around a model that merges what is asked of it.
pub(super) type Tokenizer =
    TokenizerImpl<Encoder, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer, and what of its file the conversion writes.
pub(super) struct Loaded {
    pub(super) tokenizer: Tokenizer,
    /// Tokens of the model and their ids, in the file's order; no token twice.
    pub(super) tokens: Arc<Tokens>,
    /// The merges, as the GGUF file has them.
    pub(super) merges: Strings,
    /// Decoded text loses spaces before punctuation.
    pub(super) clean_up: bool,
    /// The special tokens that the files name.
    pub(super) specials: Specials,
}

impl Loaded {
    /// Builds the tokenizer, whose model must be of one of these types; takes the vocabulary and merges out of `files`.
    pub(super) fn new(files: &mut TokenizerFiles<'_>, types: &[&str]) -> Result<Self, E> {
        let class = Class::of(files)?;
        let specials = Specials::gather(files, class)?;
        let prefix_space = prefix_space(files, class)?;
        let template = class.template.map(|(bos, eos)| {
            let flag = |key, default| files.option(key).map_or(default, truthy);
            (flag("add_bos_token", bos), flag("add_eos_token", eos))
        });
        let flag = |key| files.option(key).is_some_and(truthy);
        let (clean_up, split_special) = (flag("clean_up_tokenization_spaces"), flag("split_special_tokens"));
        let option = |key| files.option(key).cloned();
        let lower_case = BertNormalizer {
            lowercase: option("do_lower_case").unwrap_or(true.into()),
            strip_accents: option("strip_accents").unwrap_or_default(),
            handle_chinese_chars: option("tokenize_chinese_chars").unwrap_or(true.into()),
        };

        let mut slow = match files.tokenizer {
            None => Some(slow::convert(files, class)?),
            Some(_) => None,
        };
        let is_slow = slow.is_some();
        let json = slow.as_mut().or(files.tokenizer.as_mut()).ok_or(E::Missing(TOKENIZER))?;
        // Without a type, it is the oldest one.
        let kind = json.model.kind.clone().unwrap_or_else(|| BPE.to_owned());
        let scored = !json.model.vocab.scores.is_empty();
        if !types.contains(&kind.as_str()) || json.model.vocab.ids.is_empty() || scored != (kind == UNIGRAM) {
            let found = json.model.kind.as_deref().unwrap_or("an untyped model");
            return Err(E::Unsupported { file: TOKENIZER, found: format!("a model of type {found}") });
        }
        if let Some(version) = json.version.as_ref().filter(|v| *v != "1.0") {
            return Err(E::field(TOKENIZER, "version", "\"1.0\"", &Value::String(version.clone())));
        }
        let normalizer = match class.bert_normalizer {
            true => Some(bert_normalizer(json, lower_case)?),
            false => json.normalizer.clone(),
        };
        let (model, tokens, merges) = match kind.as_str() {
            BPE => build_pairs(&mut json.model)?,
            WORD_PIECE => build_words(&mut json.model)?,
            _ => build_list(&mut json.model)?,
        };
        let mut tokenizer = Tokenizer::new(model);
        // Nothing is encoded with a list.
        if kind != UNIGRAM {
            add_parts(&mut tokenizer, json, normalizer, prefix_space)?;
        }

        check_length(json.added_tokens.iter().map(|t| t.content.len()))?;
        let own: Vec<AddedToken> = json.added_tokens.iter().map(added_token).collect();
        tokenizer.add_tokens(&own);
        let present: HashSet<String> = own.into_iter().map(|t| t.content).collect();
        let to_add = specials.to_add(&present);
        check_length(to_add.iter().map(|t| t.content.len()))?;
        tokenizer.add_tokens(&to_add);

        if let Some((add_bos, add_eos)) = template {
            let template = bos_eos_template(&tokenizer, &specials, class, add_bos, add_eos)?;
            tokenizer.with_post_processor(Some(PostProcessorWrapper::Template(template)));
        }
        tokenizer.set_encode_special_tokens(split_special);
        // gguf-py takes them from `tokenizer.json`, or else from `merges.txt` by itself.
        let merges =
            if kind == BPE && (merges.is_empty() || is_slow) { slow::merges(files)? } else { merges };
        let loaded = Loaded { tokenizer, tokens, merges, clean_up, specials };
        loaded.listen();
        Ok(loaded)
    }

    /// Lets the model hear all texts that will be encoded, so that it is made once.
    fn listen(&self) {
        let Encoder::Pairs(lean) = self.tokenizer.get_model() else { return };
        lean.listen(true);
        let added = self.tokenizer.get_added_vocabulary().get_added_tokens_decoder().values();
        let exact = added.filter(|token| !token.normalized).map(|token| token.content.as_str());
        for text in exact.chain([TEXT]) {
            // What cannot be encoded fails when that is asked for.
            let _ = self.tokenizer.encode(text, false);
        }
        lean.listen(false);
    }

    /// A token's text after encoding and decoding it.
    pub(super) fn round_trip(&self, text: &str) -> Result<String, E> {
        let part = |source| E::Part { part: "added_tokens", source };
        let encoding = self.tokenizer.encode(text, false).map_err(part)?;
        let text = self.tokenizer.decode(encoding.get_ids(), false).map_err(part)?;
        Ok(if self.clean_up { clean_up(text) } else { text })
    }
}

/// What transformers makes a lone `ByteLevel` pre-tokenizer's `add_prefix_space`, if anything.
fn prefix_space(files: &TokenizerFiles<'_>, class: &Class) -> Result<Option<bool>, E> {
    let field = "add_prefix_space";
    match files.option(field) {
        Some(value) if class.prefix_space_needs_slow && !value.is_null() => {
            Err(E::field(TOKENIZER_CONFIG, field, "null without a SentencePiece model", value))
        }
        Some(value) => Ok(value.as_bool()),
        None => Ok((!class.prefix_space_needs_slow).then_some(false)),
    }
}

fn added_token(entry: &AddedEntry) -> AddedToken {
    AddedToken {
        content: entry.content.clone(),
        single_word: entry.single_word,
        lstrip: entry.lstrip,
        rstrip: entry.rstrip,
        normalized: entry.normalized,
        special: entry.special,
    }
}

fn check_length(lengths: impl Iterator<Item = usize>) -> Result<(), E> {
    match lengths.sum() {
        total if total > MAX_ADDED_BYTES => Err(E::AddedTokensTooLong(total)),
        _ => Ok(()),
    }
}

/// A model, its tokens, and its merges as the GGUF file has them.
type Built = (Encoder, Arc<Tokens>, Strings);

fn tokens_of(model: &mut Model) -> Result<Arc<Tokens>, E> {
    let twice = || E::Part { part: "model", source: "a token is in `vocab` twice".into() };
    Tokens::new(std::mem::take(&mut model.vocab)).map(Arc::new).ok_or_else(twice)
}

/// A Unigram model.
fn build_list(model: &mut Model) -> Result<Built, E> {
    let tokens = tokens_of(model)?;
    Ok((Encoder::Listed(Arc::clone(&tokens)), tokens, Strings::new()))
}

/// A WordPiece model.
fn build_words(model: &mut Model) -> Result<Built, E> {
    /// More than any file states; time grows with its square.
    const MAX_CHARS: usize = 10_000;
    let missing = |field| E::field(TOKENIZER, field, "there", &Value::Null);
    let longest = model.max_input_chars_per_word.ok_or_else(|| missing("model.max_input_chars_per_word"))?;
    if longest > MAX_CHARS {
        let expected = "a length that words have";
        return Err(E::field(TOKENIZER, "model.max_input_chars_per_word", expected, &longest.into()));
    }
    let tokens = tokens_of(model)?;
    let words = WordPiece {
        tokens: Arc::clone(&tokens),
        unknown: model.unk_token.take().ok_or_else(|| missing("model.unk_token"))?,
        prefix: model
            .continuing_subword_prefix
            .take()
            .ok_or_else(|| missing("model.continuing_subword_prefix"))?,
        longest,
    };
    Ok((Encoder::Words(words), tokens, Strings::new()))
}

/// A BPE model.
fn build_pairs(model: &mut Model) -> Result<Built, E> {
    let prefix = model.continuing_subword_prefix.take();
    let merges = std::mem::take(&mut model.merges);
    let written = check_merges(&merges, prefix.as_ref().map_or(0, String::len))?;
    let tokens = tokens_of(model)?;
    if let Some(dropout) = model.dropout.filter(|d| *d != 0.0) {
        return Err(E::field(TOKENIZER, "model.dropout", "null", &dropout.into()));
    }
    let traits = Traits {
        unk_token: model.unk_token.take(),
        prefix,
        suffix: model.end_of_word_suffix.take(),
        fuse_unk: model.fuse_unk.unwrap_or(false),
        byte_fallback: model.byte_fallback.unwrap_or(false),
        ignore_merges: model.ignore_merges.unwrap_or(false),
    };
    let lean = Lean::new(Arc::clone(&tokens), merges, traits)
        .map_err(|source| E::Part { part: "model", source: source.into() })?;
    Ok((Encoder::Pairs(Box::new(lean)), tokens, written))
}

/// What Bert's classes set a normalizer to.
struct BertNormalizer {
    lowercase: Value,
    strip_accents: Value,
    handle_chinese_chars: Value,
}

/// `BertTokenizerFast.__init__`: where one of the three differs, all are set.
fn bert_normalizer(json: &TokenizerJson, wanted: BertNormalizer) -> Result<Value, E> {
    let Some(mut normalizer) = json.normalizer.clone().filter(|n| !n.is_null()) else {
        return Err(E::field(TOKENIZER, "normalizer", "there", &Value::Null));
    };
    let wanted = [
        ("lowercase", wanted.lowercase),
        ("strip_accents", wanted.strip_accents),
        ("handle_chinese_chars", wanted.handle_chinese_chars),
    ];
    if wanted.iter().any(|(key, value)| normalizer.get(key).is_some_and(|stated| stated != value)) {
        for (key, value) in wanted {
            normalizer[key] = value;
        }
    }
    Ok(normalizer)
}

/// The merges for the file: joined by a space, with spaces in tokens as `Ġ`. Refuses lines that are no pair, and right
/// sides that are shorter than the prefix that is cut off them.
fn check_merges(merges: &Merges, cut: usize) -> Result<Strings, E> {
    let wrong = |number: usize, merge: &[u8]| {
        let merge = String::from_utf8_lossy(merge).into_owned();
        E::Merge { file: TOKENIZER, number, merge }
    };
    let mut written = Strings::new();
    for rank in 0..merges.len() {
        let pair = merges.pair(rank).map_err(|line| wrong(rank, line))?;
        let Some([left, right]) = pair else { continue };
        if cut > 0 && std::str::from_utf8(right).is_ok_and(|right| right.get(cut..).is_none()) {
            return Err(wrong(rank, right));
        }
        if matches!(merges, Merges::Pairs(_)) {
            match left.contains(&b' ') || right.contains(&b' ') {
                false => written.push_all(&[left, b" ", right]),
                true => {
                    let dotted = |side| String::from_utf8_lossy(side).replace(' ', "Ġ");
                    written.push(format!("{} {}", dotted(left), dotted(right)));
                }
            }
        }
    }
    Ok(match merges {
        Merges::Joined(lines) => lines.clone(),
        Merges::Pairs(_) => written,
    })
}

/// Sets all but the model and the added tokens.
fn add_parts(
    tokenizer: &mut Tokenizer,
    json: &TokenizerJson,
    normalizer: Option<Value>,
    prefix_space: Option<bool>,
) -> Result<(), E> {
    if let Some(value) = normalizer {
        tokenizer.with_normalizer(Some(part::<NormalizerWrapper>("normalizer", value)?));
    }
    if let Some(value) = &json.pre_tokenizer {
        let mut value = value.clone();
        if let (Some(space), "ByteLevel") = (prefix_space, value["type"].as_str().unwrap_or_default()) {
            value["add_prefix_space"] = space.into();
        }
        tokenizer.with_pre_tokenizer(Some(part::<PreTokenizerWrapper>("pre_tokenizer", value)?));
    }
    if let Some(value) = &json.post_processor {
        check_template(value)?;
        tokenizer.with_post_processor(Some(part::<PostProcessorWrapper>("post_processor", value.clone())?));
    }
    if let Some(value) = json.decoder.as_ref().filter(|v| !v.is_null()) {
        tokenizer.with_decoder(Some(part::<DecoderWrapper>("decoder", value.clone())?));
    }
    Ok(())
}

fn part<T: DeserializeOwned>(part: &'static str, value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(|e| E::Part { part, source: e.into() })
}

/// The library indexes a template's special tokens without looking whether they are there.
fn check_template(value: &Value) -> Result<(), E> {
    for processor in value["processors"].as_array().into_iter().flatten() {
        check_template(processor)?;
    }
    for piece in ["single", "pair"].iter().flat_map(|key| value[key].as_array()).flatten() {
        if let Some(id) = piece["SpecialToken"]["id"].as_str()
            && value["special_tokens"].get(id).is_none()
        {
            let expected = "a token of `special_tokens`";
            return Err(E::field(
                TOKENIZER,
                "post_processor.SpecialToken",
                expected,
                &piece["SpecialToken"]["id"],
            ));
        }
    }
    Ok(())
}

/// `LlamaTokenizerFast.update_post_processor`.
fn bos_eos_template(
    tokenizer: &Tokenizer,
    specials: &Specials,
    class: &Class,
    add_bos: bool,
    add_eos: bool,
) -> Result<TemplateProcessing, E> {
    let token = |add: bool, key, field| match specials.text(key) {
        _ if !add => Ok(None),
        None => Err(E::ClassNeeds { class: class.name, field, needs: key }),
        text => Ok(text),
    };
    let bos = token(add_bos, "bos_token", "add_bos_token")?;
    let eos = token(add_eos, "eos_token", "add_eos_token")?;
    let before = |sequence: u8| bos.map(|t| format!("{t}:{sequence} ")).unwrap_or_default();
    let after = |sequence: u8| eos.map(|t| format!(" {t}:{sequence}")).unwrap_or_default();
    let single = format!("{}$A:0{}", before(0), after(0));
    // The pair is no concern of a single text, but the library checks it as well.
    let pair = format!("{single} {}$B:1{}", before(1), after(1));
    let unknown = || specials.text("unk_token").and_then(|t| tokenizer.token_to_id(t));
    let id = |token: &str| tokenizer.token_to_id(token).or_else(unknown);
    let ids: Vec<(String, u32)> =
        [bos, eos].into_iter().flatten().filter_map(|t| id(t).map(|id| (t.to_owned(), id))).collect();
    let part = |source: tokenizers::Error| E::Part { part: "post_processor", source };
    TemplateProcessing::builder()
        .try_single(single)
        .map_err(|e| part(e.into()))?
        .try_pair(pair)
        .map_err(|e| part(e.into()))?
        .special_tokens(ids)
        .build()
        .map_err(|e| part(e.into()))
}

/// `PreTrainedTokenizerBase.clean_up_tokenization`.
fn clean_up(text: String) -> String {
    const REPLACED: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    REPLACED.iter().fold(text, |text, (from, to)| text.replace(from, to))
}
