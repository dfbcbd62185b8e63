//! What models have to do with each other: exclusions, names that are taken, repositories that are shared.

use std::collections::HashMap;

use super::Resolve;
use crate::base::quote::quote;
use crate::config::model::Model;
use crate::config::problem::{Problem, closest};
use crate::config::raw::RawExclude;
use crate::config::read::{At, List, list};
use crate::config::scalar::Method;
use crate::config::source::Source;

impl Resolve<'_> {
    pub(super) fn exclude(
        &mut self,
        exclude: Option<At<List<RawExclude>>>,
        models: &mut [Model],
        left: &mut [Vec<String>],
    ) {
        for At { place, value, .. } in exclude.map(|exclude| exclude.value.0).unwrap_or_default() {
            let RawExclude { source: Some(source), method: Some(method) } = value else {
                continue;
            };
            let Method(method_name) = &method.value;
            let wanted = source.value.relative_to(self.folder);
            let matching: Vec<usize> =
                (0..models.len()).filter(|&i| covers(&wanted, &models[i].source)).collect();
            if matching.is_empty() {
                let names: Vec<String> = models.iter().map(|model| model.source.to_string()).collect();
                let problem = Problem::new(
                    source.place,
                    format!("no model has the source {}", quote(&wanted.to_string())),
                );
                let hint = match closest(&wanted.to_string(), names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write it as the model's own entry does".to_owned(),
                };
                self.report(problem.hint(hint));
                continue;
            }
            let mut found = false;
            for &index in &matching {
                let before = left[index].len();
                left[index].retain(|name| name != method_name);
                found |= left[index].len() < before;
                models[index].methods.retain(|name| name != method_name);
                if found && left[index].is_empty() {
                    self.report(
                        Problem::new(place, format!("nothing is left of {}", quote(&wanted.to_string())))
                            .hint("remove the model instead"),
                    );
                }
            }
            if !found {
                let names: Vec<&str> = left[matching[0]].iter().map(String::as_str).collect();
                self.report(
                    Problem::new(
                        method.place,
                        format!("{} has no method `{method_name}`", quote(&wanted.to_string())),
                    )
                    .hint(format!("its methods are {}", list(&names))),
                );
            }
        }
    }

    pub(super) fn refuse_collisions(&mut self, models: &[Model]) {
        let mut stems: HashMap<String, &Model> = HashMap::new();
        let mut repos: HashMap<String, &Model> = HashMap::new();
        for model in models {
            // File systems and the Hub do not tell upper from lower case apart.
            let taken = model.methods.iter().find_map(|method| {
                let stem = model.stem(method).to_ascii_lowercase();
                stems.get(&stem).map(|first| (stem, first.place.line))
            });
            if let Some((stem, line)) = taken {
                self.report(
                    Problem::new(
                        model.place,
                        format!("this model and the one on line {line} would both be `{stem}.gguf`"),
                    )
                    .hint("give one of them another `name` or `prefix`"),
                );
            }
            for method in &model.methods {
                stems.entry(model.stem(method).to_ascii_lowercase()).or_insert(model);
            }
            if let Some(repo) = &model.publish.repo
                && let Some(first) = repos.insert(repo.as_str().to_ascii_lowercase(), model)
            {
                self.report(
                    Problem::new(
                        model.place,
                        format!(
                            "this model and the one on line {} would both be published as `{repo}`",
                            first.place.line
                        ),
                    )
                    .hint("a repository holds one model; give each its own `repo`, or leave it to `owner`"),
                );
            }
        }
    }
}

/// Notes for each model what its repository lists, given what the file lists for each.
pub(super) fn list_for_repositories(models: &mut [Model], listed: &[Vec<String>]) {
    let repos: Vec<_> = models.iter().map(|m| m.repo().ok().flatten()).collect();
    for i in 0..models.len() {
        let shares = |j: &usize| *j == i || (repos[*j].is_some() && repos[*j] == repos[i]);
        let all = (0..models.len()).filter(shares).flat_map(|j| models[j].methods.iter().chain(&listed[j]));
        let mut all: Vec<String> = all.cloned().collect();
        all.sort_unstable();
        all.dedup();
        models[i].listed = all;
    }
}

/// Whether an exclusion's source means a model's: it need not repeat the revision.
fn covers(wanted: &Source, model: &Source) -> bool {
    match (wanted, model) {
        (Source::Hub { repo: a, revision: None }, Source::Hub { repo: b, .. }) => a == b,
        _ => wanted == model,
    }
}
