//! Tensors that families have in common: what a family lists beside them is its own.

use super::Tensor;
use super::Tensor::{
    AttnK, AttnKNorm, AttnNorm, AttnOut, AttnQ, AttnQNorm, AttnV, FfnDown, FfnDownExps, FfnDownShexp,
    FfnGate, FfnGateExps, FfnGateInp, FfnGateShexp, FfnNorm, FfnUp, FfnUpExps, FfnUpShexp, Output,
    OutputNorm, TokenEmbd,
};

/// Before the layers and after them.
pub(super) const ENDS: &[Tensor] = &[TokenEmbd, OutputNorm, Output];

/// An attention whose matrices stand apart.
pub(super) const ATTENTION: &[Tensor] = &[AttnNorm, AttnQ, AttnK, AttnV, AttnOut];

/// Norms of the queries and the keys of each head.
pub(super) const HEAD_NORMS: &[Tensor] = &[AttnQNorm, AttnKNorm];

/// A feed-forward part with a gate.
pub(super) const GATED_FFN: &[Tensor] = &[FfnNorm, FfnGate, FfnDown, FfnUp];

/// Experts with a gate each, and what chooses among them.
pub(super) const ROUTED_EXPERTS: &[Tensor] = &[FfnGateInp, FfnGateExps, FfnDownExps, FfnUpExps];

/// The expert that every token goes through.
pub(super) const SHARED_EXPERTS: &[Tensor] = &[FfnGateShexp, FfnDownShexp, FfnUpShexp];
