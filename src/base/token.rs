//! An access token for the Hub.
//!
//! In goes the text that the user gave; out it comes only where a request is signed ([`Token::reveal`]). There is no
//! `Display`, `Debug` shows no character of it, and whoever must keep it out of a text takes its forms from
//! `base::redact`.

use std::fmt;

/// A secret that is sent in the `Authorization` header of requests.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing but white space.
    #[error("it is empty")]
    Empty,
    /// A header cannot carry it. The text is not repeated: it may be most of a real token.
    #[error("it holds white space, a control character or a character outside ASCII")]
    NotGraphic,
}

impl Token {
    /// Takes a token as a user pasted it: white space around it is dropped.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::NotGraphic);
        }
        Ok(Token(text.to_owned()))
    }

    /// The secret itself, for the header of a request and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        let token = Token::new(" hf_abcdef\n").unwrap();
        assert_eq!(token.reveal(), "hf_abcdef");
        assert_eq!(format!("{token:?} {:#?}", Some(&token)), "Token(..) Some(\n    Token(..),\n)");
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused() {
        assert_eq!(Token::new(" \t"), Err(TokenError::Empty));
        for text in ["hf_a b", "hf_a\r\nX-Evil: 1", "hf_é", "hf_\u{0}"] {
            assert_eq!(Token::new(text), Err(TokenError::NotGraphic), "{text:?}");
        }
    }
}
