//! What configuration classes make of `layer_types`: what each layer attends to.

use serde_json::Value;

use super::hparams::Hparams;

/// More than any model has, and little enough to list.
pub const MAX_LAYERS: u64 = 1 << 16;

const TYPES: &str = "layer_types";
const TURNING: &str = "no_rope_layers";
const INTERVAL: &str = "no_rope_layer_interval";

/// Sets `layer_types` where it is null: every so many layers attend to all, the others to a window.
pub(super) fn attend_to_all(h: &mut Hparams, every: u64) -> Result<(), String> {
    others_than_every_nth(h, every, "sliding_attention")
}

/// Sets `layer_types` where it is null: every so many layers attend to all, the others are of this type.
pub(super) fn others_than_every_nth(h: &mut Hparams, every: u64, other: &str) -> Result<(), String> {
    if h.get(TYPES).is_some() {
        return Ok(());
    }
    let layers = h.get("num_hidden_layers").and_then(Value::as_u64).ok_or("there are no layers")?;
    if every == 0 {
        return Err("`layer_types` follows from no pattern".to_owned());
    }
    let name = |layer: u64| if layer.is_multiple_of(every) { "full_attention" } else { other };
    h.set(TYPES, (1..=layers.min(MAX_LAYERS)).map(name).collect());
    Ok(())
}

/// `layer_type_validation`.
pub(super) fn layer_types(h: &Hparams, counted: bool) -> Result<(), String> {
    const KNOWN: &[&str] = &["full_attention", "sliding_attention", "chunked_attention", "linear_attention"];
    let Some(types) = h.get(TYPES) else { return Ok(()) };
    let types = types.as_array().ok_or("`layer_types` is no list")?;
    if !types.iter().all(|t| t.as_str().is_some_and(|t| KNOWN.contains(&t))) {
        return Err("`layer_types` has an unknown type".to_owned());
    }
    match h.get("num_hidden_layers") {
        Some(n) if counted && n.as_u64() != Some(types.len() as u64) => {
            Err("`layer_types` and `num_hidden_layers` disagree".to_owned())
        }
        _ => Ok(()),
    }
}

/// Sets `layer_types` where it is null: layers from `max_window_layers` on attend to a window, if there is one.
pub(super) fn window_from_layer(h: &mut Hparams) -> Result<(), String> {
    if h.get(TYPES).is_some() {
        return Ok(());
    }
    let number = |key: &str| h.get(key).and_then(Value::as_u64);
    let first = number("sliding_window").and(number("max_window_layers")).unwrap_or(u64::MAX);
    let name = |layer| if layer >= first { "sliding_attention" } else { "full_attention" };
    h.set(TYPES, (0..layers(h)?).map(name).collect());
    Ok(())
}

/// Sets `layer_types` where it is null, as `Llama4TextConfig` does: layers that turn attend to a chunk. An empty list of
/// those that turn is none, and which layers have experts is counted in steps.
pub(super) fn chunked_attention(h: &mut Hparams, file: &Hparams) -> Result<(), String> {
    let every = if file.has(INTERVAL) { file.get(INTERVAL).cloned() } else { Some(4.into()) };
    let usual = turning(h, every.as_ref())?;
    if h.get("moe_layers").is_none() && h.get("interleave_moe_layer_step").and_then(Value::as_i64) == Some(0)
    {
        return Err("`interleave_moe_layer_step` is 0".to_owned());
    }
    let turning = match stated_turning(h)?.filter(|list| !list.is_empty()) {
        Some(stated) => stated,
        None => {
            h.set(TURNING, usual.iter().map(|turns| u64::from(*turns)).collect());
            usual
        }
    };
    if h.get(TYPES).is_none() {
        let name = |turns: &bool| if *turns { "chunked_attention" } else { "full_attention" };
        h.set(TYPES, turning.iter().map(name).collect());
    }
    Ok(())
}

/// Sets `layer_types` where it is null, as `SmolLM3Config` does: layers that do not turn attend to a window.
pub(super) fn window_without_turning(h: &mut Hparams) -> Result<(), String> {
    let turning = match stated_turning(h)? {
        Some(stated) => stated,
        None => turning(h, h.get(INTERVAL))?,
    };
    if h.get(TYPES).is_some() {
        return Ok(());
    }
    let layers = layers(h)? as usize;
    let turning = turning.get(..layers).ok_or("`no_rope_layers` has fewer than the layers")?;
    let used = h.get("use_sliding_window").is_some_and(|v| v.as_bool() != Some(false));
    let window = used && h.get("sliding_window").is_some();
    let name = |turns: &bool| if window && !turns { "sliding_attention" } else { "full_attention" };
    h.set(TYPES, turning.iter().map(name).collect());
    Ok(())
}

/// Which layers turn where none are stated: all but every of so many.
fn turning(h: &Hparams, every: Option<&Value>) -> Result<Vec<bool>, String> {
    let every = every.and_then(Value::as_i64).map_or(0, i64::unsigned_abs);
    let layers = layers(h)?;
    if every == 0 && layers > 0 {
        return Err(format!("`{INTERVAL}` is no number of layers"));
    }
    Ok((1..=layers).map(|layer| !layer.is_multiple_of(every)).collect())
}

/// Which layers turn, as `no_rope_layers` says, in spite of its name.
fn stated_turning(h: &Hparams) -> Result<Option<Vec<bool>>, String> {
    let Some(stated) = h.get(TURNING) else { return Ok(None) };
    let list = stated.as_array().ok_or("`no_rope_layers` is no list")?;
    Ok(Some(list.iter().map(|turns| turns.as_f64() != Some(0.0) && *turns != Value::Bool(false)).collect()))
}

fn layers(h: &Hparams) -> Result<u64, String> {
    let layers = h.get("num_hidden_layers").and_then(Value::as_u64).ok_or("there are no layers")?;
    Ok(layers.min(MAX_LAYERS))
}
