//! Hyper-parameters: `config.json` as the reference sees it, read by key and checked for type.

use serde_json::{Map, Value};
use thiserror::Error;

/// A hyper-parameter that is missing or no use.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum HparamError {
    #[error("the configuration has none of {}", list(keys))]
    Missing { keys: Vec<String> },
    #[error("the configuration's `{key}` is `{found}`, not {expected}")]
    Type { key: String, found: String, expected: &'static str },
    #[error("the configuration's `{key}` is `{found}`, which is not supported")]
    Unsupported { key: String, found: String },
    #[error("the configuration makes `{key}` no finite number")]
    NotFinite { key: String },
    #[error("the preprocessor's configuration has no `{key}` that is {expected}")]
    Preprocessor { key: String, expected: &'static str },
}

impl HparamError {
    /// None of `keys` is there.
    pub fn missing(keys: &[&str]) -> Self {
        HparamError::Missing { keys: keys.iter().map(|k| (*k).to_owned()).collect() }
    }

    /// `key` holds `value` where something else was expected.
    pub fn wrong(key: &str, value: &Value, expected: &'static str) -> Self {
        HparamError::Type { key: key.to_owned(), found: short(value), expected }
    }

    /// The configuration of what pictures go through first has no such `key`.
    pub fn preprocessor(key: &str, expected: &'static str) -> Self {
        HparamError::Preprocessor { key: key.to_owned(), expected }
    }

    /// `key` holds `value`, which nothing here can handle.
    pub fn unsupported(key: &str, value: &Value) -> Self {
        HparamError::Unsupported { key: key.to_owned(), found: short(value) }
    }
}

fn list(keys: &[String]) -> String {
    keys.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

fn short(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

type Result<T> = std::result::Result<T, HparamError>;

/// A model's hyper-parameters, by the names of its `config.json`, or `params.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hparams {
    values: Map<String, Value>,
}

impl Hparams {
    /// The members of a configuration.
    pub fn new(values: Map<String, Value>) -> Self {
        Hparams { values }
    }

    /// All of them.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The value of a key; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|v| !v.is_null())
    }

    /// Whether the key is there, null or not.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The first of `keys` that is there, with its value: a key that is null hides those after it (`find_hparam`).
    pub fn find<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &Value)> {
        let key = *keys.iter().find(|k| self.has(k))?;
        self.get(key).map(|v| (key, v))
    }

    /// The count under the first of `keys` that is there.
    ///
    /// # Errors
    /// Where it is no integer that fits.
    pub fn count(&self, keys: &[&str]) -> Result<Option<u32>> {
        self.find(keys).map(|(key, value)| count(key, value)).transpose()
    }

    /// The count under the first of `keys` that is there.
    ///
    /// # Errors
    /// Where none is there, or it is no integer that fits.
    pub fn required_count(&self, keys: &[&str]) -> Result<u32> {
        self.count(keys)?.ok_or_else(|| HparamError::missing(keys))
    }

    /// The text under `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The class that the checkpoint was saved from: the first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.get("architectures")?.as_array()?.first()?.as_str()
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// Sets the members of `other`; those of the same name change.
    pub fn merge(&mut self, other: &Map<String, Value>) {
        self.values.extend(other.clone());
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), value);
    }

    /// Sets a key that is not there.
    pub(super) fn set_default(&mut self, key: &str, value: impl FnOnce() -> Value) {
        if !self.has(key) {
            self.set(key, value());
        }
    }
}

/// `value` as an unsigned 32-bit integer.
///
/// # Errors
/// Where it is none; a float with an integral value is none either, as in the reference.
pub fn count(key: &str, value: &Value) -> Result<u32> {
    value
        .as_u64()
        .and_then(|n| n.try_into().ok())
        .ok_or_else(|| HparamError::wrong(key, value, "an unsigned 32-bit integer"))
}

/// `value` as a double, rounded to single precision.
///
/// # Errors
/// Where it is no number or leaves the range.
pub fn single(key: &str, value: &Value) -> Result<f32> {
    let wide = double(key, value)?;
    let narrow = wide as f32;
    if narrow.is_finite() { Ok(narrow) } else { Err(HparamError::wrong(key, value, "a number that fits")) }
}

/// `value` as a double.
///
/// # Errors
/// Where it is no number.
pub fn double(key: &str, value: &Value) -> Result<f64> {
    value.as_f64().ok_or_else(|| HparamError::wrong(key, value, "a number"))
}

/// `value`, which was computed for the metadata's `key`.
///
/// # Errors
/// Where something was divided by nothing.
pub fn finite(key: &str, value: f32) -> Result<f32> {
    if value.is_finite() { Ok(value) } else { Err(HparamError::NotFinite { key: key.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hparams(json: &str) -> Hparams {
        Hparams::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_null_hides_the_keys_after_it() {
        let h = hparams(r#"{"a": null, "b": 2}"#);
        assert_eq!(h.find(&["a", "b"]), None);
        assert_eq!(h.find(&["c", "b"]).unwrap().0, "b");
        assert_eq!(h.count(&["b"]), Ok(Some(2)));
        assert_eq!(h.required_count(&["c", "d"]), Err(HparamError::missing(&["c", "d"])));
    }

    #[test]
    fn counts_are_integers() {
        for bad in ["1.0", "-1", "4294967296", "true", "\"7\"", "[1]"] {
            let h = hparams(&format!(r#"{{"a": {bad}}}"#));
            assert!(matches!(h.count(&["a"]), Err(HparamError::Type { .. })), "{bad}");
        }
        assert!(single("a", &serde_json::json!(1e300)).is_err());
        assert_eq!(single("a", &serde_json::json!(10000)), Ok(10000.0));
    }
}
