//! A models.yaml as jobs of a workflow: what goes together, and what each job is called.
//!
//! In: the models, all of them, whether or not there is anything to do. Out: groups with names that depend on the
//! models.yaml alone, so that a job finds its models again on another machine. What is published to one repository is one
//! job's: a checkpoint is read once, and no two jobs commit to the same place. Pure.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::base::hash;
use crate::config::Model;

/// Jobs of a matrix, at most (GitHub's limit for one run of a workflow).
pub const MOST_JOBS: usize = 256;

/// Longest name of a model that is a job's name as it stands.
const LONGEST: usize = 64;

/// A job of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name: lower-case letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// Its models, by their index.
    pub models: Vec<usize>,
}

/// The models as jobs: one a repository, or several in one where there would be more than [`MOST_JOBS`].
pub fn groups(models: &[Model]) -> Vec<Group> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let key = key(model);
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(index),
            None => groups.push((key, vec![index])),
        }
    }
    if groups.len() > MOST_JOBS {
        return parts(&groups);
    }
    let names: Vec<String> = groups.iter().map(|(_, members)| slug(&models[members[0]].name)).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *count.entry(name).or_default() += 1;
    }
    let id = |name: &String, key: &str| match count[name.as_str()] {
        1 => name.clone(),
        _ => format!("{name}-{}", short(key)),
    };
    let ids: Vec<String> = names.iter().zip(&groups).map(|(name, (key, _))| id(name, key)).collect();
    ids.into_iter().zip(groups).map(|(id, (_, models))| Group { id, models }).collect()
}

/// What a model shares with those of the same job: its repository, else its name.
fn key(model: &Model) -> String {
    match model.repo() {
        Ok(Some(repo)) => format!("repo {repo}"),
        _ => format!("name {}", model.name),
    }
}

/// Neighbours together, as evenly as it goes.
fn parts(groups: &[(String, Vec<usize>)]) -> Vec<Group> {
    let begin = |part: usize| part * groups.len() / MOST_JOBS;
    (0..MOST_JOBS)
        .map(|part| Group {
            id: format!("part-{}-of-{MOST_JOBS}", part + 1),
            models: groups[begin(part)..begin(part + 1)].iter().flat_map(|(_, m)| m.clone()).collect(),
        })
        .collect()
}

fn slug(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if name.len() <= LONGEST && name.chars().all(plain) {
        return name.to_owned();
    }
    let kept: String = name.chars().map(|c| if plain(c) { c } else { '-' }).take(LONGEST).collect();
    format!("{kept}-{}", short(name))
}

fn short(text: &str) -> String {
    hash::sha256(text.as_bytes())[..8].to_owned()
}

/// No job is called so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no job is called `{id}`{}", Few(there))]
pub struct NoSuchJob {
    /// What was asked for.
    pub id: String,
    /// The jobs that there are.
    pub there: Vec<String>,
}

struct Few<'a>(&'a [String]);

impl fmt::Display for Few<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        for (i, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{} `{name}`", if i == 0 { ", only" } else { "," })?;
        }
        if self.0.len() > SHOWN { write!(f, " and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

/// The models of one job.
///
/// # Errors
/// [`NoSuchJob`].
pub fn select_job(models: Vec<Model>, id: &str) -> Result<Vec<Model>, NoSuchJob> {
    let groups = groups(&models);
    let Some(group) = groups.iter().find(|group| group.id == id) else {
        let there = groups.into_iter().map(|group| group.id).collect();
        return Err(NoSuchJob { id: id.to_owned(), there });
    };
    let mut index = 0..;
    Ok(models.into_iter().filter(|_| index.next().is_some_and(|i| group.models.contains(&i))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Around, Layer, Publish, RepoId, Source};

    fn model(name: &str, owner: Option<&str>, repo: Option<&str>) -> Model {
        let mut above = Layer { methods: Some(vec!["Q8_0".to_owned()]), ..Layer::default() };
        above.publish = Publish {
            owner: owner.map(str::to_owned),
            repo: repo.map(|repo| RepoId::parse(repo).unwrap()),
            ..Publish::default()
        };
        let source = Source::parse_with(&format!("them/{name}"), |_| false).unwrap();
        config::single(source, None, &Around { above, below: Layer::default() }).unwrap()
    }

    #[test]
    fn what_goes_to_one_repository_is_one_job() {
        let models = vec![
            model("a", Some("me"), None),
            model("b", None, Some("me/all")),
            model("c", None, None),
            model("d", None, Some("me/all")),
            model("a", Some("you"), None),
        ];
        let groups = groups(&models);
        let ids: Vec<&str> = groups.iter().map(|g| &*g.id).collect();
        assert_eq!(&ids[1..3], ["b", "c"]);
        assert!(ids[0].starts_with("a-") && ids[3].starts_with("a-") && ids[0] != ids[3], "{ids:?}");
        assert_eq!(
            groups.iter().map(|g| g.models.clone()).collect::<Vec<_>>(),
            [vec![0], vec![1, 3], vec![2], vec![4]]
        );

        let names = |id: &str| -> Vec<String> {
            select_job(models.clone(), id).unwrap().into_iter().map(|m| m.name).collect()
        };
        assert_eq!(names("b"), ["b", "d"]);
        let error = select_job(models.clone(), "x").unwrap_err().to_string();
        assert!(error.starts_with("no job is called `x`, only `a-") && error.contains("`b`, `c`"), "{error}");
    }

    #[test]
    fn job_names_are_plain_and_tell_models_apart() {
        assert_eq!(slug("qwen2.5-0.5b_x"), "qwen2.5-0.5b_x");
        for name in ["a b", "a+b", "é", &"x".repeat(90), "a\"b", "${{ x }}"] {
            let slug = slug(name);
            assert!(slug.len() <= LONGEST + 9, "{slug}");
            assert!(
                slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            );
        }
        assert_ne!(slug("a b"), slug("a+b"));
    }

    #[test]
    fn there_are_256_jobs_at_most() {
        let models: Vec<Model> = (0..600).map(|i| model(&format!("m{i}"), None, None)).collect();
        assert_eq!(groups(&models[..256]).len(), 256);
        let parts = groups(&models);
        assert_eq!(parts.len(), 256);
        let all: Vec<usize> = parts.iter().flat_map(|g| g.models.clone()).collect();
        assert_eq!(all, (0..600).collect::<Vec<_>>());
        assert!(parts.iter().all(|g| (2..=3).contains(&g.models.len())));
        assert_eq!((parts[0].id.as_str(), parts[255].id.as_str()), ("part-1-of-256", "part-256-of-256"));
        let last = select_job(models, "part-256-of-256").unwrap();
        assert_eq!(last.last().map(|m| m.name.as_str()), Some("m599"));
    }
}
