//! What is read from a models.yaml, and what is said about wrong ones.

mod document;
mod meaning;
mod models;
mod settings;

use std::path::Path;

use super::*;

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    methods: &[
        MethodName { name: "Q4_K_M", aliases: &["Q4_K"] },
        MethodName { name: "Q5_K_M", aliases: &["Q5_K"] },
        MethodName { name: "Q8_0", aliases: &[] },
        MethodName { name: "IQ4_XS", aliases: &[] },
        MethodName { name: "mmproj-F16", aliases: &[] },
        MethodName { name: "mmproj-Q8_0", aliases: &[] },
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
