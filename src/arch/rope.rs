//! Rotary embeddings: their parameters, and the frequency factors of Llama 3.

use serde_json::{Map, Value};

use super::hparams::{self, HparamError, Hparams};
use super::powf::powf;

/// The rope parameters of a model, whichever of the configuration's many keys they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rope {
    all: Map<String, Value>,
}

const THETA: &[&str] =
    &["global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base"];
const LOCAL_THETA: &[&str] =
    &["local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq"];
const PARTIAL: &[&str] = &["partial_rotary_factor", "rope_pct", "rope_percent"];
const ORIGINAL_CONTEXT: &str = "original_max_position_embeddings";

/// Wider than any head, and little enough to list.
const MAX_WIDTH: u32 = 1 << 16;

impl Rope {
    /// Gathers them from a configuration, as `TextModel.__init__` does.
    ///
    /// # Errors
    /// Where the configuration's rope parameters are no object.
    pub fn new(h: &Hparams) -> Result<Self, HparamError> {
        let key = if h.has("rope_parameters") { "rope_parameters" } else { "rope_scaling" };
        let mut all = match h.get(key) {
            None => Map::new(),
            Some(Value::Object(object)) => object.clone(),
            Some(other) => return Err(HparamError::wrong(key, other, "an object")),
        };
        if !all.contains_key("full_attention") && !all.contains_key("sliding_attention") {
            if let Some((_, theta)) = h.find(LOCAL_THETA) {
                let local = Map::from_iter([("rope_theta".to_owned(), theta.clone())]);
                all.insert("sliding_attention".to_owned(), Value::Object(local));
            }
            let named = all.get("type").filter(|v| !v.is_null()).cloned();
            let found = |keys: &[&str]| h.find(keys).map(|(_, v)| v.clone());
            let mirrored = [
                ("rope_theta", found(THETA)),
                ("rope_type", named),
                ("partial_rotary_factor", found(PARTIAL)),
                (ORIGINAL_CONTEXT, found(&[ORIGINAL_CONTEXT])),
            ];
            for (key, value) in mirrored {
                if let Some(value) = value
                    && !all.contains_key(key)
                {
                    all.insert(key.to_owned(), value);
                }
            }
        }
        Ok(Rope { all })
    }

    /// A parameter of the layers with full attention.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.full().get(key).filter(|v| !v.is_null())
    }

    fn full(&self) -> &Map<String, Value> {
        match self.all.get("full_attention") {
            Some(Value::Object(full)) => full,
            _ => &self.all,
        }
    }

    /// Where every layer's parameters stand together: a parameter of the whole model.
    pub fn whole(&self, key: &str) -> Option<&Value> {
        self.all.get(key).filter(|v| !v.is_null())
    }

    /// The part of a head that turns, or `default` where that is not stated.
    ///
    /// # Errors
    /// Where it is no number.
    pub fn turning_part(&self, default: f64) -> Result<f64, HparamError> {
        self.whole("partial_rotary_factor")
            .map_or(Ok(default), |value| hparams::double("partial_rotary_factor", value))
    }

    /// The value of the first of `keys` that is there: one that is null hides those after it.
    pub fn find(&self, keys: &[&str]) -> Option<&Value> {
        let full = self.full();
        keys.iter().find_map(|k| full.get(*k)).filter(|v| !v.is_null())
    }

    /// `rope_type`, where there is one.
    pub fn kind(&self) -> Option<&str> {
        self.get("rope_type").and_then(Value::as_str)
    }

    /// The frequency factors of Llama 3 for heads of `width`, or `None` for another kind of rope. `default_factor` is what
    /// stands for a `factor` that is not stated.
    ///
    /// The reference computes them with torch, in single precision, a step at a time; so does this.
    ///
    /// # Errors
    /// Where a parameter is no number, or the heads are wider than any.
    pub fn llama3_factors(&self, width: u32, default_factor: f64) -> Result<Option<Vec<f32>>, HparamError> {
        if !self.kind().is_some_and(|k| k.eq_ignore_ascii_case("llama3")) {
            return Ok(None);
        }
        if width > MAX_WIDTH {
            return Err(HparamError::wrong("head_dim", &width.into(), "the width of a head"));
        }
        let number = |key: &str, default: f64| match self.get(key) {
            Some(value) => hparams::double(key, value),
            None => Ok(default),
        };
        let base = number("rope_theta", 10000.0)?;
        let factor = number("factor", default_factor)?;
        let low = number("low_freq_factor", 1.0)?;
        let high = number("high_freq_factor", 4.0)?;
        let context = number(ORIGINAL_CONTEXT, 8192.0)?;
        Ok(Some(llama3_factors(width, base, factor, low, high, context)))
    }
}

/// `torch.pow(base, exponents)` on x86-64 with AVX2: two vectors of eight at a time, and what is left, one by one, with
/// the C library's `powf`. That one is correctly rounded here; glibc's is not in about one case of a thousand, so heads
/// of a width that is no multiple of 32 may come out with another last bit.
fn powers(base: f32, exponents: &[f32]) -> Vec<f32> {
    const AT_A_TIME: usize = 16;
    let whole = exponents.len() / AT_A_TIME * AT_A_TIME;
    let rounded = |y: f32| f64::from(base).powf(f64::from(y)) as f32;
    exponents.iter().enumerate().map(|(i, y)| if i < whole { powf(base, *y) } else { rounded(*y) }).collect()
}

/// Python's doubles are rounded to single precision where torch takes them into a computation with a tensor.
fn llama3_factors(width: u32, base: f64, factor: f64, low: f64, high: f64, context: f64) -> Vec<f32> {
    let long_wave = (context / low) as f32;
    let short_wave = (context / high) as f32;
    let exponents: Vec<f32> = (0..width).step_by(2).map(|i| i as f32 / width as f32).collect();
    powers(base as f32, &exponents)
        .into_iter()
        .map(|power| {
            let frequency = 1.0 / power;
            // A number divided by a tensor is the tensor's reciprocal times the number.
            let wave = (1.0 / frequency) * (2.0 * std::f64::consts::PI) as f32;
            if wave < short_wave {
                1.0
            } else if wave > long_wave {
                factor as f32
            } else {
                let smooth = ((1.0 / wave) * context as f32 - low as f32) / (high - low) as f32;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(json: &str) -> Rope {
        Rope::new(&Hparams::new(serde_json::from_str(json).unwrap())).unwrap()
    }

    /// Recorded from torch 2.11 on x86-64 running the reference's `generate_extra_tensors`; all bits also agreed for
    /// 7,000 combinations of base, width (16 to 256), factors and context drawn at random.
    #[test]
    fn llama3_factors_have_the_bits_of_torch() {
        let check = |width: u32, factor: f32, first: usize, middle: &[u32]| {
            let config = format!(
                r#"{{"rope_theta": 500000.0, "rope_scaling": {{"rope_type": "llama3", "factor": {factor:.1},
                    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}}}"#
            );
            let factors = rope(&config).llama3_factors(width, 8.0).unwrap().unwrap();
            assert_eq!(factors.len() as u32, width / 2);
            for (i, found) in factors.iter().enumerate() {
                let expected = match i.checked_sub(first) {
                    None => 1f32,
                    Some(i) => middle.get(i).map_or(factor, |bits| f32::from_bits(*bits)),
                };
                assert_eq!(found.to_bits(), expected.to_bits(), "factor {i}: {found}");
            }
        };
        check(64, 32.0, 15, &[0x3fd35ec2, 0x4052b46f, 0x411aaaee]);
        let wide = [0x3f9a8ed5, 0x3fc6d64a, 0x4001af1d, 0x402c732e, 0x406bcace, 0x40a83c06];
        check(128, 8.0, 29, &wide);
    }

    #[test]
    fn other_kinds_have_no_factors() {
        let kinds =
            ["{}", r#"{"rope_scaling": null}"#, r#"{"rope_scaling": {"rope_type": "linear", "factor": 2}}"#];
        for config in kinds {
            assert_eq!(rope(config).llama3_factors(64, 8.0), Ok(None), "{config}");
        }
    }

    #[test]
    fn heads_wider_than_any_are_refused() {
        let llama3 = rope(r#"{"rope_scaling": {"rope_type": "llama3"}}"#);
        assert!(matches!(llama3.llama3_factors(u32::MAX, 8.0), Err(HparamError::Type { .. })));
    }

    #[test]
    fn parameters_come_from_either_place() {
        let both = rope(r#"{"rope_theta": 1, "rope_scaling": {"type": "yarn", "rope_theta": 2}}"#);
        assert_eq!(both.get("rope_theta"), Some(&2.into()));
        assert_eq!(both.kind(), Some("yarn"));
        let top =
            rope(r#"{"rope_theta": 1, "original_max_position_embeddings": 7, "rope_local_base_freq": 3}"#);
        assert_eq!(top.get("rope_theta"), Some(&1.into()));
        assert_eq!(top.get(ORIGINAL_CONTEXT), Some(&7.into()));
        assert_eq!(top.whole("sliding_attention").unwrap()["rope_theta"], 3);
        let nested = rope(r#"{"rope_theta": 1, "rope_parameters": {"full_attention": {"rope_theta": 4}}}"#);
        assert_eq!(nested.get("rope_theta"), Some(&4.into()));
        let null = rope(r#"{"rope_parameters": null, "rope_scaling": {"rope_type": "linear"}}"#);
        assert_eq!(null.kind(), None);
        let wrong = Hparams::new(serde_json::from_str(r#"{"rope_scaling": 3}"#).unwrap());
        assert!(matches!(Rope::new(&wrong), Err(HparamError::Type { .. })));
    }
}
