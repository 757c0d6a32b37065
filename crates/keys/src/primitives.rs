use aws_lc_rs::{constant_time, hmac};
use countersign_core::digest::Digest;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use zeroize::Zeroizing;

use crate::KeysError;
use crate::random::Random;

/// A 256-bit symmetric key. It lives on the heap, so that moving the owner leaves no copy behind on the stack.
#[derive(Debug)]
pub(crate) struct Secret32(SecretBox<[u8; 32]>);

impl Secret32 {
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, KeysError> {
        let mut secret = SecretBox::<[u8; 32]>::default();
        random.fill(secret.expose_secret_mut())?;
        Ok(Self(secret))
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, KeysError> {
        let mut secret = SecretBox::<[u8; 32]>::default();
        if bytes.len() != secret.expose_secret().len() {
            return Err(KeysError::KeyLength);
        }
        secret.expose_secret_mut().copy_from_slice(bytes);
        Ok(Self(secret))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// HMAC-SHA256 over the framed `label` and `parts`, see [`framed`].
    pub(crate) fn mac(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.expose());
        let tag = hmac::sign(&key, &framed(label, parts));
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        out
    }

    /// A key for one purpose, so that no key is ever used by two algorithms.
    pub(crate) fn derive(&self, label: &str) -> Result<Self, KeysError> {
        let mac = Zeroizing::new(self.mac(label, &[]));
        Self::from_slice(mac.as_slice())
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        same_bytes(self.expose(), other.expose())
    }
}

/// Takes equally long wherever the two differ.
pub(crate) fn same_bytes(one: &[u8], two: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, two).is_ok()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    *Digest::sha256(bytes).as_bytes()
}

/// `label` and every part, each after its length in bytes as a big-endian u64. Without the lengths, ("ab", "c") and ("a", "bc") would
/// authenticate as the same thing.
pub(crate) fn framed(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn lower_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_boundary_changes_the_framing() {
        assert_ne!(framed("l", &[b"ab", b"c"]), framed("l", &[b"a", b"bc"]));
        assert_ne!(framed("l", &[b"", b"a"]), framed("l", &[b"a", b""]));
        assert_ne!(framed("l", &[b"a"]), framed("la", &[]));
        assert_eq!(framed("l", &[b"ab"]), b"\0\0\0\0\0\0\0\x01l\0\0\0\0\0\0\0\x02ab");
    }

    #[test]
    fn sha256_of_abc_is_the_published_one() {
        assert_eq!(lower_hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn debug_of_a_key_shows_no_byte() {
        let key = Secret32::from_slice(&[0xab; 32]).unwrap();
        let shown = format!("{key:?}").to_lowercase();
        assert!(shown.contains("redacted"), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(matches!(Secret32::from_slice(&[1; 31]), Err(KeysError::KeyLength)));
        assert!(matches!(Secret32::from_slice(&[1; 33]), Err(KeysError::KeyLength)));
    }
}
