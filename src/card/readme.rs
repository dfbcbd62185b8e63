//! `README.md`: the model card, with front matter that the Hub accepts.

use std::fmt::Write as _;

use super::inherit::{Fields, repo_id};
use super::metadata::{Made, Output, QuantizationMetadata};
use super::{imatrix, quality, text, yaml};
use crate::base::front_matter::Node;
use crate::base::units;
use crate::config::TOWER;
use crate::quantize::Method;

/// Name of the card's file.
pub const FILE_NAME: &str = "README.md";

/// The notice that stands in every card, unless `card.description` names another file.
pub const DEFAULT_DESCRIPTION: &str = include_str!("../../default_description.md");

/// What a card is made from.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// Title: the name that the outputs share.
    pub title: &'a str,
    /// Where the files are or will be published; without it the card tells how to run the local files.
    pub repo: Option<&'a str>,
    /// The fields, [resolved](super::inherit::resolve).
    pub fields: &'a Fields,
    /// Who made the quantizations: an account on the Hub.
    pub quantized_by: Option<&'a str>,
    /// The notice, in Markdown. It is the user's own text and stands as it is.
    pub description: &'a str,
    /// Names of the source's licence files, which stand beside the card.
    pub licences: &'a [String],
    /// The outputs and how they were made.
    pub metadata: &'a QuantizationMetadata,
}

/// The notice of a card that [`Card::render`] made; the user's own text, unless that was changed by hand since.
pub fn notice_of(card: &str) -> Option<&str> {
    let (_, after) = card.split_once("\nGGUF quantizations of ")?;
    let (_, after) = after.split_once("\n\n")?;
    Some(after.rsplit_once(FILES)?.0.trim())
}

/// A card that [`Card::render`] made, with what it says of the files and of their quality as the metadata has it now.
/// `None` where the card was changed by hand so that this cannot be found.
pub fn refreshed(card: &str, metadata: &QuantizationMetadata) -> Option<String> {
    let (before, rest) = card.rsplit_once(FILES)?;
    let (_, after) = rest.split_once(USAGE)?;
    let fields = Fields::default();
    let new = Card {
        title: "",
        repo: None,
        fields: &fields,
        quantized_by: None,
        description: "",
        licences: &[],
        metadata,
    };
    let mut sections = vec![new.files(), quality::section(metadata)];
    sections.retain(|section| !section.is_empty());
    Some(format!("{before}\n{}{USAGE}{after}", sections.join("\n")))
}

/// Where the list of files begins.
const FILES: &str = "\n## Files\n\n| File | Method |";

/// Where it is told how to run them.
const USAGE: &str = "\n## How to run it\n";

/// The beginning of a card, which says what the Hub shows beside it: all of a card that is known before anything is made.
pub fn front_matter(fields: &Fields, quantized_by: Option<&str>, licences: &[String]) -> String {
    let list = |items: &[String]| Node::List(items.iter().map(Node::text).collect());
    let one_or_list = |items: &[String]| match items {
        [one] => Node::text(one),
        _ => list(items),
    };
    let some = |text: &Option<String>| text.as_deref().map(Node::text);
    let license = fields.license.as_ref();
    let link = license.and_then(|l| {
        // An identifier says where its text is; `other` does not.
        let beside = || licences.first().filter(|_| l.id == "other");
        l.link.as_ref().or_else(beside).map(Node::text)
    });
    let base = fields.base_model.as_deref();
    let pairs = [
        ("base_model", base.map(one_or_list)),
        ("base_model_relation", base.map(|_| Node::text("quantized"))),
        ("license", license.map(|l| Node::text(&l.id))),
        ("license_name", license.and_then(|l| some(&l.name))),
        ("license_link", link),
        ("language", fields.language.as_deref().map(list)),
        ("pipeline_tag", some(&fields.pipeline_tag)),
        ("library_name", some(&fields.library_name)),
        ("tags", fields.tags.as_deref().map(list)),
        ("datasets", fields.datasets.as_deref().map(list)),
        ("quantized_by", quantized_by.map(Node::text)),
    ];
    let mut out = String::from("---\n");
    for (key, node) in &pairs {
        if let Some(node) = node {
            yaml::pair(&mut out, 0, key, node);
        }
    }
    for (key, node) in fields.gate.iter().flatten() {
        yaml::pair(&mut out, 0, key, node);
    }
    out.push_str("---\n");
    out
}

impl Card<'_> {
    /// The text of the card.
    pub fn render(&self) -> String {
        let mut out = front_matter(self.fields, self.quantized_by, self.licences);
        let quality = quality::section(self.metadata);
        let mut sections =
            vec![self.head(), self.files(), quality, self.usage(), self.license(), self.provenance()];
        sections.retain(|section| !section.is_empty());
        out.push('\n');
        out.push_str(&sections.join("\n"));
        out
    }

    /// The outputs, the smallest first.
    fn by_size(&self) -> Vec<&Output> {
        let mut outputs: Vec<&Output> = self.metadata.outputs.iter().collect();
        outputs.sort_by(|a, b| (a.size, &a.file).cmp(&(b.size, &b.file)));
        outputs
    }

    /// The outputs of the text model, the smallest first: no vision towers.
    fn models(&self) -> Vec<&Output> {
        let mut outputs = self.by_size();
        outputs.retain(|o| !o.recipe.method.starts_with(TOWER));
        outputs
    }

    /// The file that the examples name: Q4_K_M, or else the smallest with four bits, or else the largest.
    fn example(&self) -> Option<&Output> {
        let outputs = self.models();
        let usual = outputs.iter().find(|o| o.recipe.method == "Q4_K_M");
        usual.or_else(|| outputs.iter().find(|o| o.bits_per_weight >= 4.0)).or(outputs.last()).copied()
    }

    fn repo(&self) -> Option<String> {
        self.repo.and_then(repo_id)
    }

    /// The source as a link, where it is on the Hub.
    fn source(&self) -> String {
        let source = &self.metadata.source;
        match source.repo.as_deref().and_then(repo_id) {
            Some(repo) => format!("[{}](https://huggingface.co/{repo})", text::plain(&repo)),
            None => format!("`{}`", text::code(&source.name)),
        }
    }

    fn head(&self) -> String {
        let m = self.metadata;
        format!(
            "# {title}\n\nGGUF quantizations of {source} ({architecture}, {parameters} parameters), made with {program}.\n\n{notice}\n",
            title = text::plain(self.title),
            source = self.source(),
            architecture = text::plain(&m.source.architecture),
            parameters = units::count(m.source.parameters),
            program = text::plain(&m.program.name),
            notice = self.description.replace("\r\n", "\n").trim(),
        )
    }

    fn files(&self) -> String {
        let mut out = String::from(
            "## Files\n\n| File | Method | Bits per weight | Size | Quality | Good for |\n| --- | --- | ---: | ---: | --- | --- |\n",
        );
        for o in self.by_size() {
            let method = Method::of_output(&o.recipe.method).ok();
            let mut words = method.map_or("", |m| m.quality).to_owned();
            let measured = o.evaluation.as_ref().map(quality::cell);
            let snr = || o.quality.and_then(|q| q.snr_db).map(|snr| format!("SNR {snr:.1} dB"));
            if let Some(measured) = measured.or_else(snr) {
                let comma = if words.is_empty() { "" } else { ", " };
                write!(words, "{comma}{measured}").expect("writing to a string");
            }
            let link = link(&o.file);
            let more = o.parts.len().saturating_sub(1);
            let cells = [
                if more > 0 { format!("{link} and {more} more") } else { link },
                text::plain(&o.recipe.method),
                format!("{:.2}", o.bits_per_weight),
                units::decimal(o.size),
                text::plain(&words),
                text::plain(method.map_or("", |m| m.good_for)),
            ];
            writeln!(out, "| {} |", cells.join(" | ")).expect("writing to a string");
        }
        let told_by_snr =
            |o: &Output| o.evaluation.is_none() && o.quality.is_some_and(|q| q.snr_db.is_some());
        if self.metadata.outputs.iter().any(told_by_snr) {
            out.push_str(
                "\nSNR is the weights' signal to noise against the source: 6 dB more halve the error.\n",
            );
        }
        if self.metadata.outputs.iter().any(|o| o.parts.len() > 1) {
            out.push_str(
                "\nOf a model in several files, all must be in one folder; programs open the first.\n",
            );
        }
        if self.models().len() < self.metadata.outputs.len() {
            out.push_str(
                "\nThe files that begin with `mmproj` are the model's vision tower: a program that is to see pictures takes one of them along.\n",
            );
        }
        if let Some(o) = self.example().filter(|_| self.models().len() > 1) {
            let line = format!("\nIf in doubt, take `{}`.\n", text::code(&o.recipe.method));
            out.push_str(&line);
        }
        out
    }

    fn usage(&self) -> String {
        let tower = self.by_size().into_iter().rfind(|o| o.recipe.method.starts_with(TOWER));
        let Some(example) = self.example() else {
            // A tower by itself.
            let Some(tower) = tower.map(|o| text::shell(&o.file)) else { return String::new() };
            return format!(
                "{}\nllama.cpp, beside the model:\n\n```sh\nllama-server -m model.gguf --mmproj {tower}\n```\n",
                USAGE.trim_start()
            );
        };
        let file = text::code(&example.file);
        let word = text::shell(&example.file);
        let blocks: [(&str, &str, String); 5] = match self.repo() {
            Some(repo) => {
                let tagged = text::shell(&format!("{repo}:{}", example.recipe.method));
                [
                    (
                        "llama.cpp",
                        "sh",
                        format!(
                            "llama-cli -hf {tagged}\nllama-server -hf {tagged}   # a web page and an API on port 8080"
                        ),
                    ),
                    ("Ollama", "sh", format!("ollama run hf.co/{tagged}")),
                    (
                        "LM Studio",
                        "sh",
                        format!("lms get https://huggingface.co/{repo}   # or search for {repo} in the app"),
                    ),
                    (
                        "llama-cpp-python",
                        "python",
                        format!(
                            "from llama_cpp import Llama\n\nllm = Llama.from_pretrained(repo_id={repo:?}, filename={file:?})\nprint(llm(\"Hello\", max_tokens=32)[\"choices\"][0][\"text\"])"
                        ),
                    ),
                    (
                        "transformers (makes full-size weights of it again)",
                        "python",
                        transformers(&repo, &file),
                    ),
                ]
            }
            None => {
                let name = text::shell(file.trim_end_matches(".gguf"));
                [
                    (
                        "llama.cpp",
                        "sh",
                        format!(
                            "llama-cli -m {word}\nllama-server -m {word}   # a web page and an API on port 8080"
                        ),
                    ),
                    (
                        "Ollama",
                        "sh",
                        format!(
                            "echo FROM ./{word} > Modelfile\nollama create {name} -f Modelfile\nollama run {name}"
                        ),
                    ),
                    ("LM Studio", "sh", format!("lms import {word}")),
                    (
                        "llama-cpp-python",
                        "python",
                        format!(
                            "from llama_cpp import Llama\n\nllm = Llama(model_path={file:?})\nprint(llm(\"Hello\", max_tokens=32)[\"choices\"][0][\"text\"])"
                        ),
                    ),
                    (
                        "transformers (makes full-size weights of it again)",
                        "python",
                        transformers(".", &file),
                    ),
                ]
            }
        };
        let mut out = USAGE.trim_start().to_owned();
        if let Some(tower) = tower {
            let file = text::code(&tower.file);
            writeln!(out, "\nFor pictures, llama.cpp takes `{file}` along by itself with `-hf`, and with `--mmproj {file}` beside a local file.")
                .expect("writing to a string");
        }
        for (program, language, lines) in blocks {
            write!(out, "\n{program}:\n\n```{language}\n{lines}\n```\n").expect("writing to a string");
        }
        out
    }

    fn license(&self) -> String {
        let terms = match &self.fields.license {
            None => "The source's card states no licence. Ask its authors before you share these files."
                .to_owned(),
            Some(license) => {
                let name = text::plain(license.name.as_deref().unwrap_or(&license.id));
                let link = license.link.as_deref().filter(|link| is_web(link));
                let name = link.map_or_else(|| format!("**{name}**"), |link| format!("[{name}]({link})"));
                format!("The licence of the source model applies: {name}.")
            }
        };
        let beside: Vec<String> = self.licences.iter().map(|file| link(file)).collect();
        let beside = match beside.len() {
            0 => String::new(),
            _ => format!(" Its terms are in {}.", beside.join(", ")),
        };
        format!(
            "## Licence and attribution\n\n{terms}{beside} The model is the work of the authors of {}; these files change only how its weights are stored.\n",
            self.source()
        )
    }

    /// What is the same for all outputs, or what is not, with the methods that each is of.
    fn each(&self, value: impl Fn(Made<'_>) -> Option<String>) -> Option<String> {
        let mut values: Vec<(String, Vec<String>)> = Vec::new();
        for output in self.by_size() {
            let Some(value) = value(self.metadata.made(output)) else { continue };
            let method = text::plain(&output.recipe.method);
            match values.iter_mut().find(|(v, _)| *v == value) {
                Some((_, methods)) => methods.push(method),
                None => values.push((value, vec![method])),
            }
        }
        match values.as_slice() {
            [] => None,
            [(value, _)] => Some(value.clone()),
            several => {
                let named = several.iter().map(|(value, of)| format!("{value} ({})", of.join(", ")));
                Some(named.collect::<Vec<_>>().join("; "))
            }
        }
    }

    fn provenance(&self) -> String {
        let m = self.metadata;
        let mut rows = vec![("Source", self.source())];
        let revision = self.each(|made| made.source.commit.as_ref().map(|c| format!("`{}`", text::code(c))));
        rows.extend(revision.map(|revision| ("Revision", revision)));
        let program =
            self.each(|made| Some(text::plain(&format!("{} {}", made.program.name, made.program.version))));
        rows.extend(program.map(|program| ("Made by", program)));
        if let Some(reference) = self.each(|made| Some(text::plain(made.reference))) {
            let line = format!("{reference}: the files are byte for byte what its tools write");
            rows.push(("Reference", line));
        }
        let converters = m.outputs.iter().filter_map(|o| o.recipe.converter.as_deref());
        let converters = text::once(converters.map(text::plain));
        if !converters.is_empty() {
            let line = format!("by {}, whose own converter knows this family", converters.join("; "));
            rows.push(("Converted", line));
        }
        let matrices = text::once(m.outputs.iter().filter_map(imatrix::line));
        let matrices = if matrices.is_empty() { "none".to_owned() } else { matrices.join("; ") };
        rows.push(("Importance matrix", matrices));
        let day = |made: Made<'_>| made.run.finished.split('T').next().map(text::plain);
        rows.extend(self.each(day).map(|date| ("Date", date)));
        let mut out = String::from("## Provenance\n\n| | |\n| --- | --- |\n");
        for (name, value) in rows {
            writeln!(out, "| {name} | {value} |").expect("writing to a string");
        }
        out.push_str("\n| File | SHA-256 |\n| --- | --- |\n");
        for o in self.by_size() {
            let parts = o.parts.iter().map(|p| (&p.file, &p.sha256));
            for (file, sha256) in o.sha256.iter().map(|sha256| (&o.file, sha256)).chain(parts) {
                writeln!(out, "| `{}` | `{}` |", text::code(file), text::code(sha256))
                    .expect("writing to a string");
            }
        }
        for part in text::once(self.by_size().into_iter().filter_map(Output::computed_imatrix)) {
            writeln!(out, "| `{}` | `{}` |", text::code(&part.file), text::code(&part.sha256))
                .expect("writing to a string");
        }
        out.push_str("\n`quantization_metadata.json` says the same for machines.\n");
        out
    }
}

fn transformers(from: &str, file: &str) -> String {
    format!(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\ntokenizer = AutoTokenizer.from_pretrained({from:?}, gguf_file={file:?})\nmodel = AutoModelForCausalLM.from_pretrained({from:?}, gguf_file={file:?})"
    )
}

/// A file beside the card, as a link where that is safe.
fn link(file: &str) -> String {
    let file = text::code(file);
    if is_path(&file) { format!("[`{file}`](./{file})") } else { format!("`{file}`") }
}

/// A file name that is safe as the target of a link.
fn is_path(file: &str) -> bool {
    file.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

/// An address that is safe as the target of a link.
fn is_web(link: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~:/?#@!$&+,;=%".contains(c);
    (link.starts_with("https://") || link.starts_with("http://")) && link.chars().all(plain)
}
