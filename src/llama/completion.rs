//! llama-completion: does llama.cpp load a file, and does the model say something?
//!
//! In: a GGUF file, the first of a split one. Out: a few tokens' text. Source: `tools/completion/completion.cpp`.

use std::path::Path;

use super::tool::ToolError;
use super::toolchain::Toolchain;
use crate::base::cancel::Cancel;
use crate::base::process::Pipe;

/// The program.
pub const TOOL: &str = "llama-completion";

/// What the model is to go on with.
const PROMPT: &str = "The first thing that";

/// Tokens that are generated.
pub const TOKENS: u32 = 8;

/// Loads the file and generates a few tokens, always the most likely one.
///
/// # Errors
/// [`ToolError`]: it does not load, or nothing came.
pub fn complete(
    toolchain: &Toolchain,
    model: &Path,
    threads: usize,
    cancel: &Cancel,
) -> Result<String, ToolError> {
    let process = toolchain
        .process(TOOL)?
        .arg("-m")
        .arg(model)
        .args(["-p", PROMPT, "-n", &TOKENS.to_string(), "-c", "256", "--temp", "0", "--seed", "1"])
        .args(["-t", &threads.to_string(), "-no-cnv", "--no-display-prompt", "--no-warmup", "--ignore-eos"]);
    let mut said = Said::default();
    process.run(cancel, |pipe, line| said.hear(pipe, line))?;
    if said.text.is_empty() && said.tokens == 0 {
        return Err(ToolError::Silent { tool: TOOL, what: "a token" });
    }
    Ok(said.text)
}

/// What the program said.
#[derive(Debug, Default)]
struct Said {
    text: String,
    /// Tokens that its own account has: a text of nothing but line breaks is one, too.
    tokens: u32,
}

impl Said {
    fn hear(&mut self, pipe: Pipe, line: &str) {
        if pipe == Pipe::Out {
            let space = if self.text.is_empty() { "" } else { " " };
            self.text = format!("{}{space}{}", self.text, line.trim());
            return;
        }
        // `common_perf_print:        eval time =      92.17 ms /     7 runs   (…)`; the prompt's has `tokens`.
        let runs =
            || line.split_once(" eval time =")?.1.split_once(" runs")?.0.rsplit(' ').next()?.parse().ok();
        self.tokens = runs().unwrap_or(self.tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_llama_completion_says_is_understood() {
        // Recorded of llama.cpp 0c1e57098.
        let mut said = Said::default();
        for (pipe, line) in [
            (Pipe::Err, "0.00.251.973 I generate: n_ctx = 256, n_batch = 2048, n_predict = 8, n_keep = 0"),
            (Pipe::Out, " comes to mind when"),
            (Pipe::Out, "I think of the"),
            (
                Pipe::Err,
                "0.00.374.420 I common_perf_print: prompt eval time =      28.52 ms /     4 tokens (    7.13 ms per token,   140.27 tokens per second)",
            ),
            (
                Pipe::Err,
                "0.00.374.421 I common_perf_print:        eval time =      92.17 ms /     7 runs   (   13.17 ms per token,    75.94 tokens per second)",
            ),
        ] {
            said.hear(pipe, line);
        }
        assert_eq!((&*said.text, said.tokens), ("comes to mind when I think of the", 7));
    }
}
