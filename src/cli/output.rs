//! What `convert` and `quantize` say of their file.

use serde_json::json;

use crate::base::units;
use crate::run::files::Target;

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
pub(super) fn describe(target: &Target, kind: &str, outcome: Outcome, as_json: bool) -> String {
    let layout = &target.layout;
    let (bytes, bits) = (target.bytes(), layout.bits_per_weight());
    let paths = target.paths();
    let (path, files) = (&paths[0], paths.len());
    let (tensors, fallbacks) = (layout.recipes.len(), layout.fallbacks.len());
    let (written, snr) = match outcome {
        Outcome::Planned => (false, None),
        Outcome::Written { snr } => (true, snr),
    };
    if as_json {
        let object = json!({ "path": path, "files": files, "type": kind, "tensors": tensors, "fallbacks": fallbacks, "bytes": bytes,
                             "tensor_bytes": layout.tensor_bytes(), "bits_per_weight": bits, "snr_db": snr, "written": written });
        return format!("{object}\n");
    }
    let verb = if written { "" } else { "would write " };
    let snr = snr.map(|snr| format!(", SNR {snr:.1} dB")).unwrap_or_default();
    let fell = match fallbacks {
        0 => String::new(),
        n => format!(", {n} of them of another type that fits their width"),
    };
    let more = if files > 1 { format!(" and {} more", files - 1) } else { String::new() };
    format!(
        "{verb}`{}`{more}: {kind}, {}{fell}, {} ({bytes} bytes), {bits:.2} bits a weight{snr}\n",
        path.display(),
        units::counted(tensors, "tensor"),
        units::decimal(bytes),
    )
}
