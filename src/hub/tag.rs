//! Which file of a repository llama.cpp takes for `-hf repository:TAG`.
//!
//! The rule is that of `find_best_model` and `gguf_filename_is_model` in llama.cpp's `common/download.cpp`: the first model
//! file of the listing that has the tag, followed by `.` or `-`, anywhere in its path, in either case. So `F16` also
//! finds `model-bf16.gguf`.

/// File names with one of these are no models.
const OTHERS: &[&str] = &["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// With this file in the root, llama.cpp looks for no model.
const PRESET: &str = "preset.ini";

/// The file that a tag gives, of a listing in the Hub's order; for split files the first of them.
pub(super) fn resolve<'a>(paths: impl Iterator<Item = &'a str> + Clone, tag: &str) -> Option<&'a str> {
    if paths.clone().any(|path| path == PRESET) {
        return None;
    }
    let tag = tag.to_ascii_lowercase();
    paths.into_iter().find(|path| is_model(path) && has_tag(path, &tag) && is_first(path))
}

fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.ends_with(".gguf") && !OTHERS.iter().any(|other| name.contains(other))
}

fn has_tag(path: &str, tag: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.match_indices(tag).any(|(at, _)| path[at + tag.len()..].starts_with(['.', '-']))
}

/// Whether it is whole, or the first part of a split file (`-00001-of-00003.gguf`).
fn is_first(path: &str) -> bool {
    let number = |text: &str| {
        (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    let split = || {
        let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once('-')?;
        let (rest, of) = rest.rsplit_once('-')?;
        let (_, index) = rest.rsplit_once('-')?;
        (of.eq_ignore_ascii_case("of")).then_some((number(index)?, number(count)?))
    };
    split().is_none_or(|(index, count)| count <= 1 || index == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paths: &[&str], tag: &str, found: Option<&str>) {
        assert_eq!(resolve(paths.iter().copied(), tag), found, "{paths:?} {tag}");
    }

    #[test]
    fn tags_find_the_file_of_their_method() {
        let paths =
            ["README.md", "m-q4_k_m.gguf", "m-q4_k_s.gguf", "m-q8_0.gguf", "mmproj-q6_k.gguf", "m-q6_k.bin"];
        check(&paths, "Q4_K_M", Some("m-q4_k_m.gguf"));
        check(&paths, "q4_k_s", Some("m-q4_k_s.gguf"));
        check(&paths, "Q4_K", None);
        check(&paths, "Q6_K", None);
    }

    #[test]
    fn a_tag_within_a_longer_one_finds_that() {
        check(&["m-bf16.gguf", "m-f16.gguf"], "F16", Some("m-bf16.gguf"));
        check(&["m-f16.gguf"], "F16", Some("m-f16.gguf"));
        check(&["q8_0-tiny-q4_0.gguf", "z-q8_0.gguf"], "Q8_0", Some("q8_0-tiny-q4_0.gguf"));
    }

    #[test]
    fn of_split_files_the_first() {
        let paths = ["m-q8_0-00002-of-00002.gguf", "m-q8_0-00001-of-00002.gguf"];
        check(&paths, "Q8_0", Some(paths[1]));
        check(&["m-q8_0-00002-of-00001.gguf"], "Q8_0", Some("m-q8_0-00002-of-00001.gguf"));
        check(&["m-q8_0-2-of-3.gguf"], "Q8_0", Some("m-q8_0-2-of-3.gguf"));
    }

    #[test]
    fn a_preset_hides_the_models() {
        check(&["m-q8_0.gguf", "preset.ini"], "Q8_0", None);
        check(&["m-q8_0.gguf", "x/preset.ini"], "Q8_0", Some("m-q8_0.gguf"));
    }
}
