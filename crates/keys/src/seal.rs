//! Secrets at rest: AES-256-GCM under data keys, which are wrapped by the master key.
//!
//! A sealed value is `0x01 || data key id, u32 big-endian || nonce, 12 bytes || ciphertext || tag, 16 bytes`. What is authenticated with it
//! is the place where it lies: the label `countersign/seal/v1`, table, column and row, each after its length as a big-endian u64. Whoever
//! can write to the database can therefore not move bob's TOTP secret into alice's row.
//!
//! Nonces are random, so one data key should seal fewer than 2^32 values; rotate long before.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use countersign_core::sealed::Sealed;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretSlice};

use crate::KeysError;
use crate::master::MasterKey;
use crate::primitives::{Secret32, framed};
use crate::random::{self, Random};

const VERSION: u8 = 0x01;
const SEAL_LABEL: &str = "countersign/seal/v1";
const WRAP_LABEL: &str = "countersign/wrap/v1";
/// Stands for the master key in the id field of a wrapped data key.
const MASTER_ID: u32 = 0;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + 4 + NONCE_LEN;

/// Where a sealed value lies. `row` is the text of the row's key, and must be the same text when the value is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    pub table: &'a str,
    pub column: &'a str,
    pub row: &'a str,
}

/// A 256-bit key that seals values. Ids start at 1 and are never used again for another key.
#[derive(Debug)]
pub struct DataKey {
    id: u32,
    key: Secret32,
}

impl DataKey {
    pub fn generate(id: u32, random: &dyn Random) -> Result<Self, KeysError> {
        check_id(id)?;
        let key = Secret32::generate(random)?;
        Ok(Self { id, key })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// The form in which the key is stored. It opens only with [`Self::unwrap`], under this master key and this id.
    pub fn wrap(&self, master: &MasterKey, random: &dyn Random) -> Result<Sealed, KeysError> {
        encrypt(&master.wrapping_key()?, MASTER_ID, &wrap_aad(self.id), random, self.key.expose())
    }

    /// Check the master key with [`MasterKey::verify_check_value`] first: its error tells a wrong master key from a damaged row.
    pub fn unwrap(id: u32, wrapped: &Sealed, master: &MasterKey) -> Result<Self, KeysError> {
        check_id(id)?;
        let parts = Parts::of(wrapped)?;
        if parts.key_id != MASTER_ID {
            return Err(KeysError::SealedShape);
        }
        let bytes = decrypt(&master.wrapping_key()?, &wrap_aad(id), &parts)?;
        let key = Secret32::from_slice(bytes.expose_secret())?;
        Ok(Self { id, key })
    }
}

/// Seals under the current data key and opens under every key it holds.
pub struct Sealer {
    current: u32,
    keys: BTreeMap<u32, DataKey>,
}

impl Sealer {
    /// `older` are the keys that still have values to open.
    pub fn new(current: DataKey, older: impl IntoIterator<Item = DataKey>) -> Result<Self, KeysError> {
        let mut sealer = Self { current: current.id, keys: BTreeMap::from([(current.id, current)]) };
        for key in older {
            sealer.add(key)?;
        }
        Ok(sealer)
    }

    /// The id that new values carry.
    pub fn current_id(&self) -> u32 {
        self.current
    }

    /// Lets a key open values without sealing with it: what a replica does when another one has rotated. The same key again is no error.
    pub fn add(&mut self, key: DataKey) -> Result<(), KeysError> {
        match self.keys.get(&key.id) {
            Some(known) if !known.key.same(&key.key) => Err(KeysError::DataKeyTaken(key.id)),
            Some(_) => Ok(()),
            None => {
                self.keys.insert(key.id, key);
                Ok(())
            }
        }
    }

    /// Seals with `new` from now on; the keys before it still open. Store the wrapped key durably first, or what it seals is lost.
    pub fn rotate(&mut self, new: DataKey) -> Result<(), KeysError> {
        let id = new.id;
        self.add(new)?;
        self.current = id;
        Ok(())
    }

    pub fn seal(&self, random: &dyn Random, context: &SealContext<'_>, plaintext: &[u8]) -> Result<Sealed, KeysError> {
        let key = self.key(self.current)?;
        encrypt(key, self.current, &seal_aad(context), random, plaintext)
    }

    pub fn open(&self, context: &SealContext<'_>, sealed: &Sealed) -> Result<SecretSlice<u8>, KeysError> {
        let parts = Parts::of(sealed)?;
        decrypt(self.key(parts.key_id)?, &seal_aad(context), &parts)
    }

    /// The same value under the current key, or `None` if it is there already. Rotation is complete when every row answers `None`.
    pub fn reseal(
        &self,
        random: &dyn Random,
        context: &SealContext<'_>,
        sealed: &Sealed,
    ) -> Result<Option<Sealed>, KeysError> {
        if key_id(sealed)? == self.current {
            return Ok(None);
        }
        let plaintext = self.open(context, sealed)?;
        self.seal(random, context, plaintext.expose_secret()).map(Some)
    }

    fn key(&self, id: u32) -> Result<&Secret32, KeysError> {
        self.keys.get(&id).map(|data_key| &data_key.key).ok_or(KeysError::UnknownDataKey(id))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("current", &self.current).field("ids", &self.keys.keys()).finish()
    }
}

/// The id of the data key that a value names. Nothing is authenticated yet: good for counting rows, not for trusting them.
pub fn key_id(sealed: &Sealed) -> Result<u32, KeysError> {
    Parts::of(sealed).map(|parts| parts.key_id)
}

struct Parts<'a> {
    key_id: u32,
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a Sealed) -> Result<Self, KeysError> {
        Self::split(sealed.as_bytes()).ok_or(KeysError::SealedShape)
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        (version == VERSION).then_some(Self { key_id: u32::from_be_bytes(*id), nonce: *nonce, ciphertext, tag })
    }
}

fn encrypt(
    key: &Secret32,
    key_id: u32,
    aad: &[u8],
    random: &dyn Random,
    plaintext: &[u8],
) -> Result<Sealed, KeysError> {
    let nonce: [u8; NONCE_LEN] = random::bytes(random)?;
    let mut ciphertext = vec![0; plaintext.len()];
    let mut tag = [0; TAG_LEN];
    cipher(key)?
        .seal_out_of_place_scatter(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            plaintext,
            &mut ciphertext,
            &[],
            &mut tag,
        )
        .map_err(|_| KeysError::Crypto("encrypt"))?;
    let mut out = Vec::with_capacity(HEADER_LEN + ciphertext.len() + TAG_LEN);
    out.push(VERSION);
    out.extend_from_slice(&key_id.to_be_bytes());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&ciphertext);
    out.extend_from_slice(&tag);
    Ok(Sealed::from_bytes(out))
}

fn decrypt(key: &Secret32, aad: &[u8], parts: &Parts<'_>) -> Result<SecretSlice<u8>, KeysError> {
    let mut plaintext = SecretSlice::from(vec![0; parts.ciphertext.len()]);
    cipher(key)?
        .open_separate_gather(
            Nonce::assume_unique_for_key(parts.nonce),
            Aad::from(aad),
            parts.ciphertext,
            parts.tag,
            plaintext.expose_secret_mut(),
        )
        .map_err(|_| KeysError::SealBroken)?;
    Ok(plaintext)
}

fn cipher(key: &Secret32) -> Result<LessSafeKey, KeysError> {
    UnboundKey::new(&AES_256_GCM, key.expose())
        .map(LessSafeKey::new)
        .map_err(|_| KeysError::Crypto("set up AES-256-GCM"))
}

fn seal_aad(context: &SealContext<'_>) -> Vec<u8> {
    framed(SEAL_LABEL, &[context.table.as_bytes(), context.column.as_bytes(), context.row.as_bytes()])
}

fn wrap_aad(id: u32) -> Vec<u8> {
    framed(WRAP_LABEL, &[&id.to_be_bytes()])
}

fn check_id(id: u32) -> Result<(), KeysError> {
    if id == MASTER_ID { Err(KeysError::ReservedDataKey) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    const ROW: SealContext<'static> = SealContext { table: "authenticators", column: "secret", row: "018f-bob" };

    fn random() -> SeededRandom {
        SeededRandom::new(11)
    }

    fn sealer(random: &dyn Random) -> Sealer {
        Sealer::new(DataKey::generate(1, random).unwrap(), []).unwrap()
    }

    fn master(seed: u64) -> MasterKey {
        MasterKey::generate(&SeededRandom::new(seed)).unwrap()
    }

    #[test]
    fn a_value_comes_back() {
        let random = random();
        let sealer = sealer(&random);
        for plaintext in [&b""[..], b"x", &[7; 1000]] {
            let value = sealer.seal(&random, &ROW, plaintext).unwrap();
            assert_eq!(value.as_bytes().len(), plaintext.len() + 33);
            assert_eq!(sealer.open(&ROW, &value).unwrap().expose_secret(), plaintext);
        }
    }

    #[test]
    fn the_format_is_the_one_an_independent_implementation_writes() {
        // python3: AESGCM(bytes(range(32))).encrypt(bytes(range(12)), b"totp secret", aad) of the package `cryptography`, where aad is
        // b"".join(struct.pack(">Q", len(p)) + p for p in (b"countersign/seal/v1", b"authenticators", b"secret", b"018f-bob")).
        let ciphertext = "336da26be596a778ff24e3bf36c988122e05e6320270f076566156";
        let hex = format!("0100000007000102030405060708090a0b{ciphertext}");
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap());
        let key = DataKey { id: 7, key: Secret32::from_slice(&(0..32).collect::<Vec<u8>>()).unwrap() };
        let value = Sealed::from_bytes(bytes.collect());
        let opened = Sealer::new(key, []).unwrap().open(&ROW, &value).unwrap();
        assert_eq!(opened.expose_secret(), b"totp secret");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let random = random();
        let sealer = sealer(&random);
        let good = sealer.seal(&random, &ROW, b"secret").unwrap();
        for bit in 0..good.as_bytes().len() * 8 {
            let mut bytes = good.as_bytes().to_vec();
            *bytes.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert!(sealer.open(&ROW, &Sealed::from_bytes(bytes)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_longer_or_shorter_value_is_refused() {
        let random = random();
        let sealer = sealer(&random);
        let good = sealer.seal(&random, &ROW, b"secret").unwrap();
        for len in 0..good.as_bytes().len() {
            let cut = Sealed::from_bytes(good.as_bytes().iter().copied().take(len).collect());
            assert!(sealer.open(&ROW, &cut).is_err(), "{len} bytes");
        }
        let mut longer = good.as_bytes().to_vec();
        longer.push(0);
        assert!(matches!(sealer.open(&ROW, &Sealed::from_bytes(longer)), Err(KeysError::SealBroken)));
    }

    #[test]
    fn a_value_opens_only_where_it_was_put() {
        let random = random();
        let sealer = sealer(&random);
        let value = sealer.seal(&random, &ROW, b"secret").unwrap();
        let elsewhere = [
            SealContext { row: "018f-alice", ..ROW },
            SealContext { column: "secret2", ..ROW },
            SealContext { table: "tokens", ..ROW },
            // The same text in all, cut at another place.
            SealContext { column: "secret0", row: "18f-bob", ..ROW },
            SealContext { table: "authenticatorss", column: "ecret", ..ROW },
        ];
        for context in elsewhere {
            assert!(matches!(sealer.open(&context, &value), Err(KeysError::SealBroken)), "{context:?}");
        }
    }

    #[test]
    fn the_named_key_decides() {
        let random = random();
        let value = sealer(&random).seal(&random, &ROW, b"secret").unwrap();
        let same_id = sealer(&random);
        assert!(matches!(same_id.open(&ROW, &value), Err(KeysError::SealBroken)));
        let other_id = Sealer::new(DataKey::generate(2, &random).unwrap(), []).unwrap();
        assert!(matches!(other_id.open(&ROW, &value), Err(KeysError::UnknownDataKey(1))));
    }

    #[test]
    fn the_same_value_never_looks_the_same_twice() {
        let random = random();
        let sealer = sealer(&random);
        assert_ne!(sealer.seal(&random, &ROW, b"x").unwrap(), sealer.seal(&random, &ROW, b"x").unwrap());
    }

    #[test]
    fn after_a_rotation_old_values_open_and_are_moved_over() {
        let random = random();
        let mut sealer = sealer(&random);
        let old = sealer.seal(&random, &ROW, b"secret").unwrap();
        sealer.rotate(DataKey::generate(2, &random).unwrap()).unwrap();
        assert_eq!(sealer.current_id(), 2);
        assert_eq!(sealer.open(&ROW, &old).unwrap().expose_secret(), b"secret");
        let new = sealer.reseal(&random, &ROW, &old).unwrap().unwrap();
        assert_eq!((key_id(&old).unwrap(), key_id(&new).unwrap()), (1, 2));
        assert_eq!(sealer.open(&ROW, &new).unwrap().expose_secret(), b"secret");
        assert!(sealer.reseal(&random, &ROW, &new).unwrap().is_none());
    }

    #[test]
    fn an_id_never_changes_its_key() {
        let random = random();
        let mut sealer = sealer(&random);
        assert!(matches!(sealer.rotate(DataKey::generate(1, &random).unwrap()), Err(KeysError::DataKeyTaken(1))));
        assert!(matches!(DataKey::generate(0, &random), Err(KeysError::ReservedDataKey)));

        let wrapped = DataKey::generate(5, &random).unwrap();
        let wrapped = wrapped.wrap(&master(1), &random).unwrap();
        for _ in 0..2 {
            sealer.add(DataKey::unwrap(5, &wrapped, &master(1)).unwrap()).unwrap();
        }
        assert_eq!(sealer.current_id(), 1);
    }

    #[test]
    fn a_wrapped_key_seals_as_before() {
        let random = random();
        let key = DataKey::generate(3, &random).unwrap();
        let wrapped = key.wrap(&master(1), &random).unwrap();
        let value = Sealer::new(key, []).unwrap().seal(&random, &ROW, b"secret").unwrap();
        let back = Sealer::new(DataKey::unwrap(3, &wrapped, &master(1)).unwrap(), []).unwrap();
        assert_eq!(back.open(&ROW, &value).unwrap().expose_secret(), b"secret");
    }

    #[test]
    fn a_wrapped_key_needs_its_master_key_and_its_id() {
        let random = random();
        let wrapped = DataKey::generate(3, &random).unwrap().wrap(&master(1), &random).unwrap();
        assert!(matches!(DataKey::unwrap(3, &wrapped, &master(2)), Err(KeysError::SealBroken)));
        assert!(matches!(DataKey::unwrap(4, &wrapped, &master(1)), Err(KeysError::SealBroken)));
        assert!(matches!(DataKey::unwrap(0, &wrapped, &master(1)), Err(KeysError::ReservedDataKey)));
    }

    /// A value in some column must not be taken for a key, nor a key for a value.
    #[test]
    fn wrapped_keys_and_sealed_values_do_not_mix() {
        let random = random();
        let sealer = sealer(&random);
        let wrapped = DataKey::generate(3, &random).unwrap().wrap(&master(1), &random).unwrap();
        assert!(matches!(sealer.open(&ROW, &wrapped), Err(KeysError::UnknownDataKey(0))));
        let value = sealer.seal(&random, &ROW, &[5; 32]).unwrap();
        assert!(matches!(DataKey::unwrap(1, &value, &master(1)), Err(KeysError::SealedShape)));
    }

    #[test]
    fn debug_shows_ids_only() {
        let random = random();
        let sealer = sealer(&random);
        assert_eq!(format!("{sealer:?}"), "Sealer { current: 1, ids: [1] }");
        assert!(format!("{:?}", DataKey::generate(9, &random).unwrap()).contains("REDACTED"));
    }
}
