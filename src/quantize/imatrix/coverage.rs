//! How far a matrix covers an output, and whether that is enough.

use super::{Imatrix, ImatrixError, columns};
use crate::convert::Blueprint;
use crate::event::{Code, Event};
use crate::quantize::block::requires_importance;
use crate::quantize::layout::Layout;
use crate::quantize::method::Method;
use crate::quantize::mixture::{is_embedding, is_output, requires_imatrix};

/// Which of an output's quantized tensors are quantized by importance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Tensors that are quantized at all.
    pub quantized: u64,
    /// Those for which the matrix has nothing, in the order of the file.
    pub without: Vec<String>,
    /// Those of which it has something, but not for every expert.
    pub idle: Vec<Idle>,
}

/// Experts that saw no token: their columns all count the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The tensor; without experts, it is the one.
    pub tensor: String,
    /// Their numbers.
    pub experts: Vec<u32>,
}

impl Imatrix {
    /// Holds the matrix against an output.
    ///
    /// Names are those of the source: layers may have other numbers in an output from which some were left out.
    ///
    /// # Errors
    /// A tensor has another size than the matrix says (embeddings excepted, which it has by rows), or a type demands
    /// importance where there is none.
    pub fn cover(
        &self,
        layout: &Layout,
        blueprint: &Blueprint,
        method: &Method,
    ) -> Result<Coverage, ImatrixError> {
        let mut coverage = Coverage::default();
        for (tensor, recipe) in layout.header.tensors.iter().zip(&layout.recipes) {
            let base = &blueprint.tensors[*recipe];
            if tensor.ty == base.ty {
                continue;
            }
            coverage.quantized += 1;
            let entry = self.entry(&base.name);
            let (found, expected) = (entry.map_or(0, |e| e.weights.len() as u64), columns(&base.shape));
            match entry {
                Some(entry) if found == expected => {
                    if !entry.idle.is_empty() {
                        let experts = entry.idle.clone();
                        coverage.idle.push(Idle { tensor: tensor.name.clone(), experts });
                    }
                    continue;
                }
                Some(_) if !is_embedding(&tensor.name) => {
                    return Err(ImatrixError::Size { tensor: tensor.name.clone(), found, expected });
                }
                _ => {}
            }
            if requires_imatrix(&tensor.name, tensor.ty, method) || requires_importance(tensor.ty) {
                return Err(ImatrixError::Missing {
                    tensor: tensor.name.clone(),
                    ty: tensor.ty,
                    method: method.name,
                });
            }
            coverage.without.push(tensor.name.clone());
        }
        Ok(coverage)
    }
}

impl Coverage {
    /// Tensors quantized by importance.
    pub fn weighted(&self) -> u64 {
        self.quantized - self.without.len() as u64
    }

    /// Whether something is missing that matrices usually have. None has the embeddings; few have the output tensor.
    pub fn has_gaps(&self) -> bool {
        !self.idle.is_empty() || self.without.iter().any(|name| !is_embedding(name) && !is_output(name))
    }

    /// What there is to say of it: a warning where something is missing.
    pub fn event(&self, method: &str) -> Event {
        let code = if self.has_gaps() { Code::ImatrixGaps } else { Code::ImatrixCovers };
        let idle: usize = self.idle.iter().map(|i| i.experts.len()).sum();
        Event::new(code, format!("{method}: {}", self.describe()))
            .with("method", method)
            .with("quantized", self.quantized)
            .with("weighted", self.weighted())
            .with("without", self.without.clone())
            .with("idle_experts", idle)
    }

    /// One line for people: `209 of 211 quantized tensors weighted; nothing for …`.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 3;
        let mut text = format!("{} of {} quantized tensors weighted", self.weighted(), self.quantized);
        let names: Vec<String> = self.without.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        if !names.is_empty() {
            let more = if self.without.len() > SHOWN { " and others" } else { "" };
            text += &format!("; nothing for {}{more}", names.join(", "));
        }
        if let Some(first) = self.idle.first() {
            let experts: usize = self.idle.iter().map(|i| i.experts.len()).sum();
            let (expert, tensor) = (first.experts[0], &first.tensor);
            text += &format!("; {experts} experts without activations, first {expert} of `{tensor}`");
        }
        text
    }
}
