//! Takes secrets out of text before anyone sees it.
//!
//! In go the secrets that are known and the text; out comes the text with `***` in place of each secret, also where it
//! stands percent-encoded or in base64 (as in a header of basic authentication), and in place of whatever looks like
//! a token of the Hub or of GitHub, like a signed identity (a JWT) or like the signature of a presigned address. Better a
//! word too many than a token.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::token::Token;

/// What stands in place of a secret.
const HIDDEN: &str = "***";
/// Shorter texts are no secrets, and would be found everywhere.
const SHORTEST: usize = 6;

/// What tokens look like; the first group is kept.
static PATTERNS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        // Prefixes of tokens are in lower case; in upper case they are variables, as `HF_HUB_OFFLINE`.
        r"(?-i:(\b)(?:hf_(?:oauth_)?|api_org_|gh[pousr]_|github_pat_)[A-Za-z0-9_]{10,})",
        // A signed identity: header, claims and signature.
        r"|(?-i:(\b)eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)",
        r"|(?i)(\bbearer[ +]|\b(?:x-amz-(?:signature|security-token|credential)|signature|sig|token)=)",
        r"[^\s&,;)\x22\x27<>`]{6,}",
        r"|(://[^/\s:@]*:)[^/\s@]+@",
    ))
    .expect("the pattern is fixed, and a test uses it")
});

/// Knows the secrets and takes them out.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Every form of every secret, the longest first.
    forms: Vec<String>,
}

impl Redactor {
    /// Hides these secrets, besides what looks like one.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .map(str::trim)
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(forms)
            .collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Redactor { forms }
    }

    /// Hides this token, besides what looks like one.
    pub fn for_token(token: Option<&Token>) -> Self {
        Redactor::new(token.map(Token::reveal))
    }

    /// Every form of every secret, for others who take secrets out of text.
    pub fn forms(&self) -> &[String] {
        &self.forms
    }

    /// The text without its secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for form in &self.forms {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), HIDDEN));
            }
        }
        if !PATTERNS.is_match(&text) {
            return text;
        }
        let hide = |found: &Captures<'_>| {
            let kept = (1..=4).find_map(|group| found.get(group)).map_or("", |kept| kept.as_str());
            let at = if found.get(4).is_some() { "@" } else { "" };
            format!("{kept}{HIDDEN}{at}")
        };
        Cow::Owned(PATTERNS.replace_all(&text, hide).into_owned())
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

/// The forms in which a secret may stand in a text.
fn forms(secret: &str) -> Vec<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let escaped = |escape: fn(u8) -> String| -> String {
        secret.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { escape(b) }).collect()
    };
    let mut forms =
        vec![secret.to_owned(), escaped(|b| format!("%{b:02X}")), escaped(|b| format!("%{b:02x}"))];
    // Within a longer text, base64 may begin at any of three bits; what depends on the neighbours is left off.
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let whole = base64(&bytes);
        let first = [0, 2, 3][before];
        let last = bytes.len() * 8 / 6;
        if let Some(part) = whole.get(first..last).filter(|part| part.len() >= SHORTEST) {
            forms.push(part.replace('+', "-").replace('/', "_"));
            forms.push(part.to_owned());
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// RFC 4648, section 4, without padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, b| (group << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(group >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn known_secrets_are_hidden_in_every_form() {
        let secret = "s3cr3t/With+sign=";
        let redactor = Redactor::new([secret]);
        let percent = ["s3cr3t%2FWith%2Bsign%3D".to_owned(), "s3cr3t%2fWith%2bsign%3d".to_owned()];
        for text in [secret.to_owned(), format!("a {secret} b")].into_iter().chain(percent) {
            let shown = redactor.redact(&text);
            assert!(shown.contains("***") && !shown.contains("s3cr3t"), "{shown}");
        }
        for before in ["", "u", "us", "user:", "me:"] {
            let encoded = base64(format!("{before}{secret}{before}").as_bytes());
            let shown = redactor.redact(&encoded);
            // A digit or two at either end also hold bits of the neighbours.
            let left = shown.replace("***", "").len();
            assert!(
                shown.contains("***") && left <= 4 + 2 * (before.len() * 4).div_ceil(3),
                "{before} {shown}"
            );
        }
        assert_eq!(format!("{redactor:?}").find("s3cr3t"), None);
    }

    #[test]
    fn what_looks_like_a_token_is_hidden() {
        let redactor = Redactor::default();
        for (text, shown) in [
            ("401 for hf_abcdefghijklmnop", "401 for ***"),
            ("ghp_0123456789abcdef", "***"),
            ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
            ("https://x/y?a=1&X-Amz-Signature=0123456789&b=2", "https://x/y?a=1&X-Amz-Signature=***&b=2"),
            ("https://me:pass@host/x", "https://me:***@host/x"),
            ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvIn0.c2ln-_x here", "got *** here"),
        ] {
            assert_eq!(redactor.redact(text), shown);
        }
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        let redactor = Redactor::new(["", "abc", "  "]);
        for text in [
            "abc",
            "hf_hub",
            "run once without HF_HUB_OFFLINE",
            "convert_hf_to_gguf.py",
            "https://huggingface.co/a/b@main",
            "the token is missing",
            "bearer",
        ] {
            assert!(matches!(redactor.redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
