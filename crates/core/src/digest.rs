//! SHA-256 digests, salts and the commitment that stands for a value in the public log.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// First part of what a commitment hashes; another version is another string.
const COMMIT_LABEL: &[u8] = b"countersign/commit/v1";

/// A SHA-256 digest, written as 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// 128 random bits that keep a committed value from being guessed back; written as base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt([u8; 16]);

/// Text that is not a digest or a salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Not 64 lower-case hexadecimal characters.
    #[error("a digest is 64 lower-case hexadecimal characters")]
    Digest,
    /// Not the base64 of 16 bytes.
    #[error("a salt is 16 bytes in base64")]
    Salt,
}

impl Digest {
    /// SHA-256 of these bytes.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Salt {
    /// A salt of these bytes; they come from a secure source of randomness.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The base64 text, 24 characters.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

/// The commitment to `value` as the content of `field`:
///
/// `SHA-256(len(L) L len(field) field len(salt) salt len(value) value)`
///
/// where `L` is `countersign/commit/v1` and each `len` is 8 bytes, big-endian. The lengths keep two different splits of the same bytes apart. By
/// convention `value` is a canonical form ([`crate::canonical::Value::canonical`]).
pub fn commit(field: &str, salt: &Salt, value: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    for part in [COMMIT_LABEL, field.as_bytes(), &salt.0, value] {
        // usize is never wider than 64 bits on a platform that Rust supports.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(")?;
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

/// Whoever has a salt can guess its value, so it stays out of logs.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.as_bytes();
        if hex.len() != 64 {
            return Err(DigestError::Digest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let &[high, low] = pair else {
                return Err(DigestError::Digest);
            };
            *byte = (nibble(high)? << 4) | nibble(low)?;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Salt {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let bytes = STANDARD.decode(text).map_err(|_| DigestError::Salt)?;
        bytes.try_into().map(Self).map_err(|_| DigestError::Salt)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn nibble(c: u8) -> Result<u8, DigestError> {
    match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(DigestError::Digest),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Computed with Python's hashlib and struct.
    #[test]
    fn known_commitments() {
        let counting = Salt::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(
            commit("target", &counting, b"\"db-prod-1\"").to_string(),
            "9035a60c2c24bc3442138b3cfe51c951cf32f74de000e87ad972fba0c6012ca1"
        );
        assert_eq!(
            commit("", &Salt::from_bytes([0; 16]), b"").to_string(),
            "dba3d81be602f3c539412f5f65db3700e46ebfb260232d414b5939dcd92f1eb6"
        );
        assert_eq!(
            commit("größe", &Salt::from_bytes([255; 16]), br#"{"$int":"9007199254740993"}"#).to_string(),
            "64d244ade78b1d7cfccaf735fbe39eb2820467a5f105535d4ae8264612304395"
        );
    }

    #[test]
    fn another_split_is_another_commitment() {
        let salt = Salt::from_bytes([7; 16]);
        assert_ne!(commit("ab", &salt, b"c"), commit("a", &salt, b"bc"));
    }

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn sha256_of_abc() {
        assert_eq!(
            Digest::sha256(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn one_spelling_each() {
        let digest = Digest::sha256(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let upper = digest.to_string().to_uppercase();
        assert_eq!(upper.parse::<Digest>(), Err(DigestError::Digest));
        assert_eq!("ab".parse::<Digest>(), Err(DigestError::Digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);

        let salt = Salt::from_bytes([250; 16]);
        assert_eq!(salt.to_base64().parse(), Ok(salt));
        assert_eq!("+vr6".parse::<Salt>(), Err(DigestError::Salt));
        let json = serde_json::to_string(&salt).unwrap();
        assert_eq!(serde_json::from_str::<Salt>(&json).unwrap(), salt);
    }

    #[test]
    fn debug_does_not_tell_a_salt() {
        assert_eq!(format!("{:?}", Salt::from_bytes([1; 16])), "Salt(..)");
        assert_eq!(format!("{:?}", Digest::sha256(b"abc")), "Digest(ba7816bf..)");
    }
}
