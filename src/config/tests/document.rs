//! Files that are wrong as a whole: no YAML, another structure, too much of it; and how all of that is shown.

use std::path::Path;

use super::*;

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let problems = read(
        "version: 2
defaults:
  metods: [Q4_K_M]
  prefix: ../up-
models:
  - source: Qwen/Qwen2.5-0.5B
    methods: [Q4KM, Q8_0]
    split: { max_size: 45 }
  - source: Qwen/Qwen2.5-0.5B
    methods: Q8_0
",
    )
    .unwrap_err();
    insta::assert_snapshot!(problems.render(), @r"
    models.yaml:1:10: version 2 of the format is not known
      |
    1 | version: 2
      |          ^
    hint: this program reads `version: 1`

    models.yaml:3:3: unknown key `metods`
      |
    3 |   metods: [Q4_K_M]
      |   ^^^^^^
    hint: did you mean `methods`?

    models.yaml:4:11: the prefix `../up-` cannot be part of a file name: it holds a path separator
      |
    4 |   prefix: ../up-
      |           ^^^^^^

    models.yaml:7:15: unknown method `Q4KM`
      |
    7 |     methods: [Q4KM, Q8_0]
      |               ^^^^
    hint: did you mean `Q4_K_M`?

    models.yaml:8:24: `max_size` must be text, not a whole number
      |
    8 |     split: { max_size: 45 }
      |                        ^^
    hint: write it with its unit, such as `45GB`

    models.yaml:10:14: `methods` must be a list, not text
       |
    10 |     methods: Q8_0
       |              ^^^^
    hint: write `[Q8_0]`
    ");
}

#[test]
fn structure() {
    check("", &["1:1: the file is empty; `jamph-quantizer init` writes a first one"]);
    check("# only a comment\n", &["1:1: the file is empty; `jamph-quantizer init` writes a first one"]);
    check("- a\n", &["1:1: the document must be a mapping, not a list"]);
    check("just text\n", &["1:1: the document must be a mapping, not text"]);
    check(
        "defaults: {}\n",
        &[
            "1:1: `version` is missing; add `version: 1`",
            "1:1: `models` is missing; add `models: [{ source: owner/name }]`",
        ],
    );
    check("version: 1\nmodels:\n", &["2:7: `models` has no value; write a list, or leave the key out"]);
    check(
        "version: 1\nmodels: []\n",
        &["2:9: `models` is an empty list; name at least one, or leave the key out"],
    );
    check(
        "version: '1'\nmodels: [{source: a/b, methods: [Q8_0]}]\n",
        &["1:10: `version` must be a whole number, not text"],
    );
    check(
        "version: 1\nmodels:\n  - Qwen/Qwen2.5-0.5B\n",
        &["3:5: an item of `models` must be a mapping, not text"],
    );
    check(
        "version: 1\nmodels:\n  - methods: [Q8_0]\n",
        &["3:5: `source` is missing; add `source: owner/name`"],
    );
    check(
        "version: 1\nmodels:\n  - source: a/b\n",
        &["3:5: a model has no methods; add `methods: [Q4_K_M]` to it or to `defaults`"],
    );
    check(
        "version: 1\nversion: 1\nmodels: [{source: a/b, methods: [Q8_0]}]\n",
        &["2:1: `version` is given twice; it stands on line 1 already"],
    );
    check(
        "version: 1\n1: x\n? [a]\n: b\nmodels: [{source: a/b, methods: [Q8_0]}]\n",
        &["2:1: a key must be text, not a whole number", "3:3: a key must be text, not a list"],
    );
    check(
        "version: 1\nmodel: []\nmodels: [{source: a/b, methods: [Q8_0], banana: 1}]\n",
        &[
            "2:1: unknown key `model`; did you mean `models`?",
            "3:41: unknown key `banana`; the keys here are `source`, `revision`, `name`, `methods`, `prefix`, \
             `convert`, `quantize`, `tensor_types`, `imatrix`, `evaluate`, `check`, `split`, `publish`, `card`, `metadata`",
        ],
    );
}

#[test]
fn yaml_that_is_none() {
    check(
        "version: 1\nmodels:\n\t- source: a/b\n",
        &["3:2: tabs disallowed within this context (block indentation); indent with spaces"],
    );
    check("version: 1\nmodels: [\n", &["2:9: unclosed bracket '['"]);
    check("version: *nope\n", &["1:10: alias references unknown anchor"]);
    check(
        "version: 1\n---\nversion: 1\n",
        &["2:1: a second document begins here; keep one document in the file: remove the `---`"],
    );
    check(
        "version: !exec rm\n",
        &["1:16: unsupported tag `!exec`; leave the tag out; strings may be put in quotes"],
    );
    check("version: \u{1b}[31m\n", &["1:10: unexpected character: `\\u{1b}'"]);
    check("models: &m [*m]\n", &["1:13: an alias refers to the value that it is part of"]);
    let problems = parse(b"version: 1\nx: \xff\n", "m.yaml", Path::new(""), &VOCABULARY, &Around::default());
    assert_eq!(said(&problems.unwrap_err()), ["2:4: the file is not UTF-8; save it as UTF-8"]);
}

#[test]
fn hostile_sizes() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ["ba", "cb", "dc", "ed", "fe", "gf", "hg"].map(|pair| pair.split_at(1)) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","));
    }
    let beyond = |yaml: &str| {
        let problems = read(yaml).unwrap_err();
        assert_eq!(problems.list.len(), 1, "{}", problems.render());
        problems.list[0].text.clone()
    };
    assert_eq!(beyond(&bomb), "the document is too large, or its aliases multiply it beyond reason");
    assert_eq!(beyond(&"[".repeat(10_000)), "the document is nested too deeply");
    assert_eq!(
        beyond(&"- ".repeat(10_000)),
        "the document is too large, or its aliases multiply it beyond reason"
    );
    assert_eq!(
        beyond(&format!("a: [{}]\n", "x,".repeat(100_000))),
        "the document is too large, or its aliases multiply it beyond reason"
    );
    assert_eq!(beyond(&"#".repeat(2 << 20)), "the file has 2097152 bytes; at most 1048576 are read");
    // Thousands of problems are said in a page.
    let many: String = (0..4000).map(|i| format!("k{i}: 1\n")).collect();
    let text = read(&many).unwrap_err().render();
    assert!(text.ends_with("and 3952 more\n") && text.len() < 30_000, "{} {text}", text.len());
}

#[test]
fn aliases_and_merge_keys_work_and_are_pointed_at() {
    let config =
        good("version: 1\nmodels:\n  - &m { source: a/b, methods: [Q8_0] }\n  - { <<: *m, name: c }\n");
    assert_eq!(config.models[1].stem("Q8_0"), "c-q8_0");
    check(
        "version: 1\nmodels:\n  - { source: a/b, methods: [&x banana] }\n  - { source: a/c, methods: [*x] }\n",
        &[
            "3:33: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`, `mmproj-F16`, `mmproj-Q8_0`",
            "4:30: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`, `mmproj-F16`, `mmproj-Q8_0`",
        ],
    );
}

#[test]
fn any_text_is_read_or_refused_without_a_panic() {
    use proptest::prelude::*;
    let fragments = [
        "version: 1\n",
        "models:\n",
        "  - source: a/b\n",
        "    methods: [Q8_0]\n",
        "exclude: ",
        "&a ",
        "*a",
        "<<: ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        "'",
        "\"",
        "|",
        "~",
        "é",
        "\u{feff}",
        "\r",
        "#",
        "!",
        "%",
        "---\n",
        "defaults: ",
        "override_kv: ",
        "split: {max_size: 1GB}\n",
        "0x1",
        "1e999",
        "\0",
    ];
    let texts = proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..40);
    proptest!(ProptestConfig::with_cases(2000), |(texts in texts)| {
        if let Err(problems) = read(&texts.concat()) {
            prop_assert!(!problems.list.is_empty());
            prop_assert!(!problems.render().is_empty());
        }
    });
}
