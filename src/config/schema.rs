//! The JSON Schema of models.yaml, and the file that `init` writes.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw::RawConfig;
use super::vocabulary::Vocabulary;

/// The JSON Schema of models.yaml (draft 7, which editors know best), as text that ends with a line break.
pub fn schema(vocabulary: &Vocabulary<'_>) -> String {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<RawConfig>());
    let methods: Vec<&str> = vocabulary.methods.iter().map(|method| method.name).collect();
    let towers: Vec<&str> = vocabulary.towers().collect();
    tidy(&mut schema, &[("x-methods", &methods), ("x-towers", &towers)]);
    schema["title"] = json!("models.yaml");
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is a tree of plain values");
    text.push('\n');
    // The types' own names would be noise to a reader of the schema.
    text.replace("\"Raw", "\"").replace("/Raw", "/")
}

/// Takes out what our reader does not have (a key that is there has a value) and puts in the names of the vocabulary.
fn tidy(schema: &mut Value, lists: &[(&str, &[&str])]) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| tidy(item, lists)),
        Value::Object(map) => {
            for (mark, names) in lists {
                if map.remove(*mark).is_some() {
                    map.insert("enum".to_owned(), json!(names));
                }
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|ty| ty != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice != &json!({ "type": "null" }));
                if let [only] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    if let Value::Object(only) = only {
                        for (key, value) in only {
                            map.entry(key).or_insert(value);
                        }
                    }
                }
            }
            // Draft 7 ignores what stands beside a reference, descriptions included.
            if map.len() > 1
                && let Some(reference) = map.remove("$ref")
            {
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
            map.values_mut().for_each(|value| tidy(value, lists));
        }
        _ => {}
    }
}

/// A first models.yaml, with comments. `schema` is the path or address of the schema, for editors.
pub fn starter(schema: &str) -> String {
    format!("# yaml-language-server: $schema={schema}\n{STARTER}")
}

const STARTER: &str = "\
# Which models to quantize, how, and where they go. `jamph-quantizer validate` checks this file, `plan` says what
# would be done, `run` does it.
version: 1

# What holds for every model that does not say otherwise.
defaults:
  # One output file each. `Q4_K_M` is the usual choice; `Q8_0` is close to the original.
  methods: [Q4_K_M, Q5_K_M, Q8_0]
  # Files are called {prefix}{model}-{method}.gguf.
  # prefix: my-
  # Each model goes to {owner}/{prefix}{model} on the Hub; without this the outputs stay on this machine.
  # publish: { owner: my-org }
  # card:
  #   tags: [education]

models:
  # owner/name on the Hub, or ./folder beside this file.
  - source: Qwen/Qwen2.5-0.5B

  # - source: Qwen/Qwen2.5-3B
  #   revision: main
  #   methods: [Q4_K_M]
  #   # A model that sees needs its vision tower as well: methods: [Q4_K_M, mmproj: F16]
  #   tensor_types:
  #     - { match: attn_v, type: Q8_0 }
  #   metadata:
  #     license: apache-2.0

# Files not to make, though a list of methods names them.
# exclude:
#   - { source: Qwen/Qwen2.5-0.5B, method: Q8_0 }
";
