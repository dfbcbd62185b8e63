//! What the Hub says about a model card.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The front matter, if there is one.
pub(super) fn front_matter(text: &str) -> Result<Option<Value>, String> {
    let text = text.replace("\r\n", "\n");
    let Some(rest) = text.strip_prefix("---\n") else { return Ok(None) };
    let Some((yaml, _)) = rest.split_once("\n---") else { return Ok(None) };
    serde_saphyr::from_str(yaml).map(Some).map_err(|e| e.to_string())
}

/// `POST /api/validate-yaml`
pub(super) async fn validate(Json(asked): Json<Value>) -> Response {
    let content = asked["content"].as_str().unwrap_or_default();
    let (warnings, errors) = match front_matter(content) {
        Err(error) => (vec![], vec![format!("invalid YAML: {error}")]),
        Ok(None) => (vec!["empty or missing yaml metadata in repo card".to_owned()], vec![]),
        Ok(Some(card)) => (vec![], mistakes(&card)),
    };
    let messages = |texts: Vec<String>| texts.into_iter().map(|t| json!({"message": t})).collect::<Vec<_>>();
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (status, Json(json!({"warnings": messages(warnings), "errors": messages(errors)}))).into_response()
}

/// The mistakes that the real Hub refuses a card for.
fn mistakes(card: &Value) -> Vec<String> {
    if !card.is_object() && !card.is_null() {
        return vec!["the metadata must be an object".to_owned()];
    }
    let mut found = Vec::new();
    let is_tag = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'+'))
    };
    let is_text = |text: &str| !text.is_empty();
    let mut each = |key: &str, what: &str, sound: &dyn Fn(&str) -> bool| {
        let values = match &card[key] {
            Value::Null => vec![],
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        };
        if !values.iter().all(|v| v.as_str().is_some_and(sound)) {
            found.push(format!("\"{key}\" {what}"));
        }
    };
    each("license", "must be one of the known licenses", &is_tag);
    each("base_model", "with value is not valid. Use a model id from https://hf.co/models", &|v| {
        v.split('/').count() <= 2 && !v.contains(' ') && !v.is_empty()
    });
    each("tags", "must be an array of strings", &is_text);
    each("pipeline_tag", "must be a string", &is_tag);
    each("library_name", "must be a string", &is_tag);
    each("language", "must only contain lowercase characters", &is_tag);
    each("base_model_relation", "must be one of [finetune, adapter, merge, quantized]", &|v| {
        ["finetune", "adapter", "merge", "quantized"].contains(&v)
    });
    found
}
