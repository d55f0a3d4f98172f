//! A secret that one side shows and the other compares: who has it may connect.
//!
//! Text only. Where it is kept, and who may read that file, is decided by whoever reads it. It is never
//! shown: not by `Debug`, not in an error.

use std::fmt;
use std::str::FromStr;

/// Fewest bytes of a token: with fewer, somebody could try them all.
pub const MIN_TOKEN_BYTES: usize = 16;
/// Most bytes of a token.
pub const MAX_TOKEN_BYTES: usize = 512;

/// A secret text.
///
/// ```
/// use telemetry_core::Token;
///
/// let token: Token = "b2f1c0ffee5eed00b2f1c0ffee5eed00\n".parse()?;
/// assert!(token.is(b"b2f1c0ffee5eed00b2f1c0ffee5eed00"));
/// assert!(!token.is(b"b2f1"));
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// # Ok::<(), telemetry_core::TokenError>(())
/// ```
#[derive(Clone)]
pub struct Token(String);

/// A text that is no token. What it was is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is too short or too long.
    #[error(
        "a token of {bytes} bytes; {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} are allowed, of which none \
         is a space"
    )]
    Length {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It has what a header could not carry.
    #[error("byte {at} of the token is no visible ASCII character")]
    Character {
        /// Where, from 0.
        at: usize,
    },
}

impl Token {
    /// Writes 32 random bytes as a token.
    #[must_use]
    pub fn of_bytes(bytes: [u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            // A string takes everything.
            let _written = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Whether it is this one. Takes as long for a guess that is nearly right as for any other of that length.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let pairs = own.iter().zip(given);
        let differing = pairs.fold(0, |differing, (own, given)| differing | (own ^ given));
        own.len() == given.len() && std::hint::black_box(differing) == 0
    }

    /// The secret itself, to be shown to the other side and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Takes as long for what is nearly the same as for anything else of that length.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }
}

impl Eq for Token {}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads what a file holds: white space around it does not belong to it.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        let bytes = text.len();
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&bytes) {
            return Err(TokenError::Length { bytes });
        }
        match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            Some(at) => Err(TokenError::Character { at }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How a token stands in an introduction.
pub(crate) mod shown {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Token;

    #[expect(clippy::ref_option, reason = "serde hands the field over like this")]
    pub(crate) fn serialize<S: Serializer>(
        token: &Option<Token>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match token {
            Some(token) => serializer.serialize_str(token.reveal()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Token>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone() {
        let token = Token::of_bytes([0xa5; 32]);
        let text = token.reveal().to_owned();
        assert_eq!(text.len(), 64);
        assert!(token.is(text.as_bytes()));
        for end in 0..text.len() {
            assert!(!token.is(&text.as_bytes()[..end]));
        }
        assert!(!token.is(format!("{text}a").as_bytes()));
        assert!(!token.is(text.to_uppercase().as_bytes()));
        assert_eq!(text.parse(), Ok(token));
    }

    #[test]
    fn what_is_none_is_refused_and_not_repeated() {
        for text in [
            "",
            "short",
            &"x".repeat(513),
            "sixteen or more, with a space",
            "sixteen\u{e4}or more",
        ] {
            let error = text.parse::<Token>().expect_err(text).to_string();
            assert!(
                !text.is_empty() && !error.contains(text) || text.is_empty(),
                "{error}"
            );
        }
        assert_eq!(
            "\t0123456789abcdef\r\n"
                .parse::<Token>()
                .map(|it| it.is(b"0123456789abcdef")),
            Ok(true)
        );
    }
}
