//! Ed25519 signing keys: of the log, of grants, of hosts.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, VerificationAlgorithm as _};
use secrecy::SecretSlice;

use crate::KeysError;
use crate::primitives::{Secret32, framed, lower_hex, sha256};
use crate::random::Random;

const KID_LABEL: &str = "countersign/kid/v1";
const ALGORITHM: &str = "Ed25519";
const KID_BYTES: usize = 8;

/// A private key. [`Self::to_pkcs8`] is the only way its bytes leave, and what it gives is meant to be sealed.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
    kid: String,
}

impl SigningKey {
    pub fn generate(random: &dyn Random) -> Result<Self, KeysError> {
        let seed = Secret32::generate(random)?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| KeysError::Crypto("make an Ed25519 key"))?;
        Self::from_pair(pair)
    }

    /// Takes PKCS#8 version 1 (as openssl writes it) and 2; in version 2 the public key must belong to the private one.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeysError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeysError::SigningKeyFormat)?;
        Self::from_pair(pair)
    }

    /// The private key as PKCS#8 version 1 in DER.
    pub fn to_pkcs8(&self) -> Result<SecretSlice<u8>, KeysError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| KeysError::Crypto("encode an Ed25519 key"))?;
        Ok(der.as_ref().to_vec().into())
    }

    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// See [`VerifyingKey::kid`].
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeysError> {
        let failed = || KeysError::Crypto("sign");
        let signature = self.pair.try_sign(message).map_err(|_| failed())?;
        signature.as_ref().try_into().map_err(|_| failed())
    }

    fn from_pair(pair: Ed25519KeyPair) -> Result<Self, KeysError> {
        let public = VerifyingKey::from_bytes(pair.public_key().as_ref())?;
        let kid = public.kid();
        Ok(Self { pair, public, kid })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [REDACTED])", self.kid)
    }
}

/// A public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeysError> {
        bytes.try_into().map(Self).map_err(|_| KeysError::PublicKeyFormat)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's name: the first 16 hex digits of SHA-256 over `countersign/kid/v1`, `Ed25519` and the public key, each after its length as
    /// a big-endian u64. It finds a key; it proves nothing.
    pub fn kid(&self) -> String {
        let digest = sha256(&framed(KID_LABEL, &[ALGORITHM.as_bytes(), &self.0]));
        lower_hex(digest.get(..KID_BYTES).unwrap_or_default())
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeysError> {
        ED25519.verify_sig(&self.0, message, signature).map_err(|_| KeysError::BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", lower_hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::testing::SeededRandom;

    fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap()).collect()
    }

    /// An RFC 8410 private key is the seed after a fixed header.
    fn from_seed(seed: &str) -> SigningKey {
        SigningKey::from_pkcs8(&unhex(&format!("302e020100300506032b657004220420{seed}"))).unwrap()
    }

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededRandom::new(seed)).unwrap()
    }

    /// RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature.
    const RFC_8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        for [seed, public, message, signature] in RFC_8032 {
            let key = from_seed(seed);
            assert_eq!(lower_hex(key.verifying_key().as_bytes()), public);
            assert_eq!(lower_hex(&key.sign(&unhex(message)).unwrap()), signature);
            let public = VerifyingKey::from_bytes(&unhex(public)).unwrap();
            public.verify(&unhex(message), &unhex(signature)).unwrap();
        }
    }

    #[test]
    fn a_key_survives_storage() {
        let made = key(1);
        let back = SigningKey::from_pkcs8(made.to_pkcs8().unwrap().expose_secret()).unwrap();
        assert_eq!(back.verifying_key(), made.verifying_key());
        assert_eq!(back.kid(), made.kid());
        assert_eq!(back.sign(b"m").unwrap(), made.sign(b"m").unwrap());
    }

    #[test]
    fn altered_messages_signatures_and_keys_are_refused() {
        let signature = key(1).sign(b"message").unwrap();
        let public = key(1).verifying_key().to_owned();
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"messagE", &signature).is_err());
        assert!(key(2).verifying_key().verify(b"message", &signature).is_err());
        for at in 0..64 {
            let mut altered = signature;
            *altered.get_mut(at).unwrap() ^= 1;
            assert!(public.verify(b"message", &altered).is_err(), "byte {at}");
        }
        assert!(public.verify(b"message", signature.get(..63).unwrap()).is_err());
        assert!(public.verify(b"message", &[&signature[..], &[0]].concat()).is_err());
    }

    /// S and S + L verify alike in a careless implementation, which would give one message two valid signatures.
    #[test]
    fn a_signature_has_one_spelling() {
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut signature = key(1).sign(b"message").unwrap();
        let mut carry = 0;
        for (byte, add) in signature.iter_mut().skip(32).zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        assert!(key(1).verifying_key().verify(b"message", &signature).is_err());
    }

    #[test]
    fn a_kid_is_fixed_by_the_public_key() {
        // python3: sha256(b"".join(struct.pack(">Q", len(p)) + p for p in (b"countersign/kid/v1", b"Ed25519", bytes.fromhex("d75a..511a"))))
        let [seed, ..] = RFC_8032[0];
        assert_eq!(from_seed(seed).kid(), "2dab3afefdddb79f");
        assert_ne!(key(1).kid(), key(2).kid());
    }

    #[test]
    fn other_bytes_are_no_keys() {
        let der = key(1).to_pkcs8().unwrap();
        assert!(SigningKey::from_pkcs8(&[]).is_err());
        assert!(SigningKey::from_pkcs8(der.expose_secret().get(1..).unwrap()).is_err());
        assert!(SigningKey::from_pkcs8(&[9; 32]).is_err());
        assert!(VerifyingKey::from_bytes(&[1; 31]).is_err());
        assert!(VerifyingKey::from_bytes(&[1; 44]).is_err());
    }

    #[test]
    fn debug_shows_the_kid_only() {
        let made = key(1);
        assert_eq!(format!("{made:?}"), format!("SigningKey({}, [REDACTED])", made.kid()));
    }
}
