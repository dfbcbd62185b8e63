//! What the constructors of the configuration classes do beyond filling in defaults.
//!
//! In: the hyper-parameters with their defaults. Out: those with what follows from others, or why the class refuses them.
//! Source: `configuration_*.py` of transformers 4.57.6.

use serde_json::{Map, Value};

use super::config_layers::{
    MAX_LAYERS, attend_to_all, chunked_attention, layer_types, others_than_every_nth, window_from_layer,
    window_without_turning,
};
use super::config_rope::{long_rope, phi_moe_rope, rope_scaling, simple_rope};
use super::hparams::Hparams;

/// What a constructor does beyond filling in defaults. Applied in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A null number of key heads is the number of heads.
    KeyHeads,
    /// A null head width is the embedding width divided by the number of heads.
    HeadWidth,
    /// An absent head width is the embedding width divided by the number of heads.
    AbsentHeadWidth,
    /// `type` of `rope_scaling` becomes `rope_type`.
    RopeType,
    /// The keys that `rope_scaling` must have are checked.
    RopeScaling,
    /// `rope_scaling` is null, or `type` (linear or dynamic) and `factor`.
    SimpleRope,
    /// `rope_scaling` is null, or `type` (longrope, once su or yarn), `short_factor` and `long_factor`.
    LongRope,
    /// What Phi 3.5's model with experts makes of `rope_scaling`.
    PhiMoeRope,
    /// Without `use_sliding_window` there is no window.
    SlidingWindow,
    /// With `use_bidirectional_attention`, the window is stated on both sides.
    TwoSidedWindow,
    /// Where `layer_types` is null, every so many layers attend to all.
    EveryNthAttendsToAll(u64),
    /// The same, unless `sliding_window_pattern` states another number.
    StatedOrEveryNth(u64),
    /// Where `layer_types` is null, every layer of `sliding_window_pattern` attends to all, which must be a number then.
    PatternAttendsToAll,
    /// `layer_types` names known types only.
    LayerTypeNames,
    /// `layer_types` names a known type for each layer.
    LayerTypes,
    /// Keys of LFM2's first configurations; `layer_types` of `full_attn_idxs`.
    Lfm2Keys,
    /// Keys that other names stand for, where the file has those.
    Attributes(&'static [(&'static str, &'static str)]),
    /// A null number of decoder layers is that of the encoder.
    DecoderLayers,
    /// `mrope` of `rope_scaling` is an ordinary rope with sections.
    MropeType,
    /// The encoder of pictures hands on three of its layers, unless it states which.
    Deepstack,
    /// The head width is that of the part that turns, whatever is stated.
    TurningHeadWidth,
    /// The same, unless another is stated.
    AbsentTurningHeadWidth,
    /// Whether its matrices of attention have biases, whatever is stated.
    AttentionBias(bool),
    /// Some numbers of `rope_scaling` are made fractions.
    FractionalRope,
    /// An absent `rope_scaling` is that which gpt-oss was trained with.
    GptOssRope,
    /// Where `layer_types` is null, layers from `max_window_layers` on attend to a window, if there is one.
    WindowFromLayer,
    /// The first key is another name of the second.
    Alias(&'static str, &'static str),
    /// `n_embed` is another name of `hidden_size`, unless it is null.
    EmbeddingWidth,
    /// GPT-NeoX's names of rope's parameters are the only ones that count, and heads divide the width.
    NeoxRope,
    /// Null numbers of key heads and of the feed-forward width follow from others.
    FalconWidths,
    /// There is one key head, unless `multi_query` is false.
    QueriesShareKeys,
    /// MPT's `attn_config` has defaults of its own.
    MptAttention,
    /// An absent `rope_scaling` is that of Llama 3.
    Llama3Rope,
    /// The rank of Jamba's time steps follows from the width; layers of a kind begin within their period.
    JambaLayers,
    /// Where `layer_types` is null, every layer of `full_attention_interval`, 4 by default, attends to all, and the others
    /// are linear.
    LinearAttention,
    /// One feed-forward width is that of every layer.
    PerLayerWidths,
    /// Where `activation_sparsity_pattern` is null, the first ten layers of more than ten are sparse.
    PerLayerSparsity,
    /// Where `layer_types` is null, layers that turn attend to a chunk, the others to all.
    ChunkedAttention,
    /// Where `layer_types` is null, layers that do not turn attend to a window, if there is one.
    WindowWithoutTurning,
}

use Rule::{
    AbsentHeadWidth, AbsentTurningHeadWidth, Alias, AttentionBias, Attributes, ChunkedAttention,
    DecoderLayers, Deepstack, EmbeddingWidth, EveryNthAttendsToAll, FalconWidths, FractionalRope, GptOssRope,
    HeadWidth, JambaLayers, KeyHeads, LayerTypeNames, LayerTypes, Lfm2Keys, LinearAttention, Llama3Rope,
    LongRope, MptAttention, MropeType, NeoxRope, PatternAttendsToAll, PerLayerSparsity, PerLayerWidths,
    PhiMoeRope, QueriesShareKeys, RopeScaling, RopeType, SimpleRope, SlidingWindow, StatedOrEveryNth,
    TurningHeadWidth, TwoSidedWindow, WindowFromLayer, WindowWithoutTurning,
};

/// The rules of the classes in [`DEFAULTS`].
pub(super) const RULES: &[(&[&str], &[Rule])] = &[
    (&["llama4_text"], &[KeyHeads, HeadWidth, AttentionBias(false), ChunkedAttention, LayerTypes]),
    (&["llama", "arcee", "seed_oss", "ernie4_5"], &[KeyHeads, HeadWidth, RopeType, RopeScaling]),
    (&["mistral", "ministral", "mixtral", "hunyuan_v1_dense", "hunyuan_v1_moe"], &[KeyHeads]),
    (&["qwen2", "qwen3"], &[SlidingWindow, KeyHeads, RopeType, RopeScaling, LayerTypes]),
    (&["qwen2_moe", "qwen3_moe"], &[SlidingWindow, RopeType, RopeScaling]),
    (&["olmoe", "phi"], &[KeyHeads, RopeType, RopeScaling]),
    (&["starcoder2", "stablelm"], &[RopeType, RopeScaling]),
    (&["smollm3"], &[KeyHeads, WindowWithoutTurning, LayerTypes, RopeType, RopeScaling]),
    (&["granite", "granitemoe", "granitemoeshared", "cohere"], &[KeyHeads, RopeScaling]),
    (&["cohere2"], &[KeyHeads, AbsentHeadWidth, RopeScaling, StatedOrEveryNth(4), LayerTypes]),
    (&["olmo", "olmo2"], &[KeyHeads, SimpleRope]),
    (&["olmo3"], &[KeyHeads, RopeScaling, EveryNthAttendsToAll(4), LayerTypeNames]),
    (&["gemma", "glm4"], &[]),
    (&["gemma2"], &[EveryNthAttendsToAll(2), LayerTypes]),
    (&["gemma3_text"], &[TwoSidedWindow, RopeScaling, StatedOrEveryNth(6), LayerTypes]),
    (
        &["gemma3n_text"],
        &[PerLayerWidths, RopeScaling, EveryNthAttendsToAll(5), LayerTypes, PerLayerSparsity],
    ),
    (&["exaone4"], &[PatternAttendsToAll, LayerTypes]),
    (&["phi3"], &[KeyHeads, LongRope]),
    (&["phimoe"], &[KeyHeads, PhiMoeRope, RopeScaling]),
    (&["nemotron"], &[HeadWidth]),
    (&["lfm2"], &[Lfm2Keys]),
    (&["bert", "camembert", "modernbert", "roberta", "xlm-roberta"], &[]),
    (
        &["distilbert"],
        &[Attributes(&[
            ("hidden_size", "dim"),
            ("num_attention_heads", "n_heads"),
            ("num_hidden_layers", "n_layers"),
        ])],
    ),
    (&["mt5", "t5", "umt5"], &[DecoderLayers, Attributes(T5_ATTRIBUTES)]),
    (
        &["qwen2_vl_text", "qwen2_5_vl_text"],
        &[SlidingWindow, KeyHeads, LayerTypes, MropeType, RopeType, RopeScaling],
    ),
    (&["qwen3_vl_text"], &[KeyHeads, RopeScaling]),
    (&["qwen3_vl_moe_text"], &[KeyHeads, HeadWidth, RopeScaling]),
    (&["qwen3_vl", "qwen3_vl_moe"], &[Deepstack]),
    (&["deepseek_v2"], &[KeyHeads, TurningHeadWidth, RopeType, RopeScaling]),
    (&["deepseek_v3"], &[KeyHeads, AbsentTurningHeadWidth, RopeType, FractionalRope, RopeScaling]),
    (
        &["gpt_oss"],
        &[
            KeyHeads,
            HeadWidth,
            EveryNthAttendsToAll(2),
            LayerTypes,
            AttentionBias(true),
            GptOssRope,
            RopeType,
            RopeScaling,
        ],
    ),
    (&["glm4_moe"], &[RopeType, RopeScaling]),
    (&["qwen3_next"], &[RopeScaling, LinearAttention, LayerTypes]),
    (&["dots1"], &[KeyHeads, WindowFromLayer, LayerTypes]),
    (&["glm"], &[]),
    (&["gpt2"], GPT2_NAMES),
    (&["gpt_bigcode"], &[QueriesShareKeys, GPT2_NAMES[0], GPT2_NAMES[1], GPT2_NAMES[2], GPT2_NAMES[3]]),
    (&["gpt_neox"], &[NeoxRope, RopeType, RopeScaling]),
    (&["falcon"], &[FalconWidths, EmbeddingWidth]),
    (
        &["bloom"],
        &[EmbeddingWidth, Alias("num_hidden_layers", "n_layer"), Alias("num_attention_heads", "n_head")],
    ),
    (
        &["mpt"],
        &[
            MptAttention,
            Alias("num_attention_heads", "n_heads"),
            Alias("hidden_size", "d_model"),
            Alias("num_hidden_layers", "n_layers"),
        ],
    ),
    (&["apertus"], &[KeyHeads, Llama3Rope, RopeType, RopeScaling]),
    (
        &["ernie4_5_moe"],
        &[
            RopeType,
            RopeScaling,
            Alias("num_experts", "moe_num_experts"),
            Alias("num_experts_per_tok", "moe_k"),
        ],
    ),
    (&["jamba"], &[KeyHeads, JambaLayers]),
];

const GPT2_NAMES: &[Rule] = &[
    Alias("hidden_size", "n_embd"),
    Alias("max_position_embeddings", "n_positions"),
    Alias("num_attention_heads", "n_head"),
    Alias("num_hidden_layers", "n_layer"),
];

const T5_ATTRIBUTES: &[(&str, &str)] = &[
    ("hidden_size", "d_model"),
    ("num_attention_heads", "num_heads"),
    ("num_hidden_layers", "num_layers"),
    ("head_dim", "d_kv"),
];

/// Applies a rule; `file` has what the class takes and does not keep, too.
pub(super) fn apply(rule: Rule, h: &mut Hparams, file: &Hparams) -> Result<(), String> {
    match rule {
        KeyHeads => {
            if h.get("num_key_value_heads").is_none()
                && let Some(heads) = h.get("num_attention_heads").cloned()
            {
                h.set("num_key_value_heads", heads);
            }
        }
        HeadWidth if h.get("head_dim").is_none() => h.set("head_dim", divided_width(h)?.into()),
        AbsentHeadWidth if !h.has("head_dim") => h.set("head_dim", divided_width(h)?.into()),
        HeadWidth | AbsentHeadWidth => {}
        SlidingWindow => {
            let used = h.get("use_sliding_window").is_some_and(|v| v.as_bool() != Some(false));
            if !used {
                h.set("sliding_window", Value::Null);
            }
        }
        TwoSidedWindow => {
            if h.get("use_bidirectional_attention") == Some(&Value::Bool(true)) {
                let window =
                    h.get("sliding_window").and_then(Value::as_u64).ok_or("`sliding_window` is no number")?;
                h.set("sliding_window", (window / 2 + 1).into());
            }
        }
        EveryNthAttendsToAll(every) => attend_to_all(h, every)?,
        StatedOrEveryNth(every) => {
            let stated = match h.has("sliding_window_pattern") {
                true => h.get("sliding_window_pattern").and_then(Value::as_u64).unwrap_or(0),
                false => every,
            };
            attend_to_all(h, stated)?;
        }
        PatternAttendsToAll => {
            let stated = h.get("sliding_window_pattern").and_then(Value::as_u64);
            let every = if h.get("sliding_window").is_none() { None } else { stated };
            attend_to_all(h, every.unwrap_or(0))?;
        }
        LayerTypeNames => layer_types(h, false)?,
        LayerTypes => layer_types(h, true)?,
        RopeType => {
            if let Some(Value::Object(scaling)) = h.get("rope_scaling")
                && let Some(named) = scaling.get("type").cloned()
            {
                let mut scaling = scaling.clone();
                scaling.insert("rope_type".to_owned(), named);
                h.set("rope_scaling", Value::Object(scaling));
            }
        }
        AttentionBias(there) => h.set("attention_bias", there.into()),
        FractionalRope => {
            if let Some(Value::Object(scaling)) = h.get("rope_scaling") {
                let mut scaling = scaling.clone();
                for key in ["beta_fast", "beta_slow", "factor"] {
                    if let Some(number) = scaling.get_mut(key)
                        && let Some(fraction) = number.as_f64()
                    {
                        *number = fraction.into();
                    }
                }
                h.set("rope_scaling", Value::Object(scaling));
            }
        }
        RopeScaling => rope_scaling(h)?,
        TurningHeadWidth => h.set("head_dim", h.get("qk_rope_head_dim").cloned().unwrap_or_default()),
        AbsentTurningHeadWidth => {
            let width = h.get("qk_rope_head_dim").cloned().unwrap_or_default();
            h.set_default("head_dim", || width);
        }
        GptOssRope => h.set_default("rope_scaling", || {
            serde_json::json!({
                "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
                "original_max_position_embeddings": 4096
            })
        }),
        WindowFromLayer => window_from_layer(h)?,
        ChunkedAttention => chunked_attention(h, file)?,
        WindowWithoutTurning => window_without_turning(h)?,
        SimpleRope => simple_rope(h)?,
        LongRope => long_rope(h)?,
        PhiMoeRope => phi_moe_rope(h)?,
        Lfm2Keys => {
            for (old, new) in [("theta", "rope_theta"), ("block_ff_dim", "intermediate_size")] {
                if h.has(old) {
                    h.set(new, h.get(old).cloned().unwrap_or_default());
                }
            }
            if h.get("layer_types").is_none() {
                let layers =
                    h.get("num_hidden_layers").and_then(Value::as_u64).ok_or("there are no layers")?;
                let attends = |layer: u64| match file.get("full_attn_idxs").and_then(Value::as_array) {
                    Some(listed) => listed.iter().any(|n| n.as_u64() == Some(layer)),
                    None => true,
                };
                let name = |layer| if attends(layer) { "full_attention" } else { "conv" };
                h.set("layer_types", (0..layers.min(MAX_LAYERS)).map(name).collect());
            }
        }
        Attributes(names) => {
            for (other, own) in names {
                if h.has(other) {
                    h.set(own, h.get(other).cloned().unwrap_or_default());
                    h.remove(other);
                }
            }
        }
        DecoderLayers => {
            if h.get("num_decoder_layers").is_none() {
                h.set("num_decoder_layers", h.get("num_layers").cloned().unwrap_or_default());
            }
        }
        MropeType => {
            if let Some(Value::Object(scaling)) = h.get("rope_scaling")
                && scaling.get("type").is_some_and(|named| named == "mrope")
            {
                let mut scaling = scaling.clone();
                scaling.insert("type".to_owned(), "default".into());
                h.set("rope_scaling", Value::Object(scaling));
            }
        }
        Deepstack => {
            let vision = match h.get("vision_config") {
                None => Map::new(),
                Some(Value::Object(vision)) => vision.clone(),
                // The class leaves it out.
                Some(_) => return Err("`vision_config` is no object".to_owned()),
            };
            let mut vision = Hparams::new(vision);
            vision.set_default("deepstack_visual_indexes", || serde_json::json!([8, 16, 24]));
            h.set("vision_config", Value::Object(vision.values().clone()));
        }
        own => apply_own(own, h)?,
    }
    Ok(())
}

/// What constructors of single classes do.
fn apply_own(rule: Rule, h: &mut Hparams) -> Result<(), String> {
    let number = |h: &Hparams, key: &str| h.get(key).and_then(Value::as_u64);
    match rule {
        Alias(old, new) if h.has(old) => {
            let value = h.get(old).cloned().unwrap_or_default();
            h.remove(old);
            h.set(new, value);
        }
        EmbeddingWidth => {
            let width = h.get("n_embed").cloned();
            h.remove("n_embed");
            if let Some(width) = width {
                h.set("hidden_size", width);
            }
        }
        NeoxRope => {
            for (key, own) in [("partial_rotary_factor", "rotary_pct"), ("rope_theta", "rotary_emb_base")] {
                let value = h.get(own).cloned().unwrap_or_default();
                h.set(key, value);
            }
            let fits = number(h, "hidden_size").zip(number(h, "num_attention_heads"));
            if fits.is_none_or(|(width, heads)| width.checked_rem(heads) != Some(0)) {
                return Err("`hidden_size` is no multiple of `num_attention_heads`".to_owned());
            }
        }
        FalconWidths => {
            computed(h, &["head_dim", "rotary"])?;
            if h.get("num_kv_heads").is_none() {
                let heads = h.get("num_attention_heads").cloned().unwrap_or_default();
                h.set("num_kv_heads", heads);
            }
            if h.get("ffn_hidden_size").is_none() {
                let width = number(h, "hidden_size").ok_or("`hidden_size` is no number")?;
                h.set("ffn_hidden_size", width.saturating_mul(4).into());
            }
        }
        QueriesShareKeys => {
            let shared = h.get("multi_query").is_some_and(|v| v.as_bool() != Some(false));
            let own = h.get("n_head").cloned().unwrap_or_default();
            h.set_default("num_key_value_heads", || if shared { 1.into() } else { own });
        }
        MptAttention => mpt_attention(h)?,
        Llama3Rope => h.set_default("rope_scaling", || {
            serde_json::json!({
                "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0
            })
        }),
        JambaLayers => {
            computed(h, &["layers_block_type", "layers_num_experts"])?;
            for [offset, period] in
                [["attn_layer_offset", "attn_layer_period"], ["expert_layer_offset", "expert_layer_period"]]
            {
                if number(h, offset).zip(number(h, period)).is_none_or(|(offset, period)| offset >= period) {
                    return Err(format!("`{offset}` is not less than `{period}`"));
                }
            }
            const RANK: &str = "mamba_dt_rank";
            if !h.has(RANK) || h.text(RANK) == Some("auto") {
                let width = number(h, "hidden_size").ok_or("`hidden_size` is no number")?;
                h.set(RANK, width.div_ceil(16).into());
            }
        }
        LinearAttention => {
            const EVERY: &str = "full_attention_interval";
            let every = if h.has(EVERY) { number(h, EVERY).unwrap_or(0) } else { 4 };
            others_than_every_nth(h, every, "linear_attention")?;
        }
        PerLayerWidths => {
            let layers = number(h, "num_hidden_layers").ok_or("there are no layers")?.min(MAX_LAYERS);
            let width = h.get("intermediate_size").cloned().unwrap_or_default();
            match width.as_array() {
                None => h.set("intermediate_size", vec![width; layers as usize].into()),
                Some(widths) if widths.len() as u64 == layers => {}
                Some(_) => return Err("`intermediate_size` is not one a layer".to_owned()),
            }
        }
        PerLayerSparsity => {
            const PATTERN: &str = "activation_sparsity_pattern";
            let layers = number(h, "num_hidden_layers").ok_or("there are no layers")?.min(MAX_LAYERS);
            match h.get(PATTERN) {
                None => {
                    let sparse = if layers > 10 { 10 } else { 0 };
                    h.set(PATTERN, (0..layers).map(|n| if n < sparse { 0.95 } else { 0.0 }).collect());
                }
                Some(Value::Array(parts)) if parts.len() as u64 == layers => {}
                Some(_) => return Err(format!("`{PATTERN}` is not one a layer")),
            }
        }
        _ => {}
    }
    Ok(())
}

/// Keys that a class computes, and refuses to be told.
fn computed(h: &Hparams, keys: &[&str]) -> Result<(), String> {
    match keys.iter().find(|key| h.has(key)) {
        Some(key) => Err(format!("`{key}` cannot be set")),
        None => Ok(()),
    }
}

/// `MptAttentionConfig`, which keeps nothing but its own keys.
fn mpt_attention(h: &mut Hparams) -> Result<(), String> {
    const KEY: &str = "attn_config";
    let stated = match h.get(KEY) {
        None => Map::new(),
        Some(Value::Object(stated)) => stated.clone(),
        Some(_) => return Err(format!("`{KEY}` is no object")),
    };
    let mut all = match serde_json::json!({
        "attn_type": "multihead_attention", "clip_qkv": null, "alibi": true, "alibi_bias_max": 8
    }) {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    for (key, value) in &mut all {
        if let Some(stated) = stated.get(key) {
            *value = stated.clone();
        }
    }
    if !matches!(all["attn_type"].as_str(), Some("multihead_attention" | "multiquery_attention")) {
        return Err("`attn_type` is unknown".to_owned());
    }
    h.set(KEY, Value::Object(all));
    Ok(())
}

pub(super) fn divided_width(h: &Hparams) -> Result<u64, String> {
    let number = |key: &str| h.get(key).and_then(Value::as_u64);
    number("hidden_size")
        .zip(number("num_attention_heads"))
        .and_then(|(width, heads)| width.checked_div(heads))
        .ok_or_else(|| "`hidden_size` cannot be divided by `num_attention_heads`".to_owned())
}
