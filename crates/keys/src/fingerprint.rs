//! The match fingerprint: how servers find a live grant or a retry for an operation without anybody else being able to guess the
//! operation back. It is never published; what people sign is the salted request digest, which `core` computes.

use secrecy::SecretSlice;

use crate::KeysError;
use crate::primitives::Secret32;
use crate::random::Random;

const LABEL: &str = "countersign/match/v1";

/// The key that all servers and stateless signers of one installation share, so that they reach the same fingerprint.
#[derive(Debug)]
pub struct FingerprintKey(Secret32);

impl FingerprintKey {
    pub fn generate(random: &dyn Random) -> Result<Self, KeysError> {
        Secret32::generate(random).map(Self)
    }

    /// From the 32 bytes that [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeysError> {
        Secret32::from_slice(bytes).map(Self)
    }

    /// The 32 key bytes, to be sealed and stored.
    pub fn to_bytes(&self) -> SecretSlice<u8> {
        self.0.expose().to_vec().into()
    }

    /// HMAC-SHA256 under this key over the label and the canonical form of an operation, each after its length as a big-endian u64.
    pub fn fingerprint(&self, canonical: &[u8]) -> [u8; 32] {
        self.0.mac(LABEL, &[canonical])
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::primitives::lower_hex;
    use crate::testing::SeededRandom;

    #[test]
    fn the_value_is_the_one_an_independent_implementation_computes() {
        let key = FingerprintKey::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
        // python3: hmac.new(bytes(range(32)), b"".join(struct.pack(">Q", len(p)) + p for p in
        //          (b"countersign/match/v1", b'{"action":"deploy"}')), "sha256").hexdigest()
        assert_eq!(
            lower_hex(&key.fingerprint(br#"{"action":"deploy"}"#)),
            "9adf4e8b327e752c6c45a09b0f4877e32e292130ca55140241512111435b3cf5"
        );
    }

    #[test]
    fn it_depends_on_every_byte_and_on_the_key() {
        let random = SeededRandom::new(1);
        let key = FingerprintKey::generate(&random).unwrap();
        let other = FingerprintKey::generate(&random).unwrap();
        let value = key.fingerprint(b"operation");
        assert_ne!(value, key.fingerprint(b"operatioN"));
        assert_ne!(value, key.fingerprint(b"operation "));
        assert_ne!(value, other.fingerprint(b"operation"));
    }

    #[test]
    fn it_survives_storage() {
        let key = FingerprintKey::generate(&SeededRandom::new(2)).unwrap();
        let back = FingerprintKey::from_bytes(key.to_bytes().expose_secret()).unwrap();
        assert_eq!(key.fingerprint(b"x"), back.fingerprint(b"x"));
        assert!(FingerprintKey::from_bytes(&[0; 16]).is_err());
    }
}
