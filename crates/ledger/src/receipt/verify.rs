//! The check of a receipt. Order matters: the key is judged before anything it signed, and nothing is shown that is not proved.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::canonical::Value;
use countersign_core::digest::commit;
use countersign_core::entry::EntryKind;
use countersign_core::ids::RequestId;

use super::{EntryFault, Receipt, ReceiptEntry, ReceiptError};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::entry::{Entry, decode};
use crate::error::Error;
use crate::key::VerifierKey;
use crate::proof::{TlogProof, verify_inclusion};
use crate::tree::leaf_hash;

/// The clear field that numbers a request's entries from 1 on, so that a receipt cannot leave one out.
const SEQUENCE: &str = "seq";

/// Who vouches for the log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The reader had pinned this very key.
    Pinned,
    /// Nobody: the receipt is consistent in itself, but anybody can make one that is. This is the key that it brought along.
    Unknown(Box<VerifierKey>),
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    /// The request.
    pub request: RequestId,
    /// Whether the key was known before.
    pub trust: Trust,
    /// The checkpoint that all entries are included in; to be remembered, an older one can show a cut tail later.
    pub checkpoint: Checkpoint,
    /// Its signed text.
    pub checkpoint_text: String,
    /// The request's entries in the order of the log.
    pub entries: Vec<VerifiedEntry>,
    /// Entries of type `key`.
    pub keys: Vec<VerifiedEntry>,
    /// Whether the entries are numbered and none is missing between the first and the last. What came later can be missing always.
    pub gapless: bool,
}

/// An entry that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    /// Its place in the log.
    pub index: u64,
    /// What the log says in clear.
    pub entry: Entry,
    /// The committed values that the receipt opens.
    pub opened: BTreeMap<String, Value>,
    /// The committed fields that it does not: erased, or withheld.
    pub closed: BTreeSet<String>,
}

impl VerifiedEntry {
    /// The type, if this version knows it.
    pub fn kind(&self) -> Option<EntryKind> {
        self.entry.kind()
    }

    /// A field's value, clear or opened; no field is both.
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.entry.clear.get(field).or_else(|| self.opened.get(field))
    }

    /// The same, if it is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.value(field)?.as_str()
    }

    /// Whether the log holds a value of this field that the receipt does not show.
    pub fn is_closed(&self, field: &str) -> bool {
        self.closed.contains(field)
    }
}

impl Verified {
    /// The entries of one type.
    pub fn of_kind(&self, kind: EntryKind) -> impl Iterator<Item = &VerifiedEntry> {
        self.entries.iter().filter(move |entry| entry.kind() == Some(kind))
    }

    /// Whether the log's key was known before.
    pub fn is_pinned(&self) -> bool {
        self.trust == Trust::Pinned
    }
}

impl Receipt {
    /// Checks everything that can be checked offline. With `pinned` the log's key must be that one; without, the outcome says that the key is
    /// unknown. With `expected` the receipt must be about that request.
    pub fn verify(&self, pinned: Option<&VerifierKey>, expected: Option<RequestId>) -> Result<Verified, ReceiptError> {
        let trust = match pinned {
            None => Trust::Unknown(Box::new(self.key.clone())),
            Some(key) if *key == self.key => Trust::Pinned,
            Some(key) => {
                return Err(ReceiptError::Pin { pinned: key.to_string(), found: self.key.to_string() });
            }
        };
        if self.key.name() != self.origin {
            return Err(ReceiptError::Shape("`log.origin` is not the name of `log.key`"));
        }
        if expected.is_some_and(|request| request != self.request) {
            return Err(ReceiptError::OtherRequest(self.request));
        }
        let first = self.entries.first().ok_or(ReceiptError::Empty)?;
        let checkpoint = checkpoint_of(first, &self.key)
            .map_err(|reason| ReceiptError::Entry { entry: 1, reason: reason.into() })?;

        let entries = verify_all(&self.entries, 0, &checkpoint, |entry| {
            if entry.request == Some(self.request) { Ok(()) } else { Err(EntryFault::OtherRequest) }
        })?;
        let gapless = check_sequence(&entries)?;
        let keys = verify_all(&self.keys, self.entries.len(), &checkpoint, |entry| {
            if entry.kind() == Some(EntryKind::Key) && entry.request.is_none() {
                Ok(())
            } else {
                Err(EntryFault::NotAKey)
            }
        })?;
        Ok(Verified {
            request: self.request,
            trust,
            checkpoint: checkpoint.checkpoint().clone(),
            checkpoint_text: checkpoint.text().to_owned(),
            entries,
            keys,
            gapless,
        })
    }
}

fn checkpoint_of(entry: &ReceiptEntry, key: &VerifierKey) -> Result<SignedCheckpoint, Error> {
    SignedCheckpoint::open(&TlogProof::parse(&entry.proof)?.checkpoint, key)
}

fn verify_all(
    entries: &[ReceiptEntry],
    before: usize,
    checkpoint: &SignedCheckpoint,
    belongs: impl Fn(&Entry) -> Result<(), EntryFault>,
) -> Result<Vec<VerifiedEntry>, ReceiptError> {
    let mut verified: Vec<VerifiedEntry> = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let fault = |reason| ReceiptError::Entry { entry: before + at + 1, reason };
        let entry = verify_one(entry, checkpoint).map_err(fault)?;
        belongs(&entry.entry).map_err(fault)?;
        if verified.last().is_some_and(|last| last.index >= entry.index) {
            return Err(fault(EntryFault::Order));
        }
        verified.push(entry);
    }
    Ok(verified)
}

fn verify_one(claimed: &ReceiptEntry, checkpoint: &SignedCheckpoint) -> Result<VerifiedEntry, EntryFault> {
    let proof = TlogProof::parse(&claimed.proof)?;
    if proof.extra.is_some() {
        return Err(EntryFault::Extra);
    }
    // One checkpoint for all: it is verified once, and no entry can come from another tree.
    if proof.checkpoint != checkpoint.text() {
        return Err(EntryFault::OtherCheckpoint);
    }
    let leaf = claimed.leaf.as_bytes();
    verify_inclusion(&proof.hashes, checkpoint.head(), proof.index, leaf_hash(leaf))?;

    let entry = decode(leaf)?;
    let mut opened = BTreeMap::new();
    for (field, (salt, value)) in &claimed.openings {
        if entry.commitments.get(field) != Some(&commit(field, salt, &value.canonical())) {
            return Err(EntryFault::Opening(field.clone()));
        }
        opened.insert(field.clone(), value.clone());
    }
    let closed = entry.commitments.keys().filter(|field| !opened.contains_key(*field)).cloned().collect();
    Ok(VerifiedEntry { index: proof.index, entry, opened, closed })
}

/// `false` if the entries bear no numbers; if one does, all must, from 1 on without a hole.
fn check_sequence(entries: &[VerifiedEntry]) -> Result<bool, ReceiptError> {
    if !entries.iter().any(|entry| entry.entry.clear.contains_key(SEQUENCE)) {
        return Ok(false);
    }
    for (at, entry) in (1_u64..).zip(entries) {
        let number = entry.entry.clear.get(SEQUENCE).and_then(Value::as_u64);
        if number != Some(at) {
            return Err(ReceiptError::Entry {
                entry: usize::try_from(at).unwrap_or(usize::MAX),
                reason: EntryFault::Missing,
            });
        }
    }
    Ok(true)
}
