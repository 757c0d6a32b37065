//! The first entry of a log that continues another one.
//!
//! Each epoch is a log of its own, because a log must never sign a fork of itself. After a restore the next one begins with an entry of type `epoch`, whose
//! clear fields say what it continues: `previous`, the verifier key of the log before; `size` and `root`, the tree that the database held of it; `stranded`,
//! how many of its entries never got a place in it; and `checkpoint`, the newest signed one that was known, which may be of a larger tree.

use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use countersign_core::entry::EntryKind;

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::key::VerifierKey;
use crate::tree::TreeHead;

/// What a log continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochLink {
    /// The key of the log before.
    pub previous: VerifierKey,
    /// The tree of it that was at hand.
    pub held: TreeHead,
    /// Entries of it that never got a place.
    pub stranded: u64,
    /// The newest signed checkpoint of it that was known.
    pub checkpoint: Option<String>,
}

impl EpochLink {
    /// `None` if this is no such entry.
    pub fn read(entry: &Entry) -> Option<Self> {
        if entry.kind() != Some(EntryKind::Epoch) {
            return None;
        }
        let text = |field: &str| entry.clear.get(field).and_then(Value::as_str);
        let number = |field: &str| entry.clear.get(field).and_then(Value::as_u64);
        let root: Digest = text("root")?.parse().ok()?;
        Some(Self {
            previous: text("previous")?.parse().ok()?,
            held: TreeHead { size: number("size")?, root },
            stranded: number("stranded")?,
            checkpoint: text("checkpoint").map(str::to_owned),
        })
    }

    /// The fields of the entry.
    pub fn clear(&self) -> Vec<(&'static str, Value)> {
        let mut clear = vec![
            ("previous", Value::from(self.previous.to_string())),
            ("size", Value::from(self.held.size)),
            ("root", Value::from(self.held.root.to_string())),
            ("stranded", Value::from(self.stranded)),
        ];
        clear.extend(self.checkpoint.as_deref().map(|note| ("checkpoint", Value::from(note))));
        clear
    }

    /// The newest tree of the log before that is known to have been signed or held.
    pub fn known(&self) -> TreeHead {
        let signed = self.checkpoint.as_deref().and_then(|note| Checkpoint::claimed(note).ok());
        signed.map(|signed| signed.head).filter(|head| head.size > self.held.size).unwrap_or(self.held)
    }

    /// Whether the log before may have signed this. It ended there; whoever signs more with its key later is not that log.
    pub fn covers(&self, head: &TreeHead) -> bool {
        let known = self.known();
        if head.size == known.size {
            return head.root == known.root;
        }
        head.size < known.size && (head.size != self.held.size || head.root == self.held.root)
    }
}
