//! `MODEL_LOG.md`: what was done, when, with what, and how long it took.

use std::fmt::Write as _;

use super::metadata::{
    Evaluation, ImatrixCoverage, Made, Output, QuantizationMetadata, Recipe, TensorQuality,
};
use super::{imatrix, quality, text};
use crate::base::units;

/// The file's name.
pub const FILE_NAME: &str = "MODEL_LOG.md";

/// The text of the log. `title` is the name that the outputs share.
pub fn render(title: &str, metadata: &QuantizationMetadata) -> String {
    let mut out = format!("# Log of {}\n\n", text::plain(title));
    // The last run first; outputs of earlier ones may stand beside its own.
    let mut runs: Vec<(Made<'_>, Vec<&str>)> = Vec::new();
    for output in &metadata.outputs {
        let (made, method) = (metadata.made(output), &*output.recipe.method);
        match runs.iter_mut().find(|(run, _)| *run == made) {
            Some((_, methods)) => methods.push(method),
            None => runs.push((made, vec![method])),
        }
    }
    runs.sort_by(|(a, _), (b, _)| b.run.started.cmp(&a.run.started));
    for (i, (made, methods)) in runs.iter().enumerate() {
        if runs.len() > 1 {
            let title = format!("Run of {}: {}", made.run.started, methods.join(", "));
            writeln!(out, "{}## {}\n", if i > 0 { "\n" } else { "" }, text::plain(&title))
                .expect("writing to a string");
        }
        overview(&mut out, *made);
        let level = if runs.len() > 1 { "###" } else { "##" };
        write!(out, "\n{level} Steps\n\n| Started | Step | Took |\n| --- | --- | ---: |\n")
            .expect("writing to a string");
        for step in &made.run.steps {
            let took = step.seconds.map(text::duration).unwrap_or_default();
            row(&mut out, &[text::plain(&step.started), text::plain(&step.what), took]);
        }
    }
    for output in &metadata.outputs {
        describe(&mut out, output);
    }
    if !metadata.source.files.is_empty() {
        out.push_str("\n## Source files\n\n| File | Size | SHA-256 |\n| --- | ---: | --- |\n");
        for file in &metadata.source.files {
            let sha256 =
                file.sha256.as_ref().map(|hash| format!("`{}`", text::code(hash))).unwrap_or_default();
            row(&mut out, &[format!("`{}`", text::code(&file.path)), units::decimal(file.size), sha256]);
        }
    }
    out
}

/// A log that [`render`] made, as the metadata has it now.
pub fn refreshed(log: &str, metadata: &QuantizationMetadata) -> String {
    let new = render("", metadata);
    // The title says what only the run knew.
    match (log.split_once('\n'), new.split_once('\n')) {
        (Some((title, _)), Some((_, rest))) => format!("{title}\n{rest}"),
        _ => new,
    }
}

fn row(out: &mut String, cells: &[String]) {
    writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a string");
}

fn overview(out: &mut String, m: Made<'_>) {
    let source = match (&m.source.repo, &m.source.commit) {
        (Some(repo), Some(commit)) => format!("{} at `{}`", text::plain(repo), text::code(commit)),
        (Some(repo), None) => text::plain(repo),
        (None, _) => format!("folder `{}`", text::code(&m.source.name)),
    };
    let machine = &m.run.machine;
    let mut place = format!("{} {}, {}, {} threads", machine.os, machine.arch, machine.simd, machine.threads);
    if let Some(peak) = machine.peak_memory {
        write!(place, ", {} of memory at the peak", units::decimal(peak)).expect("writing to a string");
    }
    out.push_str("| | |\n| --- | --- |\n");
    let rows = [
        ("Source", source),
        (
            "Model",
            format!(
                "{}, {} parameters",
                text::plain(&m.source.architecture),
                units::count(m.source.parameters)
            ),
        ),
        ("Started", text::plain(&m.run.started)),
        ("Finished", text::plain(&m.run.finished)),
        ("Took", text::duration(m.run.seconds)),
        ("Program", text::plain(&format!("{} {}", m.program.name, m.program.version))),
        ("Reference", text::plain(m.reference)),
        ("Machine", text::plain(&place)),
    ];
    for (name, value) in rows {
        row(out, &[name.to_owned(), value]);
    }
}

fn describe(out: &mut String, output: &Output) {
    write!(out, "\n## {}\n\n", text::plain(&output.recipe.method)).expect("writing to a string");
    let types: Vec<String> =
        output.tensor_types.iter().map(|(ty, n)| format!("{n} × {}", text::plain(ty))).collect();
    let mut rows = Vec::new();
    match &output.sha256 {
        Some(sha256) => {
            rows.push(("File", format!("`{}`", text::code(&output.file))));
            rows.push(("SHA-256", format!("`{}`", text::code(sha256))));
        }
        None => rows.extend(output.parts.iter().map(|part| {
            let (file, sha256) = (text::code(&part.file), text::code(&part.sha256));
            ("File", format!("`{file}`, {} bytes, SHA-256 `{sha256}`", part.size))
        })),
    }
    rows.extend([
        ("Size", format!("{} ({} bytes)", units::decimal(output.size), output.size)),
        ("Bits per weight", format!("{:.4}", output.bits_per_weight)),
        ("Tensors", types.join(", ")),
        ("Took", text::duration(output.seconds)),
    ]);
    if let Some(q) = output.quality {
        let snr =
            q.snr_db.map_or_else(|| "nothing lost".to_owned(), |snr| format!("signal to noise {snr:.2} dB"));
        rows.push(("Error of the weights", format!("{:.4} % of their size, {snr}", q.relative_rmse * 100.0)));
    }
    let snr = |t: &TensorQuality| t.quality.snr_db.unwrap_or(f64::INFINITY);
    if let Some(worst) = output.tensors.iter().min_by(|a, b| snr(a).total_cmp(&snr(b))) {
        let (name, ty) = (text::code(&worst.name), text::plain(&worst.ty));
        rows.push(("Largest error", format!("`{name}` ({ty}), signal to noise {:.2} dB", snr(worst))));
    }
    if let Some(file) = imatrix::described(output) {
        rows.push(("Importance matrix's file", file));
    }
    if let Some(coverage) = &output.imatrix_coverage {
        rows.push(("Importance matrix", covered(coverage)));
    }
    if let Some(evaluation) = &output.evaluation {
        evaluated(&mut rows, evaluation);
    }
    if let Some(tool) = &output.checked {
        rows.push(("Checked", format!("{} loads it and generates from it", text::plain(tool))));
    }
    if let Some(converter) = &output.recipe.converter {
        rows.push(("Converted by", text::plain(converter)));
    }
    let options = options(&output.recipe);
    if !options.is_empty() {
        rows.push(("Options", options.join(", ")));
    }
    out.push_str("| | |\n| --- | --- |\n");
    for (name, value) in rows {
        row(out, &[name.to_owned(), value]);
    }
}

/// What the output's predictions lose, and how that was measured.
fn evaluated(rows: &mut Vec<(&str, String)>, evaluation: &Evaluation) {
    rows.push(("Perplexity", quality::with_error(evaluation.perplexity)));
    if let Some(d) = &evaluation.divergence {
        let base = quality::with_error(d.base_perplexity);
        let ratio = quality::more(d.perplexity_ratio.value);
        let figure = quality::figure;
        rows.push(("Perplexity of the unquantized model", format!("{base}; the output's: {ratio}")));
        rows.push((
            "KL divergence",
            format!(
                "mean {}, median {}, 99 % {}, maximum {}",
                quality::with_error(d.mean_kld),
                figure(d.median_kld),
                figure(d.kld_99),
                figure(d.max_kld)
            ),
        ));
        rows.push(("Same top token", quality::percent(d.same_top.value)));
    }
    let chunks = units::counted(evaluation.chunks as usize, "chunk");
    let text = format!(
        "{} of {} tokens of `{}` (SHA-256 `{}`), with {}, {}, in {}",
        chunks,
        evaluation.context,
        text::code(&evaluation.text.name),
        text::code(&evaluation.text.sha256),
        text::plain(&evaluation.tool),
        text::plain(&evaluation.measured),
        text::duration(evaluation.seconds)
    );
    rows.push(("Measured", text));
}

fn covered(coverage: &ImatrixCoverage) -> String {
    let names = |names: &mut dyn Iterator<Item = &String>| {
        names.map(|name| format!("`{}`", text::code(name))).collect::<Vec<_>>().join(", ")
    };
    let mut out = format!("{} of {} quantized tensors weighted", coverage.weighted, coverage.quantized);
    if !coverage.without.is_empty() {
        write!(out, "; nothing for {}", names(&mut coverage.without.iter())).expect("writing to a string");
    }
    if !coverage.idle_experts.is_empty() {
        let experts: usize = coverage.idle_experts.values().map(Vec::len).sum();
        let tensors = names(&mut coverage.idle_experts.keys());
        write!(out, "; {experts} experts without activations in {tensors}").expect("writing to a string");
    }
    out
}

/// What the recipe changes about its method, as the flags of `llama-quantize`.
fn options(recipe: &Recipe) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    if let Some(imatrix) = &recipe.imatrix {
        flags.push(format!("--imatrix {}", imatrix.file));
    }
    flags.extend(recipe.include_weights.iter().map(|name| format!("--include-weights {name}")));
    flags.extend(recipe.exclude_weights.iter().map(|name| format!("--exclude-weights {name}")));
    flags
        .extend(recipe.tensor_types.iter().map(|rule| format!("--tensor-type {}={}", rule.pattern, rule.ty)));
    flags.extend(recipe.output_tensor_type.iter().map(|ty| format!("--output-tensor-type {ty}")));
    flags.extend(recipe.token_embedding_type.iter().map(|ty| format!("--token-embedding-type {ty}")));
    for (set, flag) in [
        (recipe.pure, "--pure"),
        (recipe.leave_output_tensor, "--leave-output-tensor"),
        (recipe.allow_requantize, "--allow-requantize"),
    ] {
        if set {
            flags.push(flag.to_owned());
        }
    }
    if !recipe.prune_layers.is_empty() {
        let layers: Vec<String> = recipe.prune_layers.iter().map(ToString::to_string).collect();
        flags.push(format!("--prune-layers {}", layers.join(",")));
    }
    flags.extend(recipe.override_kv.iter().map(|kv| format!("--override-kv {kv}")));
    flags.extend(recipe.split_max_size.map(|size| format!("split at {}", units::decimal(size))));
    flags.extend(recipe.split_max_tensors.map(|n| format!("split after {n} tensors")));
    flags.iter().map(|flag| format!("`{}`", text::code(flag))).collect()
}
