//! Tensors that families have in common: what a family lists beside them is its own.

use super::Tensor;
use super::Tensor::{
    AttnK, AttnKNorm, AttnNorm, AttnOut, AttnQ, AttnQNorm, AttnQkv, AttnV, FfnDown, FfnDownExps,
    FfnDownShexp, FfnGate, FfnGateExps, FfnGateInp, FfnGateShexp, FfnNorm, FfnUp, FfnUpExps, FfnUpShexp,
    NextnEhProj, NextnEmbedTokens, NextnEnorm, NextnHnorm, NextnSharedHeadHead, NextnSharedHeadNorm, Output,
    OutputNorm, SsmA, SsmConv1d, SsmD, SsmDt, SsmIn, SsmNorm, SsmOut, TokenEmbd,
};

/// Before the layers and after them.
pub(super) const ENDS: &[Tensor] = &[TokenEmbd, OutputNorm, Output];

/// An attention whose matrices stand apart.
pub(super) const ATTENTION: &[Tensor] = &[AttnNorm, AttnQ, AttnK, AttnV, AttnOut];

/// An attention whose queries, keys and values come of one matrix.
pub(super) const FUSED_ATTENTION: &[Tensor] = &[AttnNorm, AttnQkv, AttnOut];

/// Norms of the queries and the keys of each head.
pub(super) const HEAD_NORMS: &[Tensor] = &[AttnQNorm, AttnKNorm];

/// A feed-forward part with a gate.
pub(super) const GATED_FFN: &[Tensor] = &[FfnNorm, FfnGate, FfnDown, FfnUp];

/// A feed-forward part without a gate.
pub(super) const PLAIN_FFN: &[Tensor] = &[FfnNorm, FfnDown, FfnUp];

/// Experts with a gate each, and what chooses among them.
pub(super) const ROUTED_EXPERTS: &[Tensor] = &[FfnGateInp, FfnGateExps, FfnDownExps, FfnUpExps];

/// The expert that every token goes through.
pub(super) const SHARED_EXPERTS: &[Tensor] = &[FfnGateShexp, FfnDownShexp, FfnUpShexp];

/// A layer that predicts a token beyond the next, beside what all layers have.
pub(super) const NEXTN: &[Tensor] =
    &[NextnEhProj, NextnEmbedTokens, NextnEnorm, NextnHnorm, NextnSharedHeadHead, NextnSharedHeadNorm];

/// A state-space part as Mamba 2's.
pub(super) const STATE_SPACE: &[Tensor] = &[SsmIn, SsmConv1d, SsmDt, SsmA, SsmD, SsmNorm, SsmOut];
