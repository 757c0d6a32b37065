//! What the tests of this crate share: a key, a draft, and a tree that is computed the slow way.

use countersign_core::canonical::Value;
use countersign_core::digest::{Digest, Salt};
use countersign_core::entry::{CommittedField, EntryDraft, EntryKind};
use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::Digest as _;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::entry::{EncodedEntry, encode};
use crate::key::{SignError, Signer, VerifierKey};
use crate::tiles::TileMap;
use crate::tree::{Frontier, leaf_hash};

pub(crate) const ORIGIN: &str = "log.example/1";

pub(crate) struct TestKey {
    key: SigningKey,
    public: VerifierKey,
}

impl TestKey {
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::from_ed25519(name, key.verifying_key().as_bytes()).unwrap();
        Self { key, public }
    }
}

impl Signer for TestKey {
    fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.key.sign(message).to_vec())
    }
}

/// A log in memory with its rows.
pub(crate) struct TestLog {
    pub(crate) key: TestKey,
    pub(crate) frontier: Frontier,
    pub(crate) tiles: TileMap,
    pub(crate) rows: Vec<EncodedEntry>,
}

impl TestLog {
    pub(crate) fn new(entries: u64) -> Self {
        let mut log = Self {
            key: TestKey::new(ORIGIN, 1),
            frontier: Frontier::new(),
            tiles: TileMap::default(),
            rows: Vec::new(),
        };
        log.append((0..entries).map(|n| draft(EntryKind::LoginSucceeded, n)));
        log
    }

    pub(crate) fn append(&mut self, drafts: impl IntoIterator<Item = EntryDraft>) {
        let rows: Vec<_> = drafts.into_iter().map(|d| encode(&d, 1, "k").unwrap()).collect();
        let tiles = self.frontier.extend(rows.iter().map(|row| leaf_hash(&row.bytes))).unwrap();
        self.tiles.extend(tiles);
        self.rows.extend(rows);
    }

    pub(crate) fn checkpoint(&self) -> SignedCheckpoint {
        let (origin, head) = (ORIGIN.to_owned(), self.frontier.head());
        Checkpoint { origin, head }.sign(&self.key).unwrap()
    }

    pub(crate) fn leaves(&self) -> Vec<Vec<u8>> {
        self.rows.iter().map(|row| row.bytes.clone()).collect()
    }
}

pub(crate) fn request() -> RequestId {
    RequestId::new(Micros::from_micros(1_000), [1; 10])
}

pub(crate) fn draft(kind: EntryKind, n: u64) -> EntryDraft {
    let at = Micros::from_micros(i64::try_from(n).unwrap() * 1_000);
    EntryDraft {
        id: EntryId::new(at, [0; 10]),
        at,
        person: None,
        kind,
        request: kind.as_str().starts_with("request.").then(request),
        policy: None,
        clear: vec![("stage", Value::from("challenged"))],
        committed: vec![CommittedField {
            field: "person",
            salt: Salt::from_bytes(u128::from(n).to_be_bytes()),
            value: Value::from(format!("person-{n}")),
        }],
    }
}

/// Leaf hashes that are all different.
pub(crate) fn numbered(n: u64) -> impl Iterator<Item = Digest> {
    (0..n).map(|i| Digest::sha256(&i.to_be_bytes()))
}

/// The definition of RFC 6962, section 2.1, word for word, with another hash call than the code under test.
pub(crate) fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            let mut hash = sha2::Sha256::new();
            hash.update([1]);
            hash.update(naive_root(&leaves[..k]).as_bytes());
            hash.update(naive_root(&leaves[k..]).as_bytes());
            Digest::from_bytes(hash.finalize().into())
        }
    }
}
