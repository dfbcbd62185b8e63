//! The recipe of each output tensor: its place, its shape, its type, the rows it is made of.
//!
//! Most tensors of a checkpoint become one under another name. Some become several (fused matrices), and some become
//! one with others (experts), as the family's data says. No weight is read.

use std::collections::{HashMap, HashSet};

use super::computed::{self, Made};
use super::config::Config;
use super::source::{self, Source, stored};
use super::stacks::Stacks;
use super::values::{self, Scalars};
use super::{
    Change, Coding, ConvertError as E, Element, OutType, Part, Recipe, RowOrder, Strides, TensorRecipe, cuts,
};
use crate::arch::{
    self, Cut, Dimensions, Extent, Family, Heads, HparamError, Hparams, KEY_HEADS, LAYERS, Mapped,
    MoreLayers, QUERY_HEADS, Reshape, Rope, Tensor,
};
use crate::checkpoint::Checkpoint;
use crate::event::{Code, Event, Observer};
use crate::gguf::GgmlType;

/// Most dimensions that a tensor in a GGUF file has.
pub(super) const MAX_DIMENSIONS: usize = 4;

/// Most parts that a tensor with rows of zeros has: a row each, for four times as many tokens as any model knows.
const MAX_FILLED: u64 = 1 << 20;

/// The type that `auto` stands for: that of the first matrix in a 16-bit type, else F16.
pub(super) fn resolve(out_type: OutType, checkpoint: &Checkpoint, family: &Family) -> OutType {
    let stored = stored(checkpoint, family);
    let matrices = stored.iter().map(|source| &source.tensor.entry).filter(|entry| entry.shape.len() >= 2);
    out_type.resolve(matrices.map(|entry| entry.dtype))
}

/// The recipes of all output tensors, in the converter's order, and the metadata that goes with computed tensors.
pub(super) fn recipes(
    checkpoint: &Checkpoint,
    config: &Config,
    rope: &Rope,
    out_type: OutType,
    observer: &dyn Observer,
) -> Result<Made, E> {
    let (made, seen) = placed(checkpoint, config, out_type, computed::tensors(config, rope)?, observer)?;
    let layers = config.family.layers(&config.hparams)?;
    // The reference does not look, and llama.cpp would refuse the file.
    match (0..layers).find(|layer| !seen.contains(layer)) {
        Some(missing) => Err(E::Layers { layers, missing }),
        None => Ok(made),
    }
}

/// The recipes of the tensors that the checkpoint has, behind those that were made before; and the layers that have any.
pub(super) fn placed(
    checkpoint: &Checkpoint,
    config: &Config,
    out_type: OutType,
    before: Made,
    observer: &dyn Observer,
) -> Result<(Made, HashSet<u32>), E> {
    let (h, family) = (&config.hparams, config.family);
    let layers = family.layers(h)?;
    let writer = Writer { config, dimensions: Dimensions::of(h), layers, out_type };
    let Made { mut metadata, mut recipes } = before;
    let labelled = match family.labelled {
        [] => &[][..],
        names => arch::key::labels(h)?.map_or(&[][..], |_| names),
    };
    let (mut stacks, mut scalars) = (Stacks::default(), Scalars::default());
    let mut embeddings = None;
    let mut made: HashMap<String, String> = HashMap::new();
    let mut seen = HashSet::new();
    let sources = source::sources(checkpoint, family, &config.scheme)?;
    for source in &sources {
        let (mut name, tensor) = (source.name.clone(), source.tensor);
        if arch::is_computed(&name) {
            let text = format!("tensor `{name}` is left out: a runtime computes it");
            observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
            continue;
        }
        if let MoreLayers::KeptApart(_) = family.more_layers
            && let Some(usual) = arch::predicting_name(&name, h.required_count(LAYERS)?)
        {
            name = usual;
        }
        if family.unprefixed.contains(&&*config.architecture) {
            name.insert_str(0, "model.");
        }
        if family.unsuffixed.iter().any(|end| name.ends_with(end)) {
            name.push_str(".weight");
        }
        if let Some((_, new)) = labelled.iter().find(|(plain, _)| *plain == name) {
            (*new).clone_into(&mut name);
        }
        if let Some((_, key)) = family.scalars.iter().find(|(end, _)| name.ends_with(end)) {
            metadata.extend(scalars.add(key, &name, tensor, checkpoint, layers)?);
            continue;
        }
        if !family.tied_output
            && name == "lm_head.weight"
            && h.get("tie_word_embeddings") == Some(&true.into())
        {
            let text = format!("tensor `{name}` is left out: the embeddings serve as output");
            observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
            continue;
        }
        if family.more_layers == MoreLayers::LeftOut && arch::is_beyond(&name, layers) {
            let text =
                format!("tensor `{name}` is left out: it belongs to a layer that predicts more tokens");
            observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
            continue;
        }
        if family.distinct_output {
            match arch::map_name(&name, family, layers).map(|place| place.tensor) {
                Some(Tensor::TokenEmbd) => embeddings = Some(tensor),
                Some(Tensor::Output)
                    if embeddings.map_or(Ok(false), |e| values::equal(checkpoint, e, tensor))? =>
                {
                    let text = format!("tensor `{name}` is left out: it equals the embeddings");
                    observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
                    continue;
                }
                _ => {}
            }
        }
        let new = match stacks.add(&name, source, h, family, layers)? {
            None => writer.answered(&name, source)?,
            Some(complete) => {
                complete.iter().map(|stack| writer.stack(stack)).collect::<Result<Vec<_>, E>>()?
            }
        };
        for (layer, recipe) in new {
            seen.extend(layer);
            if made.contains_key(&recipe.name) && family.shares(&recipe.name) {
                let text = format!("tensor `{name}` is left out: it stands for another that came first");
                observer.event(Event::new(Code::TensorSkipped, text).about(&*checkpoint.name));
                continue;
            }
            if let Some(first) = made.insert(recipe.name.clone(), tensor.entry.name.clone()) {
                return Err(E::Collision { name: recipe.name, first, second: tensor.entry.name.clone() });
            }
            recipes.push(recipe);
        }
    }
    stacks.check_complete()?;
    tell_inexact(&recipes, &checkpoint.name, observer);
    Ok((Made { metadata, recipes }, seen))
}

/// Rows of a source tensor that become a tensor of their own: all of them, or an equal share of each of its stacked
/// matrices.
pub(super) struct Rows {
    /// Extents of the output in the checkpoint's order.
    pub(super) shape: Vec<u64>,
    /// The first value of each part in its source tensor.
    pub(super) starts: Vec<u64>,
    /// How far values are from each other there, where they do not stand row by row.
    pub(super) strides: Option<Strides>,
    /// The order of the rows of each part, where the name does not tell.
    pub(super) order: Option<RowOrder>,
}

impl Rows {
    /// All of a tensor's, as they stand.
    pub(super) fn whole(shape: Vec<u64>) -> Self {
        Rows { shape, starts: vec![0], strides: None, order: None }
    }
}

/// What all recipes are made with.
struct Writer<'a> {
    config: &'a Config,
    dimensions: Dimensions,
    layers: u32,
    out_type: OutType,
}

type Recipes = Vec<(Option<u32>, TensorRecipe)>;

impl Writer<'_> {
    /// As [`Writer::split`]; of a reranker's output matrix, only the rows of its answers.
    fn answered(&self, name: &str, source: &Source<'_>) -> Result<Recipes, E> {
        let Some(answers) = self.config.answers else { return self.split(name, source) };
        let tied = self.config.hparams.get("tie_word_embeddings") == Some(&true.into());
        if !name.contains(if tied { "embed_tokens" } else { "lm_head" }) {
            return self.split(name, source);
        }
        let last = answers.iter().copied().max().map_or(0, u64::from);
        let width = match source.shape[..] {
            [rows, width] if rows > last && width > 0 => width,
            _ => return Err(misfit(source, format!("rows, of which {last} is one"))),
        };
        let starts = answers.iter().map(|id| u64::from(*id) * width).collect();
        let place = Mapped { tensor: Tensor::ClsOut, layer: None, bias: false };
        let rows = Rows { starts, ..Rows::whole(vec![answers.len() as u64, width]) };
        let mut recipes = vec![(None, self.recipe(name, &place, &[source], &rows)?)];
        if tied {
            recipes.extend(self.split(name, source)?);
        }
        Ok(recipes)
    }

    /// The tensor or tensors that one of the checkpoint's becomes by itself.
    fn split(&self, name: &str, source: &Source<'_>) -> Result<Recipes, E> {
        let (entry, family) = (&source.tensor.entry, self.config.family);
        // Fused matrices without a suffix are weights.
        let (stem, bias) = arch::stem(name).unwrap_or((name, false));
        let in_layer = |name| arch::layer_in(stem, name, self.layers);
        if let Some((cut, layer)) = family.cuts.iter().find_map(|c| Some((c, in_layer(c.name)?))) {
            return self.cut(cut, name, layer, bias, source);
        }
        if let Some((fused, layer)) = family.splits.iter().find_map(|s| Some((s, in_layer(s.name)?))) {
            let mut recipes = Vec::new();
            let mut before = 0;
            let wanted: Vec<Vec<u64>> = fused
                .into
                .iter()
                .map(|t| self.known_extents(&Mapped { tensor: *t, layer, bias }, source))
                .collect::<Result<_, E>>()?;
            let axis = wanted.first().map_or(0, |shape| shape.len().saturating_sub(2));
            // What no number can say, no tensor has.
            let all = wanted.iter().try_fold(0u64, |all, shape| all.checked_add(shape[axis]));
            let all = all.unwrap_or(u64::MAX);
            let mut expected = wanted.first().cloned().unwrap_or_default();
            if let Some(rows) = expected.get_mut(axis) {
                *rows = all;
            }
            if source.shape != expected {
                return Err(misfit(source, format!("{expected:?}")));
            }
            for (into, shape) in fused.into.iter().zip(wanted) {
                let row: u64 = shape[axis + 1..].iter().product();
                let stacked: u64 = shape[..axis].iter().product();
                let starts = (0..stacked).map(|n| (n * all + before) * row).collect();
                before += shape[axis];
                let place = Mapped { tensor: *into, layer, bias };
                let rows = Rows { starts, ..Rows::whole(shape) };
                recipes.push((layer, self.recipe(name, &place, &[source], &rows)?));
            }
            return Ok(recipes);
        }
        let Some(place) = arch::map_name(name, family, self.layers) else {
            let (name, architecture) = (entry.name.clone(), self.config.architecture.clone());
            let expert = name.contains("experts.") || name.contains("block_sparse_moe");
            return Err(if expert {
                E::Expert { name, architecture }
            } else {
                E::Unmapped { name, architecture }
            });
        };
        if place.bias && !family.biases {
            let (name, architecture) = (entry.name.clone(), self.config.architecture.clone());
            return Err(E::Unmapped { name, architecture });
        }
        self.check_shape(source, &source.shape, &place)?;
        let mut shape = source.shape.clone();
        if place.tensor.is_squeezed() && shape.len() == 3 {
            shape.remove(1);
        }
        if place.tensor == Tensor::TokenEmbd && family.cut_embeddings {
            let rows = self.config.vocabulary_rows.unwrap_or(u64::MAX);
            shape[0] = shape[0].min(rows);
        }
        let cut = match family.cut_rows.iter().find(|(t, _)| *t == place.tensor && !place.bias) {
            Some((_, rows)) => rows(&self.config.hparams)?,
            None => 0,
        };
        shape[0] = shape[0].checked_sub(cut).filter(|left| *left > 0).ok_or_else(|| {
            let expected = format!("more than {cut} rows");
            misfit(source, expected)
        })?;
        let start = cut * shape[1..].iter().product::<u64>();
        if let Some((_, reshape)) = family.reshaped.iter().find(|(t, _)| *t == place.tensor && !place.bias) {
            reshape_to(*reshape, source, &self.config.hparams, &mut shape)?;
        }
        let mut rows = match family.tiled.iter().find(|(tensor, _)| *tensor == place.tensor) {
            Some((_, tiled)) => cuts::tiled(*tiled, source, shape, &self.dimensions)?,
            None => Rows::whole(shape),
        };
        rows.starts.iter_mut().for_each(|first| *first += start);
        if family.filled_rows.contains(&place.tensor) {
            return Ok(vec![(place.layer, self.filled(name, &place, source, &rows)?)]);
        }
        Ok(vec![(place.layer, self.recipe(name, &place, &[source], &rows)?)])
    }

    /// The tensors that one becomes whose rows are no runs in its order.
    fn cut(
        &self,
        cut: &Cut,
        name: &str,
        layer: Option<u32>,
        bias: bool,
        source: &Source<'_>,
    ) -> Result<Recipes, E> {
        let pieces = cuts::pieces(cut, source, bias, &self.dimensions, &self.config.hparams)?;
        let recipe = |(into, rows): (&Tensor, Rows)| {
            let place = Mapped { tensor: *into, layer, bias };
            self.check_shape(source, &rows.shape, &place)?;
            Ok((layer, self.recipe(name, &place, &[source], &rows)?))
        };
        cuts::into(cut).iter().zip(pieces).map(recipe).collect()
    }

    /// The recipe of a tensor with rows of zeros for the tokens that it lacks.
    fn filled(
        &self,
        name: &str,
        place: &Mapped,
        source: &Source<'_>,
        rows: &Rows,
    ) -> Result<TensorRecipe, E> {
        let mut recipe = self.recipe(name, place, &[source], rows)?;
        let (stored, all) = (rows.shape[0], self.dimensions.vocabulary.unwrap_or(0));
        if let (Recipe::Rows { parts, .. }, true) = (&mut recipe.source, stored < all) {
            // Parts have the same number of rows each.
            let each = cuts::common_divisor(stored, all);
            if all / each > MAX_FILLED {
                return Err(misfit(source, format!("a row for each of {all} tokens, or nearly so")));
            }
            let row: u64 = rows.shape[1..].iter().product();
            let start = |n: u64| rows.starts[0] + n * each * row;
            *parts = (0..stored / each).map(|n| source.part(start(n), None)).collect::<Result<_, E>>()?;
            let coding = Some(Box::new(Coding::of(Element::Zero, &rows.shape)));
            let zeros = Part { coding, ..source.part(rows.starts[0], None)? };
            parts.resize((all / each) as usize, zeros);
            if let Some(rows) = recipe.shape.last_mut() {
                *rows = all;
            }
        }
        Ok(recipe)
    }

    /// The tensor that a layer's experts become.
    fn stack(&self, stack: &super::stacks::Complete<'_>) -> Result<(Option<u32>, TensorRecipe), E> {
        let place = Mapped { tensor: stack.tensor, layer: stack.layer, bias: false };
        let first = stack.parts[0];
        let mut shape = first.shape.clone();
        shape.insert(0, stack.parts.len() as u64);
        for part in &stack.parts {
            if part.ty()? != first.ty()? {
                let (name, other) = (part.tensor.entry.name.clone(), first.tensor.entry.name.clone());
                return Err(E::MixedTypes { name, other });
            }
            // Where the configuration states no extent, the parts must have the same one.
            if part.shape != first.shape {
                return Err(misfit(part, format!("{:?} as `{}`", first.shape, first.tensor.entry.name)));
            }
            let mut stacked = part.shape.clone();
            stacked.insert(0, stack.parts.len() as u64);
            self.check_shape(part, &stacked, &place)?;
        }
        let rows = Rows { starts: vec![0; stack.parts.len()], ..Rows::whole(shape) };
        Ok((place.layer, self.recipe(&first.tensor.entry.name, &place, &stack.parts, &rows)?))
    }

    /// The recipe of rows of one source tensor, or of as many as there are starts.
    fn recipe(
        &self,
        name: &str,
        place: &Mapped,
        sources: &[&Source<'_>],
        rows: &Rows,
    ) -> Result<TensorRecipe, E> {
        let (h, family) = (&self.config.hparams, self.config.family);
        let order = match rows.order {
            Some(order) => order,
            None => row_order(name, sources[0], &rows.shape, h, family)?,
        };
        let out = place.name();
        let ty = match sources[0].is_microscaled() {
            true => GgmlType::MXFP4,
            false => output_type(&out, place.tensor, &rows.shape, self.out_type),
        };
        let parts = rows.starts.iter().enumerate();
        let parts = parts.map(|(n, start)| sources.get(n).unwrap_or(&sources[0]).part(*start, rows.strides));
        let parts = parts.collect::<Result<_, E>>()?;
        let factors = (family.factors)(name, h)?;
        let change = match () {
            () if place.tensor.is_rate() => Change::NegativeExp,
            () if !factors.is_none() => Change::Times(factors),
            () if family.shifts(name) => Change::Plus(1.0),
            () => Change::None,
        };
        Ok(TensorRecipe {
            name: out,
            shape: rows.shape.iter().rev().copied().collect(),
            ty,
            source: Recipe::Rows { parts, order, change },
        })
    }

    /// The extents of a tensor that is part of another, which the configuration must state.
    fn known_extents(&self, place: &Mapped, fused: &Source<'_>) -> Result<Vec<u64>, E> {
        let wanted = place.extents(self.config.family).iter().map(|e| e.of(&self.dimensions));
        wanted
            .collect::<Option<Vec<u64>>>()
            .filter(|shape| !shape.contains(&0))
            .ok_or_else(|| misfit(fused, "one whose parts `config.json` states".to_owned()))
    }

    /// The shape must be what the configuration says: the reference does not look, and llama.cpp would refuse the file.
    fn check_shape(&self, source: &Source<'_>, shape: &[u64], place: &Mapped) -> Result<(), E> {
        let extents = place.extents(self.config.family);
        let wanted: Vec<Option<u64>> = extents.iter().map(|e: &Extent| e.of(&self.dimensions)).collect();
        let fits = shape.len() == extents.len()
            && shape
                .iter()
                .zip(&wanted)
                .all(|(found, wanted)| *found > 0 && wanted.is_none_or(|w| w == *found));
        if fits && (1..=MAX_DIMENSIONS).contains(&shape.len()) {
            return Ok(());
        }
        let wanted: Vec<String> =
            wanted.iter().map(|w| w.map_or_else(|| "any".to_owned(), |n| n.to_string())).collect();
        Err(misfit(source, format!("[{}]", wanted.join(", "))))
    }
}

/// Tells of rates whose last bits nobody but the reference's mathematical library knows: those of numbers that use all bits
/// of F32. (Of BF16 and F16, all are known.)
fn tell_inexact(recipes: &[TensorRecipe], checkpoint: &str, observer: &dyn Observer) {
    let inexact = |recipe: &&TensorRecipe| match &recipe.source {
        Recipe::Rows { parts, change: Change::NegativeExp, .. } => {
            parts.iter().any(|part| part.ty == GgmlType::F32)
        }
        _ => false,
    };
    let mut inexact = recipes.iter().filter(inexact);
    if let Some(first) = inexact.next() {
        let count = 1 + inexact.count();
        let name = &first.name;
        let text = format!(
            "{count} tensors such as `{name}` are exponentials of F32 numbers: about one number of a hundred may differ from \
             the reference's in its last bit"
        );
        observer.event(Event::new(Code::RatesInexact, text).about(checkpoint));
    }
}

/// What has another shape than it must.
pub(super) fn misfit(source: &Source<'_>, expected: String) -> E {
    let entry = &source.tensor.entry;
    E::Shape { name: entry.name.clone(), found: entry.shape.clone(), expected }
}

/// The extents of a tensor that gets others.
fn reshape_to(reshape: Reshape, source: &Source<'_>, h: &Hparams, shape: &mut Vec<u64>) -> Result<(), E> {
    match (reshape, shape.as_slice()) {
        (Reshape::Column, [_]) => shape.push(1),
        (Reshape::Rows(rows), [length]) => {
            let rows = u64::from(rows(h)?);
            if rows == 0 || !length.is_multiple_of(rows) {
                return Err(misfit(source, format!("{rows} rows")));
            }
            *shape = vec![rows, length / rows];
        }
        // Those that have them already.
        _ => {}
    }
    Ok(())
}

/// The type in the converter's output: vectors, norms and biases stay F32, as do some matrices; rows of no whole blocks
/// become F16.
fn output_type(name: &str, tensor: Tensor, shape: &[u64], out_type: OutType) -> GgmlType {
    let vector = shape.len() <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight");
    if vector || tensor.stays_f32() {
        return GgmlType::F32;
    }
    out_type.of_rows(shape[shape.len() - 1])
}

/// `LlamaModel.permute`.
fn row_order(
    name: &str,
    source: &Source<'_>,
    shape: &[u64],
    h: &Hparams,
    family: &Family,
) -> Result<RowOrder, E> {
    let (stem, _) = arch::stem(name).unwrap_or((name, false));
    let Some((_, which)) = family.rope_rows.iter().find(|(module, _)| stem.ends_with(module)) else {
        return Ok(RowOrder::Natural);
    };
    let query = h.required_count(QUERY_HEADS)?;
    let heads = match which {
        Heads::Query => query,
        Heads::Key => {
            if !KEY_HEADS.iter().any(|k| h.has(k)) {
                return Err(HparamError::missing(KEY_HEADS).into());
            }
            h.count(KEY_HEADS)?.unwrap_or(query)
        }
    };
    let heads = u64::from(heads);
    let rows = shape.first().copied().unwrap_or_default();
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        return Err(misfit(source, format!("rows in two halves for each of {heads} heads")));
    }
    Ok(RowOrder::Rope { heads })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::convert::Part;
    use crate::event::Progress;

    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
        fn progress(&self, _: Progress) {}
    }

    #[test]
    fn rates_of_single_precision_are_told_once() {
        let recipe = |name: &str, ty, change| TensorRecipe {
            name: name.to_owned(),
            shape: vec![4],
            ty: GgmlType::F32,
            source: Recipe::Rows { parts: vec![Part::new("x", 0, 0, ty)], order: RowOrder::Natural, change },
        };
        let heard = Heard(Mutex::new(Vec::new()));
        let harmless = [
            recipe("blk.0.ssm_a", GgmlType::BF16, Change::NegativeExp),
            recipe("blk.0.ssm_d", GgmlType::F32, Change::None),
        ];
        tell_inexact(&harmless, "model", &heard);
        assert!(heard.0.lock().unwrap().is_empty());
        let rates = ["blk.0.ssm_a", "blk.1.ssm_a"].map(|n| recipe(n, GgmlType::F32, Change::NegativeExp));
        tell_inexact(&rates, "model", &heard);
        let events = heard.0.into_inner().unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].code, Code::RatesInexact);
        assert!(events[0].text.starts_with("2 tensors such as `blk.0.ssm_a`"), "{}", events[0].text);
    }
}
