//! What a file that is right means: values, layers, what belongs together.

use std::path::Path;

use super::*;

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
    assert_eq!(config.llama_cpp, Some(LlamaCpp { tag: Some("b11429".to_owned()), ..LlamaCpp::default() }));
    let [small, large] = &config.models[..] else { panic!("{config:?}") };
    assert_eq!(small.source.to_string(), "Qwen/Qwen2.5-0.5B");
    assert_eq!(small.stem("Q4_K_M"), "jamph-qwen2.5-0.5b-q4_k_m");
    let publish = Publish { owner: Some("my-org".into()), private: Some(false), ..Publish::default() };
    assert_eq!(small.publish, publish);
    assert_eq!(small.repo().unwrap().unwrap().as_str(), "my-org/jamph-qwen2.5-0.5b");
    assert_eq!(small.card.description.as_deref(), Some(Path::new("/base/default_description.md")));
    assert_eq!(large.source.to_string(), "Qwen/Qwen2.5-3B@main");
    assert_eq!(large.methods, ["Q4_K_M", "IQ4_XS"]);
    assert_eq!(
        large.imatrix,
        Some(Imatrix::Dataset { text: Dataset::File("/base/calibration.txt".into()), chunks: Some(128) })
    );
    assert_eq!(large.split, Some(Split::Size(45_000_000_000)));
    // The repository names its owner; the default's would contradict it.
    assert_eq!(large.publish.owner, None);
    assert_eq!(large.publish.repo.as_ref().map(RepoId::as_str), Some("other-org/jamph-qwen2.5-3b"));
    assert_eq!(large.card.tags.as_deref(), Some(&["education".to_owned(), "norwegian".to_owned()][..]));
}

#[test]
fn importance_matrices_come_from_where_the_file_says() {
    let config = good(
        "
version: 1
defaults: { methods: [Q8_0], imatrix: { dataset: default }, check: true }
models:
  - source: a/a
  - { source: a/b, imatrix: { dataset: 'https://example.org/a.txt', chunks: 9 }, check: false }
  - { source: a/c, imatrix: { file: sub/c.gguf } }
  - { source: a/d, imatrix: { url: 'https://example.org/d.gguf' } }
  - { source: a/e, imatrix: { repo: b/e, revision: v1, file: sub/e.gguf } }
  - { source: a/f, imatrix: { repo: b/f } }
",
    );
    let address = |name: &str| format!("https://example.org/{name}");
    let repo = |name| RepoId::parse(name).unwrap();
    let expected = [
        Imatrix::Dataset { text: Dataset::BuiltIn, chunks: None },
        Imatrix::Dataset { text: Dataset::Url(address("a.txt")), chunks: Some(9) },
        Imatrix::File { path: "/base/sub/c.gguf".into(), given: "sub/c.gguf".to_owned() },
        Imatrix::Url(address("d.gguf")),
        Imatrix::Repo {
            repo: repo("b/e"),
            revision: Some(Revision::parse("v1").unwrap()),
            file: Some("sub/e.gguf".to_owned()),
        },
        Imatrix::Repo { repo: repo("b/f"), revision: None, file: None },
    ];
    let found: Vec<_> = config.models.iter().map(|m| m.imatrix.clone().unwrap()).collect();
    assert_eq!(found, expected);
    let checked: Vec<_> = config.models.iter().map(|m| m.check).collect();
    assert_eq!(checked, [true, false, true, true, true, true]);
}

#[test]
fn addresses_of_this_machine_need_no_https() {
    for host in ["127.0.0.1:8080", "localhost", "[::1]:8080", "[::1]"] {
        let address = format!("http://{host}/i.gguf");
        let yaml = format!(
            "version: 1\nmodels: [{{ source: a/b, methods: [Q8_0], imatrix: {{ url: '{address}' }} }}]\n"
        );
        assert_eq!(good(&yaml).models[0].imatrix, Some(Imatrix::Url(address)));
    }
    for elsewhere in ["[::2]", "127.0.0.1.example.org", "localhost:x"] {
        read(&format!("version: 1\nmodels: [{{ source: a/b, methods: [Q8_0], imatrix: {{ url: 'http://{elsewhere}/' }} }}]\n"))
            .unwrap_err();
    }
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
fn an_evaluation_says_only_what_is_not_usual() {
    let config = good(
        "
version: 1
defaults: { methods: [Q8_0], evaluate: {} }
models:
  - source: a/b
  - source: a/c
    evaluate: { dataset: t.txt, chunks: 4, context: 256, kl_divergence: false, require: { perplexity: 20 } }
  - source: a/d
    evaluate: { require: { mean_kld: 0.05, kld_99: 1, same_top: 0.9, perplexity_ratio: 1.05 } }
",
    );
    let of = |i: usize| config.models[i].evaluate.clone().unwrap();
    assert_eq!(of(0), Evaluate::default());
    assert_eq!((of(0).chunks, of(0).context, of(0).predictions()), (16, 512, 16 * 255));
    let require = Require { perplexity: Some(20.0), ..Require::default() };
    let dataset = Dataset::File("/base/t.txt".into());
    assert_eq!(of(1), Evaluate { dataset, chunks: 4, context: 256, kl_divergence: false, require });
    let (mean_kld, kld_99, same_top) = (Some(0.05), Some(1.0), Some(0.9));
    let perplexity_ratio = Some(1.05);
    assert_eq!(of(2).require, Require { mean_kld, kld_99, same_top, perplexity: None, perplexity_ratio });
}

#[test]
fn which_llama_cpp() {
    let read = |keys: &str| {
        let models = "version: 1\nmodels: [{ source: a/b, methods: [Q8_0] }]\n";
        good(&format!("{models}llama_cpp: {{ {keys} }}\n")).llama_cpp.unwrap()
    };
    let commit = "0c1e57098bba43ac29e6e3b677cdceebdd22334f";
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(read("tag: v0.5.0").tag, text("v0.5.0"));
    let both = read(&format!("tag: b11312, commit: '{commit}', native: true"));
    assert_eq!((both.tag, both.commit, both.native), (text("b11312"), text(commit), true));
    let archive = read("source: dl/x.tar.gz, subfolder: vendor/llama.cpp/");
    assert_eq!(archive.source, Some(LlamaSource::Path("/base/dl/x.tar.gz".into())));
    assert_eq!(archive.subfolder, text("vendor/llama.cpp"));
    let address = read("source: 'https://example.org/x.tar.gz'");
    assert_eq!(address.source, Some(LlamaSource::Url("https://example.org/x.tar.gz".to_owned())));
    assert_eq!(read("installed: /opt/llama").installed, Some("/opt/llama".into()));

    let wrong = |keys: &str, expected: &[&str]| {
        check(
            &format!("llama_cpp: {{ {keys} }}\nversion: 1\nmodels: [{{ source: a/b, methods: [Q8_0] }}]\n"),
            expected,
        );
    };
    wrong(
        "installed: x, tag: b11312",
        &[
            "1:25: `llama_cpp` has `installed` and says which one to get; what is installed is used as it is: leave the other keys out",
        ],
    );
    wrong(
        "tag: b11312, subfolder: x",
        &[
            "1:38: `llama_cpp` has a `subfolder` and no `source`; releases and commits on GitHub are taken from their root",
        ],
    );
    wrong(
        "source: x, subfolder: ../y",
        &["1:36: `../y` is no folder below the source; write it as `vendor/llama.cpp`"],
    );
    wrong(
        "tag: v1",
        &[
            "1:19: `v1` is no release of llama.cpp; releases are called `b` and a number, such as `b11312`, or `v0.5.0`",
        ],
    );
    wrong(
        "source: 'http://example.org/x'",
        &["1:22: `http://example.org/x` is no https address; it begins with `https://`"],
    );
}
