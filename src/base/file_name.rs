//! Names of files that others chose, and whether they can be used on every system.
//!
//! In: paths of a repository, names from a models.yaml. Out: yes or no. Nothing is repaired: what is not harmless on
//! Linux, macOS and Windows is refused by whoever asks.

/// Whether a path of a repository can be written below a folder, on every system: relative, plain components,
/// nothing that a system reads as something else.
pub fn is_safe_path(path: &str) -> bool {
    /// Longest path that is written.
    const LONGEST: usize = 512;
    path.len() <= LONGEST && path.split('/').all(is_safe_component)
}

/// The same of a name without folders, which leaves no folder that it is put into.
pub fn is_safe_name(name: &str) -> bool {
    !name.contains('/') && is_safe_path(name)
}

fn is_safe_component(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && !part.ends_with(['.', ' '])
        && !part.contains(['\\', ':', '<', '>', '"', '|', '?', '*'])
        && !part.contains(char::is_control)
        && !is_device(part)
}

/// Whether a file at the root of a repository holds terms that go with its weights: a licence, a notice, a policy of use,
/// as a text or a page.
pub fn is_licence(path: &str) -> bool {
    const STARTS: [&str; 5] = ["license", "licence", "copying", "notice", "use_policy"];
    const ENDS: [&str; 6] = ["", "txt", "md", "rst", "html", "pdf"];
    let lower = path.to_ascii_lowercase();
    let stem_ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    // `LICENSE-2.0` has no extension, though it has a point.
    let end = lower.rsplit_once('.').map_or("", |(_, end)| end);
    let plain = ENDS.contains(&end) || end.bytes().all(|b| b.is_ascii_digit());
    !path.contains('/') && plain && STARTS.iter().any(|s| lower.strip_prefix(s).is_some_and(stem_ends))
}

/// Whether Windows gives this name to a device, as it does with any extension: `nul`, `com1.txt`.
pub fn is_device(name: &str) -> bool {
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = ["com", "lpt"].iter().find_map(|device| stem.strip_prefix(device));
    let digit = |rest: &str| {
        rest.chars().count() == 1
            && rest.contains(['¹', '²', '³', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    };
    DEVICES.contains(&stem.as_str()) || numbered.is_some_and(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_known_by_their_names() {
        for yes in [
            "LICENSE",
            "LICENSE.txt",
            "license.md",
            "LICENCE",
            "LICENSE-CODE",
            "LICENSE-2.0",
            "COPYING",
            "NOTICE",
            "Notice.txt",
            "USE_POLICY.md",
        ] {
            assert!(is_licence(yes), "{yes}");
        }
        for no in [
            "licenses.json",
            "licensed",
            "LICENSE.py",
            "docs/LICENSE",
            "README.md",
            "noticeboard.md",
            "use.md",
        ] {
            assert!(!is_licence(no), "{no}");
        }
    }

    #[test]
    fn hostile_paths() {
        for good in
            ["config.json", "additional_chat_templates/tool use.jinja", "a/b/c", "console.json", "com.json"]
        {
            assert!(is_safe_path(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//b",
            "a/",
            ".",
            "./a",
            ".git/config",
            "a\\b",
            "..\\x",
            "C:x",
            "C:\\x",
            "nul.json",
            "COM1",
            "lpt9.txt",
            "COM¹",
            "aux .txt",
            "a\0b",
            "a\nb",
            "a.",
            "a ",
            "x:stream",
        ] {
            assert!(!is_safe_path(bad), "{bad:?}");
        }
        assert!(!is_safe_path(&"x".repeat(513)));
        assert!(is_safe_name("a.gguf") && is_safe_path("b/a.gguf") && !is_safe_name("b/a.gguf"));
    }
}
