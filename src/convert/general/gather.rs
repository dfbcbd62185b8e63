//! From where each field is taken, the first source that has it winning: the user's override, `generation_config.json`,
//! the card, the name in `config.json`, the folder's name, the parameter counts.
//!
//! Source: `Metadata.load` and `apply_metadata_heuristic` of gguf-py.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::name::{Components, title};
use super::{GeneralError, GeneralSource, Notice, SINGLE};
use crate::base::front_matter::{self, Node};

/// What can be known of a base model or dataset, in the order in which it is written.
pub(super) const RELATED: &[&str] =
    &["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"];

/// Which key of a card fills which field; of several for one field, the first that is there wins.
const CARD: &[(&str, &str)] = &[
    // The converter's own convention.
    ("name", "name"),
    ("author", "author"),
    ("version", "version"),
    ("organization", "organization"),
    ("description", "description"),
    ("finetune", "finetune"),
    ("basename", "basename"),
    ("size_label", "size_label"),
    ("source_url", "url"),
    ("source_doi", "doi"),
    ("source_uuid", "uuid"),
    ("source_repo_url", "repo_url"),
    // The same, named in the Hub's manner.
    ("name", "model_name"),
    ("author", "model_author"),
    ("version", "model_version"),
    ("organization", "model_organization"),
    ("description", "model_description"),
    ("finetune", "model_finetune"),
    ("basename", "model_basename"),
    ("size_label", "model_size_label"),
    ("source_url", "model_url"),
    ("source_doi", "model_doi"),
    ("source_uuid", "model_uuid"),
    ("source_repo_url", "model_repo_url"),
    // What some authors write.
    ("author", "model_creator"),
    ("basename", "model_type"),
    // The Hub's own.
    ("license", "license"),
    ("license_name", "license_name"),
    ("license_link", "license_link"),
];

/// Keys of `generation_config.json`, where they differ from the field's name after `sampling_`.
const SAMPLING_NAMES: &[(&str, &str)] = &[("sampling_temp", "temperature")];

/// Every field by its name; a field that is nothing is not there.
#[derive(Debug, Default)]
pub(super) struct Fields {
    single: BTreeMap<&'static str, Node>,
    pub(super) base_models: Option<Vec<Node>>,
    pub(super) datasets: Option<Vec<Node>>,
    pub(super) tags: Option<Vec<Node>>,
    pub(super) languages: Option<Vec<Node>>,
}

impl Fields {
    pub(super) fn get(&self, field: &str) -> Option<&Node> {
        self.single.get(field)
    }

    /// Replaces a field; nothing (`null`) removes it.
    fn set(&mut self, field: &'static str, node: Node) {
        if node.is_null() {
            self.single.remove(field);
        } else {
            self.single.insert(field, node);
        }
    }

    fn set_if_absent(&mut self, field: &'static str, node: Node) {
        if !self.single.contains_key(field) {
            self.set(field, node);
        }
    }

    /// Fills what is still open from a model's name.
    fn name(&mut self, id: &str, total: i64) {
        let Components { name, organization, basename, finetune, version, size_label } =
            Components::of(id, total);
        self.set_if_absent("name", Node::text(title(&name)));
        let organization = organization.map(|org| title(&org));
        for (field, part) in [
            ("organization", organization),
            ("basename", basename),
            ("finetune", finetune),
            ("version", version),
            ("size_label", size_label),
        ] {
            if let Some(part) = part {
                self.set_if_absent(field, Node::text(part));
            }
        }
    }
}

pub(super) fn gather(source: &GeneralSource<'_>, notices: &mut Vec<Notice>) -> Result<Fields, GeneralError> {
    let total = source.counts.signed();
    let mut fields = Fields::default();
    if let Some(bytes) = source.card {
        match front_matter::parse(bytes) {
            Ok(card) => card_fields(&card, total, &mut fields),
            Err(error) => notices.push(Notice::Card(error)),
        }
    }
    match source.config.get("_name_or_path").map(Node::from_json) {
        None => {}
        Some(node) => match node.as_text() {
            // More than one slash is a path on somebody's disk.
            Some(id) if id.matches('/').count() <= 1 => fields.name(id, total),
            Some(_) => {}
            None if node.is_null() => {}
            None => notices.push(Notice::value("_name_or_path", &node)),
        },
    }
    fields.name(source.folder, total);
    if let Some(bytes) = source.generation_config {
        match serde_json::from_slice(bytes) {
            Ok(json) => sampling(&Node::from_json(&json), &mut fields),
            Err(error) => notices.push(Notice::GenerationConfig(error)),
        }
    }
    if let Some(overrides) = source.overrides {
        override_fields(overrides, &mut fields)?;
    }
    if let Some(name) = source.model_name {
        fields.set("name", Node::text(name));
    }
    if fields.get("name").is_none() {
        fields.set("name", Node::text(source.folder));
    }
    if total > 0 {
        fields.set_if_absent("size_label", Node::text(source.counts.label()));
    }
    Ok(fields)
}

fn card_fields(card: &Node, total: i64, fields: &mut Fields) {
    for (field, key) in CARD {
        if let Some(node) = card.get(key) {
            fields.set_if_absent(field, node.clone());
        }
    }
    fields.base_models = related(card, ["base_model", "base_models", "base_model_sources"], total);
    fields.datasets = related(card, ["datasets", "dataset", "dataset_sources"], total);
    for key in ["tags", "pipeline_tag"] {
        append(&mut fields.tags, card.get(key));
    }
    for key in ["languages", "language"] {
        append(&mut fields.languages, card.get(key));
    }
}

fn append(list: &mut Option<Vec<Node>>, node: Option<&Node>) {
    let Some(node) = node.filter(|node| !node.is_null()) else { return };
    let list = list.get_or_insert_default();
    match node {
        Node::List(items) => list.extend(items.iter().cloned()),
        _ if node.as_text().is_some() => list.push(node.clone()),
        _ => {}
    }
}

/// Base models or datasets: one or a list, each an id, a URL or a mapping.
fn related(card: &Node, keys: [&str; 3], total: i64) -> Option<Vec<Node>> {
    let node = keys.iter().find_map(|key| card.get(key))?;
    let items = match node {
        Node::List(items) => items.as_slice(),
        _ if node.as_text().is_some() => std::slice::from_ref(node),
        _ => &[],
    };
    let entry = |item: &Node| match item {
        Node::Map(_) => item.clone(),
        _ => Node::Map(item.as_text().map(|id| described(id, total)).unwrap_or_default()),
    };
    Some(items.iter().map(entry).collect())
}

/// What an id or URL tells.
fn described(id: &str, total: i64) -> Vec<(Node, Node)> {
    static HUB: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^https?://huggingface.co/([^/]+/[^/]+)$").expect("the pattern is a constant")
    });
    let mut pairs = Vec::new();
    let mut add = |key: &str, text: String| pairs.push((Node::text(key), Node::text(text)));
    let is_url = ["http://", "https://", "ssh://"].iter().any(|scheme| id.starts_with(scheme));
    let id = if is_url {
        add("repo_url", id.to_owned());
        match HUB.captures(id) {
            Some(captures) => captures.get(1).map_or("", |m| m.as_str()),
            None => return pairs,
        }
    } else {
        id
    };
    let Components { name, organization, version, .. } = Components::of(id, total);
    add("name", title(&name));
    if let Some(org) = organization {
        add("organization", title(&org));
        if !is_url {
            add("repo_url", format!("https://huggingface.co/{org}/{name}"));
        }
    }
    if let Some(version) = version {
        add("version", version);
    }
    pairs
}

fn sampling(config: &Node, fields: &mut Fields) {
    for (field, _, _) in SINGLE {
        let Some(plain) = field.strip_prefix("sampling_") else { continue };
        let key = SAMPLING_NAMES.iter().find(|(f, _)| f == field).map_or(plain, |(_, key)| key);
        let node = match config.get(key) {
            None if *field == "sampling_penalty_repeat" => config.get("repetition_penalty"),
            node => node,
        };
        if let Some(node) = node {
            fields.set(field, node.clone());
        }
    }
}

fn override_fields(json: &serde_json::Value, fields: &mut Fields) -> Result<(), GeneralError> {
    let overrides = Node::from_json(json);
    if !matches!(overrides, Node::Map(_)) {
        return Err(GeneralError::NotAnObject);
    }
    for (field, key, _) in SINGLE {
        // The licence itself cannot be overridden in the reference, only its name and link.
        if let Some(node) = overrides.get(&format!("general.{key}")).filter(|_| *field != "license") {
            fields.set(field, node.clone());
        }
    }
    let list = |key: &str, of_maps: bool, into: &mut Option<Vec<Node>>| {
        match overrides.get(key) {
            None => {}
            Some(node) if node.is_null() => *into = None,
            Some(Node::List(items)) if !of_maps || items.iter().all(|i| matches!(i, Node::Map(_))) => {
                *into = Some(items.clone());
            }
            Some(_) => return Err(GeneralError::WrongType(key.to_owned())),
        }
        Ok(())
    };
    list("general.base_models", true, &mut fields.base_models)?;
    list("general.datasets", true, &mut fields.datasets)?;
    list("general.tags", false, &mut fields.tags)?;
    list("general.languages", false, &mut fields.languages)
}
