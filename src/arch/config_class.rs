//! What the configuration classes of transformers 4.57.6 make of a `config.json`.
//!
//! The reference reads hyper-parameters through `AutoConfig`, so a key that the file lacks has its class's default,
//! some keys follow from others, and a file that the class refuses is read as it stands. Here a class is data: its
//! defaults, which a script writes ([`DEFAULTS`]), and the rules that its constructor applies ([`RULES`]).

use serde_json::{Map, Value};

use super::config_defaults::DEFAULTS;
use super::hparams::Hparams;
use super::model_types::MODEL_TYPES;

/// A default value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    Null,
    Bool(bool),
    Int(u64),
    Float(f64),
    Text(&'static str),
}

impl Preset {
    pub(super) fn value(self) -> Value {
        match self {
            Null => Value::Null,
            Bool(v) => v.into(),
            Int(v) => v.into(),
            Float(v) => v.into(),
            Text(v) => v.into(),
        }
    }
}

/// What a constructor does beyond filling in defaults. Applied in order.
#[derive(Clone, Copy, Debug)]
enum Rule {
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
    /// Its matrices of attention have biases, whatever is stated.
    AttentionBias,
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
}

use Preset::{Bool, Float, Int, Null, Text};
use Rule::{
    AbsentHeadWidth, AbsentTurningHeadWidth, Alias, AttentionBias, Attributes, DecoderLayers, Deepstack,
    EmbeddingWidth, EveryNthAttendsToAll, FalconWidths, FractionalRope, GptOssRope, HeadWidth, JambaLayers,
    KeyHeads, LayerTypeNames, LayerTypes, Lfm2Keys, Llama3Rope, LongRope, MptAttention, MropeType, NeoxRope,
    PatternAttendsToAll, PhiMoeRope, QueriesShareKeys, RopeScaling, RopeType, SimpleRope, SlidingWindow,
    StatedOrEveryNth, TurningHeadWidth, TwoSidedWindow, WindowFromLayer,
};

/// `PretrainedConfig`: what all classes have, after their own.
const BASE: &[(&str, Preset)] = &[
    ("tie_word_embeddings", Bool(true)),
    ("max_length", Int(20)),
    ("bos_token_id", Null),
    ("eos_token_id", Null),
    ("pad_token_id", Null),
    ("sep_token_id", Null),
    ("decoder_start_token_id", Null),
];

/// The rules of the classes in [`DEFAULTS`].
const RULES: &[(&[&str], &[Rule])] = &[
    (&["llama", "arcee", "seed_oss", "ernie4_5"], &[KeyHeads, HeadWidth, RopeType, RopeScaling]),
    (&["mistral", "ministral", "mixtral", "hunyuan_v1_dense"], &[KeyHeads]),
    (&["qwen2", "qwen3"], &[SlidingWindow, KeyHeads, RopeType, RopeScaling, LayerTypes]),
    (&["qwen2_moe", "qwen3_moe"], &[SlidingWindow, RopeType, RopeScaling]),
    (&["olmoe"], &[KeyHeads, RopeType, RopeScaling]),
    (&["starcoder2", "stablelm"], &[RopeType, RopeScaling]),
    (&["smollm3"], &[KeyHeads, LayerTypes, RopeType, RopeScaling]),
    (&["granite", "granitemoe", "granitemoeshared", "cohere"], &[KeyHeads, RopeScaling]),
    (&["cohere2"], &[KeyHeads, AbsentHeadWidth, RopeScaling, StatedOrEveryNth(4), LayerTypes]),
    (&["olmo", "olmo2"], &[KeyHeads, SimpleRope]),
    (&["olmo3"], &[KeyHeads, RopeScaling, EveryNthAttendsToAll(4), LayerTypeNames]),
    (&["gemma", "glm4"], &[]),
    (&["gemma2"], &[EveryNthAttendsToAll(2), LayerTypes]),
    (&["gemma3_text"], &[TwoSidedWindow, RopeScaling, StatedOrEveryNth(6), LayerTypes]),
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
            AttentionBias,
            GptOssRope,
            RopeType,
            RopeScaling,
        ],
    ),
    (&["glm4_moe"], &[RopeType, RopeScaling]),
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

/// The text model's configuration within that of a model of several kinds.
#[derive(Clone, Copy, Debug)]
enum TextConfig {
    /// Of this type; its defaults where it is absent.
    One(&'static str),
    /// Of this type; the whole file where it is absent.
    OneOrAll(&'static str),
    /// Of the type that it names, or else of this one.
    Named(&'static str),
}

/// Model types whose configuration holds that of a text model under `text_config`.
const COMPOSITE: &[(&str, TextConfig)] = &[
    ("gemma3", TextConfig::One("gemma3_text")),
    ("idefics3", TextConfig::Named("llama")),
    ("llava", TextConfig::Named("llama")),
    ("mistral3", TextConfig::Named("mistral")),
    ("qwen2_5_vl", TextConfig::OneOrAll("qwen2_5_vl_text")),
    ("qwen2_vl", TextConfig::OneOrAll("qwen2_vl_text")),
    ("qwen3_vl", TextConfig::One("qwen3_vl_text")),
    ("qwen3_vl_moe", TextConfig::One("qwen3_vl_moe_text")),
    ("smolvlm", TextConfig::Named("llama")),
];
const TEXT_CONFIG: &str = "text_config";

/// How the reference reads a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Through its configuration class.
    Class(Hparams),
    /// As it stands: transformers does not know the model type.
    Plain(Hparams),
    /// As it stands: the class refuses it, for the reason given.
    Refused(Hparams, String),
    /// A class that transformers has and this program does not model yet.
    Unmodelled(String),
    /// There is no `model_type`; the reference would guess it from the folder's path.
    Untyped,
}

/// Reads a `config.json` as the reference does.
pub fn read(config: &Hparams) -> Read {
    let Some(model_type) = config.text("model_type") else { return Read::Untyped };
    if !is_modelled(model_type) {
        return if MODEL_TYPES.binary_search(&model_type).is_ok() {
            Read::Unmodelled(model_type.to_owned())
        } else {
            Read::Plain(config.clone())
        };
    }
    match construct(model_type, config) {
        Ok(hparams) => Read::Class(hparams),
        Err(No::Refused(why)) => Read::Refused(config.clone(), why),
        Err(No::Unmodelled(inner)) => Read::Unmodelled(inner),
    }
}

/// Why a class makes nothing of a configuration.
enum No {
    /// It refuses it.
    Refused(String),
    /// A part is of a class that transformers has and this program does not model yet.
    Unmodelled(String),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        No::Refused(why)
    }
}

/// Whether the class of a model type is known here.
fn is_modelled(model_type: &str) -> bool {
    DEFAULTS.binary_search_by_key(&model_type, |d| d.model_type).is_ok()
}

/// What the class of `model_type` makes of a configuration, or why it refuses it.
fn construct(model_type: &str, config: &Hparams) -> Result<Hparams, No> {
    let mut hparams = config.clone();
    if let Ok(at) = DEFAULTS.binary_search_by_key(&model_type, |d| d.model_type) {
        let full_attention = (model_type == "lfm2").then(|| config.get("full_attn_idxs").cloned()).flatten();
        for key in DEFAULTS[at].lost {
            hparams.remove(key);
        }
        for (key, default) in DEFAULTS[at].values.iter().chain(BASE) {
            hparams.set_default(key, || default.value());
        }
        let rules =
            RULES.iter().filter(|(types, _)| types.contains(&model_type)).flat_map(|(_, rules)| *rules);
        for rule in rules {
            apply(*rule, &mut hparams, full_attention.as_ref())?;
        }
    }
    name_labels(&mut hparams)?;
    if let Some((_, inner)) = COMPOSITE.iter().find(|(outer, _)| *outer == model_type) {
        let text = hparams.get(TEXT_CONFIG).cloned();
        let text = text.as_ref().map(|text| text.as_object().ok_or(format!("`{TEXT_CONFIG}` is no object")));
        let (inner, text) = match (inner, text.transpose()?) {
            (TextConfig::One(inner) | TextConfig::OneOrAll(inner), Some(text)) => (*inner, text.clone()),
            (TextConfig::One(inner), None) => (*inner, Map::new()),
            (TextConfig::OneOrAll(inner), None) => {
                let parts = [TEXT_CONFIG, "vision_config"];
                let whole = config.values().iter().filter(|(key, _)| !parts.contains(&key.as_str()));
                (*inner, whole.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
            // The class has numbers of its own for this.
            (TextConfig::Named(_), None) => return Err(No::Unmodelled(model_type.to_owned())),
            (TextConfig::Named(usual), Some(text)) => {
                let named = text.get("model_type").map_or(Some(*usual), Value::as_str);
                let named = named.ok_or_else(|| "`model_type` is no text".to_owned())?;
                match (is_modelled(named), MODEL_TYPES.binary_search(&named)) {
                    (true, _) => {}
                    (false, Ok(_)) => return Err(No::Unmodelled(named.to_owned())),
                    (false, Err(_)) => return Err(No::Refused(format!("there is no `{named}`"))),
                }
                let mut text = text.clone();
                text.insert("model_type".to_owned(), named.into());
                (named, text)
            }
        };
        let inner = inner.to_owned();
        let text = construct(&inner, &Hparams::new(text))?;
        hparams.set(TEXT_CONFIG, Value::Object(text.values().clone()));
    }
    Ok(hparams)
}

/// The part of `PretrainedConfig.__init__` that is about labels: two, unless others are stated. They become pairs, since
/// their keys become numbers.
fn name_labels(h: &mut Hparams) -> Result<(), String> {
    /// More than any classifier has.
    const MAX_LABELS: u64 = 1 << 16;
    let numbered: std::collections::BTreeMap<i64, Value> = match h.get("id2label") {
        None => {
            let count = match h.get("num_labels") {
                None => 2,
                Some(count) => count.as_u64().ok_or("`num_labels` is no number")?,
            };
            if count > MAX_LABELS {
                return Err("`num_labels` is more than any model has".to_owned());
            }
            (0i64..).zip(0..count).map(|(id, _)| (id, format!("LABEL_{id}").into())).collect()
        }
        Some(Value::Object(labels)) => labels
            .iter()
            .map(|(key, label)| Ok((key.trim().parse::<i64>().map_err(|e| e.to_string())?, label.clone())))
            .collect::<Result<_, String>>()?,
        Some(_) => return Err("`id2label` is no object".to_owned()),
    };
    let pairs = numbered.into_iter().map(|(id, label)| Value::Array(vec![id.into(), label]));
    h.set("id2label", pairs.collect());
    Ok(())
}

fn apply(rule: Rule, h: &mut Hparams, full_attention: Option<&Value>) -> Result<(), String> {
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
        AttentionBias => h.set("attention_bias", true.into()),
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
        WindowFromLayer if h.get("layer_types").is_none() => {
            let number = |key: &str| h.get(key).and_then(Value::as_u64);
            let layers = number("num_hidden_layers").ok_or("there are no layers")?;
            let first = number("sliding_window").and(number("max_window_layers")).unwrap_or(u64::MAX);
            let name = |layer| if layer >= first { "sliding_attention" } else { "full_attention" };
            h.set("layer_types", (0..layers.min(MAX_LAYERS)).map(name).collect());
        }
        WindowFromLayer => {}
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
                let attends = |layer: u64| match full_attention.and_then(Value::as_array) {
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
        Alias(old, new) => {
            if h.has(old) {
                let value = h.get(old).cloned().unwrap_or_default();
                h.remove(old);
                h.set(new, value);
            }
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

/// More than any model has, and little enough to list.
const MAX_LAYERS: u64 = 1 << 16;

fn divided_width(h: &Hparams) -> Result<u64, String> {
    let number = |key: &str| h.get(key).and_then(Value::as_u64);
    number("hidden_size")
        .zip(number("num_attention_heads"))
        .and_then(|(width, heads)| width.checked_div(heads))
        .ok_or_else(|| "`hidden_size` cannot be divided by `num_attention_heads`".to_owned())
}

/// Sets `layer_types` where it is null: every so many layers attend to all, the others to a window.
fn attend_to_all(h: &mut Hparams, every: u64) -> Result<(), String> {
    if h.get("layer_types").is_some() {
        return Ok(());
    }
    let layers = h.get("num_hidden_layers").and_then(Value::as_u64).ok_or("there are no layers")?;
    if every == 0 {
        return Err("`layer_types` follows from no pattern".to_owned());
    }
    let name = |layer: u64| if layer.is_multiple_of(every) { "full_attention" } else { "sliding_attention" };
    h.set("layer_types", (1..=layers.min(MAX_LAYERS)).map(name).collect());
    Ok(())
}

/// `layer_type_validation`.
fn layer_types(h: &Hparams, counted: bool) -> Result<(), String> {
    const KNOWN: &[&str] = &["full_attention", "sliding_attention", "chunked_attention", "linear_attention"];
    let Some(types) = h.get("layer_types") else { return Ok(()) };
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

/// `rope_config_validation`: it only complains about odd values, but raises over missing keys.
fn rope_scaling(h: &Hparams) -> Result<(), String> {
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
fn simple_rope(h: &Hparams) -> Result<(), String> {
    let Some(scaling) = h.get("rope_scaling") else { return Ok(()) };
    let fits = scaling.as_object().is_some_and(|scaling| {
        let named = scaling.get("type").and_then(Value::as_str);
        let factor = scaling.get("factor").filter(|f| f.is_f64()).and_then(Value::as_f64);
        scaling.len() == 2 && matches!(named, Some("linear" | "dynamic")) && factor.is_some_and(|f| f > 1.0)
    });
    if fits { Ok(()) } else { Err("`rope_scaling` is not `type` and `factor`".to_owned()) }
}

/// `Phi3Config._rope_scaling_adjustment` and `_rope_scaling_validation`.
fn long_rope(h: &mut Hparams) -> Result<(), String> {
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
fn phi_moe_rope(h: &mut Hparams) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hparams(json: &str) -> Hparams {
        Hparams::new(serde_json::from_str(json).unwrap())
    }

    /// What `AutoConfig.from_pretrained(...).to_dict()` of transformers 4.57.6 gave for these files.
    #[track_caller]
    fn check(json: &str, expected: &[(&str, Value)]) {
        let Read::Class(h) = read(&hparams(json)) else { panic!("{json} is refused") };
        for (key, value) in expected {
            assert!(h.has(key), "{key} is absent");
            assert_eq!(h.get(key).unwrap_or(&Value::Null), value, "{key} of {json}");
        }
    }

    #[test]
    fn classes_fill_in_what_the_file_lacks() {
        use serde_json::json;
        check(
            r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}"#,
            &[
                ("head_dim", json!(16)),
                ("num_key_value_heads", json!(4)),
                ("max_position_embeddings", json!(2048)),
                ("rope_theta", json!(10000.0)),
                ("tie_word_embeddings", json!(false)),
            ],
        );
        check(
            r#"{"model_type": "llama", "head_dim": null, "rope_scaling": {"type": "linear", "factor": 2.0}}"#,
            &[
                ("head_dim", json!(128)),
                ("rope_scaling", json!({"type": "linear", "factor": 2.0, "rope_type": "linear"})),
            ],
        );
        check(
            r#"{"model_type": "mistral", "num_key_value_heads": null, "rope_scaling": {"type": "linear"}}"#,
            &[
                ("head_dim", Value::Null),
                ("num_key_value_heads", json!(32)),
                ("rope_scaling", json!({"type": "linear"})),
            ],
        );
        check(
            r#"{"model_type": "qwen2", "sliding_window": 512}"#,
            &[("sliding_window", Value::Null), ("num_key_value_heads", json!(32))],
        );
        check(r#"{"model_type": "qwen3"}"#, &[("head_dim", json!(128))]);
        check(r#"{"model_type": "qwen3", "head_dim": null}"#, &[("head_dim", Value::Null)]);
    }

    /// What `scripts/record-config-classes` recorded: of each type's first file the whole, of the others what differs.
    #[derive(serde::Deserialize)]
    struct Recorded {
        model_type: Option<String>,
        config: Map<String, Value>,
        read: Option<Map<String, Value>>,
    }

    #[test]
    fn classes_make_of_files_what_transformers_makes() {
        let (mut model_type, mut first) = (String::new(), Map::new());
        for line in include_str!("../../tests/parity/config-classes.jsonl").lines() {
            let recorded: Recorded = serde_json::from_str(line).unwrap();
            let mut expected = recorded.read;
            match (recorded.model_type, &mut expected) {
                (Some(new), whole) => (model_type, first) = (new, whole.clone().unwrap()),
                (None, Some(differing)) => {
                    let mut whole = first.clone();
                    whole.append(differing);
                    *differing = whole;
                }
                (None, None) => {}
            }
            let mut config = recorded.config;
            config.insert("model_type".to_owned(), model_type.clone().into());
            let found = match read(&Hparams::new(config.clone())) {
                Read::Class(hparams) => Some(hparams),
                Read::Refused(..) => None,
                other => panic!("{config:?}: {other:?}"),
            };
            let (Some(found), Some(expected)) = (&found, &expected) else {
                assert_eq!(found.is_some(), expected.is_some(), "{config:?}");
                continue;
            };
            compare(found.values(), expected, &config);
        }
    }

    /// Defaults that are lists or texts are not kept, since nothing reads them.
    #[track_caller]
    fn compare(found: &Map<String, Value>, expected: &Map<String, Value>, config: &Map<String, Value>) {
        const UNREAD: [&str; 5] =
            ["layer_types", "eos_token_id", "mlp_only_layers", "no_rope_layers", "hidden_activation"];
        for (key, value) in expected {
            match (found.get(key), value) {
                (Some(Value::Object(found)), Value::Object(value)) if key == "text_config" => {
                    compare(found, value, config);
                }
                (None | Some(Value::Null), Value::Array(_) | Value::String(_))
                    if UNREAD.contains(&&**key) => {}
                (found, value) => assert_eq!(found, Some(value), "{key} of {config:?}"),
            }
        }
    }

    #[test]
    fn refused_files_are_read_as_they_stand() {
        let refused = [
            r#"{"model_type": "llama", "rope_scaling": {"rope_type": "linear"}}"#,
            r#"{"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#,
            r#"{"model_type": "llama", "rope_scaling": {"factor": 8.0}}"#,
            r#"{"model_type": "qwen2", "num_hidden_layers": 2, "layer_types": ["full_attention"]}"#,
            r#"{"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["none"]}"#,
        ];
        for json in refused {
            let config = hparams(json);
            match read(&config) {
                Read::Refused(plain, _) => assert_eq!(plain, config),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    /// As `LlavaConfig` and `Qwen2VLConfig` of transformers 4.57.6 do.
    #[test]
    fn the_text_model_may_name_its_class_or_be_the_whole_file() {
        let text = |json: &str| match read(&hparams(json)) {
            Read::Class(h) => Ok(h.get("text_config").cloned().unwrap()),
            other => Err(other),
        };
        let llava = |text: &str| format!(r#"{{"model_type": "llava", "text_config": {text}}}"#);
        assert_eq!(text(&llava("{}")).unwrap()["max_position_embeddings"], 2048);
        assert_eq!(text(&llava(r#"{"model_type": "mistral"}"#)).unwrap()["num_key_value_heads"], 8);
        let unmodelled = text(&llava(r#"{"model_type": "xlnet"}"#)).unwrap_err();
        assert!(matches!(unmodelled, Read::Unmodelled(t) if t == "xlnet"));
        let unknown = text(&llava(r#"{"model_type": "no_such_type"}"#)).unwrap_err();
        assert!(matches!(unknown, Read::Refused(..)));
        assert!(matches!(text(&llava("null")).unwrap_err(), Read::Unmodelled(t) if t == "llava"));
        let flat = r#"{"model_type": "qwen2_vl", "hidden_size": 64, "rope_scaling": {"type": "mrope", "mrope_section": [4]}}"#;
        let flat = text(flat).unwrap();
        assert_eq!((&flat["hidden_size"], &flat["intermediate_size"]), (&64.into(), &29568.into()));
        assert_eq!(flat["rope_scaling"]["rope_type"], "default");
        let seeing = hparams(r#"{"model_type": "qwen3_vl"}"#);
        let Read::Class(seeing) = read(&seeing) else { panic!("refused") };
        assert_eq!(seeing.get("vision_config").unwrap()["deepstack_visual_indexes"][2], 24);
    }

    #[test]
    fn labels_are_two_unless_others_are_stated() {
        let labels = |json: &str| match read(&hparams(json)) {
            Read::Class(h) => h.get("id2label").cloned(),
            _ => None,
        };
        let two = serde_json::json!([[0, "LABEL_0"], [1, "LABEL_1"]]);
        assert_eq!(labels(r#"{"model_type": "bert"}"#), Some(two));
        let one = serde_json::json!([[0, "LABEL_0"]]);
        assert_eq!(labels(r#"{"model_type": "bert", "num_labels": 1}"#), Some(one.clone()));
        assert_eq!(labels(r#"{"model_type": "bert", "id2label": {"0": "LABEL_0"}}"#), Some(one));
        let ten = r#"{"model_type": "bert", "id2label": {"10": "k", "2": "c"}}"#;
        assert_eq!(labels(ten), Some(serde_json::json!([[2, "c"], [10, "k"]])));
        assert_eq!(labels(r#"{"model_type": "bert", "id2label": {"a": "b"}}"#), None);
        assert_eq!(labels(r#"{"model_type": "bert", "num_labels": 4000000000}"#), None);
    }

    #[test]
    fn model_types_decide_how_a_file_is_read() {
        assert!(matches!(read(&hparams(r#"{"model_type": "no_such_type"}"#)), Read::Plain(_)));
        assert!(matches!(read(&hparams(r#"{"model_type": "xlnet"}"#)), Read::Unmodelled(t) if t == "xlnet"));
        assert_eq!(read(&hparams("{}")), Read::Untyped);
        assert!(MODEL_TYPES.is_sorted());
        assert!(DEFAULTS.is_sorted_by(|a, b| a.model_type < b.model_type));
    }

    #[test]
    fn every_class_has_its_rules_and_every_rule_its_class() {
        for class in DEFAULTS {
            assert!(
                MODEL_TYPES.binary_search(&class.model_type).is_ok() || class.model_type == "gemma3_text"
            );
            let named = RULES.iter().filter(|(types, _)| types.contains(&class.model_type)).count();
            let composite = COMPOSITE.iter().any(|(outer, _)| *outer == class.model_type);
            assert!(named == 1 || named == 0 && composite, "{}", class.model_type);
        }
        for model_type in RULES.iter().flat_map(|(types, _)| *types) {
            assert!(is_modelled(model_type), "{model_type}");
        }
    }
}
