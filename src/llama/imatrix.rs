//! llama-imatrix: an importance matrix from a model and a text.
//!
//! In: a GGUF file of the model in its own type, and a text. Out: the matrix's file, and what the program said on the
//! way: chunks and perplexity. The text is named without its folder, because the name becomes part of the file and of
//! everything that is quantized with it. Refuses a model whose predictions are no numbers: its matrix would be none.
//! Source: `tools/imatrix/imatrix.cpp`.

use std::path::Path;

use super::tool::ToolError;
use super::toolchain::Toolchain;
use crate::base::cancel::Cancel;
use crate::base::process::Pipe;

/// The program.
pub const TOOL: &str = "llama-imatrix";

/// Tokens in a chunk: llama-imatrix's own default, which all published matrices have.
pub const CONTEXT: u32 = 512;

/// What is to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Calculation<'a> {
    /// The model.
    pub model: &'a Path,
    /// The folder that holds the text, and gets the matrix.
    pub folder: &'a Path,
    /// Name of the text there.
    pub text: &'a str,
    /// Name of the matrix there.
    pub output: &'a str,
    /// How many chunks of the text, at most.
    pub chunks: Option<u32>,
    /// Threads that compute.
    pub threads: usize,
}

/// What was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calculated {
    /// Chunks of the text.
    pub chunks: u32,
    /// The model's perplexity over them.
    pub perplexity: Option<f64>,
}

/// How far it is: chunks done, and in all.
pub type Heard<'a> = &'a mut dyn FnMut(u32, u32);

/// Computes a matrix.
///
/// # Errors
/// [`ToolError`]; what is in the folder then is not to be used.
pub fn compute(
    toolchain: &Toolchain,
    calculation: &Calculation<'_>,
    cancel: &Cancel,
    heard: Heard<'_>,
) -> Result<Calculated, ToolError> {
    let Calculation { model, folder, text, output, chunks, threads } = *calculation;
    let mut process = toolchain.process(TOOL)?.folder(folder).also_ends_at(b',').arg("-m").arg(model).args([
        "-f",
        text,
        "-o",
        output,
        "-c",
        &CONTEXT.to_string(),
        "-t",
        &threads.to_string(),
    ]);
    if let Some(chunks) = chunks {
        process = process.args(["--chunks", &chunks.to_string()]);
    }
    let mut said = Said::default();
    let done = process.run(cancel, |pipe, line| {
        if let Some((chunk, total)) = said.hear(pipe, line) {
            heard(chunk, total);
        }
    });
    // That it is no number says more than how the program took that.
    if let Some(chunk) = said.not_finite {
        return Err(ToolError::NotFinite { tool: TOOL, chunk });
    }
    done?;
    if !folder.join(output).is_file() {
        return Err(ToolError::Silent { tool: TOOL, what: "a matrix" });
    }
    Ok(Calculated { chunks: said.done, perplexity: said.perplexity })
}

/// What the program said.
#[derive(Debug, Default)]
struct Said {
    total: u32,
    done: u32,
    perplexity: Option<f64>,
    not_finite: Option<u32>,
}

impl Said {
    /// Takes a line or a part of one; gives chunks done and in all where it tells of them.
    fn hear(&mut self, pipe: Pipe, line: &str) -> Option<(u32, u32)> {
        if pipe == Pipe::Err {
            // `compute_imatrix: computing over 100 chunks, n_ctx=512, …`
            let (_, after) = line.split_once("computing over ")?;
            self.total = after.split(' ').next()?.parse().ok()?;
            return Some((0, self.total));
        }
        if let Some((_, after)) = line.split_once("PPL = ") {
            self.perplexity =
                after.split(' ').next().and_then(|n| n.parse().ok()).filter(|n: &f64| n.is_finite());
            return None;
        }
        // `[7]12.3456`
        let (chunk, perplexity) = line.trim().strip_prefix('[')?.split_once(']')?;
        let (chunk, perplexity): (u32, f64) = (chunk.parse().ok()?, perplexity.parse().ok()?);
        self.done = chunk;
        if !perplexity.is_finite() {
            self.not_finite.get_or_insert(chunk);
        }
        (self.total > 0).then_some((chunk, self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_llama_imatrix_says_is_understood() {
        // Recorded of llama.cpp 0c1e57098.
        let lines = [
            (Pipe::Err, "0.00.370.651 I compute_imatrix: tokenizing the input .."),
            (
                Pipe::Err,
                "0.00.374.979 I compute_imatrix: computing over 2 chunks, n_ctx=512, batch_size=2048, n_seq=4",
            ),
            (Pipe::Err, "0.05.993.760 I compute_imatrix: 5.62 seconds per pass - ETA "),
            (Pipe::Out, "0.03 minutes"),
            (Pipe::Out, "[1]29.0251"),
            (Pipe::Out, "[2]22.1943"),
            (Pipe::Out, "Final estimate: PPL = 22.1943 +/- 2.68318"),
        ];
        let mut said = Said::default();
        let heard: Vec<_> = lines.iter().filter_map(|(pipe, line)| said.hear(*pipe, line)).collect();
        assert_eq!(heard, [(0, 2), (1, 2), (2, 2)]);
        assert_eq!((said.done, said.perplexity, said.not_finite), (2, Some(22.1943), None));
    }

    #[test]
    fn predictions_that_are_no_numbers_are_noticed() {
        for no_number in ["nan", "-nan", "inf"] {
            let mut said = Said::default();
            for line in ["[1]7.5", &format!("[2]{no_number}"), &format!("[3]{no_number}")] {
                said.hear(Pipe::Out, line);
            }
            assert_eq!((said.done, said.not_finite), (3, Some(2)), "{no_number}");
        }
    }
}
