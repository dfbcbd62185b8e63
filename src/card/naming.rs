//! Names of output folders and files: `{prefix}{model}-{method}`, in lower case.
//!
//! In: names from configuration files and repositories, so from anyone. Out: a name that is one component of a path on
//! every system. It refuses names of which nothing is left, and names that are too long.

use thiserror::Error;

/// Longest name in bytes; `.gguf`, a shard's number and a temporary suffix still fit into 255.
pub const MAX_NAME: usize = 200;

/// Why a name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing of the model's name can stand in a file name.
    #[error("`{0}` leaves nothing that can be a file name")]
    Empty(String),
    /// Longer than [`MAX_NAME`].
    #[error("`{name}` is {bytes} bytes long; {MAX_NAME} are allowed")]
    TooLong {
        /// The name that would have been used.
        name: String,
        /// Its length.
        bytes: usize,
    },
}

/// Names that Windows keeps for devices, whatever follows after a dot.
const RESERVED: &[&str] = &["con", "prn", "aux", "nul", "com", "lpt"];

/// The folder of a job, and its file without `.gguf`: `jamph-` and `Qwen/Qwen2.5-0.5B` and `Q4_K_M` give
/// `jamph-qwen2.5-0.5b-q4_k_m`. Of a model given as `owner/name` or as a path, the last part counts.
///
/// # Errors
/// [`NameError`] if nothing is left of the model's name, or too much.
pub fn output_name(prefix: &str, model: &str, method: &str) -> Result<String, NameError> {
    let name = format!("{}-{}", model_name(prefix, model)?, safe(method));
    let name = name.trim_end_matches(['-', '.']).to_owned();
    checked(name)
}

/// The name that all methods of a model share: `{prefix}{model}`, in lower case.
///
/// # Errors
/// [`NameError`] if nothing is left of the model's name, or too much.
pub fn model_name(prefix: &str, model: &str) -> Result<String, NameError> {
    let last = model.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or("");
    let safe_model = safe(last);
    if !safe_model.contains(char::is_alphanumeric) {
        return Err(NameError::Empty(model.to_owned()));
    }
    checked(safe(&format!("{prefix}{safe_model}")))
}

fn checked(name: String) -> Result<String, NameError> {
    let bytes = name.len();
    if bytes > MAX_NAME { Err(NameError::TooLong { name, bytes }) } else { Ok(name) }
}

/// Letters, digits, `.`, `_` and `-` in lower case; runs of anything else become one `-`. No dot or hyphen at either
/// end, and no device's name before a dot.
fn safe(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let mut out = out.trim_matches(['-', '.']).to_owned();
    let end = out.find('.').unwrap_or(out.len());
    let stem = &out[..end];
    let device = RESERVED.iter().find_map(|r| stem.strip_prefix(r)).is_some_and(|rest| {
        let numbered = stem.starts_with("com") || stem.starts_with("lpt");
        let digit =
            rest.chars().count() == 1 && rest.chars().all(|c| matches!(c, '0'..='9' | '¹' | '²' | '³'));
        if numbered { digit } else { rest.is_empty() }
    });
    if device {
        out.insert(end, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(prefix: &str, model: &str, method: &str, expected: &str) {
        assert_eq!(output_name(prefix, model, method).as_deref(), Ok(expected));
    }

    #[test]
    fn names_are_prefix_model_method_in_lower_case() {
        check("jamph-", "Qwen/Qwen2.5-0.5B", "Q4_K_M", "jamph-qwen2.5-0.5b-q4_k_m");
        check("", "./My Models/NorMistral 7B/", "Q8_0", "normistral-7b-q8_0");
        check("", "C:\\models\\x", "F16", "x-f16");
        check("../../", "a", "F16", "a-f16");
        check("", "..hidden", "F16", "hidden-f16");
        check("", "a\n\t| b", "F16", "a-b-f16");
        check("", "con.cat", "F16", "con_.cat-f16");
        check("", "COM1", "F16", "com1_-f16");
        check("", "console", "F16", "console-f16");
        check("", "Blåbær", "F16", "blåbær-f16");
    }

    #[test]
    fn names_of_nothing_and_endless_names_are_refused() {
        for nothing in ["", "/", "..", "a/..", "***", "---"] {
            assert!(matches!(output_name("p-", nothing, "F16"), Err(NameError::Empty(_))), "{nothing}");
        }
        assert!(matches!(output_name("", &"a".repeat(300), "F16"), Err(NameError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn every_name_is_one_harmless_component(prefix in ".{0,8}", model in ".{0,20}", method in "[A-Z0-9_]{2,8}") {
            if let Ok(name) = output_name(&prefix, &model, &method) {
                prop_assert!(!name.starts_with(['.', '-']) && !name.ends_with(['.', ' ', '-']), "{name}");
                prop_assert!(!name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '\0']), "{name}");
                prop_assert!(!name.contains(|c: char| c.is_control() || c.is_whitespace()), "{name}");
                prop_assert_eq!(safe(&name), name.clone());
            }
        }
    }
}
