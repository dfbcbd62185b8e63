//! What the Python module of a tokenizer states, where a checkpoint comes with its own.
//!
//! In: the module's text, named by `auto_map` in `tokenizer_config.json`. Out: [`Module`]: the file of its vocabulary, the
//! pattern that splits texts, and its special tokens. Nothing is run: the few statements that say so are read, and a
//! module in which they are written in another way is refused. Source: `tokenization_qwen.py` of Qwen-7B,
//! `tokenization_hy.py` of Hunyuan-A13B, `tokenization_kimi.py` of Kimi-K2.

use serde_json::Value;

use super::TokenizerError as E;
use super::json::{TOKENIZER, TOKENIZER_CONFIG, TokenizerFiles, text, truthy};
use super::vocab::MAX_VOCABULARY;

/// A class that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Its special tokens are a list.
    Listed,
    /// The same, and ranks are the places of tokens in the file.
    Counted,
    /// Its special tokens are those that `tokenizer_config.json` adds, among as many as are reserved.
    Reserved,
}

const CLASSES: [(&str, Class); 3] = [
    ("QWenTokenizer", Class::Listed),
    ("HYTokenizer", Class::Counted),
    ("TikTokenTokenizer", Class::Reserved),
];

/// What a module states.
#[derive(Debug, PartialEq)]
pub(super) struct Module {
    /// Its file.
    pub(super) file: String,
    pub(super) class: Class,
    /// The file of the vocabulary.
    pub(super) vocabulary: String,
    /// What texts are split by.
    pub(super) pattern: String,
    pub(super) special: Special,
}

/// The special tokens.
#[derive(Debug, PartialEq)]
pub(super) enum Special {
    /// These, with ids from this one on.
    Listed(Vec<String>, u32),
    /// So many, with the ids after those of all other tokens.
    Reserved(u32),
}

/// More special tokens than any module has.
const MOST_SPECIAL: u32 = 1 << 16;

/// The class that `auto_map` names, and its module.
fn named<'f>(files: &'f TokenizerFiles<'_>) -> Result<(&'f str, Class), E> {
    const MAP: &str = "auto_map";
    let map = files.option(MAP).map(|map| &map["AutoTokenizer"]).filter(|v| !v.is_null());
    let map = map.ok_or(E::Missing(TOKENIZER))?;
    let slow = match map {
        Value::Array(both) => match both.as_slice() {
            [slow, Value::Null] => slow,
            _ => map,
        },
        _ => map,
    };
    let known = || {
        let (module, class) = slow.as_str()?.split_once('.')?;
        let is_name = module.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let class = CLASSES.iter().find(|(name, _)| *name == class)?.1;
        is_name.then_some((module, class))
    };
    known().ok_or_else(|| E::field(TOKENIZER_CONFIG, MAP, "a tokenizer that is known", slow))
}

/// Whether the folder has a tokenizer of this class.
pub(super) fn has(files: &TokenizerFiles<'_>, class: Class) -> bool {
    named(files).is_ok_and(|(_, named)| named == class)
}

/// Reads the module of the folder's tokenizer.
pub(super) fn read(files: &TokenizerFiles<'_>) -> Result<Module, E> {
    let (module, class) = named(files)?;
    let file = format!("{module}.py");
    if let Some(more) = files.option("extra_vocab_file").filter(|v| truthy(v)) {
        return Err(E::field(TOKENIZER_CONFIG, "extra_vocab_file", "absent", more));
    }
    let missing =
        || E::field(TOKENIZER_CONFIG, "auto_map", "with its module beside it", &Value::from(&*file));
    let text = text(files.checkpoint, &file)?.ok_or_else(missing)?;
    parse(&file, class, &text)
}

fn parse(file: &str, class: Class, text: &str) -> Result<Module, E> {
    let unlike = |name: &str| E::field(file, name, "as the known modules have it", &Value::Null);
    let stated = |name: &'static str| assigned(text, name).ok_or_else(|| unlike(name));
    let vocabulary = stated("VOCAB_FILES_NAMES")?
        .strip_prefix("{\"vocab_file\": \"")
        .and_then(|rest| rest.strip_suffix("\"}"))
        .filter(|name| !name.contains(['/', '\\', '"', ':']) && !name.starts_with('.'))
        .ok_or_else(|| unlike("VOCAB_FILES_NAMES"))?;
    let (pattern, special) = match class {
        Class::Listed | Class::Counted => {
            let pattern = raw(stated("PAT_STR")?).filter(|(_, rest)| rest.is_empty());
            let start = stated("SPECIAL_START_ID")?.parse().ok();
            let start = start.filter(|start| u64::from(*start) < MAX_VOCABULARY);
            let start = start.ok_or_else(|| unlike("SPECIAL_START_ID"))?;
            let texts = listed(text).ok_or_else(|| unlike("SPECIAL_TOKENS"))?;
            let pattern = pattern.ok_or_else(|| unlike("PAT_STR"))?.0.to_owned();
            (pattern, Special::Listed(texts, start))
        }
        Class::Reserved => {
            let pattern = joined(text).ok_or_else(|| unlike("pat_str"))?;
            let count = reserved(text).ok_or_else(|| unlike("num_reserved_special_tokens"))?;
            (pattern, Special::Reserved(count))
        }
    };
    Ok(Module { file: file.to_owned(), class, vocabulary: vocabulary.to_owned(), pattern, special })
}

/// What a module's variable is set to, on a line of its own; `None` where that is done twice.
fn assigned<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    let first = found.next()?;
    found.next().is_none().then(|| first.trim_end())
}

/// The text of a raw string literal, and what follows it.
fn raw(literal: &str) -> Option<(&str, &str)> {
    literal.strip_prefix("r\"\"\"")?.split_once("\"\"\"")
}

/// A statement's text without spaces and line ends, from its name to the end of the last of its lines that is indented.
fn statement(text: &str, name: &str) -> Option<String> {
    let at = text.starts_with(name).then_some(0).or_else(|| Some(text.find(&format!("\n{name}"))? + 1))?;
    let mut lines = text[at..].lines();
    let first = lines.next()?.to_owned();
    let more = lines.take_while(|line| line.starts_with([' ', ')']));
    Some(more.fold(first, |all, line| all + line).split_whitespace().collect())
}

/// `SPECIAL_TOKENS`: names of texts, and numbered ones after them.
fn listed(text: &str) -> Option<Vec<String>> {
    let names = statement(text, "SPECIAL_TOKENS = ")?;
    let names = names.strip_prefix("SPECIAL_TOKENS=tuple(enumerate(((")?;
    let names = names.strip_suffix("+EXTRAS),start=SPECIAL_START_ID,))")?.strip_suffix(",)")?;
    let quoted = |literal: &str| Some(literal.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let mut texts =
        names.split(',').map(|name| quoted(assigned(text, name)?)).collect::<Option<Vec<String>>>()?;
    if texts.iter().any(|text| text.contains(['"', '\\'])) {
        return None;
    }
    let extras = assigned(text, "EXTRAS")?.strip_prefix("tuple((f\"<|extra_{i}|>\" for i in range(")?;
    let count: u32 = extras.strip_suffix(")))")?.parse().ok().filter(|count| *count <= MOST_SPECIAL)?;
    texts.extend((0..count).map(|n| format!("<|extra_{n}|>")));
    Some(texts)
}

/// `pat_str`: raw strings that are joined.
fn joined(text: &str) -> Option<String> {
    let (_, list) = text.split_once("\n    pat_str = \"|\".join(")?;
    let mut rest = list.trim_start().strip_prefix('[')?;
    let mut patterns = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix(']') {
            return end.trim_start().starts_with(')').then(|| patterns.join("|"));
        }
        let (pattern, after) = raw(rest)?;
        patterns.push(pattern);
        rest = after.trim_start().strip_prefix(',')?;
    }
}

/// How many special tokens there are: those that are reserved, in some modules two more.
fn reserved(text: &str) -> Option<u32> {
    let mut found =
        text.lines().filter_map(|l| l.trim_start().strip_prefix("num_reserved_special_tokens = "));
    let count: u32 = found.next()?.trim_end().parse().ok().filter(|count| *count <= MOST_SPECIAL)?;
    let whole: String = text.split_whitespace().collect();
    let from = "foriinrange(num_base_tokens,num_base_tokens+self.num_reserved_special_tokens";
    let (_, rest) = whole.split_once(from)?;
    match (found.next(), rest) {
        (None, rest) if rest.starts_with("+2)}") => Some(count + 2),
        (None, rest) if rest.starts_with(")}") => Some(count),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QWEN: &str = include_str!("../../../tests/tokenizers/tokenization_qwen.py");
    const HUNYUAN: &str = include_str!("../../../tests/tokenizers/tokenization_hy.py");
    const KIMI: &str = include_str!("../../../tests/tokenizers/tokenization_kimi.py");

    #[test]
    fn modules_state_what_they_do() {
        let qwen = parse("q.py", Class::Listed, QWEN).unwrap();
        assert_eq!((&*qwen.file, &*qwen.vocabulary), ("q.py", "qwen.tiktoken"));
        assert!(qwen.pattern.starts_with("(?i:'s|") && qwen.pattern.ends_with(r"|\s+"), "{}", qwen.pattern);
        let Special::Listed(texts, start) = qwen.special else { panic!("a list") };
        assert_eq!((start, texts.len()), (151_643, 208));
        assert_eq!(texts[..4], ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>"]);

        let hunyuan = parse("h.py", Class::Counted, HUNYUAN).unwrap();
        assert_eq!(hunyuan.pattern, qwen.pattern);
        let Special::Listed(texts, _) = hunyuan.special else { panic!("a list") };
        assert_eq!(texts[4..6], ["<|pad|>", "<|extra_0|>"]);

        let kimi = parse("k.py", Class::Reserved, KIMI).unwrap();
        assert_eq!(kimi.special, Special::Reserved(258));
        assert!(kimi.pattern.starts_with(r"[\p{Han}]+|[^\r\n") && kimi.pattern.ends_with(r"|\s+(?!\S)|\s+"));
    }

    #[test]
    fn what_is_written_in_another_way_is_refused() {
        #[track_caller]
        fn check(class: Class, from: &str, to: &str, expected: &str) {
            let text = [QWEN, HUNYUAN, KIMI][class as usize];
            assert!(text.contains(from), "{from}");
            let error = parse("x.py", class, &text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(&format!("`x.py`: `{expected}`")), "{error}");
        }
        check(Class::Listed, "qwen.tiktoken", "../qwen.tiktoken", "VOCAB_FILES_NAMES");
        check(Class::Listed, "PAT_STR = ", "PAT_STR = re.escape", "PAT_STR");
        check(Class::Listed, "range(205)", "range(n)", "SPECIAL_TOKENS");
        check(Class::Listed, "range(205)", "range(4000000000)", "SPECIAL_TOKENS");
        check(Class::Listed, "start=SPECIAL_START_ID", "start=7", "SPECIAL_TOKENS");
        check(Class::Listed, "                IMEND,\n", "                NAME,\n", "SPECIAL_TOKENS");
        check(
            Class::Listed,
            "SPECIAL_START_ID = 151643",
            "SPECIAL_START_ID = len(ranks)",
            "SPECIAL_START_ID",
        );
        check(
            Class::Listed,
            "SPECIAL_START_ID = 151643",
            "SPECIAL_START_ID = 4294967295",
            "SPECIAL_START_ID",
        );
        check(
            Class::Counted,
            "SPECIAL_START_ID = ",
            "SPECIAL_START_ID = 1\nSPECIAL_START_ID = ",
            "SPECIAL_START_ID",
        );
        check(Class::Reserved, "tokens = 256", "tokens = n", "num_reserved_special_tokens");
        check(Class::Reserved, "tokens + 2", "tokens + 3", "num_reserved_special_tokens");
        check(Class::Reserved, "r\"\"\"\\p{N}{1,3}\"\"\"", "DIGITS", "pat_str");
    }
}
