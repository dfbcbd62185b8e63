//! Which files go to LFS and which are left out: `.gitattributes`, `.gitignore` and the size.

/// What a new repository of the Hub has (the patterns that matter here; source: a model repository created there).
pub(super) const DEFAULT: &str = "\
*.bin filter=lfs diff=lfs merge=lfs -text
*.gz filter=lfs diff=lfs merge=lfs -text
*.h5 filter=lfs diff=lfs merge=lfs -text
*.model filter=lfs diff=lfs merge=lfs -text
*.msgpack filter=lfs diff=lfs merge=lfs -text
*.npy filter=lfs diff=lfs merge=lfs -text
*.onnx filter=lfs diff=lfs merge=lfs -text
*.parquet filter=lfs diff=lfs merge=lfs -text
*.pt filter=lfs diff=lfs merge=lfs -text
*.pth filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.zip filter=lfs diff=lfs merge=lfs -text
";

/// Files that are larger go to LFS whatever their name.
pub(super) const LARGE: u64 = 10 << 20;

/// Whether a file of this path and size goes to LFS.
pub(super) fn is_lfs(attributes: &str, path: &str, size: u64) -> bool {
    size > LARGE || path.ends_with(".gguf") || has_rule(attributes, path)
}

/// Whether the attributes send this path to LFS.
pub(super) fn has_rule(attributes: &str, path: &str) -> bool {
    let mut lfs = false;
    for line in attributes.lines() {
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|pattern| !pattern.starts_with('#') && matches(pattern, path)) {
            for word in words {
                lfs = match word {
                    "filter=lfs" => true,
                    "-filter" | "!filter" => false,
                    _ => lfs,
                };
            }
        }
    }
    lfs
}

/// The line that the Hub adds for a large file that no rule covers.
pub(super) fn rule(path: &str) -> String {
    format!("{} filter=lfs diff=lfs merge=lfs -text\n", path.replace(' ', "[[:space:]]"))
}

/// Whether `.gitignore` leaves this path out.
pub(super) fn is_ignored(ignore: &str, path: &str) -> bool {
    let mut ignored = false;
    for line in ignore.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (pattern, ignores) = line.strip_prefix('!').map_or((line, true), |rest| (rest, false));
        let folder = pattern.trim_end_matches('/');
        let inside = || path.match_indices('/').any(|(at, _)| matches(folder, &path[..at]));
        if (folder == pattern && matches(pattern, path)) || inside() {
            ignored = ignores;
        }
    }
    ignored
}

/// A pattern with a slash is of the whole path, else of the name.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.replace("[[:space:]]", " ");
    let subject = if pattern.contains('/') { path } else { path.rsplit('/').next().unwrap_or(path) };
    glob(pattern.trim_start_matches('/').as_bytes(), subject.as_bytes())
}

/// `**` crosses folders, `*` and `?` do not.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            glob(rest, text) || (0..text.len()).any(|i| text[i] == b'/' && glob(rest, &text[i + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|i| glob(rest, &text[i..]))
        }
        [b'?', rest @ ..] => matches!(text, [b, after @ ..] if *b != b'/' && glob(rest, after)),
        [b, rest @ ..] => matches!(text, [t, after @ ..] if t == b && glob(rest, after)),
    }
}
