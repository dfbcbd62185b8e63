//! What `convert` and `quantize` say of their file.

use std::path::Path;

use serde_json::json;

use crate::base::units;
use crate::quantize::Layout;

/// How far the work went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nothing was written: `--dry-run`.
    Planned,
    /// The file is whole.
    Written {
        /// Signal to noise in decibels, where it was measured.
        snr: Option<f64>,
    },
}

/// The result: one line, for people or as JSON.
pub(super) fn describe(path: &Path, kind: &str, layout: &Layout, outcome: Outcome, as_json: bool) -> String {
    let (bytes, bits) = (layout.file_bytes(), layout.bits_per_weight());
    let (tensors, fallbacks) = (layout.recipes.len(), layout.fallbacks.len());
    let (written, snr) = match outcome {
        Outcome::Planned => (false, None),
        Outcome::Written { snr } => (true, snr),
    };
    if as_json {
        let object = json!({ "path": path, "type": kind, "tensors": tensors, "fallbacks": fallbacks, "bytes": bytes,
                             "bits_per_weight": bits, "snr_db": snr, "written": written });
        return format!("{object}\n");
    }
    let verb = if written { "" } else { "would write " };
    let snr = snr.map(|snr| format!(", SNR {snr:.1} dB")).unwrap_or_default();
    let fell = match fallbacks {
        0 => String::new(),
        n => format!(", {n} of them of another type that fits their width"),
    };
    format!(
        "{verb}`{}`: {kind}, {}{fell}, {} ({bytes} bytes), {bits:.2} bits a weight{snr}\n",
        path.display(),
        units::counted(tensors, "tensor"),
        units::decimal(bytes),
    )
}
