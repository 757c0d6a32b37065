//! The check of a receipt. Order matters: the key is judged before anything it signed, and nothing is shown that is not proved.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::canonical::Value;
use countersign_core::digest::commit;
use countersign_core::entry::EntryKind;
use countersign_core::ids::RequestId;

use super::{EntryFault, Receipt, ReceiptEntry, ReceiptError};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::entry::{Entry, decode};
use crate::epoch::EpochLink;
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
    /// The key that everything rests on: the pinned one, or that of the newest log in which entries lie.
    pub key: VerifierKey,
    /// The checkpoint that all entries, or those of the newest log among them, are included in; to be remembered, an older one can show a cut tail later.
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
    /// Checks everything that can be checked offline. With `pinned` that must be the key of one of the receipt's logs, and what lies in it and before it is
    /// believed; without, or where entries lie in a later log, the outcome says that the key is unknown. With `expected` the receipt must be about that
    /// request.
    pub fn verify(&self, pinned: Option<&VerifierKey>, expected: Option<RequestId>) -> Result<Verified, ReceiptError> {
        if self.key.name() != self.origin {
            return Err(ReceiptError::Shape("`log.origin` is not the name of `log.key`"));
        }
        let pinned = pinned.map(|key| self.place_of(key)).transpose()?;
        if expected.is_some_and(|request| request != self.request) {
            return Err(ReceiptError::OtherRequest(self.request));
        }
        if self.entries.is_empty() {
            return Err(ReceiptError::Empty);
        }
        let mut logs = Logs::new(self);
        logs.link(self).map_err(|reason| ReceiptError::Entry { entry: 1, reason })?;
        let entries = logs.verify_all(&self.entries, 0, |entry| {
            if entry.request == Some(self.request) { Ok(()) } else { Err(EntryFault::OtherRequest) }
        })?;
        let gapless = check_sequence(&entries)?;
        let keys = logs.verify_all(&self.keys, self.entries.len(), |entry| {
            if entry.kind() == Some(EntryKind::Key) && entry.request.is_none() {
                Ok(())
            } else {
                Err(EntryFault::NotAKey)
            }
        })?;
        let newest = entries.iter().map(|(place, _)| *place).min().unwrap_or_default();
        let (key, checkpoint) = logs.of(newest).ok_or(ReceiptError::Empty)?;
        let (trust, key) = match pinned {
            Some(place) if place <= newest => (Trust::Pinned, logs.of(place).map_or(key, |(key, _)| key)),
            _ => (Trust::Unknown(Box::new(key.clone())), key),
        };
        Ok(Verified {
            request: self.request,
            trust,
            key: key.clone(),
            checkpoint: checkpoint.checkpoint().clone(),
            checkpoint_text: checkpoint.text().to_owned(),
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            keys: keys.into_iter().map(|(_, entry)| entry).collect(),
            gapless,
        })
    }

    /// Which of the receipt's logs this key signs. Another key under the same name is a forgery.
    fn place_of(&self, pinned: &VerifierKey) -> Result<usize, ReceiptError> {
        let other = |found: &VerifierKey| ReceiptError::Pin { pinned: pinned.to_string(), found: found.to_string() };
        let found = self.log_keys().enumerate().find(|(_, key)| key.name() == pinned.name());
        match found {
            Some((place, key)) if key == pinned => Ok(place),
            Some((_, key)) => Err(other(key)),
            None => Err(other(&self.key)),
        }
    }
}

/// The logs of a receipt, the newest first, each with the one checkpoint that all proofs in it lead to.
struct Logs<'a>(Vec<(&'a VerifierKey, Option<SignedCheckpoint>)>);

impl<'a> Logs<'a> {
    fn new(receipt: &'a Receipt) -> Self {
        Self(receipt.log_keys().map(|key| (key, None)).collect())
    }

    fn of(&self, place: usize) -> Option<(&'a VerifierKey, &SignedCheckpoint)> {
        self.0.get(place).and_then(|(key, checkpoint)| Some((*key, checkpoint.as_ref()?)))
    }

    /// Each log but the newest is named by the first entry of the one after it, and has signed nothing since.
    fn link(&mut self, receipt: &Receipt) -> Result<(), EntryFault> {
        for (after, earlier) in receipt.earlier.iter().enumerate() {
            let (place, named_by) = self.verify(&earlier.named_by)?;
            let link = EpochLink::read(&named_by.entry)
                .filter(|link| place == after && named_by.index == 0 && link.previous == earlier.key)
                .ok_or_else(|| EntryFault::Link(earlier.key.name().to_owned()))?;
            // The proofs in that log all lead to one checkpoint, and it is looked at here.
            let in_it =
                receipt.entries.iter().chain(&receipt.keys).chain(receipt.earlier.iter().map(|log| &log.named_by));
            for entry in in_it {
                let note = TlogProof::parse(&entry.proof)?.checkpoint;
                let claimed = Checkpoint::claimed(&note)?;
                if claimed.origin == earlier.key.name() && !link.covers(&claimed.head) {
                    return Err(EntryFault::Ended);
                }
            }
        }
        Ok(())
    }

    fn verify(&mut self, entry: &ReceiptEntry) -> Result<(usize, VerifiedEntry), EntryFault> {
        let note = TlogProof::parse(&entry.proof)?.checkpoint;
        let origin = Checkpoint::claimed(&note).map(|claimed| claimed.origin);
        let named = |key: &VerifierKey| origin.as_ref().is_ok_and(|origin| origin == key.name());
        // What names none of the logs fails as one that the newest one did not sign.
        let place = self.0.iter().position(|(key, _)| named(key)).unwrap_or(0);
        let (key, known) = self.0.get_mut(place).ok_or(EntryFault::OtherCheckpoint)?;
        let checkpoint = match known {
            Some(known) => known,
            None => known.insert(SignedCheckpoint::open(&note, key)?),
        };
        Ok((place, verify_one(entry, checkpoint)?))
    }

    fn verify_all(
        &mut self,
        entries: &[ReceiptEntry],
        before: usize,
        belongs: impl Fn(&Entry) -> Result<(), EntryFault>,
    ) -> Result<Vec<(usize, VerifiedEntry)>, ReceiptError> {
        let mut verified: Vec<(usize, VerifiedEntry)> = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let fault = |reason| ReceiptError::Entry { entry: before + at + 1, reason };
            let (place, entry) = self.verify(entry).map_err(fault)?;
            belongs(&entry.entry).map_err(fault)?;
            let follows = |(last_place, last): &(usize, VerifiedEntry)| {
                *last_place > place || (*last_place == place && last.index < entry.index)
            };
            if !verified.last().is_none_or(follows) {
                return Err(fault(EntryFault::Order));
            }
            verified.push((place, entry));
        }
        Ok(verified)
    }
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

/// `false` if the entries bear no numbers; if one does, all must, from 1 on without a hole. Where a log ended, entries may be missing that never got a
/// place in it; that is `false` too.
fn check_sequence(entries: &[(usize, VerifiedEntry)]) -> Result<bool, ReceiptError> {
    if !entries.iter().any(|(_, entry)| entry.entry.clear.contains_key(SEQUENCE)) {
        return Ok(false);
    }
    let (mut next, mut gapless, mut before) = (1_u64, true, None);
    for (at, (place, entry)) in entries.iter().enumerate() {
        let missing = || ReceiptError::Entry { entry: at + 1, reason: EntryFault::Missing };
        let number = entry.entry.clear.get(SEQUENCE).and_then(Value::as_u64).ok_or_else(missing)?;
        let new_log = before.is_some_and(|before| before != place);
        if number < next || (number > next && !new_log) {
            return Err(missing());
        }
        gapless &= number == next;
        next = number.saturating_add(1);
        before = Some(place);
    }
    Ok(gapless)
}
