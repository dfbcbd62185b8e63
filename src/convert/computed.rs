//! Tensors that no checkpoint has: the factors of stretched rotary embeddings. They come first in the file.

use serde_json::Value as Json;

use super::config::Config;
use super::{ConvertError as E, Recipe, TensorRecipe};
use crate::arch::hparams::{double, finite, single};
use crate::arch::key::partial_width;
use crate::arch::{Computed, HparamError, Mapped, Model, Rope, Tensor};
use crate::gguf::{GgmlType, Value};

/// The factor of attention where rope is stretched.
const ATTENTION: &str = "rope.scaling.attn_factor";

/// Recipes in the converter's order, and the metadata that the reference writes while it makes them.
#[derive(Default)]
pub(super) struct Made {
    pub(super) metadata: Vec<(String, Value)>,
    pub(super) recipes: Vec<TensorRecipe>,
}

/// The family's tensors.
pub(super) fn tensors(config: &Config, rope: &Rope) -> Result<Made, E> {
    let family = config.family;
    let model = Model { hparams: &config.hparams, rope, file: &config.file };
    let Made { mut metadata, mut recipes } = Made::default();
    let mut add = |tensor: Tensor, values: Vec<f32>| {
        if !family.all_tensors().any(|t| t == tensor) {
            let kind = rope.get("rope_type").unwrap_or(&Json::Null);
            return Err(HparamError::unsupported("rope_type", kind));
        }
        recipes.push(TensorRecipe {
            name: Mapped { tensor, layer: None, bias: false }.name(),
            shape: vec![values.len() as u64],
            ty: GgmlType::F32,
            source: Recipe::Values(values),
        });
        Ok(())
    };
    for computed in family.computed {
        match computed {
            Computed::Llama3 { factor } => {
                if rope.kind().is_some()
                    && let Some(factors) = rope.llama3_factors(model.head_width()?, *factor)?
                {
                    add(Tensor::RopeFreqs, factors)?;
                }
            }
            Computed::RopeFactors | Computed::RopeFactorsFor(_) => {
                let width = match computed {
                    Computed::RopeFactorsFor(key) => model.hparams.required_count(&[*key])?,
                    _ => model.divided_width()?,
                };
                if let Some(factors) = rope_factors(&model, width)? {
                    add(Tensor::RopeFactorsLong, factors.long)?;
                    add(Tensor::RopeFactorsShort, factors.short)?;
                }
            }
            Computed::LongRope => {
                if let Some((attention, factors)) = long_rope(&model)? {
                    metadata.push((format!("{}.{ATTENTION}", family.name), attention.into()));
                    add(Tensor::RopeFactorsLong, factors.long)?;
                    add(Tensor::RopeFactorsShort, factors.short)?;
                }
            }
        }
    }
    Ok(Made { metadata, recipes })
}

/// One for each two values of a head that turn: in long contexts, and in those of the original length.
struct Factors {
    long: Vec<f32>,
    short: Vec<f32>,
}

/// `Phi3MiniModel.generate_extra_tensors`: the factor of attention, and those of rope.
fn long_rope(m: &Model<'_>) -> Result<Option<(f32, Factors)>, HparamError> {
    const CONTEXT: &str = "original_max_position_embeddings";
    let context = m.hparams.required_count(&["n_positions", "max_position_embeddings"])?;
    let original = m.rope.whole(CONTEXT).ok_or_else(|| HparamError::missing(&[CONTEXT]))?;
    let original = double(CONTEXT, original)?;
    let width = partial_width(m, m.rope.turning_part(1.0)?)?;
    let Some(factors) = rope_factors(m, width)? else { return Ok(None) };
    let kind = m.rope.whole("rope_type").ok_or_else(|| HparamError::missing(&["rope_type"]))?;
    let scale = f64::from(context) / original;
    let attention = match kind.as_str().map(str::to_lowercase).as_deref() {
        Some("su" | "longrope" | "yarn") if scale <= 1.0 => 1.0,
        Some("su" | "longrope") => (1.0 + scale.ln() / original.ln()).sqrt(),
        Some("yarn") => 0.1 * scale.ln() + 1.0,
        _ => return Err(HparamError::unsupported("rope_type", kind)),
    };
    Ok(Some((finite(ATTENTION, attention as f32)?, factors)))
}

/// The factors, where there are any, of heads of which `width` values turn.
fn rope_factors(m: &Model<'_>, width: u32) -> Result<Option<Factors>, HparamError> {
    let given = |key| m.rope.whole(key).filter(|list| list.as_array().is_none_or(|l| !l.is_empty()));
    let Some(long) = given("long_factor") else { return Ok(None) };
    let short = given("short_factor").ok_or_else(|| HparamError::missing(&["short_factor"]))?;
    let factors = |key: &str, list: &Json| {
        let fits = list.as_array().filter(|list| list.len() as u64 * 2 == u64::from(width));
        let list =
            fits.ok_or_else(|| HparamError::wrong(key, list, "a list of half as many as a head turns"))?;
        list.iter().map(|value| single(key, value)).collect::<Result<Vec<f32>, _>>()
    };
    Ok(Some(Factors { long: factors("long_factor", long)?, short: factors("short_factor", short)? }))
}
