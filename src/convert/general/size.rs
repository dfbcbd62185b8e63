//! Parameter counts and the size label made from them (`494M`, `8x7B`).
//!
//! Sources: `GGUFWriter.get_total_parameter_count` and `size_label` of gguf-py.

/// How many parameters the output tensors hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// Those outside of experts.
    pub shared: u64,
    /// Those of one expert of each layer, summed over the layers.
    pub expert: u64,
    /// Experts a layer; zero for a dense model.
    pub expert_count: u64,
    /// Whether it is an adapter, which changes so many parameters of a model and holds fewer.
    pub adapter: bool,
}

impl Counts {
    /// Counts the output tensors: GGUF names, and shapes in ggml's order. Computed tensors (`rope_freqs.weight`) count.
    pub fn of<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>) -> Self {
        let mut counts = Counts::default();
        let (mut experts, mut stacks) = (0u64, 0u64);
        for (name, shape) in tensors {
            let size = shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
            counts.total = counts.total.saturating_add(size);
            let stacked = if name.contains(".bias") { 1 } else { 2 };
            match shape.get(stacked) {
                Some(&n) if n > 0 && shape.len() >= 3 && name.contains("_exps.") => {
                    counts.expert = counts.expert.saturating_add(size / n);
                    experts = experts.saturating_add(n);
                    stacks += 1;
                }
                _ => counts.shared = counts.shared.saturating_add(size),
            }
        }
        counts.expert_count = experts.checked_div(stacks).unwrap_or(0);
        counts
    }

    /// All of them, as the reference passes them on: less than nothing for an adapter.
    pub(super) fn signed(&self) -> i64 {
        let total = i64::try_from(self.total).unwrap_or(i64::MAX);
        if self.adapter { -total } else { total }
    }

    /// The size as people write it.
    pub fn label(&self) -> String {
        match self.expert_count {
            0 => rounded(self.total),
            n => format!("{n}x{}", rounded(self.shared.saturating_add(self.expert))),
        }
    }
}

/// A count with a suffix for its magnitude and at least two digits.
fn rounded(count: u64) -> String {
    let x = count as f64;
    // Products and not quotients, as the reference has them: the last bit can decide a rounding.
    let (scaled, suffix) = match count {
        1_000_000_000_001.. => (x * 1e-12, 'T'),
        1_000_000_001.. => (x * 1e-9, 'B'),
        1_000_001.. => (x * 1e-6, 'M'),
        _ => (x * 1e-3, 'K'),
    };
    let digits = match scaled.round_ties_even() {
        0.0 => 0,
        n if n < 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.precision$}{suffix}", precision = 2 - digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacked_experts_count_once() {
        let counts = Counts::of([
            ("token_embd.weight", [8u64, 100].as_slice()),
            ("blk.0.ffn_gate_exps.weight", &[8, 16, 4]),
            ("blk.0.ffn_gate_exps.bias", &[16, 4]),
            ("blk.0.ffn_gate_inp.weight", &[8, 4]),
        ]);
        assert_eq!(counts, Counts { total: 1408, shared: 896, expert: 128, expert_count: 4, adapter: false });
        assert_eq!(counts.label(), "4x1.0K");
    }
}
