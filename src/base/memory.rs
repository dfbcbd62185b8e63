//! Memory of this machine and of this process. Linux tells; elsewhere the answer is `None`.

use std::fs;

/// Bytes that can still be used before the machine swaps or the container's limit is hit.
pub fn available() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(container().map_or(machine, |limit| limit.min(machine)))
}

/// Most bytes of physical memory that this process has held so far.
pub fn peak() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// What is left under the limit of a version 2 control group, as a container sees it.
fn container() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    // Cached files count as used but are given back on demand.
    let cached = read("memory.stat").and_then(|s| word(&s, "inactive_file")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// The kilobytes behind a name, as bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    word(text, name)?.checked_mul(1024)
}

fn word(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix([' ', '\t']))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "MemTotal:  8 kB\nMemAvailable:   1024 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(1024 * 1024));
        assert_eq!(field(text, "VmHWM:"), Some(12 * 1024));
        assert_eq!(field(text, "VmRSS:"), None);
        assert_eq!(word("file 3\ninactive_file 77\n", "inactive_file"), Some(77));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells() {
        assert!(available().is_some_and(|n| n > 0));
        assert!(peak().is_some_and(|n| n > 0));
    }
}
