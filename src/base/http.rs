//! HTTP as every client here speaks it: TLS by ring, no proxy on the way to this machine, no redirect that is followed
//! unseen; where one may lead, and how an address is shown.
//!
//! Nothing is sent here: that is for the modules that may touch the network. They follow redirects themselves, so that it
//! can be seen there who gets a token.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{ClientBuilder, StatusCode, Url};

use super::token::Token;

/// Hops from an address to where the file is.
pub const REDIRECTS: usize = 5;

/// A client that asks at `address` first. A connection that is not made within `stall` is given up.
pub fn client(address: &Url, stall: Duration) -> ClientBuilder {
    // A provider that somebody else installed in this process serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("jamph-quantizer/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(stall);
    if is_loopback(address) { builder.no_proxy() } else { builder }
}

/// A token as the value of `Authorization`; it is not shown with the other headers.
pub fn bearer(token: &Token) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .expect("a token has visible ASCII characters only");
    value.set_sensitive(true);
    value
}

/// Where an answer leads; `None` where it is no redirect.
///
/// # Errors
/// Why it may not lead there.
pub fn redirect(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Result<Url, &'static str>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let to = headers.get(LOCATION).and_then(|to| from.join(to.to_str().ok()?).ok());
    Some(match to {
        None => Err("it redirects without an address"),
        Some(to) if !matches!(to.scheme(), "http" | "https") => {
            Err("it redirects to something that is not HTTP")
        }
        Some(to) if from.scheme() == "https" && to.scheme() == "http" => {
            Err("it redirects from HTTPS to plain HTTP")
        }
        Some(to) => Ok(to),
    })
}

/// Whether it is on this machine, where no proxy is wanted.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An address without what may be secret.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for addresses that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_http_and_never_back_from_https() {
        let check = |status: u16, from: &str, to: Option<&str>, expected: Option<Result<&str, &str>>| {
            let headers = to.map(|to| (LOCATION, HeaderValue::from_str(to).unwrap()));
            let from = Url::parse(from).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let found = redirect(&from, status, &HeaderMap::from_iter(headers));
            let expected = expected.map(|to| to.map(|to| Url::parse(to).unwrap()));
            assert_eq!(found, expected, "{status} from {from} to {to:?}");
        };
        check(200, "https://a/b", Some("https://c/"), None);
        check(304, "https://a/b", Some("https://c/"), None);
        check(302, "https://a/b", Some("https://c/d?e"), Some(Ok("https://c/d?e")));
        check(307, "https://a/b/c", Some("../d"), Some(Ok("https://a/d")));
        check(308, "http://a/", Some("http://c/"), Some(Ok("http://c/")));
        check(301, "https://a/", Some("http://c/"), Some(Err("it redirects from HTTPS to plain HTTP")));
        check(303, "https://a/", Some("file:///c"), Some(Err("it redirects to something that is not HTTP")));
        check(302, "https://a/", None, Some(Err("it redirects without an address")));
        check(302, "https://a/", Some("https://[:"), Some(Err("it redirects without an address")));
    }

    #[test]
    fn loopback_needs_no_proxy() {
        let check =
            |url: &str, expected| assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        check("http://127.0.0.1:1", true);
        check("http://[::1]:1", true);
        check("http://localhost/x", true);
        check("https://huggingface.co", false);
        check("http://127.example.com", false);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let url = Url::parse("https://me:pw@host/a/b?token=x#y").unwrap();
        assert_eq!(shown(&url), "https://host/a/b");
        let value = bearer(&Token::new("hf_secret").unwrap());
        assert!(value.is_sensitive() && value == "Bearer hf_secret");
    }
}
