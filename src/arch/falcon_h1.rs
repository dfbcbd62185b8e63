//! Falcon-H1: attention and a state-space part side by side in every layer, and factors on nearly everything.

use serde_json::Value as Json;

use super::hparams::{count, double, single};
use super::key::{BLOCK_COUNT, VOCABULARY_SIZE, count_of};
use super::mamba::{A_COLUMN, D_COLUMN, TIME_STEP, VECTOR_A, epsilon, stated_or};
use super::tensor_sets::{ATTENTION, ENDS, STATE_SPACE};
use super::{Factors, Family, HparamError, Hparams, Key, Reshape, Tensor};

/// `FalconH1Model` in the reference's `conversion/falcon_h1.py`. Keys are looked for with and without `mamba_` before.
pub(super) static FALCON_H1: Family = Family {
    name: "falcon-h1",
    architectures: &["FalconH1ForCausalLM"],
    renamed: &[TIME_STEP],
    tensors: &[
        ENDS,
        ATTENTION,
        STATE_SPACE,
        &[Tensor::FfnNormBare, Tensor::FfnGate, Tensor::FfnDown, Tensor::FfnUp],
    ],
    names: &[
        (Tensor::FfnGate, &["model.layers.{}.feed_forward.gate_proj"]),
        (Tensor::FfnDown, &["model.layers.{}.feed_forward.down_proj"]),
        (Tensor::FfnUp, &["model.layers.{}.feed_forward.up_proj"]),
        (Tensor::OutputNorm, &["model.final_layernorm"]),
    ],
    shapes: &[VECTOR_A],
    reshaped: &[A_COLUMN, D_COLUMN, (Tensor::SsmNorm, Reshape::Rows(|h| h.required_count(GROUPS)))],
    factors,
    plain_config: true,
    keys: &[
        Key::Is("context_length", |m| stated_or(m, &["max_position_embeddings"], 0)),
        count_of("embedding_length", &["hidden_size"]),
        count_of("feed_forward_length", &["intermediate_size"]),
        count_of("attention.head_count", &["num_attention_heads"]),
        BLOCK_COUNT,
        Key::Is("ssm.conv_kernel", |m| {
            stated_or(m, &["conv_kernel", "d_conv", "mamba_conv_kernel", "mamba_d_conv"], 4)
        }),
        Key::Is("ssm.inner_size", |m| Ok(Some(inner(m.hparams)?.into()))),
        Key::Is("ssm.state_size", |m| {
            stated_or(m, &["state_size", "d_state", "mamba_state_size", "mamba_d_state"], 128)
        }),
        Key::Is("ssm.time_step_rank", |m| {
            let h = m.hparams;
            let head = h.count(&["mamba_d_head", "head_dim", "mamba_head_dim"])?.filter(|n| *n != 0);
            let heads = inner(h)?.checked_div(head.unwrap_or(64));
            Ok(heads.map(Into::into))
        }),
        count_of("ssm.group_count", GROUPS),
        Key::Is("attention.layer_norm_rms_epsilon", |m| epsilon(m, 1e-5)),
        Key::FileType,
        VOCABULARY_SIZE,
        count_of("attention.head_count_kv", &["num_key_value_heads"]),
        count_of("attention.key_length", &["head_dim"]),
        count_of("attention.value_length", &["head_dim"]),
        Key::Is("rope.freq_base", |m| {
            const THETA: &str = "rope_theta";
            let theta = m.rope.whole(THETA).ok_or_else(|| HparamError::missing(&[THETA]))?;
            Ok(Some(single(THETA, theta)?.into()))
        }),
    ],
    ..Family::PLAIN
};

const GROUPS: &[&str] = &["n_groups", "mamba_n_groups"];

fn inner(h: &Hparams) -> Result<u32, HparamError> {
    let inner = h.required_count(&["mamba_d_ssm"])?;
    let head = h.required_count(&["d_head", "mamba_d_head"])?;
    let fits = inner.checked_rem(head) == Some(0);
    if fits { Ok(inner) } else { Err(HparamError::unsupported("mamba_d_head", &head.into())) }
}

/// The factors that the reference multiplies into the weights.
fn factors(name: &str, h: &Hparams) -> Result<Factors, HparamError> {
    let factor = |key: &str| -> Result<f32, HparamError> { Ok(double(key, stated(h, key)?)? as f32) };
    let of_list = |key: &str, n: usize| -> Result<f32, HparamError> {
        let list = stated(h, key)?;
        let value = list.get(n).ok_or_else(|| HparamError::wrong(key, list, "a list of enough numbers"))?;
        Ok(double(key, value)? as f32)
    };
    // The first that the name has a part of.
    let parts: [(&str, &[&str]); 7] = [
        ("k_proj", &["key_multiplier", "attention_in_multiplier"]),
        ("q_proj", &["attention_in_multiplier"]),
        ("v_proj", &["attention_in_multiplier"]),
        ("o_proj", &["attention_out_multiplier"]),
        ("out_proj", &["ssm_out_multiplier"]),
        ("lm_head", &["lm_head_multiplier"]),
        ("embed_tokens", &["embedding_multiplier"]),
    ];
    let all = |keys: &[&str]| keys.iter().map(|key| factor(key)).collect::<Result<Vec<f32>, HparamError>>();
    if name.contains("down_proj") {
        return Ok(Factors { all: vec![of_list("mlp_multipliers", 1)?], rows: Vec::new() });
    }
    if name.contains("gate_proj") {
        return Ok(Factors { all: vec![of_list("mlp_multipliers", 0)?], rows: Vec::new() });
    }
    if name.contains("in_proj") {
        let inner = u64::from(inner(h)?);
        let number = |key: &str| count(key, stated(h, key)?).map(u64::from);
        let states = number("mamba_n_groups")? * number("mamba_d_state")?;
        let after = |states: u64| states.saturating_add(2 * inner);
        let ends = [inner, 2 * inner, after(states), after(states.saturating_mul(2)), u64::MAX];
        let rows = ends.into_iter().enumerate().map(|(n, end)| Ok((end, of_list("ssm_multipliers", n)?)));
        return Ok(Factors {
            all: all(&["ssm_in_multiplier"])?,
            rows: rows.collect::<Result<_, HparamError>>()?,
        });
    }
    match parts.iter().find(|(part, _)| name.contains(part)) {
        Some((_, keys)) => Ok(Factors { all: all(keys)?, rows: Vec::new() }),
        None => Ok(Factors::NONE),
    }
}

fn stated<'a>(h: &'a Hparams, key: &str) -> Result<&'a Json, HparamError> {
    h.get(key).ok_or_else(|| HparamError::missing(&[key]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_end_where_no_number_says() {
        let config = serde_json::json!({
            "mamba_d_ssm": u32::MAX, "mamba_d_head": 1, "mamba_n_groups": u32::MAX, "mamba_d_state": u32::MAX,
            "ssm_in_multiplier": 2.0, "ssm_multipliers": [1.0, 2.0, 3.0, 4.0, 5.0]
        });
        let h = Hparams::new(serde_json::from_value(config).unwrap());
        let found = factors("model.layers.0.mamba.in_proj.weight", &h).unwrap();
        let ends: Vec<u64> = found.rows.iter().map(|(end, _)| *end).collect();
        assert!(ends.is_sorted(), "{ends:?}");
        assert_eq!((found.all, ends[4]), (vec![2.0], u64::MAX));
    }
}
