//! `families`: which architectures are converted natively, which by the reference's own converter, and which by neither.

use std::fmt::Write as _;

use serde_json::json;

use super::failure::Failure;
use super::{Context, print};
use crate::arch::vision::TOWERS;
use crate::arch::{self, FAMILIES, Vocabulary};

/// Prints the table, or the same as JSON.
///
/// # Errors
/// Nobody takes the output.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    if !context.json {
        return print(&page());
    }
    let native: Vec<_> = FAMILIES
        .iter()
        .map(|f| json!({ "family": f.name, "architectures": f.architectures, "tokenizers": tokenizers(f.vocabulary) }))
        .collect();
    let fallback: Vec<_> = arch::fallback().map(|(name, _)| name).collect();
    let broken: Vec<_> = arch::BROKEN.iter().map(|(name, _)| name).collect();
    let towers = TOWERS.iter().map(|t| json!({ "tower": t.name, "architectures": t.architectures }));
    let towers: Vec<_> = towers.collect();
    print(&format!(
        "{}\n",
        json!({ "native": native, "mmproj": towers, "fallback": fallback, "broken": broken })
    ))
}

/// docs/families.md.
pub fn page() -> String {
    let mut out = String::from(
        "# Families\n\n\
         Generated from the source; `JAMPH_UPDATE=1 cargo test` rewrites it. `jamph-quantizer families` prints it.\n\n\
         ## Native\n\n\
         Converted by this program: no Python, no intermediate file, byte for byte what `convert_hf_to_gguf.py` writes. A\n\
         small checkpoint of each, of its real class's shapes, is converted and quantized by `cargo test` and compared with\n\
         what the reference made of it (`tests/parity/`).\n\n\
         | family | `architectures` in `config.json` | tokenizer files |\n|---|---|---|\n",
    );
    for family in FAMILIES {
        let names: Vec<String> = family.architectures.iter().map(|a| format!("`{a}`")).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            family.name,
            names.join(", "),
            tokenizers(family.vocabulary).join("; ")
        );
    }
    out += "\nThe architecture is that of `text_config` (of InternVL's `llm_config`) where that names one: InternVL's text model is\n\
            converted as what it is, a Qwen2 say.\n\n\
            What the converter makes of `ExaoneForCausalLM` lacks `exaone.attention.layer_norm_rms_epsilon`, and of the first\n\
            Qwen as published `qwen.attention.layer_norm_rms_epsilon`, without which no program of llama.cpp loads it. `convert`\n\
            writes the same file; quantizing it is refused here as there, unless `--override-kv` states the key (as\n\
            `layer_norm_epsilon` of its `config.json`).\n";
    out += "\n### Mistral's own format\n\n\
            `params.json`, `consolidated*.safetensors` and `tekken.json`, where a folder or repository has no `config.json`:\n\
            byte for byte what `convert_hf_to_gguf.py --mistral-format` writes, as `llama`, or as `mistral3` where the parameters\n\
            have `llama_4_scaling`; FP8 weights among it. The template of `chat_template.jinja` goes before that of the\n\
            tokenizer's version. Models with experts, towers (`--mmproj`) and SentencePiece vocabularies are refused in this\n\
            format; their repositories have transformers' format as well.\n";
    out += "\n### Quantized checkpoints\n\n\
            Weights that are quantized already are turned into numbers while they are read, as the reference's converter does\n\
            it; every family above may have them: `fp8` (a scale a block or a tensor, as DeepSeek and Qwen publish), `modelopt`\n\
            (FP8), `compressed-tensors` (`float-quantized`, `int-quantized`, `naive-quantized`, with a scale a channel or a\n\
            block; `pack-quantized` with a scale a group). `mxfp4` of gpt-oss stays as it is: its experts become ggml's MXFP4\n\
            without a loss.\n";
    out += "\n### Vision towers\n\n\
            What makes tokens of a model's pictures is a GGUF file of its own (`mmproj`), which llama.cpp loads beside the text\n\
            model. `convert --mmproj` writes it, and `mmproj: F16` among the methods of a models.yaml, byte for byte what\n\
            `convert_hf_to_gguf.py --mmproj` writes. The architecture is that of `vision_config` where it names one. LLaVA's own\n\
            tower, a CLIP, the reference's converter does not take. It gives the second norms of Llama 4's layers the name\n\
            `attn_post_norm`, where its llama.cpp looks for `ln2`; so does this program.\n\n\
            | tower | `architectures` in `config.json` |\n|---|---|\n";
    for tower in TOWERS {
        let names: Vec<String> = tower.architectures.iter().map(|a| format!("`{a}`")).collect();
        let _ = writeln!(out, "| {} | {} |", tower.name, names.join(", "));
    }
    out += "\n### LoRA adapters\n\n\
            PEFT's adapters of these families become GGUF adapters, byte for byte what `convert_lora_to_gguf.py` writes:\n\
            [adapters.md](adapters.md).\n";
    out += "\n## Through the fallback\n\n\
            The reference's converter knows these as well; they are not built natively yet. With a `llama_cpp:` toolchain its\n\
            converter is run in their place, which needs Python and room for one more file.\n\n";
    let mut modules: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, module) in arch::fallback() {
        match modules.iter_mut().find(|(m, _)| *m == module) {
            Some((_, names)) => names.push(format!("`{name}`")),
            None => modules.push((module, vec![format!("`{name}`")])),
        }
    }
    modules.sort();
    out += "| module | `architectures` |\n|---|---|\n";
    for (module, names) in modules {
        let _ = writeln!(out, "| {module} | {} |", names.join(", "));
    }
    out += "\n## Not at all\n\n\
            The reference's converter has a class for these, and fails with every checkpoint of theirs; so does\n\
            the fallback, unless its llama.cpp is another one than the reference.\n\n\
            | `architectures` | how |\n|---|---|\n";
    for (name, how) in arch::BROKEN {
        let _ = writeln!(out, "| `{name}` | {how} |");
    }
    out
}

/// Where a family's tokenizer is looked for, in this order.
fn tokenizers(vocabulary: Vocabulary) -> &'static [&'static str] {
    const BPE: &str = "byte-level BPE";
    const TEKKEN: &str = "Mistral's `tekken.json`";
    const RANKS: &str = "tiktoken";
    const PIECES: &str = "SentencePiece";
    const WORDS: &str = "WordPiece";
    const UNIGRAM: &str = "Unigram";
    const LLAMA_2: &str = "`tokenizer.json` of Llama 2";
    match vocabulary {
        Vocabulary::Gpt2
        | Vocabulary::StableLm
        | Vocabulary::Glm4
        | Vocabulary::ChatGlm
        | Vocabulary::NemotronH
        | Vocabulary::Glm => &[BPE],
        Vocabulary::Hunyuan | Vocabulary::DeepSeek2 => &[BPE, RANKS],
        Vocabulary::Qwen | Vocabulary::HunyuanMoe => &[RANKS],
        Vocabulary::Llama => &[TEKKEN, PIECES, LLAMA_2, BPE],
        Vocabulary::Mistral => &[TEKKEN],
        Vocabulary::Jamba => &[PIECES, LLAMA_2],
        Vocabulary::Qwen2 | Vocabulary::Gemma3 | Vocabulary::Gemma3n | Vocabulary::Mamba2 => &[PIECES, BPE],
        Vocabulary::Phi3 | Vocabulary::Mamba => &[BPE, PIECES],
        Vocabulary::Bert => &[WORDS],
        Vocabulary::Roberta | Vocabulary::ModernBert | Vocabulary::EuroBert => &[BPE],
        Vocabulary::JinaBert => &[WORDS, BPE],
        Vocabulary::XlmRoberta => &[UNIGRAM],
        Vocabulary::NomicBert => &[WORDS, UNIGRAM],
        Vocabulary::T5 => &[UNIGRAM, PIECES],
        Vocabulary::SentencePiece
        | Vocabulary::Gemma
        | Vocabulary::Gemma2
        | Vocabulary::Nemotron
        | Vocabulary::InternLm2
        | Vocabulary::InternLm3
        | Vocabulary::Ernie => &[PIECES],
    }
}
