//! Metadata that comes of hyper-parameters: which keys a family has, of what, in what order.

use serde_json::Value as Json;

use super::hparams::{HparamError, Hparams, count, single};
use super::{LAYERS, Rope};
use crate::gguf::Value;

/// One or several keys of a family's metadata.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// What most models have: `TextModel.set_gguf_parameters`.
    Common,
    /// `general.file_type`.
    FileType,
    /// What other families have, too.
    All(&'static [Key]),
    /// `{arch}.pooling_type`, where `modules.json` names a pooling module.
    Pooling,
    /// What rerankers have: how they pool, their two answers, and what they are asked.
    Ranking,
    /// `{arch}.` and this name, of the first of these hyper-parameters that is there.
    Of(&'static str, Store, When, &'static [&'static str]),
    /// `{arch}.` and this name, with this value.
    Is(&'static str, fn(&Model<'_>) -> Result<Option<Value>, HparamError>),
    /// This name as it stands, with this value.
    Whole(&'static str, fn(&Model<'_>) -> Result<Option<Value>, HparamError>),
}

/// How the value of a key is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// An unsigned integer.
    Count,
    /// An unsigned integer, or a list of one a layer.
    Counts,
    /// A float of single precision.
    Single,
    /// A truth value.
    Flag,
}

/// When a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always: the hyper-parameter must be there.
    Always,
    /// If the hyper-parameter is there.
    Given,
    /// If the hyper-parameter is there and not zero.
    NotZero,
}

/// What keys are made of.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The hyper-parameters.
    pub hparams: &'a Hparams,
    /// The rope parameters.
    pub rope: &'a Rope,
    /// `config.json` as it stands, before defaults and adjustments.
    pub file: &'a Hparams,
}

impl Model<'_> {
    /// The number of layers.
    ///
    /// # Errors
    /// Where it is not stated.
    pub fn layers(&self) -> Result<u32, HparamError> {
        self.hparams.required_count(LAYERS)
    }

    /// Width of a head: stated, or the embedding's divided among the heads.
    ///
    /// # Errors
    /// Where it follows from nothing.
    pub fn head_width(&self) -> Result<u32, HparamError> {
        match self.hparams.count(&["head_dim"])? {
            Some(width) => Ok(width),
            None => self.divided_width(),
        }
    }

    /// The embedding's width divided among the heads.
    ///
    /// # Errors
    /// Where one of them is not stated.
    pub fn divided_width(&self) -> Result<u32, HparamError> {
        let width = self.hparams.required_count(&["hidden_size"])?;
        let heads = self.hparams.required_count(&["num_attention_heads"])?;
        width
            .checked_div(heads)
            .ok_or_else(|| HparamError::wrong("num_attention_heads", &0.into(), "a positive number"))
    }

    /// Which layers attend to a window only, of `layer_types`.
    ///
    /// # Errors
    /// Where that is no list.
    pub fn window_layers(&self) -> Result<Option<Vec<bool>>, HparamError> {
        let Some(types) = self.hparams.get("layer_types") else { return Ok(None) };
        let types = types.as_array().ok_or_else(|| HparamError::wrong("layer_types", types, "a list"))?;
        Ok(Some(types.iter().map(|t| t == "sliding_attention").collect()))
    }

    /// The value of a key that is made of hyper-parameters; `None` where it is left out.
    ///
    /// # Errors
    /// Where one is missing or of another type.
    pub fn value(&self, store: Store, when: When, names: &[&str]) -> Result<Option<Value>, HparamError> {
        let Some((name, value)) = self.hparams.find(names) else {
            return if when == When::Always { Err(HparamError::missing(names)) } else { Ok(None) };
        };
        if when == When::NotZero && (value.as_f64() == Some(0.0) || *value == Json::Bool(false)) {
            return Ok(None);
        }
        stored(store, name, value)
    }
}

/// The value as it is stored; an empty list is left out.
fn stored(store: Store, name: &str, value: &Json) -> Result<Option<Value>, HparamError> {
    Ok(match store {
        Store::Counts if value.is_array() => integers(name, value)?,
        Store::Count | Store::Counts => Some(count(name, value)?.into()),
        Store::Single => Some(single(name, value)?.into()),
        Store::Flag => {
            let flag = value.as_bool().ok_or_else(|| HparamError::wrong(name, value, "true or false"))?;
            Some(flag.into())
        }
    })
}

/// The labels by which the model tells texts apart, in their order, unless they are the two that every configuration has.
///
/// Source: `BertModel.__init__` of the reference. What a configuration class made of `id2label` is a list of pairs; a file
/// that no class reads has an object, which the reference sorts by its keys' texts.
///
/// # Errors
/// Where they are no texts, or the reference would end: two labels, none of which is numbered 0.
pub fn labels(h: &Hparams) -> Result<Option<Vec<String>>, HparamError> {
    const LABELS: &str = "id2label";
    let Some(stated) = h.get(LABELS) else { return Ok(None) };
    let wrong = || HparamError::wrong(LABELS, stated, "an object of texts");
    let mut numbered: Vec<(Json, &Json)> = match stated {
        Json::Array(pairs) => pairs.iter().map(|pair| (pair[0].clone(), &pair[1])).collect(),
        Json::Object(object) => object.iter().map(|(key, label)| (Json::from(key.as_str()), label)).collect(),
        _ => return Err(wrong()),
    };
    if numbered.len() == 2 {
        match numbered.iter().find(|(number, _)| *number == 0) {
            Some((_, label)) if **label == "LABEL_0" => return Ok(None),
            Some(_) => {}
            None => return Err(HparamError::unsupported(LABELS, stated)),
        }
    }
    numbered.sort_by(|(a, _), (b, _)| (a.as_i64(), a.as_str()).cmp(&(b.as_i64(), b.as_str())));
    let texts: Option<Vec<String>> =
        numbered.iter().map(|(_, label)| label.as_str().map(str::to_owned)).collect();
    let texts = texts.ok_or_else(wrong)?;
    Ok((!texts.is_empty()).then_some(texts))
}

/// A list of integers, which the reference stores with a sign; an empty one is left out.
///
/// # Errors
/// Where it is something else.
pub fn integers(name: &str, value: &Json) -> Result<Option<Value>, HparamError> {
    let integer = |v: &Json| v.as_i64().and_then(|n| i32::try_from(n).ok());
    let items: Option<Vec<i32>> = value.as_array().and_then(|items| items.iter().map(integer).collect());
    let items = items.ok_or_else(|| HparamError::wrong(name, value, "integers"))?;
    Ok((!items.is_empty()).then(|| items.into()))
}

/// `{arch}.` and this name, of a count that must be there.
pub(super) const fn count_of(key: &'static str, names: &'static [&'static str]) -> Key {
    Key::Of(key, Store::Count, When::Always, names)
}

/// `{arch}.` and this name, of a count that may be there.
pub(super) const fn count_if(key: &'static str, names: &'static [&'static str]) -> Key {
    Key::Of(key, Store::Count, When::Given, names)
}

/// `{arch}.` and this name, of a float that must be there.
pub(super) const fn single_of(key: &'static str, names: &'static [&'static str]) -> Key {
    Key::Of(key, Store::Single, When::Always, names)
}

/// `{arch}.block_count`.
pub(super) const BLOCK_COUNT: Key = Key::Is("block_count", |m| Ok(Some(m.layers()?.into())));

/// `{arch}.` and this name, of a float that may be there and not zero.
pub(super) const fn single_unless_zero(key: &'static str, names: &'static [&'static str]) -> Key {
    Key::Of(key, Store::Single, When::NotZero, names)
}

/// `{arch}.rope.dimension_count`: the width of a head.
pub(super) const ROPE_DIMENSIONS: Key = Key::Is("rope.dimension_count", |m| Ok(Some(m.head_width()?.into())));

/// `{arch}.rope.dimension_count`: the part of the embedding's width that turns, divided among the heads.
pub(super) const PARTIAL_ROPE_DIMENSIONS: Key = Key::Is("rope.dimension_count", |m| {
    const PART: &str = "partial_rotary_factor";
    let part = m.rope.whole(PART).ok_or_else(|| HparamError::missing(&[PART]))?;
    Ok(Some(partial_width(m, super::hparams::double(PART, part)?)?.into()))
});

/// A part of the embedding's width, divided among the heads.
///
/// # Errors
/// Where the widths are not stated.
pub fn partial_width(m: &Model<'_>, part: f64) -> Result<u32, HparamError> {
    let width = m.hparams.required_count(&["hidden_size", "n_embd"])?;
    let heads = m.hparams.required_count(&["num_attention_heads", "n_head"])?;
    let turning = (part * f64::from(width)) as u32;
    turning
        .checked_div(heads)
        .ok_or_else(|| HparamError::wrong("num_attention_heads", &0.into(), "a positive number"))
}

/// `{arch}.vocab_size`.
pub(super) const VOCABULARY_SIZE: Key = count_of("vocab_size", &["vocab_size"]);

/// `{arch}.rope.scaling.type`: none, whatever the configuration says.
pub(super) const NO_ROPE_SCALING: Key = Key::Is("rope.scaling.type", |_| Ok(Some("none".into())));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_that_the_reference_writes() {
        let check = |json: &str, expected: Result<Option<&[&str]>, ()>| {
            let h = Hparams::new(serde_json::from_str(&format!(r#"{{"id2label": {json}}}"#)).unwrap());
            let found = labels(&h).map_err(|_| ());
            let expected =
                expected.map(|list| list.map(|list| list.iter().map(|l| (*l).to_owned()).collect()));
            assert_eq!(found, expected, "{json}");
        };
        check("null", Ok(None));
        check("{}", Ok(None));
        // Of a class: numbers.
        check(r#"[[0, "LABEL_0"], [1, "LABEL_1"]]"#, Ok(None));
        check(r#"[[0, "LABEL_0"]]"#, Ok(Some(&["LABEL_0"])));
        check(r#"[[10, "k"], [2, "c"], [0, "a"]]"#, Ok(Some(&["a", "c", "k"])));
        check(r#"[[1, "b"], [0, "a"]]"#, Ok(Some(&["a", "b"])));
        check(r#"[[1, "b"], [2, "c"]]"#, Err(()));
        check(r#"[[0, 7]]"#, Err(()));
        // Of a file: texts.
        check(r#"{"0": "LABEL_0"}"#, Ok(Some(&["LABEL_0"])));
        check(r#"{"0": "LABEL_0", "1": "LABEL_1"}"#, Err(()));
        check(r#"{"10": "k", "2": "c", "0": "a"}"#, Ok(Some(&["a", "k", "c"])));
    }
}
