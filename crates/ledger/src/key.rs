//! Keys of a log, in the notation of C2SP `signed-note`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::error::Error;

/// First byte of an encoded public key: Ed25519.
const ALG_ED25519: u8 = 0x01;

/// The public half of a log's key: `<name>+<hash>+<base64 of 0x01 and 32 bytes of Ed25519>`. Its name is the log's origin.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

/// The private half; it lives in a room of its own.
pub trait Signer {
    /// The key that [`Signer::sign`] signs with.
    fn verifier_key(&self) -> &VerifierKey;

    /// The 64 bytes of an Ed25519 signature over the message.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Why the private half did not sign; the text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

impl VerifierKey {
    /// The key with this name and these 32 public bytes.
    pub fn from_ed25519(name: &str, public: &[u8; 32]) -> Result<Self, Error> {
        if !signed_note::is_key_name_valid(name) || name.chars().any(char::is_control) {
            return Err(Error::LogName);
        }
        let key = VerifyingKey::from_bytes(public).map_err(|_| Error::VerifierKey("not a point of Ed25519"))?;
        // Under a key of small order one signature fits many messages.
        if key.is_weak() {
            return Err(Error::VerifierKey("a weak key"));
        }
        let id = signed_note::key_id(name, &encoded(&key));
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// The key's name, which is the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hash of name and key that signature lines carry.
    pub fn key_id(&self) -> u32 {
        self.id
    }

    /// The same as 8 hexadecimal characters: the `kid` of entries.
    pub fn kid(&self) -> String {
        format!("{:08x}", self.id)
    }

    /// The 32 public bytes.
    pub fn public_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    /// Only the spelling that [`fmt::Display`] writes, so that equal text and equal keys are the same thing.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::VerifierKey("it has three parts"));
        };
        let bytes = STANDARD.decode(key).map_err(|_| Error::VerifierKey("the last part is not base64"))?;
        let public = match bytes.split_first() {
            Some((&ALG_ED25519, public)) => {
                public.try_into().map_err(|_| Error::VerifierKey("the key is not 32 bytes"))?
            }
            _ => return Err(Error::VerifierKey("not an Ed25519 key")),
        };
        let key = Self::from_ed25519(name, public)?;
        if key.to_string() != text {
            return Err(Error::VerifierKey("the hash does not fit name and key"));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&signed_note::new_ed25519_verifier_key(&self.name, &self.key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl signed_note::Verifier for VerifierKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, msg: &[u8], sig: &[u8]) -> bool {
        self.verifies(msg, sig)
    }
}

fn encoded(key: &VerifyingKey) -> Vec<u8> {
    [[ALG_ED25519].as_slice(), key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published with the Go package `sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_published_key_reads_and_writes() {
        let key: VerifierKey = PETER.parse().unwrap();
        assert_eq!((key.name(), key.kid().as_str()), ("PeterNeumann", "c74f20a3"));
        assert_eq!(key.to_string(), PETER);
        assert_eq!(VerifierKey::from_ed25519("PeterNeumann", &key.public_bytes()).unwrap(), key);
    }

    #[test]
    fn other_spellings_and_weak_keys_are_refused() {
        let zeros = STANDARD.encode([&[1][..], &[0; 32]].concat());
        for text in [
            PETER.replace("c74f20a3", "C74F20A3"),
            PETER.replace("c74f20a3", "c74f20a4"),
            PETER.replace("PeterNeumann", "Peter Neumann"),
            PETER.replace("PeterNeumann", "PeterNeuman"),
            PETER.replace("+ARpc", "+Arpc"),
            PETER.replace("10TW", "10T"),
            format!("{PETER}="),
            format!("name+00000000+{zeros}"),
            String::new(),
        ] {
            assert!(text.parse::<VerifierKey>().is_err(), "{text}");
        }
    }
}
