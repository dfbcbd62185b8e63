//! Addresses: what an endpoint may be, and pairs as a form.

use reqwest::Url;

use super::error::HubError;
pub(super) use crate::base::http::shown;

/// The endpoint's address.
///
/// # Errors
/// [`HubError::Endpoint`]; the text of a secret in it is not repeated.
pub(super) fn parse_endpoint(endpoint: &str) -> Result<Url, HubError> {
    let wrong = |why| {
        // What stands before an `@` or after a `?` may be a secret, also in what is no address.
        let host = endpoint.rsplit('@').next().unwrap_or_default();
        HubError::Endpoint { endpoint: host.split(['?', '#']).next().unwrap_or_default().to_owned(), why }
    };
    let url = Url::parse(endpoint).map_err(|_| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is not of the form https://host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("carries credentials; use HF_TOKEN"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or a fragment"));
    }
    Ok(url)
}

/// Pairs as a form's body (`application/x-www-form-urlencoded`).
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form").expect("it is an address");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in ["https://huggingface.co", "http://127.0.0.1:8080/", "https://mirror.example/hf"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["huggingface.co", "ftp://h", "https://h/?x=1", "https://h/#x", ""] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
        for telling in [
            "https://user:hf_secret@h/",
            "ftp://user:hf_secret@h/",
            "user:hf_secret@h",
            "https://user:hf?secret@h",
            "https://h:port/?secret",
        ] {
            let error = parse_endpoint(telling).unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("user"), "{error}");
        }
    }

    #[test]
    fn forms_escape_what_they_must() {
        assert_eq!(form(&[("a", "b/c d"), ("e", "ü&=")]), "a=b%2Fc+d&e=%C3%BC%26%3D");
    }
}
