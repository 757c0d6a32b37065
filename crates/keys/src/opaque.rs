//! Opaque bearer values: sessions, API tokens, one-time links. The holder keeps the text, the database keeps its SHA-256.
//!
//! A plain hash is enough because there are 256 random bits to guess, and a constant-time comparison is not needed because a value is
//! looked up by its hash: what an attacker could time is how far a hash agrees that he cannot steer.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::KeysError;
use crate::primitives::sha256;
use crate::random::Random;

/// The fixed start lets secret scanners recognise a leaked value.
const PREFIX: &str = "cs_";
const KIND_MAX: usize = 16;
const SECRET_LEN: usize = 32;
/// 32 bytes in base64url without padding.
const ENCODED_LEN: usize = 43;

/// `cs_<kind>_<43 characters of base64url>`, 256 bits of it secret. The kind is 1 to 16 lower-case ASCII letters and digits.
#[derive(Clone)]
pub struct OpaqueToken {
    kind: String,
    text: SecretString,
}

impl OpaqueToken {
    pub fn generate(random: &dyn Random, kind: &str) -> Result<Self, KeysError> {
        check_kind(kind)?;
        let mut secret = SecretBox::<[u8; SECRET_LEN]>::default();
        random.fill(secret.expose_secret_mut())?;
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.expose_secret()));
        // The capacity is exact: a growing string would leave copies of the secret in freed memory.
        let mut text = String::with_capacity(PREFIX.len() + kind.len() + 1 + encoded.len());
        text.push_str(PREFIX);
        text.push_str(kind);
        text.push('_');
        text.push_str(&encoded);
        Ok(Self { kind: kind.to_owned(), text: text.into() })
    }

    /// Accepts exactly what [`Self::generate`] writes: no white space, no padding, no other alphabet, no spare bits. Each token has one
    /// spelling, so one hash.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let rest = text.strip_prefix(PREFIX).ok_or(KeysError::TokenShape)?;
        let (kind, encoded) = rest.split_once('_').ok_or(KeysError::TokenShape)?;
        check_kind(kind).map_err(|_| KeysError::TokenShape)?;
        if encoded.len() != ENCODED_LEN {
            return Err(KeysError::TokenShape);
        }
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeysError::TokenShape)?);
        if secret.len() != SECRET_LEN {
            return Err(KeysError::TokenShape);
        }
        Ok(Self { kind: kind.to_owned(), text: text.into() })
    }

    /// As [`Self::parse`], and refuses another kind: a one-time link must never pass as a session.
    pub fn parse_kind(text: &str, kind: &str) -> Result<Self, KeysError> {
        let token = Self::parse(text)?;
        if token.kind == kind { Ok(token) } else { Err(KeysError::TokenShape) }
    }

    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The text for its holder. Show it once; it cannot be had again from what is stored.
    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// SHA-256 over the whole text, kind included: what is stored and looked up.
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.text.expose_secret().as_bytes())
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpaqueToken({PREFIX}{}_[REDACTED])", self.kind)
    }
}

fn check_kind(kind: &str) -> Result<(), KeysError> {
    let plain = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if plain && (1..=KIND_MAX).contains(&kind.len()) { Ok(()) } else { Err(KeysError::TokenKind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    fn token() -> OpaqueToken {
        OpaqueToken::generate(&SeededRandom::new(3), "session").unwrap()
    }

    #[test]
    fn text_and_hash_survive_parsing() {
        let made = token();
        let text = made.text().expose_secret();
        assert_eq!(text.len(), "cs_session_".len() + 43);
        let read = OpaqueToken::parse_kind(text, "session").unwrap();
        assert_eq!(read.kind(), "session");
        assert_eq!(read.hash(), made.hash());
        assert_eq!(read.hash(), sha256(text.as_bytes()));
    }

    #[test]
    fn two_tokens_differ() {
        let random = SeededRandom::new(4);
        let one = OpaqueToken::generate(&random, "api").unwrap();
        let two = OpaqueToken::generate(&random, "api").unwrap();
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn other_spellings_are_refused() {
        let text = token().text().expose_secret().to_owned();
        let bad = [
            String::new(),
            "cs_".to_owned(),
            "cs__".to_owned(),
            format!(" {text}"),
            format!("{text}\n"),
            format!("{text}="),
            format!("{text}A"),
            text.to_uppercase(),
            text.replacen("cs_", "", 1),
            text.replacen("session", "", 1),
            text.replacen("session", "ses-ion", 1),
            text.replacen("session", "sessionsessionsession", 1),
            text.chars().take(text.len() - 1).collect(),
            format!("cs_session_{}", "+".repeat(43)),
            format!("cs_session_{}é", "A".repeat(41)),
        ];
        for text in &bad {
            assert!(matches!(OpaqueToken::parse(text), Err(KeysError::TokenShape)), "{text:?}");
        }
    }

    /// 43 characters carry 258 bits. Were the two spare bits ignored, four texts would be one token with four hashes.
    #[test]
    fn spare_bits_must_be_zero() {
        let good = format!("cs_api_{}A", "A".repeat(42));
        assert!(OpaqueToken::parse(&good).is_ok());
        for last in ['B', 'C', 'D'] {
            assert!(OpaqueToken::parse(&format!("cs_api_{}{last}", "A".repeat(42))).is_err());
        }
    }

    #[test]
    fn a_kind_is_checked_on_both_sides() {
        let made = token();
        assert!(OpaqueToken::parse_kind(made.text().expose_secret(), "api").is_err());
        for kind in ["", "Session", "a_b", "a-b", "ä", "aaaaaaaaaaaaaaaaa"] {
            assert!(matches!(OpaqueToken::generate(&SeededRandom::new(1), kind), Err(KeysError::TokenKind)), "{kind}");
        }
    }

    #[test]
    fn debug_shows_the_kind_only() {
        assert_eq!(format!("{:?}", token()), "OpaqueToken(cs_session_[REDACTED])");
    }
}
