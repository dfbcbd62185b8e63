//! A checkpoint's tensors as the families know them: under their names, and with those together that make one.
//!
//! In: a checkpoint and its family. Out: [`Source`]s in the reference's order. The scales of quantized weights are no
//! tensors of their own here; [`Scheme`](super::quantized::Scheme) says whose they are.

use super::quantized::Scheme;
use super::{Coding, ConvertError as E, Element, Part, Strides};
use crate::arch::{self, Family};
use crate::checkpoint::{Checkpoint, Dtype, SourceTensor, TensorEntry};
use crate::gguf::GgmlType;

/// A tensor of the text model.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    /// The name by which the family knows it.
    pub(super) name: String,
    /// What has its values.
    pub(super) tensor: &'a SourceTensor,
    /// Its extents, rows first.
    pub(super) shape: Vec<u64>,
    /// What the bytes mean, where they are no values.
    pub(super) coding: Option<Coding>,
}

impl<'a> Source<'a> {
    /// A tensor whose bytes are its values.
    fn plain(name: String, tensor: &'a SourceTensor) -> Self {
        let shape = tensor.entry.shape.clone();
        let element = match tensor.entry.dtype {
            Dtype::F8_E4M3 => Some(Element::E4M3),
            Dtype::F8_E5M2 => Some(Element::E5M2),
            _ => None,
        };
        let coding = element.map(|element| Coding::of(element, &shape));
        Source { name, tensor, shape, coding }
    }

    /// The type of its values.
    pub(super) fn ty(&self) -> Result<GgmlType, E> {
        match &self.coding {
            Some(Coding { element: Element::Mxfp4, .. }) => Ok(GgmlType::MXFP4),
            Some(_) => Ok(GgmlType::F32),
            None => plain_type(&self.tensor.entry),
        }
    }

    /// Whether it is in blocks of MXFP4.
    pub(super) fn is_microscaled(&self) -> bool {
        self.coding.as_ref().is_some_and(|coding| coding.element == Element::Mxfp4)
    }

    /// What begins with its value `start`.
    pub(super) fn part(&self, start: u64, strides: Option<Strides>) -> Result<Part, E> {
        let (entry, ty) = (&self.tensor.entry, self.ty()?);
        let before = match &self.coding {
            Some(coding) => coding.element.bytes(start, coding.columns),
            None => ty.bytes_of(start).expect("single values are blocks of these types"),
        };
        let coding = self.coding.clone().map(|coding| Box::new(Coding { start, ..coding }));
        Ok(Part {
            strides,
            coding,
            ..Part::new(&entry.name, self.tensor.shard, entry.range.start + before, ty)
        })
    }
}

impl Coding {
    /// Values of a tensor of this shape.
    pub(super) fn of(element: Element, shape: &[u64]) -> Self {
        let from_end = |n: usize| shape.len().checked_sub(n).map_or(1, |at| shape[at]).max(1);
        Coding { element, rows: from_end(2), columns: from_end(1), start: 0, scales: None, zeros: None }
    }
}

/// The type of elements that are values.
pub(super) fn plain_type(entry: &TensorEntry) -> Result<GgmlType, E> {
    Ok(match entry.dtype {
        Dtype::F32 => GgmlType::F32,
        Dtype::F16 => GgmlType::F16,
        Dtype::BF16 => GgmlType::BF16,
        Dtype::F64 => GgmlType::F64,
        dtype => return Err(E::Dtype { name: entry.name.clone(), dtype }),
    })
}

/// The text model's tensors in the order in which the reference reads them: shard by shard, and by name in each.
pub(super) fn stored<'a>(checkpoint: &'a Checkpoint, family: &Family) -> Vec<Source<'a>> {
    let mut tensors: Vec<&SourceTensor> = checkpoint.tensors.iter().collect();
    tensors.sort_by(|a, b| (a.shard, &a.entry.name).cmp(&(b.shard, &b.entry.name)));
    tensors
        .into_iter()
        .filter_map(|tensor| Some(Source::plain(known_name(&tensor.entry.name, family)?, tensor)))
        .collect()
}

/// The name by which the family knows a tensor; none where it leaves that out.
pub(super) fn known_name(name: &str, family: &Family) -> Option<String> {
    let name = family.bare(name);
    if family.skips(&name) {
        return None;
    }
    let own = |name: String, (part, new): &(&str, &str)| name.replace(part, new);
    let name = family.renamed.iter().fold(name.into_owned(), own);
    arch::is_text(&name).then(|| arch::usual_name(&name))
}

/// The same, the quantized ones put together.
pub(super) fn sources<'a>(
    checkpoint: &'a Checkpoint,
    family: &Family,
    scheme: &Scheme,
) -> Result<Vec<Source<'a>>, E> {
    scheme.apply(stored(checkpoint, family))
}
