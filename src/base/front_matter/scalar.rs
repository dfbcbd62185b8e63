//! Plain scalars: the implicit resolvers of YAML 1.1 (<https://yaml.org/type/>) as PyYAML has them.

use std::sync::LazyLock;

use regex::Regex;

use super::{FrontMatterError, Kind};

static INT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
    )
});
static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    ))
});
static DATE: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?",
        r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    ))
});

fn pattern(alternatives: &str) -> Regex {
    Regex::new(&format!("^(?:{alternatives})$")).expect("the patterns are constants")
}

/// What a plain scalar is.
pub(super) fn resolve(text: &str) -> Result<Kind, FrontMatterError> {
    let bad = |what| FrontMatterError::Scalar { text: text.to_owned(), what };
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Kind::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Kind::Bool(false),
        "<<" | "=" => Kind::Other,
        _ if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => Kind::Text,
        _ if FLOAT.is_match(text) => Kind::Float(float(text).ok_or_else(|| bad("number"))?),
        _ if INT.is_match(text) => Kind::Int(int(text).ok_or_else(|| bad("integer"))?),
        _ if DATE.is_match(text) || TIME.is_match(text) => {
            is_date(text).then_some(Kind::Other).ok_or_else(|| bad("date"))?
        }
        _ => Kind::Text,
    })
}

/// The integer, `Some(None)` where it does not fit, `None` where there are no digits.
fn int(text: &str) -> Option<Option<i64>> {
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let parse = |digits: &str, radix| {
        let any = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        any.then(|| i128::from_str_radix(digits, radix).ok())
    };
    let value = if let Some(binary) = digits.strip_prefix("0b") {
        parse(binary, 2)?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        parse(hex, 16)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        parse(digits, 8)?
    } else {
        // Sexagesimal (`12:30`), or one part of plain decimal.
        digits.split(':').try_fold(Some(0i128), |sum, part| {
            let part = parse(part, 10)?;
            Some(sum.and_then(|s| s.checked_mul(60)?.checked_add(part?)))
        })?
    };
    Some(value.map(|v| if negative { -v } else { v }).and_then(|v| i64::try_from(v).ok()))
}

fn float(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_ascii_lowercase();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    let value = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ if digits.contains(':') => {
            // From the right, as PyYAML sums: the order of float operations decides the last bit.
            let mut base = 1.0;
            let mut sum = 0.0;
            for part in digits.rsplit(':') {
                sum += part.parse::<f64>().ok()? * base;
                base *= 60.0;
            }
            sum
        }
        _ => digits.parse().ok()?,
    };
    Some(sign * value)
}

/// Whether year, month and day exist, and the time of day, if any.
fn is_date(text: &str) -> bool {
    let numbers: Vec<i16> =
        text.split(|c: char| !c.is_ascii_digit()).take(6).filter_map(|n| n.parse().ok()).collect();
    let small = |at: usize| numbers.get(at).map_or(Some(0), |n| i8::try_from(*n).ok());
    let (Some(year), Some(month), Some(day)) = (numbers.first(), small(1), small(2)) else { return false };
    let (Some(hour), Some(minute), Some(second)) = (small(3), small(4), small(5)) else { return false };
    *year >= 1
        && jiff::civil::Date::new(*year, month, day).is_ok()
        && jiff::civil::Time::new(hour, minute, second, 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        resolve(text).unwrap()
    }

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_1() {
        let int = |n| Kind::Int(Some(n));
        for (text, expected) in [
            ("no", Kind::Bool(false)),
            ("On", Kind::Bool(true)),
            ("nO", Kind::Text),
            ("y", Kind::Text),
            ("~", Kind::Null),
            ("017", int(15)),
            ("-0x_1F", int(-31)),
            ("0b101", int(5)),
            ("1_000", int(1000)),
            ("12:30", int(750)),
            ("08", Kind::Text),
            ("0o17", Kind::Text),
            ("99999999999999999999", Kind::Int(None)),
            ("1.", Kind::Float(1.0)),
            (".5", Kind::Float(0.5)),
            ("1.5e+3", Kind::Float(1500.0)),
            ("1.5e3", Kind::Text),
            ("1e5", Kind::Text),
            ("1:30.5", Kind::Float(90.5)),
            ("-.INF", Kind::Float(f64::NEG_INFINITY)),
            ("2024-01-31", Kind::Other),
            ("2024-1-31 10:00:00 +02:00", Kind::Other),
            ("2024-1-31", Kind::Text),
            ("apache-2.0", Kind::Text),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        for bad in ["2024-13-01", "0x_", "0b_"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }
}
