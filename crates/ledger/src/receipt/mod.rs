//! Receipts: one JSON file that shows, without any server, who asked what, who answered it, what was let go, and that the log holds all of it.
//!
//! ```json
//! { "format": "countersign/receipt/v1",
//!   "request": "0197a3c4-5b6d-7e8f-8a9b-0c1d2e3f4a5b",
//!   "log": { "origin": "log.example/1", "key": "log.example/1+0a1b2c3d+AS..." },
//!   "entries": [ { "leaf": "{...}", "openings": { "target": { "salt": "...", "value": "db-prod-1" } }, "proof": "c2sp.org/tlog-proof@v1\n..." } ],
//!   "keys": [ { "leaf": "{...}", "openings": {}, "proof": "..." } ] }
//! ```
//!
//! `leaf` is the entry byte for byte. An opening shows what one of its commitments stands for; one that is missing was erased, and the rest still
//! verifies. After a restore the log goes on in a new epoch, which is a log of its own: then `log` is the newest one, and `earlier` leads back to those
//! before it, each with the `epoch` entry of the log after it that names its key. A value is spelled as in the canonical form (`$int` and so on), the file around it may be spaced as one likes. `keys` are entries of
//! type `key`: the public keys with which other signatures of the log's owner can be checked, held by the same log.

mod verify;

use std::collections::BTreeMap;

use countersign_core::canonical::{CanonicalError, MAX_CANONICAL_DEPTH, Value};
use countersign_core::digest::Salt;
use countersign_core::ids::RequestId;

pub use verify::{Trust, Verified, VerifiedEntry};

use crate::checkpoint::SignedCheckpoint;
use crate::entry::Opening;
use crate::error::Error;
use crate::key::VerifierKey;
use crate::proof::TlogProof;

/// Bytes of a receipt that are read at most.
pub const RECEIPT_LIMIT: usize = 16 * 1024 * 1024;

const FORMAT: &str = "countersign/receipt/v1";

/// A receipt as it is read and written; nothing of it is verified until [`Receipt::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The request that it is about.
    pub request: RequestId,
    /// The log's origin.
    pub origin: String,
    /// The key that the receipt claims for the log. Whoever forges a receipt brings his own.
    pub key: VerifierKey,
    /// The logs before that one, the newest first, as far back as entries lie.
    pub earlier: Vec<EarlierLog>,
    /// The request's entries in the order of the log, those of earlier logs first.
    pub entries: Vec<ReceiptEntry>,
    /// Entries of type `key`.
    pub keys: Vec<ReceiptEntry>,
}

/// An entry with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// The entry's bytes, which are text.
    pub leaf: String,
    /// Openings by field; a field without one was erased.
    pub openings: BTreeMap<String, (Salt, Value)>,
    /// Its inclusion proof with the checkpoint, in the text form of `tlog-proof`.
    pub proof: String,
}

/// A log that ended when a backup was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierLog {
    /// The key that it was signed with.
    pub key: VerifierKey,
    /// The first entry of the log after it, which names that key.
    pub named_by: ReceiptEntry,
}

/// Why a receipt is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Over the limit of [`RECEIPT_LIMIT`].
    #[error("the file is over 16 MiB: no receipt is")]
    TooLarge,
    /// Not JSON, or JSON that readers may understand differently.
    #[error("not a receipt: {0}")]
    Json(#[from] CanonicalError),
    /// JSON of another shape.
    #[error("not a receipt: {0}")]
    Shape(&'static str),
    /// The key in the file is not the one that the reader trusts.
    #[error("the receipt is signed by the log key {found}, but {pinned} is the one pinned: do not believe it")]
    Pin { pinned: String, found: String },
    /// It is about another request than the one asked for.
    #[error("the receipt is about request {0}")]
    OtherRequest(RequestId),
    /// An entry does not verify; counted from 1 in the order of the file.
    #[error("entry {entry}: {reason}")]
    Entry { entry: usize, reason: EntryFault },
    /// It proves nothing.
    #[error("the receipt holds no entries")]
    Empty,
}

/// What is wrong with an entry of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The leaf, proof or checkpoint does not read or does not hold.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// It is another request's.
    #[error("it belongs to another request")]
    OtherRequest,
    /// An entry under `keys` that is not one of type `key`.
    #[error("it is not an entry of type `key`")]
    NotAKey,
    /// Its proof leads to another checkpoint than the first entry's.
    #[error("its proof leads to another checkpoint than the entries before it")]
    OtherCheckpoint,
    /// It does not name the log before it, or is not the first entry of its own.
    #[error("it is not the entry with which its log continues {0}")]
    Link(String),
    /// The log before was signed on after the one after it had begun.
    #[error("its proof leads to a checkpoint that its log signed after it had ended")]
    Ended,
    /// The order of the file is not the log's, or an entry is there twice.
    #[error("it does not come after the entry before it in the log")]
    Order,
    /// The entries of the request are numbered and this is not the next number.
    #[error("an entry of the request is missing before it")]
    Missing,
    /// A value is shown that is not the one committed to.
    #[error("the value shown for `{0}` is not the one that was logged")]
    Opening(String),
    /// The proof carries data that nothing authenticates.
    #[error("its proof carries extra data, which nothing authenticates")]
    Extra,
}

impl ReceiptEntry {
    /// An entry from its leaf, those openings that still exist, its place and inclusion proof, and the checkpoint that the proof leads to.
    pub fn new(
        leaf: &[u8],
        openings: &[Opening],
        index: u64,
        proof: Vec<countersign_core::digest::Digest>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Self, Error> {
        let leaf = String::from_utf8(leaf.to_vec()).map_err(|_| Error::EntryShape("it is not text"))?;
        let openings = openings
            .iter()
            .map(|opening| Ok((opening.field.clone(), (opening.salt, opening.value()?))))
            .collect::<Result<_, Error>>()?;
        let proof = TlogProof { extra: None, index, hashes: proof, checkpoint: checkpoint.text().to_owned() };
        Ok(Self { leaf, openings, proof: proof.to_text() })
    }

    fn to_value(&self) -> Value {
        let openings = self.openings.iter().map(|(field, (salt, value))| {
            let opening = [("salt", Value::from(salt.to_base64())), ("value", value.clone())];
            (field.clone(), Value::object(opening))
        });
        Value::object([
            ("leaf", Value::from(self.leaf.as_str())),
            ("openings", Value::object(openings)),
            ("proof", Value::from(self.proof.as_str())),
        ])
    }

    fn from_value(value: &Value) -> Result<Self, ReceiptError> {
        let [leaf, openings, proof] = members(value, ["leaf", "openings", "proof"])?;
        let openings = openings
            .as_object()
            .ok_or(ReceiptError::Shape("`openings` is not an object"))?
            .iter()
            .map(|(field, opening)| {
                let [salt, value] = members(opening, ["salt", "value"])?;
                let salt = text(salt)?.parse().map_err(|_| ReceiptError::Shape("a salt is not 16 bytes in base64"))?;
                Ok((field.clone(), (salt, value.clone())))
            })
            .collect::<Result<_, ReceiptError>>()?;
        Ok(Self { leaf: text(leaf)?.to_owned(), openings, proof: text(proof)?.to_owned() })
    }
}

impl EarlierLog {
    fn to_value(&self) -> Value {
        Value::object([("key", Value::from(self.key.to_string())), ("epoch", self.named_by.to_value())])
    }

    fn from_value(value: &Value) -> Result<Self, ReceiptError> {
        let [key, epoch] = members(value, ["key", "epoch"])?;
        let key = text(key)?.parse().map_err(|_| ReceiptError::Shape("a `key` of `earlier` is not a verifier key"))?;
        Ok(Self { key, named_by: ReceiptEntry::from_value(epoch)? })
    }
}

impl Receipt {
    /// The keys of the logs that the receipt speaks of, the newest first. Whoever has one of them pinned can judge what that log and those before it hold.
    pub fn log_keys(&self) -> impl Iterator<Item = &VerifierKey> {
        std::iter::once(&self.key).chain(self.earlier.iter().map(|earlier| &earlier.key))
    }

    /// The file's text: JSON on one line.
    pub fn to_json(&self) -> String {
        let list = |entries: &[ReceiptEntry]| Value::array(entries.iter().map(ReceiptEntry::to_value));
        let log = [("origin", Value::from(self.origin.as_str())), ("key", Value::from(self.key.to_string()))];
        let mut members = vec![
            ("format", Value::from(FORMAT)),
            ("request", Value::from(self.request.to_string())),
            ("log", Value::object(log)),
            ("entries", list(&self.entries)),
            ("keys", list(&self.keys)),
        ];
        if !self.earlier.is_empty() {
            members.push(("earlier", Value::array(self.earlier.iter().map(EarlierLog::to_value))));
        }
        Value::object(members).to_canonical_string()
    }

    /// Reads a file, strictly: no key twice, none missing, none unknown.
    pub fn from_json(text_bytes: &[u8]) -> Result<Self, ReceiptError> {
        if text_bytes.len() > RECEIPT_LIMIT {
            return Err(ReceiptError::TooLarge);
        }
        let value = Value::parse_nested(text_bytes, MAX_CANONICAL_DEPTH + 8)
            .map_err(CanonicalError::from)?
            .decode_canonical()?;
        let (format, request, log, entries, keys, earlier) = if let Some(earlier) = value.get("earlier") {
            let [format, request, log, entries, keys, _] =
                members(&value, ["format", "request", "log", "entries", "keys", "earlier"])?;
            (format, request, log, entries, keys, Some(earlier))
        } else {
            let [format, request, log, entries, keys] =
                members(&value, ["format", "request", "log", "entries", "keys"])?;
            (format, request, log, entries, keys, None)
        };
        if format.as_str() != Some(FORMAT) {
            return Err(ReceiptError::Shape("its format is not `countersign/receipt/v1`"));
        }
        let [origin, key] = members(log, ["origin", "key"])?;
        let list = |value: &Value| {
            let items = value.as_array();
            items
                .ok_or(ReceiptError::Shape("`entries` and `keys` are lists"))?
                .iter()
                .map(ReceiptEntry::from_value)
                .collect::<Result<Vec<_>, ReceiptError>>()
        };
        Ok(Self {
            request: text(request)?.parse().map_err(|_| ReceiptError::Shape("`request` is not an id"))?,
            origin: text(origin)?.to_owned(),
            key: text(key)?.parse().map_err(|_| ReceiptError::Shape("`log.key` is not a verifier key"))?,
            earlier: match earlier
                .map(|earlier| earlier.as_array().ok_or(ReceiptError::Shape("`earlier` is not a list")))
            {
                Some(earlier) => earlier?.iter().map(EarlierLog::from_value).collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
            entries: list(entries)?,
            keys: list(keys)?,
        })
    }
}

/// The members of an object that has exactly these.
fn members<'a, const N: usize>(value: &'a Value, names: [&str; N]) -> Result<[&'a Value; N], ReceiptError> {
    const WRONG: ReceiptError = ReceiptError::Shape("members are missing or unknown");
    if value.as_object().map(BTreeMap::len) != Some(N) {
        return Err(WRONG);
    }
    let found: Option<Vec<_>> = names.iter().map(|name| value.get(name)).collect();
    found.and_then(|found| found.try_into().ok()).ok_or(WRONG)
}

fn text(value: &Value) -> Result<&str, ReceiptError> {
    value.as_str().ok_or(ReceiptError::Shape("a member that should be text is not"))
}

#[cfg(test)]
mod tests;
