//! What is read from a models.yaml, and what is said about wrong ones.

use std::path::Path;

use super::*;

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    methods: &[
        MethodName { name: "Q4_K_M", aliases: &["Q4_K"] },
        MethodName { name: "Q5_K_M", aliases: &["Q5_K"] },
        MethodName { name: "Q8_0", aliases: &[] },
        MethodName { name: "IQ4_XS", aliases: &[] },
    ],
};

fn read(yaml: &str) -> Result<Config, Problems> {
    parse(yaml.as_bytes(), "models.yaml", Path::new("/base"), &VOCABULARY, &Around::default())
}

fn good(yaml: &str) -> Config {
    read(yaml).unwrap_or_else(|problems| panic!("{}", problems.render()))
}

/// Each problem as `line:column: text`, with `; hint` where there is one.
fn said(problems: &Problems) -> Vec<String> {
    let one = |p: &Problem| {
        let hint = p.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
        format!("{}:{}: {}{hint}", p.place.line, p.place.column, p.text)
    };
    problems.list.iter().map(one).collect()
}

/// Checks what is wrong with a whole file.
#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    let problems = read(yaml).expect_err(yaml);
    assert_eq!(said(&problems), expected, "\n{yaml}\n{}", problems.render());
}

/// Checks what is wrong with settings; they begin on line 2, indented by two.
#[track_caller]
fn check_defaults(settings: &str, expected: &[&str]) {
    let indented: String = settings.lines().map(|line| format!("  {line}\n")).collect();
    check(
        &format!("defaults:\n{indented}version: 1\nmodels: [{{ source: a/b, methods: [Q8_0] }}]\n"),
        expected,
    );
}

const SPEC: &str = "\
version: 1
llama_cpp: { tag: b11429 }
defaults:
  methods: [Q4_K_M, Q5_K_M, Q8_0]
  prefix: jamph-
  publish: { owner: my-org, private: false }
  card: { description: default_description.md, tags: [education, norwegian] }
models:
  - source: Qwen/Qwen2.5-0.5B
  - source: Qwen/Qwen2.5-3B
    revision: main
    methods: [Q4_K_M, IQ4_XS, Q8_0]
    imatrix: { dataset: calibration.txt, chunks: 128 }
    tensor_types: [{ match: 'attn_v', type: Q8_0 }]
    split: { max_size: 45GB }
    publish: { repo: other-org/jamph-qwen2.5-3b }
    metadata: { license: apache-2.0, datasets: [nav-educational-corpus] }
exclude:
  - { source: Qwen/Qwen2.5-3B, method: Q8_0 }
";

#[test]
fn the_specs_example_is_read() {
    let config = good(SPEC);
    assert_eq!(config.llama_cpp, Some(LlamaCpp::Tag("b11429".to_owned())));
    let [small, large] = &config.models[..] else { panic!("{config:?}") };
    assert_eq!(small.source.to_string(), "Qwen/Qwen2.5-0.5B");
    assert_eq!(small.stem("Q4_K_M"), "jamph-qwen2.5-0.5b-q4_k_m");
    let publish = Publish { owner: Some("my-org".into()), private: Some(false), ..Publish::default() };
    assert_eq!(small.publish, publish);
    assert_eq!(small.repo().unwrap().unwrap().as_str(), "my-org/jamph-qwen2.5-0.5b");
    assert_eq!(small.card.description.as_deref(), Some(Path::new("/base/default_description.md")));
    assert_eq!(small.blocked_by(), None);
    assert_eq!(large.source.to_string(), "Qwen/Qwen2.5-3B@main");
    assert_eq!(large.methods, ["Q4_K_M", "IQ4_XS"]);
    assert_eq!(
        large.imatrix,
        Some(Imatrix::Dataset { path: "/base/calibration.txt".into(), chunks: Some(128) })
    );
    assert_eq!(large.split, Some(Split::Size(45_000_000_000)));
    // The repository names its owner; the default's would contradict it.
    assert_eq!(large.publish.owner, None);
    assert_eq!(large.publish.repo.as_ref().map(RepoId::as_str), Some("other-org/jamph-qwen2.5-3b"));
    assert_eq!(large.card.tags.as_deref(), Some(&["education".to_owned(), "norwegian".to_owned()][..]));
    assert_eq!(
        large.blocked_by().map(|unbuilt| (unbuilt.feature, unbuilt.place.line)),
        Some((Feature::Imatrix, 13))
    );
}

#[test]
fn of_importance_matrices_files_are_built() {
    let config = good(
        "
version: 1
defaults: { methods: [Q8_0], imatrix: { dataset: text.txt } }
models:
  - source: a/b
  - source: a/c
    imatrix: { file: sub/c.gguf }
",
    );
    let [b, c] = &config.models[..] else { panic!("{config:?}") };
    assert_eq!(b.blocked_by().map(|unbuilt| unbuilt.feature), Some(Feature::Imatrix));
    assert_eq!(c.blocked_by(), None);
    let (path, given) = ("/base/sub/c.gguf".into(), "sub/c.gguf".to_owned());
    assert_eq!(c.imatrix, Some(Imatrix::File { path, given }));
}

#[test]
fn entries_of_one_repository_list_each_others_methods() {
    let config = good(
        "
version: 1
defaults: { publish: { owner: me, stream: true, prune: true, create_pr: true, xet: false } }
models:
  - source: a/x
    methods: [Q8_0]
  - source: a/x
    methods: [Q4_K_M]
    publish: { prune: false }
  - source: a/y
    methods: [Q4_K_M]
",
    );
    let listed: Vec<_> = config.models.iter().map(|m| m.listed.join(" ")).collect();
    assert_eq!(listed, ["Q4_K_M Q8_0", "Q4_K_M Q8_0", "Q4_K_M"]);
    let [first, second, _] = &config.models[..] else { panic!("{config:?}") };
    let said = |m: &Model| [m.publish.stream, m.publish.create_pr, m.publish.prune, m.publish.xet];
    assert_eq!(said(first), [Some(true), Some(true), Some(true), Some(false)]);
    assert_eq!(said(second), [Some(true), Some(true), Some(false), Some(false)]);
    assert_eq!(first.unbuilt, []);
}

#[test]
fn the_starter_is_valid() {
    let config = good(&starter("models.schema.json"));
    assert_eq!(config.models.len(), 1);
    // What is commented out must be valid too.
    let all = starter("x").replace("# - source", "- source").replace("  #   ", "    ");
    let all = all.replace("# exclude", "exclude").replace("#   - {", "  - {").replace("# prefix", "prefix");
    let all = all.replace("# card", "card").replace("# publish", "publish");
    assert_eq!(good(&all).models[0].repo().unwrap().unwrap().as_str(), "my-org/my-qwen2.5-0.5b");
}

#[test]
fn the_command_line_wins_and_the_environment_loses() {
    let around = Around {
        above: Layer { methods: Some(vec!["Q8_0".into(), "Q4_K_M".into()]), ..Layer::default() },
        below: Layer {
            prefix: Some("env-".into()),
            publish: Publish { owner: Some("env-org".into()), ..Publish::default() },
            ..Layer::default()
        },
    };
    let read = |yaml: &str| parse(yaml.as_bytes(), "m.yaml", Path::new(""), &VOCABULARY, &around).unwrap();
    let config = read(SPEC);
    assert_eq!(config.models[0].methods, ["Q8_0", "Q4_K_M"]);
    // What the command line leaves out for once is listed all the same.
    assert_eq!(config.models[0].listed, ["Q4_K_M", "Q5_K_M", "Q8_0"]);
    assert_eq!(config.models[1].listed, ["IQ4_XS", "Q4_K_M"]);
    assert_eq!(config.models[0].prefix, "jamph-");
    assert_eq!(config.models[0].publish.owner.as_deref(), Some("my-org"));
    // An exclusion is no default: it stays.
    assert_eq!(config.models[1].methods, ["Q4_K_M"]);
    let config = read("version: 1\nmodels: [{ source: a/b }]\n");
    assert_eq!(
        (&*config.models[0].prefix, config.models[0].publish.owner.as_deref()),
        ("env-", Some("env-org"))
    );
}

#[test]
fn a_model_of_the_command_line() {
    let layer =
        Layer { methods: Some(parse_methods("q4_k_m, Q8_0,Q4_K", &VOCABULARY).unwrap()), ..Layer::default() };
    let around = Around { above: layer, below: Layer::default() };
    let model = single(Source::parse("HuggingFaceTB/SmolLM2-135M").unwrap(), None, &around).unwrap();
    assert_eq!(model.methods, ["Q4_K_M", "Q8_0"]);
    assert_eq!(model.stem("Q8_0"), "smollm2-135m-q8_0");
    let problems = single(Source::parse("..").unwrap(), None, &around).unwrap_err();
    assert_eq!(problems[0].text, "the folder `..` has no name of its own");
    assert_eq!(parse_methods("Q4KM", &VOCABULARY).unwrap_err().hint.unwrap(), "did you mean `Q4_K_M`?");
    assert!(parse_methods(" , ", &VOCABULARY).is_err());
}

#[test]
fn values_are_read_as_they_are_meant() {
    let config = good(
        "version: 1
models:
  - source: ./tiny
    methods: [q4_k]
    convert: { outtype: BF16, pre_tokenizer: qwen2 }
    quantize:
      pure: true
      prune_layers: [3, 1, 3]
      output_tensor_type: q6_k
      tensor_type_file: types.txt
      allow_requantize: true
      exclude_weights: [ffn_down, blk.0]
      override_kv: { tokenizer.ggml.add_bos_token: false, x.y: 7, x.z: 0.5, general.name: Tiny }
",
    );
    let model = &config.models[0];
    assert_eq!(model.source, Source::Folder("/base/./tiny".into()));
    assert_eq!((&*model.name, &model.methods[..]), ("tiny", &["Q4_K_M".to_owned()][..]));
    assert_eq!(model.convert.outtype, Some(OutType::BF16));
    let quantize = &model.quantize;
    assert_eq!((quantize.pure, quantize.prune_layers.as_deref()), (Some(true), Some(&[1, 3][..])));
    assert_eq!(quantize.output_tensor_type, Some(crate::gguf::GgmlType::Q6_K));
    assert_eq!(quantize.tensor_type_file.as_deref(), Some(Path::new("/base/types.txt")));
    assert_eq!((quantize.allow_requantize, &quantize.include_weights), (Some(true), &None));
    assert_eq!(quantize.exclude_weights.as_deref().unwrap(), ["ffn_down", "blk.0"]);
    let pairs = quantize.override_kv.as_deref().unwrap();
    assert_eq!(pairs[0], ("tokenizer.ggml.add_bos_token".to_owned(), KvValue::Bool(false)));
    assert_eq!(pairs[1].1, KvValue::Integer(7));
    assert_eq!(pairs[2].1, KvValue::Float(0.5));
    assert_eq!(pairs[3].1, KvValue::Text("Tiny".to_owned()));
}

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
             `convert`, `quantize`, `tensor_types`, `imatrix`, `evaluate`, `split`, `publish`, `card`, `metadata`",
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
fn methods() {
    check_defaults("methods: [Q4KM]", &["2:13: unknown method `Q4KM`; did you mean `Q4_K_M`?"]);
    check_defaults(
        "methods: [banana]",
        &["2:13: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`"],
    );
    check_defaults(
        "methods: [Q8_0, 4]",
        &["2:19: an item of `methods` must be text, not a whole number; put it in quotes"],
    );
    check_defaults("methods: [Q4_K_M, Q8_0, q4_k]", &["2:27: `Q4_K_M` is in the list twice"]);
    check_defaults("methods: Q4_K_M", &["2:12: `methods` must be a list, not text; write `[Q4_K_M]`"]);
    check_defaults(
        "methods: []",
        &["2:12: `methods` is an empty list; name at least one, or leave the key out"],
    );
    check_defaults("methods:", &["2:10: `methods` has no value; write a list, or leave the key out"]);
}

#[test]
fn names_that_windows_keeps_are_refused() {
    let yaml =
        |name: &str| format!("version: 1\nmodels:\n  - {{source: a/b, methods: [Q8_0], name: {name}}}\n");
    check(
        &yaml("con.2"),
        &[
            "3:5: files cannot be called `con.2-…`: Windows keeps that for a device; give the model another `name` or `prefix`",
        ],
    );
    assert!(read(&yaml("con")).is_ok());
}

#[test]
fn settings() {
    let name = "cannot be part of a file name";
    check_defaults("prefix: a/b", &[&format!("2:11: the prefix `a/b` {name}: it holds a path separator")]);
    check_defaults(r"prefix: a\b", &[&format!(r"2:11: the prefix `a\b` {name}: it holds a path separator")]);
    check_defaults(
        "prefix: -x",
        &[&format!("2:11: the prefix `-x` {name}: it cannot begin with `-` or `.`")],
    );
    check_defaults(
        "prefix: é",
        &[&format!("2:11: the prefix `é` {name}: only letters, digits, `-`, `_` and `.` are allowed")],
    );
    check_defaults("prefix: 12", &["2:11: `prefix` must be text, not a whole number; put it in quotes"]);
    check_defaults(
        "split: { max_size: 45 }",
        &["2:22: `max_size` must be text, not a whole number; write it with its unit, such as `45GB`"],
    );
    check_defaults(
        "split: { max_size: 45 miles }",
        &[
            "2:22: `45 miles` is no size: `miles` is not a unit of bytes; write it with its unit, such as `45GB` or `512MiB`",
        ],
    );
    check_defaults(
        "split: { max_size: 0GB }",
        &["2:22: a size of nothing; write it with its unit, such as `45GB`"],
    );
    check_defaults(
        "split: { max_size: 1GB, max_tensors: 3 }",
        &[
            "2:10: `split` must say how large a file may be, in one way; give it one of `max_size` and `max_tensors`",
        ],
    );
    check_defaults("split: { max_tensors: 0 }", &["2:25: the number must be at least 1"]);
    check_defaults(
        "publish: { private: yes }",
        &["2:23: `private` must be true or false, not text; write `true`"],
    );
    check_defaults(
        "publish: { owner: a/b }",
        &["2:21: `a/b` is no name on the Hub: only letters, digits, `-`, `_` and `.` are allowed"],
    );
    check_defaults(
        "publish: { repo: nav }",
        &["2:20: `nav` is not of the form `owner/name`; write `owner/name`, or `./folder` for a folder"],
    );
    check_defaults(
        "publish: { owner: a, repo: b/c }",
        &["2:30: `owner` says `a` and `repo` says `b`; leave `owner` out: `repo` names it"],
    );
    check_defaults(
        "card: { tags: [''] }",
        &["2:18: an item of `tags` is empty; give it a value, or leave it out"],
    );
    check_defaults(
        "card: { describtion: x }",
        &["2:11: unknown key `describtion`; did you mean `description`?"],
    );
    check_defaults(
        "imatrix: { file: a, url: 'https://x/y' }",
        &[
            "2:12: `imatrix` must say where the matrix comes from, in one way; give it one of `dataset`, `file`, `url` and `repo`",
        ],
    );
    check_defaults("imatrix: { file: a, chunks: 3 }", &["2:31: `chunks` goes with `dataset`"]);
    check_defaults("imatrix: { dataset: a, chunks: 0 }", &["2:34: the number must be at least 1"]);
    check_defaults(
        "imatrix: { dataset: a, chunks: -1 }",
        &["2:34: `chunks` must lie between 0 and 4294967295"],
    );
    check_defaults(
        "imatrix: { url: 'http://x/y' }",
        &["2:19: `http://x/y` is no https address; it begins with `https://`"],
    );
    check_defaults(
        "imatrix: { url: 'https://me:pw@x/y' }",
        &["2:19: an address holds a user name or password; secrets have no place in this file"],
    );
    check_defaults(
        "tensor_types: [{ match: '(', type: Q4K }]",
        &[
            "2:27: the pattern is no regular expression: unclosed group",
            "2:38: unknown tensor type `Q4K`; did you mean `Q4_K`?",
        ],
    );
    check_defaults(
        "tensor_types: [{ match: 'a{999}{999}{999}', type: Q8_0 }]",
        &["2:27: the pattern is too large"],
    );
    check_defaults("tensor_types: [{ match: a }]", &["2:18: `type` is missing; add `type: Q8_0`"]);
    check_defaults(
        "quantize: { leave_output_tensor: true, output_tensor_type: Q6_K }",
        &["4:10: `leave_output_tensor` and `output_tensor_type` contradict each other; \
         the output tensor either stays as it is or gets a type"],
    );
    check_defaults(
        "quantize: { include_weights: [a], exclude_weights: [b] }",
        &["4:10: `include_weights` and `exclude_weights` contradict each other; \
         the matrix is used for some tensors only, or for all but some"],
    );
    check_defaults(
        "quantize: { override_kv: { a: [1] } }",
        &["2:33: `a` must be a boolean, a number or text, not a list"],
    );
    check_defaults(
        "quantize: { prune_layers: [1.5] }",
        &["2:30: an item of `prune_layers` must be a whole number, not a number with a fraction"],
    );
    check_defaults(
        "convert: { outtype: q4_k }",
        &["2:23: unknown output type `q4_k`; the types are `f32`, `f16`, `bf16`, `q8_0`, `auto`"],
    );
    check_defaults(
        "metadata: { license: mit, license_name: x }",
        &["4:10: the licence is `mit` and is also called `x`; `license_name` goes with `license: other`"],
    );
    check_defaults("evaluate: {}", &["2:13: `dataset` is missing; add `dataset: test.txt`"]);
}

#[test]
fn models_that_contradict() {
    let models =
        |entries: &str| format!("version: 1\ndefaults: {{ methods: [Q4_K_M, Q8_0] }}\nmodels:\n{entries}");
    check(
        &models("  - source: a/b@main\n    revision: dev\n"),
        &["5:15: `revision` says `dev` and `source` says `main`; say it in one of them"],
    );
    check(
        &models("  - source: ./x\n    revision: dev\n"),
        &["5:15: a folder has no `revision`; leave it out, or name a repository of the Hub as the source"],
    );
    check(
        &models("  - source: ./my model\n"),
        &[
            "4:5: the name `my model` cannot be part of a file name: only letters, digits, `-`, `_` and `.` are allowed; \
         say what file names should call the model: `name: my-model`",
        ],
    );
    check(
        &models("  - source: a/x\n  - source: b/X\n"),
        &[
            "5:5: this model and the one on line 4 would both be `x-q4_k_m.gguf`; give one of them another `name` or `prefix`",
        ],
    );
    check(
        &models("  - source: a/x\n    publish: { repo: o/r }\n  - source: a/y\n    publish: { repo: o/R }\n"),
        &["6:5: this model and the one on line 4 would both be published as `o/R`; \
           a repository holds one model; give each its own `repo`, or leave it to `owner`"],
    );
    // The same model twice is no contradiction as long as the files differ.
    good(&models("  - source: a/x@v1\n  - source: a/x@v2\n    name: x-v2\n"));
    good(&models("  - source: a/x\n    methods: [Q8_0]\n  - source: a/x\n    methods: [Q4_K_M]\n"));
}

#[test]
fn exclusions() {
    let file = |entry: &str| {
        format!(
            "version: 1\nmodels: [{{ source: Qwen/Qwen2.5-3B, methods: [Q4_K_M, Q8_0] }}]\nexclude:\n  - {entry}\n"
        )
    };
    check(
        &file("{ source: Qwen/Qwen2.5-3b, method: Q8_0 }"),
        &["4:15: no model has the source `Qwen/Qwen2.5-3b`; did you mean `Qwen/Qwen2.5-3B`?"],
    );
    check(
        &file("{ source: x/y, method: Q8_0 }"),
        &["4:15: no model has the source `x/y`; write it as the model's own entry does"],
    );
    check(
        &file("{ source: Qwen/Qwen2.5-3B, method: Q5_K_M }"),
        &["4:40: `Qwen/Qwen2.5-3B` has no method `Q5_K_M`; its methods are `Q4_K_M`, `Q8_0`"],
    );
    check(
        &file("{ source: Qwen/Qwen2.5-3B, method: Q8_0 }\n  - { source: Qwen/Qwen2.5-3B, method: Q4_K_M }"),
        &["5:5: nothing is left of `Qwen/Qwen2.5-3B`; remove the model instead"],
    );
    check(&file("{ source: Qwen/Qwen2.5-3B }"), &["4:5: `method` is missing; add `method: Q8_0`"]);
}

#[test]
fn exclusions_of_what_could_not_be_read_are_not_complained_of() {
    check(
        "version: 1\nmodels: [{ source: a/b, methods: [Q8_0, Q4KM] }]\nexclude: [{ source: a/b, method: Q4_K_M }]\n",
        &["2:41: unknown method `Q4KM`; did you mean `Q4_K_M`?"],
    );
    check(
        "version: 1\nmodels: [{ source: a/b/c, methods: [Q8_0] }]\nexclude: [{ source: x/y, method: Q8_0 }]\n",
        &["2:20: `a/b/c` is not of the form `owner/name`; for a folder, write `./a/b/c`"],
    );
}

#[test]
fn aliases_and_merge_keys_work_and_are_pointed_at() {
    let config =
        good("version: 1\nmodels:\n  - &m { source: a/b, methods: [Q8_0] }\n  - { <<: *m, name: c }\n");
    assert_eq!(config.models[1].stem("Q8_0"), "c-q8_0");
    check(
        "version: 1\nmodels:\n  - { source: a/b, methods: [&x banana] }\n  - { source: a/c, methods: [*x] }\n",
        &[
            "3:33: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`",
            "4:30: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`",
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
