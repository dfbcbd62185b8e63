//! Models that contradict themselves or each other, names that cannot be, exclusions.

use super::*;

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
fn a_vision_tower_is_one_of_the_methods() {
    let file = |methods: &str| format!("version: 1\nmodels: [{{ source: a/m, methods: {methods} }}]\n");
    let model = read(&file("[Q4_K_M, mmproj: f16, mmproj-Q8_0]")).unwrap().models.remove(0);
    assert_eq!(model.methods, ["Q4_K_M", "mmproj-F16", "mmproj-Q8_0"]);
    assert_eq!(model.stem("mmproj-F16"), "mmproj-m-f16");
    assert_eq!(model.stem("Q4_K_M"), "m-q4_k_m");
    check(&file("[mmproj: F16, mmproj-F16]"), &["2:48: `mmproj-F16` is in the list twice"]);
    check(
        &file("[mmproj: Q4_K_M]"),
        &["2:43: `Q4_K_M` is no type of a vision tower; the types are `F16`, `Q8_0`"],
    );
    check(
        &file("[mmprojector: F16]"),
        &[
            "2:35: `mmproj` is missing; add `mmproj: F16`",
            "2:35: unknown key `mmprojector`; the keys here are `mmproj`",
        ],
    );
}
