//! What a model's name says: organisation, base name, size, finetune, version.
//!
//! Source: `Metadata.get_model_id_components` and `id_to_title` of gguf-py, whose guesses are part of the bytes.

use std::sync::LazyLock;

use regex::Regex;

/// The parts of `owner/Base-7B-Instruct-v0.2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Components {
    /// The name without the owner.
    pub name: String,
    /// The owner.
    pub organization: Option<String>,
    /// What stands before the size.
    pub basename: Option<String>,
    /// What it was trained on for, and other words after the size.
    pub finetune: Option<String>,
    /// Versions that are no part of the base name.
    pub version: Option<String>,
    /// Sizes that agree with the number of parameters.
    pub size_label: Option<String>,
}

static VERSION: LazyLock<Regex> = LazyLock::new(|| whole(r"(v|iter)?\d+([.]\d+)*"));
static TYPE: LazyLock<Regex> = LazyLock::new(|| whole(r"i?q\d(_\w)*|b?fp?(16|32)"));
static SIZE: LazyLock<Regex> =
    LazyLock::new(|| whole(r"(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)"));
static FINETUNE: LazyLock<Regex> = LazyLock::new(|| whole(r"chat|instruct|vision|lora"));
/// Words that stay in lower case in a title.
static NUMBERED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(v\d+(?:\.\d+)*|\d.*)$").expect("the pattern is a constant"));

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("(?i)^(?:{pattern})$")).expect("the patterns are constants")
}

/// What one part of the name was taken for; it can be more than one thing.
#[derive(Default)]
struct Roles {
    basename: bool,
    size_label: bool,
    finetune: bool,
    version: bool,
    quantization: bool,
}

impl Roles {
    fn count(&self) -> usize {
        [self.basename, self.size_label, self.finetune, self.version, self.quantization]
            .iter()
            .filter(|role| **role)
            .count()
    }
}

impl Components {
    /// Takes a name apart. `total` is the number of parameters, or zero if it is not known: a size in the name that is
    /// far from it is a context length, and so part of the finetune. Less than nothing for an adapter, which need not
    /// have something for every tensor: only a size that is far below is none.
    pub fn of(id: &str, total: i64) -> Self {
        if id.contains(' ') {
            // A title that a person wrote.
            return Components { name: id.to_owned(), ..Components::default() };
        }
        let (organization, name) = match id.split_once('/') {
            Some((org, name)) => ((!org.starts_with('.')).then(|| org.to_owned()), name),
            None => (None, id),
        };
        let mut parts: Vec<(String, Roles)> = name
            .split('-')
            .filter(|part| !part.is_empty())
            .enumerate()
            .map(|(i, part)| annotate(part, i == 0, total))
            .collect();
        settle_sizes(&mut parts);
        settle_basename(&mut parts);

        let joined = |has: fn(&Roles) -> bool| {
            let chosen: Vec<&str> = parts.iter().filter(|(_, r)| has(r)).map(|(p, _)| p.as_str()).collect();
            (!chosen.is_empty()).then(|| chosen.join("-"))
        };
        let mut sizes: Vec<&str> = Vec::new();
        for (part, roles) in &parts {
            if roles.size_label && !sizes.contains(&part.as_str()) {
                sizes.push(part);
            }
        }
        let size_label = (!sizes.is_empty()).then(|| sizes.join("-"));
        let finetune = joined(|r| r.finetune);
        let version = joined(|r| r.version && !r.basename);
        // A name that says nothing but itself gives no base name either.
        let told = size_label.is_some() || finetune.is_some() || version.is_some();
        let basename = joined(|r| r.basename).filter(|_| told);
        Components { name: name.to_owned(), organization, basename, finetune, version, size_label }
    }
}

fn annotate(part: &str, first: bool, total: i64) -> (String, Roles) {
    let mut roles = Roles::default();
    if VERSION.is_match(part) {
        roles.version = true;
    } else if TYPE.is_match(part) {
        roles.quantization = true;
        return (part.to_uppercase(), roles);
    } else if !first && SIZE.is_match(part) {
        let (part, is_context) = size(part, total);
        roles.finetune = is_context;
        roles.size_label = !is_context;
        return (part, roles);
    } else if !first && FINETUNE.is_match(part) {
        // That an adapter is one is said elsewhere.
        roles.quantization = total < 0 && part.to_lowercase() == "lora";
        roles.finetune = !roles.quantization;
    }
    (part.to_owned(), roles)
}

/// A size in its normal form, and whether it must be a context length. Digits of other scripts are taken for digits, as
/// in the reference, but their value is not: such a size is never a context length.
fn size(part: &str, total: i64) -> (String, bool) {
    let mut chars: Vec<char> = part.replace('_', ".").chars().collect();
    if chars.last().is_some_and(|c| c.is_numeric()) {
        // `7b1`, which bloom has for `7.1b`.
        let (fraction, unit) = (chars.pop(), chars.pop());
        chars.extend(['.'].into_iter().chain(fraction).chain(unit));
    }
    let unit = chars.pop().expect("the pattern matches no empty part");
    let number: String = chars.iter().collect();
    let after_digit = chars.last().is_some_and(|c| c.is_numeric());
    let unit = if after_digit && "kmbt".contains(unit) { unit.to_ascii_uppercase() } else { unit };
    // 0.001 for what only case folding takes for a unit: the Kelvin sign.
    let scale = " KMBT".find(unit).map_or(0.001, |at| 1000f64.powi(at as i32));
    let count = total.unsigned_abs();
    let is_far = |n: f64| match total {
        0 => false,
        ..0 => n * scale < (count / 8) as f64,
        1.. => (n * scale - count as f64).abs() > (7 * u128::from(count) / 8) as f64,
    };
    let is_context = number.parse().is_ok_and(is_far);
    let unit = if is_context { unit.to_lowercase().to_string() } else { unit.to_string() };
    (number + &unit, is_context)
}

/// Words for sizes (`small`) give way to numbers.
fn settle_sizes(parts: &mut [(String, Roles)]) {
    let numbered = |(part, roles): &(String, Roles)| roles.size_label && part.chars().any(char::is_numeric);
    if parts.iter().any(numbered) {
        for (part, roles) in parts {
            if part.chars().all(char::is_alphabetic) {
                roles.size_label = false;
            }
        }
    }
}

/// The base name is what stands before the first other part; its last versions are no part of it.
fn settle_basename(parts: &mut [(String, Roles)]) {
    let mut at_start = true;
    for (part, roles) in parts.iter_mut() {
        let plain = roles.count() == 0;
        if at_start && ((plain && part.starts_with(char::is_alphabetic)) || roles.version) {
            roles.basename = true;
        } else {
            at_start = false;
            roles.finetune |= plain;
        }
    }
    for (_, roles) in parts.iter_mut().rev() {
        if !roles.basename || roles.count() == 1 {
            break;
        }
        roles.basename = false;
    }
}

/// A name as a title: words in lower case get a capital, but versions and numbers do not.
pub fn title(name: &str) -> String {
    // Python's idea of white space has the four separators that Unicode's property leaves out.
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let words = name.split(|c| c == '-' || is_space(c)).filter(|w| !w.is_empty());
    let titled =
        words.map(|w| if is_lower(w) && !NUMBERED.is_match(w) { capitalize(w) } else { w.to_owned() });
    titled.collect::<Vec<_>>().join(" ")
}

fn is_lower(word: &str) -> bool {
    word.chars().any(char::is_lowercase) && !word.chars().any(|c| c.is_uppercase() || is_digraph(c))
}

/// The letters of Latin that have a third case.
fn is_digraph(c: char) -> bool {
    matches!(c, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}')
}

/// Python's `str.title` of a word in lower case: a capital after everything that is no letter with case.
fn capitalize(word: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in word.chars() {
        match c {
            _ if inside => out.push(c),
            '\u{1c6}' | '\u{1c9}' | '\u{1cc}' | '\u{1f3}' => out.extend(char::from_u32(c as u32 - 1)),
            _ => {
                let mut upper = c.to_uppercase();
                out.extend(upper.next());
                out.extend(upper.flat_map(char::to_lowercase));
            }
        }
        inside = c.is_lowercase();
    }
    out
}
