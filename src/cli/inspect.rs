//! `inspect`: what a file holds, without reading its weights.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::args::InspectArgs;
use super::failure::Failure;
use super::{Context, print};
use crate::base::units;
use crate::checkpoint::{Checkpoint, CheckpointError, GgufFile};
use crate::gguf::{Array, Value};

/// Elements of an array, and tensors, that are shown without `--all`.
const SHOWN: usize = 6;
/// Characters of a string that are shown without `--all`.
const SHOWN_TEXT: usize = 60;

/// A tensor as it is shown.
struct Row {
    name: String,
    ty: String,
    shape: Vec<u64>,
    bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read or is none of these.
pub(super) fn run(args: &InspectArgs, context: &Context) -> Result<(), Failure> {
    let gguf =
        args.path.is_file() && args.path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("safetensors"));
    let (metadata, rows) = if gguf {
        let file = GgufFile::open(&args.path).map_err(|error| match error {
            CheckpointError::Gguf { .. } => Failure::from(error)
                .hint("GGUF files, safetensors files and the folders of checkpoints can be inspected"),
            error => error.into(),
        })?;
        let rows = file.header.tensors.iter().map(|t| Row {
            name: t.name.clone(),
            ty: t.ty.to_string(),
            shape: t.shape.clone(),
            bytes: t.bytes(),
        });
        (file.header.metadata.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect(), rows.collect())
    } else {
        (Vec::new(), checkpoint_rows(&args.path)?)
    };
    if context.json { as_json(&metadata, &rows) } else { as_text(&metadata, &rows, args.all) }
}

fn checkpoint_rows(path: &Path) -> Result<Vec<Row>, Failure> {
    let checkpoint =
        if path.is_dir() { Checkpoint::open(path)? } else { Checkpoint::open_shard_alone(path)? };
    let row = |t: &crate::checkpoint::SourceTensor| Row {
        name: t.entry.name.clone(),
        ty: format!("{:?}", t.entry.dtype),
        shape: t.entry.shape.clone(),
        bytes: t.entry.range.end - t.entry.range.start,
    };
    Ok(checkpoint.tensors.iter().map(row).collect())
}

fn as_text(metadata: &[(String, Value)], rows: &[Row], all: bool) -> Result<(), Failure> {
    let mut out = String::new();
    let width = metadata.iter().map(|(k, _)| k.len()).max().unwrap_or(0);
    for (key, value) in metadata {
        let _ = writeln!(out, "{key:width$}  {}", show(value, all));
    }
    if !metadata.is_empty() {
        out.push('\n');
    }

    let width = rows.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let listed = if all || rows.len() <= 2 * SHOWN { rows.len() } else { SHOWN };
    for r in &rows[..listed] {
        let shape = r.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
        let _ = writeln!(out, "{:width$}  {:7}  {shape:>16}  {:>10}", r.name, r.ty, units::decimal(r.bytes));
    }
    if listed < rows.len() {
        let _ = writeln!(out, "… {} more (--all shows them)", units::counted(rows.len() - listed, "tensor"));
    }

    let mut types: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for r in rows {
        let entry = types.entry(&r.ty).or_default();
        *entry = (entry.0 + 1, entry.1 + r.bytes);
    }
    out.push('\n');
    for (ty, (count, bytes)) in types {
        let _ =
            writeln!(out, "{ty:7}  {:>13}  {:>10}", units::counted(count, "tensor"), units::decimal(bytes));
    }
    let values: u64 = rows.iter().map(|r| r.shape.iter().product::<u64>()).sum();
    let bytes: u64 = rows.iter().map(|r| r.bytes).sum();
    let bits = if values == 0 { 0.0 } else { bytes as f64 * 8.0 / values as f64 };
    let _ = writeln!(
        out,
        "in all   {:>13}  {:>10}  {values} weights, {bits:.2} bits each",
        units::counted(rows.len(), "tensor"),
        units::decimal(bytes)
    );
    print(&out)
}

fn as_json(metadata: &[(String, Value)], rows: &[Row]) -> Result<(), Failure> {
    let metadata: Map<String, Json> = metadata.iter().map(|(k, v)| (k.clone(), to_json(v))).collect();
    let tensors: Vec<Json> = rows
        .iter()
        .map(|r| json!({ "name": r.name, "type": r.ty, "shape": r.shape, "bytes": r.bytes }))
        .collect();
    print(&format!("{}\n", json!({ "metadata": metadata, "tensors": tensors })))
}

/// A value in one line. Strings of a file are untrusted: control characters are escaped.
fn show(value: &Value, all: bool) -> String {
    match value {
        Value::String(s) => quote(s, all),
        Value::Array(a) => {
            let shown = if all { a.len() } else { a.len().min(SHOWN) };
            let items: Vec<String> = (0..shown).map(|i| element(a, i, all)).collect();
            let more = if shown < a.len() { format!(", … {} in all", a.len()) } else { String::new() };
            format!("[{}{more}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn quote(s: &str, all: bool) -> String {
    let cut: String = if all { s.to_owned() } else { s.chars().take(SHOWN_TEXT).collect() };
    let more = if cut.len() < s.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

fn element(array: &Array, i: usize, all: bool) -> String {
    match array {
        Array::U8(a) => a[i].to_string(),
        Array::I8(a) => a[i].to_string(),
        Array::U16(a) => a[i].to_string(),
        Array::I16(a) => a[i].to_string(),
        Array::U32(a) => a[i].to_string(),
        Array::I32(a) => a[i].to_string(),
        Array::U64(a) => a[i].to_string(),
        Array::I64(a) => a[i].to_string(),
        Array::F32(a) => a[i].to_string(),
        Array::F64(a) => a[i].to_string(),
        Array::Bool(a) => a[i].to_string(),
        Array::String(a) => quote(&String::from_utf8_lossy(&a[i]), all),
    }
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::F64(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(a) => match a {
            Array::U8(a) => json!(a),
            Array::I8(a) => json!(a),
            Array::U16(a) => json!(a),
            Array::I16(a) => json!(a),
            Array::U32(a) => json!(a),
            Array::I32(a) => json!(a),
            Array::U64(a) => json!(a),
            Array::I64(a) => json!(a),
            Array::F32(a) => json!(a),
            Array::F64(a) => json!(a),
            Array::Bool(a) => json!(a),
            Array::String(a) => a.iter().map(|s| json!(String::from_utf8_lossy(s))).collect(),
        },
    }
}
