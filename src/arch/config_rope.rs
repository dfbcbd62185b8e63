//! What configuration classes check and change in `rope_scaling`.

use serde_json::Value;

use super::config_rules::divided_width;
use super::hparams::Hparams;

/// `rope_config_validation`: it only complains about odd values, but raises over missing keys.
pub(super) fn rope_scaling(h: &Hparams) -> Result<(), String> {
    let Some(scaling) = h.get("rope_scaling") else { return Ok(()) };
    let scaling = scaling.as_object().ok_or("`rope_scaling` is no object")?;
    let rope_type = match scaling.get("rope_type").or_else(|| scaling.get("type")) {
        None => "default",
        Some(name) => name.as_str().unwrap_or_default(),
    };
    let required: &[&str] = match rope_type {
        "default" => &["rope_type"],
        "linear" | "dynamic" | "yarn" => &["rope_type", "factor"],
        "longrope" => &["rope_type", "short_factor", "long_factor"],
        "llama3" => &[
            "rope_type",
            "factor",
            "original_max_position_embeddings",
            "low_freq_factor",
            "high_freq_factor",
        ],
        _ => &[],
    };
    let missing: Vec<&str> = required.iter().copied().filter(|k| !scaling.contains_key(*k)).collect();
    if !missing.is_empty() {
        return Err(format!("`rope_scaling` lacks `{}`", missing.join("`, `")));
    }
    let compared: &[&str] = match rope_type {
        "llama3" => &["original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
        _ => &[],
    };
    if let Some(key) = compared.iter().find(|k| !scaling[**k].is_number()) {
        return Err(format!("`{key}` of `rope_scaling` is no number"));
    }
    Ok(())
}

/// `OlmoConfig._rope_scaling_validation`.
pub(super) fn simple_rope(h: &Hparams) -> Result<(), String> {
    let Some(scaling) = h.get("rope_scaling") else { return Ok(()) };
    let fits = scaling.as_object().is_some_and(|scaling| {
        let named = scaling.get("type").and_then(Value::as_str);
        let factor = scaling.get("factor").filter(|f| f.is_f64()).and_then(Value::as_f64);
        scaling.len() == 2 && matches!(named, Some("linear" | "dynamic")) && factor.is_some_and(|f| f > 1.0)
    });
    if fits { Ok(()) } else { Err("`rope_scaling` is not `type` and `factor`".to_owned()) }
}

/// `Phi3Config._rope_scaling_adjustment` and `_rope_scaling_validation`.
pub(super) fn long_rope(h: &mut Hparams) -> Result<(), String> {
    let Some(scaling) = h.get("rope_scaling") else { return Ok(()) };
    let wrong = || "`rope_scaling` is not `type`, `short_factor` and `long_factor`".to_owned();
    let mut scaling = scaling.as_object().ok_or_else(wrong)?.clone();
    if matches!(scaling.get("type").and_then(Value::as_str), Some("su" | "yarn")) {
        scaling.insert("type".to_owned(), "longrope".into());
    }
    let part = h.get("partial_rotary_factor").and_then(Value::as_f64).ok_or_else(wrong)?;
    let turning = (divided_width(h)? as f64 * part) as u64 / 2;
    let factors = |key: &str| {
        let list = scaling.get(key).and_then(Value::as_array);
        list.is_some_and(|list| list.len() as u64 == turning && list.iter().all(Value::is_number))
    };
    let longrope = scaling.get("type").and_then(Value::as_str) == Some("longrope");
    if scaling.len() != 3 || !longrope || !factors("short_factor") || !factors("long_factor") {
        return Err(wrong());
    }
    h.set("rope_scaling", Value::Object(scaling));
    Ok(())
}

/// The part of `PhimoeConfig.__init__` that is about `rope_scaling`.
pub(super) fn phi_moe_rope(h: &mut Hparams) -> Result<(), String> {
    const CONTEXT: &str = "original_max_position_embeddings";
    let Some(Value::Object(scaling)) = h.get("rope_scaling") else { return Ok(()) };
    let mut scaling = scaling.clone();
    let named = scaling.get("type").cloned().unwrap_or_default();
    scaling.entry("rope_type").or_insert(named);
    if let Some(key) =
        ["short_mscale", "long_mscale"].iter().find(|k| !scaling.get(**k).is_some_and(Value::is_number))
    {
        return Err(format!("`{key}` of `rope_scaling` is no number"));
    }
    if let Some(context) = scaling.get(CONTEXT).cloned() {
        h.set_default(CONTEXT, || context);
    }
    h.set("rope_scaling", Value::Object(scaling));
    Ok(())
}
