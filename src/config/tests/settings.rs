//! Settings that are wrong by themselves.

use super::*;

#[test]
fn methods() {
    check_defaults("methods: [Q4KM]", &["2:13: unknown method `Q4KM`; did you mean `Q4_K_M`?"]);
    check_defaults(
        "methods: [banana]",
        &[
            "2:13: unknown method `banana`; the methods are `Q4_K_M`, `Q5_K_M`, `Q8_0`, `IQ4_XS`, `mmproj-F16`, `mmproj-Q8_0`",
        ],
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
    check_defaults("imatrix: { file: a, revision: b }", &["2:33: `revision` goes with `repo`"]);
    check_defaults(
        "imatrix: { repo: a/b, file: ../c }",
        &[
            "2:31: `../c` is no path in a repository; write it as the repository shows it, such as `imatrix.gguf`",
        ],
    );
    check_defaults(
        "imatrix: { dataset: 'http://x/y' }",
        &["2:23: `http://x/y` is no https address; it begins with `https://`"],
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
    check_defaults(
        "evaluate: { require: {} }",
        &["2:24: `require` asks for nothing; write a figure, such as `mean_kld: 0.05`, or leave the key out"],
    );
    check_defaults("evaluate: { require: { mean_kld: -1 } }", &["2:36: the number must not be negative"]);
    check_defaults(
        "evaluate: { require: { mean_kld: low } }",
        &["2:36: `mean_kld` must be a number, not text"],
    );
    check_defaults(
        "evaluate: { require: { same_top: 95 } }",
        &["2:36: a share is at most 1; write 95 % as `0.95`"],
    );
    check_defaults(
        "evaluate: { require: { mean_kdl: 1 } }",
        &["2:26: unknown key `mean_kdl`; did you mean `mean_kld`?"],
    );
    check_defaults(
        "evaluate: { context: 8 }",
        &["2:24: a chunk has from 64 to 1048576 tokens; 512 is usual"],
    );
    check_defaults(
        "evaluate: { chunks: 2, context: 64 }",
        &[
            "2:13: 2 chunks of 64 tokens give 62 predictions, and fewer than 100 tell nothing; take more `chunks`, or a larger `context`",
        ],
    );
    check_defaults(
        "evaluate: { kl_divergence: false, require: { perplexity: 20, same_top: 0.9 } }",
        &[
            "2:46: what `require` asks for is not measured: `kl_divergence` is false; leave `kl_divergence` out, or require a `perplexity` alone",
        ],
    );
}

#[test]
fn the_schema_takes_the_sizes_that_the_reader_takes() {
    let schema: serde_json::Value = serde_json::from_str(&schema(&VOCABULARY)).unwrap();
    let pattern = schema["definitions"]["Split"]["properties"]["max_size"]["pattern"].as_str().unwrap();
    let pattern = regex::Regex::new(pattern).unwrap();
    for text in
        ["45GB", "1.5 GiB", "512 kib", "7 b", "3 bytes", "4K", "45", "1.GB", ".5GB", "4Ki", "4 miles", "GB"]
    {
        assert_eq!(pattern.is_match(text), crate::base::units::parse_size(text).is_ok(), "{text}");
    }
}
