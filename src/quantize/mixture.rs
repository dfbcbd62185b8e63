//! Mixtures: which type each tensor gets from a method.
//!
//! In: a method, options, a model's [`Facts`] and its tensors' names and shapes, in the order of the output. Out: a
//! type for each. A method names a default type; the rules below single out tensors that deserve more bits (values,
//! the first and last layers' down projections) or can do with fewer, and [`fallback`] replaces a type whose blocks do
//! not fit the rows. Source: `tensor_allows_quantization`, `llama_tensor_get_type`, `tensor_type_fallback` and
//! `tensor_requires_imatrix` in `src/llama-quant.cpp`.

use crate::gguf::GgmlType::{self, *};

use super::facts::Facts;
use super::layout::LayoutError;
use super::method::Method;
use super::options::Options;

/// What a tensor is for, as far as rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Embedding,
    Output,
    Query,
    Key,
    /// Values, fused query-key-value projections, and MLA's fused key-value projection.
    Value,
    AttentionOutput,
    Up,
    Gate,
    Down,
    Other,
}

const EMBEDDINGS: [&str; 2] = ["token_embd.weight", "per_layer_token_embd.weight"];
const OUTPUT: &str = "output.weight";

/// Parts of a name, and the role that the first of them found gives.
const ROLES: [(&str, Role); 9] = [
    ("attn_qkv.weight", Role::Value),
    ("attn_kv_b.weight", Role::Value),
    ("attn_v.weight", Role::Value),
    ("attn_k.weight", Role::Key),
    ("attn_q.weight", Role::Query),
    ("attn_output.weight", Role::AttentionOutput),
    ("ffn_up", Role::Up),
    ("ffn_gate", Role::Gate),
    ("ffn_down", Role::Down),
];

impl Role {
    fn of(name: &str) -> Self {
        if is_output(name) {
            Role::Output
        } else if is_embedding(name) {
            Role::Embedding
        } else {
            ROLES.iter().find(|(part, _)| name.contains(part)).map_or(Role::Other, |(_, role)| *role)
        }
    }
}

/// Whether it is a table of embeddings.
pub(super) fn is_embedding(name: &str) -> bool {
    EMBEDDINGS.contains(&name)
}

/// Whether it is the output tensor.
pub(super) fn is_output(name: &str) -> bool {
    name == OUTPUT
}

/// Names that are never quantized.
const KEPT_NAMES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

/// Parts of names that are never quantized: norms, routers, convolutions, tables and small projections.
const KEPT_PARTS: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// More of them, in one architecture.
const GLM5_NEXT: &str = "glm5-next";
const GLM5_NEXT_KEPT_PARTS: [&str; 14] = [
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
];
/// Parts of names that do not go below Q8_0 in that architecture.
const GLM5_NEXT_HIGH_PARTS: [&str; 3] = ["attn_q_a", "attn_q_b", "nextn.eh_proj"];

/// What a rule may ask about a tensor's place in the model.
struct Place {
    /// Which one of its role it is, or its layer.
    i: u64,
    /// How many of its role there are, or layers.
    n: u64,
    /// Query heads for each key head.
    gqa: u64,
    experts: u64,
    falcon: bool,
    imatrix: bool,
}

impl Place {
    /// The first and last eighth, and every third in between.
    fn more_bits(&self) -> bool {
        let (i, n) = (self.i, self.n);
        i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
    }

    fn first_eighth(&self) -> bool {
        self.i < self.n / 8
    }

    fn first_sixteenth(&self) -> bool {
        self.i < self.n / 16
    }

    fn middle(&self) -> bool {
        self.i >= self.n / 8 && self.i < 7 * self.n / 8
    }

    fn shared_values(&self) -> bool {
        self.gqa >= 4
    }

    fn eight_experts(&self) -> bool {
        self.experts == 8
    }
}

/// A tensor of one of the roles gets the type from one of the methods, where the condition holds.
struct Rule {
    roles: &'static [Role],
    methods: &'static [&'static str],
    when: fn(&Place) -> bool,
    ty: GgmlType,
}

macro_rules! rules {
    ($($($role:ident)|+: $($method:literal)|+, $when:expr => $ty:ident;)*) => {
        &[$(Rule { roles: &[$(Role::$role),+], methods: &[$($method),+], when: $when, ty: $ty },)*]
    };
}

/// The mixtures. The first rule that fits gives the type; where none does, it is the method's default.
#[rustfmt::skip]
const RULES: &[Rule] = rules! {
    Embedding: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M",        |_| true => Q2_K;
    Embedding: "IQ2_S" | "IQ2_M" | "IQ3_XXS",                   |_| true => IQ3_S;
    Embedding: "TQ1_0" | "TQ2_0" | "Q2_0",                      |_| true => Q4_K;

    Value: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M" | "IQ2_S" | "IQ2_M",
                                                                |p| p.shared_values() || p.experts >= 4 => Q4_K;
    Value: "IQ2_S" | "IQ2_M",                                   |_| true => IQ3_S;
    Value: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M",            |_| true => Q2_K;
    Value: "Q2_K" | "Q2_K_S" | "IQ3_XXS" | "IQ3_XS" | "IQ3_S",  Place::shared_values => Q4_K;
    Value: "Q2_K",                                              |_| true => Q3_K;
    Value: "IQ3_XXS",                                           |p| !p.imatrix => IQ3_S;
    Value: "IQ3_M",                                             |_| true => Q4_K;
    Value: "Q3_K_M",                                            |p| p.i < 2 => Q5_K;
    Value: "Q3_K_M",                                            |_| true => Q4_K;
    Value: "Q3_K_L",                                            |_| true => Q5_K;
    Value: "IQ4_NL" | "IQ4_XS",                                 Place::shared_values => Q5_K;
    Value: "Q4_K_M" | "Q5_K_M",                                 Place::more_bits => Q6_K;
    Value: "Q4_K_S",                                            |p| p.i < 4 => Q5_K;

    Key: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M" | "IQ2_S" | "IQ2_M",
                                                                Place::eight_experts => Q4_K;
    Query | Key: "IQ3_XS",                                      |_| true => IQ3_XXS;
    Query | Key: "IQ3_XXS",                                     |_| true => IQ2_S;

    Down: "IQ2_S" | "IQ2_M",                                    Place::first_eighth => IQ3_S;
    Down: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M",             Place::first_eighth => Q2_K;
    Down: "Q2_K",                                               |_| true => Q3_K;
    Down: "Q2_K_S",                                             Place::first_eighth => Q4_K;
    Down: "IQ3_XXS",                                            |p| !p.imatrix && p.first_eighth() => Q4_K;
    Down: "IQ3_XXS",                                            |p| !p.imatrix => Q3_K;
    Down: "Q3_K_M",                                             Place::first_sixteenth => Q5_K;
    Down: "Q3_K_M",                                             |p| !p.falcon || p.more_bits() => Q4_K;
    Down: "IQ3_M",                                              |p| p.first_eighth() || (p.eight_experts() && p.more_bits()) => Q4_K;
    Down: "Q3_K_L",                                             |p| p.falcon => Q4_K;
    Down: "Q3_K_L",                                             |_| true => Q5_K;
    Down: "Q4_K_M",                                             |p| p.falcon && p.first_sixteenth() => Q6_K;
    Down: "Q4_K_M",                                             |p| p.falcon && p.more_bits() => Q5_K;
    Down: "Q4_K_M",                                             |p| !p.falcon && p.more_bits() => Q6_K;
    Down: "Q5_K_M",                                             Place::more_bits => Q6_K;
    Down: "IQ4_NL" | "IQ4_XS",                                  |p| !p.imatrix && p.first_eighth() => Q5_K;
    Down: "Q4_K_S",                                             |p| !p.falcon && p.first_eighth() => Q5_K;
    Down: "Q4_0",                                               |p| p.imatrix && p.first_eighth() => Q4_1;
    Down: "Q5_0",                                               |p| p.imatrix && p.first_eighth() => Q5_1;

    AttentionOutput: "IQ2_XXS" | "IQ2_XS" | "IQ1_S" | "IQ1_M" | "IQ2_S" | "IQ2_M",
                                                                Place::eight_experts => Q5_K;
    AttentionOutput: "IQ1_S" | "IQ1_M",                         |_| true => IQ2_XXS;
    AttentionOutput: "IQ2_S" | "IQ2_M",                         |_| true => IQ3_S;
    AttentionOutput: "Q3_K_L",                                  |p| p.falcon => Q4_K;
    AttentionOutput: "Q2_K" | "IQ3_XS" | "IQ3_XXS" | "Q3_K_S" | "Q3_K_M" | "IQ4_NL" | "Q4_K_S" | "Q4_K_M" | "IQ3_S" | "IQ3_M" | "IQ4_XS",
                                                                |p| !p.falcon && p.eight_experts() => Q5_K;
    AttentionOutput: "Q2_K",                                    |p| !p.falcon && !p.eight_experts() => Q3_K;
    AttentionOutput: "IQ3_XXS",                                 |p| !p.falcon && !p.eight_experts() => IQ3_S;
    AttentionOutput: "Q3_K_M" | "IQ3_M",                        |p| !p.falcon && !p.eight_experts() => Q4_K;
    AttentionOutput: "Q3_K_L",                                  |p| !p.falcon && !p.eight_experts() => Q5_K;

    Gate | Up: "IQ3_XS",                                        Place::middle => IQ3_XXS;
};

/// Methods below three bits. They count down projections instead of reading the layer from the name, give values no
/// further bits for the model's size, and the output only five.
const VERY_LOW: [&str; 6] = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M"];

/// Chooses types, tensor after tensor: some rules count.
pub(super) struct Mixture<'a> {
    method: &'a Method,
    options: &'a Options,
    facts: &'a Facts,
    tied: bool,
    /// Tensors of [`Role::Value`].
    values: u64,
    seen: Seen,
}

/// How many tensors of a role have been chosen by the mixture.
#[derive(Default)]
struct Seen {
    values: u64,
    down: u64,
    gate: u64,
    up: u64,
}

/// The type that was chosen for a tensor, and the one that its rows allow. They are mostly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) wanted: GgmlType,
    pub(super) used: GgmlType,
}

impl<'a> Mixture<'a> {
    /// A mixture for tensors of these names, before the first of them.
    pub(super) fn new<'n>(
        method: &'a Method,
        options: &'a Options,
        facts: &'a Facts,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Self {
        Mixture {
            method,
            options,
            facts,
            tied: !names.clone().any(|name| name == OUTPUT),
            values: names.filter(|name| Role::of(name) == Role::Value).count() as u64,
            seen: Seen::default(),
        }
    }

    /// The choice for the next tensor, or none if it stays as it is; `shape` in ggml's order without trailing ones.
    pub(super) fn choose(&mut self, name: &str, shape: &[u64]) -> Result<Option<Choice>, LayoutError> {
        let Some(default_type) = self.method.default_type else { return Ok(None) };
        if !self.allows(name, shape) {
            return Ok(None);
        }
        let as_it_is = |ty| Ok(Some(Choice { wanted: ty, used: ty }));
        let role = Role::of(name);
        let by_name = || self.options.tensor_types.iter().find(|t| t.matches(name)).map(|t| t.ty);
        if role == Role::Embedding
            && let Some(ty) = self.options.token_embedding_type
            && (name != "per_layer_token_embd.weight" || by_name().is_none())
        {
            return as_it_is(ty);
        }
        if role == Role::Output
            && let Some(ty) = self.options.output_tensor_type
        {
            return as_it_is(ty);
        }
        if !default_type.is_quantized() {
            return as_it_is(default_type);
        }
        let wanted = match by_name() {
            Some(ty) => ty,
            None if self.options.pure => default_type,
            None => self.mixed(role, name, shape, default_type)?,
        };
        Ok(Some(Choice { wanted, used: fallback(name, wanted, shape[0])? }))
    }

    fn allows(&self, name: &str, shape: &[u64]) -> bool {
        shape.len() >= 2
            && name.ends_with("weight")
            && !(self.options.leave_output_tensor && name == OUTPUT)
            && !KEPT_NAMES.contains(&name)
            && !KEPT_PARTS.iter().any(|part| name.contains(part))
            && !(self.facts.architecture == GLM5_NEXT
                && GLM5_NEXT_KEPT_PARTS.iter().any(|part| name.contains(part)))
    }

    /// The type by the mixture, and the counting that goes with it.
    fn mixed(
        &mut self,
        role: Role,
        name: &str,
        shape: &[u64],
        default_type: GgmlType,
    ) -> Result<GgmlType, LayoutError> {
        let facts = self.facts;
        let method = self.method.name;
        let very_low = VERY_LOW.contains(&method);
        if facts.architecture == GLM5_NEXT && GLM5_NEXT_HIGH_PARTS.iter().any(|part| name.contains(part)) {
            return Ok(Q8_0);
        }
        if role == Role::Output || (self.tied && role == Role::Embedding) {
            return Ok(match self.options.output_tensor_type {
                Some(ty) => ty,
                None if method == "MXFP4_MOE" || facts.architecture == "falcon" => Q8_0,
                None if !shape[0].is_multiple_of(default_type.block_size() as u64) => Q8_0,
                None if very_low || method == "IQ3_XXS" => Q5_K,
                None if default_type == Q8_0 => Q8_0,
                None => Q6_K,
            });
        }
        if method == "MXFP4_MOE" {
            let experts = shape.get(2).is_some_and(|n| *n > 1);
            let misleading = facts.architecture == "bailingmoe3";
            return Ok(if experts && (!misleading || matches!(role, Role::Up | Role::Gate | Role::Down)) {
                MXFP4
            } else {
                Q8_0
            });
        }

        let counted = match role {
            Role::Value => Some(&mut self.seen.values),
            Role::Down => Some(&mut self.seen.down),
            Role::Gate if !very_low => Some(&mut self.seen.gate),
            Role::Up if !very_low => Some(&mut self.seen.up),
            _ => None,
        };
        let mut i = counted.map_or(0, |seen| {
            *seen += 1;
            *seen - 1
        });
        let n = if role == Role::Value { self.values } else { facts.layers };
        if facts.experts > 1 && !very_low && matches!(role, Role::Down | Role::Gate | Role::Up) {
            // A layer may have a tensor an expert, so counting does not give the layer.
            i = layer_of(name).ok_or_else(|| LayoutError::NoLayer { tensor: name.to_owned() })?;
            if i >= n {
                return Err(LayoutError::BadLayer { tensor: name.to_owned(), layers: n });
            }
        }
        let place = Place {
            i,
            n,
            gqa: facts.gqa,
            experts: facts.experts,
            falcon: facts.architecture == "falcon",
            imatrix: self.options.imatrix.is_some(),
        };
        let ty = if role == Role::Key && facts.experts == 8 && !very_low {
            Q8_0
        } else {
            RULES
                .iter()
                .find(|r| r.roles.contains(&role) && r.methods.contains(&method) && (r.when)(&place))
                .map_or(default_type, |r| r.ty)
        };
        Ok(match ty {
            _ if role != Role::Value || very_low => ty,
            _ if facts.experts == 8 => Q8_0,
            Q3_K | Q4_K if facts.seventy_b => Q5_K,
            _ => ty,
        })
    }
}

/// The layer in a name such as `blk.12.ffn_up.weight`.
pub(super) fn layer_of(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("blk.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// `wanted`, or what stands in for it where its blocks do not fit rows of `row_values` values.
fn fallback(name: &str, wanted: GgmlType, row_values: u64) -> Result<GgmlType, LayoutError> {
    let fits = |ty: GgmlType| row_values.is_multiple_of(ty.block_size() as u64);
    if fits(wanted) {
        return Ok(wanted);
    }
    let smaller = match wanted {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_0 | Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        ty if ty.block_size() <= 32 => ty,
        ty => return Err(LayoutError::NoFallback { tensor: name.to_owned(), ty, row_values }),
    };
    Ok(if fits(smaller) { smaller } else { F16 })
}

/// Whether a tensor of this type must not be made without an importance matrix.
pub(super) fn requires_imatrix(name: &str, ty: GgmlType, method: &Method) -> bool {
    match ty {
        _ if is_output(name) || is_embedding(name) => false,
        IQ3_XXS | IQ2_XXS | IQ2_XS | IQ2_S | IQ1_M | IQ1_S => true,
        Q2_K => method.name == "Q2_K_S",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_methods_that_exist() {
        for name in RULES.iter().flat_map(|r| r.methods).chain(&VERY_LOW).chain(&["MXFP4_MOE", "Q2_K_S"]) {
            assert_eq!(Method::from_name(name).map(|m| m.name), Ok(*name));
        }
    }

    #[test]
    fn layers_are_read_from_the_start_of_a_name() {
        assert_eq!(layer_of("blk.12.ffn_up.weight"), Some(12));
        assert_eq!(layer_of("v.blk.12.ffn_up.weight"), None);
        assert_eq!(layer_of("blk.x.ffn_up.weight"), None);
        assert_eq!(layer_of("output.weight"), None);
    }

    #[test]
    fn types_that_do_not_fit_fall_back_twice() {
        assert_eq!(fallback("t", Q4_K, 512).expect("fits"), Q4_K);
        assert_eq!(fallback("t", Q4_K, 576).expect("fits 32"), Q5_0);
        assert_eq!(fallback("t", Q4_K, 100).expect("fits nothing"), F16);
        assert_eq!(fallback("t", Q4_0, 100).expect("fits nothing"), F16);
        assert_eq!(
            fallback("t", Q1_0, 64).expect_err("blocks of 128").to_string(),
            "tensor `t`: rows of 64 values do not fit `Q1_0`, and the reference names no type in its place"
        );
    }
}
