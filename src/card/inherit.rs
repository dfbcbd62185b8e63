//! What a card says of a model, and from where each part is taken.
//!
//! In: the same fields from several places, the strongest first: command line, model entry, defaults, source card. Out:
//! [`Fields`] that the Hub accepts. The first place that has a field decides it; tags alone add up. The source card is
//! text by anyone: what the Hub would reject is left out, and a [`Notice`] says so.

use thiserror::Error;

use super::licenses::LICENSES;
use crate::base::front_matter::Node;

/// Tags that every output has.
pub const OWN_TAGS: &[&str] = &["gguf", "quantized", "llama.cpp"];
/// Tags of a source that would be false for its quantizations: other file formats.
const FOREIGN_TAGS: &[&str] = &[
    "safetensors",
    "pytorch",
    "tensorflow",
    "tf",
    "jax",
    "onnx",
    "mlx",
    "gptq",
    "awq",
    "exl2",
    "coreml",
    "openvino",
];
/// Longest identifier, tag or name that is taken over.
const MAX_TEXT: usize = 200;
/// Most entries of a list that are taken over.
const MAX_ITEMS: usize = 200;

/// A licence, taken over as a whole: name and link belong to the identifier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct License {
    /// Identifier, one of [`LICENSES`] once resolved.
    pub id: String,
    /// Its name, where the identifier is `other`.
    pub name: Option<String>,
    /// Where its text is: a URL or a file of the repository.
    pub link: Option<String>,
}

/// The fields of a card; `None` is silence, so that the next place is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// The licence.
    pub license: Option<License>,
    /// Language codes.
    pub language: Option<Vec<String>>,
    /// Tags.
    pub tags: Option<Vec<String>>,
    /// Ids of the datasets that the model was trained on.
    pub datasets: Option<Vec<String>>,
    /// What the model does (`text-generation`).
    pub pipeline_tag: Option<String>,
    /// The library that the Hub shows first.
    pub library_name: Option<String>,
    /// Ids of the models that were quantized.
    pub base_model: Option<Vec<String>>,
    /// The gate of the source repository: its `extra_gated_*` keys.
    pub gate: Option<Vec<(String, Node)>>,
}

/// Something in a card that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{field}: {value}` is left out of the card: {why}")]
pub struct Notice {
    /// The field.
    pub field: &'static str,
    /// The value, shortened.
    pub value: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The fields of a source card. `repo` is the repository on the Hub that the card is from: it, and not its own base
/// model, is what is quantized.
pub fn from_card(card: &Node, repo: Option<&str>) -> Fields {
    let one = |key: &str| texts(card.get(key)).and_then(|t| t.into_iter().next());
    // A file of the source is no file of the output.
    let link = || match (one("license_link")?, repo) {
        (link, Some(repo)) if !link.contains("://") => {
            Some(format!("https://huggingface.co/{repo}/blob/main/{}", link.trim_start_matches(['.', '/'])))
        }
        (link, _) => Some(link),
    };
    let license = texts(card.get("license")).map(|ids| match ids.as_slice() {
        [id] => License { id: id.clone(), name: one("license_name"), link: link() },
        // Several licences have no identifier of their own.
        _ => License { id: "other".to_owned(), name: Some(ids.join("-and-")), link: link() },
    });
    let base = ["base_model", "base_models"].iter().find_map(|key| texts(card.get(key)));
    let gate = match card {
        Node::Map(pairs) => {
            let gated = pairs.iter().filter_map(|(key, node)| Some((key.as_text()?, node)));
            let gated = gated.filter(|(key, _)| key.starts_with("extra_gated_") && key.len() < MAX_TEXT);
            gated.map(|(key, node)| (key.to_owned(), node.clone())).collect()
        }
        _ => Vec::new(),
    };
    Fields {
        license,
        language: texts(card.get("language")).or_else(|| texts(card.get("languages"))),
        tags: texts(card.get("tags")),
        datasets: texts(card.get("datasets")).or_else(|| texts(card.get("dataset"))),
        pipeline_tag: one("pipeline_tag"),
        library_name: one("library_name"),
        base_model: repo.map(|repo| vec![repo.to_owned()]).or(base),
        gate: Some(gate).filter(|gate| !gate.is_empty()),
    }
}

/// The texts of a scalar or a list, as they are written: `no` is Norwegian here. `None` if there is none.
fn texts(node: Option<&Node>) -> Option<Vec<String>> {
    let items = match node? {
        Node::List(items) => items.as_slice(),
        node => std::slice::from_ref(node),
    };
    let texts: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            Node::Scalar(text, _) if !item.is_null() && !text.trim().is_empty() => {
                Some(text.trim().to_owned())
            }
            _ => None,
        })
        .take(MAX_ITEMS)
        .collect();
    (!texts.is_empty()).then_some(texts)
}

/// The fields of the new card. `layers` are asked in order; built-in values fill what all are silent about.
pub fn resolve(layers: &[&Fields], methods: &[&str]) -> (Fields, Vec<Notice>) {
    let mut notices = Vec::new();
    let license = first(layers, |f| f.license.as_ref()).map(|license| accepted(license, &mut notices));
    let mut list = |field, items: Option<Vec<String>>, rule: fn(&str) -> Option<String>, why| {
        let mut kept: Vec<String> = Vec::new();
        for item in items.unwrap_or_default() {
            match rule(&item).filter(|item| item.len() <= MAX_TEXT && !item.contains(char::is_control)) {
                Some(item) if kept.contains(&item) => {}
                Some(item) => kept.push(item),
                None => notices.push(Notice { field, value: shortened(&item), why }),
            }
        }
        (!kept.is_empty()).then_some(kept)
    };
    let language =
        list("language", first(layers, |f| f.language.as_ref()), language_code, "no language code");
    let datasets = list("datasets", first(layers, |f| f.datasets.as_ref()), dataset_id, "no id on the Hub");
    let base_model =
        list("base_model", first(layers, |f| f.base_model.as_ref()), repo_id, "no id on the Hub");
    let one = |text: Option<String>| text.map(|text| vec![text]);
    let pipeline =
        list("pipeline_tag", one(first(layers, |f| f.pipeline_tag.as_ref())), slug, "no pipeline of the Hub");
    let library =
        list("library_name", one(first(layers, |f| f.library_name.as_ref())), slug, "no name of a library");
    let inherited = layers.iter().filter_map(|f| f.tags.as_ref()).flatten().cloned();
    let inherited =
        list("tags", Some(inherited.collect()), |tag| Some(tag.trim().to_owned()), "no usable tag");

    let mut tags: Vec<String> = Vec::new();
    let own = OWN_TAGS.iter().chain(methods).map(|tag| (*tag).to_owned());
    let inherited = inherited.into_iter().flatten().filter(|tag| {
        !tag.is_empty() && !FOREIGN_TAGS.iter().any(|foreign| foreign.eq_ignore_ascii_case(tag))
    });
    for tag in own.chain(inherited) {
        if !tags.iter().any(|t| t.eq_ignore_ascii_case(&tag)) {
            tags.push(tag);
        }
    }
    let only = |list: Option<Vec<String>>, default: &str| {
        list.and_then(|l| l.into_iter().next()).or_else(|| Some(default.to_owned()))
    };
    let fields = Fields {
        license,
        language,
        tags: Some(tags),
        datasets,
        pipeline_tag: only(pipeline, "text-generation"),
        library_name: only(library, "gguf"),
        base_model,
        gate: first(layers, |f| f.gate.as_ref()),
    };
    (fields, notices)
}

fn first<T: Clone>(layers: &[&Fields], field: impl Fn(&Fields) -> Option<&T>) -> Option<T> {
    layers.iter().find_map(|layer| field(layer)).cloned()
}

/// A licence under an identifier that the Hub knows; any other becomes `other`, with its text as the name.
fn accepted(license: License, notices: &mut Vec<Notice>) -> License {
    let License { id, name, link } = license;
    let lower = id.trim().to_ascii_lowercase();
    let clean = |text: Option<String>| text.map(|t| shortened(t.trim())).filter(|t| !t.is_empty());
    let (name, link) = (clean(name), clean(link));
    if lower == "other" || LICENSES.contains(&lower.as_str()) {
        return License { id: lower, name, link };
    }
    notices.push(Notice {
        field: "license",
        value: shortened(&id),
        why: "no identifier of the Hub; `other` stands for it, with its name",
    });
    let named = || clean(Some(lower.split_whitespace().collect::<Vec<_>>().join("-")));
    License { id: "other".to_owned(), name: name.or_else(named), link }
}

/// An ISO 639 code, with or without a region or script; or what the Hub takes beside them.
fn language_code(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let code = parts.next()?.to_ascii_lowercase();
    let letters = (2..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase());
    let rest = parts.all(|p| (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    if ["multilingual", "code"].contains(&code.as_str()) && !text.contains('-') {
        return Some(code);
    }
    (letters && rest).then(|| text.replacen(text.split('-').next().unwrap_or(""), &code, 1))
}

/// `owner/name`, from an id or the address of a page on the Hub.
pub(super) fn repo_id(text: &str) -> Option<String> {
    let id = ["https://huggingface.co/", "http://huggingface.co/", "https://hf.co/"]
        .iter()
        .find_map(|host| text.strip_prefix(host))
        .unwrap_or(text)
        .trim_end_matches('/');
    let (owner, name) = id.split_once('/')?;
    (is_id_part(owner) && is_id_part(name)).then(|| id.to_owned())
}

/// `owner/name`, or the bare name that the Hub's oldest datasets have.
fn dataset_id(text: &str) -> Option<String> {
    let id = text.strip_prefix("https://huggingface.co/datasets/").unwrap_or(text);
    if is_id_part(id) { Some(id.to_owned()) } else { repo_id(id) }
}

fn is_id_part(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && part.chars().all(allowed) && !part.starts_with(['.', '-']) && !part.contains("..")
}

/// Lower-case words with hyphens.
fn slug(text: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!lower.is_empty() && lower.chars().all(allowed)).then_some(lower)
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::front_matter;

    fn card(yaml: &str) -> Node {
        front_matter::parse(format!("---\n{yaml}\n---\n").as_bytes()).unwrap()
    }

    fn strings(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn the_strongest_place_that_speaks_decides_and_tags_add_up() {
        let flags = Fields {
            library_name: Some("transformers".into()),
            tags: strings(&["mine"]),
            ..Fields::default()
        };
        let entry = Fields {
            license: Some(License { id: "mit".into(), ..License::default() }),
            datasets: strings(&["nav-educational-corpus"]),
            ..Fields::default()
        };
        let defaults = Fields { tags: strings(&["education", "GGUF"]), ..Fields::default() };
        let source = from_card(
            &card(
                "license: other\nlicense_name: x\nlanguage:\n- no\n- en\ntags: [chat, pytorch, mine]\ndatasets: [a/b]\nbase_model: Grand/Parent\npipeline_tag: text-generation",
            ),
            Some("Qwen/Qwen2.5-0.5B"),
        );
        let (fields, notices) = resolve(&[&flags, &entry, &defaults, &source], &["Q4_K_M"]);
        assert_eq!(notices, []);
        assert_eq!(fields.license, Some(License { id: "mit".into(), name: None, link: None }));
        assert_eq!(fields.language, strings(&["no", "en"]));
        assert_eq!(
            fields.tags,
            strings(&["gguf", "quantized", "llama.cpp", "Q4_K_M", "mine", "education", "chat"])
        );
        assert_eq!(fields.datasets, strings(&["nav-educational-corpus"]));
        assert_eq!(fields.library_name.as_deref(), Some("transformers"));
        assert_eq!(fields.base_model, strings(&["Qwen/Qwen2.5-0.5B"]));
    }

    #[test]
    fn silence_gives_the_built_in_values() {
        let (fields, _) = resolve(&[&Fields::default()], &[]);
        assert_eq!(fields.tags, strings(OWN_TAGS));
        assert_eq!(fields.pipeline_tag.as_deref(), Some("text-generation"));
        assert_eq!(fields.library_name.as_deref(), Some("gguf"));
        assert_eq!((fields.license, fields.language, fields.base_model), (None, None, None));
    }

    #[test]
    fn what_the_hub_would_reject_is_left_out() {
        let source = from_card(
            &card(
                "license: tongyi-qianwen\nlanguage: [English, nb-NO, EN, code, zh-Hans]\ndatasets: ['../x', squad, 'https://huggingface.co/datasets/a/b', '/etc/x']\nbase_model: [/home/me/model, https://huggingface.co/a/b]\npipeline_tag: 'x y'",
            ),
            None,
        );
        let (fields, notices) = resolve(&[&source], &[]);
        let license = fields.license.unwrap();
        assert_eq!((license.id.as_str(), license.name.as_deref()), ("other", Some("tongyi-qianwen")));
        assert_eq!(fields.language, strings(&["nb-NO", "en", "code", "zh-Hans"]));
        assert_eq!(fields.datasets, strings(&["squad", "a/b"]));
        assert_eq!(fields.base_model, strings(&["a/b"]));
        assert_eq!(fields.pipeline_tag.as_deref(), Some("text-generation"));
        let left_out: Vec<&str> = notices.iter().map(|n| n.field).collect();
        assert_eq!(left_out, ["license", "language", "datasets", "datasets", "base_model", "pipeline_tag"]);
    }

    #[test]
    fn a_bare_no_is_norwegian_and_several_licences_are_named() {
        let fields = from_card(
            &card("language: no\nlicense: [mit, apache-2.0]\nextra_gated_prompt: |-\n  Read\n  this"),
            None,
        );
        assert_eq!(fields.language, strings(&["no"]));
        assert_eq!(fields.license.unwrap().name.as_deref(), Some("mit-and-apache-2.0"));
        assert_eq!(fields.gate, Some(vec![("extra_gated_prompt".into(), Node::text("Read\nthis"))]));
    }
}
