//! Sizes, durations and throughput as people write and read them.

use std::time::Duration;

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// There is no number at its start.
    #[error("it does not start with a number")]
    NoNumber,
    /// A bare number could be bytes or gigabytes.
    #[error("it has no unit")]
    NoUnit,
    /// Something other than a unit of bytes follows the number.
    #[error("`{0}` is not a unit of bytes")]
    UnknownUnit(String),
    /// More than fits 64 bits.
    #[error("it is too large")]
    TooLarge,
}

/// Units by name in upper case. As with llama.cpp's `--split-max-size`, `M` and `G` are decimal.
const UNITS: [(&str, u64); 14] = [
    ("B", 1),
    ("K", 1000),
    ("KB", 1000),
    ("M", 1_000_000),
    ("MB", 1_000_000),
    ("G", 1_000_000_000),
    ("GB", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("BYTES", 1),
];

/// Reads a size (`45GB`, `512 MiB`, `1.5G`) in bytes. Case does not count; a unit is needed.
///
/// # Errors
/// The text is no number with a unit, or the size does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(SizeError::NoNumber);
    }
    if unit.is_empty() {
        return Err(SizeError::NoUnit);
    }
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, factor) = known.ok_or_else(|| SizeError::UnknownUnit(unit.chars().take(20).collect()))?;
    let whole: u64 = whole.parse().map_err(|_| SizeError::TooLarge)?;
    let bytes = whole.checked_mul(*factor).ok_or(SizeError::TooLarge)?;
    // Twelve digits are more than the largest unit can use.
    let digits = &fraction[..fraction.len().min(12)];
    let part = digits.parse::<u128>().unwrap_or(0) * u128::from(*factor) / 10u128.pow(digits.len() as u32);
    bytes.checked_add(part as u64).ok_or(SizeError::TooLarge)
}

/// A size in decimal units, three digits (`1.23 GB`), as the Hub and `ls --si` show it.
pub fn decimal(bytes: u64) -> String {
    const NAMES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What would round up to a thousand belongs to the next unit.
    while value >= 999.5 && unit + 1 < NAMES.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", NAMES[unit])
}

/// A number of parameters (`494 million`, `1.24 billion`).
pub fn count(n: u64) -> String {
    let x = n as f64;
    match n {
        1_000_000_000.. => format!("{:.2} billion", x * 1e-9),
        10_000_000.. => format!("{:.0} million", x * 1e-6),
        1_000_000.. => format!("{:.1} million", x * 1e-6),
        _ => n.to_string(),
    }
}

/// A number of things (`1 model`, `3 models`), for nouns whose plural takes an `s`.
pub fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A duration, at most two units (`0.4 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`).
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    if seconds < 3600 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    let minutes = seconds / 60;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// Bytes a second, or `None` where the time is too short to say.
pub fn throughput(bytes: u64, time: Duration) -> Option<String> {
    let seconds = time.as_secs_f64();
    (seconds > 1e-3).then(|| format!("{}/s", decimal((bytes as f64 / seconds) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted() {
        assert_eq!(count(494_032_768), "494 million");
        assert_eq!(count(1_235_814_400), "1.24 billion");
        assert_eq!(count(17), "17");
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("45GB", 45_000_000_000),
            ("45 gb", 45_000_000_000),
            ("45G", 45_000_000_000),
            ("512MiB", 512 << 20),
            ("1.5KiB", 1536),
            ("0.25 kB", 250),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for (text, error) in [
            ("", SizeError::NoNumber),
            ("GB", SizeError::NoNumber),
            ("-1GB", SizeError::NoNumber),
            ("1.2.3GB", SizeError::NoNumber),
            ("1.GB", SizeError::NoNumber),
            ("45", SizeError::NoUnit),
            ("45Gb/s", SizeError::UnknownUnit("Gb/s".to_owned())),
            ("99999999999999999999GB", SizeError::TooLarge),
            ("18446744073709551615TB", SizeError::TooLarge),
        ] {
            assert_eq!(parse_size(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345_678, "12.3 MB"),
            (999_999, "1.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(decimal(bytes), shown);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, shown) in [
            (0.04, "0.0 s"),
            (12.34, "12.3 s"),
            (59.97, "1 min 00 s"),
            (185.2, "3 min 05 s"),
            (7620.0, "2 h 07 min"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), shown);
        }
        assert_eq!(throughput(3_000_000_000, Duration::from_secs(2)).unwrap(), "1.50 GB/s");
        assert_eq!(throughput(1, Duration::ZERO), None);
    }
}
