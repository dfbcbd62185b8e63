//! Chat templates: where they are, and how the GGUF file has them.
//!
//! Source: gguf-py's `SpecialVocab._try_load_from_tokenizer_json` and `GGUFWriter.add_chat_template`.

use serde_json::Value;

use super::TokenizerError as E;
use super::json::{TOKENIZER_CONFIG, TokenizerFiles, object, text};
use crate::gguf::Metadata;

const KEY: &str = "tokenizer.chat_template";
/// A template in a file of its own.
pub(super) const JINJA: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
const ADDITIONAL: &str = "additional_chat_templates";

/// One template, or several by name.
#[derive(Debug, PartialEq)]
pub(super) enum ChatTemplate {
    One(String),
    Several(Vec<(String, String)>),
}

impl ChatTemplate {
    /// The template of `tokenizer_config.json`, which goes before that of any other file.
    pub(super) fn read(files: &TokenizerFiles<'_>) -> Result<Option<Self>, E> {
        let mut file = TOKENIZER_CONFIG;
        let found = match files.option("chat_template") {
            Some(value) => Some(value.clone()),
            None => {
                if let Some(default) = text(files.checkpoint, JINJA)? {
                    return Self::with_additional(files, default).map(Some);
                }
                file = JSON;
                object(files.checkpoint, JSON)?.and_then(|mut json| json.remove("chat_template"))
            }
        };
        match found {
            Some(Value::String(template)) => Ok(Some(ChatTemplate::One(template))),
            Some(Value::Array(templates)) => {
                let mut named = Vec::new();
                for template in &templates {
                    let wrong =
                        || E::field(file, "chat_template", "text, or a list of names and texts", template);
                    let Value::Object(fields) = template else { return Err(wrong()) };
                    let name = fields.get("name").map_or(Some(""), Value::as_str).ok_or_else(wrong)?;
                    match fields.get("template") {
                        None | Some(Value::Null) => {}
                        Some(Value::String(text)) => named.push((name.to_owned(), text.clone())),
                        Some(_) => return Err(wrong()),
                    }
                }
                Ok(Some(ChatTemplate::Several(named)))
            }
            // The reference ignores what it cannot read.
            _ => Ok(None),
        }
    }

    /// With the templates of `additional_chat_templates/`, sorted: the reference takes them as the file system gives them.
    fn with_additional(files: &TokenizerFiles<'_>, default: String) -> Result<Self, E> {
        let names: Vec<String> =
            files.checkpoint.names_in(ADDITIONAL)?.into_iter().filter(|n| n.ends_with(".jinja")).collect();
        if names.is_empty() {
            return Ok(ChatTemplate::One(default));
        }
        let mut templates = vec![("default".to_owned(), default)];
        for name in names {
            let stem = if name == ".jinja" { &name } else { name.trim_end_matches(".jinja") };
            if let Some(template) = text(files.checkpoint, &format!("{ADDITIONAL}/{name}"))? {
                templates.push((stem.to_owned(), template));
            }
        }
        Ok(ChatTemplate::Several(templates))
    }

    /// Writes the named templates, the list of their names, and the default one. An empty text leaves no key.
    pub(super) fn write(&self, out: &mut Metadata) {
        let mut set = |key: String, template: &str| {
            if !template.is_empty() {
                out.set(key, template);
            }
        };
        let templates = match self {
            ChatTemplate::One(template) => return set(KEY.to_owned(), template),
            ChatTemplate::Several(templates) => templates,
        };
        let mut default = None;
        let mut names: Vec<String> = Vec::new();
        for (name, template) in templates {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            if name == "default" {
                default = Some(template);
            } else if !name.is_empty() {
                set(format!("{KEY}.{name}"), template);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        // The reference lists the names in the order of a set, which differs from run to run.
        if !names.is_empty() {
            out.set("tokenizer.chat_templates", names);
        }
        if let Some(default) = default.filter(|t| !t.is_empty()) {
            out.set(KEY, default.as_str());
        }
    }
}
