//! Experts: numbered tensors of a layer that become one. Some models have such outside of their layers.

use std::collections::HashMap;

use super::ConvertError as E;
use super::source::Source;
use crate::arch::{self, Family, Hparams, Stack, Tensor};

/// More than any layer has.
const MAX_NUMBERED: u32 = 1 << 16;

/// The numbered tensors of layers that are not complete yet.
#[derive(Default)]
pub(super) struct Stacks<'a> {
    layers: HashMap<(&'static str, Option<u32>), Layer<'a>>,
}

/// The tensors of a layer, by number and number of the member.
struct Layer<'a> {
    found: HashMap<(u32, usize), &'a Source<'a>>,
    wanted: usize,
}

/// A tensor that became complete.
pub(super) struct Complete<'a> {
    pub(super) tensor: Tensor,
    pub(super) layer: Option<u32>,
    /// In the order of their numbers; at least one.
    pub(super) parts: Vec<&'a Source<'a>>,
}

impl<'a> Stacks<'a> {
    /// Takes a numbered tensor; gives its layer's tensors once all of them were taken. `None` for any other tensor.
    pub(super) fn add(
        &mut self,
        name: &str,
        source: &'a Source<'a>,
        h: &Hparams,
        family: &Family,
        layers: u32,
    ) -> Result<Option<Vec<Complete<'a>>>, E> {
        let Some((stack, layer, number, member)) =
            family.stacks.iter().find_map(|stack| place(stack, name, layers))
        else {
            return Ok(None);
        };
        let count = h.required_count(stack.count)?;
        if number >= count || count > MAX_NUMBERED {
            return Err(E::Number { name: source.tensor.entry.name.clone(), count });
        }
        let wanted = count as usize * stack.members.len();
        let key = (stack.before, layer);
        let found =
            &mut self.layers.entry(key).or_insert_with(|| Layer { found: HashMap::new(), wanted }).found;
        if let Some(first) = found.insert((number, member), source) {
            let (first, second) = (first.tensor.entry.name.clone(), source.tensor.entry.name.clone());
            return Err(E::Collision { name: name.to_owned(), first, second });
        }
        if found.len() < wanted {
            return Ok(Some(Vec::new()));
        }
        let complete = stack.members.iter().enumerate().map(|(member, (_, tensor))| Complete {
            tensor: *tensor,
            layer,
            parts: (0..count).filter_map(|number| found.get(&(number, member)).copied()).collect(),
        });
        let complete = complete.collect();
        self.layers.remove(&key);
        Ok(Some(complete))
    }

    /// Refuses layers that lack some of theirs.
    pub(super) fn check_complete(&self) -> Result<(), E> {
        match self.layers.iter().min_by_key(|((_, layer), _)| *layer) {
            None => Ok(()),
            Some(((before, layer), incomplete)) => {
                let (found, wanted) = (incomplete.found.len(), incomplete.wanted);
                let layer = layer.map(|layer| layer.to_string()).unwrap_or_default();
                Err(E::Stack { of: before.replace("{}", &layer), found, wanted })
            }
        }
    }
}

/// The layer, number and member of a tensor of this stack.
fn place<'s>(stack: &'s Stack, name: &str, layers: u32) -> Option<(&'s Stack, Option<u32>, u32, usize)> {
    let (layer, rest) = match stack.before.split_once("{}") {
        Some((before, after)) => {
            let (layer, rest) = name.strip_prefix(before)?.split_once('.')?;
            let layer = arch::number(layer).filter(|n| *n < layers)?;
            (Some(layer), rest.strip_prefix(after.strip_prefix('.')?)?)
        }
        None => (None, name.strip_prefix(stack.before)?),
    };
    let rest = rest.strip_suffix(".weight")?;
    let (number, member) = rest.split_once('.').unwrap_or((rest, ""));
    let member = stack.members.iter().position(|(name, _)| *name == member)?;
    Some((stack, layer, arch::number(number)?, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_tensors_are_told_from_others() {
        let stack = Stack {
            before: "model.layers.{}.mlp.experts.",
            count: &["n"],
            members: &[("down_proj", Tensor::FfnDownExps), ("up_proj", Tensor::FfnUpExps)],
        };
        let check = |name: &str, expected: Option<(u32, u32, usize)>| {
            let found =
                place(&stack, name, 3).map(|(_, layer, number, member)| (layer.unwrap(), number, member));
            assert_eq!(found, expected, "{name}");
        };
        check("model.layers.2.mlp.experts.17.up_proj.weight", Some((2, 17, 1)));
        check("model.layers.2.mlp.experts.17.weight", None);
        check("model.layers.3.mlp.experts.17.up_proj.weight", None);
        check("model.layers.2.mlp.experts.017.up_proj.weight", None);
        check("model.layers.2.mlp.experts.1.gate_proj.weight", None);
        check("model.layers.2.mlp.experts.1.up_proj.bias", None);
        check("model.layers.2.mlp.experts.up_proj.weight", None);
        check("model.layers.2.mlp.shared_expert.up_proj.weight", None);
        let stack = Stack { before: "model.streams.", count: &["n"], members: &[("", Tensor::AltupProj)] };
        let found = |name| place(&stack, name, 3).map(|(_, layer, number, member)| (layer, number, member));
        assert_eq!(found("model.streams.1.weight"), Some((None, 1, 0)));
        assert_eq!(found("model.streams.1.up.weight"), None);
        assert_eq!(found("model.streams.weight"), None);
    }
}
