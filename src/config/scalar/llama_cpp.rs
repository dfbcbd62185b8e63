//! Which llama.cpp, and where its source is.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{FilePath, Url};
use crate::base::quote::quote;
use crate::config::model::LlamaSource;
use crate::config::read::{FromText, Reader, Wrong};

/// A release of llama.cpp.
#[derive(Clone, Debug)]
pub(crate) struct LlamaTag(pub String);
text_type!(
    LlamaTag,
    { "type": "string", "pattern": "^(b[0-9]{1,8}|v[0-9]{1,6}\\.[0-9]{1,6}\\.[0-9]{1,6})$" },
    |text, _reader| {
        match is_llama_tag(text) {
            true => Ok(LlamaTag(text.to_owned())),
            false => Err(Wrong::new(format!("{} is no release of llama.cpp", quote(text)))
                .hint("releases are called `b` and a number, such as `b11312`, or `v0.5.0`")),
        }
    }
);

/// Whether llama.cpp calls releases so: `b11312`, `v0.5.0`.
pub fn is_llama_tag(text: &str) -> bool {
    let number =
        |text: &str, longest| (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match (text.strip_prefix('b'), text.strip_prefix('v')) {
        (Some(build), _) => number(build, 8),
        (_, Some(version)) => version.split('.').count() == 3 && version.split('.').all(|n| number(n, 6)),
        _ => false,
    }
}

/// Where llama.cpp's source is.
#[derive(Clone, Debug)]
pub(crate) struct LlamaPlace(pub LlamaSource);
text_type!(LlamaPlace, { "type": "string", "minLength": 1 }, |text, reader| {
    if text.contains("://") {
        return Ok(LlamaPlace(LlamaSource::Url(Url::from_text(text, reader)?.0)));
    }
    Ok(LlamaPlace(LlamaSource::Path(FilePath::from_text(text, reader)?.0)))
});

/// A folder below another.
#[derive(Clone, Debug)]
pub(crate) struct Subfolder(pub String);
text_type!(Subfolder, { "type": "string", "pattern": "^[^/\\\\:]" }, |text, _reader| {
    let steps = |step: &str| !step.is_empty() && step != "." && step != "..";
    match text.trim_end_matches('/') {
        path if path.split('/').all(steps) && !path.contains(['\\', ':', '\n', '\0']) => {
            Ok(Subfolder(path.to_owned()))
        }
        _ => Err(Wrong::new(format!("{} is no folder below the source", quote(text)))
            .hint("write it as `vendor/llama.cpp`")),
    }
});

/// A commit of llama.cpp.
#[derive(Clone, Debug)]
pub(crate) struct LlamaCommit(pub String);
text_type!(LlamaCommit, { "type": "string", "pattern": "^[0-9a-f]{40}$" }, |text, _reader| {
    if text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(LlamaCommit(text.to_owned()));
    }
    Err(Wrong::new(format!("{} is no commit", quote(text))).hint("write all 40 digits, in quotes"))
});
