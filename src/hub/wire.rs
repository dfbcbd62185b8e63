//! The headers of the protocol, parsed. Text in, values out; what is malformed counts as absent.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// A header's text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The address of the next page (RFC 8288, `rel="next"`).
pub(super) fn next_link(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|p| {
            let (key, value) = p.split_once('=').unwrap_or((p, ""));
            key.trim() == "rel" && value.trim().trim_matches('"').split(' ').any(|r| r == "next")
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
}

/// How long a 429 asks to wait: what `RateLimit` says of an exhausted quota (`"api";r=0;t=55`), else `Retry-After`.
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let exhausted = text(headers, "ratelimit").and_then(|limits| {
        let seconds = |limit: &str| {
            let value = |name: &str| {
                limit
                    .split(';')
                    .find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
            };
            (value("r") == Some(0)).then(|| value("t")).flatten()
        };
        limits.split(',').filter_map(seconds).max()
    });
    let after = || {
        let value = text(headers, RETRY_AFTER.as_str())?.trim();
        value.parse().ok().or_else(|| {
            let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Some(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0))
        })
    };
    exhausted.or_else(after).map(Duration::from_secs)
}

/// The bytes that a 206 carries and the length of the whole (`bytes 0-9/100`).
pub(super) fn content_range(value: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) =
        (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then(|| (first..last + 1, total))
}

/// An entity tag that If-Range may carry: a strong one (RFC 9110, section 13.1.5).
pub(super) fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, "etag")?.trim();
    (tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"')).then(|| tag.to_owned())
}

/// Longest message of a server that is repeated, in characters.
const MESSAGE: usize = 300;

/// What the body of a refusal says: `{"error": …}`, and `{"errors": [{"message": …}]}` as card checks have it.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = &body["error"];
    let text = error.as_str().or_else(|| error["message"].as_str()).or_else(|| body["message"].as_str());
    let text = text.map(str::to_owned).or_else(|| {
        let list = messages(&body["errors"]);
        (!list.is_empty()).then(|| list.join("; "))
    });
    text.map(|text| shortened(&text))
}

/// As much of a server's text as is repeated.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE).collect()
}

/// The messages of a list of `{"message": …}`.
pub(super) fn messages(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|entry| entry["message"].as_str().or(entry.as_str())).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn links() {
        let check = |link: &str, next: Option<&str>| assert_eq!(next_link(link), next, "{link}");
        check(r#"<https://h/a?cursor=x>; rel="next""#, Some("https://h/a?cursor=x"));
        check(r#"<https://h/p>; rel="prev", <https://h/n>; rel=next"#, Some("https://h/n"));
        check(r#"<https://h/a,b;c>; title="rel=next"; rel="last next""#, Some("https://h/a,b;c"));
        check(r#"<https://h/p>; rel="prev""#, None);
        check("https://h/p; rel=next", None);
        check("<https://h/p", None);
        check("", None);
    }

    #[test]
    fn waits() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        let check = |pairs: &[(&'static str, &str)], seconds: Option<u64>| {
            assert_eq!(asked_wait(&headers(pairs), now).map(|d| d.as_secs()), seconds, "{pairs:?}");
        };
        check(&[("ratelimit", r#""api";r=0;t=55"#)], Some(55));
        check(&[("ratelimit", r#""api";r=0;t=55"#), ("retry-after", "3")], Some(55));
        check(&[("ratelimit", r#""api";r=10;t=55, "resolvers"; r=0; t=7"#)], Some(7));
        check(&[("ratelimit", r#""api";r=10;t=55"#), ("retry-after", "3")], Some(3));
        check(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(60));
        check(&[("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")], Some(0));
        check(&[("retry-after", "soon")], None);
        check(&[], None);
    }

    #[test]
    fn messages_of_refusals() {
        let check =
            |body: &str, text: Option<&str>| assert_eq!(message(body.as_bytes()).as_deref(), text, "{body}");
        check(r#"{"error":"no"}"#, Some("no"));
        check(r#"{"error":{"message":"no"}}"#, Some("no"));
        check(r#"{"errors":[{"message":"a"},{"message":"b"}]}"#, Some("a; b"));
        check(r#"{"errors":[]}"#, None);
        check("<html>", None);
    }

    #[test]
    fn ranges() {
        let check = |value: &str, expected| assert_eq!(content_range(value), expected, "{value}");
        check("bytes 0-9/100", Some((0..10, 100)));
        check("bytes 99-99/100", Some((99..100, 100)));
        for bad in
            ["bytes 0-100/100", "bytes 5-4/100", "bytes */100", "bytes 0-9/*", "0-9/100", "bytes -9/10", ""]
        {
            check(bad, None);
        }
        check("bytes 0-18446744073709551615/18446744073709551615", None);
    }

    #[test]
    fn only_strong_tags_are_sent_back() {
        let check =
            |tag: &str, strong: bool| assert_eq!(strong_etag(&headers(&[("etag", tag)])).is_some(), strong);
        check("\"abc\"", true);
        check("W/\"abc\"", false);
        check("abc", false);
        check("\"\"", false);
    }
}
