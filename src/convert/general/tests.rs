use serde_json::{Value as Json, json};

use super::*;

/// What the reference gave; made by `scripts/record-general`.
const RECORDED: &str = include_str!("../../../tests/parity/general.jsonl");

fn plain(value: &Value) -> Json {
    match value {
        Value::String(s) => json!(s),
        Value::F32(x) => json!({"f32": f64::from(*x)}),
        Value::I32(n) => json!({"i32": n}),
        Value::U32(n) => json!({"u32": n}),
        Value::Array(Array::String(items)) => {
            json!(items.iter().map(|s| String::from_utf8(s.to_vec()).unwrap()).collect::<Vec<_>>())
        }
        Value::Array(Array::I32(items)) => json!({"i32": items}),
        Value::Array(Array::F32(items)) => {
            json!({"f32": items.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()})
        }
        Value::Array(Array::Bool(items)) => json!({"bool": items}),
        _ => panic!("{value:?} is of no type that the reference writes here"),
    }
}

/// `None` if it agrees with the reference.
fn disagreement(case: &Json) -> Option<String> {
    let text = |key: &str| case.get(key).map(|v| v.as_str().unwrap());
    let count = |i: usize| case["counts"].get(i).map_or(0, |n| n.as_u64().unwrap());
    let source = GeneralSource {
        folder: case["folder"].as_str().unwrap(),
        card: text("card").map(str::as_bytes),
        config: case.get("config").unwrap_or(&Json::Null),
        generation_config: text("generation_config").map(str::as_bytes),
        counts: Counts {
            total: count(0),
            shared: count(1),
            expert: count(2),
            expert_count: count(3),
            adapter: case.get("adapter").is_some(),
        },
        model_name: text("model_name"),
        overrides: case.get("overrides"),
    };
    let mut metadata = Metadata::new();
    let written = write(&source, &mut metadata);
    let pairs: serde_json::Map<_, _> = metadata.iter().map(|(k, v)| (k.to_owned(), plain(v))).collect();
    let ours = match &written {
        Err(error) => format!("{error}"),
        Ok(written) => {
            format!("{} {} {:?}", written.file_name("bf16"), json!(pairs), written.notices)
        }
    };
    let agrees = match (&written, case.get("pairs")) {
        // Where the reference ends with an exception, ours is silent about nothing.
        (Err(_), None) => true,
        (Ok(written), None) => !written.notices.is_empty(),
        (Ok(written), Some(theirs)) => {
            case.get("file").is_none_or(|file| *file == json!(written.file_name("bf16")))
                && *theirs == Json::from(pairs)
                && written.notices.iter().all(|n| {
                    matches!(n, Notice::GenerationConfig(_) | Notice::Card(FrontMatterError::NotAMapping))
                })
        }
        (Err(_), Some(_)) => false,
    };
    (!agrees).then(|| format!("{case}\n  ours: {ours}"))
}

#[test]
fn names_and_cards_give_what_the_reference_gave() {
    let mut lines = RECORDED.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    let header = lines.next().unwrap();
    assert!(header["reference"].as_str().unwrap().contains("llama.cpp"), "{header}");
    let mut cases = 0;
    let wrong: Vec<String> = lines.inspect(|_| cases += 1).filter_map(|case| disagreement(&case)).collect();
    assert!(cases > 500, "only {cases} cases were recorded");
    assert!(wrong.is_empty(), "{} of {cases} disagree:\n{}", wrong.len(), wrong.join("\n"));
}
