//! Nemotron and Minitron, dense: norms stored less one, a feed-forward part without a gate, heads that turn in part.

use super::hparams::single;
use super::key::{PARTIAL_ROPE_DIMENSIONS, VOCABULARY_SIZE, single_of};
use super::tensor_sets::{ATTENTION, ENDS, PLAIN_FFN};
use super::{Family, Key, Model, Vocabulary};
use serde_json::Value as Json;

/// `NemotronModel` in the reference's `conversion/nemotron.py`.
pub(super) static NEMOTRON: Family = Family {
    name: "nemotron",
    architectures: &["NemotronForCausalLM"],
    tensors: &[ENDS, ATTENTION, PLAIN_FFN],
    shifted_norms: true,
    keys: &[
        Key::Common,
        VOCABULARY_SIZE,
        single_of(
            "attention.layer_norm_epsilon",
            &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"],
        ),
        PARTIAL_ROPE_DIMENSIONS,
        Key::Is("rope.scaling.type", |m| {
            Ok(Some(if factor(m).is_some() { "linear" } else { "none" }.into()))
        }),
        Key::Is("rope.scaling.factor", |m| {
            factor(m).map(|value| Ok(single("factor", value)?.into())).transpose()
        }),
    ],
    vocabulary: Vocabulary::Nemotron,
    ..Family::PLAIN
};

/// What rope is stretched by.
fn factor<'a>(m: &Model<'a>) -> Option<&'a Json> {
    let stated = m.hparams.get("factor").filter(|v| v.as_f64() != Some(0.0));
    stated.or_else(|| m.rope.whole("factor"))
}
